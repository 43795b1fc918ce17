package run

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sekisho/sekisho/internal/agent/task"
	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/pipeline"
	"github.com/sekisho/sekisho/internal/pipeline/flow"
	"github.com/sekisho/sekisho/internal/pool"
	"github.com/sekisho/sekisho/internal/project"
	"github.com/sekisho/sekisho/internal/seal"
	"github.com/sekisho/sekisho/internal/secret"
)

// brokenError is why a job can't be run at all: it fails before it starts.
type brokenError struct{ err error }

func (e *brokenError) Error() string { return e.err.Error() }
func (e *brokenError) Unwrap() error { return e.err }

// final reports whether an error stays what it is when the same is tried again.
func final(err error) bool {
	if _, ok := errors.AsType[*brokenError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*project.NotAuthorizedError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*project.Error](err); ok {
		return true
	}
	if _, ok := errors.AsType[*secret.Error](err); ok {
		return true
	}
	if _, ok := errors.AsType[*iam.DeniedError](err); ok {
		return true
	}
	return errors.Is(err, project.ErrNotFound) || errors.Is(err, seal.ErrDoesNotOpen)
}

func broken(format string, args ...any) error { return &brokenError{fmt.Errorf(format, args...)} }

// assemble puts together all that an agent needs for a claimed job. Here, and nowhere else, secrets are opened.
func (s *Service) assemble(ctx context.Context, c Claim, a *pool.Agent) (*work.Job, error) {
	row, err := readJob(ctx, s.db, c.Job)
	if err != nil {
		return nil, err
	}
	r, err := s.run(ctx, s.db, row.run)
	if err != nil {
		return nil, err
	}
	plan, err := s.plan(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	who, err := s.jobFor(ctx, r, row, c, a.Name)
	if err != nil {
		return nil, err
	}
	b := &builder{s: s, ctx: ctx, run: r, plan: plan, row: row, who: who}
	if err := b.decide(); err != nil {
		return nil, err
	}
	made, err := flow.Assemble(plan, b.set, b.variables, b.surroundings())
	if err != nil {
		return nil, &brokenError{err}
	}
	j := made.Job
	j.ID, j.Attempt, j.Identity = c.Job, c.Attempt, who.Identity
	j.DisplayName, j.TimeoutMinutes, j.CancelTimeoutMinutes = row.DisplayName, int(row.timeout/60e6), int(row.cancelTimeout/60e6)
	j.RegistryHosts, j.Region, j.Masks = s.o.RegistryHosts, s.o.Region, b.masks
	if err := b.endpoints(made); err != nil {
		return nil, err
	}
	names := []string{r.spec.RepositoryName}
	for _, repo := range j.Repositories {
		if repo.Type == "git" && !slices.Contains(names, repo.Name) {
			names = append(names, repo.Name)
		}
	}
	if j.Token, err = s.o.Projects.JobToken(ctx, *who, names); err != nil {
		return nil, fmt.Errorf("token of job %s: %w", c.Job, err)
	}
	if j.Credentials, err = s.o.Projects.Credentials(ctx, *who); err != nil {
		return nil, fmt.Errorf("credentials of job %s: %w", c.Job, err)
	}
	return j, nil
}

// builder assembles one job.
type builder struct {
	s    *Service
	ctx  context.Context
	run  *Run
	plan *pipeline.Plan
	row  *jobRow
	who  *project.Job

	set       *flow.Settings
	variables []work.Variable
	masks     []string
}

// decide asks flow for the variables, with their secrets, and the settings.
func (b *builder) decide() error {
	sc, err := b.s.scopeOf(b.ctx, b.run, b.plan, b.run.Trusted)
	if err != nil {
		return err
	}
	if err := b.refusedGroup(sc); err != nil {
		return err
	}
	st, err := readState(b.ctx, b.s.db, b.run.ID)
	if err != nil {
		return err
	}
	f := b.s.flowRun(b.run, sc, func(prefix string, seed int64) (int64, error) {
		n, ok := st.counters[fmt.Sprintf("%s\x00%d", prefix, seed)]
		if !ok {
			return 0, fmt.Errorf("counter %q was not asked for when the job was queued", prefix)
		}
		return n, nil
	})
	for i, v := range b.run.spec.Variables {
		if v.Secret != "" && b.run.Trusted {
			if f.Queue[i].Value, err = b.s.open(b.ctx, v.Secret); err != nil {
				return err
			}
		}
	}
	if name := b.who.Identity.Environment; name != "" {
		e, err := b.s.o.Projects.Environment(b.ctx, b.run.PipelineID, name)
		if err != nil {
			return fmt.Errorf("environment %s: %w", name, err)
		}
		f.Environments = map[string]string{fold(name): e.ID}
	}
	fl, err := flow.New(b.plan, f)
	if err != nil {
		return &brokenError{err}
	}
	if err := b.secretOutputs(st.state); err != nil {
		return err
	}
	if b.set, err = fl.Job(st.state, b.row.stage, b.row.phase, b.row.Leg); err != nil {
		return &brokenError{err}
	}
	if b.variables, err = fl.Variables(st.state, b.row.stage, b.row.phase, b.row.Leg); err != nil {
		return &brokenError{err}
	}
	for i := range b.variables {
		v := &b.variables[i]
		for _, secret := range b.masks {
			v.Secret = v.Secret || secret != "" && strings.Contains(v.Value, secret)
		}
		if !b.run.Trusted && v.Secret {
			v.Value = ""
		}
	}
	return nil
}

// refusedGroup fails a job whose variable groups the pipeline may not use.
func (b *builder) refusedGroup(sc *scope) error {
	check := func(list []pipeline.Variable) error {
		for _, v := range list {
			if err := sc.refused[fold(v.Group)]; v.Group != "" && err != nil {
				return &brokenError{fmt.Errorf("%s: %w", v.Pos, err)}
			}
		}
		return nil
	}
	if err := check(b.plan.Variables); err != nil {
		return err
	}
	for _, g := range b.plan.Stages {
		if g.Name != b.row.stage {
			continue
		}
		if err := check(g.Variables); err != nil {
			return err
		}
		for _, j := range g.Jobs {
			if j.Name == b.row.phase {
				return check(j.Variables)
			}
		}
	}
	return nil
}

// secretOutputs puts secret outputs of jobs before into the state that expressions see: they were left out of the one
// that is stored. What an expression makes of one is masked, because the values are.
func (b *builder) secretOutputs(st *flow.State) error {
	if !b.run.Trusted {
		return nil
	}
	rows, err := b.s.db.Query(b.ctx, `SELECT j.stage, j.phase, j.leg, o.step, o.name, o.secret FROM run_outputs o JOIN run_jobs j ON j.id = o.job AND j.attempt = o.attempt
		WHERE j.run = $1 AND o.secret <> '' AND j.state = 'completed' ORDER BY j.stage_attempt`, b.run.ID)
	type output struct{ stage, phase, leg, step, name, secret string }
	list, err := collect(rows, err, func(row scanner) (o output, err error) {
		return o, row.Scan(&o.stage, &o.phase, &o.leg, &o.step, &o.name, &o.secret)
	})
	if err != nil {
		return fmt.Errorf("read outputs: %w", err)
	}
	x := &change{row: &stateRow{state: st}}
	for _, o := range list {
		in := x.instance(&jobRow{stage: o.stage, phase: o.phase, Leg: o.leg})
		if in == nil {
			continue
		}
		value, err := b.s.open(b.ctx, o.secret)
		if err != nil {
			return err
		}
		if in.Outputs == nil {
			in.Outputs = map[string]string{}
		}
		in.Outputs[o.step+"."+o.name] = value
		b.masks = append(b.masks, value)
	}
	return nil
}

// surroundings are what flow does not know of the run.
func (b *builder) surroundings() *flow.Surroundings {
	sp := b.run.spec
	r := &flow.Surroundings{
		Self: work.Repository{ID: sp.Repository, Name: sp.RepositoryName, Type: "git", URL: "/git/" + sp.RepositoryName, Ref: b.run.Ref, Version: b.run.Commit},
		Repository: func(alias string) (work.Repository, bool) {
			p, ok := sp.Repositories[fold(alias)]
			name := p.Project + "/" + p.Name
			return work.Repository{ID: p.ID, Name: name, Type: "git", URL: "/git/" + name, Ref: p.Ref, Version: p.Commit}, ok
		},
		Downloads: []work.Artifacts{{Alias: "current", Run: b.run.ID}},
		Native:    func(ref string) bool { _, _, ok := task.Lookup(ref); return ok },
	}
	for _, p := range sp.Pipelines {
		r.Downloads = append(r.Downloads, work.Artifacts{Alias: p.Alias, Run: p.RunID})
	}
	return r
}

// endpoints opens the service connections that the job uses, and no others: what those are, flow says.
func (b *builder) endpoints(made *flow.Assembled) error {
	j := made.Job
	if !b.run.Trusted {
		if len(made.Connections) > 0 {
			return broken("the run is of a pull request from outside, and may not use service connections (%s)", strings.Join(made.Connections, ", "))
		}
		return nil
	}
	add := func(name string) error {
		list, err := b.s.o.Projects.Endpoints(b.ctx, *b.who, name)
		for _, e := range list {
			if !slices.ContainsFunc(j.Endpoints, func(have work.Endpoint) bool { return have.ID == e.ID }) { // by its name and by its id
				j.Endpoints = append(j.Endpoints, e)
			}
		}
		return err
	}
	var denied *project.NotAuthorizedError
	for _, name := range made.Connections {
		switch err := add(name); {
		case errors.As(err, &denied):
			return &brokenError{err}
		case errors.Is(err, project.ErrNotFound):
			// Some tasks have inputs of such names that are something else, such as an address.
			if strings.Contains(name, "/") {
				continue
			}
			return broken("there is no service connection %s in project %s; make one with: sekisho connection create -p %s %q", name, b.run.Project, b.run.Project, name)
		case err != nil:
			return fmt.Errorf("service connection %s: %w", name, err)
		}
	}
	for _, name := range made.Mentions {
		switch err := add(name); {
		case errors.Is(err, project.ErrNotFound) || errors.As(err, &denied):
			continue // the word may mean something else; if not, the task says that it misses the connection
		case err != nil:
			return fmt.Errorf("service connection %s: %w", name, err)
		}
	}
	for i := range j.Containers {
		for _, e := range j.Endpoints {
			if c := &j.Containers[i]; c.Endpoint != "" && strings.EqualFold(c.Endpoint, e.Name) {
				c.Endpoint = e.ID
			}
		}
	}
	return nil
}
