package policy

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Access is an action that was done on a resource: an ARN, or "*" for actions that have none.
type Access struct{ Action, Resource string }

// Least returns the identity policy that allows accesses and nothing else: no wildcards, one statement for the resources that the
// same actions were done on. It is indented JSON; without accesses it is "", because a policy without statements is none.
func Least(accesses []Access) string {
	byResource := map[string]map[string]bool{}
	for _, a := range accesses {
		if a.Action == "" || a.Resource == "" {
			continue
		}
		if byResource[a.Resource] == nil {
			byResource[a.Resource] = map[string]bool{}
		}
		byResource[a.Resource][a.Action] = true
	}
	type statement struct {
		Effect   string
		Action   []string
		Resource []string
	}
	byActions := map[string]*statement{}
	for _, resource := range slices.Sorted(maps.Keys(byResource)) {
		actions := slices.Sorted(maps.Keys(byResource[resource]))
		key := strings.Join(actions, " ")
		if byActions[key] == nil {
			byActions[key] = &statement{Effect: "Allow", Action: actions}
		}
		byActions[key].Resource = append(byActions[key].Resource, escapeVariables(resource))
	}
	if len(byActions) == 0 {
		return ""
	}
	doc := struct {
		Version   string
		Statement []*statement
	}{Version: "2012-10-17"}
	for _, key := range slices.Sorted(maps.Keys(byActions)) {
		doc.Statement = append(doc.Statement, byActions[key])
	}
	b, err := json.MarshalIndent(doc, "", "  ")
	if err != nil { // strings only: cannot fail
		panic(fmt.Sprintf("policy: %v", err))
	}
	return string(b)
}

// escapeVariables makes an ARN stand for itself in a policy of version 2012-10-17: the wildcards of those that are not the resource
// "*", or a list of all that an account has, are characters.
func escapeVariables(resource string) string {
	if resource == "*" || strings.HasSuffix(resource, "/*") || strings.HasSuffix(resource, ":*") {
		return resource
	}
	return strings.NewReplacer("$", "${$}", "*", "${*}", "?", "${?}").Replace(resource)
}
