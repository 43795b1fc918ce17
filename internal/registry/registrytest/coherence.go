package registrytest

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/sekisho/sekisho/internal/registry"
)

// Once a write has returned, no read that begins after it may see what was before it, on any node. The readers
// below read all the time, so that whatever is remembered is remembered at the worst moment.
var coherenceTests = []test{
	{"tag moved", coherentTag},
	{"tag deleted", coherentTagDeletion},
	{"image deleted", coherentImageDeletion},
	{"referrer", coherentReferrer},
	{"blob", coherentBlob},
	{"blob of a deleted image", coherentNeed},
	{"repository", coherentRepository},
	{"resource tags", coherentResourceTags},
	{"settings", coherentSettings},
}

// readers is how many read what a test writes.
const readers = 2

// watched runs write for 0 to n-1 while readers run read all the time. What write has done is told to read by done,
// the number of writes that had returned before it began: it must see the state after write done-1, or a later one.
func (c *client) watched(n int, write func(i int), read func(done int64)) {
	c.Helper()
	var done atomic.Int64
	var stop atomic.Bool
	all := []func(){func() {
		defer stop.Store(true)
		for i := range n {
			write(i)
			done.Store(int64(i + 1))
			read(int64(i + 1))
		}
	}}
	for range readers {
		all = append(all, func() {
			for !stop.Load() && !c.Failed() {
				read(done.Load())
			}
		})
	}
	together(all...)
}

// rounds is how many writes a test of coherence makes.
func rounds() int {
	if testing.Short() {
		return 8
	}
	return 30
}

func coherentTag(c *client) {
	all := c.newImages(rounds())
	at := map[string]int64{}
	for i, m := range all {
		at[string(m.digest)] = int64(i)
	}
	c.push(all[0], "latest")
	c.watched(rounds(),
		func(i int) { c.push(all[i], "latest") },
		func(done int64) {
			m, err := c.manifest(tag("latest"))
			if err != nil || at[string(m.Digest)] < done-1 {
				c.Errorf("after push %d the tag named an image before it, or %v", done-1, err)
			}
			list, _, err := c.reg().Images(c.Context(), c.as, c.repo, registry.Page{})
			if err != nil || int64(len(list)) < done {
				c.Errorf("after push %d there are %d images, %v", done-1, len(list), err)
			}
		})
}

// alternate makes write the opposites on and off in turn; read is told which of them held before it began, and that
// none has begun since if it still holds afterwards.
func (c *client) alternate(on, off func() error, read func() (there bool, err error)) {
	c.Helper()
	var state atomic.Int64 // 2i: write i has returned; 2i+1: the next has begun
	check := func(int64) {
		before := state.Load()
		there, err := read()
		if err != nil {
			c.Errorf("read: %v", err)
		}
		if before%2 != 0 || state.Load() != before || before == 0 {
			return // a write was under way: both are right
		}
		if want := before/2%2 == 1; there != want {
			c.Errorf("after write %d returned and before the next began: there %v, want %v", before/2, there, want)
		}
	}
	c.watched(rounds(), func(i int) {
		write := on
		if i%2 == 1 {
			write = off
		}
		state.Add(1)
		if err := write(); err != nil {
			c.Errorf("write %d: %v", i, err)
		}
		state.Add(1)
	}, check)
}

// there makes an error that says that something is not there into an answer.
func there(err error, kinds ...registry.Kind) (bool, error) {
	if isKind(err, kinds...) {
		return false, nil
	}
	return err == nil, err
}

func coherentTagDeletion(c *client) {
	m := c.image()
	c.alternate(
		func() error { return fail(c.put(m, "v1")) },
		func() error { return c.delete(tag("v1")) },
		func() (bool, error) { return there(fail(c.manifest(tag("v1"))), registry.ManifestUnknown) },
	)
	c.alternate(
		func() error { return fail(c.put(m, "v1")) },
		func() error { return c.delete(tag("v1"), registry.DeleteOptions{LastTagDeletes: true}) },
		func() (bool, error) { return there(fail(c.manifest(byDigest(m.digest))), registry.ManifestUnknown) },
	)
	c.alternate(
		func() error { return fail(c.put(m, "v1")) },
		func() error { return c.delete(tag("v1")) },
		func() (bool, error) {
			names, _, err := c.reg().Tags(c.Context(), c.as, c.repo, registry.Page{})
			return slices.Contains(names, "v1"), err
		},
	)
}

