package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sekisho/sekisho/internal/pipeline"
	"github.com/sekisho/sekisho/internal/pipeline/flow"
	"github.com/sekisho/sekisho/internal/pipeline/yaml"
	"github.com/sekisho/sekisho/internal/project"
)

// compiled is a pipeline read at a commit.
type compiled struct {
	plan     *pipeline.Plan // nil: it can't run
	problems []Problem
	missing  bool // its file is not there
	pins     map[string]pinned
}

func (c *compiled) broken() bool { return c.plan == nil }

// source reads the files of a pipeline and of the repositories it names, each at one commit.
type source struct {
	s       *Service
	run     *Run
	request map[string]Resource
	pins    map[string]pinned // by alias, in lower case
	reads   int
}

// maxReads bounds the files of one pipeline; the language has limits of its own.
const maxReads = 1000

// File implements pipeline.Source.
func (src *source) File(ctx context.Context, repo pipeline.Repository, path string) ([]byte, error) {
	if src.reads++; src.reads > maxReads {
		return nil, fmt.Errorf("a pipeline reads at most %d files", maxReads)
	}
	if repo.Alias == "" || strings.EqualFold(repo.Alias, "self") {
		return src.s.o.Repositories.File(ctx, src.run.spec.Repository, src.run.Commit, path)
	}
	p, err := src.pin(ctx, repo)
	if err != nil {
		return nil, err
	}
	return src.s.o.Repositories.File(ctx, p.ID, p.Commit, path)
}

// pin finds the commit at which a run uses a repository.
func (src *source) pin(ctx context.Context, repo pipeline.Repository) (pinned, error) {
	key := fold(repo.Alias)
	if p, ok := src.pins[key]; ok {
		return p, nil
	}
	r := src.run
	if kind := fold(repo.Type); kind != "" && kind != "git" {
		return pinned{}, fmt.Errorf("repository %s is of type %s, and only those of this instance (git) can be used here; make a mirror of %s with: sekisho git create %s/NAME --mirror URL",
			repo.Alias, repo.Type, repo.Name, r.Project)
	}
	projectName, name, both := strings.Cut(repo.Name, "/")
	if !both {
		projectName, name = r.Project, repo.Name
	}
	found, err := src.s.o.Repositories.Find(ctx, r.Account, projectName, name)
	if isNotFound(err) {
		return pinned{}, fmt.Errorf("repository %s: there is no repository %s/%s", repo.Alias, projectName, name)
	}
	if err != nil {
		return pinned{}, err
	}
	if found.ID != r.spec.Repository {
		if !r.Trusted {
			return pinned{}, fmt.Errorf("repository %s: a pull request from outside reads no repository but its own", repo.Alias)
		}
		use := project.Use{Kind: project.KindRepository, ID: found.ID, Name: projectName + "/" + name}
		missing, err := src.s.o.Projects.Unauthorized(ctx, r.PipelineID, []project.Use{use})
		if err != nil {
			return pinned{}, err
		}
		if len(missing) > 0 {
			return pinned{}, &project.NotAuthorizedError{Use: use, Pipeline: r.Pipeline, Project: r.Project}
		}
	}
	asked := src.request[key]
	ref := cmp.Or(asked.Version, asked.Ref, repo.Ref)
	full, commit, err := src.s.o.Repositories.Resolve(ctx, found.ID, ref)
	if isNotFound(err) {
		return pinned{}, fmt.Errorf("repository %s: %s/%s has no ref %q", repo.Alias, projectName, name, ref)
	}
	if err != nil {
		return pinned{}, err
	}
	p := pinned{ID: found.ID, Project: found.Project, Name: found.Name, Ref: cmp.Or(full, asked.Ref, repo.Ref), Commit: commit}
	src.pins[key] = p
	return p, nil
}

// early are predefined variables that nobody knows when a file is compiled.
var early = []string{"build.buildid", "build.buildnumber", "build.builduri", "build.containerid", "system.planid", "system.timelineid"}

