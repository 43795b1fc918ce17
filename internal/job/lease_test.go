package job_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sekisho/sekisho/internal/job"
	"github.com/sekisho/sekisho/internal/meta"
)

// TestLostLease: an attempt whose lease was given to another is told to end, and what it does counts no more.
func TestLostLease(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(ctx context.Context, db *meta.DB, j *job.Job) error // how the attempt that lost its lease ends
	}{
		{"nil", func(context.Context, *meta.DB, *job.Job) error { return nil }},
		{"error", func(ctx context.Context, _ *meta.DB, _ *job.Job) error { return ctx.Err() }},
		{"complete", func(ctx context.Context, db *meta.DB, j *job.Job) error {
			return effect(context.WithoutCancel(ctx), db, j)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			each(t, func(t *testing.T, db *meta.DB) {
				exec(t, db, `CREATE TABLE effect (id BIGINT)`)
				began, lost, release := make(chan struct{}), make(chan error), make(chan error)
				handle := func(ctx context.Context, j *job.Job) error {
					if j.Attempt == 1 {
						began <- struct{}{}
						<-ctx.Done()
						lost <- context.Cause(ctx)
						return tt.end(ctx, db, j)
					}
					began <- struct{}{}
					if err := <-release; err != nil {
						return err
					}
					return effect(ctx, db, j)
				}
				a, b := newQueue(t, db, job.Options{NodeID: "a"}), newQueue(t, db, job.Options{NodeID: "b"})
				o := job.KindOptions{Backoff: func(int) time.Duration { return time.Second }}
				a.Handle("k", o, handle)
				b.Handle("k", o, handle)
				start(t, a)
				id, _ := enqueue(t, db, a, job.Spec{Kind: "k"})
				<-began
				exec(t, db, `UPDATE job SET lease_until = 1`) // as if the node had stood still for long
				start(t, b)
				<-began // on one of them
				if cause := <-lost; cause != job.ErrLeaseLost {
					t.Errorf("cause %v", cause)
				}
				time.Sleep(time.Minute) // for what the first attempt does to happen
				if j := get(t, a, id); j.State != job.Running || j.Attempt != 2 || j.Failures != 1 {
					t.Errorf("the second attempt runs: %+v", j)
				}
				release <- nil
				await(t, a, id, job.Done)
				var n int
				if err := db.QueryRow(t.Context(), `SELECT count(*) FROM effect`).Scan(&n); err != nil || n != 1 {
					t.Errorf("%d effects of one job (%v)", n, err)
				}
			})
		})
	}
}

// effect completes j together with its effect.
func effect(ctx context.Context, db *meta.DB, j *job.Job) error {
	return db.Update(ctx, func(tx *meta.Tx) error {
		if _, err := tx.Exec(ctx, `INSERT INTO effect (id) VALUES ($1)`, j.ID); err != nil {
			return err
		}
		return j.Complete(ctx, tx)
	})
}

func TestComplete(t *testing.T) {
	each(t, func(t *testing.T, db *meta.DB) {
		exec(t, db, `CREATE TABLE effect (id BIGINT)`)
		q := newQueue(t, db, job.Options{})
		boom := errors.New("boom")
		q.Handle("k", job.KindOptions{Backoff: func(int) time.Duration { return time.Second }}, func(ctx context.Context, j *job.Job) error {
			if j.Attempt == 1 {
				return db.Update(ctx, func(tx *meta.Tx) error { // rolled back: so is the completion
					if _, err := tx.Exec(ctx, `INSERT INTO effect (id) VALUES ($1)`, j.ID); err != nil {
						return err
					}
					if err := j.Complete(ctx, tx); err != nil {
						return err
					}
					return boom
				})
			}
			if err := effect(ctx, db, j); err != nil {
				return err
			}
			if err := effect(ctx, db, j); !errors.Is(err, job.ErrLeaseLost) {
				t.Errorf("completed twice: %v", err)
			}
			return boom // is too late
		})
		start(t, q)
		id, _ := enqueue(t, db, q, job.Spec{Kind: "k"})
		time.Sleep(time.Minute)
		if j := get(t, q, id); j.State != job.Done || j.Attempt != 2 || j.Failures != 1 {
			t.Errorf("job %+v", j)
		}
		var n int
		if err := db.QueryRow(t.Context(), `SELECT count(*) FROM effect`).Scan(&n); err != nil || n != 1 {
			t.Errorf("%d effects of one job (%v)", n, err)
		}
	})
}

