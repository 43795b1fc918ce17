package run

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/job"
	"github.com/sekisho/sekisho/internal/pipeline/flow"
	"github.com/sekisho/sekisho/internal/pool"
)

// defaultPool is where jobs go that name none.
const defaultPool = "Default"

// decisions loads what flow decides from.
func (x *change) decisions() error {
	if x.flow != nil {
		return nil
	}
	if x.facts.plan == nil {
		return fmt.Errorf("run %d has no plan", x.run.ID)
	}
	if x.facts.variables == nil {
		return &needError{variables: true}
	}
	var err error
	if x.row, err = readState(x.ctx, x.tx, x.run.ID); err != nil {
		return err
	}
	r := x.s.flowRun(x.run, x.facts.variables, x.s.counter(x.ctx, x.tx, x.run, x.row))
	r.Environments = map[string]string{}
	for name, e := range x.facts.environments {
		if e.Environment != nil {
			r.Environments[fold(name)] = e.ID
		}
	}
	if x.flow, err = flow.New(x.facts.plan, r); err != nil {
		return fmt.Errorf("run %d: %w", x.run.ID, err)
	}
	return nil
}

// instance finds a job in the state.
func (x *change) instance(j *jobRow) *flow.InstanceState {
	for i := range x.row.state.Stages {
		st := &x.row.state.Stages[i]
		if st.Name != j.stage {
			continue
		}
		for k := range st.Jobs {
			if st.Jobs[k].Name != j.phase {
				continue
			}
			for m := range st.Jobs[k].Instances {
				if st.Jobs[k].Instances[m].Name == j.Leg {
					return &st.Jobs[k].Instances[m]
				}
			}
		}
	}
	return nil
}

// advance does all that follows from what was changed.
func (x *change) advance() error {
	if err := x.load(); err != nil {
		return err
	}
	if err := x.decisions(); err != nil {
		return err
	}
	if err := x.report(); err != nil {
		return err
	}
	if x.run.waits == "" {
		for again := true; again; {
			again = false
			list, err := x.flow.Next(x.row.state)
			if err != nil {
				return fmt.Errorf("run %d: %w", x.run.ID, err)
			}
			for _, a := range list {
				again = true
				if err := x.apply(a); err != nil {
					return err
				}
			}
			for i := range x.row.state.Stages {
				moved, err := x.stageChecks(&x.row.state.Stages[i])
				if err != nil {
					return err
				}
				again = again || moved
			}
		}
	} else if x.run.cancel != 0 {
		x.run.waits = ""
		return x.advance()
	}
	_, err := x.tx.Exec(x.ctx, `UPDATE run_states SET state = $1, counters = $2 WHERE run = $3`, toJSON(x.row.state), toJSON(x.row.counters), x.run.ID)
	if err != nil {
		return fmt.Errorf("store the state of run %d: %w", x.run.ID, err)
	}
	return nil
}

// report puts the results of jobs into the state that it does not know yet.
func (x *change) report() error {
	x.row.state.Canceling = x.run.cancel != 0
	byName := map[string]*stage{}
	for _, g := range x.stages {
		byName[g.Name] = g
	}
	for i := range x.row.state.Stages {
		st := &x.row.state.Stages[i]
		g := byName[st.Name]
		if g == nil {
			continue
		}
		st.Canceling = g.cancel != 0
		for _, p := range g.phases {
			for _, j := range p.jobs {
				in := x.instance(j)
				if in == nil || j.State != work.Completed || in.State == work.Completed {
					continue
				}
				outputs, err := x.outputs(j)
				if err != nil {
					return err
				}
				in.State, in.Result, in.Outputs = work.Completed, j.Result, outputs
			}
		}
	}
	return nil
}

// outputs returns what a job's last claim set, without secrets.
func (x *change) outputs(j *jobRow) (map[string]string, error) {
	rows, err := x.tx.Query(x.ctx, `SELECT step, name, value FROM run_outputs WHERE job = $1 AND attempt = $2 AND secret = ''`, j.ID, j.attempt)
	if err != nil {
		return nil, fmt.Errorf("read outputs of job %s: %w", j.ID, err)
	}
	defer rows.Close()
	var out map[string]string
	for rows.Next() {
		var step, name, value string
		if err := rows.Scan(&step, &name, &value); err != nil {
			return nil, err
		}
		if out == nil {
			out = map[string]string{}
		}
		out[step+"."+name] = value
	}
	return out, rows.Err()
}

