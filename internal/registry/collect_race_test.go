package registry

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
)

// These hold a transaction of a client open on PostgreSQL while collection runs, to see that what the comment on Collector
// says of locks and snapshots is so.

// raceFixture has a blob that collection would take.
func raceFixture(t *testing.T) (f *fixture, repo Repo, r *repository, d digest.Digest, id int64) {
	f = newFixture(t, metatest.Open(t, metatest.PostgreSQL(t)), CollectOptions{})
	repo = f.repo("team/app")
	d = f.blob(repo, large("a"))
	f.clock.add(2 * time.Hour)
	r, err := f.l.readRepository(t.Context(), f.db, repo)
	f.must(err)
	f.must(f.db.QueryRow(t.Context(), `SELECT id FROM blobs`).Scan(&id))
	return f, repo, r, d, id
}

const needBlob = `INSERT INTO manifest_blobs (manifest_id, repository_id, blob_id) SELECT id, repository_id, $1 FROM manifests`

// whileOpen runs do between the statements and the commit of a transaction.
func (f *fixture) whileOpen(statements func(tx *meta.Tx) error, do func()) {
	f.Helper()
	f.must(f.db.Update(f.Context(), func(tx *meta.Tx) error {
		if err := statements(tx); err != nil {
			return err
		}
		do()
		return nil
	}))
}

// A row that somebody is using is passed over, not waited for.
func TestCollectPassesLockedRows(t *testing.T) {
	for name, use := range map[string]func(f *fixture, r *repository, d digest.Digest, id int64) func(tx *meta.Tx) error{
		"a manifest that needs it": func(f *fixture, r *repository, _ digest.Digest, id int64) func(tx *meta.Tx) error {
			f.put(r.Repo, index(nil, ""), "v1")
			return func(tx *meta.Tx) error {
				_, err := tx.Exec(f.Context(), needBlob, id)
				return err
			}
		},
		"a client is told": func(f *fixture, r *repository, _ digest.Digest, id int64) func(tx *meta.Tx) error {
			return func(tx *meta.Tx) error {
				_, err := tx.Exec(f.Context(), `UPDATE repository_blobs SET touched_at = $1`, f.clock.now().UnixMicro())
				return err
			}
		},
		"the same content pushed": func(f *fixture, r *repository, d digest.Digest, id int64) func(tx *meta.Tx) error {
			return func(tx *meta.Tx) error {
				if err := f.l.insertBlob(f.Context(), tx, Descriptor{d, 1}, "another", nil); err != nil {
					return err
				}
				return f.l.link(f.Context(), tx, r, d)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			f, repo, r, d, id := raceFixture(t)
			f.whileOpen(use(f, r, d, id), func() {
				if got := f.collect(); got != (CollectReport{}) {
					t.Errorf("collected %+v", got)
				}
			})
			f.collect()
			f.must(second(f.l.StatBlob(t.Context(), nil, repo, d)))
			f.wantBlob(repo, large("a"))
		})
	}
}

// A deletion that began before a manifest was committed, and waited for the row, does not look again whether it is needed:
// the foreign key stops it.
func TestForeignKeyStopsDeletion(t *testing.T) {
	f, _, r, _, id := raceFixture(t)
	f.put(r.Repo, index(nil, ""), "v1")
	deleted := make(chan error, 1)
	f.whileOpen(func(tx *meta.Tx) error {
		_, err := tx.Exec(t.Context(), needBlob, id)
		return err
	}, func() {
		go func() {
			deleted <- f.db.Update(t.Context(), func(tx *meta.Tx) error { // as SQLite does, where nobody else has locks
				_, err := tx.Exec(t.Context(), deleteLinks, f.clock.now().UnixMicro(), 0, 0, r.id, id) // without SKIP LOCKED
				return err
			})
		}()
		f.awaitBlocked()
	})
	if err := <-deleted; !meta.IsForeignKey(err) {
		t.Errorf("deleting a link that a manifest began to need meanwhile: %v", err)
	}
}

