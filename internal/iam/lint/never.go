package lint

import (
	"strings"
)

// group is the tests of a statement on one key.
type group struct {
	key   string
	tests []*test
	// absent and present say whether they hold of some request without the key, and of some with it.
	absent, present bool
}

// groups returns the groups of a statement, in its order.
func (c *checker) groups(st *statement) []*group {
	var all []*group
	byKey := map[string]*group{}
	for _, t := range testsOf(st) {
		g := byKey[t.key]
		if g == nil {
			g = &group{key: t.key}
			byKey[t.key] = g
			all = append(all, g)
		}
		g.tests = append(g.tests, t)
	}
	for _, g := range all {
		c.judge(st, g)
	}
	return all
}

func (c *checker) judge(st *statement, g *group) {
	spec := g.tests[0].spec
	why, _ := c.missing(st, g.tests[0].Key.Text)
	if why != "" || spec == nil || !spec.always {
		g.absent = true
		for _, t := range g.tests {
			g.absent = g.absent && t.withoutKey()
		}
	}
	if why != "" {
		return
	}
	var single []*test // the values of the others are many and may be anything
	for _, t := range g.tests {
		if t.quantity == "" {
			single = append(single, t)
		}
	}
	values, complete := c.candidates(g.tests)
	ask := c.newAsker(single)
	if !complete || ask == nil || len(single) == 0 || spec != nil && spec.multi {
		// The tests for the key itself are known all the same.
		g.present = true
		for _, t := range g.tests {
			if t.op == "null" {
				g.present = g.present && !t.onlyNull()
			}
		}
		return
	}
	for _, v := range values {
		if ask.holds(map[string][]string{g.key: {v}}) {
			g.present = true
			return
		}
	}
}

// onlyNull reports whether the test holds of requests without the key only.
func (t *test) onlyNull() bool {
	for _, v := range t.Values {
		if strings.EqualFold(v.Text, "false") {
			return false
		}
	}
	return true
}

// networkKeys are the keys of where a request comes from, and whether it has them when it comes through a private endpoint.
var networkKeys = map[string]bool{"aws:sourceip": false, "aws:sourcevpce": true, "aws:sourcevpc": true, "aws:vpcsourceip": true}

// never finds statements whose conditions can't hold together.
func (c *checker) never(st *statement) {
	if st.dead {
		return
	}
	groups := c.groups(st)
	outside, inside := true, true
	for _, g := range groups {
		if !g.absent && !g.present {
			c.contradiction(st, g)
			return
		}
		through, network := networkKeys[g.key]
		if !network {
			continue
		}
		if through {
			outside = outside && g.absent
			inside = inside && (g.present || g.key == "aws:sourcevpc" && g.absent)
		} else {
			outside = outside && g.present
			inside = inside && g.absent
		}
	}
	if outside || inside {
		return
	}
	st.dead = true
	var first, second *test // one that needs to be outside, one that needs an endpoint
	for _, g := range groups {
		if through, network := networkKeys[g.key]; !network || g.absent && g.present {
			continue
		} else if through == g.present && second == nil {
			second = g.tests[0]
		} else if first == nil {
			first = g.tests[0]
		}
	}
	at, which := groups[0].tests[0], "The conditions on the network"
	if first != nil && second != nil {
		at = second
		which = first.Operator.Text + " on " + first.Key.Text + " and " + second.Operator.Text + " on " + second.Key.Text
	}
	fix := "Write two statements, one for each way in."
	if st.Deny {
		fix = "For a Deny of all but these write the negated operators: NotIpAddressIfExists on aws:SourceIp and StringNotEqualsIfExists on aws:SourceVpce."
	}
	c.on(st, Error, "network-contradiction", at.Key.Position, fix,
		"%s never hold together: a request through a private endpoint has no aws:SourceIp, and one that comes through none has no aws:SourceVpce, aws:SourceVpc or aws:VpcSourceIp; %s", which, st.consequence(false))
}

func (c *checker) contradiction(st *statement, g *group) {
	st.dead = true
	t := g.tests[len(g.tests)-1]
	if len(g.tests) == 1 {
		if t.spec != nil && t.spec.only != nil {
			c.on(st, Warning, "constant-key", t.Key.Position, constantFix(t), "%s is never anything but %q on this server; %s", t.spec.name, strings.Join(t.spec.only, ", "), st.consequence(false))
			return
		}
		c.on(st, Error, "contradiction", t.Key.Position, "", "%s on %s holds of no value; %s", t.Operator.Text, t.Key.Text, st.consequence(false))
		return
	}
	c.on(st, Error, "contradiction", t.Key.Position, "Remove one of them; values of one list are alternatives, conditions are not.",
		"%s and %s on %s never hold together; %s", g.tests[0].Operator.Text, t.Operator.Text, t.Key.Text, st.consequence(false))
}

func constantFix(t *test) string {
	if t.key == "aws:multifactorauthpresent" {
		return "There is no second factor here: limit where requests may come from instead."
	}
	return "Remove the condition."
}
