package iam_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
	"github.com/sekisho/sekisho/internal/seal"
)

const account = "111122223333"

var (
	masterKey = bytes.Repeat([]byte{7}, seal.MasterKeySize)
	client    = netip.MustParseAddr("192.0.2.1")
)

// clock is a time that tests move.
type clock struct{ at atomic.Int64 }

func newClock() *clock {
	c := new(clock)
	c.at.Store(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixNano())
	return c
}

func (c *clock) now() time.Time          { return time.Unix(0, c.at.Load()).UTC() }
func (c *clock) advance(d time.Duration) { c.at.Add(int64(d)) }

func newRing(t testing.TB, masters ...[]byte) *seal.Ring {
	t.Helper()
	r, err := seal.New(masters...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func newService(t testing.TB, db *meta.DB, c *clock) *iam.Service {
	t.Helper()
	s, err := iam.New(db, newRing(t, masterKey), c.now)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// bootstrapped returns a service with an account, and its root access key.
func bootstrapped(t testing.TB, db *meta.DB, c *clock) (*iam.Service, *iam.AccessKey) {
	t.Helper()
	s := newService(t, db, c)
	_, key, err := s.Bootstrap(t.Context(), account)
	if err != nil {
		t.Fatal(err)
	}
	return s, key
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

func issue(t testing.TB, s *iam.Service, key *iam.AccessKey) (password string, expires time.Time) {
	t.Helper()
	password, expires, err := s.IssueToken(t.Context(), &iam.Caller{Principal: iam.Principal{AccessKeyID: key.ID}})
	if err != nil {
		t.Fatal(err)
	}
	return password, expires
}

func TestBootstrap(t *testing.T) {
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) {
		clk := newClock()
		s, key := bootstrapped(t, db, clk)
		if key == nil || len(key.ID) != 20 || len(key.Secret.Reveal()) != 40 || key.ARN != "arn:aws:iam::"+account+":root" {
			t.Fatalf("key %+v", key)
		}
		a, again, err := newService(t, db, clk).Bootstrap(t.Context(), account)
		if err != nil || again != nil || a.ID != account || !a.Created.Equal(clk.now()) {
			t.Errorf("second bootstrap: %+v, %+v, %v", a, again, err)
		}
		secret, p, err := s.Secret(t.Context(), key.ID, client)
		if err != nil || secret != key.Secret {
			t.Fatalf("secret is another one, %v", err)
		}
		want := &iam.Principal{Account: account, ARN: key.ARN, Type: iam.Root, ID: account, AccessKeyID: key.ID}
		if diff := cmp.Diff(want, p); diff != "" {
			t.Errorf("principal (-want +got):\n%s", diff)
		}
		clk.advance(-time.Hour)
		if _, _, err := s.Bootstrap(t.Context(), "999988887777"); err != nil {
			t.Error(err)
		}
		all, err := s.Accounts(t.Context())
		if err != nil || len(all) != 2 || all[0].ID != "999988887777" || all[1].ID != account {
			t.Errorf("accounts %v, %v", all, err)
		}
		if _, err := s.Account(t.Context(), "999999999999"); !errors.Is(err, iam.ErrUnknownAccount) {
			t.Errorf("unknown account: %v", err)
		}
		for _, bad := range []string{"11112222333", "1111222233334", "11112222333a", "١١١١٢٢"} {
			if _, _, err := s.Bootstrap(t.Context(), bad); err == nil {
				t.Errorf("bootstrapped %q", bad)
			}
		}

		other, err := iam.New(db, newRing(t, bytes.Repeat([]byte{8}, seal.MasterKeySize)), clk.now)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := other.Bootstrap(t.Context(), account); err == nil || !strings.Contains(err.Error(), "master key") {
			t.Errorf("bootstrap with another master key: %v", err)
		}
		if _, _, err := other.Secret(t.Context(), key.ID, client); err == nil {
			t.Error("secret with another master key")
		}
	})
}

func TestBootstrapAtOnce(t *testing.T) {
	for name, asked := range map[string]string{"the same": account, "any": ""} {
		t.Run(name, func(t *testing.T) {
			metatest.EachDB(t, func(t *testing.T, db *meta.DB) {
				clk := newClock()
				var created atomic.Int32
				var got sync.Map
				var wg sync.WaitGroup
				for range 8 {
					wg.Go(func() {
						a, key, err := newService(t, db, clk).Bootstrap(t.Context(), asked)
						if err != nil {
							t.Error(err)
							return
						}
						got.Store(a.ID, true)
						if key != nil {
							created.Add(1)
						}
					})
				}
				wg.Wait()
				s := newService(t, db, clk)
				all, err := s.Accounts(t.Context())
				if err != nil || len(all) != 1 {
					t.Fatalf("accounts %v, %v", all, err)
				}
				got.Range(func(id, _ any) bool {
					if id != all[0].ID || asked != "" && id != asked {
						t.Errorf("account %v, there is %s", id, all[0].ID)
					}
					return true
				})
				if keys, err := s.Keys(t.Context(), all[0].ID); created.Load() != 1 || len(keys) != 1 {
					t.Errorf("%d created, keys %v, %v", created.Load(), keys, err)
				}
			})
		})
	}
}

func TestKeys(t *testing.T) {
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) {
		ctx := t.Context()
		s, first := bootstrapped(t, db, newClock())
		second, err := s.CreateRootKey(ctx, account)
		if err != nil {
			t.Fatal(err)
		}
		keys, err := s.Keys(ctx, account)
		if err != nil || len(keys) != 2 {
			t.Fatalf("keys %v, %v", keys, err)
		}
		for _, k := range keys {
			if k.Secret != (iam.Secret{}) || k.Status != iam.KeyActive || (k.ID != first.ID && k.ID != second.ID) {
				t.Errorf("listed %+v", k)
			}
		}
		if _, err := s.CreateRootKey(ctx, "999999999999"); !errors.Is(err, iam.ErrUnknownAccount) {
			t.Errorf("key for an unknown account: %v", err)
		}
		for name, err := range map[string]error{
			"deactivate unknown":   s.SetKeyStatus(ctx, account, "AKIAXXXXXXXXXXXXXXXX", iam.KeyInactive),
			"delete unknown":       s.DeleteKey(ctx, account, "AKIAXXXXXXXXXXXXXXXX"),
			"delete of another":    s.DeleteKey(ctx, "999999999999", first.ID),
			"deactivate another's": s.SetKeyStatus(ctx, "999999999999", first.ID, iam.KeyInactive),
		} {
			if !errors.Is(err, iam.ErrUnknownKey) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := s.SetKeyStatus(ctx, account, first.ID, "Asleep"); err == nil {
			t.Error("took an unknown status")
		}
		if err := s.DeleteKey(ctx, account, second.ID); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Secret(ctx, second.ID, client); !errors.Is(err, iam.ErrUnknownKey) {
			t.Errorf("secret of a deleted key: %v", err)
		}
	})
}

// TestSealedToItsRow checks that a sealed secret is of no use under another key's id.
func TestSealedToItsRow(t *testing.T) {
	ctx := t.Context()
	db := metatest.Open(t, metatest.SQLite(t))
	s, first := bootstrapped(t, db, newClock())
	second, err := s.CreateRootKey(ctx, account)
	if err != nil {
		t.Fatal(err)
	}
	var stored []byte
	if err := db.QueryRow(ctx, `SELECT secret FROM access_keys WHERE id = $1`, first.ID).Scan(&stored); err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(stored, []byte(first.Secret.Reveal())) {
		t.Error("the secret is stored as it is")
	}
	err = db.Update(ctx, func(tx *meta.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE access_keys SET secret = $1 WHERE id = $2`, stored, second.ID)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Secret(ctx, second.ID, client); err == nil || errors.Is(err, iam.ErrUnknownKey) {
		t.Errorf("opened another key's secret: %v", err)
	}
}

func TestAuthenticate(t *testing.T) {
	clk := newClock()
	s, key := bootstrapped(t, metatest.Open(t, metatest.SQLite(t)), clk)
	other, err := iam.New(metatest.Open(t, metatest.SQLite(t)), newRing(t, bytes.Repeat([]byte{8}, seal.MasterKeySize)), clk.now)
	if err != nil {
		t.Fatal(err)
	}
	secret := key.Secret.Reveal()
	password, expires := issue(t, s, key)
	if want := clk.now().Add(12 * time.Hour); !expires.Equal(want) {
		t.Errorf("token expires at %v, want %v", expires, want)
	}
	if n := len(password); n > 128 {
		t.Errorf("token has %d characters", n)
	}
	foreign, _ := issue(t, other, key)
	raw, err := base64.RawURLEncoding.DecodeString(password)
	if err != nil {
		t.Fatal(err)
	}
	altered := func(at int) string {
		b := bytes.Clone(raw)
		b[at] ^= 1
		return base64.RawURLEncoding.EncodeToString(b)
	}
	root := &iam.Principal{Account: account, ARN: iam.RootARN(account), Type: iam.Root, ID: account, AccessKeyID: key.ID}
	tokened := *root
	tokened.TokenIssued = clk.now()
	for _, tt := range []struct {
		name   string
		header string
		want   *iam.Principal
	}{
		{"key and secret", basic(key.ID, secret), root},
		{"token", basic("AWS", password), &tokened},
		{"scheme in capitals", "BASIC" + basic(key.ID, secret)[5:], root},
		{"two spaces", "Basic  " + basic(key.ID, secret)[6:], root},

		{"nothing", "", nil},
		{"scheme alone", "Basic", nil},
		{"scheme and a space", "Basic ", nil},
		{"Bearer", "Bearer " + password, nil},
		{"no base64", "Basic !!!", nil},
		{"no colon", "Basic " + base64.StdEncoding.EncodeToString([]byte(key.ID)), nil},
		{"oversized", basic(key.ID, strings.Repeat("x", 8<<10)), nil},
		{"wrong secret", basic(key.ID, secret[:39]), nil},
		{"no secret", basic(key.ID, ""), nil},
		{"unknown key", basic("AKIAXXXXXXXXXXXXXXXX", secret), nil},
		{"no key", basic("", secret), nil},
		{"key in small letters", basic(strings.ToLower(key.ID), secret), nil},
		{"secret for a token", basic("AWS", secret), nil},
		{"token for a secret", basic(key.ID, password), nil},
		{"user in small letters", basic("aws", password), nil},
		{"token of another instance", basic("AWS", foreign), nil},
		{"empty token", basic("AWS", ""), nil},
		{"oversized token", basic("AWS", strings.Repeat("A", 1<<10)), nil},
		{"truncated token", basic("AWS", password[:len(password)-2]), nil},
		{"longer token", basic("AWS", password+"AAAA"), nil},
		{"token of another version", basic("AWS", altered(0)), nil},
		{"token of another time", basic("AWS", altered(8)), nil},
		{"token with another end", basic("AWS", altered(15)), nil},
		{"token of another key", basic("AWS", altered(20)), nil},
		{"token with another sum", basic("AWS", altered(len(raw)-1)), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, from := range []string{"database", "cache"} {
				got, err := s.Authenticate(t.Context(), tt.header, client)
				if tt.want == nil {
					if got != nil || !errors.Is(err, iam.ErrInvalidCredentials) {
						t.Errorf("from %s: %+v, %v", from, got, err)
					}
					continue
				}
				if err != nil {
					t.Fatalf("from %s: %v", from, err)
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("from %s (-want +got):\n%s", from, diff)
				}
			}
		})
	}
}

func TestTokenExpires(t *testing.T) {
	clk := newClock()
	s, key := bootstrapped(t, metatest.Open(t, metatest.SQLite(t)), clk)
	cached, expires := issue(t, s, key)
	fresh, _ := issue(t, s, key)
	clk.advance(iam.TokenLife - time.Nanosecond)
	if _, err := s.Authenticate(t.Context(), basic("AWS", cached), client); err != nil {
		t.Fatalf("just before %v: %v", expires, err)
	}
	clk.advance(time.Nanosecond)
	for range 2 {
		for _, password := range []string{cached, fresh} {
			_, err := s.Authenticate(t.Context(), basic("AWS", password), client)
			if !errors.Is(err, iam.ErrTokenExpired) || err.Error() != "Your authorization token has expired. Reauthenticate and try again." {
				t.Errorf("at %v: %v", expires, err)
			}
		}
	}
}

func TestTokenNeedsAKey(t *testing.T) {
	s, _ := bootstrapped(t, metatest.Open(t, metatest.SQLite(t)), newClock())
	for _, c := range []*iam.Caller{nil, {}, iam.SystemCaller(account, "test")} {
		if password, _, err := s.IssueToken(t.Context(), c); password != "" || !errors.Is(err, iam.ErrInvalidCredentials) {
			t.Errorf("issued %q to %+v: %v", password, c, err)
		}
	}
}

// TestRevocation checks that credentials end with their key, at once, on every node.
func TestRevocation(t *testing.T) {
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) {
		ctx := t.Context()
		clk := newClock()
		s, key := bootstrapped(t, db, clk)
		nodes := []*iam.Service{s}
		if db.Dialect() == meta.PostgreSQL {
			nodes = append(nodes, newService(t, db, clk))
		}
		password, _ := issue(t, s, key)
		expect := func(when string, want error) {
			t.Helper()
			for i, node := range nodes {
				for _, header := range []string{basic("AWS", password), basic(key.ID, key.Secret.Reveal())} {
					if _, err := node.Authenticate(ctx, header, client); !errors.Is(err, want) {
						t.Errorf("%s, node %d: %v, want %v", when, i, err, want)
					}
				}
				if _, _, err := node.Secret(ctx, key.ID, client); (err == nil) != (want == nil) {
					t.Errorf("%s, node %d: secret: %v", when, i, err)
				}
			}
		}
		expect("at first", nil)
		if err := s.SetKeyStatus(ctx, account, key.ID, iam.KeyInactive); err != nil {
			t.Fatal(err)
		}
		expect("inactive", iam.ErrInvalidCredentials)
		if err := s.SetKeyStatus(ctx, account, key.ID, iam.KeyActive); err != nil {
			t.Fatal(err)
		}
		expect("active again", nil)
		if err := s.DeleteKey(ctx, account, key.ID); err != nil {
			t.Fatal(err)
		}
		expect("deleted", iam.ErrInvalidCredentials)
	})
}

// TestRevocationRace authenticates all the time while a key goes on and off. A
// request that begins after the key was deactivated is refused, one that begins
// after it was activated is not.
func TestRevocationRace(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	clk := newClock()
	s, key := bootstrapped(t, metatest.Open(t, metatest.SQLite(t)), clk)
	header := basic(key.ID, key.Secret.Reveal())
	var state atomic.Int64 // odd while it changes; 0, 4, 8 active, 2, 6, 10 inactive
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				before := state.Load()
				_, err := s.Authenticate(context.Background(), header, netip.Addr{})
				if before%2 != 0 || state.Load() != before {
					continue
				}
				if want := before%4 == 0; (err == nil) != want {
					t.Errorf("state %d: %v", before, err)
					return
				}
			}
		})
	}
	for range 15 {
		for _, status := range []iam.KeyStatus{iam.KeyInactive, iam.KeyActive} {
			state.Add(1)
			if err := s.SetKeyStatus(context.Background(), account, key.ID, status); err != nil {
				t.Error(err)
			}
			state.Add(1)
			for range 20 {
				_, err := s.Authenticate(context.Background(), header, netip.Addr{})
				if (err == nil) != (status == iam.KeyActive) {
					t.Errorf("%s: %v", status, err)
				}
			}
		}
	}
	cancel()
	wg.Wait()
}

func TestThrottle(t *testing.T) { metatest.EachDB(t, testThrottle) }

func testThrottle(t *testing.T, db *meta.DB) {
	clk := newClock()
	s, key := bootstrapped(t, db, clk)
	good := basic(key.ID, key.Secret.Reveal())
	if _, err := s.Authenticate(t.Context(), good, client); err != nil {
		t.Fatal(err)
	}
	var n int
	guess := func(from netip.Addr) error {
		n++
		_, err := s.Authenticate(t.Context(), basic(fmt.Sprintf("AKIA%016d", n), "x"), from)
		return err
	}
	exhaust := func(atLeast int) {
		t.Helper()
		for i := range 1000 {
			if err := guess(client); errors.Is(err, iam.ErrThrottled) {
				if i < atLeast {
					t.Fatalf("throttled after %d", i)
				}
				return
			}
		}
		t.Fatal("not throttled after 1000 guesses")
	}
	exhaust(100)
	if _, err := s.Authenticate(t.Context(), good, client); err != nil {
		t.Errorf("a credential in use is refused: %v", err)
	}
	if err := guess(netip.MustParseAddr("192.0.2.2")); !errors.Is(err, iam.ErrInvalidCredentials) {
		t.Errorf("another address: %v", err)
	}
	if err := guess(netip.Addr{}); !errors.Is(err, iam.ErrInvalidCredentials) {
		t.Errorf("no address: %v", err)
	}
	clk.advance(time.Second)
	if err := guess(client); !errors.Is(err, iam.ErrInvalidCredentials) {
		t.Errorf("a second later: %v", err)
	}
	exhaust(9)
	clk.advance(3 * time.Second)
	exhaust(29)
	if _, err := s.CreateRootKey(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Authenticate(t.Context(), good, client); err != nil {
		t.Errorf("a credential in use is refused when it is to be checked again: %v", err)
	}
	// The same wrong credential again and again is refused from memory and costs nothing.
	clk.advance(time.Minute)
	for range 1000 {
		if _, err := s.Authenticate(t.Context(), basic("AKIAWRONGWRONGWRONGA", "x"), client); !errors.Is(err, iam.ErrInvalidCredentials) {
			t.Fatal(err)
		}
	}
}

func TestAuthenticateDoesNotAllocate(t *testing.T) {
	s, key := bootstrapped(t, metatest.Open(t, metatest.SQLite(t)), newClock())
	password, _ := issue(t, s, key)
	for name, header := range map[string]string{
		"token": basic("AWS", password), "key": basic(key.ID, key.Secret.Reveal()),
	} {
		if n := testing.AllocsPerRun(100, func() {
			if _, err := s.Authenticate(t.Context(), header, client); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkAuthenticate(b *testing.B) {
	s, key := bootstrapped(b, metatest.Open(b, metatest.SQLite(b)), newClock())
	password, _ := issue(b, s, key)
	header := basic("AWS", password)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := s.Authenticate(b.Context(), header, client); err != nil {
				b.Error(err)
			}
		}
	})
}
