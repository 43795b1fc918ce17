package registrytest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/oci"
	"github.com/sekisho/sekisho/internal/registry"
)

var manifestTests = []test{
	{"push and pull", pushAndPull},
	{"kept byte for byte", byteExact},
	{"every format", everyFormat},
	{"sha512", sha512},
	{"pushed again", pushedAgain},
	{"under several tags", severalTags},
	{"malformed", malformedManifests},
	{"missing blobs", missingBlobs},
	{"missing children", missingChildren},
	{"foreign layers", foreignLayers},
	{"sparse", sparse},
	{"nested indexes", nestedIndexes},
	{"a blob named twice", namedTwice},
	{"accounts and repositories are apart", apart},
	{"last pull", lastPull},
	{"image", describedImage},
}

func pushAndPull(c *client) {
	config, small, large := c.small(), c.small(), c.large()
	c.blobs(config, small, large)
	m := newImage(config, small, large)
	before := time.Now().Add(-time.Minute)
	got, err := c.put(m, "v1")
	if err != nil {
		c.Fatal(err)
	}
	if got.Digest != m.digest || got.MediaType != oci.TypeImage || got.ArtifactType != typeConfig || got.Subject != "" || got.PushedAt.Before(before) {
		c.Errorf("PutManifest = %s %s %s %s %v", got.Digest, got.MediaType, got.ArtifactType, got.Subject, got.PushedAt)
	}
	for range 2 { // from the database, and from memory
		c.wantManifest(tag("v1"), m)
		c.wantManifest(byDigest(m.digest), m)
		for _, b := range []content{config, small, large} {
			c.wantBlob(b)
		}
	}
	if diff := cmp.Diff([]string{"v1"}, c.tags()); diff != "" {
		c.Errorf("tags: %s", diff)
	}
	c.wantText("an unknown tag", fail(c.manifest(tag("v2"))), registry.ManifestUnknown, fmt.Sprintf(
		"The image with imageId {imageDigest:'null', imageTag:'v2'} does not exist within the repository with name 'team/app' in the registry with id '%s'", c.repo.Account))
	d := c.small().digest()
	c.wantText("an unknown digest", fail(c.manifest(byDigest(d))), registry.ManifestUnknown, fmt.Sprintf(
		"The image with imageId {imageDigest:'%s', imageTag:'null'} does not exist within the repository with name 'team/app' in the registry with id '%s'", d, c.repo.Account))
}

// fail is the error of a call that should fail.
func fail[T any](_ T, err error) error { return err }

func byteExact(c *client) {
	config := c.small()
	c.blobs(config)
	for _, text := range []string{
		"{\"schemaVersion\":2,\"mediaType\":%q,\"config\":{\"mediaType\":%q,\"digest\":%q,\"size\":100},\"layers\":[]}",
		"\t{ \"layers\" :[ ],\r\n\"config\":{\"size\":100, \"unknown\":{\"a\":[1,2.50,1e3]},\"mediaType\":\"%[2]s\",\"digest\":\"%[3]s\"}\n,\"mediaType\":\"%[1]s\",\"schemaVersion\":2}\n\n",
		"{\"schemaVersion\":2,\"mediaType\":%q,\"config\":{\"mediaType\":%q,\"digest\":%q,\"size\":100},\"layers\":[],\"annotations\":{\"\\u00e9\":\"\\u0041 é 日本 <&>\"}}",
	} {
		m := documentOf(oci.TypeImage, fmt.Appendf(nil, text, oci.TypeImage, typeConfig, config.digest()))
		c.push(m, "t")
		c.wantManifest(tag("t"), m)
		c.wantManifest(byDigest(m.digest), m)
	}
}

