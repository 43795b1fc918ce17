package job

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/sekisho/sekisho/internal/meta"
)

// afterError is how long to wait for a database that gave an error.
const afterError = 5 * time.Second

// dispatchLoop looks for work when it is poked, when the next job is due, and at every poll interval.
func (q *Queue) dispatchLoop() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var polled time.Time
	for {
		select {
		case <-q.stopping:
			return
		case <-q.wake:
		case <-timer.C:
		}
		select {
		case <-q.stopping:
			return // although there is work too
		default:
		}
		wait, err := q.dispatch(&polled)
		if err != nil {
			q.o.Logger.Warn("jobs can't be claimed", "err", err)
			wait = afterError
		}
		timer.Reset(wait)
	}
}

// dispatch starts what is due and returns how long to wait for more. polled is when it last looked for what other nodes
// did, which nobody pokes it for.
func (q *Queue) dispatch(polled *time.Time) (wait time.Duration, err error) {
	ctx, cancel := operation()
	defer cancel()
	now := q.o.Now()
	if now.Sub(*polled) >= q.o.PollInterval {
		if err := q.reap(ctx); err != nil {
			return 0, err
		}
		if err := q.noticeCancels(ctx); err != nil {
			return 0, err
		}
		*polled = now
	}
	wait = polled.Add(q.o.PollInterval).Sub(now)
	for _, k := range q.kinds {
		due, err := q.dispatchKind(ctx, k)
		if err != nil {
			return 0, fmt.Errorf("claim jobs of kind %s: %w", k.name, err)
		}
		if due > 0 {
			wait = min(wait, due)
		}
	}
	return wait, nil
}

// dispatchKind starts what is due of one kind, as far as its concurrency allows, and returns how long until the next
// one is due; 0 if there is none, or no room.
func (q *Queue) dispatchKind(ctx context.Context, k *kind) (time.Duration, error) {
	for {
		free := k.o.Concurrency - q.runningOf(k)
		if free <= 0 {
			return 0, nil // its end pokes
		}
		var at micros
		err := q.db.QueryRow(ctx, `SELECT run_at FROM job WHERE kind = $1 AND state = 'queued' ORDER BY run_at, id LIMIT 1`, k.name).Scan(&at)
		if errors.Is(err, sql.ErrNoRows) {
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
		if due := time.Time(at).Sub(q.o.Now()); due > 0 {
			return due, nil
		}
		jobs, err := q.claim(ctx, k, free)
		if err != nil {
			return 0, err
		}
		if len(jobs) == 0 {
			return 0, nil // others were faster, or hold it locked; the next poll looks again
		}
		for _, j := range jobs {
			q.start(k, j)
		}
	}
}

// What a claim sets. rerun_at goes back to 0, because this attempt sees all that was there before it began.
const claimSet = ` SET state = 'running', attempt = job.attempt + 1, rerun_at = 0, cancel = 0, node = $3, lease_until = $4, started_at = $5 `

const claimSQLite = `UPDATE job` + claimSet + `WHERE id IN (
	SELECT id FROM job WHERE kind = $1 AND state = 'queued' AND run_at <= $5 ORDER BY run_at, id LIMIT $2
) RETURNING ` + columns

// Nodes don't wait for each other. Materialized, because a subquery in the condition might run more than once.
const claimPostgreSQL = `WITH due AS MATERIALIZED (
	SELECT id AS due_id FROM job WHERE kind = $1 AND state = 'queued' AND run_at <= $5 ORDER BY run_at, id LIMIT $2 FOR UPDATE SKIP LOCKED
) UPDATE job` + claimSet + `FROM due WHERE id = due_id RETURNING ` + columns

// claim makes up to n due jobs of a kind this node's.
func (q *Queue) claim(ctx context.Context, k *kind, n int) (jobs []*Job, err error) {
	stmt := claimSQLite
	if q.db.Dialect() == meta.PostgreSQL {
		stmt = claimPostgreSQL
	}
	now := q.o.Now()
	err = q.db.Update(ctx, func(tx *meta.Tx) error {
		rows, err := tx.Query(ctx, stmt, k.name, n, q.o.NodeID, now.Add(q.o.Lease).UnixMicro(), now.UnixMicro())
		if err != nil {
			return err
		}
		jobs, err = scanAll(rows)
		return err
	})
	return jobs, err
}

// runningOf returns how many jobs of a kind run on this node.
func (q *Queue) runningOf(k *kind) (n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, a := range q.running {
		if a.kind == k {
			n++
		}
	}
	return n
}
