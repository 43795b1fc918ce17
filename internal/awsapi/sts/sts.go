// Package sts is the AWS Security Token Service's API over the sessions of package session: who one is, and temporary
// credentials for roles, web identities and users.
//
// Operations translate and no more. Those that have no place here are refused by name.
package sts

import (
	"context"
	"errors"
	"net/http"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"

	"github.com/sekisho/sekisho/internal/awsapi"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/oidc"
	"github.com/sekisho/sekisho/internal/iam/session"
)

// The version and namespace of the service's model.
const (
	version   = "2011-06-15"
	namespace = "https://sts.amazonaws.com/doc/2011-06-15/"
)

// API is the service.
type API struct {
	Sessions *session.Service
}

// Service returns the operations, to be served.
func (a *API) Service() *awsapi.Service {
	s := awsapi.NewQuery("sts", version, namespace, awsapi.ServiceOptions{Explain: explain, Internal: "InternalFailure", Global: true})
	awsapi.Handle(s, awsapi.Op{Name: "GetCallerIdentity"}, a.getCallerIdentity)
	awsapi.Handle(s, awsapi.Op{Name: "AssumeRole", Members: assumeRole}, a.assumeRole)
	awsapi.Handle(s, awsapi.Op{Name: "AssumeRoleWithWebIdentity", Members: assumeRoleWithWebIdentity, Unsigned: true}, a.assumeRoleWithWebIdentity)
	awsapi.Handle(s, awsapi.Op{Name: "GetSessionToken", Members: getSessionToken}, a.getSessionToken)
	awsapi.Handle(s, awsapi.Op{Name: "GetAccessKeyInfo", Members: getAccessKeyInfo}, a.getAccessKeyInfo)
	awsapi.Handle(s, awsapi.Op{Name: "DecodeAuthorizationMessage", Members: decodeAuthorizationMessage}, a.decodeAuthorizationMessage)
	awsapi.Unsupported(s, []string{"AssumeRoleWithSAML"}, "Identity providers speak OpenID Connect: use AssumeRoleWithWebIdentity.")
	awsapi.Unsupported(s, []string{"GetFederationToken"}, "Use AssumeRole with a session policy.")
	awsapi.Unsupported(s, []string{"AssumeRoot"}, "There is no organization of accounts to administer.")
	awsapi.Unsupported(s, []string{"GetWebIdentityToken", "GetDelegatedAccessToken"}, "No identity tokens for other systems are issued by it.")
	return s
}

// explain says what errors of sessions and identity tokens are called.
func explain(err error) smithy.APIError {
	if e, ok := errors.AsType[*oidc.Error](err); ok {
		return &awsapi.Error{Code: string(e.Kind), Message: e.Message}
	}
	e, ok := errors.AsType[*session.Error](err)
	if !ok {
		return nil
	}
	status := http.StatusBadRequest
	if e.Kind == session.AccessDenied {
		status = http.StatusForbidden
	}
	return &awsapi.Error{Code: string(e.Kind), Message: e.Message, Status: status}
}

// getCallerIdentity says who signed. Nobody needs a permission for it.
func (a *API) getCallerIdentity(ctx context.Context, c *awsapi.Call, _ *sdk.GetCallerIdentityInput) (*sdk.GetCallerIdentityOutput, error) {
	who := a.Sessions.Identity(ctx, c.Caller)
	return &sdk.GetCallerIdentityOutput{Account: &who.Account, Arn: &who.ARN, UserId: &who.ID}, nil
}

func (a *API) assumeRole(ctx context.Context, c *awsapi.Call, in *sdk.AssumeRoleInput) (*sdk.AssumeRoleOutput, error) {
	if err := noMFA(in.SerialNumber, in.TokenCode); err != nil {
		return nil, err
	}
	if len(in.ProvidedContexts) > 0 {
		return nil, &awsapi.Error{Code: "InvalidParameterValue", Message: "ProvidedContexts are not supported: there is no context provider."}
	}
	ask := session.RoleAsk{
		Ask:        newAsk(in.RoleArn, in.RoleSessionName, in.DurationSeconds, in.Policy, in.PolicyArns),
		ExternalID: value(in.ExternalId), SourceIdentity: value(in.SourceIdentity), Transitive: in.TransitiveTagKeys,
	}
	for _, t := range in.Tags {
		ask.Tags = append(ask.Tags, session.Tag{Key: *t.Key, Value: *t.Value})
	}
	made, err := a.Sessions.AssumeRole(ctx, c.Caller, ask)
	if err != nil {
		return nil, err
	}
	return &sdk.AssumeRoleOutput{
		AssumedRoleUser: &types.AssumedRoleUser{Arn: &made.ARN, AssumedRoleId: &made.ID}, Credentials: credentials(made.Credentials),
		//lint:ignore SA1019 most clients know no other member for it
		PackedPolicySize: made.Packed,
		SourceIdentity:   text(made.SourceIdentity),
	}, nil
}

