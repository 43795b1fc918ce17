// Package oidctest runs OpenID Connect issuers for tests.
package oidctest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// Issuer is an issuer over TLS on a loopback address.
type Issuer struct {
	URL  string
	Cert *x509.Certificate // its own authority

	Discoveries, KeyReads atomic.Int64 // how often it was asked

	mu      sync.Mutex
	keys    []jose.JSONWebKey
	private map[string]any
	broken  http.HandlerFunc
	change  func(document map[string]any)
}

// New starts an issuer with an ES256 key "1", to be stopped at the end of the test.
func New(t testing.TB) *Issuer {
	t.Helper()
	i := &Issuer{private: map[string]any{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{path...}", func(w http.ResponseWriter, r *http.Request) {
		i.mu.Lock()
		defer i.mu.Unlock()
		switch {
		case i.broken != nil:
			i.broken(w, r)
		case r.PathValue("path") == "keys":
			i.KeyReads.Add(1)
			_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: i.keys})
		case r.PathValue("path") == ".well-known/openid-configuration":
			i.Discoveries.Add(1)
			d := map[string]any{"issuer": i.URL, "jwks_uri": i.URL + "/keys"}
			if i.change != nil {
				i.change(d)
			}
			_ = json.NewEncoder(w).Encode(d)
		default:
			http.NotFound(w, r)
		}
	})
	srv := httptest.NewTLSServer(mux)
	t.Cleanup(srv.Close)
	i.URL, i.Cert = srv.URL, srv.Certificate()
	i.AddKey(t, "1", jose.ES256)
	return i
}

// Roots is a pool with the issuer's authority.
func (i *Issuer) Roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(i.Cert)
	return pool
}

// AddKey adds a key, or replaces the one with the id.
func (i *Issuer) AddKey(t testing.TB, id string, algorithm jose.SignatureAlgorithm) {
	t.Helper()
	private := newKey(t, algorithm)
	i.RemoveKey(id)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.private[id] = private
	i.keys = append(i.keys, jose.JSONWebKey{Key: private.Public(), KeyID: id, Algorithm: string(algorithm), Use: "sig"})
}

// RemoveKey has the issuer publish a key no longer. It can still sign.
func (i *Issuer) RemoveKey(id string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for n, k := range i.keys {
		if k.KeyID == id {
			i.keys = append(i.keys[:n:n], i.keys[n+1:]...)
			return
		}
	}
}

// Publish adds a key as it is.
func (i *Issuer) Publish(k jose.JSONWebKey) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = append(i.keys, k)
}

// Break has a function answer all requests; nil ends that.
func (i *Issuer) Break(answer http.HandlerFunc) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.broken = answer
}

// Change has a function change the discovery document.
func (i *Issuer) Change(f func(document map[string]any)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.change = f
}

// Keys returns the key set as it is published.
func (i *Issuer) Keys(t testing.TB) []byte {
	t.Helper()
	i.mu.Lock()
	defer i.mu.Unlock()
	text, err := json.Marshal(jose.JSONWebKeySet{Keys: i.keys})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// Sign returns a token with claims, signed with a key.
func (i *Issuer) Sign(t testing.TB, keyID string, algorithm jose.SignatureAlgorithm, claims any) string {
	t.Helper()
	i.mu.Lock()
	key := i.private[keyID]
	i.mu.Unlock()
	return Sign(t, jose.SigningKey{Algorithm: algorithm, Key: jose.JSONWebKey{Key: key, KeyID: keyID}}, claims)
}

// Sign returns a token with claims, which may be the text itself.
func Sign(t testing.TB, key jose.SigningKey, claims any) string {
	t.Helper()
	signer, err := jose.NewSigner(key, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		t.Fatal(err)
	}
	text, ok := claims.([]byte)
	if !ok {
		if text, err = json.Marshal(claims); err != nil {
			t.Fatal(err)
		}
	}
	jws, err := signer.Sign(text)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func newKey(t testing.TB, algorithm jose.SignatureAlgorithm) crypto.Signer {
	t.Helper()
	curves := map[jose.SignatureAlgorithm]elliptic.Curve{jose.ES256: elliptic.P256(), jose.ES384: elliptic.P384(), jose.ES512: elliptic.P521()}
	var key crypto.Signer
	var err error
	switch {
	case curves[algorithm] != nil:
		key, err = ecdsa.GenerateKey(curves[algorithm], rand.Reader)
	case algorithm == jose.EdDSA:
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		t.Fatal(err)
	}
	return key
}
