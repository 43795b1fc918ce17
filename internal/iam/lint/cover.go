package lint

import (
	"slices"

	"github.com/sekisho/sekisho/internal/iam/policy"
)

// coversAction reports whether the statement is about all that a pattern of actions matches.
func (st *statement) coversAction(pattern string) bool {
	if st.NotAction {
		return !slices.ContainsFunc(st.Actions, func(t policy.Text) bool { return overlap(lower(t.Text), lower(pattern)) })
	}
	return slices.ContainsFunc(st.Actions, func(t policy.Text) bool { return glob(t.Text, pattern, true) })
}

// coversResource is coversAction for resources.
func (st *statement) coversResource(pattern string) bool {
	switch {
	case st.Resources == nil:
		return true
	case st.NotResource:
		return !slices.ContainsFunc(st.Resources, func(t policy.Text) bool { return overlap(variableForm.ReplaceAllString(t.Text, "*"), pattern) })
	}
	return slices.ContainsFunc(st.Resources, func(t policy.Text) bool { return coversARN(t.Text, pattern) })
}

// coversPrincipals reports whether the statement is about all whom another is about.
func (st *statement) coversPrincipals(o *statement) bool {
	if !st.HasPrincipal {
		return true
	}
	if _, all := st.anybody(); all {
		return true
	}
	if st.NotPrincipal || o.NotPrincipal || !o.HasPrincipal {
		return false
	}
	for _, p := range o.Principals {
		if !slices.ContainsFunc(st.Principals, func(q policy.PrincipalText) bool { return q.Type == p.Type && q.Text.Text == p.Text.Text }) {
			return false
		}
	}
	return true
}

func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// covered finds an Allow of which an unconditional Deny leaves nothing.
func (c *checker) covered() {
	var denies []*statement
	for _, st := range c.statements {
		if st.Deny && len(st.Tests) == 0 && !st.dead {
			denies = append(denies, st)
		}
	}
	for _, st := range c.statements {
		if st.Deny || st.dead || st.NotAction || st.NotResource {
			continue
		}
		resources := []string{"*"}
		if st.Resources != nil {
			resources = nil
			for _, t := range st.Resources {
				resources = append(resources, t.Text)
			}
		}
		if n := len(st.Actions) * len(resources) * len(denies); n == 0 || n > 50_000 {
			continue
		}
		var by *statement
		all := true
		for _, a := range st.Actions {
			for _, r := range resources {
				i := slices.IndexFunc(denies, func(d *statement) bool {
					return d.coversAction(a.Text) && d.coversResource(r) && d.coversPrincipals(st)
				})
				if all = all && i >= 0; !all {
					break
				}
				by = denies[i]
			}
		}
		if all {
			c.on(st, Warning, "allow-under-deny", st.Position, "Remove the Allow, or except it from the Deny.",
				"all that this Allow allows is denied by statement %s, and a Deny wins", by.Label)
		}
	}
}

// whole finds what the statements do not do together.
func (c *checker) whole() {
	for _, st := range c.statements {
		if !st.Deny {
			return
		}
	}
	st := c.statements
	if len(st) == 0 {
		return
	}
	switch c.kind {
	case Identity:
		for _, s := range st {
			if s.NotAction {
				c.on(s, Note, "allows-nothing", s.Actions[0].Position, "Add an Allow, here or in another policy.", "a Deny with NotAction allows nothing: what it leaves out needs an Allow")
				return
			}
		}
		c.on(st[0], Note, "allows-nothing", st[0].Position, "", "the policy has no Allow: it only limits what others allow")
	case Boundary, Trust, Endpoint:
		c.on(st[0], Warning, "allows-nothing", st[0].Position, "Add an Allow.", "a %s policy without an Allow lets nothing through", c.kind)
	}
}
