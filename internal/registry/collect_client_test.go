package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/blob"
	"github.com/sekisho/sekisho/internal/oci"
)

// promise is that something is there.
type promise struct {
	at  time.Time // before the call
	seq int64
}

func (w *world) promise() promise { return promise{w.now(), w.seq.Add(1)} }

// holds reports whether a promise must still hold now.
func (w *world) holds(p promise, repo Repo, d digest.Digest) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	v := w.voids[voidKey{repo, d}]
	return p.seq > 0 && v.running == 0 && v.last < p.seq && w.now().Before(p.at.Add(modelGrace/2-w.slack))
}

// modelImage is an image, index or referrer of one client.
type modelImage struct {
	repo     Repo
	data     []byte
	digest   digest.Digest
	blobs    []digest.Digest
	children []*modelImage
	subject  *modelImage
	stored   bool      // as far as the client knows
	named    time.Time // when last it surely had a name, or was pushed
	told     promise
}

// client is somebody who uses the registry, one call after another.
type client struct {
	w      *world
	id, n  int
	r      *rand.Rand
	l      *Local // the node of this call
	step   func()
	tmp    Repo // deleted and created again
	hasTmp bool
	told   map[Repo]map[digest.Digest]promise
	images []*modelImage
	tags   map[Repo]map[string]*modelImage
}

// run does something until stop.
func (c *client) run(ctx context.Context, stop func() bool) {
	for !stop() && !c.w.failed.Load() {
		c.next()
		switch n := c.r.IntN(100); {
		case n < 34:
			c.pushImage(ctx)
		case n < 42:
			c.pushIndex(ctx)
		case n < 48:
			c.pushAgain(ctx)
		case n < 66:
			c.read(ctx)
		case n < 76:
			c.untag(ctx)
		case n < 84:
			c.deleteImage(ctx)
		case n < 88:
			c.deleteBlob(ctx)
		case n < 91:
			c.temporary(ctx)
		case n < 97:
			c.abandon(ctx)
		default:
			if err := c.l.flushPulls(ctx); err != nil {
				c.w.fail("flush pulls: %v", err)
			}
		}
	}
}

// next begins a call: others may go first, and it goes to any node.
func (c *client) next() {
	c.step()
	c.l = c.w.nodes[c.r.IntN(len(c.w.nodes))]
}

func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

func (c *client) repo() Repo {
	if c.hasTmp && c.r.IntN(5) == 0 {
		return c.tmp
	}
	return pick(c.r, c.w.repos)
}

func (c *client) setTold(repo Repo, d digest.Digest, p promise) {
	if c.told[repo] == nil {
		c.told[repo] = map[digest.Digest]promise{}
	}
	c.told[repo][d] = p
}

// have makes sure that a blob is in a repository, as clients do: they ask, and push or mount it if it isn't.
func (c *client) have(ctx context.Context, repo Repo, content []byte) {
	d := digest.FromBytes(content)
	if c.r.IntN(3) == 0 && c.w.holds(c.told[repo][d], repo, d) {
		return // remembers that
	}
	delete(c.told[repo], d)
	c.next()
	if c.r.IntN(6) == 0 {
		c.upload(ctx, repo, content) // without asking
		return
	}
	p := c.w.promise()
	_, err := c.l.StatBlob(ctx, nil, repo, d)
	if err == nil {
		c.setTold(repo, d, p)
		return
	}
	if !errors.Is(err, ErrOf(BlobUnknown)) {
		c.w.fail("StatBlob: %v", err)
		return
	}
	if c.r.IntN(2) == 0 {
		c.next()
		p := c.w.promise()
		from := pick(c.r, append(slices.Clone(c.w.repos), c.w.clients[c.r.IntN(modelClients)].tmp))
		_, err := c.l.MountBlob(ctx, nil, repo, from, d)
		if err == nil {
			c.setTold(repo, d, p)
			return
		}
		if !errors.Is(err, ErrOf(BlobUnknown)) {
			c.w.fail("MountBlob: %v", err)
			return
		}
	}
	c.next()
	c.upload(ctx, repo, content)
}

// upload pushes a blob in one of the ways.
func (c *client) upload(ctx context.Context, repo Repo, content []byte) {
	d := digest.FromBytes(content)
	id, err := c.l.StartUpload(ctx, nil, repo)
	if err != nil {
		c.w.fail("StartUpload: %v", err)
		return
	}
	rest := content
	if c.r.IntN(2) == 0 {
		n := c.r.IntN(len(content)) + 1
		rest = content[n:]
		if _, err := c.l.AppendUpload(ctx, nil, repo, id, 0, bytes.NewReader(content[:n])); err != nil && !errors.Is(err, ErrOf(UploadUnknown)) {
			c.w.fail("AppendUpload: %v", err)
			return
		}
		c.next()
	}
	p := c.w.promise()
	_, err = c.l.CompleteUpload(ctx, nil, repo, id, UploadEnd{Digest: d, At: AtEnd, Body: bytes.NewReader(rest), Size: int64(len(rest))})
	switch {
	case err == nil:
		c.setTold(repo, d, p)
	case errors.Is(err, ErrOf(UploadUnknown)), strings.Contains(err.Error(), "the upload was committed"): // it took too long
	case errors.Is(err, ErrOf(DigestMismatch)) && len(rest) < len(content): // its beginning was aborted as abandoned
	default:
		c.w.fail("CompleteUpload: %v", err)
	}
}

