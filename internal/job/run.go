package job

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"strings"
	"time"

	"github.com/sekisho/sekisho/internal/meta"
)

// recordInterval is how long to wait before the outcome of a job is recorded again.
const recordInterval = time.Second

// attempt is a job that runs on this node.
type attempt struct {
	kind   *kind
	job    *Job
	cancel context.CancelCauseFunc
	expiry *time.Timer // cancels when the lease is over
}

// start runs j in a goroutine of its own.
func (q *Queue) start(k *kind, j *Job) {
	ctx, cancel := context.WithCancelCause(context.Background())
	a := &attempt{kind: k, job: j, cancel: cancel}
	a.expiry = time.AfterFunc(j.LeaseUntil.Sub(q.o.Now()), func() { cancel(ErrLeaseLost) })
	j.queue = q
	q.mu.Lock()
	q.running[claim{j.ID, j.Attempt}] = a
	q.mu.Unlock()
	q.handlers.Go(func() {
		defer func() { // although the handler may end this goroutine
			cancel(nil)
			a.expiry.Stop()
			q.mu.Lock()
			delete(q.running, claim{j.ID, j.Attempt})
			q.mu.Unlock()
			q.poke() // there is room
		}()
		q.run(ctx, a)
	})
}

// run lets the handler work and records what came of it.
func (q *Queue) run(ctx context.Context, a *attempt) {
	j := a.job
	log := q.o.Logger.With("job", j.ID, "kind", j.Kind, "attempt", j.Attempt)
	start := q.o.Now()
	err := a.call(ctx)
	o := q.outcome(a, err, context.Cause(ctx))
	switch {
	case j.completed.Load():
		o = outcome{state: Done}
	case errors.Is(context.Cause(ctx), ErrLeaseLost):
		log.Warn("job lost its lease", "err", err)
		return
	default:
		if serr := q.record(ctx, j, o); serr != nil {
			log.Error("outcome of job can't be recorded, it will run again", "state", o.state, "err", serr)
			return
		}
	}
	took := q.o.Now().Sub(start)
	if err != nil {
		log.Warn("job attempt ended", "state", o.state, "took", took, "err", err)
	} else {
		log.Info("job attempt ended", "state", o.state, "took", took)
	}
}

// call runs the handler. Panics are failures.
func (a *attempt) call(ctx context.Context) (err error) {
	if a.kind.o.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, a.kind.o.Timeout)
		defer cancel()
	}
	returned := false
	defer func() {
		if returned {
			return
		}
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	err = a.kind.handle(ctx, a.job)
	returned = true
	return err
}

// outcome is what becomes of an attempt.
type outcome struct {
	state    State
	runAt    time.Time // where state is Queued
	failures int64
	err      string
}

// outcome decides what becomes of an attempt that ended with err, its context having ended with cause.
func (q *Queue) outcome(a *attempt, err, cause error) outcome {
	o := outcome{failures: a.job.Failures, err: a.job.Error}
	switch {
	case err == nil:
		o.state = Done
	case errors.Is(cause, ErrCancelled):
		o.state, o.err = Cancelled, err.Error()
	case errors.Is(cause, ErrStopping):
		o.state, o.runAt = Queued, q.o.Now()
	default:
		o = q.failed(a.job, err)
	}
	return o
}

// failed decides what becomes of a job after one more failure.
func (q *Queue) failed(j *Job, err error) outcome {
	o := outcome{state: Queued, failures: j.Failures + 1, err: err.Error()}
	wait := backoff
	if k := q.kinds[j.Kind]; k != nil {
		wait = k.o.Backoff
	}
	if o.failures >= j.MaxAttempts {
		o.state = Dead
	} else {
		o.runAt = q.o.Now().Add(wait(int(o.failures)))
	}
	return o
}

// record writes down what became of an attempt. It tries for the time of one lease: the database may be full or away for
// a moment, and a job that is done should not run again for that.
func (q *Queue) record(ctx context.Context, j *Job, o outcome) error {
	for deadline := q.o.Now().Add(q.o.Lease); ; {
		err := q.tryRecord(j, o)
		if err == nil || errors.Is(err, ErrLeaseLost) || !q.o.Now().Before(deadline) {
			return err
		}
		q.o.Logger.Warn("outcome of job can't be recorded yet", "job", j.ID, "state", o.state, "err", err)
		timer := time.NewTimer(recordInterval)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
	}
}

func (q *Queue) tryRecord(j *Job, o outcome) error {
	ctx, cancel := operation()
	defer cancel()
	return q.db.Update(ctx, func(tx *meta.Tx) error { return q.transition(ctx, tx, j, o, math.MaxInt64) })
}

// Complete marks the job as done within tx. A handler whose effects are in the same transaction has them exactly once: if
// this attempt no longer counts, Complete returns ErrLeaseLost, which the handler must return so that tx is rolled
// back. After a commit the handler returns nil; an error would only be logged.
func (j *Job) Complete(ctx context.Context, tx *meta.Tx) error {
	if err := j.queue.transition(ctx, tx, j, outcome{state: Done, failures: j.Failures, err: j.Error}, math.MaxInt64); err != nil {
		return err
	}
	tx.OnCommit(func() { j.completed.Store(true) })
	return nil
}

// A job that goes back into the queue doesn't if it was asked to stop meanwhile.
const transitionJob = `UPDATE job SET
	state = CASE WHEN $1 = 'queued' AND cancel = 1 THEN 'cancelled' ELSE $1 END,
	finished_at = CASE WHEN $1 = 'queued' AND cancel = 0 THEN 0 ELSE CAST($2 AS BIGINT) END,
	run_at = CASE WHEN $1 = 'queued' THEN $3 ELSE run_at END,
	failures = $4, error = $5, node = '', lease_until = 0, cancel = 0
WHERE id = $6 AND attempt = $7 AND state = 'running' AND lease_until <= $8
RETURNING state, rerun_at, started_at`

// transition moves a running job on to what became of it, and has its successor follow, if it has one. It returns
// ErrLeaseLost if the attempt no longer counts. leased bounds until when the lease may be.
func (q *Queue) transition(ctx context.Context, tx *meta.Tx, j *Job, o outcome, leased int64) error {
	now := q.o.Now()
	var state State
	var rerunAt, startedAt micros
	err := tx.QueryRow(ctx, transitionJob, string(o.state), now.UnixMicro(), o.runAt.UnixMicro(), o.failures, clip(o.err), j.ID, j.Attempt, leased).
		Scan(&state, &rerunAt, &startedAt)
	if errors.Is(err, sql.ErrNoRows) {
		return ErrLeaseLost
	}
	if err != nil {
		return fmt.Errorf("job %d: %w", j.ID, err)
	}
	if state == Queued {
		return nil // the end of the attempt pokes
	}
	next := Job{Kind: j.Kind, Unique: j.Unique, Payload: j.Payload, RunAt: time.Time(rerunAt), MaxAttempts: j.MaxAttempts, CreatedAt: now}
	if next.RunAt.IsZero() {
		k := q.kinds[j.Kind]
		if k == nil || k.o.Every <= 0 || j.Unique != ScheduleKey {
			return nil
		}
		next.RunAt, next.Payload = time.Time(startedAt).Add(k.o.Every), noPayload
	}
	if _, _, err := insert(ctx, tx, &next); err != nil {
		return fmt.Errorf("successor of job %d: %w", j.ID, err)
	}
	return nil
}

// clip keeps what is stored of an error within reason; a panic's stack is long.
func clip(s string) string {
	const most = 4 << 10
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
