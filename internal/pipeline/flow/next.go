package flow

import (
	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/pipeline"
	"github.com/sekisho/sekisho/internal/pipeline/expr"
)

// Next puts into st what follows from it, and says what that is, in an order in which it can be carried out. It fails
// only if st is not of this plan.
func (f *Flow) Next(st *State) ([]Action, error) {
	if err := f.matches(st); err != nil {
		return nil, err
	}
	n := &next{Flow: f, st: st}
	for again := true; again && !st.Done; {
		again = false
		for _, s := range f.stages {
			if n.stage(s) {
				again = true
			}
		}
	}
	n.finish()
	return n.actions, nil
}

// matches refuses a state that was made for another plan.
func (f *Flow) matches(st *State) error {
	ok := len(st.Stages) == len(f.stages)
	for i := 0; ok && i < len(st.Stages); i++ {
		ss, s := &st.Stages[i], f.stages[i]
		ok = ss.Name == s.Name && len(ss.Jobs) == len(s.jobs)
		for k := 0; ok && k < len(ss.Jobs); k++ {
			ok = ss.Jobs[k].Name == s.jobs[k].Name
		}
	}
	if !ok {
		return errWrongState
	}
	return nil
}

// next is one call of Next.
type next struct {
	*Flow
	st      *State
	actions []Action
}

func (n *next) say(a Action) { n.actions = append(n.actions, a) }

// stage takes a stage as far as it goes, and reports whether it completed.
func (n *next) stage(s *stage) bool {
	ss := &n.st.Stages[s.index]
	switch ss.State {
	case work.Completed:
		return false
	case work.InProgress:
		return n.jobs(s, ss)
	}
	if ss.Rejected != "" {
		n.end(s, ss, work.Failed, ss.Rejected)
		return true
	}
	for _, need := range s.needs {
		if n.st.Stages[need.index].State != work.Completed {
			return false
		}
	}
	if ss.Omitted { // not before, or what depends on it would overtake what it depends on
		n.end(s, ss, work.Skipped, "it was left out of this run")
		return true
	}
	canceling := n.st.Canceling || ss.Canceling
	if ss.Ready && !canceling {
		return false // the caller sees to its checks
	}
	direct, all := stageFacts(n.st, s)
	v := n.decide(s.Condition, situation{what: "stage", canceling: canceling, direct: direct, all: all}, func() (map[string]expr.Value, error) {
		return n.stageNames(s)
	})
	switch {
	case v.err != nil:
		n.end(s, ss, work.Failed, v.err.Error())
		return true
	case !v.run && canceling:
		n.end(s, ss, work.Canceled, v.reason)
		return true
	case !v.run:
		n.end(s, ss, work.Skipped, v.reason)
		return true
	case ss.Ready:
		return false // canceled while the caller sees to its checks, but it runs even so
	case s.Manual && !ss.Released && canceling:
		n.end(s, ss, work.Canceled, "the run was canceled before the stage was started by hand")
		return true
	case s.Manual && !ss.Released:
		if !ss.Waiting {
			ss.Waiting = true
			n.say(Action{Kind: StageWaits, Stage: s.Name})
		}
		return false
	}
	ss.Ready, ss.Waiting = true, false
	n.say(Action{Kind: StageReady, Stage: s.Name})
	return false
}

// stageNames are what the condition of a stage may name.
func (n *next) stageNames(s *stage) (map[string]expr.Value, error) {
	vars, names, err := n.stageScope(n.st, s)
	if err != nil {
		return nil, err
	}
	needs := expr.NewObject()
	for _, need := range s.needs {
		needs.Set(need.Name, n.stageObject(need, &n.st.Stages[need.index]))
	}
	return map[string]expr.Value{
		"variables":         vars.object(),
		"dependencies":      expr.FromObject(needs),
		"stageDependencies": names["stageDependencies"],
		"pipeline":          n.run.pipelineObject(),
		"resources":         n.run.resourcesObject(),
	}, nil
}

