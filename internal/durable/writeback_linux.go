package durable

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// StartWriteback asks the system to begin writing n bytes at off to the device, so that a later Sync has less to wait
// for. It is a hint, and no part of durability: errors come up in Sync.
func StartWriteback(f File, off, n int64) {
	c, ok := f.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SyncFileRange(int(fd), off, n, unix.SYNC_FILE_RANGE_WRITE)
	})
}
