package run_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
	"github.com/sekisho/sekisho/internal/pipeline/flow"
	"github.com/sekisho/sekisho/internal/pool"
	"github.com/sekisho/sekisho/internal/project"
	"github.com/sekisho/sekisho/internal/run"
)

// approved is an environment that nobody says yes to.
func (w *world) approved() project.Checks {
	return project.Checks{Approval: &project.Approval{Approvers: []string{w.root.ARN}, Timeout: time.Hour, AllowRequester: true}}
}

// TestEnvironmentNamedLate: a job can't get past the checks of an environment by naming it with what a job of its own stage set.
func TestEnvironmentNamedLate(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.environment(w.approved())
		a := w.agent("one")
		late := func(name string) *run.Tree {
			t.Helper()
			r := w.start(`
jobs:
- job: A
  steps:
  - script: x
    name: say
- deployment: D
  dependsOn: A
  variables:
    where: $[ dependencies.A.outputs['say.where'] ]
  environment: $(where)
  strategy: {runOnce: {deploy: {steps: [{script: x}]}}}
`)
			_, c := w.take(a)
			err := w.Update(t.Context(), c, []work.Record{{Step: "001", Sequence: 1, Name: "say", State: work.Completed, Result: work.Succeeded,
				Outputs: []work.Variable{{Name: "where", Value: name}}}})
			if err != nil {
				t.Fatal(err)
			}
			w.complete(c, work.Succeeded)
			return w.until(r.ID, "job D", func(t *run.Tree) bool {
				return len(t.Stages[0].Jobs[1].Legs) == 1 && t.Stages[0].Jobs[1].Legs[0].State != work.Pending
			})
		}
		if leg := late("Prod").Stages[0].Jobs[1].Legs[0]; leg.Result != work.Failed || !strings.Contains(leg.Message, "approval that was not asked for") {
			t.Errorf("%+v", leg)
		}
		late("staging") // has no checks
		j, c := w.take(a)
		if j.Identity.Environment != "staging" {
			t.Errorf("%+v", j.Identity)
		}
		w.complete(c, work.Succeeded)
		_, err := w.projects.UpdateEnvironment(t.Context(), w.root, "web", "prod", project.EnvironmentEdit{Checks: &project.Checks{Branches: []string{"release"}}})
		if err != nil {
			t.Fatal(err)
		}
		if leg := late("prod").Stages[0].Jobs[1].Legs[0]; leg.Result != work.Failed || !strings.Contains(leg.Message, "refs/heads/release only") {
			t.Errorf("%+v", leg)
		}
		_, err = w.projects.UpdateEnvironment(t.Context(), w.root, "web", "prod", project.EnvironmentEdit{Checks: &project.Checks{Lock: true}})
		if err != nil {
			t.Fatal(err)
		}
		if leg := late("prod").Stages[0].Jobs[1].Legs[0]; leg.Result != work.Failed || !strings.Contains(leg.Message, "a lock") {
			t.Errorf("%+v", leg)
		}
	})
}

// TestCanceledBeforeApproval: what always runs does not run past the checks of an environment because its run was canceled.
func TestCanceledBeforeApproval(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.environment(w.approved())
		r := w.start(`
stages:
- stage: Deploy
  condition: always()
  jobs:
  - deployment: D
    condition: always()
    environment: prod
    strategy: {runOnce: {deploy: {steps: [{script: x}]}}}
`)
		w.until(r.ID, "the approval", waits("approval"))
		if err := w.Cancel(t.Context(), w.root, r.ID, run.CancelRequest{}); err != nil {
			t.Fatal(err)
		}
		done := w.wait(r.ID)
		tree := w.tree(r.ID)
		if done.Result == work.Succeeded || len(tree.Stages[0].Jobs[0].Legs) != 0 || !strings.Contains(tree.Stages[0].Message, "before the checks") {
			t.Error(show(tree))
		}
		for _, p := range tree.Approvals {
			if p.State == "pending" {
				t.Errorf("%+v", p)
			}
		}
	})
}

