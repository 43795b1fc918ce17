package run

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/pipeline"
	"github.com/sekisho/sekisho/internal/pipeline/flow"
	"github.com/sekisho/sekisho/internal/project"
)

// spec is what a run was asked to be, as it is stored. No secret is in it.
type spec struct {
	Parameters     map[string]string `json:",omitempty"` // YAML
	Variables      []specVariable    `json:",omitempty"`
	Skip           []string          `json:",omitempty"` // stages
	Repository     string            // id
	RepositoryName string            // project/repo
	Repositories   map[string]pinned `json:",omitempty"` // by alias, in lower case
	Pipelines      []flow.Resource   `json:",omitempty"`
	Schedule       string            `json:",omitempty"` // display name
	PullRequest    *flow.PullRequest `json:",omitempty"`
	Triggered      *flow.Trigger     `json:",omitempty"`
}

// specVariable is a variable that was set when the run was started.
type specVariable struct {
	Name   string
	Value  string `json:",omitempty"`
	Secret string `json:",omitempty"` // id in run_secrets
}

// pinned is a repository at a commit.
type pinned struct{ ID, Project, Name, Ref, Commit string }

// scope is what variables a run has beside those of its plan.
type scope struct {
	settings []flow.Setting
	groups   map[string][]work.Variable // by name in lower case
	refused  map[string]error           // groups that the pipeline may not use, or that are not there
}

// scopeOf reads the variables of a run's pipeline and the groups its plan names; secrets are empty unless open.
func (s *Service) scopeOf(ctx context.Context, r *Run, plan *pipeline.Plan, open bool) (*scope, error) {
	sc := &scope{groups: map[string][]work.Variable{}, refused: map[string]error{}}
	list, err := s.o.Projects.Variables(ctx, r.PipelineID, open)
	if err != nil {
		return nil, fmt.Errorf("read variables of pipeline %s: %w", r.Pipeline, err)
	}
	for _, v := range list {
		sc.settings = append(sc.settings, flow.Setting{Settable: true, // whether it may was asked at the start
			Variable: work.Variable{Name: v.Name, Value: v.Value, Secret: v.Secret, From: "settings of pipeline " + r.Pipeline}})
	}
	if plan == nil {
		return sc, nil
	}
	for _, name := range flow.Groups(plan) {
		g, err := s.o.Projects.Group(ctx, s.projectJob(r, Claim{}), name, open)
		if final(err) {
			sc.refused[fold(name)] = err
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read variable group %s: %w", name, err)
		}
		vars := make([]work.Variable, 0, len(g.Variables))
		for _, v := range g.Variables {
			vars = append(vars, work.Variable{Name: v.Name, Value: v.Value, Secret: v.Secret, From: "variable group " + g.Name})
		}
		sc.groups[fold(name)] = vars
	}
	return sc, nil
}

// projectJob says who a job is, to package project.
func (s *Service) projectJob(r *Run, c Claim) project.Job {
	j := project.Job{Identity: s.identity(r, nil, ""), Until: s.now().Add(s.o.Limits.MaxTimeout), Untrusted: !r.Trusted}
	if c.Job != "" {
		j.ID = jobID(c)
	}
	return j
}

// identity is what a run, or a job of it, is.
func (s *Service) identity(r *Run, j *jobRow, agent string) work.Identity {
	id := work.Identity{
		Account: r.Account, Project: r.Project, ProjectID: r.ProjectID, Pipeline: r.Pipeline, PipelineID: r.PipelineID,
		Run: r.ID, RunNumber: r.Number, RunAttempt: r.Attempt, Repository: r.spec.RepositoryName, Ref: r.Ref, Commit: r.Commit,
		Reason: r.Reason, RequestedFor: r.RequestedFor, Agent: agent,
	}
	if j != nil {
		id.Stage, id.Job, id.Pool = j.stage, j.phase, j.pool
		if j.Leg != "" {
			id.Job += " " + j.Leg
		}
	}
	return id
}

// flowRun is a run as package flow knows it.
func (s *Service) flowRun(r *Run, sc *scope, counter func(string, int64) (int64, error)) *flow.Run {
	f := &flow.Run{
		ID: r.ID, Number: r.Number, Reason: r.Reason, StartTime: r.Created, Schedule: r.spec.Schedule,
		QueuedBy: flow.Person{Name: shortName(r.RequestedBy), ID: r.RequestedBy}, For: flow.Person{Name: r.RequestedFor, ID: r.RequestedBy},
		Project: r.Project, ProjectID: r.ProjectID, Pipeline: r.Pipeline, PipelineID: r.PipelineID,
		ServerURL: s.url(), AccountID: r.Account,
		Repository: flow.Repository{ID: r.spec.Repository, Name: lastPart(r.spec.RepositoryName)},
		Ref:        r.Ref, Commit: r.Commit, CommitMessage: r.Message, PullRequest: r.spec.PullRequest, TriggeredBy: r.spec.Triggered,
		Resources: r.spec.Pipelines, Counter: counter,
	}
	if url := s.url(); url != "" {
		f.Repository.URI = url + "git/" + r.spec.RepositoryName
	}
	if sc != nil {
		f.Settings, f.Groups = sc.settings, sc.groups
	}
	for _, v := range r.spec.Variables {
		f.Queue = append(f.Queue, work.Variable{Name: v.Name, Value: v.Value, Secret: v.Secret != "", From: "the start of the run"})
	}
	return f
}

// url is how people reach the server, ending with a slash; empty where that is not known.
func (s *Service) url() string {
	if s.o.URL == nil {
		return ""
	}
	url := s.o.URL()
	if url == "" || strings.HasSuffix(url, "/") {
		return url
	}
	return url + "/"
}

func lastPart(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }

// shortName is what people read of an ARN.
func shortName(arn string) string {
	if i := strings.LastIndexByte(arn, ':'); i >= 0 {
		arn = arn[i+1:]
	}
	return strings.TrimPrefix(arn, "user/")
}

// stateRow is how far a run is, with what counter() gave it.
type stateRow struct {
	state    *flow.State
	counters map[string]int64
	counted  bool
}

func readState(ctx context.Context, q reader, id int64) (*stateRow, error) {
	var state, counters string
	err := q.QueryRow(ctx, `SELECT state, counters FROM run_states WHERE run = $1`, id).Scan(&state, &counters)
	if err != nil {
		return nil, fmt.Errorf("read the state of run %d: %w", id, err)
	}
	row := &stateRow{state: &flow.State{}, counters: map[string]int64{}}
	if err := json.Unmarshal([]byte(state), row.state); err != nil {
		return nil, fmt.Errorf("read the state of run %d: %w", id, err)
	}
	if err := json.Unmarshal([]byte(counters), &row.counters); err != nil {
		return nil, fmt.Errorf("read the state of run %d: %w", id, err)
	}
	return row, nil
}

// counter returns counter() for a run: each prefix and seed counts once.
func (s *Service) counter(ctx context.Context, tx *meta.Tx, r *Run, row *stateRow) func(string, int64) (int64, error) {
	return func(prefix string, seed int64) (int64, error) {
		key := fmt.Sprintf("%s\x00%d", prefix, seed)
		if n, ok := row.counters[key]; ok {
			return n, nil
		}
		n, err := s.o.Projects.Counter(ctx, tx, r.PipelineID, prefix, seed)
		if err != nil {
			return 0, err
		}
		row.counters[key], row.counted = n, true
		return n, nil
	}
}
