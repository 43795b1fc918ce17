package directory

import (
	"context"
	"maps"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
)

// attaching is what needs an action about a managed policy.
func attaching(action, arn string) func(*row) []need {
	return func(r *row) []need {
		k := keys{"iam:policyarn": {arn}}
		maps.Copy(k, boundaryKey(r.boundary))
		return []need{{action: action, keys: k}}
	}
}

// attachable finds a policy that an account can use. It must exist when the transaction ends.
func attachable(ctx context.Context, q querier, account, arn string) (*row, error) {
	of, name, ok := parseARN(KindPolicy, arn)
	if !ok {
		return nil, errf(InvalidInput, "ARN %s is not valid.", arn)
	}
	if of == awsAccount {
		return builtinRow(arn), nil
	}
	if of != account {
		return nil, nil
	}
	r, err := byName(ctx, q, account, KindPolicy, name)
	if r != nil && r.arn() != arn {
		r = nil
	}
	return r, err
}

// AttachPolicy gives a user, group or role a managed policy. It may have it already.
func (s *Service) AttachPolicy(ctx context.Context, c *iam.Caller, to Ref, arn string) error {
	if _, _, ok := parseARN(KindPolicy, arn); !ok {
		return errf(InvalidInput, "ARN %s is not valid.", arn)
	}
	return s.change(ctx, c, to, attaching("iam:Attach"+actionNames[to.Kind]+"Policy", arn), arn, func(tx *meta.Tx, r *row) error {
		p, err := attachable(ctx, tx, r.account, arn)
		if err != nil {
			return err
		}
		if p == nil {
			return errf(NoSuchEntity, "Policy %s does not exist or is not attachable.", arn)
		}
		_, err = tx.Exec(ctx, `INSERT INTO attached_policies (identity, policy, name) VALUES ($1, $2, $3) ON CONFLICT (identity, policy) DO NOTHING`, r.id, arn, p.name)
		if err != nil {
			return err
		}
		n, err := count(ctx, tx, `SELECT count(*) FROM attached_policies WHERE identity = $1`, r.id)
		if err == nil && n > maxAttached {
			err = quota(limit{"PoliciesPer" + actionNames[r.kind], maxAttached})
		}
		return err
	})
}

// DetachPolicy takes a managed policy from a user, group or role.
func (s *Service) DetachPolicy(ctx context.Context, c *iam.Caller, from Ref, arn string) error {
	return s.change(ctx, c, from, attaching("iam:Detach"+actionNames[from.Kind]+"Policy", arn), arn, func(tx *meta.Tx, r *row) error {
		n, err := affected(tx.Exec(ctx, `DELETE FROM attached_policies WHERE identity = $1 AND policy = $2`, r.id, arn))
		if err == nil && n == 0 {
			err = errf(NoSuchEntity, "Policy %s was not found.", arn)
		}
		return err
	})
}

// AttachedPolicies lists the managed policies of a user, group or role. [Page.After] is an ARN.
func (s *Service) AttachedPolicies(ctx context.Context, c *iam.Caller, of Ref, pathPrefix string, p Page) ([]AttachedPolicy, bool, error) {
	limit, err := p.limit()
	if err == nil {
		err = checkPathPrefix(pathPrefix)
	}
	if err != nil {
		return nil, false, err
	}
	r, err := s.show(ctx, c, of, "iam:ListAttached"+actionNames[of.Kind]+"Policies")
	if err != nil {
		return nil, false, err
	}
	mine, amazons := "arn:aws:iam::"+r.account+":policy"+pathPrefix, "arn:aws:iam::"+awsAccount+":policy"+pathPrefix
	found, err := collect(ctx, s.db, func(a *AttachedPolicy) []any { return []any{&a.Name, &a.ARN} }, `SELECT name, policy FROM attached_policies
		WHERE identity = $1 AND policy > $2 AND (substr(policy, 1, length($3)) = $3 OR substr(policy, 1, length($4)) = $4) ORDER BY policy LIMIT $5`,
		r.id, p.After, mine, amazons, limit+1)
	found, more := cut(found, limit)
	return found, more, err
}

// checkBoundary checks that a policy can be a boundary, or that there is none.
func (s *Service) checkBoundary(ctx context.Context, tx *meta.Tx, account, arn string) error {
	if arn == "" {
		return nil
	}
	p, err := attachable(ctx, tx, account, arn)
	if err == nil && p == nil {
		err = errf(NoSuchEntity, "Scope ARN: %s does not exist or is not attachable.", arn)
	}
	return err
}

// PutBoundary limits a user or role to what a managed policy allows.
func (s *Service) PutBoundary(ctx context.Context, c *iam.Caller, of Ref, arn string) error {
	if _, _, ok := parseARN(KindPolicy, arn); !ok {
		return errf(InvalidInput, "ARN %s is not valid.", arn)
	}
	needs := func(*row) []need {
		return []need{{action: "iam:Put" + actionNames[of.Kind] + "PermissionsBoundary", keys: boundaryKey(arn)}}
	}
	return s.change(ctx, c, of, needs, arn, func(tx *meta.Tx, r *row) error {
		if err := s.checkBoundary(ctx, tx, r.account, arn); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `UPDATE identities SET boundary = $1 WHERE id = $2`, arn, r.id)
		return err
	})
}

// DeleteBoundary takes the boundary of a user or role away.
func (s *Service) DeleteBoundary(ctx context.Context, c *iam.Caller, of Ref) error {
	return s.change(ctx, c, of, bounded("iam:Delete"+actionNames[of.Kind]+"PermissionsBoundary"), "", func(tx *meta.Tx, r *row) error {
		if r.boundary == "" {
			return errf(NoSuchEntity, "%s %s does not have a permissions boundary.", actionNames[r.kind], r.name)
		}
		_, err := tx.Exec(ctx, `UPDATE identities SET boundary = '' WHERE id = $1`, r.id)
		return err
	})
}
