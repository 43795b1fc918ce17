package meta_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
)

// TestDeadlock: of two updates that lock the same rows in opposite order both succeed, at least one of them at a later
// attempt.
func TestDeadlock(t *testing.T) {
	db := metatest.Open(t, metatest.PostgreSQL(t))
	withTables(t, db)
	ctx := t.Context()
	for id := range 2 {
		if err := db.Update(ctx, insertParent(ctx, id)); err != nil {
			t.Fatal(err)
		}
	}
	var attempts atomic.Int32
	var commits atomic.Int32
	var both, all sync.WaitGroup // both: each has locked its first row
	both.Add(2)
	for first := range 2 {
		all.Go(func() {
			attempt := 0
			err := db.Update(ctx, func(tx *meta.Tx) error {
				attempt++
				attempts.Add(1)
				tx.OnCommit(func() { commits.Add(1) })
				if _, err := tx.Exec(ctx, `UPDATE parent SET name = name || '+' WHERE id = $1`, first); err != nil {
					return err
				}
				if attempt == 1 {
					both.Done()
					both.Wait()
				}
				_, err := tx.Exec(ctx, `UPDATE parent SET name = name || '+' WHERE id = $1`, 1-first)
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got := attempts.Load(); got < 3 {
		t.Errorf("%d attempts, want 3 at least: there was no deadlock", got)
	}
	if got := commits.Load(); got != 2 {
		t.Errorf("OnCommit ran %d times, want 2", got)
	}
	for id := range 2 {
		var name string
		if err := db.QueryRow(ctx, `SELECT name FROM parent WHERE id = $1`, id).Scan(&name); err != nil {
			t.Fatal(err)
		}
		if want := []string{"name 0++", "name 1++"}[id]; name != want {
			t.Errorf("name %q, want %q", name, want)
		}
	}
}

// TestNodesStartTogether: several nodes that open an empty database at once all get one with its schema.
func TestNodesStartTogether(t *testing.T) {
	dsn := metatest.PostgreSQL(t)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			db, err := meta.Open(t.Context(), dsn, meta.Options{})
			if err != nil {
				t.Error(err)
				return
			}
			var n int
			if err := db.QueryRow(t.Context(), `SELECT count(*) FROM job`).Scan(&n); err != nil {
				t.Error(err)
			}
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

// TestTextOrder: text sorts bytewise, whatever the locale of the database.
func TestTextOrder(t *testing.T) {
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) {
		ctx := context.Background()
		err := db.Update(ctx, func(tx *meta.Tx) error {
			for id, name := range []string{"b", "B", "a-1", "a1", "A", "é", "z"} {
				_, err := tx.Exec(ctx, `INSERT INTO repositories (id, account, name, created_at, settings, tags) VALUES ($1, '1', $2, 0, '', '')`, id, name)
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		rows, err := db.Query(ctx, `SELECT name FROM repositories ORDER BY name`)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		var got []string
		for rows.Next() {
			var name string
			if err := rows.Scan(&name); err != nil {
				t.Fatal(err)
			}
			got = append(got, name)
		}
		if diff := cmp.Diff([]string{"A", "B", "a-1", "a1", "b", "z", "é"}, got); diff != "" {
			t.Errorf("order (-want +got):\n%s", diff)
		}
	})
}

// TestPostgreSQLWaitsForDisk: the server of the tests is set not to.
func TestPostgreSQLWaitsForDisk(t *testing.T) {
	db := metatest.Open(t, metatest.PostgreSQL(t))
	var got string
	if err := db.QueryRow(t.Context(), `SELECT current_setting('synchronous_commit') || ' instead of ' || reset_val FROM pg_settings WHERE name = 'synchronous_commit'`).Scan(&got); err != nil {
		t.Fatal(err)
	}
	if got != "on instead of off" {
		t.Errorf("synchronous_commit is %s", got)
	}
}
