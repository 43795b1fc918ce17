package job_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	osexec "os/exec"
	"strings"
	"testing"
	"time"

	"github.com/sekisho/sekisho/internal/job"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
)

// crashDSN names the variable that makes this test binary a node that is killed, and the database it works on.
const crashDSN = "JOB_TEST_CRASH_DSN"

func TestMain(m *testing.M) {
	if dsn := os.Getenv(crashDSN); dsn != "" {
		fmt.Fprintln(os.Stderr, workUntilKilled(dsn))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// crashNode returns a queue with a handler that has an effect in the database.
func crashNode(db *meta.DB, worked func(id int64)) *job.Queue {
	q := job.New(db, job.Options{Lease: 500 * time.Millisecond, PollInterval: 50 * time.Millisecond})
	q.Handle("k", job.KindOptions{Concurrency: 8, MaxAttempts: 1000, Backoff: func(int) time.Duration { return time.Millisecond }},
		func(ctx context.Context, j *job.Job) error {
			err := db.Update(ctx, func(tx *meta.Tx) error {
				_, err := tx.Exec(ctx, `INSERT INTO begun (id) VALUES ($1)`, j.ID)
				return err
			})
			if err != nil {
				return err
			}
			if err := effect(ctx, db, j); err != nil {
				return err
			}
			worked(j.ID)
			return nil
		})
	return q
}

// workUntilKilled works on what there is, and enqueues more: each with an effect of its own, in one transaction.
func workUntilKilled(dsn string) error {
	ctx := context.Background()
	db, err := meta.Open(ctx, dsn, meta.Options{})
	if err != nil {
		return err
	}
	q := crashNode(db, func(id int64) { fmt.Println("worked", id) })
	if err := q.Start(ctx); err != nil {
		return err
	}
	for {
		var id int64
		err := db.Update(ctx, func(tx *meta.Tx) (err error) {
			if id, _, err = q.Enqueue(ctx, tx, job.Spec{Kind: "k"}); err != nil {
				return err
			}
			_, err = tx.Exec(ctx, `INSERT INTO enqueued (id) VALUES ($1)`, id)
			return err
		})
		if err != nil {
			return err
		}
		fmt.Println("enqueued", id)
	}
}

// TestKill: however often nodes are killed, each job that was enqueued has its effect, exactly once.
func TestKill(t *testing.T) {
	metatest.EachDSN(t, func(t *testing.T, dsn string) {
		db := metatest.Open(t, dsn)
		exec(t, db, `CREATE TABLE effect (id BIGINT NOT NULL)`)
		exec(t, db, `CREATE TABLE begun (id BIGINT NOT NULL)`)
		exec(t, db, `CREATE TABLE enqueued (id BIGINT PRIMARY KEY)`)
		acknowledged := 0
		for round := range 3 {
			acknowledged += killAfter(t, dsn, 100+50*round)
		}
		q := crashNode(db, func(int64) {})
		start(t, q)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for deadline := time.Now().Add(30 * time.Second); ; <-tick.C {
			counts, err := q.Counts(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if len(counts) == 0 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("jobs left: %v", counts)
			}
		}
		for name, query := range map[string]string{
			"jobs with no effect":            `SELECT count(*) FROM job WHERE id NOT IN (SELECT id FROM effect)`,
			"enqueued with no job":           `SELECT count(*) FROM enqueued WHERE id NOT IN (SELECT id FROM job)`,
			"jobs from half a transaction":   `SELECT count(*) FROM job WHERE id NOT IN (SELECT id FROM enqueued)`,
			"jobs with more than one effect": `SELECT count(*) FROM (SELECT id FROM effect GROUP BY id HAVING count(*) > 1) AS twice`,
		} {
			var n int
			if err := db.QueryRow(t.Context(), query).Scan(&n); err != nil || n != 0 {
				t.Errorf("%s: %d (%v)", name, n, err)
			}
		}
		var jobs, interrupted int
		if err := db.QueryRow(t.Context(), `SELECT count(*), coalesce(sum(CASE WHEN attempt > 1 THEN 1 ELSE 0 END), 0) FROM job`).Scan(&jobs, &interrupted); err != nil {
			t.Fatal(err)
		}
		if jobs < acknowledged {
			t.Errorf("%d jobs, although %d were acknowledged", jobs, acknowledged)
		}
		t.Logf("%d jobs, %d of them interrupted by a kill", jobs, interrupted)
	})
}

// killAfter starts a node, kills it after n jobs were worked on, and returns how many it acknowledged to have enqueued.
func killAfter(t *testing.T, dsn string, n int) (enqueued int) {
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
	worked := 0
	for lines := bufio.NewScanner(out); lines.Scan(); {
		switch word, _, _ := strings.Cut(lines.Text(), " "); word {
		case "enqueued":
			enqueued++
		case "worked":
			worked++
		}
		if worked == n {
			if err := cmd.Process.Kill(); err != nil {
				t.Error(err)
			}
			worked++ // once
		}
	}
	cmd.Wait()
	if worked < n {
		t.Fatalf("the node ended by itself after %d jobs: %s", worked, &stderr)
	}
	return enqueued
}
