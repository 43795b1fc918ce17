package directory

import (
	"context"
	"fmt"

	"github.com/sekisho/sekisho/internal/iam/policy"
	"github.com/sekisho/sekisho/internal/meta"
)

// Set is what a user or a role may by its own policies. It is immutable.
type Set struct {
	ID, ARN, Name, Account string
	Kind                   Kind
	Identity               []policy.Named
	Boundaries             []policy.Named // one at most
	Tags                   []Tag
}

// Set returns the set of a user or role by its unique id, nil if there is none (any more). It decides nothing.
//
// A set that was asked for after a generation was current has all that changed up to that one.
func (s *Service) Set(ctx context.Context, id string) (*Set, error) {
	var set *Set
	err := s.db.View(ctx, func(tx *meta.Tx) (err error) {
		set, err = s.readSet(ctx, tx, id)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read policies of %s: %w", id, err)
	}
	return set, nil
}

func (s *Service) readSet(ctx context.Context, q querier, id string) (*Set, error) {
	r, err := byID(ctx, q, id)
	if err != nil || r == nil || r.kind != KindUser && r.kind != KindRole {
		return nil, err
	}
	set := &Set{ID: r.id, ARN: r.arn(), Name: r.name, Account: r.account, Kind: r.kind, Tags: r.tags}
	if err := s.addPolicies(ctx, q, set, r.id, ""); err != nil {
		return nil, err
	}
	type group struct{ id, name string }
	groups, err := collect(ctx, q, func(g *group) []any { return []any{&g.id, &g.name} }, `SELECT g.id, g.name FROM identities g
		JOIN memberships m ON m.container = g.id WHERE m.member = $1 AND g.kind = 'group' ORDER BY g.folded`, r.id)
	if err != nil {
		return nil, err
	}
	for _, g := range groups {
		if err := s.addPolicies(ctx, q, set, g.id, " of group "+g.name); err != nil {
			return nil, err
		}
	}
	if r.boundary != "" {
		p, err := s.managed(ctx, q, r.account, r.boundary)
		if err != nil {
			return nil, err
		}
		set.Boundaries = []policy.Named{{Name: r.boundary, Policy: p}}
	}
	return set, nil
}

// addPolicies adds the policies of a user, group or role to a set.
func (s *Service) addPolicies(ctx context.Context, q querier, set *Set, id, suffix string) error {
	type inline struct{ name, document string }
	own, err := collect(ctx, q, func(p *inline) []any { return []any{&p.name, &p.document} },
		`SELECT name, document FROM inline_policies WHERE identity = $1 ORDER BY name`, id)
	if err != nil {
		return err
	}
	for _, in := range own {
		p, err := s.compile(in.document, policy.Identity)
		if err != nil {
			return fmt.Errorf("inline policy %s: %w", in.name, err)
		}
		set.Identity = append(set.Identity, policy.Named{Name: "inline policy " + in.name + suffix, Policy: p})
	}
	arns, err := collect(ctx, q, itself[string], `SELECT policy FROM attached_policies WHERE identity = $1 ORDER BY policy`, id)
	if err != nil {
		return err
	}
	for _, arn := range arns {
		p, err := s.managed(ctx, q, set.Account, arn)
		if err != nil {
			return err
		}
		set.Identity = append(set.Identity, policy.Named{Name: arn + suffix, Policy: p})
	}
	return nil
}

// managed returns the default version of a managed policy. That it is there is what the directory keeps true.
func (s *Service) managed(ctx context.Context, q querier, account, arn string) (*policy.Policy, error) {
	r, err := attachable(ctx, q, account, arn)
	if err != nil {
		return nil, err
	}
	if r == nil {
		return nil, fmt.Errorf("policy %s is not there", arn)
	}
	document, there, err := defaultDocument(ctx, q, r)
	if err != nil {
		return nil, err
	}
	if !there {
		return nil, fmt.Errorf("policy %s has no version %d", arn, r.version)
	}
	p, err := s.compile(document, policy.Identity)
	if err != nil {
		return nil, fmt.Errorf("policy %s: %w", arn, err)
	}
	return p, nil
}
