package registry

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// uploadCount bounds the unfinished uploads that hold bytes. It counts those that begin and end in this process; others
// end on another node, or are collected, and so before it refuses one it asks the store how many there are. Those that
// begin at that very moment may be missed: the bound can be exceeded by as many requests as are at work at once.
type uploadCount struct {
	n       atomic.Int64
	mu      sync.Mutex
	counted time.Time // when the store was asked; guarded by mu
}

// countRest is the least time between two questions to the store, which has to list them all.
const countRest = 10 * time.Second

// begin counts an upload, or says that there are too many.
func (u *uploadCount) begin(ctx context.Context, l *Local) error {
	n := u.n.Add(1)
	if n > l.o.MaxUploads {
		if err := u.recount(ctx, l); err != nil {
			u.end()
			return err
		}
		n = u.n.Load()
	}
	if n > l.o.MaxUploads {
		u.end()
		return errorf(TooManyUploads, "%d uploads are unfinished, which is as many as are allowed; complete or cancel some, or wait until they expire", l.o.MaxUploads)
	}
	return nil
}

// end takes back one begin; it may have been another process's.
func (u *uploadCount) end() {
	if u.n.Add(-1) < 0 {
		u.n.Add(1)
	}
}

// recount sets the count to what the store has and the one that asks, unless that was done just now.
func (u *uploadCount) recount(ctx context.Context, l *Local) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := l.now()
	if now.Sub(u.counted) < countRest {
		return nil
	}
	n := int64(1)
	for _, err := range l.store.Uploads(ctx) {
		if err != nil {
			return wrap("count uploads", err)
		}
		n++
	}
	u.counted = now
	u.n.Store(n)
	return nil
}
