package meta_test

import (
	"strings"
	"testing"

	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
)

func TestReopen(t *testing.T) {
	metatest.EachDSN(t, func(t *testing.T, dsn string) {
		withTables(t, metatest.Open(t, dsn))
		if got := parents(t, metatest.Open(t, dsn)); got != nil {
			t.Errorf("rows %v", got)
		}
	})
}

func TestNewerSchema(t *testing.T) {
	metatest.EachDSN(t, func(t *testing.T, dsn string) {
		db := metatest.Open(t, dsn)
		const q = `INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, $1)`
		if err := exec(t.Context(), db, q, true); err != nil {
			t.Fatal(err)
		}
		newer, err := meta.Open(t.Context(), dsn, meta.Options{})
		if err == nil {
			newer.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "newer release") {
			t.Errorf("opened a database of a newer release: %v", err)
		}
	})
}
