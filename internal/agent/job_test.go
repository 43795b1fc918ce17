package agent

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sekisho/sekisho/internal/agent/work"
)

// TestCuts runs a job over connections that break at random, and over a server that starts again, and compares its logs byte by byte.
func TestCuts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := newCutter(t, w.addr)
	f, err := w.configure("one", func(o *ConfigureOptions) { o.URL = "http://" + c.l.Addr().String() })
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	// Answers are lost too, after what they answer was done.
	w.wrap = func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			w.mu.Lock()
			n := random.IntN(6)
			w.mu.Unlock()
			switch {
			case !strings.HasSuffix(r.URL.Path, "/AppendLog") && !strings.HasSuffix(r.URL.Path, "/Update") && !strings.HasSuffix(r.URL.Path, "/Complete"):
			case n == 0:
				h.ServeHTTP(&nowhere{rw}, r)
				panic(http.ErrAbortHandler)
			case n == 1:
				panic(http.ErrAbortHandler)
			}
			h.ServeHTTP(rw, r)
		})
	}
	r := w.run(f, nil)
	r.console.until(t, "Listening for Jobs")
	steps := []work.Step{step("a", "log", 4000), step("b", "file", 3<<20), step("c", "log", 30000), step("d", "log", 1), step("e", "log", 20000)}
	w.queue.add(&work.Job{ID: "1.a", DisplayName: "Build", Steps: steps})
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(60 * time.Millisecond)
		defer tick.Stop()
		for range 25 {
			<-tick.C
			c.cut(false)
		}
	}()
	w.queue.until(t, "a log grows", func() bool { return len(w.queue.logs["1.a/a"]) > 0 })
	addr := w.addr
	w.stop() // the server starts again
	w.start(addr)
	w.queue.until(t, "the job ends", func() bool { return w.queue.results["1.a"] != "" })
	<-done
	if got := w.queue.results["1.a"]; got != "succeeded" {
		t.Errorf("the job is %s\n%s", got, r.console)
	}
	for id, n := range map[string]int{"a": 4000, "c": 30000, "d": 1, "e": 20000} {
		if got, want := string(w.queue.logs["1.a/"+id]), lines(id, n); got != want {
			t.Errorf("the log %s has %d bytes, want %d", id, len(got), len(want))
		}
	}
	last := map[string]work.State{}
	for _, record := range w.queue.records["1.a"] {
		last[record.Step] = record.State
	}
	if len(last) != len(steps) {
		t.Errorf("the records are of %d steps: %v", len(last), last)
	}
	r.signals <- struct{}{}
	if err := r.wait(t); err != nil {
		t.Error(err)
	}
	if left, err := f.leftSpools(); err != nil || len(left) > 0 {
		t.Errorf("spools are left: %v %v", left, err)
	}
}

