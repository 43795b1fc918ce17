package lint

import (
	"fmt"

	"github.com/sekisho/sekisho/internal/iam/policy"
)

// Limits of ECR and Secrets Manager on the documents as they are given, in characters.
const (
	maxRegistryDocument = 10_240 // also of a repository, in bytes
	maxSecretDocument   = 20_480
)

// size holds the document to the limits of its kind ("IAM and AWS STS quotas", "Amazon ECR service quotas", PutResourcePolicy).
func (c *checker) size(doc string) {
	n, most, what := policy.Size(doc), 0, "characters without white space"
	switch c.kind {
	case Boundary:
		most = policy.MaxManagedPolicy
	case Trust:
		most = policy.MaxTrustPolicy
	case Repository:
		n, most, what = len(doc), maxRegistryDocument, "bytes"
	case Registry:
		n, most, what = len([]rune(doc)), maxRegistryDocument, "characters"
	case Secret:
		n, most, what = len([]rune(doc)), maxSecretDocument, "characters"
	case Endpoint:
		most = policy.MaxEndpoint
	case Identity:
		most = policy.MaxRoleInline
		if n > policy.MaxManagedPolicy && n <= most {
			c.add(Warning, "size", start, "", fmt.Sprintf("the document has %d characters without white space: too many for a managed policy (%d), a user (%d) or a group (%d)",
				n, policy.MaxManagedPolicy, policy.MaxUserInline, policy.MaxGroupInline), "It fits into a role as an inline policy only; else split it.")
			return
		}
	default:
		return
	}
	switch {
	case n > most:
		c.add(Error, "size", start, "", fmt.Sprintf("the document has %d %s, and a policy of this kind has at most %d", n, what, most), "Split it, or use wildcards.")
	case n > most*9/10:
		c.add(Note, "near-limit", start, "", fmt.Sprintf("the document has %d %s of the %d that a policy of this kind can have", n, what, most), "")
	}
}

var start = policy.Position{Line: 1, Column: 1}
