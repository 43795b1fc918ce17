package run_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/run"
)

const two = `
trigger: none
variables:
  color: blue
stages:
- stage: Build
  jobs:
  - job: A
    steps:
    - script: echo hello
      name: say
  - job: B
    dependsOn: A
    variables:
      from: $[ dependencies.A.outputs['say.word'] ]
    steps:
    - script: echo $(from)
- stage: Test
  jobs:
  - job: C
    strategy:
      maxParallel: 1
      matrix:
        one: {n: 1}
        two: {n: 2}
    steps:
    - script: echo $(n)
`

func TestRun(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.agent("one")
		r := w.start(two)
		if r.Number != "20260504.1" || r.State != work.Pending {
			t.Errorf("run is called %q and is %s", r.Number, r.State)
		}
		j, c := w.take(a)
		if j.Identity.Job != "A" || len(j.Steps) != 2 || j.Steps[0].Task != "checkout@1" || j.Token == "" || j.Credentials == nil {
			t.Errorf("job: %+v", j)
		}
		err := w.Update(t.Context(), c, []work.Record{{Step: j.Steps[1].ID, Sequence: 2, Name: "say", State: work.Completed, Result: work.Succeeded,
			Outputs: []work.Variable{{Name: "word", Value: "blue"}, {Name: "key", Value: "hidden-value", Secret: true}}}})
		if err != nil {
			t.Fatal(err)
		}
		w.complete(c, work.Succeeded)
		if err := w.Complete(t.Context(), c, work.Succeeded, ""); err != nil {
			t.Errorf("complete again: %v", err)
		}
		if err := w.Complete(t.Context(), c, work.Failed, ""); !errors.Is(err, work.ErrClaimLost) {
			t.Errorf("complete otherwise: %v", err)
		}
		j, c = w.take(a)
		from := ""
		for _, v := range j.Variables {
			if v.Name == "from" {
				from = v.Value
			}
		}
		if from != "blue" {
			t.Errorf("variable is %q", from)
		}
		w.complete(c, work.Succeeded)
		for range 2 {
			_, c = w.take(a)
			w.complete(c, work.Succeeded)
		}
		done := w.wait(r.ID)
		if done.Result != work.Succeeded {
			t.Error(show(w.tree(r.ID)))
		}
	})
}

func TestWrong(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.commit(map[string]string{"azure-pipelines.yml": "steps:\n- scrip: x\n"})
		_, err := w.Start(t.Context(), w.root, run.StartRequest{Project: "web", Pipeline: "build"})
		var e *run.Error
		if !errors.As(err, &e) || e.Kind != run.Invalid || len(e.Problems) == 0 || e.Problems[0].Line != 2 {
			t.Errorf("%v", err)
		}
		_, err = w.Start(t.Context(), w.root, run.StartRequest{Project: "web", Pipeline: "nothing"})
		if !errors.Is(err, work.ErrNotFound) {
			t.Errorf("%v", err)
		}
	})
}

func TestForeignClaims(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.agent("one"), w.agent("two")
		w.start("steps:\n- script: x\n")
		_, c := w.take(a)
		for _, bad := range []run.Claim{{Job: c.Job, Attempt: c.Attempt, Agent: b.ID}, {Job: c.Job, Attempt: 2, Agent: a.ID}, {Job: "9.x.y", Attempt: 1, Agent: a.ID}} {
			if err := w.Complete(t.Context(), bad, work.Succeeded, ""); !errors.Is(err, work.ErrClaimLost) {
				t.Errorf("complete as %+v: %v", bad, err)
			}
			if _, err := w.AppendLog(t.Context(), bad, "1", 0, []byte("x")); !errors.Is(err, work.ErrClaimLost) {
				t.Errorf("log as %+v: %v", bad, err)
			}
			if err := w.PutFile(t.Context(), bad, "drop", "pipeline", "f", 1, strings.NewReader("x")); !errors.Is(err, work.ErrClaimLost) {
				t.Errorf("file as %+v: %v", bad, err)
			}
			if _, err := w.Renew(t.Context(), bad); !errors.Is(err, work.ErrClaimLost) {
				t.Errorf("renew as %+v: %v", bad, err)
			}
		}
		if len(w.refused) == 0 {
			t.Error("nothing was recorded")
		}
		w.complete(c, work.Succeeded)
	})
}

