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
}

// Caller returns a new caller that acts as p. The facts of the request are for
// the protocol in front to fill in.
func (p *Principal) Caller() *Caller {
	return &Caller{
		Account:     p.Account,
		ARN:         p.ARN,
		Type:        p.Type,
		AccessKeyID: p.AccessKeyID,
		TokenIssued: p.TokenIssued,
	}
}

// Caller is a principal and the facts of the request that it makes. The zero
// value is an anonymous caller.
type Caller struct {
	Account     string // 12 digits; empty when anonymous
	ARN         string // empty when anonymous
	Type        PrincipalType
	AccessKeyID string    // the key that signed, or that the token was issued to
	TokenIssued time.Time // zero unless the credential is a token

	SourceIP        netip.Addr // not valid when the request came through no network
	SecureTransport bool
	RequestID       string
	UserAgent       string
}

// Principal returns the principal's ARN, or [AnonymousARN].
func (c *Caller) Principal() string {
	if c == nil || c.ARN == "" {
		return AnonymousARN
	}
	return c.ARN
}

// SystemCaller returns a caller for the server's own work in an account. The
// work, a word such as "collection", is how audit records tell one kind from another.
func SystemCaller(account, work string) *Caller {
	return &Caller{
		Account: account,
		ARN:     "arn:aws:iam::" + account + ":system/" + work,
		Type:    System,
	}
}

// RootARN returns the ARN of an account's root principal.
func RootARN(account string) string {
	return "arn:aws:iam::" + account + ":root"
}
