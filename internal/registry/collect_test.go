package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/blob"
	"github.com/sekisho/sekisho/internal/blob/mem"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
	"github.com/sekisho/sekisho/internal/oci"
)

// clock is a clock that a test moves.
type clock struct{ micros atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.micros.Store(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixMicro())
	return c
}

func (c *clock) now() time.Time      { return time.UnixMicro(c.micros.Load()) }
func (c *clock) add(d time.Duration) { c.micros.Add(d.Microseconds()) }

// fixture is a registry, a collector of its content, and short ways to use them. What must not fail fails the test.
type fixture struct {
	testing.TB
	db    *meta.DB
	store blob.Store
	clock *clock
	l     *Local
	c     *Collector
}

const (
	testAccount = "123456789012"
	testInline  = 64 // bytes up to which blobs are inline
)

func newFixture(t testing.TB, db *meta.DB, o CollectOptions) *fixture {
	f := &fixture{TB: t, db: db, clock: newClock()}
	f.store = mem.New(f.clock.now)
	f.l = f.node(nil)
	c, err := NewCollector(f.l, o)
	if err != nil {
		t.Fatal(err)
	}
	c.pause = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
	f.c = c
	return f
}

// node returns another registry over the same database and store.
func (f *fixture) node(set func(*Options)) *Local {
	f.Helper()
	o := Options{UploadKey: make([]byte, 32), Now: f.clock.now, InlineLimit: testInline, Grace: time.Hour}
	if set != nil {
		set(&o)
	}
	l, err := NewLocal(f.db, f.store, o)
	if err != nil {
		f.Fatal(err)
	}
	return l
}

func (f *fixture) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) repo(name string) Repo {
	f.Helper()
	r := Repo{testAccount, name}
	_, err := f.l.CreateRepository(f.Context(), nil, r, RepositorySettings{}, nil)
	f.must(err)
	return r
}

// blob pushes content and returns its digest.
func (f *fixture) blob(repo Repo, content string) digest.Digest {
	f.Helper()
	d, err := pushBlob(f.Context(), f.l, repo, []byte(content))
	f.must(err)
	return d
}

func pushBlob(ctx context.Context, l *Local, repo Repo, content []byte) (digest.Digest, error) {
	id, err := l.StartUpload(ctx, nil, repo)
	if err != nil {
		return "", err
	}
	d := digest.FromBytes(content)
	_, err = l.CompleteUpload(ctx, nil, repo, id, UploadEnd{Digest: d, At: AtEnd, Body: bytes.NewReader(content), Size: int64(len(content))})
	return d, err
}

// large returns content that is not inline.
func large(s string) string { return s + string(bytes.Repeat([]byte{'.'}, testInline)) }

