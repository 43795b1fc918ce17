package registrytest

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/registry"
)

var blobTests = []test{
	{"sizes", blobSizes},
	{"parts", blobParts},
	{"unknown", unknownBlobs},
	{"pushed again", blobPushedAgain},
	{"mount", mount},
	{"mount refused", mountRefused},
	{"holders", holders},
	{"much later", muchLater},
}

func blobSizes(c *client) {
	inline := int(c.s.Limits.Inline)
	all := []content{{}, empty}
	for _, n := range []int{1, 100, inline - 1, inline, inline + 1, 64 << 10, 1 << 20, 3<<20 + 7} {
		all = append(all, c.random(n))
	}
	c.blobs(all...)
	for range 2 {
		for _, b := range all {
			c.wantBlob(b)
		}
	}
	m := newImage(all[0], all[1:]...)
	c.push(m, "v1")
	for _, b := range all {
		c.wantBlob(b)
	}
}

// blobParts: open content can be read from anywhere.
func blobParts(c *client) {
	large := c.large()
	c.blobs(large)
	b, err := c.reg().OpenBlob(c.Context(), c.as, c.repo, large.digest())
	if err != nil {
		c.Fatal(err)
	}
	defer b.Close()
	if b.Content == nil {
		return // the blob store itself answers
	}
	for _, at := range []int64{int64(len(large)) - 10, 0, 5000, 1, int64(len(large))} {
		if _, err := b.Content.Seek(at, io.SeekStart); err != nil {
			c.Fatalf("seek to %d: %v", at, err)
		}
		got, err := io.ReadAll(io.LimitReader(b.Content, 100))
		if want := large[at:min(at+100, int64(len(large)))]; err != nil || !bytes.Equal(got, want) {
			c.Errorf("read at %d: %d bytes, %v, want %d", at, len(got), err, len(want))
		}
	}
}

func unknownBlobs(c *client) {
	d := c.small().digest()
	_, err := c.reg().StatBlob(c.Context(), c.as, c.repo, d)
	c.wantText("StatBlob", err, registry.BlobUnknown, fmt.Sprintf(
		"The layer with digest '%s' does not exist in the repository with name 'team/app' in the registry with id '%s'", d, c.repo.Account))
	c.wantNoBlob(d)
	c.wantKind("DeleteBlob", c.reg().DeleteBlob(c.Context(), c.as, c.repo, d), registry.BlobUnknown)
	m := c.image("v1")
	c.wantNoBlob(m.digest) // a manifest is no blob
}

func blobPushedAgain(c *client) {
	small, large := c.small(), c.large()
	for range 3 {
		c.blobs(small, large)
	}
	c.push(newImage(small, large), "v1")
	c.blobs(small, large)
	other := c.repository("team/other")
	other.blobs(small, large)
	for _, r := range []*client{c, other} {
		r.wantBlob(small)
		r.wantBlob(large)
	}
}

func mount(c *client) {
	for _, b := range []content{c.small(), c.large()} {
		source := c.in("team/source")
		if _, err := c.reg().Repository(c.Context(), c.as, source.repo); err != nil {
			source = c.repository("team/source")
		}
		source.blobs(b)
		for range 2 {
			d, err := c.reg().MountBlob(c.Context(), c.as, c.repo, source.repo, b.digest())
			if want := (registry.Descriptor{Digest: b.digest(), Size: int64(len(b))}); err != nil || d != want {
				c.Fatalf("MountBlob = %v, %v, want %v", d, err, want)
			}
		}
		c.wantBlob(b)
		m := newImage(b)
		c.push(m, "v1")
		// What was mounted needs its source no more.
		if err := source.reg().DeleteBlob(c.Context(), c.as, source.repo, b.digest()); err != nil {
			c.Fatal(err)
		}
		source.wantNoBlob(b.digest())
		c.wantBlob(b)
		if d, err := c.reg().MountBlob(c.Context(), c.as, c.repo, c.repo, b.digest()); err != nil || d.Digest != b.digest() {
			c.Errorf("MountBlob from the repository itself: %v", err)
		}
	}
}

func mountRefused(c *client) {
	source := c.repository("team/source")
	there, missing := c.small(), c.small()
	source.blobs(there)
	for _, tc := range []struct {
		name     string
		to, from registry.Repo
		b        content
		want     registry.Kind
	}{
		{"no such blob", c.repo, source.repo, missing, registry.BlobUnknown},
		{"blob in another repository", source.repo, c.repo, missing, registry.BlobUnknown},
		{"blob of the target alone", source.repo, c.repo, there, registry.BlobUnknown},
		{"no such source", c.repo, registry.Repo{Account: c.repo.Account, Name: "team/none"}, there, registry.BlobUnknown},
		{"no such target", registry.Repo{Account: c.repo.Account, Name: "team/none"}, source.repo, there, registry.RepositoryUnknown},
	} {
		_, err := c.reg().MountBlob(c.Context(), c.as, tc.to, tc.from, tc.b.digest())
		c.wantKind(tc.name, err, tc.want)
	}
	c.wantNoBlob(there.digest())
}

func holders(c *client) {
	b := c.large()
	list := func(as *client) []registry.Repo {
		c.Helper()
		all, err := c.reg().Holders(c.Context(), as.as, as.repo.Account, b.digest())
		if err != nil {
			c.Fatalf("Holders: %v", err)
		}
		return all
	}
	if got := list(c); len(got) > 0 {
		c.Errorf("Holders of nothing = %v", got)
	}
	var want []registry.Repo
	for _, name := range []string{"b", "a-b", "a", "z/z", "a0"} {
		r := c.repository("holder/" + name)
		r.blobs(b)
		want = append(want, r.repo)
	}
	slices.SortFunc(want, func(a, b registry.Repo) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) })
	if diff := cmp.Diff(want, list(c)); diff != "" {
		c.Errorf("Holders: %s", diff)
	}
	stranger := c.s.client(c.T)
	stranger.blobs(b)
	if diff := cmp.Diff([]registry.Repo{stranger.repo}, list(stranger)); diff != "" {
		c.Errorf("Holders in another account: %s", diff)
	}
	if diff := cmp.Diff(want, list(c)); diff != "" {
		c.Errorf("Holders after another account has it too: %s", diff)
	}
	if err := c.reg().DeleteBlob(c.Context(), c.as, want[0], b.digest()); err != nil {
		c.Fatal(err)
	}
	if _, err := c.reg().DeleteRepository(c.Context(), c.as, want[1], true); err != nil {
		c.Fatal(err)
	}
	if diff := cmp.Diff(want[2:], list(c)); diff != "" {
		c.Errorf("Holders after deletions: %s", diff)
	}
}

// muchLater: a blob that a client was told of stays usable however old it is; what collection makes of it is not
// tested here.
func muchLater(c *client) {
	small, large := c.small(), c.large()
	c.blobs(small, large)
	for range 3 {
		c.s.Advance(13 * time.Hour)
		c.wantBlob(small)
		c.wantBlob(large)
	}
	c.push(newImage(small, large), "v1")
	c.s.Advance(100 * time.Hour)
	c.wantBlob(small)
	c.wantBlob(large)
}
