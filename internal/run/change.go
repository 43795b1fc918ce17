package run

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/pipeline"
	"github.com/sekisho/sekisho/internal/pipeline/flow"
	"github.com/sekisho/sekisho/internal/project"
)

// change is a transaction on one run, whose row is locked. What it tells is stored at its end, and what follows from it
// is done before that.
type change struct {
	s     *Service
	ctx   context.Context
	tx    *meta.Tx
	now   time.Time
	run   *Run
	facts *facts

	stages   []*stage         // the last attempts; nil until loaded
	flow     *flow.Flow       // nil until decisions are made
	row      *stateRow        // with flow
	counters map[string]int64 // of a run that is being made
	events   []Event
	topics   map[string]struct{} // woken after the commit
	dirty    bool                // the run's row has to be written
	moved    bool                // what follows has to be decided
	poke     bool
	err      error // of what can't return one
}

// facts are what decisions need and is not in the run's own rows. They are read before the transaction: it must not wait.
type facts struct {
	plan         *pipeline.Plan
	variables    *scope // nil: not read yet
	environments map[string]environment
}

// needError ends a transaction that found out what else it has to know.
type needError struct {
	variables   bool
	environment string
}

func (e *needError) Error() string { return "something has to be read first" }

// maxNeeds bounds how often a transaction may find that out: a run has fewer environments.
const maxNeeds = 500

// change runs fn on a run.
func (s *Service) change(ctx context.Context, id int64, fn func(x *change) error) error {
	plan, err := s.plan(ctx, id)
	if err != nil {
		return err
	}
	f := &facts{plan: plan, environments: map[string]environment{}}
	for range maxNeeds {
		var run *Run
		err := s.db.Update(ctx, func(tx *meta.Tx) error {
			x := &change{s: s, ctx: ctx, tx: tx, now: s.now(), facts: f, topics: map[string]struct{}{}}
			var err error
			if x.run, err = s.lockRun(ctx, tx, id); err != nil {
				return err
			}
			run = x.run
			if err := fn(x); err != nil {
				return err
			}
			return x.end()
		})
		need, ok := errors.AsType[*needError](err)
		if !ok {
			return err
		}
		if err := s.supply(ctx, run, f, need); err != nil {
			return err
		}
	}
	return fmt.Errorf("run %d needs too many things at once", id)
}

// supply reads what a transaction needs.
func (s *Service) supply(ctx context.Context, r *Run, f *facts, need *needError) (err error) {
	if need.variables {
		f.variables, err = s.scopeOf(ctx, r, f.plan, false)
		return err
	}
	e, err := s.o.Projects.Environment(ctx, r.PipelineID, need.environment)
	if final(err) {
		f.environments[need.environment] = environment{wrong: err.Error()}
		return nil
	}
	if err != nil {
		return fmt.Errorf("environment %s: %w", need.environment, err)
	}
	missing, err := s.o.Projects.Unauthorized(ctx, r.PipelineID, []project.Use{{Kind: project.KindEnvironment, Name: need.environment, ID: e.ID}})
	if err != nil {
		return fmt.Errorf("environment %s: %w", need.environment, err)
	}
	f.environments[need.environment] = environment{Environment: e, refused: len(missing) > 0}
	return nil
}

// environment is one that a deployment job names.
type environment struct {
	*project.Environment
	refused bool   // the pipeline may not use it
	wrong   string // why there can't be such a one; then Environment is nil
}

