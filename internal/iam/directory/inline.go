package directory

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/policy"
	"github.com/sekisho/sekisho/internal/meta"
)

var policyName = limit{"policyName", 128}

// PutInlinePolicy gives a user, group or role a policy of its own, or another document to one it has.
func (s *Service) PutInlinePolicy(ctx context.Context, c *iam.Caller, of Ref, name, document string) error {
	if err := checkText(policyName, name); err != nil {
		return err
	}
	if _, err := s.compile(document, policy.Identity); err != nil {
		return err
	}
	return s.change(ctx, c, of, bounded("iam:Put"+actionNames[of.Kind]+"Policy"), name, func(tx *meta.Tx, r *row) error {
		documents, err := collect(ctx, tx, itself[string], `SELECT document FROM inline_policies WHERE identity = $1 AND name <> $2`, r.id, name)
		if err != nil {
			return err
		}
		total := size(document)
		for _, d := range documents {
			total += size(d)
		}
		if most := inlineSizes[r.kind]; total > most {
			return errf(LimitExceeded, "Maximum policy size of %d bytes exceeded for %s %s", most, r.kind, r.name)
		}
		_, err = tx.Exec(ctx, `INSERT INTO inline_policies (identity, name, document) VALUES ($1, $2, $3)
			ON CONFLICT (identity, name) DO UPDATE SET document = excluded.document`, r.id, name, document)
		return err
	})
}

// InlinePolicy returns the document of a policy.
func (s *Service) InlinePolicy(ctx context.Context, c *iam.Caller, of Ref, name string) (string, error) {
	r, err := s.show(ctx, c, of, "iam:Get"+actionNames[of.Kind]+"Policy")
	if err != nil {
		return "", err
	}
	var document string
	err = s.db.QueryRow(ctx, `SELECT document FROM inline_policies WHERE identity = $1 AND name = $2`, r.id, name).Scan(&document)
	if errors.Is(err, sql.ErrNoRows) {
		return "", noInline(of.Kind, name)
	}
	if err != nil {
		return "", fmt.Errorf("read inline policy %s of %s: %w", name, r.arn(), err)
	}
	return document, nil
}

// DeleteInlinePolicy deletes a policy.
func (s *Service) DeleteInlinePolicy(ctx context.Context, c *iam.Caller, of Ref, name string) error {
	return s.change(ctx, c, of, bounded("iam:Delete"+actionNames[of.Kind]+"Policy"), name, func(tx *meta.Tx, r *row) error {
		n, err := affected(tx.Exec(ctx, `DELETE FROM inline_policies WHERE identity = $1 AND name = $2`, r.id, name))
		if err == nil && n == 0 {
			err = noInline(of.Kind, name)
		}
		return err
	})
}

// InlinePolicies lists the names of the policies.
func (s *Service) InlinePolicies(ctx context.Context, c *iam.Caller, of Ref, p Page) ([]string, bool, error) {
	limit, err := p.limit()
	if err != nil {
		return nil, false, err
	}
	r, err := s.show(ctx, c, of, "iam:List"+actionNames[of.Kind]+"Policies")
	if err != nil {
		return nil, false, err
	}
	names, err := collect(ctx, s.db, itself[string], `SELECT name FROM inline_policies WHERE identity = $1 AND name > $2 ORDER BY name LIMIT $3`, r.id, p.After, limit+1)
	names, more := cut(names, limit)
	return names, more, err
}
