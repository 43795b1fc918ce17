package directory

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
)

// keys are the condition keys of a request.
type keys map[string][]string

// need is a permission that a call needs: an action on the thing it is about, or on another resource.
type need struct {
	action string
	keys   keys
	res    *iam.Resource
}

// resolve finds what a reference is to, nil if it is not there, and what a decision about it needs to know.
func (s *Service) resolve(ctx context.Context, c *iam.Caller, ref Ref) (*row, iam.Resource, error) {
	account := c.Account
	name := ref.Name
	res := iam.Resource{Account: account}
	switch ref.Kind {
	case KindUser:
		if name == "" {
			return s.self(ctx, c)
		}
	case KindPolicy, KindProvider:
		res.ARN = name
		var ok bool
		if res.Account, name, ok = parseARN(ref.Kind, name); !ok {
			return nil, res, errf(InvalidInput, "ARN %s is not valid.", ref.Name)
		}
		if res.Account == awsAccount && ref.Kind == KindPolicy { // everybody's, as far as it goes
			res.Account = account
			return builtinRow(ref.Name), res, nil
		}
	}
	r, err := byName(ctx, s.db, res.Account, ref.Kind, name)
	if err != nil {
		return nil, res, err
	}
	if r != nil && res.ARN != "" && r.arn() != res.ARN {
		r = nil // another path
	}
	if res.ARN == "" {
		res.ARN = arnOf(account, ref.Kind, "/", name)
	}
	return r, resource(r, res), nil
}

func resource(r *row, res iam.Resource) iam.Resource {
	if r != nil {
		res.ARN, res.Tags = r.arn(), tagMap(r.tags)
	}
	return res
}

func tagMap(tags []Tag) map[string]string {
	if len(tags) == 0 {
		return nil
	}
	m := make(map[string]string, len(tags))
	for _, t := range tags {
		m[t.Key] = t.Value
	}
	return m
}

// self finds the caller, who must be a user.
func (s *Service) self(ctx context.Context, c *iam.Caller) (*row, iam.Resource, error) {
	if c.Type != iam.User || c.ID == "" {
		return nil, iam.Resource{}, errf(ValidationError, "Must specify userName when calling with non-User credentials")
	}
	r, err := byID(ctx, s.db, c.ID)
	if err == nil && (r == nil || r.account != c.Account || r.kind != KindUser) {
		err = noSuch(UserNamed(c.Name))
	}
	return r, resource(r, iam.Resource{Account: c.Account}), err
}

// parseARN takes arn:aws:iam::<account>:policy/path/name apart into account and name; of a provider the name is all that
// follows the kind.
func parseARN(kind Kind, arn string) (account, name string, ok bool) {
	rest, found := strings.CutPrefix(arn, "arn:aws:iam::")
	if !found || len(arn) > maxARN {
		return "", "", false
	}
	account, rest, _ = strings.Cut(rest, ":")
	rest, found = strings.CutPrefix(rest, string(kind)+"/")
	if !found || account != awsAccount && !isAccount(account) {
		return "", "", false
	}
	if kind == KindPolicy {
		rest = rest[strings.LastIndexByte(rest, '/')+1:]
	}
	return account, rest, rest != ""
}

func (s *Service) check(ctx context.Context, c *iam.Caller, res iam.Resource, n need) error {
	if n.res != nil {
		res = *n.res
	}
	r := &iam.Request{Action: n.action, Resource: res, Keys: n.keys}
	// "You cannot call any IAM API operations unless MFA authentication information is included in the request"
	// (GetSessionToken, AWS STS API Reference), and there is none here: who takes such credentials makes no lasting ones of them.
	if c != nil && c.Session != nil && c.Type != iam.AssumedRole {
		d := iam.Decision{Reason: "because the credentials are of GetSessionToken, with which IAM can't be called: call it with those of a user or a role"}
		s.judge.Note(c, r, d)
		return d.Denied(c, r)
	}
	return s.judge.Check(ctx, c, r)
}

// on checks an action that is on no one thing of the account: on all that a suffix such as "user/" names, or "*".
func (s *Service) on(ctx context.Context, c *iam.Caller, action, suffix string) error {
	c = orNobody(c)
	res := iam.Resource{ARN: "*", Account: c.Account}
	if suffix != "*" {
		res.ARN = "arn:aws:iam::" + c.Account + ":" + suffix
	}
	return s.check(ctx, c, res, need{action: action})
}

// show is the way of every call that shows a thing: it returns the thing if the caller may see it and it is there.
func (s *Service) show(ctx context.Context, c *iam.Caller, ref Ref, action string) (*row, error) {
	c = orNobody(c)
	r, res, err := s.resolve(ctx, c, ref)
	if err != nil {
		return nil, err
	}
	if err := s.check(ctx, c, res, need{action: action}); err != nil {
		return nil, err
	}
	if r == nil {
		return nil, noSuch(ref)
	}
	return r, nil
}

func orNobody(c *iam.Caller) *iam.Caller {
	if c == nil {
		return &iam.Caller{}
	}
	return c
}

// tries is how often a change is decided on again because what was decided on changed meanwhile.
const tries = 5

