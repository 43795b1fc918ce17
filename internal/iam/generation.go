package iam

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sekisho/sekisho/internal/meta"
)

// Generation is a number that goes up with every change to who may do what: to keys, identities, policies and whatever else
// decisions come from. What is remembered of one generation is not used in another, so that what has been taken away is
// refused by the next request, on every node.
//
// The number is a row of the database. On SQLite, whose database one process has for itself, that process knows it; what
// another process changes beside it, from the command line, it notices within [PollGeneration]. On PostgreSQL it is
// read: all who ask at the same time share one reading, which began after the last of them asked.
type Generation struct {
	db *meta.DB
	n  atomic.Int64 // SQLite: the highest that is known; before the first change or poll 0

	last atomic.Pointer[generationRead] // PostgreSQL: the newest that succeeded

	mu      sync.Mutex
	running *generationRead // guarded by mu; whose statement may have begun
	next    *generationRead // guarded by mu; whose statement has not begun
}

// PollGeneration is how often a node on SQLite looks whether another process made a change.
const PollGeneration = time.Second

const generationTimeout = 5 * time.Second // to read it

// generationRead is one reading, for all who wait for it.
type generationRead struct {
	done  chan struct{} // closed when the rest is final
	began time.Time     // by the machine's clock, which always goes forward
	n     int64
	err   error
}

// NewGeneration returns the generation of a database.
func NewGeneration(db *meta.DB) *Generation { return &Generation{db: db} }

// Bump has tx begin a new generation. On PostgreSQL other transactions that do so wait for the end of this one: done
// first, it makes changes one at a time, on all nodes together.
func (g *Generation) Bump(ctx context.Context, tx *meta.Tx) error {
	var n int64
	if err := tx.QueryRow(ctx, `UPDATE generation SET n = n + 1 WHERE one = 1 RETURNING n`).Scan(&n); err != nil {
		return fmt.Errorf("begin a new generation: %w", err)
	}
	tx.OnCommit(func() { g.atLeast(n) })
	return nil
}

// Current returns the generation as of a moment after the call began.
func (g *Generation) Current(ctx context.Context) (int64, error) {
	if g.db.Dialect() == meta.SQLite {
		return g.n.Load(), nil
	}
	return g.shared(ctx)
}

// Since returns the generation as of a moment after a time by the machine's clock, such as when a request arrived: it need
// not be read again for each of the questions that a request has. The zero time stands for now.
func (g *Generation) Since(ctx context.Context, arrived time.Time) (int64, error) {
	if last := g.last.Load(); last != nil && !arrived.IsZero() && last.began.After(arrived) {
		return last.n, nil
	}
	return g.Current(ctx)
}

// Newest returns the newest generation that was learnt of, without asking: it decides nothing, and is for the housekeeping of
// caches.
func (g *Generation) Newest() int64 {
	if last := g.last.Load(); last != nil {
		return max(last.n, g.n.Load())
	}
	return g.n.Load()
}

// Poll reads the generation. A node on SQLite does it every [PollGeneration].
func (g *Generation) Poll(ctx context.Context) error {
	n, err := g.read(ctx)
	if err == nil {
		g.atLeast(n)
	}
	return err
}

// Run polls, on SQLite, until ctx ends. An error is for report to tell; the next poll is another try.
func (g *Generation) Run(ctx context.Context, report func(error)) {
	if g.db.Dialect() != meta.SQLite {
		return
	}
	tick := time.NewTicker(PollGeneration)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := g.Poll(ctx); err != nil && ctx.Err() == nil {
				report(err)
			}
		}
	}
}

// atLeast makes n known. Numbers only go up, and may be learnt in another order.
func (g *Generation) atLeast(n int64) {
	for {
		known := g.n.Load()
		if known >= n || g.n.CompareAndSwap(known, n) {
			return
		}
	}
}

func (g *Generation) read(ctx context.Context) (n int64, err error) {
	if err = g.db.QueryRow(ctx, `SELECT n FROM generation WHERE one = 1`).Scan(&n); err != nil {
		return 0, fmt.Errorf("read the generation: %w", err)
	}
	return n, nil
}

// shared takes part in the next reading. Whoever asks for one first does it for the others, once the one before it is
// through: so there is at most one at a time, and nobody waits for more than two.
func (g *Generation) shared(ctx context.Context) (int64, error) {
	g.mu.Lock()
	r, before := g.next, g.running
	first := r == nil
	if first {
		r = &generationRead{done: make(chan struct{})}
		g.next = r
	}
	g.mu.Unlock()
	if first {
		if before != nil {
			<-before.done // even if ctx ends: others count on this one
		}
		g.do(ctx, r)
	}
	select {
	case <-r.done:
		return r.n, r.err
	case <-ctx.Done():
		return 0, fmt.Errorf("read the generation: %w", ctx.Err())
	}
}

func (g *Generation) do(ctx context.Context, r *generationRead) {
	g.mu.Lock()
	g.next, g.running = nil, r
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		if g.running == r {
			g.running = nil
		}
		g.mu.Unlock()
		close(r.done)
	}()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), generationTimeout)
	defer cancel()
	r.began = time.Now()
	if r.n, r.err = g.read(ctx); r.err == nil {
		g.last.Store(r)
	}
}
