package oidc

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/sync/singleflight"
)

const (
	maxKeys    = 100              // of an issuer, as at AWS
	freshFor   = time.Hour        // keys are not asked for again
	staleFor   = 7 * time.Hour    // keys are good at most, when their issuer can't be asked
	askEvery   = 10 * time.Second // at most, whatever tokens come and whatever came of it
	minRSABits = 2048
	maxRSABits = 8192 // verification is not to take long
)

// keySet is the keys of an issuer.
type keySet struct {
	fixed bool // they are known, and fetch is nil
	fetch func(context.Context) ([]jose.JSONWebKey, error)

	flight singleflight.Group

	mu    sync.Mutex
	keys  []jose.JSONWebKey // guarded by mu; the slice never changes
	read  time.Time         // guarded by mu; when they were
	asked time.Time         // guarded by mu; when that was last tried
	err   error             // guarded by mu; what came of it
}

// verify returns the payload of a token if one of the keys signed it.
func (s *keySet) verify(ctx context.Context, now time.Time, jws *jose.JSONWebSignature) ([]byte, error) {
	keys, age := s.known(now)
	if age >= freshFor && !s.fixed {
		var err error
		if keys, err = s.ask(ctx, now); err != nil {
			return nil, err
		}
	}
	header := jws.Signatures[0].Header
	candidates := matching(keys, header)
	if len(candidates) == 0 && !s.fixed && age < freshFor {
		var err error
		if keys, err = s.ask(ctx, now); err != nil {
			return nil, err
		}
		candidates = matching(keys, header)
	}
	if len(candidates) == 0 {
		return nil, invalid("Couldn't retrieve verification key from your identity provider: it has no %s key with the id %q.", header.Algorithm, clip(header.KeyID))
	}
	for _, k := range candidates {
		if payload, err := jws.Verify(k.Key); err == nil {
			return payload, nil
		}
	}
	return nil, invalid("The signature of the web identity token is not of the issuer's key.")
}

// known returns the keys and how old they are.
func (s *keySet) known(now time.Time) (keys []jose.JSONWebKey, age time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys == nil {
		return nil, freshFor
	}
	return s.keys, max(now.Sub(s.read), 0)
}

// ask reads the keys, unless that was tried a moment ago, and returns the newest there are.
func (s *keySet) ask(ctx context.Context, now time.Time) ([]jose.JSONWebKey, error) {
	s.mu.Lock()
	soon := !s.asked.IsZero() && now.Sub(s.asked) < askEvery && !now.Before(s.asked)
	s.mu.Unlock()
	if !soon {
		done := s.flight.DoChan("", func() (any, error) {
			// Others wait for the answer too: it must not end with this request.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
			defer cancel()
			keys, err := s.fetch(ctx)
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.asked, s.err = now, err; err == nil {
				s.keys, s.read = keys, now
			}
			return nil, nil
		})
		select {
		case <-done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys != nil && now.Sub(s.read) < staleFor {
		return s.keys, nil
	}
	return nil, &Error{Kind: Communication, Message: "Your identity provider could not be asked for its keys, or its answer was not understood; try again later.", Err: s.err}
}

// matching returns the keys that a token with this header can be signed with.
func matching(keys []jose.JSONWebKey, header jose.Header) (some []jose.JSONWebKey) {
	for _, k := range keys {
		if (header.KeyID == "" || k.KeyID == header.KeyID) && (k.Algorithm == "" || k.Algorithm == header.Algorithm) && fits(k.Key, header.Algorithm) {
			some = append(some, k)
		}
	}
	return some
}

// fits reports whether a key is one that an algorithm takes.
func fits(key any, algorithm string) bool {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return strings.HasPrefix(algorithm, "RS") || strings.HasPrefix(algorithm, "PS")
	case *ecdsa.PublicKey:
		return map[string]int{"ES256": 256, "ES384": 384, "ES512": 521}[algorithm] == k.Curve.Params().BitSize
	case ed25519.PublicKey:
		return algorithm == "EdDSA"
	}
	return false
}

var errNoKeys = errors.New("it has no key that tokens can be verified with")

// parseKeys returns the keys of a JSON Web Key Set (RFC 7517 section 5) that are for signatures and of a kind that is known.
// The others are left out, as the RFC says.
func parseKeys(text []byte) ([]jose.JSONWebKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, err
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("it has %d keys, and may have %d", len(set.Keys), maxKeys)
	}
	keys := make([]jose.JSONWebKey, 0, len(set.Keys))
	for _, raw := range set.Keys {
		var k jose.JSONWebKey
		if json.Unmarshal(raw, &k) != nil || !k.IsPublic() || !k.Valid() || k.Use != "" && k.Use != "sig" {
			continue
		}
		if r, ok := k.Key.(*rsa.PublicKey); ok && (r.N.BitLen() < minRSABits || r.N.BitLen() > maxRSABits) {
			continue
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, errNoKeys
	}
	return keys, nil
}
