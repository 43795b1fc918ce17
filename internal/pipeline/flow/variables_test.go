package flow

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/pipeline"
)

func variable(line int, name, value string) pipeline.Variable {
	return pipeline.Variable{Pos: at(line), Name: name, Value: value}
}

func variablesPlan() *pipeline.Plan {
	plan := onePlan("A", "B: A")
	plan.Variables = []pipeline.Variable{
		variable(1, "who", "root"),
		variable(2, "both", "$(who)-$(Build.BuildId)"),
		{Pos: at(3), Group: "Shared"},
		variable(4, "minor", "$[counter(format('{0:yyyyMMdd}', pipeline.startTime), 100)]"),
		variable(5, "isMain", "$[eq(variables['Build.SourceBranch'], 'refs/heads/main')]"),
		variable(6, "derived", "$[ upper(variables.both) ]"),
		variable(7, "fromGroup", "root wins over the group above"),
		variable(8, "Build.BuildId", "7"),
		variable(9, "secretly", "$[ format('<{0}>', variables.password) ]"),
		{Pos: at(10), Name: "fixed", Value: "1", ReadOnly: true},
	}
	s := plan.Stages[0]
	s.Variables = []pipeline.Variable{variable(11, "WHO", "stage"), variable(12, "again", "$[counter(format('{0:yyyyMMdd}', pipeline.startTime), 5)]")}
	s.Jobs[1].Variables = []pipeline.Variable{
		variable(13, "who", "job"),
		variable(14, "out", "$[ dependencies.A.outputs['s.v'] ]"),
		variable(15, "missing", "$[ dependencies.A.outputs['s.none'] ]"),
	}
	return plan
}

func variablesRun() *Run {
	run := testRun
	run.Settings = []Setting{
		{Variable: work.Variable{Name: "who", Value: "settings"}, Settable: true},
		{Variable: work.Variable{Name: "setting", Value: "s", Secret: false}, Settable: true},
		{Variable: work.Variable{Name: "password", Value: "hunter2", Secret: true}, Settable: true},
		{Variable: work.Variable{Name: "locked", Value: "l"}},
	}
	run.Queue = []work.Variable{{Name: "setting", Value: "queued"}, {Name: "extra", Value: "e"}, {Name: "PASSWORD", Value: "new"}}
	run.Groups = map[string][]work.Variable{"shared": {{Name: "fromGroup", Value: "g"}, {Name: "groupOnly", Value: "go"}, {Name: "token", Value: "", Secret: true}}}
	return &run
}

