package agent

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/sekisho/sekisho/internal/agent/work"
)

// A job that the server does not hear of for [work.Lease] is given to another agent. So the agent that has it must have ended it by
// then: its worker does, after fenceAfter, all at once; if it doesn't, the agent kills it after killAfterFence. What is left of
// the lease is for clocks that differ between the server's nodes, and for processes to die.
//
// The time runs from when the last call was sent that the server answered, which is before the server began to count.
func fenceAfter(lease time.Duration) time.Duration     { return lease * 4 / 5 }
func killAfterFence(lease time.Duration) time.Duration { return lease * 8 / 9 }

// cutOffMessage is why a job was ended by its own agent.
func cutOffMessage(lease time.Duration) string {
	return fmt.Sprintf("The agent had no answer of the server for %v. It ended the job, because the server may give it to another agent.", fenceAfter(lease))
}

// fence knows when the lease of a job was last renewed. Agent and worker have one each, over the same clock, so that each of them
// ends the job where the other one hangs.
type fence struct {
	clock func() time.Duration // [steady], but for tests

	mu   sync.Mutex
	last time.Duration // guarded by mu; when the last call was sent that was answered
}

func newFence(clock func() time.Duration, last time.Duration) *fence {
	return &fence{clock: clock, last: last}
}

// renewed notes that a call was answered that was sent at a time of the clock. One that is sent later and answered sooner counts.
func (f *fence) renewed(sent time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last = max(f.last, sent)
}

// since is when the last call was sent that was answered.
func (f *fence) since() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}

// left is how much of a time is left since the last renewal.
func (f *fence) left(of time.Duration) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last + of - f.clock()
}

// fenceLook is how often the clock is looked at: timers stand still while a machine sleeps.
const fenceLook = time.Second

// over waits until a time is over since the last renewal. It returns false when ctx ended before.
func (f *fence) over(ctx context.Context, after time.Duration) bool {
	for {
		left := f.left(after)
		if left <= 0 {
			return true
		}
		t := time.NewTimer(min(left, fenceLook))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return false
		}
	}
}

// leaseOf is how long a lease is; tests have shorter ones.
func leaseOf(d time.Duration) time.Duration {
	if d == 0 {
		return work.Lease
	}
	return d
}
