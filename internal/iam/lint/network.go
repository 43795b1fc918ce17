package lint

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sekisho/sekisho/internal/iam/policy"
)

// places are where a request may come from, as the keys that it then has.
type places struct{ outside, inside []policy.MapContext }

// placesFor returns all the places that tests may tell apart: an address in each range that they name and in between, each
// endpoint that they name and another, with each network and address in it. ok is false if they are too many.
func (c *checker) placesFor(tests []*test) (p places, ok bool) {
	byKey := map[string][]*test{}
	for _, t := range tests {
		byKey[t.key] = append(byKey[t.key], t)
	}
	named := func(key string, others ...string) []string {
		values := others
		if len(byKey[key]) > 0 {
			found, _ := c.candidates(byKey[key])
			values = append(values, found...)
		}
		slices.Sort(values)
		return slices.Compact(values)
	}
	for _, a := range named("aws:sourceip", "0.0.0.0") {
		p.outside = append(p.outside, policy.MapContext{"aws:sourceip": {a}})
	}
	endpoints, networks, addresses := named("aws:sourcevpce", fresh(specOf("aws:SourceVpce"))), named("aws:sourcevpc", ""), named("aws:vpcsourceip", "0.0.0.0")
	if len(endpoints)*len(networks)*len(addresses) > 2000 {
		return p, false
	}
	for _, e := range endpoints {
		for _, n := range networks {
			for _, a := range addresses {
				m := policy.MapContext{"aws:sourcevpce": {e}, "aws:vpcsourceip": {a}}
				if n != "" {
					m["aws:sourcevpc"] = []string{n}
				}
				p.inside = append(p.inside, m)
			}
		}
	}
	return p, true
}

// reach says of which places the conditions of a statement on the network hold.
type reach struct{ allInside, allOutside, noneInside, noneOutside bool }

func (c *checker) reach(tests []*test) (r reach, ok bool) {
	var network []*test
	for _, t := range tests {
		if _, is := networkKeys[t.key]; is {
			if slices.ContainsFunc(t.Values, func(v policy.Text) bool { return strings.Contains(v.Text, "${") }) {
				return r, false
			}
			network = append(network, t)
		}
	}
	p, ok := c.placesFor(network)
	ask := c.newAsker(network)
	if !ok || ask == nil || c.budget < len(p.inside)+len(p.outside) {
		return r, false
	}
	all := func(places []policy.MapContext) (all, none bool) {
		all, none = true, true
		for _, m := range places {
			h := ask.holds(m)
			all, none = all && h, none && !h
		}
		return all, none
	}
	r.allInside, r.noneInside = all(p.inside)
	r.allOutside, r.noneOutside = all(p.outside)
	return r, true
}

// networks finds a Deny that means addresses and refuses every private endpoint by the way, and those that leave no way in.
func (c *checker) networks() {
	type closed struct {
		st                    *statement
		allInside, allOutside bool
	}
	var ways []closed
	for _, st := range c.statements {
		tests := testsOf(st)
		if !st.dead {
			c.privateAddresses(st, tests)
		}
		if !st.Deny || st.dead {
			continue
		}
		i := slices.IndexFunc(tests, func(t *test) bool { _, is := networkKeys[t.key]; return is })
		if i < 0 {
			continue
		}
		r, ok := c.reach(tests)
		if !ok {
			continue
		}
		if !slices.ContainsFunc(tests, func(t *test) bool { _, is := networkKeys[t.key]; return !is }) {
			ways = append(ways, closed{st, r.allInside, r.allOutside})
		}
		if !r.allInside || r.allOutside {
			continue
		}
		i = slices.IndexFunc(tests, func(t *test) bool { return t.key == "aws:sourceip" && t.withoutKey() && t.op != "null" })
		if i >= 0 {
			c.endpointRefused(st, tests[i])
		}
	}
	if slices.ContainsFunc(c.findings, func(f Finding) bool { return f.Code == "lockout" }) || len(ways) > 100 {
		return
	}
	for _, in := range ways {
		for _, out := range ways {
			if in.st == out.st || !in.allInside || in.allOutside || !out.allOutside || out.allInside || !in.st.meets(out.st) {
				continue
			}
			second := in.st
			if out.st.Position.Line > second.Position.Line || out.st.Position.Line == second.Position.Line && out.st.Position.Column > second.Position.Column {
				second = out.st
			}
			c.on(second, Error, "denies-everywhere", second.Position, "Put both conditions into one statement: all conditions of a statement must hold for it to deny.",
				"statement %s denies all that comes through a private endpoint and statement %s all that does not: together they deny everything", in.st.Label, out.st.Label)
		}
	}
}

