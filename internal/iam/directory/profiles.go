package directory

import (
	"context"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
)

// profile returns an instance profile with its role.
func (s *Service) profile(ctx context.Context, r *row) (*Profile, error) {
	roles, err := collect(ctx, s.db, (*row).fields, `SELECT `+columns+` FROM identities WHERE id IN (SELECT member FROM memberships WHERE container = $1)`, r.id)
	return &Profile{Entity: r.entity(), Roles: each(roles, func(r *row) Role { return *r.role() })}, err
}

func (s *Service) profiles(ctx context.Context, rows []row) ([]Profile, error) {
	all := make([]Profile, 0, len(rows))
	for i := range rows {
		p, err := s.profile(ctx, &rows[i])
		if err != nil {
			return nil, err
		}
		all = append(all, *p)
	}
	return all, nil
}

// CreateProfile makes an instance profile.
func (s *Service) CreateProfile(ctx context.Context, c *iam.Caller, p NewProfile) (*Profile, error) {
	r := &row{kind: KindProfile, name: p.Name}
	if err := s.prepare(r, p.Path, p.Tags); err != nil {
		return nil, err
	}
	if err := s.create(ctx, c, "iam:CreateInstanceProfile", nil, r, nil); err != nil {
		return nil, err
	}
	return &Profile{Entity: r.entity()}, nil
}

// Profile returns an instance profile.
func (s *Service) Profile(ctx context.Context, c *iam.Caller, name string) (*Profile, error) {
	r, err := s.show(ctx, c, ProfileNamed(name), "iam:GetInstanceProfile")
	if err != nil {
		return nil, err
	}
	return s.profile(ctx, r)
}

// DeleteProfile deletes an instance profile without a role.
func (s *Service) DeleteProfile(ctx context.Context, c *iam.Caller, name string) error {
	return s.delete(ctx, c, ProfileNamed(name))
}

// Profiles lists instance profiles by name.
func (s *Service) Profiles(ctx context.Context, c *iam.Caller, pathPrefix string, p Page) ([]Profile, bool, error) {
	c = orNobody(c)
	if err := s.on(ctx, c, "iam:ListInstanceProfiles", string(KindProfile)+"/"); err != nil {
		return nil, false, err
	}
	rows, more, err := s.page(ctx, c.Account, KindProfile, pathPrefix, p)
	if err != nil {
		return nil, false, err
	}
	found, err := s.profiles(ctx, rows)
	return found, more, err
}

// ProfilesForRole lists the instance profiles that a role is in, by name.
func (s *Service) ProfilesForRole(ctx context.Context, c *iam.Caller, role string, p Page) ([]Profile, bool, error) {
	r, err := s.show(ctx, c, RoleNamed(role), "iam:ListInstanceProfilesForRole")
	if err != nil {
		return nil, false, err
	}
	rows, more, err := s.related(ctx, r, `SELECT `+columns+` FROM identities WHERE id IN (SELECT container FROM memberships WHERE member = $1)
		AND folded > $2 ORDER BY folded LIMIT $3`, p)
	if err != nil {
		return nil, false, err
	}
	found, err := s.profiles(ctx, rows)
	return found, more, err
}

// AddRoleToProfile puts a role into an instance profile that has none. The caller must be allowed to pass the role on.
func (s *Service) AddRoleToProfile(ctx context.Context, c *iam.Caller, profile, role string) error {
	c = orNobody(c)
	_, res, err := s.resolve(ctx, c, RoleNamed(role))
	if err != nil {
		return err
	}
	needs := func(*row) []need {
		return []need{
			{action: "iam:AddRoleToInstanceProfile"},
			{action: "iam:PassRole", keys: keys{"iam:passedtoservice": {"ec2.amazonaws.com"}}, res: &res},
		}
	}
	return s.change(ctx, c, ProfileNamed(profile), needs, role, func(tx *meta.Tx, p *row) error {
		r, err := s.member(ctx, tx, p, RoleNamed(role))
		if err != nil {
			return err
		}
		if r.arn() != res.ARN {
			return errMoved
		}
		n, err := count(ctx, tx, `SELECT count(*) FROM memberships WHERE container = $1`, p.id)
		if err != nil {
			return err
		}
		if n >= maxRolesPerProfile {
			return quota(limit{"InstanceSessionsPerInstanceProfile", maxRolesPerProfile})
		}
		_, err = tx.Exec(ctx, `INSERT INTO memberships (container, member) VALUES ($1, $2)`, p.id, r.id)
		return err
	})
}

// RemoveRoleFromProfile takes a role out of an instance profile.
func (s *Service) RemoveRoleFromProfile(ctx context.Context, c *iam.Caller, profile, role string) error {
	return s.change(ctx, c, ProfileNamed(profile), just("iam:RemoveRoleFromInstanceProfile"), role, func(tx *meta.Tx, p *row) error {
		r, err := s.member(ctx, tx, p, RoleNamed(role))
		if err != nil {
			return err
		}
		n, err := affected(tx.Exec(ctx, `DELETE FROM memberships WHERE container = $1 AND member = $2`, p.id, r.id))
		if err == nil && n == 0 {
			err = errf(NoSuchEntity, "The role with name %s is not in the instance profile with name %s.", role, profile)
		}
		return err
	})
}
