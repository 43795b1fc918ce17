package registry_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/blob"
	"github.com/sekisho/sekisho/internal/blob/file"
	"github.com/sekisho/sekisho/internal/durable"
	"github.com/sekisho/sekisho/internal/durable/faultfs"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
	"github.com/sekisho/sekisho/internal/oci"
	"github.com/sekisho/sekisho/internal/registry"
)

var uploadKey = bytes.Repeat([]byte("k"), 32)

// pushImage pushes an image of one blob under a tag, and returns its digest.
func pushImage(t testing.TB, r registry.Registry, repo registry.Repo, data []byte, tag string) digest.Digest {
	t.Helper()
	m, err := r.PutManifest(t.Context(), root(repo.Account), repo, registry.ManifestPut{
		Tags: []string{tag}, MediaType: oci.TypeImage, Data: imageOf(pushBlob(t, r, repo, data), len(data), ""),
	})
	if err != nil {
		t.Fatal(err)
	}
	return m.Digest
}

// imageOf renders an image of one blob; note makes it different from others.
func imageOf(d digest.Digest, size int, note string) []byte {
	return fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"a/b","digest":%q,"size":%d},"layers":[],"annotations":{"n":%q}}`, oci.TypeImage, d, size, note)
}

// TestChanges: every change is told in its transaction, which does not happen if who is told objects.
func TestChanges(t *testing.T) {
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) {
		var got []string
		var objection error
		l := local(t, db, memory(t), registry.Options{UploadKey: uploadKey, OnChange: func(_ context.Context, _ *meta.Tx, ch registry.Change) error {
			got = append(got, fmt.Sprintf("%s %s %s: %s", ch.Caller.Who(), ch.Action, ch.Repo.Name, ch.Detail))
			return objection
		}})
		ctx, c, s := t.Context(), root(account), newScene()
		image := digest.FromBytes(s.image)
		for _, step := range []struct {
			want string
			do   func() error
			same func() error // says whether all is as before the step
		}{
			{"ecr:CreateRepository team/app: ", func() error {
				return second(l.CreateRepository(ctx, c, app, registry.RepositorySettings{}, nil))
			}, func() error { return gone(second(l.Repository(ctx, c, app))) }},
			{"ecr:TagResource team/app: ", func() error {
				return l.TagRepository(ctx, c, app, map[string]string{"a": "b"}, nil)
			}, func() error {
				r, err := l.Repository(ctx, c, app)
				return errors.Join(err, must(err == nil && len(r.Tags) == 0))
			}},
			{"ecr:UntagResource team/app: ", func() error {
				return l.TagRepository(ctx, c, app, nil, []string{"a"})
			}, func() error {
				r, err := l.Repository(ctx, c, app)
				return errors.Join(err, must(err == nil && len(r.Tags) == 1))
			}},
			{"ecr:PutAccountSetting : {}", func() error {
				return l.PutSettings(ctx, c, account, registry.Settings{})
			}, nil},
			{"ecr:PutImage team/app: " + string(image) + " v1", func() error {
				pushBlob(t, l, app, []byte(s.blob))
				return second(l.PutManifest(ctx, c, app, put(s, "v1")))
			}, func() error { return gone(second(l.Manifest(ctx, c, app, tagged("v1")))) }},
			{"ecr:PutImage team/app: " + string(image) + " b a", func() error {
				return second(l.PutManifest(ctx, c, app, registry.ManifestPut{Tags: []string{"b", "a"}, MediaType: oci.TypeImage, Data: s.image}))
			}, func() error { return gone(second(l.Manifest(ctx, c, app, tagged("b")))) }},
			{"ecr:BatchDeleteImage team/app: " + string(image) + " v1", func() error {
				return second(l.DeleteManifest(ctx, c, app, tagged("v1"), registry.DeleteOptions{}))
			}, func() error { return second(l.Manifest(ctx, c, app, tagged("v1"))) }},
			{"ecr:BatchDeleteImage team/app: " + string(image), func() error {
				return second(l.DeleteManifest(ctx, c, app, oci.Reference{Digest: image}, registry.DeleteOptions{}))
			}, func() error { return second(l.Manifest(ctx, c, app, tagged("a"))) }},
			{"ecr:BatchDeleteImage team/app: " + string(s.digest()), func() error {
				return l.DeleteBlob(ctx, c, app, s.digest())
			}, func() error { return second(l.StatBlob(ctx, c, app, s.digest())) }},
			{"ecr:DeleteRepository team/app: ", func() error {
				return second(l.DeleteRepository(ctx, c, app, true))
			}, func() error { return second(l.Repository(ctx, c, app)) }},
		} {
			if step.same != nil {
				objection = errors.New("no")
				if err := step.do(); !errors.Is(err, objection) {
					t.Errorf("%s, objected to: %v", step.want, err)
				}
				if err := step.same(); err != nil {
					t.Errorf("%s, objected to, changed something: %v", step.want, err)
				}
				objection = nil
			}
			got = nil
			if err := step.do(); err != nil {
				t.Fatalf("%s: %v", step.want, err)
			}
			if diff := cmp.Diff([]string{"arn:aws:iam::" + account + ":root " + step.want}, got); diff != "" {
				t.Errorf("told: %s", diff)
			}
		}
	})
}

// gone is nil if err says that something is not there.
func gone(err error) error {
	if errors.Is(err, registry.ErrOf(registry.RepositoryUnknown)) || errors.Is(err, registry.ErrOf(registry.ManifestUnknown)) {
		return nil
	}
	return fmt.Errorf("is there: %v", err)
}

func must(ok bool) error {
	if ok {
		return nil
	}
	return errors.New("is not as before")
}

// TestPromise: that a client was told that a blob is there is written down in time, also when what was known by heart
// was that an image needs it.
func TestPromise(t *testing.T) {
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) {
		var c testClock
		l := local(t, db, memory(t), registry.Options{UploadKey: uploadKey, Now: c.now, Grace: time.Hour})
		if _, err := l.CreateRepository(t.Context(), nil, app, registry.RepositorySettings{}, nil); err != nil {
			t.Fatal(err)
		}
		told := func(d digest.Digest) (age time.Duration) {
			t.Helper()
			if _, err := l.StatBlob(t.Context(), nil, app, d); err != nil {
				t.Fatal(err)
			}
			var touched int64
			if err := db.QueryRow(t.Context(), `SELECT rb.touched_at FROM repository_blobs rb JOIN blobs b ON b.id = rb.blob_id WHERE b.digest = $1`, string(d)).Scan(&touched); err != nil {
				t.Fatal(err)
			}
			return c.now().Sub(time.UnixMicro(touched))
		}
		m := pushImage(t, l, app, []byte("needed"), "v1")
		d := digest.FromString("needed")
		c.advance(10 * time.Hour)
		if age := told(d); age < 10*time.Hour {
			t.Errorf("a blob that an image needs was touched %v ago", age)
		}
		if _, err := l.DeleteManifest(t.Context(), nil, app, oci.Reference{Digest: m}, registry.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		for range 10 {
			c.advance(20 * time.Minute)
			if age := told(d); age > 30*time.Minute {
				t.Errorf("a client was told of a blob that was touched %v ago, half the grace time is 30m", age)
			}
		}
	})
}

// TestReopened: what was acknowledged is there after a restart, with a cold cache.
func TestReopened(t *testing.T) {
	metatest.EachDSN(t, func(t *testing.T, dsn string) {
		dir := filepath.Join(t.TempDir(), "blobs")
		small, large := []byte("small"), bytes.Repeat([]byte("large"), 10_000)
		unfinished := ""
		with := func(test func(l *registry.Local)) {
			t.Helper()
			db, err := meta.Open(t.Context(), dsn, meta.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			store, err := file.Open(durable.OS{}, dir)
			if err != nil {
				t.Fatal(err)
			}
			defer store.Close()
			test(local(t, db, store, registry.Options{UploadKey: uploadKey}))
		}
		with(func(l *registry.Local) {
			if _, err := l.CreateRepository(t.Context(), nil, app, registry.RepositorySettings{Mutability: registry.Immutable}, map[string]string{"a": "b"}); err != nil {
				t.Fatal(err)
			}
			pushImage(t, l, app, small, "small")
			pushImage(t, l, app, large, "large")
			var err error
			if unfinished, err = l.StartUpload(t.Context(), nil, app); err != nil {
				t.Fatal(err)
			}
			if _, err := l.AppendUpload(t.Context(), nil, app, unfinished, 0, bytes.NewReader(large[:20_000])); err != nil {
				t.Fatal(err)
			}
		})
		with(func(l *registry.Local) {
			for tag, data := range map[string][]byte{"small": small, "large": large} {
				m, err := l.Manifest(t.Context(), nil, app, tagged(tag))
				if err != nil || !bytes.Equal(m.Data, imageOf(digest.FromBytes(data), len(data), "")) {
					t.Errorf("Manifest %s: %v", tag, err)
				}
				if got, err := read(t, l, app, digest.FromBytes(data)); err != nil || !bytes.Equal(got, data) {
					t.Errorf("OpenBlob of %s: %d bytes, %v", tag, len(got), err)
				}
			}
			_, err := l.PutManifest(t.Context(), nil, app, registry.ManifestPut{Tags: []string{"small"}, Data: imageOf(digest.FromBytes(large), len(large), "other")})
			if !errors.Is(err, registry.ErrOf(registry.TagImmutable)) {
				t.Errorf("PutManifest over an immutable tag: %v", err)
			}
			end := registry.UploadEnd{Digest: digest.FromBytes(large), At: 20_000, Body: bytes.NewReader(large[20_000:]), Size: int64(len(large) - 20_000)}
			if _, err := l.CompleteUpload(t.Context(), nil, app, unfinished, end); err != nil {
				t.Errorf("CompleteUpload of an upload begun before: %v", err)
			}
		})
	})
}

func read(t testing.TB, r registry.Registry, repo registry.Repo, d digest.Digest) ([]byte, error) {
	b, err := r.OpenBlob(t.Context(), root(repo.Account), repo, d)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	if b.Content == nil {
		return b.Data, nil
	}
	return io.ReadAll(b.Content)
}

// TestNothingLeft: content is stored once, and what failed leaves no bytes but those that collection is to take.
func TestNothingLeft(t *testing.T) {
	db, store := metatest.Open(t, metatest.SQLite(t)), memory(t)
	l := local(t, db, store, registry.Options{UploadKey: uploadKey})
	for _, repo := range []registry.Repo{app, other} {
		if _, err := l.CreateRepository(t.Context(), nil, repo, registry.RepositorySettings{}, nil); err != nil {
			t.Fatal(err)
		}
	}
	large := bytes.Repeat([]byte("large"), 10_000)
	for range 3 {
		pushBlob(t, l, app, large)
		pushBlob(t, l, other, large)
	}
	id, err := l.StartUpload(t.Context(), nil, app)
	if err != nil {
		t.Fatal(err)
	}
	for _, end := range []registry.UploadEnd{
		{Digest: digest.FromString("x"), At: registry.AtEnd, Body: bytes.NewReader(large), Size: int64(len(large))},
		{Digest: digest.FromBytes(large), At: registry.AtEnd, Body: io.MultiReader(bytes.NewReader(large[:30_000]), failing{}), Size: int64(len(large))},
		{Digest: digest.FromBytes(large), At: registry.AtEnd, Body: failing{}, Size: -1},
	} {
		if _, err := l.CompleteUpload(t.Context(), nil, app, id, end); err == nil {
			t.Error("a broken upload was completed")
		}
	}
	if _, err := l.AppendUpload(t.Context(), nil, app, id, 0, failing{}); err == nil {
		t.Error("a broken chunk was accepted")
	}
	objects, uploads := 0, 0
	for _, err := range store.Objects(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		objects++
	}
	for _, err := range store.Uploads(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		uploads++
	}
	garbage := 0
	if err := db.QueryRow(t.Context(), `SELECT count(*) FROM garbage`).Scan(&garbage); err != nil {
		t.Fatal(err)
	}
	if objects-garbage != 1 || uploads != 0 {
		t.Errorf("%d objects, %d of them garbage, and %d uploads, want one object", objects, garbage, uploads)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// TestUploadsElsewhere: uploads that end on another node don't count for ever where they began.
func TestUploadsElsewhere(t *testing.T) {
	dsn, store := metatest.PostgreSQL(t), memory(t)
	var c testClock
	o := registry.Options{UploadKey: uploadKey, MaxUploads: 3, Now: c.now}
	one, two := local(t, metatest.Open(t, dsn), store, o), local(t, metatest.Open(t, dsn), store, o)
	if _, err := one.CreateRepository(t.Context(), nil, app, registry.RepositorySettings{}, nil); err != nil {
		t.Fatal(err)
	}
	data := bytes.Repeat([]byte("large"), 10_000)
	for i := range 20 {
		c.advance(time.Minute)
		id, err := one.StartUpload(t.Context(), nil, app)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := one.AppendUpload(t.Context(), nil, app, id, 0, bytes.NewReader(data)); err != nil {
			t.Fatalf("upload %d: %v", i, err)
		}
		if _, err := two.CompleteUpload(t.Context(), nil, app, id, registry.UploadEnd{Digest: digest.FromBytes(data), At: registry.AtEnd}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestBytesMissing: the loss of a blob's bytes is the server's error, not the client's.
func TestBytesMissing(t *testing.T) {
	store := memory(t)
	l := local(t, metatest.Open(t, metatest.SQLite(t)), store, registry.Options{UploadKey: uploadKey, InlineLimit: -1})
	if _, err := l.CreateRepository(t.Context(), nil, app, registry.RepositorySettings{}, nil); err != nil {
		t.Fatal(err)
	}
	d := pushBlob(t, l, app, []byte("small"))
	for o, err := range store.Objects(t.Context()) {
		if err := errors.Join(err, store.Delete(t.Context(), o.Key)); err != nil {
			t.Fatal(err)
		}
	}
	var e *registry.Error
	if _, err := read(t, l, app, d); err == nil || errors.As(err, &e) || !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("OpenBlob: %v", err)
	}
}

// TestDiskFails fails each of a push's operations on files in turn: the client is told, nothing half is there, and
// the next push works.
func TestDiskFails(t *testing.T) {
	data := bytes.Repeat([]byte("large"), 10_000)
	d := digest.FromBytes(data)
	for _, fault := range []error{syscall.ENOSPC, syscall.EIO, faultfs.Short} {
		for failAt := 0; ; failAt++ {
			fs := faultfs.New()
			store, err := file.Open(fs, "/data")
			if err != nil {
				t.Fatal(err)
			}
			l := local(t, metatest.Open(t, metatest.SQLite(t)), store, registry.Options{UploadKey: uploadKey})
			if _, err := l.CreateRepository(t.Context(), nil, app, registry.RepositorySettings{}, nil); err != nil {
				t.Fatal(err)
			}
			id, err := l.StartUpload(t.Context(), nil, app)
			if err != nil {
				t.Fatal(err)
			}
			first, failed := fs.Ops(), false
			fs.SetHook(func(op faultfs.Op) error {
				if op.Index-first == failAt && (fault != faultfs.Short || op.Kind == faultfs.Write) {
					failed = true
					return fault
				}
				return nil
			})
			_, err = l.CompleteUpload(t.Context(), nil, app, id, registry.UploadEnd{Digest: d, At: 0, Body: bytes.NewReader(data), Size: int64(len(data))})
			reached := fs.Ops()-first > failAt
			fs.SetHook(nil)
			if err != nil {
				if full := errors.Is(err, registry.ErrOf(registry.Full)); full != (fault != syscall.EIO) {
					t.Errorf("%v at operation %d: %v", fault, failAt, err)
				}
				if _, err := l.StatBlob(t.Context(), nil, app, d); !errors.Is(err, registry.ErrOf(registry.BlobUnknown)) {
					t.Errorf("%v at operation %d: StatBlob of a failed push: %v", fault, failAt, err)
				}
				pushBlob(t, l, app, data)
			} else if failed && fault == faultfs.Short {
				t.Errorf("a push succeeded although its write %d was short", failAt)
			}
			if got, err := read(t, l, app, d); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%v at operation %d: OpenBlob: %d bytes, %v", fault, failAt, len(got), err)
			}
			if !reached {
				break
			}
		}
	}
}

// TestPullsAreWritten: while Run runs, the times of pulls come into the database by themselves, and the last when it ends.
func TestPullsAreWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newMemory(t)
		if _, err := l.CreateRepository(t.Context(), nil, app, registry.RepositorySettings{}, nil); err != nil {
			t.Fatal(err)
		}
		pushImage(t, l, app, []byte("one"), "one")
		pushImage(t, l, app, []byte("two"), "two")
		pulled := func(tag string) time.Time {
			t.Helper()
			i, err := l.Image(t.Context(), nil, app, tagged(tag))
			if err != nil {
				t.Fatal(err)
			}
			return i.PulledAt
		}
		pull := func(tag string) {
			t.Helper()
			if _, err := l.Manifest(t.Context(), nil, app, tagged(tag)); err != nil {
				t.Fatal(err)
			}
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { l.Run(ctx); close(ended) }()
		now := time.Now()
		pull("one")
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if got := pulled("one"); !got.Equal(now.UTC()) {
			t.Errorf("pulled at %v, want %v", got, now)
		}
		pull("two")
		stop()
		<-ended
		if got := pulled("two"); got.IsZero() {
			t.Error("the last pull was not written")
		}
	})
}

func TestNewLocalRefusesShortKey(t *testing.T) {
	if _, err := registry.NewLocal(metatest.Open(t, metatest.SQLite(t)), memory(t), registry.Options{UploadKey: uploadKey[:31]}); err == nil {
		t.Error("a short key was accepted")
	}
}
