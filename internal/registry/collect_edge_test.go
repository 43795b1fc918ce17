package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/blob"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
)

func TestCollectUntagged(t *testing.T) {
	eachFixture(t, CollectOptions{UntaggedAge: 10 * time.Hour}, func(t *testing.T, f *fixture) {
		repo := f.repo("team/app")
		config := f.blob(repo, "{}")
		img := func(n string, subject digest.Digest) []byte { return image([]digest.Digest{config}, subject, n) }
		tagged := f.put(repo, img("tagged", ""), "v1")
		untagged := f.put(repo, img("untagged", ""))
		child := f.put(repo, img("child", ""))
		idx := f.put(repo, index([]digest.Digest{child}, ""), "multi")
		ofTagged := f.put(repo, img("of tagged", tagged))
		ofUntagged := f.put(repo, img("of untagged", untagged))
		ofThat := f.put(repo, img("of that", ofUntagged))
		early := f.put(repo, img("early", digest.FromString("not there yet")))
		all := map[digest.Digest]string{tagged: "tagged", untagged: "untagged", child: "child", idx: "index", ofTagged: "of tagged", ofUntagged: "of untagged",
			ofThat: "of that", early: "early"}

		gone := func(names ...string) {
			t.Helper()
			f.collect()
			left := map[string]bool{}
			digests, err := stringsOf(f.db.Query(t.Context(), `SELECT digest FROM manifests`))
			f.must(err)
			for _, d := range digests {
				left[all[digest.Digest(d)]] = true
			}
			var went []string
			for d, name := range all {
				if !left[name] {
					went = append(went, name)
					delete(all, d)
				}
			}
			want := map[string]bool{}
			for _, n := range names {
				want[n] = true
			}
			got := map[string]bool{}
			for _, n := range went {
				got[n] = true
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("gone (-want +got):\n%s", diff)
			}
		}
		f.clock.add(9*time.Hour + 30*time.Minute)
		gone()
		// Pulling keeps for the grace time, which is an hour.
		f.must(second(f.l.Manifest(t.Context(), nil, repo, reference(string(untagged)))))
		f.clock.add(45 * time.Minute)
		gone("early")
		f.clock.add(16 * time.Minute)
		gone("untagged")
		f.clock.add(9 * time.Hour)
		gone() // what refers to it counts as untagged from then on
		f.clock.add(2 * time.Hour)
		gone("of untagged")
		f.clock.add(11 * time.Hour)
		gone("of that")
		f.delete(repo, "multi")
		f.clock.add(11 * time.Hour)
		gone("index")
		f.must(f.l.PutSettings(t.Context(), nil, testAccount, Settings{UntaggedDays: -1}))
		f.clock.add(1000 * time.Hour)
		gone()
		f.must(f.l.PutSettings(t.Context(), nil, testAccount, Settings{UntaggedDays: 1}))
		gone("child")
		f.delete(repo, "v1")
		f.clock.add(23 * time.Hour)
		gone()
		f.clock.add(2 * time.Hour)
		gone("tagged")
		f.clock.add(25 * time.Hour)
		gone("of tagged")
	})
}

// An index may be pushed before what it names, where its account says so.
func TestCollectChildAfterIndex(t *testing.T) {
	eachFixture(t, CollectOptions{UntaggedAge: 2 * time.Hour}, func(t *testing.T, f *fixture) {
		repo := f.repo("team/app")
		f.must(f.l.PutSettings(t.Context(), nil, testAccount, Settings{SparseManifests: true}))
		child := image([]digest.Digest{f.blob(repo, "{}")}, "", "child")
		f.put(repo, index([]digest.Digest{digest.FromBytes(child)}, ""), "multi")
		f.put(repo, child)
		f.clock.add(100 * time.Hour)
		f.wantReport(CollectReport{})
		f.delete(repo, "multi")
		f.clock.add(3 * time.Hour)
		for _, what := range []string{"index", "child"} { // which has been without a name for longer, and so is looked at first
			if got := f.collect().Manifests.Count; got != 1 {
				t.Errorf("%d manifests went, want the %s", got, what)
			}
		}
	})
}