func (a *API) assumeRoleWithWebIdentity(ctx context.Context, c *awsapi.Call, in *sdk.AssumeRoleWithWebIdentityInput) (*sdk.AssumeRoleWithWebIdentityOutput, error) {
	if in.ProviderId != nil {
		return nil, &awsapi.Error{Code: "InvalidParameterValue", Message: "ProviderId is for access tokens of OAuth 2.0, which prove nothing here: " +
			"send a token of an OpenID Connect provider, without ProviderId."}
	}
	made, err := a.Sessions.AssumeRoleWithWebIdentity(ctx, c.Caller,
		newAsk(in.RoleArn, in.RoleSessionName, in.DurationSeconds, in.Policy, in.PolicyArns), *in.WebIdentityToken)
	if err != nil {
		return nil, err
	}
	return &sdk.AssumeRoleWithWebIdentityOutput{
		AssumedRoleUser: &types.AssumedRoleUser{Arn: &made.ARN, AssumedRoleId: &made.ID}, Credentials: credentials(made.Credentials),
		//lint:ignore SA1019 most clients know no other member for it
		PackedPolicySize: made.Packed,
		SourceIdentity:   text(made.SourceIdentity),
		Provider:         &made.Provider, Audience: &made.Audience, SubjectFromWebIdentityToken: &made.Subject,
	}, nil
}

func (a *API) getSessionToken(ctx context.Context, c *awsapi.Call, in *sdk.GetSessionTokenInput) (*sdk.GetSessionTokenOutput, error) {
	if err := noMFA(in.SerialNumber, in.TokenCode); err != nil {
		return nil, err
	}
	made, err := a.Sessions.UserSession(ctx, c.Caller, duration(in.DurationSeconds))
	if err != nil {
		return nil, err
	}
	return &sdk.GetSessionTokenOutput{Credentials: credentials(made)}, nil
}

func (a *API) getAccessKeyInfo(ctx context.Context, c *awsapi.Call, in *sdk.GetAccessKeyInfoInput) (*sdk.GetAccessKeyInfoOutput, error) {
	account, err := a.Sessions.KeyAccount(ctx, c.Caller, *in.AccessKeyId)
	if err != nil {
		return nil, err
	}
	return &sdk.GetAccessKeyInfoOutput{Account: &account}, nil
}

func (a *API) decodeAuthorizationMessage(ctx context.Context, c *awsapi.Call, in *sdk.DecodeAuthorizationMessageInput) (*sdk.DecodeAuthorizationMessageOutput, error) {
	message, err := a.Sessions.Explain(ctx, c.Caller, *in.EncodedMessage)
	if err != nil {
		return nil, err
	}
	return &sdk.DecodeAuthorizationMessageOutput{DecodedMessage: &message}, nil
}

// noMFA refuses codes of MFA devices, rather than to believe them.
func noMFA(serial, code *string) error {
	if serial == nil && code == nil {
		return nil
	}
	return &awsapi.Error{Code: "AccessDenied", Status: http.StatusForbidden, Message: "MultiFactorAuthentication failed: there are no MFA devices here, " +
		"so that no code of one can be checked. Call without SerialNumber and TokenCode; a trust policy that wants aws:MultiFactorAuthPresent can't be met."}
}

func newAsk(role, name *string, seconds *int32, policy *string, arns []types.PolicyDescriptorType) session.Ask {
	a := session.Ask{Role: *role, Name: *name, Duration: duration(seconds), Policy: value(policy)}
	for _, p := range arns {
		a.PolicyARNs = append(a.PolicyARNs, value(p.Arn))
	}
	return a
}

func credentials(c *iam.Credentials) *types.Credentials {
	return &types.Credentials{AccessKeyId: &c.AccessKeyID, SecretAccessKey: new(c.Secret.Reveal()), SessionToken: new(c.SessionToken.Reveal()), Expiration: &c.Expires}
}

func duration(seconds *int32) time.Duration {
	if seconds == nil {
		return 0
	}
	return time.Duration(*seconds) * time.Second
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// text is a member that is left out when empty.
func text(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
