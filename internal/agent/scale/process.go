package scale

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/sekisho/sekisho/internal/agent"
)

// Process makes agents that are processes of this machine, each in a folder of its own that is removed after it. They go on when
// the scaler ends.
type Process struct {
	children
	folder  string
	command []string
	env     []string
	who     *user.User // nil: as the scaler
	groups  []uint32
}

// ProcessOptions are those of [NewProcess].
type ProcessOptions struct {
	Folder  string   // the scaler's
	Command []string // runs an agent: it is given --folder DIR and --alive 3, and a launch document on its standard input
	Env     []string // "NAME=value", the scaler's own
	User    string   // that agents run as; empty: as the scaler
	Changed func()   // is called when an agent has ended
}

// Files in an agent's folder.
const (
	aliveFile = "alive" // is locked while it runs
	pidFile   = "pid"
	logFile   = "agent.log"
	homeName  = "agent"
)

// NewProcess returns the template.
func NewProcess(o ProcessOptions) (*Process, error) {
	p := &Process{folder: filepath.Join(o.Folder, agentsFolder), command: o.Command, env: plain(o.Env), children: children{changed: o.Changed}}
	if o.User == "" {
		return p, nil
	}
	if os.Getuid() != 0 {
		return nil, fmt.Errorf("only root can run agents as %s; run the scaler as that user, or as root", o.User)
	}
	var err error
	if p.who, err = user.Lookup(o.User); err != nil {
		return nil, fmt.Errorf("agents can't run as %s: %w", o.User, err)
	}
	if p.who.Uid == "0" {
		return nil, errors.New("agents as root could do all that the scaler can, and more: name another user")
	}
	ids, err := p.who.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("groups of %s: %w", o.User, err)
	}
	for _, id := range ids {
		n, err := strconv.ParseUint(id, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("groups of %s: %w", o.User, err)
		}
		p.groups = append(p.groups, uint32(n))
	}
	env := p.env[:0]
	for _, pair := range p.env {
		if name, _, _ := strings.Cut(pair, "="); name != "HOME" && name != "USER" && name != "LOGNAME" && !strings.HasPrefix(name, "XDG_") {
			env = append(env, pair)
		}
	}
	p.env = append(env, "HOME="+p.who.HomeDir, "USER="+o.User, "LOGNAME="+o.User)
	return p, nil
}

// Describe implements [Template].
func (p *Process) Describe() string {
	if p.who != nil {
		return "processes of this machine, as " + p.who.Username
	}
	return "processes of this machine"
}

func (p *Process) dir(name string) string { return filepath.Join(p.folder, name) }

// Start implements [Template].
func (p *Process) Start(_ context.Context, l *agent.Launch) (string, error) {
	dir := p.dir(l.Agent)
	home := filepath.Join(dir, homeName)
	// The scaler's files are its own: the agent only has the folder in it.
	if err := os.MkdirAll(home, 0o700); err != nil {
		return "", fmt.Errorf("make folder of an agent: %w", err)
	}
	cmd := exec.Command(p.command[0], append(append([]string{}, p.command[1:]...), "--folder", home, "--alive", "3")...)
	cmd.Env, cmd.Dir = p.env, home
	if p.who != nil {
		uid, err := strconv.ParseUint(p.who.Uid, 10, 32)
		if err != nil {
			return "", err
		}
		gid, err := strconv.ParseUint(p.who.Gid, 10, 32)
		if err != nil {
			return "", err
		}
		asUser(cmd, uint32(uid), uint32(gid), p.groups)
		if err := os.Chown(home, int(uid), int(gid)); err != nil {
			return "", fmt.Errorf("give an agent its folder: %w", err)
		}
		for _, above := range []string{dir, p.folder, filepath.Dir(p.folder)} { // to its own folder, through these
			if err := os.Chmod(above, 0o711); err != nil {
				return "", fmt.Errorf("give an agent its folder: %w", err)
			}
		}
	}
	alive, err := hold(filepath.Join(dir, aliveFile))
	if err != nil {
		return "", fmt.Errorf("lock folder of an agent: %w", err)
	}
	defer alive.Close() // from here on it is the agent's
	cmd.ExtraFiles = []*os.File{alive}
	pid, err := p.start(l, cmd, filepath.Join(dir, logFile))
	if err != nil {
		return "", err
	}
	return strconv.Itoa(pid), os.WriteFile(filepath.Join(dir, pidFile), []byte(strconv.Itoa(pid)), 0o600)
}

// List implements [Template].
func (p *Process) List(context.Context) ([]Found, error) {
	entries, err := os.ReadDir(p.folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for agents: %w", err)
	}
	var found []Found
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		f := Found{Name: e.Name(), Ended: !p.runs(e.Name())}
		if text, err := os.ReadFile(filepath.Join(p.dir(e.Name()), pidFile)); err == nil {
			f.ID = string(text)
		}
		if f.Ended {
			f.Last = lastLine(tail(filepath.Join(p.dir(e.Name()), logFile)))
		}
		found = append(found, f)
	}
	return found, nil
}

// runs reports whether an agent's process is there.
func (p *Process) runs(name string) bool {
	if p.alive(name) {
		return true
	}
	f, err := hold(filepath.Join(p.dir(name), aliveFile))
	if err == nil {
		_ = f.Close()
	}
	return errors.Is(err, errHeld)
}

// Remove implements [Template].
func (p *Process) Remove(_ context.Context, name, _ string) error {
	dir := p.dir(name)
	if p.alive(name) {
		p.kill(name)
	} else if p.runs(name) { // of an earlier process of the scaler; while it holds the lock, its id is nobody else's
		text, err := os.ReadFile(filepath.Join(dir, pidFile))
		if err != nil {
			return fmt.Errorf("agent %s runs, and its process can't be told; it ends by itself: %w", name, err)
		}
		pid, err := strconv.Atoi(string(text))
		if err != nil || pid < 2 {
			return fmt.Errorf("agent %s runs, and %s has no process", name, filepath.Join(dir, pidFile))
		}
		killSession(pid)
	}
	if !released(filepath.Join(dir, aliveFile)) {
		return fmt.Errorf("the process of agent %s was killed, and is not gone", name)
	}
	if err := agent.RemoveFolder(dir); err != nil {
		return fmt.Errorf("remove folder of agent %s: %w", name, err)
	}
	return nil
}

// soon reports whether something is done in time.
func soon(done <-chan struct{}) bool {
	t := time.NewTimer(killTime)
	defer t.Stop()
	select {
	case <-done:
		return true
	case <-t.C:
		return false
	}
}
