package registrytest

import (
	"bytes"
	"errors"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/oci"
	"github.com/sekisho/sekisho/internal/registry"
)

// client is a client of one repository, in a test. What the registry refuses it, it reports as the test's failure,
// except where a method returns the error. Its methods may be called concurrently.
type client struct {
	*testing.T
	s     *suite
	as    *iam.Caller
	repo  registry.Repo
	bytes *source
}

func newClient(t *testing.T, s *suite, account string) *client {
	h := fnv.New64()
	io.WriteString(h, t.Name()+account)
	return &client{
		T:     t,
		s:     s,
		as:    (&iam.Principal{Account: account, ARN: iam.RootARN(account), Type: iam.Root}).Caller(),
		repo:  registry.Repo{Account: account},
		bytes: &source{r: rand.NewChaCha8([32]byte(h.Sum(make([]byte, 24))))},
	}
}

// source yields bytes that no other test has.
type source struct {
	mu sync.Mutex
	r  *rand.ChaCha8
}

func (s *source) next(n int) content {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := make(content, n)
	s.r.Read(b) // never fails
	return b
}

// reg is the registry, by the next node.
func (c *client) reg() registry.Registry {
	return c.s.Nodes[int(c.s.calls.Add(1))%len(c.s.Nodes)]
}

// at returns the client of one node alone.
func (c *client) at(node int) *client {
	other := *c
	other.s = &suite{Instance: c.s.Instance}
	other.s.Nodes = c.s.Nodes[node%len(c.s.Nodes):][:1]
	return &other
}

// in returns the client for another repository of its account.
func (c *client) in(name string) *client {
	other := *c
	other.repo.Name = name
	return &other
}

// repository creates a repository and returns the client for it.
func (c *client) repository(name string, s ...registry.RepositorySettings) *client {
	c.Helper()
	other := c.in(name)
	var settings registry.RepositorySettings
	if len(s) > 0 {
		settings = s[0]
	}
	if _, err := c.reg().CreateRepository(c.Context(), c.as, other.repo, settings, nil); err != nil {
		c.Fatalf("create repository %s: %v", name, err)
	}
	return other
}

// content is the content of a blob.
type content []byte

func (b content) digest() digest.Digest { return digest.FromBytes(b) }

func (b content) descriptor(mediaType string) oci.Descriptor {
	return oci.Descriptor{MediaType: mediaType, Digest: b.digest(), Size: int64(len(b))}
}

// random returns n bytes that were never pushed before.
func (c *client) random(n int) content { return c.bytes.next(n) }

// small and large return contents that are kept inline and in the blob store.
func (c *client) small() content { return c.random(100) }
func (c *client) large() content { return c.random(int(c.s.Limits.Inline) + 100_000) }

// upload pushes a blob in one request.
func (c *client) upload(b content) error {
	ctx := c.Context()
	id, err := c.reg().StartUpload(ctx, c.as, c.repo)
	if err != nil {
		return err
	}
	end := registry.UploadEnd{Digest: b.digest(), At: registry.AtEnd, Body: bytes.NewReader(b), Size: int64(len(b))}
	d, err := c.reg().CompleteUpload(ctx, c.as, c.repo, id, end)
	if want := (registry.Descriptor{Digest: b.digest(), Size: int64(len(b))}); err == nil && d != want {
		c.Errorf("CompleteUpload = %v, want %v", d, want)
	}
	return err
}

// blobs pushes blobs.
func (c *client) blobs(all ...content) {
	c.Helper()
	for _, b := range all {
		if err := c.upload(b); err != nil {
			c.Fatalf("push blob of %d bytes: %v", len(b), err)
		}
	}
}

// blob reads a blob whole.
func (c *client) blob(d digest.Digest) (content, error) {
	b, err := c.reg().OpenBlob(c.Context(), c.as, c.repo, d)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	var data []byte
	switch {
	case b.URL != "":
		data, err = get(b.URL)
	case b.Content != nil:
		if b.Content.Size() != b.Size {
			c.Errorf("content of blob %s has %d bytes, its descriptor says %d", d, b.Content.Size(), b.Size)
		}
		data, err = io.ReadAll(b.Content)
	default:
		data = b.Data
	}
	if err == nil && (b.Digest != d || b.Size != int64(len(data))) {
		c.Errorf("blob %s of %d bytes has the descriptor %v", d, len(data), b.Descriptor)
	}
	return data, err
}

