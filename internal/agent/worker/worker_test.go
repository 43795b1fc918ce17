//go:build unix

package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/agent/folder"
	"github.com/sekisho/sekisho/internal/agent/work"
)

// handClock is a clock whose timers go off when a test says so.
type handClock struct {
	mu      sync.Mutex
	timers  map[time.Duration][]chan time.Time
	changed *sync.Cond
}

func newClock() *handClock {
	c := &handClock{timers: map[time.Duration][]chan time.Time{}}
	c.changed = sync.NewCond(&c.mu)
	return c
}

func (c *handClock) Now() time.Time { return time.Now() }

func (c *handClock) After(d time.Duration) (<-chan time.Time, func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ch := make(chan time.Time, 1)
	c.timers[d] = append(c.timers[d], ch)
	c.changed.Broadcast()
	return ch, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		for i, o := range c.timers[d] {
			if o == ch {
				c.timers[d] = append(c.timers[d][:i:i], c.timers[d][i+1:]...)
			}
		}
	}
}

// fire waits until somebody waits for a duration, and lets it be over.
func (c *handClock) fire(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.timers[d]) == 0 {
		c.changed.Wait()
	}
	ch := c.timers[d][0]
	c.timers[d] = c.timers[d][1:]
	ch <- time.Now()
}

// bench is a job that a test runs.
type bench struct {
	t      *testing.T
	job    *work.Job
	opts   Options
	run    *folder.Run
	server *folder.Server
	serve  work.Server // what the job sees; nil: server

	mu    sync.Mutex
	lines []string
	wait  map[string]func() // by a line, called once
}

func newBench(t *testing.T, steps ...work.Step) *bench {
	t.Helper()
	for i := range steps {
		s := &steps[i]
		s.Enabled = !s.Enabled // tests say what is disabled
		if s.ID == "" {
			s.ID = fmt.Sprintf("s%d", i+1)
		}
		if s.Task == "" {
			s.Task = "Bash@3"
		}
	}
	run := &folder.Run{Dir: t.TempDir()}
	b := &bench{
		t: t, run: run, server: run.Job("job"), wait: map[string]func(){},
		job: &work.Job{
			ID: "1.s.j", DisplayName: "Job", Steps: steps,
			Identity: work.Identity{Project: "p", Pipeline: "build", PipelineID: "42", Run: 7, RunNumber: "20260101.1", Job: "j", Stage: "s"},
		},
	}
	b.opts = Options{
		Work: t.TempDir(), Agent: Agent{ID: "1", Name: "agent one", Version: "1.2.3", Home: "/opt/agent"}, Clock: newClock(),
		Env: append(os.Environ(), "AGENT_OWN_SECRET=not for steps"),
		Console: func(_, line string) {
			b.mu.Lock()
			b.lines = append(b.lines, line)
			var call func()
			for part, f := range b.wait {
				if line == part {
					call = f
					delete(b.wait, part)
				}
			}
			b.mu.Unlock()
			if call != nil {
				call()
			}
		},
	}
	return b
}

func (b *bench) clock() *handClock { return b.opts.Clock.(*handClock) }

func (b *bench) start(ctx context.Context) (work.Result, error) {
	b.t.Helper()
	serve := b.serve
	if serve == nil {
		serve = b.server
	}
	return Run(ctx, b.job, serve, b.opts)
}

