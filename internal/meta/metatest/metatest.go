// Package metatest opens real databases for tests: SQLite in a temporary folder and PostgreSQL from a throw-away
// cluster, one for each test process and one database for each test.
package metatest

import (
	"path/filepath"
	"testing"

	"github.com/sekisho/sekisho/internal/meta"
)

// EachDB runs test on a fresh database of every dialect.
func EachDB(t *testing.T, test func(t *testing.T, db *meta.DB)) {
	t.Helper()
	EachDSN(t, func(t *testing.T, dsn string) { test(t, Open(t, dsn)) })
}

// EachDSN runs test with the name of a fresh database of every dialect, for tests that open it more than once.
func EachDSN(t *testing.T, test func(t *testing.T, dsn string)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { test(t, SQLite(t)) })
	t.Run("postgresql", func(t *testing.T) { test(t, PostgreSQL(t)) })
}

// SQLite returns the name of a fresh SQLite database.
func SQLite(t testing.TB) (dsn string) {
	t.Helper()
	return "sqlite:" + filepath.Join(t.TempDir(), "meta.db")
}

// Open opens the database and closes it when the test ends.
func Open(t testing.TB, dsn string) *meta.DB {
	t.Helper()
	db, err := meta.Open(t.Context(), dsn, meta.Options{})
	if err != nil {
		t.Fatalf("open database: %v", err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("close database: %v", err)
		}
	})
	return db
}