// TestEnds has jobs that end in other ways than by themselves.
func TestEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f, err := w.configure("one", nil)
	if err != nil {
		t.Fatal(err)
	}
	r := w.run(f, nil)
	r.console.until(t, "Listening for Jobs")

	w.queue.add(&work.Job{ID: "crash", DisplayName: "Crash", Steps: []work.Step{step("a", "log", 500), step("b", "crash", 0)}})
	w.queue.until(t, "a job ends whose worker crashes", func() bool { return w.queue.results["crash"] != "" })
	if got := w.queue.results["crash"]; !strings.HasPrefix(got, "failed The worker") || !strings.Contains(got, "crashed") {
		t.Errorf("a crash is %q", got)
	}
	if got := string(w.queue.logs["crash/a"]); got != lines("a", 500) {
		t.Errorf("the log before the crash has %d bytes", len(got))
	}

	w.queue.add(&work.Job{ID: "panic", DisplayName: "Panic", Steps: []work.Step{step("b", "panic", 0)}})
	w.queue.until(t, "a job ends that panics", func() bool { return w.queue.results["panic"] != "" })
	if got := w.queue.results["panic"]; !strings.HasPrefix(got, "failed ") || !strings.Contains(got, "a fault") {
		t.Errorf("a panic is %q", got)
	}

	w.queue.add(&work.Job{ID: "cancel", DisplayName: "Cancel", Steps: []work.Step{step("b", "wait", 0)}})
	w.queue.until(t, "it waits", func() bool { return len(w.queue.logs["cancel/b"]) > 0 })
	w.queue.mu.Lock()
	w.queue.cancelled["cancel"] = true
	w.queue.mu.Unlock()
	w.queue.until(t, "a job ends that was cancelled", func() bool { return w.queue.results["cancel"] != "" })
	if got := w.queue.results["cancel"]; !strings.Contains(got, "root cancelled it") || !strings.HasPrefix(got, "canceled") {
		t.Errorf("cancelled, it is %q", got)
	}

	// The claim is lost: the job ends, and nothing is told of it.
	w.queue.add(&work.Job{ID: "lost", DisplayName: "Lost", Steps: []work.Step{step("b", "wait", 0)}})
	w.queue.until(t, "it waits", func() bool { return len(w.queue.logs["lost/b"]) > 0 })
	w.queue.mu.Lock()
	for k := range w.queue.claims {
		if k.Job == "lost" {
			w.queue.claims[k] = "lost"
		}
	}
	w.queue.mu.Unlock()
	r.console.until(t, "Job Lost was taken from this agent")
	if got := w.queue.results["lost"]; got != "" {
		t.Errorf("a job that was lost is %q", got)
	}

	// The first word to stop lets the job end; the second gives it back.
	w.queue.add(&work.Job{ID: "drain", DisplayName: "Drain", Steps: []work.Step{step("b", "wait", 0)}})
	w.queue.until(t, "it waits", func() bool { return len(w.queue.logs["drain/b"]) > 0 })
	r.signals <- struct{}{}
	r.console.until(t, "Stopping")
	if got := w.queue.results["drain"]; got != "" {
		t.Errorf("after the first word it is %q", got)
	}
	r.signals <- struct{}{}
	if err := r.wait(t); err != nil {
		t.Error(err)
	}
	if got := w.queue.results["drain"]; !strings.HasPrefix(got, "released") {
		t.Errorf("after the second word it is %q\n%s", got, r.console)
	}
}

// TestCutOff cuts an agent off for longer than its lease: it ends its job by itself, and tells of it when it can.
func TestCutOff(t *testing.T) {
	t.Parallel()
	for _, hung := range []bool{false, true} {
		name := "worker that listens"
		if hung {
			name = "worker that hangs"
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			c := newCutter(t, w.addr)
			f, err := w.configure("one", func(o *ConfigureOptions) { o.URL = "http://" + c.l.Addr().String() })
			if err != nil {
				t.Fatal(err)
			}
			r := w.run(f, func(o *RunOptions) { o.lease = 7500 * time.Millisecond })
			what := "wait"
			if hung {
				what = "hang"
			}
			w.queue.add(&work.Job{ID: "a", DisplayName: "A", Steps: []work.Step{step("a", "log", 100), step("b", what, 0)}})
			w.queue.until(t, "it runs", func() bool { return len(w.queue.logs["a/b"]) > 0 })
			c.cut(true)
			dir := f.spoolOf("a", 1)
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for over := false; !over; { // until the worker is gone, for which it has its lock
				select {
				case <-tick.C:
					unlock, err := lockFileOf(filepath.Join(dir, workerLock))
					if over = err == nil; over {
						unlock()
					}
				case <-t.Context().Done():
					t.Fatal("the worker goes on")
				}
			}
			c.cut(false)
			w.queue.until(t, "the job ends", func() bool { return w.queue.results["a"] != "" })
			if got := w.queue.results["a"]; !strings.HasPrefix(got, "abandoned The agent had no answer of the server for 6s.") {
				t.Errorf("it is %q\n%s", got, r.console)
			}
			if got := string(w.queue.logs["a/a"]); got != lines("a", 100) {
				t.Errorf("its log has %d bytes", len(got))
			}
			w.queue.add(&work.Job{ID: "b", DisplayName: "B", Steps: []work.Step{step("a", "log", 1)}})
			w.queue.until(t, "the next job ends", func() bool { return w.queue.results["b"] != "" })
			if got := w.queue.results["b"]; got != "succeeded" {
				t.Errorf("the next job is %q", got)
			}
		})
	}
}

