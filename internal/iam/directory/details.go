package directory

import (
	"context"
	"slices"
	"strings"

	"github.com/sekisho/sekisho/internal/iam"
)

// Details are identities and policies with all that they have.
type Details struct {
	Users    []UserDetail
	Groups   []GroupDetail
	Roles    []RoleDetail
	Policies []PolicyDetail
	// Last is where the last of them stands, for the [Page.After] of what follows.
	Last string
}

// Granted is what somebody has been given.
type Granted struct {
	Inline   []InlinePolicy   // by name
	Attached []AttachedPolicy // by ARN
}

// InlinePolicy is a policy that belongs to one user, group or role.
type InlinePolicy struct{ Name, Document string }

// UserDetail is a user and its groups, by name.
type UserDetail struct {
	User
	Granted
	Groups []string
}

// GroupDetail is a group.
type GroupDetail struct {
	Group
	Granted
}

// RoleDetail is a role and the instance profiles that it is in.
type RoleDetail struct {
	Role
	Granted
	Profiles []Profile
}

// PolicyDetail is a managed policy and its versions, the newest first.
type PolicyDetail struct {
	ManagedPolicy
	Versions []PolicyVersion
}

// DetailFilter says what is wanted: all, or some kinds. Of AWS's policies only those are given that somebody has.
type DetailFilter struct {
	All                              bool
	Users, Groups, Roles, Local, AWS bool
}

// detailSections are the parts of the list in order; a [Page.After] is one of them, a slash, and a name.
var detailSections = []struct {
	name   string
	kind   Kind
	wanted func(*DetailFilter) bool
}{
	{"user", KindUser, func(f *DetailFilter) bool { return f.Users }},
	{"group", KindGroup, func(f *DetailFilter) bool { return f.Groups }},
	{"role", KindRole, func(f *DetailFilter) bool { return f.Roles }},
	{"local", KindPolicy, func(f *DetailFilter) bool { return f.Local }},
	{"aws", KindPolicy, func(f *DetailFilter) bool { return f.AWS }},
}

// Details lists everything in an account, users first, each with all that it has.
func (s *Service) Details(ctx context.Context, c *iam.Caller, f DetailFilter, p Page) (*Details, bool, error) {
	c = orNobody(c)
	limit, err := p.limit()
	if err != nil {
		return nil, false, err
	}
	if err := s.on(ctx, c, "iam:GetAccountAuthorizationDetails", "*"); err != nil {
		return nil, false, err
	}
	d := &Details{}
	section, after, _ := strings.Cut(p.After, "/")
	skipping := p.After != ""
	for _, part := range detailSections {
		if skipping && part.name != section {
			continue
		}
		from := Page{Limit: limit + 1}
		if skipping {
			from.After, skipping = after, false
		}
		if !f.All && !part.wanted(&f) {
			continue
		}
		rows, err := s.detailRows(ctx, c.Account, part.name == "aws", part.kind, from)
		if err != nil {
			return nil, false, err
		}
		for i := range rows {
			if limit == 0 {
				return d, true, nil
			}
			if err := s.detail(ctx, c.Account, d, &rows[i]); err != nil {
				return nil, false, err
			}
			limit--
			d.Last = part.name + "/" + rows[i].name
		}
	}
	if skipping {
		return nil, false, errf(ValidationError, "Invalid Marker.")
	}
	return d, false, nil
}

// detailRows reads at most p.Limit of an account; of AWS's policies all that it uses.
func (s *Service) detailRows(ctx context.Context, account string, aws bool, kind Kind, p Page) ([]row, error) {
	if !aws {
		return collect(ctx, s.db, (*row).fields, `SELECT `+columns+` FROM identities
			WHERE account = $1 AND kind = $2 AND folded > $3 ORDER BY folded LIMIT $4`, account, string(kind), fold(p.After), p.Limit)
	}
	var rows []row
	for _, r := range builtinRows() {
		n, err := attachments(ctx, s.db, account, r.arn())
		if err != nil {
			return nil, err
		}
		if r.name > p.After && n.permissions+n.boundaries > 0 {
			rows = append(rows, *r)
		}
	}
	slices.SortFunc(rows, func(a, b row) int { return strings.Compare(a.name, b.name) })
	return rows, nil
}

// detail adds one thing with all that it has.
func (s *Service) detail(ctx context.Context, account string, d *Details, r *row) error {
	if r.kind == KindPolicy {
		return s.policyDetail(ctx, account, d, r)
	}
	var err error
	if r.tags, err = tagsOf(ctx, s.db, r.id); err != nil {
		return err
	}
	var g Granted
	g.Inline, err = collect(ctx, s.db, func(p *InlinePolicy) []any { return []any{&p.Name, &p.Document} },
		`SELECT name, document FROM inline_policies WHERE identity = $1 ORDER BY name`, r.id)
	if err != nil {
		return err
	}
	g.Attached, err = collect(ctx, s.db, func(a *AttachedPolicy) []any { return []any{&a.Name, &a.ARN} },
		`SELECT name, policy FROM attached_policies WHERE identity = $1 ORDER BY policy`, r.id)
	if err != nil {
		return err
	}
	switch r.kind {
	case KindUser:
		groups, err := collect(ctx, s.db, itself[string], `SELECT name FROM identities
			WHERE id IN (SELECT container FROM memberships WHERE member = $1) ORDER BY folded`, r.id)
		if err != nil {
			return err
		}
		d.Users = append(d.Users, UserDetail{*r.user(), g, groups})
	case KindGroup:
		d.Groups = append(d.Groups, GroupDetail{*r.group(), g})
	case KindRole:
		rows, err := collect(ctx, s.db, (*row).fields, `SELECT `+columns+` FROM identities
			WHERE id IN (SELECT container FROM memberships WHERE member = $1) ORDER BY folded`, r.id)
		if err != nil {
			return err
		}
		role := RoleDetail{Role: *r.role(), Granted: g}
		for i := range rows {
			role.Profiles = append(role.Profiles, Profile{rows[i].entity(), []Role{role.Role}})
		}
		d.Roles = append(d.Roles, role)
	}
	return nil
}

func (s *Service) policyDetail(ctx context.Context, account string, d *Details, r *row) error {
	n, err := attachments(ctx, s.db, account, r.arn())
	if err != nil {
		return err
	}
	r.attachments, r.boundaryAttachs = n.permissions, n.boundaries
	versions, err := versionsOf(ctx, s.db, r)
	if err != nil {
		return err
	}
	p := PolicyDetail{ManagedPolicy: *r.policy()}
	for i := range versions {
		p.Versions = append(p.Versions, versions[i].of(r))
	}
	d.Policies = append(d.Policies, p)
	return nil
}
