//go:build !linux

package git

// limitMemory does nothing where a process can't be limited from outside.
func limitMemory(int, int64) {}
