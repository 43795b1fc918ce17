package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/sekisho/sekisho/internal/agent/task"
)

// Between the ways of ending a process, each firmer than the one before.
const (
	interruptGrace = 7500 * time.Millisecond // after SIGINT
	terminateGrace = 2500 * time.Millisecond // after SIGTERM
	drainGrace     = 2 * time.Second         // for output after a program's end that something else still holds open
)

// marker is a variable that each process of a job has in its environment, so that those that left their group are found.
const marker = "SEKISHO_JOB_PROCESSES"

// hostRunner is the task.Host of steps that run on the agent's own machine.
type hostRunner struct {
	j    *job
	step *step
	env  []string
	dirs task.Dirs
}

func (h *hostRunner) Container() bool            { return false }
func (h *hostRunner) Outside(path string) string { return path }

func (h *hostRunner) Look(name string) (string, error) { return look(name, h.env) }

// look finds a program in the PATH of an environment that is not this process's own.
func look(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		if executable(name) {
			return name, nil
		}
		return "", &exec.Error{Name: name, Err: exec.ErrNotFound}
	}
	for _, dir := range filepath.SplitList(lookEnv(env, "PATH")) {
		if !filepath.IsAbs(dir) {
			continue // what lies in the sources is not run by its name alone
		}
		if p := filepath.Join(dir, name); executable(p) {
			return p, nil
		}
	}
	return "", &exec.Error{Name: name, Err: exec.ErrNotFound}
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir() && info.Mode()&0o111 != 0
}

// lookEnv returns the last value of a name.
func lookEnv(env []string, name string) string {
	for i := len(env) - 1; i >= 0; i-- {
		if v, ok := strings.CutPrefix(env[i], name+"="); ok {
			return v
		}
	}
	return ""
}

func (h *hostRunner) Run(ctx context.Context, p *task.Process) error {
	env := p.Env
	if env == nil {
		env = h.env
	}
	path, err := look(p.Path, env)
	if err != nil {
		return fmt.Errorf("%s: %w", p.Path, err)
	}
	cmd := exec.Command(path, p.Args...)
	cmd.Dir, cmd.Env = p.Dir, append(env[:len(env):len(env)], marker+"="+h.j.marker)
	if cmd.Dir == "" {
		cmd.Dir = h.dirs.Sources
	}
	if !p.Quiet {
		h.step.Command(commandLine(p.Path, p.Args))
	}
	return h.j.run(ctx, h.step, cmd, p, nil, nil)
}

// run runs a program to its end, or to that of ctx. What it leaves behind lives on until the job ends. ask and kill, if not nil,
// reach what the program stands for and signals to it do not: it may run in a container.
func (j *job) run(ctx context.Context, s *step, cmd *exec.Cmd, p *task.Process, ask func(syscall.Signal), kill func()) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	cmd.Stdin = p.Stdin
	var outputs sync.WaitGroup
	var closers []*os.File
	var sinks []*sink
	// Pipes of our own: their ends outlive the program where something in the background holds them open, and are read on
	// then, so that it does not die of a closed pipe.
	attach := func(w io.Writer) (*os.File, error) {
		r, end, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		closers = append(closers, end)
		k := &sink{to: w}
		sinks = append(sinks, k)
		outputs.Add(1)
		j.background.Add(1)
		go func() {
			defer j.background.Done()
			defer r.Close()
			_, _ = io.Copy(k, r)
			outputs.Done()
			_, _ = io.Copy(io.Discard, r)
		}()
		return end, nil
	}
	lines := &splitter{line: s.output}
	var err error
	if p.Stdout == nil && p.Stderr == nil {
		var end *os.File
		if end, err = attach(lines); err == nil {
			cmd.Stdout, cmd.Stderr = end, end
		}
	} else {
		to := func(w io.Writer) io.Writer {
			if w == nil {
				return lines
			}
			return w
		}
		var out, errs *os.File
		if out, err = attach(to(p.Stdout)); err == nil {
			cmd.Stdout = out
			if errs, err = attach(to(p.Stderr)); err == nil {
				cmd.Stderr = errs
			}
		}
	}
	if err == nil {
		separate(cmd)
		err = cmd.Start()
	}
	for _, c := range closers {
		c.Close()
	}
	if err != nil {
		return fmt.Errorf("%s can't be started: %w", p.Path, err)
	}
	j.procs.add(cmd.Process.Pid)
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	if ask == nil {
		ask = func(sig syscall.Signal) { signalGroup(cmd.Process.Pid, sig) }
	}
	err = j.wait(ctx, s, ended, ask, func() {
		if kill != nil {
			kill()
		}
		j.procs.killTree(cmd.Process.Pid, j.marker)
	})
	j.procs.done(cmd.Process.Pid)
	var exit *task.ExitError
	if errors.As(err, &exit) {
		exit.Program = filepath.Base(p.Path)
	}
	// All that was written before the end is read; what others write later is not waited for.
	drained := make(chan struct{})
	go func() { outputs.Wait(); close(drained) }()
	late, stop := j.opts.Clock.After(drainGrace)
	select {
	case <-drained:
	case <-late:
	}
	stop()
	for _, k := range sinks {
		k.detach()
	}
	lines.end()
	return err
}

// wait waits for a program's end. When ctx ends before, it is asked to end, asked firmly, and killed.
func (j *job) wait(ctx context.Context, s *step, ended <-chan error, ask func(syscall.Signal), kill func()) error {
	select {
	case err := <-ended:
		return exitError(err)
	case <-ctx.Done():
	}
	for _, a := range []struct {
		sig   syscall.Signal
		grace time.Duration
	}{{syscall.SIGINT, interruptGrace}, {syscall.SIGTERM, terminateGrace}} {
		if j.hard.Err() != nil {
			break
		}
		ask(a.sig)
		over, stop := j.opts.Clock.After(a.grace)
		select {
		case <-ended:
			stop()
			kill() // what it left in its group
			return context.Cause(ctx)
		case <-over:
		case <-j.hard.Done():
		}
		stop()
	}
	kill()
	<-ended
	return context.Cause(ctx)
}

func exitError(err error) error {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	code := exit.ExitCode()
	if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		code = 128 + int(ws.Signal())
	}
	return &task.ExitError{Code: code}
}

// sink is a writer that can be taken away from whoever writes to it.
type sink struct {
	mu sync.Mutex
	to io.Writer
}

var errDetached = errors.New("nobody reads this any more")

func (k *sink) Write(p []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.to == nil {
		return 0, errDetached
	}
	return k.to.Write(p)
}

func (k *sink) detach() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.to = nil
}

// commandLine is a program with its arguments, as people read it.
func commandLine(path string, args []string) string {
	words := append([]string{path}, args...)
	for i, w := range words {
		if w == "" || strings.ContainsAny(w, " \t\n\"'\\$&|;<>()`*?#~") {
			words[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	return strings.Join(words, " ")
}
