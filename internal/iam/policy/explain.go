package policy

import (
	"fmt"
	"slices"
	"strings"
)

// Trace is a decision and how it came about.
type Trace struct {
	Decision Decision `json:"-"`
	Outcome  Outcome  `json:"decision"`
	// Reasons are in the order of evaluation: the statements of each layer that
	// applies, what the layers mean together, and the conclusion.
	Reasons []Reason `json:"reasons"`
}

// Reason is one step to a decision.
type Reason struct {
	Layer     Layer   `json:"layer,omitzero"`
	Policy    string  `json:"policy,omitempty"`
	Statement string  `json:"statement,omitempty"` // the Sid or, without one, the number from 1
	Effect    string  `json:"effect,omitempty"`    // of the statement: Allow or Deny
	Applies   bool    `json:"applies,omitempty"`   // the statement is about the request
	Checks    []Check `json:"checks,omitempty"`    // up to the first element that doesn't match; of conditions all
	Text      string  `json:"text"`
}

// Check is the comparison of one element of a statement with the request.
type Check struct {
	Element string   `json:"element"` // "Action", "NotResource", "Condition.StringEquals.aws:SourceVpce"
	Matches bool     `json:"matches"`
	Request []string `json:"request,omitempty"` // what the request has
	Policy  []string `json:"policy,omitempty"`  // what the statement has
	Note    string   `json:"note,omitempty"`
}

// Explain returns the decision of [Decide] and its reasons.
func Explain(r *Request, p *Policies) *Trace {
	t := &Trace{}
	e := newEvaluator(r, p)
	if !always(r) {
		if e.settle(p); e.r != r {
			t.Reasons = append(t.Reasons, Reason{Text: "of what " + r.Resource + " matches, the question is about " + e.r.Resource})
		}
		e.explainLayers(t, p)
	}
	e.trace = t
	t.Decision = e.decide(p)
	t.Outcome = t.Decision.Outcome
	t.Reasons = append(t.Reasons, Reason{
		Layer: t.Decision.Layer, Policy: t.Decision.Policy, Statement: t.Decision.Statement,
		Text: t.Outcome.String() + " " + t.Decision.Because(r.Action),
	})
	return t
}

func (e *evaluator) explainLayers(t *Trace, p *Policies) {
	who := &e.r.Principal
	if !exempt(who) {
		for _, l := range p.ResourceControl {
			e.explainPolicies(t, ResourceControlLayer, l.Name, l.Policies)
		}
		if who.inAccount() {
			for _, l := range p.ServiceControl {
				e.explainPolicies(t, ServiceControlLayer, l.Name, l.Policies)
			}
		}
	} else if len(p.ResourceControl)+len(p.ServiceControl) > 0 {
		t.Reasons = append(t.Reasons, Reason{Text: "control policies do not limit roles that services have made for themselves"})
	}
	e.explainPolicies(t, EndpointLayer, "", p.Endpoint)
	e.explainPolicies(t, ResourceLayer, "", p.Resource)
	e.explainPolicies(t, IdentityLayer, "", p.Identity)
	e.explainPolicies(t, BoundaryLayer, "", p.Boundaries)
	e.explainPolicies(t, SessionLayer, "", p.Session)
}

func (e *evaluator) explainPolicies(t *Trace, l Layer, level string, policies []Named) {
	for i := range policies {
		name := policies[i].Name
		if level != "" {
			name = level + ": " + name
		}
		p := policies[i].Policy
		if p == nil {
			t.Reasons = append(t.Reasons, Reason{Layer: l, Policy: name, Text: name + " can't be read: it allows nothing"})
			continue
		}
		for j := range p.statements {
			t.Reasons = append(t.Reasons, p.statements[j].explain(e, l, name))
		}
	}
}

// explain does what match does, and writes it down.
func (st *statement) explain(e *evaluator, l Layer, name string) Reason {
	r := Reason{Layer: l, Policy: name, Statement: st.label, Effect: "Allow"}
	if st.deny {
		r.Effect = "Deny"
	}
	r.Checks = st.checks(e)
	failed := slices.IndexFunc(r.Checks, func(c Check) bool { return !c.Matches })
	r.Applies = failed < 0
	subject := fmt.Sprintf("%s, statement %s (%s)", name, st.label, r.Effect)
	switch {
	case !r.Applies:
		r.Text = subject + " does not apply: " + r.Checks[failed].text()
	default:
		var parts []string
		for i := range r.Checks {
			parts = append(parts, r.Checks[i].text())
		}
		r.Text = subject + " applies: " + strings.Join(parts, "; ")
	}
	return r
}

func (st *statement) checks(e *evaluator) []Check {
	checks := []Check{st.checkAction(e)}
	if !checks[0].Matches {
		return checks
	}
	if st.principals != nil || st.nobody {
		checks = append(checks, st.checkPrincipal(e))
	}
	if !checks[len(checks)-1].Matches {
		return checks
	}
	if !st.attached {
		checks = append(checks, st.checkResource(e))
	}
	if !checks[len(checks)-1].Matches {
		return checks
	}
	for i := range st.conditions {
		checks = append(checks, st.conditions[i].check(e, st.deny))
	}
	return checks
}