func (x *change) stage(name string) *stage {
	for _, g := range x.stages {
		if g.Name == name {
			return g
		}
	}
	return nil
}

func (g *stage) phase(name string) *phase {
	for _, p := range g.phases {
		if p.Name == name {
			return p
		}
	}
	return nil
}

// apply does what flow says follows.
func (x *change) apply(a flow.Action) error {
	if a.Kind == flow.RunDone {
		return x.runDone(a.Result, a.Reason)
	}
	g := x.stage(a.Stage)
	if g == nil {
		return fmt.Errorf("run %d has no stage %s", x.run.ID, a.Stage)
	}
	switch a.Kind {
	case flow.StageReady:
		g.changed = true
		return nil // stageChecks sees to it
	case flow.StageWaits:
		g.waits = waitsManual
		x.tellStage(g)
		return nil
	case flow.StageDone:
		g.State, g.Result, g.waits, g.Message, g.finished = work.Completed, a.Result, "", a.Reason, x.now.UnixMicro()
		x.tellStage(g)
		return x.stageOver(g)
	}
	p := g.phase(a.Job)
	if p == nil {
		return fmt.Errorf("stage %s of run %d has no job %s", a.Stage, x.run.ID, a.Job)
	}
	switch a.Kind {
	case flow.JobReady:
		p.State, p.started = work.InProgress, x.now.UnixMicro()
		x.tellPhase(p)
		return x.jobReady(g, p, a.Instances)
	case flow.JobDone:
		p.State, p.Result, p.Message, p.finished = work.Completed, a.Result, a.Reason, x.now.UnixMicro()
		x.tellPhase(p)
		return nil
	}
	for _, j := range p.jobs {
		if j.Leg != a.Instance {
			continue
		}
		if a.Kind == flow.InstanceDone {
			j.State, j.Result, j.Message, j.finishedAt = work.Completed, a.Result, a.Reason, x.now.UnixMicro()
			x.tellJob(j, "")
			return nil
		}
		return x.instanceReady(g, p, j)
	}
	return fmt.Errorf("job %s of run %d has no leg %q", a.Job, x.run.ID, a.Instance)
}

// jobReady makes the rows of what a job becomes.
func (x *change) jobReady(g *stage, p *phase, list []flow.Instance) error {
	var n int
	if err := x.tx.QueryRow(x.ctx, `SELECT count(*) FROM run_jobs WHERE run = $1`, x.run.ID).Scan(&n); err != nil {
		return err
	}
	for i, in := range list {
		j := &jobRow{
			ID: jobName(x.run.ID, g, p, in.Name), run: x.run.ID, stage: g.Name, stageAttempt: g.Attempt, phase: p.Name, Leg: in.Name, ord: p.ord*10_000 + int64(i),
			DisplayName: clip(in.DisplayName, maxText), State: work.Pending, account: x.run.Account, pool: defaultPool, variables: in.Variables,
		}
		if n+i >= x.s.o.Limits.Jobs {
			j.State, j.Result, j.finishedAt = work.Completed, work.Failed, x.now.UnixMicro()
			j.Message = fmt.Sprintf("A run has at most %d jobs.", x.s.o.Limits.Jobs)
		}
		if err := insertJob(x.ctx, x.tx, j); err != nil {
			return err
		}
		p.jobs = append(p.jobs, j)
		x.tellJob(j, "")
	}
	return x.report()
}

// jobName is the id of a job: nothing else ever has it.
func jobName(run int64, g *stage, p *phase, leg string) string {
	id := fmt.Sprintf("%d.%s.%s", run, g.Name, p.Name)
	if leg != "" {
		id += "." + leg
	}
	if g.Attempt > 1 {
		id += fmt.Sprintf("~%d", g.Attempt)
	}
	return id
}

