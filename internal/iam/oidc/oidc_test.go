package oidc_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"maps"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/iam/oidc"
	"github.com/sekisho/sekisho/internal/iam/oidc/oidctest"
)

const audience = "sts.amazonaws.com"

type clock struct{ at atomic.Int64 }

func newClock() *clock {
	c := new(clock)
	c.at.Store(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixNano())
	return c
}

func (c *clock) now() time.Time          { return time.Unix(0, c.at.Load()).UTC() }
func (c *clock) advance(d time.Duration) { c.at.Add(int64(d)) }

// world is an issuer, a provider that trusts it and a verifier that can reach it.
type world struct {
	*clock
	issuer   *oidctest.Issuer
	provider *oidc.Provider
	verifier *oidc.Verifier
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{clock: newClock(), issuer: oidctest.New(t)}
	w.provider = &oidc.Provider{URL: w.issuer.URL, ClientIDs: []string{"other", audience}}
	w.verifier = newVerifier(t, oidc.Options{Now: w.now, Roots: w.issuer.Roots(), Loopback: true})
	return w
}

func newVerifier(t testing.TB, o oidc.Options) *oidc.Verifier {
	t.Helper()
	v, err := oidc.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// claims are good ones, with changes; a nil removes a claim.
func (w *world) claims(changes map[string]any) map[string]any {
	c := map[string]any{
		"iss": w.issuer.URL, "sub": "repo:a/b:ref:refs/heads/main", "aud": audience,
		"iat": w.now().Unix(), "nbf": w.now().Unix(), "exp": w.now().Add(10 * time.Minute).Unix(),
	}
	for name, v := range changes {
		if v == nil {
			delete(c, name)
		} else {
			c[name] = v
		}
	}
	return c
}

func (w *world) token(t testing.TB, changes map[string]any) string {
	t.Helper()
	return w.issuer.Sign(t, "1", jose.ES256, w.claims(changes))
}

func refused(t *testing.T, err error, kind oidc.ErrorKind, message string) {
	t.Helper()
	e, ok := errors.AsType[*oidc.Error](err)
	if !ok || e.Kind != kind || !strings.Contains(e.Message, message) {
		t.Errorf("got %v, want %s: …%s…", err, kind, message)
	}
}

func TestClaims(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		name    string
		change  map[string]any
		kind    oidc.ErrorKind // empty: accepted
		message string
	}{
		{"good", nil, "", ""},
		{"audience of a list", map[string]any{"aud": []string{"x", "other"}}, "", ""},
		{"no nbf and iat", map[string]any{"nbf": nil, "iat": nil}, "", ""},
		{"late by less than the skew", map[string]any{"exp": w.now().Add(-59 * time.Second).Unix()}, "", ""},
		{"early by the skew", map[string]any{"nbf": w.now().Add(time.Minute).Unix(), "iat": w.now().Add(time.Minute).Unix()}, "", ""},
		{"fractions of a second", map[string]any{"exp": float64(w.now().Unix()) + 600.25}, "", ""},
		{"issued to a client", map[string]any{"aud": []string{"x", audience}, "azp": "other"}, "", ""},
		{"slash after the issuer", map[string]any{"iss": w.issuer.URL + "/"}, "", ""},

		{"expired", map[string]any{"exp": w.now().Add(-time.Minute).Unix()}, oidc.Expired, "Token expired: current date/time 2026-01-02T03:04:05Z must be before"},
		{"no exp", map[string]any{"exp": nil}, oidc.Invalid, `"exp"`},
		{"exp of another type", map[string]any{"exp": "2030-01-01"}, oidc.Invalid, `"exp"`},
		{"exp beyond time", map[string]any{"exp": 1e300}, oidc.Invalid, `"exp"`},
		{"not yet", map[string]any{"nbf": w.now().Add(61 * time.Second).Unix()}, oidc.Invalid, `"nbf"`},
		{"nbf of another type", map[string]any{"nbf": true}, oidc.Invalid, `"nbf"`},
		{"issued in the future", map[string]any{"iat": w.now().Add(time.Hour).Unix()}, oidc.Invalid, `"iat"`},
		{"other audience", map[string]any{"aud": "x"}, oidc.Invalid, "Incorrect token audience"},
		{"audience in other letters", map[string]any{"aud": strings.ToUpper(audience)}, oidc.Invalid, "Incorrect token audience"},
		{"no audience", map[string]any{"aud": nil}, oidc.Invalid, "Incorrect token audience"},
		{"empty audience", map[string]any{"aud": []string{}}, oidc.Invalid, "Incorrect token audience"},
		{"audience of another type", map[string]any{"aud": 1}, oidc.Invalid, `"aud"`},
		{"audience of mixed types", map[string]any{"aud": []any{audience, 1}}, oidc.Invalid, `"aud"`},
		{"issued to another client", map[string]any{"azp": "x"}, oidc.Invalid, `"azp"`},
		{"issued to a client of ours for others", map[string]any{"aud": "x", "azp": audience}, oidc.Invalid, "Incorrect token audience"},
		{"azp of another type", map[string]any{"azp": []string{audience}}, oidc.Invalid, `"azp"`},
		{"other issuer", map[string]any{"iss": "https://other.example"}, oidc.Invalid, "is not the provider's"},
		{"issuer in another case", map[string]any{"iss": strings.ToUpper(w.issuer.URL)}, oidc.Invalid, "is not the provider's"},
		{"no issuer", map[string]any{"iss": nil}, oidc.Invalid, `"iss"`},
		{"no subject", map[string]any{"sub": nil}, oidc.Invalid, `"sub"`},
		{"empty subject", map[string]any{"sub": ""}, oidc.Invalid, `"sub"`},
		{"subject of another type", map[string]any{"sub": 1}, oidc.Invalid, `"sub"`},
		{"names in capitals", map[string]any{"exp": nil, "EXP": w.now().Add(time.Hour).Unix()}, oidc.Invalid, `"exp"`},
		{"nested too deep", map[string]any{"a": nested(8)}, oidc.Invalid, "nested"},
		{"too many values", map[string]any{"a": make([]int, 600)}, oidc.Invalid, "512 values"},
		{"tag with two values", map[string]any{"https://aws.amazon.com/tags": map[string]any{"principal_tags": map[string]any{"a": []string{"b", "c"}}}}, oidc.Invalid, "session tag"},
		{"two source identities", map[string]any{"https://aws.amazon.com/source_identity": []string{"b", "c"}}, oidc.Invalid, "source identity"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id, err := w.verifier.Verify(t.Context(), w.provider, w.token(t, tt.change))
			if tt.kind == "" {
				if err != nil || id.Subject != "repo:a/b:ref:refs/heads/main" {
					t.Errorf("%+v, %v", id, err)
				}
				return
			}
			if id != nil {
				t.Errorf("let in as %+v", id)
			}
			refused(t, err, tt.kind, tt.message)
		})
	}
}

