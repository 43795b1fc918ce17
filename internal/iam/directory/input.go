package directory

import "time"

// NewUser is a user to be made.
type NewUser struct {
	Name     string
	Path     string // "" for "/"
	Boundary string // ARN of a policy, or ""
	Tags     []Tag
}

// NewRole is a role to be made.
type NewRole struct {
	Name, Path  string
	Trust       string // document
	Description string
	MaxSession  time.Duration // 0 for an hour
	Boundary    string
	Tags        []Tag
}

// RoleUpdate is what may change of a role. Nil means as it is.
type RoleUpdate struct {
	Description *string
	MaxSession  *time.Duration
}

// NewPolicy is a managed policy to be made.
type NewPolicy struct {
	Name, Path  string
	Document    string
	Description string
	Tags        []Tag
}

// NewProvider is an OIDC provider to be made.
type NewProvider struct {
	URL         string // "https://…"
	ClientIDs   []string
	Thumbprints []string
	Tags        []Tag
}

// NewProfile is an instance profile to be made.
type NewProfile struct {
	Name, Path string
	Tags       []Tag
}

// PolicyFilter says which managed policies are wanted.
type PolicyFilter struct {
	Scope        string // "All" or "", "AWS", "Local"
	OnlyAttached bool
	PathPrefix   string // "" for all
	Usage        string // "" , "PermissionsPolicy", "PermissionsBoundary"
}

// AttachmentFilter says which of those who have a policy are wanted.
type AttachmentFilter struct {
	Kind       Kind // "" for all
	PathPrefix string
	Usage      string // as in PolicyFilter; "" is both
}
