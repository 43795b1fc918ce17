package iam

import (
	"context"
	"strings"
)

// Decision is an Authorizer's answer and why.
type Decision struct {
	Allowed  bool
	Explicit bool   // a statement decided, rather than the absence of one
	Reason   string // follows "… on resource: <arn> " in a refusal; empty when allowed
}

// Authorizer decides whether a caller may perform an action on a resource.
// The action is written as in policies ("ecr:PutImage"), the resource is an
// ARN, or "*" for actions that have none. Implementations are pure: the same
// arguments and policies give the same decision. A nil caller is anonymous.
type Authorizer interface {
	Authorize(ctx context.Context, c *Caller, action, resourceARN string) Decision
}

// RootOnly is the Authorizer of an instance without policies: an account's
// root principal, and the server itself, may do everything in that account;
// everybody else, and everything else, is refused.
type RootOnly struct{}

// Authorize implements [Authorizer].
func (RootOnly) Authorize(_ context.Context, c *Caller, action, resourceARN string) Decision {
	if c != nil && (c.Type == Root || c.Type == System) && c.Account != "" && action != "" {
		if resourceARN == "*" || resourceAccount(resourceARN) == c.Account {
			return Decision{Allowed: true}
		}
	}
	return Decision{Reason: "because no identity-based policy allows the " + action + " action"}
}

// resourceAccount returns the account of arn:partition:service:region:account:resource,
// or "" when arn is not of that form.
func resourceAccount(arn string) string {
	rest, ok := strings.CutPrefix(arn, "arn:")
	if !ok {
		return ""
	}
	for range 3 {
		if _, rest, ok = strings.Cut(rest, ":"); !ok {
			return ""
		}
	}
	account, resource, ok := strings.Cut(rest, ":")
	if !ok || resource == "" {
		return ""
	}
	return account
}

// DeniedError is a refusal, worded as AWS words it.
type DeniedError struct {
	Principal string // ARN, or AnonymousARN
	Action    string
	Resource  string
	Reason    string
}

// Denied returns the error that says that c was refused by d.
func (d Decision) Denied(c *Caller, action, resourceARN string) *DeniedError {
	return &DeniedError{Principal: c.Principal(), Action: action, Resource: resourceARN, Reason: d.Reason}
}

// Error returns "User: <arn> is not authorized to perform: <action> on resource: <arn> <reason>".
func (e *DeniedError) Error() string {
	return "User: " + e.Principal + " is not authorized to perform: " + e.Action +
		" on resource: " + e.Resource + " " + e.Reason
}
