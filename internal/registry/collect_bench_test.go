package registry_test

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/blob"
	"github.com/sekisho/sekisho/internal/blob/file"
	"github.com/sekisho/sekisho/internal/durable"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
	"github.com/sekisho/sekisho/internal/registry"
)

// BenchmarkCollect collects 100,000 blobs, half of them garbage, half of them objects in the store, from a registry that is
// served over HTTP to clients that read and push all the time. It reports the rate, and the latency that clients see
// before and while collection runs. Run it with -benchtime=1x.
func BenchmarkCollect(b *testing.B) {
	for _, dialect := range []string{"sqlite", "postgresql"} {
		b.Run(dialect, func(b *testing.B) {
			for range b.N {
				dsn := ""
				if dialect == "sqlite" {
					dsn = metatest.SQLite(b)
				} else {
					dsn = metatest.PostgreSQL(b)
				}
				benchCollect(b, metatest.Open(b, dsn))
			}
		})
	}
}

func benchCollect(b *testing.B, db *meta.DB) {
	const blobs = 100_000
	b.StopTimer()
	store, err := file.Open(unsynced{}, filepath.Join(b.TempDir(), "blobs"))
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	var ahead atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	l := local(b, db, store, registry.Options{UploadKey: uploadKey, Now: now})
	if _, err := l.CreateRepository(b.Context(), nil, app, registry.RepositorySettings{}, nil); err != nil {
		b.Fatal(err)
	}
	fillForCollection(b, db, store, blobs)
	pushImage(b, l, app, []byte("config"), "latest")
	ahead.Store(int64(48 * time.Hour)) // by which all of it is old
	for _, settle := range []string{`ANALYZE`} {
		if db.Dialect() == meta.PostgreSQL {
			if err := db.Update(b.Context(), func(tx *meta.Tx) error { _, err := tx.Exec(b.Context(), settle); return err }); err != nil {
				b.Fatal(err)
			}
		}
	}

	c, err := registry.NewCollector(l, registry.CollectOptions{})
	if err != nil {
		b.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m, err := l.Manifest(r.Context(), nil, app, tagged("latest"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Write(m.Data)
	}))
	defer server.Close()
	measure := func(until context.Context) (reads, pushes []time.Duration) {
		var mu sync.Mutex
		var wg sync.WaitGroup
		client := func(every time.Duration, into *[]time.Duration, do func(n int) error) {
			wg.Go(func() {
				for n := 0; until.Err() == nil; n++ {
					begin := time.Now()
					if err := do(n); err != nil && until.Err() == nil {
						b.Error(err)
						return
					}
					took := time.Since(begin)
					mu.Lock()
					*into = append(*into, took)
					mu.Unlock()
					select { // at random, or the clients fall into step, and the latency is that of waiting for each other
					case <-time.After(time.Duration(rand.ExpFloat64() * float64(every))):
					case <-until.Done():
					}
				}
			})
		}
		for range 4 {
			client(2*time.Millisecond, &reads, func(int) error {
				resp, err := server.Client().Get(server.URL)
				if err != nil {
					return err
				}
				defer resp.Body.Close()
				var buf bytes.Buffer
				if _, err := buf.ReadFrom(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
					return fmt.Errorf("%s %s: %w", resp.Status, buf.String(), err)
				}
				return nil
			})
		}
		for i := range 2 {
			client(20*time.Millisecond, &pushes, func(n int) error {
				config := fmt.Appendf(nil, "config %d %d %v", i, n, time.Now())
				d := digest.FromBytes(config)
				id, err := l.StartUpload(b.Context(), nil, app)
				if err != nil {
					return err
				}
				if _, err := l.CompleteUpload(b.Context(), nil, app, id, registry.UploadEnd{Digest: d, At: registry.AtEnd, Body: bytes.NewReader(config), Size: int64(len(config))}); err != nil {
					return err
				}
				manifest := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"a/b","digest":"%s","size":%d},"layers":[]}`, d, len(config))
				_, err = l.PutManifest(b.Context(), (*iam.Caller)(nil), app, registry.ManifestPut{Tags: []string{fmt.Sprint("w", i)}, Data: manifest})
				return err
			})
		}
		wg.Wait()
		return reads, pushes
	}
	idle, cancel := context.WithTimeout(b.Context(), 5*time.Second)
	defer cancel()
	reads, pushes := measure(idle)
	report(b, "idle-read", reads)
	report(b, "idle-push", pushes)

	collecting, done := context.WithCancel(b.Context())
	var wg sync.WaitGroup
	wg.Go(func() { reads, pushes = measure(collecting) })
	b.StartTimer()
	begin := time.Now()
	r, err := c.Run(b.Context())
	rows := time.Since(begin)
	ahead.Add(int64(2 * time.Hour))
	again, err2 := c.Run(b.Context())
	b.StopTimer()
	done()
	wg.Wait()
	if err != nil || err2 != nil {
		b.Fatal(err, err2)
	}
	if r.Links.Count != blobs/2 || r.Blobs.Count != blobs/2 || again.Objects.Count != blobs/4 {
		b.Errorf("collected %+v, then %+v", r, again)
	}
	report(b, "read", reads)
	report(b, "push", pushes)
	b.ReportMetric(float64(r.Blobs.Count)/rows.Seconds(), "blobs/s")
	b.ReportMetric(float64(again.Objects.Count)/(time.Since(begin)-rows).Seconds(), "objects/s")
}

func report(b *testing.B, what string, all []time.Duration) {
	slices.Sort(all)
	b.ReportMetric(float64(all[len(all)/2].Microseconds()), what+"-p50-µs")
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds()), what+"-p99-µs")
}

// fillForCollection writes blobs as pushes would have, every other one needed by a manifest.
func fillForCollection(b *testing.B, db *meta.DB, store blob.Store, blobs int) {
	ctx := b.Context()
	keys := make([]string, blobs)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := w; i < blobs; i += 4 {
				if i%4 >= 2 {
					continue
				}
				content := fmt.Sprintf("content of blob %d", i)
				id := fmt.Sprint("upload-", i)
				if _, err := store.Append(ctx, id, 0, strings.NewReader(content)); err != nil {
					b.Error(err)
					return
				}
				o, err := store.Commit(ctx, id, digest.FromString(content))
				if err != nil {
					b.Error(err)
					return
				}
				keys[i] = o.Key
			}
		})
	}
	wg.Wait()
	const batch = 5000
	for from := 0; from < blobs; from += batch {
		err := db.Update(ctx, func(tx *meta.Tx) error {
			var manifest int64
			for i := from; i < from+batch; i++ {
				content := fmt.Sprintf("content of blob %d", i)
				var id int64
				data := []byte(content)
				if keys[i] != "" {
					data = nil
				}
				err := tx.QueryRow(ctx, `INSERT INTO blobs (digest, size, location, created_at, data) VALUES ($1, $2, $3, 1, $4) RETURNING id`,
					string(digest.FromString(content)), len(content), keys[i], data).Scan(&id)
				if err != nil {
					return err
				}
				if _, err := tx.Exec(ctx, `INSERT INTO repository_blobs (repository_id, blob_id, touched_at) VALUES (1, $1, 1)`, id); err != nil {
					return err
				}
				if i%20 == 0 {
					err := tx.QueryRow(ctx, `INSERT INTO manifests (repository_id, digest, media_type, artifact_type, config_media_type, subject, descriptor, content_size,
						pushed_at, pulled_at, untagged_at, size, data) VALUES (1, $1, 'a', '', '', '', '', 1, 1, 0, 0, 2, $2) RETURNING id`, string(digest.FromString(fmt.Sprint("m", i))), []byte("{}")).Scan(&manifest)
					if err != nil {
						return err
					}
					if _, err := tx.Exec(ctx, `INSERT INTO tags (repository_id, name, manifest_id, pushed_at) VALUES (1, $1, $2, 1)`, fmt.Sprint("t", i), manifest); err != nil {
						return err
					}
				}
				if i%2 == 0 {
					if _, err := tx.Exec(ctx, `INSERT INTO manifest_blobs (manifest_id, repository_id, blob_id) VALUES ($1, 1, $2)`, manifest, id); err != nil {
						return err
					}
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

// unsynced is the file system without its syncs, to fill a store faster than one could push.
type unsynced struct{ durable.OS }

func (u unsynced) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	f, err := u.OS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return unsyncedFile{f}, nil
}

func (unsynced) SyncDir(string) error { return nil }

type unsyncedFile struct{ durable.File }

func (unsyncedFile) Sync() error { return nil }
