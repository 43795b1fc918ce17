package seal_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
	"github.com/sekisho/sekisho/internal/seal"
)

func master(b byte) []byte { return bytes.Repeat([]byte{b}, seal.MasterKeySize) }

func ring(t testing.TB, masters ...byte) *seal.Ring {
	t.Helper()
	var keys [][]byte
	for _, b := range masters {
		keys = append(keys, master(b))
	}
	r, err := seal.New(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// put writes an access key with a sealed secret.
func put(ctx context.Context, r *seal.Ring, db *meta.DB, id, secret string) error {
	return db.Update(ctx, func(tx *meta.Tx) error {
		sealed, err := r.Seal(ctx, tx, seal.AccessKeySecrets(), []byte(secret), id)
		if err != nil {
			return err
		}
		return insert(ctx, tx, id, sealed)
	})
}

func insert(ctx context.Context, tx *meta.Tx, id string, sealed []byte) error {
	if _, err := tx.Exec(ctx, `INSERT INTO accounts (id, created_at) VALUES ('111122223333', 1) ON CONFLICT DO NOTHING`); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `INSERT INTO access_keys (id, account, principal, status, secret, created_at)
		VALUES ($1, '111122223333', 'p', 'Active', $2, 1)`, id, sealed)
	return err
}

// get returns the sealed secret of an access key, and what it is.
func get(t testing.TB, r *seal.Ring, db *meta.DB, id string) (sealed []byte, secret string, err error) {
	t.Helper()
	if err := db.QueryRow(t.Context(), `SELECT secret FROM access_keys WHERE id = $1`, id).Scan(&sealed); err != nil {
		t.Fatal(err)
	}
	value, err := r.Open(t.Context(), db, seal.AccessKeySecrets(), sealed, id)
	return sealed, string(value), err
}

func TestSealedOpensOnlyInItsPlace(t *testing.T) {
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) {
		r := ring(t, 1)
		for _, id := range []string{"A", "B"} {
			if err := put(t.Context(), r, db, id, "secret of "+id); err != nil {
				t.Fatal(err)
			}
		}
		sealed, secret, err := get(t, ring(t, 1), db, "A") // another node
		if err != nil || secret != "secret of A" {
			t.Fatalf("%q, %v", secret, err)
		}
		other, _, _ := get(t, r, db, "B")
		if bytes.Contains(sealed, []byte("secret")) {
			t.Error("not encrypted")
		}
		changed := func(at int) []byte {
			b := slices.Clone(sealed)
			b[at] ^= 1
			return b
		}
		for name, c := range map[string]struct {
			column *seal.Column
			sealed []byte
			row    []string
		}{
			"another row":        {seal.AccessKeySecrets(), other, []string{"A"}},
			"another table":      {seal.SessionSecrets(), sealed, []string{"A"}},
			"changed value":      {seal.AccessKeySecrets(), changed(len(sealed) - 1), []string{"A"}},
			"changed nonce":      {seal.AccessKeySecrets(), changed(5), []string{"A"}},
			"changed number":     {seal.AccessKeySecrets(), changed(4), []string{"A"}},
			"changed version":    {seal.AccessKeySecrets(), changed(0), []string{"A"}},
			"older version":      {seal.AccessKeySecrets(), append([]byte{1}, sealed[1:]...), []string{"A"}},
			"cut off":            {seal.AccessKeySecrets(), sealed[:20], []string{"A"}},
			"header alone":       {seal.AccessKeySecrets(), sealed[:5], []string{"A"}},
			"nothing":            {seal.AccessKeySecrets(), nil, []string{"A"}},
			"keys run together":  {seal.SecretValues(), sealed, []string{"A", ""}},
			"an unknown version": {seal.AccessKeySecrets(), append([]byte{9}, sealed[1:]...), []string{"A"}},
		} {
			if v, err := r.Open(t.Context(), db, c.column, c.sealed, c.row...); !errors.Is(err, seal.ErrDoesNotOpen) {
				t.Errorf("%s: %q, %v", name, v, err)
			}
		}
		if _, err := r.Open(t.Context(), db, seal.AccessKeySecrets(), sealed, "A", "B"); err == nil || errors.Is(err, seal.ErrDoesNotOpen) {
			t.Errorf("a row with too many keys: %v", err)
		}
	})
}

