package registry

import (
	"context"
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
	voids map[voidKey]void
}

type voidKey struct {
	repo   Repo
	digest digest.Digest
}

// void says when a blob was deleted by a client.
type void struct {
	running int   // calls that are under way
	last    int64 // when one last ended, by seq
}

const (
	statPushed = iota
	statPromised
	statExpired
	statRead
	statCollected
	statTaken
	nStats
)

func newWorld(t *testing.T, db *meta.DB, now func() time.Time, seed uint64, blobs int) *world {
	w := &world{t: t, db: db, now: now, voids: map[voidKey]void{}}
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
	change := func(running int) {
		w.mu.Lock()
		defer w.mu.Unlock()
		v := w.voids[voidKey{repo, d}]
		v.running += running
		v.last = w.seq.Add(1)
		w.voids[voidKey{repo, d}] = v
	}
	change(1)
	defer change(-1)
	return do()
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
			o.ModTime = o.ModTime.Add(-7 * time.Hour) // the upload may have begun as long ago
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
	_, err = w.nodes[0].Fsck(ctx, FsckOptions{Report: func(p Problem) error {
		w.fail("%+v", p)
		return nil
	}})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) collect(ctx context.Context, c *Collector) {
	r, err := c.Run(ctx)
	if err != nil {
		w.fail("collect: %v", err)
	}
	w.stats[statTaken].Add(r.Repositories.Count + r.Manifests.Count + r.Links.Count + r.Blobs.Count + r.Objects.Count)
}

func (w *world) report(what string, n int64) {
	w.t.Logf("%s: %d %s, %d pushes, %d on a promise, %d blobs missing after one, %d blobs read, %d manifests found collected, %d things collected", w.name, n, what,
		w.stats[statPushed].Load(), w.stats[statPromised].Load(), w.stats[statExpired].Load(), w.stats[statRead].Load(), w.stats[statCollected].Load(), w.stats[statTaken].Load())
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
				w.collect(ctx, col)
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
					w.collect(ctx, col)
				}
			})
		}
		wg.Wait()
		w.settle(base.add)
		w.report("calls", calls.Load())
	})
}