func get(url string) ([]byte, error) {
	res, err := http.Get(url)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, errors.New(res.Status)
	}
	return io.ReadAll(res.Body)
}

// open opens a blob and closes it again.
func (c *client) open(d digest.Digest) error {
	b, err := c.reg().OpenBlob(c.Context(), c.as, c.repo, d)
	if err != nil {
		return err
	}
	return b.Close()
}

// wantBlob checks that a blob is there, whole.
func (c *client) wantBlob(b content) {
	c.Helper()
	desc, err := c.reg().StatBlob(c.Context(), c.as, c.repo, b.digest())
	if want := (registry.Descriptor{Digest: b.digest(), Size: int64(len(b))}); err != nil || desc != want {
		c.Errorf("StatBlob = %v, %v, want %v", desc, err, want)
	}
	got, err := c.blob(b.digest())
	if err != nil || !bytes.Equal(got, b) {
		c.Errorf("blob %s is %d bytes, %v, want those pushed, %d bytes", b.digest(), len(got), err, len(b))
	}
}

// wantNoBlob checks that a blob is not there.
func (c *client) wantNoBlob(d digest.Digest) {
	c.Helper()
	_, err := c.reg().StatBlob(c.Context(), c.as, c.repo, d)
	c.wantKind("StatBlob", err, registry.BlobUnknown)
	_, err = c.blob(d)
	c.wantKind("OpenBlob", err, registry.BlobUnknown)
}

// put pushes a manifest under tags.
func (c *client) put(m document, tags ...string) (*registry.Manifest, error) {
	return c.reg().PutManifest(c.Context(), c.as, c.repo, registry.ManifestPut{Tags: tags, Digest: m.digest, MediaType: m.mediaType, Data: m.data})
}

// push pushes a manifest under tags.
func (c *client) push(m document, tags ...string) {
	c.Helper()
	if got, err := c.put(m, tags...); err != nil || got.Digest != m.digest {
		c.Fatalf("PutManifest %s %v: %v, want digest %s", m.mediaType, tags, err, m.digest)
	}
}

// image pushes a small image that was never pushed before, under tags.
func (c *client) image(tags ...string) document {
	c.Helper()
	config, layer := c.small(), c.small()
	c.blobs(config, layer)
	m := newImage(config, layer)
	c.push(m, tags...)
	return m
}

func tag(name string) oci.Reference          { return oci.Reference{Tag: name} }
func byDigest(d digest.Digest) oci.Reference { return oci.Reference{Digest: d} }

// manifest reads a manifest.
func (c *client) manifest(ref oci.Reference) (*registry.Manifest, error) {
	return c.reg().Manifest(c.Context(), c.as, c.repo, ref)
}

// wantManifest checks that a reference names a manifest, as it was pushed.
func (c *client) wantManifest(ref oci.Reference, want document) {
	c.Helper()
	m, err := c.manifest(ref)
	if err != nil {
		c.Errorf("Manifest %s: %v, want %s", ref, err, want.digest)
		return
	}
	if m.Digest != want.digest || m.MediaType != want.mediaType || !bytes.Equal(m.Data, want.data) {
		c.Errorf("Manifest %s is %s %s, %d bytes, want %s %s, %d bytes as pushed", ref, m.MediaType, m.Digest, len(m.Data), want.mediaType, want.digest, len(want.data))
	}
}

func (c *client) wantNoManifest(ref oci.Reference) {
	c.Helper()
	_, err := c.manifest(ref)
	c.wantKind("Manifest "+ref.String(), err, registry.ManifestUnknown)
}

// delete deletes a manifest or tag.
func (c *client) delete(ref oci.Reference, o ...registry.DeleteOptions) error {
	var options registry.DeleteOptions
	if len(o) > 0 {
		options = o[0]
	}
	_, err := c.reg().DeleteManifest(c.Context(), c.as, c.repo, ref, options)
	return err
}

// tags lists all tags.
func (c *client) tags() []string {
	c.Helper()
	return pages(c, func(p registry.Page) ([]string, bool, error) {
		return c.reg().Tags(c.Context(), c.as, c.repo, p)
	}, func(name string) string { return name })
}