func (x *change) end() error {
	if x.moved && x.run.State != work.Completed {
		if err := x.advance(); err != nil {
			return err
		}
	}
	if err := errors.Join(x.err, x.store()); err != nil {
		return err
	}
	for _, e := range x.events {
		if x.run.Seq >= maxEvents && e.State != work.Completed {
			continue // an agent that never stops telling; what is, the rows say
		}
		x.run.Seq++
		x.dirty = true
		_, err := x.tx.Exec(x.ctx, `INSERT INTO run_events (run, seq, at, data) VALUES ($1, $2, $3, $4)`, x.run.ID, x.run.Seq, x.now.UnixMicro(), toJSON(e))
		if err != nil {
			return fmt.Errorf("store event: %w", err)
		}
	}
	if x.dirty {
		r := x.run
		_, err := x.tx.Exec(x.ctx, `UPDATE runs SET number = $1, state = $2, result = $3, cancel = $4, cancel_by = $5, waits = $6, attempt = $7, problems = $8,
			tests_passed = $9, tests_failed = $10, tests_skipped = $11, log_bytes = $12, seq = $13, keep = $14, started_at = $15, finished_at = $16
			WHERE id = $17`, r.Number, string(r.State), string(r.Result), r.cancel, r.CancelReason, r.waits, r.Attempt, toJSON(nonNil(r.Problems)),
			r.Tests.Passed, r.Tests.Failed, r.Tests.Skipped, r.LogBytes, r.Seq, flag(r.Keep), micros(r.Started), micros(r.Finished), r.ID)
		if err != nil {
			return fmt.Errorf("store run %d: %w", r.ID, err)
		}
		x.wake(runTopic(r.ID))
		x.wake(projectTopic(r.ProjectID))
	}
	if len(x.topics) > 0 || x.poke {
		hub, topics := x.s.hub, x.topics
		x.tx.OnCommit(func() {
			for topic := range topics {
				hub.wake(topic)
			}
			if x.poke {
				x.s.wakeLoop()
			}
		})
	}
	return nil
}

func (s *Service) wakeLoop() {
	select {
	case s.poke <- struct{}{}:
	default:
	}
}

// maxEvents is from how many events of a run on only the ends of things are told.
const maxEvents = 200_000

func nonNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func (x *change) wake(topic string) { x.topics[topic] = struct{}{} }

func (x *change) tell(e Event) { x.events = append(x.events, e) }

func (x *change) tellRun() {
	x.dirty = true
	x.tell(Event{Type: RunEvent, Attempt: x.run.Attempt, State: x.run.State, Result: x.run.Result, Name: x.run.Number, Message: x.run.waits})
}

func (x *change) tellStage(g *stage) {
	g.changed = true
	x.tell(Event{Type: StageEvent, Stage: g.Name, Attempt: g.Attempt, Name: g.DisplayName, State: g.State, Result: g.Result, Message: g.Message})
}

func (x *change) tellPhase(p *phase) {
	p.changed = true
	x.tell(Event{Type: JobEvent, Stage: p.stage, Attempt: p.stageAttempt, Phase: p.Name, Name: p.DisplayName, State: p.State, Result: p.Result, Message: p.Message})
}

func (x *change) tellJob(j *jobRow, agent string) {
	j.changed = true
	x.tell(Event{Type: JobEvent, Stage: j.stage, Attempt: j.stageAttempt, Phase: j.phase, Job: j.ID, Claim: j.attempt, Name: j.DisplayName,
		State: j.State, Result: j.Result, Message: j.Message, Agent: agent})
}

// load reads the last attempts of the run's stages with what is in them, but for jobs that are over: flow knows their results.
func (x *change) load() error {
	if x.stages != nil {
		return nil
	}
	rows, err := x.tx.Query(x.ctx, `SELECT `+stageColumns+` FROM run_stages WHERE run = $1 ORDER BY ord, attempt`, x.run.ID)
	all, err := collect(rows, err, scanStage)
	if err != nil {
		return fmt.Errorf("read stages of run %d: %w", x.run.ID, err)
	}
	stages := []*stage{}
	byName := map[string]*stage{}
	for _, g := range all {
		if n := len(stages); n > 0 && stages[n-1].Name == g.Name {
			stages[n-1] = g
		} else {
			stages = append(stages, g)
		}
		byName[g.Name] = g
	}
	rows, err = x.tx.Query(x.ctx, `SELECT `+phaseColumns+` FROM run_phases WHERE run = $1 ORDER BY ord`, x.run.ID)
	phases, err := collect(rows, err, scanPhase)
	if err != nil {
		return fmt.Errorf("read jobs of run %d: %w", x.run.ID, err)
	}
	type key struct{ stage, phase string }
	byKey := map[key]*phase{}
	for _, p := range phases {
		if g := byName[p.stage]; g != nil && g.Attempt == p.stageAttempt {
			g.phases = append(g.phases, p)
			byKey[key{p.stage, p.Name}] = p
		}
	}
	rows, err = x.tx.Query(x.ctx, `SELECT `+jobColumns+` FROM run_jobs WHERE run = $1 AND state <> 'completed' ORDER BY ord`, x.run.ID)
	jobs, err := collect(rows, err, scanJob)
	if err != nil {
		return fmt.Errorf("read jobs of run %d: %w", x.run.ID, err)
	}
	for _, j := range jobs {
		if p := byKey[key{j.stage, j.phase}]; p != nil && p.stageAttempt == j.stageAttempt {
			p.jobs = append(p.jobs, j)
		}
	}
	x.stages = stages
	return nil
}

