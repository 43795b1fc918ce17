package run_test

import (
	"testing"
	"time"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/run"
)

// TestServerAway has the server be away for longer than a lease: an agent that is still there keeps its job, and one that is not loses it.
func TestServerAway(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		here, gone := w.agent("here"), w.agent("gone")
		r := w.start("jobs:\n- job: a\n  strategy: {parallel: 2}\n  steps:\n  - bash: echo hello\n")
		_, kept := w.take(here)
		_, lost := w.take(gone)
		w.close()
		w.advance(2 * run.LeaseTime)
		w.open()
		if err := w.Tick(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Renew(t.Context(), kept); err != nil {
			t.Fatalf("an agent that was there all the time: %v", err)
		}
		w.advance(run.StartTime + time.Second)
		w.until(r.ID, "the other agent is lost", func(tree *run.Tree) bool {
			for _, j := range tree.Stages[0].Jobs[0].Legs {
				if j.ID == lost.Job {
					return j.State == run.Queued && j.Attempts[0].State == "lost"
				}
			}
			return false
		})
		w.complete(kept, work.Succeeded)
	})
}