func nested(depth int) any {
	if depth == 0 {
		return "x"
	}
	return map[string]any{"a": nested(depth - 1)}
}

func TestKeys(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		name   string
		url    string // as the provider has it, after the host
		claims map[string]any
		want   map[string][]string
	}{
		{"GitHub", "", map[string]any{
			"repository": "a/b", "repository_id": "1296269", "ref": "refs/heads/main", "environment": "Production", "run_attempt": 1, "check_run": true,
			"job_workflow_ref": "a/b/.github/workflows/x.yml@refs/heads/main",
		}, map[string][]string{
			"sub": {"repo:a/b:ref:refs/heads/main"}, "aud": {audience}, "repository": {"a/b"}, "repository_id": {"1296269"}, "ref": {"refs/heads/main"},
			"environment": {"Production"}, "run_attempt": {"1"}, "check_run": {"true"}, "job_workflow_ref": {"a/b/.github/workflows/x.yml@refs/heads/main"},
		}},
		{"Kubernetes", "", map[string]any{
			"aud": []string{audience}, "sub": "system:serviceaccount:build:agent",
			"kubernetes.io": map[string]any{"namespace": "build", "serviceaccount": map[string]any{"name": "agent", "uid": "u"}, "warnafter": 1767323045},
		}, map[string][]string{
			"sub": {"system:serviceaccount:build:agent"}, "aud": {audience}, "kubernetes.io/namespace": {"build"},
			"kubernetes.io/serviceaccount/name": {"agent"}, "kubernetes.io/serviceaccount/uid": {"u"}, "kubernetes.io/warnafter": {"1767323045"},
		}},
		{"lists and other letters", "", map[string]any{
			"amr": []string{"mfa", "pwd"}, "Groups": []any{"A", 2, false, nil}, "SUB": "repo:evil/x", "Aud": "evil", "gone": nil, "none": []string{},
		}, map[string][]string{
			"sub": {"repo:a/b:ref:refs/heads/main"}, "aud": {audience}, "amr": {"mfa", "pwd"}, "groups": {"A", "2", "false"},
		}},
		{"issued to a client", "", map[string]any{"aud": []string{audience, "x"}, "azp": "other"}, map[string][]string{
			"sub": {"repo:a/b:ref:refs/heads/main"}, "aud": {"other"}, "oaud": {audience, "x"}, "azp": {"other"},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id, err := w.verifier.Verify(t.Context(), w.provider, w.token(t, tt.claims))
			if err != nil {
				t.Fatal(err)
			}
			prefix := strings.TrimPrefix(w.issuer.URL, "https://") + ":"
			want := map[string][]string{}
			for name, values := range tt.want {
				want[prefix+name] = values
			}
			maps.DeleteFunc(id.Keys, func(key string, _ []string) bool {
				for _, name := range []string{"iss", "exp", "nbf", "iat"} {
					if key == prefix+name {
						return true
					}
				}
				return false
			})
			if diff := cmp.Diff(want, id.Keys); diff != "" {
				t.Errorf("keys (-want +got):\n%s", diff)
			}
			if id.Audience != tt.want["aud"][0] {
				t.Errorf("audience %q", id.Audience)
			}
		})
	}
}