// image returns an image manifest that names blobs, the first as its configuration.
func image(blobs []digest.Digest, subject digest.Digest, annotation string) []byte {
	type m map[string]any
	d := func(d digest.Digest) m {
		return m{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": d, "size": 1}
	}
	layers := []m{}
	for _, b := range blobs[1:] {
		layers = append(layers, d(b))
	}
	man := m{"schemaVersion": 2, "mediaType": oci.TypeImage, "config": d(blobs[0]), "layers": layers, "annotations": m{"n": annotation}}
	if subject != "" {
		man["subject"] = m{"mediaType": oci.TypeImage, "digest": subject, "size": 1}
	}
	return mustJSON(man)
}

// index returns an index of manifests.
func index(children []digest.Digest, annotation string) []byte {
	type m map[string]any
	list := []m{}
	for _, c := range children {
		list = append(list, m{"mediaType": oci.TypeImage, "digest": c, "size": 1})
	}
	return mustJSON(m{"schemaVersion": 2, "mediaType": oci.TypeIndex, "manifests": list, "annotations": m{"n": annotation}})
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

func (f *fixture) put(repo Repo, data []byte, tags ...string) digest.Digest {
	f.Helper()
	m, err := f.l.PutManifest(f.Context(), nil, repo, ManifestPut{Tags: tags, Data: data})
	f.must(err)
	return m.Digest
}

func (f *fixture) delete(repo Repo, ref string) {
	f.Helper()
	_, err := f.l.DeleteManifest(f.Context(), nil, repo, reference(ref), DeleteOptions{})
	f.must(err)
}

func reference(s string) oci.Reference {
	if d, err := digest.Parse(s); err == nil {
		return oci.Reference{Digest: d}
	}
	return oci.Reference{Tag: s}
}

func (f *fixture) collect() CollectReport {
	f.Helper()
	r, err := f.c.Run(f.Context())
	f.must(err)
	return *r
}

// counts returns how many rows the tables of content have, and how many objects and uploads there are.
func (f *fixture) counts() map[string]int {
	f.Helper()
	out := map[string]int{}
	for _, table := range []string{"repositories", "manifests", "tags", "manifest_blobs", "manifest_children", "repository_blobs", "blobs", "garbage", "ended_uploads"} {
		var n int
		f.must(f.db.QueryRow(f.Context(), `SELECT count(*) FROM `+table).Scan(&n))
		if n > 0 {
			out[table] = n
		}
	}
	for _, err := range f.store.Objects(f.Context()) {
		f.must(err)
		out["objects"]++
	}
	for _, err := range f.store.Uploads(f.Context()) {
		f.must(err)
		out["uploads"]++
	}
	return out
}

func (f *fixture) wantCounts(want map[string]int) {
	f.Helper()
	if diff := cmp.Diff(want, f.counts()); diff != "" {
		f.Errorf("rows and objects (-want +got):\n%s", diff)
	}
}

func (f *fixture) wantReport(want CollectReport) {
	f.Helper()
	plan := f.plan()
	if diff := cmp.Diff(want, f.collect()); diff != "" {
		f.Errorf("collected (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(planOf(want), plan); diff != "" {
		f.Errorf("dry run (-what was collected +what it said):\n%s", diff)
	}
}

// plan counts what the dry run says. Rows of deleted repositories are counted with them.
func (f *fixture) plan() map[CandidateKind]Tally {
	f.Helper()
	p := map[CandidateKind]Tally{}
	for k, err := range f.c.DryRun(f.Context()) {
		f.must(err)
		if k.Reason == "" {
			f.Errorf("%+v goes for no reason", k)
		}
		t := p[k.Kind]
		t.add(k.Size)
		if k.Kind == CandidateLink {
			t.Bytes = 0
		}
		p[k.Kind] = t
	}
	return p
}

func planOf(r CollectReport) map[CandidateKind]Tally {
	p := map[CandidateKind]Tally{}
	for k, t := range map[CandidateKind]Tally{CandidateRepository: r.Repositories, CandidateManifest: r.Manifests, CandidateLink: r.Links, CandidateBlob: r.Blobs,
		CandidateObject: r.Objects, CandidateOrphan: r.Orphans, CandidateUpload: r.Uploads} {
		if t.Count > 0 {
			p[k] = t
		}
	}
	return p
}

func eachFixture(t *testing.T, o CollectOptions, test func(t *testing.T, f *fixture)) {
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) { test(t, newFixture(t, db, o)) })
}

func TestCollectBlobs(t *testing.T) {
	eachFixture(t, CollectOptions{}, func(t *testing.T, f *fixture) {
		a, b := f.repo("team/a"), f.repo("team/b")
		config, layer, other := f.blob(a, "{}"), f.blob(a, large("layer")), f.blob(a, large("other"))
		f.put(a, image([]digest.Digest{config, layer}, "", ""), "v1")
		f.must(second(f.l.MountBlob(t.Context(), nil, b, a, layer)))
		full := map[string]int{"repositories": 2, "manifests": 1, "tags": 1, "manifest_blobs": 2, "repository_blobs": 4, "blobs": 3, "objects": 2}
		f.wantReport(CollectReport{})
		f.wantCounts(full)

		f.clock.add(45 * time.Minute)
		f.must(second(f.l.StatBlob(t.Context(), nil, a, other))) // says that it is there, and writes it down
		f.clock.add(16 * time.Minute)
		f.wantReport(CollectReport{Links: Tally{1, 0}}) // that of b
		if _, err := f.l.StatBlob(t.Context(), nil, b, layer); !errors.Is(err, ErrOf(BlobUnknown)) {
			t.Errorf("blob that was collected: %v", err)
		}

		f.clock.add(45 * time.Minute)
		size := int64(len(large("other")))
		f.wantReport(CollectReport{Links: Tally{1, 0}, Blobs: Tally{1, size}})
		f.wantCounts(map[string]int{"repositories": 2, "manifests": 1, "tags": 1, "manifest_blobs": 2, "repository_blobs": 2, "blobs": 2, "garbage": 1, "objects": 2})

		f.clock.add(30 * time.Minute)
		f.blob(a, large("other")) // again, while the bytes of the first are garbage
		f.clock.add(31 * time.Minute)
		f.wantReport(CollectReport{Objects: Tally{1, size}})
		f.wantReport(CollectReport{})
		f.wantBlob(a, large("other"))

		f.delete(a, "v1")
		f.wantReport(CollectReport{})
		f.clock.add(2 * time.Hour)
		f.wantReport(CollectReport{Links: Tally{1, 0}, Blobs: Tally{1, size}}) // the manifest without a tag still needs the others
		f.must(f.l.PutSettings(t.Context(), nil, testAccount, Settings{UntaggedDays: 1}))
		f.clock.add(23 * time.Hour)
		f.wantReport(CollectReport{Manifests: Tally{1, 413}, Objects: Tally{1, size}})
		f.clock.add(2 * time.Hour)
		f.wantReport(CollectReport{Links: Tally{2, 0}, Blobs: Tally{2, int64(2 + len(large("layer")))}})
		f.clock.add(2 * time.Hour)
		f.wantReport(CollectReport{Objects: Tally{1, int64(len(large("layer")))}})
		f.wantCounts(map[string]int{"repositories": 2})
	})
}

func second[T any](_ T, err error) error { return err }

// wantBlob checks that a blob reads back.
func (f *fixture) wantBlob(repo Repo, content string) {
	f.Helper()
	got, err := readBack(f.Context(), f.l, repo, digest.FromString(content))
	if err != nil || string(got) != content {
		f.Errorf("blob %q reads %q, %v", content, got, err)
	}
}

func readBack(ctx context.Context, l *Local, repo Repo, d digest.Digest) ([]byte, error) {
	b, err := l.OpenBlob(ctx, nil, repo, d)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	if b.Content == nil {
		return b.Data, nil
	}
	return io.ReadAll(b.Content)
}
