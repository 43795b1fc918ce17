// Package flow decides what of a run is next: which stages and jobs are ready, which are skipped and why, what a matrix
// becomes, which variables a job has and where they came from, what a run is called, and which triggers match. The server's
// durable runs and a run on one's own machine ask it the same questions.
//
// It is pure. What happened so far is a [State] that the caller keeps; [Flow.Next] says what follows and puts it into the
// State, so that whoever stores the State and carries out the actions has done all there is to do. Calling it again
// without news yields nothing.
//
// Invariants:
//   - A stage or a job is not ready before all that it depends on has completed.
//   - Every stage, job and instance completes once, with one result; completed ones are never looked at again.
//   - Secret values are not needed here: to an expression a secret variable is empty.
//
// It does not know agents, pools, queues, approvals or the database, and it runs nothing.
package flow

import (
	"fmt"
	"strings"
	"sync"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/pipeline"
	"github.com/sekisho/sekisho/internal/pipeline/expr"
)

// Graph is a plan, checked and ready to be asked about. It says nothing of a run, may be kept for all runs of the plan, and
// may be used by several goroutines.
type Graph struct {
	plan   *pipeline.Plan
	stages []*stage
	byName map[string]*stage // in lower case
	parsed sync.Map          // text → parsedExpr
}

// Flow answers questions about one run. It is not safe for concurrent use.
type Flow struct {
	*Graph
	run    *Run
	counts map[string]int64 // what counter() gave, by prefix in lower case

	base   *scope // see runScope
	secret bool   // a secret output was read by the expression that is evaluated
}

type parsedExpr struct {
	expr *expr.Expr
	err  error
}

type stage struct {
	*pipeline.Stage
	index  int
	needs  []*stage // what it depends on
	jobs   []*job
	byName map[string]*job // in lower case
}

type job struct {
	*pipeline.Job
	index int
	stage *stage
	needs []*job
}

// Prepare makes the graph of a plan. Errors: the first that [Check] finds.
func Prepare(plan *pipeline.Plan) (*Graph, error) {
	if errs := Check(plan); len(errs) > 0 {
		return nil, errs[0]
	}
	g := &Graph{plan: plan, byName: make(map[string]*stage, len(plan.Stages))}
	for i, ps := range plan.Stages {
		s := &stage{Stage: ps, index: i, byName: make(map[string]*job, len(ps.Jobs))}
		g.stages = append(g.stages, s)
		g.byName[strings.ToLower(ps.Name)] = s
		for k, pj := range ps.Jobs {
			j := &job{Job: pj, index: k, stage: s}
			s.jobs = append(s.jobs, j)
			s.byName[strings.ToLower(pj.Name)] = j
		}
	}
	for _, s := range g.stages {
		for _, name := range s.DependsOn {
			s.needs = append(s.needs, g.byName[strings.ToLower(name)])
		}
		for _, j := range s.jobs {
			for _, name := range j.DependsOn {
				j.needs = append(j.needs, s.byName[strings.ToLower(name)])
			}
		}
	}
	return g, nil
}

// Flow makes the flow of a run. It fails if a variable was set when the run was started that may not be.
func (g *Graph) Flow(run *Run) (*Flow, error) {
	if run == nil {
		run = &Run{}
	}
	if err := run.checkQueue(g.plan); err != nil {
		return nil, err
	}
	return &Flow{Graph: g, run: run, counts: map[string]int64{}}, nil
}

// New is [Prepare] and [Graph.Flow] in one.
func New(plan *pipeline.Plan, run *Run) (*Flow, error) {
	g, err := Prepare(plan)
	if err != nil {
		return nil, err
	}
	return g.Flow(run)
}

// closure is all that can be reached, without where it begins.
func closure[T comparable](from T, needs func(T) []T) []T {
	seen := map[T]bool{from: true}
	var all []T
	for todo := needs(from); len(todo) > 0; {
		next := todo[0]
		todo = todo[1:]
		if !seen[next] {
			seen[next] = true
			all = append(all, next)
			todo = append(todo[:len(todo):len(todo)], needs(next)...)
		}
	}
	return all
}

// parse remembers expressions, most of which many jobs share.
func (g *Graph) parse(text string) (*expr.Expr, error) {
	if p, ok := g.parsed.Load(text); ok {
		return p.(parsedExpr).expr, p.(parsedExpr).err
	}
	e, err := expr.Parse(text)
	g.parsed.Store(text, parsedExpr{e, err})
	return e, err
}

// find looks up a job by names, regardless of case.
func (g *Graph) find(stageName, jobName string) (*job, error) {
	s := g.byName[strings.ToLower(stageName)]
	if s == nil {
		return nil, fmt.Errorf("the plan has no stage %s", stageName)
	}
	j := s.byName[strings.ToLower(jobName)]
	if j == nil {
		return nil, fmt.Errorf("stage %s has no job %s", stageName, jobName)
	}
	return j, nil
}

// succeeded reports whether a result lets what depends on it go on.
func succeeded(r work.Result) bool { return r == work.Succeeded || r == work.SucceededWithIssues }

// failed reports whether a result is a failure; a job whose agent was lost for good has failed.
func failed(r work.Result) bool { return r == work.Failed || r == work.Abandoned }
