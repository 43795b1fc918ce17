package iam

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
)

// RecheckAfter is how long, at most, a node goes on using an access key that
// another node deactivated or deleted.
const RecheckAfter = 3 * time.Second

const (
	maxKeys     = 8192            // kept in memory
	loadTimeout = 5 * time.Second // to read one
)

// liveKey is an active access key. Credentials that were verified with it refer to
// it, so that they end when it does.
type liveKey struct {
	principal Principal
	secret    string
	expires   time.Time // of temporary credentials; zero for others
	parent    string    // the access key that it ends with; empty for none

	gone    atomic.Bool  // deactivated, deleted or just not known any more
	checked atomic.Int64 // when the database last said so, Unix nanoseconds
}

// keyCache keeps the access keys in use. Only keys that exist get in, so strangers
// can't push anything out.
type keyCache struct {
	load    func(ctx context.Context, id string) (*liveKey, error)
	recheck time.Duration // zero: forget is told of every change

	flight singleflight.Group

	mu      sync.RWMutex
	known   map[string]*liveKey // guarded by mu; none is gone
	changes int64               // guarded by mu; calls of forget
}

// get returns a key and whether it can be used without asking the database.
func (c *keyCache) get(id string, now time.Time) (k *liveKey, fresh bool) {
	c.mu.RLock()
	k = c.known[id]
	c.mu.RUnlock()
	return k, k != nil && c.fresh(k, now)
}

// same reports whether another reading of the same key found the same. What a session is begun with never changes.
func (k *liveKey) same(other *liveKey) bool {
	a, b := k.principal, other.principal
	if a.Session != nil && b.Session != nil {
		a.Session, b.Session = nil, nil
	}
	return a == b && k.secret == other.secret
}

// fresh reports whether k is known to be active.
func (c *keyCache) fresh(k *liveKey, now time.Time) bool {
	return !k.gone.Load() && (k.expires.IsZero() || now.Before(k.expires)) && (c.recheck == 0 || now.UnixNano()-k.checked.Load() < int64(c.recheck))
}

// fetch reads a key from the database, once for all who want it at the same time.
func (c *keyCache) fetch(ctx context.Context, id string, now time.Time) (*liveKey, error) {
	c.mu.RLock()
	flight := id + strconv.FormatInt(c.changes, 10) // who asks after a change must not get an older answer
	c.mu.RUnlock()
	v, err, _ := c.flight.Do(flight, func() (any, error) {
		// Others wait for the answer too: it must not end with this request.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), loadTimeout)
		defer cancel()
		return c.reload(ctx, id, now)
	})
	k, _ := v.(*liveKey)
	return k, err
}

func (c *keyCache) reload(ctx context.Context, id string, now time.Time) (*liveKey, error) {
	c.mu.RLock()
	before := c.changes
	c.mu.RUnlock()

	k, err := c.load(ctx, id)

	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.known[id]
	switch {
	case err != nil:
		if errors.Is(err, ErrUnknownKey) {
			c.drop(id)
		}
		return nil, err
	case c.changes != before:
		// What was read may be what was changed. It was right when this began, and
		// so is good for once; whoever keeps it finds it gone.
		k.gone.Store(true)
		return k, nil
	case old != nil && old.same(k):
		old.checked.Store(now.UnixNano())
		return old, nil
	}
	c.drop(id)
	if len(c.known) >= maxKeys {
		for other := range c.known { // any one: maps iterate in random order
			c.drop(other)
			break
		}
	}
	k.checked.Store(now.UnixNano())
	c.known[id] = k
	return k, nil
}

// forget drops a key, and with it every credential that was verified with it.
func (c *keyCache) forget(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes++
	c.drop(id)
	for other, k := range c.known {
		if k.parent == id {
			c.drop(other)
		}
	}
}

// drop needs mu.
func (c *keyCache) drop(id string) {
	if k := c.known[id]; k != nil {
		k.gone.Store(true)
		delete(c.known, id)
	}
}
