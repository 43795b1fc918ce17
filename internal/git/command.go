package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// minimum is the oldest git that has what is used here: cruft packs.
var minimum = [2]int{2, 37}

// Available returns an error of kind Unavailable if there is no git program, or one that is too old.
func (s *Service) Available() error {
	s.programOnce.Do(func() { s.program, s.programErr = findProgram(s.o.Program) })
	return s.programErr
}

func findProgram(name string) (string, error) {
	if name == "" {
		name = "git"
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", errorf(Unavailable, "git repositories are not served: the program %s is not there on the server (%v); install git %d.%d or later and restart the server", name, err, minimum[0], minimum[1])
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "version")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "LC_ALL=C"}
	out, err := cmd.Output()
	if err != nil {
		return "", errorf(Unavailable, "git repositories are not served: %s version failed: %v", path, err)
	}
	var major, minor int
	if _, err := fmt.Sscanf(string(out), "git version %d.%d", &major, &minor); err != nil || major < minimum[0] || major == minimum[0] && minor < minimum[1] {
		return "", errorf(Unavailable, "git repositories are not served: %s is %q, and %d.%d or later is needed", path, strings.TrimSpace(clip(string(out), 80)), minimum[0], minimum[1])
	}
	return path, nil
}

// settings hold for every program. Those that bound memory are for what a client makes the server do.
var settings = [][2]string{
	{"core.fsync", "all"},
	{"core.fsyncMethod", "fsync"},
	{"core.hooksPath", "/dev/null"},
	{"core.bare", "true"},
	{"core.logAllRefUpdates", "false"},
	{"core.protectHFS", "true"},
	{"core.protectNTFS", "true"},
	{"core.bigFileThreshold", "32m"},
	{"core.packedGitWindowSize", "32m"},
	{"core.packedGitLimit", "512m"},
	{"core.deltaBaseCacheLimit", "64m"},
	{"core.quotePath", "false"},
	{"core.untrackedCache", "false"},
	{"core.fsmonitor", "false"},
	{"pack.threads", "2"},
	{"pack.windowMemory", "64m"},
	{"pack.deltaCacheSize", "64m"},
	{"transfer.fsckObjects", "true"},
	{"transfer.hideRefs", "refs/sekisho"},
	{"transfer.advertiseSID", "false"},
	{"uploadpack.allowFilter", "true"},
	{"uploadpack.allowReachableSHA1InWant", "true"},
	{"uploadpack.keepAlive", "5"},
	{"fetch.fsck.badTimezone", "ignore"},
	{"fetch.fsck.missingSpaceBeforeDate", "ignore"},
	{"fetch.fsck.zeroPaddedFilemode", "ignore"},
	{"fetch.recurseSubmodules", "false"},
	{"fetch.writeCommitGraph", "false"},
	{"gc.auto", "0"},
	{"maintenance.auto", "false"},
	{"receive.autogc", "false"},
	{"protocol.allow", "never"},
	{"safe.directory", "*"},
	{"init.defaultBranch", "main"},
	{"advice.detachedHead", "false"},
	{"log.showSignature", "false"},
	{"credential.helper", ""},
}

// program is a git program to run.
type program struct {
	dir    string   // the repository; "": none
	args   []string // never of a client, except names that were checked
	env    []string // more of it
	config [][2]string
	stdin  io.Reader
	stdout io.Writer // nil: none
	stderr io.Writer // nil: kept for the error
}

// exitError is that of a program that failed.
type exitError struct {
	args   []string
	err    error
	stderr string
}

func (e *exitError) Error() string {
	text := fmt.Sprintf("git %s: %v", e.args[0], e.err)
	if e.stderr != "" {
		text += ": " + strings.ReplaceAll(e.stderr, "\n", "; ")
	}
	return text
}

func (e *exitError) Unwrap() error { return e.err }

// code returns the exit code of a program that ended by itself, else -1.
func exitCode(err error) int {
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		return e.ExitCode()
	}
	return -1
}

func (s *Service) environment(p *program) []string {
	env := []string{
		"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "XDG_CONFIG_HOME=/nonexistent", "LC_ALL=C", "TZ=UTC",
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_SYSTEM=/dev/null", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_ATTR_NOSYSTEM=1",
		"GIT_TERMINAL_PROMPT=0", "GIT_ASKPASS=false", "GIT_NO_REPLACE_OBJECTS=1", "GIT_NO_LAZY_FETCH=1", "GIT_OPTIONAL_LOCKS=0", "GIT_FLUSH=1",
		"GIT_ADVICE=0", "TMPDIR=" + os.TempDir(),
	}
	if p.dir != "" {
		env = append(env, "GIT_DIR="+p.dir)
	}
	n := 0
	for _, list := range [][][2]string{settings, p.config} {
		for _, kv := range list {
			i := strconv.Itoa(n)
			env = append(env, "GIT_CONFIG_KEY_"+i+"="+kv[0], "GIT_CONFIG_VALUE_"+i+"="+kv[1])
			n++
		}
	}
	env = append(env, "GIT_CONFIG_COUNT="+strconv.Itoa(n))
	return append(env, p.env...)
}

