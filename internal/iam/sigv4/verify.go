package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"strings"
	"sync"
	"time"
)

// Verifier verifies signatures. It is safe for concurrent use.
type Verifier struct {
	now func() time.Time

	mu   sync.RWMutex
	keys map[keyID]derivedKey // guarded by mu; at most maxKeys
}

// maxKeys bounds the cache of signing keys. One is good for a day, a region and a service.
const maxKeys = 1024

type keyID struct{ accessKeyID, scope string }

type derivedKey struct {
	secret string
	key    []byte
}

// New returns a Verifier that takes the time from now.
func New(now func() time.Time) *Verifier {
	return &Verifier{now: now, keys: make(map[keyID]derivedKey)}
}

// Verify checks a parsed signature with the secret of the claimed key and the
// SHA-256 of the body. The error is of type [*Error] and kind Invalid.
func (v *Verifier) Verify(c *Claim, secret string, body [sha256.Size]byte) error {
	bodyHash := hex.EncodeToString(body[:])
	if c.bodyHash != "" && c.bodyHash != bodyHash {
		return invalid("The provided 'x-amz-content-sha256' header does not match what was computed.")
	}
	canonical := c.canonical + bodyHash
	hash := sha256.Sum256([]byte(canonical))
	toSign := algorithm + "\n" + c.Time.Format(timeFormat) + "\n" + c.scope + "\n" + hex.EncodeToString(hash[:])

	id := keyID{c.AccessKeyID, c.scope}
	key, cached := v.cachedKey(id, secret)
	if !cached {
		key = deriveKey(secret, c.scope)
	}
	want := hex.EncodeToString(mac(key, toSign))
	if subtle.ConstantTimeCompare([]byte(want), []byte(c.signature)) != 1 {
		return &Error{
			Kind: Invalid,
			Message: "The request signature we calculated does not match the signature you provided. " +
				"Check your AWS access key ID, your secret access key and the signing method: " +
				"a key that is unknown or not active is answered like a wrong secret.",
			Detail: "\n\nThe Canonical String for this request should have been\n'" + canonical +
				"'\n\nThe String-to-Sign should have been\n'" + toSign + "'\n",
		}
	}
	if !cached {
		// Only now, so that guesses do not push good keys out.
		v.cacheKey(id, derivedKey{secret, key})
	}
	return nil
}

func (v *Verifier) cachedKey(id keyID, secret string) ([]byte, bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	d, ok := v.keys[id]
	if !ok || subtle.ConstantTimeCompare([]byte(d.secret), []byte(secret)) != 1 {
		return nil, false
	}
	return d.key, true
}

func (v *Verifier) cacheKey(id keyID, d derivedKey) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.keys) >= maxKeys {
		for old := range v.keys { // any one: maps iterate in random order
			delete(v.keys, old)
			break
		}
	}
	v.keys[id] = d
}

// deriveKey returns the key of a scope: date/region/service/aws4_request, each
// element mixed in by one HMAC.
func deriveKey(secret, scope string) []byte {
	key := []byte("AWS4" + secret)
	for element := range strings.SplitSeq(scope, "/") {
		key = mac(key, element)
	}
	return key
}

func mac(key []byte, s string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(s))
	return h.Sum(nil)
}