// Two that take one of a manifest's last two names each don't see each other on PostgreSQL; collection notes what neither did.
func TestCollectUnnoted(t *testing.T) {
	f := newFixture(t, metatest.Open(t, metatest.PostgreSQL(t)), CollectOptions{UntaggedAge: 2 * time.Hour})
	repo := f.repo("team/app")
	f.put(repo, image([]digest.Digest{f.blob(repo, "{}")}, "", ""), "a")
	f.must(f.db.Update(t.Context(), func(tx *meta.Tx) error {
		_, err := tx.Exec(t.Context(), `DELETE FROM tags`)
		return err
	}))
	f.wantReport(CollectReport{})
	f.clock.add(3 * time.Hour)
	f.wantReport(CollectReport{Manifests: Tally{1, 267}})
}

func TestCollectDeletedRepository(t *testing.T) {
	eachFixture(t, CollectOptions{}, func(t *testing.T, f *fixture) {
		keep, repo := f.repo("team/keep"), f.repo("team/gone")
		shared := f.blob(keep, large("shared"))
		f.put(keep, image([]digest.Digest{shared}, "", ""), "v1")
		f.must(second(f.l.MountBlob(t.Context(), nil, repo, keep, shared)))
		var manifests int64
		var children []digest.Digest
		for i := range 40 {
			own := f.blob(repo, large(fmt.Sprint(i)))
			d := f.put(repo, image([]digest.Digest{own, shared}, "", fmt.Sprint(i)), fmt.Sprint("v", i))
			manifests++
			children = append(children, d)
		}
		for depth := range 3 {
			d := f.put(repo, index(children, fmt.Sprint(depth)))
			children = append(children, d)
			manifests++
		}
		_, err := f.l.DeleteRepository(t.Context(), nil, repo, true)
		f.must(err)
		again := f.repo("team/gone")
		content := f.blob(again, large("1")) // of its own
		r := f.collect()
		r.Manifests.Bytes = 0
		if diff := cmp.Diff(CollectReport{Repositories: Tally{1, 0}, Manifests: Tally{manifests, 0}, Links: Tally{41, 0}, Blobs: Tally{39, r.Blobs.Bytes}}, r); diff != "" {
			t.Errorf("collected (-want +got):\n%s", diff)
		}
		f.clock.add(2 * time.Hour)
		f.must(second(f.l.StatBlob(t.Context(), nil, again, content)))
		f.collect()
		f.wantCounts(map[string]int{"repositories": 2, "manifests": 1, "tags": 1, "manifest_blobs": 1, "repository_blobs": 2, "blobs": 2, "objects": 2})
		f.wantBlob(keep, large("shared"))
		f.wantBlob(again, large("1"))
	})
}

func TestCollectHolds(t *testing.T) {
	eachFixture(t, CollectOptions{}, func(t *testing.T, f *fixture) {
		repo := f.repo("team/app")
		f.blob(repo, large("a"))
		f.clock.add(2 * time.Hour)
		f.must(f.c.Hold(t.Context(), "one", "a backup", f.clock.now().Add(time.Hour)))
		f.must(f.c.Hold(t.Context(), "two", "another", f.clock.now().Add(time.Hour)))
		size := int64(len(large("a")))
		f.wantReport(CollectReport{Links: Tally{1, 0}, Blobs: Tally{1, size}, Held: 2})
		f.clock.add(59 * time.Minute)
		f.must(f.c.Hold(t.Context(), "one", "a backup, still", f.clock.now().Add(3*time.Hour)))
		f.clock.add(2 * time.Hour)
		f.wantReport(CollectReport{Held: 1})
		f.must(f.c.Release(t.Context(), "one"))
		f.must(f.c.Release(t.Context(), "one"))
		f.wantReport(CollectReport{Objects: Tally{1, size}})
		f.wantCounts(map[string]int{"repositories": 1})
	})
}

