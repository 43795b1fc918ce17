package job

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"time"
)

// State is where a job is in its life.
type State string

// The states. Queued and running jobs are live; the others are finished.
const (
	Queued    State = "queued"
	Running   State = "running"
	Done      State = "done"
	Cancelled State = "cancelled"
	Dead      State = "dead" // failed as often as it may, or has nobody left to run it
)

// Job is one piece of work, as it was when it was read.
type Job struct {
	ID          int64
	Kind        string
	Unique      string // "" for none
	State       State
	Payload     json.RawMessage
	RunAt       time.Time // not before
	Enqueues    int64     // how many calls of Enqueue it stands for
	Attempt     int64     // the attempt that runs, or the last one; from 1
	Failures    int64     // attempts that failed since it was enqueued or retried by hand
	MaxAttempts int64     // dead after so many failures
	Node        string    // who runs it
	LeaseUntil  time.Time
	Error       string // of the last failure
	CreatedAt   time.Time
	StartedAt   time.Time // of the last attempt
	FinishedAt  time.Time

	queue     *Queue      // set in the job that a handler gets
	completed atomic.Bool // Complete has been committed
}

// columns is what scan reads.
const columns = `id, kind, coalesce(unique_key, ''), state, payload, run_at, enqueues, attempt, failures, max_attempts, ` +
	`node, lease_until, error, created_at, started_at, finished_at`

type scanner interface{ Scan(dest ...any) error }

func scan(row scanner) (*Job, error) {
	var j Job
	var payload string
	err := row.Scan(&j.ID, &j.Kind, &j.Unique, &j.State, &payload, (*micros)(&j.RunAt), &j.Enqueues, &j.Attempt, &j.Failures, &j.MaxAttempts,
		&j.Node, (*micros)(&j.LeaseUntil), &j.Error, (*micros)(&j.CreatedAt), (*micros)(&j.StartedAt), (*micros)(&j.FinishedAt))
	if err != nil {
		return nil, err
	}
	j.Payload = json.RawMessage(payload)
	return &j, nil
}

func scanAll(rows *sql.Rows) (jobs []*Job, err error) {
	defer rows.Close()
	for rows.Next() {
		j, err := scan(rows)
		if err != nil {
			return nil, err
		}
		jobs = append(jobs, j)
	}
	return jobs, rows.Err()
}

// micros scans a time in Unix microseconds, 0 being the zero time.
type micros time.Time

func (m *micros) Scan(v any) error {
	n, ok := v.(int64)
	if !ok {
		return fmt.Errorf("time is a %T", v)
	}
	*m = micros{}
	if n != 0 {
		*m = micros(time.UnixMicro(n).UTC())
	}
	return nil
}
