package flow

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/pipeline"
	"github.com/sekisho/sekisho/internal/pipeline/yaml"
)

func at(line int) yaml.Pos { return yaml.Pos{File: "azure-pipelines.yml", Line: line, Column: 3} }

// job makes a job of "name", or "name: needs, needs", or either with "? condition".
func newJob(text string) *pipeline.Job {
	text, condition, _ := strings.Cut(text, " ? ")
	name, needs, _ := strings.Cut(text, ":")
	return &pipeline.Job{Name: strings.TrimSpace(name), DependsOn: split(needs), Condition: condition,
		Steps: []*pipeline.Step{{Task: "Bash@3"}}}
}

func split(s string) []string {
	return strings.FieldsFunc(s, func(c rune) bool { return c == ',' || c == ' ' })
}

// newStage makes a stage in the same way.
func newStage(text string, jobs ...*pipeline.Job) *pipeline.Stage {
	j := newJob(text)
	return &pipeline.Stage{Name: j.Name, DependsOn: j.DependsOn, Condition: j.Condition, Jobs: jobs}
}

func onePlan(jobs ...string) *pipeline.Plan {
	s := newStage("S")
	for i, text := range jobs {
		j := newJob(text)
		j.Pos = at(i + 1)
		s.Jobs = append(s.Jobs, j)
	}
	return &pipeline.Plan{Stages: []*pipeline.Stage{s}}
}

// outcome is how a test lets instances end, by "job", "job.instance", "stage.job": a result and outputs, as
// "failed step.v=1".
type outcome map[string]string

func (o outcome) of(stage, job, instance string) (work.Result, map[string]string) {
	text := ""
	for _, key := range []string{stage + "." + job + "." + instance, stage + "." + job, job + "." + instance, job} {
		if t, ok := o[key]; ok {
			text = t
			break
		}
	}
	result, outputs := work.Succeeded, map[string]string{}
	for _, word := range strings.Fields(text) {
		if name, value, ok := strings.Cut(word, "="); ok {
			outputs[name] = value
		} else {
			result = work.Result(word)
		}
	}
	return result, outputs
}

// drive runs a flow to its end, and returns what happened, one line an action.
func drive(t *testing.T, f *Flow, st *State, o outcome) []string {
	t.Helper()
	var log []string
	for range 10_000 {
		actions, err := f.Next(st)
		if err != nil {
			t.Fatal(err)
		}
		if st.Done {
			for _, a := range actions {
				log = append(log, line(a))
			}
			return log
		}
		if len(actions) == 0 {
			t.Fatalf("stuck after\n%s", strings.Join(log, "\n"))
		}
		for _, a := range actions {
			log = append(log, line(a))
			switch a.Kind {
			case StageReady:
				stageState(st, a.Stage).State = work.InProgress
			case StageWaits:
				stageState(st, a.Stage).Released = true
			case InstanceReady:
				in := instanceState(st, a.Stage, a.Job, a.Instance)
				in.State = work.Completed
				in.Result, in.Outputs = o.of(a.Stage, a.Job, a.Instance)
			}
		}
	}
	t.Fatal("no end")
	return nil
}

func line(a Action) string {
	parts := []string{string(a.Kind)}
	for _, s := range []string{a.Stage, a.Job, a.Instance} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	for _, in := range a.Instances {
		parts = append(parts, "+"+in.DisplayName)
	}
	if a.Result != "" {
		parts = append(parts, string(a.Result))
	}
	if a.Reason != "" {
		parts = append(parts, "("+a.Reason+")")
	}
	return strings.Join(parts, " ")
}

func stageState(st *State, name string) *StageState {
	for i := range st.Stages {
		if st.Stages[i].Name == name {
			return &st.Stages[i]
		}
	}
	return nil
}

func instanceState(st *State, stage, job, instance string) *InstanceState {
	ss := stageState(st, stage)
	for i := range ss.Jobs {
		for k := range ss.Jobs[i].Instances {
			if ss.Jobs[i].Name == job && ss.Jobs[i].Instances[k].Name == instance {
				return &ss.Jobs[i].Instances[k]
			}
		}
	}
	return nil
}

