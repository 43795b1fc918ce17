package policy

import "strings"

// actionPattern is an entry of Action or NotAction. Case does not count.
type actionPattern struct {
	pattern
	never bool // a malformed entry that a lenient document may have
}

// newActionPattern returns the compiled entry and what is wrong with it.
func newActionPattern(s string) (actionPattern, string) {
	tokens, _ := tokenize(s, syntax{wildcards: true})
	a := actionPattern{pattern: newPattern(s, tokens, true)}
	if s == "*" {
		return a, ""
	}
	service, name, ok := strings.Cut(s, ":")
	switch {
	case !ok || service == "":
		a.never = strings.Trim(s, "*") != ""
		return a, "actions are written service:Action, such as ecr:GetDownloadUrlForLayer; * alone is every action"
	case name == "":
		a.never = true
		return a, "the name of the action is missing after the colon; " + service + ":* is every action of the service"
	case strings.ContainsAny(service, "?*") && s != "*:*":
		a.never = true
		return a, "the service in an action can't have wildcards"
	}
	for _, c := range []byte(s) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte(":*?-_.", c) >= 0) {
			a.never = true
			return a, "actions consist of letters, digits and wildcards"
		}
	}
	return a, ""
}

// matchAction reports whether the statement is about an action.
func (st *statement) matchAction(e *evaluator) bool {
	for i := range st.actions {
		if a := &st.actions[i]; !a.never && a.match(e, e.r.Action) {
			return !st.notAction
		}
	}
	return st.notAction
}
