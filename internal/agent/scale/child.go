package scale

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/sekisho/sekisho/internal/agent"
)

// children are the processes that a template started. They have sessions of their own, and go on when the scaler ends.
type children struct {
	changed func() // is called when one has ended

	mu      sync.Mutex
	running map[string]*child // guarded by mu; by agent
}

type child struct {
	process *os.Process
	done    chan struct{} // closed when it has ended
}

// start starts a process that reads a launch document from its standard input. What it says goes to a file.
func (c *children) start(l *agent.Launch, cmd *exec.Cmd, log string) (pid int, err error) {
	text, err := json.Marshal(l)
	if err != nil {
		return 0, err
	}
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return 0, fmt.Errorf("write log of an agent: %w", err)
	}
	defer out.Close()
	in, err := document(append(text, '\n'), filepath.Dir(log))
	if err != nil {
		return 0, fmt.Errorf("hand an agent its launch document: %w", err)
	}
	defer in.Close()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, out
	ownSession(cmd)
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	x := &child{process: cmd.Process, done: make(chan struct{})}
	c.mu.Lock()
	if c.running == nil {
		c.running = map[string]*child{}
	}
	c.running[l.Agent] = x
	c.mu.Unlock()
	go func() {
		_ = cmd.Wait() // how it ended is in its log, and in the pool
		close(x.done)
		c.mu.Lock()
		if c.running[l.Agent] == x {
			delete(c.running, l.Agent)
		}
		c.mu.Unlock()
		c.changed()
	}()
	return cmd.Process.Pid, nil
}

// document returns something to read a text from, for which nobody has to live on: a pipe that holds all of it, or where it is too long
// for that, a file that has no name any more.
func document(text []byte, dir string) (*os.File, error) {
	const pipeHolds = 16 << 10 // at least
	if len(text) <= pipeHolds {
		in, fill, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		_, err = fill.Write(text)
		return in, errors.Join(err, fill.Close())
	}
	f, err := os.CreateTemp(dir, ".launch-*") // nobody else can read it
	if err != nil {
		return nil, err
	}
	_, err = f.Write(text)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err = errors.Join(err, os.Remove(f.Name())); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// alive reports whether one runs.
func (c *children) alive(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.running[name] != nil
}

// kill ends one with its group, and waits for its end.
func (c *children) kill(name string) {
	c.mu.Lock()
	x := c.running[name]
	c.mu.Unlock()
	if x == nil {
		return
	}
	killSession(x.process.Pid)
	select {
	case <-x.done:
	case <-time.After(killTime): // it can't be ended now, as with a file system that hangs
	}
}

// killTime is how long something that was killed has to be gone.
const killTime = 10 * time.Second

// tail returns the end of a file.
func tail(path string) string {
	const most = 4 << 10
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > most {
		_, _ = f.Seek(-most, io.SeekEnd)
	}
	text, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return ""
	}
	return string(text)
}
