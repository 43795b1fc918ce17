package registrytest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"

	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/oci"
	"github.com/sekisho/sekisho/internal/registry"
)

// deleteAndPushImage: whatever the order, what is there in the end is whole, and a client that pushed last finds it.
func deleteAndPushImage(c *client) {
	for range 20 {
		m := c.newImages(1)[0]
		c.push(m, "v1")
		var deleted, pushed error
		together(
			func() { deleted = c.delete(byDigest(m.digest)) },
			func() { _, pushed = c.put(m, "v1", "v2") },
			func() { _, _ = c.manifest(tag("v2")) },
		)
		if deleted != nil || pushed != nil {
			c.Fatalf("DeleteManifest: %v, PutManifest: %v", deleted, pushed)
		}
		_, err1 := c.manifest(tag("v1"))
		_, err2 := c.manifest(tag("v2"))
		_, err := c.manifest(byDigest(m.digest))
		if (err1 == nil) != (err2 == nil) || (err1 == nil) != (err == nil) {
			c.Errorf("v1: %v, v2: %v, by digest: %v; want all of them or none", err1, err2, err)
		}
		if err == nil {
			if err := c.delete(byDigest(m.digest)); err != nil {
				c.Error(err)
			}
		}
	}
}

func deleteAndNeedBlob(c *client) {
	for i := range 20 {
		m, b := c.newImages(1)[0], c.small()
		if i%2 == 0 {
			b = c.large()
		}
		c.blobs(b)
		m = newImage(b, b)
		other := c.in("team/app")
		var deleted, pushed error
		together(
			func() { deleted = c.reg().DeleteBlob(c.Context(), c.as, c.repo, b.digest()) },
			func() { _, pushed = other.put(m, "v1") },
			func() { _, _ = c.blob(b.digest()) },
		)
		switch {
		case deleted == nil && isKind(pushed, registry.BlobsMissing):
			c.wantNoBlob(b.digest())
			c.wantNoManifest(byDigest(m.digest))
		case pushed == nil && isKind(deleted, registry.Referenced):
			c.wantBlob(b)
			c.wantManifest(tag("v1"), m)
		default:
			c.Errorf("DeleteBlob: %v, PutManifest: %v; want one of them to succeed", deleted, pushed)
		}
	}
}

func deleteAndNeedChild(c *client) {
	for range 20 {
		child := c.newImages(1)[0]
		c.push(child, "child")
		index := newIndex(child)
		var deleted, pushed error
		together(
			func() { deleted = c.delete(byDigest(child.digest)) },
			func() { _, pushed = c.put(index, "index") },
		)
		switch {
		case deleted == nil && isKind(pushed, registry.ManifestsMissing):
			c.wantNoManifest(byDigest(child.digest))
			c.wantNoManifest(byDigest(index.digest))
		case pushed == nil && isKind(deleted, registry.Referenced):
			c.wantManifest(byDigest(child.digest), child)
			c.wantManifest(tag("index"), index)
		default:
			c.Errorf("DeleteManifest: %v, PutManifest: %v; want one of them to succeed", deleted, pushed)
		}
	}
}

func deleteLastTags(c *client) {
	for range 20 {
		m := c.newImages(1)[0]
		c.push(m, "a", "b", "c")
		names := []string{"a", "b", "c"}
		times(3, func(i int) {
			if err := c.delete(tag(names[i]), registry.DeleteOptions{LastTagDeletes: true}); err != nil {
				c.Errorf("DeleteManifest: %v", err)
			}
		})
		c.wantNoManifest(byDigest(m.digest))
	}
}

// moveAndDeleteTag: a deletion that names a digest takes the tag from that image only.
func moveAndDeleteTag(c *client) {
	for i := range 40 {
		last := i%2 == 0
		all := c.newImages(2)
		from, to := all[0], all[1]
		c.push(from, "latest")
		var deleted, pushed error
		together(
			func() {
				deleted = c.delete(tag("latest"), registry.DeleteOptions{LastTagDeletes: last, Digest: from.digest})
			},
			func() { _, pushed = c.put(to, "latest") },
		)
		if pushed != nil || deleted != nil && !isKind(deleted, registry.ManifestUnknown) {
			c.Fatalf("DeleteManifest: %v, PutManifest: %v", deleted, pushed)
		}
		c.wantManifest(tag("latest"), to)
		if _, err := c.manifest(byDigest(from.digest)); (err == nil) != (deleted != nil || !last) {
			c.Errorf("the tag's deletion: %v; its old image: %v", deleted, err)
		}
	}
}

