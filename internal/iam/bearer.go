package iam

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/crc32"
	"net/netip"
	"strings"
	"time"
)

// A bearer is a token that is good by itself: a personal access token, or that of a job. It is
//
//	skp_ <16 characters of its id> <40 of the secret> <6 of a checksum>
//
// The prefix and the checksum, CRC-32 of what is before it in base 62, are for programs that look for secrets where none
// should be: no other text looks like one. The id is no secret: it is what the record and the log call the token.
const (
	personalPrefix = "skp_"
	jobPrefix      = "skj_"

	personalIDPrefix = "SKPT"
	jobIDPrefix      = "SKJT"

	bearerPrefix = 4
	bearerID     = 16
	bearerSecret = 40
	bearerSum    = 6
	bearerSize   = bearerPrefix + bearerID + bearerSecret + bearerSum
)

// newBearer makes a token up, and its id.
func newBearer(prefix string) (text, id string) {
	part := rand.Text()[:bearerID] // only unique
	text = prefix + part + randomSecret()
	return text + bearerChecksum(text), bearerIDOf(prefix, part)
}

func bearerIDOf(prefix, part string) string {
	if prefix == jobPrefix {
		return jobIDPrefix + part
	}
	return personalIDPrefix + part
}

// isBearer reports whether a text is meant to be a bearer, good or not.
func isBearer(text string) bool {
	return strings.HasPrefix(text, personalPrefix) || strings.HasPrefix(text, jobPrefix)
}

// parseBearer returns the id of a token that has the form of one. It keeps nonsense from the database.
func parseBearer(text string) (id string, ok bool) {
	if len(text) != bearerSize || !isBearer(text) {
		return "", false
	}
	part := text[bearerPrefix : bearerPrefix+bearerID]
	if strings.Trim(part, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") != "" {
		return "", false
	}
	body, sum := text[:bearerSize-bearerSum], text[bearerSize-bearerSum:]
	if bearerChecksum(body) != sum {
		return "", false
	}
	return bearerIDOf(text[:bearerPrefix], part), true
}

func bearerChecksum(body string) string {
	const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	n := crc32.ChecksumIEEE([]byte(body))
	var sum [bearerSum]byte
	for i := range sum {
		sum[bearerSum-1-i] = alphabet[n%uint32(len(alphabet))]
		n /= uint32(len(alphabet))
	}
	return string(sum[:])
}

// bearerHash is what is stored of a token.
func (s *Service) bearerHash(ctx context.Context, text string) ([]byte, error) {
	key, err := s.instanceKey(ctx, purposeBearers)
	if err != nil {
		return nil, err
	}
	return mac(key, []byte(text)), nil
}

// checkBearer verifies a token that no cache knows.
func (s *Service) checkBearer(ctx context.Context, text string, now time.Time, from netip.Addr) (*credential, error) {
	id, ok := parseBearer(text)
	if !ok {
		return nil, ErrInvalidCredentials
	}
	if s.throttle.refuses(from, id, now) {
		return nil, ErrThrottled
	}
	hash, err := s.bearerHash(ctx, text)
	if err != nil {
		return nil, err
	}
	job := strings.HasPrefix(id, jobIDPrefix)
	var key *liveKey
	if job {
		key, err = s.jobToken(ctx, id, now, from)
	} else {
		key, err = s.usable(ctx, id, from)
	}
	if errors.Is(err, ErrUnknownKey) {
		return nil, ErrInvalidCredentials
	}
	if err != nil {
		return nil, err
	}
	if !hmac.Equal(hash, []byte(key.secret)) {
		if err := s.WrongSecret(id, from); err != nil {
			return nil, err
		}
		return nil, ErrInvalidCredentials
	}
	if !now.Before(key.expires) {
		return nil, ErrBearerExpired
	}
	c := &credential{principal: &key.principal, key: key, fleeting: job}
	if job {
		s.jobs.good(id)
	}
	return c, nil
}

// purposeBearers is the key of the instance that the hashes of bearers are made with. It is in the database, sealed, and
// not derived from the master key: such tokens outlive it.
const purposeBearers = "bearer token hashes"

// cutBearer returns what follows the scheme Bearer in an Authorization header.
func cutBearer(authorization string) (string, bool) {
	const scheme = "Bearer "
	if len(authorization) < len(scheme) || !strings.EqualFold(authorization[:len(scheme)], scheme) {
		return "", false
	}
	return strings.TrimLeft(authorization[len(scheme):], " "), true
}

// describeToken is for errors of the server's own.
func describeToken(id string, err error) error { return fmt.Errorf("read token %s: %w", id, err) }
