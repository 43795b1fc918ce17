package iam

import (
	"context"

	sdk "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/sekisho/sekisho/internal/awsapi"
	"github.com/sekisho/sekisho/internal/iam/directory"
)

func (a *API) tags(s *awsapi.Service) {
	does[sdk.TagUserInput, sdk.TagUserOutput](s, "TagUser",
		func(ctx context.Context, c *awsapi.Call, in *sdk.TagUserInput) error {
			return a.Directory.SetTags(ctx, c.Caller, directory.UserNamed(*in.UserName), fromTags(in.Tags))
		})
	does[sdk.UntagUserInput, sdk.UntagUserOutput](s, "UntagUser",
		func(ctx context.Context, c *awsapi.Call, in *sdk.UntagUserInput) error {
			return a.Directory.RemoveTags(ctx, c.Caller, directory.UserNamed(*in.UserName), in.TagKeys)
		})
	handle(s, "ListUserTags",
		func(ctx context.Context, c *awsapi.Call, in *sdk.ListUserTagsInput) (*sdk.ListUserTagsOutput, error) {
			tags, more, next, err := a.listTags(ctx, c, directory.UserNamed(*in.UserName), in.Marker, in.MaxItems)
			if err != nil {
				return nil, err
			}
			return &sdk.ListUserTagsOutput{Tags: tags, IsTruncated: more, Marker: next}, nil
		})
	does[sdk.TagRoleInput, sdk.TagRoleOutput](s, "TagRole",
		func(ctx context.Context, c *awsapi.Call, in *sdk.TagRoleInput) error {
			return a.Directory.SetTags(ctx, c.Caller, directory.RoleNamed(*in.RoleName), fromTags(in.Tags))
		})
	does[sdk.UntagRoleInput, sdk.UntagRoleOutput](s, "UntagRole",
		func(ctx context.Context, c *awsapi.Call, in *sdk.UntagRoleInput) error {
			return a.Directory.RemoveTags(ctx, c.Caller, directory.RoleNamed(*in.RoleName), in.TagKeys)
		})
	handle(s, "ListRoleTags",
		func(ctx context.Context, c *awsapi.Call, in *sdk.ListRoleTagsInput) (*sdk.ListRoleTagsOutput, error) {
			tags, more, next, err := a.listTags(ctx, c, directory.RoleNamed(*in.RoleName), in.Marker, in.MaxItems)
			if err != nil {
				return nil, err
			}
			return &sdk.ListRoleTagsOutput{Tags: tags, IsTruncated: more, Marker: next}, nil
		})
	does[sdk.TagPolicyInput, sdk.TagPolicyOutput](s, "TagPolicy",
		func(ctx context.Context, c *awsapi.Call, in *sdk.TagPolicyInput) error {
			return a.Directory.SetTags(ctx, c.Caller, directory.PolicyAt(*in.PolicyArn), fromTags(in.Tags))
		})
	does[sdk.UntagPolicyInput, sdk.UntagPolicyOutput](s, "UntagPolicy",
		func(ctx context.Context, c *awsapi.Call, in *sdk.UntagPolicyInput) error {
			return a.Directory.RemoveTags(ctx, c.Caller, directory.PolicyAt(*in.PolicyArn), in.TagKeys)
		})
	handle(s, "ListPolicyTags",
		func(ctx context.Context, c *awsapi.Call, in *sdk.ListPolicyTagsInput) (*sdk.ListPolicyTagsOutput, error) {
			tags, more, next, err := a.listTags(ctx, c, directory.PolicyAt(*in.PolicyArn), in.Marker, in.MaxItems)
			if err != nil {
				return nil, err
			}
			return &sdk.ListPolicyTagsOutput{Tags: tags, IsTruncated: more, Marker: next}, nil
		})
	does[sdk.TagOpenIDConnectProviderInput, sdk.TagOpenIDConnectProviderOutput](s, "TagOpenIDConnectProvider",
		func(ctx context.Context, c *awsapi.Call, in *sdk.TagOpenIDConnectProviderInput) error {
			return a.Directory.SetTags(ctx, c.Caller, directory.ProviderAt(*in.OpenIDConnectProviderArn), fromTags(in.Tags))
		})
	does[sdk.UntagOpenIDConnectProviderInput, sdk.UntagOpenIDConnectProviderOutput](s, "UntagOpenIDConnectProvider",
		func(ctx context.Context, c *awsapi.Call, in *sdk.UntagOpenIDConnectProviderInput) error {
			return a.Directory.RemoveTags(ctx, c.Caller, directory.ProviderAt(*in.OpenIDConnectProviderArn), in.TagKeys)
		})
	handle(s, "ListOpenIDConnectProviderTags",
		func(ctx context.Context, c *awsapi.Call, in *sdk.ListOpenIDConnectProviderTagsInput) (*sdk.ListOpenIDConnectProviderTagsOutput, error) {
			tags, more, next, err := a.listTags(ctx, c, directory.ProviderAt(*in.OpenIDConnectProviderArn), in.Marker, in.MaxItems)
			if err != nil {
				return nil, err
			}
			return &sdk.ListOpenIDConnectProviderTagsOutput{Tags: tags, IsTruncated: more, Marker: next}, nil
		})
	does[sdk.TagInstanceProfileInput, sdk.TagInstanceProfileOutput](s, "TagInstanceProfile",
		func(ctx context.Context, c *awsapi.Call, in *sdk.TagInstanceProfileInput) error {
			return a.Directory.SetTags(ctx, c.Caller, directory.ProfileNamed(*in.InstanceProfileName), fromTags(in.Tags))
		})
	does[sdk.UntagInstanceProfileInput, sdk.UntagInstanceProfileOutput](s, "UntagInstanceProfile",
		func(ctx context.Context, c *awsapi.Call, in *sdk.UntagInstanceProfileInput) error {
			return a.Directory.RemoveTags(ctx, c.Caller, directory.ProfileNamed(*in.InstanceProfileName), in.TagKeys)
		})
	handle(s, "ListInstanceProfileTags",
		func(ctx context.Context, c *awsapi.Call, in *sdk.ListInstanceProfileTagsInput) (*sdk.ListInstanceProfileTagsOutput, error) {
			tags, more, next, err := a.listTags(ctx, c, directory.ProfileNamed(*in.InstanceProfileName), in.Marker, in.MaxItems)
			if err != nil {
				return nil, err
			}
			return &sdk.ListInstanceProfileTagsOutput{Tags: tags, IsTruncated: more, Marker: next}, nil
		})
}

func (a *API) listTags(ctx context.Context, c *awsapi.Call, of directory.Ref, marker *string, maxItems *int32) (
	tags []types.Tag, more bool, next *string, err error,
) {
	items, more, next, err := list(marker, maxItems, tagName, func(p directory.Page) ([]directory.Tag, bool, error) {
		return a.Directory.Tags(ctx, c.Caller, of, p)
	})
	return each(items, toTag), more, next, err
}
