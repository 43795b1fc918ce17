package agentapi

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/sekisho/sekisho/internal/agent/rpc"
)

func TestToken(t *testing.T) {
	first, second := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	want := token{agent: uuid.New(), expires: time.UnixMilli(1700000000123), key: [32]byte{5}}
	text := want.encode(second)
	got, ok := parseToken([][]byte{first, second}, text)
	if !ok || *got != want {
		t.Errorf("read back %+v, %t", got, ok)
	}
	if _, ok := parseToken([][]byte{first}, text); ok {
		t.Error("a token under another secret is taken")
	}
	for i := range text {
		changed := []byte(text)
		if changed[i]++; changed[i] == 'z'+1 {
			changed[i] = '0'
		}
		if _, ok := parseToken([][]byte{second}, string(changed)); ok {
			t.Errorf("a token is taken with byte %d changed", i)
		}
	}
}

func FuzzToken(f *testing.F) {
	secret := bytes.Repeat([]byte{1}, 32)
	good := (&token{agent: uuid.UUID{1}, expires: time.UnixMilli(1)}).encode(secret)
	f.Add(good)
	f.Add("sat_")
	f.Fuzz(func(t *testing.T, text string) {
		if got, ok := parseToken([][]byte{secret}, text); ok && got.encode(secret) != text {
			t.Errorf("%q is a token and not its own text", text)
		}
	})
}

func TestReplays(t *testing.T) {
	start := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	r := &replays{start: start}
	at := func(d time.Duration) time.Time { return start.Add(d) }
	take := func(what, agent, nonce string, made, now time.Duration, want outcome) {
		t.Helper()
		if got := r.take(agent, &rpc.Proof{Time: at(made), Nonce: nonce}, at(now)); got != want {
			t.Errorf("%s: %d, want %d", what, got, want)
		}
	}
	take("the first", "a", "1", 0, 0, fresh)
	take("again", "a", "1", 0, 0, replayed)
	take("of another agent", "b", "1", 0, 0, fresh)
	take("from before the start", "a", "2", -time.Millisecond, 0, offClock)
	take("from the future", "a", "3", rpc.Window+time.Second, 0, offClock)
	take("almost", "a", "4", rpc.Window, 0, fresh)
	take("its replay as late as it can be", "a", "4", rpc.Window, 2*rpc.Window, replayed)
	take("too old", "a", "5", 0, rpc.Window+time.Second, offClock)
	// What is forgotten is too old to be taken.
	take("made just now", "a", "6", 2*rpc.Window+time.Second, 2*rpc.Window+time.Second, fresh)
	take("a replay after a half was dropped", "a", "6", 2*rpc.Window+time.Second, 3*rpc.Window, replayed)
	for i := range maxSeenOf {
		r.take("c", &rpc.Proof{Time: at(3 * rpc.Window), Nonce: fmt.Sprint(i)}, at(3*rpc.Window))
	}
	take("too many", "c", "x", 3*rpc.Window, 3*rpc.Window, tooMany)
	take("of one who makes few", "a", "7", 3*rpc.Window, 3*rpc.Window, fresh)
}

// TestReplayProperty has a proof never taken twice, whenever it is shown again.
func TestReplayProperty(t *testing.T) {
	start := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	for step := time.Second; step < 11*time.Minute; step += 13 * time.Second {
		r := &replays{start: start}
		taken := 0
		for d := time.Duration(0); d < 40*time.Minute; d += step {
			if r.take("a", &rpc.Proof{Time: start.Add(4 * time.Minute), Nonce: "n"}, start.Add(d)) == fresh {
				taken++
			}
			r.take("b", &rpc.Proof{Time: start.Add(d), Nonce: d.String()}, start.Add(d)) // others go on
		}
		if taken > 1 {
			t.Errorf("with one every %s it is taken %d times", step, taken)
		}
	}
}

func TestCheckedBody(t *testing.T) {
	// A body that is not the one that was hashed never arrives whole.
	for _, x := range []struct {
		body string
		size int64
		ok   bool
	}{{"hello", 5, true}, {"hellx", 5, false}, {"hell", 5, false}, {"", 5, false}, {"hello!", 5, true}} {
		b := newCheckedBody(strings.NewReader(x.body), x.size, sum("hello"))
		var got bytes.Buffer
		_, err := got.ReadFrom(b)
		if (err == nil) != x.ok || x.ok && got.String() != "hello" || !x.ok && int64(got.Len()) >= x.size {
			t.Errorf("%q of %d bytes: %q, %v", x.body, x.size, got.String(), err)
		}
	}
}
