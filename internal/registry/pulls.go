package registry

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/sekisho/sekisho/internal/meta"
)

const (
	// pullGrain is how exactly the time of the last pull is kept.
	pullGrain = time.Minute
	// pullFlush is how often those times are written.
	pullFlush = 5 * time.Second
	maxPulls  = 100_000
	// pullBatch is how many of them one transaction writes: other writers wait for it.
	pullBatch = 256
)

// pullLog gathers last-pull times so that reading writes nothing. A crash loses at most the last pullFlush of them.
type pullLog struct {
	mu      sync.Mutex
	pending map[int64]int64 // manifest id to Unix microseconds; guarded by mu
}

// mark notes a pull, unless one was noted less than pullGrain ago.
func (p *pullLog) mark(m *Manifest, now time.Time) {
	t := now.UnixMicro()
	last := m.pulled.Load()
	if t-last < pullGrain.Microseconds() || !m.pulled.CompareAndSwap(last, t) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pending == nil {
		p.pending = map[int64]int64{}
	}
	if len(p.pending) < maxPulls {
		p.pending[m.id] = t
	}
}

// flushPulls writes what was gathered.
func (l *Local) flushPulls(ctx context.Context) error {
	l.pulls.mu.Lock()
	pending := l.pulls.pending
	l.pulls.pending = nil
	l.pulls.mu.Unlock()
	if len(pending) == 0 {
		return nil
	}
	ids := slices.Sorted(maps.Keys(pending)) // several nodes lock the rows in one order
	for some := range slices.Chunk(ids, pullBatch) {
		err := l.update(ctx, "write last-pull times", func(tx *meta.Tx) error {
			for _, id := range some {
				if _, err := tx.Exec(ctx, `UPDATE manifests SET pulled_at = $1 WHERE id = $2 AND pulled_at < $1`, pending[id], id); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Run does the registry's background work until ctx ends.
func (l *Local) Run(ctx context.Context) {
	tick := time.NewTicker(pullFlush)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := l.flushPulls(ctx); err != nil && ctx.Err() == nil {
				l.log.Warn("last-pull times were not written", "err", err)
			}
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), pullFlush)
			defer cancel()
			if err := l.flushPulls(last); err != nil {
				l.log.Warn("last-pull times were not written", "err", err)
			}
			return
		}
	}
}
