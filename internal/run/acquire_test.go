package run_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/sekisho/sekisho/internal/meta/metatest"
	"github.com/sekisho/sekisho/internal/run"
)

// ending is a context that ends when it is looked at for the n-th time.
type ending struct {
	context.Context
	cancel context.CancelFunc
	left   atomic.Int64
}

func (c *ending) Done() <-chan struct{} {
	if c.left.Add(-1) == 0 {
		c.cancel()
	}
	return c.Context.Done()
}

// TestAcquireEnds has the call for a job end at each moment that it can: a job that was given out comes back whole, and is not thrown
// back half put together.
func TestAcquireEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, metatest.Open(t, metatest.SQLite(t)))
	a := w.agent("a")
	r := w.start("steps:\n- bash: echo hello\n")
	got, missed := 0, 0
	for n := int64(1); ; n++ {
		inner, cancel := context.WithCancel(t.Context())
		ctx := &ending{Context: inner, cancel: cancel}
		ctx.left.Store(n)
		j, err := w.Acquire(ctx, a)
		whole := ctx.left.Load() > 0
		cancel()
		if (j == nil) != (err != nil) {
			t.Fatalf("a job: %t, an error: %v", j != nil, err)
		}
		if j == nil {
			missed++
			continue
		}
		got++
		if err := w.Release(t.Context(), run.Claim{Job: j.ID, Attempt: j.Attempt, Agent: a.ID}, "given back"); err != nil {
			t.Fatal(err)
		}
		if whole {
			break
		}
	}
	for _, x := range w.tree(r.ID).Stages[0].Jobs[0].Legs[0].Attempts {
		if x.State == "released" && x.Cause != "given back" {
			t.Errorf("attempt %d was released: %s", x.Number, x.Cause)
		}
	}
	if got < 1 || missed < 1 {
		t.Errorf("%d calls got the job and %d did not", got, missed)
	}
}
