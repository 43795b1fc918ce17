package registrytest

import (
	"encoding/json"

	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/oci"
)

// Media types of what is in images.
const (
	typeConfig       = "application/vnd.oci.image.config.v1+json"
	typeLayer        = "application/vnd.oci.image.layer.v1.tar+gzip"
	typeForeign      = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
	typeDockerConfig = "application/vnd.docker.container.image.v1+json"
	typeDockerLayer  = "application/vnd.docker.image.rootfs.diff.tar.gzip"
	typeEmpty        = "application/vnd.oci.empty.v1+json"
)

// document is a manifest to push.
type document struct {
	mediaType string
	digest    digest.Digest
	data      []byte
}

// object is a JSON object.
type object = map[string]any

// newDocument renders a manifest.
func newDocument(mediaType string, members object) document {
	members["mediaType"] = mediaType
	if mediaType != oci.TypeArtifact {
		members["schemaVersion"] = 2
	}
	data, err := json.MarshalIndent(members, "", "   ")
	if err != nil { // strings, numbers, maps, lists and descriptors: cannot fail
		panic(err)
	}
	return documentOf(mediaType, data)
}

func documentOf(mediaType string, data []byte) document {
	return document{mediaType, digest.FromBytes(data), data}
}

// newImage renders an image.
func newImage(config content, layers ...content) document {
	return newDocument(oci.TypeImage, imageMembers(config, layers...))
}

func imageMembers(config content, layers ...content) object {
	all := []oci.Descriptor{}
	for _, l := range layers {
		all = append(all, l.descriptor(typeLayer))
	}
	return object{"config": config.descriptor(typeConfig), "layers": all}
}

// newIndex renders an index of manifests.
func newIndex(children ...document) document {
	all := []oci.Descriptor{}
	for _, m := range children {
		all = append(all, m.descriptor())
	}
	return newDocument(oci.TypeIndex, object{"manifests": all})
}

func (m document) descriptor() oci.Descriptor {
	return oci.Descriptor{MediaType: m.mediaType, Digest: m.digest, Size: int64(len(m.data))}
}

// empty is the content of the config of artifacts that have none (image-spec, "Guidance for an empty descriptor").
var empty = content("{}")

// newArtifact renders an artifact about a subject. note makes it different from others.
func newArtifact(subject oci.Descriptor, artifactType, note string) document {
	return newDocument(oci.TypeImage, object{
		"artifactType": artifactType,
		"config":       empty.descriptor(typeEmpty),
		"layers":       []oci.Descriptor{empty.descriptor(typeEmpty)},
		"subject":      subject,
		"annotations":  map[string]string{"note": note},
	})
}
