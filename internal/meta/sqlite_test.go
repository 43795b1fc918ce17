package meta_test

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
)

// batch has all fns run by SQLite's writer in one batch, in any order, and returns their errors. It must be called
// within a synctest bubble, which is how it knows that all of them wait.
func batch(t *testing.T, db *meta.DB, fns ...func(*meta.Tx) error) []error {
	t.Helper()
	began, release := make(chan struct{}), make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		db.Update(t.Context(), func(*meta.Tx) error { // keeps the writer busy, and does nothing
			close(began)
			<-release
			return errors.New("roll back")
		})
	})
	<-began
	errs := make([]error, len(fns))
	for i, fn := range fns {
		all.Go(func() { errs[i] = db.Update(t.Context(), fn) })
	}
	synctest.Wait()
	close(release)
	all.Wait()
	return errs
}

func TestBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := metatest.Open(t, metatest.SQLite(t))
		withTables(t, db)
		ctx := t.Context()
		boom := errors.New("boom")
		errs := batch(t, db,
			insertParent(ctx, 1),
			func(tx *meta.Tx) error {
				if err := insertParent(ctx, 2)(tx); err != nil {
					return err
				}
				return boom
			},
			insertParent(ctx, 3),
			func(tx *meta.Tx) error { // a statement fails: so does the update, but only this one
				if err := insertParent(ctx, 4)(tx); err != nil {
					return err
				}
				return insertParent(ctx, 4)(tx)
			},
			insertParent(ctx, 5),
			func(tx *meta.Tx) error { // leaves rows open
				if err := insertParent(ctx, 6)(tx); err != nil {
					return err
				}
				rows, err := tx.Query(ctx, `SELECT id FROM parent`)
				t.Cleanup(func() { rows.Close() })
				return err
			},
		)
		for i, ok := range []bool{true, false, true, false, true, false} {
			if (errs[i] == nil) != ok {
				t.Errorf("update %d: %v", i+1, errs[i])
			}
		}
		if errs[1] != boom {
			t.Errorf("error %v, want the function's own", errs[1])
		}
		if !meta.IsUnique(errs[3]) {
			t.Errorf("error %v, want a unique violation", errs[3])
		}
		if diff := cmp.Diff([]int{1, 3, 5}, parents(t, db)); diff != "" {
			t.Errorf("rows (-want +got):\n%s", diff)
		}
	})
}

