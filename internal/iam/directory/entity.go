package directory

import "time"

// Kind is a kind of things that have a name in an account.
type Kind string

// The kinds, as they stand in ARNs.
const (
	KindUser     Kind = "user"
	KindGroup    Kind = "group"
	KindRole     Kind = "role"
	KindPolicy   Kind = "policy"
	KindProfile  Kind = "instance-profile"
	KindProvider Kind = "oidc-provider"
)

// Ref names a thing in the caller's account: by its name, or, a policy or provider, by its ARN.
type Ref struct {
	Kind Kind
	Name string
}

// UserNamed refers to a user; "" is the caller.
func UserNamed(name string) Ref { return Ref{KindUser, name} }

// GroupNamed refers to a group.
func GroupNamed(name string) Ref { return Ref{KindGroup, name} }

// RoleNamed refers to a role.
func RoleNamed(name string) Ref { return Ref{KindRole, name} }

// ProfileNamed refers to an instance profile.
func ProfileNamed(name string) Ref { return Ref{KindProfile, name} }

// PolicyAt refers to a managed policy.
func PolicyAt(arn string) Ref { return Ref{KindPolicy, arn} }

// ProviderAt refers to an OIDC provider.
func ProviderAt(arn string) Ref { return Ref{KindProvider, arn} }

// Page is a part of a list: the first Limit items whose name comes after After. Lists of policies go by ARN, of versions and
// keys by id, where nothing else is said. Limit is 1 to 1000; 0 means 100.
type Page struct {
	After string
	Limit int
}

// Tag is a tag. Its key is unique in a resource whatever its case.
type Tag struct{ Key, Value string }

// Entity is what all kinds have in common.
type Entity struct {
	ID      string // "AIDA…", "AGPA…", "AROA…", "ANPA…", "AIPA…"; of a provider none that AWS would show
	Account string
	Name    string // of a provider its URL without the scheme
	Path    string // "/" or "/a/b/"
	ARN     string
	Created time.Time
	Tags    []Tag // by key; nil in lists
}

// User is a user of an account.
type User struct {
	Entity
	Boundary string // ARN of the policy that is the permissions boundary, or empty
}

// Group is a group of users.
type Group struct{ Entity }

// Role is a role.
type Role struct {
	Entity
	Trust          string // the document that says who may assume it, as it was given
	Description    string
	MaxSession     time.Duration // 1 h to 12 h
	Boundary       string        // as of User
	LastUsed       time.Time     // zero for never
	LastUsedRegion string
}

// ManagedPolicy is a policy with a name and versions. Those of AWS have the account "aws" and can't be changed.
type ManagedPolicy struct {
	Entity
	Description    string
	DefaultVersion string // "v1"
	Updated        time.Time
	Attached       int // how many users, groups and roles it is attached to, in the caller's account
	Boundaries     int // how many users and roles it is the boundary of
}

// PolicyVersion is one of at most five documents of a policy.
type PolicyVersion struct {
	ID       string // "v3"
	Default  bool
	Document string // as it was given; empty in lists
	Created  time.Time
}

// Provider is an OIDC identity provider.
type Provider struct {
	Entity
	URL         string   // without "https://", as AWS shows it
	ClientIDs   []string // audiences
	Thumbprints []string // SHA-1 of certificates, for issuers whose certificate no known authority vouches for
}

// Profile is an instance profile.
type Profile struct {
	Entity
	Roles []Role // one at most
}

// AccessKey is an access key of a user or of root, without the secret.
type AccessKey struct {
	ID       string
	UserName string // empty of root's
	Status   string // "Active", "Inactive"
	Created  time.Time
}

// KeyUse says when an access key was last used. The zero time and "N/A" mean never.
type KeyUse struct {
	UserName string // empty of root's
	At       time.Time
	Service  string // "ecr"
	Region   string
}

// AttachedPolicy is a managed policy on somebody.
type AttachedPolicy struct{ Name, ARN string }

// Attachment is somebody who has a managed policy.
type Attachment struct {
	Kind     Kind // user, group or role
	Name, ID string
}
