package iam

import (
	"cmp"
	"context"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"net/netip"
	"strings"
	"time"
)

// maxBasic bounds the encoded user name and password.
const maxBasic = 4 << 10

// Authenticate returns the principal of an Authorization header of the form
// "Basic <base64 of user:password>", in which user and password are
// [TokenUser] and a token, or an access key id and its secret, or anything and a
// personal access token or the token of a job; or of the form "Bearer" and one of
// these two. from is the client's address, for throttling; an invalid one is not
// throttled.
//
// Errors: [ErrInvalidCredentials], which [ErrTemporaryKey] and [ErrBearerExpired]
// are too; [ErrTokenExpired], [ErrThrottled].
//
// It is the way of every request of docker and its like: a credential that was
// good a moment ago costs one hash and one look-up, and allocates nothing.
func (s *Service) Authenticate(ctx context.Context, authorization string, from netip.Addr) (*Principal, error) {
	const scheme = "Basic "
	if len(authorization) > maxBasic {
		return nil, ErrInvalidCredentials
	}
	encoded, bearer := cutBearer(authorization)
	if !bearer {
		if len(authorization) < len(scheme) || !strings.EqualFold(authorization[:len(scheme)], scheme) {
			return nil, ErrInvalidCredentials
		}
		encoded = strings.TrimLeft(authorization[len(scheme):], " ")
	}
	cached := encoded
	if bearer {
		cached = authorization // with its scheme: what is good in one form is not in the other
	}
	hash := s.good.hash(cached)
	generation, err := s.generation.Current(ctx)
	if err != nil {
		return nil, err
	}
	now := s.now()
	if c := s.good.get(hash); c != nil {
		if c.key.fresh(generation, now) && (c.expires.IsZero() || now.Before(c.expires)) {
			s.used(c, now)
			return c.principal, nil
		}
		s.good.remove(hash, c)
	}
	refused, clears := s.bad.has(hash, generation, now)
	if refused {
		return nil, ErrInvalidCredentials
	}
	var c *credential
	if bearer {
		c, err = s.checkBearer(ctx, encoded, now, from)
	} else {
		c, err = s.checkBasic(ctx, encoded, now, from)
	}
	switch {
	case err == nil:
		if !c.fleeting {
			s.good.put(hash, c)
		}
		s.used(c, now)
		return c.principal, nil
	case errors.Is(err, ErrInvalidCredentials) && !errors.Is(err, ErrTemporaryKey) && !errors.Is(err, ErrBearerExpired): // those are to be told again
		s.bad.put(hash, now, clears)
	}
	return nil, err
}

// used takes note that a personal access token was.
func (s *Service) used(c *credential, now time.Time) {
	if strings.HasPrefix(c.principal.AccessKeyID, personalIDPrefix) {
		s.uses.note(c.key, now)
	}
}

// checkBasic verifies a credential that no cache knows.
func (s *Service) checkBasic(ctx context.Context, encoded string, now time.Time, from netip.Addr) (*credential, error) {
	decoded, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, ErrInvalidCredentials
	}
	user, password, ok := strings.Cut(string(decoded), ":")
	if !ok {
		return nil, ErrInvalidCredentials
	}
	if isBearer(password) {
		return s.checkBearer(ctx, password, now, from)
	}
	if user == TokenUser {
		return s.checkToken(ctx, password, now, from)
	}
	if strings.HasPrefix(user, sessionIDPrefix) {
		return nil, ErrTemporaryKey
	}
	if s.throttle.refuses(from, user, now) {
		return nil, ErrThrottled
	}
	key, err := s.usableKey(ctx, user, from)
	if errors.Is(err, ErrUnknownKey) {
		return nil, ErrInvalidCredentials
	}
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare([]byte(password), []byte(key.secret)) != 1 {
		return nil, cmp.Or(s.WrongSecret(user, from), ErrInvalidCredentials)
	}
	return &credential{principal: &key.principal, key: key}, nil
}

func (s *Service) checkToken(ctx context.Context, password string, now time.Time, from netip.Addr) (*credential, error) {
	t, ok := parseToken(s.tokenKeys, password)
	if !ok {
		return nil, ErrInvalidCredentials
	}
	if !now.Before(t.expires) {
		return nil, ErrTokenExpired
	}
	use := s.usableKey
	if strings.HasPrefix(t.keyID, personalIDPrefix) { // that it was issued to: it ends with that, and has its limits
		use = s.usable
	}
	key, err := use(ctx, t.keyID, from)
	if errors.Is(err, ErrUnknownKey) {
		return nil, ErrInvalidCredentials
	}
	if err != nil {
		return nil, err
	}
	principal := key.principal
	principal.TokenIssued = t.issued
	return &credential{principal: &principal, key: key, expires: t.expires}, nil
}