// jobNames are what the condition of a job may name.
func (n *next) jobNames(j *job) (map[string]expr.Value, error) {
	vars, names, err := n.jobScope(n.st, j, nil)
	if err != nil {
		return nil, err
	}
	return map[string]expr.Value{
		"variables":         vars.object(),
		"dependencies":      names["dependencies"],
		"stageDependencies": names["stageDependencies"],
		"pipeline":          n.run.pipelineObject(),
		"resources":         n.run.resourcesObject(),
	}, nil
}

// end completes a stage that does not run, with its jobs.
func (n *next) end(s *stage, ss *StageState, r work.Result, reason string) {
	for i := range ss.Jobs {
		if js := &ss.Jobs[i]; js.State != work.Completed {
			result := r
			if result == work.Failed {
				result = work.Skipped
			}
			n.endJob(s.jobs[i], js, result, "its stage did not run: "+reason)
		}
	}
	n.complete(s, ss, r, reason)
}

func (n *next) complete(s *stage, ss *StageState, r work.Result, reason string) {
	ss.State, ss.Result, ss.Reason, ss.Ready, ss.Waiting = work.Completed, r, reason, false, false
	n.say(Action{Kind: StageDone, Stage: s.Name, Result: r, Reason: reason})
}

// jobs takes the jobs of a running stage as far as they go.
func (n *next) jobs(s *stage, ss *StageState) (completed bool) {
	for again := true; again; {
		again = false
		for _, j := range s.jobs {
			if n.job(s, ss, j) {
				again = true
			}
		}
	}
	results := make([]work.Result, len(ss.Jobs))
	for i := range ss.Jobs {
		if ss.Jobs[i].State != work.Completed {
			return false
		}
		results[i] = ss.Jobs[i].Result
	}
	n.complete(s, ss, whole(total(results)), "")
	return true
}

// job takes a job as far as it goes, and reports whether it completed.
func (n *next) job(s *stage, ss *StageState, j *job) bool {
	js := &ss.Jobs[j.index]
	switch js.State {
	case work.Completed:
		return false
	case work.InProgress:
		return n.running(ss, j, js)
	}
	for _, need := range j.needs {
		if ss.Jobs[need.index].State != work.Completed {
			return false
		}
	}
	canceling := n.st.Canceling || ss.Canceling
	direct, all := jobFacts(ss, j)
	v := n.decide(j.Condition, situation{what: "job", canceling: canceling, direct: direct, all: all}, func() (map[string]expr.Value, error) {
		return n.jobNames(j)
	})
	switch {
	case v.err != nil:
		n.endJob(j, js, work.Abandoned, v.err.Error())
		return true
	case !v.run && canceling:
		n.endJob(j, js, work.Canceled, v.reason)
		return true
	case !v.run:
		n.endJob(j, js, work.Skipped, v.reason)
		return true
	}
	all2, limit, err := n.instances(n.st, j)
	if err == nil && n.computed(j) {
		// What is wrong with its variables is said before an agent is asked for.
		_, _, err = n.jobScope(n.st, j, nil)
	}
	var continues bool
	if err == nil {
		continues, err = n.continues(j)
	}
	if err != nil {
		n.endJob(j, js, work.Failed, err.Error())
		return true
	}
	if len(all2) == 0 {
		n.endJob(j, js, work.Skipped, "its matrix has no legs")
		return true
	}
	js.State, js.MaxParallel, js.ContinueOnError = work.InProgress, limit, continues
	js.Instances = make([]InstanceState, len(all2))
	for i, in := range all2 {
		js.Instances[i] = InstanceState{Name: in.Name, State: work.Pending}
	}
	n.say(Action{Kind: JobReady, Stage: s.Name, Job: j.Name, Instances: all2})
	return n.running(ss, j, js)
}

// computed reports whether variables of a job, or of what is around it, are expressions, or come from groups.
func (n *next) computed(j *job) bool {
	for _, vars := range [][]pipeline.Variable{n.plan.Variables, j.stage.Variables, j.Variables} {
		for i := range vars {
			if _, ok := runtimeExpression(vars[i].Value); ok || vars[i].Group != "" {
				return true
			}
		}
	}
	return false
}