func (c *client) pushImage(ctx context.Context) {
	if len(c.images) > 14 {
		c.deleteImage(ctx)
		return
	}
	i := &modelImage{repo: c.repo()}
	contents := map[digest.Digest][]byte{}
	for range 1 + c.r.IntN(4) {
		content := pick(c.r, c.w.contents)
		d := digest.FromBytes(content)
		if contents[d] == nil {
			i.blobs = append(i.blobs, d)
		}
		contents[d] = content
	}
	subject := digest.Digest("")
	if s := c.stored(func(s *modelImage) bool { return s.repo == i.repo }); s != nil && c.r.IntN(4) == 0 {
		i.subject = s
		subject = s.digest
	}
	c.n++
	i.data = image(i.blobs, subject, fmt.Sprintf("%d %d", c.id, c.n))
	i.digest = digest.FromBytes(i.data)
	c.images = append(c.images, i)
	c.push(ctx, i)
}

func (c *client) pushIndex(ctx context.Context) {
	first := c.stored(func(*modelImage) bool { return true })
	if first == nil || len(c.images) > 14 {
		return
	}
	i := &modelImage{repo: first.repo}
	var digests []digest.Digest
	for _, k := range c.images {
		if k.stored && k.repo == i.repo && len(digests) < 3 && c.r.IntN(2) == 0 {
			i.children = append(i.children, k)
			digests = append(digests, k.digest)
		}
	}
	if len(digests) == 0 {
		return
	}
	c.n++
	i.data = index(digests, fmt.Sprintf("%d %d", c.id, c.n))
	i.digest = digest.FromBytes(i.data)
	c.images = append(c.images, i)
	c.push(ctx, i)
}

func (c *client) pushAgain(ctx context.Context) {
	if len(c.images) > 0 {
		c.push(ctx, pick(c.r, c.images))
	}
}

// push makes sure that all that an image names is there, and pushes it.
func (c *client) push(ctx context.Context, i *modelImage) {
	for range 4 {
		for _, d := range i.blobs {
			at := slices.IndexFunc(c.w.contents, func(b []byte) bool { return digest.FromBytes(b) == d })
			c.have(ctx, i.repo, c.w.contents[at])
		}
		for _, k := range i.children {
			if !c.haveManifest(ctx, k) {
				return
			}
		}
		if c.w.failed.Load() || c.put(ctx, i) {
			return
		}
	}
}

// haveManifest makes sure that a child is there.
func (c *client) haveManifest(ctx context.Context, k *modelImage) bool {
	if c.r.IntN(2) == 0 && c.w.holds(k.told, k.repo, "") {
		return true
	}
	if c.r.IntN(2) == 0 {
		c.next()
		if c.get(ctx, k, reference(string(k.digest))) {
			return true
		}
	}
	c.push(ctx, k)
	return k.stored
}

// put pushes an image whose parts are there, and reports whether there is nothing more to do.
func (c *client) put(ctx context.Context, i *modelImage) bool {
	var tags []string
	if c.r.IntN(3) > 0 {
		tags = append(tags, fmt.Sprintf("c%d-%d", c.id, c.r.IntN(3)))
	}
	c.next()
	named := c.named()
	p := c.w.promise()
	_, err := c.l.PutManifest(ctx, nil, i.repo, ManifestPut{Tags: tags, Data: i.data})
	if e, ok := errors.AsType[*Error](err); ok && (e.Kind == BlobsMissing || e.Kind == ManifestsMissing) {
		for _, d := range e.Detail.(map[string][]string)["digests"] {
			c.missing(i, digest.Digest(d))
		}
		return false
	}
	if err != nil {
		c.w.fail("PutManifest: %v", err)
		return true
	}
	for _, d := range i.blobs {
		if c.w.holds(c.told[i.repo][d], i.repo, d) {
			c.w.stats[statPromised].Add(1)
		}
	}
	c.w.stats[statPushed].Add(1)
	c.leave(named, p.at)
	i.stored, i.told, i.named = true, p, p.at
	for _, tag := range tags {
		if c.tags[i.repo] == nil {
			c.tags[i.repo] = map[string]*modelImage{}
		}
		c.tags[i.repo][tag] = i
	}
	c.join(named, i)
	return true
}

