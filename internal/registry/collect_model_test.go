package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/blob"
	"github.com/sekisho/sekisho/internal/blob/mem"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
	"github.com/sekisho/sekisho/internal/oci"
)

// The model test of collection. Clients push, tag, mount, delete and read images made of the same few blobs while
// collectors run. Each client alone writes its own images and tags, so it knows what must be there; the blobs they share.
// What it checks:
//   - a client that was told that a blob or a manifest is there can name it for half the grace time;
//   - every image that a client was told is stored reads back, byte for byte, until the client deletes it or lets it get old;
//   - no bytes are deleted that a row names, and no row names bytes that aren't there;
//   - in the end, after the delays, nothing is left that nothing needs.
//
// TestCollectSteps runs one client or collector at a time and decides with a seeded generator who goes on after each
// transaction and each use of the store, and how much time passes. TestCollectConcurrently runs them all at once.
//
// SEKISHO_SOAK=10m runs each for as long; SEKISHO_SEED=n runs TestCollectSteps from that seed.

const (
	modelGrace   = time.Hour
	modelAge     = 2 * time.Hour
	modelClients = 4
)

// modelTime returns for how long a model test runs.
func modelTime(t *testing.T) time.Duration {
	s := os.Getenv("SEKISHO_SOAK")
	if s == "" {
		if testing.Short() {
			return time.Second
		}
		return 3 * time.Second
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		t.Fatalf("SEKISHO_SOAK: %v", err)
	}
	return d
}

// world is all that takes part.
type world struct {
	t        *testing.T
	name     string // what to repeat it with
	db       *meta.DB
	store    blob.Store
	now      func() time.Time
	slack    time.Duration // how much shorter promises are, where transactions take time
	nodes    []*Local
	clients  []*client
	contents [][]byte // of blobs
	repos    []Repo

	seq    atomic.Int64 // orders events
	failed atomic.Bool
	stats  [nStats]atomic.Int64

	mu    sync.Mutex
	voids map[Repo]map[digest.Digest]int64 // when DeleteBlob last ended, by seq; while it runs the largest number
}

const (
	statPushed = iota
	statPromised
	statExpired
	statRead
	statCollected
	nStats
)

func newWorld(t *testing.T, db *meta.DB, now func() time.Time, seed uint64, blobs int) *world {
	w := &world{t: t, db: db, now: now, voids: map[Repo]map[digest.Digest]int64{}}
	for i := range blobs {
		size := 10 + i%40
		if i%2 == 1 {
			size += testInline
		}
		w.contents = append(w.contents, []byte(fmt.Sprintf("%0*d", size, i)))
	}
	for _, name := range []string{"shared/a", "shared/b", "shared/c"} {
		w.repos = append(w.repos, Repo{testAccount, name})
	}
	for i := range modelClients {
		c := &client{w: w, id: i, r: rand.New(rand.NewPCG(seed, uint64(i))), told: map[Repo]map[digest.Digest]promise{}, tags: map[Repo]map[string]*modelImage{}}
		c.tmp = Repo{testAccount, fmt.Sprintf("own/c%d", i)}
		w.clients = append(w.clients, c)
	}
	return w
}

