package oidc

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/sync/semaphore"
)

const (
	// MaxToken is the longest token, in bytes, as at AWS.
	MaxToken = 20_000

	// skew is how far the issuer's clock may be from ours, either way. AWS takes five minutes.
	skew = time.Minute

	maxIssuers = 256
	maxFetches = 8 // at the same time
)

// algorithms that tokens may be signed with. All of them take a public key to verify (RFC 8725 section 3.1).
var algorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

// Provider is an issuer as an account configured it.
type Provider struct {
	URL         string   // "https://…", compared with the tokens' iss
	ClientIDs   []string // the audiences that tokens may be for
	Thumbprints []string // SHA-1 of certificates, hexadecimal; for issuers whose certificate no known authority vouches for
}

// Identity is what a token proves.
type Identity struct {
	Subject  string
	Audience string // what the key …:aud is, the first if there are more
	// Keys are the claims as condition keys in lower case: the issuer's host and path, a colon and the claim's name, with a
	// slash before the name of a member of an object: "oidc.example/a:kubernetes.io/namespace".
	Keys map[string][]string
	// Tags, Transitive and SourceIdentity are what the issuer asks a session to have, in the claims below
	// https://aws.amazon.com/tags and in https://aws.amazon.com/source_identity.
	Tags           map[string]string
	Transitive     []string
	SourceIdentity string
	Expires        time.Time
}

// Options are the settings of a Verifier. The zero value is ready to use.
type Options struct {
	Now      func() time.Time                      // default time.Now
	Roots    *x509.CertPool                        // authorities of issuers; default: the system's
	Proxy    func(*http.Request) (*url.URL, error) // default: none
	Loopback bool                                  // issuers may be on this machine

	// Keys are JSON Web Key Sets by the URL of their issuer, which is then never asked: for networks without a way out.
	Keys map[string][]byte

	// Own returns what reads the JSON Web Key Set of an issuer that is this process's own, and nil for others. It is read for
	// every token, and there is no network in between.
	Own func(issuer string) func(context.Context) ([]byte, error)
}

// Verifier verifies tokens. It is safe for concurrent use.
type Verifier struct {
	o       Options
	local   map[string]*keySet // by issuer; never changes
	fetches *semaphore.Weighted
	proxies sync.Map // addresses of proxies, which are not checked as issuers are

	mu      sync.Mutex
	issuers map[string]*keySet // guarded by mu; at most maxIssuers
}

// New returns a Verifier. It fails if a key set of the options is none.
func New(o Options) (*Verifier, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	v := &Verifier{o: o, local: map[string]*keySet{}, fetches: semaphore.NewWeighted(maxFetches), issuers: map[string]*keySet{}}
	for issuer, text := range o.Keys {
		keys, err := parseKeys(text)
		if err != nil {
			return nil, &Error{Kind: Invalid, Message: "the local keys of " + issuer + " are not a JSON Web Key Set", Err: err}
		}
		v.local[issuerID(issuer)] = &keySet{fixed: true, keys: keys}
	}
	return v, nil
}

// issuerID is what issuers are compared by: with or without a slash at the end is the same.
func issuerID(issuer string) string { return strings.TrimSuffix(issuer, "/") }

// Issuer returns what a token says that its issuer is, without believing it. Errors: [*Error] of kind [Invalid].
func Issuer(token string) (string, error) {
	_, claims, err := parse(token)
	if err != nil {
		return "", err
	}
	return claims.text("iss")
}

// Verify returns what a token proves to an account that trusts a provider. Errors are of type [*Error], but for the end of
// ctx.
func (v *Verifier) Verify(ctx context.Context, p *Provider, token string) (*Identity, error) {
	jws, claims, err := parse(token)
	if err != nil {
		return nil, err
	}
	issuer, err := claims.text("iss")
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(p.URL, "https://") || issuerID(issuer) != issuerID(p.URL) {
		return nil, invalid("The token's issuer %s is not the provider's, %s.", clip(issuer), clip(p.URL))
	}
	payload, err := v.keysOf(p, issuer).verify(ctx, v.o.Now(), jws)
	if err != nil {
		return nil, err
	}
	if claims, err = parseClaims(payload); err != nil { // the same bytes: these are the ones to believe
		return nil, err
	}
	return v.identity(p, claims)
}

// parse takes a token apart without believing it.
func parse(token string) (*jose.JSONWebSignature, claims, error) {
	switch {
	case len(token) > MaxToken:
		return nil, nil, invalid("The web identity token is longer than %d characters.", MaxToken)
	case strings.Count(token, ".") != 2:
		return nil, nil, invalid("The web identity token is not a signed JSON Web Token.")
	}
	jws, err := jose.ParseSignedCompact(token, algorithms)
	if err != nil || len(jws.Signatures) != 1 {
		if alg, ok := algorithmOf(token); ok && !slices.Contains(algorithms, jose.SignatureAlgorithm(alg)) {
			return nil, nil, invalid("The web identity token is signed with %q. These are accepted: RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA.", clip(alg))
		}
		return nil, nil, &Error{Kind: Invalid, Message: "The web identity token is not a signed JSON Web Token.", Err: err}
	}
	c, err := parseClaims(jws.UnsafePayloadWithoutVerification())
	return jws, c, err
}

// algorithmOf returns what the header of a token says that it is signed with, for the message.
func algorithmOf(token string) (string, bool) {
	head, _, _ := strings.Cut(token, ".")
	text, err := base64.RawURLEncoding.DecodeString(head)
	var h struct {
		Alg *string `json:"alg"`
	}
	if err != nil || json.NewDecoder(bytes.NewReader(text)).Decode(&h) != nil || h.Alg == nil {
		return "", false
	}
	return *h.Alg, true
}

// keysOf returns the keys of an issuer as a provider trusts it.
func (v *Verifier) keysOf(p *Provider, issuer string) *keySet {
	if s := v.local[issuerID(issuer)]; s != nil {
		return s
	}
	if v.o.Own != nil {
		if read := v.o.Own(issuerID(issuer)); read != nil {
			return &keySet{fetch: func(ctx context.Context) ([]jose.JSONWebKey, error) {
				text, err := read(ctx)
				if err != nil {
					return nil, err
				}
				return parseKeys(text)
			}}
		}
	}
	prints := strings.Fields(strings.ToLower(strings.Join(p.Thumbprints, " ")))
	slices.Sort(prints)
	id := issuer + " " + strings.Join(prints, " ")
	v.mu.Lock()
	defer v.mu.Unlock()
	if s := v.issuers[id]; s != nil {
		return s
	}
	if len(v.issuers) >= maxIssuers {
		for other := range v.issuers { // any one: it is asked again when it is needed
			delete(v.issuers, other)
			break
		}
	}
	s := &keySet{fetch: func(ctx context.Context) ([]jose.JSONWebKey, error) { return v.fetch(ctx, issuer, prints) }}
	v.issuers[id] = s
	return s
}
