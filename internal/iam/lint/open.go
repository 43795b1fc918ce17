package lint

import (
	"slices"
	"strings"
)

// open finds what restricts less than it seems to: a Deny that lets those through who lack the key it asks for, and an
// Allow that takes them in.
func (c *checker) open(st *statement) {
	if c.kind.hasPrincipals() && st.NotPrincipal {
		at := st.Principals[0].Position
		if st.Deny {
			c.on(st, Warning, "notprincipal-deny", at, `Write "Principal": "*" with "ArnNotEquals": {"aws:PrincipalArn": […]}.`,
				"a Deny with NotPrincipal spares a role's session only where both the role and the session are listed, and nobody who has a permissions boundary")
		} else {
			c.on(st, Warning, "notprincipal-allow", at, "Write Principal, and name those who are to be let in.",
				"an Allow with NotPrincipal lets everybody else in, those without a credential too")
		}
	}
	if st.dead {
		return
	}
	for _, t := range testsOf(st) {
		if why, _ := c.missing(st, t.Key.Text); why != "" || t.op == "null" {
			continue
		}
		if st.Deny && t.negated {
			c.unknownVariable(st, t)
		}
		switch {
		case t.quantity == "forallvalues" && t.spec != nil && t.spec.multi && !c.guarded(st, t):
			if st.Deny {
				c.on(st, Note, "forallvalues-absent", t.Operator.Position, "", "%s holds also of requests without the key %s: they are denied", t.Operator.Text, t.Key.Text)
			} else {
				c.on(st, Note, "forallvalues-absent", t.Operator.Position, `Add "Null": {"`+t.Key.Text+`": "false"} if they are not to be.`,
					"%s holds also of requests without the key %s: they are allowed", t.Operator.Text, t.Key.Text)
			}
		case t.quantity != "":
		case st.Deny && t.key == "aws:multifactorauthpresent":
			c.secondFactor(st, t)
		case st.Deny && t.needs() && t.key == "aws:sourceip" && !t.negated:
			if !c.mentions("aws:vpcsourceip") {
				c.on(st, Note, "deny-fails-open", t.Key.Position, "Add a Deny with IpAddress on aws:VpcSourceIp if these addresses can also come that way.",
					"this Deny does not hold of requests through a private endpoint, which have no aws:SourceIp")
			}
		case st.Deny && t.needs() && strings.HasPrefix(t.key, "aws:principaltag/"):
			c.on(st, Note, "deny-fails-open", t.Key.Position, "If they are to be denied too, write "+t.Operator.Text+"IfExists.",
				"this Deny does not hold of callers without the tag %s, root among them", t.Key.Text[len("aws:principaltag/"):])
		case !st.Deny && t.negated && !t.ifExists && (t.key == "aws:sourceip" || strings.HasPrefix(t.key, "aws:principaltag/")) && !c.guarded(st, t):
			c.on(st, Note, "allow-without-key", t.Key.Position, `Add "Null": {"`+t.Key.Text+`": "false"} if it is not meant to.`,
				"%s holds also of requests without the key %s: this Allow matches them", t.Operator.Text, t.Key.Text)
		}
	}
}

// unknownVariable finds the variables of a Deny of all but some values that a request may have no value for: the condition
// does not hold then, and who lacks a tag passes by.
func (c *checker) unknownVariable(st *statement, t *test) {
	if !c.variables {
		return
	}
	for _, v := range t.Values {
		for _, variable := range variableForm.FindAllString(v.Text, -1) {
			key := strings.TrimSpace(variable[len("${") : len(variable)-len("}")])
			lower := strings.ToLower(key)
			if strings.Contains(key, ",") || !strings.Contains(lower, "tag/") && lower != "aws:username" {
				continue // it has a default, or whoever can sign has it; anything may lack a tag, and sessions have no user name
			}
			c.on(st, Warning, "deny-fails-open", v.Position, "Give it a default that is nobody's value: ${"+key+", '-'}.",
				"this Deny does not hold where the request has no %s: a condition whose variable has no value does not, a negated one neither", key)
		}
	}
}

// secondFactor is about a Deny of those without one.
func (c *checker) secondFactor(st *statement, t *test) {
	wants := slices.ContainsFunc(t.Values, func(v textOf) bool { return strings.EqualFold(v.Text, "false") })
	switch {
	case !wants:
	case t.withoutKey():
		c.on(st, Warning, "constant-key", t.Key.Position, constantFix(t), "nobody has a second factor on this server; %s", st.consequence(true))
	default:
		c.on(st, Warning, "deny-fails-open", t.Key.Position, "On AWS write BoolIfExists. Here nobody has a second factor: limit where requests may come from instead.",
			"requests that are signed with a user's access key have no aws:MultiFactorAuthPresent: this Deny lets them through")
	}
}

// mentions reports whether a condition of the document is on a key.
func (c *checker) mentions(key string) bool {
	for i := range c.doc.Clauses {
		for _, t := range c.doc.Clauses[i].Tests {
			if strings.EqualFold(t.Key.Text, key) {
				return true
			}
		}
	}
	return false
}
