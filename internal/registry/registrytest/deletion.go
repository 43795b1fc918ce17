package registrytest

import (
	"slices"

	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/registry"
)

var deletionTests = []test{
	{"tag alone", deleteTag},
	{"by digest", deleteByDigest},
	{"the last tag", deleteLastTag},
	{"a tag that must name a digest", deleteTagOfDigest},
	{"child of an index", deleteChild},
	{"what was shared", deleteShared},
	{"blob", deleteBlob},
	{"and pushed again", deleteAndPush},
}

func deleteTag(c *client) {
	m := c.image("v1", "v2")
	got, err := c.reg().DeleteManifest(c.Context(), c.as, c.repo, tag("v1"), registry.DeleteOptions{})
	if err != nil || got.Digest != m.digest {
		c.Fatalf("DeleteManifest = %v, %v, want %s", got, err, m.digest)
	}
	c.wantNoManifest(tag("v1"))
	c.wantManifest(tag("v2"), m)
	c.wantKind("again", c.delete(tag("v1")), registry.ManifestUnknown)
	if err := c.delete(tag("v2")); err != nil {
		c.Fatal(err)
	}
	c.wantNoManifest(tag("v2"))
	c.wantManifest(byDigest(m.digest), m) // untagged, but there
	if tags := c.tags(); len(tags) > 0 {
		c.Errorf("tags = %v, want none", tags)
	}
}

func deleteByDigest(c *client) {
	config, layer := c.small(), c.large()
	c.blobs(config, layer)
	m := newImage(config, layer)
	c.push(m, "v1", "v2")
	other := c.image("v3")
	got, err := c.reg().DeleteManifest(c.Context(), c.as, c.repo, byDigest(m.digest), registry.DeleteOptions{})
	if err != nil || got.Digest != m.digest {
		c.Fatalf("DeleteManifest = %v, %v, want %s", got, err, m.digest)
	}
	c.wantNoManifest(tag("v1"))
	c.wantNoManifest(tag("v2"))
	c.wantNoManifest(byDigest(m.digest))
	c.wantManifest(tag("v3"), other)
	c.wantKind("again", c.delete(byDigest(m.digest)), registry.ManifestUnknown)
	if diff := cmp.Diff([]string{"v3"}, c.tags()); diff != "" {
		c.Errorf("tags: %s", diff)
	}
	if images := c.images(); len(images) != 1 {
		c.Errorf("%d images, want 1", len(images))
	}
	// Its blobs are there until they are collected, so that the next push needs not bring them again.
	c.wantBlob(config)
	c.wantBlob(layer)
}

func deleteLastTag(c *client) {
	m := c.image("v1", "v2")
	all := registry.DeleteOptions{LastTagDeletes: true}
	if err := c.delete(tag("v1"), all); err != nil {
		c.Fatal(err)
	}
	c.wantManifest(byDigest(m.digest), m)
	if err := c.delete(tag("v2"), all); err != nil {
		c.Fatal(err)
	}
	c.wantNoManifest(byDigest(m.digest))
	c.wantNoManifest(tag("v2"))
	// The child of an index stays without a tag.
	child := c.image("child")
	index := newIndex(child)
	c.push(index, "index")
	if err := c.delete(tag("child"), all); err != nil {
		c.Fatal(err)
	}
	c.wantNoManifest(tag("child"))
	c.wantManifest(byDigest(child.digest), child)
	if err := c.delete(tag("index"), all); err != nil {
		c.Fatal(err)
	}
	c.wantNoManifest(byDigest(index.digest))
	c.wantManifest(byDigest(child.digest), child)
}

func deleteTagOfDigest(c *client) {
	one, two := c.image("v1"), c.image("v2")
	c.wantKind("the tag names another", c.delete(tag("v1"), registry.DeleteOptions{Digest: two.digest}), registry.ManifestUnknown)
	c.wantManifest(tag("v1"), one)
	if err := c.delete(tag("v1"), registry.DeleteOptions{Digest: one.digest}); err != nil {
		c.Error(err)
	}
	c.wantNoManifest(tag("v1"))
}

