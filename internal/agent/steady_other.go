//go:build !linux

package agent

import "time"

// steady is a clock that is the same in all processes of the machine and goes on while that sleeps. Here it may be set.
func steady() time.Duration { return time.Duration(time.Now().UnixNano()) }
