package session

import (
	"context"
	"errors"
	"time"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/policy"
)

// everybody says that GetSessionToken needs no permission of one's own ("Permissions for GetSessionToken" in the IAM User
// Guide). What denies it, and the way that it comes in, count all the same. It is a constant.
var everybody = func() []policy.Named {
	p, err := policy.Parse([]byte(`{"Statement":[{"Effect":"Allow","Principal":"*","Action":"sts:GetSessionToken"}]}`), policy.Resource)
	if err != nil {
		panic(err)
	}
	return []policy.Named{{Name: "what everybody may", Policy: p}}
}()

// UserSession gives a user, or root, temporary credentials that act as itself, for as long as is asked for: 0 stands for 12
// hours, and root's end after one. They end with the access key that asked. It needs no permission, but can be denied. Errors:
// [*iam.DeniedError], [*Error].
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
	r := iam.On(c, "sts:GetSessionToken", "*")
	r.Resource.Policies = everybody
	if err := s.judge.Check(ctx, c, r); err != nil {
		return nil, err
	}
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
