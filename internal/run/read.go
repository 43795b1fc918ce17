package run

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/iam"
)

// visible returns a run if a caller may do the action on it. That there is none is told to those who could do it in their own account.
func (s *Service) visible(ctx context.Context, c *iam.Caller, action string, id int64) (*Run, error) {
	r, err := s.run(ctx, s.db, id)
	if err == nil && r.Account != accountOf(c) { // numbers are the instance's: of another account's run not even a name is told
		err = errorf(NotFound, "there is no run %d", id)
	}
	if isNotFound(err) {
		if denied := s.check(ctx, c, action, s.runARN(accountOf(c), "*", id), nil); denied != nil {
			return nil, denied
		}
		return nil, err
	}
	if err != nil {
		return nil, err
	}
	return r, s.check(ctx, c, action, s.runARN(r.Account, r.Project, r.ID), map[string][]string{"pipelines:branch": {r.Ref}, "pipelines:pipeline": {r.Pipeline}})
}

// Get returns a run.
func (s *Service) Get(ctx context.Context, c *iam.Caller, id int64) (*Run, error) {
	r, err := s.visible(ctx, c, "DescribeRun", id)
	if err != nil {
		return nil, err
	}
	return r, s.complete(ctx, r)
}

// complete adds what is not in a run's row.
func (s *Service) complete(ctx context.Context, r *Run) (err error) {
	if r.Tags, err = s.tags(ctx, s.db, r.ID); err != nil {
		return err
	}
	if r.State != work.Completed {
		err = s.db.QueryRow(ctx, `SELECT coalesce(sum(log_bytes), 0) FROM run_jobs WHERE run = $1`, r.ID).Scan(&r.LogBytes)
	}
	switch r.waits {
	case waitsLimit:
		r.Waits = "waiting for other runs of the pipeline to end: it has a limit of runs at the same time"
	case waitsPaused:
		r.Waits = "the pipeline is paused; the run begins when it is enabled"
	}
	return err
}

// Query says which runs are listed. What is empty matches all.
type Query struct {
	Account           string // default: the caller's
	Project, Pipeline string // names or ids
	Ref               string
	State             work.State
	Result            work.Result
	Reason            string
	RequestedFor      string
	Tag               string
	Commit            string
	Limit             int    // default 50, at most 500
	After             string // what the last call returned
}

// List lists runs, the newest first, and returns what to go on with; empty at the end. It takes the permission to list the runs of
// the project, or of the account.
func (s *Service) List(ctx context.Context, c *iam.Caller, q Query) ([]*Run, string, error) {
	account := cmp.Or(q.Account, accountOf(c))
	arn := fmt.Sprintf("arn:aws:pipelines:%s:%s:project/%s/run/*", s.o.Region, account, cmp.Or(q.Project, "*"))
	projectID, pipelineID := "", ""
	if q.Project != "" {
		j, err := s.o.Projects.Find(ctx, account, q.Project)
		if err == nil && j != nil {
			projectID = j.ID
			arn = fmt.Sprintf("arn:aws:pipelines:%s:%s:project/%s/run/*", s.o.Region, account, j.Name)
		}
		if err := s.check(ctx, c, "ListRuns", arn, nil); err != nil {
			return nil, "", err
		}
		if projectID == "" {
			return nil, "", errorf(NotFound, "there is no project %s", q.Project)
		}
		if q.Pipeline != "" {
			p, err := s.pipelineOf(ctx, account, q.Project, q.Pipeline)
			if err != nil {
				return nil, "", err
			}
			pipelineID = p.ID
		}
	} else {
		if err := s.check(ctx, c, "ListRuns", arn, nil); err != nil {
			return nil, "", err
		}
		if q.Pipeline != "" {
			return nil, "", errorf(Invalid, "to list the runs of a pipeline, its project must be named")
		}
	}
	before := int64(1) << 62
	if q.After != "" {
		n, err := strconv.ParseInt(q.After, 10, 64)
		if err != nil {
			return nil, "", errorf(Invalid, "%q is no place to go on from", clip(q.After, 40))
		}
		before = n
	}
	ref := q.Ref
	if ref != "" && !strings.HasPrefix(ref, "refs/") {
		ref = "refs/heads/" + ref
	}
	limit := min(max(cmp.Or(q.Limit, 50), 1), 500)
	rows, err := s.db.Query(ctx, `SELECT `+runColumns+fromRuns+`WHERE r.account = $1 AND r.id < $2
		AND (CAST($3 AS TEXT) = '' OR r.project = $3) AND (CAST($4 AS TEXT) = '' OR r.pipeline = $4) AND (CAST($5 AS TEXT) = '' OR r.ref = $5)
		AND (CAST($6 AS TEXT) = '' OR r.state = $6) AND (CAST($7 AS TEXT) = '' OR r.result = $7) AND (CAST($8 AS TEXT) = '' OR r.reason = $8)
		AND (CAST($9 AS TEXT) = '' OR r.requested_for = $9) AND (CAST($10 AS TEXT) = '' OR EXISTS (SELECT 1 FROM run_tags t WHERE t.run = r.id AND t.tag = $10))
		AND (CAST($11 AS TEXT) = '' OR r.commit_id = $11)
		ORDER BY r.id DESC LIMIT $12`, account, before, projectID, pipelineID, ref, string(q.State), string(q.Result), q.Reason, q.RequestedFor, q.Tag, q.Commit, limit)
	list, err := collect(rows, err, scanRun)
	if err != nil {
		return nil, "", fmt.Errorf("list runs: %w", err)
	}
	for _, r := range list {
		if err := s.complete(ctx, r); err != nil {
			return nil, "", err
		}
	}
	next := ""
	if len(list) == limit {
		next = strconv.FormatInt(list[len(list)-1].ID, 10)
	}
	return list, next, nil
}

