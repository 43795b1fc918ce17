package policy

import "strings"

// Context holds the condition keys of a request. A decision asks it from one
// goroutine; those that are decided on at the same time need one each, unless an
// implementation is safe for concurrent use.
type Context interface {
	// Values returns the values of a key that is given in lower case, and
	// whether the request has it.
	Values(lowerKey string) (values []string, ok bool)
}

// MapContext is a Context whose keys are in lower case.
type MapContext map[string][]string

// Values implements [Context].
func (m MapContext) Values(lowerKey string) ([]string, bool) {
	values, ok := m[lowerKey]
	return values, ok
}

// derived says which fact of the request a key stands for when the context does not have it.
type derived uint8

const (
	notDerived derived = iota
	principalARN
	principalAccount
	principalType
	principalIsService
	principalServiceName
	userName
	userID
	resourceAccount
	federatedProvider
)

var derivedKeys = map[string]derived{
	"aws:principalarn":          principalARN,
	"aws:principalaccount":      principalAccount,
	"aws:principaltype":         principalType,
	"aws:principalisawsservice": principalIsService,
	"aws:principalservicename":  principalServiceName,
	"aws:username":              userName,
	"aws:userid":                userID,
	"aws:resourceaccount":       resourceAccount,
	"aws:federatedprovider":     federatedProvider,
}

// key is a condition key. Names of keys are compared without case.
type key struct {
	name    string // as written
	lower   string
	derived derived
}

func newKey(name string) key {
	lower := strings.ToLower(name)
	return key{name: name, lower: lower, derived: derivedKeys[lower]}
}

// values returns the values of a key. What it returns is valid until the next call.
func (e *evaluator) values(k *key) ([]string, bool) {
	if e.r.Context != nil {
		if values, ok := e.r.Context.Values(k.lower); ok {
			return values, len(values) > 0
		}
	}
	if s, ok := e.derive(k.derived); ok {
		e.scratch[0] = s
		return e.scratch[:], true
	}
	return nil, false
}

// variable returns the value of a policy variable. Keys with several values are none.
func (e *evaluator) variable(t *token) (string, bool) {
	if e.r.Context != nil {
		if values, ok := e.r.Context.Values(t.key.lower); ok {
			if len(values) == 1 {
				return values[0], true
			}
			return t.text, t.hasDefault && len(values) == 0
		}
	}
	if s, ok := e.derive(t.key.derived); ok {
		return s, true
	}
	return t.text, t.hasDefault
}

// derive returns what the request itself says about a key ("AWS global
// condition context keys" and "Request information that you can use for policy
// variables" in the IAM User Guide).
func (e *evaluator) derive(d derived) (string, bool) {
	if d == notDerived {
		return "", false
	}
	p := &e.r.Principal
	switch d {
	case resourceAccount:
		return e.r.ResourceAccount, e.r.ResourceAccount != ""
	case principalType:
		name := [...]string{Anonymous: "Anonymous", Root: "Account", User: "User", AssumedRole: "AssumedRole", FederatedUser: "FederatedUser",
			Federated: "", Service: ""}[min(p.Type, Service)]
		return name, name != ""
	case principalIsService:
		if p.Type == Service {
			return "true", true
		}
		return "false", p.Type != Anonymous
	case principalServiceName:
		return p.ARN, p.Type == Service
	case federatedProvider:
		return p.ARN, p.Type == Federated
	}
	switch p.Type {
	case Root, User, AssumedRole, FederatedUser:
	default:
		return "", false
	}
	switch d {
	case principalARN:
		if p.Type == AssumedRole && p.RoleARN != "" {
			return p.RoleARN, true
		}
		return p.ARN, p.ARN != ""
	case principalAccount:
		return p.Account, p.Account != ""
	case userName:
		return p.ARN[strings.LastIndexByte(p.ARN, '/')+1:], p.Type == User && p.ARN != ""
	case userID:
		return p.Account, p.Type == Root
	}
	return "", false
}
