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

	checked atomic.Int64 // the newest generation in which the database said so
	used    atomic.Int64 // of personal access tokens: the last use that was noted, Unix microseconds
}

// keyCache keeps the access keys in use. Only keys that exist get in, so strangers
// can't push anything out. What it knows is good in the [Generation] in which it was read.
type keyCache struct {
	load func(ctx context.Context, id string) (*liveKey, error)

	flight singleflight.Group

	mu    sync.RWMutex
	known map[string]*liveKey // guarded by mu
}

// get returns a key and whether it can be used without asking the database.
func (c *keyCache) get(id string, generation int64, now time.Time) (k *liveKey, fresh bool) {
	c.mu.RLock()
	k = c.known[id]
	c.mu.RUnlock()
	return k, k != nil && k.fresh(generation, now)
}

// same reports whether another reading of the same key found the same. What a session is begun with never changes.
func (k *liveKey) same(other *liveKey) bool {
	a, b := k.principal, other.principal
	if a.Session != nil && b.Session != nil {
		a.Session, b.Session = nil, nil
	}
	return a == b && k.secret == other.secret
}

// fresh reports whether k is known to be active in a generation.
func (k *liveKey) fresh(generation int64, now time.Time) bool {
	return k.checked.Load() >= generation && (k.expires.IsZero() || now.Before(k.expires))
}

// fetch reads a key from the database, once for all who want it in the same generation.
func (c *keyCache) fetch(ctx context.Context, id string, generation int64) (*liveKey, error) {
	v, err, _ := c.flight.Do(id+strconv.FormatInt(generation, 10), func() (any, error) {
		// Others wait for the answer too: it must not end with this request.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), loadTimeout)
		defer cancel()
		return c.reload(ctx, id, generation)
	})
	k, _ := v.(*liveKey)
	return k, err
}

func (c *keyCache) reload(ctx context.Context, id string, generation int64) (*liveKey, error) {
	k, err := c.load(ctx, id)

	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.known[id]
	newer := old != nil && old.checked.Load() > generation // another reading was quicker
	switch {
	case err != nil:
		if errors.Is(err, ErrUnknownKey) && !newer {
			delete(c.known, id)
		}
		return nil, err
	case newer:
		k.checked.Store(generation)
		return k, nil
	case old != nil && old.same(k):
		old.checked.Store(generation)
		return old, nil
	}
	if len(c.known) >= maxKeys {
		for other := range c.known { // any one: maps iterate in random order
			delete(c.known, other)
			break
		}
	}
	k.checked.Store(generation)
	c.known[id] = k
	return k, nil
}