// meets reports whether one of two statements is about all that the other is about.
func (st *statement) meets(o *statement) bool {
	covers := func(a, b *statement) bool {
		if b.NotAction || b.NotResource || len(b.Actions)*len(b.Resources) > 10_000 {
			return false
		}
		for _, t := range b.Actions {
			if !a.coversAction(t.Text) {
				return false
			}
		}
		for _, t := range b.Resources {
			if !a.coversResource(t.Text) {
				return false
			}
		}
		return a.coversPrincipals(b)
	}
	return covers(st, o) || covers(o, st)
}

// endpointRefused explains the trap of a negated condition on aws:SourceIp, and how to get out of it.
func (c *checker) endpointRefused(st *statement, t *test) {
	endpoints := []string{}
	for i := range c.doc.Clauses {
		for _, o := range c.doc.Clauses[i].Tests {
			if strings.EqualFold(o.Key.Text, "aws:SourceVpce") {
				for _, v := range o.Values {
					if !slices.Contains(endpoints, v.Text) {
						endpoints = append(endpoints, v.Text)
					}
				}
			}
		}
	}
	if len(endpoints) == 0 {
		endpoints = append(endpoints, "vpce-…")
	}
	op := strings.TrimSuffix(t.Operator.Text, "IfExists") + "IfExists"
	fix := fmt.Sprintf(`To let an endpoint in, write "Condition": {%q: {"aws:SourceIp": %s}, "StringNotEqualsIfExists": {"aws:SourceVpce": %s}}. To leave what comes through endpoints out of this rule, add "Null": {"aws:SourceIp": "false"}.`,
		op, quoted(valuesOf(t)), quoted(endpoints))
	c.on(st, Warning, "endpoint-refused", t.Operator.Position, fix,
		"this Deny refuses everything that comes through a private endpoint: there aws:SourceIp is absent, and %s, being negated, is true when its key is absent", t.Operator.Text)
}

func valuesOf(t *test) []string {
	var all []string
	for _, v := range t.Values {
		all = append(all, v.Text)
	}
	return all
}

// quoted returns a list as it is written in a policy, shortened.
func quoted(values []string) string {
	var b strings.Builder
	b.WriteByte('[')
	for i, v := range values {
		if i > 0 {
			b.WriteString(", ")
		}
		if i == 4 {
			b.WriteString("…")
			break
		}
		fmt.Fprintf(&b, "%q", v)
	}
	b.WriteByte(']')
	if len(values) == 1 {
		return fmt.Sprintf("%q", values[0])
	}
	return b.String()
}

// privateAddresses finds aws:SourceIp where the author may mean the addresses behind an endpoint.
func (c *checker) privateAddresses(st *statement, tests []*test) {
	for _, t := range tests {
		if t.key == "aws:sourceip" && t.op == "ipaddress" && t.private() && (c.mentions("aws:SourceVpce") || c.mentions("aws:SourceVpc")) && !c.mentions("aws:VpcSourceIp") {
			c.on(st, Note, "private-address", t.Key.Position, "Addresses behind an endpoint are in aws:VpcSourceIp.",
				"these addresses are of a private network: of requests through a private endpoint aws:SourceIp does not have them")
		}
	}
}
