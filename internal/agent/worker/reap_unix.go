//go:build unix && !linux

package worker

import (
	"os/exec"
	"sync"
	"syscall"
)

func separate(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }

func signalGroup(pid int, sig syscall.Signal) { _ = syscall.Kill(-pid, sig) }

// processes are those of one job, by the groups they were started in.
type processes struct {
	mu     sync.Mutex
	groups []int
}

func newProcesses() *processes { return &processes{} }

func (p *processes) add(pid int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.groups = append(p.groups, pid)
}

func (p *processes) ours(int) {}
func (p *processes) done(int) {}

func (p *processes) killTree(pid int, _ string) { signalGroup(pid, syscall.SIGKILL) }

func (p *processes) end(string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, g := range p.groups {
		signalGroup(g, syscall.SIGKILL)
	}
}