// TestCommitIsOnItsRef: checks and permissions go by the ref of a run, so its commit is one that the ref leads to.
func TestCommitIsOnItsRef(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		files := map[string]string{"azure-pipelines.yml": "steps:\n- script: x\n"}
		before := w.commit(files)
		tip := w.commit(files)
		w.repos.mu.Lock()
		w.repos.parents = map[string]string{tip: before}
		w.repos.mu.Unlock()
		elsewhere := w.repos.commit("refs/pull/7/head", files)
		start := func(req run.StartRequest) (*run.Run, error) {
			req.Project, req.Pipeline = "web", "build"
			return w.Start(t.Context(), w.root, req)
		}
		for _, commit := range []string{"", tip, before} {
			if r, err := start(run.StartRequest{Ref: "main", Commit: commit}); err != nil || r.Ref != "refs/heads/main" || !r.Trusted {
				t.Errorf("%s: %+v, %v", commit, r, err)
			}
		}
		for what, req := range map[string]run.StartRequest{
			"a commit of elsewhere":           {Ref: "main", Commit: elsewhere},
			"the default branch":              {Commit: elsewhere},
			"a ref for a commit":              {Ref: "main", Commit: "refs/pull/7/head"},
			"a commit for a ref":              {Ref: elsewhere},
			"a branch that is not there":      {Ref: "other"},
			"a commit, of no branch":          {Ref: "other", Commit: elsewhere},
			"a pull request that is ours now": {Ref: "main", Commit: elsewhere, Reason: run.PullRequest, PullRequest: &flow.PullRequest{Number: "7"}},
		} {
			if r, err := start(req); err == nil {
				t.Errorf("%s: %+v", what, r)
			}
		}
		// What is at the ref of a pull request comes from outside, whatever is said of it.
		for what, req := range map[string]run.StartRequest{
			"by hand":        {Ref: "refs/pull/7/head"},
			"not from there": {Ref: "refs/pull/7/head", Reason: run.PullRequest, PullRequest: &flow.PullRequest{Number: "7"}},
		} {
			if r, err := start(req); err != nil || r.Trusted {
				t.Errorf("%s: %+v, %v", what, r, err)
			}
		}
	})
}

// TestArtifactsFromOutside: what a pull request from outside published is not what others find as the latest.
func TestArtifactsFromOutside(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.agent("one")
		if err := w.pools.SetCapabilities(t.Context(), w.root, "Default", "one", map[string]string{pool.Outside: "true"}); err != nil {
			t.Fatal(err)
		}
		good := w.start("steps:\n- script: x\n")
		_, c := w.take(a)
		w.complete(c, work.Succeeded)
		w.wait(good.ID)
		w.repos.commit("refs/pull/7/head", map[string]string{"azure-pipelines.yml": "steps:\n- script: x\n"})
		outside, err := w.Start(t.Context(), w.root, run.StartRequest{Project: "web", Pipeline: "build", Ref: "refs/pull/7/head"})
		if err != nil {
			t.Fatal(err)
		}
		_, c = w.take(a)
		w.complete(c, work.Succeeded)
		w.wait(outside.ID)
		r := w.start("steps:\n- script: x\n")
		_, c = w.take(a)
		list, err := w.Server(c).Runs(t.Context(), work.RunQuery{})
		if err != nil || len(list) != 1 || list[0] != good.ID {
			t.Errorf("%v, %v; want %d, not %d", list, err, good.ID, outside.ID)
		}
		w.complete(c, work.Succeeded)
		w.wait(r.ID)
	})
}

// TestOutsideDeploysNowhere: a pull request from outside makes no environment, and keeps none by its lock.
func TestOutsideDeploysNowhere(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.repos.commit("refs/heads/main", map[string]string{"azure-pipelines.yml": "steps:\n- script: x\n"})
		w.repos.commit("refs/pull/7/head", map[string]string{"azure-pipelines.yml": deploy})
		r, err := w.Start(t.Context(), w.root, run.StartRequest{Project: "web", Pipeline: "build", Ref: "refs/pull/7/head"})
		if err != nil {
			t.Fatal(err)
		}
		if done := w.wait(r.ID); done.Result != work.Failed || !strings.Contains(w.tree(r.ID).Stages[0].Message, "deploys to no environment") {
			t.Error(show(w.tree(r.ID)))
		}
		list, _, err := w.projects.ListEnvironments(t.Context(), w.root, "web", project.Page{})
		if err != nil || len(list) != 0 {
			t.Errorf("%+v, %v", list, err)
		}
	})
}

// TestOutputsAreBounded: an agent can't make the state of a run grow without end.
func TestOutputsAreBounded(t *testing.T) {
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) {
		w := newWorldWith(t, db, run.Limits{RunOutputs: 3, RunOutputSize: 100})
		a := w.agent("one")
		w.start("steps:\n- script: x\n")
		_, c := w.take(a)
		n := int64(0)
		set := func(name, value string) error {
			n++
			return w.Update(t.Context(), c, []work.Record{{Step: "001", Name: "say", Sequence: n, State: work.InProgress, Outputs: []work.Variable{{Name: name, Value: value}}}})
		}
		if err := set("a", strings.Repeat("x", 90)); err != nil {
			t.Fatal(err)
		}
		if err := set("b", strings.Repeat("x", 20)); err == nil {
			t.Error("more bytes than there is room for")
		}
		for _, name := range []string{"b", "c"} {
			if err := set(name, "x"); err != nil {
				t.Fatal(err)
			}
		}
		if err := set("d", "x"); err == nil {
			t.Error("more outputs than there is room for")
		}
	})
}