func TestLostAgent(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.agent("one"), w.agent("two")
		r := w.start("steps:\n- script: x\n")
		_, first := w.take(a)
		w.advance(run.LeaseTime + 1e9)
		_, second := w.take(b)
		if second.Job != first.Job || second.Attempt != 2 {
			t.Fatalf("%+v after %+v", second, first)
		}
		if err := w.Complete(t.Context(), first, work.Succeeded, ""); !errors.Is(err, work.ErrClaimLost) {
			t.Errorf("late result: %v", err)
		}
		w.advance(run.LeaseTime + 1e9)
		done := w.wait(r.ID)
		tree := w.tree(r.ID)
		leg := tree.Stages[0].Jobs[0].Legs[0]
		if done.Result != work.Failed || leg.Result != work.Abandoned || len(leg.Attempts) != 2 || leg.Attempts[0].State != "lost" {
			t.Error(show(tree))
		}
	})
}

// TestAbandoned has agents say themselves that they lost their job.
func TestAbandoned(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.agent("one"), w.agent("two")
		r := w.start("steps:\n- script: x\n")
		j, err := w.Acquire(t.Context(), a)
		if err != nil {
			t.Fatal(err)
		}
		first := run.Claim{Job: j.ID, Attempt: j.Attempt, Agent: a.ID}
		if err := w.Complete(t.Context(), first, work.Abandoned, ""); !errors.Is(err, work.ErrClaimLost) {
			t.Errorf("abandoned without having it: %v", err)
		}
		if err := w.Acknowledge(t.Context(), first); err != nil {
			t.Fatal(err)
		}
		if _, err := w.AppendLog(t.Context(), first, "1", 0, []byte("before")); err != nil {
			t.Fatal(err)
		}
		foreign := first
		foreign.Agent = b.ID
		if err := w.Complete(t.Context(), foreign, work.Abandoned, "a lie"); !errors.Is(err, work.ErrClaimLost) {
			t.Errorf("abandoned by another agent: %v", err)
		}
		for range 2 { // an agent that got no answer says it again
			if err := w.Complete(t.Context(), first, work.Abandoned, "the host was started anew"); err != nil {
				t.Fatal(err)
			}
		}
		_, second := w.take(b)
		if second.Job != first.Job || second.Attempt != 2 {
			t.Fatalf("%+v after %+v", second, first)
		}
		leg := w.tree(r.ID).Stages[0].Jobs[0].Legs[0]
		if len(leg.Attempts) != 2 || leg.Attempts[0].State != "lost" || leg.Attempts[0].Cause != "the host was started anew" {
			t.Errorf("%+v", leg.Attempts[0])
		}
		if err := w.Complete(t.Context(), second, work.Abandoned, "again"); err != nil {
			t.Fatal(err)
		}
		done := w.wait(r.ID)
		leg = w.tree(r.ID).Stages[0].Jobs[0].Legs[0]
		if done.Result != work.Failed || leg.Result != work.Abandoned || !strings.Contains(leg.Message, "2 agents were lost") {
			t.Error(show(w.tree(r.ID)))
		}
	})
}

func TestUnanswered(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.agent("one"), w.agent("two")
		w.start("steps:\n- script: x\n")
		j, err := w.Acquire(t.Context(), a)
		if err != nil {
			t.Fatal(err)
		}
		w.advance(run.OfferTime + 1e9)
		_, c := w.take(b)
		if c.Attempt != 2 {
			t.Errorf("%+v", c)
		}
		if err := w.Acknowledge(t.Context(), run.Claim{Job: j.ID, Attempt: 1, Agent: a.ID}); !errors.Is(err, work.ErrClaimLost) {
			t.Errorf("late acknowledge: %v", err)
		}
		if err := w.Release(t.Context(), c, "it stops"); err != nil {
			t.Fatal(err)
		}
		_, c = w.take(a)
		w.complete(c, work.Succeeded)
	})
}

func TestCancel(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.agent("one")
		r := w.start(two)
		_, c := w.take(a)
		if err := w.Cancel(t.Context(), w.root, r.ID, run.CancelRequest{}); err != nil {
			t.Fatal(err)
		}
		l, err := w.Renew(t.Context(), c)
		if err != nil || !l.Cancel {
			t.Fatalf("renew: %+v, %v", l, err)
		}
		w.complete(c, work.Canceled)
		if done := w.wait(r.ID); done.Result != work.Canceled {
			t.Error(show(w.tree(r.ID)))
		}

		// A dead agent does not keep a run that is canceled.
		r = w.start("jobs:\n- job: A\n  cancelTimeoutInMinutes: 1\n  steps:\n  - script: x\n")
		_, c = w.take(a)
		if err := w.Cancel(t.Context(), w.root, r.ID, run.CancelRequest{}); err != nil {
			t.Fatal(err)
		}
		for range 4 {
			w.advance(30e9)
			if _, err := w.Renew(t.Context(), c); err != nil {
				break
			}
		}
		if done := w.wait(r.ID); done.Result != work.Canceled {
			t.Error(show(w.tree(r.ID)))
		}
	})
}

