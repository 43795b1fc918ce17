package lint

import (
	"slices"
	"strings"

	"github.com/sekisho/sekisho/internal/iam/policy"
)

type textOf = policy.Text

// weakKeys restrict nobody in earnest: a client chooses what they are, or everybody has the same.
var weakKeys = []string{"aws:securetransport", "aws:useragent", "aws:referer", "aws:currenttime", "aws:epochtime", "aws:requestedregion", "aws:viaawsservice",
	"aws:principalisawsservice"}

// unrestricted reports whether the conditions of a statement keep nobody out.
func (st *statement) unrestricted() bool {
	return !slices.ContainsFunc(testsOf(st), func(t *test) bool { return !slices.Contains(weakKeys, t.key) })
}

// broad finds an Allow that lets more in than most authors mean.
func (c *checker) broad(st *statement) {
	c.principals(st)
	if st.Deny || st.dead {
		return
	}
	switch c.kind {
	case Identity:
		c.broadIdentity(st)
	case Trust:
		c.trust(st)
	case Resource, Repository, Registry, Secret:
		if at, ok := st.anybody(); ok && st.unrestricted() {
			c.on(st, Warning, "public", at.Position, "Name accounts, users or roles, or add a condition such as StringEquals on aws:PrincipalAccount.",
				"this Allow is for everybody, of any account and without a credential")
		}
	}
}

// anybody returns the principal that stands for everybody.
func (st *statement) anybody() (policy.PrincipalText, bool) {
	if st.NotPrincipal {
		return policy.PrincipalText{}, false
	}
	i := slices.IndexFunc(st.Principals, func(p policy.PrincipalText) bool { return p.Type == "AWS" && p.Text.Text == "*" })
	if i < 0 {
		return policy.PrincipalText{}, false
	}
	return st.Principals[i], true
}

func (c *checker) broadIdentity(st *statement) {
	everything := slices.ContainsFunc(st.Resources, func(t textOf) bool { return t.Text == "*" }) && !st.NotResource
	if !everything && !slices.ContainsFunc(st.Resources, func(t textOf) bool { return coversARN(t.Text, "arn:aws:iam::111122223333:role/x") }) {
		return
	}
	if st.NotAction {
		leaves := slices.ContainsFunc(st.Actions, func(t textOf) bool { return glob(t.Text, "iam:*", true) })
		if everything && !leaves && st.unrestricted() && !c.denied("iam:*") {
			c.on(st, Warning, "notaction-allow", st.Actions[0].Position, "Write Action and name what is to be allowed; or leave iam:* out too.",
				"this Allow is for all actions but these, those of iam among them: who has it can give itself the rest")
		}
		return
	}
	for _, t := range st.Actions {
		switch name := strings.ToLower(t.Text); {
		case name == "*" || name == "*:*" || name == "iam:*":
			if everything && st.unrestricted() {
				c.on(st, Note, "administrator", t.Position, "", "who has this Allow can do everything: with all actions of iam one can give oneself all others")
			}
			return
		case glob(name, "iam:passrole", true):
			guarded := slices.ContainsFunc(testsOf(st), func(x *test) bool { return x.key == "iam:passedtoservice" || x.key == "iam:associatedresourcearn" })
			if !guarded && !st.NotResource {
				c.on(st, Warning, "passrole-any", t.Position, "Name the roles in Resource, or add a condition on iam:PassedToService.",
					"%s is allowed for every role: who has it can hand any role to what it starts, and act as that", t.Text)
			}
		}
	}
}

// denied reports whether an unconditional Deny of the document covers actions on all resources.
func (c *checker) denied(actions string) bool {
	return slices.ContainsFunc(c.statements, func(st *statement) bool {
		return st.Deny && len(st.Tests) == 0 && st.coversAction(actions) && st.coversResource("*")
	})
}

// ownPrincipal is this server's own work for pipelines, which the roles of projects trust.
const ownPrincipal = "pipelines.sekisho"

