package scale

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/sekisho/sekisho/internal/agent"
)

// TestScale does three jobs with two agents at most, each of one job, and comes to rest at none.
func TestScale(t *testing.T) {
	w := newWorld(t)
	r := w.scale(nil)
	r.said.until(t, "queued=0", "wanted=0")
	w.queue.add("a", "b", "c")
	w.queue.until(t, "two jobs run", func() bool { return len(w.queue.held) == 2 })
	r.said.until(t, "queued=1", "wanted=2", "busy=2")

	// No secret is where others can see it.
	for _, name := range w.folders() {
		pid, err := os.ReadFile(filepath.Join(w.folder, agentsFolder, name, pidFile))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range []string{"cmdline", "environ"} {
			text, err := os.ReadFile(filepath.Join("/proc", string(pid), file))
			if err != nil {
				t.Skip("there is no /proc here: ", err)
			}
			if strings.Contains(string(text), "sac_") || strings.Contains(string(text), "secret") {
				t.Errorf("%s of an agent has a secret: %q", file, text)
			}
		}
	}
	if text, err := os.ReadFile(filepath.Join(w.folder, stateFile)); err != nil || strings.Contains(string(text), "sac_") {
		t.Errorf("what is remembered has a secret, %v: %s", err, text)
	}
	w.queue.mu.Lock()
	first := w.queue.holders["a"]
	w.queue.mu.Unlock()

	w.queue.letGo("a", "b", "c")
	w.queue.until(t, "all jobs end", func() bool { return len(w.queue.results) == 3 })
	r.said.until(t, "queued=0", "wanted=0", "starting=0", "idle=0", "busy=0", "ending=0")
	for job, result := range w.queue.results {
		if result != "succeeded" {
			t.Errorf("job %s: %s", job, result)
		}
	}
	if w.queue.most != 2 || w.queue.holders["c"] == first {
		t.Errorf("%d jobs ran at the same time, by %v", w.queue.most, w.queue.holders)
	}
	r.words <- struct{}{}
	if err := r.wait(t); err != nil {
		t.Error(err)
	}
	if a, f := w.agents(), w.folders(); len(a)+len(f) > 0 {
		t.Errorf("in the end there are the agents %v and the folders %v\n%s", a, f, r.said)
	}
}

// TestDrain keeps agents ready, and when it is stopped ends those without a job and waits for the other.
func TestDrain(t *testing.T) {
	w := newWorld(t)
	r := w.scale(func(o *Options) { o.Limits = Limits{Min: 2, Max: 3} })
	r.said.until(t, "idle=2")
	w.queue.add("a")
	r.said.until(t, "idle=1", "busy=1")
	w.queue.mu.Lock()
	holder := w.queue.holders["a"]
	w.queue.mu.Unlock()
	r.words <- struct{}{}
	r.said.until(t, "idle=0", "busy=1", "ending=0", "stopping")
	if got := w.agents(); len(got) != 1 || got[0] != holder {
		t.Errorf("there are %v, and %s has a job", got, holder)
	}
	w.queue.add("b") // it is not for this scaler any more
	w.queue.letGo("a")
	if err := r.wait(t); err != nil {
		t.Error(err)
	}
	w.queue.mu.Lock()
	defer w.queue.mu.Unlock()
	if w.queue.results["a"] != "succeeded" || w.queue.results["b"] != "" {
		t.Errorf("the results are %v", w.queue.results)
	}
	if a, f := w.agents(), w.folders(); len(a)+len(f) > 0 {
		t.Errorf("in the end there are the agents %v and the folders %v\n%s", a, f, r.said)
	}
}