// TestRolledBack checks that a sealing key that was made in a transaction that failed is not used by the next one.
func TestRolledBack(t *testing.T) {
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) {
		r := ring(t, 1)
		errBack := errors.New("back")
		err := db.Update(t.Context(), func(tx *meta.Tx) error {
			sealed, err := r.Seal(t.Context(), tx, seal.AccessKeySecrets(), []byte("x"), "A")
			if err == nil {
				_, err = r.Open(t.Context(), tx, seal.AccessKeySecrets(), sealed, "A")
			}
			return errors.Join(err, errBack)
		})
		if err == nil || err.Error() != errBack.Error() {
			t.Fatal(err)
		}
		if err := put(t.Context(), r, db, "A", "secret"); err != nil {
			t.Fatal(err)
		}
		for name, r := range map[string]*seal.Ring{"same": r, "other": ring(t, 1)} {
			if _, secret, err := get(t, r, db, "A"); err != nil || secret != "secret" {
				t.Errorf("%s node: %q, %v", name, secret, err)
			}
		}
	})
}

// sealedBefore makes a value of the form there was before there were sealing keys.
func sealedBefore(t *testing.T, master []byte, id, secret string) []byte {
	t.Helper()
	key, err := hkdf.Key(sha256.New, master, nil, "sekisho iam access key secrets v1", 32)
	if err != nil {
		t.Fatal(err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		t.Fatal(err)
	}
	return aead.Seal([]byte{1}, nil, []byte(secret), []byte(id))
}

func TestPreviousForm(t *testing.T) {
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) {
		err := db.Update(t.Context(), func(tx *meta.Tx) error {
			return insert(t.Context(), tx, "A", sealedBefore(t, master(1), "A", "secret"))
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, secret, err := get(t, ring(t, 2, 1), db, "A"); err != nil || secret != "secret" {
			t.Fatalf("%q, %v", secret, err)
		}
		if _, _, err := get(t, ring(t, 2), db, "A"); !errors.Is(err, seal.ErrDoesNotOpen) {
			t.Fatalf("opened with another key: %v", err)
		}
		sealed, _, _ := get(t, ring(t, 1), db, "A")
		if _, err := ring(t, 1).Open(t.Context(), db, seal.AccessKeySecrets(), sealed, "B"); !errors.Is(err, seal.ErrDoesNotOpen) {
			t.Fatalf("opened in another row: %v", err)
		}
		if _, err := ring(t, 2, 1).Rotate(t.Context(), db); err != nil {
			t.Fatal(err)
		}
		if _, secret, err := get(t, ring(t, 2), db, "A"); err != nil || secret != "secret" {
			t.Fatalf("%q, %v", secret, err)
		}
	})
}

func TestRotate(t *testing.T) {
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) {
		const n = 150 // more than are sealed in one transaction
		old := ring(t, 1)
		before := map[string][]byte{}
		for i := range n {
			id := fmt.Sprintf("K%03d", i)
			if err := put(t.Context(), old, db, id, "secret of "+id); err != nil {
				t.Fatal(err)
			}
			before[id], _, _ = get(t, old, db, id)
		}
		both := ring(t, 2, 1)
		report, err := both.Rotate(t.Context(), db)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(seal.Report{Master: both.Fingerprints()[0], Key: 2, Rows: n, Keys: 1}, report); diff != "" {
			t.Error(diff)
		}
		keys, err := seal.InUse(t.Context(), db)
		if diff := cmp.Diff([]seal.Key{{ID: 2, Master: both.Fingerprints()[0]}}, keys); err != nil || diff != "" {
			t.Error(err, diff)
		}
		fresh := ring(t, 2)
		for id, was := range before {
			sealed, secret, err := get(t, fresh, db, id)
			if err != nil || secret != "secret of "+id || bytes.Equal(sealed, was) {
				t.Errorf("%s: %q, %v", id, secret, err)
			}
		}
		var wrong *seal.MasterKeyError
		if _, _, err := get(t, ring(t, 1), db, "K000"); !errors.As(err, &wrong) || wrong.Want != fresh.Fingerprints()[0] {
			t.Errorf("with the old key: %v", err)
		}
		if err := ring(t, 1).Check(t.Context(), db); !errors.As(err, &wrong) {
			t.Errorf("check with the old key: %v", err)
		}
		if err := fresh.Check(t.Context(), db); err != nil {
			t.Error(err)
		}
		// A node that has only the old one can't seal with it any more, which nobody could open.
		if err := put(t.Context(), ring(t, 1), db, "L", "x"); !errors.As(err, &wrong) {
			t.Errorf("sealed with the old key: %v", err)
		}
		// What is in the database now does not open what was there: a copy of it and the old master key are of no use.
		if v, err := ring(t, 1, 2).Open(t.Context(), db, seal.AccessKeySecrets(), before["K000"], "K000"); !errors.Is(err, seal.ErrDoesNotOpen) {
			t.Errorf("%q, %v", v, err)
		}
	})
}