func TestVariables(t *testing.T) {
	asked := 0
	run := variablesRun()
	run.Counter = func(prefix string, seed int64) (int64, error) {
		asked++
		if prefix != "20240309" || seed != 100 {
			return 0, fmt.Errorf("asked for %s %d", prefix, seed)
		}
		return 117, nil
	}
	f, st := newFlow(t, variablesPlan(), run)
	drive(t, f, st, outcome{"A": "s.v=yes"})
	vars, err := f.Variables(st, "S", "B", "")
	if err != nil {
		t.Fatal(err)
	}
	got, seen := map[string]work.Variable{}, map[string]bool{}
	for _, v := range vars {
		if low := strings.ToLower(v.Name); seen[low] {
			t.Errorf("%s is there twice", v.Name)
		} else {
			seen[low] = true
		}
		got[v.Name] = v
	}
	for name, want := range map[string]string{
		"who":                        "job (azure-pipelines.yml:13:3)",
		"both":                       "$(who)-$(Build.BuildId) (azure-pipelines.yml:2:3)",
		"derived":                    "ROOT-42 (azure-pipelines.yml:6:3)",
		"minor":                      "117 (azure-pipelines.yml:4:3)",
		"again":                      "117 (azure-pipelines.yml:12:3)",
		"isMain":                     "False (azure-pipelines.yml:5:3)",
		"fromGroup":                  "root wins over the group above (azure-pipelines.yml:7:3)",
		"groupOnly":                  "go (variable group Shared)",
		"setting":                    "queued (set when the run was started)",
		"extra":                      "e (set when the run was started)",
		"locked":                     "l (the pipeline's settings)",
		"password":                   "new (set when the run was started)",
		"secretly":                   "<> (azure-pipelines.yml:9:3)",
		"out":                        "yes (azure-pipelines.yml:14:3)",
		"missing":                    " (azure-pipelines.yml:15:3)",
		"Build.BuildId":              "42 (the system)",
		"Build.BuildNumber":          "20240309.1 (the system)",
		"Build.Reason":               "IndividualCI (the system)",
		"Build.SourceBranchName":     "tools (the system)",
		"Build.SourceVersionMessage": "Fix it (the system)",
		"System.StageName":           "S (the system)",
		"System.JobName":             "B (the system)",
		"System.JobIdentifier":       "S.B.__default (the system)",
		"System.JobAttempt":          "1 (the system)",
		"TF_BUILD":                   "True (the system)",
	} {
		v, ok := got[name]
		if text := v.Value + " (" + v.From + ")"; !ok || text != want {
			t.Errorf("%s: %s, want %s", name, text, want)
		}
	}
	if !got["password"].Secret || !got["token"].Secret || !got["fixed"].ReadOnly || !got["Build.BuildId"].ReadOnly {
		t.Error("flags were lost")
	}
	if asked != 1 {
		t.Errorf("the counter was asked %d times", asked)
	}

	origins, err := f.Explain(st, "S", "B", "", "Who")
	if err != nil {
		t.Fatal(err)
	}
	want := []Origin{
		{From: "the pipeline's settings", Value: "settings"},
		{From: "azure-pipelines.yml:1:3", Value: "root"},
		{From: "azure-pipelines.yml:11:3", Value: "stage"},
		{From: "azure-pipelines.yml:13:3", Value: "job", Wins: true},
	}
	if d := cmp.Diff(want, origins); d != "" {
		t.Error(d)
	}
	origins, _ = f.Explain(st, "", "", "", "build.buildid")
	want = []Origin{{From: "the system", Value: "42", Wins: true}, {From: "azure-pipelines.yml:8:3", Value: "7", Why: "variables of the system can't be set"}}
	if d := cmp.Diff(want, origins); d != "" {
		t.Error(d)
	}
	origins, _ = f.Explain(st, "S", "", "", "isMain")
	want = []Origin{{From: "azure-pipelines.yml:5:3", Value: "False", Written: "$[eq(variables['Build.SourceBranch'], 'refs/heads/main')]", Wins: true}}
	if d := cmp.Diff(want, origins); d != "" {
		t.Error(d)
	}
	origins, _ = f.Explain(st, "S", "B", "", "password")
	for _, o := range origins {
		if o.Value != "***" {
			t.Errorf("a secret is told: %+v", o)
		}
	}
	if origins, err := f.Explain(st, "S", "B", "", "nope"); origins != nil || err != nil {
		t.Error(origins, err)
	}
}

func TestVariableErrors(t *testing.T) {
	t.Run("group", func(t *testing.T) {
		f, st := newFlow(t, variablesPlan(), &testRun)
		log := drive(t, f, st, nil)
		want := "jobDone S A failed (azure-pipelines.yml:3:3: the variable group Shared, which the pipeline uses, does not exist or may not be used by this pipeline)"
		if log[1] != want {
			t.Error(log[1])
		}
	})
	t.Run("expression", func(t *testing.T) {
		plan := onePlan("A")
		plan.Stages[0].Jobs[0].Variables = []pipeline.Variable{variable(5, "x", "$[gt(1, 'y')]")}
		f, st := newFlow(t, plan, nil)
		log := drive(t, f, st, nil)
		want := "jobDone S A failed (azure-pipelines.yml:5:3: the variable x: Unable to convert from String to Number. Value: 'y'. Located at position 1 within expression: gt(1, 'y'))"
		if log[1] != want {
			t.Error(log[1])
		}
	})
	t.Run("counter", func(t *testing.T) {
		run := testRun
		broken := errors.New("no database")
		run.Counter = func(string, int64) (int64, error) { return 0, broken }
		plan := onePlan("A")
		plan.Variables = []pipeline.Variable{variable(5, "x", "$[counter('p', 1)]")}
		f, st := newFlow(t, plan, &run)
		if _, err := f.Variables(st, "S", "A", ""); !errors.Is(err, broken) {
			t.Error(err)
		}
		broken = nil
		run.Counter = func(string, int64) (int64, error) { return 3, nil }
		if vars, err := f.Variables(st, "S", "A", ""); err != nil || vars[len(vars)-1].Value == "" {
			t.Error("it is not asked again", err)
		}
	})
	t.Run("names", func(t *testing.T) {
		f, st := newFlow(t, onePlan("A"), nil)
		for _, names := range [][2]string{{"X", "A"}, {"S", "X"}} {
			if _, err := f.Variables(st, names[0], names[1], ""); err == nil {
				t.Error(names)
			}
		}
	})
}

