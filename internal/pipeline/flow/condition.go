package flow

import (
	"errors"
	"fmt"
	"strings"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/pipeline/expr"
)

// conditionNames and conditionFunctions are what the conditions of stages and jobs may name and call.
var conditionNames = []string{"variables", "dependencies", "stageDependencies", "pipeline", "resources"}

// fact is one dependency with its result.
type fact struct {
	name   string
	result work.Result
}

// situation is what the status functions look at.
type situation struct {
	what      string // "job", "stage"
	canceling bool
	direct    []fact
	all       []fact // direct ones and those they depend on
}

// functions are the status functions of a situation.
func (s situation) functions() map[string]expr.Function {
	constant := func(b bool) func([]expr.Value) (expr.Value, error) {
		return func([]expr.Value) (expr.Value, error) { return expr.Bool(b), nil }
	}
	over := func(decide func(facts []fact, named bool) bool) expr.Function {
		return expr.Function{Min: 0, Max: -1, Call: func(args []expr.Value) (expr.Value, error) {
			if len(args) == 0 {
				return expr.Bool(decide(s.all, false)), nil
			}
			facts, err := s.named(args)
			if err != nil {
				return expr.Null, err
			}
			return expr.Bool(decide(facts, true)), nil
		}}
	}
	return map[string]expr.Function{
		"always":   {Call: constant(true)},
		"canceled": {Call: constant(s.canceling)},
		"succeeded": over(func(facts []fact, _ bool) bool {
			for _, f := range facts {
				if !succeeded(f.result) {
					return false
				}
			}
			return !s.canceling
		}),
		"failed": over(func(facts []fact, _ bool) bool {
			for _, f := range facts {
				if failed(f.result) {
					return !s.canceling
				}
			}
			return false
		}),
		"succeededOrFailed": over(func(facts []fact, named bool) bool {
			if !named {
				facts = s.direct
			}
			if s.canceling {
				return false
			}
			for _, f := range facts {
				if succeeded(f.result) || failed(f.result) {
					return true
				}
			}
			return len(facts) == 0
		}),
	}
}

func (s situation) named(args []expr.Value) ([]fact, error) {
	var facts []fact
	for _, arg := range args {
		name, err := arg.ToString()
		if err != nil {
			return nil, err
		}
		found := false
		for _, f := range s.all {
			if strings.EqualFold(f.name, name) {
				facts, found = append(facts, f), true
				break
			}
		}
		if !found {
			return nil, fmt.Errorf("it names the %s '%s', which is not among those it depends on", s.what, name)
		}
	}
	return facts, nil
}

// conditionFunctions are the status functions for checking only.
func conditionFunctions() map[string]expr.Function { return situation{}.functions() }

// stageFacts are the stages that s depends on. Those that the run omits are as if they were not there: what they depend
// on takes their place.
func stageFacts(st *State, s *stage) (direct, all []fact) {
	seen := map[*stage]bool{}
	var visit func(s *stage, isDirect bool)
	visit = func(s *stage, isDirect bool) {
		for _, need := range s.needs {
			ss := &st.Stages[need.index]
			if ss.Omitted {
				visit(need, isDirect)
				continue
			}
			f := fact{need.Name, ss.Result}
			if isDirect {
				direct = append(direct, f)
			}
			if !seen[need] {
				seen[need] = true
				all = append(all, f)
				visit(need, false)
			}
		}
	}
	visit(s, true)
	return direct, all
}

func jobFacts(ss *StageState, j *job) (direct, all []fact) {
	for _, need := range j.needs {
		direct = append(direct, fact{need.Name, ss.Jobs[need.index].Result})
	}
	for _, need := range closure(j, func(j *job) []*job { return j.needs }) {
		all = append(all, fact{need.Name, ss.Jobs[need.index].Result})
	}
	return direct, all
}

// verdict is what became of a condition.
type verdict struct {
	run    bool
	reason string // why not
	err    error  // it could not be decided
}

