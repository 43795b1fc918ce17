package agent

import (
	"time"

	"golang.org/x/sys/unix"
)

// steady is a clock that is the same in all processes of the machine, goes on while that sleeps, and is never set.
func steady() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) != nil {
		return time.Duration(time.Now().UnixNano())
	}
	return time.Duration(t.Nano())
}
