package worker

import (
	"os"
	"os/exec"
	"syscall"
)

func separate(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}

// signalGroup does nothing: Windows has no signals to ask with.
func signalGroup(int, syscall.Signal) {}

// processes are those of one job.
type processes struct{}

func newProcesses() *processes  { return &processes{} }
func (p *processes) add(int)    {}
func (p *processes) ours(int)   {}
func (p *processes) done(int)   {}
func (p *processes) end(string) {}
func (p *processes) killTree(pid int, _ string) {
	if proc, err := os.FindProcess(pid); err == nil {
		_ = proc.Kill()
	}
}