func TestQueueVariables(t *testing.T) {
	plan, run := variablesPlan(), variablesRun()
	for name, want := range map[string]string{
		"setting":        "",
		"new":            "",
		"System.Debug":   "",
		"system.x":       "belong to the system",
		"Build.Reason":   "belong to the system",
		"LOCKED":         "a variable of the pipeline's settings that does not allow it",
		"who":            "azure-pipelines.yml:1:3 sets it",
		"":               "not possible",
		"a)b":            "not possible",
		"agent":          "",
		"buildx.version": "",
	} {
		err := CheckQueueVariable(plan, run.Settings, name)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	run.Queue = append(run.Queue, work.Variable{Name: "locked"})
	if _, err := New(plan, run); err == nil {
		t.Error("no error")
	}
}

func TestJobSettings(t *testing.T) {
	plan := onePlan("A", "B: A")
	plan.Variables = []pipeline.Variable{variable(1, "env", "prod"), variable(2, "poolName", "linux-$(env)"), variable(3, "minutes", "7")}
	plan.Pool = &pipeline.Pool{Name: "default"}
	j := plan.Stages[0].Jobs[1]
	j.DisplayName = "Deploy to $(env)"
	j.Pool = &pipeline.Pool{Name: "$(poolName)", Demands: []string{"docker", "os -equals $[ dependencies.A.outputs['s.os'] ]", "$[ dependencies.A.outputs['s.os'] ]"}}
	j.TimeoutInMinutes, j.CancelTimeoutInMinutes = "$[ variables.minutes ]", "$(minutes)"
	j.Container = &pipeline.Container{Alias: "$(env)-image"}
	j.Services = []pipeline.KeyValue{{Key: "db", Value: "$(env)-db"}}
	j.Deployment = &pipeline.Deployment{Environment: "$(env)", ResourceName: "web", Strategy: "runOnce", Hooks: []pipeline.Hook{
		{Name: "onFailure", Steps: []*pipeline.Step{{Task: "f1"}, {Task: "f2", Condition: "and(succeeded(), eq(1, 1))"}, {Task: "f3", Condition: "broken("}}},
		{Name: "preDeploy", Steps: []*pipeline.Step{{Task: "p", Condition: "always()"}}},
		{Name: "onSuccess", Steps: []*pipeline.Step{{Task: "s1"}, {Task: "s2", Condition: "always()"}}},
		{Name: "deploy", Steps: []*pipeline.Step{{Task: "d"}}},
	}}
	f, st := newFlow(t, plan, &testRun)
	drive(t, f, st, outcome{"A": "s.os=linux"})
	s, err := f.Job(st, "S", "B", "")
	if err != nil {
		t.Fatal(err)
	}
	var steps []string
	for _, step := range s.Steps {
		steps = append(steps, fmt.Sprintf("%s.%s %s", step.Hook, step.Task, step.Condition))
	}
	wantSteps := []string{"preDeploy.p always()", "deploy.d ", "onSuccess.s1 ", "onSuccess.s2 always()",
		"onFailure.f1 ", "onFailure.f2 and(succeeded(), eq(1, 1))", "onFailure.f3 broken("}
	if d := cmp.Diff(wantSteps, steps); d != "" {
		t.Error(d)
	}
	s.Steps, s.Job = nil, nil
	want := &Settings{DisplayName: "Deploy to prod", Identifier: "S.B.__default", TimeoutMinutes: 7, CancelTimeoutMinutes: 7, Pool: "linux-prod",
		Demands: []string{"docker", "os -equals $[ dependencies.A.outputs['s.os'] ]", "linux"}, Container: "prod-image",
		Services: []pipeline.KeyValue{{Key: "db", Value: "prod-db"}}, Environment: "prod", EnvironmentResource: "web"}
	if d := cmp.Diff(want, s); d != "" {
		t.Error(d)
	}
	s, err = f.Job(st, "S", "A", "")
	if err != nil || s.TimeoutMinutes != DefaultTimeout || s.CancelTimeoutMinutes != DefaultCancelTimeout || s.Pool != "default" || s.DisplayName != "A" {
		t.Error(s, err)
	}
	for _, bad := range []string{"x", "-1", "NaN", "1e99"} {
		j.TimeoutInMinutes = bad
		if _, err := f.Job(st, "S", "B", ""); err == nil {
			t.Errorf("%s minutes", bad)
		}
	}
	j.TimeoutInMinutes = "0"
	if s, err := f.Job(st, "S", "B", ""); err != nil || s.TimeoutMinutes != 0 {
		t.Error(s, err)
	}
}

func TestPredefined(t *testing.T) {
	run := testRun
	run.Schedule = "Nightly"
	run.PullRequest = &PullRequest{ID: "5", Number: "5", SourceBranch: "refs/heads/x", TargetBranch: "refs/heads/release/main", Fork: true}
	run.TriggeredBy = &Trigger{BuildID: 41, Pipeline: "base"}
	run.Resources = []Resource{{Alias: "base", RunID: 41, RunNumber: "r41", SourceBranch: "refs/heads/main"}}
	got := map[string]string{}
	for _, v := range run.predefined() {
		if _, ok := got[v.Name]; ok {
			t.Errorf("%s is there twice", v.Name)
		}
		if got[v.Name] = v.Value; !v.ReadOnly || v.From != fromSystem {
			t.Errorf("%+v", v)
		}
	}
	for name, want := range map[string]string{
		"Build.CronSchedule.DisplayName": "Nightly", "System.PullRequest.TargetBranchName": "main", "System.PullRequest.IsFork": "True",
		"Build.TriggeredBy.BuildId": "41", "resources.pipeline.base.runName": "r41", "System.HostType": "build", "Build.DefinitionName": "web",
		"System.TeamProject": "shop", "Build.BuildUri": "vstfs:///Build/Build/42",
	} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
}

// TestSecretOutputs: what is made of a secret output is secret, it is in no error, and it can't be where it would be shown.
func TestSecretOutputs(t *testing.T) {
	plan := onePlan("A", "B: A")
	j := plan.Stages[0].Jobs[1]
	j.Variables = []pipeline.Variable{variable(1, "plain", "$[ dependencies.A.outputs['s.v'] ]"), variable(2, "made", "$[ format('<{0}>', dependencies.A.outputs['S.Token']) ]"),
		variable(3, "after", "$[ format('<{0}>', variables.made) ]"), variable(4, "other", "$[ 'x' ]")}
	f, st := newFlow(t, plan, &testRun)
	drive(t, f, st, outcome{"A": "s.v=1"})
	instanceState(st, "S", "A", "").SecretOutputs = map[string]string{"s.token": "hunter2"}
	vars, err := f.Variables(st, "S", "B", "")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, v := range vars {
		if v.From != fromSystem {
			got = append(got, fmt.Sprint(v.Name, " ", v.Value, " ", v.Secret))
		}
	}
	if d := cmp.Diff([]string{"plain 1 false", "made <hunter2> true", "after <> false", "other x false"}, got); d != "" {
		t.Error(d)
	}
	origins, err := f.Explain(st, "S", "B", "", "made")
	if err != nil || origins[0].Value != "***" {
		t.Error(origins, err)
	}
	j.Variables[3].Value = "$[ gt(1, dependencies.A.outputs['s.token']) ]"
	if _, err := f.Variables(st, "S", "B", ""); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Error(err)
	}
	j.Variables[3].Value = "x"
	j.Pool = &pipeline.Pool{Name: "$[ dependencies.A.outputs['s.token'] ]"}
	if _, err := f.Job(st, "S", "B", ""); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Error(err)
	}
}
