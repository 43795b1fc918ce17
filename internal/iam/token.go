package iam

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"time"
)

// TokenLife is how long an authorization token is good, as at ECR.
const TokenLife = 12 * time.Hour

// TokenUser is the user name that goes with a token as the password.
const TokenUser = "AWS"

// token is what an authorization token says, and the session token of temporary
// credentials: version, issued and expires as Unix seconds, access key id. In the
// credential an HMAC-SHA256 follows, under another key for each of the two, and all
// of it is base64url without padding: about 90 characters.
type token struct {
	issued, expires time.Time
	keyID           string
}

const (
	tokenVersion = 1
	tokenHead    = 1 + 8 + 8
	maxToken     = tokenHead + maxKeyID + sha256.Size
)

var tokenEncoding = base64.RawURLEncoding.Strict()

// IssueToken returns a password that, with the user name [TokenUser], stands for
// the caller's access key until expires, at most [TokenLife] from now and not beyond
// the end of a session. A caller without an access key gets [ErrInvalidCredentials].
func (s *Service) IssueToken(_ context.Context, c *Caller) (password string, expires time.Time, err error) {
	if c == nil || c.AccessKeyID == "" {
		return "", time.Time{}, fmt.Errorf("issue token to %s: %w", c.Who(), ErrInvalidCredentials)
	}
	now := s.now().Truncate(time.Second)
	t := token{issued: now, expires: now.Add(TokenLife), keyID: c.AccessKeyID}
	if c.Session != nil && c.Session.Expires.Before(t.expires) {
		t.expires = c.Session.Expires.Truncate(time.Second)
	}
	return t.encode(s.tokenKeys[0]), t.expires, nil
}

func (t *token) encode(key []byte) string {
	b := make([]byte, 0, maxToken)
	b = append(b, tokenVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(t.issued.Unix()))
	b = binary.BigEndian.AppendUint64(b, uint64(t.expires.Unix()))
	b = append(b, t.keyID...)
	return tokenEncoding.EncodeToString(append(b, mac(key, b)...))
}

// parseToken returns what a token says if it was issued under one of the keys.
func parseToken(keys [][]byte, password string) (token, bool) {
	if len(password) > tokenEncoding.EncodedLen(maxToken) {
		return token{}, false
	}
	b, err := tokenEncoding.DecodeString(password)
	if err != nil || len(b) <= tokenHead+sha256.Size || b[0] != tokenVersion {
		return token{}, false
	}
	said, sum := b[:len(b)-sha256.Size], b[len(b)-sha256.Size:]
	ours := 0
	for _, key := range keys {
		ours |= subtle.ConstantTimeCompare(sum, mac(key, said))
	}
	if ours != 1 {
		return token{}, false
	}
	return token{
		issued:  time.Unix(int64(binary.BigEndian.Uint64(said[1:])), 0).UTC(),
		expires: time.Unix(int64(binary.BigEndian.Uint64(said[9:])), 0).UTC(),
		keyID:   string(said[tokenHead:]),
	}, true
}

func mac(key, message []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(message)
	return h.Sum(nil)
}