// command returns a program ready to start, in a process group that ends with ctx.
func (s *Service) command(ctx context.Context, p *program) (*exec.Cmd, error) {
	if err := s.Available(); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, s.program, p.args...)
	cmd.Env = s.environment(p)
	cmd.Dir = s.o.Path
	if p.dir != "" {
		cmd.Dir = p.dir
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	return cmd, nil
}

// run runs a program to its end. What stands in for a slow client is p.stdin and p.stdout: their errors end it.
func (s *Service) run(ctx context.Context, p *program) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd, err := s.command(ctx, p)
	if err != nil {
		return err
	}
	tail := &tailBuffer{}
	cmd.Stdout, cmd.Stderr = p.stdout, tail
	if p.stderr != nil {
		cmd.Stderr = io.MultiWriter(tail, p.stderr)
	}
	var input *gate
	if p.stdin != nil {
		input = &gate{r: p.stdin, open: make(chan struct{})}
		cmd.Stdin = input
	}
	if p.stdout != nil {
		cmd.Stdout = &cutter{w: p.stdout, cut: cancel}
	}
	if err := cmd.Start(); err != nil {
		if input != nil {
			close(input.open)
		}
		if isNotExist(err) && p.dir != "" {
			return errorf(NotFound, "the repository is not there any more")
		}
		return fmt.Errorf("start git %s: %w", p.args[0], err)
	}
	limitMemory(cmd.Process.Pid, s.o.Limits.Memory)
	if input != nil {
		close(input.open) // not before: nothing of a client's is read without the limit
	}
	err = cmd.Wait()
	if err == nil {
		return nil
	}
	if input != nil && input.failed() != nil {
		return input.failed()
	}
	if cause := context.Cause(ctx); cause != nil {
		if out, ok := cmd.Stdout.(*cutter); ok && out.err != nil {
			return out.err
		}
		return fmt.Errorf("git %s: %w", p.args[0], cause)
	}
	return &exitError{args: p.args, err: err, stderr: s.scrub(tail.String())}
}

// output runs a program and returns what it prints, at most so many bytes; more is an error.
func (s *Service) output(ctx context.Context, limit int64, p *program) ([]byte, error) {
	var out bytes.Buffer
	p.stdout = &limitWriter{w: &out, left: limit}
	if err := s.run(ctx, p); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// scrub takes the server's own paths out of what a program says.
func (s *Service) scrub(text string) string {
	text = strings.ReplaceAll(text, s.o.Path+"/", "")
	return strings.TrimSpace(strings.ToValidUTF8(text, "\uFFFD"))
}

var errOutput = errors.New("the output of a program is over its limit")

type limitWriter struct {
	w    io.Writer
	left int64
}

func (l *limitWriter) Write(p []byte) (int, error) {
	if int64(len(p)) > l.left {
		return 0, errOutput
	}
	l.left -= int64(len(p))
	return l.w.Write(p)
}

// cutter ends a program whose output nobody takes.
type cutter struct {
	w   io.Writer
	cut func()
	err error
}

func (c *cutter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	if err != nil {
		c.err = err
		c.cut()
	}
	return n, err
}

// gate is a reader that waits until it is opened, and remembers how it failed.
type gate struct {
	r    io.Reader
	open chan struct{}

	mu  sync.Mutex
	err error
}

func (g *gate) Read(p []byte) (int, error) {
	<-g.open
	n, err := g.r.Read(p)
	if err != nil && err != io.EOF {
		g.mu.Lock()
		g.err = err
		g.mu.Unlock()
	}
	return n, err
}

func (g *gate) failed() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

// tailBuffer keeps the last few kilobytes.
type tailBuffer struct{ b []byte }

const tailSize = 4 << 10

func (t *tailBuffer) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if len(t.b) > 2*tailSize {
		t.b = append(t.b[:0], t.b[len(t.b)-tailSize:]...)
	}
	return len(p), nil
}

func (t *tailBuffer) String() string { return string(t.b[max(0, len(t.b)-tailSize):]) }
