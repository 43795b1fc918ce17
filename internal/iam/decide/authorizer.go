package decide

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/directory"
	"github.com/sekisho/sekisho/internal/iam/policy"
)

// Options are what an Authorizer knows of its instance.
type Options struct {
	Now    func() time.Time // default time.Now
	Region string           // aws:RequestedRegion
	OrgID  string           // aws:PrincipalOrgID, "o-…"; empty for none
	// Endpoints are the policies of the private endpoints by id; see [FullAccess]. Through one that is not here nothing is
	// allowed.
	Endpoints map[string]policy.Named
}

// Authorizer implements [iam.Authorizer] over a directory. It is safe for concurrent use.
type Authorizer struct {
	directory  *directory.Service
	generation *iam.Generation
	o          Options
	sets       sets
	sessions   sessions
	memo       memo
	asked      sync.Pool // of *question
}

// New returns an Authorizer.
func New(d *directory.Service, generation *iam.Generation, o Options) *Authorizer {
	if o.Now == nil {
		o.Now = time.Now
	}
	a := &Authorizer{directory: d, generation: generation, o: o}
	a.asked.New = func() any { return new(question) }
	return a
}

// FullAccess is the policy of a private endpoint that was given none, as at AWS: it limits nothing.
func FullAccess() (policy.Named, error) {
	p, err := policy.Parse([]byte(`{"Statement":[{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}]}`), policy.Endpoint)
	return policy.Named{Name: "default endpoint policy", Policy: p}, err
}

// question is what is decided on: a request, the policies that apply to it, and the context in which conditions look.
type question struct {
	facts    facts
	request  policy.Request
	policies policy.Policies
	endpoint [1]policy.Named
}

// Authorize implements [iam.Authorizer].
func (a *Authorizer) Authorize(ctx context.Context, c *iam.Caller, r *iam.Request) iam.Decision {
	if c == nil {
		c = &iam.Caller{}
	}
	if c.Type == iam.System {
		if c.Account != "" && c.Account == r.Resource.Account {
			return iam.Decision{Allowed: true}
		}
		return iam.Decision{Reason: missing("identity-based policy", r.Action)}
	}
	q := a.asked.Get().(*question)
	d, err := a.ask(ctx, q, c, r)
	switch {
	case errors.Is(err, errNobody):
		return iam.Decision{Reason: missing(policy.IdentityLayer.String(), r.Action), Trace: nobody}
	case err != nil:
		return iam.Decision{Err: err, Reason: "because its policies could not be read"}
	case d.Outcome == policy.Allowed:
		*q = question{facts: facts{tags: q.facts.tags[:0]}}
		a.asked.Put(q)
		return iam.Decision{Allowed: true}
	}
	// The question stays with the refusal, which may be asked how it came about.
	request := *r
	q.facts.r = &request
	told := d
	if c.Account != r.Resource.Account && !q.invited() {
		told = q.bare()
	}
	return iam.Decision{
		Explicit: told.Outcome == policy.ExplicitDeny,
		Reason:   reason(told, c, r),
		Trace:    func() *policy.Trace { return q.explain() },
	}
}

// invited reports whether the resource's policy lets the caller in, whatever else stands against it: then it is no secret that
// there is something.
func (q *question) invited() bool {
	return policy.Decide(&q.request, &policy.Policies{Resource: q.policies.Resource, Identity: anything}).Outcome == policy.Allowed
}

// bare is the decision if there were nothing: what has a policy exists, and so does what has tags, for which a caller's own
// policies can ask.
func (q *question) bare() policy.Decision {
	r, again := *q.facts.r, *q
	r.Resource.Tags, r.Resource.Policies = nil, nil
	again.facts.r, again.facts.tags = &r, nil
	again.request.Context, again.policies.Resource = &again.facts, nil
	return policy.Decide(&again.request, &again.policies)
}

