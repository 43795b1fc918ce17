package git

import "golang.org/x/sys/unix"

// limitMemory bounds the address space of a process and of all that it starts.
func limitMemory(pid int, limit int64) {
	if limit > 0 {
		l := unix.Rlimit{Cur: uint64(limit), Max: uint64(limit)}
		_ = unix.Prlimit(pid, unix.RLIMIT_AS, &l, nil) // it may have ended already
	}
}
