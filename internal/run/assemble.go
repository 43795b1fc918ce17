package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/sekisho/sekisho/internal/agent/task"
	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/pipeline"
	"github.com/sekisho/sekisho/internal/pipeline/flow"
	"github.com/sekisho/sekisho/internal/pipeline/macro"
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
	j := &work.Job{
		ID: c.Job, Attempt: c.Attempt, Identity: who.Identity, DisplayName: row.DisplayName,
		TimeoutMinutes: int(row.timeout / 60e6), CancelTimeoutMinutes: int(row.cancelTimeout / 60e6),
		Variables: b.variables, Container: b.set.Container, RegistryHosts: s.o.RegistryHosts, Region: s.o.Region,
	}
	j.Workspace = b.set.Job.WorkspaceClean
	b.job = j
	if err := b.steps(); err != nil {
		return nil, err
	}
	if err := b.repositories(); err != nil {
		return nil, err
	}
	if err := b.containers(); err != nil {
		return nil, err
	}
	if err := b.endpoints(); err != nil {
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
	job       *work.Job
	wanted    []string // connections, by name or id
	perhaps   []string // what may be names of connections
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

func (b *builder) lookup(name string) (string, bool) {
	for i := len(b.variables) - 1; i >= 0; i-- {
		if v := b.variables[i]; strings.EqualFold(v.Name, name) && !v.Secret {
			return v.Value, true
		}
	}
	return "", false
}

// Tasks whose presence says that a job does by itself what else is done for it.
const (
	checkoutTask = "checkout"
	downloadTask = "downloadpipelineartifact"
)

func taskName(ref string) string {
	name, _, _ := strings.Cut(ref, "@")
	return strings.ToLower(name)
}

// steps makes the steps of the job, with those that nobody wrote: the checkout of the repository, and for a deployment job the
// download of what the run has published.
func (b *builder) steps() error {
	var list []work.Step
	checkout, download := false, false
	for _, st := range b.set.Steps {
		w, err := b.step(st)
		if err != nil {
			return err
		}
		inputs := w.Inputs
		switch taskName(st.Task) {
		case checkoutTask:
			checkout = true
			if strings.EqualFold(inputs["repository"], "none") {
				continue
			}
		case downloadTask:
			if strings.EqualFold(strings.TrimSpace(st.Condition), "false") { // download: none
				download = true
				continue
			}
			if st.Hook != "" || b.set.Job.Deployment != nil {
				download = true
			}
		}
		list = append(list, w)
	}
	deployment := b.set.Job.Deployment != nil
	if !checkout && !deployment && !b.row.server {
		list = append([]work.Step{{Task: "checkout@1", DisplayName: "Checkout " + lastPart(b.run.spec.RepositoryName), Inputs: map[string]string{"repository": "self"}, Enabled: true}}, list...)
	}
	if deployment && !download && !b.row.server {
		b.job.Downloads = append(b.job.Downloads, work.Artifacts{Alias: "current", Run: b.run.ID})
		for _, p := range b.run.spec.Pipelines {
			b.job.Downloads = append(b.job.Downloads, work.Artifacts{Alias: p.Alias, Run: p.RunID})
		}
	}
	for i := range list {
		list[i].ID = fmt.Sprintf("%03d", i+1)
	}
	b.job.Steps = list
	return nil
}

func (b *builder) step(st flow.Step) (work.Step, error) {
	w := work.Step{
		Name: st.Name, DisplayName: cmp.Or(st.DisplayName, st.Task), Task: st.Task, Inputs: map[string]string{}, Condition: st.Condition,
		Enabled: !strings.EqualFold(strings.TrimSpace(st.Enabled), "false"), ContinueOnError: st.ContinueOnError, Hook: st.Hook, File: st.Pos.String(),
	}
	_, _, native := task.Lookup(st.Task)
	native = native || taskName(st.Task) == checkoutTask
	for _, kv := range st.Inputs {
		w.Inputs[kv.Key] = kv.Value
		name := strings.TrimSpace(macro.Expand(kv.Value, b.lookup))
		switch {
		case name == "" || strings.Contains(name, "$("):
		case isConnectionInput(kv.Key):
			b.want(name)
		case !native:
			b.suppose(name)
		}
	}
	for _, kv := range st.Env {
		w.Env = append(w.Env, work.Pair{Name: kv.Key, Value: kv.Value})
	}
	var err error
	if w.TimeoutMinutes, err = b.number(st, "timeoutInMinutes", st.TimeoutInMinutes); err != nil {
		return w, err
	}
	if w.Retries, err = b.number(st, "retryCountOnTaskFailure", st.Retries); err != nil {
		return w, err
	}
	w.Retries = min(w.Retries, 10)
	if t := st.Target; t != nil {
		w.Target = &work.Target{Container: t.Container, Commands: t.Commands, SettableVariables: t.SettableVariables}
	}
	return w, nil
}

// number reads a number of a step, which may have macros in it.
func (b *builder) number(st flow.Step, what, text string) (int, error) {
	text = strings.TrimSpace(macro.Expand(text, b.lookup))
	if text == "" {
		return 0, nil
	}
	var n float64
	if _, err := fmt.Sscanf(text, "%g", &n); err != nil || n < 0 || n > 1e6 {
		return 0, broken("%s: %s is %q, it must be a number", st.Pos, what, clip(text, 80))
	}
	return int(n), nil
}

// connectionInputs are the inputs of tasks that name a service connection.
var connectionInputs = []string{
	"awscredentials", "containerregistry", "dockerregistryendpoint", "dockerregistryserviceconnection", "azuresubscription", "connectedservicename",
	"connectedservicenamearm", "kubernetesserviceendpoint", "kubernetesserviceconnection", "serviceconnection", "serviceendpoint",
	"externalfeedcredentials", "customendpoint", "publishendpoint", "nugetserviceconnections", "npmserviceconnection",
	"sshendpoint", "githubconnection", "sonarqube", "sonarcloud", "connectedservice",
}

func isConnectionInput(name string) bool { return slices.Contains(connectionInputs, fold(name)) }

func (b *builder) want(name string) {
	for _, one := range strings.Split(name, ",") {
		if one = strings.TrimSpace(one); one != "" && !slices.Contains(b.wanted, one) {
			b.wanted = append(b.wanted, one)
		}
	}
}

// connectionName is what can be the name of a service connection.
var connectionName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9 ._-]{0,62}$`)

const maxSupposed = 200 // names that are looked up for a job

// suppose notes what may name service connections: which inputs of a published task do, only its definition says, which the agent has.
func (b *builder) suppose(value string) {
	for _, one := range strings.Split(value, ",") {
		if one = strings.TrimSpace(one); connectionName.MatchString(one) && !slices.Contains(b.perhaps, one) && len(b.perhaps) < maxSupposed {
			b.perhaps = append(b.perhaps, one)
		}
	}
}

// repositories lists what steps may check out.
func (b *builder) repositories() error {
	j := b.job
	j.Repositories = []work.Repository{{
		Alias: "self", ID: b.run.spec.Repository, Name: b.run.spec.RepositoryName, Type: "git", URL: "/git/" + b.run.spec.RepositoryName,
		Ref: b.run.Ref, Version: b.run.Commit,
	}}
	used := func(alias string) bool {
		for _, st := range j.Steps {
			if taskName(st.Task) == checkoutTask && strings.EqualFold(st.Inputs["repository"], alias) {
				return true
			}
		}
		return slices.ContainsFunc(b.set.Job.Uses.Repositories, func(name string) bool { return strings.EqualFold(name, alias) })
	}
	for _, repo := range b.plan.Resources.Repositories {
		if strings.EqualFold(repo.Alias, "self") || !used(repo.Alias) {
			continue
		}
		p, ok := b.run.spec.Repositories[fold(repo.Alias)]
		if !ok {
			return broken("%s: repository %s was not resolved when the run was started", repo.Pos, repo.Alias)
		}
		name := p.Project + "/" + p.Name
		j.Repositories = append(j.Repositories, work.Repository{Alias: repo.Alias, ID: p.ID, Name: name, Type: "git", URL: "/git/" + name, Ref: p.Ref, Version: p.Commit})
	}
	return nil
}

// containers lists the images that steps and services of the job run in.
func (b *builder) containers() error {
	j := b.job
	add := func(alias string) error {
		if alias == "" || strings.EqualFold(alias, "host") || slices.ContainsFunc(j.Containers, func(c work.Container) bool { return strings.EqualFold(c.Alias, alias) }) {
			return nil
		}
		for i := range b.plan.Resources.Containers {
			if c := &b.plan.Resources.Containers[i]; strings.EqualFold(c.Alias, alias) {
				j.Containers = append(j.Containers, b.container(c))
				return nil
			}
		}
		return broken("there is no container %s in resources", alias)
	}
	if c := b.set.InlineContainer; c != nil {
		w := b.container(c)
		w.Alias = cmp.Or(w.Alias, "job")
		j.Containers, j.Container = append(j.Containers, w), w.Alias
	} else if j.Container != "" {
		known := slices.ContainsFunc(b.plan.Resources.Containers, func(c pipeline.Container) bool { return strings.EqualFold(c.Alias, j.Container) })
		if !known { // an image by its name
			j.Containers = append(j.Containers, work.Container{Alias: j.Container, Image: j.Container})
		} else if err := add(j.Container); err != nil {
			return err
		}
	}
	for _, kv := range b.set.Services {
		if err := add(kv.Value); err != nil {
			return err
		}
		if j.Services == nil {
			j.Services = map[string]string{}
		}
		j.Services[kv.Key] = kv.Value
	}
	for _, st := range j.Steps {
		if st.Target != nil && st.Target.Container != "" && !strings.Contains(st.Target.Container, "$(") {
			if err := add(st.Target.Container); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *builder) container(c *pipeline.Container) work.Container {
	text := func(s string) string { return macro.Expand(s, b.lookup) }
	w := work.Container{
		Alias: c.Alias, Image: text(c.Image), Endpoint: text(c.Endpoint), Options: text(c.Options), Ports: c.Ports, Volumes: c.Volumes,
		MountReadOnly: c.MountReadOnly, MapDockerSocket: c.MapDockerSocket == nil || *c.MapDockerSocket,
	}
	for _, kv := range c.Env {
		w.Env = append(w.Env, work.Pair{Name: kv.Key, Value: kv.Value})
	}
	if w.Endpoint != "" {
		b.want(w.Endpoint)
	}
	return w
}

// endpoints opens the service connections that the job uses.
func (b *builder) endpoints() error {
	j := b.job
	if len(b.wanted) > 0 {
		if !b.run.Trusted {
			return broken("the run is of a pull request from outside, and may not use service connections (%s)", strings.Join(b.wanted, ", "))
		}
		for _, name := range b.wanted {
			list, err := b.s.o.Projects.Endpoints(b.ctx, *b.who, name)
			var denied *project.NotAuthorizedError
			switch {
			case errors.As(err, &denied):
				return &brokenError{err}
			case errors.Is(err, project.ErrNotFound):
				// Some tasks have inputs of such names that are something else, such as an address.
				if strings.Contains(name, "://") || strings.Contains(name, "/") {
					continue
				}
				return broken("there is no service connection %s in project %s; make one with: sekisho connection create -p %s %q", name, b.run.Project, b.run.Project, name)
			case err != nil:
				return fmt.Errorf("service connection %s: %w", name, err)
			}
			j.Endpoints = append(j.Endpoints, list...)
		}
	}
	for _, name := range b.perhaps {
		if !b.run.Trusted || slices.Contains(b.wanted, name) {
			continue
		}
		list, err := b.s.o.Projects.Endpoints(b.ctx, *b.who, name)
		var denied *project.NotAuthorizedError
		switch {
		case errors.Is(err, project.ErrNotFound) || errors.As(err, &denied):
			continue // the word may mean something else; if not, the task says that it misses the connection
		case err != nil:
			return fmt.Errorf("service connection %s: %w", name, err)
		}
		for _, e := range list {
			if !slices.ContainsFunc(j.Endpoints, func(have work.Endpoint) bool { return have.ID == e.ID }) {
				j.Endpoints = append(j.Endpoints, e)
			}
		}
	}
	for i := range j.Containers {
		for _, e := range j.Endpoints {
			if c := &j.Containers[i]; c.Endpoint != "" && strings.EqualFold(c.Endpoint, e.Name) {
				c.Endpoint = e.ID
			}
		}
	}
	j.Masks = b.masks
	return nil
}
