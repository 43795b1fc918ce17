package meta_test

import (
	"context"
	"errors"
	"testing"

	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
)

// withTables adds tables of the tests' own.
func withTables(t testing.TB, db *meta.DB) {
	t.Helper()
	err := db.Update(t.Context(), func(tx *meta.Tx) error {
		for _, q := range []string{
			`CREATE TABLE parent (id BIGINT PRIMARY KEY, name TEXT NOT NULL UNIQUE)`,
			`CREATE TABLE child (id BIGINT PRIMARY KEY, parent BIGINT NOT NULL REFERENCES parent (id) ON DELETE RESTRICT)`,
		} {
			if _, err := tx.Exec(t.Context(), q); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func exec(ctx context.Context, db *meta.DB, q string, args ...any) error {
	return db.Update(ctx, func(tx *meta.Tx) error {
		_, err := tx.Exec(ctx, q, args...)
		return err
	})
}

func TestErrors(t *testing.T) {
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) {
		withTables(t, db)
		for _, tt := range []struct {
			name               string
			q                  string
			args               []any
			unique, foreignKey bool
		}{
			{"parent", `INSERT INTO parent (id, name) VALUES ($1, $2)`, []any{1, "a"}, false, false},
			{"child", `INSERT INTO child (id, parent) VALUES ($1, $2)`, []any{1, 1}, false, false},
			{"same key", `INSERT INTO parent (id, name) VALUES ($1, $2)`, []any{1, "b"}, true, false},
			{"same name", `INSERT INTO parent (name, id) VALUES ($2, $1)`, []any{2, "a"}, true, false},
			{"no parent", `INSERT INTO child (id, parent) VALUES ($1, $2)`, []any{2, 9}, false, true},
			{"has child", `DELETE FROM parent WHERE id = $1`, []any{1}, false, true},
		} {
			err := exec(t.Context(), db, tt.q, tt.args...)
			if got, want := err != nil, tt.unique || tt.foreignKey; got != want {
				t.Errorf("%s: error %v", tt.name, err)
			}
			if got := meta.IsUnique(err); got != tt.unique {
				t.Errorf("%s: IsUnique(%v) = %v", tt.name, err, got)
			}
			if got := meta.IsForeignKey(err); got != tt.foreignKey {
				t.Errorf("%s: IsForeignKey(%v) = %v", tt.name, err, got)
			}
			if meta.IsFull(err) || meta.IsBusy(err) {
				t.Errorf("%s: %v is taken for full or busy", tt.name, err)
			}
		}
	})
}

func TestUpdateRollsBack(t *testing.T) {
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) {
		withTables(t, db)
		boom := errors.New("boom")
		err := db.Update(t.Context(), func(tx *meta.Tx) error {
			tx.OnCommit(func() { t.Error("OnCommit ran") })
			if _, err := tx.Exec(t.Context(), `INSERT INTO parent (id, name) VALUES (1, 'a')`); err != nil {
				return err
			}
			return boom
		})
		if err != boom {
			t.Errorf("Update returned %v", err)
		}
		var n int
		if err := db.QueryRow(t.Context(), `SELECT count(*) FROM parent`).Scan(&n); err != nil || n != 0 {
			t.Errorf("%d rows, %v", n, err)
		}
	})
}
