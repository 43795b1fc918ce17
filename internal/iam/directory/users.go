package directory

import (
	"context"
	"fmt"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
)

func (r *row) user() *User { return &User{Entity: r.entity(), Boundary: r.boundary} }

// CreateUser makes a user.
func (s *Service) CreateUser(ctx context.Context, c *iam.Caller, u NewUser) (*User, error) {
	r := &row{kind: KindUser, name: u.Name, boundary: u.Boundary}
	if err := s.prepare(r, u.Path, u.Tags); err != nil {
		return nil, err
	}
	err := s.create(ctx, c, "iam:CreateUser", boundaryKey(u.Boundary), r, func(tx *meta.Tx) error {
		return s.checkBoundary(ctx, tx, r.account, r.boundary)
	})
	if err != nil {
		return nil, err
	}
	return r.user(), nil
}

// prepare checks what all new things have.
func (s *Service) prepare(r *row, path string, tags []Tag) (err error) {
	if err := checkName(r.kind, r.name); err != nil {
		return err
	}
	if r.path, err = checkPath(path); err != nil {
		return err
	}
	r.tags, err = checkTags(tags)
	return err
}

// User returns a user; for root, which has no name, what is known of it.
func (s *Service) User(ctx context.Context, c *iam.Caller, name string) (*User, error) {
	if c = orNobody(c); name == "" && c.Type == iam.Root {
		return s.root(ctx, c)
	}
	r, err := s.show(ctx, c, UserNamed(name), "iam:GetUser")
	if err != nil {
		return nil, err
	}
	return r.user(), nil
}

func (s *Service) root(ctx context.Context, c *iam.Caller) (*User, error) {
	if err := s.on(ctx, c, "iam:GetUser", "root"); err != nil {
		return nil, err
	}
	a, err := s.keys.Account(ctx, c.Account)
	if err != nil {
		return nil, err
	}
	return &User{Entity: Entity{ID: a.ID, Account: a.ID, Path: "/", ARN: iam.RootARN(a.ID), Created: a.Created}}, nil
}

// UpdateUser gives a user another name or path; "" leaves either as it is. Its sessions end.
func (s *Service) UpdateUser(ctx context.Context, c *iam.Caller, name, newName, newPath string) error {
	return s.rename(ctx, c, UserNamed(name), newName, newPath)
}

// rename is for users and groups. Both what it is and what it becomes must be the caller's to change.
func (s *Service) rename(ctx context.Context, c *iam.Caller, ref Ref, newName, newPath string) error {
	if newName != "" {
		if err := checkName(ref.Kind, newName); err != nil {
			return err
		}
	}
	if newPath != "" {
		var err error
		if newPath, err = checkPath(newPath); err != nil {
			return err
		}
	}
	become := func(r *row) (name, path string) {
		name, path = r.name, r.path
		if newName != "" {
			name = newName
		}
		if newPath != "" {
			path = newPath
		}
		return name, path
	}
	action := "iam:Update" + actionNames[ref.Kind]
	needs := func(r *row) []need {
		if r.id == "" {
			return []need{{action: action}}
		}
		name, path := become(r)
		return []need{{action: action}, {action: action, res: &iam.Resource{
			ARN: arnOf(r.account, r.kind, path, name), Account: r.account, Tags: tagMap(r.tags),
		}}}
	}
	return s.change(ctx, c, ref, needs, "", func(tx *meta.Tx, r *row) error {
		from := r.arn()
		if r.name, r.path = become(r); r.arn() == from {
			return nil
		}
		if err := s.nameIsFree(ctx, tx, r); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `UPDATE identities SET name = $1, folded = $2, path = $3 WHERE id = $4`, r.name, fold(r.name), r.path, r.id)
		if err != nil || r.kind != KindUser {
			return err
		}
		if _, err = tx.Exec(ctx, `UPDATE access_keys SET principal = $1 WHERE owner = $2`, r.arn(), r.id); err != nil {
			return err
		}
		if _, err = tx.Exec(ctx, `DELETE FROM sessions WHERE owner = $1`, r.id); err != nil { // they say the old name
			return err
		}
		return s.renamed(ctx, tx, from, r.arn())
	})
}