// Tree is a run with all that is in it.
type Tree struct {
	*Run
	Stages    []*Stage
	Approvals []*Approval
}

// Stage is an attempt of a stage.
type Stage struct {
	Name, DisplayName string
	Attempt           int
	Last              bool // it is the last attempt, which counts
	State             work.State
	Result            work.Result
	Message           string // why it has its result
	Waits             string // what it waits for, for people
	DependsOn         []string
	Started, Finished time.Time
	Jobs              []*Phase
}

// Phase is a job as the pipeline has it.
type Phase struct {
	Name, DisplayName string
	State             work.State
	Result            work.Result
	Message           string
	Environment       string
	DependsOn         []string
	Started, Finished time.Time
	Legs              []*Job // one, or those of a matrix; none before it is ready
}

// Job is what an agent runs.
type Job struct {
	ID, Leg, DisplayName string
	State                work.State // also [Queued]
	Result               work.Result
	Message              string
	Waits                string // what it waits for, for people
	Pool                 string
	Demands              []string
	Server               bool // agentless
	Canceling            bool
	Queued               time.Time
	Started, Finished    time.Time
	LogBytes             int64
	Attempts             []*Attempt
}

// Attempt is a claim of a job: the last one is that which counts.
type Attempt struct {
	Number         int
	Agent          string
	State          string // "offered", "held", "done", "released", "unanswered", "lost"
	Cause          string // of the end
	Result         work.Result
	Offered, Begun time.Time
	Ended          time.Time
	Steps          []work.Record
}

// Tree returns a run with its stages, jobs and steps, all attempts of them.
func (s *Service) Tree(ctx context.Context, c *iam.Caller, id int64) (*Tree, error) {
	r, err := s.Get(ctx, c, id)
	if err != nil {
		return nil, err
	}
	t := &Tree{Run: r}
	plan, err := s.plan(ctx, id)
	if err != nil {
		return nil, err
	}
	dependsOn := map[string][]string{}
	if plan != nil {
		for _, g := range plan.Stages {
			dependsOn[g.Name] = g.DependsOn
			for _, j := range g.Jobs {
				dependsOn[g.Name+"\x00"+j.Name] = j.DependsOn
			}
		}
	}
	rows, err := s.db.Query(ctx, `SELECT `+stageColumns+` FROM run_stages WHERE run = $1 ORDER BY ord, attempt`, id)
	stages, err := collect(rows, err, scanStage)
	if err != nil {
		return nil, fmt.Errorf("read stages of run %d: %w", id, err)
	}
	type key struct {
		stage   string
		attempt int
		phase   string
	}
	byStage := map[key]*Stage{}
	for i, g := range stages {
		x := &Stage{Name: g.Name, DisplayName: g.DisplayName, Attempt: g.Attempt, State: g.State, Result: g.Result, Message: g.Message, DependsOn: dependsOn[g.Name],
			Last: i+1 == len(stages) || stages[i+1].Name != g.Name, Started: fromMicros(g.started), Finished: fromMicros(g.finished)}
		if x.Waits, err = s.stageWaits(ctx, id, g); err != nil {
			return nil, err
		}
		t.Stages = append(t.Stages, x)
		byStage[key{g.Name, g.Attempt, ""}] = x
	}
	rows, err = s.db.Query(ctx, `SELECT `+phaseColumns+` FROM run_phases WHERE run = $1 ORDER BY ord`, id)
	phases, err := collect(rows, err, scanPhase)
	if err != nil {
		return nil, fmt.Errorf("read jobs of run %d: %w", id, err)
	}
	byPhase := map[key]*Phase{}
	for _, p := range phases {
		x := &Phase{Name: p.Name, DisplayName: p.DisplayName, State: p.State, Result: p.Result, Message: p.Message, Environment: p.environment,
			DependsOn: dependsOn[p.stage+"\x00"+p.Name], Started: fromMicros(p.started), Finished: fromMicros(p.finished)}
		byPhase[key{p.stage, p.stageAttempt, p.Name}] = x
		if g := byStage[key{p.stage, p.stageAttempt, ""}]; g != nil {
			g.Jobs = append(g.Jobs, x)
		}
	}
	jobs, err := s.jobTree(ctx, id)
	if err != nil {
		return nil, err
	}
	waits := s.waitReasons(r)
	for _, j := range jobs {
		if p := byPhase[key{j.row.stage, j.row.stageAttempt, j.row.phase}]; p != nil {
			p.Legs = append(p.Legs, j.job)
		}
		if j.row.State == Queued {
			if j.job.Waits, err = waits.of(ctx, j.row); err != nil {
				return nil, err
			}
		}
	}
	t.Approvals, err = s.approvals(ctx, id)
	return t, err
}