// TestToldLater cuts an agent off when its job has just ended: the result stays, however long that takes.
func TestToldLater(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := newCutter(t, w.addr)
	f, err := w.configure("one", func(o *ConfigureOptions) { o.URL = "http://" + c.l.Addr().String() })
	if err != nil {
		t.Fatal(err)
	}
	w.run(f, func(o *RunOptions) { o.lease = 7500 * time.Millisecond })
	w.queue.add(&work.Job{ID: "a", DisplayName: "A", Steps: []work.Step{step("a", "wait", 0)}})
	w.queue.until(t, "it runs", func() bool { return len(w.queue.logs["a/a"]) > 0 })
	w.queue.mu.Lock()
	w.queue.cancelled["a"] = true
	w.queue.mu.Unlock()
	// With the word to cancel the way is shut: the worker ends its job and can't tell.
	dir := f.spoolOf("a", 1)
	w.wrap = nil
	cut := time.NewTicker(time.Millisecond)
	defer cut.Stop()
	var end *outcome
	for end == nil {
		select {
		case <-cut.C:
			end = outcomeIn(dir)
		case <-t.Context().Done():
			t.Fatal("the job goes on")
		}
	}
	c.cut(true)
	since := steady()
	for steady() < since+8*time.Second { // longer than the lease
		<-cut.C
	}
	c.cut(false)
	w.queue.until(t, "the job ends", func() bool { return w.queue.results["a"] != "" })
	if got := w.queue.results["a"]; !strings.HasPrefix(got, "canceled") {
		t.Errorf("it is %q", got)
	}
}

// TestDrain lets a job end after the word to stop.
func TestDrain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f, err := w.configure("one", nil)
	if err != nil {
		t.Fatal(err)
	}
	r := w.run(f, func(o *RunOptions) { o.Drain = time.Minute })
	w.queue.add(&work.Job{ID: "a", DisplayName: "A", Steps: []work.Step{step("b", "log", 20000)}})
	w.queue.until(t, "it runs", func() bool { return len(w.queue.logs["a/b"]) > 0 })
	r.signals <- struct{}{}
	if err := r.wait(t); err != nil {
		t.Error(err)
	}
	if got := w.queue.results["a"]; got != "succeeded" {
		t.Errorf("it is %q", got)
	}
}

// TestKilled kills an agent in a process of its own, and starts it again.
func TestKilled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f, err := w.configure("one", nil)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, string(f))
	cmd.Env = append(os.Environ(), workerEnv+"=agent")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.queue.add(&work.Job{ID: "a", DisplayName: "A", Steps: []work.Step{step("a", "log", 1000), step("b", "wait", 0)}})
	w.queue.until(t, "it runs", func() bool { return len(w.queue.logs["a/b"]) > 0 })
	_, err = os.Stat(f.path(spoolFolder))
	if err != nil {
		t.Error(err)
	}
	says(t, "a second process of the agent", f.Run(t.Context(), RunOptions{Console: &console{}}), "runs already")
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	r := w.run(f, func(o *RunOptions) { o.Once = true })
	r.console.until(t, "was stopped while it ran the job A")
	w.queue.until(t, "the job ends", func() bool { return w.queue.results["a"] != "" })
	if got := w.queue.results["a"]; !strings.HasPrefix(got, "abandoned") {
		t.Errorf("it is %q", got)
	}
	if got := string(w.queue.logs["a/a"]); got != lines("a", 1000) {
		t.Errorf("its log has %d bytes", len(got))
	}
	w.queue.add(&work.Job{ID: "b", DisplayName: "B", Steps: []work.Step{step("a", "log", 1)}})
	if err := r.wait(t); err != nil || w.queue.results["b"] != "succeeded" {
		t.Errorf("the next job is %q, %v", w.queue.results["b"], err)
	}
}

// TestFullDisk takes no jobs while the disk is full, and says why in the pool.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f, err := w.configure("one", nil)
	if err != nil {
		t.Fatal(err)
	}
	r := w.run(f, func(o *RunOptions) { o.free = func(string) (int64, error) { return 1 << 20, nil } })
	r.console.until(t, "No jobs are taken: disk: 1.0 MiB free")
	if got := w.agent("one").Refuses(); !strings.HasPrefix(got, "disk: ") {
		t.Errorf("the pool says %q", got)
	}
	r.signals <- struct{}{}
	if err := r.wait(t); err != nil {
		t.Error(err)
	}
}