func newFlow(t *testing.T, plan *pipeline.Plan, run *Run) (*Flow, *State) {
	t.Helper()
	f, err := New(plan, run)
	if err != nil {
		t.Fatal(err)
	}
	return f, NewState(plan)
}

var testRun = Run{ID: 42, Number: "20240309.1", Reason: "individualCI", Pipeline: "web", Project: "shop", Ref: "refs/heads/feature/tools",
	Commit: "abc", CommitMessage: "Fix it\n\nall", StartTime: time.Date(2024, 3, 9, 7, 5, 4, 0, time.UTC),
	Resources: []Resource{{Alias: "base", RunID: 41}}}

func TestConditions(t *testing.T) {
	for _, tt := range []struct {
		jobs    string // separated by ;
		outcome outcome
		want    string // "job result, …"
	}{
		{"A; B: A", nil, "A succeeded, B succeeded, S succeeded"},
		{"A; B: A", outcome{"A": "failed"}, "A failed, B skipped, S failed"},
		{"A; B: A", outcome{"A": "succeededWithIssues"}, "A succeededWithIssues, B succeeded, S succeededWithIssues"},
		{"A; B: A", outcome{"A": "abandoned"}, "A abandoned, B skipped, S failed"},
		{"A; B: A ? failed()", outcome{"A": "failed"}, "A failed, B succeeded, S failed"},
		{"A; B: A ? failed()", outcome{"A": "abandoned"}, "A abandoned, B succeeded, S failed"},
		{"A; B: A ? failed()", nil, "A succeeded, B skipped, S succeeded"},
		{"A; B: A ? always()", outcome{"A": "failed"}, "A failed, B succeeded, S failed"},
		{"A; B: A ? succeededOrFailed()", outcome{"A": "failed"}, "A failed, B succeeded, S failed"},
		{"A ? false; B: A ? succeededOrFailed()", nil, "A skipped, B skipped, S skipped"},
		{"A ? false; B; C: A, B ? succeededOrFailed()", nil, "A skipped, B succeeded, C succeeded, S succeeded"},
		{"A ? false; B: A", nil, "A skipped, B skipped, S skipped"},
		{"A ? false; B: A ? always()", nil, "A skipped, B succeeded, S succeeded"},
		{"A ? succeededOrFailed()", nil, "A succeeded, S succeeded"},
		// indirect dependencies count, too
		{"A; B: A ? always(); C: B", outcome{"A": "failed"}, "A failed, B succeeded, C skipped, S failed"},
		{"A; B: A; C: B ? failed()", outcome{"A": "failed"}, "A failed, B skipped, C succeeded, S failed"},
		{"A; B: A ? always(); C: B ? succeeded('B')", outcome{"A": "failed"}, "A failed, B succeeded, C succeeded, S failed"},
		{"A; B; C: A, B ? failed('b')", outcome{"A": "failed"}, "A failed, B succeeded, C skipped, S failed"},
		{"A; B; C: A, B ? succeededOrFailed('A', 'B')", outcome{"A": "failed"}, "A failed, B succeeded, C succeeded, S failed"},
		{"A; B; C: A ? succeeded('B')", nil, "A succeeded, B succeeded, C abandoned, S failed"},
		{"A; B: A ? in(dependencies.A.result, 'Succeeded', 'Skipped')", nil, "A succeeded, B succeeded, S succeeded"},
		{"A ? false; B: A ? in(dependencies.A.result, 'Succeeded', 'Skipped')", nil, "A skipped, B succeeded, S succeeded"},
		{"A; B: A ? eq(dependencies.A.result, 'Failed')", outcome{"A": "abandoned"}, "A abandoned, B succeeded, S failed"},
		{"A; B: A ? eq(dependencies.A.outputs['step.v'], 'yes')", outcome{"A": "step.v=yes"}, "A succeeded, B succeeded, S succeeded"},
		{"A; B: A ? eq(dependencies.a.outputs['STEP.V'], 'yes')", outcome{"A": "step.v=yes"}, "A succeeded, B succeeded, S succeeded"},
		{"A; B: A ? eq(dependencies.A.outputs['step.v'], 'yes')", outcome{"A": "step.v=no"}, "A succeeded, B skipped, S succeeded"},
		{"A; B: A; C: B ? eq(dependencies.A.result, 'Succeeded')", nil, "A succeeded, B succeeded, C skipped, S succeeded"}, // not direct
		{"A ? and(succeeded(), eq(variables['Build.SourceBranchName'], 'tools'))", nil, "A succeeded, S succeeded"},
		{"A ? eq(variables['build.reason'], 'IndividualCI')", nil, "A succeeded, S succeeded"},
		{"A ? eq(format('{0:yyyyMMdd}', pipeline.startTime), '20240309')", nil, "A succeeded, S succeeded"},
		{"A ? gt('a', variables)", nil, "A abandoned, S failed"},
		{"A ? $[ eq(1, 1) ]", nil, "A succeeded, S succeeded"},
		{"A; B: A ? $[ failed() ]", nil, "A succeeded, B skipped, S succeeded"},
		{"A ? eq(resources.pipeline.base.runID, 41)", nil, "A succeeded, S succeeded"},
		{"A ? ''", nil, "A skipped, S skipped"},
		{"A ? canceled()", nil, "A skipped, S skipped"},
	} {
		f, st := newFlow(t, onePlan(strings.Split(tt.jobs, ";")...), &testRun)
		var got []string
		for _, l := range drive(t, f, st, tt.outcome) {
			if l, _, _ = strings.Cut(l, " ("); strings.HasPrefix(l, "jobDone") {
				got = append(got, strings.TrimPrefix(l, "jobDone S "))
			} else if strings.HasPrefix(l, "stageDone") {
				got = append(got, strings.TrimPrefix(l, "stageDone "))
			}
		}
		if got := strings.Join(got, ", "); got != tt.want {
			t.Errorf("%s %v\n got %s\nwant %s", tt.jobs, tt.outcome, got, tt.want)
		}
	}
}