// A deletion that waited for a row which was touched meanwhile looks at the new row.
func TestTouchStopsDeletion(t *testing.T) {
	f, repo, r, d, id := raceFixture(t)
	deleted := make(chan error, 1)
	f.whileOpen(func(tx *meta.Tx) error {
		_, err := tx.Exec(t.Context(), `UPDATE repository_blobs SET touched_at = $1`, f.clock.now().UnixMicro())
		return err
	}, func() {
		go func() {
			deleted <- f.db.Update(t.Context(), func(tx *meta.Tx) error {
				_, err := tx.Exec(t.Context(), `DELETE FROM repository_blobs rb WHERE rb.repository_id = $2 AND rb.blob_id = $3 AND `+linkIdle, f.clock.now().UnixMicro(), r.id, id)
				return err
			})
		}()
		f.awaitBlocked()
	})
	f.must(<-deleted)
	f.must(second(f.l.StatBlob(t.Context(), nil, repo, d)))
}

// awaitBlocked returns when some session waits for a lock.
func (f *fixture) awaitBlocked() {
	f.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		var n int
		f.must(f.db.QueryRow(f.Context(), `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&n))
		if n > 0 {
			return
		}
	}
	f.Fatal("nobody waits for a lock")
}

// A push finds the row of its content, and collection takes it before the push has linked it.
func TestCollectBetweenInsertAndLink(t *testing.T) {
	f, repo, r, d, _ := raceFixture(t)
	f.must(f.db.Update(t.Context(), func(tx *meta.Tx) error { // so that nothing but the blob's row is left
		_, err := tx.Exec(t.Context(), `DELETE FROM repository_blobs`)
		return err
	}))
	attempts := 0
	f.must(f.l.update(t.Context(), "put blob", func(tx *meta.Tx) error {
		if err := f.l.insertBlob(t.Context(), tx, Descriptor{d, 1}, "", []byte("a")); err != nil {
			return err
		}
		if attempts++; attempts == 1 {
			if got := f.collect(); got.Blobs.Count != 1 {
				t.Errorf("collected %+v", got)
			}
		}
		return f.l.link(t.Context(), tx, r, d)
	}))
	if attempts != 2 {
		t.Errorf("%d attempts", attempts)
	}
	f.must(second(f.l.StatBlob(t.Context(), nil, repo, d)))
}

// Two collectors at once take each thing once, and bytes that a push names again are another object's.
func TestCollectTwice(t *testing.T) {
	eachFixture(t, CollectOptions{}, func(t *testing.T, f *fixture) {
		repo := f.repo("team/app")
		f.blob(repo, large("a"))
		f.clock.add(2 * time.Hour)
		other, err := NewCollector(f.node(nil), CollectOptions{Rest: -1})
		f.must(err)
		var links, blobs, objects int64
		inner := 0
		add := func(r *CollectReport, err error) {
			f.must(err)
			links, blobs, objects = links+r.Links.Count, blobs+r.Blobs.Count, objects+r.Objects.Count
		}
		for range 2 {
			f.c.pause = func(ctx context.Context, _ time.Duration) error { // between any two steps of one, the whole of the other
				if inner == 0 {
					inner++
					add(other.Run(t.Context()))
					inner--
				}
				return ctx.Err()
			}
			add(f.c.Run(t.Context()))
			f.blob(repo, large("b"))
			f.clock.add(2 * time.Hour)
		}
		if links != 2 || blobs != 2 || objects < 1 || objects > 2 {
			t.Errorf("%d links, %d blobs, %d objects", links, blobs, objects)
		}
		if _, err := f.l.StatBlob(t.Context(), nil, repo, digest.FromString(large("a"))); !errors.Is(err, ErrOf(BlobUnknown)) {
			t.Error(err)
		}
	})
}