func everyFormat(c *client) {
	config, layer := c.small(), c.large()
	c.blobs(config, layer, empty)
	child := newImage(config, layer)
	c.push(child)
	for _, tc := range []struct {
		name         string
		m            document
		artifactType string
	}{
		{"OCI image", newImage(config, layer, empty), typeConfig},
		{"docker image", newDocument(oci.TypeDockerManifest, object{
			"config": config.descriptor(typeDockerConfig),
			"layers": []oci.Descriptor{layer.descriptor(typeDockerLayer)},
		}), typeDockerConfig},
		{"index", newIndex(child), ""},
		{"empty index", newIndex(), ""},
		{"index with an artifact type", newDocument(oci.TypeIndex, object{"artifactType": "application/x", "manifests": []oci.Descriptor{child.descriptor()}}), "application/x"},
		{"docker list", newDocument(oci.TypeDockerList, object{"manifests": []oci.Descriptor{child.descriptor()}}), ""},
		{"artifact", newArtifact(child.descriptor(), "application/vnd.example.sbom", "n"), "application/vnd.example.sbom"},
		{"artifact of an odd type", newDocument(oci.TypeImage, object{
			"config": layer.descriptor("application/vnd.cncf.helm.config.v1+json"),
			"layers": []oci.Descriptor{config.descriptor("text/plain; charset=utf-8")},
		}), "application/vnd.cncf.helm.config.v1+json"},
		{"artifact manifest", newDocument(oci.TypeArtifact, object{"artifactType": "application/y", "blobs": []oci.Descriptor{layer.descriptor("a/b")}}), "application/y"},
	} {
		c.push(tc.m, "t")
		c.wantManifest(tag("t"), tc.m)
		m, err := c.manifest(byDigest(tc.m.digest))
		if err != nil || m.ArtifactType != tc.artifactType {
			c.Errorf("%s: artifact type %q, %v, want %q", tc.name, m.ArtifactType, err, tc.artifactType)
		}
	}
	// Without a Content-Type the manifest's own media type counts.
	m := newIndex(child, child)
	got, err := c.reg().PutManifest(c.Context(), c.as, c.repo, registry.ManifestPut{Tags: []string{"u"}, Data: m.data})
	if err != nil || got.MediaType != oci.TypeIndex || got.Digest != m.digest {
		c.Errorf("PutManifest without a media type: %v", err)
	}
	c.wantManifest(tag("u"), m)
}

func sha512(c *client) {
	small, large := c.small(), c.large()
	var descriptors []oci.Descriptor
	for _, b := range []content{small, large} {
		d := digest.SHA512.FromBytes(b)
		id, err := c.reg().StartUpload(c.Context(), c.as, c.repo)
		if err != nil {
			c.Fatal(err)
		}
		desc, err := c.reg().CompleteUpload(c.Context(), c.as, c.repo, id, registry.UploadEnd{Digest: d, At: registry.AtEnd, Body: bytes.NewReader(b), Size: int64(len(b))})
		if want := (registry.Descriptor{Digest: d, Size: int64(len(b))}); err != nil || desc != want {
			c.Fatalf("CompleteUpload = %v, %v, want %v", desc, err, want)
		}
		if got, err := c.blob(d); err != nil || !bytes.Equal(got, b) {
			c.Errorf("blob %s: %d bytes, %v, want %d bytes", d, len(got), err, len(b))
		}
		c.wantNoBlob(b.digest()) // the other digest of the same bytes is another name
		descriptors = append(descriptors, oci.Descriptor{MediaType: typeLayer, Digest: d, Size: int64(len(b))})
	}
	m := newDocument(oci.TypeImage, object{"config": descriptors[0], "layers": descriptors[1:]})
	m.digest = digest.SHA512.FromBytes(m.data)
	c.push(m, "v1")
	c.wantManifest(tag("v1"), m)
	c.wantManifest(byDigest(m.digest), m)
	c.wantNoManifest(byDigest(digest.FromBytes(m.data)))
	index := newIndex(m)
	c.push(index, "index")
	c.wantManifest(tag("index"), index)
}

func pushedAgain(c *client) {
	m := c.image("v1")
	before, err := c.reg().Image(c.Context(), c.as, c.repo, tag("v1"))
	if err != nil {
		c.Fatal(err)
	}
	c.s.Advance(time.Second)
	for _, tags := range [][]string{{"v1"}, nil, {"v1", "v1"}} {
		got, err := c.put(m, tags...)
		if err != nil || got.Digest != m.digest || !got.PushedAt.Equal(before.PushedAt) {
			c.Errorf("PutManifest again with tags %v: pushed at %v, %v, want %v as before", tags, got.PushedAt, err, before.PushedAt)
		}
	}
	after, err := c.reg().Image(c.Context(), c.as, c.repo, tag("v1"))
	if diff := cmp.Diff(before, after); err != nil || diff != "" {
		c.Errorf("the image changed: %v %s", err, diff)
	}
	c.push(m, "v2", "v3")
	for _, name := range []string{"v1", "v2", "v3"} {
		c.wantManifest(tag(name), m)
	}
	if n := len(c.images()); n != 1 {
		c.Errorf("%d images, want 1", n)
	}
}

