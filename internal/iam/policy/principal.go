package policy

import "strings"

// principalKind is a form of a Principal entry.
type principalKind uint8

const (
	unknownPrincipal principalKind = iota // of an identity that is gone, of a canonical user: matches nobody
	everyone                              // "*"
	everyAWS                              // {"AWS": "*"}
	anAccount                             // an account's number, or the ARN of its root
	aUser                                 // also sessions of federated users
	aRole
	aSession // of a role
	aProvider
	aService
)

// principalPattern is an entry of Principal or NotPrincipal.
type principalPattern struct {
	kind    principalKind
	source  string
	value   string // ARN, account or name
	account string // of a role
}

// grant is how directly a resource policy names who asks, the weakest first.
type grant uint8

const (
	notNamed  grant = iota
	toAccount       // leaves it to the account's identity policies
	toRole          // within the session's boundary and session policy
	toSelf          // whatever the principal's own policies leave out
)

// newPrincipalPattern returns an entry below one of the types of principals.
func newPrincipalPattern(kind, s string) (principalPattern, string) {
	p := principalPattern{source: s, value: s}
	switch kind {
	case "AWS":
		return newAWSPrincipal(p)
	case "Service":
		p.kind = aService
		if s == "*" || !strings.Contains(s, ".") {
			return p, "a service is named like ec2.amazonaws.com"
		}
	case "Federated":
		p.kind = aProvider
		if s == "*" || !strings.Contains(s, ".") && !strings.HasPrefix(s, "arn:") {
			return p, "a provider is named by its ARN, like arn:aws:iam::111122223333:oidc-provider/issuer"
		}
	case "CanonicalUser":
		p.kind = unknownPrincipal
	default:
		return p, "a principal is one of AWS, Service, Federated and CanonicalUser"
	}
	return p, ""
}

func newAWSPrincipal(p principalPattern) (principalPattern, string) {
	s := p.value
	if s == "*" {
		p.kind = everyAWS
		return p, ""
	}
	if isAccount(s) {
		p.kind = anAccount
		return p, ""
	}
	const want = `write an account's number, the ARN of a user, role or role session, or "*"`
	parts := strings.SplitN(s, ":", 6)
	if len(parts) < 6 || parts[0] != "arn" || parts[1] == "" || parts[3] != "" {
		if uniqueID(s) {
			return p, "" // what AWS puts in place of a principal that was deleted
		}
		return p, "this is no principal; " + want
	}
	if parts[1] != partition {
		return p, "there is no partition " + parts[1] + " here; " + want
	}
	if strings.ContainsAny(s, "*?") {
		return p, "the ARN of a principal can't have wildcards; " + want
	}
	account, name := parts[4], parts[5]
	if !isAccount(account) {
		return p, "the ARN of a principal needs an account of 12 digits"
	}
	kind, rest, _ := strings.Cut(name, "/")
	switch {
	case parts[2] == "iam" && name == "root":
		p.kind, p.value = anAccount, account
	case parts[2] == "iam" && kind == "user" && rest != "",
		parts[2] == "sts" && kind == "federated-user" && rest != "":
		p.kind = aUser
	case parts[2] == "iam" && kind == "role" && rest != "":
		p.kind, p.account = aRole, account
	case parts[2] == "sts" && kind == "assumed-role" && strings.Contains(rest, "/"):
		p.kind, p.account = aSession, account
	default:
		return p, "this is no principal; " + want
	}
	return p, ""
}

// uniqueID reports whether s has the form of the id of an IAM identity.
func uniqueID(s string) bool {
	return len(s) >= 16 && len(s) <= 128 && s[0] == 'A' && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") == ""
}

func isAccount(s string) bool {
	return len(s) == 12 && strings.Trim(s, "0123456789") == ""
}

// match returns how p names who asks.
func (p *principalPattern) match(who *Principal, deny bool) grant {
	switch p.kind {
	case everyone, everyAWS:
		// Identities of providers are trusted by name only.
		if who.Type != Federated || deny {
			return toSelf
		}
	case anAccount:
		if who.Account == "" || who.Account != p.value {
			return notNamed
		}
		switch who.Type {
		case Root:
			return toSelf
		case User, AssumedRole, FederatedUser:
			return toAccount
		}
	case aRole:
		if who.Type == AssumedRole && (who.RoleARN == p.value || who.RolePathUnknown && p.sameRole(who.RoleARN)) {
			return toRole
		}
	case aUser:
		return p.named(who, who.Type == User || who.Type == FederatedUser)
	case aSession:
		return p.named(who, who.Type == AssumedRole)
	case aProvider:
		return p.named(who, who.Type == Federated)
	case aService:
		return p.named(who, who.Type == Service)
	}
	return notNamed
}

func (p *principalPattern) named(who *Principal, kind bool) grant {
	if kind && who.ARN == p.value {
		return toSelf
	}
	return notNamed
}

// sameRole compares roles without their paths: names are unique in an account whatever their case.
func (p *principalPattern) sameRole(arn string) bool {
	const prefix = ":role/"
	i, j := strings.Index(p.value, prefix), strings.Index(arn, prefix)
	return i >= 0 && j >= 0 && p.value[:i] == arn[:j] &&
		strings.EqualFold(p.value[strings.LastIndexByte(p.value, '/'):], arn[strings.LastIndexByte(arn, '/'):])
}

// matchPrincipal returns how the statement names who asks.
func (st *statement) matchPrincipal(e *evaluator) grant {
	if st.nobody {
		return notNamed
	}
	if st.principals == nil {
		return toSelf
	}
	who := &e.r.Principal
	best := notNamed
	for i := range st.principals {
		best = max(best, st.principals[i].match(who, st.deny != st.notPrincipal))
	}
	if !st.notPrincipal {
		return best
	}
	if st.deny {
		if !st.spares(e, best) {
			return toSelf
		}
		return notNamed
	}
	if best == notNamed && who.Type != Federated {
		return toSelf
	}
	return notNamed
}

// spares reports whether who asks is listed in the NotPrincipal of a Deny well
// enough not to be denied ("AWS JSON policy elements: NotPrincipal"). Naming
// the account spares its root only. A session is spared when both itself and
// its role are listed. A principal with a permissions boundary never is: "The
// NotPrincipal element with a Deny effect will always deny any IAM principal
// that has a permissions boundary policy attached" ("Permissions boundaries for IAM entities").
func (st *statement) spares(e *evaluator, best grant) bool {
	who := &e.r.Principal
	if e.bounded && (who.Type == User || who.Type == AssumedRole) {
		return false
	}
	if who.Type != AssumedRole || who.ARN == who.RoleARN {
		return best >= toRole
	}
	role := false
	for i := range st.principals {
		switch p := &st.principals[i]; {
		case p.kind == everyone || p.kind == everyAWS:
			return true
		case p.kind == aRole:
			role = role || p.match(who, true) == toRole
		}
	}
	return role && best == toSelf
}