// join notes that images have a name again, by an image that was pushed. A part of it is there; what refers to it may have
// been collected while it had no name.
func (c *client) join(named map[*modelImage]bool, pushed *modelImage) {
	for parts := slices.Clone(pushed.children); len(parts) > 0; parts = parts[1:] {
		parts[0].stored = true
		named[parts[0]] = true
		parts = append(parts, parts[0].children...)
	}
	named[pushed] = true
	for again := true; again; {
		again = false
		for i := range c.named() {
			if !named[i] && i.stored && !c.w.now().Before(i.named.Add(modelAge-c.w.slack)) {
				i.stored, again = false, true
			}
		}
	}
}

// missing notes that something an image names isn't there, although the client was told so.
func (c *client) missing(i *modelImage, d digest.Digest) {
	c.w.stats[statExpired].Add(1)
	p := c.told[i.repo][d]
	for _, k := range i.children {
		if k.digest == d {
			p = k.told
			c.gone(k)
		}
	}
	if c.w.holds(p, i.repo, d) {
		c.w.fail("client %d was told at %v that %s is in %s, but can't name it", c.id, p.at.UTC(), d, i.repo.Name)
	}
	delete(c.told[i.repo], d)
}

// named returns the images that have a name: a tag, an index or a subject that has one itself.
func (c *client) named() map[*modelImage]bool {
	return c.namedIf(func(i *modelImage) bool { return i.stored })
}

// namedIf returns the images that have a name if those are there that are said to be.
func (c *client) namedIf(stored func(*modelImage) bool) map[*modelImage]bool {
	all := map[*modelImage]bool{}
	for _, tags := range c.tags {
		for _, i := range tags {
			all[i] = true
		}
	}
	for n := -1; n != len(all); {
		n = len(all)
		for _, i := range c.images {
			if i.subject != nil && all[i.subject] && stored(i) {
				all[i] = true
			}
			if all[i] {
				for _, k := range i.children {
					all[k] = true
				}
			}
		}
	}
	return all
}

// leave notes that images that had a name until a change at a time may have lost it.
func (c *client) leave(named map[*modelImage]bool, at time.Time) {
	for i := range named {
		i.named = at
	}
}

// gone notes that an image isn't there, which must be because it had no name for long.
func (c *client) gone(i *modelImage) {
	now := c.w.now()
	switch {
	case c.named()[i]:
		c.w.fail("client %d: %s of %s is gone, but has a name", c.id, i.digest, i.repo.Name)
	case now.Before(i.named.Add(modelAge - c.w.slack)):
		c.w.fail("client %d: %s of %s is gone, but had a name at %v", c.id, i.digest, i.repo.Name, i.named.UTC())
	case c.w.holds(i.told, i.repo, ""):
		c.w.fail("client %d: %s of %s is gone, but was there at %v", c.id, i.digest, i.repo.Name, i.told.at.UTC())
	}
	c.w.stats[statCollected].Add(1)
	i.stored = false
}

// stored returns one of the client's images, or nil.
func (c *client) stored(ok func(*modelImage) bool) *modelImage {
	var list []*modelImage
	for _, i := range c.images {
		if i.stored && ok(i) {
			list = append(list, i)
		}
	}
	if len(list) == 0 {
		return nil
	}
	return pick(c.r, list)
}

// read reads an image back, whole.
func (c *client) read(ctx context.Context) {
	i := c.stored(func(*modelImage) bool { return true })
	if i == nil {
		return
	}
	c.readWhole(ctx, i)
}

func (c *client) readWhole(ctx context.Context, i *modelImage) {
	ref := reference(string(i.digest))
	for tag, t := range c.tags[i.repo] {
		if t == i {
			ref = reference(tag)
		}
	}
	c.next()
	if !c.get(ctx, i, ref) {
		return
	}
	for _, d := range i.blobs {
		c.next()
		got, err := readBack(ctx, c.l, i.repo, d)
		if err == nil && digest.FromBytes(got) == d {
			c.w.stats[statRead].Add(1)
			continue
		}
		if c.named()[i] || c.w.holds(i.told, i.repo, "") {
			c.w.fail("client %d: blob %s of %s in %s reads %q, %v", c.id, d, i.digest, i.repo.Name, got, err)
		}
		return
	}
	for _, k := range i.children {
		c.readWhole(ctx, k)
	}
}

