package directory

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
)

// FlushEvery is how often the last uses of keys and roles are written, and how exact they are.
const FlushEvery = time.Minute

const (
	maxUses       = 16384
	flushBatch    = 256
	roleIDPrefix  = "AROA"
	keyIDPrefix   = "AKIA"
	finalDeadline = 5 * time.Second
)

// uses gathers who was there last, so that no request writes. What is lost with the process is at most FlushEvery old.
type uses struct {
	mu    sync.RWMutex
	known map[string]*atomic.Pointer[lastUse] // guarded by mu; by the id of a key or role
}

// lastUse is never changed.
type lastUse struct {
	at              time.Time
	service, region string
	written         bool
}

// note takes note of a use, once in FlushEvery.
func (u *uses) note(id, service, region string, now time.Time) {
	u.mu.RLock()
	p := u.known[id]
	u.mu.RUnlock()
	if p != nil {
		if last := p.Load(); last.service == service && last.region == region && now.Sub(last.at) < FlushEvery {
			return
		}
	}
	next := &lastUse{at: now, service: strings.Clone(service), region: region}
	if p != nil {
		p.Store(next)
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.known == nil {
		u.known = make(map[string]*atomic.Pointer[lastUse])
	}
	if u.known[id] == nil && len(u.known) < maxUses {
		p := new(atomic.Pointer[lastUse])
		p.Store(next)
		u.known[id] = p
	}
}

func (u *uses) last(id string) *lastUse {
	u.mu.RLock()
	defer u.mu.RUnlock()
	if p := u.known[id]; p != nil {
		return p.Load()
	}
	return nil
}

// unwritten returns what has not been written, and forgets what was written and has not been used since.
func (u *uses) unwritten(now time.Time) map[string]*lastUse {
	u.mu.Lock()
	defer u.mu.Unlock()
	found := map[string]*lastUse{}
	for id, p := range u.known {
		switch last := p.Load(); {
		case !last.written:
			found[id] = last
		case now.Sub(last.at) >= 2*FlushEvery:
			delete(u.known, id)
		}
	}
	return found
}

// wrote takes note that last is in the database, unless there has been a use since.
func (u *uses) wrote(id string, last *lastUse) {
	u.mu.RLock()
	defer u.mu.RUnlock()
	if p := u.known[id]; p != nil {
		done := *last
		done.written = true
		p.CompareAndSwap(last, &done)
	}
}

// Used takes note that a caller did something, or tried to. It returns at once.
func (s *Service) Used(c *iam.Caller, action, region string) {
	service, _, _ := strings.Cut(action, ":")
	switch {
	case c == nil:
	case strings.HasPrefix(c.AccessKeyID, keyIDPrefix):
		s.uses.note(c.AccessKeyID, service, region, s.o.Now())
	case c.Type == iam.AssumedRole:
		id, _, _ := strings.Cut(c.ID, ":")
		s.uses.note(id, service, region, s.o.Now())
	}
}

// Flush writes the last uses of keys and roles.
func (s *Service) Flush(ctx context.Context) error {
	batch := make(map[string]*lastUse, flushBatch)
	var errs []error
	write := func() {
		if len(batch) == 0 {
			return
		}
		if err := s.db.Update(ctx, func(tx *meta.Tx) error { return writeUses(ctx, tx, batch) }); err != nil {
			errs = append(errs, fmt.Errorf("write last uses: %w", err))
		} else {
			for id, last := range batch {
				s.uses.wrote(id, last)
			}
		}
		clear(batch)
	}
	for id, last := range s.uses.unwritten(s.o.Now()) {
		if batch[id] = last; len(batch) == flushBatch {
			write()
		}
	}
	write()
	return errors.Join(errs...)
}

func writeUses(ctx context.Context, tx *meta.Tx, batch map[string]*lastUse) error {
	for _, id := range slices.Sorted(maps.Keys(batch)) { // in the same order on every node: no deadlocks
		last, err := batch[id], error(nil)
		if strings.HasPrefix(id, roleIDPrefix) {
			_, err = tx.Exec(ctx, `UPDATE identities SET used_at = $1, used_in = $2 WHERE id = $3 AND used_at < $1`, last.at.UnixMicro(), last.region, id)
		} else {
			_, err = tx.Exec(ctx, `UPDATE access_keys SET used_at = $1, used_for = $2, used_in = $3 WHERE id = $4 AND used_at < $1`,
				last.at.UnixMicro(), last.service, last.region, id)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Run flushes every [FlushEvery] and once at the end. Errors are for report to tell.
func (s *Service) Run(ctx context.Context, report func(error)) {
	tick := time.NewTicker(FlushEvery)
	defer tick.Stop()
	flush := func(ctx context.Context) {
		if err := s.Flush(ctx); err != nil {
			report(err)
		}
	}
	for {
		select {
		case <-tick.C:
			flush(ctx)
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), finalDeadline)
			defer cancel()
			flush(last)
			return
		}
	}
}