type jobWithRow struct {
	job *Job
	row *jobRow
}

// jobTree reads the jobs of a run with their claims and steps.
func (s *Service) jobTree(ctx context.Context, id int64) ([]jobWithRow, error) {
	rows, err := s.db.Query(ctx, `SELECT `+jobColumns+` FROM run_jobs WHERE run = $1 ORDER BY ord`, id)
	list, err := collect(rows, err, scanJob)
	if err != nil {
		return nil, fmt.Errorf("read jobs of run %d: %w", id, err)
	}
	rows, err = s.db.Query(ctx, `SELECT c.job, c.attempt, c.agent, c.agent_name, c.state, c.result, c.cause, c.offered_at, c.held_at, c.lease, c.ended_at
		FROM run_claims c JOIN run_jobs j ON j.id = c.job WHERE j.run = $1 ORDER BY c.job, c.attempt`, id)
	claims, err := collect(rows, err, scanClaim)
	if err != nil {
		return nil, fmt.Errorf("read claims of run %d: %w", id, err)
	}
	type key struct {
		job     string
		attempt int
	}
	attempts := map[key]*Attempt{}
	byJob := map[string][]*Attempt{}
	for _, c := range claims {
		a := &Attempt{Number: c.attempt, Agent: c.agentName, State: c.state, Cause: c.cause, Result: c.result,
			Offered: fromMicros(c.offered), Begun: fromMicros(c.held), Ended: fromMicros(c.ended)}
		attempts[key{c.job, c.attempt}] = a
		byJob[c.job] = append(byJob[c.job], a)
	}
	rows, err = s.db.Query(ctx, `SELECT q.job, q.attempt, q.record FROM run_records q JOIN run_jobs j ON j.id = q.job WHERE j.run = $1 ORDER BY q.job, q.attempt, q.ord, q.step`, id)
	_, err = collect(rows, err, func(row scanner) (struct{}, error) {
		var k key
		var text string
		if err := row.Scan(&k.job, &k.attempt, &text); err != nil {
			return struct{}{}, err
		}
		var rec work.Record
		if err := json.Unmarshal([]byte(text), &rec); err != nil {
			return struct{}{}, err
		}
		if a := attempts[k]; a != nil {
			a.Steps = append(a.Steps, rec)
		}
		return struct{}{}, nil
	})
	if err != nil {
		return nil, fmt.Errorf("read steps of run %d: %w", id, err)
	}
	var out []jobWithRow
	for _, j := range list {
		out = append(out, jobWithRow{row: j, job: &Job{
			ID: j.ID, Leg: j.Leg, DisplayName: j.DisplayName, State: j.State, Result: j.Result, Message: j.Message, Pool: j.pool, Demands: j.demands,
			Server: j.server, Canceling: j.cancel != 0 && j.State != work.Completed, Queued: fromMicros(j.queuedAt), Started: fromMicros(j.startedAt),
			Finished: fromMicros(j.finishedAt), LogBytes: j.logBytes, Attempts: byJob[j.ID],
		}})
	}
	return out, nil
}
