package iam

import (
	"context"

	sdk "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/sekisho/sekisho/internal/awsapi"
	"github.com/sekisho/sekisho/internal/iam/directory"
)

func (a *API) getAccountAuthorizationDetails(ctx context.Context, c *awsapi.Call, in *sdk.GetAccountAuthorizationDetailsInput) (*sdk.GetAccountAuthorizationDetailsOutput, error) {
	p, err := page(in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	filter := directory.DetailFilter{All: len(in.Filter) == 0}
	for _, f := range in.Filter {
		switch f {
		case types.EntityTypeUser:
			filter.Users = true
		case types.EntityTypeGroup:
			filter.Groups = true
		case types.EntityTypeRole:
			filter.Roles = true
		case types.EntityTypeLocalManagedPolicy:
			filter.Local = true
		case types.EntityTypeAWSManagedPolicy:
			filter.AWS = true
		}
	}
	d, more, err := a.Directory.Details(ctx, c.Caller, filter, p)
	if err != nil {
		return nil, err
	}
	out := &sdk.GetAccountAuthorizationDetailsOutput{
		IsTruncated:     more,
		UserDetailList:  each(d.Users, toUserDetail),
		GroupDetailList: each(d.Groups, toGroupDetail),
		RoleDetailList:  each(d.Roles, toRoleDetail),
		Policies:        each(d.Policies, toPolicyDetail),
	}
	if more {
		out.Marker = markerAfter(d.Last)
	}
	return out, nil
}

func toUserDetail(u *directory.UserDetail) types.UserDetail {
	return types.UserDetail{
		Arn: &u.ARN, UserId: &u.ID, UserName: &u.Name, Path: &u.Path, CreateDate: &u.Created, Tags: toTags(u.Tags),
		GroupList: each(u.Groups, itself), UserPolicyList: each(u.Inline, toInlinePolicy),
		AttachedManagedPolicies: each(u.Attached, toAttachedPolicy), PermissionsBoundary: toBoundary(u.Boundary),
	}
}

func toGroupDetail(g *directory.GroupDetail) types.GroupDetail {
	return types.GroupDetail{
		Arn: &g.ARN, GroupId: &g.ID, GroupName: &g.Name, Path: &g.Path, CreateDate: &g.Created,
		GroupPolicyList: each(g.Inline, toInlinePolicy), AttachedManagedPolicies: each(g.Attached, toAttachedPolicy),
	}
}

func toRoleDetail(r *directory.RoleDetail) types.RoleDetail {
	role := toRoleInFull(&r.Role)
	return types.RoleDetail{
		Arn: &r.ARN, RoleId: &r.ID, RoleName: &r.Name, Path: &r.Path, CreateDate: &r.Created, Tags: role.Tags,
		AssumeRolePolicyDocument: role.AssumeRolePolicyDocument, PermissionsBoundary: role.PermissionsBoundary, RoleLastUsed: role.RoleLastUsed,
		RolePolicyList: each(r.Inline, toInlinePolicy), AttachedManagedPolicies: each(r.Attached, toAttachedPolicy),
		InstanceProfileList: each(r.Profiles, toProfile),
	}
}

func toPolicyDetail(p *directory.PolicyDetail) types.ManagedPolicyDetail {
	policy := toPolicyInFull(&p.ManagedPolicy)
	return types.ManagedPolicyDetail{
		Arn: &p.ARN, PolicyId: &p.ID, PolicyName: &p.Name, Path: &p.Path, CreateDate: &p.Created, UpdateDate: &p.Updated, Description: policy.Description,
		DefaultVersionId: &p.DefaultVersion, IsAttachable: true, AttachmentCount: policy.AttachmentCount,
		PermissionsBoundaryUsageCount: policy.PermissionsBoundaryUsageCount, PolicyVersionList: each(p.Versions, toPolicyVersion),
	}
}

func toInlinePolicy(p *directory.InlinePolicy) types.PolicyDetail {
	return types.PolicyDetail{PolicyName: &p.Name, PolicyDocument: encoded(p.Document)}
}
