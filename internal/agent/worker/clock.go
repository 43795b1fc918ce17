package worker

import "time"

// Clock is the time as a job knows it.
type Clock interface {
	Now() time.Time
	// After returns a channel that gets a value after some time, unless stop was called before.
	After(d time.Duration) (c <-chan time.Time, stop func())
}

type realClock struct{}

func (realClock) Now() time.Time { return time.Now() }

func (realClock) After(d time.Duration) (<-chan time.Time, func()) {
	t := time.NewTimer(d)
	return t.C, func() { t.Stop() }
}
