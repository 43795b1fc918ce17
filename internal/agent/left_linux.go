package agent

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// subreap has what a worker that died leaves behind become this process's children.
func subreap() { _ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }

// reapLeft kills what a worker that died left behind. While no worker runs the agent has no children that it wants.
func reapLeft() {
	self := os.Getpid()
	for range 100 {
		dir, err := os.Open("/proc")
		if err != nil {
			return
		}
		names, _ := dir.Readdirnames(-1)
		_ = dir.Close()
		found := false
		for _, name := range names {
			pid, err := strconv.Atoi(name)
			if err != nil {
				continue
			}
			text, err := os.ReadFile("/proc/" + name + "/stat")
			if err != nil {
				continue
			}
			// "pid (name) state parent …"; the name may hold anything.
			fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
			if len(fields) < 2 || fields[1] != strconv.Itoa(self) {
				continue
			}
			found = true
			_ = syscall.Kill(pid, syscall.SIGKILL)
			var status syscall.WaitStatus
			_, _ = syscall.Wait4(pid, &status, 0, nil)
		}
		if !found {
			return
		}
	}
}
