package meta_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	osexec "os/exec"
	"strings"
	"testing"

	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
)

// crashDSN names the variable that makes this test binary the process that is killed, and the database it writes to.
const crashDSN = "META_TEST_CRASH_DSN"

func TestMain(m *testing.M) {
	if dsn := os.Getenv(crashDSN); dsn != "" {
		fmt.Fprintln(os.Stderr, writeUntilKilled(dsn))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// writeUntilKilled writes rows from several goroutines, in pairs, and prints the number of each pair once it is durable.
func writeUntilKilled(dsn string) error {
	ctx := context.Background()
	db, err := meta.Open(ctx, dsn, meta.Options{})
	if err != nil {
		return err
	}
	var stored int
	if err := db.QueryRow(ctx, `SELECT coalesce(max(id), 0) FROM pair`).Scan(&stored); err != nil {
		return err
	}
	errs := make(chan error)
	for worker := range 8 {
		go func() {
			for id := stored + 1 + worker; ; id += 8 {
				err := db.Update(ctx, func(tx *meta.Tx) error {
					for half := range 2 {
						if _, err := tx.Exec(ctx, `INSERT INTO pair (id, half) VALUES ($1, $2)`, id, half); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					errs <- err
					return
				}
				if _, err := fmt.Println(id); err != nil {
					errs <- err
					return
				}
			}
		}()
	}
	return <-errs
}

// TestKill: what has been acknowledged is there after kill -9, and nothing is there by half.
func TestKill(t *testing.T) {
	metatest.EachDSN(t, func(t *testing.T, dsn string) {
		ctx := t.Context()
		db := metatest.Open(t, dsn)
		if err := exec(ctx, db, `CREATE TABLE pair (id BIGINT NOT NULL, half BIGINT NOT NULL, PRIMARY KEY (id, half))`); err != nil {
			t.Fatal(err)
		}
		acknowledged := 0
		for round := range 5 {
			acks := killAfter(t, dsn, 50+100*round)
			acknowledged += len(acks)
			for _, id := range acks {
				var n int
				if err := db.QueryRow(ctx, `SELECT count(*) FROM pair WHERE id = $1`, id).Scan(&n); err != nil {
					t.Fatal(err)
				}
				if n != 2 {
					t.Errorf("pair %d was acknowledged and has %d halves", id, n)
				}
			}
			var halves int
			err := db.QueryRow(ctx, `SELECT count(*) FROM (SELECT id FROM pair GROUP BY id HAVING count(*) <> 2) AS broken`).Scan(&halves)
			if err != nil {
				t.Fatal(err)
			}
			if halves != 0 {
				t.Errorf("%d pairs are there by half", halves)
			}
		}
		if db.Dialect() == meta.SQLite {
			var result string
			if err := db.QueryRow(ctx, `PRAGMA integrity_check`).Scan(&result); err != nil || result != "ok" {
				t.Errorf("integrity check: %s, %v", result, err)
			}
		}
		t.Logf("%d acknowledged updates, none lost", acknowledged)
	})
}

// killAfter starts the writing process, kills it after n acknowledgements and returns all that it made.
func killAfter(t *testing.T, dsn string, n int) (acks []int) {
	t.Helper()
	cmd := osexec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashDSN+"="+dsn)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var id int
		if _, err := fmt.Sscan(lines.Text(), &id); err != nil {
			break // the last line, cut short by the kill
		}
		acks = append(acks, id)
		if len(acks) == n {
			if err := cmd.Process.Kill(); err != nil {
				t.Error(err)
			}
		}
	}
	cmd.Wait()
	if len(acks) < n {
		t.Fatalf("the process ended by itself after %d acknowledgements: %s", len(acks), &stderr)
	}
	return acks
}
