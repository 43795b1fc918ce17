package session

import (
	"context"
	"errors"
	"time"

	"github.com/sekisho/sekisho/internal/iam"
)

// UserSession gives a user, or root, temporary credentials that act as itself, for as long as is asked for: 0 stands for 12
// hours, and root's end after one. They end with the access key that asked. Errors: [*Error].
func (s *Service) UserSession(ctx context.Context, c *iam.Caller, duration time.Duration) (*iam.Credentials, error) {
	if c.Session != nil || c.Type != iam.User && c.Type != iam.Root {
		return nil, errf(AccessDenied, "Cannot call GetSessionToken with session credentials")
	}
	switch {
	case duration == 0:
		duration = defaultUser
	case duration < minDuration:
		return nil, mismatch(seconds(duration), "durationSeconds", "Member must have value greater than or equal to "+seconds(minDuration))
	case duration > maxUserSession:
		return nil, mismatch(seconds(duration), "durationSeconds", "Member must have value less than or equal to "+seconds(maxUserSession))
	}
	if c.Type == iam.Root {
		duration = min(duration, maxRootSession)
	}
	s.always(c, "sts:GetSessionToken")
	p := c.Principal
	p.ID = uniqueID(&p)
	p.Session = &iam.Session{Expires: s.o.Now().Add(duration)}
	return s.issue(ctx, c, "sts:GetSessionToken", "*", "", iam.Grant{Principal: p, Parent: c.AccessKeyID})
}

// KeyAccount returns the account of an access key, if it is the caller's. Of others it is nobody's business that they are
// there. Errors: [*iam.DeniedError], [*Error].
func (s *Service) KeyAccount(ctx context.Context, c *iam.Caller, keyID string) (string, error) {
	if err := longLived(c, "GetAccessKeyInfo"); err != nil {
		return "", err
	}
	if err := s.judge.Check(ctx, c, iam.On(c, "sts:GetAccessKeyInfo", "*")); err != nil {
		return "", err
	}
	account, err := s.keys.KeyAccount(ctx, keyID)
	if err != nil && !errors.Is(err, iam.ErrUnknownKey) {
		return "", err
	}
	if err != nil || account != c.Account {
		return "", errf(ValidationError, "The account has no access key %.128s.", keyID)
	}
	return account, nil
}
