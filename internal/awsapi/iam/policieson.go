package iam

import (
	"context"

	sdk "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/sekisho/sekisho/internal/awsapi"
	"github.com/sekisho/sekisho/internal/iam/directory"
)

// policiesOn registers what users, groups and roles have in common: inline policies, attached ones, boundaries.
func (a *API) policiesOn(s *awsapi.Service) {
	a.policiesOnUsers(s)
	a.policiesOnGroups(s)
	a.policiesOnRoles(s)
}

func (a *API) policiesOnUsers(s *awsapi.Service) {
	does[sdk.PutUserPolicyInput, sdk.PutUserPolicyOutput](s, "PutUserPolicy",
		func(ctx context.Context, c *awsapi.Call, in *sdk.PutUserPolicyInput) error {
			return a.Directory.PutInlinePolicy(ctx, c.Caller, directory.UserNamed(*in.UserName), *in.PolicyName, *in.PolicyDocument)
		})
	handle(s, "GetUserPolicy", func(ctx context.Context, c *awsapi.Call, in *sdk.GetUserPolicyInput) (*sdk.GetUserPolicyOutput, error) {
		document, err := a.Directory.InlinePolicy(ctx, c.Caller, directory.UserNamed(*in.UserName), *in.PolicyName)
		if err != nil {
			return nil, err
		}
		return &sdk.GetUserPolicyOutput{UserName: in.UserName, PolicyName: in.PolicyName, PolicyDocument: encoded(document)}, nil
	})
	does[sdk.DeleteUserPolicyInput, sdk.DeleteUserPolicyOutput](s, "DeleteUserPolicy",
		func(ctx context.Context, c *awsapi.Call, in *sdk.DeleteUserPolicyInput) error {
			return a.Directory.DeleteInlinePolicy(ctx, c.Caller, directory.UserNamed(*in.UserName), *in.PolicyName)
		})
	handle(s, "ListUserPolicies", func(ctx context.Context, c *awsapi.Call, in *sdk.ListUserPoliciesInput) (*sdk.ListUserPoliciesOutput, error) {
		names, more, next, err := a.inlinePolicies(ctx, c, directory.UserNamed(*in.UserName), in.Marker, in.MaxItems)
		if err != nil {
			return nil, err
		}
		return &sdk.ListUserPoliciesOutput{PolicyNames: names, IsTruncated: more, Marker: next}, nil
	})
	does[sdk.AttachUserPolicyInput, sdk.AttachUserPolicyOutput](s, "AttachUserPolicy",
		func(ctx context.Context, c *awsapi.Call, in *sdk.AttachUserPolicyInput) error {
			return a.Directory.AttachPolicy(ctx, c.Caller, directory.UserNamed(*in.UserName), *in.PolicyArn)
		})
	does[sdk.DetachUserPolicyInput, sdk.DetachUserPolicyOutput](s, "DetachUserPolicy",
		func(ctx context.Context, c *awsapi.Call, in *sdk.DetachUserPolicyInput) error {
			return a.Directory.DetachPolicy(ctx, c.Caller, directory.UserNamed(*in.UserName), *in.PolicyArn)
		})
	handle(s, "ListAttachedUserPolicies",
		func(ctx context.Context, c *awsapi.Call, in *sdk.ListAttachedUserPoliciesInput) (*sdk.ListAttachedUserPoliciesOutput, error) {
			policies, more, next, err := a.attachedPolicies(ctx, c, directory.UserNamed(*in.UserName), in.PathPrefix, in.Marker, in.MaxItems)
			if err != nil {
				return nil, err
			}
			return &sdk.ListAttachedUserPoliciesOutput{AttachedPolicies: policies, IsTruncated: more, Marker: next}, nil
		})
	does[sdk.PutUserPermissionsBoundaryInput, sdk.PutUserPermissionsBoundaryOutput](s, "PutUserPermissionsBoundary",
		func(ctx context.Context, c *awsapi.Call, in *sdk.PutUserPermissionsBoundaryInput) error {
			return a.Directory.PutBoundary(ctx, c.Caller, directory.UserNamed(*in.UserName), *in.PermissionsBoundary)
		})
	does[sdk.DeleteUserPermissionsBoundaryInput, sdk.DeleteUserPermissionsBoundaryOutput](s, "DeleteUserPermissionsBoundary",
		func(ctx context.Context, c *awsapi.Call, in *sdk.DeleteUserPermissionsBoundaryInput) error {
			return a.Directory.DeleteBoundary(ctx, c.Caller, directory.UserNamed(*in.UserName))
		})
}

