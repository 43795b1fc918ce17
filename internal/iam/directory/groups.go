package directory

import (
	"context"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
)

func (r *row) group() *Group { return &Group{r.entity()} }

// CreateGroup makes a group.
func (s *Service) CreateGroup(ctx context.Context, c *iam.Caller, name, path string) (*Group, error) {
	r := &row{kind: KindGroup, name: name}
	if err := s.prepare(r, path, nil); err != nil {
		return nil, err
	}
	if err := s.create(ctx, c, "iam:CreateGroup", nil, r, nil); err != nil {
		return nil, err
	}
	return r.group(), nil
}

// Group returns a group and a page of its users, by name.
func (s *Service) Group(ctx context.Context, c *iam.Caller, name string, p Page) (*Group, []User, bool, error) {
	r, err := s.show(ctx, c, GroupNamed(name), "iam:GetGroup")
	if err != nil {
		return nil, nil, false, err
	}
	users, more, err := s.related(ctx, r, `SELECT `+columns+` FROM identities WHERE id IN (SELECT member FROM memberships WHERE container = $1)
		AND folded > $2 ORDER BY folded LIMIT $3`, p)
	return r.group(), each(users, func(u *row) User { return *u.user() }), more, err
}

// related reads a page of what belongs to r; the query takes its id, what comes before the page, and a limit.
func (s *Service) related(ctx context.Context, r *row, query string, p Page) ([]row, bool, error) {
	limit, err := p.limit()
	if err != nil {
		return nil, false, err
	}
	rows, err := collect(ctx, s.db, (*row).fields, query, r.id, fold(p.After), limit+1)
	rows, more := cut(rows, limit)
	return rows, more, err
}

// UpdateGroup gives a group another name or path; "" leaves either as it is.
func (s *Service) UpdateGroup(ctx context.Context, c *iam.Caller, name, newName, newPath string) error {
	return s.rename(ctx, c, GroupNamed(name), newName, newPath)
}

// DeleteGroup deletes a group that has neither users nor policies.
func (s *Service) DeleteGroup(ctx context.Context, c *iam.Caller, name string) error {
	return s.delete(ctx, c, GroupNamed(name))
}

// Groups lists groups by name.
func (s *Service) Groups(ctx context.Context, c *iam.Caller, pathPrefix string, p Page) ([]Group, bool, error) {
	return list(ctx, s, c, KindGroup, pathPrefix, p, func(r *row) Group { return *r.group() })
}

// AddUserToGroup makes a user a member of a group. It may be one already.
func (s *Service) AddUserToGroup(ctx context.Context, c *iam.Caller, group, user string) error {
	return s.change(ctx, c, GroupNamed(group), just("iam:AddUserToGroup"), user, func(tx *meta.Tx, g *row) error {
		u, err := s.member(ctx, tx, g, UserNamed(user))
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `INSERT INTO memberships (container, member) VALUES ($1, $2) ON CONFLICT (container, member) DO NOTHING`, g.id, u.id)
		if err != nil {
			return err
		}
		n, err := count(ctx, tx, `SELECT count(*) FROM memberships WHERE member = $1`, u.id)
		if err == nil && n > maxGroupsPerUser {
			err = quota(limit{"GroupsPerUser", maxGroupsPerUser})
		}
		return err
	})
}

// member finds what is to be put into a container, or taken out of it.
func (s *Service) member(ctx context.Context, tx *meta.Tx, container *row, ref Ref) (*row, error) {
	r, err := byName(ctx, tx, container.account, ref.Kind, ref.Name)
	if err == nil && r == nil {
		err = noSuch(ref)
	}
	return r, err
}

// RemoveUserFromGroup ends a membership.
func (s *Service) RemoveUserFromGroup(ctx context.Context, c *iam.Caller, group, user string) error {
	return s.change(ctx, c, GroupNamed(group), just("iam:RemoveUserFromGroup"), user, func(tx *meta.Tx, g *row) error {
		u, err := s.member(ctx, tx, g, UserNamed(user))
		if err != nil {
			return err
		}
		n, err := affected(tx.Exec(ctx, `DELETE FROM memberships WHERE container = $1 AND member = $2`, g.id, u.id))
		if err == nil && n == 0 {
			err = errf(NoSuchEntity, "The user with name %s is not in the group with name %s.", user, group)
		}
		return err
	})
}

// GroupsForUser lists the groups that a user is in, by name.
func (s *Service) GroupsForUser(ctx context.Context, c *iam.Caller, user string, p Page) ([]Group, bool, error) {
	r, err := s.show(ctx, c, UserNamed(user), "iam:ListGroupsForUser")
	if err != nil {
		return nil, false, err
	}
	groups, more, err := s.related(ctx, r, `SELECT `+columns+` FROM identities WHERE id IN (SELECT container FROM memberships WHERE member = $1)
		AND folded > $2 ORDER BY folded LIMIT $3`, p)
	return each(groups, func(g *row) Group { return *g.group() }), more, err
}
