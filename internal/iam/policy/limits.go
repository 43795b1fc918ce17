package policy

import "strings"

// Limits on the size of documents in characters, as [Size] counts them ("IAM
// and AWS STS quotas"). Which applies depends on the call that stores one, so
// that [Parse] does not hold documents to them. Inline policies are limited in
// sum: all those of one user, group or role together.
const (
	MaxManagedPolicy = 6144
	MaxUserInline    = 2048
	MaxGroupInline   = 5120
	MaxRoleInline    = 10240
	MaxTrustPolicy   = 2048 // unless raised; 8192 is the most
	MaxSessionPolicy = 2048
	MaxEndpoint      = 20480 // of a private endpoint
)

// Size returns the size of a document as IAM counts it: in characters, without
// the white space between the parts of the JSON.
func Size(doc string) int {
	n, quoted, escaped := 0, false, false
	for _, c := range doc {
		switch {
		case quoted:
			n++
			switch {
			case escaped:
				escaped = false
			case c == '\\':
				escaped = true
			case c == '"':
				quoted = false
			}
		case strings.ContainsRune(" \t\r\n", c):
		default:
			n++
			quoted = c == '"'
		}
	}
	return n
}