func TestCollectOrphans(t *testing.T) {
	eachFixture(t, CollectOptions{OrphanDelay: 20 * time.Hour}, func(t *testing.T, f *fixture) {
		repo := f.repo("team/app")
		f.blob(repo, large("a"))
		size := int64(len("orphan"))
		for i := range 100 {
			id := fmt.Sprint("upload-", i)
			f.must(second(f.store.Append(t.Context(), id, 0, strings.NewReader("orphan"))))
			f.must(second(f.store.Commit(t.Context(), id, digest.FromString("orphan"))))
		}
		f.must(second(f.store.Append(t.Context(), "abandoned", 0, strings.NewReader("some"))))
		f.wantReport(CollectReport{}) // they may be on their way
		f.clock.add(7 * time.Hour)
		f.must(second(f.l.StatBlob(t.Context(), nil, repo, digest.FromString(large("a")))))
		f.wantReport(CollectReport{Orphans: Tally{100, 100 * size}})
		f.wantReport(CollectReport{})

		// One of them is named after all, as by a push that was very slow.
		key, err := stringsOf(f.db.Query(t.Context(), `SELECT location FROM garbage ORDER BY location LIMIT 1`))
		f.must(err)
		f.must(f.db.Update(t.Context(), func(tx *meta.Tx) error {
			if err := f.l.insertBlob(t.Context(), tx, Descriptor{digest.FromString("orphan"), size}, key[0], nil); err != nil {
				return err
			}
			r, err := f.l.repositoryIn(t.Context(), tx, repo)
			if err != nil {
				return err
			}
			return f.l.link(t.Context(), tx, r, digest.FromString("orphan"))
		}))
		f.clock.add(18 * time.Hour)
		f.must(second(f.l.StatBlob(t.Context(), nil, repo, digest.FromString(large("a")))))
		f.must(second(f.l.StatBlob(t.Context(), nil, repo, digest.FromString("orphan"))))
		f.wantReport(CollectReport{Uploads: Tally{1, 4}})
		f.clock.add(3 * time.Hour)
		f.must(second(f.l.StatBlob(t.Context(), nil, repo, digest.FromString(large("a")))))
		f.must(second(f.l.StatBlob(t.Context(), nil, repo, digest.FromString("orphan"))))
		f.wantReport(CollectReport{Objects: Tally{99, 99 * size}})
		f.wantCounts(map[string]int{"repositories": 1, "repository_blobs": 2, "blobs": 2, "objects": 2})
		f.wantBlob(repo, "orphan")
	})
}

// hookedStore runs a function after a commit, and fails deletions.
type hookedStore struct {
	blob.Store
	committed func()
	fail      func(key string) error
}

func (s *hookedStore) Commit(ctx context.Context, id string, want digest.Digest) (blob.Object, error) {
	o, err := s.Store.Commit(ctx, id, want)
	if s.committed != nil {
		s.committed()
	}
	return o, err
}

func (s *hookedStore) Delete(ctx context.Context, key string) error {
	if s.fail != nil {
		if err := s.fail(key); err != nil {
			return err
		}
	}
	return s.Store.Delete(ctx, key)
}

// A process that sleeps between the store's commit and its transaction, so long that collection takes the bytes, must not
// name them.
func TestCollectCommitThatSlept(t *testing.T) {
	eachFixture(t, CollectOptions{}, func(t *testing.T, f *fixture) {
		store := &hookedStore{Store: f.store}
		f.store = store
		f.l = f.node(nil)
		repo := f.repo("team/app")
		store.committed = func() {
			f.clock.add(7 * time.Hour)
			f.collect()
			f.clock.add(25 * time.Hour)
			f.collect()
		}
		id, err := f.l.StartUpload(t.Context(), nil, repo)
		f.must(err)
		content := large("slept")
		_, err = f.l.CompleteUpload(t.Context(), nil, repo, id, UploadEnd{Digest: digest.FromString(content), At: AtEnd, Body: strings.NewReader(content), Size: int64(len(content))})
		if err == nil {
			t.Error("an upload that slept was taken")
		}
		f.wantCounts(map[string]int{"repositories": 1})
		store.committed = nil
		f.blob(repo, content)
		f.wantBlob(repo, content)
	})
}