// job returns one of the loaded jobs.
func (x *change) job(id string) *jobRow {
	for _, g := range x.stages {
		for _, p := range g.phases {
			for _, j := range p.jobs {
				if j.ID == id {
					return j
				}
			}
		}
	}
	return nil
}

// store writes the loaded rows that changed.
func (x *change) store() error {
	for _, g := range x.stages {
		if g.changed {
			_, err := x.tx.Exec(x.ctx, `UPDATE run_stages SET state = $1, result = $2, cancel = $3, waits = $4, message = $5, started_at = $6, finished_at = $7
				WHERE run = $8 AND name = $9 AND attempt = $10`, string(g.State), string(g.Result), g.cancel, g.waits, g.Message, g.started, g.finished, x.run.ID, g.Name, g.Attempt)
			if err != nil {
				return fmt.Errorf("store stage %s: %w", g.Name, err)
			}
		}
		for _, p := range g.phases {
			if p.changed {
				_, err := x.tx.Exec(x.ctx, `UPDATE run_phases SET state = $1, result = $2, waits = $3, message = $4, environment = $5, started_at = $6, finished_at = $7
					WHERE run = $8 AND stage = $9 AND attempt = $10 AND name = $11`, string(p.State), string(p.Result), p.waits, p.Message, p.environment,
					p.started, p.finished, x.run.ID, p.stage, p.stageAttempt, p.Name)
				if err != nil {
					return fmt.Errorf("store job %s: %w", p.Name, err)
				}
			}
			for _, j := range p.jobs {
				if j.changed {
					if err := storeJob(x.ctx, x.tx, j); err != nil {
						return err
					}
				}
			}
		}
	}
	return nil
}

func storeJob(ctx context.Context, tx *meta.Tx, j *jobRow) error {
	_, err := tx.Exec(ctx, `UPDATE run_jobs SET state = $1, result = $2, message = $3, attempt = $4, lost = $5, cancel = $6, deadline = $7, queued_at = $8,
		started_at = $9, finished_at = $10, display_name = $11, pool = $12, demands = $13, server = $14, timeout = $15, cancel_timeout = $16 WHERE id = $17`,
		string(j.State), string(j.Result), j.Message, j.attempt, j.lost, j.cancel, j.deadline, j.queuedAt, j.startedAt, j.finishedAt,
		j.DisplayName, j.pool, toJSON(nonNil(j.demands)), flag(j.server), j.timeout, j.cancelTimeout, j.ID)
	if err != nil {
		return fmt.Errorf("store job %s: %w", j.ID, err)
	}
	j.changed = false
	return nil
}

func insertJob(ctx context.Context, tx *meta.Tx, j *jobRow) error {
	_, err := tx.Exec(ctx, `INSERT INTO run_jobs (`+jobColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16,
		$17, $18, $19, $20, $21, $22, $23, $24, $25, $26)`, j.ID, j.run, j.stage, j.stageAttempt, j.phase, j.Leg, j.ord, j.DisplayName, toJSON(nonNil(j.variables)),
		string(j.State), string(j.Result), j.Message, j.account, j.pool, toJSON(nonNil(j.demands)), flag(j.server), j.attempt, j.lost, j.timeout, j.cancelTimeout,
		j.cancel, j.deadline, j.queuedAt, j.startedAt, j.finishedAt, j.logBytes)
	if err != nil {
		return fmt.Errorf("store job %s: %w", j.ID, err)
	}
	return nil
}