// open makes the nodes, over a store that calls step.
func (w *world) open(nodes int, step func()) {
	w.store = &steppingStore{Store: mem.New(w.now), w: w, step: step}
	for range nodes {
		l, err := NewLocal(w.db, w.store, Options{UploadKey: make([]byte, 32), Now: w.now, InlineLimit: testInline, Grace: modelGrace, UploadExpiry: 8 * time.Hour})
		if err != nil {
			w.t.Fatal(err)
		}
		w.nodes = append(w.nodes, l)
	}
	for _, r := range w.repos {
		if _, err := w.nodes[0].CreateRepository(w.t.Context(), nil, r, RepositorySettings{}, nil); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) collector(node int, pause func(context.Context, time.Duration) error) *Collector {
	c := newCollector(w.nodes[node%len(w.nodes)], CollectOptions{UntaggedAge: modelAge, DeleteDelay: 30 * time.Minute, OrphanDelay: 2 * maxCommit, Rest: 1})
	c.pause = pause
	return c
}

func (w *world) fail(format string, args ...any) {
	w.t.Helper()
	w.failed.Store(true)
	w.t.Errorf("%s, at %v: %s", w.name, w.now().UTC().Format("2006-01-02 15:04:05.000000"), fmt.Sprintf(format, args...))
}

// void forgets the promises of a blob: somebody deletes it.
func (w *world) void(repo Repo, d digest.Digest, do func() error) error {
	set := func(n int64) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.voids[repo] == nil {
			w.voids[repo] = map[digest.Digest]int64{}
		}
		w.voids[repo][d] = max(n, w.voids[repo][d])
	}
	n := w.seq.Add(1)
	set(n)
	err := do()
	set(w.seq.Add(1))
	return err
}

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
	return p.seq > 0 && w.voids[repo][d] < p.seq && w.now().Before(p.at.Add(modelGrace/2-w.slack))
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

// steppingStore lets others go first at each use of the store, and checks what is deleted.
type steppingStore struct {
	blob.Store
	w    *world
	step func()
}

func (s *steppingStore) Append(ctx context.Context, id string, at int64, r io.Reader) (int64, error) {
	s.step()
	return s.Store.Append(ctx, id, at, r)
}

func (s *steppingStore) Commit(ctx context.Context, id string, want digest.Digest) (blob.Object, error) {
	s.step()
	o, err := s.Store.Commit(ctx, id, want)
	s.step() // the object is there, no row names it
	return o, err
}

func (s *steppingStore) Open(ctx context.Context, key string) (blob.Content, error) {
	s.step() // the row has been read
	return s.Store.Open(ctx, key)
}

func (s *steppingStore) Delete(ctx context.Context, key string) error {
	var n int
	if err := s.w.db.QueryRow(ctx, `SELECT count(*) FROM blobs WHERE location = $1`, key).Scan(&n); err != nil && ctx.Err() == nil {
		s.w.fail("look for object: %v", err)
	}
	if n > 0 {
		s.w.fail("the object %s is deleted, and a row names it", key)
	}
	return s.Store.Delete(ctx, key)
}

func (s *steppingStore) Objects(ctx context.Context) iter.Seq2[blob.Object, error] {
	return func(yield func(blob.Object, error) bool) {
		var all []blob.Object
		for o, err := range s.Store.Objects(ctx) {
			if err != nil {
				yield(o, err)
				return
			}
			all = append(all, o)
		}
		slices.SortFunc(all, func(a, b blob.Object) int { return a.ModTime.Compare(b.ModTime) }) // the keys are random
		for _, o := range all {
			s.step()
			if !yield(o, nil) {
				return
			}
		}
	}
}

// checkBytes checks that every row's bytes are there.
func (w *world) checkBytes() {
	there := map[string]bool{}
	for o, err := range w.store.(*steppingStore).Store.Objects(w.t.Context()) {
		if err != nil {
			w.t.Fatal(err)
		}
		there[o.Key] = true
	}
	locations, err := stringsOf(w.db.Query(w.t.Context(), `SELECT location FROM blobs WHERE location <> ''`))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, l := range locations {
		if !there[l] {
			w.fail("a row names the object %s, which isn't there", l)
		}
	}
}

