package lint

import (
	"regexp"
	"slices"
	"strings"

	"github.com/sekisho/sekisho/internal/iam/policy"
)

// control is how policies of a kind are changed, and what resource is asked about.
var control = map[Kind]struct{ set, remove, resource string }{
	Repository: {"ecr:SetRepositoryPolicy", "ecr:DeleteRepositoryPolicy", "arn:aws:ecr:us-east-1:ACCOUNT:repository/any"},
	Registry:   {"ecr:PutRegistryPolicy", "ecr:DeleteRegistryPolicy", "arn:aws:ecr:us-east-1:ACCOUNT:*"},
	Secret:     {"secretsmanager:PutResourcePolicy", "secretsmanager:DeleteResourcePolicy", "arn:aws:secretsmanager:us-east-1:ACCOUNT:secret:any-AbCdEf"},
}

const maxLockoutQuestions = 60_000

var anyAccount = regexp.MustCompile(`\b[0-9]{12}\b`)

// principalKeys are the keys that follow from who asks and what is asked about.
var principalKeys = map[string]bool{"aws:principalarn": true, "aws:principalaccount": true, "aws:principaltype": true, "aws:username": true, "aws:resourceaccount": true,
	"aws:principalisawsservice": true}

// lockout finds a policy after which nobody can set another: not root nor an administrator of the account nor anybody
// whom it names, from no address and through no endpoint, with whatever tags.
func (c *checker) lockout() {
	how, ok := control[c.kind]
	if !ok {
		return
	}
	var tests []*test
	var first *statement
	resource := how.resource
	for _, st := range c.statements {
		if !st.Deny || st.dead {
			continue
		}
		about := slices.ContainsFunc(st.local, func(a *action) bool { return a.name == how.set })
		if !about {
			continue
		}
		if first == nil {
			first = st
		}
		for _, t := range testsOf(st) {
			if c.variables && slices.ContainsFunc(t.Values, func(v policy.Text) bool { return strings.Contains(v.Text, "${") }) {
				return // who is spared depends on what stands for these
			}
			tests = append(tests, t)
		}
		for _, t := range st.Resources {
			if c.kind == Secret && strings.HasPrefix(t.Text, "arn:") && !st.NotResource {
				resource = instance(c.resourcePattern(t.Text), "x", "0")
			}
		}
	}
	if first == nil {
		return
	}
	where, ok := c.placesFor(tests)
	if !ok {
		return
	}
	contexts, ok := c.contexts(tests)
	accounts := c.accounts()
	count := (len(where.inside) + len(where.outside)) * len(contexts) * len(accounts) * 8
	if !ok || count > maxLockoutQuestions || count > c.budget {
		return
	}
	c.budget -= count
	q := &question{p: policy.Policies{Resource: []policy.Named{{Policy: c.parsed}}, Identity: []policy.Named{{Policy: everything}}}, contexts: contexts}
	for _, account := range accounts {
		q.callers = append(q.callers, c.callers(account, tests))
		q.resources, q.accounts = append(q.resources, strings.Replace(resource, "ACCOUNT", account, 1)), append(q.accounts, account)
	}
	outside, inside := q.anybody(how.set, where.outside), q.anybody(how.set, where.inside)
	switch {
	case outside:
	case inside:
		c.on(first, Note, "endpoint-only", first.Position, "", "this policy can be changed again through a private endpoint only: from elsewhere %s is denied to everybody, root too", how.set)
	case q.anybody(how.remove, where.outside) || q.anybody(how.remove, where.inside):
		c.on(first, Warning, "lockout", first.Position, "Except an administrator: \"ArnNotEquals\": {\"aws:PrincipalArn\": \"arn:aws:iam::<account>:role/<name>\"}.",
			"nobody could set another policy after this one, root neither: it can only be deleted, by %s", how.remove)
	default:
		c.on(first, Error, "lockout", first.Position, "Put conditions that are alternatives into one statement, or except an administrator: \"ArnNotEquals\": {\"aws:PrincipalArn\": \"arn:aws:iam::<account>:role/<name>\"}.",
			"this policy locks its author out: nobody could call %s after it, from no address and through no private endpoint, root neither", how.set)
	}
}

