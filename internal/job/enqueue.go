package job

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/sekisho/sekisho/internal/meta"
)

const defaultMaxAttempts = 10

var noPayload = json.RawMessage("null")

// Spec is a job to be.
type Spec struct {
	Kind string
	// Unique, if not "", is the key of which at most one job of this kind is live.
	Unique string
	// Payload is what the handler gets, as JSON. Jobs with the same unique key are the same work: where one stands for
	// another, its own payload stays.
	Payload any
	// RunAt is the earliest time to run. Default: now.
	RunAt time.Time
	// MaxAttempts is after how many failures the job is dead. Default: the kind's.
	MaxAttempts int
}

// Enqueue adds a job within tx. created tells whether it is a new job; otherwise a live one with the same unique key,
// which is the one returned, stands for this one too (see the package documentation). It needs no started queue.
func (q *Queue) Enqueue(ctx context.Context, tx *meta.Tx, s Spec) (id int64, created bool, err error) {
	payload, err := json.Marshal(s.Payload)
	if err != nil {
		return 0, false, fmt.Errorf("enqueue job %s: %w", s.Kind, err)
	}
	if s.MaxAttempts == 0 {
		s.MaxAttempts = defaultMaxAttempts
		if k := q.kinds[s.Kind]; k != nil {
			s.MaxAttempts = k.o.MaxAttempts
		}
	}
	now := q.o.Now()
	if s.RunAt.IsZero() {
		s.RunAt = now
	}
	id, created, err = insert(ctx, tx, &Job{
		Kind: s.Kind, Unique: s.Unique, Payload: payload, RunAt: s.RunAt, MaxAttempts: int64(s.MaxAttempts), CreatedAt: now,
	})
	if err != nil {
		return 0, false, fmt.Errorf("enqueue job %s: %w", s.Kind, err)
	}
	tx.OnCommit(q.poke)
	return id, created, nil
}

// The update locks the row it finds until the end of the transaction. So nobody claims that job before what this
// transaction changes is there to be seen.
const insertJob = `INSERT INTO job (kind, unique_key, state, payload, run_at, rerun_at, enqueues, attempt, failures, max_attempts,
	node, lease_until, cancel, error, created_at, started_at, finished_at)
VALUES ($1, $2, 'queued', $3, $4, 0, 1, 0, 0, $5, '', 0, 0, '', $6, 0, 0)
ON CONFLICT (kind, unique_key) WHERE state IN ('queued', 'running') DO UPDATE SET
	enqueues = job.enqueues + 1,
	run_at = CASE WHEN job.state = 'queued' AND excluded.run_at < job.run_at THEN excluded.run_at ELSE job.run_at END,
	rerun_at = CASE WHEN job.state = 'running' AND (job.rerun_at = 0 OR excluded.run_at < job.rerun_at) THEN excluded.run_at ELSE job.rerun_at END
RETURNING id, enqueues`

func insert(ctx context.Context, tx *meta.Tx, j *Job) (id int64, created bool, err error) {
	var key any // NULL
	if j.Unique != "" {
		key = j.Unique
	}
	var enqueues int64
	err = tx.QueryRow(ctx, insertJob, j.Kind, key, string(j.Payload), j.RunAt.UnixMicro(), j.MaxAttempts, j.CreatedAt.UnixMicro()).
		Scan(&id, &enqueues)
	return id, enqueues == 1, err
}
