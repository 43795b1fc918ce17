package run_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/pool"
	"github.com/sekisho/sekisho/internal/project"
	"github.com/sekisho/sekisho/internal/run"
)

const deploy = `
stages:
- stage: Deploy
  jobs:
  - deployment: D
    environment: prod
    strategy:
      runOnce:
        deploy:
          steps:
          - script: x
`

// environment makes prod with checks, which the pipeline may use.
func (w *world) environment(c project.Checks) {
	w.t.Helper()
	_, err := w.projects.CreateEnvironment(w.t.Context(), w.root, "web", project.NewEnvironment{Name: "prod", Checks: c})
	if err == nil {
		err = w.projects.Authorize(w.t.Context(), w.root, "web", project.Use{Kind: project.KindEnvironment, Name: "prod"}, "build")
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func waits(want string) func(t *run.Tree) bool {
	return func(t *run.Tree) bool { return strings.Contains(t.Stages[0].Waits, want) }
}

func TestApproval(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.environment(project.Checks{Approval: &project.Approval{Approvers: []string{w.root.ARN}, Timeout: time.Hour, AllowRequester: true}})
		a := w.agent("one")
		r := w.start(deploy)
		tree := w.until(r.ID, "the approval", waits("waiting for approval of prod"))
		if len(tree.Approvals) != 1 || tree.Approvals[0].State != "pending" {
			t.Fatalf("%+v", tree.Approvals)
		}
		if err := w.Answer(t.Context(), w.root, r.ID, tree.Approvals[0].ID, true, "go"); err != nil {
			t.Fatal(err)
		}
		if err := w.Answer(t.Context(), w.root, r.ID, tree.Approvals[0].ID, true, "go"); err == nil {
			t.Error("it was answered twice")
		}
		j, c := w.take(a)
		if j.Identity.Environment != "prod" || len(j.Downloads) != 1 || len(j.Steps) != 1 {
			t.Errorf("%+v", j)
		}
		w.complete(c, work.Succeeded)
		w.wait(r.ID)

		r = w.start(deploy)
		tree = w.until(r.ID, "the approval", waits("approval"))
		if err := w.Answer(t.Context(), w.root, r.ID, tree.Approvals[0].ID, false, "not today"); err != nil {
			t.Fatal(err)
		}
		if done := w.wait(r.ID); done.Result == work.Succeeded || !strings.Contains(w.tree(r.ID).Stages[0].Message, "not today") {
			t.Error(show(w.tree(r.ID)))
		}

		r = w.start(deploy)
		w.until(r.ID, "the approval", waits("approval"))
		w.advance(2 * time.Hour)
		if done := w.wait(r.ID); done.Result == work.Succeeded {
			t.Error(show(w.tree(r.ID)))
		}
	})
}

func TestLock(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.environment(project.Checks{Lock: true})
		a := w.agent("one")
		sequential := "lockBehavior: sequential\n" + deploy
		first := w.start(sequential)
		_, c := w.take(a)
		second := w.start(sequential)
		third := w.start(sequential)
		w.until(third.ID, "the lock", waits(fmt.Sprintf("exclusive lock held by run %d", first.ID)))
		w.until(second.ID, "the lock", waits("exclusive lock"))
		w.complete(c, work.Succeeded)
		for _, want := range []int64{second.ID, third.ID} {
			j, c := w.take(a)
			if j.Identity.Run != want {
				t.Errorf("run %d has the lock, want %d", j.Identity.Run, want)
			}
			w.complete(c, work.Succeeded)
			w.wait(want)
		}

		// The latest one wins, those before it that wait end.
		w.start(deploy)
		_, c = w.take(a)
		second = w.start(deploy)
		w.until(second.ID, "the lock", waits("exclusive lock"))
		third = w.start(deploy)
		if done := w.wait(second.ID); done.Result == work.Succeeded {
			t.Error(show(w.tree(second.ID)))
		}
		w.complete(c, work.Succeeded)
		j, c := w.take(a)
		if j.Identity.Run != third.ID {
			t.Errorf("run %d has the lock, want %d", j.Identity.Run, third.ID)
		}
		w.complete(c, work.Succeeded)
	})
}