// TestRestart has a scaler go away without a word, and another one go on with what it started.
func TestRestart(t *testing.T) {
	w := newWorld(t)
	w.queue.add("a", "b")
	r := w.scale(nil)
	w.queue.until(t, "two jobs run", func() bool { return len(w.queue.held) == 2 })
	r.said.until(t, "busy=2")
	if err := Run(t.Context(), Options{
		Server: w.owner(agent.AuthPAT), Template: w.processes(func() {}), Kind: KindProcess, Folder: w.folder, Name: testName,
		Launch: agent.Launch{Server: w.url, Pool: testPool}, StartWithin: 1,
	}); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("a second scaler of the folder: %v", err)
	}
	r.kill()
	_ = r.wait(t)

	other := Options{Server: w.owner(agent.AuthPAT), Template: w.processes(func() {}), Kind: "exec:/x", Folder: w.folder, Name: testName,
		Launch: agent.Launch{Server: w.url, Pool: testPool}, StartWithin: 1}
	if err := Run(t.Context(), other); err == nil || !strings.Contains(err.Error(), "2 agents") {
		t.Errorf("with another template: %v", err)
	}

	// One dies meanwhile; its job is taken from it when its lease ends.
	w.queue.mu.Lock()
	dead, claim := w.queue.holders["a"], w.queue.held["a"]
	w.queue.mu.Unlock()
	text, err := os.ReadFile(filepath.Join(w.folder, agentsFolder, dead, pidFile))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(string(text))
	if err != nil {
		t.Fatal(err)
	}
	killAll(t, pid)
	again := w.scale(nil)
	again.said.until(t, "busy=2")
	if err := w.queue.end(t.Context(), claim, "abandoned"); err != nil {
		t.Fatal(err)
	}
	again.said.until(t, "busy=1", "ending=0")
	if got := w.agents(); len(got) != 1 || got[0] == dead {
		t.Errorf("the dead agent %s is not gone: %v", dead, got)
	}
	w.queue.letGo("b")
	again.said.until(t, "busy=0", "ending=0", "idle=0")
	if a, f := w.agents(), w.folders(); len(a)+len(f) > 0 {
		t.Errorf("in the end there are the agents %v and the folders %v\n%s", a, f, again.said)
	}
}

