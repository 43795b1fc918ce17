package run

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/meta"
)

type scanner interface{ Scan(dest ...any) error }

// reader is a DB or a Tx.
type reader interface {
	Query(ctx context.Context, q string, args ...any) (*sql.Rows, error)
	QueryRow(ctx context.Context, q string, args ...any) *sql.Row
}

func collect[T any](rows *sql.Rows, err error, scan func(scanner) (T, error)) ([]T, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []T
	for rows.Next() {
		x, err := scan(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, x)
	}
	return list, rows.Err()
}

// notFound makes the absence of a row an error of that kind.
func notFound(err error, format string, args ...any) error {
	if errors.Is(err, sql.ErrNoRows) {
		return errorf(NotFound, format, args...)
	}
	return err
}

func fold(name string) string { return strings.ToLower(name) }

func toJSON(v any) string {
	text, err := json.Marshal(v)
	if err != nil { // no type here can fail
		panic(err)
	}
	return string(text)
}

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

const runColumns = `r.id, r.account, r.project, j.name, r.pipeline, p.name, r.number, r.reason, r.ref, r.commit_id, r.message, r.author,
	r.requested_by, r.requested_for, r.trusted, r.state, r.result, r.cancel, r.cancel_by, r.waits, r.attempt, r.cause_run, r.spec, r.problems,
	r.tests_passed, r.tests_failed, r.tests_skipped, r.log_bytes, r.seq, r.keep, r.created_at, r.started_at, r.finished_at`

const fromRuns = ` FROM runs r JOIN projects j ON j.id = r.project JOIN pipelines p ON p.id = r.pipeline `

func scanRun(row scanner) (*Run, error) {
	r := &Run{spec: &spec{}}
	var trusted, keep, created, started, finished int64
	var text, problems string
	err := row.Scan(&r.ID, &r.Account, &r.ProjectID, &r.Project, &r.PipelineID, &r.Pipeline, &r.Number, &r.Reason, &r.Ref, &r.Commit, &r.Message, &r.Author,
		&r.RequestedBy, &r.RequestedFor, &trusted, &r.State, &r.Result, &r.cancel, &r.CancelReason, &r.waits, &r.Attempt, &r.CauseRun, &text, &problems,
		&r.Tests.Passed, &r.Tests.Failed, &r.Tests.Skipped, &r.LogBytes, &r.Seq, &keep, &created, &started, &finished)
	if err != nil {
		return nil, err
	}
	r.Trusted, r.Keep, r.Canceling = trusted != 0, keep != 0, r.cancel != 0 && r.State != work.Completed
	r.Created, r.Started, r.Finished = fromMicros(created), fromMicros(started), fromMicros(finished)
	if err := json.Unmarshal([]byte(text), r.spec); err != nil {
		return nil, fmt.Errorf("run %d: %w", r.ID, err)
	}
	if err := json.Unmarshal([]byte(problems), &r.Problems); err != nil {
		return nil, fmt.Errorf("run %d: %w", r.ID, err)
	}
	return r, nil
}

func (s *Service) run(ctx context.Context, q reader, id int64) (*Run, error) {
	r, err := scanRun(q.QueryRow(ctx, `SELECT `+runColumns+fromRuns+`WHERE r.id = $1`, id))
	if err != nil {
		return nil, notFound(err, "there is no run %d", id)
	}
	return r, nil
}

// lockRun reads a run and keeps everybody else from changing it until the end of the transaction.
func (s *Service) lockRun(ctx context.Context, tx *meta.Tx, id int64) (*Run, error) {
	if tx.Dialect() == meta.PostgreSQL {
		var got int64
		err := tx.QueryRow(ctx, `SELECT id FROM runs WHERE id = $1 FOR UPDATE`, id).Scan(&got)
		if err != nil {
			return nil, notFound(err, "there is no run %d", id)
		}
	}
	return s.run(ctx, tx, id)
}

// stage is an attempt of a stage.
type stage struct {
	Name              string
	Attempt           int
	ord               int64
	DisplayName       string
	State             work.State
	Result            work.Result
	cancel            int64
	waits             string
	Message           string
	started, finished int64

	phases  []*phase
	changed bool
}

const stageColumns = `name, attempt, ord, display_name, state, result, cancel, waits, message, started_at, finished_at`

