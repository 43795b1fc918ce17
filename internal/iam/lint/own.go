package lint

import (
	"slices"
	"strings"
)

// Action is what policies can allow of one of the server's own services, for people to read.
type Action struct {
	Name      string   `json:"action"`    // "git:Push"
	Resources []string `json:"resources"` // what it is asked about: "arn:aws:git:<region>:<account>:<project>/<repository>"; "*": it has no resource
	Keys      []string `json:"keys"`      // condition keys of the service that its requests have
}

// OwnServices are those that AWS has not, in the order of the tables.
func OwnServices() []string { return []string{"git", "pipelines", "agents"} }

// placeholders are what stands for wildcards in the forms of resources.
var placeholders = map[string]string{
	"agents pool":           "pool/<pool>",
	"git account":           "*",
	"git repository":        "<project>/<repository>",
	"pipelines connection":  "project/<project>/connection/<connection>",
	"pipelines environment": "project/<project>/environment/<environment>",
	"pipelines pipeline":    "project/<project>/pipeline/<pipeline>",
	"pipelines project":     "project/<project>",
	"pipelines run":         "project/<project>/run/<run>",
	"pipelines variables":   "project/<project>/variables/<group>",
}

// Actions returns the actions of one of the server's own services, by name; nil of another.
func Actions(service string) []Action {
	if !ours(service) {
		return nil
	}
	var all []Action
	for _, a := range catalogue {
		if a.service != service {
			continue
		}
		shown := Action{Name: a.name, Resources: []string{}, Keys: []string{}}
		for _, form := range a.forms {
			shown.Resources = append(shown.Resources, describeForm(form))
		}
		for _, k := range keySpecs {
			if prefix, _, _ := strings.Cut(k.name, ":"); prefix == service && slices.ContainsFunc(k.actions, func(p string) bool { return glob(p, a.name, true) }) {
				shown.Keys = append(shown.Keys, k.name)
			}
		}
		all = append(all, shown)
	}
	slices.SortFunc(all, func(a, b Action) int { return strings.Compare(a.Name, b.Name) })
	return all
}

func describeForm(form string) string {
	if form == literalStar {
		return "*"
	}
	for name, rest := range placeholders {
		service, _, _ := strings.Cut(name, " ")
		if slices.Contains(resourceForms[name], form) {
			return "arn:aws:" + service + ":<region>:<account>:" + rest
		}
	}
	return form
}