// settle checks, when all have stopped, that after the delays what is needed is there and nothing else. pass lets time pass.
func (w *world) settle(pass func(time.Duration)) {
	if w.failed.Load() {
		return
	}
	ctx := w.t.Context()
	for _, l := range w.nodes {
		if err := l.flushPulls(ctx); err != nil {
			w.t.Fatal(err)
		}
	}
	pass(48 * time.Hour)
	for range 10 { // nested indexes and referrers go one after another
		if _, err := w.collector(0, func(context.Context, time.Duration) error { return nil }).Run(ctx); err != nil {
			w.t.Fatal(err)
		}
		pass(13 * time.Hour)
	}
	w.checkBytes()
	want, may := map[string]bool{}, map[string]bool{}
	for _, c := range w.clients {
		c.step = func() {}
		for i := range c.named() {
			want[i.repo.Name+" "+string(i.digest)] = true
			c.readWhole(ctx, i)
		}
		for i := range c.namedIf(func(*modelImage) bool { return true }) {
			may[i.repo.Name+" "+string(i.digest)] = true
		}
	}
	got, err := stringsOf(w.db.Query(ctx, `SELECT r.name || ' ' || m.digest FROM manifests m JOIN repositories r ON r.id = m.repository_id`))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, m := range got {
		if !may[m] {
			w.fail("manifest %s is left over", m)
		}
		delete(want, m)
	}
	for m := range want {
		w.fail("manifest %s is gone", m)
	}
	for what, q := range map[string]string{
		"links":                `SELECT count(*) FROM repository_blobs rb WHERE NOT EXISTS (SELECT 1 FROM manifest_blobs mb WHERE mb.repository_id = rb.repository_id AND mb.blob_id = rb.blob_id)`,
		"blobs":                `SELECT count(*) FROM blobs b WHERE NOT EXISTS (SELECT 1 FROM repository_blobs rb WHERE rb.blob_id = b.id)`,
		"garbage":              `SELECT count(*) FROM garbage`,
		"ended uploads":        `SELECT count(*) FROM ended_uploads`,
		"deleted repositories": `SELECT count(*) FROM repositories WHERE account = ''`,
	} {
		var n int
		if err := w.db.QueryRow(ctx, q).Scan(&n); err != nil {
			w.t.Fatal(err)
		}
		if n > 0 {
			w.fail("%d %s are left over", n, what)
		}
	}
	var rows, objects int
	if err := w.db.QueryRow(ctx, `SELECT count(*) FROM blobs WHERE location <> ''`).Scan(&rows); err != nil {
		w.t.Fatal(err)
	}
	inner := w.store.(*steppingStore).Store
	for range inner.Objects(ctx) {
		objects++
	}
	if rows != objects {
		w.fail("%d rows and %d objects are left", rows, objects)
	}
	for u := range inner.Uploads(ctx) {
		w.fail("upload %s is left over", u.ID)
	}
}

func (w *world) report(what string, n int64) {
	w.t.Logf("%s: %d %s, %d pushes, %d on a promise, %d blobs missing after one, %d blobs read, %d manifests found collected", w.name, n, what,
		w.stats[statPushed].Load(), w.stats[statPromised].Load(), w.stats[statExpired].Load(), w.stats[statRead].Load(), w.stats[statCollected].Load())
}

func TestCollectSteps(t *testing.T) {
	metatest.EachDSN(t, func(t *testing.T, dsn string) {
		seed, only := uint64(1), false
		if s := os.Getenv("SEKISHO_SEED"); s != "" {
			n, err := strconv.ParseUint(s, 10, 64)
			if err != nil {
				t.Fatalf("SEKISHO_SEED: %v", err)
			}
			seed, only = n, true
		}
		db := metatest.Open(t, dsn)
		end := time.Now().Add(modelTime(t))
		for ; time.Now().Before(end) || only; seed++ {
			clearAll(t, db)
			runSteps(t, db, seed)
			if t.Failed() || only {
				return
			}
		}
	})
}

