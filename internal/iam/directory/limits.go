package directory

import (
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sekisho/sekisho/internal/iam/policy"
)

// Sizes of names and texts, from the IAM API Reference.
const (
	maxARN         = 2048
	maxPath        = 512
	maxDescription = 1000
	maxTagKey      = 128
	maxTagValue    = 256
	maxURL         = 255

	minSession = time.Hour
	maxSession = 12 * time.Hour
)

// Quotas of AWS by default or, where the default can be raised, what it can be raised to.
const (
	maxTags            = 50
	maxAccessKeys      = 2
	maxVersions        = 5
	maxPolicySize      = policy.MaxManagedPolicy
	maxTrustSize       = policy.MaxTrustPolicy
	maxAttached        = 10
	maxGroupsPerUser   = 10
	maxClientIDs       = 100
	maxThumbprints     = 5
	maxRolesPerProfile = 1
	maxUserInlineSize  = policy.MaxUserInline
	maxGroupInlineSize = policy.MaxGroupInline
	maxRoleInlineSize  = policy.MaxRoleInline
)

// limit is a quota as refusals name it.
type limit struct {
	name  string
	limit int
}

// perAccount is how many of a kind an account can have.
var perAccount = map[Kind]limit{
	KindUser:     {"UsersPerAccount", 5000},
	KindGroup:    {"GroupsPerAccount", 300},
	KindRole:     {"RolesPerAccount", 5000},
	KindPolicy:   {"PoliciesPerAccount", 5000},
	KindProfile:  {"InstanceProfilesPerAccount", 5000},
	KindProvider: {"OpenIdConnectProvidersPerAccount", 100},
}

// inlineSizes is how large the inline policies of one can be together.
var inlineSizes = map[Kind]int{KindUser: maxUserInlineSize, KindGroup: maxGroupInlineSize, KindRole: maxRoleInlineSize}

func quota(l limit) *Error {
	return errf(LimitExceeded, "Cannot exceed quota for %s: %d", l.name, l.limit)
}

// actionNames is how the kinds are called in actions.
var actionNames = map[Kind]string{
	KindUser: "User", KindGroup: "Group", KindRole: "Role", KindPolicy: "Policy", KindProfile: "InstanceProfile", KindProvider: "OpenIDConnectProvider",
}

// nameParameters is how the parameters with a name are called, and how long a name can be.
var nameParameters = map[Kind]limit{
	KindUser: {"userName", 64}, KindGroup: {"groupName", 128}, KindRole: {"roleName", 64}, KindPolicy: {"policyName", 128},
	KindProfile: {"instanceProfileName", 128},
}

func checkName(kind Kind, name string) error { return checkText(nameParameters[kind], name) }

// checkText checks a name: letters, digits and +=,.@_-.
func checkText(l limit, name string) error {
	if name == "" || len(name) > l.limit {
		return errf(ValidationError, "1 validation error detected: Value at '%s' failed to satisfy constraint: Member must have length between 1 and %d", l.name, l.limit)
	}
	for _, c := range []byte(name) {
		if !letterOrDigit(c) && !strings.ContainsRune("+=,.@_-", rune(c)) {
			return errf(ValidationError, "The specified value for %s is invalid. It must contain only alphanumeric characters and/or the following: +=,.@_-", l.name)
		}
	}
	return nil
}

// isAccount reports whether s has the form of an account's number.
func isAccount(s string) bool {
	return len(s) == 12 && strings.Trim(s, "0123456789") == ""
}

func letterOrDigit(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// checkPath checks "/" or "/…/", and returns "/" for nothing.
func checkPath(path string) (string, error) {
	if path == "" {
		return "/", nil
	}
	if len(path) > maxPath || path[0] != '/' || path[len(path)-1] != '/' || path == "//" || !printable(path) {
		return "", errf(ValidationError, "The specified value for path is invalid. It must begin and end with / and contain only alphanumeric characters and/or / characters.")
	}
	return path, nil
}

func checkPathPrefix(prefix string) error {
	if prefix != "" && (len(prefix) > maxPath || prefix[0] != '/' || !printable(prefix)) {
		return errf(ValidationError, "The specified value for pathPrefix is invalid. It must begin with the / character and contain only alphanumeric characters and/or / characters.")
	}
	return nil
}

// printable reports whether s has only the ASCII characters that show, without space.
func printable(s string) bool {
	for _, c := range []byte(s) {
		if c < 0x21 || c > 0x7e {
			return false
		}
	}
	return true
}

func checkDescription(s string) error {
	if utf8.RuneCountInString(s) > maxDescription {
		return errf(ValidationError, "1 validation error detected: Value at 'description' failed to satisfy constraint: Member must have length less than or equal to %d", maxDescription)
	}
	for _, c := range s {
		ok := c == '\t' || c == '\n' || c == '\r' || c >= 0x20 && c <= 0x7e || c >= 0xa1 && c <= 0xff
		if !ok {
			return errf(ValidationError, "1 validation error detected: Value at 'description' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\u0009\\u000A\\u000D\\u0020-\\u007E\\u00A1-\\u00FF]*")
		}
	}
	return nil
}

func checkMaxSession(d time.Duration) error {
	if d < minSession || d > maxSession || d%time.Second != 0 {
		return errf(ValidationError, "1 validation error detected: Value '%d' at 'maxSessionDuration' failed to satisfy constraint: Member must have value between %d and %d",
			int64(d/time.Second), int64(minSession/time.Second), int64(maxSession/time.Second))
	}
	return nil
}

// size is what quotas count of a document: everything but white space.
func size(document string) int {
	n := 0
	for _, c := range document {
		switch c {
		case ' ', '\t', '\n', '\r':
		default:
			n++
		}
	}
	return n
}
