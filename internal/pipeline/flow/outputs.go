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
func (j *job) output(js *JobState, key string) (value string, secret, ok bool) {
	for i := range js.Instances {
		in := &js.Instances[i]
		if in.Name == "" {
			if value, secret, ok = in.output(key); ok {
				return value, secret, true
			}
		}
		prefix, rest, cut := strings.Cut(key, ".")
		if !cut {
			continue
		}
		if in.Name != "" && strings.EqualFold(prefix, in.Name) || in.Name == "" && j.Deployment != nil && j.isHook(prefix) {
			if value, secret, ok = in.output(rest); ok {
				return value, secret, true
			}
		}
	}
	return "", false, false
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

func (in *InstanceState) output(key string) (value string, secret, ok bool) {
	if v, ok := findFold(in.Outputs, key); ok {
		return v, false, true
	}
	v, ok := findFold(in.SecretOutputs, key)
	return v, ok, ok
}

func findFold(m map[string]string, key string) (string, bool) {
	if v, ok := m[key]; ok {
		return v, true
	}
	for name, v := range m {
		if strings.EqualFold(name, key) {
			return v, true
		}
	}
	return "", false
}

// outputs are the outputs of something. That a secret one was read is remembered.
func (f *Flow) outputs(find func(key string) (value string, secret, ok bool)) expr.Value {
	return expr.FromObject(expr.NewLookup(func(key string) (expr.Value, bool) {
		v, secret, ok := find(key)
		f.secret = f.secret || secret
		return expr.String(v), ok
	}))
}

// jobObject is a job as dependencies.X and stageDependencies.S.X have it.
func (f *Flow) jobObject(j *job, js *JobState) expr.Value {
	o := expr.NewObject().Set("result", resultName(js.Result))
	o.Set("outputs", f.outputs(func(key string) (string, bool, bool) { return j.output(js, key) }))
	return expr.FromObject(o)
}

// stageObject is a stage as dependencies.X of a stage has it: its outputs are job.step.variable.
func (f *Flow) stageObject(s *stage, ss *StageState) expr.Value {
	o := expr.NewObject().Set("result", resultName(ss.Result))
	o.Set("outputs", f.outputs(func(key string) (string, bool, bool) {
		name, rest, _ := strings.Cut(key, ".")
		j := s.byName[strings.ToLower(name)]
		if j == nil {
			return "", false, false
		}
		return j.output(&ss.Jobs[j.index], rest)
	}))
	return expr.FromObject(o)
}

// stageDependencies are the jobs of the stages that a stage depends on: S.J.result, S.J.outputs.
func (f *Flow) stageDependencies(st *State, s *stage) expr.Value {
	all := expr.NewObject()
	for _, need := range s.needs {
		ss := &st.Stages[need.index]
		jobs := expr.NewObject()
		for _, j := range need.jobs {
			jobs.Set(j.Name, f.jobObject(j, &ss.Jobs[j.index]))
		}
		all.Set(need.Name, expr.FromObject(jobs))
	}
	return expr.FromObject(all)
}
