package policy

// decide combines the layers ("How AWS enforcement code logic evaluates
// requests to allow or deny access" in the IAM User Guide).
func (e *evaluator) decide(p *Policies) Decision {
	if always(e.r.Action) {
		return Decision{Outcome: Allowed}
	}
	if d, denied := e.explicit(p); denied {
		return d
	}
	if l, ok := e.levels(p.ResourceControl, true); !ok && !exemptFromControl(e.r) {
		return Decision{Layer: ResourceControlLayer, Policy: l}
	}
	who := &e.r.Principal
	inAccount := who.Type == Root || who.Type == User || who.Type == AssumedRole || who.Type == FederatedUser
	if l, ok := e.levels(p.ServiceControl, false); inAccount && !ok && !exemptFromControl(e.r) {
		return Decision{Layer: ServiceControlLayer, Policy: l}
	}
	if p.HasEndpoint || len(p.Endpoint) > 0 {
		if _, how := e.allows(p.Endpoint); how == notNamed {
			return Decision{Layer: EndpointLayer}
		}
	}
	byResource, how := e.allows(p.Resource)
	if !inAccount {
		if how == notNamed {
			return Decision{Layer: ResourceLayer}
		}
		return byResource.decision(Allowed, ResourceLayer)
	}
	same := who.Account != "" && who.Account == e.r.ResourceAccount
	if needsResourcePolicy(e.r.Action) || !same {
		if how == notNamed {
			return Decision{Layer: ResourceLayer}
		}
	}
	if same && how == toSelf {
		return byResource.decision(Allowed, ResourceLayer)
	}
	allowed := byResource.decision(Allowed, ResourceLayer)
	if !(same && how == toRole) {
		byIdentity, how := e.allows(p.Identity)
		switch {
		case how != notNamed:
			allowed = byIdentity.decision(Allowed, IdentityLayer)
		case who.Type == Root:
			allowed = Decision{Outcome: Allowed, Layer: IdentityLayer}
		default:
			return Decision{Layer: IdentityLayer}
		}
	}
	if (p.HasBoundary || len(p.Boundaries) > 0) && who.Type != Root {
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

// explicit returns the first statement that denies, in any layer.
func (e *evaluator) explicit(p *Policies) (Decision, bool) {
	if !exemptFromControl(e.r) {
		for i := range p.ResourceControl {
			if r, ok := e.denies(p.ResourceControl[i].Policies); ok {
				return r.decision(ExplicitDeny, ResourceControlLayer), true
			}
		}
		for i := range p.ServiceControl {
			if r, ok := e.denies(p.ServiceControl[i].Policies); ok {
				return r.decision(ExplicitDeny, ServiceControlLayer), true
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

// levels reports whether every level allows, and which does not. Where
// implied is set, a level without policies allows.
func (e *evaluator) levels(levels []Level, implied bool) (string, bool) {
	for i := range levels {
		if implied {
			continue
		}
		if _, how := e.allows(levels[i].Policies); how == notNamed {
			return levels[i].Name, false
		}
	}
	return "", true
}
