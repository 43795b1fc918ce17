package flow

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/pipeline"
	"github.com/sekisho/sekisho/internal/pipeline/expr"
	"github.com/sekisho/sekisho/internal/pipeline/macro"
)

// Origin is one place that gives a variable a value.
type Origin struct {
	From    string // "variable group prod", "azure-pipelines.yml:4:3", "the system", …
	Value   string // "***" if it is secret
	Written string // as it was written, where that differs: $[ ]
	Wins    bool   // this is the value that counts
	Why     string // why it does not, where that is not plain
}

// scope is the variables of a run, a stage or a job while they are put together.
type scope struct {
	entries []*entry
	byName  map[string]*entry // in lower case
}

type entry struct {
	work.Variable
	origins []Origin
}

func newScope() *scope { return &scope{byName: map[string]*entry{}} }

// child is a copy that can be added to.
func (s *scope) child() *scope {
	c := &scope{entries: make([]*entry, len(s.entries), len(s.entries)+16), byName: make(map[string]*entry, len(s.byName)+16)}
	for i, e := range s.entries {
		copied := *e
		copied.origins = e.origins[:len(e.origins):len(e.origins)]
		c.entries[i] = &copied
		c.byName[strings.ToLower(e.Name)] = &copied
	}
	return c
}

func (s *scope) get(name string) *entry { return s.byName[strings.ToLower(name)] }

// set gives a variable a value that counts from now on, unless the system has it.
func (s *scope) set(v work.Variable, written string) {
	o := Origin{From: v.From, Value: v.Value, Wins: true}
	if v.Secret {
		o.Value = "***"
	}
	if written != v.Value {
		o.Written = written
	}
	e := s.get(v.Name)
	if e == nil {
		e = &entry{Variable: v, origins: []Origin{o}}
		s.entries = append(s.entries, e)
		s.byName[strings.ToLower(v.Name)] = e
		return
	}
	if e.From == fromSystem && v.From != fromSystem {
		o.Wins, o.Why = false, "variables of the system can't be set"
		e.origins = append(e.origins, o)
		return
	}
	for i := range e.origins {
		e.origins[i].Wins = false
	}
	e.origins = append(e.origins, o)
	name := e.Name // as it was written first
	e.Variable = v
	e.Name = name
}

// value is a variable as expressions see it: with its macros expanded. Secrets are empty.
func (s *scope) value(name string) (expr.Value, bool) {
	e := s.get(name)
	if e == nil {
		return expr.Null, false
	}
	if e.Secret {
		return expr.String(""), true
	}
	if !strings.Contains(e.Value, "$(") {
		return expr.String(e.Value), true
	}
	text, err := macro.Recursive(e.Name, e.Value, s.public)
	if err != nil {
		return expr.String(e.Value), true
	}
	return expr.String(text), true
}

// public finds the values of variables that are not secret.
func (s *scope) public(name string) (string, bool) {
	if e := s.get(name); e != nil && !e.Secret {
		return e.Value, true
	}
	return "", false
}

func (s *scope) object() expr.Value { return expr.FromObject(expr.NewLookup(s.value)) }

// variables are what remains: each variable once, with the value that counts.
func (s *scope) variables() []work.Variable {
	vars := make([]work.Variable, len(s.entries))
	for i, e := range s.entries {
		vars[i] = e.Variable
	}
	return vars
}

// runtimeExpression returns what is between $[ and ], for a value that is nothing else.
func runtimeExpression(value string) (string, bool) {
	t := strings.TrimSpace(value)
	if strings.HasPrefix(t, "$[") && strings.HasSuffix(t, "]") {
		return strings.TrimSpace(t[2 : len(t)-1]), true
	}
	return "", false
}

// declare adds the variables that a pipeline, a stage or a job declares, in their order, so that a later one may refer to
// an earlier one. names has what expressions may name beside variables.
func (f *Flow) declare(s *scope, vars []pipeline.Variable, where string, names map[string]expr.Value) error {
	for i := range vars {
		v := &vars[i]
		if v.Group != "" {
			group, ok := f.run.Groups[strings.ToLower(v.Group)]
			if !ok {
				return fmt.Errorf("%s: the variable group %s, which %s uses, does not exist or may not be used by this pipeline",
					v.Pos, v.Group, where)
			}
			for _, gv := range group {
				if gv.From == "" {
					gv.From = "variable group " + v.Group
				}
				s.set(gv, gv.Value)
			}
			continue
		}
		value, secret := v.Value, false
		if text, ok := runtimeExpression(value); ok {
			var err error
			if value, secret, err = f.evaluate(s, text, names); err != nil {
				return fmt.Errorf("%s: the variable %s: %w", v.Pos, v.Name, err)
			}
		}
		from := where
		if p := v.Pos.String(); p != "" {
			from = p
		}
		s.set(work.Variable{Name: v.Name, Value: value, ReadOnly: v.ReadOnly, Secret: secret, From: from}, v.Value)
	}
	return nil
}