func severalTags(c *client) {
	one := c.image("a", "b", "c")
	for _, name := range []string{"a", "b", "c"} {
		c.wantManifest(tag(name), one)
	}
	i := c.in("team/strict")
	_, err := c.reg().CreateRepository(c.Context(), c.as, i.repo, registry.RepositorySettings{Mutability: registry.ImmutableWithExclusion, MutabilityExclusions: []string{"m*"}}, nil)
	if err != nil {
		c.Fatal(err)
	}
	first := i.image("fixed", "m1")
	config := c.small()
	i.blobs(config)
	second := newImage(config)
	// All or nothing: one tag that must not move keeps the manifest and all the others out.
	_, err = i.put(second, "m1", "fixed", "new")
	i.wantKind("PutManifest over an immutable tag", err, registry.TagImmutable)
	i.wantManifest(tag("m1"), first)
	i.wantNoManifest(tag("new"))
	i.wantNoManifest(byDigest(second.digest))
	if n := len(i.images()); n != 1 {
		c.Errorf("%d images after a refused push, want 1", n)
	}
}

func malformedManifests(c *client) {
	config := c.small()
	c.blobs(config)
	m := newImage(config)
	padded := func(n int) []byte { return append(bytes.Clone(m.data), bytes.Repeat([]byte(" "), n-len(m.data))...) }
	for _, tc := range []struct {
		name string
		put  registry.ManifestPut
		want registry.Kind
	}{
		{"other digest", registry.ManifestPut{Digest: c.small().digest(), Data: m.data}, registry.DigestMismatch},
		{"other digest, sha512", registry.ManifestPut{Digest: digest.SHA512.FromString("x"), Data: m.data}, registry.DigestMismatch},
		{"digest without an algorithm", registry.ManifestPut{Digest: "abc", Data: m.data}, registry.DigestMismatch},
		{"digest of an unknown algorithm", registry.ManifestPut{Digest: "md5:d41d8cd98f00b204e9800998ecf8427e", Data: m.data}, registry.DigestMismatch},
		{"digest of an algorithm that is not kept", registry.ManifestPut{Digest: digest.SHA384.FromBytes(m.data), Data: m.data}, registry.DigestMismatch},
		{"tag", registry.ManifestPut{Tags: []string{"ok", "no/tag"}, Data: m.data}, registry.ManifestInvalid},
		{"empty tag", registry.ManifestPut{Tags: []string{""}, Data: m.data}, registry.ManifestInvalid},
		{"media type", registry.ManifestPut{MediaType: oci.TypeIndex, Data: m.data}, registry.ManifestInvalid},
		{"no bytes", registry.ManifestPut{MediaType: oci.TypeImage}, registry.ManifestInvalid},
		{"half", registry.ManifestPut{Data: m.data[:len(m.data)/2]}, registry.ManifestInvalid},
		{"not JSON", registry.ManifestPut{MediaType: oci.TypeImage, Data: []byte("<html>")}, registry.ManifestInvalid},
		{"deep", registry.ManifestPut{MediaType: oci.TypeImage, Data: []byte(strings.Repeat(`{"a":`, 10_000))}, registry.ManifestInvalid},
		{"one byte too large", registry.ManifestPut{Data: padded(oci.MaxManifest + 1)}, registry.ManifestInvalid},
	} {
		_, err := c.reg().PutManifest(c.Context(), c.as, c.repo, tc.put)
		c.wantKind(tc.name, err, tc.want)
	}
	if images := c.images(); len(images) > 0 {
		c.Errorf("images after refused pushes: %v", images)
	}
	c.push(documentOf(oci.TypeImage, padded(oci.MaxManifest)), "largest")
}

func nestedIndexes(c *client) {
	all := []document{c.image(), c.image()}
	for range 8 {
		next := newIndex(all[len(all)-1], all[0])
		c.push(next)
		all = append(all, next)
	}
	c.push(all[len(all)-1], "top")
	for _, m := range all {
		c.wantManifest(byDigest(m.digest), m)
	}
	c.wantManifest(tag("top"), all[len(all)-1])
}

func namedTwice(c *client) {
	b := c.small()
	c.blobs(b)
	m := newImage(b, b, b)
	c.push(m, "v1")
	c.wantManifest(tag("v1"), m)
	index := newIndex(m, m)
	c.push(index, "v2")
	c.wantManifest(tag("v2"), index)
}