func TestCancel(t *testing.T) {
	each(t, func(t *testing.T, db *meta.DB) {
		ctx := t.Context()
		q, other := newQueue(t, db, job.Options{}), newQueue(t, db, job.Options{})
		began := make(chan struct{})
		var stubborn atomic.Bool
		q.Handle("k", job.KindOptions{}, func(ctx context.Context, _ *job.Job) error {
			began <- struct{}{}
			<-ctx.Done()
			if cause := context.Cause(ctx); cause != job.ErrCancelled {
				t.Errorf("cause %v", cause)
			}
			if stubborn.Load() {
				return nil
			}
			return ctx.Err()
		})
		start(t, q)

		queued, _ := enqueue(t, db, q, job.Spec{Kind: "k", RunAt: time.Now().Add(time.Hour)})
		if err := q.Cancel(ctx, queued); err != nil {
			t.Fatal(err)
		}
		if j := get(t, q, queued); j.State != job.Cancelled || j.FinishedAt.IsZero() {
			t.Errorf("cancelled before it ran: %+v", j)
		}
		if err := q.Cancel(ctx, queued); !errors.Is(err, job.ErrState) {
			t.Errorf("cancelled twice: %v", err)
		}
		if err := q.Cancel(ctx, 999); !errors.Is(err, job.ErrNotFound) {
			t.Errorf("cancel of no job: %v", err)
		}

		for _, by := range []*job.Queue{q, other} { // here, and on another node
			id, _ := enqueue(t, db, q, job.Spec{Kind: "k"})
			<-began
			before := time.Now()
			if err := by.Cancel(ctx, id); err != nil {
				t.Fatal(err)
			}
			if j := await(t, q, id, job.Cancelled); j.Attempt != 1 || j.FinishedAt.IsZero() {
				t.Errorf("cancelled while it ran: %+v", j)
			}
			if took := time.Since(before); took > 2*time.Second {
				t.Errorf("took %v", took)
			}
		}

		stubborn.Store(true)
		id, _ := enqueue(t, db, q, job.Spec{Kind: "k"})
		<-began
		if err := q.Cancel(ctx, id); err != nil {
			t.Fatal(err)
		}
		await(t, q, id, job.Done)

		// A node that dies with a job that was cancelled doesn't have it run again.
		stubborn.Store(false)
		id, _ = enqueue(t, db, q, job.Spec{Kind: "dead node"})
		exec(t, db, `UPDATE job SET state = 'running', node = 'dead', attempt = 1, lease_until = 1, cancel = 1 WHERE id = $1`, id)
		await(t, q, id, job.Cancelled)
	})
}

// TestDeadNode: what a node that is gone has left is run by another, unless it has failed too often.
func TestDeadNode(t *testing.T) {
	each(t, func(t *testing.T, db *meta.DB) {
		q := newQueue(t, db, job.Options{})
		q.Handle("k", job.KindOptions{}, func(context.Context, *job.Job) error { return nil })
		first, _ := enqueue(t, db, q, job.Spec{Kind: "k", MaxAttempts: 2})
		second, _ := enqueue(t, db, q, job.Spec{Kind: "k", MaxAttempts: 1})
		begin := time.Now()
		exec(t, db, `UPDATE job SET state = 'running', node = 'dead', attempt = 1, lease_until = $1`, begin.Add(20*time.Second).UnixMicro())
		start(t, q)
		if j := await(t, q, first, job.Done); j.Attempt != 2 || j.StartedAt.Sub(begin) < 20*time.Second {
			t.Errorf("job %+v", j)
		}
		if j := await(t, q, second, job.Dead); j.Attempt != 1 || j.Error == "" {
			t.Errorf("job %+v", j)
		}
	})
}