// TestRotateCutOff ends a rotation after each of its steps.
func TestRotateCutOff(t *testing.T) {
	metatest.EachDSN(t, func(t *testing.T, dsn string) {
		db := metatest.Open(t, dsn)
		old := ring(t, 1)
		const n = 200
		for i := range n {
			if err := put(t.Context(), old, db, fmt.Sprintf("K%03d", i), "secret"); err != nil {
				t.Fatal(err)
			}
		}
		finished := false
		for steps := 0; !finished; steps++ {
			if steps > 300 {
				t.Fatal("never ends")
			}
			ctx := &countdown{Context: t.Context()}
			ctx.left.Store(int64(steps))
			_, err := ring(t, 2, 1).Rotate(ctx, db)
			finished = err == nil
			if !finished && !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			for i := range n {
				if _, secret, err := get(t, ring(t, 2, 1), db, fmt.Sprintf("K%03d", i)); err != nil || secret != "secret" {
					t.Fatalf("cut off after %d steps: %v", steps, err)
				}
			}
			// Others can go on writing.
			if err := put(t.Context(), ring(t, 2, 1), db, fmt.Sprintf("L%03d", steps), "secret"); err != nil {
				t.Fatal(err)
			}
		}
		if keys, err := seal.InUse(t.Context(), db); err != nil || len(keys) != 1 {
			t.Errorf("%+v, %v", keys, err)
		}
		if err := ring(t, 2).Check(t.Context(), db); err != nil {
			t.Error(err)
		}
	})
}

// countdown is over after it was asked so often.
type countdown struct {
	context.Context
	left atomic.Int64
}

func (c *countdown) Err() error {
	// Every Update asks before it begins; on PostgreSQL database/sql asks more often.
	if c.left.Add(-1) < 0 {
		return context.Canceled
	}
	return nil
}

// TestRotateBesideWriters rotates again and again while other nodes write and read.
func TestRotateBesideWriters(t *testing.T) {
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) {
		if err := put(t.Context(), ring(t, 1), db, "first", "secret"); err != nil {
			t.Fatal(err)
		}
		stop := make(chan struct{})
		const writers = 4
		wrote := make(chan int, writers)
		for w := range writers {
			go func() {
				r, n := ring(t, 2, 1), 0
				defer func() { wrote <- n }()
				for n < 300 {
					select {
					case <-stop:
						return
					default:
					}
					id := fmt.Sprintf("W%d-%05d", w, n)
					if err := put(t.Context(), r, db, id, "secret of "+id); err != nil {
						t.Errorf("%s: %v", id, err)
						return
					}
					if _, secret, err := get(t, r, db, id); err != nil || secret != "secret of "+id {
						t.Errorf("%s: %q, %v", id, secret, err)
						return
					}
					n++
				}
			}()
		}
		var last seal.Report
		for range 6 {
			var err error
			if last, err = ring(t, 2, 1).Rotate(t.Context(), db); err != nil {
				t.Error(err)
				break
			}
		}
		close(stop)
		total := 0
		r := ring(t, 2)
		for range writers {
			total += <-wrote
		}
		var found int
		if err := db.QueryRow(t.Context(), `SELECT count(*) FROM access_keys`).Scan(&found); err != nil || found != total+1 {
			t.Errorf("%d rows, %d were written: %v", found, total+1, err)
		}
		rows, err := db.Query(t.Context(), `SELECT id, secret FROM access_keys`)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		for rows.Next() {
			var id string
			var sealed []byte
			if err := rows.Scan(&id, &sealed); err != nil {
				t.Fatal(err)
			}
			if _, err := r.Open(t.Context(), db, seal.AccessKeySecrets(), sealed, id); err != nil {
				t.Errorf("%s is lost: %v", id, err)
			}
		}
		keys, err := seal.InUse(t.Context(), db)
		if diff := cmp.Diff([]seal.Key{{ID: last.Key, Master: r.Fingerprints()[0]}}, keys); err != nil || diff != "" {
			t.Error(err, diff)
		}
		t.Logf("%d rows, %d rotations", total, last.Key-1)
	})
}

