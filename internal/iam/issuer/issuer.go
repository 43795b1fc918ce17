// Package issuer is the instance's own issuer of OpenID Connect identity tokens: what a job shows to prove who it is, to
// this instance or to anybody who trusts it, with no secret stored anywhere.
//
// Invariants:
//   - A token is signed with a key that has been published for so long that whoever keeps the key set has it, see
//     [Options.Lead]; a key stays published for as long as a token can be good that it signed.
//   - Private keys are sealed in the database and are in no log, error or answer.
//   - Many nodes share the keys. Which one signs follows from their age alone.
//
// It does not know what a token is about: subjects and claims are the caller's. It verifies nothing either; that is what
// package oidc does, which gets the keys from [Issuer.Own] without a network.
package issuer

import (
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/uuid"

	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/seal"
)

const (
	// MaxLife is how long a token is good at most.
	MaxLife     = time.Hour
	defaultLife = 10 * time.Minute

	// Path is where the documents are served, below the public URL.
	Path = "/oidc"

	maxAudience = 255
	rereadAfter = 30 * time.Second // keys that are remembered
	margin      = time.Hour        // for clocks that are wrong, beyond what the rest takes
)

// Options are the settings of an Issuer.
type Options struct {
	// URL returns the public URL of the instance, without a slash at its end; required.
	URL func() (string, error)
	Now func() time.Time // default time.Now
	// Every is how old a key becomes before the next one is made; default 30 days.
	Every time.Duration
	// Lead is how long a key is published before it signs; default one day.
	Lead time.Duration
}

// Issuer signs tokens. It is safe for concurrent use.
type Issuer struct {
	db   *meta.DB
	ring *seal.Ring
	o    Options

	mu   sync.Mutex
	keys []key     // guarded by mu; the oldest first; the slice never changes
	read time.Time // guarded by mu
}

// key is a row of issuer_keys.
type key struct {
	id      string
	sealed  []byte
	public  json.RawMessage
	created time.Time
}

// New returns an Issuer that keeps its keys in db.
func New(db *meta.DB, ring *seal.Ring, o Options) *Issuer {
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Every = cmp.Or(o.Every, 30*24*time.Hour)
	o.Lead = cmp.Or(o.Lead, 24*time.Hour)
	return &Issuer{db: db, ring: ring, o: o}
}

// URL returns the issuer's URL, as it stands in tokens.
func (i *Issuer) URL() (string, error) {
	public, err := i.o.URL()
	if err != nil {
		return "", fmt.Errorf("URL of the issuer: %w", err)
	}
	return strings.TrimSuffix(public, "/") + Path, nil
}

// Claims are what a token says.
type Claims struct {
	Subject string
	// More is a struct or a map whose JSON members are claims too. Those that have a meaning in every token are not taken from it.
	More any
}

// reserved are the claims of RFC 7519 section 4.1, which are set here.
var reserved = []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "azp"}

// AudienceError means that a token can't be for an audience.
type AudienceError struct{ Audience string }

func (e *AudienceError) Error() string {
	return fmt.Sprintf("%.300q can't be the audience of an identity token: it has 1 to %d printable characters, such as sts.amazonaws.com", e.Audience, maxAudience)
}

// Token returns a signed token for one audience. A life of 0 is ten minutes; more than [MaxLife] is cut. Errors:
// [*AudienceError].
func (i *Issuer) Token(ctx context.Context, c Claims, audience string, life time.Duration) (string, error) {
	if audience == "" || len(audience) > maxAudience || !utf8.ValidString(audience) || strings.ContainsFunc(audience, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return "", &AudienceError{audience}
	}
	if c.Subject == "" {
		return "", errors.New("an identity token needs a subject")
	}
	url, err := i.URL()
	if err != nil {
		return "", err
	}
	now := i.o.Now().UTC().Truncate(time.Second)
	life = min(max(cmp.Or(life, defaultLife), time.Second), MaxLife)
	claims := map[string]any{}
	if c.More != nil {
		text, err := json.Marshal(c.More)
		if err != nil {
			return "", fmt.Errorf("claims of an identity token: %w", err)
		}
		if err := json.Unmarshal(text, &claims); err != nil {
			return "", fmt.Errorf("claims of an identity token: %w", err)
		}
		for _, name := range reserved {
			delete(claims, name)
		}
	}
	maps.Copy(claims, map[string]any{
		"iss": url, "sub": c.Subject, "aud": audience, "jti": uuid.NewString(),
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(life).Unix(),
	})
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	return i.sign(ctx, payload)
}

func (i *Issuer) sign(ctx context.Context, payload []byte) (string, error) {
	keys, err := i.current(ctx)
	if err == nil && len(keys) == 0 {
		if err = i.Rotate(ctx); err == nil {
			keys, err = i.current(ctx)
		}
	}
	if err != nil {
		return "", err
	}
	if len(keys) == 0 {
		return "", errors.New("the issuer has no key")
	}
	k := signing(keys, i.o.Now().Add(-i.o.Lead))
	der, err := i.ring.Open(ctx, i.db, seal.IssuerKeys(), k.sealed, k.id)
	if err != nil {
		return "", fmt.Errorf("issuer key %s: %w", k.id, err)
	}
	private, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return "", fmt.Errorf("issuer key %s: it is not a private key", k.id)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: private, KeyID: k.id}},
		(&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", fmt.Errorf("sign an identity token: %w", err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("sign an identity token: %w", err)
	}
	return jws.CompactSerialize()
}

