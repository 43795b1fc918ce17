package iam

import (
	"context"
	"strings"

	"github.com/sekisho/sekisho/internal/iam/policy"
)

// Request is what a caller wants to do.
type Request struct {
	Action   string // as in policies: "ecr:PutImage"
	Resource Resource
	// Keys are the condition keys that only this request has, in lower case: "aws:requesttag/team", "sts:externalid". Nil for
	// most. What follows from caller and resource is for the Authorizer to add.
	Keys map[string][]string
}

// Resource is what a request is about, with what it brings along for the decision.
type Resource struct {
	ARN     string // "*" for actions that have none
	Account string // the owner's; with "*" the caller's
	Tags    map[string]string
	// Policies are the resource's own: a repository policy, the trust policy of a role. A registry's come with those of its
	// repositories.
	Policies []policy.Named
}

// On returns a request for an action on an ARN, or "*", without policies, tags and keys of its own.
func On(c *Caller, action, arn string) *Request {
	r := &Request{Action: action, Resource: Resource{ARN: arn, Account: ARNAccount(arn)}}
	if arn == "*" && c != nil {
		r.Resource.Account = c.Account
	}
	return r
}

// Decision is an Authorizer's answer and why.
type Decision struct {
	Allowed  bool
	Explicit bool   // a statement decided, rather than the absence of one
	Reason   string // follows "… on resource: <arn> " in a refusal; empty when allowed
	// Trace explains a refusal by the policies: it evaluates again, and is to be called before the request is answered.
	// Nil when allowed, and where no policies were asked.
	Trace func() *policy.Trace
	// Err says that what to decide from could not be read. Nothing is allowed then, but nothing is refused either.
	Err error
}

// Authorizer decides whether a caller may do what it asks for. The same arguments
// and policies give the same decision. A nil caller is anonymous.
type Authorizer interface {
	Authorize(ctx context.Context, c *Caller, r *Request) Decision
}

// RootOnly is the Authorizer of an instance without policies: an account's
// root principal, and the server itself, may do everything in that account;
// everybody else, and everything else, is refused.
type RootOnly struct{}

// Authorize implements [Authorizer].
func (RootOnly) Authorize(_ context.Context, c *Caller, r *Request) Decision {
	if c != nil && (c.Type == Root || c.Type == System) && c.Account != "" && r.Action != "" && r.Resource.ARN != "" {
		if r.Resource.Account == c.Account {
			return Decision{Allowed: true}
		}
	}
	return Decision{Reason: "because no identity-based policy allows the " + r.Action + " action"}
}

// ARNAccount returns the account of arn:partition:service:region:account:resource,
// or "" when arn is not of that form.
func ARNAccount(arn string) string {
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

// Denied returns the error that says that c was refused r by d.
func (d Decision) Denied(c *Caller, r *Request) *DeniedError {
	return &DeniedError{Principal: c.Who(), Action: r.Action, Resource: r.Resource.ARN, Reason: d.Reason}
}

// Message is Error with where to learn more, for the client that made the request.
func (e *DeniedError) Message(requestID string) string {
	return e.Error() + "; more: sekisho why " + requestID
}

// Error returns "User: <arn> is not authorized to perform: <action> on resource: <arn> <reason>".
func (e *DeniedError) Error() string {
	return "User: " + e.Principal + " is not authorized to perform: " + e.Action +
		" on resource: " + e.Resource + " " + e.Reason
}
