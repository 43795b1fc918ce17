//go:build !linux

package scale

// Protect does nothing: it is for Linux.
func Protect() {}