// instanceReady queues a job.
func (x *change) instanceReady(g *stage, p *phase, j *jobRow) error {
	set, err := x.flow.Job(x.row.state, g.Name, p.Name, j.Leg)
	if err == nil {
		// What can't be evaluated is known before an agent has the job, and counter() counts now.
		_, err = x.flow.Variables(x.row.state, g.Name, p.Name, j.Leg)
	}
	for _, demand := range setDemands(set) {
		if err == nil {
			err = pool.CheckDemand(demand)
		}
	}
	environment := ""
	if err == nil && set.Environment != "" {
		var why string
		if environment, why, err = x.deploysTo(g, set.Job.Deployment, set.Environment); err != nil {
			return err
		}
		if why != "" {
			err = errors.New(why)
		}
	}
	if err != nil {
		j.Message = clip(err.Error(), maxMessage)
		x.endJob(j, work.Failed)
		return x.report()
	}
	j.pool, j.demands, j.server = set.Pool, set.Demands, set.Server
	if j.pool == "" {
		j.pool = defaultPool
	}
	if !x.run.Trusted { // what its steps read on an agent, its key among it, would be good for the jobs of others
		j.demands = append(slices.Clone(j.demands), pool.Outside)
	}
	if j.server {
		j.pool = ""
	}
	if set.DisplayName != "" {
		j.DisplayName = clip(set.DisplayName, maxText)
	}
	if environment != "" && p.environment == "" {
		p.environment, p.changed = environment, true
	}
	limit := x.s.o.Limits.MaxTimeout
	if j.timeout = limit.Microseconds(); set.TimeoutMinutes > 0 {
		j.timeout = min(time.Duration(set.TimeoutMinutes)*time.Minute, limit).Microseconds()
	}
	j.cancelTimeout = min(time.Duration(max(set.CancelTimeoutMinutes, 0))*time.Minute, time.Hour*24).Microseconds()
	if err := x.enqueue(j, false); err != nil {
		return err
	}
	x.tellJob(j, "")
	return nil
}

func setDemands(set *flow.Settings) []string {
	if set == nil {
		return nil
	}
	return set.Demands
}

// stageOver lets go of what an attempt of a stage held.
func (x *change) stageOver(g *stage) error {
	_, err := x.tx.Exec(x.ctx, `UPDATE run_approvals SET state = 'canceled', ended_at = $1 WHERE run = $2 AND stage = $3 AND attempt = $4 AND job = '' AND state = 'pending'`,
		x.now.UnixMicro(), x.run.ID, g.Name, g.Attempt)
	if err == nil {
		err = x.unlock(g)
	}
	if err == nil {
		_, _, err = x.s.o.Jobs.Enqueue(x.ctx, x.tx, job.Spec{Kind: FollowJob, Unique: fmt.Sprintf("%d/%s/%d", x.run.ID, g.Name, g.Attempt), Payload: followPayload{x.run.ID, g.Name}})
	}
	return err
}

// runDone ends the run.
func (x *change) runDone(result work.Result, why string) error {
	r := x.run
	r.State, r.Result, r.Finished, r.waits = work.Completed, result, x.now, ""
	if err := x.sumUp(); err != nil {
		return err
	}
	x.tellRun()
	x.poke = true // others may wait for it
	_, _, err := x.s.o.Jobs.Enqueue(x.ctx, x.tx, job.Spec{Kind: FollowJob, Unique: fmt.Sprintf("%d", r.ID), Payload: followPayload{Run: r.ID}})
	if err != nil {
		return fmt.Errorf("end run %d: %w", r.ID, err)
	}
	return x.s.changed(x.ctx, x.tx, Change{Caller: x.s.system(r.Account), Action: "pipelines:EndRun", ARN: x.s.runARN(r.Account, r.Project, r.ID),
		Detail: strings.TrimSuffix(string(result)+"; "+why, "; ")})
}

// sumUp adds up what a run's row shows of its parts.
func (x *change) sumUp() error {
	err := x.tx.QueryRow(x.ctx, `SELECT coalesce(sum(log_bytes), 0) FROM run_jobs WHERE run = $1`, x.run.ID).Scan(&x.run.LogBytes)
	if err != nil {
		return fmt.Errorf("end run %d: %w", x.run.ID, err)
	}
	return nil
}