// get reads a manifest, and reports whether it is there.
func (c *client) get(ctx context.Context, i *modelImage, ref oci.Reference) bool {
	p := c.w.promise()
	m, err := c.l.Manifest(ctx, nil, i.repo, ref)
	if errors.Is(err, ErrOf(ManifestUnknown)) {
		if i.stored {
			c.gone(i)
		}
		return false
	}
	if err != nil || !bytes.Equal(m.Data, i.data) {
		c.w.fail("client %d: manifest %s reads %v, %v", c.id, i.digest, m, err)
		return false
	}
	i.stored, i.told = true, p
	return true
}

func (c *client) untag(ctx context.Context) {
	repo := c.repo()
	tag := fmt.Sprintf("c%d-%d", c.id, c.r.IntN(3))
	i := c.tags[repo][tag]
	if i == nil {
		return
	}
	c.next()
	named := c.named()
	at := c.w.now()
	o := DeleteOptions{LastTagDeletes: c.r.IntN(2) == 0}
	if _, err := c.l.DeleteManifest(ctx, nil, repo, reference(tag), o); err != nil {
		c.w.fail("DeleteManifest %s: %v", tag, err)
		return
	}
	delete(c.tags[repo], tag)
	c.leave(named, at)
	if o.LastTagDeletes {
		i.stored, i.told = false, promise{} // gone, unless another tag or an index names it; a subject doesn't count
		i.stored = c.named()[i]
	}
}

func (c *client) deleteImage(ctx context.Context) {
	if len(c.images) == 0 {
		return
	}
	at := c.r.IntN(len(c.images))
	i := c.images[at]
	for _, other := range c.images {
		if slices.Contains(other.children, i) || other.subject == i {
			if other.stored || c.r.IntN(2) == 0 {
				return // others first, mostly
			}
		}
	}
	c.next()
	named := c.named()
	now := c.w.now()
	_, err := c.l.DeleteManifest(ctx, nil, i.repo, reference(string(i.digest)), DeleteOptions{})
	switch {
	case errors.Is(err, ErrOf(Referenced)): // by an index that wasn't known to be there
		return
	case errors.Is(err, ErrOf(ManifestUnknown)):
		if i.stored {
			c.gone(i)
		}
	case err != nil:
		c.w.fail("DeleteManifest: %v", err)
		return
	}
	for tag, t := range c.tags[i.repo] {
		if t == i {
			delete(c.tags[i.repo], tag)
		}
	}
	i.stored = false
	i.told = promise{}
	c.leave(named, now)
	if !slices.ContainsFunc(c.images, func(o *modelImage) bool { return slices.Contains(o.children, i) || o.subject == i }) {
		c.images = slices.Delete(c.images, at, at+1)
	}
}

func (c *client) deleteBlob(ctx context.Context) {
	repo, d := pick(c.r, c.w.repos), digest.FromBytes(pick(c.r, c.w.contents))
	c.next()
	err := c.w.void(repo, d, func() error { return c.l.DeleteBlob(ctx, nil, repo, d) })
	if err != nil && !errors.Is(err, ErrOf(BlobUnknown)) && !errors.Is(err, ErrOf(Referenced)) {
		c.w.fail("DeleteBlob: %v", err)
	}
}

// temporary deletes a repository with all it has, or creates it.
func (c *client) temporary(ctx context.Context) {
	c.next()
	if !c.hasTmp {
		if _, err := c.l.CreateRepository(ctx, nil, c.tmp, RepositorySettings{}, nil); err != nil {
			c.w.fail("CreateRepository: %v", err)
		}
		c.hasTmp = true
		return
	}
	if _, err := c.l.DeleteRepository(ctx, nil, c.tmp, true); err != nil {
		c.w.fail("DeleteRepository: %v", err)
	}
	c.hasTmp = false
	c.images = slices.DeleteFunc(c.images, func(i *modelImage) bool { return i.repo == c.tmp })
	delete(c.tags, c.tmp)
	delete(c.told, c.tmp)
}

// abandon leaves something behind.
func (c *client) abandon(ctx context.Context) {
	c.next()
	content := pick(c.r, c.w.contents)
	repo := pick(c.r, c.w.repos)
	id, err := c.l.StartUpload(ctx, nil, repo)
	if err == nil {
		_, err = c.l.AppendUpload(ctx, nil, repo, id, 0, bytes.NewReader(content))
	}
	if err != nil && !errors.Is(err, ErrOf(UploadUnknown)) {
		c.w.fail("upload: %v", err)
		return
	}
	switch c.r.IntN(3) {
	case 0:
		c.next()
		if err := c.l.CancelUpload(ctx, nil, repo, id); err != nil && !errors.Is(err, ErrOf(UploadUnknown)) {
			c.w.fail("CancelUpload: %v", err)
		}
	case 1: // as after a crash between the store and the database
		c.next()
		if _, err := c.w.store.Commit(ctx, id, digest.FromBytes(content)); err != nil && !errors.Is(err, blob.ErrNotFound) {
			c.w.fail("Commit: %v", err)
		}
	}
}
