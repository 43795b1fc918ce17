package job_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/job"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
)

// each runs test on every database with a clock of its own, which stands still until everybody waits for it.
func each(t *testing.T, test func(t *testing.T, db *meta.DB)) {
	t.Helper()
	metatest.EachDSN(t, func(t *testing.T, dsn string) {
		synctest.Test(t, func(t *testing.T) { test(t, metatest.Open(t, dsn)) })
	})
}

// newQueue returns a queue that logs to the test.
func newQueue(t *testing.T, db *meta.DB, o job.Options) *job.Queue {
	o.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	return job.New(db, o)
}

// start starts q and stops it when the test ends.
func start(t *testing.T, q *job.Queue) {
	t.Helper()
	if err := q.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := q.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

func enqueue(t *testing.T, db *meta.DB, q *job.Queue, s job.Spec) (id int64, created bool) {
	t.Helper()
	err := db.Update(t.Context(), func(tx *meta.Tx) (err error) {
		id, created, err = q.Enqueue(t.Context(), tx, s)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return id, created
}

func get(t *testing.T, q *job.Queue, id int64) *job.Job {
	t.Helper()
	j, err := q.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// await returns the job once it is in state.
func await(t *testing.T, q *job.Queue, id int64, state job.State) *job.Job {
	t.Helper()
	for deadline := time.Now().Add(24 * time.Hour); ; {
		j := get(t, q, id)
		if j.State == state {
			return j
		}
		if time.Now().After(deadline) {
			t.Fatalf("job %d is %s (%s), want %s", id, j.State, j.Error, state)
		}
		time.Sleep(100 * time.Millisecond) // of the test's own clock
	}
}

func TestRun(t *testing.T) {
	each(t, func(t *testing.T, db *meta.DB) {
		q := newQueue(t, db, job.Options{NodeID: "n"})
		got := make(chan string, 10)
		q.Handle("greet", job.KindOptions{}, func(_ context.Context, j *job.Job) error {
			got <- fmt.Sprint(j.ID, j.Kind, j.Unique, string(j.Payload), j.Attempt, j.State)
			return nil
		})
		start(t, q)

		before := time.Now()
		id, created := enqueue(t, db, q, job.Spec{Kind: "greet", Unique: "u", Payload: map[string]string{"name": "关所"}})
		if !created {
			t.Error("a new job is not said to be created")
		}
		j := await(t, q, id, job.Done)
		if took := time.Since(before); took > 200*time.Millisecond {
			t.Errorf("took %v: it waited for a poll", took)
		}
		if j.FinishedAt.IsZero() || j.Node != "" || j.Error != "" || j.Failures != 0 {
			t.Errorf("done job %+v", j)
		}

		boom := errors.New("boom")
		err := db.Update(t.Context(), func(tx *meta.Tx) error {
			if _, _, err := q.Enqueue(t.Context(), tx, job.Spec{Kind: "greet"}); err != nil {
				return err
			}
			return boom
		})
		if err != boom {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		if got, want := <-got, fmt.Sprint(id, "greet", "u", `{"name":"关所"}`, 1, "running"); got != want {
			t.Errorf("ran %s, want %s", got, want)
		}
		if len(got) > 0 {
			t.Errorf("ran %s too", <-got)
		}
	})
}

func TestRunAt(t *testing.T) {
	each(t, func(t *testing.T, db *meta.DB) {
		q := newQueue(t, db, job.Options{PollInterval: time.Hour})
		ran := make(chan time.Time, 1)
		q.Handle("k", job.KindOptions{}, func(context.Context, *job.Job) error {
			ran <- time.Now()
			return nil
		})
		start(t, q)
		at := time.Now().Add(10 * time.Minute)
		enqueue(t, db, q, job.Spec{Kind: "k", RunAt: at})
		if late := (<-ran).Sub(at); late < 0 || late > time.Second {
			t.Errorf("ran %v after its time", late)
		}
	})
}

func TestFailure(t *testing.T) {
	for _, tt := range []struct {
		name string
		fail func(ctx context.Context) error
		want string
	}{
		{"error", func(context.Context) error { return errors.New("boom") }, "boom"},
		{"panic", func(context.Context) error { panic("boom") }, "panic: boom"},
		{"timeout", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, "context deadline exceeded"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			each(t, func(t *testing.T, db *meta.DB) {
				q := newQueue(t, db, job.Options{})
				runs := make(chan time.Duration, 10)
				begin := time.Now()
				var repaired atomic.Bool
				q.Handle("k", job.KindOptions{
					MaxAttempts: 3,
					Timeout:     time.Second,
					Backoff:     func(failures int) time.Duration { return time.Duration(failures) * time.Minute },
				}, func(ctx context.Context, j *job.Job) error {
					runs <- time.Since(begin).Round(10 * time.Second)
					if repaired.Load() {
						return nil
					}
					return tt.fail(ctx)
				})
				start(t, q)
				id, _ := enqueue(t, db, q, job.Spec{Kind: "k"})
				j := await(t, q, id, job.Dead)
				if j.Attempt != 3 || j.Failures != 3 || !strings.Contains(j.Error, tt.want) || j.FinishedAt.IsZero() {
					t.Errorf("dead job %+v", j)
				}
				if diff := cmp.Diff([]time.Duration{0, time.Minute, 3 * time.Minute}, []time.Duration{<-runs, <-runs, <-runs}); diff != "" {
					t.Errorf("times of the attempts (-want +got):\n%s", diff)
				}
				repaired.Store(true)
				if err := q.Retry(t.Context(), id); err != nil {
					t.Fatal(err)
				}
				if j := await(t, q, id, job.Done); j.Attempt != 4 {
					t.Errorf("retried job %+v", j)
				}
				if err := q.Retry(t.Context(), id); !errors.Is(err, job.ErrState) {
					t.Errorf("retry of a job that is done: %v", err)
				}
				if err := q.Retry(t.Context(), id+1); !errors.Is(err, job.ErrNotFound) {
					t.Errorf("retry of no job: %v", err)
				}
			})
		})
	}
}

// TestExit: a handler that ends its goroutine leaves its job to be tried again when the lease is over.
func TestExit(t *testing.T) {
	each(t, func(t *testing.T, db *meta.DB) {
		q := newQueue(t, db, job.Options{})
		q.Handle("k", job.KindOptions{}, func(_ context.Context, j *job.Job) error {
			if j.Attempt == 1 {
				runtime.Goexit()
			}
			return nil
		})
		start(t, q)
		id, _ := enqueue(t, db, q, job.Spec{Kind: "k"})
		await(t, q, id, job.Done)
	})
}

func TestUnique(t *testing.T) {
	each(t, func(t *testing.T, db *meta.DB) {
		q := newQueue(t, db, job.Options{})
		began, release := make(chan int64), make(chan error)
		q.Handle("k", job.KindOptions{Concurrency: 5}, func(_ context.Context, j *job.Job) error {
			began <- j.ID
			return <-release
		})
		start(t, q)
		spec := func(after time.Duration) job.Spec {
			return job.Spec{Kind: "k", Unique: "u", Payload: 1, RunAt: time.Now().Add(after)}
		}
		first, created := enqueue(t, db, q, spec(time.Hour))
		if !created {
			t.Error("the first was not created")
		}
		for _, after := range []time.Duration{2 * time.Hour, time.Minute} {
			if id, created := enqueue(t, db, q, spec(after)); created || id != first {
				t.Errorf("another is job %d, created %v", id, created)
			}
		}
		if j := get(t, q, first); j.Enqueues != 3 || time.Until(j.RunAt).Round(time.Second) != time.Minute {
			t.Errorf("job %+v, want the earliest time of three", j)
		}
		if id, created := enqueue(t, db, q, job.Spec{Kind: "other", Unique: "u"}); !created || id == first {
			t.Error("keys of different kinds are mixed up")
		}
		if id := <-began; id != first {
			t.Errorf("job %d runs", id)
		}
		for range 3 { // while it runs
			if id, created := enqueue(t, db, q, spec(0)); created || id != first {
				t.Errorf("another is job %d, created %v", id, created)
			}
		}
		time.Sleep(time.Minute)
		release <- nil
		second := <-began // one successor for the three
		if second == first {
			t.Error("the successor is the same job")
		}
		if j := get(t, q, first); j.State != job.Done {
			t.Errorf("the first is %s while its successor runs", j.State)
		}
		if j := get(t, q, second); string(j.Payload) != "1" || j.Unique != "u" {
			t.Errorf("successor %+v", j)
		}
		enqueue(t, db, q, spec(0))
		release <- errors.New("boom") // the next attempt sees what that enqueue was about: no successor
		if id := <-began; id != second {
			t.Errorf("job %d runs, want another attempt of %d", id, second)
		}
		release <- nil
		await(t, q, second, job.Done)
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		jobs, err := q.List(t.Context(), job.Filter{Kind: "k"}, job.Page{})
		if err != nil || len(jobs) != 2 {
			t.Errorf("%d jobs, want 2 (%v)", len(jobs), err)
		}
	})
}

// TestUniqueLocks: a job that somebody enqueues once more, in a transaction that isn't committed yet, isn't claimed
// before it is, or it might not see what it was enqueued for.
func TestUniqueLocks(t *testing.T) {
	dsn := metatest.PostgreSQL(t) // SQLite has one transaction at a time
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		db := metatest.Open(t, dsn)
		exec(t, db, `CREATE TABLE effect (id BIGINT)`)
		q := newQueue(t, db, job.Options{})
		id, _ := enqueue(t, db, q, job.Spec{Kind: "k", Unique: "u"})
		seen := make(chan int, 1)
		q.Handle("k", job.KindOptions{}, func(ctx context.Context, j *job.Job) error {
			var n int
			err := db.QueryRow(ctx, `SELECT count(*) FROM effect`).Scan(&n)
			seen <- n
			return err
		})
		err := db.Update(ctx, func(tx *meta.Tx) error {
			if again, _, err := q.Enqueue(ctx, tx, job.Spec{Kind: "k", Unique: "u"}); err != nil || again != id {
				t.Errorf("enqueued again as %d: %v", again, err)
			}
			start(t, q)
			time.Sleep(time.Minute) // many polls
			_, err := tx.Exec(ctx, `INSERT INTO effect (id) VALUES (1)`)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if n := <-seen; n != 1 {
			t.Error("the job ran before the transaction was committed")
		}
	})
}

func exec(t *testing.T, db *meta.DB, stmt string, args ...any) {
	t.Helper()
	err := db.Update(t.Context(), func(tx *meta.Tx) error {
		_, err := tx.Exec(t.Context(), stmt, args...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestConcurrency(t *testing.T) {
	each(t, func(t *testing.T, db *meta.DB) {
		q := newQueue(t, db, job.Options{})
		var now, most atomic.Int32
		var all sync.WaitGroup
		q.Handle("k", job.KindOptions{Concurrency: 3}, func(context.Context, *job.Job) error {
			defer all.Done()
			defer now.Add(-1)
			if n := now.Add(1); n > most.Load() {
				most.Store(n)
			}
			time.Sleep(time.Minute)
			return nil
		})
		start(t, q)
		all.Add(10)
		for range 10 {
			enqueue(t, db, q, job.Spec{Kind: "k"})
		}
		all.Wait()
		if most.Load() != 3 {
			t.Errorf("%d ran at once, want 3", most.Load())
		}
	})
}

// TestNodes: many queues over one database run each job once.
func TestNodes(t *testing.T) {
	each(t, func(t *testing.T, db *meta.DB) {
		const jobs, nodes = 120, 4
		var mu sync.Mutex
		runs := make(map[int64]int)
		var all sync.WaitGroup
		all.Add(jobs)
		var queues []*job.Queue
		for range nodes {
			q := newQueue(t, db, job.Options{})
			q.Handle("k", job.KindOptions{Concurrency: 3}, func(_ context.Context, j *job.Job) error {
				mu.Lock()
				defer mu.Unlock()
				if runs[j.ID]++; runs[j.ID] == 1 {
					all.Done()
				}
				return nil
			})
			queues = append(queues, q)
			start(t, q)
		}
		for i := range jobs {
			enqueue(t, db, queues[i%nodes], job.Spec{Kind: "k"})
		}
		all.Wait()
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		for id, n := range runs {
			if n != 1 {
				t.Errorf("job %d ran %d times", id, n)
			}
		}
		counts, err := queues[0].Counts(t.Context())
		if err != nil || len(counts) != 0 {
			t.Errorf("left over: %v (%v)", counts, err)
		}
	})
}

func TestStop(t *testing.T) {
	each(t, func(t *testing.T, db *meta.DB) {
		q := newQueue(t, db, job.Options{})
		began, release := make(chan struct{}), make(chan struct{})
		q.Handle("patient", job.KindOptions{}, func(ctx context.Context, _ *job.Job) error {
			began <- struct{}{}
			<-release
			return ctx.Err()
		})
		q.Handle("endless", job.KindOptions{}, func(ctx context.Context, _ *job.Job) error {
			began <- struct{}{}
			<-ctx.Done()
			if cause := context.Cause(ctx); cause != job.ErrStopping {
				t.Errorf("cause %v", cause)
			}
			return ctx.Err()
		})
		if err := q.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := q.Start(t.Context()); err == nil {
			t.Error("started twice")
		}
		patient, _ := enqueue(t, db, q, job.Spec{Kind: "patient"})
		endless, _ := enqueue(t, db, q, job.Spec{Kind: "endless"})
		<-began
		<-began
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		stopped := make(chan error)
		go func() { stopped <- q.Stop(ctx) }()
		time.Sleep(30 * time.Minute) // far beyond the lease, which must be renewed meanwhile
		later, _ := enqueue(t, db, q, job.Spec{Kind: "patient"})
		close(release)
		if err := <-stopped; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Stop returned %v", err)
		}
		if j := get(t, q, patient); j.State != job.Done || j.Attempt != 1 {
			t.Errorf("a job that was waited for: %+v", j)
		}
		if j := get(t, q, endless); j.State != job.Queued || j.Failures != 0 || j.Node != "" {
			t.Errorf("a job that was interrupted: %+v", j)
		}
		if j := get(t, q, later); j.State != job.Queued {
			t.Errorf("a job that was enqueued after Stop: %+v", j)
		}
		if err := q.Stop(t.Context()); err != nil {
			t.Errorf("second Stop: %v", err)
		}
		if err := newQueue(t, db, job.Options{}).Stop(t.Context()); err != nil {
			t.Errorf("Stop without Start: %v", err)
		}
	})
}