// decide evaluates a condition; the usual one needs no variables.
func (f *Flow) decide(condition string, s situation, names func() (map[string]expr.Value, error)) verdict {
	condition = unwrap(condition)
	usual := condition == "" || strings.EqualFold(condition, "succeeded()")
	if usual {
		condition = "succeeded()"
	}
	e, err := f.parse(condition)
	if err != nil {
		return verdict{err: fmt.Errorf("the condition can't be decided: %w", err)}
	}
	c := &expr.Context{Functions: s.functions(), Mask: f.mask}
	f.secret = false
	if !usual {
		if c.Names, err = names(); err != nil {
			return verdict{err: err}
		}
	}
	run, err := e.EvalBool(c)
	switch {
	case err != nil:
		return verdict{err: fmt.Errorf("the condition can't be decided: %w", err)}
	case run:
		return verdict{run: true}
	case s.canceling:
		return verdict{reason: "the run was canceled"}
	case usual:
		return verdict{reason: s.blame()}
	}
	reason := explain(e, c)
	if f.secret { // what it quotes may be secret
		reason = "its condition is false: " + oneLine(e.Text())
	}
	return verdict{reason: reason}
}

// unwrap is the text of a condition, which may be written as $[ ].
func unwrap(condition string) string {
	if inner, ok := runtimeExpression(condition); ok {
		return inner
	}
	return strings.TrimSpace(condition)
}

// blame says which dependency keeps something from running.
func (s situation) blame() string {
	var parts []string
	for _, f := range s.all {
		if !succeeded(f.result) {
			parts = append(parts, fmt.Sprintf("%s %s", f.name, past(f.result)))
		}
	}
	if len(parts) > 5 {
		parts = append(parts[:5], fmt.Sprintf("and %d more did not succeed", len(parts)-5))
	}
	return fmt.Sprintf("it needs all %ss that it depends on to succeed: %s", s.what, strings.Join(parts, ", "))
}

func past(r work.Result) string {
	switch r {
	case work.Skipped:
		return "was skipped"
	case work.Canceled:
		return "was canceled"
	case work.Abandoned:
		return "was abandoned"
	case work.Succeeded, work.SucceededWithIssues:
		return "succeeded"
	case work.Failed:
		return "failed"
	}
	return "did not complete"
}

// explain says why a condition is false: what it is, and what the things it names are.
func explain(e *expr.Expr, c *expr.Context) string {
	reason := "its condition is false: " + oneLine(e.Text())
	var facts []string
	seen := map[string]bool{}
	for _, r := range e.References() {
		if r.Dynamic || len(r.Path) < 2 || len(facts) == 4 {
			continue
		}
		v := c.Names[canonicalName(r.Path[0])]
		for _, key := range r.Path[1:] {
			v = v.Get(key)
		}
		text, err := v.ToString()
		label := strings.Join(r.Path[1:], ".")
		if !strings.EqualFold(r.Path[0], "variables") {
			label = r.Path[0] + "." + label
		}
		if err != nil || seen[label] {
			continue
		}
		seen[label] = true
		if v.IsNull() {
			facts = append(facts, label+" is not set")
		} else {
			facts = append(facts, fmt.Sprintf("%s is '%s'", label, shorten(text, 80)))
		}
	}
	if len(facts) > 0 {
		reason += " (" + strings.Join(facts, ", ") + ")"
	}
	return reason
}

func canonicalName(name string) string {
	for _, n := range conditionNames {
		if strings.EqualFold(n, name) {
			return n
		}
	}
	return name
}

func oneLine(s string) string { return shorten(strings.Join(strings.Fields(s), " "), 300) }

func shorten(s string, n int) string {
	if runes := []rune(s); len(runes) > n {
		return string(runes[:n]) + "…"
	}
	return s
}

// resourcesObject is the name resources: resources.pipeline.<alias>.runID.
func (r *Run) resourcesObject() expr.Value {
	pipelines := expr.NewObject()
	for i := range r.Resources {
		p := expr.NewObject()
		for _, v := range r.Resources[i].variables() {
			p.Set(v.Name, expr.String(v.Value))
		}
		pipelines.Set(r.Resources[i].Alias, expr.FromObject(p))
	}
	return expr.FromObject(expr.NewObject().Set("pipeline", expr.FromObject(pipelines)))
}

// pipelineObject is the name pipeline: pipeline.startTime.
func (r *Run) pipelineObject() expr.Value {
	o := expr.NewObject()
	if !r.StartTime.IsZero() {
		o.Set("startTime", expr.Date(r.StartTime.UTC()))
	}
	return expr.FromObject(o)
}

var (
	errNoInstance = errors.New("the job has no such instance")
	errSecret     = errors.New("it is made of a secret output, which can't be used here")
	errWrongState = errors.New("the state does not belong to this plan: its stages and jobs differ")
)