// killAll kills a process and its children: an agent, and the worker of its job.
func killAll(t *testing.T, pid int) {
	t.Helper()
	list, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	all := []int{pid}
	for _, path := range list {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:])) // state, parent
		if child, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil && len(fields) > 1 && fields[1] == strconv.Itoa(pid) {
			all = append(all, child)
		}
	}
	for _, p := range all {
		if err := syscall.Kill(p, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
}

// TestForgotten loses what was remembered: agents that run are found by the template, and those in the pool by their names.
func TestForgotten(t *testing.T) {
	w := newWorld(t)
	r := w.scale(func(o *Options) { o.Limits.Min = 1 })
	r.said.until(t, "idle=1")
	r.kill()
	_ = r.wait(t)
	if err := os.Remove(filepath.Join(w.folder, stateFile)); err != nil {
		t.Fatal(err)
	}
	// It joined and never came back; another scaler's did too.
	for _, name := range []string{testName + "-abcdefgh", testName + "-2-abcdefgh"} {
		code, err := w.pools.CreateCode(t.Context(), w.root, testPool, name, true)
		if err != nil {
			t.Fatal(err)
		}
		err = agent.Folder(t.TempDir()).Configure(t.Context(), agent.ConfigureOptions{
			Answers:    agent.Answers{License: true, URL: w.url, Auth: agent.AuthCode, Token: code.Secret.Reveal(), Pool: testPool, Name: name},
			Unattended: true, Version: "1", Out: &lines{},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	dry := w.scale(func(o *Options) { o.DryRun = true })
	if err := dry.wait(t); err != nil {
		t.Error(err)
	}
	for _, text := range []string{"remove " + testName + "-abcdefgh from the pool", "end " + testName + "-", "starting=0 idle=1"} {
		if !strings.Contains(dry.said.String(), text) {
			t.Errorf("a dry run does not say %q:\n%s", text, dry.said)
		}
	}
	if got := w.agents(); len(got) != 3 {
		t.Errorf("after a dry run there are %v", got)
	}
	next := w.scale(func(o *Options) { o.Once = true })
	if err := next.wait(t); err != nil {
		t.Error(err)
	}
	if a, f := w.agents(), w.folders(); len(a) != 1 || a[0] != testName+"-2-abcdefgh" || len(f) > 0 {
		t.Errorf("in the end there are the agents %v and the folders %v\n%s", a, f, next.said)
	}
}

// TestOnce starts an agent and returns; the agent goes on.
func TestOnce(t *testing.T) {
	w := newWorld(t)
	w.queue.add("a")
	w.queue.letGo("a")
	if err := w.scale(func(o *Options) { o.Once = true }).wait(t); err != nil {
		t.Fatal(err)
	}
	w.queue.until(t, "the job ends", func() bool { return w.queue.results["a"] == "succeeded" })
	r := w.scale(func(o *Options) { o.Once = true })
	if err := r.wait(t); err != nil {
		t.Error(err)
	}
}

// TestSignedRequests scales with AWS credentials.
func TestSignedRequests(t *testing.T) {
	w := newWorld(t)
	t.Setenv("AWS_ACCESS_KEY_ID", w.key.ID)
	t.Setenv("AWS_SECRET_ACCESS_KEY", w.key.Secret.Reveal())
	t.Setenv("AWS_SESSION_TOKEN", "")
	t.Setenv("AWS_CONFIG_FILE", "/nonexistent")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
	o := w.owner(agent.AuthSTS)
	name := testName + "-abcdefgh"
	if d, err := o.Demand(t.Context(), testPool, testName, "", 0); err != nil || d.GetState() == "" {
		t.Errorf("demand: %v, %v", d, err)
	}
	if code, _, err := o.Code(t.Context(), testPool, name); err != nil || !strings.HasPrefix(code, "sac_") {
		t.Errorf("code: %v", err)
	}
	if busy, unused, err := o.Retire(t.Context(), testPool, name); err != nil || busy || !unused {
		t.Errorf("retire: %t, %t, %v", busy, unused, err)
	}
	if busy, unused, err := o.Retire(t.Context(), testPool, name); err != nil || busy || unused {
		t.Errorf("again: %t, %t, %v", busy, unused, err)
	}
	t.Setenv("AWS_SECRET_ACCESS_KEY", "wrong")
	err := w.scale(func(opts *Options) { opts.Server = o }).wait(t)
	if e, ok := errors.AsType[*CallError](err); !ok || !e.Refused {
		t.Errorf("with a wrong secret: %v", err)
	}
}

// TestRunAs has agents of another user, who can't read what the scaler has.
func TestRunAs(t *testing.T) {
	const who = "nobody"
	if _, err := NewProcess(ProcessOptions{User: who}); os.Getuid() != 0 {
		if err == nil || !strings.Contains(err.Error(), "only root") {
			t.Errorf("without being root: %v", err)
		}
		t.Skip("only root can start processes of others")
	} else if err != nil {
		t.Skip(err)
	}
	if _, err := NewProcess(ProcessOptions{User: "root"}); err == nil || !strings.Contains(err.Error(), "as root") {
		t.Errorf("agents as root: %v", err)
	}
	dir, err := os.MkdirTemp("", "sekisho-scale-") // where others can go
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "agent")
	if err := os.WriteFile(program, text, 0o755); err != nil { //nolint:gosec // others run it
		t.Fatal(err)
	}
	w := newWorld(t)
	w.folder = filepath.Join(dir, "scale")
	r := w.scale(func(o *Options) {
		p, err := NewProcess(ProcessOptions{
			Folder: w.folder, Command: []string{program}, Env: []string{roleEnv + "=agent", "PATH=/nonexistent", "HOME=/root"}, User: who, Changed: func() {},
		})
		if err != nil {
			t.Fatal(err)
		}
		o.Template = p
	})
	w.queue.add("a")
	r.said.until(t, "busy=1")
	for _, name := range w.folders() {
		pid, err := os.ReadFile(filepath.Join(w.folder, agentsFolder, name, pidFile))
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(filepath.Join("/proc", string(pid)))
		if err != nil {
			t.Fatal(err)
		}
		if s, ok := info.Sys().(*syscall.Stat_t); !ok || s.Uid == 0 {
			t.Error("the agent is root's")
		}
		environ, err := os.ReadFile(filepath.Join("/proc", string(pid), "environ"))
		if err != nil || strings.Contains(string(environ), "HOME=/root") || !strings.Contains(string(environ), "USER="+who) {
			t.Errorf("its environment is %q, %v", environ, err)
		}
	}
	for _, path := range []string{stateFile, lockFile} {
		info, err := os.Stat(filepath.Join(w.folder, path))
		if err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("others can read %s: %v, %v", path, info, err)
		}
	}
	w.queue.letGo("a")
	w.queue.until(t, "the job ends", func() bool { return w.queue.results["a"] == "succeeded" })
	r.words <- struct{}{}
	if err := r.wait(t); err != nil || len(w.folders()) > 0 {
		t.Errorf("%v, and %v are left", err, w.folders())
	}
}