func TestDamagedRowEndsRotation(t *testing.T) {
	db := metatest.Open(t, metatest.SQLite(t))
	if err := put(t.Context(), ring(t, 1), db, "A", "secret"); err != nil {
		t.Fatal(err)
	}
	err := db.Update(t.Context(), func(tx *meta.Tx) error {
		_, err := tx.Exec(t.Context(), `UPDATE access_keys SET id = 'B'`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = ring(t, 2, 1).Rotate(t.Context(), db)
	if !errors.Is(err, seal.ErrDoesNotOpen) || !strings.Contains(err.Error(), `access_keys "B"`) {
		t.Errorf("%v", err)
	}
}

func TestMasterKeys(t *testing.T) {
	if _, err := seal.New(); err == nil {
		t.Error("no key is accepted")
	}
	if _, err := seal.New(master(1), master(2)[:31]); err == nil {
		t.Error("a short key is accepted")
	}
	r := ring(t, 1, 2)
	one, err := r.Derive("p")
	if err != nil || len(one) != 2 || bytes.Equal(one[0], one[1]) {
		t.Fatalf("%x, %v", one, err)
	}
	if other, err := r.Derive("q"); err != nil || bytes.Equal(one[0], other[0]) {
		t.Errorf("%x, %v", other, err)
	}
	hex := strings.Repeat("01", 32)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		text := fmt.Sprintf(verb, r)
		if strings.Contains(text, hex) || strings.Contains(text, "1 1 1") || strings.Contains(text, "0x1, 0x1") || strings.Contains(text, string(master(1))) {
			t.Errorf("%s: %s", verb, text)
		}
	}
	if f := r.Fingerprints(); len(f) != 2 || len(f[0]) != 16 || f[0] == f[1] || f[0] != ring(t, 1).Fingerprints()[0] {
		t.Errorf("%v", f)
	}
}

// TestColumns holds the list of columns against the schema: what is not sealed and could be has to be named here.
func TestColumns(t *testing.T) {
	open := []string{"blobs.data", "manifests.data", "sealing_keys.key", "personal_access_tokens.hash", "job_tokens.hash",
		"pool_agents.public_key", "run_attachments.data", "run_files.data", "run_log_chunks.data", "run_plans.expanded", "run_plans.plan", "run_staged.data"}
	db := metatest.Open(t, metatest.SQLite(t))
	rows, err := db.Query(t.Context(), `SELECT m.name, c.name FROM sqlite_schema m, pragma_table_info(m.name) c WHERE m.type = 'table' AND c.type = 'BYTEA' ORDER BY 1, 2`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var got []string
	for rows.Next() {
		var table, column string
		if err := rows.Scan(&table, &column); err != nil {
			t.Fatal(err)
		}
		if name := table + "." + column; !slices.Contains(open, name) {
			got = append(got, name)
		}
	}
	var want []string
	for _, c := range seal.Columns() {
		want = append(want, c.Table()+"."+c.Data())
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("columns of bytes that are neither sealed nor known to be open (-sealed +schema):\n%s", diff)
	}
}
