package local

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/pipeline"
	"github.com/sekisho/sekisho/internal/pipeline/flow"
	"github.com/sekisho/sekisho/internal/pipeline/macro"
)

// assemble makes what an agent is given of what flow decided.
func (e *execution) assemble(a flow.Action, set *flow.Settings, vars []work.Variable) (*work.Job, error) {
	lookup := func(name string) (string, bool) {
		for i := len(vars) - 1; i >= 0; i-- {
			if strings.EqualFold(vars[i].Name, name) && !vars[i].Secret {
				return vars[i].Value, true
			}
		}
		return "", false
	}
	f := &e.o.Facts
	j := &work.Job{
		ID: jobName(a), Attempt: 1, DisplayName: set.DisplayName, TimeoutMinutes: set.TimeoutMinutes, CancelTimeoutMinutes: set.CancelTimeoutMinutes,
		Workspace: set.Job.WorkspaceClean, Variables: vars, Endpoints: e.o.Endpoints, Container: set.Container,
		Identity: work.Identity{
			Project: f.Project, Pipeline: f.Pipeline, PipelineID: f.PipelineID, Run: f.ID, RunNumber: f.Number, RunAttempt: 1, Stage: a.Stage, Job: a.Job,
			Environment: set.Environment, Repository: f.Repository.Name, Ref: f.Ref, Commit: f.Commit, Reason: f.Reason, RequestedFor: f.For.Name,
		},
	}
	deployment := set.Job.Deployment != nil
	checkout, download := false, false
	for _, st := range set.Steps {
		task, _, _ := strings.Cut(st.Task, "@")
		s := work.Step{
			Name: st.Name, DisplayName: cmp.Or(st.DisplayName, st.Task), Task: st.Task, Inputs: map[string]string{}, Condition: st.Condition,
			Enabled: !strings.EqualFold(strings.TrimSpace(st.Enabled), "false"), ContinueOnError: st.ContinueOnError, Hook: st.Hook, File: st.Pos.String(),
		}
		for _, kv := range st.Inputs {
			s.Inputs[kv.Key] = kv.Value
		}
		for _, kv := range st.Env {
			s.Env = append(s.Env, work.Pair{Name: kv.Key, Value: kv.Value})
		}
		var err error
		if s.TimeoutMinutes, err = number(macro.Expand(st.TimeoutInMinutes, lookup)); err != nil {
			return nil, fmt.Errorf("%s: timeoutInMinutes: %w", st.Pos, err)
		}
		if s.Retries, err = number(macro.Expand(st.Retries, lookup)); err != nil {
			return nil, fmt.Errorf("%s: retryCountOnTaskFailure: %w", st.Pos, err)
		}
		if t := st.Target; t != nil {
			s.Target = &work.Target{Container: t.Container, Commands: t.Commands, SettableVariables: t.SettableVariables}
			if err := e.container(j, t.Container, lookup); err != nil {
				return nil, fmt.Errorf("%s: %w", st.Pos, err)
			}
		}
		switch {
		case strings.EqualFold(task, "checkout"):
			checkout = true
			if strings.EqualFold(s.Inputs["repository"], "none") {
				continue
			}
		case strings.EqualFold(task, "DownloadPipelineArtifact"):
			download = true
			if strings.EqualFold(strings.TrimSpace(st.Condition), "false") { // download: none
				continue
			}
		}
		j.Steps = append(j.Steps, s)
	}
	if !checkout && !deployment && !set.Server {
		j.Steps = append([]work.Step{{Task: "checkout@1", DisplayName: "Checkout", Inputs: map[string]string{"repository": "self"}, Enabled: true}}, j.Steps...)
	}
	if deployment && !download && !set.Server {
		j.Downloads = []work.Artifacts{{Alias: "current"}}
	}
	for i := range j.Steps {
		j.Steps[i].ID = fmt.Sprintf("%03d", i+1)
	}
	j.Repositories = []work.Repository{{Alias: "self", Name: cmp.Or(f.Repository.Name, "self"), Type: "git", Ref: f.Ref, Version: f.Commit}}
	for _, r := range e.o.Plan.Resources.Repositories {
		if !strings.EqualFold(r.Alias, "self") {
			j.Repositories = append(j.Repositories, work.Repository{Alias: r.Alias, Name: r.Name, Type: "git", Ref: r.Ref})
		}
	}
	for _, s := range j.Steps {
		alias := strings.ToLower(cmp.Or(s.Inputs["repository"], "self"))
		if task, _, _ := strings.Cut(s.Task, "@"); s.Enabled && strings.EqualFold(task, "checkout") && e.o.Folders[alias] == "" {
			return nil, fmt.Errorf("the repository %s is checked out and is not on this machine as far as is known: say where it is: --repo %s=DIR", alias, alias)
		}
	}
	if c := set.InlineContainer; c != nil {
		w := container(c, lookup)
		w.Alias = cmp.Or(w.Alias, "job")
		j.Containers, j.Container = append(j.Containers, w), w.Alias
	} else if err := e.container(j, set.Container, lookup); err != nil {
		return nil, err
	}
	for _, kv := range set.Services {
		if err := e.container(j, kv.Value, lookup); err != nil {
			return nil, err
		}
		if j.Services == nil {
			j.Services = map[string]string{}
		}
		j.Services[kv.Key] = kv.Value
	}
	return j, nil
}

// container adds a container to those of the job. An alias that no resource has is an image's name.
func (e *execution) container(j *work.Job, alias string, lookup func(string) (string, bool)) error {
	if alias == "" || strings.EqualFold(alias, "host") {
		return nil
	}
	for _, c := range j.Containers {
		if strings.EqualFold(c.Alias, alias) {
			return nil
		}
	}
	for i := range e.o.Plan.Resources.Containers {
		if c := &e.o.Plan.Resources.Containers[i]; strings.EqualFold(c.Alias, alias) {
			j.Containers = append(j.Containers, container(c, lookup))
			return nil
		}
	}
	if alias != j.Container {
		return fmt.Errorf("there is no container resource %s", alias)
	}
	j.Containers = append(j.Containers, work.Container{Alias: alias, Image: alias})
	return nil
}

func container(c *pipeline.Container, lookup func(string) (string, bool)) work.Container {
	w := work.Container{
		Alias: c.Alias, Image: macro.Expand(c.Image, lookup), Endpoint: c.Endpoint, Options: c.Options, Ports: c.Ports, Volumes: c.Volumes,
		MountReadOnly: c.MountReadOnly, MapDockerSocket: c.MapDockerSocket != nil && *c.MapDockerSocket,
	}
	for _, kv := range c.Env {
		w.Env = append(w.Env, work.Pair{Name: kv.Key, Value: kv.Value})
	}
	return w
}

// number reads a number of minutes or tries; an empty text is 0.
func number(text string) (int, error) {
	if text = strings.TrimSpace(text); text == "" {
		return 0, nil
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(n) || n < 0 || n > 1e6 {
		return 0, fmt.Errorf("%q must be a number", text)
	}
	return int(n), nil
}
