package worker

import (
	"fmt"
	"strings"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/pipeline/expr"
)

// condition decides whether a step runs, by the job's status so far. An empty condition is succeeded().
func (j *job) condition(text string, status work.Result) (bool, error) {
	if strings.TrimSpace(text) == "" {
		text = "succeeded()"
	}
	if inner, ok := strings.CutPrefix(strings.TrimSpace(text), "$["); ok && strings.HasSuffix(inner, "]") {
		text = strings.TrimSuffix(inner, "]")
	}
	e, err := expr.Parse(text)
	if err != nil {
		return false, fmt.Errorf("the condition %q can't be read: %w", text, err)
	}
	is := func(results ...work.Result) expr.Function {
		return expr.Function{Min: 0, Max: 0, Call: func([]expr.Value) (expr.Value, error) {
			for _, r := range results {
				if status == r {
					return expr.Bool(true), nil
				}
			}
			return expr.Bool(false), nil
		}}
	}
	c := &expr.Context{
		Names: map[string]expr.Value{"variables": expr.FromObject(expr.NewLookup(func(key string) (expr.Value, bool) {
			v, ok := j.vars.get(key)
			return expr.String(v.Value), ok
		}))},
		Functions: map[string]expr.Function{
			"always":            {Min: 0, Max: 0, Call: func([]expr.Value) (expr.Value, error) { return expr.Bool(true), nil }},
			"canceled":          is(work.Canceled),
			"failed":            is(work.Failed),
			"succeeded":         is(work.Succeeded, work.SucceededWithIssues),
			"succeededorfailed": is(work.Succeeded, work.SucceededWithIssues, work.Failed),
		},
		Mask: j.masker.String,
	}
	ok, err := e.EvalBool(c)
	if err != nil {
		return false, fmt.Errorf("the condition %q can't be decided: %w", text, err)
	}
	return ok, nil
}