// evaluate evaluates a $[ ] expression, and says whether a secret went into its value.
func (f *Flow) evaluate(s *scope, text string, names map[string]expr.Value) (value string, secret bool, err error) {
	e, err := f.parse(text)
	if err != nil {
		return "", false, err
	}
	c := &expr.Context{
		Names:     map[string]expr.Value{"variables": s.object(), "pipeline": f.run.pipelineObject(), "resources": f.run.resourcesObject()},
		Functions: map[string]expr.Function{"counter": {Min: 0, Max: 2, Call: f.counter}},
		Mask:      f.mask,
	}
	for _, name := range conditionNames { // what there is nothing of is empty, not unknown
		if _, ok := c.Names[name]; !ok {
			c.Names[name] = expr.FromObject(expr.NewObject())
		}
	}
	for name, v := range names {
		c.Names[name] = v
	}
	f.secret = false
	v, err := e.Eval(c)
	if err != nil {
		return "", f.secret, err
	}
	if value, err = v.ToString(); err != nil {
		return "", f.secret, err
	}
	return value, f.secret, nil
}

// mask hides the values that errors quote, if one of them may be secret.
func (f *Flow) mask(value string) string {
	if f.secret {
		return "***"
	}
	return value
}

// counter is counter(prefix, seed). Within a run a prefix has one value, however often it is asked for.
func (f *Flow) counter(args []expr.Value) (expr.Value, error) {
	prefix, seed := "", int64(0)
	if len(args) > 0 {
		text, err := args[0].ToString()
		if err != nil {
			return expr.Null, err
		}
		prefix = text
	}
	if len(args) > 1 {
		n, err := args[1].ToNumber()
		if err != nil {
			return expr.Null, err
		}
		if n > 1<<53 || n < -1<<53 {
			return expr.Null, fmt.Errorf("the seed of a counter is between %d and %d", -1<<53, 1<<53)
		}
		seed = int64(n)
	}
	key := strings.ToLower(prefix)
	if n, ok := f.counts[key]; ok {
		return expr.Number(float64(n)), nil
	}
	n := seed
	if f.run.Counter != nil {
		var err error
		if n, err = f.run.Counter(prefix, seed); err != nil {
			return expr.Null, fmt.Errorf("counter: %w", err)
		}
	}
	f.counts[key] = n
	return expr.Number(float64(n)), nil
}

// runScope is what holds for the whole run. It depends on nothing that happens, so it is made once.
func (f *Flow) runScope() (*scope, error) {
	if f.base == nil {
		s := newScope()
		for _, v := range f.run.predefined() {
			s.set(v, v.Value)
		}
		for _, v := range f.run.Settings {
			if v.From == "" {
				v.From = "the pipeline's settings"
			}
			s.set(v.Variable, v.Value)
		}
		for _, v := range f.run.Queue {
			if old := s.get(v.Name); old != nil && old.Secret {
				v.Secret = true
			}
			if v.From == "" {
				v.From = "set when the run was started"
			}
			s.set(v, v.Value)
		}
		if err := f.declare(s, f.plan.Variables, "the pipeline", nil); err != nil {
			return nil, err
		}
		f.base = s
	}
	return f.base, nil
}

// stageScope is what holds in a stage.
func (f *Flow) stageScope(st *State, s *stage) (*scope, map[string]expr.Value, error) {
	run, err := f.runScope()
	if err != nil {
		return nil, nil, err
	}
	ss := &st.Stages[s.index]
	vars := run.child()
	system := list{}
	system.add("System.StageName", s.Name)
	system.add("System.StageDisplayName", orElse(s.DisplayName, s.Name))
	system.add("System.StageAttempt", strconv.Itoa(max(ss.Attempt, 1)))
	for _, v := range system {
		vars.set(v, v.Value)
	}
	names := map[string]expr.Value{"stageDependencies": f.stageDependencies(st, s)}
	if err := f.declare(vars, s.Variables, "stage "+s.Name, names); err != nil {
		return nil, nil, err
	}
	return vars, names, nil
}

