package policy

// evaluator is the state of one decision. It stays on the stack.
type evaluator struct {
	r                *Request
	scratch          [1]string
	wildcardResource bool // r.Resource is a pattern
	// allowAll and denySome say how much of that pattern a statement must be about to apply; see question.go. Without them
	// it is some for an Allow, and all for a Deny.
	allowAll, denySome bool
	bounded            bool // the principal has a permissions boundary
	trace              *Trace
}

func newEvaluator(r *Request, p *Policies) evaluator {
	e := evaluator{r: r, bounded: p.HasBoundary || len(p.Boundaries) > 0}
	if r.ResourcePattern && !(r.Resource == "*" && !HasResource(r.Action)) {
		for i := range len(r.Resource) {
			if c := r.Resource[i]; c == '*' || c == '?' {
				e.wildcardResource = true
			}
		}
	}
	return e
}

// match returns how the statement applies to the request, notNamed if it does not.
func (st *statement) match(e *evaluator) grant {
	if !st.matchAction(e) {
		return notNamed
	}
	g := st.matchPrincipal(e)
	if g == notNamed || !st.matchResource(e) {
		return notNamed
	}
	for i := range st.conditions {
		if !st.conditions[i].match(e, st.deny) {
			return notNamed
		}
	}
	return g
}

// ref is a statement that decided.
type ref struct {
	name string
	st   *statement
}

func (r ref) decision(o Outcome, l Layer) Decision {
	d := Decision{Outcome: o, Layer: l, Policy: r.name}
	if r.st != nil {
		d.Statement = r.st.label
	}
	return d
}

// denies returns the first statement of policies that denies.
func (e *evaluator) denies(policies []Named) (ref, bool) {
	for i := range policies {
		p := policies[i].Policy
		if p == nil {
			continue
		}
		for _, j := range p.deny {
			if st := &p.statements[j]; st.match(e) != notNamed {
				return ref{policies[i].Name, st}, true
			}
		}
	}
	return ref{}, false
}

// allows returns the statement of policies that names who asks the most directly.
func (e *evaluator) allows(policies []Named) (best ref, how grant) {
	for i := range policies {
		p := policies[i].Policy
		if p == nil {
			continue
		}
		for _, j := range p.allow {
			if g := p.statements[j].match(e); g > how {
				if best, how = (ref{policies[i].Name, &p.statements[j]}), g; g == toSelf {
					return best, how
				}
			}
		}
	}
	return best, how
}

// Decide returns the decision on r under p. It does not allocate.
func Decide(r *Request, p *Policies) Decision {
	e := newEvaluator(r, p)
	e.settle(p)
	return e.decide(p)
}
