package flow

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sekisho/sekisho/internal/pipeline"
	"github.com/sekisho/sekisho/internal/pipeline/expr"
	"github.com/sekisho/sekisho/internal/pipeline/yaml"
)

// Check reports what keeps a plan from being run, in the order of the plan: stages and jobs that are there twice, depend on
// what is not there, on themselves or on each other in a circle; conditions and $[ ] that can't be evaluated.
func Check(plan *pipeline.Plan) []*yaml.Error {
	c := &checker{}
	c.variables(plan.Variables)
	nodes := make([]graphNode, len(plan.Stages))
	for i, s := range plan.Stages {
		nodes[i] = graphNode{s.Name, s.Pos, s.DependsOn}
	}
	c.graph("stage", "", nodes)
	for _, s := range plan.Stages {
		c.condition(s.Pos, "stage "+s.Name, s.Condition, nodes)
		c.variables(s.Variables)
		jobs := make([]graphNode, len(s.Jobs))
		for i, j := range s.Jobs {
			jobs[i] = graphNode{j.Name, j.Pos, j.DependsOn}
		}
		c.graph("job", s.Name, jobs)
		for _, j := range s.Jobs {
			c.condition(j.Pos, "job "+j.Name, j.Condition, jobs)
			c.variables(j.Variables)
			c.strategy(j)
		}
	}
	return c.errs
}

type checker struct{ errs []*yaml.Error }

func (c *checker) add(pos yaml.Pos, format string, args ...any) {
	c.errs = append(c.errs, &yaml.Error{Pos: pos, Message: fmt.Sprintf(format, args...)})
}

// graphNode is a stage, or a job.
type graphNode struct {
	name  string
	pos   yaml.Pos
	needs []string
}

// graph checks the stages of a plan, or the jobs of a stage.
func (c *checker) graph(what, stage string, nodes []graphNode) {
	index := make(map[string]int, len(nodes))
	for i, n := range nodes {
		low := strings.ToLower(n.name)
		if n.name == "" {
			c.add(n.pos, "the %s has no name", what)
		} else if first, ok := index[low]; ok {
			c.add(n.pos, "there is a %s called %s already, at %s", what, nodes[first].name, nodes[first].pos)
			continue
		}
		index[low] = i
	}
	place := ""
	if stage != "" && stage != "__default" {
		place = " of stage " + stage
	}
	complete := true
	for _, n := range nodes {
		for _, need := range n.needs {
			switch _, ok := index[strings.ToLower(need)]; {
			case strings.EqualFold(need, n.name):
				c.add(n.pos, "the %s %s depends on itself", what, n.name)
				complete = false
			case !ok:
				c.add(n.pos, "the %s %s depends on %s, but there is no such %s%s", what, n.name, need, what, place)
				complete = false
			}
		}
	}
	if complete {
		c.circle(what, nodes, index)
	}
}

// circle reports one circle, with all that are in it.
func (c *checker) circle(what string, nodes []graphNode, index map[string]int) {
	waits := make([]int, len(nodes)) // how many of its needs are open
	dependents := make([][]int, len(nodes))
	for i, n := range nodes {
		for _, need := range n.needs {
			k := index[strings.ToLower(need)]
			waits[i]++
			dependents[k] = append(dependents[k], i)
		}
	}
	var free []int
	for i := range nodes {
		if waits[i] == 0 {
			free = append(free, i)
		}
	}
	for k := 0; k < len(free); k++ {
		for _, i := range dependents[free[k]] {
			if waits[i]--; waits[i] == 0 {
				free = append(free, i)
			}
		}
	}
	start := slices.IndexFunc(waits, func(w int) bool { return w > 0 })
	if start < 0 {
		return
	}
	// Each that is left needs one that is left: going on from one to the next ends in the circle.
	at, seen, path := start, map[int]int{}, []int{}
	for {
		if first, ok := seen[at]; ok {
			path = path[first:]
			break
		}
		seen[at] = len(path)
		path = append(path, at)
		for _, need := range nodes[at].needs {
			if k := index[strings.ToLower(need)]; waits[k] > 0 {
				at = k
				break
			}
		}
	}
	smallest := slices.Index(path, slices.Min(path)) // the one that stands first begins
	path = append(path[smallest:len(path):len(path)], path[:smallest]...)
	names := make([]string, 0, len(path)+1)
	for _, i := range append(path, path[0]) {
		names = append(names, nodes[i].name)
	}
	if len(names) > 12 {
		names = append(append(names[:6:6], "…"), names[len(names)-5:]...)
	}
	c.add(nodes[path[0]].pos, "the %ss wait for each other: %s", what, strings.Join(names, " → "))
}

// condition checks the condition of a stage or a job.
func (c *checker) condition(pos yaml.Pos, what, condition string, all []graphNode) {
	text := unwrap(condition)
	if strings.TrimSpace(condition) == "" {
		return
	}
	e, err := expr.Parse(text)
	if err == nil {
		err = e.Check(conditionNames, conditionFunctions())
	}
	if err != nil {
		c.add(pos, "the condition of %s: %s", what, hint(err))
	}
}

// hint explains names that exist elsewhere.
func hint(err error) string {
	message := err.Error()
	var syntax *expr.SyntaxError
	if !errors.As(err, &syntax) || syntax.Hint != "" {
		return message
	}
	low := strings.ToLower(message)
	switch {
	case strings.Contains(low, "'parameters'"):
		message += ". Parameters are known only in ${{ }}, while the pipeline is compiled"
	case strings.Contains(low, "'counter'"):
		message += ". counter can be called in $[ ] of a variable alone"
	case strings.Contains(low, "unrecognized value: 'succeeded") || strings.Contains(low, "unrecognized value: 'failed'") ||
		strings.Contains(low, "unrecognized value: 'always'"):
		message += ". Status functions can be called in conditions alone"
	}
	return message
}

