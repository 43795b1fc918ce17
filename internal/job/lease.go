package job

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sekisho/sekisho/internal/meta"
)

// heartbeat renews this node's leases, three times within each, until ctx ends.
func (q *Queue) heartbeat(ctx context.Context) {
	ticker := time.NewTicker(q.o.Lease / 3)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			q.renew(ctx)
		}
	}
}

// renew renews the leases of what runs on this node, and cancels what has lost its lease.
func (q *Queue) renew(ctx context.Context) {
	running := q.attempts()
	if len(running) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, q.o.Lease/4) // before the next beat
	defer cancel()
	until := q.o.Now().Add(q.o.Lease)
	held, err := q.renewLeases(ctx, until)
	if err != nil {
		q.o.Logger.Warn("leases of jobs can't be renewed", "jobs", len(running), "err", err)
	}
	for _, a := range running {
		switch {
		case held[claim{a.job.ID, a.job.Attempt}]:
			a.expiry.Reset(until.Sub(q.o.Now()))
		case err == nil:
			a.cancel(ErrLeaseLost) // or it has just ended, and doesn't care
		}
	}
}

func (q *Queue) renewLeases(ctx context.Context, until time.Time) (held map[claim]bool, err error) {
	err = q.db.Update(ctx, func(tx *meta.Tx) error {
		held = make(map[claim]bool)
		rows, err := tx.Query(ctx, `UPDATE job SET lease_until = $1 WHERE state = 'running' AND node = $2 RETURNING id, attempt`,
			until.UnixMicro(), q.o.NodeID)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var c claim
			if err := rows.Scan(&c.id, &c.attempt); err != nil {
				return err
			}
			held[c] = true
		}
		return rows.Err()
	})
	return held, err
}

// reap takes the jobs back whose lease is over, as failures: their node is gone, or may be because of them.
func (q *Queue) reap(ctx context.Context) error {
	now := q.o.Now().UnixMicro()
	rows, err := q.db.Query(ctx, `SELECT `+columns+` FROM job WHERE state = 'running' AND lease_until < $1`, now)
	if err != nil {
		return fmt.Errorf("look for expired leases: %w", err)
	}
	jobs, err := scanAll(rows)
	if err != nil {
		return fmt.Errorf("look for expired leases: %w", err)
	}
	for _, j := range jobs {
		o := q.failed(j, fmt.Errorf("lease of %s expired: it was killed, or lost the database", j.Node))
		err := q.db.Update(ctx, func(tx *meta.Tx) error { return q.transition(ctx, tx, j, o, now) })
		if errors.Is(err, ErrLeaseLost) {
			continue // another node was faster, or the lease has been renewed after all
		}
		if err != nil {
			return err
		}
		q.o.Logger.Warn("job taken back", "job", j.ID, "kind", j.Kind, "attempt", j.Attempt, "state", o.state, "node", j.Node)
	}
	return nil
}

// noticeCancels ends the contexts of jobs that run here and were cancelled elsewhere.
func (q *Queue) noticeCancels(ctx context.Context) error {
	if len(q.attempts()) == 0 {
		return nil
	}
	rows, err := q.db.Query(ctx, `SELECT id FROM job WHERE state = 'running' AND cancel = 1`)
	if err != nil {
		return fmt.Errorf("look for cancelled jobs: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return fmt.Errorf("look for cancelled jobs: %w", err)
		}
		q.interrupt(id)
	}
	return rows.Err()
}

// interrupt ends the context of a job if it runs here.
func (q *Queue) interrupt(id int64) {
	for _, a := range q.attempts() {
		if a.job.ID == id {
			a.cancel(ErrCancelled)
		}
	}
}
