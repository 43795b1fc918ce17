package lint

import (
	"strings"

	"github.com/sekisho/sekisho/internal/iam/policy"
)

// guess returns the kind that a document looks like.
func guess(doc []byte) Kind {
	p, err := policy.ParseLenient(doc, policy.Resource)
	if err != nil {
		return Identity
	}
	o := p.Outline()
	principals, resources, elsewhere := false, false, false
	services := map[string]bool{}
	for _, st := range o.Clauses {
		principals = principals || st.HasPrincipal
		resources = resources || st.Resources != nil
		for _, r := range st.Resources {
			elsewhere = elsewhere || r.Text != "*" && !strings.HasPrefix(r.Text, "arn:aws:ecr:")
		}
		for _, a := range st.Actions {
			services[serviceOf(a.Text)] = true
		}
	}
	only := func(s string) bool { return len(services) == 1 && services[s] }
	switch {
	case !principals:
		return Identity
	case only("sts") && !resources:
		return Trust
	case only("ecr") && !resources:
		return Repository
	case only("ecr") && !elsewhere:
		return Registry
	case only("secretsmanager"):
		return Secret
	}
	return Resource
}