// Bytes that can't be deleted now are deleted by a later run.
func TestCollectDeletionFails(t *testing.T) {
	eachFixture(t, CollectOptions{}, func(t *testing.T, f *fixture) {
		store := &hookedStore{Store: f.store}
		f.store = store
		f.l = f.node(nil)
		c, err := NewCollector(f.l, CollectOptions{Rest: -1})
		f.must(err)
		f.c = c
		repo := f.repo("team/app")
		for i := range 40 {
			f.blob(repo, large(fmt.Sprint(i)))
		}
		f.clock.add(2 * time.Hour)
		f.collect()
		f.clock.add(2 * time.Hour)
		away := errors.New("the store is away")
		stuck := ""
		var mu sync.Mutex                     // guards stuck
		store.fail = func(key string) error { // one object can't be deleted
			mu.Lock()
			defer mu.Unlock()
			if stuck == "" || stuck == key {
				stuck = key
				return away
			}
			return nil
		}
		if r, err := f.c.Run(t.Context()); !errors.Is(err, away) || r.Objects.Count != 39 {
			t.Errorf("Run = %+v, %v", r, err)
		}
		f.wantCounts(map[string]int{"repositories": 1, "garbage": 1, "objects": 1})
		f.blob(repo, large("1")) // meanwhile, one of those
		store.fail = func(string) error { return away }
		if r, err := f.c.Run(t.Context()); !errors.Is(err, away) || r.Objects.Count != 0 {
			t.Errorf("Run = %+v, %v", r, err)
		}
		store.fail = nil
		if r := f.collect(); r.Objects.Count != 1 {
			t.Errorf("Run = %+v", r)
		}
		f.wantCounts(map[string]int{"repositories": 1, "repository_blobs": 1, "blobs": 1, "objects": 1})
	})
}

// A run that is cancelled anywhere leaves the rest to the next.
func TestCollectCancelled(t *testing.T) {
	eachFixture(t, CollectOptions{}, func(t *testing.T, f *fixture) {
		for n := 1; ; n++ {
			repo := f.repo(fmt.Sprint("team/app", n))
			gone := f.repo(fmt.Sprint("team/gone", n))
			kept := f.blob(repo, large("kept"))
			f.put(repo, image([]digest.Digest{kept}, "", ""), "v1")
			for i := range 3 {
				f.blob(repo, large(fmt.Sprint("garbage", n, i)))
				f.put(gone, image([]digest.Digest{f.blob(gone, large(fmt.Sprint("gone", n, i)))}, "", ""), "v1")
			}
			f.must(second(f.l.DeleteRepository(t.Context(), nil, gone, true)))
			f.clock.add(3 * time.Hour)
			ctx, cancel := context.WithCancel(t.Context())
			pauses := 0
			f.c.pause = func(ctx context.Context, _ time.Duration) error {
				if pauses++; pauses == n {
					cancel()
				}
				return ctx.Err()
			}
			_, err := f.c.Run(ctx)
			if pauses >= n && !errors.Is(err, context.Canceled) {
				t.Errorf("cancelled at pause %d: %v", n, err)
			}
			cancel()
			f.wantBlob(repo, large("kept"))
			if pauses < n {
				break
			}
		}
		f.c.pause = func(context.Context, time.Duration) error { return nil }
		f.collect()
		f.clock.add(2 * time.Hour)
		f.collect()
		repos := f.counts()["repositories"]
		f.wantCounts(map[string]int{"repositories": repos, "manifests": repos, "tags": repos, "manifest_blobs": repos, "repository_blobs": repos, "blobs": 1, "objects": 1})
	})
}

// What is remembered of a blob doesn't outlive its row.
func TestCollectForgets(t *testing.T) {
	eachFixture(t, CollectOptions{}, func(t *testing.T, f *fixture) {
		repo := f.repo("team/app")
		for range 3 {
			d := f.blob(repo, large("a"))
			f.wantBlob(repo, large("a"))
			f.must(second(f.l.StatBlob(t.Context(), nil, repo, d)))
			f.clock.add(2 * time.Hour)
			f.collect()
			if _, err := f.l.OpenBlob(t.Context(), nil, repo, d); !errors.Is(err, ErrOf(BlobUnknown)) {
				t.Errorf("a blob that was collected: %v", err)
			}
		}
	})
}

