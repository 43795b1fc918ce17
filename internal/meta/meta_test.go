package meta_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
)

// withTables adds tables of the tests' own.
func withTables(t testing.TB, db *meta.DB) {
	t.Helper()
	for _, q := range []string{
		`CREATE TABLE parent (id BIGINT PRIMARY KEY, name TEXT NOT NULL UNIQUE)`,
		`CREATE TABLE child (id BIGINT PRIMARY KEY, parent BIGINT NOT NULL REFERENCES parent (id) ON DELETE RESTRICT)`,
	} {
		if err := exec(t.Context(), db, q); err != nil {
			t.Fatal(err)
		}
	}
}

func exec(ctx context.Context, db *meta.DB, q string, args ...any) error {
	return db.Update(ctx, func(tx *meta.Tx) error {
		_, err := tx.Exec(ctx, q, args...)
		return err
	})
}

// insertParent returns a function for Update that inserts one row.
func insertParent(ctx context.Context, id int) func(*meta.Tx) error {
	return func(tx *meta.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO parent (id, name) VALUES ($1, $2)`, id, fmt.Sprint("name ", id))
		return err
	}
}

// parents returns the ids of all rows.
func parents(t testing.TB, db *meta.DB) (ids []int) {
	t.Helper()
	rows, err := db.Query(t.Context(), `SELECT id FROM parent ORDER BY id`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var id int
		if err := rows.Scan(&id); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return ids
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

func TestOpenRefuses(t *testing.T) {
	for _, tt := range []struct{ dsn, want string }{
		{"", `must be "sqlite:<path>" or "postgres://…"`},
		{"/var/lib/meta.db", `must be "sqlite:<path>" or "postgres://…"`},
		{"mysql://u:secret@h/db", `must be "sqlite:<path>" or "postgres://…"`},
		{"sqlite:", "has no path"},
		{"sqlite:/no/such/folder/meta.db", "no such file or directory"},
		{"postgres://u:secret@h/db?sslmode=wrong", "sslmode"},
	} {
		db, err := meta.Open(t.Context(), tt.dsn, meta.Options{})
		if err == nil {
			db.Close()
			t.Errorf("%q was opened", tt.dsn)
			continue
		}
		if !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v, want %q", tt.dsn, err, tt.want)
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: password in %v", tt.dsn, err)
		}
	}
}

func TestOddPath(t *testing.T) {
	dsn := "sqlite:" + t.TempDir() + "/a b?c#d%41&é.db"
	withTables(t, metatest.Open(t, dsn))
	if got := parents(t, metatest.Open(t, dsn)); got != nil {
		t.Errorf("rows %v", got)
	}
}

func TestUpdate(t *testing.T) {
	boom := errors.New("boom")
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) {
		withTables(t, db)
		ctx := t.Context()
		var calls []string
		err := db.Update(ctx, func(tx *meta.Tx) error {
			if tx.Dialect() != db.Dialect() {
				t.Errorf("dialect %v in a transaction of %v", tx.Dialect(), db.Dialect())
			}
			tx.OnCommit(func() { calls = append(calls, "1") })
			tx.OnCommit(func() { calls = append(calls, fmt.Sprint(parents(t, db))) })
			return insertParent(ctx, 1)(tx)
		})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"1", "[1]"}, calls); diff != "" {
			t.Errorf("OnCommit (-want +got):\n%s", diff)
		}

		err = db.Update(ctx, func(tx *meta.Tx) error {
			tx.OnCommit(func() { t.Error("OnCommit ran after an error") })
			if err := insertParent(ctx, 2)(tx); err != nil {
				return err
			}
			return boom
		})
		if err != boom {
			t.Errorf("error %v, want the function's own", err)
		}

		func() {
			defer func() {
				if v := recover(); !strings.Contains(fmt.Sprint(v), "boom") {
					t.Errorf("recovered %v", v)
				}
			}()
			db.Update(ctx, func(tx *meta.Tx) error {
				if err := insertParent(ctx, 3)(tx); err != nil {
					return err
				}
				panic(boom)
			})
			t.Error("Update returned after a panic")
		}()

		ended := make(chan struct{})
		go func() {
			defer close(ended)
			db.Update(ctx, func(tx *meta.Tx) error {
				if err := insertParent(ctx, 4)(tx); err != nil {
					return err
				}
				return exitGoroutine()
			})
			t.Error("Update returned after Goexit")
		}()
		<-ended

		cancelled, cancel := context.WithCancel(ctx)
		cancel()
		err = db.Update(cancelled, func(tx *meta.Tx) error {
			t.Error("ran although cancelled")
			return nil
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
		if diff := cmp.Diff([]int{1}, parents(t, db)); diff != "" {
			t.Errorf("rows (-want +got):\n%s", diff)
		}
	})
}

func TestView(t *testing.T) {
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) {
		withTables(t, db)
		ctx := t.Context()
		if err := db.Update(ctx, insertParent(ctx, 1)); err != nil {
			t.Fatal(err)
		}
		count := func(tx *meta.Tx) (n int) {
			if err := tx.QueryRow(ctx, `SELECT count(*) FROM parent`).Scan(&n); err != nil {
				t.Error(err)
			}
			return n
		}
		err := db.View(ctx, func(tx *meta.Tx) error {
			if n := count(tx); n != 1 {
				t.Errorf("%d rows at first", n)
			}
			if err := db.Update(ctx, insertParent(ctx, 2)); err != nil { // beside it, not in it
				t.Error(err)
			}
			if n := count(tx); n != 1 {
				t.Errorf("%d rows after another's update: not a snapshot", n)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := db.View(ctx, insertParent(ctx, 3)); err == nil {
			t.Error("a view could write")
		}
		cancelled, cancel := context.WithCancel(ctx)
		err = db.View(cancelled, func(tx *meta.Tx) error {
			cancel()
			_, err := tx.Exec(cancelled, `SELECT 1`)
			return err
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled view: %v", err)
		}
		if diff := cmp.Diff([]int{1, 2}, parents(t, db)); diff != "" {
			t.Errorf("rows (-want +got):\n%s", diff)
		}
	})
}

// TestConcurrency moves amounts between rows from many goroutines while others look: nothing is lost, and nobody sees a
// half.
// TestEmptyBytes: bytes of length 0 and NULL are two things, on their way in and out.
func TestEmptyBytes(t *testing.T) {
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) {
		ctx := t.Context()
		for _, q := range []string{`CREATE TABLE data (id BIGINT PRIMARY KEY, b BYTEA)`, `INSERT INTO data (id, b) VALUES (1, NULL)`} {
			if err := exec(ctx, db, q); err != nil {
				t.Fatal(err)
			}
		}
		if err := exec(ctx, db, `INSERT INTO data (id, b) VALUES (2, $1)`, []byte{}); err != nil {
			t.Fatal(err)
		}
		for id, want := range map[int]any{1: nil, 2: []byte{}} {
			var got any
			if err := db.QueryRow(ctx, `SELECT b FROM data WHERE id = $1`, id).Scan(&got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("row %d (-want +got):\n%s", id, diff)
			}
		}
	})
}

func TestConcurrency(t *testing.T) {
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) {
		ctx := t.Context()
		const accounts, workers, rounds = 5, 16, 40
		if err := exec(ctx, db, `CREATE TABLE account (id BIGINT PRIMARY KEY, amount BIGINT NOT NULL)`); err != nil {
			t.Fatal(err)
		}
		for id := range accounts {
			if err := exec(ctx, db, `INSERT INTO account (id, amount) VALUES ($1, 0)`, id); err != nil {
				t.Fatal(err)
			}
		}
		move := func(worker, round int) (from, to int) {
			from, to = (worker+round)%accounts, (worker*3+round*2+1)%accounts
			if round%10 == 0 {
				return from, to // locked in any order: there are deadlocks to be retried
			}
			return min(from, to), max(from, to)
		}
		var workersDone, viewer sync.WaitGroup
		stop := make(chan struct{})
		viewer.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				err := db.View(ctx, func(tx *meta.Tx) error {
					var sum int
					err := tx.QueryRow(ctx, `SELECT sum(amount) FROM account`).Scan(&sum)
					if sum != 0 {
						t.Errorf("sum %d: a transaction was seen half", sum)
					}
					return err
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
		for worker := range workers {
			workersDone.Go(func() {
				for round := range rounds {
					from, to := move(worker, round)
					transfer := func(tx *meta.Tx) error {
						if _, err := tx.Exec(ctx, `UPDATE account SET amount = amount - 1 WHERE id = $1`, from); err != nil {
							return err
						}
						_, err := tx.Exec(ctx, `UPDATE account SET amount = amount + 1 WHERE id = $1`, to)
						return err
					}
					err := db.Update(ctx, transfer)
					for meta.IsBusy(err) { // deadlocks more often than Update tries: nothing was done
						err = db.Update(ctx, transfer)
					}
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		workersDone.Wait()
		close(stop)
		viewer.Wait()

		want := make([]int, accounts)
		for worker := range workers {
			for round := range rounds {
				from, to := move(worker, round)
				want[from]--
				want[to]++
			}
		}
		for id, want := range want {
			var amount int
			if err := db.QueryRow(ctx, `SELECT amount FROM account WHERE id = $1`, id).Scan(&amount); err != nil || amount != want {
				t.Errorf("account %d: %d, want %d (%v)", id, amount, want, err)
			}
		}
	})
}

func TestClose(t *testing.T) {
	metatest.EachDSN(t, func(t *testing.T, dsn string) {
		ctx := t.Context()
		db, err := meta.Open(ctx, dsn, meta.Options{})
		if err != nil {
			t.Fatal(err)
		}
		withTables(t, db)
		began, release := make(chan struct{}), make(chan struct{})
		updated, closed := make(chan error, 1), make(chan error, 1)
		go func() {
			updated <- db.Update(ctx, func(tx *meta.Tx) error {
				close(began)
				<-release
				return insertParent(ctx, 1)(tx)
			})
		}()
		<-began
		if db.Dialect() == meta.SQLite {
			go func() { closed <- db.Close() }()
		}
		close(release)
		if err := <-updated; err != nil {
			t.Errorf("an update that had begun: %v", err)
		}
		if db.Dialect() == meta.PostgreSQL {
			closed <- db.Close()
		}
		if err := <-closed; err != nil {
			t.Error(err)
		}
		if err := db.Update(ctx, insertParent(ctx, 2)); !errors.Is(err, meta.ErrClosed) {
			t.Errorf("update after Close: %v", err)
		}
		if diff := cmp.Diff([]int{1}, parents(t, metatest.Open(t, dsn))); diff != "" {
			t.Errorf("rows (-want +got):\n%s", diff)
		}
	})
}

func exitGoroutine() error {
	runtime.Goexit()
	return nil
}
