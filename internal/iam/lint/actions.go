package lint

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sekisho/sekisho/internal/iam/policy"
)

// actions finds actions that are none, and those that a policy of the kind never decides on.
func (c *checker) actions(st *statement) {
	for _, t := range st.Actions {
		if t.Text == "*" || t.Text == "*:*" {
			if st.NotAction {
				st.dead = true
				c.on(st, Error, "never-matches", t.Position, "Write Action, or name the actions that are to be left out.", "NotAction %q leaves out every action: the statement matches nothing", t.Text)
			}
			continue
		}
		service, name, _ := strings.Cut(t.Text, ":")
		service = strings.ToLower(service)
		switch {
		case !isService(service):
			c.strange(st, t, service, name)
		case len(c.expand(t.Text)) == 0:
			c.unknown(st, t, service, name)
		default:
			c.misplaced(st, t, service)
		}
	}
}

// unknown is about an action that its service does not have.
func (c *checker) unknown(st *statement, t policy.Text, service, name string) {
	if wild(name) {
		c.on(st, Error, "action-matches-nothing", t.Position, "Look the names up: sekisho docs actions, and the operations of the service's API.", "no action of %s matches %q", service, t.Text)
		return
	}
	fix := "Look the name up: actions are called as the operations of the API are."
	c.suggestions--
	if c.suggestions < 0 {
		fix = ""
	} else if other := closest(name, actionNames(service)); other != "" {
		fix = fmt.Sprintf("Did you mean %s:%s?", service, other)
	} else if i := slices.IndexFunc(catalogue, func(a *action) bool { return strings.EqualFold(a.name[len(a.service)+1:], name) }); i >= 0 {
		fix = fmt.Sprintf("Did you mean %s?", catalogue[i].name)
	}
	c.on(st, Error, "unknown-action", t.Position, fix, "%s has no action %q", service, name)
}

// strange is about an action of a service that is not here.
func (c *checker) strange(st *statement, t policy.Text, service, name string) {
	for _, s := range services {
		// erc:PutImage
		if c.suggestions > 0 && distance(service, s) <= 1+len(s)/8 && len(c.expand(s+":"+name)) > 0 {
			c.suggestions--
			c.on(st, Error, "unknown-service", t.Position, fmt.Sprintf("Did you mean %s:%s?", s, name), "there is no service %q", service)
			return
		}
	}
	switch {
	case c.kind == Repository:
		c.on(st, Error, "wrong-service", t.Position, "Leave it out.", "%q is no action of ecr, and a repository's policy has no others: the server refuses it", t.Text)
	case c.kind == Secret || c.kind == Registry:
		c.on(st, Warning, "wrong-service", t.Position, "Leave it out.", "a %s policy never decides on %q", c.kind, t.Text)
	case !c.services[service]:
		c.services[service] = true
		c.on(st, Note, "unknown-service", t.Position, "", "this server has no service %q: what is said of its actions matters elsewhere only", service)
	}
}

// misplaced is about an action that policies of the kind never decide on.
func (c *checker) misplaced(st *statement, t policy.Text, service string) {
	if !c.about(service) {
		switch c.kind {
		case Repository:
			c.on(st, Error, "wrong-service", t.Position, "Leave it out.", "%q is no action of ecr, and a repository's policy has no others: the server refuses it", t.Text)
		case Secret, Registry:
			c.on(st, Warning, "wrong-service", t.Position, "Leave it out.", "a %s policy never decides on %q", c.kind, t.Text)
		}
		return
	}
	if c.kind != Repository && c.kind != Secret || wild(t.Text) || st.NotAction {
		return
	}
	i := slices.IndexFunc(catalogue, func(a *action) bool { return strings.EqualFold(a.name, t.Text) })
	if i < 0 {
		return
	}
	what, where := "repository", "an identity policy"
	if c.kind == Secret {
		what = "secret"
	} else if catalogue[i].forms[0] != literalStar || len(catalogue[i].forms) > 1 {
		where += ", or the registry's"
	}
	switch name := catalogue[i].name; {
	case catalogue[i].plain, name == "ecr:CreateRepository", name == "secretsmanager:CreateSecret":
		c.on(st, Warning, "action-elsewhere", t.Position, "Put it into "+where+".", "%s is not done on a %s that is there: its policy never decides on it", name, what)
	}
}
