package iam

import (
	"slices"
	"strings"
)

// Scope is what a personal access token is good for, out of what its owner may do.
type Scope string

// The scopes. A token without any is good for all.
const (
	ScopeRegistry  Scope = "registry"  // images
	ScopeGit       Scope = "git"       // repositories of source
	ScopePipelines Scope = "pipelines" // projects, pipelines, runs
	ScopeAgents    Scope = "agents"    // pools, and registering agents
)

// Scopes are all there are.
func Scopes() []Scope { return []Scope{ScopeRegistry, ScopeGit, ScopePipelines, ScopeAgents} }

// scopeActions are the actions of each.
var scopeActions = map[Scope]string{
	ScopeRegistry: `"ecr:*","ecr-public:*"`, ScopeGit: `"git:*"`, ScopePipelines: `"pipelines:*"`, ScopeAgents: `"agents:*"`,
}

// scopePolicies returns what limits a token, as session policies limit a session. A scope that is not known, of a newer
// server, allows nothing. Nil: nothing limits it.
func scopePolicies(scopes []Scope) []string {
	if len(scopes) == 0 {
		return nil
	}
	var actions []string
	for _, scope := range scopes {
		if a := scopeActions[scope]; a != "" {
			actions = append(actions, a)
		}
	}
	if actions == nil {
		return []string{}
	}
	return []string{`{"Version":"2012-10-17","Statement":[{"Sid":"scopes","Effect":"Allow","Action":[` + strings.Join(actions, ",") + `],"Resource":"*"}]}`}
}

func joinScopes(scopes []Scope) string {
	texts := make([]string, len(scopes))
	for i, s := range scopes {
		texts[i] = string(s)
	}
	return strings.Join(texts, ",")
}

func splitScopes(text string) []Scope {
	if text == "" {
		return nil
	}
	var scopes []Scope
	for s := range strings.SplitSeq(text, ",") {
		scopes = append(scopes, Scope(s))
	}
	return scopes
}

// checkScopes returns scopes in their order, each once.
func checkScopes(scopes []Scope) ([]Scope, error) {
	var all []Scope
	for _, known := range Scopes() {
		if slices.Contains(scopes, known) {
			all = append(all, known)
		}
	}
	for _, s := range scopes {
		if !slices.Contains(all, s) {
			return nil, tokenErrorf("there is no scope %q; there are %s, and without any the token is good for all that its owner may do", s, strings.ReplaceAll(joinScopes(Scopes()), ",", ", "))
		}
	}
	return all, nil
}