func deleteChild(c *client) {
	child, sibling := c.image("child"), c.image()
	index := newIndex(child, sibling)
	c.push(index, "index")
	top := newIndex(index)
	c.push(top, "top")
	for _, m := range []document{child, sibling, index} {
		c.wantKind("a child by digest", c.delete(byDigest(m.digest)), registry.Referenced)
		c.wantManifest(byDigest(m.digest), m)
	}
	if diff := cmp.Diff([]string{"child", "index", "top"}, c.tags()); diff != "" { // a refused deletion takes no tag
		c.Errorf("tags: %s", diff)
	}
	for _, m := range []document{top, index, sibling, child} {
		if err := c.delete(byDigest(m.digest)); err != nil {
			c.Errorf("from the top: %v", err)
		}
		c.wantNoManifest(byDigest(m.digest))
	}
}

func deleteShared(c *client) {
	shared, config := c.large(), c.small()
	c.blobs(shared, config, empty)
	one, two := newImage(config, shared), newImage(shared, config)
	c.push(one, "one")
	c.push(two, "two")
	child := c.image()
	left, right := newIndex(child), newIndex(child, child, one)
	c.push(left, "left")
	c.push(right, "right")
	for _, m := range []document{right, one} {
		if err := c.delete(byDigest(m.digest)); err != nil {
			c.Fatal(err)
		}
	}
	c.wantManifest(tag("two"), two)
	c.wantManifest(tag("left"), left)
	c.wantManifest(byDigest(child.digest), child)
	c.wantBlob(shared)
	c.wantKind("a blob that the other image needs", c.reg().DeleteBlob(c.Context(), c.as, c.repo, shared.digest()), registry.Referenced)
	c.wantKind("a child that the other index needs", c.delete(byDigest(child.digest)), registry.Referenced)
}

func deleteBlob(c *client) {
	config, layer, other := c.small(), c.large(), c.repository("team/other")
	c.blobs(config, layer)
	other.blobs(config, layer)
	m := newImage(config, layer)
	c.push(m, "v1")
	del := func(b content) error { return c.reg().DeleteBlob(c.Context(), c.as, c.repo, b.digest()) }
	for _, b := range []content{config, layer} {
		c.wantKind("a blob in use", del(b), registry.Referenced)
		c.wantBlob(b)
	}
	if err := c.delete(byDigest(m.digest)); err != nil {
		c.Fatal(err)
	}
	for _, b := range []content{config, layer} {
		if err := del(b); err != nil {
			c.Errorf("DeleteBlob: %v", err)
		}
		c.wantNoBlob(b.digest())
		c.wantKind("again", del(b), registry.BlobUnknown)
		other.wantBlob(b)
	}
	_, err := c.put(m, "v1")
	c.wantKind("push without its blobs", err, registry.BlobsMissing)
	other.push(m, "v1")
}

func deleteAndPush(c *client) {
	config, layer := c.small(), c.large()
	m := newImage(config, layer)
	for range 3 {
		c.blobs(config, layer)
		c.push(m, "v1")
		c.wantManifest(tag("v1"), m)
		c.wantBlob(layer)
		if err := c.delete(byDigest(m.digest)); err != nil {
			c.Fatal(err)
		}
		c.wantNoManifest(tag("v1"))
		for _, b := range []content{config, layer} {
			if err := c.reg().DeleteBlob(c.Context(), c.as, c.repo, b.digest()); err != nil {
				c.Fatal(err)
			}
		}
	}
	c.blobs(config, layer)
	c.push(m, "v2")
	if tags := c.tags(); !slices.Equal(tags, []string{"v2"}) {
		c.Errorf("tags = %v, want v2 alone: those of the deleted image must not come back", tags)
	}
}