// principals finds those who never ask here.
func (c *checker) principals(st *statement) {
	for _, p := range st.Principals {
		switch {
		case p.Type == "Service" && p.Text.Text == ownPrincipal:
		case p.Type == "Service":
			c.on(st, Note, "principal-never", p.Position, "", "no services of AWS call this server: %q matters elsewhere only", p.Text.Text)
		case p.Type == "CanonicalUser":
			c.on(st, Warning, "principal-never", p.Position, "Write the account's number below AWS.", "there are no canonical users here: %q matches nobody", p.Text.Text)
		case p.Type == "Federated" && strings.Contains(p.Text.Text, ":saml-provider/"):
			c.on(st, Warning, "principal-never", p.Position, "Use an OpenID Connect provider.", "nobody signs in by SAML here: %q matches nobody", p.Text.Text)
		case p.Type == "AWS" && p.Text.Text != "*" && !strings.HasPrefix(p.Text.Text, "arn:") && !accountForm.MatchString(p.Text.Text):
			c.on(st, Warning, "principal-gone", p.Position, "Remove it, or write the ARN of who is meant.", "%q is the id of a user or role that is gone: it matches nobody", p.Text.Text)
		}
	}
}

// trust finds a role that anybody can assume.
func (c *checker) trust(st *statement) {
	if at, ok := st.anybody(); ok && st.unrestricted() {
		c.on(st, Warning, "trust-anyone", at.Position, "Name accounts, users or roles.", "everybody of any account who may call sts:AssumeRole can assume the role")
	}
	web := slices.ContainsFunc(st.local, func(a *action) bool { return a.name == "sts:AssumeRoleWithWebIdentity" })
	if !web || st.NotPrincipal {
		return
	}
	tests := testsOf(st)
	var issuers []string
	for _, p := range st.Principals {
		if _, issuer, ok := strings.Cut(p.Text.Text, ":oidc-provider/"); ok && p.Type == "Federated" {
			issuers = append(issuers, issuer)
			c.anySubject(st, p, strings.ToLower(issuer), tests)
		} else if p.Type == "Federated" {
			issuers = append(issuers, p.Text.Text)
		}
	}
	if len(issuers) != len(st.Principals) {
		return // others may have other keys
	}
	for _, t := range tests {
		prefix, claim, _ := cutLast(t.Key.Text, ":")
		if !issuerKey(t.Key.Text) || slices.ContainsFunc(issuers, func(s string) bool { return strings.EqualFold(s, prefix) }) {
			continue
		}
		c.on(st, Error, "issuer-mismatch", t.Key.Position, "Write "+issuers[0]+":"+claim+".",
			"tokens of %s have no key %s: a claim's key is the issuer as in the provider's ARN, a colon and the claim; %s", issuers[0], t.Key.Text, st.consequence(t.withoutKey()))
	}
}

// strangers are subjects of tokens that nobody has in mind, as GitHub, GitLab and Kubernetes make them.
var strangers = []string{"stranger", "repo:stranger/x:ref:refs/heads/main", "repo:stranger/x:environment:production", "repo:stranger/x:pull_request",
	"project_path:stranger/x:ref_type:branch:ref:main", "system:serviceaccount:stranger:stranger"}

// anySubject finds a provider of which any token will do.
func (c *checker) anySubject(st *statement, p policy.PrincipalText, issuer string, tests []*test) {
	ask := c.newAsker(tests)
	if ask == nil {
		return
	}
	audiences := []string{"sts.amazonaws.com"}
	for _, t := range tests {
		if t.key == issuer+":aud" {
			for _, v := range t.Values {
				audiences = append(audiences, instance(v.Text, "x", "0"))
			}
		}
	}
	for _, sub := range strangers {
		for _, aud := range audiences[:min(len(audiences), 50)] {
			if !ask.holds(policy.MapContext{issuer + ":sub": {sub}, issuer + ":aud": {aud}, "aws:securetransport": {"true"}, "aws:federatedprovider": {p.Text.Text},
				"aws:requestedregion": {"us-east-1"}, "aws:viaawsservice": {"false"}}) {
				continue
			}
			c.on(st, Warning, "oidc-any-subject", p.Position, `Add a condition such as "StringLike": {"`+issuer+`:sub": "repo:<owner>/<repository>:*"}.`,
				"anybody with a token of %s for the right audience can assume the role: no condition says whose tokens are meant", issuer)
			return
		}
	}
}