func TestSessionClaims(t *testing.T) {
	w := newWorld(t)
	for name, claims := range map[string]map[string]any{
		"nested": {"https://aws.amazon.com/tags": map[string]any{
			"principal_tags": map[string]any{"Team": []string{"Blue"}, "Cost": "42"}, "transitive_tag_keys": []string{"Team"}}},
		"flat": {"https://aws.amazon.com/tags/principal_tags/Team": []string{"Blue"}, "https://aws.amazon.com/tags/principal_tags/Cost": "42",
			"https://aws.amazon.com/tags/transitive_tag_keys": []string{"Team"}},
	} {
		claims["https://aws.amazon.com/source_identity"] = "alice"
		id, err := w.verifier.Verify(t.Context(), w.provider, w.token(t, claims))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(map[string]string{"Team": "Blue", "Cost": "42"}, id.Tags); diff != "" || id.SourceIdentity != "alice" || !cmp.Equal(id.Transitive, []string{"Team"}) {
			t.Errorf("%s: %+v", name, id)
		}
	}
}

func TestAlgorithms(t *testing.T) {
	w := newWorld(t)
	for _, alg := range []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA} {
		w.issuer.AddKey(t, string(alg), alg)
	}
	for _, alg := range []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA} {
		if _, err := w.verifier.Verify(t.Context(), w.provider, w.issuer.Sign(t, string(alg), alg, w.claims(nil))); err != nil {
			t.Errorf("%s: %v", alg, err)
		}
	}
}