func apart(c *client) {
	b, large := c.small(), c.large()
	c.blobs(b, large)
	m := newImage(b, large)
	c.push(m, "v1")
	other := c.repository("team/other")
	stranger := c.s.client(c.T)
	for _, o := range []*client{other, stranger} {
		o.wantNoManifest(tag("v1"))
		o.wantNoManifest(byDigest(m.digest))
		o.wantNoBlob(b.digest())
		o.wantNoBlob(large.digest())
		_, err := o.put(m, "v1")
		o.wantKind("push of what another has", err, registry.BlobsMissing)
		if tags := o.tags(); len(tags) > 0 {
			c.Errorf("tags = %v, want none", tags)
		}
		o.blobs(b, large)
		o.push(m, "v2")
		o.wantManifest(tag("v2"), m)
	}
	if err := stranger.delete(byDigest(m.digest)); err != nil {
		c.Error(err)
	}
	stranger.wantNoManifest(byDigest(m.digest))
	c.wantManifest(tag("v1"), m)
	other.wantManifest(tag("v2"), m)
}

// lastPull: a pull is noted to the minute.
func lastPull(c *client) {
	m, untouched := c.image("v1"), c.image("v2")
	pulledAt := func(ref oci.Reference) time.Time {
		c.Helper()
		c.s.Flush()
		i, err := c.reg().Image(c.Context(), c.as, c.repo, ref)
		if err != nil {
			c.Fatal(err)
		}
		return i.PulledAt
	}
	if t := pulledAt(tag("v1")); !t.IsZero() {
		c.Errorf("pulled at %v before it was", t)
	}
	c.wantManifest(tag("v1"), m)
	first := pulledAt(byDigest(m.digest))
	if first.IsZero() {
		c.Fatal("the pull was not noted")
	}
	c.s.Advance(90 * time.Second)
	c.wantManifest(byDigest(m.digest), m)
	if second := pulledAt(tag("v1")); second.Sub(first) < time.Minute || second.Sub(first) > 3*time.Minute {
		c.Errorf("pulled at %v, the time before at %v", second, first)
	}
	c.push(m, "v3")
	if third := pulledAt(tag("v3")); third.IsZero() {
		c.Error("pushing a tag forgot the pull")
	}
	if t := pulledAt(byDigest(untouched.digest)); !t.IsZero() {
		c.Errorf("what was not pulled was pulled at %v", t)
	}
}

func describedImage(c *client) {
	config, layer := c.small(), c.large()
	c.blobs(config, layer, empty)
	m := newImage(config, layer)
	c.push(m, "b", "A", "a", "_")
	index := newIndex(m)
	c.push(index, "index")
	sbom := newArtifact(m.descriptor(), "application/x.sbom", "")
	c.push(sbom)
	size := int64(len(config) + len(layer))
	for _, tc := range []struct {
		ref  oci.Reference
		want registry.Image
	}{
		{tag("a"), registry.Image{Digest: m.digest, Tags: []string{"A", "_", "a", "b"}, MediaType: oci.TypeImage, ArtifactType: typeConfig, ConfigMediaType: typeConfig, Size: size}},
		{byDigest(index.digest), registry.Image{Digest: index.digest, Tags: []string{"index"}, MediaType: oci.TypeIndex, Size: size}},
		{byDigest(sbom.digest), registry.Image{Digest: sbom.digest, MediaType: oci.TypeImage, ArtifactType: "application/x.sbom", ConfigMediaType: typeEmpty, Subject: m.digest, Size: 4}},
	} {
		i, err := c.reg().Image(c.Context(), c.as, c.repo, tc.ref)
		if err != nil {
			c.Errorf("Image %s: %v", tc.ref, err)
			continue
		}
		if i.PushedAt.IsZero() {
			c.Errorf("Image %s has no time of its push", tc.ref)
		}
		tc.want.PushedAt = i.PushedAt
		if diff := cmp.Diff(&tc.want, i, cmp.Comparer(slices.Equal[[]string])); diff != "" {
			c.Errorf("Image %s: %s", tc.ref, diff)
		}
	}
	_, err := c.reg().Image(c.Context(), c.as, c.repo, tag("none"))
	c.wantKind("Image of an unknown tag", err, registry.ManifestUnknown)
	// Sizes that no blob can have must not make nonsense of the sum.
	huge := config.descriptor(typeConfig)
	huge.Size = 1<<63 - 1
	one := newDocument(oci.TypeImage, object{"config": huge, "layers": []oci.Descriptor{huge}})
	two := newDocument(oci.TypeImage, object{"config": huge, "layers": []oci.Descriptor{huge, huge}})
	for _, m := range []document{one, two, newIndex(one, two)} {
		if _, err := c.put(m, "huge"); err != nil {
			return // as good
		}
		if i, err := c.reg().Image(c.Context(), c.as, c.repo, tag("huge")); err != nil || i.Size < 0 {
			c.Errorf("Image of huge descriptors: size %d, %v", i.Size, err)
		}
	}
}
