package issuer_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sekisho/sekisho/internal/httpx"
	"github.com/sekisho/sekisho/internal/iam/issuer"
	"github.com/sekisho/sekisho/internal/iam/oidc"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
	"github.com/sekisho/sekisho/internal/seal"
)

const public = "https://sekisho.example"

type clock struct{ at atomic.Int64 }

func (c *clock) now() time.Time          { return time.Unix(0, c.at.Load()).UTC() }
func (c *clock) advance(d time.Duration) { c.at.Add(int64(d)) }

func newClock() *clock {
	c := new(clock)
	c.at.Store(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixNano())
	return c
}

func open(t testing.TB, db *meta.DB, c *clock) *issuer.Issuer {
	t.Helper()
	ring, err := seal.New(bytes.Repeat([]byte{7}, seal.MasterKeySize))
	if err != nil {
		t.Fatal(err)
	}
	return issuer.New(db, ring, issuer.Options{Now: c.now, URL: func() (string, error) { return public, nil }})
}

// verify has the instance's own verifier take a token, which can ask nobody else.
func verify(t testing.TB, i *issuer.Issuer, c *clock, token string) (*oidc.Identity, error) {
	t.Helper()
	v, err := oidc.New(oidc.Options{Now: c.now, Own: i.Own})
	if err != nil {
		t.Fatal(err)
	}
	return v.Verify(t.Context(), &oidc.Provider{URL: public + "/oidc", ClientIDs: []string{"sts.amazonaws.com"}}, token)
}

func token(t testing.TB, i *issuer.Issuer) string {
	t.Helper()
	text, err := i.Token(t.Context(), issuer.Claims{Subject: "project:p", More: map[string]any{"pipeline": "build", "run_id": 12, "sub": "another", "aud": "another"}}, "sts.amazonaws.com", 0)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// kid returns the id of the key that signed a token.
func kid(t testing.TB, token string) string {
	t.Helper()
	head, _, _ := strings.Cut(token, ".")
	text, err := base64.RawURLEncoding.DecodeString(head)
	var h struct{ Kid, Alg, Typ string }
	if err == nil {
		err = json.Unmarshal(text, &h)
	}
	if err != nil || h.Alg != "ES256" || h.Typ != "JWT" || h.Kid == "" {
		t.Fatalf("header %s: %v", text, err)
	}
	return h.Kid
}

func published(t testing.TB, i *issuer.Issuer) []string {
	t.Helper()
	text, err := i.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var set struct{ Keys []map[string]any }
	if err := json.Unmarshal(text, &set); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, k := range set.Keys {
		if k["d"] != nil || k["kty"] != "EC" || k["use"] != "sig" || k["alg"] != "ES256" {
			t.Errorf("key %v", k)
		}
		ids = append(ids, k["kid"].(string))
	}
	return ids
}

func TestToken(t *testing.T) {
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) {
		clk := newClock()
		i, node := open(t, db, clk), open(t, db, clk)
		text := token(t, i)
		for _, at := range []*issuer.Issuer{i, node} {
			id, err := verify(t, at, clk, text)
			if err != nil {
				t.Fatal(err)
			}
			if id.Subject != "project:p" || id.Audience != "sts.amazonaws.com" || id.Keys["sekisho.example/oidc:pipeline"][0] != "build" || id.Keys["sekisho.example/oidc:run_id"][0] != "12" {
				t.Errorf("%+v", id)
			}
			if !id.Expires.Equal(clk.now().Add(10 * time.Minute)) {
				t.Errorf("until %s", id.Expires)
			}
		}
		for _, audience := range []string{"", "a\nb", strings.Repeat("x", 256), "\xff"} {
			_, err := i.Token(t.Context(), issuer.Claims{Subject: "s"}, audience, 0)
			if _, ok := errors.AsType[*issuer.AudienceError](err); !ok {
				t.Errorf("%q: %v", audience, err)
			}
		}
		long, err := i.Token(t.Context(), issuer.Claims{Subject: "s"}, "sts.amazonaws.com", 24*time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if id, err := verify(t, i, clk, long); err != nil || !id.Expires.Equal(clk.now().Add(issuer.MaxLife)) {
			t.Errorf("%+v, %v", id, err)
		}
		if _, err := verify(t, i, clk, text[:len(text)-6]+"AAAAAA"); err == nil {
			t.Error("another signature is accepted")
		}
	})
}