// must runs the job and holds its result.
func (b *bench) must(want work.Result) {
	b.t.Helper()
	got, err := b.start(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	if got != want {
		b.t.Errorf("the job %s, want %s\n%s", got, want, strings.Join(b.lines, "\n"))
	}
}

func (b *bench) record(id string) work.Record {
	b.t.Helper()
	for _, r := range b.server.Records() {
		if r.Step == id {
			return r
		}
	}
	b.t.Fatalf("there is no record of %s", id)
	return work.Record{}
}

var stamp = regexp.MustCompile(`(?m)^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z `)

// text is a step's log without the times, and without what the agent itself says.
func (b *bench) text(id string) string {
	b.t.Helper()
	log, err := b.server.Log(id)
	if err != nil {
		b.t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(log) {
		if !stamp.MatchString(line) {
			b.t.Errorf("%s has a line without a time: %q", id, line)
		}
		lines = append(lines, strings.TrimSuffix(stamp.ReplaceAllString(line, ""), "\n"))
	}
	text := strings.Join(lines, "\n")
	if _, after, ok := strings.Cut(text, "Starting Command Output ===========================\n"); ok {
		text = after
		if i := strings.Index(text, "##[command]"); i >= 0 {
			_, text, _ = strings.Cut(text[i:], "\n")
		}
	}
	text, _, _ = strings.Cut(text, "##[section]Finishing")
	return strings.TrimSuffix(text, "\n")
}

func bash(script string) work.Step {
	return work.Step{Inputs: map[string]string{"targetType": "inline", "script": script}}
}

func (b *bench) alive(pidFile string) bool {
	b.t.Helper()
	text, err := os.ReadFile(pidFile)
	if err != nil {
		b.t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		b.t.Fatal(err)
	}
	if err := syscall.Kill(pid, 0); err != nil {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

func TestSteps(t *testing.T) {
	set := bash(`echo "##vso[task.setvariable variable=A]from one"; echo "##vso[task.setvariable variable=out;isOutput=true]x"; echo "##vso[task.setvariable variable=S;isSecret=true]hunter2hunter2"`)
	set.Name = "setter"
	use := bash("echo '$(A) $(setter.out) $(S) $(unknown)' \"$A ${S:-none} ${STEP_ENV}\"\npwd")
	use.Env = []work.Pair{{Name: "STEP_ENV", Value: "$(S)!"}, {Name: "A", Value: "loses"}}
	failing := bash("exit 3")
	failing.ContinueOnError = "$(yes)"
	skipped := bash("echo no")
	skipped.Condition = "eq(variables['A'], 'other')"
	broken := bash("echo no")
	broken.Condition = "and(succeeded(), nonsense('x'))"
	after, always, fails := bash("echo no"), bash("echo $AGENT_JOBSTATUS $AGENT_OWN_SECRET."), bash("echo failed ran")
	always.Condition, fails.Condition = "always()", "failed()"
	disabled := bash("echo no")
	disabled.Enabled = true // newBench turns it
	b := newBench(t, set, use, failing, skipped, disabled, broken, after, always, fails)
	b.job.Variables = []work.Variable{{Name: "yes", Value: "true"}, {Name: "nested", Value: "$(yes)$(yes)"}}
	b.must(work.Failed)

	for id, want := range map[string]work.Result{
		"initialize": work.Succeeded, "s1": work.Succeeded, "s2": work.Succeeded, "s3": work.SucceededWithIssues, "s4": work.Skipped, "s5": work.Skipped,
		"s6": work.Failed, "s7": work.Skipped, "s8": work.Succeeded, "s9": work.Succeeded, "finalize": work.Succeeded, "": work.Failed,
	} {
		if r := b.record(id); r.Result != want || r.State != work.Completed {
			t.Errorf("%q is %s %s, want %s: %s", id, r.State, r.Result, want, r.Message)
		}
	}
	dir := filepath.Join(b.opts.Work, "1", "s")
	for id, want := range map[string]string{
		"s2": "from one x *** $(unknown) from one none ***!\n" + dir,
		"s8": "Failed .", "s9": "failed ran",
	} {
		if diff := cmp.Diff(want, b.text(id)); diff != "" {
			t.Errorf("%s: %s", id, diff)
		}
	}
	for _, part := range []string{"Starting: Bash@3", "Bash@3: skipped: The condition is false: eq(variables['A'], 'other')", "Finalize Job: succeeded"} {
		if log := b.text("job"); !strings.Contains(log, part) {
			t.Errorf("the job's log has no %q:\n%s", part, log)
		}
	}
	if diff := cmp.Diff([]work.Variable{{Name: "out", Value: "x", From: "step Bash@3"}}, b.record("s1").Outputs); diff != "" {
		t.Error(diff)
	}
	if code := b.record("s3").ExitCode; code == nil || *code != 3 {
		t.Errorf("exit code %v", code)
	}
	if _, err := os.Stat(filepath.Join(b.opts.Work, "_temp")); !errors.Is(err, os.ErrNotExist) {
		t.Error("the temporary folder is left")
	}
}

func TestCommands(t *testing.T) {
	restricted := bash("echo '##vso[task.setvariable variable=no]1'; echo '##vso[task.setvariable variable=may1]1'; echo '##vso[build.addbuildtag]t'; echo '##vso[results.publish]x'")
	restricted.Target = &work.Target{Commands: "restricted", SettableVariables: []string{"may*"}}
	b := newBench(t,
		bash("echo '##vso[task.logissue type=warning;sourcepath=a.c;linenumber=2]careful'; echo '##vso[task.complete result=SucceededWithIssues]done'"),
		restricted,
		bash("echo '##vso[task.setvariable variable=Agent.Name]x'"),
		bash("echo '##vso[task.prependpath]/a/b'; echo '##vso[task.prependpath]/c'; echo '##vso[build.updatebuildnumber]n1'; echo '##vso[build.addbuildtag]tag1'; echo \"# hi\" > sum.md; echo \"##vso[task.uploadsummary]$PWD/sum.md\"; echo \"##vso[artifact.upload artifactname=drop;containerfolder=sub]$PWD/sum.md\""),
		bash("echo \"$PATH\" | cut -c1-8; echo '$(may1) $(no)' $BUILD_BUILDNUMBER; echo '##vso[task.complete result=Failed;done=true]'; sleep 1000"),
		bash("echo '##vso[task.setsecret]a-new-secret'; echo a-new-secret; echo YS1uZXctc2VjcmV0; echo '##[error]shown'; echo '##[debug]hidden'"),
	)
	for i := range b.job.Steps {
		b.job.Steps[i].Condition = "always()"
	}
	b.must(work.Failed)
	for id, want := range map[string]work.Result{
		"s1": work.SucceededWithIssues, "s2": work.Succeeded, "s3": work.Failed, "s4": work.Succeeded, "s5": work.Failed, "s6": work.Succeeded,
	} {
		if r := b.record(id); r.Result != want {
			t.Errorf("%s %s, want %s: %s", id, r.Result, want, b.text(id))
		}
	}
	if diff := cmp.Diff([]work.Issue{{Type: "warning", Message: "careful", Source: "a.c", Line: "2"}}, b.record("s1").Issues); diff != "" {
		t.Error(diff)
	}
	if n := len(b.record("s2").Issues); n != 3 {
		t.Errorf("%d warnings of the restricted step: %s", n, b.text("s2"))
	}
	if diff := cmp.Diff("/c:/a/b:\n1 $(no) n1", strings.SplitN(b.text("s5"), "\n##", 2)[0]); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff("***\n***\n##[error]shown", b.text("s6")); diff != "" {
		t.Error(diff)
	}
	if b.run.Number() != "n1" || len(b.run.Tags()) != 1 {
		t.Errorf("number %q, tags %q", b.run.Number(), b.run.Tags())
	}
	for _, f := range []string{"artifacts/drop/sub/sum.md", "attachments/job/Distributedtask.Core.Summary/sum.md"} {
		if _, err := os.Stat(filepath.Join(b.run.Dir, f)); err != nil {
			t.Error(err)
		}
	}
}

func TestRetries(t *testing.T) {
	s := bash("echo x >> $AGENT_BUILDDIRECTORY/tries\nn=`wc -l < $AGENT_BUILDDIRECTORY/tries`; [ $n = 3 ]")
	s.Retries = 3
	b := newBench(t, s)
	go func() {
		b.clock().fire(time.Second)
		b.clock().fire(4 * time.Second)
	}()
	b.must(work.Succeeded)
	if r := b.record("s1"); r.Tries != 3 {
		t.Errorf("%d tries", r.Tries)
	}
}

func TestStepTimeout(t *testing.T) {
	s := bash("echo $$ > $AGENT_BUILDDIRECTORY/pid; echo started; sleep 1000")
	s.TimeoutMinutes = 2
	b := newBench(t, s)
	b.wait["started"] = func() { go b.clock().fire(2 * time.Minute) }
	b.must(work.Failed)
	if b.alive(filepath.Join(b.opts.Work, "1", "pid")) {
		t.Error("the process lives on")
	}
}

// TestStubborn has a process that ignores what it is asked.
func TestStubborn(t *testing.T) {
	s := bash("trap 'echo int' INT; trap 'echo term' TERM; echo $$ > $AGENT_BUILDDIRECTORY/pid; echo started; while :; do sleep 1000 & wait; done")
	s.TimeoutMinutes = 2
	b := newBench(t, s)
	b.wait["started"] = func() {
		go func() {
			b.clock().fire(2 * time.Minute)
			b.clock().fire(interruptGrace)
			b.clock().fire(terminateGrace)
		}()
	}
	b.must(work.Failed)
	if b.alive(filepath.Join(b.opts.Work, "1", "pid")) {
		t.Error("the process lives on")
	}
}

func TestCancel(t *testing.T) {
	s, always, cleanup := bash("echo started; sleep 1000"), bash("echo always: $AGENT_JOBSTATUS"), bash("echo no")
	always.Condition = "always()"
	b := newBench(t, s, always, cleanup)
	ctx, cancel := context.WithCancelCause(t.Context())
	b.wait["started"] = func() { cancel(ErrCancel) }
	got, err := b.start(ctx)
	if err != nil || got != work.Canceled {
		t.Fatalf("%s, %v", got, err)
	}
	if b.record("s1").Result != work.Canceled || b.record("s3").Result != work.Skipped {
		t.Error("the steps have other results")
	}
	if diff := cmp.Diff("always: Canceled", b.text("s2")); diff != "" {
		t.Error(diff)
	}
}

// TestCancelTimeout cancels a job whose last steps take too long.
func TestCancelTimeout(t *testing.T) {
	always := bash("trap '' INT TERM; echo $$ > $AGENT_BUILDDIRECTORY/pid; echo started; while :; do sleep 1000 & wait; done")
	always.Condition = "always()"
	b := newBench(t, always)
	b.job.TimeoutMinutes, b.job.CancelTimeoutMinutes = 60, 3
	b.wait["started"] = func() {
		go func() {
			b.clock().fire(60 * time.Minute)
			b.clock().fire(3 * time.Minute)
		}()
	}
	b.must(work.Canceled)
	if b.alive(filepath.Join(b.opts.Work, "1", "pid")) {
		t.Error("the process lives on")
	}
	if m := b.record("").Message; !strings.Contains(m, "60 minutes") {
		t.Errorf("message %q", m)
	}
}

func TestDropped(t *testing.T) {
	b := newBench(t, bash("trap '' INT TERM; echo $$ > $AGENT_BUILDDIRECTORY/pid; echo started; while :; do sleep 1000 & wait; done"))
	ctx, cancel := context.WithCancelCause(t.Context())
	b.wait["started"] = func() { cancel(work.ErrClaimLost) }
	if _, err := b.start(ctx); !errors.Is(err, work.ErrClaimLost) {
		t.Errorf("%v", err)
	}
	if b.alive(filepath.Join(b.opts.Work, "1", "pid")) {
		t.Error("the process lives on")
	}
}

// TestDaemons has steps that leave processes behind, in all the ways of hiding.
func TestDaemons(t *testing.T) {
	b := newBench(t,
		bash(`cd $AGENT_BUILDDIRECTORY
sleep 1000 & echo $! > one
setsid sh -c 'echo $$ > two; exec sleep 1000' &
env -i setsid /bin/sh -c 'echo $$ > three; /bin/sleep 1000 & exec /bin/sleep 1000' >/dev/null 2>&1 &
until [ -s two -a -s three ]; do :; done`),
		bash("kill -0 `cat $AGENT_BUILDDIRECTORY/one` && echo one is there for later steps"))
	b.opts.Clock = realClock{} // the first one holds the output open
	b.must(work.Succeeded)
	if diff := cmp.Diff("one is there for later steps", b.text("s2")); diff != "" {
		t.Error(diff)
	}
	for _, name := range []string{"one", "two", "three"} {
		if b.alive(filepath.Join(b.opts.Work, "1", name)) {
			t.Errorf("%s lives on", name)
		}
	}
}

// slowServer takes logs only when it may.
type slowServer struct {
	*folder.Server
	open chan struct{}
	full int64 // bytes after which a log is full; 0: never
	mu   sync.Mutex
	size map[string]int64
}

func (s *slowServer) AppendLog(ctx context.Context, log string, offset int64, data []byte) (int64, error) {
	select {
	case <-s.open:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.full > 0 && offset >= s.full {
		return offset, work.ErrLogFull
	}
	if len(data) > maxChunk {
		return 0, errors.New("a chunk is too large")
	}
	s.size[log] = offset + int64(len(data))
	return s.size[log], nil
}

// TestFlood has a step write more than the server takes: it waits, the agent's memory does not grow, and nothing is lost.
func TestFlood(t *testing.T) {
	b := newBench(t, bash("yes 'a line of a flood that goes on and on and on and on and on' | head -c 30000000"))
	slow := &slowServer{Server: b.server, open: make(chan struct{}), size: map[string]int64{}}
	b.serve = slow
	b.opts.Console = nil
	done := make(chan struct{})
	go func() { defer close(done); b.must(work.Succeeded) }()
	close(slow.open)
	<-done
	if n := slow.size["s1"]; n < 30000000 {
		t.Errorf("%d bytes arrived", n)
	}
}

func TestFull(t *testing.T) {
	b := newBench(t, bash("yes | head -c 3000000; head -c 3000000 /dev/zero | tr '\\0' x; echo end"))
	slow := &slowServer{Server: b.server, open: make(chan struct{}), size: map[string]int64{}, full: 1 << 20}
	close(slow.open)
	b.serve = slow
	b.opts.Console = nil
	b.must(work.Succeeded)
}

func TestLostServer(t *testing.T) {
	b := newBench(t, bash("echo started; sleep 1000"))
	b.serve = &lost{Server: b.server}
	if _, err := b.start(t.Context()); !errors.Is(err, work.ErrClaimLost) {
		t.Errorf("%v", err)
	}
}

type lost struct{ *folder.Server }

func (l *lost) AppendLog(_ context.Context, log string, offset int64, data []byte) (int64, error) {
	if log == "s1" && strings.Contains(string(data), "started") {
		return 0, work.ErrClaimLost
	}
	return offset + int64(len(data)), nil
}

func TestFolders(t *testing.T) {
	one := newBench(t, bash("touch a b; mkdir -p $BUILD_BINARIESDIRECTORY/x; chmod 500 $BUILD_BINARIESDIRECTORY; pwd"))
	one.must(work.Succeeded)
	two := newBench(t, bash("ls; ls $BUILD_BINARIESDIRECTORY"))
	two.opts.Work, two.job.Workspace = one.opts.Work, "outputs"
	two.must(work.Succeeded)
	if diff := cmp.Diff("a\nb", two.text("s1")); diff != "" {
		t.Error(diff)
	}
	three := newBench(t, bash("pwd; ls"))
	three.opts.Work, three.job.Identity.PipelineID = one.opts.Work, "43"
	three.must(work.Succeeded)
	if diff := cmp.Diff(filepath.Join(one.opts.Work, "2", "s"), three.text("s1")); diff != "" {
		t.Error(diff)
	}
}

// TestFoldersOfOutside: a pull request has folders of its own, and leaves nothing in them.
func TestFoldersOfOutside(t *testing.T) {
	one := newBench(t, bash("touch mine; ls"))
	one.must(work.Succeeded)
	for range 2 {
		two := newBench(t, bash("pwd; ls; touch theirs"))
		two.opts.Work, two.job.Identity.Ref = one.opts.Work, "refs/pull/7/head"
		two.must(work.Succeeded)
		if diff := cmp.Diff(filepath.Join(one.opts.Work, "2", "s"), two.text("s1")); diff != "" {
			t.Error(diff)
		}
	}
	three := newBench(t, bash("ls"))
	three.opts.Work = one.opts.Work
	three.must(work.Succeeded)
	if diff := cmp.Diff("mine", three.text("s1")); diff != "" {
		t.Error(diff)
	}
}

// TestSecretOutput: what has a secret in it is one for later jobs too, whether the step says so or not.
func TestSecretOutput(t *testing.T) {
	s := bash("echo '##vso[task.setvariable variable=out;isOutput=true]x:very-secret-value'; echo '##vso[task.setvariable variable=plain;isOutput=true]x'")
	s.Name = "say"
	b := newBench(t, s)
	b.job.Variables = []work.Variable{{Name: "pw", Value: "very-secret-value", Secret: true}}
	b.must(work.Succeeded)
	for _, v := range b.record("s1").Outputs {
		if v.Secret != (v.Name == "out") {
			t.Errorf("%s: secret %t", v.Name, v.Secret)
		}
	}
	if n := len(b.record("s1").Outputs); n != 2 {
		t.Errorf("%d outputs", n)
	}
}

// TestSummary: what people read of a step's files has no secret in it, however the kind is written.
func TestSummary(t *testing.T) {
	for _, kind := range []string{"Distributedtask.Core.Summary", "distributedtask.core.SUMMARY"} {
		b := newBench(t, bash("echo very-secret-value >x.md; echo \"##vso[task.addattachment type="+kind+";name=x]$PWD/x.md\""))
		b.job.Variables = []work.Variable{{Name: "pw", Value: "very-secret-value", Secret: true}}
		b.must(work.Succeeded)
		found := false
		err := filepath.WalkDir(b.run.Dir, func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			text, err := os.ReadFile(path)
			found = found || strings.HasPrefix(string(text), "***")
			if strings.Contains(string(text), "very-secret-value") {
				t.Errorf("%s has the secret", path)
			}
			return err
		})
		if err != nil || !found {
			t.Errorf("%s: %t, %v", kind, found, err)
		}
	}
}

// TestEndpointElsewhere: what a step prints can't have the secrets of a service connection sent to another host.
func TestEndpointElsewhere(t *testing.T) {
	connection := work.Endpoint{ID: "e", Name: "registry", URL: "https://registry.example.com/v1", Auth: map[string]string{"username": "u", "password": "hidden-value"}}
	for to, refused := range map[string]bool{"https://registry.example.com/v2": false, "https://evil.example.com/": true, "http://registry.example.com/v1": true} {
		b := newBench(t, bash("echo '##vso[task.setendpoint id=e;field=url]"+to+"'"))
		b.job.Endpoints = []work.Endpoint{connection}
		if _, err := b.start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(strings.Join(b.lines, "\n"), "can't be led to another host"); got != refused {
			t.Errorf("%s: refused %v, want %v\n%s", to, got, refused, strings.Join(b.lines, "\n"))
		}
	}
}

func TestUnknownTask(t *testing.T) {
	s := work.Step{Task: "NoSuchTask@1", DisplayName: "nothing"}
	b := newBench(t, s)
	b.must(work.Failed)
	if m := b.record("initialize").Message; !strings.Contains(m, "NoSuchTask@1") || !strings.Contains(m, "nothing") {
		t.Errorf("message %q", m)
	}
}

// TestOidcRequest: a script has the address that gives its identity token, and the job's token where it says so and nowhere else.
func TestOidcRequest(t *testing.T) {
	s := bash("echo \"uri $SYSTEM_OIDCREQUESTURI\"; echo \"token ${#TOKEN} ${#SYSTEM_ACCESSTOKEN}\"")
	s.Env = []work.Pair{{Name: "TOKEN", Value: "$(System.AccessToken)"}}
	b := newBench(t, s)
	b.job.Token, b.job.Server = "the-token-of-the-job", "https://sekisho.example"
	b.must(work.Succeeded)
	if all := strings.Join(b.lines, "\n"); !strings.Contains(all, "uri https://sekisho.example/oidc/token") || !strings.Contains(all, "token 20 0") {
		t.Error(all)
	}
}

// TestSecrets looks for the job's secrets in everything that is told of it.
func TestSecrets(t *testing.T) {
	const secret, token = "very-secret-value", "the-token-of-the-job"
	s := bash("echo $(pw) " + secret + "; echo \"$TOKEN\" | base64; echo '##vso[task.logissue type=error]bad: " + secret + "'; echo '##vso[task.setprogress value=1]" + token + "'; echo '##vso[build.addbuildtag]" + secret + "'; exit 1")
	s.DisplayName = "shows $(pw)"
	s.Env = []work.Pair{{Name: "TOKEN", Value: "user:$(System.AccessToken)"}}
	b := newBench(t, s)
	b.job.Variables = []work.Variable{{Name: "pw", Value: secret, Secret: true}}
	b.job.Token = token
	b.must(work.Failed)
	all := strings.Join(b.lines, "\n") + strings.Join(b.run.Tags(), " ")
	for _, r := range b.server.Records() {
		all += fmt.Sprintf("%+v\n", r)
	}
	err := filepath.WalkDir(b.run.Dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		all += path + string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []string{secret, token, "dG9rZW4tb2Y"} {
		if strings.Contains(all, v) {
			t.Errorf("%s is in what is told:\n%s", v, all)
		}
	}
}

func TestExpandAll(t *testing.T) {
	b := newBench(t, bash("echo '$(a)|$(loop)|$(deep)|$(big)|$(mix)'"))
	b.job.Variables = []work.Variable{
		{Name: "a", Value: "$(b)-$($(b))"}, {Name: "b", Value: "$(c)"}, {Name: "c", Value: "x"}, {Name: "loop", Value: "$(pool)"}, {Name: "pool", Value: "$(loop)"},
		{Name: "s", Value: "a-secret-part", Secret: true}, {Name: "mix", Value: "with $(s) in it"}, {Name: "big", Value: "$(v0)"},
	}
	for i := range 60 {
		b.job.Variables = append(b.job.Variables, work.Variable{Name: fmt.Sprintf("v%d", i), Value: fmt.Sprintf("$(v%d)$(v%d)", i+1, i+1)})
	}
	b.job.Variables = append(b.job.Variables, work.Variable{Name: "v60", Value: ""}, work.Variable{Name: "deep", Value: "$(v20)"})
	b.must(work.Succeeded)
	if diff := cmp.Diff("x-$(x)|$(pool)|$(v20)|$(v0)|***", b.text("s1")); diff != "" {
		t.Error(diff)
	}
}
