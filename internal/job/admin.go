package job

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"

	"github.com/sekisho/sekisho/internal/meta"
)

// Get returns a job, or ErrNotFound.
func (q *Queue) Get(ctx context.Context, id int64) (*Job, error) {
	j, err := scan(q.db.QueryRow(ctx, `SELECT `+columns+` FROM job WHERE id = $1`, id))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("job %d: %w", id, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("read job %d: %w", id, err)
	}
	return j, nil
}

// Filter chooses jobs; the zero value chooses all.
type Filter struct {
	Kind  string
	State State
}

// Page is a part of a list: up to Limit jobs (default 100) with ids below Before (default: from the newest).
type Page struct {
	Before int64
	Limit  int
}

// List returns jobs, newest first.
func (q *Queue) List(ctx context.Context, f Filter, p Page) ([]*Job, error) {
	rows, err := q.db.Query(ctx, `SELECT `+columns+` FROM job
		WHERE id < $1 AND ($2 = '' OR kind = $2) AND ($3 = '' OR state = $3) ORDER BY id DESC LIMIT $4`,
		cmp.Or(p.Before, math.MaxInt64), f.Kind, string(f.State), cmp.Or(p.Limit, 100))
	if err != nil {
		return nil, fmt.Errorf("list jobs: %w", err)
	}
	jobs, err := scanAll(rows)
	if err != nil {
		return nil, fmt.Errorf("list jobs: %w", err)
	}
	return jobs, nil
}

// Count is how many jobs of a kind are in a state.
type Count struct {
	Kind  string
	State State
	N     int64
}

// Counts returns how many jobs are queued, running and dead, by kind. Nothing is said of kinds and states with none.
func (q *Queue) Counts(ctx context.Context) ([]Count, error) {
	rows, err := q.db.Query(ctx, `SELECT kind, state, count(*) FROM job WHERE state = 'queued' GROUP BY kind, state
		UNION ALL SELECT kind, state, count(*) FROM job WHERE state = 'running' GROUP BY kind, state
		UNION ALL SELECT kind, state, count(*) FROM job WHERE state = 'dead' AND state IN ('done', 'cancelled', 'dead') GROUP BY kind, state
		ORDER BY 1, 2`)
	if err != nil {
		return nil, fmt.Errorf("count jobs: %w", err)
	}
	defer rows.Close()
	var counts []Count
	for rows.Next() {
		var c Count
		if err := rows.Scan(&c.Kind, &c.State, &c.N); err != nil {
			return nil, fmt.Errorf("count jobs: %w", err)
		}
		counts = append(counts, c)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("count jobs: %w", err)
	}
	return counts, nil
}

// Cancel has a queued job never run, and ends the context of a running one, which is cancelled once its handler has returned
// an error; its handler may still succeed. It returns ErrNotFound, or ErrState for a job that is finished.
func (q *Queue) Cancel(ctx context.Context, id int64) error {
	return q.change(ctx, id, "cancel", `UPDATE job SET
			cancel = CASE WHEN state = 'running' THEN 1 ELSE 0 END,
			finished_at = CASE WHEN state = 'running' THEN 0 ELSE CAST($2 AS BIGINT) END,
			state = CASE WHEN state = 'running' THEN 'running' ELSE 'cancelled' END
		WHERE id = $1 AND state IN ('queued', 'running')`, q.interrupt)
}

// Retry queues a dead or cancelled job again, with as many attempts as it had at first. It returns ErrNotFound, or
// ErrState for a job in another state and for one whose unique key another live job has.
func (q *Queue) Retry(ctx context.Context, id int64) error {
	return q.change(ctx, id, "retry", `UPDATE job SET state = 'queued', run_at = $2, failures = 0, finished_at = 0
		WHERE id = $1 AND state IN ('dead', 'cancelled')`, func(int64) { q.poke() })
}

// change runs stmt with a job's id and the time.
func (q *Queue) change(ctx context.Context, id int64, verb, stmt string, then func(id int64)) error {
	now := q.o.Now().UnixMicro()
	err := q.db.Update(ctx, func(tx *meta.Tx) error {
		res, err := tx.Exec(ctx, stmt, id, now)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 1 {
			tx.OnCommit(func() { then(id) })
			return err
		}
		var state State
		err = tx.QueryRow(ctx, `SELECT state FROM job WHERE id = $1`, id).Scan(&state)
		if errors.Is(err, sql.ErrNoRows) {
			return ErrNotFound
		}
		if err != nil {
			return err
		}
		return fmt.Errorf("it is %s: %w", state, ErrState)
	})
	if meta.IsUnique(err) {
		err = fmt.Errorf("another one with the same unique key is live: %w", ErrState)
	}
	if err != nil {
		return fmt.Errorf("%s job %d: %w", verb, id, err)
	}
	return nil
}
