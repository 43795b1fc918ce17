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
const (
	rejectFor  = 5 * time.Second
	maxRejects = 4096

	throttleBurst = 100
	throttleEvery = 100 * time.Millisecond // one more in this time
	maxThrottled  = 8192
)

// rejectCache remembers, briefly, credentials that were refused.
type rejectCache struct {
	mu     sync.Mutex
	until  map[credentialHash]time.Time // guarded by mu
	clears int64                        // guarded by mu; calls of clear
}

// has reports whether a credential is to be refused. If not, and it turns out to
// be bad, put takes what has returned as well.
func (c *rejectCache) has(h credentialHash, now time.Time) (refused bool, clears int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	until, ok := c.until[h]
	return ok && now.Before(until), c.clears
}

// put remembers a credential, unless it was found bad by what has been cleared since.
func (c *rejectCache) put(h credentialHash, now time.Time, clears int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if clears != c.clears {
		return
	}
	if len(c.until) >= maxRejects {
		for old, until := range c.until {
			if !now.Before(until) {
				delete(c.until, old)
			}
		}
		if len(c.until) >= maxRejects {
			return
		}
	}
	c.until[h] = now.Add(rejectFor)
}

func (c *rejectCache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clears++
	clear(c.until)
}

// throttleKey is an IPv4 address or an IPv6 /64, which one client has for itself.
type throttleKey struct{ netip.Prefix }

// throttle counts failures by address. An address has its whole allowance when
// next is not ahead of now, and none when next is throttleBurst*throttleEvery ahead.
type throttle struct {
	mu   sync.Mutex
	next map[throttleKey]time.Time // guarded by mu
}

func throttleKeyOf(from netip.Addr) (throttleKey, bool) {
	bits := 32
	if from = from.Unmap(); from.Is6() {
		bits = 64
	}
	p, err := from.Prefix(bits)
	return throttleKey{p}, err == nil && from.IsValid()
}

// allows reports whether the address has some of its allowance left.
func (t *throttle) allows(from netip.Addr, now time.Time) bool {
	key, ok := throttleKeyOf(from)
	if !ok {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.next[key].Sub(now) < throttleBurst*throttleEvery
}

// spend takes one from the allowance of the address.
func (t *throttle) spend(from netip.Addr, now time.Time) {
	key, ok := throttleKeyOf(from)
	if !ok {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	next, known := t.next[key]
	if !known && len(t.next) >= maxThrottled {
		t.sweep(now)
	}
	if next.Before(now) {
		next = now
	}
	t.next[key] = next.Add(throttleEvery)
}

// sweep needs mu. It drops the addresses that have all of their allowance, or any
// one if none has.
func (t *throttle) sweep(now time.Time) {
	for key, next := range t.next {
		if !next.After(now) {
			delete(t.next, key)
		}
	}
	if len(t.next) >= maxThrottled {
		for key := range t.next {
			delete(t.next, key)
			break
		}
	}
}