// DeleteUser deletes a user who has nothing left: no keys, no policies, no groups.
func (s *Service) DeleteUser(ctx context.Context, c *iam.Caller, name string) error {
	return s.delete(ctx, c, UserNamed(name))
}

// conflicts are what a thing must not have when it is deleted, in the order in which AWS asks for their removal.
var conflicts = map[Kind][]struct{ query, message string }{
	KindUser: {
		{`SELECT count(*) FROM access_keys WHERE owner = $1`, "Cannot delete entity, must delete access keys first."},
		hasInline, hasAttached,
		{`SELECT count(*) FROM memberships WHERE member = $1`, "Cannot delete entity, must remove users from group first."},
	},
	KindGroup: {
		hasInline, hasAttached,
		{`SELECT count(*) FROM memberships WHERE container = $1`, "Cannot delete entity, must remove users from group first."},
	},
	KindRole: {
		hasInline, hasAttached,
		{`SELECT count(*) FROM memberships WHERE member = $1`, "Cannot delete entity, must remove roles from instance profile first."},
	},
	KindProfile: {
		{`SELECT count(*) FROM memberships WHERE container = $1`, "Cannot delete entity, must remove roles from instance profile first."},
	},
	KindPolicy: {
		{`SELECT count(*) - 1 FROM policy_versions WHERE policy = $1`, "This policy has more than one version. Before you delete a policy, you must delete the policy's versions. The default version is deleted with the policy."},
	},
}

var (
	hasInline   = struct{ query, message string }{`SELECT count(*) FROM inline_policies WHERE identity = $1`, "Cannot delete entity, must delete policies first."}
	hasAttached = struct{ query, message string }{`SELECT count(*) FROM attached_policies WHERE identity = $1`, "Cannot delete entity, must detach all policies first."}
)

func (s *Service) delete(ctx context.Context, c *iam.Caller, ref Ref) error {
	return s.change(ctx, c, ref, just("iam:Delete"+actionNames[ref.Kind]), "", func(tx *meta.Tx, r *row) error {
		for _, con := range conflicts[ref.Kind] {
			if n, err := count(ctx, tx, con.query, r.id); err != nil {
				return err
			} else if n > 0 {
				return errf(DeleteConflict, "%s", con.message)
			}
		}
		if ref.Kind == KindPolicy {
			if n, err := attachments(ctx, tx, "", r.arn()); err != nil {
				return err
			} else if n.permissions+n.boundaries > 0 {
				return errf(DeleteConflict, "Cannot delete a policy attached to entities.")
			}
		}
		if ref.Kind == KindUser || ref.Kind == KindRole {
			if err := s.renamed(ctx, tx, r.arn(), r.id); err != nil {
				return err
			}
		}
		if ref.Kind == KindRole { // the next role of that name has sessions of the same names
			if err := s.renamed(ctx, tx, "arn:aws:sts::"+r.account+":assumed-role/"+r.name+"/*", r.id); err != nil {
				return err
			}
		}
		if _, err := tx.Exec(ctx, `DELETE FROM identities WHERE id = $1`, r.id); err != nil {
			return fmt.Errorf("delete %s: %w", r.arn(), err)
		}
		return nil
	})
}

// Users lists users by name.
func (s *Service) Users(ctx context.Context, c *iam.Caller, pathPrefix string, p Page) ([]User, bool, error) {
	return list(ctx, s, c, KindUser, pathPrefix, p, func(r *row) User { return *r.user() })
}

// list is the way of every call that lists the things of a kind in the caller's account.
func list[T any](ctx context.Context, s *Service, c *iam.Caller, kind Kind, pathPrefix string, p Page, as func(*row) T) ([]T, bool, error) {
	c = orNobody(c)
	if err := s.on(ctx, c, "iam:List"+actionNames[kind]+"s", string(kind)+"/"); err != nil {
		return nil, false, err
	}
	rows, more, err := s.page(ctx, c.Account, kind, pathPrefix, p)
	return each(rows, as), more, err
}

func each[T any](rows []row, as func(*row) T) []T {
	all := make([]T, len(rows))
	for i := range rows {
		all[i] = as(&rows[i])
	}
	return all
}