func element(name string, not bool) string {
	if not {
		return "Not" + name
	}
	return name
}

func (st *statement) checkAction(e *evaluator) Check {
	c := Check{Element: element("Action", st.notAction), Request: []string{e.r.Action}, Matches: st.matchAction(e)}
	for i := range st.actions {
		c.Policy = append(c.Policy, st.actions[i].source)
	}
	return c
}

func (st *statement) checkPrincipal(e *evaluator) Check {
	who := &e.r.Principal
	c := Check{Element: element("Principal", st.notPrincipal), Request: []string{who.name()}}
	for i := range st.principals {
		c.Policy = append(c.Policy, st.principals[i].source)
	}
	how := st.matchPrincipal(e)
	c.Matches = how != notNamed
	switch {
	case st.nobody:
		c.Note = "the statement names no principal, which a policy of this kind needs"
	case how == toAccount:
		c.Note = "names the account"
	case how == toRole:
		c.Note = "names the role"
	case st.notPrincipal && st.deny && e.bounded && c.Matches:
		c.Note = "a Deny with NotPrincipal denies everybody who has a permissions boundary"
	case st.notPrincipal && st.deny && c.Matches && who.Type == AssumedRole && who.ARN != who.RoleARN:
		c.Note = "a session is spared when both its role and itself are listed"
	}
	return c
}

// name returns the principal as people read it.
func (p *Principal) name() string {
	if p.ARN == "" {
		return "an anonymous caller"
	}
	return p.ARN
}

func (st *statement) checkResource(e *evaluator) Check {
	c := Check{Element: element("Resource", st.notResource), Request: []string{e.r.Resource}, Matches: st.matchResource(e)}
	for i := range st.resources {
		c.Policy = append(c.Policy, st.resources[i].source)
		if st.resources[i].typeWildcard && !c.Matches {
			c.Note = "the type of a resource can't have wildcards"
		}
	}
	if c.Matches == st.notResource && e.r.Resource == "*" && !e.wildcardResource {
		c.Note = `the action has no resource: only "*" stands for it`
	}
	return c
}

func (c *condition) check(e *evaluator, deny bool) Check {
	out := Check{Element: "Condition." + c.name + "." + c.key.name, Matches: c.match(e, deny)}
	for i := range c.values {
		out.Policy = append(out.Policy, c.values[i].source)
		if c.values[i].invalid {
			out.Note = fmt.Sprintf("%q can't be read as the operator needs it", c.values[i].source)
		} else if !c.values[i].known(e) {
			out.Note = fmt.Sprintf("%q has a variable that the request has no value for", c.values[i].source)
		}
	}
	values, ok := e.values(&c.key)
	out.Request = slices.Clone(values)
	switch {
	case c.op == isNull && ok:
		out.Note = "the request has the key"
	case c.op == isNull:
		out.Note = "the request does not have the key"
	case !ok && c.quantifier == forAnyValue:
		out.Note = "the request does not have the key; ForAnyValue then does not hold"
	case !ok && c.ifExists:
		out.Note = "the request does not have the key; …IfExists then holds"
	case !ok && c.quantifier == forAllValues:
		out.Note = "the request does not have the key; ForAllValues then holds"
	case !ok && out.Matches:
		out.Note = "the request does not have the key; a negated operator then holds"
	case !ok:
		out.Note = "the request does not have the key"
	case len(values) > 1 && c.quantifier == plain:
		out.Note = "the key has several values, for which the operator needs ForAllValues: or ForAnyValue:"
	}
	return out
}

// text says what was compared.
func (c *Check) text() string {
	var b strings.Builder
	b.WriteString(c.Element)
	if len(c.Policy) > 0 {
		b.WriteString(" " + list(c.Policy))
	}
	if c.Matches {
		b.WriteString(" matches")
	} else {
		b.WriteString(" does not match")
	}
	if len(c.Request) > 0 {
		b.WriteString(" " + list(c.Request))
	}
	if c.Note != "" {
		b.WriteString(" (" + c.Note + ")")
	}
	return b.String()
}

// list returns some of values for a sentence; all of them are in the check.
func list(values []string) string {
	const most = 3
	if len(values) <= most {
		return strings.Join(values, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(values[:most], ", "), len(values)-most)
}

// Because returns the end of a refusal in AWS's words ("Troubleshoot access
// denied error messages" in the IAM User Guide), such as "because no
// identity-based policy allows the ecr:PutImage action" and "with an explicit
// deny in a resource-based policy"; of what is allowed, by what.
func (d *Decision) Because(action string) string {
	layer := d.Layer.String()
	switch {
	case d.Outcome == ExplicitDeny:
		return "with an explicit deny in " + article(layer) + layer
	case d.Outcome == Allowed && d.Layer == NoLayer:
		return "without a policy"
	case d.Outcome == Allowed:
		return "by " + article(layer) + layer
	case d.Layer == NoLayer:
		return "because no policy can allow the " + action + " action on this resource"
	default:
		return "because no " + layer + " allows the " + action + " action"
	}
}

func article(noun string) string {
	if noun != "" && strings.IndexByte("aeiou", noun[0]) >= 0 {
		return "an "
	}
	return "a "
}