// TestBatchSees: who fails because of another in the batch learns of it when that is durable, and can be read.
func TestBatchSees(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := metatest.Open(t, metatest.SQLite(t))
		withTables(t, db)
		ctx := t.Context()
		there := errors.New("is there")
		began, release := make(chan struct{}), make(chan struct{})
		var all sync.WaitGroup
		all.Go(func() {
			db.Update(ctx, func(*meta.Tx) error { close(began); <-release; return nil })
		})
		<-began
		for range 20 {
			all.Go(func() {
				err := db.Update(ctx, func(tx *meta.Tx) error {
					var found bool
					if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM parent WHERE id = 1)`).Scan(&found); err != nil {
						return err
					}
					if found {
						return there
					}
					return insertParent(ctx, 1)(tx)
				})
				if err != nil && err != there {
					t.Errorf("update: %v", err)
				}
				if diff := cmp.Diff([]int{1}, parents(t, db)); diff != "" {
					t.Errorf("rows after an update that returned %v (-want +got):\n%s", err, diff)
				}
			})
		}
		synctest.Wait()
		close(release)
		all.Wait()
	})
}

// TestReusedID: a row never gets the number of one that is gone, also if that was the newest.
func TestReusedID(t *testing.T) {
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) {
		ctx := t.Context()
		const insert = `INSERT INTO repositories (account, name, created_at, settings, tags) VALUES ('1', 'a', 0, '', '') RETURNING id`
		last := int64(0)
		for range 3 {
			var id int64
			err := db.Update(ctx, func(tx *meta.Tx) error { return tx.QueryRow(ctx, insert).Scan(&id) })
			if err != nil {
				t.Fatal(err)
			}
			if id <= last {
				t.Errorf("id %d after %d", id, last)
			}
			last = id
			if err := exec(ctx, db, `DELETE FROM repositories`); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestBatchExits: a function that panics or ends its goroutine, as t.FailNow does, harms neither the others nor the writer.
func TestBatchExits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := metatest.Open(t, metatest.SQLite(t))
		withTables(t, db)
		ctx := t.Context()
		began, release := make(chan struct{}), make(chan struct{})
		var all sync.WaitGroup
		all.Go(func() {
			db.Update(ctx, func(*meta.Tx) error { close(began); <-release; return nil })
		})
		<-began
		for id := range 9 {
			all.Go(func() {
				defer func() { recover() }()
				err := db.Update(ctx, func(tx *meta.Tx) error {
					if err := insertParent(ctx, id)(tx); err != nil {
						return err
					}
					switch id % 3 {
					case 1:
						panic("boom")
					case 2:
						return exitGoroutine()
					}
					return nil
				})
				if err != nil || id%3 != 0 {
					t.Errorf("update %d returned %v", id, err)
				}
			})
		}
		synctest.Wait()
		close(release)
		all.Wait()
		if diff := cmp.Diff([]int{0, 3, 6}, parents(t, db)); diff != "" {
			t.Errorf("rows (-want +got):\n%s", diff)
		}
	})
}

// TestCancelWhileWaiting: an update whose caller has given up before its turn doesn't run.
func TestCancelWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := metatest.Open(t, metatest.SQLite(t))
		withTables(t, db)
		ctx, cancel := context.WithCancel(t.Context())
		began, release := make(chan struct{}), make(chan struct{})
		var all sync.WaitGroup
		all.Go(func() {
			err := db.Update(ctx, func(tx *meta.Tx) error {
				close(began)
				<-release
				return insertParent(ctx, 1)(tx) // its caller has given up too, but after its turn
			})
			if err != nil {
				t.Error(err)
			}
		})
		<-began
		for id := range 3 {
			all.Go(func() {
				if err := db.Update(ctx, insertParent(ctx, 10+id)); !errors.Is(err, context.Canceled) {
					t.Errorf("cancelled update: %v", err)
				}
			})
		}
		synctest.Wait()
		cancel()
		synctest.Wait()
		close(release)
		all.Wait()
		if diff := cmp.Diff([]int{1}, parents(t, db)); diff != "" {
			t.Errorf("rows (-want +got):\n%s", diff)
		}
	})
}

// TestFull: a statement that finds the database full takes the batch with it, even where the function ignores the
// error, and none of it is seen. The next update works.
func TestFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := metatest.Open(t, metatest.SQLite(t))
		withTables(t, db)
		ctx := t.Context()
		if err := exec(ctx, db, `CREATE TABLE fat (data BYTEA NOT NULL)`); err != nil {
			t.Fatal(err)
		}
		if err := exec(ctx, db, `PRAGMA max_page_count = 100`); err != nil {
			t.Fatal(err)
		}
		errs := batch(t, db, insertParent(ctx, 1), func(tx *meta.Tx) error {
			_, err := tx.Exec(ctx, `INSERT INTO fat (data) VALUES ($1)`, make([]byte, 1<<20))
			if !meta.IsFull(err) {
				t.Errorf("error %v, want full", err)
			}
			if _, err := tx.Exec(ctx, `INSERT INTO parent (id, name) VALUES (99, 'x')`); err == nil {
				t.Error("a statement ran in a transaction that is gone")
			}
			return nil
		})
		if !meta.IsFull(errs[1]) {
			t.Errorf("the update that ignored the error: %v", errs[1])
		}
		if errs[0] != nil && !meta.IsFull(errs[0]) { // nil if it came after
			t.Errorf("another update of the batch: %v", errs[0])
		}
		if err := db.Update(ctx, insertParent(ctx, 2)); err != nil {
			t.Errorf("update after a full database: %v", err)
		}
		want := []int{2}
		if errs[0] == nil {
			want = []int{1, 2}
		}
		if diff := cmp.Diff(want, parents(t, db)); diff != "" {
			t.Errorf("rows (-want +got):\n%s", diff)
		}
	})
}

// TestCommitFails: where the disk takes no more when a batch is committed, all of it fails, and reading goes on. Once
// there is room again, so does writing.
func TestCommitFails(t *testing.T) {
	signal.Ignore(syscall.SIGXFSZ) // so that a write beyond the limit fails
	defer signal.Reset(syscall.SIGXFSZ)
	synctest.Test(t, func(t *testing.T) {
		dsn := metatest.SQLite(t)
		db := metatest.Open(t, dsn)
		withTables(t, db)
		ctx := t.Context()
		if err := db.Update(ctx, insertParent(ctx, 1)); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(strings.TrimPrefix(dsn, "sqlite:") + "-wal")
		if err != nil {
			t.Fatal(err)
		}
		limitFileSize(t, uint64(info.Size()))
		errs := batch(t, db, insertParent(ctx, 2), insertParent(ctx, 3), insertParent(ctx, 4))
		limitFileSize(t, 0)
		for _, err := range errs {
			if !meta.IsFull(err) {
				t.Errorf("error %v, want full", err)
			}
		}
		if diff := cmp.Diff([]int{1}, parents(t, db)); diff != "" {
			t.Errorf("rows (-want +got):\n%s", diff)
		}
		if err := db.Update(ctx, insertParent(ctx, 5)); err != nil {
			t.Errorf("update after a failed commit: %v", err)
		}
		if diff := cmp.Diff([]int{1, 5}, parents(t, db)); diff != "" {
			t.Errorf("rows (-want +got):\n%s", diff)
		}
	})
}

// limitFileSize lets no file of this process grow beyond size, 0 for no limit.
func limitFileSize(t *testing.T, size uint64) {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	if size > 0 {
		limit.Cur = size
	} else {
		limit.Cur = limit.Max
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
}

// TestOtherProcess: another process that writes for a moment only delays an update.
func TestOtherProcess(t *testing.T) {
	dsn := metatest.SQLite(t)
	db := metatest.Open(t, dsn)
	withTables(t, db)
	ctx := t.Context()
	other, err := sql.Open("sqlite", "file:"+filepath.ToSlash(strings.TrimPrefix(dsn, "sqlite:"))+"?_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	conn, err := other.Conn(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, q := range []string{`BEGIN IMMEDIATE`, `INSERT INTO parent (id, name) VALUES (1, 'other')`} {
		if _, err := conn.ExecContext(ctx, q); err != nil {
			t.Fatal(err)
		}
	}
	updated := make(chan error, 1)
	go func() { updated <- db.Update(ctx, insertParent(ctx, 2)) }()
	if got := parents(t, db); got != nil { // reading doesn't wait
		t.Errorf("rows %v", got)
	}
	if _, err := conn.ExecContext(ctx, `COMMIT`); err != nil {
		t.Fatal(err)
	}
	if err := <-updated; err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]int{1, 2}, parents(t, db)); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

func TestNestedQueries(t *testing.T) {
	db := metatest.Open(t, metatest.SQLite(t))
	withTables(t, db)
	ctx := t.Context()
	for id := range 3 {
		if err := db.Update(ctx, insertParent(ctx, id)); err != nil {
			t.Fatal(err)
		}
	}
	const q = `SELECT id FROM parent WHERE id >= $1 ORDER BY id`
	var got []int
	err := db.View(ctx, func(tx *meta.Tx) error {
		outer, err := tx.Query(ctx, q, 0)
		if err != nil {
			return err
		}
		defer outer.Close()
		for outer.Next() {
			var id, first int
			if err := outer.Scan(&id); err != nil {
				return err
			}
			if err := tx.QueryRow(ctx, q, id).Scan(&first); err != nil { // the same statement while it is in use
				return err
			}
			got = append(got, id, first)
		}
		return outer.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int{0, 0, 1, 1, 2, 2}, got); diff != "" {
		t.Errorf("ids (-want +got):\n%s", diff)
	}
}