func (a *API) policiesOnGroups(s *awsapi.Service) {
	does[sdk.PutGroupPolicyInput, sdk.PutGroupPolicyOutput](s, "PutGroupPolicy",
		func(ctx context.Context, c *awsapi.Call, in *sdk.PutGroupPolicyInput) error {
			return a.Directory.PutInlinePolicy(ctx, c.Caller, directory.GroupNamed(*in.GroupName), *in.PolicyName, *in.PolicyDocument)
		})
	handle(s, "GetGroupPolicy", func(ctx context.Context, c *awsapi.Call, in *sdk.GetGroupPolicyInput) (*sdk.GetGroupPolicyOutput, error) {
		document, err := a.Directory.InlinePolicy(ctx, c.Caller, directory.GroupNamed(*in.GroupName), *in.PolicyName)
		if err != nil {
			return nil, err
		}
		return &sdk.GetGroupPolicyOutput{GroupName: in.GroupName, PolicyName: in.PolicyName, PolicyDocument: encoded(document)}, nil
	})
	does[sdk.DeleteGroupPolicyInput, sdk.DeleteGroupPolicyOutput](s, "DeleteGroupPolicy",
		func(ctx context.Context, c *awsapi.Call, in *sdk.DeleteGroupPolicyInput) error {
			return a.Directory.DeleteInlinePolicy(ctx, c.Caller, directory.GroupNamed(*in.GroupName), *in.PolicyName)
		})
	handle(s, "ListGroupPolicies", func(ctx context.Context, c *awsapi.Call, in *sdk.ListGroupPoliciesInput) (*sdk.ListGroupPoliciesOutput, error) {
		names, more, next, err := a.inlinePolicies(ctx, c, directory.GroupNamed(*in.GroupName), in.Marker, in.MaxItems)
		if err != nil {
			return nil, err
		}
		return &sdk.ListGroupPoliciesOutput{PolicyNames: names, IsTruncated: more, Marker: next}, nil
	})
	does[sdk.AttachGroupPolicyInput, sdk.AttachGroupPolicyOutput](s, "AttachGroupPolicy",
		func(ctx context.Context, c *awsapi.Call, in *sdk.AttachGroupPolicyInput) error {
			return a.Directory.AttachPolicy(ctx, c.Caller, directory.GroupNamed(*in.GroupName), *in.PolicyArn)
		})
	does[sdk.DetachGroupPolicyInput, sdk.DetachGroupPolicyOutput](s, "DetachGroupPolicy",
		func(ctx context.Context, c *awsapi.Call, in *sdk.DetachGroupPolicyInput) error {
			return a.Directory.DetachPolicy(ctx, c.Caller, directory.GroupNamed(*in.GroupName), *in.PolicyArn)
		})
	handle(s, "ListAttachedGroupPolicies",
		func(ctx context.Context, c *awsapi.Call, in *sdk.ListAttachedGroupPoliciesInput) (*sdk.ListAttachedGroupPoliciesOutput, error) {
			policies, more, next, err := a.attachedPolicies(ctx, c, directory.GroupNamed(*in.GroupName), in.PathPrefix, in.Marker, in.MaxItems)
			if err != nil {
				return nil, err
			}
			return &sdk.ListAttachedGroupPoliciesOutput{AttachedPolicies: policies, IsTruncated: more, Marker: next}, nil
		})
}

