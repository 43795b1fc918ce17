package worker

import (
	"bytes"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// separate gives a program a session of its own, so that signals reach it and all it starts, and nothing else.
func separate(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }

func signalGroup(pid int, sig syscall.Signal) { _ = syscall.Kill(-pid, sig) }

// running are the processes that jobs of this process started and did not wait for yet, whatever the job: what is not
// among them, and is a child of ours in another session, was left behind by one.
var running struct {
	sync.Mutex
	pids map[int]bool
	jobs int
}

// processes are those of one job.
type processes struct {
	mu       sync.Mutex
	sessions []int // of programs that were started, dead ones too
}

// newProcesses makes this process the parent of what its descendants leave behind, so that nothing is lost sight of.
func newProcesses() *processes {
	_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) // without it, environments and sessions still tell
	running.Lock()
	defer running.Unlock()
	if running.pids == nil {
		running.pids = map[int]bool{}
	}
	running.jobs++
	return &processes{}
}

func (p *processes) add(pid int) {
	running.Lock()
	running.pids[pid] = true
	running.Unlock()
	p.mu.Lock()
	p.sessions = append(p.sessions, pid)
	p.mu.Unlock()
}

// ours is a program that the worker itself runs, and that is waited for.
func (p *processes) ours(pid int) {
	running.Lock()
	defer running.Unlock()
	running.pids[pid] = true
}

func (p *processes) done(pid int) {
	running.Lock()
	delete(running.pids, pid)
	running.Unlock()
}

// proc is a process as /proc shows it.
type proc struct {
	pid, parent, session int
	zombie               bool
}

func list() []proc {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	var all []proc
	for _, n := range names {
		pid, err := strconv.Atoi(n)
		if err != nil {
			continue
		}
		text, err := os.ReadFile("/proc/" + n + "/stat")
		if err != nil {
			continue
		}
		// "pid (name) state parent group session …"; the name may hold anything.
		f := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		if len(f) < 4 {
			continue
		}
		parent, _ := strconv.Atoi(f[1])
		session, _ := strconv.Atoi(f[3])
		all = append(all, proc{pid: pid, parent: parent, session: session, zombie: f[0] == "Z"})
	}
	return all
}

func marked(pid int, value string) bool {
	env, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	return err == nil && bytes.Contains(append([]byte{0}, env...), []byte("\x00"+marker+"="+value+"\x00"))
}

// killTree ends a program and all below it.
func (p *processes) killTree(pid int, _ string) {
	p.kill(func(c proc) bool { return c.pid == pid || c.session == pid })
}

// end ends everything that the job left behind.
func (p *processes) end(value string) {
	p.mu.Lock()
	sessions := slices.Clone(p.sessions)
	p.mu.Unlock()
	self := os.Getpid()
	own, _ := unix.Getsid(0)
	running.Lock()
	alone := running.jobs == 1
	running.Unlock()
	p.kill(func(c proc) bool {
		if slices.Contains(sessions, c.session) || marked(c.pid, value) {
			return true
		}
		if !alone || c.parent != self || c.session == own {
			return false
		}
		running.Lock()
		defer running.Unlock()
		return !running.pids[c.pid]
	})
	running.Lock()
	running.jobs--
	running.Unlock()
}

// kill kills the processes that is says, and their descendants, until there are none.
func (p *processes) kill(is func(proc) bool) {
	self := os.Getpid()
	for range 100 {
		all := list()
		victims := map[int]bool{}
		for _, c := range all {
			if c.pid != self && is(c) {
				victims[c.pid] = true
			}
		}
		for grown := true; grown; {
			grown = false
			for _, c := range all {
				if victims[c.parent] && !victims[c.pid] && c.pid != self {
					victims[c.pid], grown = true, true
				}
			}
		}
		alive := 0
		for _, c := range all {
			if !victims[c.pid] {
				continue
			}
			if !c.zombie {
				alive++
				_ = syscall.Kill(c.pid, syscall.SIGKILL)
			}
			running.Lock()
			reap := c.parent == self && !running.pids[c.pid]
			running.Unlock()
			if reap { // an orphan that became ours: nobody else waits for it
				var ws syscall.WaitStatus
				_, _ = syscall.Wait4(c.pid, &ws, 0, nil)
			}
		}
		if alive == 0 {
			return
		}
	}
}
