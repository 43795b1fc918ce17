package session

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/directory"
	"github.com/sekisho/sekisho/internal/iam/oidc"
	"github.com/sekisho/sekisho/internal/iam/policy"
	"github.com/sekisho/sekisho/internal/meta"
)

// Directory is what sessions come from. It decides nothing.
type Directory interface {
	// Trusting returns a role and its trust policy, nil if there is none.
	Trusting(ctx context.Context, roleARN string) (*directory.Role, policy.Named, error)
	// Issuer returns the provider that an account has for an issuer, nil if there is none.
	Issuer(ctx context.Context, account, url string) (*directory.Provider, error)
	// Document returns a managed policy, "" if there is none.
	Document(ctx context.Context, account, policyARN string) (string, error)
}

// Options are the settings of a Service.
type Options struct {
	Now func() time.Time // default time.Now
	// OnIssue runs in the transaction of every session that is made, for its record.
	OnIssue func(ctx context.Context, tx *meta.Tx, i Issue) error
	// Refusals returns the refusals of a request, the oldest first; nil if they are not kept.
	Refusals func(ctx context.Context, requestID string) ([]Refusal, error)
}

// Issue is temporary credentials that were given out.
type Issue struct {
	Caller   *iam.Caller
	Action   string // "sts:AssumeRole"
	Resource string // ARN of the role, or "*"
	Detail   string // what they are for
}

// Service gives out temporary credentials. It is safe for concurrent use.
type Service struct {
	keys      *iam.Service
	judge     *iam.Judge
	directory Directory
	tokens    *oidc.Verifier
	o         Options
}

// New returns a Service that keeps sessions in keys.
func New(keys *iam.Service, judge *iam.Judge, d Directory, tokens *oidc.Verifier, o Options) *Service {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.OnIssue == nil {
		o.OnIssue = func(context.Context, *meta.Tx, Issue) error { return nil }
	}
	return &Service{keys: keys, judge: judge, directory: d, tokens: tokens, o: o}
}

// always notes a call that everybody who signs may make, whatever policies say: as AWS has it of GetCallerIdentity.
func (s *Service) always(c *iam.Caller, action string) {
	s.judge.Note(c, iam.On(c, action, "*"), iam.Decision{Allowed: true})
}

// Identity is who a caller is.
type Identity struct{ Account, ARN, ID string }

// Identity returns who the caller is. Everybody may ask.
func (s *Service) Identity(_ context.Context, c *iam.Caller) Identity {
	s.always(c, "sts:GetCallerIdentity")
	return Identity{Account: c.Account, ARN: c.ARN, ID: uniqueID(&c.Principal)}
}

func uniqueID(p *iam.Principal) string {
	if p.ID == "" && p.Type == iam.Root {
		return p.Account
	}
	return p.ID
}

// issue makes the credentials of a grant and their record.
func (s *Service) issue(ctx context.Context, c *iam.Caller, action, resource, detail string, g iam.Grant) (*iam.Credentials, error) {
	g.Also = func(ctx context.Context, tx *meta.Tx, made *iam.Credentials) error {
		return s.o.OnIssue(ctx, tx, Issue{
			Caller: c, Action: action, Resource: resource,
			Detail: strings.TrimSpace(made.AccessKeyID + " until " + made.Expires.Format(time.RFC3339) + " " + detail),
		})
	}
	made, err := s.keys.NewSession(ctx, g)
	switch {
	case errors.Is(err, iam.ErrTooManySessions):
		return nil, errf(TooManySessions, "The account, or the access key, has too many sessions that have not expired; wait for some to end, or ask for shorter ones.")
	case errors.Is(err, iam.ErrPrincipalGone): // deleted since it was decided on
		return nil, iam.Decision{Reason: "because it is gone"}.Denied(c, iam.On(c, action, resource))
	case err != nil:
		return nil, fmt.Errorf("%s: %w", action, err)
	}
	return made, nil
}

// longLived fails for callers with temporary credentials of [Service.UserSession]: with those AWS allows AssumeRole and
// GetCallerIdentity alone.
func longLived(c *iam.Caller, operation string) error {
	if c.Session != nil && c.Type != iam.AssumedRole {
		return errf(AccessDenied, "Cannot call %s with session credentials", operation)
	}
	return nil
}