var counterFunction = map[string]expr.Function{"counter": {Min: 0, Max: 2}}

func (c *checker) variables(vars []pipeline.Variable) {
	for i := range vars {
		v := &vars[i]
		c.runtime(v.Pos, "the variable "+v.Name, v.Value)
	}
}

// runtime checks a text that may be $[ ].
func (c *checker) runtime(pos yaml.Pos, what, text string) {
	inner, ok := runtimeExpression(text)
	if !ok {
		return
	}
	e, err := expr.Parse(inner)
	if err == nil {
		err = e.Check(conditionNames, counterFunction)
	}
	if err != nil {
		c.add(pos, "%s: %s", what, hint(err))
	}
}

func (c *checker) strategy(j *pipeline.Job) {
	s := j.Strategy
	if s == nil {
		return
	}
	legs := make([]leg, 0, len(s.Matrix))
	for _, l := range s.Matrix {
		legs = append(legs, leg{name: l.Name})
		for _, kv := range l.Variables {
			c.runtime(kv.Pos, "leg "+l.Name+" of the matrix of job "+j.Name+", variable "+kv.Key, kv.Value)
		}
	}
	if err := checkLegs(legs); err != nil {
		c.add(j.Pos, "the matrix of job %s: %s", j.Name, err)
	}
	c.runtime(j.Pos, "the matrix of job "+j.Name, s.MatrixExpression)
	c.runtime(j.Pos, "parallel of job "+j.Name, s.Parallel)
	c.runtime(j.Pos, "maxParallel of job "+j.Name, s.MaxParallel)
}

// Warn reports what can be run but hardly means what it says: names of stages and jobs that are not among those depended
// on, which make expressions empty and status functions fail.
func Warn(plan *pipeline.Plan) []*yaml.Error {
	c := &checker{}
	stages := make([]graphNode, len(plan.Stages))
	for i, s := range plan.Stages {
		stages[i] = graphNode{s.Name, s.Pos, s.DependsOn}
	}
	for i, s := range plan.Stages {
		c.names(s.Pos, "stage "+s.Name, s.Condition, "dependencies", "stage", s.DependsOn)
		c.status("stage", stages, i, s.Condition)
		c.variableNames(s.Variables, "stageDependencies", "stage", s.DependsOn)
		jobs := make([]graphNode, len(s.Jobs))
		for k, j := range s.Jobs {
			jobs[k] = graphNode{j.Name, j.Pos, j.DependsOn}
		}
		for k, j := range s.Jobs {
			c.names(j.Pos, "job "+j.Name, j.Condition, "dependencies", "job", j.DependsOn)
			c.names(j.Pos, "job "+j.Name, j.Condition, "stageDependencies", "stage", s.DependsOn)
			c.status("job", jobs, k, j.Condition)
			c.variableNames(j.Variables, "dependencies", "job", j.DependsOn)
			c.variableNames(j.Variables, "stageDependencies", "stage", s.DependsOn)
		}
	}
	return c.errs
}

func (c *checker) variableNames(vars []pipeline.Variable, name, what string, needs []string) {
	for _, v := range vars {
		if text, ok := runtimeExpression(v.Value); ok {
			c.names(v.Pos, "the variable "+v.Name, text, name, what, needs)
		}
	}
}

// names warns of name.X where X is not among needs.
func (c *checker) names(pos yaml.Pos, where, text, name, what string, needs []string) {
	e, err := expr.Parse(unwrap(text))
	if err != nil {
		return
	}
	for _, r := range e.References() {
		if !strings.EqualFold(r.Path[0], name) || len(r.Path) < 2 || containsFold(needs, r.Path[1]) {
			continue
		}
		c.add(pos, "%s: %s.%s is always empty, since the %s %s is not among dependsOn", where, name, r.Path[1], what, r.Path[1])
	}
}

// status warns of succeeded('X') where X is not depended on, directly or indirectly.
func (c *checker) status(what string, nodes []graphNode, i int, condition string) {
	e, err := expr.Parse(unwrap(condition))
	if err != nil {
		return
	}
	n := nodes[i]
	var known []string // built when it is first needed
	for _, call := range e.Calls() {
		if !containsFold([]string{"succeeded", "failed", "succeededOrFailed"}, call.Name) {
			continue
		}
		for _, arg := range call.Args {
			text, err := arg.ToString()
			if err != nil || arg.IsNull() {
				continue
			}
			if known == nil {
				known = reach(nodes, i)
			}
			if !containsFold(known, text) {
				c.add(n.pos, "%s %s: %s('%s') can't be decided, since the %s does not depend on %s", what, n.name, call.Name, text, what, text)
			}
		}
	}
}

// reach are the names of all that a node depends on.
func reach(nodes []graphNode, from int) []string {
	index := make(map[string]int, len(nodes))
	for i, n := range nodes {
		index[strings.ToLower(n.name)] = i
	}
	names := []string{}
	for _, i := range closure(from, func(i int) []int {
		var needs []int
		for _, need := range nodes[i].needs {
			if k, ok := index[strings.ToLower(need)]; ok {
				needs = append(needs, k)
			}
		}
		return needs
	}) {
		names = append(names, nodes[i].name)
	}
	return names
}

func containsFold(names []string, name string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) })
}
