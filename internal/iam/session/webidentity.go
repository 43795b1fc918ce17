package session

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/directory"
	"github.com/sekisho/sekisho/internal/iam/oidc"
)

// AssumeRoleWithWebIdentity gives whoever holds a token of an identity provider a session of a role that trusts it. The
// caller is anonymous and says where the request comes from. Errors: [*oidc.Error], [*Error], [iam.ErrThrottled].
//
// What is refused costs the address of its allowance. Why a role does not trust a token is not told, because nobody knows
// who asks; the record has it.
func (s *Service) AssumeRoleWithWebIdentity(ctx context.Context, c *iam.Caller, ask Ask, token string) (*Assumed, error) {
	if err := s.keys.Attempt(c.SourceIP); err != nil {
		return nil, err
	}
	a, err := s.assumeWithWebIdentity(ctx, c, ask, token)
	_, denied := errors.AsType[*iam.DeniedError](err)
	_, untrusted := errors.AsType[*oidc.Error](err)
	own, ours := errors.AsType[*Error](err)
	if denied || untrusted || ours && own.Kind == InvalidIdentityToken {
		s.keys.Refused(c.SourceIP)
	}
	if denied {
		return nil, errf(AccessDenied, "Not authorized to perform sts:AssumeRoleWithWebIdentity; the role's trust policy decides by the claims of the token, and the account's administrator sees how with: sekisho why %s", c.RequestID)
	}
	return a, err
}

func (s *Service) assumeWithWebIdentity(ctx context.Context, c *iam.Caller, ask Ask, token string) (*Assumed, error) {
	account, err := checkRole(ask.Role)
	if err == nil {
		err = checkForm(ask.Name, "roleSessionName", sessionName)
	}
	if err != nil {
		return nil, err
	}
	issuer, err := oidc.Issuer(token)
	if err != nil {
		return nil, err
	}
	provider, err := s.provider(ctx, account, issuer)
	if err != nil {
		return nil, err
	}
	id, err := s.tokens.Verify(ctx, &oidc.Provider{
		URL: "https://" + provider.URL, ClientIDs: provider.ClientIDs, Thumbprints: provider.Thumbprints,
	}, token)
	if err != nil {
		return nil, err
	}
	who := *c
	who.Principal = iam.Principal{Type: iam.Federated, ARN: provider.ARN, Name: id.Subject}
	a := &assumption{
		service: s, caller: &who, action: "sts:AssumeRoleWithWebIdentity", account: account, ask: ask,
		transitive: id.Transitive, source: id.SourceIdentity, keys: maps.Clone(id.Keys),
	}
	for _, key := range slices.Sorted(maps.Keys(id.Tags)) {
		a.tags = append(a.tags, Tag{key, id.Tags[key]})
	}
	if err := checkTags(a.tags, a.transitive, nil); err != nil {
		return nil, err
	}
	if a.source != "" {
		if err := checkForm(a.source, "sourceIdentity", sessionName); err != nil {
			return nil, err
		}
	}
	a.keys["aws:federatedprovider"] = []string{provider.ARN}
	if err := a.decide(ctx); err != nil {
		return nil, err
	}
	session := &iam.Session{Provider: provider.ARN, Keys: id.Keys, SourceIdentity: a.source}
	assumed, err := a.begin(ctx, session, false)
	if err != nil {
		return nil, err
	}
	assumed.Provider, assumed.Audience, assumed.Subject = provider.ARN, id.Audience, id.Subject
	return assumed, nil
}

// provider returns the account's provider for what a token says that its issuer is, with or without a slash at the end.
func (s *Service) provider(ctx context.Context, account, issuer string) (*directory.Provider, error) {
	bare := strings.TrimSuffix(issuer, "/")
	for _, url := range []string{issuer, bare, bare + "/"} {
		p, err := s.directory.Issuer(ctx, account, url)
		if p != nil || err != nil {
			return p, err
		}
	}
	return nil, errf(InvalidIdentityToken, "No OpenIDConnect provider found in your account for %.200s", issuer)
}

func asDirectoryError(err error) (*directory.Error, bool) {
	return errors.AsType[*directory.Error](err)
}
