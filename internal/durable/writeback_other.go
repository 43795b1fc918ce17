//go:build !linux

package durable

// StartWriteback does nothing here: the system has no such call.
func StartWriteback(File, int64, int64) {}