// images lists all images.
func (c *client) images() []registry.Image {
	c.Helper()
	return pages(c, func(p registry.Page) ([]registry.Image, bool, error) {
		return c.reg().Images(c.Context(), c.as, c.repo, p)
	}, func(i registry.Image) string { return string(i.Digest) })
}

// pages asks for page after page.
func pages[T any](c *client, list func(registry.Page) ([]T, bool, error), name func(T) string) []T {
	c.Helper()
	var all []T
	for p := (registry.Page{}); ; {
		some, more, err := list(p)
		if err != nil {
			c.Fatalf("list after %q: %v", p.After, err)
		}
		all = append(all, some...)
		if !more {
			return all
		}
		if len(some) == 0 {
			c.Fatalf("the page after %q is empty and says that there is more", p.After)
		}
		p.After = name(some[len(some)-1])
	}
}

// settings changes the settings of the client's account.
func (c *client) settings(s registry.Settings) {
	c.Helper()
	if err := c.reg().PutSettings(c.Context(), c.as, c.repo.Account, s); err != nil {
		c.Fatalf("PutSettings: %v", err)
	}
}

// wantKind checks that an error is of a kind and says something.
func (c *client) wantKind(what string, err error, want registry.Kind) {
	c.Helper()
	var e *registry.Error
	if !errors.As(err, &e) || e.Kind != want || e.Message == "" {
		c.Errorf("%s: %v, want kind %d", what, err, want)
	}
}

// wantText checks an error's kind and text.
func (c *client) wantText(what string, err error, kind registry.Kind, text string) {
	c.Helper()
	c.wantKind(what, err, kind)
	if err != nil && err.Error() != text {
		c.Errorf("%s:\n got %s\nwant %s", what, err, text)
	}
}

// whole checks that whatever the client's repositories list can be read.
func (c *client) whole() {
	c.Helper()
	if c.Failed() {
		return
	}
	repos := pages(c, func(p registry.Page) ([]registry.Repository, bool, error) {
		return c.reg().Repositories(c.Context(), c.as, c.repo.Account, p)
	}, func(r registry.Repository) string { return r.Name })
	s, err := c.reg().Settings(c.Context(), c.as, c.repo.Account)
	if err != nil {
		c.Fatalf("Settings: %v", err)
	}
	for _, r := range repos {
		c.in(r.Name).wholeRepository(s.SparseManifests)
	}
}

func (c *client) wholeRepository(sparse bool) {
	c.Helper()
	read := map[digest.Digest]bool{}
	named := map[string]digest.Digest{}
	for _, i := range c.images() {
		m, err := c.manifest(byDigest(i.Digest))
		if err != nil || m.Digest.Algorithm().FromBytes(m.Data) != i.Digest {
			c.Errorf("%s lists the image %s, but reading it: %v, or other bytes", c.repo.Name, i.Digest, err)
			continue
		}
		for _, name := range i.Tags {
			named[name] = i.Digest
		}
		parsed, err := oci.ParseManifest(m.MediaType, m.Data)
		if err != nil {
			c.Errorf("the image %s that was accepted: %v", i.Digest, err)
			continue
		}
		for _, b := range parsed.Blobs {
			if read[b.Digest] || sparse || !b.Distributable() {
				continue
			}
			read[b.Digest] = true
			if data, err := c.blob(b.Digest); err != nil || b.Digest.Algorithm().FromBytes(data) != b.Digest {
				c.Errorf("the image %s needs %s, but reading it: %v, or other bytes", i.Digest, b.Digest, err)
			}
		}
		for _, child := range parsed.Children {
			if _, err := c.manifest(byDigest(child.Digest)); err != nil && !sparse {
				c.Errorf("the index %s needs %s: %v", i.Digest, child.Digest, err)
			}
		}
	}
	tags := c.tags()
	for _, name := range tags {
		if m, err := c.manifest(tag(name)); err != nil || m.Digest != named[name] {
			c.Errorf("the tag %s of %s: %v, or not the image %s that lists it", name, c.repo.Name, err, named[name])
		}
	}
	if len(tags) != len(named) || !slices.IsSorted(tags) {
		c.Errorf("the tags of %s are %v, its images have %v", c.repo.Name, tags, named)
	}
}