// TestRunsOfOtherProjects: whoever writes a pipeline does not get at the artifacts of other projects by naming them.
func TestRunsOfOtherProjects(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		if _, err := w.projects.CreateProject(ctx, w.root, project.NewProject{Name: "other"}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.projects.CreatePipeline(ctx, w.root, "other", project.NewPipeline{Name: "theirs", Repository: "web/app"}); err != nil {
			t.Fatal(err)
		}
		a := w.agent("one")
		w.commit(map[string]string{"azure-pipelines.yml": "trigger: none\nsteps:\n- script: x\n"})
		theirs, err := w.Start(ctx, w.root, run.StartRequest{Project: "other", Pipeline: "theirs"})
		if err != nil {
			t.Fatal(err)
		}
		_, c := w.take(a)
		w.complete(c, work.Succeeded)
		w.wait(theirs.ID)
		yaml := "resources:\n  pipelines:\n  - {pipeline: up, source: theirs, project: Other}\nsteps:\n- download: up\n"
		commit := w.commit(map[string]string{"azure-pipelines.yml": yaml})
		for _, req := range []run.StartRequest{{}, {Resources: map[string]run.Resource{"up": {Run: theirs.ID}}}} {
			req.Project, req.Pipeline = "web", "build"
			if r, err := w.Start(ctx, w.root, req); err == nil || !strings.Contains(err.Error(), `permit -p web "build" pipeline "other/theirs"`) {
				t.Errorf("%+v, %v", r, err)
			}
		}
		w.push("refs/heads/main", "0000000000000000000000000000000000000000", commit)
		w.idle()
		if list := w.runs(); len(list) != 1 || list[0].Result != work.Failed || len(list[0].Problems) == 0 || !strings.Contains(list[0].Problems[0].Message, "not authorised") {
			t.Errorf("%+v", list)
		}
		if err := w.projects.Authorize(ctx, w.root, "web", project.Use{Kind: project.KindPipeline, Name: "other/theirs"}, "build"); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Start(ctx, w.root, run.StartRequest{Project: "web", Pipeline: "build"}); err != nil {
			t.Fatal(err)
		}
		_, c = w.take(a)
		if _, err := w.Server(c).Artifacts(ctx, theirs.ID); err != nil {
			t.Error(err)
		}
	})
}

// TestRunsOfOtherAccounts: a run of another account is as one that is not there.
func TestRunsOfOtherAccounts(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		r := w.start("steps:\n- script: x\n")
		other := (&iam.Principal{Account: "999988887777", ARN: iam.RootARN("999988887777"), Type: iam.Root, ID: "999988887777"}).Caller()
		_, there := w.Get(t.Context(), other, r.ID)
		_, missing := w.Get(t.Context(), other, r.ID+1000)
		if there == nil || missing == nil || strings.Replace(missing.Error(), fmt.Sprint(r.ID+1000), fmt.Sprint(r.ID), 1) != there.Error() {
			t.Errorf("%v; %v", there, missing)
		}
		if err := w.Cancel(t.Context(), other, r.ID, run.CancelRequest{}); err == nil || err.Error() != there.Error() {
			t.Error(err)
		}
	})
}

// TestScheduleThatFails: a schedule whose run can't be started is not tried at every tick, before those of others.
func TestScheduleThatFails(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		commit := w.commit(map[string]string{"azure-pipelines.yml": "trigger: none\nschedules:\n- cron: '0 * * * *'\n  branches: {include: [main]}\n  always: true\nsteps:\n- script: x\n"})
		w.push("refs/heads/main", "0000000000000000000000000000000000000000", commit)
		w.idle()
		w.repos.mu.Lock()
		delete(w.repos.files, commit) // and the ref is there
		w.repos.mu.Unlock()
		w.advance(time.Hour)
		if err := w.Tick(t.Context()); err != nil {
			t.Fatal(err)
		}
		var n int
		if err := w.db.QueryRow(t.Context(), `SELECT count(*) FROM run_schedules WHERE next_at > $1`, w.now().UnixMicro()).Scan(&n); err != nil || n != 1 {
			t.Errorf("%d, %v", n, err)
		}
	})
}