func TestConcurrency(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		_, err := w.projects.UpdatePipeline(t.Context(), w.root, "web", "build", project.PipelineEdit{Settings: &project.PipelineSettings{Concurrency: 1}})
		if err != nil {
			t.Fatal(err)
		}
		a := w.agent("one")
		first := w.start("steps:\n- script: x\n")
		second := w.start("steps:\n- script: x\n")
		if !strings.Contains(w.tree(second.ID).Waits, "limit") {
			t.Error(show(w.tree(second.ID)))
		}
		j, c := w.take(a)
		if j.Identity.Run != first.ID {
			t.Errorf("run %d begins", j.Identity.Run)
		}
		w.complete(c, work.Succeeded)
		j, c = w.take(a)
		if j.Identity.Run != second.ID {
			t.Errorf("run %d begins", j.Identity.Run)
		}
		w.complete(c, work.Succeeded)
	})
}

// push tells of a push as git does.
func (w *world) push(ref, old, new string) run.Push {
	w.t.Helper()
	p := run.Push{Repository: w.repos.id, Account: account, By: w.root.ARN, At: w.now(), Updates: []run.RefUpdate{{Ref: ref, Old: old, New: new}}}
	w.tell(p)
	return p
}

func (w *world) tell(p run.Push) {
	w.t.Helper()
	if err := w.db.Update(w.t.Context(), func(tx *meta.Tx) error { return w.OnPush(context.Background(), tx, p) }); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) runs() []*run.Run {
	w.t.Helper()
	list, _, err := w.List(w.t.Context(), w.root, run.Query{Project: "web"})
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

// idle waits until the background queue has nothing to do.
func (w *world) idle() {
	w.t.Helper()
	w.eventually("the queue is never idle", func() bool {
		var n int
		if err := w.db.QueryRow(w.t.Context(), `SELECT count(*) FROM job WHERE state IN ('queued', 'running') AND kind NOT IN ('run-retain', 'run-read')`).Scan(&n); err != nil {
			w.t.Fatal(err)
		}
		return n == 0
	})
}

func TestPush(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		const none = "0000000000000000000000000000000000000000"
		yaml := "trigger:\n  branches: {include: [main, release/*]}\n  paths: {exclude: [docs]}\nsteps:\n- script: x\n"
		first := w.commit(map[string]string{"azure-pipelines.yml": yaml})
		p := w.push("refs/heads/main", none, first)
		w.idle()
		w.tell(p) // told twice
		w.idle()
		list := w.runs()
		if len(list) != 1 || list[0].Reason != run.IndividualCI || list[0].Commit != first {
			t.Fatalf("%d runs", len(list))
		}
		second := w.commit(map[string]string{"azure-pipelines.yml": yaml, "docs/x": "1"})
		w.push("refs/heads/main", first, second)
		third := w.repos.commit("refs/heads/other", map[string]string{"azure-pipelines.yml": yaml, "x": "1"})
		w.push("refs/heads/other", none, third)
		fourth := w.repos.commit("refs/heads/empty", map[string]string{"x": "2"})
		w.push("refs/heads/empty", none, fourth)
		w.idle()
		if list := w.runs(); len(list) != 1 {
			t.Fatalf("%d runs", len(list))
		}
		bad := w.repos.commit("refs/heads/release/1", map[string]string{"azure-pipelines.yml": "steps:\n- scrip: x\n"})
		w.push("refs/heads/release/1", none, bad)
		w.idle()
		list = w.runs()
		if len(list) != 2 || list[0].Result != work.Failed || len(list[0].Problems) == 0 || list[0].Problems[0].Line != 2 {
			t.Fatalf("%+v", list[0])
		}
		// A pull request from outside starts nothing unless it may, and then without secrets.
		pull := w.repos.commit("refs/pull/7/merge", map[string]string{"azure-pipelines.yml": yaml})
		w.push("refs/pull/7/merge", none, pull)
		w.idle()
		if list := w.runs(); len(list) != 2 {
			t.Fatalf("%d runs", len(list))
		}
	})
}

