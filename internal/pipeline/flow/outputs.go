package flow

import (
	"strings"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/pipeline/expr"
)

// resultName is a result as expressions see it. A job whose agent was lost for good has failed.
func resultName(r work.Result) expr.Value {
	switch r {
	case "":
		return expr.Null
	case work.Abandoned:
		return expr.String("Failed")
	}
	return expr.String(strings.ToUpper(string(r[:1])) + string(r[1:]))
}

// output finds an output of a job:
//
//	step.variable           of a job
//	leg.step.variable       of an instance of a job with a strategy
//	job.step.variable       of a deployment job
//	hook.step.variable      of a deployment job, and hook_resource.step.variable
func (j *job) output(js *JobState, key string) (string, bool) {
	for i := range js.Instances {
		in := &js.Instances[i]
		if in.Name == "" {
			if v, ok := in.output(key); ok {
				return v, true
			}
		}
		prefix, rest, ok := strings.Cut(key, ".")
		if !ok {
			continue
		}
		if in.Name != "" && strings.EqualFold(prefix, in.Name) || in.Name == "" && j.Deployment != nil && j.isHook(prefix) {
			if v, ok := in.output(rest); ok {
				return v, true
			}
		}
	}
	return "", false
}

// isHook reports whether a prefix of an output means the one instance of a deployment job.
func (j *job) isHook(prefix string) bool {
	if strings.EqualFold(prefix, j.Name) {
		return true
	}
	hook, resource, _ := strings.Cut(prefix, "_")
	if resource != "" && !strings.EqualFold(resource, j.Deployment.ResourceName) && !isNumber(resource) {
		return false
	}
	for _, h := range j.Deployment.Hooks {
		if strings.EqualFold(hook, h.Name) {
			return true
		}
	}
	return false
}

// isNumber reports whether s is the increment of a canary deployment.
func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

func (in *InstanceState) output(key string) (string, bool) {
	if v, ok := in.Outputs[key]; ok {
		return v, true
	}
	for name, v := range in.Outputs {
		if strings.EqualFold(name, key) {
			return v, true
		}
	}
	return "", false
}

// jobObject is a job as dependencies.X and stageDependencies.S.X have it.
func jobObject(j *job, js *JobState) expr.Value {
	o := expr.NewObject().Set("result", resultName(js.Result))
	o.Set("outputs", expr.FromObject(expr.NewLookup(func(key string) (expr.Value, bool) {
		v, ok := j.output(js, key)
		return expr.String(v), ok
	})))
	return expr.FromObject(o)
}

// stageObject is a stage as dependencies.X of a stage has it: its outputs are job.step.variable.
func stageObject(s *stage, ss *StageState) expr.Value {
	o := expr.NewObject().Set("result", resultName(ss.Result))
	o.Set("outputs", expr.FromObject(expr.NewLookup(func(key string) (expr.Value, bool) {
		name, rest, _ := strings.Cut(key, ".")
		j := s.byName[strings.ToLower(name)]
		if j == nil {
			return expr.Null, false
		}
		v, ok := j.output(&ss.Jobs[j.index], rest)
		return expr.String(v), ok
	})))
	return expr.FromObject(o)
}

// stageDependencies are the jobs of the stages that a stage depends on: S.J.result, S.J.outputs.
func stageDependencies(st *State, s *stage) expr.Value {
	all := expr.NewObject()
	for _, need := range s.needs {
		ss := &st.Stages[need.index]
		jobs := expr.NewObject()
		for _, j := range need.jobs {
			jobs.Set(j.Name, jobObject(j, &ss.Jobs[j.index]))
		}
		all.Set(need.Name, expr.FromObject(jobs))
	}
	return expr.FromObject(all)
}