// A client that was told that a manifest is there, which lost its last name while it was remembered with one, can name it.
func TestCollectKeepsWhatWasTold(t *testing.T) {
	for name, unname := range map[string]func(f *fixture, repo Repo, m digest.Digest){
		"tag moved":   func(f *fixture, repo Repo, _ digest.Digest) { f.put(repo, index(nil, "another"), "v1") },
		"tag deleted": func(f *fixture, repo Repo, _ digest.Digest) { f.delete(repo, "v1") },
		"index deleted": func(f *fixture, repo Repo, m digest.Digest) {
			idx := f.put(repo, index([]digest.Digest{m}, ""))
			f.delete(repo, "v1")
			f.must(second(f.l.Manifest(f.Context(), nil, repo, reference(string(m)))))
			f.delete(repo, string(idx))
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachFixture(t, CollectOptions{UntaggedAge: 2 * time.Hour}, func(t *testing.T, f *fixture) {
				repo := f.repo("team/app")
				m := f.put(repo, image([]digest.Digest{f.blob(repo, "{}")}, "", ""), "v1")
				told := func() { f.must(second(f.l.Manifest(t.Context(), nil, repo, reference(string(m))))) }
				told()
				unname(f, repo, m)
				f.clock.add(3 * time.Hour)
				for range 3 {
					told()
					f.collect()
					f.clock.add(25 * time.Minute) // less than half the grace time
					f.collect()
					told()
					f.collect()
					f.clock.add(10 * time.Minute)
				}
				f.put(repo, index([]digest.Digest{m}, "names it"))
				f.collect()
				f.must(second(f.l.Manifest(t.Context(), nil, repo, reference(string(m)))))
			})
		})
	}
}

// The count of unfinished uploads goes down with those that are aborted.
func TestCollectUploads(t *testing.T) {
	eachFixture(t, CollectOptions{}, func(t *testing.T, f *fixture) {
		f.l = f.node(func(o *Options) { o.MaxUploads = 3 })
		f.c = newCollector(f.l, f.c.o)
		repo := f.repo("team/app")
		start := func() (string, error) {
			id, err := f.l.StartUpload(t.Context(), nil, repo)
			f.must(err)
			_, err = f.l.AppendUpload(t.Context(), nil, repo, id, 0, io.LimitReader(bytes.NewReader([]byte("some bytes")), 4))
			return id, err
		}
		for range 3 {
			f.must(second(start()))
		}
		if _, err := start(); !errors.Is(err, ErrOf(TooManyUploads)) {
			t.Errorf("too many uploads: %v", err)
		}
		f.clock.add(25 * time.Hour)
		f.wantReport(CollectReport{Uploads: Tally{3, 12}})
		id, err := start()
		f.must(err)
		f.must(f.l.CancelUpload(t.Context(), nil, repo, id))
		f.wantCounts(map[string]int{"repositories": 1, "ended_uploads": 1})
		f.clock.add(26 * time.Hour)
		f.wantReport(CollectReport{})
		f.wantCounts(map[string]int{"repositories": 1})
	})
}

func TestNewCollector(t *testing.T) {
	db := metatest.Open(t, metatest.SQLite(t))
	for _, test := range []struct {
		name string
		l    Options
		c    CollectOptions
		ok   bool
	}{
		{"defaults", Options{}, CollectOptions{}, true},
		{"no grace", Options{Grace: -1}, CollectOptions{}, false},
		{"orphans too soon", Options{}, CollectOptions{OrphanDelay: time.Hour}, false},
	} {
		test.l.UploadKey = make([]byte, 32)
		l, err := NewLocal(db, nil, test.l)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := NewCollector(l, test.c); (err == nil) != test.ok {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}