// signing returns the key that signs: the newest that was made before a time, or else the oldest there is.
func signing(keys []key, before time.Time) *key {
	for n := len(keys) - 1; n > 0; n-- {
		if !keys[n].created.After(before) {
			return &keys[n]
		}
	}
	return &keys[0]
}

// current returns the keys, as they were a moment ago.
func (i *Issuer) current(ctx context.Context) ([]key, error) {
	now := i.o.Now()
	i.mu.Lock()
	keys, age := i.keys, now.Sub(i.read)
	i.mu.Unlock()
	if len(keys) > 0 && age >= 0 && age < rereadAfter {
		return keys, nil
	}
	return i.reread(ctx, now)
}

func (i *Issuer) reread(ctx context.Context, now time.Time) ([]key, error) {
	rows, err := i.db.Query(ctx, `SELECT id, value, public, created_at FROM issuer_keys ORDER BY created_at, id`)
	if err != nil {
		return nil, fmt.Errorf("read issuer keys: %w", err)
	}
	defer rows.Close()
	var keys []key
	for rows.Next() {
		var k key
		var public string
		var created int64
		if err := rows.Scan(&k.id, &k.sealed, &public, &created); err != nil {
			return nil, fmt.Errorf("read issuer keys: %w", err)
		}
		k.public, k.created = json.RawMessage(public), time.UnixMicro(created).UTC()
		keys = append(keys, k)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read issuer keys: %w", err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys, i.read = keys, now
	return keys, nil
}

// Keys returns the key set (RFC 7517 section 5), public parts alone.
func (i *Issuer) Keys(ctx context.Context) ([]byte, error) {
	keys, err := i.current(ctx)
	if err != nil {
		return nil, err
	}
	set := struct {
		Keys []json.RawMessage `json:"keys"`
	}{Keys: make([]json.RawMessage, len(keys))}
	for n := range keys {
		set.Keys[n] = keys[n].public
	}
	return json.Marshal(set)
}

// Own returns what reads the keys of an issuer, without a network, if that is this one, and else nil. It is for the
// verifier of identity tokens.
func (i *Issuer) Own(issuer string) func(context.Context) ([]byte, error) {
	url, err := i.URL()
	if err != nil || strings.TrimSuffix(issuer, "/") != url {
		return nil
	}
	return i.Keys
}

// Rotate makes the next key when it is time, and removes those that nothing good is signed with any more.
func (i *Issuer) Rotate(ctx context.Context) error {
	now := i.o.Now().UTC().Truncate(time.Microsecond)
	keys, err := i.reread(ctx, now)
	if err != nil {
		return err
	}
	due := len(keys) == 0 || now.Sub(keys[len(keys)-1].created) >= i.o.Every
	over := expired(keys, now.Add(-i.o.Lead-MaxLife-margin))
	if !due && len(over) == 0 {
		return nil
	}
	err = i.db.Update(ctx, func(tx *meta.Tx) error {
		for n := range over {
			if _, err := tx.Exec(ctx, `DELETE FROM issuer_keys WHERE id = $1`, over[n].id); err != nil {
				return err
			}
		}
		if !due {
			return nil
		}
		return i.insert(ctx, tx, now, now.Add(-i.o.Every))
	})
	if err != nil {
		return fmt.Errorf("rotate issuer keys: %w", err)
	}
	_, err = i.reread(ctx, now)
	return err
}

// expired returns the keys that have had a successor since before a time.
func expired(keys []key, before time.Time) []key {
	for n := len(keys) - 1; n > 0; n-- {
		if !keys[n].created.After(before) {
			return keys[:n]
		}
	}
	return nil
}

// insert makes a key, unless there is one that was made after a time: another node's.
func (i *Issuer) insert(ctx context.Context, tx *meta.Tx, now, after time.Time) error {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return err
	}
	public := jose.JSONWebKey{Key: private.Public(), Algorithm: string(jose.ES256), Use: "sig"}
	print, err := public.Thumbprint(crypto.SHA256)
	if err != nil {
		return err
	}
	public.KeyID = base64.RawURLEncoding.EncodeToString(print)
	text, err := public.MarshalJSON()
	if err != nil {
		return err
	}
	sealed, err := i.ring.Seal(ctx, tx, seal.IssuerKeys(), der, public.KeyID)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `INSERT INTO issuer_keys (id, value, public, created_at) SELECT $1, $2, $3, $4
		WHERE NOT EXISTS (SELECT 1 FROM issuer_keys WHERE created_at > $5)`, public.KeyID, sealed, string(text), now.UnixMicro(), after.UnixMicro())
	return err
}

// Replace throws all keys away and makes a new one: for keys that got into the wrong hands. No token that was made before is
// good any more, and verifiers that keep the key set refuse new ones until they ask for it again.
func (i *Issuer) Replace(ctx context.Context) error {
	now := i.o.Now().UTC().Truncate(time.Microsecond)
	err := i.db.Update(ctx, func(tx *meta.Tx) error {
		if _, err := tx.Exec(ctx, `DELETE FROM issuer_keys`); err != nil {
			return err
		}
		return i.insert(ctx, tx, now, now)
	})
	if err != nil {
		return fmt.Errorf("replace issuer keys: %w", err)
	}
	_, err = i.reread(ctx, now)
	return err
}

// Run rotates at once and every hour, until ctx ends. An error is for report to tell; the next time is another try.
func (i *Issuer) Run(ctx context.Context, report func(error)) {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		if err := i.Rotate(ctx); err != nil && ctx.Err() == nil {
			report(err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
