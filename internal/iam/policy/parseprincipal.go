package policy

import (
	"fmt"
	"strings"
)

// ParsePrincipal returns the principal that an ARN, or the name of a service or
// of an identity provider, stands for. The ARN of a role stands for a session of it. The path of a
// session's role is not in its ARN; the role's own ARN is then one without a path.
func ParsePrincipal(s string) (Principal, error) {
	if !strings.HasPrefix(s, "arn:") {
		switch {
		case s == "" || strings.ContainsAny(s, " *?/:") || !strings.Contains(s, "."):
			return Principal{}, fmt.Errorf("%q is neither an ARN nor the name of a service or an identity provider", s)
		case s != "cognito-identity.amazonaws.com" && (strings.HasSuffix(s, ".amazonaws.com") || strings.HasSuffix(s, ".amazonaws.com.cn")):
			return Principal{Type: Service, ARN: s}, nil
		default: // accounts.google.com
			return Principal{Type: Federated, ARN: s}, nil
		}
	}
	parts := strings.SplitN(s, ":", 6)
	if len(parts) < 6 || !isAccount(parts[4]) || strings.ContainsAny(s, "*?") {
		return Principal{}, fmt.Errorf("%q is no ARN of a principal", s)
	}
	p := Principal{ARN: s, Account: parts[4]}
	kind, name, _ := strings.Cut(parts[5], "/")
	switch {
	case parts[2] == "iam" && parts[5] == "root":
		p.Type = Root
	case name == "":
		return Principal{}, fmt.Errorf("%q is no ARN of a principal", s)
	case parts[2] == "iam" && kind == "user":
		p.Type = User
	case parts[2] == "iam" && kind == "role":
		p.Type, p.RoleARN = AssumedRole, s
	case parts[2] == "sts" && kind == "assumed-role" && strings.Contains(name, "/"):
		role, _, _ := strings.Cut(name, "/")
		p.Type, p.RoleARN, p.RolePathUnknown = AssumedRole, "arn:"+parts[1]+":iam::"+p.Account+":role/"+role, true
	case parts[2] == "sts" && kind == "federated-user":
		p.Type = FederatedUser
	case parts[2] == "iam" && (kind == "oidc-provider" || kind == "saml-provider"):
		p.Type = Federated
	default:
		return Principal{}, fmt.Errorf("%q is no ARN of a user, role, session, provider or account's root", s)
	}
	return p, nil
}
