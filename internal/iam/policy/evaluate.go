package policy

// decide combines the layers ("How AWS enforcement code logic evaluates
// requests to allow or deny access" in the IAM User Guide).
func (e *evaluator) decide(p *Policies) Decision {
	r, who := e.r, &e.r.Principal
	if always(r) {
		e.note(NoLayer, "this action needs no permission, and can't be denied")
		return Decision{Outcome: Allowed}
	}
	if d, denied := e.explicit(p); denied {
		return d
	}
	if immutable(r) {
		e.note(NoLayer, "the resource is AWS's own: no policy allows to change it")
		return Decision{}
	}
	if !exempt(who) {
		// RCPFullAWSAccess is attached to every level and can't be detached, so
		// only what RCPs deny counts ("Resource control policies").
		if who.inAccount() {
			for i := range p.ServiceControl {
				if _, how := e.allows(p.ServiceControl[i].Policies); how == notNamed {
					return Decision{Layer: ServiceControlLayer, Policy: p.ServiceControl[i].Name}
				}
			}
		}
	}
	if p.HasEndpoint || len(p.Endpoint) > 0 {
		if _, how := e.allows(p.Endpoint); how == notNamed {
			return Decision{Layer: EndpointLayer}
		}
	}
	byResource, how := e.allows(p.Resource)
	switch {
	case !who.inAccount():
		e.note(ResourceLayer, "who asks belongs to no account: the resource's policy alone decides")
		if how == notNamed {
			return Decision{Layer: ResourceLayer}
		}
		return byResource.decision(Allowed, ResourceLayer)
	case who.Account != r.ResourceAccount:
		e.note(ResourceLayer, "the resource belongs to another account: its policy must allow, and who asks must be allowed as well")
		if how == notNamed {
			return Decision{Layer: ResourceLayer}
		}
		return e.inside(p, Decision{}, false)
	case how == notNamed && needsResourcePolicy(r):
		e.note(ResourceLayer, "this action must be allowed by the resource's policy, also in its account")
		return Decision{Layer: ResourceLayer}
	case how == toSelf:
		e.note(ResourceLayer, "the resource's policy names who asks itself: what other policies leave out does not matter")
		return byResource.decision(Allowed, ResourceLayer)
	case how == toRole:
		e.note(ResourceLayer, "the resource's policy names the role: a permissions boundary and a session policy limit its sessions all the same")
		return e.inside(p, byResource.decision(Allowed, ResourceLayer), true)
	case how == toAccount:
		e.note(ResourceLayer, "the resource's policy leaves it to the account: an identity-based policy must allow")
	}
	return e.inside(p, Decision{}, false)
}

// inside decides by what limits the principal itself: its identity policies,
// unless it is granted already, its permissions boundary and its session policy.
func (e *evaluator) inside(p *Policies, allowed Decision, granted bool) Decision {
	if !granted {
		by, how := e.allows(p.Identity)
		switch {
		case how != notNamed:
			allowed = by.decision(Allowed, IdentityLayer)
		case e.r.Principal.Type == Root:
			e.note(IdentityLayer, "the root user needs no policy")
			allowed = Decision{Outcome: Allowed}
		default:
			return Decision{Layer: IdentityLayer}
		}
	}
	if e.bounded {
		if _, how := e.allows(p.Boundaries); how == notNamed {
			return Decision{Layer: BoundaryLayer}
		}
	}
	if p.HasSession || len(p.Session) > 0 {
		if _, how := e.allows(p.Session); how == notNamed {
			return Decision{Layer: SessionLayer}
		}
	}
	return allowed
}

// explicit returns the first statement that denies, in any layer that applies.
func (e *evaluator) explicit(p *Policies) (Decision, bool) {
	who := &e.r.Principal
	if !exempt(who) {
		for i := range p.ResourceControl {
			if r, ok := e.denies(p.ResourceControl[i].Policies); ok {
				return r.decision(ExplicitDeny, ResourceControlLayer), true
			}
		}
		if who.inAccount() {
			for i := range p.ServiceControl {
				if r, ok := e.denies(p.ServiceControl[i].Policies); ok {
					return r.decision(ExplicitDeny, ServiceControlLayer), true
				}
			}
		}
	}
	for _, l := range [...]struct {
		layer    Layer
		policies []Named
	}{
		{EndpointLayer, p.Endpoint}, {ResourceLayer, p.Resource}, {IdentityLayer, p.Identity},
		{BoundaryLayer, p.Boundaries}, {SessionLayer, p.Session},
	} {
		if r, ok := e.denies(l.policies); ok {
			return r.decision(ExplicitDeny, l.layer), true
		}
	}
	return Decision{}, false
}

// inAccount reports whether p is a principal of an account, which that
// account's policies are about.
func (p *Principal) inAccount() bool {
	switch p.Type {
	case Root, User, AssumedRole, FederatedUser:
		return p.Account != ""
	default:
		return false
	}
}

// note records a step for people.
func (e *evaluator) note(l Layer, text string) {
	if e.trace != nil {
		e.trace.Reasons = append(e.trace.Reasons, Reason{Layer: l, Text: text})
	}
}