// clearAll makes a database empty.
func clearAll(t *testing.T, db *meta.DB) {
	err := db.Update(t.Context(), func(tx *meta.Tx) error {
		for _, table := range []string{"tags", "manifest_blobs", "manifest_children", "manifests", "repository_blobs", "blobs", "repositories", "garbage", "ended_uploads"} {
			if _, err := tx.Exec(t.Context(), "DELETE FROM "+table); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// runSteps runs one world, one step at a time.
func runSteps(t *testing.T, db *meta.DB, seed uint64) {
	const steps = 2500
	ctx := t.Context()
	clk := newClock()
	w := newWorld(t, db, clk.now, seed, 12)
	w.name = fmt.Sprintf("SEKISHO_SEED=%d", seed)
	nodes := 1
	if db.Dialect() == meta.PostgreSQL {
		nodes = 2
	}
	var yield func() // of who runs now
	w.open(nodes, func() {
		if yield != nil {
			yield()
		}
	})
	stopping := false
	stop := func() bool { return stopping }

	type actor struct {
		next  func() (struct{}, bool)
		yield func()
	}
	var actors []*actor
	start := func(run func(step func())) {
		a := &actor{}
		a.next, _ = iter.Pull(func(y func(struct{}) bool) {
			a.yield = func() { y(struct{}{}) }
			yield = a.yield
			run(func() { yield() })
		})
		actors = append(actors, a)
	}
	for _, c := range w.clients {
		start(func(step func()) {
			c.step = step
			c.run(ctx, stop)
		})
	}
	for i := range 2 {
		start(func(step func()) {
			col := w.collector(i, func(context.Context, time.Duration) error { step(); return nil })
			for !stop() {
				if _, err := col.Run(ctx); err != nil {
					w.fail("collect: %v", err)
				}
				step()
			}
		})
	}
	r := rand.New(rand.NewPCG(seed, 1<<40))
	n := int64(0)
	for ; len(actors) > 0; n++ {
		stopping = stopping || n >= steps || w.failed.Load()
		i := r.IntN(len(actors))
		a := actors[i]
		yield = a.yield
		if _, more := a.next(); !more {
			actors = slices.Delete(actors, i, i+1)
		}
		switch k := r.IntN(1000); {
		case stopping:
		case k < 800:
			clk.add(time.Duration(r.Int64N(int64(5 * time.Second))))
		case k < 980:
			clk.add(time.Duration(r.Int64N(int64(4 * time.Minute))))
		case k < 995:
			clk.add(time.Duration(r.Int64N(int64(40 * time.Minute))))
		default:
			clk.add(time.Duration(r.Int64N(int64(8 * time.Hour))))
		}
		if n%100 == 0 {
			w.checkBytes()
		}
	}
	yield = nil
	w.settle(clk.add)
	w.report("steps", n)
}

// TestCollectConcurrently runs everybody at once. An hour passes in half a second.
func TestCollectConcurrently(t *testing.T) {
	metatest.EachDSN(t, func(t *testing.T, dsn string) {
		const fast = 7200
		if strings.HasPrefix(dsn, "postgres") {
			dsn += "&options=-c%20deadlock_timeout%3D20ms" // the usual second would be two hours
		}
		db := metatest.Open(t, dsn)
		ctx := t.Context()
		begin := time.Now()
		base := newClock()
		now := func() time.Time { return base.now().Add(time.Since(begin) * fast) }
		seed := rand.Uint64()
		w := newWorld(t, db, now, seed, 150) // so that each is forgotten now and then
		w.name = "concurrent"
		w.slack = modelGrace / 4 // transactions take time
		nodes := 1
		if db.Dialect() == meta.PostgreSQL {
			nodes = 2
		}
		w.open(nodes, func() {})
		end := begin.Add(modelTime(t))
		stop := func() bool { return !time.Now().Before(end) }
		var wg sync.WaitGroup
		var calls atomic.Int64
		for _, c := range w.clients {
			c.step = func() { calls.Add(1) }
			wg.Go(func() { c.run(ctx, stop) })
		}
		for i := range 2 {
			col := w.collector(i, func(context.Context, time.Duration) error { return nil })
			wg.Go(func() {
				for !stop() {
					if _, err := col.Run(ctx); err != nil {
						w.fail("collect: %v", err)
						return
					}
				}
			})
		}
		wg.Wait()
		w.settle(base.add)
		w.report("calls", calls.Load())
	})
}
