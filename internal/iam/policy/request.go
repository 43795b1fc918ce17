package policy

// PrincipalType says what kind of principal makes a request.
type PrincipalType uint8

// The kinds of principals. The zero value is Anonymous.
const (
	Anonymous     PrincipalType = iota // no credential
	Root                               // an account's root user
	User                               // an IAM user
	AssumedRole                        // a session of a role
	FederatedUser                      // a session of sts:GetFederationToken
	Federated                          // an identity of a provider, before it has assumed a role
	Service                            // a service, such as ec2.amazonaws.com
)

// String returns the name of the type as AWS writes it.
func (t PrincipalType) String() string {
	names := [...]string{"Anonymous", "Root", "User", "AssumedRole", "FederatedUser", "Federated", "Service"}
	if int(t) < len(names) {
		return names[t]
	}
	return "Unknown"
}

// Principal is who asks.
type Principal struct {
	Type PrincipalType
	// ARN of the principal: of the user, of the session (arn:aws:sts::…:assumed-role/name/session)
	// or of the identity provider; the name of a service. Empty when anonymous.
	ARN     string
	Account string // 12 digits; empty for services and anonymous callers
	RoleARN string // of an assumed role: arn:aws:iam::<account>:role/<path><name>
	// RolePathUnknown says that RoleARN was made from the ARN of a session, which
	// does not tell the path: roles are then compared by account and name.
	RolePathUnknown bool
}

// Request is what is decided on.
type Request struct {
	Principal Principal
	Action    string // "ecr:PutImage"
	// Resource is the ARN, or "*" for an action that has none.
	Resource        string
	ResourceAccount string // the resource's owner, 12 digits
	Context         Context
	// ResourcePattern makes * and ? in Resource stand for the many resources that
	// they match: the question is whether one of them is allowed; see question.go.
	// It is for questions, not for requests.
	ResourcePattern bool
}

// Named is a policy with the name that reasons call it by, such as "inline
// policy push" or the ARN of a managed policy.
type Named struct {
	Name   string
	Policy *Policy
}

// Level is one level of an organization: its root, a unit, or the account.
type Level struct {
	Name     string
	Policies []Named
}

// Policies are those that apply to a request. A nil Policy in a Named allows
// nothing, and is not left out.
type Policies struct {
	Identity []Named // of the user and its groups, or of the role
	Resource []Named // of the resource that the request names; a role's trust policy

	// Boundaries, Session and Endpoint limit what else allows. They apply when
	// they are not empty, or when Has… says that an empty list is one that
	// allows nothing. Any of several allows.
	Boundaries, Session, Endpoint        []Named
	HasBoundary, HasSession, HasEndpoint bool

	// ServiceControl are those of the principal's account, ResourceControl those
	// of the resource's; every level must allow. RCPFullAWSAccess, which AWS
	// attaches to every level, is implied in ResourceControl.
	ServiceControl, ResourceControl []Level
}

// Outcome is the answer to a request. The zero value is ImplicitDeny.
type Outcome uint8

// The outcomes.
const (
	ImplicitDeny Outcome = iota // nothing allows
	ExplicitDeny                // a statement denies
	Allowed
)

// String returns the outcome as simulations print it.
func (o Outcome) String() string {
	switch o {
	case Allowed:
		return "Allowed"
	case ExplicitDeny:
		return "ExplicitlyDenied"
	default:
		return "ImplicitlyDenied"
	}
}

// MarshalText implements [encoding.TextMarshaler].
func (o Outcome) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// Layer is a set of policies that has its own say.
type Layer uint8

// The layers in the order in which reasons list them.
const (
	NoLayer Layer = iota
	ResourceControlLayer
	ServiceControlLayer
	EndpointLayer
	ResourceLayer
	IdentityLayer
	BoundaryLayer
	SessionLayer
)

// String returns the name of the layer as refusals name it.
func (l Layer) String() string {
	return [...]string{"", "resource control policy", "service control policy", "VPC endpoint policy", "resource-based policy",
		"identity-based policy", "permissions boundary", "session policy"}[min(l, SessionLayer)]
}

// MarshalText implements [encoding.TextMarshaler].
func (l Layer) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// Decision is the answer and what decided.
type Decision struct {
	Outcome Outcome
	Layer   Layer // that denied or, when allowed, that allowed; NoLayer where no policy was needed
	// Policy and Statement are what decided; empty when nothing allowed.
	Policy    string
	Statement string // the Sid or, without one, the number from 1
}