func TestOutside(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		_, err := w.projects.UpdatePipeline(t.Context(), w.root, "web", "build", project.PipelineEdit{Settings: &project.PipelineSettings{ForkBuilds: true}})
		if err == nil {
			err = w.projects.SetPipelineVariable(t.Context(), w.root, "web", "build", project.Variable{Name: "key", Value: "hidden-value", Secret: true})
		}
		if err != nil {
			t.Fatal(err)
		}
		a := w.agent("one")
		yaml := "steps:\n- script: x\n  env: {KEY: $(key)}\n"
		secret := func(j *work.Job) string {
			for _, v := range j.Variables {
				if v.Name == "key" {
					return v.Value
				}
			}
			return "absent"
		}
		w.start(yaml)
		j, c := w.take(a)
		if secret(j) != "hidden-value" {
			t.Errorf("secret is %q", secret(j))
		}
		w.complete(c, work.Succeeded)
		pull := w.repos.commit("refs/pull/7/merge", map[string]string{"azure-pipelines.yml": yaml})
		w.push("refs/pull/7/merge", "0000000000000000000000000000000000000000", pull)
		// Its steps could read the key of an agent that stays: such an agent has nothing for it, unless people say so.
		w.idle()
		tree := w.tree(w.runs()[0].ID)
		if waits := tree.Stages[0].Jobs[0].Legs[0].Waits; !strings.Contains(waits, "go to agents of one job") {
			t.Errorf("it waits for %q", waits)
		}
		now, stop := context.WithCancel(t.Context())
		stop()
		if j, err := w.Acquire(now, a); j != nil {
			t.Fatalf("an agent that stays got %s, %v", j.ID, err)
		}
		if err := w.pools.SetCapabilities(t.Context(), w.root, "Default", "one", map[string]string{pool.Outside: "true"}); err != nil {
			t.Fatal(err)
		}
		w.Reconsider(w.root.Account, "Default")
		j, c = w.take(a)
		if secret(j) == "hidden-value" || j.Credentials != nil || j.Identity.Reason != run.PullRequest {
			t.Errorf("a pull request from outside got %q and %v", secret(j), j.Credentials)
		}
		if _, err := w.Server(c).IdentityToken(t.Context(), "x"); err == nil {
			t.Error("a pull request from outside got an identity token")
		}
		w.complete(c, work.Succeeded)
	})
}

func TestBatch(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		yaml := "trigger:\n  batch: true\n  branches: {include: [main]}\nsteps:\n- script: x\n"
		a := w.agent("one")
		old := "0000000000000000000000000000000000000000"
		var last string
		for i := range 3 {
			last = w.commit(map[string]string{"azure-pipelines.yml": yaml, "x": fmt.Sprint(i)})
			w.push("refs/heads/main", old, last)
			w.idle()
			old = last
		}
		if list := w.runs(); len(list) != 1 {
			t.Fatalf("%d runs", len(list))
		}
		_, c := w.take(a)
		w.complete(c, work.Succeeded)
		j, c := w.take(a)
		if j.Identity.Commit != last || j.Identity.Reason != run.BatchedCI {
			t.Errorf("%+v", j.Identity)
		}
		w.complete(c, work.Succeeded)
		w.idle()
		if list := w.runs(); len(list) != 2 {
			t.Fatalf("%d runs", len(list))
		}
	})
}

func TestSchedule(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		yaml := "trigger: none\nschedules:\n- cron: '0 * * * *'\n  displayName: hourly\n  branches: {include: [main]}\nsteps:\n- script: x\n"
		commit := w.commit(map[string]string{"azure-pipelines.yml": yaml})
		w.push("refs/heads/main", "0000000000000000000000000000000000000000", commit)
		w.idle()
		a := w.agent("one")
		w.advance(time.Hour)
		j, c := w.take(a)
		if j.Identity.Reason != run.Schedule {
			t.Errorf("%+v", j.Identity)
		}
		w.complete(c, work.Succeeded)
		w.advance(time.Hour) // nothing changed
		if err := w.Tick(t.Context()); err != nil {
			t.Fatal(err)
		}
		if list := w.runs(); len(list) != 1 {
			t.Errorf("%d runs", len(list))
		}
	})
}

func TestUpstream(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		_, err := w.projects.CreatePipeline(t.Context(), w.root, "web", project.NewPipeline{Name: "deploy", Repository: "web/app", Path: "deploy.yml"})
		if err != nil {
			t.Fatal(err)
		}
		commit := w.commit(map[string]string{
			"azure-pipelines.yml": "trigger: none\nsteps:\n- script: x\n",
			"deploy.yml":          "trigger: none\nresources:\n  pipelines:\n  - pipeline: up\n    source: build\n    trigger: true\nsteps:\n- script: $(resources.pipeline.up.runID)\n",
		})
		w.push("refs/heads/main", "0000000000000000000000000000000000000000", commit)
		w.idle()
		a := w.agent("one")
		r, err := w.Start(t.Context(), w.root, run.StartRequest{Project: "web", Pipeline: "build"})
		if err != nil {
			t.Fatal(err)
		}
		_, c := w.take(a)
		if err := w.Server(c).PutFile(t.Context(), "drop", "pipeline", "f", 1, strings.NewReader("x")); err != nil {
			t.Fatal(err)
		}
		if err := w.Server(c).FinishArtifact(t.Context(), "drop", "pipeline", nil); err != nil {
			t.Fatal(err)
		}
		w.complete(c, work.Succeeded)
		j, c := w.take(a)
		if j.Identity.Pipeline != "deploy" || j.Identity.Reason != run.ResourceTrigger {
			t.Errorf("%+v", j.Identity)
		}
		if list, err := w.Server(c).Artifacts(t.Context(), r.ID); err != nil || len(list) != 1 {
			t.Errorf("%v, %v", list, err)
		}
		w.complete(c, work.Succeeded)
	})
}

