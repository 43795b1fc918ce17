//go:build unix

package scale

import (
	"errors"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// ownSession gives a process a session of its own: signals of a terminal, and the scaler's end, are not its.
func ownSession(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setsid = true
}

func killSession(pid int) { _ = syscall.Kill(-pid, syscall.SIGKILL) }

// asUser has a process run as somebody else.
func asUser(cmd *exec.Cmd, uid, gid uint32, groups []uint32) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uid, Gid: gid, Groups: groups}
}

// errHeld means that another process holds a lock.
var errHeld = errors.New("another process has it")

// hold locks a file, which is made if it isn't there. The lock is that of the open file: whoever inherits it holds it too. Errors:
// errHeld.
func hold(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errHeld
		}
		return nil, err
	}
	return f, nil
}

// released waits until a lock is not held any more, at most as long as killTime.
func released(path string) bool {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return true
	}
	done := make(chan struct{})
	go func() { // ends with whoever holds it
		defer f.Close()
		for unix.Flock(int(f.Fd()), unix.LOCK_EX) == unix.EINTR { //nolint:revive // again
		}
		close(done)
	}()
	return soon(done)
}

// KeepAlive takes over the open file that says that an agent runs: what the agent starts does not inherit it.
func KeepAlive(fd int) { syscall.CloseOnExec(fd) }
