package registrytest

import (
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/oci"
	"github.com/sekisho/sekisho/internal/registry"
)

func missingBlobs(c *client) {
	there, elsewhere, here, large := c.small(), c.small(), c.small(), c.large()
	c.repository("team/other").blobs(elsewhere, large)
	c.blobs(here)
	m := newImage(there, elsewhere, here, large, elsewhere)
	for range 2 {
		_, err := c.put(m, "v1")
		c.wantText("missing blobs", err, registry.BlobsMissing, fmt.Sprintf(
			"Layers with digests '[%s, %s, %s]' required for pushing image into repository with name 'team/app' in the registry with id '%s' do not exist",
			there.digest(), elsewhere.digest(), large.digest(), c.repo.Account))
		wantDigests(c, err, there.digest(), elsewhere.digest(), large.digest())
		c.wantNoManifest(tag("v1"))
		c.wantNoManifest(byDigest(m.digest))
	}
	c.blobs(there, elsewhere, large)
	c.push(m, "v1")
	c.wantManifest(tag("v1"), m)
}

func wantDigests(c *client, err error, want ...digest.Digest) {
	c.Helper()
	var e *registry.Error
	if !errors.As(err, &e) {
		return
	}
	detail, _ := e.Detail.(map[string][]string)
	var names []string
	for _, d := range want {
		names = append(names, string(d))
	}
	if !slices.Equal(detail["digests"], names) {
		c.Errorf("detail = %v, want the digests %v", e.Detail, names)
	}
}

func missingChildren(c *client) {
	config := c.small()
	c.blobs(config)
	there, missing := c.image(), newImage(config)
	index := newIndex(missing, there, missing)
	_, err := c.put(index, "v1")
	c.wantText("missing children", err, registry.ManifestsMissing, fmt.Sprintf(
		"Images with digests '[%s]' required for pushing image into repository with name 'team/app' in the registry with id '%s' do not exist", missing.digest, c.repo.Account))
	wantDigests(c, err, missing.digest)
	c.wantNoManifest(tag("v1"))
	other := c.repository("team/other")
	other.blobs(config)
	other.push(missing)
	_, err = c.put(index, "v1")
	c.wantKind("a child in another repository", err, registry.ManifestsMissing)
	c.push(missing)
	c.push(index, "v1")
	c.wantManifest(tag("v1"), index)
}

func foreignLayers(c *client) {
	config, foreign, there := c.small(), c.small(), c.small()
	c.blobs(config, there)
	for _, mediaType := range []string{typeForeign, "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"} {
		m := newDocument(oci.TypeImage, object{
			"config": config.descriptor(typeConfig),
			"layers": []oci.Descriptor{foreign.descriptor(mediaType), there.descriptor(mediaType)},
		})
		c.push(m, "windows")
		c.wantManifest(tag("windows"), m)
		c.wantNoBlob(foreign.digest())
		c.wantBlob(there)
	}
}

func sparse(c *client) {
	config, layer := c.small(), c.small()
	m := newImage(config, layer)
	_, err := c.put(m, "v1")
	c.wantKind("blobs missing by default", err, registry.BlobsMissing)
	c.settings(registry.Settings{SparseManifests: true})
	index := newIndex(m, newImage(layer))
	c.push(index, "index") // before its children
	c.push(m, "v1")
	c.wantManifest(tag("v1"), m)
	c.wantNoBlob(layer.digest())
	c.blobs(layer)
	c.wantBlob(layer)
	c.settings(registry.Settings{})
	c.push(m, "v2") // is there already: nothing is asked for again
	_, err = c.put(newImage(layer, config), "v3")
	c.wantKind("blobs missing again", err, registry.BlobsMissing)
	c.settings(registry.Settings{SparseManifests: true}) // for the check of the whole
}
