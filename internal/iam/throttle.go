package iam

import (
	"net/netip"
	"sync"
	"time"
)

// Wrong credentials can't be guessed (they have over 200 random bits); what has to
// be bounded is what they cost. The same wrong one again is refused from memory.
// A wrong one that needs the database costs the client's address some of an
// allowance, and when that is used up, such credentials of that address are not
// looked at. Credentials in use are found before, so an attacker next door does
// not lock anybody out.
//
// A wrong secret of an access key that is there costs the address the same, so
// that both are told the same when, and has an allowance of its own for the
// address and the key together: when that is used up, no secret of that key is
// compared for that address. There is none for a key alone, because with it a
// stranger who knows the id of a key, which is no secret, could lock its owner out.
const (
	rejectFor  = 2 * time.Second // at least, and at most twice as long
	maxRejects = 4096            // in each half

	throttleBurst = 100
	throttleEvery = 100 * time.Millisecond // one more in this time
	throttleFull  = throttleBurst * throttleEvery
	maxThrottled  = 8192
)

// rejectCache remembers, briefly, credentials that were refused. It has two halves, and drops the older one as a whole,
// so that no request pays for looking through it.
type rejectCache struct {
	mu     sync.Mutex
	recent map[credentialHash]struct{} // guarded by mu
	older  map[credentialHash]struct{} // guarded by mu
	turned time.Time                   // guarded by mu; when recent was begun
	clears int64                       // guarded by mu; calls of clear

	generation int64 // guarded by mu; of what is in it
}

// turn needs mu.
func (c *rejectCache) turn(now time.Time) {
	age := now.Sub(c.turned)
	if age < rejectFor && age >= 0 {
		return
	}
	c.older = c.recent
	if age >= 2*rejectFor || age < 0 {
		c.older = nil
	}
	c.recent, c.turned = nil, now
}

// has reports whether a credential is to be refused in a generation. If not, and it turns out to
// be bad, put takes what has returned as well.
func (c *rejectCache) has(h credentialHash, generation int64, now time.Time) (refused bool, clears int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if generation > c.generation { // it may have been made good
		c.generation = generation
		c.clear()
	}
	c.turn(now)
	_, recent := c.recent[h]
	_, older := c.older[h]
	return recent || older, c.clears
}

// put remembers a credential, unless it was found bad by what has been cleared since.
func (c *rejectCache) put(h credentialHash, now time.Time, clears int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turn(now)
	if clears != c.clears || len(c.recent) >= maxRejects {
		return
	}
	if c.recent == nil {
		c.recent = make(map[credentialHash]struct{})
	}
	c.recent[h] = struct{}{}
}

// clear needs mu.
func (c *rejectCache) clear() {
	c.clears++
	c.recent, c.older = nil, nil
}

// throttleKey is an IPv4 address or an IPv6 /64, which one client has for itself, and the access key in question, if any.
type throttleKey struct {
	netip.Prefix
	keyID string
}

// throttle counts failures by address, and by address and key. Each has its whole allowance when
// next is not ahead of now, and none when next is throttleFull ahead.
type throttle struct {
	mu    sync.Mutex
	next  map[throttleKey]time.Time // guarded by mu; at most maxThrottled
	swept time.Time                 // guarded by mu
}

func throttleKeyOf(from netip.Addr) (throttleKey, bool) {
	bits := 32
	if from = from.Unmap(); from.Is6() {
		bits = 64
	}
	p, err := from.Prefix(bits)
	return throttleKey{Prefix: p}, err == nil && from.IsValid()
}

// allows reports whether the address has some of its allowance left.
func (t *throttle) allows(from netip.Addr, now time.Time) bool {
	key, ok := throttleKeyOf(from)
	if !ok {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.next[key].Sub(now) < throttleFull
}

// spend takes one from the allowance of the address.
func (t *throttle) spend(from netip.Addr, now time.Time) {
	if key, ok := throttleKeyOf(from); ok {
		t.take(key, now)
	}
}

// refuses reports whether the address has used up its allowance for a key.
func (t *throttle) refuses(from netip.Addr, keyID string, now time.Time) bool {
	key, ok := throttleKeyOf(from)
	if !ok {
		return false
	}
	key.keyID = keyID
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.next[key].Sub(now) >= throttleFull
}

// spendKey takes one from the allowance of the address for a key.
func (t *throttle) spendKey(from netip.Addr, keyID string, now time.Time) {
	if key, ok := throttleKeyOf(from); ok {
		key.keyID = keyID
		t.take(key, now)
	}
}

func (t *throttle) take(key throttleKey, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	next, known := t.next[key]
	if !known && len(t.next) >= maxThrottled {
		t.makeRoom(now)
	}
	if next.Before(now) {
		next = now
	}
	t.next[key] = next.Add(throttleEvery)
}

// makeRoom needs mu. It drops the addresses that have all of their allowance, but
// does not look for them again before there can be many, and else any one.
func (t *throttle) makeRoom(now time.Time) {
	if now.Sub(t.swept) >= throttleFull {
		t.swept = now
		for key, next := range t.next {
			if !next.After(now) {
				delete(t.next, key)
			}
		}
	}
	if len(t.next) >= maxThrottled {
		for key := range t.next { // any one: maps iterate in random order
			delete(t.next, key)
			break
		}
	}
}