// compile reads the pipeline of a run that is not stored yet.
func (s *Service) compile(ctx context.Context, r *Run, p *project.Pipeline, req *StartRequest) (*compiled, error) {
	src := &source{s: s, run: r, pins: map[string]pinned{}, request: map[string]Resource{}}
	for alias, x := range req.Resources {
		src.request[fold(alias)] = x
	}
	out := &compiled{pins: src.pins}
	o := pipeline.Options{}
	var err error
	if o.Parameters, err = parameters(req.Parameters); err != nil {
		out.problems = problemsOf(err)
		return out, nil
	}
	sc, err := s.scopeOf(ctx, r, nil, false)
	if err != nil {
		return nil, err
	}
	for _, v := range s.flowRun(r, sc, nil).Predefined() {
		if !slices.Contains(early, fold(v.Name)) {
			o.Variables = append(o.Variables, pipeline.Known{Name: v.Name, Value: v.Value, From: "predefined"})
		}
	}
	for _, v := range sc.settings {
		if !v.Secret {
			o.Variables = append(o.Variables, pipeline.Known{Name: v.Name, Value: v.Value, From: v.From})
		}
	}
	for _, v := range req.Variables {
		if !v.Secret {
			o.Variables = append(o.Variables, pipeline.Known{Name: v.Name, Value: v.Value, From: "given when the run was started"})
		}
	}
	plan, err := pipeline.Compile(ctx, src, p.Path, o)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if out.problems = problemsOf(err); out.problems == nil {
			return nil, fmt.Errorf("compile pipeline %s: %w", p.Name, err)
		}
		_, ferr := s.o.Repositories.File(ctx, r.spec.Repository, r.Commit, p.Path)
		out.missing = errors.Is(ferr, pipeline.ErrNoFile)
		return out, nil
	}
	for _, w := range plan.Warnings {
		out.problems = append(out.problems, problem(w, false))
	}
	wrong := append(plan.Unsupported(), flow.Check(plan)...)
	for _, w := range flow.Warn(plan) {
		out.problems = append(out.problems, problem(w, false))
	}
	for _, repo := range plan.Resources.Repositories {
		if strings.EqualFold(repo.Alias, "self") {
			continue
		}
		if _, err := src.pin(ctx, repo); err != nil {
			wrong = append(wrong, &yaml.Error{Pos: repo.Pos, Message: err.Error()})
		}
	}
	for _, w := range wrong {
		out.problems = append(out.problems, problem(w, true))
	}
	for _, v := range req.Variables {
		settings := make([]flow.Setting, len(sc.settings))
		for i, x := range sc.settings {
			settings[i] = x
			settings[i].Settable = s.settable(ctx, r.PipelineID, x.Name)
		}
		if err := flow.CheckQueueVariable(plan, settings, v.Name); err != nil {
			out.problems = append(out.problems, Problem{Error: true, Message: err.Error()})
			wrong = append(wrong, &yaml.Error{Message: err.Error()})
		}
	}
	if len(wrong) == 0 {
		out.plan = plan
	}
	return out, nil
}

// settable reports whether a variable of a pipeline's settings may be given when a run is started.
func (s *Service) settable(ctx context.Context, id, name string) bool {
	list, err := s.o.Projects.Variables(ctx, id, false)
	if err != nil {
		return false
	}
	for _, v := range list {
		if strings.EqualFold(v.Name, name) {
			return v.Settable
		}
	}
	return false
}

// parameters makes the mapping of a template's parameters, whose values are YAML.
func parameters(given map[string]string) (*yaml.Node, error) {
	if len(given) == 0 {
		return nil, nil
	}
	out := &yaml.Node{Kind: yaml.Mapping, Pos: yaml.Pos{File: "parameters"}}
	names := make([]string, 0, len(given))
	for name := range given {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		at := yaml.Pos{File: "parameter " + name}
		value, err := yaml.Parse(at.File, []byte(given[name]), yaml.Limits{})
		if err != nil {
			return nil, err
		}
		if value == nil {
			value = &yaml.Node{Kind: yaml.Scalar, Pos: at, Quoted: true}
		}
		out.Pairs = append(out.Pairs, yaml.Pair{Key: &yaml.Node{Kind: yaml.Scalar, Pos: at, Value: name}, Value: value})
	}
	return out, nil
}

func problem(e *yaml.Error, wrong bool) Problem {
	return Problem{Error: wrong, Message: clip(e.Message, maxMessage), File: e.Pos.File, Line: e.Pos.Line, Column: e.Pos.Column}
}

// problemsOf returns what is wrong with the files, nil if err is of another kind.
func problemsOf(err error) []Problem {
	if all, ok := errors.AsType[yaml.Errors](err); ok {
		var list []Problem
		for _, e := range all {
			list = append(list, problem(e, true))
		}
		return list
	}
	if e, ok := errors.AsType[*yaml.Error](err); ok {
		return []Problem{problem(e, true)}
	}
	return nil
}

// sumOf is one sentence on what is wrong.
func sumOf(problems []Problem) string {
	var wrong []Problem
	for _, p := range problems {
		if p.Error {
			wrong = append(wrong, p)
		}
	}
	switch len(wrong) {
	case 0:
		return "the pipeline does not compile"
	case 1:
		return wrong[0].String()
	}
	return fmt.Sprintf("%s (and %d more)", wrong[0], len(wrong)-1)
}
