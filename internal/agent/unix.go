//go:build unix

package agent

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// ownGroup gives a worker a group of processes of its own: the terminal's signals are the agent's to pass on.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

func killGroup(p *os.Process) { _ = syscall.Kill(-p.Pid, syscall.SIGKILL) }

// errLocked means that another process holds a lock.
var errLocked = errors.New("locked")

// lockFileOf locks a file, which is made if it isn't there. Errors: errLocked.
func lockFileOf(path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = file.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errLocked
		}
		return nil, err
	}
	return func() { _ = file.Close() }, nil
}

// lock makes sure that one process runs the agent of a folder.
func (f Folder) lock() (unlock func(), err error) {
	unlock, err = lockFileOf(f.path(lockFile))
	if errors.Is(err, errLocked) {
		return nil, fmt.Errorf("the agent in %s runs already", f)
	}
	if err != nil {
		return nil, fmt.Errorf("lock the agent's folder: %w", err)
	}
	return unlock, nil
}

// freeSpace returns how much the agent's user can still write, in bytes, where a folder is or will be.
func freeSpace(dir string) (int64, error) {
	for {
		var s unix.Statfs_t
		err := unix.Statfs(dir, &s)
		if err == nil {
			return int64(s.Bavail) * int64(s.Bsize), nil
		}
		parent := filepath.Dir(dir)
		if !errors.Is(err, unix.ENOENT) || parent == dir {
			return 0, err
		}
		dir = parent
	}
}

// ownerOf returns who owns a file.
func ownerOf(info os.FileInfo) (uid int, ok bool) {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(s.Uid), true
}
