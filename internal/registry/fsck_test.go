package registry

import (
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/blob/file"
	"github.com/sekisho/sekisho/internal/durable"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
)

// damaged is a registry in files, with two images, an index of both and a referrer, to be damaged.
type damaged struct {
	*fixture
	raw                           *sql.DB // without foreign keys
	dir                           string
	repo                          Repo
	small, big                    string // contents of blobs
	config, layer                 digest.Digest
	image, image2, index, referer digest.Digest
}

func newDamaged(t *testing.T) *damaged {
	dsn := metatest.SQLite(t)
	d := &damaged{fixture: &fixture{TB: t, db: metatest.Open(t, dsn), clock: newClock()}, dir: filepath.Join(t.TempDir(), "blobs")}
	store, err := file.Open(durable.OS{}, d.dir)
	d.must(err)
	t.Cleanup(func() { store.Close() })
	d.store = store
	d.l = d.node(nil)
	d.raw, err = sql.Open("sqlite", "file:"+strings.TrimPrefix(dsn, "sqlite:")+"?_pragma=foreign_keys(OFF)&_pragma=busy_timeout(10000)")
	d.must(err)
	t.Cleanup(func() { d.raw.Close() })

	d.repo = d.fixture.repo("team/app")
	d.small, d.big = "{}", large("layer")
	d.config, d.layer = d.blob(d.repo, d.small), d.blob(d.repo, d.big)
	empty := d.blob(d.repo, "")
	d.image = d.put(d.repo, image([]digest.Digest{d.config, d.layer}, "", "one"), "v1")
	d.image2 = d.put(d.repo, image([]digest.Digest{d.config, empty}, "", "two"))
	d.index = d.put(d.repo, index([]digest.Digest{d.image, d.image2}, ""), "multi")
	d.referer = d.put(d.repo, image([]digest.Digest{d.config}, d.image, "about one"))
	return d
}

// exec changes rows without foreign keys.
func (d *damaged) exec(q string, args ...any) {
	d.Helper()
	res, err := d.raw.Exec(q, args...)
	d.must(err)
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		d.Fatalf("%s: %d rows, %v", q, n, err)
	}
}

// file returns the path of a blob's bytes.
func (d *damaged) file(of digest.Digest) string {
	d.Helper()
	var location string
	d.must(d.db.QueryRow(d.Context(), `SELECT location FROM blobs WHERE digest = $1`, string(of)).Scan(&location))
	found := ""
	d.must(filepath.WalkDir(d.dir, func(path string, _ os.DirEntry, err error) error {
		if filepath.Base(path) == filepath.Base(location) {
			found = path
		}
		return err
	}))
	if found == "" {
		d.Fatalf("no file of %s", location)
	}
	return found
}

// copy puts another object with a content in the store and returns its key.
func (d *damaged) copy(content string) string {
	d.Helper()
	d.must(second(d.store.Append(d.Context(), "copy", 0, strings.NewReader(content))))
	o, err := d.store.Commit(d.Context(), "copy", digest.FromString(content))
	d.must(err)
	return o.Key
}

// check runs Fsck and returns the kinds of what it found, harmless things with a "~", repaired ones with a "+".
func (d *damaged) check(o FsckOptions) []string {
	d.Helper()
	var kinds []string
	o.Report = func(p Problem) error {
		k := string(p.Kind)
		if p.Harmless {
			k = "~" + k
		}
		if p.Repaired {
			k = "+" + k
		}
		kinds = append(kinds, k)
		if p.Detail == "" || p.Advice == "" {
			d.Errorf("%+v does not say what is wrong or what to do", p)
		}
		d.Logf("%+v", p)
		return nil
	}
	last := FsckProgress{}
	o.Progress = func(p FsckProgress) { last = p }
	r, err := d.l.Fsck(d.Context(), o)
	d.must(err)
	if diff := cmp.Diff(r.FsckProgress, last); diff != "" {
		d.Errorf("progress at the end (-report +told):\n%s", diff)
	}
	if r.Problems != int64(len(kinds)) {
		d.Errorf("%d problems were reported, the report says %d", len(kinds), r.Problems)
	}
	slices.Sort(kinds)
	return kinds
}

// whole checks that everything reads back.
func (d *damaged) whole() {
	d.Helper()
	l := d.node(nil)
	for _, m := range []digest.Digest{d.image, d.image2, d.index, d.referer} {
		got, err := l.Manifest(d.Context(), nil, d.repo, reference(string(m)))
		if err != nil || digest.FromBytes(got.Data) != m {
			d.Errorf("manifest %s: %v", m, err)
		}
	}
	for _, content := range []string{d.small, d.big, ""} {
		got, err := readBack(d.Context(), l, d.repo, digest.FromString(content))
		if err != nil || string(got) != content {
			d.Errorf("blob %q reads %q, %v", content, got, err)
		}
	}
	list, err := l.Referrers(d.Context(), nil, d.repo, d.image, "", Page{})
	if err != nil || len(list.Descriptors) != 1 {
		d.Errorf("referrers: %v, %v", list, err)
	}
	var n int
	d.must(d.db.QueryRow(d.Context(), `SELECT count(*) FROM pragma_foreign_key_check`).Scan(&n))
	if n != 0 {
		d.Errorf("%d foreign keys are violated", n)
	}
}