// TestRotation looks at three months, a quarter of a day at a time: whatever a node signs can be verified by whoever read the keys six hours
// before, for as long as it is good, and there are never more keys than needed.
func TestRotation(t *testing.T) {
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) {
		clk := newClock()
		a, b := open(t, db, clk), open(t, db, clk)
		if err := a.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
		kept := published(t, a)
		signers := map[string]bool{}
		for range 90 * 24 / 6 {
			clk.advance(6 * time.Hour)
			for _, i := range []*issuer.Issuer{a, b} {
				if err := i.Rotate(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			now := published(t, b)
			signer := kid(t, token(t, a))
			if other := kid(t, token(t, b)); other != signer {
				t.Fatalf("nodes sign with different keys at %s", clk.now())
			}
			signers[signer] = true
			if !strings.Contains(strings.Join(kept, " "), signer) {
				t.Fatalf("at %s a key signs that was not published before", clk.now())
			}
			if len(now) > 2 {
				t.Errorf("%d keys at %s", len(now), clk.now())
			}
			kept = now
		}
		if len(signers) != 3 {
			t.Errorf("%d keys signed in 90 days", len(signers))
		}
	})
}

func TestReplace(t *testing.T) {
	clk := newClock()
	i := open(t, metatest.Open(t, metatest.SQLite(t)), clk)
	before := token(t, i)
	if err := i.Replace(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := verify(t, i, clk, before); err == nil {
		t.Error("a token of before is accepted")
	}
	if _, err := verify(t, i, clk, token(t, i)); err != nil {
		t.Error(err)
	}
}

func TestFirstKeyAtOnce(t *testing.T) {
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) {
		clk := newClock()
		var wg sync.WaitGroup
		tokens := make([]string, 4)
		for n := range tokens {
			i := open(t, db, clk)
			wg.Go(func() { tokens[n] = token(t, i) })
		}
		wg.Wait()
		for _, text := range tokens {
			if _, err := verify(t, open(t, db, clk), clk, text); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestServe(t *testing.T) {
	clk := newClock()
	i := open(t, metatest.Open(t, metatest.SQLite(t)), clk)
	if err := i.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(httpx.New(i.Serve, httpx.Options{Logger: slog.New(slog.DiscardHandler)}))
	defer srv.Close()
	get := func(method, path string) (*http.Response, map[string]any) {
		t.Helper()
		r, err := http.NewRequestWithContext(context.Background(), method, srv.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var body map[string]any
		if method == http.MethodGet && resp.StatusCode == http.StatusOK {
			if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
				t.Fatal(err)
			}
		}
		return resp, body
	}
	resp, d := get("GET", "/oidc/.well-known/openid-configuration")
	if d["issuer"] != public+"/oidc" || d["jwks_uri"] != public+"/oidc/keys" || resp.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%v", d)
	}
	_, keys := get("GET", "/oidc/keys")
	if list, _ := keys["keys"].([]any); len(list) != 1 {
		t.Errorf("%v", keys)
	}
	for request, want := range map[string]int{"HEAD /oidc/keys": 200, "POST /oidc/keys": 405, "GET /oidc/": 404, "GET /oidc/keys/": 404} {
		method, path, _ := strings.Cut(request, " ")
		if resp, _ := get(method, path); resp.StatusCode != want {
			t.Errorf("%s: %d", request, resp.StatusCode)
		}
	}
}