// TestForgeries signs in every wrong way.
func TestForgeries(t *testing.T) {
	w := newWorld(t)
	w.issuer.AddKey(t, "rsa", jose.RS256)
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	w.issuer.Publish(jose.JSONWebKey{Key: &small.PublicKey, KeyID: "small", Use: "sig"})
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	w.issuer.Publish(jose.JSONWebKey{Key: &stranger.PublicKey, KeyID: "enc", Use: "enc"})
	w.issuer.Publish(jose.JSONWebKey{Key: []byte("0123456789abcdef0123456789abcdef"), KeyID: "oct"})
	good := w.token(t, nil)
	parts := strings.Split(good, ".")
	b64 := base64.RawURLEncoding
	with := func(header string) string {
		return b64.EncodeToString([]byte(header)) + "." + parts[1] + "." + parts[2]
	}
	sign := func(alg jose.SignatureAlgorithm, key any, id string) string {
		return oidctest.Sign(t, jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: key, KeyID: id}}, w.claims(nil))
	}
	embedded, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: stranger}, &jose.SignerOptions{EmbedJWK: true})
	if err != nil {
		t.Fatal(err)
	}
	jws, err := embedded.Sign([]byte(`{"iss":"` + w.issuer.URL + `"}`))
	if err != nil {
		t.Fatal(err)
	}
	own, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, token, message string }{
		{"nothing", "", "not a signed"},
		{"no token", "x", "not a signed"},
		{"dots", "..", "not a signed"},
		{"two parts", parts[0] + "." + parts[1], "not a signed"},
		{"four parts", good + ".x", "not a signed"},
		{"encrypted", "a.b.c.d.e", "not a signed"},
		{"huge", strings.Repeat("a", oidc.MaxToken+1), "longer than"},
		{"JSON serialisation", jws.FullSerialize(), "not a signed"},
		{"none", b64.EncodeToString([]byte(`{"alg":"none"}`)) + "." + parts[1] + ".", `"none"`},
		{"None", with(`{"alg":"None","kid":"1"}`), `"None"`},
		{"no algorithm", with(`{"kid":"1"}`), "not a signed"},
		{"HS256 with what is public", sign(jose.HS256, w.issuer.Keys(t), "1"), `"HS256"`},
		{"HS256 with a published secret", sign(jose.HS256, []byte("0123456789abcdef0123456789abcdef"), "oct"), `"HS256"`},
		{"another algorithm of the key", with(`{"alg":"ES384","kid":"1"}`), "no ES384 key"},
		{"RSA for an elliptic key", with(`{"alg":"RS256","kid":"1"}`), "no RS256 key"},
		{"another algorithm than the key is for", w.issuer.Sign(t, "rsa", jose.PS256, w.claims(nil)), "no PS256 key"},
		{"key of another", sign(jose.ES256, stranger, "1"), "not of the issuer's key"},
		{"key of another, unnamed", sign(jose.ES256, stranger, ""), "not of the issuer's key"},
		{"unknown key", sign(jose.ES256, stranger, "2"), `no ES256 key with the id "2"`},
		{"key for encryption", sign(jose.ES256, stranger, "enc"), "no ES256 key"},
		{"short key", sign(jose.RS256, small, "small"), "no RS256 key"},
		{"key in the token", own, "not of the issuer's key"},
		{"critical header", with(`{"alg":"ES256","kid":"1","crit":["x"],"x":1}`), "not"},
		{"other claims", parts[0] + "." + b64.EncodeToString([]byte(`{"iss":"`+w.issuer.URL+`"}`)) + "." + parts[2], "not of the issuer's key"},
		{"cut signature", good[:len(good)-4], "not of the issuer's key"},
		{"no signature", parts[0] + "." + parts[1] + ".", "not"},
		{"claims that are no object", w.issuer.Sign(t, "1", jose.ES256, []byte(`[1]`)), "not a JSON object"},
		{"claims that are null", w.issuer.Sign(t, "1", jose.ES256, []byte(`null`)), "not a JSON object"},
		{"claims twice", w.issuer.Sign(t, "1", jose.ES256, []byte(`{"iss":"x"}{"iss":"y"}`)), "not a JSON object"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id, err := w.verifier.Verify(t.Context(), w.provider, tt.token)
			if id != nil {
				t.Errorf("let in as %+v", id)
			}
			refused(t, err, oidc.Invalid, tt.message)
		})
	}
	if issuer, err := oidc.Issuer(good); err != nil || issuer != w.issuer.URL {
		t.Errorf("issuer %q, %v", issuer, err)
	}
	if _, err := oidc.Issuer("x"); err == nil {
		t.Error("issuer of nothing")
	}
}

// TestRotation follows an issuer that changes its keys.
func TestRotation(t *testing.T) {
	w := newWorld(t)
	verify := func(key string) error {
		_, err := w.verifier.Verify(t.Context(), w.provider, w.issuer.Sign(t, key, jose.ES256, w.claims(nil)))
		return err
	}
	asked := func(when string, want int64) {
		t.Helper()
		if n := w.issuer.KeyReads.Load(); n != want {
			t.Errorf("%s: keys read %d times, want %d", when, n, want)
		}
	}
	for range 3 {
		if err := verify("1"); err != nil {
			t.Fatal(err)
		}
	}
	asked("at first", 1)
	w.issuer.AddKey(t, "2", jose.ES256)
	for range 3 {
		refused(t, verify("2"), oidc.Invalid, "Couldn't retrieve verification key")
	}
	asked("too soon", 1)
	w.advance(10 * time.Second)
	for range 3 {
		if err := verify("2"); err != nil {
			t.Error(err)
		}
	}
	asked("a new key", 2)
	w.issuer.RemoveKey("1")
	if err := verify("1"); err != nil {
		t.Errorf("a key that was there a moment ago: %v", err)
	}
	w.advance(time.Hour)
	refused(t, verify("1"), oidc.Invalid, "Couldn't retrieve verification key")
	asked("an hour later", 3)

	w.issuer.Break(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "away", http.StatusBadGateway) })
	w.advance(6 * time.Hour)
	if err := verify("2"); err != nil {
		t.Errorf("while the issuer is away: %v", err)
	}
	w.advance(time.Hour)
	refused(t, verify("2"), oidc.Communication, "could not be asked")
	w.issuer.Break(nil)
	refused(t, verify("2"), oidc.Communication, "could not be asked")
	w.advance(10 * time.Second)
	if err := verify("2"); err != nil {
		t.Errorf("when the issuer is back: %v", err)
	}
}