func (a *API) policiesOnRoles(s *awsapi.Service) {
	does[sdk.PutRolePolicyInput, sdk.PutRolePolicyOutput](s, "PutRolePolicy",
		func(ctx context.Context, c *awsapi.Call, in *sdk.PutRolePolicyInput) error {
			return a.Directory.PutInlinePolicy(ctx, c.Caller, directory.RoleNamed(*in.RoleName), *in.PolicyName, *in.PolicyDocument)
		})
	handle(s, "GetRolePolicy", func(ctx context.Context, c *awsapi.Call, in *sdk.GetRolePolicyInput) (*sdk.GetRolePolicyOutput, error) {
		document, err := a.Directory.InlinePolicy(ctx, c.Caller, directory.RoleNamed(*in.RoleName), *in.PolicyName)
		if err != nil {
			return nil, err
		}
		return &sdk.GetRolePolicyOutput{RoleName: in.RoleName, PolicyName: in.PolicyName, PolicyDocument: encoded(document)}, nil
	})
	does[sdk.DeleteRolePolicyInput, sdk.DeleteRolePolicyOutput](s, "DeleteRolePolicy",
		func(ctx context.Context, c *awsapi.Call, in *sdk.DeleteRolePolicyInput) error {
			return a.Directory.DeleteInlinePolicy(ctx, c.Caller, directory.RoleNamed(*in.RoleName), *in.PolicyName)
		})
	handle(s, "ListRolePolicies", func(ctx context.Context, c *awsapi.Call, in *sdk.ListRolePoliciesInput) (*sdk.ListRolePoliciesOutput, error) {
		names, more, next, err := a.inlinePolicies(ctx, c, directory.RoleNamed(*in.RoleName), in.Marker, in.MaxItems)
		if err != nil {
			return nil, err
		}
		return &sdk.ListRolePoliciesOutput{PolicyNames: names, IsTruncated: more, Marker: next}, nil
	})
	does[sdk.AttachRolePolicyInput, sdk.AttachRolePolicyOutput](s, "AttachRolePolicy",
		func(ctx context.Context, c *awsapi.Call, in *sdk.AttachRolePolicyInput) error {
			return a.Directory.AttachPolicy(ctx, c.Caller, directory.RoleNamed(*in.RoleName), *in.PolicyArn)
		})
	does[sdk.DetachRolePolicyInput, sdk.DetachRolePolicyOutput](s, "DetachRolePolicy",
		func(ctx context.Context, c *awsapi.Call, in *sdk.DetachRolePolicyInput) error {
			return a.Directory.DetachPolicy(ctx, c.Caller, directory.RoleNamed(*in.RoleName), *in.PolicyArn)
		})
	handle(s, "ListAttachedRolePolicies",
		func(ctx context.Context, c *awsapi.Call, in *sdk.ListAttachedRolePoliciesInput) (*sdk.ListAttachedRolePoliciesOutput, error) {
			policies, more, next, err := a.attachedPolicies(ctx, c, directory.RoleNamed(*in.RoleName), in.PathPrefix, in.Marker, in.MaxItems)
			if err != nil {
				return nil, err
			}
			return &sdk.ListAttachedRolePoliciesOutput{AttachedPolicies: policies, IsTruncated: more, Marker: next}, nil
		})
	does[sdk.PutRolePermissionsBoundaryInput, sdk.PutRolePermissionsBoundaryOutput](s, "PutRolePermissionsBoundary",
		func(ctx context.Context, c *awsapi.Call, in *sdk.PutRolePermissionsBoundaryInput) error {
			return a.Directory.PutBoundary(ctx, c.Caller, directory.RoleNamed(*in.RoleName), *in.PermissionsBoundary)
		})
	does[sdk.DeleteRolePermissionsBoundaryInput, sdk.DeleteRolePermissionsBoundaryOutput](s, "DeleteRolePermissionsBoundary",
		func(ctx context.Context, c *awsapi.Call, in *sdk.DeleteRolePermissionsBoundaryInput) error {
			return a.Directory.DeleteBoundary(ctx, c.Caller, directory.RoleNamed(*in.RoleName))
		})
}

func (a *API) inlinePolicies(ctx context.Context, c *awsapi.Call, of directory.Ref, marker *string, maxItems *int32) (
	names []string, more bool, next *string, err error,
) {
	names, more, next, err = list(marker, maxItems, itself, func(p directory.Page) ([]string, bool, error) {
		return a.Directory.InlinePolicies(ctx, c.Caller, of, p)
	})
	return each(names, itself), more, next, err
}

func (a *API) attachedPolicies(ctx context.Context, c *awsapi.Call, of directory.Ref, pathPrefix, marker *string, maxItems *int32) (
	policies []types.AttachedPolicy, more bool, next *string, err error,
) {
	attached, more, next, err := list(marker, maxItems, attachedARN, func(p directory.Page) ([]directory.AttachedPolicy, bool, error) {
		return a.Directory.AttachedPolicies(ctx, c.Caller, of, value(pathPrefix), p)
	})
	return each(attached, toAttachedPolicy), more, next, err
}