func coherentImageDeletion(c *client) {
	m := c.newImages(1)[0]
	for _, ref := range []string{"v1", "v2", string(m.digest)} {
		r := tag(ref)
		if ref == string(m.digest) {
			r = byDigest(m.digest)
		}
		c.alternate(
			func() error { return fail(c.put(m, "v1", "v2")) },
			func() error { return c.delete(byDigest(m.digest)) },
			func() (bool, error) { return there(fail(c.manifest(r)), registry.ManifestUnknown) },
		)
	}
}

func coherentReferrer(c *client) {
	c.blobs(empty)
	subject := c.image()
	m := newArtifact(subject.descriptor(), "a/x", "")
	c.push(newArtifact(subject.descriptor(), "a/y", ""))
	for _, filter := range []string{"", "a/x"} {
		c.alternate(
			func() error { return fail(c.put(m, "sig")) },
			func() error { return c.delete(byDigest(m.digest)) },
			func() (bool, error) {
				return slices.Contains(digests(c.referrers(subject.digest, filter, 0)), m.digest), nil
			},
		)
	}
}

func coherentBlob(c *client) {
	for _, b := range []content{c.small(), c.large()} {
		del := func() error { return c.reg().DeleteBlob(c.Context(), c.as, c.repo, b.digest()) }
		stat := func() (bool, error) {
			return there(fail(c.reg().StatBlob(c.Context(), c.as, c.repo, b.digest())), registry.BlobUnknown)
		}
		c.alternate(func() error { return c.upload(b) }, del, stat)
		c.alternate(func() error { return c.upload(b) }, del, func() (bool, error) {
			return there(c.open(b.digest()), registry.BlobUnknown)
		})
		source := c.repository(fmt.Sprint("team/source", len(b)))
		source.blobs(b)
		c.alternate(func() error {
			return fail(c.reg().MountBlob(c.Context(), c.as, c.repo, source.repo, b.digest()))
		}, del, stat)
	}
}

// coherentNeed: whether a blob can be deleted follows the images that need it.
func coherentNeed(c *client) {
	b := c.large()
	c.blobs(b)
	m := newImage(b)
	for range rounds() {
		c.push(m, "v1")
		c.wantBlob(b)
		c.wantKind("DeleteBlob", c.reg().DeleteBlob(c.Context(), c.as, c.repo, b.digest()), registry.Referenced)
		if err := c.delete(byDigest(m.digest)); err != nil {
			c.Fatal(err)
		}
		c.wantBlob(b)
		if err := c.reg().DeleteBlob(c.Context(), c.as, c.repo, b.digest()); err != nil {
			c.Fatal(err)
		}
		c.wantKind("PutManifest", fail(c.put(m, "v1")), registry.BlobsMissing)
		c.blobs(b)
	}
}

func coherentRepository(c *client) {
	r := c.in("team/new")
	b := c.small()
	m := newImage(b)
	create := func() error {
		if _, err := r.reg().CreateRepository(r.Context(), r.as, r.repo, registry.RepositorySettings{}, nil); err != nil {
			return err
		}
		if err := r.upload(b); err != nil {
			return err
		}
		return fail(r.put(m, "v1"))
	}
	del := func() error { return fail(r.reg().DeleteRepository(r.Context(), r.as, r.repo, true)) }
	for _, read := range []func() error{
		func() error { return fail(r.reg().Repository(r.Context(), r.as, r.repo)) },
		func() error { return fail(r.manifest(tag("v1"))) },
		func() error { return fail(r.manifest(byDigest(m.digest))) },
		func() error { return r.open(b.digest()) },
	} {
		c.alternate(create, del, func() (bool, error) {
			return there(read(), registry.RepositoryUnknown, registry.ManifestUnknown, registry.BlobUnknown)
		})
	}
}

func coherentResourceTags(c *client) {
	c.alternate(
		func() error {
			return c.reg().TagRepository(c.Context(), c.as, c.repo, map[string]string{"k": "v"}, nil)
		},
		func() error { return c.reg().TagRepository(c.Context(), c.as, c.repo, nil, []string{"k"}) },
		func() (bool, error) {
			r, err := c.reg().Repository(c.Context(), c.as, c.repo)
			return err == nil && r.Tags["k"] == "v", err
		},
	)
}

func coherentSettings(c *client) {
	m := newImage(c.small())
	for i := range rounds() / 2 {
		c.settings(registry.Settings{SparseManifests: true})
		c.push(m, fmt.Sprint("t", i))
		if err := c.delete(byDigest(m.digest)); err != nil {
			c.Fatal(err)
		}
		c.settings(registry.Settings{})
		c.wantKind("PutManifest", fail(c.put(m, "v1")), registry.BlobsMissing)
	}
}