// TestOneReading has many verify at once what nobody knows the keys of.
func TestOneReading(t *testing.T) {
	w := newWorld(t)
	token := w.token(t, nil)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if _, err := w.verifier.Verify(t.Context(), w.provider, token); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if d, k := w.issuer.Discoveries.Load(), w.issuer.KeyReads.Load(); d != 1 || k != 1 {
		t.Errorf("asked %d and %d times", d, k)
	}
}

// TestIssuerMisbehaves checks that whatever an issuer answers, it is not believed and not shown.
func TestIssuerMisbehaves(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(map[string]any)
		answer http.HandlerFunc
	}{
		"status":                 {answer: func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "hush", 500) }},
		"redirect":               {answer: func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/keys", http.StatusFound) }},
		"no JSON":                {answer: func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hush")) }},
		"endless":                {answer: func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(strings.Repeat(" ", 1<<20))) }},
		"other issuer":           {change: func(d map[string]any) { d["issuer"] = "https://hush.example" }},
		"no issuer":              {change: func(d map[string]any) { delete(d, "issuer") }},
		"no keys":                {change: func(d map[string]any) { delete(d, "jwks_uri") }},
		"keys over http":         {change: func(d map[string]any) { d["jwks_uri"] = "http://127.0.0.1:1/hush" }},
		"keys in a file":         {change: func(d map[string]any) { d["jwks_uri"] = "file:///etc/hush" }},
		"keys with a user":       {change: func(d map[string]any) { d["jwks_uri"] = "https://hush@127.0.0.1:1/" }},
		"keys at metadata":       {change: func(d map[string]any) { d["jwks_uri"] = "https://169.254.169.254/latest/hush" }},
		"keys at metadata in v6": {change: func(d map[string]any) { d["jwks_uri"] = "https://[::ffff:169.254.169.254]/hush" }},
		"keys at nowhere":        {change: func(d map[string]any) { d["jwks_uri"] = "https://0.0.0.0/hush" }},
		"keys at all":            {change: func(d map[string]any) { d["jwks_uri"] = "https://224.0.0.1/hush" }},
		"keys elsewhere":         {change: func(d map[string]any) { d["jwks_uri"] = d["issuer"].(string) + "/hush" }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.issuer.Change(tt.change)
			w.issuer.Break(tt.answer)
			_, err := w.verifier.Verify(t.Context(), w.provider, w.token(t, nil))
			refused(t, err, oidc.Communication, "could not be asked")
			if e, ok := errors.AsType[*oidc.Error](err); !ok || strings.Contains(e.Message, "hush") || e.Err == nil {
				t.Errorf("message %v", err)
			}
		})
	}
}

func TestTrust(t *testing.T) {
	w := newWorld(t)
	sum := sha1.Sum(w.issuer.Cert.Raw)
	print := strings.ToUpper(hex.EncodeToString(sum[:]))
	for name, tt := range map[string]struct {
		o      oidc.Options
		prints []string
		cause  string // empty: accepted
	}{
		"authority":                    {oidc.Options{Roots: w.issuer.Roots(), Loopback: true}, nil, ""},
		"authority, other thumbprint":  {oidc.Options{Roots: w.issuer.Roots(), Loopback: true}, []string{strings.Repeat("0", 40)}, ""},
		"thumbprint":                   {oidc.Options{Loopback: true}, []string{strings.Repeat("0", 40), print}, ""},
		"nobody vouches":               {oidc.Options{Loopback: true}, nil, "certificate"},
		"other thumbprint":             {oidc.Options{Loopback: true}, []string{strings.Repeat("0", 40)}, "doesn't match configured thumbprint"},
		"on this machine, not allowed": {oidc.Options{Roots: w.issuer.Roots()}, nil, "oidc.loopback"},
	} {
		t.Run(name, func(t *testing.T) {
			tt.o.Now = w.now
			p := *w.provider
			p.Thumbprints = tt.prints
			_, err := newVerifier(t, tt.o).Verify(t.Context(), &p, w.token(t, nil))
			if tt.cause == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			refused(t, err, oidc.Communication, "could not be asked")
			if err == nil || !strings.Contains(err.Error(), tt.cause) {
				t.Errorf("cause: %v", err)
			}
		})
	}
}