func tagsInEveryOrder(c *client) {
	all := c.newImages(4)
	names := []string{"a", "b", "c", "d", "e"}
	index := newIndex(all...)
	for _, m := range all {
		c.push(m)
	}
	backwards := slices.Clone(all)
	slices.Reverse(backwards)
	indexes := []document{index, newIndex(backwards...)}
	times(writers, func(i int) {
		r := rand.New(rand.NewPCG(1, uint64(i)))
		for range 10 {
			mine := slices.Clone(names)
			r.Shuffle(len(mine), func(i, k int) { mine[i], mine[k] = mine[k], mine[i] })
			switch n := r.IntN(10); {
			case n < 6:
				if _, err := c.put(all[r.IntN(len(all))], mine[:3]...); err != nil {
					c.Errorf("PutManifest: %v", err)
				}
			case n < 8:
				if _, err := c.put(indexes[r.IntN(2)], mine[0]); err != nil {
					c.Errorf("PutManifest: %v", err)
				}
			case n < 9:
				if err := c.delete(tag(mine[0])); err != nil && !isKind(err, registry.ManifestUnknown) {
					c.Errorf("DeleteManifest: %v", err)
				}
			default:
				if err := c.delete(byDigest(indexes[r.IntN(2)].digest)); err != nil && !isKind(err, registry.ManifestUnknown) {
					c.Errorf("DeleteManifest: %v", err)
				}
			}
		}
	})
}

// deleteAndPushTo: a repository that is deleted because it was empty has lost no push.
func deleteAndPushTo(c *client) {
	b := c.small()
	for i := range 30 {
		r := c.repository(fmt.Sprint("team/race", i))
		r.blobs(b)
		m := newImage(b)
		r.wantNoManifest(tag("v1")) // so that the repository is known to every cache
		var deleted, pushed error
		together(
			func() { _, deleted = r.reg().DeleteRepository(r.Context(), r.as, r.repo, false) },
			func() { _, pushed = r.put(m, "v1") },
			func() { _, _ = r.manifest(tag("v1")) },
		)
		switch {
		case deleted == nil && isKind(pushed, registry.RepositoryUnknown):
			c.wantKind("Manifest", fail(r.manifest(tag("v1"))), registry.RepositoryUnknown)
		case pushed == nil && isKind(deleted, registry.RepositoryNotEmpty):
			r.wantManifest(tag("v1"), m)
		default:
			c.Errorf("DeleteRepository: %v, PutManifest: %v; want one of them to succeed", deleted, pushed)
		}
	}
}

// replaceAndPushTo: nothing of a deleted repository comes up in the one that took its name, also if it was pushed
// while that happened.
func replaceAndPushTo(c *client) {
	b, large := c.small(), c.large()
	r := c.in("team/replaced")
	var stop atomic.Bool
	m := newImage(b, large)
	together(
		func() {
			defer stop.Store(true)
			for range 30 {
				if _, err := r.reg().CreateRepository(r.Context(), r.as, r.repo, registry.RepositorySettings{}, nil); err != nil {
					c.Errorf("CreateRepository: %v", err)
				}
				if got := r.tags(); slices.Contains(got, "old") {
					c.Errorf("a new repository has the tags %v", got)
				}
				r.wholeIfThere()
				if _, err := r.reg().DeleteRepository(r.Context(), r.as, r.repo, true); err != nil {
					c.Errorf("DeleteRepository: %v", err)
				}
			}
		},
		func() {
			for !stop.Load() {
				for _, err := range []error{r.upload(b), r.upload(large), fail(r.put(m, "v1"))} {
					if err != nil && !isKind(err, registry.RepositoryUnknown, registry.BlobsMissing) {
						c.Errorf("push: %v", err)
					}
				}
			}
		},
		func() {
			for !stop.Load() {
				if got, err := r.manifest(tag("v1")); err == nil && got.Digest != m.digest || err != nil && !isKind(err, registry.RepositoryUnknown, registry.ManifestUnknown) {
					c.Errorf("Manifest: %v, or another's", err)
				}
			}
		},
	)
}