// continues evaluates continueOnError.
func (n *next) continues(j *job) (bool, error) {
	switch j.ContinueOnError {
	case "", "false", "False":
		return false, nil
	case "true", "True":
		return true, nil
	}
	vars, names, err := n.jobScope(n.st, j, nil)
	if err != nil {
		return false, err
	}
	return n.boolean(vars, names, "continueOnError of job "+j.Name, j.ContinueOnError)
}

func (n *next) endJob(j *job, js *JobState, r work.Result, reason string) {
	js.State, js.Result, js.Reason = work.Completed, r, reason
	n.say(Action{Kind: JobDone, Stage: j.stage.Name, Job: j.Name, Result: r, Reason: reason})
}

// running starts as many instances of a job as may run at once, and completes the job when all its instances have.
func (n *next) running(ss *StageState, j *job, js *JobState) bool {
	active, done := 0, 0
	for i := range js.Instances {
		switch js.Instances[i].State {
		case work.Pending:
		case work.Completed:
			done++
		default:
			active++
		}
	}
	canceling := n.st.Canceling || ss.Canceling
	for i := range js.Instances {
		in := &js.Instances[i]
		if in.State != work.Pending {
			continue
		}
		if canceling && !n.evenIfCanceled(j) {
			in.State, in.Result = work.Completed, work.Canceled
			done++
			n.say(Action{Kind: InstanceDone, Stage: j.stage.Name, Job: j.Name, Instance: in.Name, Result: work.Canceled, Reason: "the run was canceled"})
			continue
		}
		if js.MaxParallel > 0 && active >= js.MaxParallel {
			continue
		}
		in.State = work.InProgress
		active++
		n.say(Action{Kind: InstanceReady, Stage: j.stage.Name, Job: j.Name, Instance: in.Name})
	}
	if done < len(js.Instances) {
		return false
	}
	results := make([]work.Result, len(js.Instances))
	for i := range js.Instances {
		results[i] = js.Instances[i].Result
	}
	r := total(results)
	if js.ContinueOnError && failed(r) {
		r = work.SucceededWithIssues
	}
	n.endJob(j, js, r, "")
	return true
}

// evenIfCanceled reports whether the condition of a job holds in a run that is being canceled.
func (n *next) evenIfCanceled(j *job) bool {
	ss := &n.st.Stages[j.stage.index]
	direct, all := jobFacts(ss, j)
	v := n.decide(j.Condition, situation{what: "job", canceling: true, direct: direct, all: all}, func() (map[string]expr.Value, error) {
		return n.jobNames(j)
	})
	return v.err == nil && v.run
}

// finish completes the run when all its stages have.
func (n *next) finish() {
	if n.st.Done {
		return
	}
	results := make([]work.Result, len(n.st.Stages))
	for i := range n.st.Stages {
		if n.st.Stages[i].State != work.Completed {
			return
		}
		results[i] = n.st.Stages[i].Result
	}
	r := whole(total(results))
	switch {
	case n.st.Canceling:
		r = work.Canceled
	case r == work.Skipped: // nothing had to be done
		r = work.Succeeded
	}
	n.st.Done, n.st.Result = true, r
	n.say(Action{Kind: RunDone, Result: r})
}

// whole is the result of a stage or a run: only a job can be abandoned, and what it is a part of has failed.
func whole(r work.Result) work.Result {
	if r == work.Abandoned {
		return work.Failed
	}
	return r
}

// total is the result of what has several parts: the worst of them. What was skipped does not count beside others.
func total(results []work.Result) work.Result {
	sum := work.Skipped
	if len(results) == 0 {
		return work.Succeeded
	}
	rank := func(r work.Result) int {
		switch r {
		case work.Skipped:
			return 0
		case work.Succeeded:
			return 1
		case work.SucceededWithIssues:
			return 2
		case work.Canceled:
			return 3
		}
		return 4
	}
	for _, r := range results {
		if rank(r) > rank(sum) {
			sum = r
		}
	}
	if sum == work.Abandoned {
		for _, r := range results {
			if r == work.Failed {
				return work.Failed
			}
		}
	}
	return sum
}
