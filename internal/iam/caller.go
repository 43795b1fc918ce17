package iam

import (
	"net/netip"
	"time"
)

// PrincipalType says what kind of principal acts. The zero value is Anonymous.
type PrincipalType uint8

const (
	// Anonymous is a caller that showed no credential.
	Anonymous PrincipalType = iota
	// Root is an account itself: whoever holds one of its root access keys.
	Root
	// System is the server at its own work, such as collection. No credential
	// resolves to it.
	System
	// User is a user of an account.
	User
	// AssumedRole is a session of a role.
	AssumedRole
	// Federated is whoever an identity provider vouches for, while it asks for a role. It belongs to no account, its ARN is
	// the provider's, and it does nothing else. No credential resolves to it.
	Federated
)

// String returns the name of the type in lower case, as logs and audit records show it.
func (t PrincipalType) String() string {
	switch t {
	case Anonymous:
		return "anonymous"
	case Root:
		return "root"
	case System:
		return "system"
	case User:
		return "user"
	case AssumedRole:
		return "assumed-role"
	case Federated:
		return "federated"
	default:
		return "unknown"
	}
}

// AnonymousARN stands for the principal in messages and records about a caller
// that showed no credential.
const AnonymousARN = "anonymous"

// Principal is what a credential proves. Values that this package hands out
// are shared between requests and must not be changed.
type Principal struct {
	Account     string // 12 digits
	ARN         string
	Type        PrincipalType
	AccessKeyID string    // the key that signed, or that the token was issued to
	TokenIssued time.Time // zero unless the credential is a token

	// ID is the principal's unique id (aws:userid): of a user "AIDA…", of a session "AROA…:<session name>", of root the
	// account. A principal made again under the same name has another one.
	ID string
	// Name is a user's name (aws:username), or the name of a session.
	Name string
	// Role is the ARN of the role that a session is of.
	Role string
	// Session is what a session was begun with; nil for long-lived keys.
	Session *Session
}

// Session is what temporary credentials were asked for with.
type Session struct {
	Issued         time.Time           // aws:TokenIssueTime
	Expires        time.Time           // when the credentials end
	Policies       []string            // session policies, as documents; what they don't allow is not allowed; nil for none
	Tags           map[string]string   // session tags: they win over the role's tags in aws:PrincipalTag/…
	Transitive     []string            // keys of the tags that the next session of a chain has too
	Provider       string              // ARN or URL of the identity provider that vouched (aws:FederatedProvider); empty for none
	Keys           map[string][]string // claims as condition keys in lower case: "token.example.com:sub"
	SourceIdentity string              // sts:SourceIdentity, or empty
}

// Caller returns a new caller that acts as p. The facts of the request are for
// the protocol in front to fill in.
func (p *Principal) Caller() *Caller { return &Caller{Principal: *p} }

// Caller is a principal and the facts of the request that it makes. The zero
// value is an anonymous caller.
type Caller struct {
	Principal

	SourceIP        netip.Addr // the client's; not valid when the request came through no network
	Endpoint        string     // id of the private endpoint that it came through, "vpce-…"; empty for none
	VPC             string     // the one that the endpoint is in, "vpc-…"; empty for none
	SecureTransport bool
	RequestID       string
	UserAgent       string

	// Arrived is a time before the request was authenticated, by the machine's own clock; zero where that is not known. What was
	// known of who may do what at any time since then is good enough for it, see [Generation.Since].
	Arrived time.Time
}

// Who returns the principal's ARN, or [AnonymousARN].
func (c *Caller) Who() string {
	if c == nil || c.ARN == "" {
		return AnonymousARN
	}
	return c.ARN
}

// SystemCaller returns a caller for the server's own work in an account. The
// work, a word such as "collection", is how audit records tell one kind from another.
func SystemCaller(account, work string) *Caller {
	return &Caller{Principal: Principal{
		Account: account,
		ARN:     "arn:aws:iam::" + account + ":system/" + work,
		Type:    System,
	}}
}

// RootARN returns the ARN of an account's root principal.
func RootARN(account string) string {
	return "arn:aws:iam::" + account + ":root"
}