func TestFsck(t *testing.T) {
	for _, test := range []struct {
		name   string
		damage func(d *damaged)
		found  []string
		repair []string // what repairing finds
		after  []string // what is found after that
	}{
		{"nothing", func(*damaged) {}, nil, nil, nil},
		{"file gone", func(d *damaged) { d.must(os.Remove(d.file(d.layer))) },
			[]string{"blob-missing"}, []string{"blob-missing"}, []string{"blob-missing"}},
		{"file gone, another has it", func(d *damaged) { d.must(os.Remove(d.file(d.layer))); d.copy(d.big) },
			[]string{"blob-missing", "~orphan"}, []string{"+blob-missing"}, nil},
		{"file gone, garbage has it", func(d *damaged) {
			d.must(os.Remove(d.file(d.layer)))
			d.exec(`INSERT INTO garbage (location, size, delete_at) VALUES (?, 1, 2)`, d.copy(d.big))
		}, []string{"blob-missing"}, []string{"+blob-missing"}, nil},
		{"file gone, garbage that is being deleted has it", func(d *damaged) {
			d.must(os.Remove(d.file(d.layer)))
			d.exec(`INSERT INTO garbage (location, size, delete_at) VALUES (?, 1, 0)`, d.copy(d.big))
		}, []string{"blob-missing"}, []string{"blob-missing"}, []string{"blob-missing"}},
		{"file truncated", func(d *damaged) { d.must(os.Truncate(d.file(d.layer), 7)); d.copy(d.big) },
			[]string{"blob-corrupt", "~orphan"}, []string{"+blob-corrupt"}, []string{"~orphan"}},
		{"file changed", func(d *damaged) {
			name := d.file(d.layer)
			b, err := os.ReadFile(name)
			d.must(err)
			b[3] ^= 1
			d.must(os.Chmod(name, 0o600))
			d.must(os.WriteFile(name, b, 0o600))
			d.copy(large("another"))
			d.copy(d.big)
		}, []string{"blob-corrupt", "~orphan", "~orphan"}, []string{"+blob-corrupt", "~orphan"}, []string{"~orphan", "~orphan"}},
		{"file is a folder", func(d *damaged) {
			name := d.file(d.layer)
			d.must(os.Remove(name))
			d.must(os.Mkdir(name, 0o700))
		}, []string{"blob-unreadable"}, []string{"blob-unreadable"}, []string{"blob-unreadable"}},
		{"size of blob", func(d *damaged) { d.exec(`UPDATE blobs SET size = size + 1`) },
			[]string{"blob-size", "blob-size", "blob-size"}, []string{"+blob-size", "+blob-size", "+blob-size"}, nil},
		{"location of blob", func(d *damaged) { d.exec(`UPDATE blobs SET location = 'somewhere' WHERE location <> ''`) },
			[]string{"blob-unreadable", "~orphan"}, []string{"+blob-unreadable"}, nil},
		{"inline blob", func(d *damaged) { d.exec(`UPDATE blobs SET data = x'00' WHERE digest = ?`, d.config); d.copy(d.small) },
			[]string{"blob-corrupt", "~orphan"}, []string{"+blob-corrupt"}, nil},
		{"inline blob gone", func(d *damaged) { d.exec(`UPDATE blobs SET data = NULL WHERE digest = ?`, d.config); d.copy(d.small) },
			[]string{"blob-missing", "~orphan"}, []string{"+blob-missing"}, nil},
		{"manifest", func(d *damaged) { d.exec(`UPDATE manifests SET data = x'7b7d' WHERE digest = ?`, d.referer) },
			[]string{"manifest-corrupt"}, []string{"manifest-corrupt"}, []string{"manifest-corrupt"}},
		{"fields of manifest", func(d *damaged) {
			d.exec(`UPDATE manifests SET subject = '', descriptor = 'x', size = 1 WHERE digest = ?`, d.referer)
			d.exec(`UPDATE manifests SET media_type = 'text/plain', artifact_type = 'a/b', config_media_type = '' WHERE digest = ?`, d.image)
		}, []string{"manifest-fields", "manifest-fields"}, []string{"+manifest-fields", "+manifest-fields"}, nil},
		{"needs of manifests", func(d *damaged) { d.exec(`DELETE FROM manifest_blobs`) },
			[]string{"reference", "reference", "reference", "reference", "reference"}, []string{"+reference", "+reference", "+reference", "+reference", "+reference"}, nil},
		{"links", func(d *damaged) { d.exec(`DELETE FROM repository_blobs`) },
			slices.Concat(many("dangling", 5), many("reference", 5)), many("+reference", 5), nil},
		{"rows of blobs, with objects", func(d *damaged) { d.exec(`DELETE FROM blobs WHERE digest = ?`, d.layer) },
			[]string{"dangling", "dangling", "reference", "~orphan"}, []string{"+dangling", "+dangling", "+reference"}, nil},
		{"rows of blobs, with garbage", func(d *damaged) {
			d.exec(`INSERT INTO garbage (location, size, delete_at) SELECT location, size, 5 FROM blobs WHERE digest = ?`, d.layer)
			d.exec(`DELETE FROM blobs WHERE digest = ?`, d.layer)
		}, []string{"dangling", "dangling", "reference"}, []string{"+dangling", "+dangling", "+reference"}, nil},
		{"rows of blobs, without", func(d *damaged) { d.exec(`DELETE FROM blobs WHERE digest = ?`, d.config) },
			slices.Concat(many("dangling", 4), many("reference", 3)), slices.Concat(many("+dangling", 4), many("reference", 3)), many("reference", 3)},
		{"children", func(d *damaged) { d.exec(`DELETE FROM manifest_children`) },
			[]string{"reference", "reference"}, []string{"+reference", "+reference"}, nil},
		{"children gone", func(d *damaged) { d.exec(`DELETE FROM manifests WHERE digest = ?`, d.image2) },
			[]string{"dangling", "dangling", "dangling", "reference"}, []string{"+dangling", "+dangling", "+dangling", "reference"}, []string{"reference"}},
		{"needs nothing of", func(d *damaged) {
			d.exec(`INSERT INTO manifest_blobs (manifest_id, repository_id, blob_id) SELECT m.id, m.repository_id, b.id FROM manifests m, blobs b WHERE m.digest = ? AND b.digest = ?`,
				d.referer, d.layer)
		}, []string{"reference-extra"}, []string{"+reference-extra"}, nil},
		{"tag of nothing", func(d *damaged) {
			d.exec(`INSERT INTO tags (repository_id, name, manifest_id, pushed_at) VALUES (1, 'odd', 77, 1)`)
		}, []string{"dangling"}, []string{"+dangling"}, nil},
		{"object of nothing", func(d *damaged) { d.copy(large("nobody's")) }, []string{"~orphan"}, []string{"~orphan"}, []string{"~orphan"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := newDamaged(t)
			d.whole()
			test.damage(d)
			if diff := cmp.Diff(test.found, d.check(FsckOptions{})); diff != "" {
				t.Errorf("found (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.repair, d.check(FsckOptions{Repair: true})); diff != "" {
				t.Errorf("repair (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.after, d.check(FsckOptions{Repair: true})); diff != "" {
				t.Errorf("after repair (-want +got):\n%s", diff)
			}
			if !slices.ContainsFunc(test.after, func(k string) bool { return k[0] != '~' }) {
				d.whole()
			}
		})
	}
}

func many(s string, n int) []string { return slices.Repeat([]string{s}, n) }

// What is lost for good can be forgotten, and pushed again.
func TestFsckForget(t *testing.T) {
	d := newDamaged(t)
	d.wantBlob(d.repo, d.big)
	d.must(os.Remove(d.file(d.layer)))
	d.exec(`UPDATE blobs SET data = x'00' WHERE digest = ?`, d.config)
	if got := d.check(FsckOptions{Repair: true, Forget: true}); !slices.Equal(got, []string{"blob-corrupt", "blob-missing"}) {
		t.Errorf("found %q", got)
	}
	for _, lost := range []digest.Digest{d.layer, d.config} {
		if _, err := d.l.StatBlob(t.Context(), nil, d.repo, lost); !errors.Is(err, ErrOf(BlobUnknown)) {
			t.Errorf("a blob that is lost: %v", err)
		}
	}
	if got := d.check(FsckOptions{}); !slices.Equal(got, []string{"blob-missing", "blob-missing"}) {
		t.Errorf("after forgetting: %q", got)
	}
	if _, err := d.l.PutManifest(t.Context(), nil, d.repo, ManifestPut{Data: image([]digest.Digest{d.layer}, "", "new")}); !errors.Is(err, ErrOf(BlobsMissing)) {
		t.Errorf("a manifest that needs what is lost: %v", err)
	}
	d.blob(d.repo, d.big)
	d.blob(d.repo, d.small)
	if got := d.check(FsckOptions{}); got != nil {
		t.Errorf("after pushing: %q", got)
	}
	d.whole()
}

// Checking while others write finds nothing wrong.
func TestFsckWhileServing(t *testing.T) {
	eachFixture(t, CollectOptions{}, func(t *testing.T, f *fixture) {
		f.c.pause = sleep
		repo := f.repo("team/app")
		stop := make(chan struct{})
		done := make(chan error, 1)
		go func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					done <- nil
					return
				default:
				}
				err := func() error {
					content := large(strings.Repeat("x", n%20))
					d, err := pushBlob(t.Context(), f.l, repo, []byte(content))
					if err != nil {
						return err
					}
					m, err := f.l.PutManifest(t.Context(), nil, repo, ManifestPut{Tags: []string{"v1"}, Data: image([]digest.Digest{d}, "", content)})
					if err != nil {
						return err
					}
					if _, err := f.l.DeleteManifest(t.Context(), nil, repo, reference(string(m.Digest)), DeleteOptions{}); err != nil {
						return err
					}
					f.clock.add(20 * time.Minute)
					_, err = f.c.Run(t.Context())
					return err
				}()
				if err != nil {
					done <- err
					return
				}
			}
		}()
		for range 30 {
			_, err := f.l.Fsck(t.Context(), FsckOptions{Repair: true, Report: func(p Problem) error {
				if !p.Harmless {
					t.Errorf("%+v", p)
				}
				return nil
			}})
			f.must(err)
		}
		close(stop)
		f.must(<-done)
	})
}