// contexts returns all combinations of values of the keys that are neither of the network nor of the principal.
func (c *checker) contexts(tests []*test) ([]policy.MapContext, bool) {
	byKey := map[string][]*test{}
	var order []string
	for _, t := range tests {
		if _, network := networkKeys[t.key]; network || principalKeys[t.key] {
			continue
		}
		if byKey[t.key] == nil {
			order = append(order, t.key)
		}
		byKey[t.key] = append(byKey[t.key], t)
	}
	all := []policy.MapContext{{}}
	for _, key := range order {
		values, _ := c.candidates(byKey[key])
		spec := byKey[key][0].spec
		var next []policy.MapContext
		for _, m := range all {
			if spec == nil || !spec.always {
				next = append(next, m)
			}
			if spec != nil && spec.never != "" {
				continue
			}
			for _, v := range values {
				with := policy.MapContext{key: {v}}
				for k, vs := range m {
					with[k] = vs
				}
				next = append(next, with)
			}
			if len(next) > 500 {
				return nil, false
			}
		}
		all = next
	}
	return all, true
}

// accounts returns those that the document names, or one if it names none.
func (c *checker) accounts() []string {
	found := anyAccount.FindAllString(c.parsed.Document(), 20)
	slices.Sort(found)
	found = slices.Compact(found)
	if len(found) == 0 {
		return []string{"111122223333"}
	}
	return found[:min(len(found), 5)]
}

// callers returns who may be left to change a policy of an account.
func (c *checker) callers(account string, tests []*test) []policy.Principal {
	arn := "arn:aws:iam::" + account + ":"
	var all []policy.Principal
	add := func(s string) {
		p, err := policy.ParsePrincipal(s)
		if err != nil || p.Account == "" || len(all) >= 60 {
			return
		}
		all = append(all, p)
		if p.Type == policy.AssumedRole && p.ARN == p.RoleARN { // a session of it
			name := p.RoleARN[strings.LastIndexByte(p.RoleARN, '/')+1:]
			all = append(all, policy.Principal{Type: policy.AssumedRole, Account: p.Account, RoleARN: p.RoleARN, ARN: "arn:aws:sts::" + p.Account + ":assumed-role/" + name + "/session"})
		}
	}
	add(arn + "root")
	add(arn + "user/unnamed")
	add(arn + "role/unnamed")
	for _, t := range tests {
		for _, v := range t.Values {
			switch t.key {
			case "aws:principalarn":
				add(instance(v.Text, "x", "0"))
				add(instance(strings.Replace(v.Text, ":*:", ":"+account+":", 1), "x", "0"))
			case "aws:username":
				add(arn + "user/" + instance(v.Text, "x", "0"))
			}
		}
	}
	for _, st := range c.statements {
		for _, p := range st.Principals {
			add(p.Text.Text)
		}
	}
	return all
}

// question asks whether anybody is allowed something.
type question struct {
	p         policy.Policies
	callers   [][]policy.Principal // by account
	accounts  []string
	resources []string
	contexts  []policy.MapContext
}

// anybody reports whether one of the callers may do an action from one of the places.
func (q *question) anybody(action string, from []policy.MapContext) bool {
	for _, context := range q.contexts {
		for _, place := range from {
			all := policy.MapContext{ // what every request has
				"aws:securetransport": {"true"}, "aws:viaawsservice": {"false"}, "aws:requestedregion": {"us-east-1"},
				"aws:currenttime": {"2026-01-31T12:00:00Z"}, "aws:epochtime": {"1769860800"},
			}
			for _, m := range []policy.MapContext{context, place} {
				for k, v := range m {
					all[k] = v
				}
			}
			for i, account := range q.accounts {
				for _, who := range q.callers[i] {
					if policy.Decide(&policy.Request{Principal: who, Action: action, Resource: q.resources[i], ResourceAccount: account, Context: all}, &q.p).Outcome == policy.Allowed {
						return true
					}
				}
			}
		}
	}
	return false
}

// everything allows everything; it is a constant.
var everything = func() *policy.Policy {
	p, err := policy.Parse([]byte(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`), policy.Identity)
	if err != nil {
		panic(err)
	}
	return p
}()