// TestLocalKeys verifies with keys that the operator gave, without asking anybody.
func TestLocalKeys(t *testing.T) {
	w := newWorld(t)
	v := newVerifier(t, oidc.Options{Now: w.now, Keys: map[string][]byte{w.issuer.URL + "/": w.issuer.Keys(t)}})
	if _, err := v.Verify(t.Context(), w.provider, w.token(t, nil)); err != nil {
		t.Error(err)
	}
	w.issuer.AddKey(t, "2", jose.ES256)
	_, err := v.Verify(t.Context(), w.provider, w.issuer.Sign(t, "2", jose.ES256, w.claims(nil)))
	refused(t, err, oidc.Invalid, "Couldn't retrieve verification key")
	w.advance(24 * time.Hour)
	if _, err := v.Verify(t.Context(), w.provider, w.token(t, nil)); err != nil {
		t.Errorf("a day later: %v", err)
	}
	if n := w.issuer.Discoveries.Load(); n != 0 {
		t.Errorf("asked %d times", n)
	}
	for _, text := range []string{"", "x", `{}`, `{"keys":[]}`, `{"keys":[{"kty":"oct","k":"AAAA"}]}`} {
		if _, err := oidc.New(oidc.Options{Keys: map[string][]byte{w.issuer.URL: []byte(text)}}); err == nil {
			t.Errorf("took %q", text)
		}
	}
}

func TestCancelled(t *testing.T) {
	w := newWorld(t)
	token := w.token(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	held := make(chan struct{})
	w.issuer.Break(func(http.ResponseWriter, *http.Request) { cancel(); <-held })
	_, err := w.verifier.Verify(ctx, w.provider, token)
	close(held)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func FuzzVerify(f *testing.F) {
	w := newWorld(f)
	v := newVerifier(f, oidc.Options{Now: w.now, Keys: map[string][]byte{w.issuer.URL: w.issuer.Keys(f)}})
	good := w.token(f, map[string]any{"a": nested(3)})
	f.Add(good)
	f.Add("..")
	f.Add(w.token(f, map[string]any{"exp": 1}))
	f.Add(oidctest.Sign(f, jose.SigningKey{Algorithm: jose.HS256, Key: []byte("0123456789abcdef0123456789abcdef")}, w.claims(nil)))
	f.Fuzz(func(t *testing.T, token string) {
		id, err := v.Verify(t.Context(), w.provider, token)
		if (id == nil) == (err == nil) {
			t.Fatalf("%+v, %v", id, err)
		}
		if _, ok := errors.AsType[*oidc.Error](err); err != nil && !ok {
			t.Fatal(err)
		}
		if id != nil && token[:strings.LastIndexByte(token, '.')] != good[:strings.LastIndexByte(good, '.')] {
			t.Fatalf("let in with %s", token)
		}
	})
}

func FuzzKeys(f *testing.F) {
	w := newWorld(f)
	f.Add(w.issuer.Keys(f))
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"},{"kty":"EC","crv":"P-256","x":"","y":""},{"kty":"OKP","crv":"Ed25519","x":"AA"}]}`))
	token := w.token(f, nil)
	f.Fuzz(func(t *testing.T, text []byte) {
		v, err := oidc.New(oidc.Options{Now: w.now, Keys: map[string][]byte{w.issuer.URL: text}})
		if err == nil {
			_, _ = v.Verify(t.Context(), w.provider, token)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	w := newWorld(b)
	token := w.token(b, nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.verifier.Verify(b.Context(), w.provider, token); err != nil {
			b.Fatal(err)
		}
	}
}