// wholeIfThere checks that an image whose tag is there is whole.
func (c *client) wholeIfThere() {
	c.Helper()
	m, err := c.manifest(tag("v1"))
	if err != nil {
		return
	}
	parsed, err := oci.ParseManifest(m.MediaType, m.Data)
	if err != nil {
		c.Error(err)
		return
	}
	for _, b := range parsed.Blobs {
		if _, err := c.blob(b.Digest); err != nil {
			c.Errorf("an image needs %s: %v", b.Digest, err)
		}
	}
}

// everything: clients do all there is to do, to the same few things. Every answer is one that some order explains, and
// in the end everything is whole.
func everything(c *client) {
	blobs := []content{c.small(), c.small(), c.large(), c.large()}
	var images []document
	for i := range blobs {
		images = append(images, newImage(blobs[i], blobs[(i+1)%len(blobs)]))
	}
	for i := range images {
		images = append(images, newIndex(images[i], images[(i+1)%4]))
	}
	for i := range 4 {
		m := newImage(blobs[0])
		m = newDocument(oci.TypeImage, object{"config": blobs[0].descriptor("a/x"), "layers": []oci.Descriptor{}, "subject": m.descriptor(), "annotations": map[string]string{"n": fmt.Sprint(i)}})
		images = append(images, m)
	}
	names := []string{"a", "b", "c"}
	repos := []*client{c, c.repository("team/second")}
	fine := func(what string, err error, kinds ...registry.Kind) {
		if err != nil && !isKind(err, kinds...) {
			c.Errorf("%s: %v", what, err)
		}
	}
	times(writers, func(i int) {
		rnd := rand.New(rand.NewPCG(2, uint64(i)))
		for range 40 {
			r, other := repos[rnd.IntN(2)], repos[rnd.IntN(2)]
			m, b, name := images[rnd.IntN(len(images))], blobs[rnd.IntN(len(blobs))], names[rnd.IntN(len(names))]
			switch rnd.IntN(14) {
			case 0, 1:
				fine("push blob", r.upload(b))
			case 2, 3, 4:
				fine("PutManifest", fail(r.put(m, names[:rnd.IntN(3)]...)), registry.BlobsMissing, registry.ManifestsMissing)
			case 5:
				fine("MountBlob", fail(r.reg().MountBlob(r.Context(), r.as, r.repo, other.repo, b.digest())), registry.BlobUnknown)
			case 6:
				fine("DeleteManifest", r.delete(byDigest(m.digest)), registry.ManifestUnknown, registry.Referenced)
			case 7:
				fine("DeleteManifest by tag", r.delete(tag(name), registry.DeleteOptions{LastTagDeletes: rnd.IntN(2) == 0}), registry.ManifestUnknown)
			case 8:
				fine("DeleteBlob", r.reg().DeleteBlob(r.Context(), r.as, r.repo, b.digest()), registry.BlobUnknown, registry.Referenced)
			case 9:
				got, err := r.manifest(tag(name))
				fine("Manifest", err, registry.ManifestUnknown)
				if err == nil && got.Digest.Algorithm().FromBytes(got.Data) != got.Digest {
					c.Errorf("the tag %s gave other bytes than its digest's", name)
				}
			case 10:
				data, err := r.blob(b.digest())
				fine("OpenBlob", err, registry.BlobUnknown)
				if err == nil && digest.FromBytes(data) != b.digest() {
					c.Errorf("the blob %s gave other bytes than its digest's", b.digest())
				}
			case 11:
				_, _, err := r.reg().Images(r.Context(), r.as, r.repo, registry.Page{})
				fine("Images", err)
			case 12:
				_, err := r.reg().Referrers(r.Context(), r.as, r.repo, images[0].digest, "", registry.Page{})
				fine("Referrers", err)
			case 13:
				fine("StatBlob", fail(r.reg().StatBlob(r.Context(), r.as, r.repo, b.digest())), registry.BlobUnknown)
			}
		}
	})
}