// jobScope is what holds in an instance of a job; in == nil: in the job, before it becomes instances.
func (f *Flow) jobScope(st *State, j *job, in *Instance) (*scope, map[string]expr.Value, error) {
	stageVars, names, err := f.stageScope(st, j.stage)
	if err != nil {
		return nil, nil, err
	}
	ss := &st.Stages[j.stage.index]
	needs := expr.NewObject()
	for _, need := range j.needs {
		needs.Set(need.Name, f.jobObject(need, &ss.Jobs[need.index]))
	}
	names["dependencies"] = expr.FromObject(needs)
	vars := stageVars
	attempt := strconv.Itoa(max(ss.Jobs[j.index].Attempt, 1))
	display := orElse(j.DisplayName, j.Name)
	system := list{}
	system.add("System.PhaseName", j.Name)
	system.add("System.PhaseDisplayName", display)
	system.add("System.PhaseAttempt", attempt)
	system.add("System.JobAttempt", attempt)
	name, identifier, position, total := j.Name, j.stage.Name+"."+j.Name, 1, 1
	if in != nil {
		position, total = in.Position, in.Total
		if in.Name != "" {
			name = in.Name
			identifier += "." + in.Name
			display = in.DisplayName
		} else {
			identifier += "." + defaultInstance
		}
	}
	system.add("System.JobName", orElse(name, j.Name))
	system.add("System.JobDisplayName", display)
	system.add("System.JobIdentifier", identifier)
	system.add("System.JobPositionInPhase", strconv.Itoa(position))
	system.add("System.TotalJobsInPhase", strconv.Itoa(total))
	if j.Strategy != nil {
		parallel := "MultiConfiguration"
		if j.Strategy.Parallel != "" {
			parallel = "MultiMachine"
		}
		system.add("System.ParallelExecutionType", parallel)
	}
	for _, v := range system {
		vars.set(v, v.Value)
	}
	if err := f.declare(vars, j.Variables, "job "+j.Name, names); err != nil {
		return nil, nil, err
	}
	if in != nil {
		for _, v := range in.Variables {
			vars.set(v, v.Value)
		}
	}
	if d := j.Deployment; d != nil {
		system := list{}
		env := f.text(vars, d.Environment)
		system.add("Environment.Name", env)
		system.maybe("Environment.Id", f.run.Environments[strings.ToLower(env)])
		system.maybe("Environment.ResourceName", f.text(vars, d.ResourceName))
		system.add("Strategy.Name", d.Strategy)
		for _, v := range system {
			vars.set(v, v.Value)
		}
	}
	return vars, names, nil
}

// defaultInstance ends System.JobIdentifier of a job without a strategy.
const defaultInstance = "__default"

// text expands the macros of a text with the variables that are not secret.
func (f *Flow) text(s *scope, text string) string {
	return macro.Expand(text, func(name string) (string, bool) {
		v, ok := s.value(name)
		if e := s.get(name); !ok || e.Secret {
			return "", false
		}
		out, _ := v.ToString()
		return out, true
	})
}

// Variables are what an instance of a job starts with: each variable once, with $[ ] evaluated and macros as they were
// written. What is secret has the value that the [Run] had for it. instance is the name of the instance.
func (f *Flow) Variables(st *State, stage, job, instance string) ([]work.Variable, error) {
	vars, _, err := f.instanceScope(st, stage, job, instance)
	if err != nil {
		return nil, err
	}
	return vars.variables(), nil
}

// Explain says where a variable of a job gets its value, in the order in which values are given; nil if it has none.
// An empty job asks about the stage, an empty stage about the run.
func (f *Flow) Explain(st *State, stage, job, instance, name string) ([]Origin, error) {
	vars, err := f.runScope()
	switch {
	case err != nil:
	case stage == "":
	case job == "":
		s := f.byName[strings.ToLower(stage)]
		if s == nil {
			return nil, fmt.Errorf("the plan has no stage %s", stage)
		}
		vars, _, err = f.stageScope(st, s)
	default:
		vars, _, err = f.instanceScope(st, stage, job, instance)
	}
	if err != nil {
		return nil, err
	}
	if e := vars.get(name); e != nil {
		return e.origins, nil
	}
	return nil, nil
}

func (f *Flow) instanceScope(st *State, stage, job, instance string) (*scope, map[string]expr.Value, error) {
	j, err := f.find(stage, job)
	if err != nil {
		return nil, nil, err
	}
	if j.Strategy == nil {
		return f.jobScope(st, j, &Instance{Position: 1, Total: 1})
	}
	all, _, err := f.instances(st, j)
	if err != nil {
		return nil, nil, err
	}
	for i := range all {
		if strings.EqualFold(all[i].Name, instance) {
			return f.jobScope(st, j, &all[i])
		}
	}
	return nil, nil, fmt.Errorf("%w: %s.%s has no %q", errNoInstance, stage, job, instance)
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// Groups are the names of the variable groups that a plan uses, each once.
func Groups(plan *pipeline.Plan) []string {
	var names []string
	seen := map[string]bool{}
	add := func(vars []pipeline.Variable) {
		for _, v := range vars {
			if low := strings.ToLower(v.Group); low != "" && !seen[low] {
				seen[low] = true
				names = append(names, v.Group)
			}
		}
	}
	add(plan.Variables)
	for _, s := range plan.Stages {
		add(s.Variables)
		for _, j := range s.Jobs {
			add(j.Variables)
		}
	}
	return names
}
