package scale

import "golang.org/x/sys/unix"

// Protect keeps the memory and the environment of this process from others of the same user: jobs may be such.
func Protect() { _ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) }