// anything allows everything; it is a constant.
var anything = func() []policy.Named {
	p, err := policy.Parse([]byte(`{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`), policy.Identity)
	if err != nil {
		panic(err)
	}
	return []policy.Named{{Name: "anything", Policy: p}}
}()

// errNobody means that there is no such principal.
var errNobody = errors.New("there is no such principal, or not any more")

// nobody explains a refusal of a principal that is not there.
func nobody() *policy.Trace {
	d := policy.Decision{Layer: policy.IdentityLayer}
	return &policy.Trace{Decision: d, Reasons: []policy.Reason{{Layer: d.Layer, Text: errNobody.Error()}}}
}

func (q *question) explain() *policy.Trace {
	again := *q // at the same time by several
	again.facts.tags = nil
	again.request.Context = &again.facts
	return policy.Explain(&again.request, &again.policies)
}

// ask makes q the question whether c may do r, and answers it.
func (a *Authorizer) ask(ctx context.Context, q *question, c *iam.Caller, r *iam.Request) (policy.Decision, error) {
	q.facts.a, q.facts.c, q.facts.r, q.facts.now = a, c, r, a.o.Now()
	q.request = policy.Request{
		Principal:       policy.Principal{ARN: c.ARN, Account: c.Account, RoleARN: c.Role},
		Action:          r.Action,
		Resource:        r.Resource.ARN,
		ResourceAccount: r.Resource.Account,
		Context:         &q.facts,
	}
	q.policies = policy.Policies{Resource: r.Resource.Policies}
	if err := a.principal(ctx, q, c); err != nil {
		return policy.Decision{}, err
	}
	if c.Endpoint != "" {
		q.policies.HasEndpoint = true
		if p, ok := a.o.Endpoints[c.Endpoint]; ok {
			q.endpoint[0] = p
			q.policies.Endpoint = q.endpoint[:]
		}
	}
	key := keyOf(c, r, q.facts.set)
	if a.memo.has(&key) {
		return policy.Decision{Outcome: policy.Allowed}, nil
	}
	d := policy.Decide(&q.request, &q.policies)
	// Beside the registry nobody brings along the same policies twice: what was found with them would never be found again.
	if d.Outcome == policy.Allowed && !q.facts.fleeting && (key.count == 0 || strings.HasPrefix(r.Action, "ecr:")) {
		a.memo.add(&key, a.generation.Newest())
	}
	return d, nil
}

// principal finds out who c is to policies, and its own ones. Errors: errNobody.
func (a *Authorizer) principal(ctx context.Context, q *question, c *iam.Caller) error {
	who := &q.request.Principal
	var kind directory.Kind
	id := c.ID
	switch c.Type {
	case iam.Anonymous:
		if c.ARN != "" || c.Account != "" {
			return errNobody
		}
		return nil
	case iam.Root:
		who.Type = policy.Root
		if c.Account == "" || c.ARN != iam.RootARN(c.Account) {
			return errNobody
		}
	case iam.Federated:
		who.Type = policy.Federated
	case iam.User:
		who.Type, kind = policy.User, directory.KindUser
	case iam.AssumedRole:
		who.Type, kind = policy.AssumedRole, directory.KindRole
		id = roleID(id)
	default:
		return errNobody
	}
	if kind != "" {
		set, err := a.set(ctx, id, c.Arrived)
		if err != nil {
			return err
		}
		if set == nil || set.Kind != kind || set.Account != c.Account {
			return errNobody
		}
		q.facts.set = set
		q.policies.Identity = set.Identity
		q.policies.Boundaries = set.Boundaries
		if kind == directory.KindRole {
			who.RoleARN = set.ARN
		} else {
			who.ARN = set.ARN
		}
	}
	if c.Session != nil && c.Session.Policies != nil {
		limits, err := a.sessions.policies(c)
		if err != nil {
			return err
		}
		q.policies.Session, q.policies.HasSession = limits, true
	}
	return nil
}
