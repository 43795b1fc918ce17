package directory

import (
	"context"
	"fmt"
	"strings"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/policy"
	"github.com/sekisho/sekisho/internal/meta"
)

// Subject is a user, group or role as a simulation takes it.
type Subject struct {
	Kind                 Kind
	Principal            policy.Principal // of a role a session; of a group a user without a name
	Identity, Boundaries []policy.Named
	Context              policy.MapContext // what is known of it without a request
}

// Subject returns the policies of a user, group or role, for an action that asks what they would allow.
func (s *Service) Subject(ctx context.Context, c *iam.Caller, action, arn string) (*Subject, error) {
	c = orNobody(c)
	ref, account, ok := parseSubject(arn)
	if !ok {
		return nil, errf(InvalidInput, "Invalid Entity Arn: %s does not clearly define entity type and name.", arn)
	}
	res := iam.Resource{ARN: arn, Account: account}
	var r *row
	if account == c.Account {
		var err error
		if r, err = byName(ctx, s.db, account, ref.Kind, ref.Name); err != nil {
			return nil, err
		}
		if r != nil && r.arn() != arn {
			r = nil // another path
		}
		res = resource(r, res)
	}
	if err := s.check(ctx, c, res, need{action: action}); err != nil {
		return nil, err
	}
	if r == nil {
		return nil, noSuch(ref)
	}
	var set *Set
	err := s.db.View(ctx, func(tx *meta.Tx) (err error) {
		if r.kind != KindGroup {
			set, err = s.readSet(ctx, tx, r.id)
			return err
		}
		set = &Set{Account: account}
		return s.addPolicies(ctx, tx, set, r.id, "")
	})
	if err != nil {
		return nil, fmt.Errorf("read policies of %s: %w", arn, err)
	}
	if set == nil { // it was deleted meanwhile
		return nil, noSuch(ref)
	}
	return set.subject(r), nil
}

func (set *Set) subject(r *row) *Subject {
	sub := &Subject{Kind: r.kind, Identity: set.Identity, Boundaries: set.Boundaries, Context: policy.MapContext{}}
	sub.Principal = policy.Principal{Type: policy.User, Account: r.account}
	switch r.kind {
	case KindUser:
		sub.Principal.ARN = r.arn()
		sub.Context["aws:username"], sub.Context["aws:userid"] = []string{r.name}, []string{r.id}
	case KindRole:
		const session = "simulation"
		sub.Principal = policy.Principal{
			Type: policy.AssumedRole, Account: r.account, RoleARN: r.arn(),
			ARN: "arn:aws:sts::" + r.account + ":assumed-role/" + r.name + "/" + session,
		}
		sub.Context["aws:userid"] = []string{r.id + ":" + session}
	}
	for _, t := range set.Tags {
		sub.Context["aws:principaltag/"+fold(t.Key)] = []string{t.Value}
	}
	return sub
}

// parseSubject takes the ARN of a user, group or role apart.
func parseSubject(arn string) (ref Ref, account string, ok bool) {
	rest, found := strings.CutPrefix(arn, "arn:aws:iam::")
	account, rest, _ = strings.Cut(rest, ":")
	kind, path, _ := strings.Cut(rest, "/")
	ref = Ref{Kind(kind), path[strings.LastIndexByte(path, '/')+1:]}
	ok = found && ref.Name != "" && (ref.Kind == KindUser || ref.Kind == KindGroup || ref.Kind == KindRole)
	return ref, account, ok
}
