package directory

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/policy"
	"github.com/sekisho/sekisho/internal/meta"
)

func (r *row) role() *Role {
	return &Role{
		Entity: r.entity(), Trust: r.document, Description: r.description, MaxSession: time.Duration(r.maxSession) * time.Second,
		Boundary: r.boundary, LastUsed: at(r.usedAt), LastUsedRegion: r.usedIn,
	}
}

// affected returns how many rows a statement changed.
func affected(res sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// CreateRole makes a role.
func (s *Service) CreateRole(ctx context.Context, c *iam.Caller, n NewRole) (*Role, error) {
	n.MaxSession = cmp.Or(n.MaxSession, minSession)
	r := &row{kind: KindRole, name: n.Name, document: n.Trust, description: n.Description, maxSession: int64(n.MaxSession / time.Second), boundary: n.Boundary}
	err := s.prepare(r, n.Path, n.Tags)
	if err == nil {
		err = checkDescription(n.Description)
	}
	if err == nil && (strings.HasPrefix(r.path, "/aws-service-role/") || strings.HasPrefix(r.path, "/aws-reserved/")) {
		err = errf(InvalidInput, "The path %s is for roles that AWS's services make for themselves, which policies treat in ways of their own.", r.path)
	}
	if err == nil {
		err = checkMaxSession(n.MaxSession)
	}
	if err == nil {
		err = s.checkTrust(n.Trust)
	}
	if err == nil {
		err = s.create(ctx, c, "iam:CreateRole", boundaryKey(n.Boundary), r, func(tx *meta.Tx) error {
			if err := CheckPrincipals(ctx, tx, n.Trust); err != nil {
				return err
			}
			return s.checkBoundary(ctx, tx, r.account, r.boundary)
		})
	}
	if err != nil {
		return nil, err
	}
	return r.role(), nil
}

func (s *Service) checkTrust(document string) error {
	if size(document) > maxTrustSize {
		return quota(limit{"ACLSizePerRole", maxTrustSize})
	}
	_, err := s.compile(document, policy.Trust)
	return err
}

// Role returns a role.
func (s *Service) Role(ctx context.Context, c *iam.Caller, name string) (*Role, error) {
	r, err := s.show(ctx, c, RoleNamed(name), "iam:GetRole")
	if err != nil {
		return nil, err
	}
	return r.role(), nil
}

// UpdateRole changes the description or the length of sessions of a role.
func (s *Service) UpdateRole(ctx context.Context, c *iam.Caller, name string, u RoleUpdate) (*Role, error) {
	if u.Description != nil {
		if err := checkDescription(*u.Description); err != nil {
			return nil, err
		}
	}
	if u.MaxSession != nil {
		if err := checkMaxSession(*u.MaxSession); err != nil {
			return nil, err
		}
	}
	var updated *row
	err := s.change(ctx, c, RoleNamed(name), just("iam:UpdateRole"), "", func(tx *meta.Tx, r *row) error {
		if u.Description != nil {
			r.description = *u.Description
		}
		if u.MaxSession != nil {
			r.maxSession = int64(*u.MaxSession / time.Second)
		}
		updated = r
		_, err := tx.Exec(ctx, `UPDATE identities SET description = $1, max_session = $2 WHERE id = $3`, r.description, r.maxSession, r.id)
		return err
	})
	if err != nil {
		return nil, err
	}
	return updated.role(), nil
}

// UpdateTrust replaces the document that says who may assume a role.
func (s *Service) UpdateTrust(ctx context.Context, c *iam.Caller, role, document string) error {
	if err := s.checkTrust(document); err != nil {
		return err
	}
	return s.change(ctx, c, RoleNamed(role), just("iam:UpdateAssumeRolePolicy"), "", func(tx *meta.Tx, r *row) error {
		if err := CheckPrincipals(ctx, tx, document); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `UPDATE identities SET document = $1 WHERE id = $2`, document, r.id)
		return err
	})
}

// DeleteRole deletes a role that has no policies and is in no instance profile. Its sessions end.
func (s *Service) DeleteRole(ctx context.Context, c *iam.Caller, name string) error {
	return s.delete(ctx, c, RoleNamed(name))
}

// Roles lists roles by name.
func (s *Service) Roles(ctx context.Context, c *iam.Caller, pathPrefix string, p Page) ([]Role, bool, error) {
	return list(ctx, s, c, KindRole, pathPrefix, p, func(r *row) Role { return *r.role() })
}

// Trusting returns a role by its ARN, with its tags, and the policy that says who may assume it: what a decision on
// sts:AssumeRole needs to know of its resource. It decides nothing and is to be shown to nobody. Of a role that is not there
// it returns nil.
func (s *Service) Trusting(ctx context.Context, arn string) (*Role, policy.Named, error) {
	account, name, ok := parseARN(KindRole, arn)
	if !ok {
		return nil, policy.Named{}, nil
	}
	r, err := byName(ctx, s.db, account, KindRole, name[strings.LastIndexByte(name, '/')+1:])
	if err != nil || r == nil || r.arn() != arn {
		return nil, policy.Named{}, err
	}
	p, err := s.compile(r.document, policy.Trust)
	if err != nil {
		return nil, policy.Named{}, fmt.Errorf("trust policy of %s: %w", arn, err)
	}
	return r.role(), policy.Named{Name: "trust policy", Policy: p}, nil
}
