package policy

import "strconv"

// Kind says what a policy is attached to, and so what its grammar is.
type Kind uint8

// The kinds of policies.
const (
	Identity        Kind = iota // of users, groups and roles; also permissions boundaries and session policies
	Resource                    // of a resource, such as a repository
	Trust                       // of a role: who may assume it
	Endpoint                    // of a private endpoint
	ServiceControl              // of an organization, for its principals
	ResourceControl             // of an organization, for its resources
)

// String returns what messages call the kind.
func (k Kind) String() string {
	return [...]string{"identity policy", "resource policy", "trust policy", "endpoint policy", "service control policy",
		"resource control policy"}[min(k, ResourceControl)]
}

// hasPrincipals reports whether statements of the kind name principals.
func (k Kind) hasPrincipals() bool {
	return k == Resource || k == Trust || k == Endpoint || k == ResourceControl
}

// Policy is a compiled document. It is immutable.
type Policy struct {
	document   string
	kind       Kind
	variables  bool // Version 2012-10-17
	statements []statement
	deny       []int // indexes of the statements with that effect
	allow      []int

	spans func() []span   // of the statements; found when they are first asked for
	keys  func() []string // likewise
}

// Document returns the document as it was given to [Parse].
func (p *Policy) Document() string { return p.document }

// String returns the document as it was given to [Parse].
func (p *Policy) String() string { return p.document }

// Statements returns how many there are.
func (p *Policy) Statements() int { return len(p.statements) }

// Kind returns what the policy was parsed as.
func (p *Policy) Kind() Kind { return p.kind }

// statement is one statement.
type statement struct {
	sid   string
	label string // the Sid or, without one, the number from 1
	deny  bool

	// principals is nil where the kind has none, or where a lenient document lacks them.
	principals   []principalPattern
	notPrincipal bool
	nobody       bool // there is no Principal though the kind needs one: nobody matches

	actions   []actionPattern
	notAction bool

	resources   []resourcePattern
	notResource bool
	attached    bool // no Resource element: the resource that the policy is attached to

	conditions []condition
}

func newLabel(sid string, index int) string {
	if sid != "" {
		return sid
	}
	return strconv.Itoa(index + 1)
}
