package agent

import (
	"testing"

	"github.com/sekisho/sekisho/internal/agent/work"
)

func TestRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f, err := w.configure("first", nil)
	if err != nil {
		t.Fatal(err)
	}
	r := w.run(f, nil)
	r.console.until(t, "Listening for Jobs")
	if a := w.agent("First"); !a.Online || a.Refuses() != "" || a.Method != "token" {
		t.Errorf("the pool has it as %+v: %s", a, a.Refuses())
	}
	w.queue.add(&work.Job{ID: "1.a", DisplayName: "Build", Steps: []work.Step{step("s1", "log", 300), step("s2", "file", 1<<20), step("s3", "place", 0)}})
	w.queue.until(t, "the job ends", func() bool { return w.queue.results["1.a"] != "" })
	if got := w.queue.results["1.a"]; got != "succeeded" {
		t.Errorf("the job is %s; the agent said\n%s", got, r.console)
	}
	if got := string(w.queue.logs["1.a/s1"]); got != lines("s1", 300) {
		t.Errorf("its log has %d bytes", len(got))
	}
	if got, want := string(w.queue.logs["1.a/s3"]), "first "+w.url()+"\n"; got != want {
		t.Errorf("it ran at %q, want %q", got, want)
	}
	r.console.until(t, ": Job Build completed with result: Succeeded")
	r.console.until(t, "s1 line 299") // live
	r.signals <- struct{}{}
	if err := r.wait(t); err != nil {
		t.Error(err)
	}
	if a := w.agent("first"); a.Online {
		t.Error("it said goodbye and is online")
	}
}
