package worker

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/sekisho/sekisho/internal/agent/work"
)

// recorder tells the server what became of steps. Of each only the last state counts, so that many changes are few
// calls: while one is under way, changes gather.
type recorder struct {
	server work.Server
	fail   func(error)

	mu       sync.Mutex
	sequence int64
	changed  []work.Record // the last of each step, in the order of the changes
	closed   bool
	more     chan struct{}
	done     chan struct{}
}

func newRecorder(ctx context.Context, server work.Server, fail func(error)) *recorder {
	r := &recorder{server: server, fail: fail, more: make(chan struct{}, 1), done: make(chan struct{})}
	go r.send(ctx)
	return r
}

func (r *recorder) put(rec work.Record) {
	rec.Issues = slices.Clone(rec.Issues)
	rec.Outputs = slices.Clone(rec.Outputs)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sequence++
	rec.Sequence = r.sequence
	r.changed = slices.DeleteFunc(r.changed, func(o work.Record) bool { return o.Step == rec.Step })
	r.changed = append(r.changed, rec)
	r.wake()
}

func (r *recorder) wake() {
	select {
	case r.more <- struct{}{}:
	default:
	}
}

func (r *recorder) send(ctx context.Context) {
	defer close(r.done)
	for {
		r.mu.Lock()
		records, closed := r.changed, r.closed
		r.changed = nil
		r.mu.Unlock()
		if len(records) == 0 {
			if closed {
				return
			}
			select {
			case <-r.more:
				continue
			case <-ctx.Done():
				return
			}
		}
		if err := r.server.Update(ctx, records); err != nil {
			r.fail(fmt.Errorf("the server can't be told what became of the steps: %w", err))
			return
		}
	}
}

// close waits until everything was told.
func (r *recorder) close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.wake()
	<-r.done
}