func TestTimeout(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.agent("one")
		r := w.start("jobs:\n- job: A\n  timeoutInMinutes: 1\n  steps:\n  - script: x\n")
		_, c := w.take(a)
		w.advance(40e9)
		if _, err := w.Renew(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		w.advance(25e9)
		w.until(r.ID, "the cancellation", func(t *run.Tree) bool { return t.Stages[0].Jobs[0].Legs[0].Canceling })
		w.complete(c, work.Canceled)
		w.wait(r.ID)
		if leg := w.tree(r.ID).Stages[0].Jobs[0].Legs[0]; !strings.Contains(leg.Message, "maximum time of 1 minutes") || leg.Result != work.Canceled {
			t.Errorf("%+v", leg)
		}
	})
}

func TestRerun(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.agent("one")
		r := w.start(`
stages:
- stage: S
  jobs:
  - job: A
    steps: [{script: x}]
  - job: B
    steps: [{script: x}]
- stage: T
  jobs:
  - job: C
    steps: [{script: x}]
`)
		for range 2 {
			j, c := w.take(a)
			result := work.Succeeded
			if j.Identity.Job == "B" {
				result = work.Failed
			}
			w.complete(c, result)
		}
		if done := w.wait(r.ID); done.Result != work.Failed {
			t.Fatal(show(w.tree(r.ID)))
		}
		again, err := w.Rerun(t.Context(), w.root, r.ID, run.RerunRequest{Failed: true})
		if err != nil {
			t.Fatal(err)
		}
		if again.Attempt != 2 || again.State != work.InProgress {
			t.Errorf("%+v", again)
		}
		for _, want := range []string{"B", "C"} {
			j, c := w.take(a)
			if j.Identity.Job != want {
				t.Errorf("job %s, want %s", j.Identity.Job, want)
			}
			w.complete(c, work.Succeeded)
		}
		if done := w.wait(r.ID); done.Result != work.Succeeded {
			t.Error(show(w.tree(r.ID)))
		}
		if stages := w.tree(r.ID).Stages; len(stages) != 4 || stages[0].Last || !stages[1].Last {
			t.Error(show(w.tree(r.ID)))
		}
	})
}

func TestWaitReasons(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		r := w.start("jobs:\n- job: A\n  pool: {name: Default, demands: docker}\n  steps:\n  - script: x\n- job: B\n  pool: other\n  steps:\n  - script: x\n")
		waits := func(i int) string { return w.tree(r.ID).Stages[0].Jobs[i].Legs[0].Waits }
		has := func(text, want string) {
			t.Helper()
			if !strings.Contains(text, want) {
				t.Errorf("%q has no %q", text, want)
			}
		}
		has(waits(0), "waiting for an agent in pool Default to accept the request: no agent is registered in it")
		has(waits(1), "there is no pool of that name yet")
		w.agent("plain")
		has(waits(0), "lacks docker")
		if strings.Contains(waits(0), "vmImage") {
			t.Error(waits(0))
		}
		a := w.agent("builder", "docker")
		_, c := w.take(a)
		w.complete(c, work.Succeeded)
	})
}

// A job that names an image of hosted agents says why it waits where it does.
func TestWaitReasonVMImage(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		r := w.start("pool: {vmImage: ubuntu-latest}\njobs:\n- job: A\n  steps:\n  - script: x\n- job: B\n  pool: Default\n  steps:\n  - script: x\n")
		jobs := w.tree(r.ID).Stages[0].Jobs
		if a := jobs[0].Legs[0].Waits; !strings.Contains(a, "pool Default") || !strings.Contains(a, "(vmImage ubuntu-latest names an image of hosted agents") {
			t.Errorf("A: %s", a)
		}
		if b := jobs[1].Legs[0].Waits; strings.Contains(b, "vmImage") {
			t.Errorf("B: %s", b)
		}
		found := false
		for _, p := range r.Problems {
			found = found || strings.Contains(p.Message, "ubuntu-latest") && !p.Error
		}
		if !found {
			t.Errorf("the run does not warn: %+v", r.Problems)
		}
	})
}