func scanStage(row scanner) (*stage, error) {
	x := &stage{}
	return x, row.Scan(&x.Name, &x.Attempt, &x.ord, &x.DisplayName, &x.State, &x.Result, &x.cancel, &x.waits, &x.Message, &x.started, &x.finished)
}

// phase is a job as the pipeline has it, within an attempt of its stage.
type phase struct {
	stage             string
	stageAttempt      int
	Name              string
	ord               int64
	DisplayName       string
	State             work.State
	Result            work.Result
	waits             string
	Message           string
	environment       string
	started, finished int64

	jobs    []*jobRow
	changed bool
}

const phaseColumns = `stage, attempt, name, ord, display_name, state, result, waits, message, environment, started_at, finished_at`

func scanPhase(row scanner) (*phase, error) {
	x := &phase{}
	return x, row.Scan(&x.stage, &x.stageAttempt, &x.Name, &x.ord, &x.DisplayName, &x.State, &x.Result, &x.waits, &x.Message,
		&x.environment, &x.started, &x.finished)
}

// jobRow is what an agent runs: one leg of a phase.
type jobRow struct {
	ID                              string
	run                             int64
	stage                           string
	stageAttempt                    int
	phase                           string
	Leg                             string
	ord                             int64
	DisplayName                     string
	variables                       []work.Variable
	State                           work.State
	Result                          work.Result
	Message                         string
	account, pool                   string
	demands                         []string
	server                          bool
	attempt                         int
	lost                            int
	timeout, cancelTimeout          int64
	cancel, deadline                int64
	queuedAt, startedAt, finishedAt int64
	logBytes                        int64
	changed                         bool
}

const jobColumns = `id, run, stage, stage_attempt, phase, leg, ord, display_name, variables, state, result, message, account, pool, demands, server,
	attempt, lost, timeout, cancel_timeout, cancel, deadline, queued_at, started_at, finished_at, log_bytes`

func scanJob(row scanner) (*jobRow, error) {
	x := &jobRow{}
	var variables, demands string
	var server int64
	err := row.Scan(&x.ID, &x.run, &x.stage, &x.stageAttempt, &x.phase, &x.Leg, &x.ord, &x.DisplayName, &variables, &x.State, &x.Result, &x.Message,
		&x.account, &x.pool, &demands, &server, &x.attempt, &x.lost, &x.timeout, &x.cancelTimeout, &x.cancel, &x.deadline, &x.queuedAt, &x.startedAt,
		&x.finishedAt, &x.logBytes)
	if err != nil {
		return nil, err
	}
	x.server = server != 0
	if err := json.Unmarshal([]byte(variables), &x.variables); err != nil {
		return nil, fmt.Errorf("job %s: %w", x.ID, err)
	}
	if err := json.Unmarshal([]byte(demands), &x.demands); err != nil {
		return nil, fmt.Errorf("job %s: %w", x.ID, err)
	}
	return x, nil
}

func readJob(ctx context.Context, q reader, id string) (*jobRow, error) {
	x, err := scanJob(q.QueryRow(ctx, `SELECT `+jobColumns+` FROM run_jobs WHERE id = $1`, id))
	if err != nil {
		return nil, notFound(err, "there is no job %s", id)
	}
	return x, nil
}

// claimRow is a claim of a job.
type claimRow struct {
	job              string
	attempt          int
	agent, agentName string
	state            string
	result           work.Result
	cause            string
	offered, held    int64
	lease, ended     int64
}

// The states of claims.
const (
	claimOffered    = "offered"
	claimHeld       = "held"
	claimDone       = "done"
	claimReleased   = "released"
	claimUnanswered = "unanswered"
	claimLost       = "lost"
)

const claimColumns = `job, attempt, agent, agent_name, state, result, cause, offered_at, held_at, lease, ended_at`

func scanClaim(row scanner) (*claimRow, error) {
	x := &claimRow{}
	return x, row.Scan(&x.job, &x.attempt, &x.agent, &x.agentName, &x.state, &x.result, &x.cause, &x.offered, &x.held, &x.lease, &x.ended)
}

func readClaim(ctx context.Context, q reader, job string, attempt int) (*claimRow, error) {
	x, err := scanClaim(q.QueryRow(ctx, `SELECT `+claimColumns+` FROM run_claims WHERE job = $1 AND attempt = $2`, job, attempt))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return x, err
}
