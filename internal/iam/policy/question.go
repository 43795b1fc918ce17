package policy

import "strings"

// A request whose resource is a pattern asks whether anything that the pattern matches is allowed. An Allow then applies
// when it is about some of that, and a Deny when it is about all; but what is left of the one by the other must not be
// nothing. Exact answers need the differences of patterns; here it is enough if
//   - nothing of what the pattern matches is denied, or
//   - there is a part of it, named by an Allow, that is allowed as a whole and not denied as a whole.
//
// In all other cases the answer is the Deny.

// settle makes e the evaluator of a request whose answer is the one to the question.
func (e *evaluator) settle(p *Policies) {
	if !e.wildcardResource {
		return
	}
	trace := e.trace
	e.trace = nil
	defer func() { e.trace = trace }()
	if e.decide(p).Outcome != Allowed {
		return
	}
	if e.denySome = true; e.decide(p).Outcome == Allowed {
		return
	}
	asked := e.r
	for _, part := range e.parts(p) {
		r := *asked
		r.Resource = part
		of := newEvaluator(&r, p)
		of.allowAll = true
		if of.decide(p).Outcome == Allowed {
			*e = of
			return
		}
	}
}

// parts returns the pattern that is asked about, and those of the resources of every Allow that are within it.
func (e *evaluator) parts(p *Policies) []string {
	asked := e.r.Resource
	tokens, _ := tokenize(asked, syntax{wildcards: true})
	whole := newPattern(asked, tokens, false)
	parts := []string{asked}
	add := func(policies []Named) {
		for _, named := range policies {
			if named.Policy == nil {
				continue
			}
			for _, i := range named.Policy.allow {
				st := &named.Policy.statements[i]
				for j := range st.resources {
					if text, ok := st.resources[j].written(e); ok && !st.notResource && whole.match(e, text) {
						parts = append(parts, text)
					}
				}
			}
		}
	}
	for _, policies := range [][]Named{p.Identity, p.Resource, p.Boundaries, p.Session, p.Endpoint} {
		add(policies)
	}
	for _, levels := range [][]Level{p.ServiceControl, p.ResourceControl} {
		for _, l := range levels {
			add(l.Policies)
		}
	}
	return parts
}

// written returns the pattern with the values of its variables. ok is false if one has none, or a character would be taken
// for a wildcard.
func (p *pattern) written(e *evaluator) (text string, ok bool) {
	var b strings.Builder
	for i := range p.tokens {
		t := &p.tokens[i]
		part := t.text
		switch t.kind {
		case one:
			b.WriteByte('?')
			continue
		case star:
			b.WriteByte('*')
			continue
		case variable:
			if part, ok = e.variable(t); !ok {
				return "", false
			}
		}
		if strings.ContainsAny(part, "*?") {
			return "", false
		}
		b.WriteString(part)
	}
	return b.String(), true
}