// TestOneJob is removed when it has done its job.
func TestOneJob(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f, err := w.configure("one", func(o *ConfigureOptions) { o.OneJob = true })
	if err != nil {
		t.Fatal(err)
	}
	w.queue.add(&work.Job{ID: "a", DisplayName: "A", Steps: []work.Step{step("a", "log", 1)}})
	if err := w.run(f, nil).wait(t); err != nil {
		t.Fatal(err)
	}
	agents, err := w.pools.Agents(t.Context(), w.root, "builders")
	if err != nil || len(agents) != 0 {
		t.Errorf("%d agents, %v", len(agents), err)
	}
	if err := f.Run(t.Context(), RunOptions{Console: &console{}}); !errors.Is(err, ErrGone) {
		t.Errorf("it runs again until %v", err)
	}
}

// TestForeignJob is about a job that another agent has.
func TestForeignJob(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	victim, err := w.configure("victim", nil)
	if err != nil {
		t.Fatal(err)
	}
	other, err := w.configure("other", nil)
	if err != nil {
		t.Fatal(err)
	}
	r := w.run(victim, nil)
	w.queue.add(&work.Job{ID: "a", DisplayName: "A", Steps: []work.Step{step("b", "wait", 0)}})
	w.queue.until(t, "it runs", func() bool { return len(w.queue.logs["a/b"]) > 0 })
	settings, key, err := other.Load()
	if err != nil {
		t.Fatal(err)
	}
	c, err := newClient(&Route{URL: w.url()}, &signer{key: key, agent: settings.AgentID})
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	s, err := openSpool(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	thief := newRemote(c, claimOf(&work.Job{ID: "a", Attempt: 1}), s, false)
	defer thief.close()
	if _, err := thief.AppendLog(t.Context(), "b", 0, []byte("lies")); err != nil {
		t.Fatal(err)
	}
	if err := thief.flush(t.Context()); !errors.Is(err, work.ErrClaimLost) {
		t.Errorf("writing to another's log: %v", err)
	}
	if err := thief.PutFile(t.Context(), "x", "pipeline", "y", 1, strings.NewReader("z")); !errors.Is(err, work.ErrClaimLost) {
		t.Errorf("putting a file: %v", err)
	}
	r.signals <- struct{}{}
	r.signals <- struct{}{}
	_ = r.wait(t)
	if got := string(w.queue.logs["a/b"]); got != "waiting\n" {
		t.Errorf("the log is %q", got)
	}
}

// TestStopAtOnce stops an agent that can't reach its server, and has the next start tell of the job.
func TestStopAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := newCutter(t, w.addr)
	f, err := w.configure("one", func(o *ConfigureOptions) { o.URL = "http://" + c.l.Addr().String() })
	if err != nil {
		t.Fatal(err)
	}
	r := w.run(f, nil)
	w.queue.add(&work.Job{ID: "a", DisplayName: "A", Steps: []work.Step{step("a", "log", 100), step("b", "wait", 0)}})
	w.queue.until(t, "it runs", func() bool { return len(w.queue.logs["a/b"]) > 0 })
	c.cut(true)
	for range 3 {
		r.signals <- struct{}{}
	}
	if err := r.wait(t); err != nil {
		t.Error(err)
	}
	if left, err := f.leftSpools(); err != nil || len(left) != 1 {
		t.Errorf("spools that are left: %v %v", left, err)
	}
	c.cut(false)
	again := w.run(f, nil)
	w.queue.until(t, "the job ends", func() bool { return w.queue.results["a"] != "" })
	if got := w.queue.results["a"]; !strings.HasPrefix(got, "abandoned") && !strings.HasPrefix(got, "canceled") {
		t.Errorf("it is %q", got)
	}
	if got := string(w.queue.logs["a/a"]); got != lines("a", 100) {
		t.Errorf("its log has %d bytes", len(got))
	}
	again.signals <- struct{}{}
	if err := again.wait(t); err != nil {
		t.Error(err)
	}
}
