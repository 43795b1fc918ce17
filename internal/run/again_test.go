package run_test

import (
	"testing"
	"time"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
	"github.com/sekisho/sekisho/internal/pool"
	"github.com/sekisho/sekisho/internal/project"
	"github.com/sekisho/sekisho/internal/run"
)

// TestPullRequestToldAgain: a push that is told again, because its job was repeated, changes nothing of the run that it started.
func TestPullRequestToldAgain(t *testing.T) {
	w := newWorld(t, metatest.Open(t, metatest.SQLite(t)))
	if _, err := w.projects.UpdatePipeline(t.Context(), w.root, "web", "build", project.PipelineEdit{Settings: &project.PipelineSettings{ForkBuilds: true}}); err != nil {
		t.Fatal(err)
	}
	pull := w.repos.commit("refs/pull/7/merge", map[string]string{"azure-pipelines.yml": "steps:\n- script: x\n"})
	p := w.push("refs/pull/7/merge", "0000000000000000000000000000000000000000", pull)
	w.idle()
	w.tell(p)
	w.idle()
	list := w.runs()
	if len(list) != 1 {
		t.Fatalf("%d runs", len(list))
	}
	if r := list[0]; r.Canceling || r.Result != "" {
		t.Errorf("the run is %q %q: %s", r.State, r.Result, r.CancelReason)
	}
}

// TestOfferNotTaken: an offer that an agent of one job never had is not its one job; and it has one job at a time.
func TestOfferNotTaken(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.agent("one")
		err := w.db.Update(t.Context(), func(tx *meta.Tx) error {
			_, err := tx.Exec(t.Context(), `UPDATE pool_agents SET ephemeral = 1`)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		w.start("steps:\n- script: x\n")
		j, err := w.Acquire(t.Context(), a)
		if err != nil {
			t.Fatal(err)
		}
		err = w.db.Update(t.Context(), func(tx *meta.Tx) error { return pool.Begin(t.Context(), tx, a.ID, "another", time.Now()) })
		if err == nil {
			t.Error("an agent of one job got another one at the same time")
		}
		// It asks again: the answer to its first call was lost.
		again, c := w.take(a)
		if again.ID != j.ID || again.Attempt == j.Attempt {
			t.Errorf("got %s, attempt %d, after %s, attempt %d", again.ID, again.Attempt, j.ID, j.Attempt)
		}
		w.complete(c, work.Succeeded)
		if a, err := w.pools.Agent(t.Context(), a.ID); err != nil || a == nil || !a.Used() {
			t.Errorf("agent %+v, %v: it has had its one job", a, err)
		}
	})
}

// TestDeleteLate: a run that is to be deleted and runs again meanwhile stays.
func TestDeleteLate(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.agent("one")
		r := w.start("steps:\n- script: x\n")
		_, c := w.take(a)
		w.complete(c, work.Failed)
		w.idle()
		if _, err := w.Rerun(t.Context(), w.root, r.ID, run.RerunRequest{}); err != nil {
			t.Fatal(err)
		}
		if err := w.Remove(t.Context(), r.ID); err != nil {
			t.Fatal(err)
		}
		if got, err := w.Get(t.Context(), w.root, r.ID); err != nil || got.State == work.Completed {
			t.Errorf("run %+v, %v", got, err)
		}
	})
}
