package job

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sekisho/sekisho/internal/meta"
)

// ScheduleKey is the unique key of the jobs that KindOptions.Every makes. Enqueueing a job with it runs the scheduled
// job now.
const ScheduleKey = "schedule"

// houseInterval is how often a node cleans up and looks after the schedules.
const houseInterval = 5 * time.Minute

// houseLoop does what is due from time to time.
func (q *Queue) houseLoop() {
	ticker := time.NewTicker(houseInterval)
	defer ticker.Stop()
	for {
		ctx, cancel := operation()
		if err := errors.Join(q.ensureSchedules(ctx, false), q.clean(ctx)); err != nil {
			q.o.Logger.Warn("jobs can't be looked after", "err", err)
		}
		cancel()
		select {
		case <-q.stopping:
			return
		case <-ticker.C:
		}
	}
}

// ensureSchedules enqueues the scheduled jobs that are not there: those of a new kind, and those that were cancelled. At
// the start, when intervals may have become shorter, it also brings later ones forward.
func (q *Queue) ensureSchedules(ctx context.Context, starting bool) error {
	for _, k := range q.kinds {
		if k.o.Every <= 0 {
			continue
		}
		var live, last int64
		err := q.db.QueryRow(ctx, lookForSchedule, k.name).Scan(&live, &last)
		if err != nil {
			return fmt.Errorf("look for scheduled job %s: %w", k.name, err)
		}
		if live > 0 && !starting {
			continue
		}
		at := q.o.Now().Add(k.o.Every)
		if last > 0 {
			at = time.UnixMicro(last).Add(k.o.Every)
		}
		err = q.db.Update(ctx, func(tx *meta.Tx) error {
			_, _, err := q.Enqueue(ctx, tx, Spec{Kind: k.name, Unique: ScheduleKey, RunAt: at})
			return err
		})
		if err != nil {
			return fmt.Errorf("schedule job %s: %w", k.name, err)
		}
	}
	return nil
}

// The key is written out for the sake of indexes.
const lookForSchedule = `SELECT
	(SELECT count(*) FROM job WHERE kind = $1 AND unique_key = '` + ScheduleKey + `' AND state IN ('queued', 'running')),
	(SELECT coalesce(max(started_at), 0) FROM job WHERE kind = $1 AND unique_key = '` + ScheduleKey + `')`

// cleanBatch bounds how much one transaction deletes.
const cleanBatch = 500

// clean deletes finished jobs that have been kept long enough.
func (q *Queue) clean(ctx context.Context) error {
	keep := map[State]time.Duration{Done: q.o.KeepDone, Cancelled: q.o.KeepDone, Dead: q.o.KeepDead}
	for state, d := range keep {
		before := q.o.Now().Add(-d).UnixMicro()
		for deleted := int64(cleanBatch); deleted == cleanBatch; {
			err := q.db.Update(ctx, func(tx *meta.Tx) error {
				res, err := tx.Exec(ctx, deleteFinished, string(state), before, cleanBatch)
				if err != nil {
					return err
				}
				deleted, err = res.RowsAffected()
				return err
			})
			if err != nil {
				return fmt.Errorf("delete finished jobs: %w", err)
			}
		}
	}
	return nil
}

// The list of states lets SQLite use the index.
const deleteFinished = `DELETE FROM job WHERE id IN (
	SELECT id FROM job WHERE state = $1 AND state IN ('done', 'cancelled', 'dead') AND finished_at < $2 LIMIT $3)`