func TestManual(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		r := w.start("jobs:\n- job: V\n  pool: server\n  steps:\n  - task: ManualValidation@1\n    inputs: {instructions: look, notifyUsers: ''}\n")
		tree := w.until(r.ID, "the question", func(t *run.Tree) bool { return len(t.Approvals) == 1 })
		if err := w.Answer(t.Context(), w.root, r.ID, tree.Approvals[0].ID, true, "fine"); err != nil {
			t.Fatal(err)
		}
		if done := w.wait(r.ID); done.Result != work.Succeeded {
			t.Error(show(w.tree(r.ID)))
		}
		r = w.start("jobs:\n- job: V\n  pool: server\n  steps:\n  - task: Bash@3\n    inputs: {targetType: inline, script: x}\n")
		if done := w.wait(r.ID); done.Result != work.Failed || !strings.Contains(w.tree(r.ID).Stages[0].Jobs[0].Legs[0].Message, "without an agent") {
			t.Error(show(w.tree(r.ID)))
		}
	})
}

func TestRetain(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.agent("one")
		var ids []int64
		for range 6 {
			r := w.start("steps:\n- script: x\n")
			_, c := w.take(a)
			if _, err := w.AppendLog(t.Context(), c, "1", 0, []byte("text")); err != nil {
				t.Fatal(err)
			}
			w.complete(c, work.Succeeded)
			w.wait(r.ID)
			ids = append(ids, r.ID)
		}
		if err := w.Keep(t.Context(), w.root, ids[0], true); err != nil {
			t.Fatal(err)
		}
		if _, err := w.AddLease(t.Context(), w.root, ids[1], time.Time{}, "a release"); err != nil {
			t.Fatal(err)
		}
		w.idle()
		w.advance(31 * 24 * time.Hour)
		if n, err := w.Retain(t.Context()); err != nil || n > 1 { // the queue may have been there before
			t.Errorf("%d were deleted, %v", n, err)
		}
		w.idle()
		if list := w.runs(); len(list) != 5 {
			t.Errorf("%d runs are left", len(list))
		}
	})
}

func TestStages(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.agent("one")
		r := w.start("stages:\n- stage: A\n  trigger: manual\n  jobs:\n  - job: J\n    steps: [{script: x}]\n- stage: B\n  jobs:\n  - job: K\n    steps: [{script: x}]\n- stage: C\n  jobs:\n  - job: L\n    steps: [{script: x}]\n")
		w.until(r.ID, "the stage", waits("started by hand"))
		if err := w.SkipStage(t.Context(), w.root, r.ID, "B"); err != nil {
			t.Fatal(err)
		}
		if err := w.RunStage(t.Context(), w.root, r.ID, "A"); err != nil {
			t.Fatal(err)
		}
		if err := w.RunStage(t.Context(), w.root, r.ID, "A"); err == nil {
			t.Error("a stage was started twice")
		}
		for _, want := range []string{"J", "L"} {
			j, c := w.take(a)
			if j.Identity.Job != want {
				t.Errorf("job %s, want %s", j.Identity.Job, want)
			}
			w.complete(c, work.Succeeded)
		}
		if done := w.wait(r.ID); done.Result != work.Succeeded {
			t.Error(show(w.tree(r.ID)))
		}
	})
}

func TestWrongEnvironment(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		r := w.start(strings.Replace(deploy, "environment: prod", "environment: $(where)", 1) + "\nvariables:\n  where: a/b/..\n")
		if done := w.wait(r.ID); done.Result != work.Failed || !strings.Contains(w.tree(r.ID).Stages[0].Message, "environment a/b/..") {
			t.Error(show(w.tree(r.ID)))
		}
	})
}