// The same on PostgreSQL, where foreign keys are off for a transaction.
func TestFsckPostgreSQL(t *testing.T) {
	f := newFixture(t, metatest.Open(t, metatest.PostgreSQL(t)), CollectOptions{})
	repo := f.repo("team/app")
	layer, config := f.blob(repo, large("layer")), f.blob(repo, "{}")
	one := f.put(repo, image([]digest.Digest{config, layer}, "", "one"), "v1")
	f.put(repo, index([]digest.Digest{one}, ""), "multi")
	f.put(repo, image([]digest.Digest{config}, one, "about one"))
	key, err := stringsOf(f.db.Query(t.Context(), `SELECT location FROM blobs WHERE location <> ''`))
	f.must(err)
	for name, damage := range map[string][]string{
		"bytes":    nil,
		"needs":    {`DELETE FROM manifest_blobs`, `DELETE FROM manifest_children`},
		"links":    {`DELETE FROM repository_blobs`},
		"row":      {`DELETE FROM blobs WHERE location <> ''`},
		"fields":   {`UPDATE manifests SET subject = 'x', size = 1, artifact_type = ''`, `UPDATE blobs SET size = 7`},
		"dangling": {`INSERT INTO tags VALUES (1, 'odd', 77, 1)`, `INSERT INTO repository_blobs VALUES (77, 77, 1)`, `INSERT INTO manifest_children VALUES (77, 78)`, `INSERT INTO manifest_blobs VALUES (77, 1, 1)`},
		"extra":    {`INSERT INTO manifest_blobs SELECT m.id, m.repository_id, rb.blob_id FROM manifests m JOIN repository_blobs rb ON rb.repository_id = m.repository_id ON CONFLICT DO NOTHING`},
	} {
		t.Run(name, func(t *testing.T) {
			f.must(f.db.Update(t.Context(), func(tx *meta.Tx) error {
				for _, q := range append([]string{`SET LOCAL session_replication_role = replica`}, damage...) {
					if _, err := tx.Exec(t.Context(), q); err != nil {
						return err
					}
				}
				return nil
			}))
			if damage == nil {
				f.must(f.store.Delete(t.Context(), key[0]))
				f.must(second(f.store.Append(t.Context(), "copy", 0, strings.NewReader(large("layer")))))
				f.must(second(f.store.Commit(t.Context(), "copy", layer)))
			}
			for _, repair := range []bool{true, false} {
				r, err := f.l.Fsck(t.Context(), FsckOptions{Repair: repair, Report: func(p Problem) error {
					if !p.Repaired && !p.Harmless {
						t.Errorf("%+v", p)
					}
					return nil
				}})
				f.must(err)
				if (r.Problems > 0) != repair {
					t.Errorf("repair %v: %d problems", repair, r.Problems)
				}
			}
			f.wantBlob(repo, large("layer"))
		})
	}
}

// The report of a check can end it.
func TestFsckStops(t *testing.T) {
	d := newDamaged(t)
	d.exec(`UPDATE blobs SET size = size + 1`)
	enough := errors.New("enough")
	n := 0
	_, err := d.l.Fsck(t.Context(), FsckOptions{Report: func(Problem) error { n++; return enough }})
	if !errors.Is(err, enough) || n > 2 {
		t.Errorf("%d reports, %v", n, err)
	}
}
