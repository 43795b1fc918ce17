package decide

import (
	"strings"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/policy"
)

// missing says that no policy of a kind allows an action, in AWS's words ("Troubleshoot access denied error messages" in
// the IAM User Guide).
func missing(kind, action string) string {
	return "because no " + kind + " allows the " + action + " action"
}

// reason says why a request was refused.
func reason(d policy.Decision, c *iam.Caller, r *iam.Request) string {
	text := d.Because(r.Action)
	if d.Outcome != policy.ExplicitDeny || d.Statement == "" || !own(d.Layer, c, r) {
		return text
	}
	statement := d.Statement
	if strings.Trim(statement, "0123456789") != "" {
		statement = `"` + statement + `"`
	}
	return text + " (statement " + statement + " of " + d.Policy + ")"
}

// own reports whether the policies of a layer belong to the caller's account, which may know them.
func own(l policy.Layer, c *iam.Caller, r *iam.Request) bool {
	switch l {
	case policy.IdentityLayer, policy.BoundaryLayer, policy.SessionLayer:
		return true
	case policy.ResourceLayer:
		return c.Account != "" && c.Account == r.Resource.Account
	default:
		return false
	}
}