// errMoved means that what a decision looked at is not so any more.
var errMoved = errors.New("what was decided on changed meanwhile")

// change is the way of every call that changes a thing: fn runs in a transaction, on the thing as it is there, if the
// caller may do all that needs returns. The first need is what was done, for the record.
func (s *Service) change(ctx context.Context, c *iam.Caller, ref Ref, needs func(r *row) []need, detail string, fn func(tx *meta.Tx, r *row) error) error {
	c = orNobody(c)
	for range tries {
		r, res, err := s.resolve(ctx, c, ref)
		if err != nil {
			return err
		}
		asked := r
		if asked == nil {
			asked = &row{kind: ref.Kind}
		}
		all := needs(asked)
		for _, n := range all {
			if err := s.check(ctx, c, res, n); err != nil {
				return err
			}
		}
		if r == nil {
			return noSuch(ref)
		}
		if r.account == awsAccount {
			return errf(UnmodifiableEntity, "Policy %s is one of AWS's and cannot be modified.", res.ARN)
		}
		err = s.update(ctx, c, all[0].action, res.ARN, detail, func(tx *meta.Tx) error {
			now, err := byID(ctx, tx, r.id)
			if err != nil {
				return err
			}
			if !r.sameForDecision(now) {
				return errMoved
			}
			return fn(tx, now)
		})
		if !errors.Is(err, errMoved) {
			return err
		}
	}
	return errf(ConcurrentModification, "%s was changed by others at the same time; try again.", ref.Name)
}

// just is what needs one action.
func just(action string) func(*row) []need {
	return func(*row) []need { return []need{{action: action}} }
}

// bounded is what needs one action that has the boundary of the thing as a condition key.
func bounded(action string) func(*row) []need {
	return func(r *row) []need { return []need{{action: action, keys: boundaryKey(r.boundary)}} }
}

func boundaryKey(arn string) keys {
	if arn == "" {
		return nil
	}
	return keys{"iam:permissionsboundary": {arn}}
}

// create is the way of every call that makes a thing. r has all but its id.
func (s *Service) create(ctx context.Context, c *iam.Caller, action string, k keys, r *row, fn func(tx *meta.Tx) error) error {
	c = orNobody(c)
	r.account, r.id = c.Account, newID(r.kind)
	res := iam.Resource{ARN: r.arn(), Account: c.Account}
	needs := []need{{action: action, keys: k}}
	if len(r.tags) > 0 {
		if needs[0].keys == nil {
			needs[0].keys = keys{}
		}
		addTagKeys(needs[0].keys, r.tags)
		needs = append(needs, need{action: "iam:Tag" + actionNames[r.kind], keys: needs[0].keys})
	}
	for _, n := range needs {
		if err := s.check(ctx, c, res, n); err != nil {
			return err
		}
	}
	return s.update(ctx, c, action, res.ARN, r.id, func(tx *meta.Tx) error {
		n, err := count(ctx, tx, `SELECT count(*) FROM identities WHERE account = $1 AND kind = $2`, r.account, string(r.kind))
		if err == nil && n >= perAccount[r.kind].limit {
			err = quota(perAccount[r.kind])
		}
		if err == nil {
			err = s.nameIsFree(ctx, tx, r)
		}
		if err == nil {
			err = s.insert(ctx, tx, r)
		}
		if err == nil && fn != nil {
			err = fn(tx)
		}
		return err
	})
}

func (s *Service) nameIsFree(ctx context.Context, tx *meta.Tx, r *row) error {
	n, err := count(ctx, tx, `SELECT count(*) FROM identities WHERE account = $1 AND kind = $2 AND folded = $3 AND id <> $4`,
		r.account, string(r.kind), fold(r.name), r.id)
	if err == nil && n > 0 {
		err = alreadyThere(r)
	}
	return err
}

// addTagKeys adds the condition keys of tags in a request.
func addTagKeys(k keys, tags []Tag) {
	for _, t := range tags {
		k["aws:requesttag/"+fold(t.Key)] = []string{t.Value}
		k["aws:tagkeys"] = append(k["aws:tagkeys"], t.Key)
	}
}

// update runs fn in the transaction of a change, with its record and its generation.
func (s *Service) update(ctx context.Context, c *iam.Caller, action, arn, detail string, fn func(tx *meta.Tx) error) error {
	err := s.db.Update(ctx, func(tx *meta.Tx) error {
		if err := s.generation.Bump(ctx, tx); err != nil {
			return err
		}
		if err := fn(tx); err != nil {
			return err
		}
		return s.o.OnChange(ctx, tx, Change{Caller: c, Action: action, Resource: arn, Detail: detail})
	})
	if _, ours := errors.AsType[*Error](err); err == nil || ours || errors.Is(err, errMoved) {
		return err
	}
	return fmt.Errorf("%s on %s: %w", action, arn, err)
}

// newID returns a unique id as AWS forms them: what it is of, and 17 letters or digits.
func newID(kind Kind) string {
	prefix := map[Kind]string{KindUser: "AIDA", KindGroup: "AGPA", KindRole: "AROA", KindPolicy: "ANPA", KindProfile: "AIPA", KindProvider: "OIDC"}[kind]
	return prefix + rand.Text()[:17] // 85 random bits
}
