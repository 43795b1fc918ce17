package iam

import (
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/sekisho/sekisho/internal/iam/directory"
)

// text is a member that is left out when empty.
func text(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// value is a member that may have been left out.
func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// encoded is a document as IAM's answers have it: percent-encoded as RFC 3986 says.
func encoded(document string) *string {
	return text(strings.ReplaceAll(url.QueryEscape(document), "+", "%20"))
}

// each converts the items of a list. The result is not nil: a list that is empty is there.
func each[A, B any](items []A, convert func(*A) B) []B {
	out := make([]B, 0, len(items))
	for i := range items {
		out = append(out, convert(&items[i]))
	}
	return out
}

func fromTags(tags []types.Tag) []directory.Tag {
	return each(tags, func(t *types.Tag) directory.Tag { return directory.Tag{Key: *t.Key, Value: *t.Value} })
}

// toTags returns nil, which is left out, where there are none.
func toTags(tags []directory.Tag) []types.Tag {
	if len(tags) == 0 {
		return nil
	}
	return each(tags, toTag)
}

func toTag(t *directory.Tag) types.Tag { return types.Tag{Key: &t.Key, Value: &t.Value} }

func toBoundary(arn string) *types.AttachedPermissionsBoundary {
	if arn == "" {
		return nil
	}
	return &types.AttachedPermissionsBoundary{
		PermissionsBoundaryArn: &arn, PermissionsBoundaryType: types.PermissionsBoundaryAttachmentTypePolicy,
	}
}

func toUser(u *directory.User) types.User {
	return types.User{Arn: &u.ARN, UserId: &u.ID, UserName: text(u.Name), Path: &u.Path, CreateDate: &u.Created}
}

// toUserInFull adds what lists leave out, as those of the others do.
func toUserInFull(u *directory.User) *types.User {
	out := toUser(u)
	out.Tags, out.PermissionsBoundary = toTags(u.Tags), toBoundary(u.Boundary)
	return &out
}

func toGroup(g *directory.Group) types.Group {
	return types.Group{Arn: &g.ARN, GroupId: &g.ID, GroupName: &g.Name, Path: &g.Path, CreateDate: &g.Created}
}

func toRole(r *directory.Role) types.Role {
	return types.Role{
		Arn: &r.ARN, RoleId: &r.ID, RoleName: &r.Name, Path: &r.Path, CreateDate: &r.Created,
		AssumeRolePolicyDocument: encoded(r.Trust), Description: text(r.Description), MaxSessionDuration: new(int32(r.MaxSession / time.Second)),
	}
}

func toRoleInFull(r *directory.Role) *types.Role {
	out := toRole(r)
	out.Tags, out.PermissionsBoundary = toTags(r.Tags), toBoundary(r.Boundary)
	out.RoleLastUsed = &types.RoleLastUsed{LastUsedDate: moment(r.LastUsed), Region: text(r.LastUsedRegion)}
	return &out
}

func toPolicy(p *directory.ManagedPolicy) types.Policy {
	return types.Policy{
		Arn: &p.ARN, PolicyId: &p.ID, PolicyName: &p.Name, Path: &p.Path, CreateDate: &p.Created, UpdateDate: &p.Updated,
		DefaultVersionId: &p.DefaultVersion, IsAttachable: true, AttachmentCount: new(int32(p.Attached)),
		PermissionsBoundaryUsageCount: new(int32(p.Boundaries)),
	}
}

func toPolicyInFull(p *directory.ManagedPolicy) *types.Policy {
	out := toPolicy(p)
	out.Description, out.Tags = text(p.Description), toTags(p.Tags)
	return &out
}

func toPolicyVersion(v *directory.PolicyVersion) types.PolicyVersion {
	return types.PolicyVersion{VersionId: &v.ID, IsDefaultVersion: v.Default, Document: encoded(v.Document), CreateDate: &v.Created}
}

func toAttachedPolicy(p *directory.AttachedPolicy) types.AttachedPolicy {
	return types.AttachedPolicy{PolicyArn: &p.ARN, PolicyName: &p.Name}
}

func toProfile(p *directory.Profile) types.InstanceProfile {
	return types.InstanceProfile{
		Arn: &p.ARN, InstanceProfileId: &p.ID, InstanceProfileName: &p.Name, Path: &p.Path, CreateDate: &p.Created,
		Roles: each(p.Roles, toRole), Tags: toTags(p.Tags),
	}
}
