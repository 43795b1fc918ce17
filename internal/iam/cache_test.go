package iam

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// TestCachesAreBounded fills each cache beyond its limit.
func TestCachesAreBounded(t *testing.T) {
	now := time.Unix(1e9, 0)
	hash := func(i int) (h credentialHash) {
		binary.BigEndian.PutUint64(h[:], uint64(i))
		return h
	}

	var good credentialCache
	good.init()
	for i := range 2 * maxCredentials {
		good.put(hash(i), &credential{}) // all in one shard
	}
	if n := len(good.shards[0].known); n != maxCredentials {
		t.Errorf("%d credentials, want %d", n, maxCredentials)
	}

	var bad rejectCache
	for i := range 2 * maxRejects {
		bad.put(hash(i), now, 0)
	}
	if n := len(bad.recent); n != maxRejects {
		t.Errorf("%d rejects, want %d", n, maxRejects)
	}

	slow := throttle{next: map[throttleKey]time.Time{}}
	for i := range 2 * maxThrottled {
		slow.spend(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), now)
	}
	if n := len(slow.next); n > maxThrottled {
		t.Errorf("%d addresses, want at most %d", n, maxThrottled)
	}

	keys := keyCache{known: map[string]*liveKey{}, load: func(context.Context, string) (*liveKey, error) { return new(liveKey), nil }}
	for i := range 2 * maxKeys {
		if _, err := keys.fetch(t.Context(), fmt.Sprint(i), 1); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(keys.known); n != maxKeys {
		t.Errorf("%d keys, want %d", n, maxKeys)
	}
}

func TestRejectsAreForgotten(t *testing.T) {
	now := time.Unix(1e9, 0)
	var c rejectCache
	h := credentialHash{1}
	has := func(after time.Duration) bool {
		refused, _ := c.has(h, 0, now.Add(after))
		return refused
	}
	c.put(h, now, 0)
	if !has(0) || !has(rejectFor-1) || !has(rejectFor) || has(2*rejectFor) {
		t.Error("not kept for its time")
	}
	now = now.Add(time.Hour)
	if c.put(h, now, 0); !has(0) || has(2*rejectFor) {
		t.Error("kept after a pause")
	}
	now = now.Add(time.Hour)
	if c.put(h, now, 0); !has(0) || has(-time.Hour) {
		t.Error("kept by a clock that went back")
	}
	now = now.Add(time.Hour)
	c.put(h, now, 0)
	if refused, _ := c.has(h, 1, now); refused {
		t.Error("kept in another generation")
	}
	c.put(h, now, 0) // found bad before that
	if has(0) {
		t.Error("kept what was found in an older generation")
	}
}

func TestThrottleKey(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1", "192.0.2.1", true},
		{"192.0.2.1", "::ffff:192.0.2.1", true},
		{"192.0.2.1", "192.0.2.2", false},
		{"2001:db8::1", "2001:db8::ffff:1", true},
		{"2001:db8::1", "2001:db8:0:1::1", false},
		{"fe80::1%a", "fe80::2%b", true},
	} {
		a, okA := throttleKeyOf(netip.MustParseAddr(tt.a))
		b, okB := throttleKeyOf(netip.MustParseAddr(tt.b))
		if !okA || !okB || (a == b) != tt.same {
			t.Errorf("%s and %s: %v, %v", tt.a, tt.b, a, b)
		}
	}
}

// TestGenerationOfKeys checks that what was read in one generation is not used in another, and that a slow reading does
// not undo a newer one.
func TestGenerationOfKeys(t *testing.T) {
	now := time.Unix(1e9, 0)
	gone := false
	keys := keyCache{known: map[string]*liveKey{}}
	keys.load = func(context.Context, string) (*liveKey, error) {
		if gone {
			return nil, ErrUnknownKey
		}
		return new(liveKey), nil
	}
	k, err := keys.fetch(t.Context(), "AKIA", 1)
	if err != nil || !k.fresh(1, now) || k.fresh(2, now) {
		t.Fatalf("%+v, %v", k, err)
	}
	again, err := keys.fetch(t.Context(), "AKIA", 2)
	if err != nil || again != k || !k.fresh(2, now) {
		t.Fatalf("%+v, %v", again, err)
	}
	if late, err := keys.fetch(t.Context(), "AKIA", 1); err != nil || late == k || !late.fresh(1, now) || late.fresh(2, now) {
		t.Fatalf("%+v, %v", late, err)
	}
	gone = true
	if _, err := keys.fetch(t.Context(), "AKIA", 1); !errors.Is(err, ErrUnknownKey) {
		t.Fatal(err)
	}
	if got, fresh := keys.get("AKIA", 2, now); got != k || !fresh {
		t.Error("an older reading pushed out a newer one")
	}
	if _, err := keys.fetch(t.Context(), "AKIA", 3); !errors.Is(err, ErrUnknownKey) {
		t.Fatal(err)
	}
	if got, fresh := keys.get("AKIA", 3, now); got != nil || fresh || k.fresh(3, now) {
		t.Error("kept")
	}
}