func TestStages(t *testing.T) {
	deploy := newJob("D")
	deploy.Deployment = &pipeline.Deployment{Environment: "prod", Strategy: "runOnce", Hooks: []pipeline.Hook{{Name: "deploy"}}}
	plan := &pipeline.Plan{Stages: []*pipeline.Stage{
		newStage("Build", newJob("A")),
		newStage("Test: Build ? and(succeeded(), eq(dependencies.Build.outputs['A.set.run'], 'true'))", newJob("B ? eq(stageDependencies.Build.A.outputs['set.run'], 'true')")),
		newStage("Deploy: Test", deploy),
		newStage("After: Deploy ? and(always(), eq(dependencies.Deploy.outputs['D.D.x.y'], '1'), eq(stageDependencies.Deploy.D.outputs['deploy.x.y'], '1'))", newJob("E")),
		newStage("Rollback: Deploy ? failed('Deploy')", newJob("F")),
	}}
	f, st := newFlow(t, plan, &testRun)
	got := drive(t, f, st, outcome{"A": "set.run=true", "D": "failed x.y=1"})
	want := []string{
		"stageReady Build", "jobReady Build A +A", "instanceReady Build A", "jobDone Build A succeeded", "stageDone Build succeeded",
		"stageReady Test", "jobReady Test B +B", "instanceReady Test B", "jobDone Test B succeeded", "stageDone Test succeeded",
		"stageReady Deploy", "jobReady Deploy D +D", "instanceReady Deploy D", "jobDone Deploy D failed", "stageDone Deploy failed",
		"stageReady After", "stageReady Rollback",
		"jobReady After E +E", "instanceReady After E", "jobReady Rollback F +F", "instanceReady Rollback F",
		"jobDone After E succeeded", "stageDone After succeeded", "jobDone Rollback F succeeded", "stageDone Rollback succeeded", "runDone failed",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if again, err := f.Next(st); err != nil || len(again) != 0 {
		t.Errorf("a run that is done: %v %v", again, err)
	}

	f, st = newFlow(t, plan, &testRun)
	got = drive(t, f, st, outcome{"A": "set.run=false"})
	want = []string{
		"stageReady Build", "jobReady Build A +A", "instanceReady Build A", "jobDone Build A succeeded", "stageDone Build succeeded",
		"jobDone Test B skipped (its stage did not run: its condition is false: and(succeeded(), eq(dependencies.Build.outputs['A.set.run'], 'true')) (dependencies.Build.outputs.A.set.run is 'false'))",
		"stageDone Test skipped (its condition is false: and(succeeded(), eq(dependencies.Build.outputs['A.set.run'], 'true')) (dependencies.Build.outputs.A.set.run is 'false'))",
		"jobDone Deploy D skipped (its stage did not run: it needs all stages that it depends on to succeed: Test was skipped)",
		"stageDone Deploy skipped (it needs all stages that it depends on to succeed: Test was skipped)",
	}
	if d := cmp.Diff(want, got[:len(want)]); d != "" {
		t.Error(d)
	}
}

func TestManualOmittedRejected(t *testing.T) {
	plan := &pipeline.Plan{Stages: []*pipeline.Stage{
		newStage("A", newJob("J")), newStage("B: A", newJob("J")), newStage("C: B", newJob("J")), newStage("D: C", newJob("J")),
	}}
	plan.Stages[2].Manual = true
	f, st := newFlow(t, plan, nil)
	stageState(st, "B").Omitted = true
	got := drive(t, f, st, nil)
	want := []string{
		"stageReady A", "jobReady A J +J", "instanceReady A J", "jobDone A J succeeded", "stageDone A succeeded",
		"jobDone B J skipped (its stage did not run: it was left out of this run)", "stageDone B skipped (it was left out of this run)",
		"stageWaits C", "stageReady C", "jobReady C J +J", "instanceReady C J", "jobDone C J succeeded", "stageDone C succeeded",
		"stageReady D", "jobReady D J +J", "instanceReady D J", "jobDone D J succeeded", "stageDone D succeeded", "runDone succeeded",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}

	f, st = newFlow(t, plan, nil)
	if _, err := f.Next(st); err != nil {
		t.Fatal(err)
	}
	stageState(st, "A").Rejected = "ann rejected the approval of prod"
	got = drive(t, f, st, nil)
	if want := "stageDone A failed (ann rejected the approval of prod)"; got[1] != want {
		t.Errorf("got %q, want %q", got[1], want)
	}
	if st.Result != work.Failed {
		t.Error(st.Result)
	}
}

func TestCancel(t *testing.T) {
	plan := &pipeline.Plan{Stages: []*pipeline.Stage{
		newStage("A", newJob("J"), newJob("K: J"), newJob("L: J ? always()"), newJob("M: J ? succeededOrFailed()"), newJob("N: J ? eq(1, 1)"), newJob("O: J ? canceled()")),
		newStage("B: A", newJob("J")), newStage("C: A ? always()", newJob("P"), newJob("Q ? always()")),
	}}
	f, st := newFlow(t, plan, nil)
	next := func() (lines []string) {
		actions, err := f.Next(st)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range actions {
			lines = append(lines, line(a))
		}
		return lines
	}
	next()
	stageState(st, "A").State = work.InProgress
	next()
	st.Canceling = true
	if got := next(); got != nil {
		t.Errorf("J still runs, but %v", got)
	}
	in := instanceState(st, "A", "J", "")
	in.State, in.Result = work.Completed, work.Canceled
	got := next()
	want := []string{
		"jobDone A J canceled",
		"jobDone A K canceled (the run was canceled)",
		"jobReady A L +L", "instanceReady A L",
		"jobDone A M canceled (the run was canceled)",
		"jobReady A N +N", "instanceReady A N", "jobReady A O +O", "instanceReady A O",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for _, name := range []string{"L", "N", "O"} {
		in := instanceState(st, "A", name, "")
		in.State, in.Result = work.Completed, work.Succeeded
	}
	got = drive(t, f, st, nil)
	want = []string{
		"jobDone A L succeeded", "jobDone A N succeeded", "jobDone A O succeeded", "stageDone A canceled",
		"jobDone B J canceled (its stage did not run: the run was canceled)", "stageDone B canceled (the run was canceled)",
		"stageReady C", "jobDone C P canceled (the run was canceled)", "jobReady C Q +Q", "instanceReady C Q", "jobDone C Q succeeded", "stageDone C canceled",
		"runDone canceled",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestCancelWaiting cancels a run whose stage waits for an approval.
func TestCancelWaiting(t *testing.T) {
	plan := &pipeline.Plan{Stages: []*pipeline.Stage{newStage("A", newJob("J")), newStage("B: ", newJob("J"))}}
	plan.Stages[1].Manual = true
	f, st := newFlow(t, plan, nil)
	if _, err := f.Next(st); err != nil {
		t.Fatal(err)
	}
	st.Canceling = true
	got := drive(t, f, st, nil)
	want := []string{
		"jobDone A J canceled (its stage did not run: the run was canceled)", "stageDone A canceled (the run was canceled)",
		"jobDone B J canceled (its stage did not run: the run was canceled)", "stageDone B canceled (the run was canceled)", "runDone canceled",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestContinueOnError(t *testing.T) {
	for text, want := range map[string]work.Result{"true": work.SucceededWithIssues, "": work.Failed, "false": work.Failed,
		"$[eq(variables['Build.DefinitionName'], 'web')]": work.SucceededWithIssues, "$(flag)": work.SucceededWithIssues, "maybe": work.Failed} {
		plan := onePlan("A", "B: A ? always()")
		plan.Variables = []pipeline.Variable{{Name: "flag", Value: "True"}}
		plan.Stages[0].Jobs[0].ContinueOnError = text
		f, st := newFlow(t, plan, &testRun)
		drive(t, f, st, outcome{"A": "failed"})
		if got := st.Stages[0].Jobs[0].Result; got != want {
			t.Errorf("continueOnError: %s: %s, want %s (%s)", text, got, want, st.Stages[0].Jobs[0].Reason)
		}
	}
}

func TestWrongState(t *testing.T) {
	f, _ := newFlow(t, onePlan("A"), nil)
	for _, other := range []*pipeline.Plan{onePlan("B"), onePlan("A", "B"), {}} {
		if _, err := f.Next(NewState(other)); err == nil {
			t.Error("no error")
		}
	}
}

// TestSlices names the instances of a job that is cut into slices as Microsoft's documentation of output variables does: job1, job2.
func TestSlices(t *testing.T) {
	plan := onePlan("M", "Y: M ? eq(dependencies.M.outputs['job1.s.v'], '1')", "Z: M ? eq(dependencies.M.outputs['job2.s.v'], '1')")
	plan.Stages[0].Jobs[0].Strategy = &pipeline.Strategy{Parallel: "2"}
	f, st := newFlow(t, plan, &testRun)
	got := drive(t, f, st, outcome{"M.Job1": "s.v=1", "M.Job2": "s.v=2"})
	for _, want := range []string{"jobReady S M +M Job1 +M Job2", "jobDone S Y succeeded"} {
		if !slices.Contains(got, want) {
			t.Errorf("no %q in %q", want, got)
		}
	}
	if slices.Contains(got, "jobDone S Z succeeded") {
		t.Error("the second slice has the first one's output")
	}
}

func TestMatrix(t *testing.T) {
	plan := onePlan("A", "M: A", "Z: M ? eq(dependencies.M.outputs['linux.s.v'], '1')")
	plan.Stages[0].Jobs[1].Strategy = &pipeline.Strategy{MaxParallel: "2", Matrix: []pipeline.Leg{
		{Name: "linux", Variables: []pipeline.KeyValue{{Key: "os", Value: "ubuntu"}, {Key: "n", Value: "$[format('{0}', variables['Build.BuildId'])]"}}},
		{Name: "mac", Variables: []pipeline.KeyValue{{Key: "os", Value: "$(x)"}}},
		{Name: "win", Variables: []pipeline.KeyValue{{Key: "os", Value: "windows"}}},
	}}
	f, st := newFlow(t, plan, &testRun)
	got := drive(t, f, st, outcome{"M.linux": "s.v=1", "M.mac": "succeededWithIssues"})
	want := []string{
		"stageReady S", "jobReady S A +A", "instanceReady S A", "jobDone S A succeeded",
		"jobReady S M +M linux +M mac +M win", "instanceReady S M linux", "instanceReady S M mac",
		"instanceReady S M win", "jobDone S M succeededWithIssues", "jobReady S Z +Z", "instanceReady S Z", "jobDone S Z succeeded",
		"stageDone S succeededWithIssues", "runDone succeededWithIssues",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	vars, err := f.Variables(st, "s", "m", "LINUX")
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]string{}
	for _, v := range vars {
		values[v.Name] = v.Value
	}
	for name, want := range map[string]string{"os": "ubuntu", "n": "42", "System.JobPositionInPhase": "1", "System.TotalJobsInPhase": "3",
		"System.JobName": "linux", "System.PhaseName": "M", "System.JobIdentifier": "S.M.linux", "System.JobDisplayName": "M linux",
		"System.ParallelExecutionType": "MultiConfiguration"} {
		if values[name] != want {
			t.Errorf("%s is %q, want %q", name, values[name], want)
		}
	}
	if _, err := f.Variables(st, "S", "M", "none"); err == nil {
		t.Error("an instance that is not there has variables")
	}
}

func TestExpansion(t *testing.T) {
	for _, tt := range []struct {
		strategy pipeline.Strategy
		want     string // display names, or the reason of the job
	}{
		{pipeline.Strategy{Parallel: "3"}, "B Job1, B Job2, B Job3"},
		{pipeline.Strategy{Parallel: "$[ dependencies.A.outputs['s.n'] ]"}, "B Job1, B Job2"},
		{pipeline.Strategy{Parallel: "$(count)"}, "B Job1, B Job2"},
		{pipeline.Strategy{Parallel: "0"}, "parallel of job B is '0', it must be a number between 1 and 256"},
		{pipeline.Strategy{Parallel: "9999"}, "parallel of job B is '9999', it must be a number between 1 and 256"},
		{pipeline.Strategy{Parallel: "2", MaxParallel: "x"}, "maxParallel of job B is 'x', it must be a number between 0 and 1073741824"},
		{pipeline.Strategy{MatrixExpression: "$[ dependencies.A.outputs['s.m'] ]"}, "B z, B a"},
		{pipeline.Strategy{MatrixExpression: "$[ dependencies.A.outputs['s.none'] ]"}, "its matrix has no legs"},
		{pipeline.Strategy{MatrixExpression: "$[ 'x' ]"}, `it is not JSON of the form {"leg": {"variable": "value"}}`},
		{pipeline.Strategy{MatrixExpression: `$[ '{"a b": {}}' ]`}, "the leg name 'a b' is not possible"},
		{pipeline.Strategy{MatrixExpression: `$[ '{"a": {}, "A": {}}' ]`}, "there are two legs called A"},
		{pipeline.Strategy{MatrixExpression: `$[ '{"a": []}' ]`}, "an object is expected"},
		{pipeline.Strategy{MatrixExpression: `$[ '{"a": {}} {' ]`}, "something follows its end"},
		{pipeline.Strategy{MatrixExpression: `$[ '{"a": {}' ]`}, "it is not JSON"},
		{pipeline.Strategy{MatrixExpression: `$[ '[]' ]`}, "an object is expected"},
	} {
		plan := onePlan("A", "B: A")
		plan.Variables = []pipeline.Variable{{Name: "count", Value: "2"}}
		plan.Stages[0].Jobs[1].Strategy = &tt.strategy
		f, st := newFlow(t, plan, &testRun)
		var got string
		drive(t, f, st, outcome{"A": `s.n=2 s.m={"z":{"v":1,"w":true,"x":null,"o":{"a":[1]}},"a":{}}`})
		js := &st.Stages[0].Jobs[1]
		if got = js.Reason; got == "" {
			all, _, err := f.instances(st, f.stages[0].jobs[1])
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, in := range all {
				names = append(names, in.DisplayName)
			}
			got = strings.Join(names, ", ")
			if len(all[0].Variables) > 0 {
				if d := cmp.Diff([]string{"1", "True", "", `{"a":[1]}`}, []string{all[0].Variables[0].Value, all[0].Variables[1].Value,
					all[0].Variables[2].Value, all[0].Variables[3].Value}); d != "" {
					t.Error(d)
				}
			}
		}
		if !strings.Contains(got, tt.want) {
			t.Errorf("%+v: %s, want %s", tt.strategy, got, tt.want)
		}
	}
	var b strings.Builder
	for i := range 300 {
		fmt.Fprintf(&b, `%c"l%d":{}`, "{,"[min(i, 1)], i)
	}
	if _, err := parseMatrix(b.String() + "}"); err == nil {
		t.Error("300 legs are possible")
	}
}
