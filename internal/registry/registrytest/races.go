package registrytest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/sekisho/sekisho/internal/registry"
)

var raceTests = []test{
	{"one tag", pushOneTag},
	{"one blob", pushOneBlob},
	{"one image", pushOneImage},
	{"referrers", pushReferrers},
	{"an immutable tag", pushImmutableTag},
	{"one repository created", createOneRepository},
	{"resource tags", tagOneRepository},
	{"image deleted and pushed", deleteAndPushImage},
	{"blob deleted and needed", deleteAndNeedBlob},
	{"child deleted and needed", deleteAndNeedChild},
	{"last tags deleted", deleteLastTags},
	{"tag moved and deleted", moveAndDeleteTag},
	{"tags in every order", tagsInEveryOrder},
	{"repository deleted and pushed to", deleteAndPushTo},
	{"repository replaced and pushed to", replaceAndPushTo},
	{"everything", everything},
}

// writers is how many write at once.
const writers = 16

// together runs all at once and returns when they have ended.
func together(all ...func()) {
	var wg sync.WaitGroup
	start := make(chan struct{})
	for _, f := range all {
		wg.Go(func() { <-start; f() })
	}
	close(start)
	wg.Wait()
}

// times runs f(0) to f(n-1) at once.
func times(n int, f func(i int)) {
	all := make([]func(), n)
	for i := range all {
		all[i] = func() { f(i) }
	}
	together(all...)
}

// isKind reports whether err is of one of the kinds.
func isKind(err error, kinds ...registry.Kind) bool {
	return slices.ContainsFunc(kinds, func(k registry.Kind) bool { return errors.Is(err, registry.ErrOf(k)) })
}

// newImages pushes the blobs of n images.
func (c *client) newImages(n int) []document {
	config, layer := c.small(), c.large()
	c.blobs(config, layer)
	all := make([]document, n)
	for i := range all {
		b := c.small()
		c.blobs(b)
		all[i] = newImage(config, layer, b)
	}
	return all
}

func pushOneTag(c *client) {
	all := c.newImages(2 * writers)
	times(len(all), func(i int) {
		if _, err := c.put(all[i], "latest", fmt.Sprint("t", i)); err != nil {
			c.Errorf("PutManifest: %v", err)
		}
	})
	m, err := c.manifest(tag("latest"))
	if err != nil || !slices.ContainsFunc(all, func(d document) bool { return d.digest == m.Digest }) {
		c.Fatalf("Manifest latest: %v, or none of those pushed", err)
	}
	for i, m := range all {
		c.wantManifest(tag(fmt.Sprint("t", i)), m)
	}
	if n := len(c.tags()); n != len(all)+1 {
		c.Errorf("%d tags, want %d", n, len(all)+1)
	}
}

func pushOneBlob(c *client) {
	repos := []*client{c}
	for i := range 3 {
		repos = append(repos, c.repository(fmt.Sprint("team/r", i)))
	}
	for _, b := range []content{c.small(), c.large(), {}} {
		times(2*writers, func(i int) {
			r := repos[i%len(repos)]
			if err := r.upload(b); err != nil {
				c.Errorf("push blob of %d bytes: %v", len(b), err)
			}
			r.wantBlob(b)
		})
		for _, r := range repos {
			r.wantBlob(b)
			r.push(newImage(b), "v1")
		}
	}
}

func pushOneImage(c *client) {
	for _, m := range c.newImages(5) {
		times(writers, func(i int) {
			if _, err := c.put(m, "v1", fmt.Sprint("t", i%4)); err != nil {
				c.Errorf("PutManifest: %v", err)
			}
			c.wantManifest(byDigest(m.digest), m)
		})
		c.wantManifest(tag("v1"), m)
	}
}

func pushReferrers(c *client) {
	c.blobs(empty)
	subject := c.image()
	all := make([]document, 64)
	for i := range all {
		all[i] = newArtifact(subject.descriptor(), "a/x", fmt.Sprint(i))
	}
	times(len(all), func(i int) {
		if _, err := c.put(all[i]); err != nil {
			c.Errorf("PutManifest: %v", err)
			return
		}
		// What this client pushed is in the list now, whoever else pushes.
		if !slices.Contains(digests(c.referrers(subject.digest, "", 0)), all[i].digest) {
			c.Errorf("referrer %d is not in the list after its push", i)
		}
	})
	c.wantReferrers(subject.digest, all...)
	times(len(all), func(i int) {
		if i%2 == 0 {
			if err := c.delete(byDigest(all[i].digest)); err != nil {
				c.Errorf("DeleteManifest: %v", err)
			}
		}
	})
	var left []document
	for i, m := range all {
		if i%2 != 0 {
			left = append(left, m)
		}
	}
	c.wantReferrers(subject.digest, left...)
}

func pushImmutableTag(c *client) {
	r := c.repository("team/strict", registry.RepositorySettings{Mutability: registry.Immutable})
	all := r.newImages(writers)
	for round := range 5 {
		var winner atomic.Value
		name := fmt.Sprint("v", round)
		times(len(all), func(i int) {
			_, err := r.put(all[i], name)
			switch {
			case err == nil:
				if !winner.CompareAndSwap(nil, all[i].digest) {
					c.Errorf("two pushes of an immutable tag succeeded")
				}
			case !isKind(err, registry.TagImmutable):
				c.Errorf("PutManifest: %v", err)
			}
		})
		m, err := r.manifest(tag(name))
		if err != nil || winner.Load() != m.Digest {
			c.Errorf("Manifest %s: %v, or not the one whose push succeeded", name, err)
		}
	}
}

func createOneRepository(c *client) {
	repo := registry.Repo{Account: c.repo.Account, Name: "team/new"}
	for range 5 {
		var won atomic.Int32
		times(writers, func(int) {
			_, err := c.reg().CreateRepository(c.Context(), c.as, repo, registry.RepositorySettings{}, nil)
			switch {
			case err == nil:
				won.Add(1)
			case !isKind(err, registry.RepositoryExists):
				c.Errorf("CreateRepository: %v", err)
			}
			if _, err := c.reg().Repository(c.Context(), c.as, repo); err != nil {
				c.Errorf("Repository: %v", err)
			}
		})
		if n := won.Load(); n != 1 {
			c.Errorf("%d creations of one repository succeeded, want 1", n)
		}
		won.Store(0)
		times(writers, func(int) {
			_, err := c.reg().DeleteRepository(c.Context(), c.as, repo, false)
			switch {
			case err == nil:
				won.Add(1)
			case !isKind(err, registry.RepositoryUnknown):
				c.Errorf("DeleteRepository: %v", err)
			}
		})
		if n := won.Load(); n != 1 {
			c.Errorf("%d deletions of one repository succeeded, want 1", n)
		}
	}
}

func tagOneRepository(c *client) {
	times(2*writers, func(i int) {
		if err := c.reg().TagRepository(c.Context(), c.as, c.repo, map[string]string{fmt.Sprint(i): "x"}, nil); err != nil {
			c.Errorf("TagRepository: %v", err)
		}
	})
	r, err := c.reg().Repository(c.Context(), c.as, c.repo)
	if err != nil || len(r.Tags) != 2*writers {
		c.Errorf("Repository = %v, %v, want %d tags", r, err, 2*writers)
	}
}
