package local

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/sekisho/sekisho/internal/agent/task"
	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/pipeline/flow"
)

// assemble makes what an agent is given of what flow decided. All service connections that are known here are the user's own.
func (e *execution) assemble(a flow.Action, set *flow.Settings, vars []work.Variable) (*work.Job, error) {
	f := &e.o.Facts
	made, err := flow.Assemble(e.o.Plan, set, vars, &flow.Surroundings{
		Self: work.Repository{ID: f.Repository.ID, Name: cmp.Or(f.Repository.Name, "self"), Type: "git", Ref: f.Ref, Version: f.Commit},
		Repository: func(alias string) (work.Repository, bool) {
			for _, r := range e.o.Plan.Resources.Repositories {
				if strings.EqualFold(r.Alias, alias) {
					return work.Repository{Name: r.Name, Type: "git", Ref: r.Ref}, true
				}
			}
			return work.Repository{}, false
		},
		Downloads: []work.Artifacts{{Alias: "current"}},
		Native:    func(ref string) bool { _, _, ok := task.Lookup(ref); return ok },
	})
	if err != nil {
		return nil, err
	}
	j := made.Job
	j.ID, j.Attempt, j.Endpoints = jobName(a), 1, e.o.Endpoints
	j.Identity = work.Identity{
		Project: f.Project, Pipeline: f.Pipeline, PipelineID: f.PipelineID, Run: f.ID, RunNumber: f.Number, RunAttempt: 1, Stage: a.Stage, Job: a.Job,
		Environment: set.Environment, Repository: f.Repository.Name, Ref: f.Ref, Commit: f.Commit, Reason: f.Reason, RequestedFor: f.For.Name,
	}
	for i := range j.Containers {
		for _, x := range j.Endpoints {
			if c := &j.Containers[i]; c.Endpoint != "" && strings.EqualFold(c.Endpoint, x.Name) {
				c.Endpoint = x.ID
			}
		}
	}
	for _, s := range j.Steps {
		alias := strings.ToLower(cmp.Or(s.Inputs["repository"], "self"))
		if name, _, _ := strings.Cut(s.Task, "@"); s.Enabled && strings.EqualFold(name, "checkout") && e.o.Folders[alias] == "" {
			return nil, fmt.Errorf("the repository %s is checked out and is not on this machine as far as is known: say where it is: --repo %s=DIR", alias, alias)
		}
	}
	return j, nil
}
