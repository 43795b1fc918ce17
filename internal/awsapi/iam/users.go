package iam

import (
	"context"
	"strings"

	sdk "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/sekisho/sekisho/internal/awsapi"
	domain "github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/directory"
)

func (a *API) users(s *awsapi.Service) {
	handle(s, "CreateUser", func(ctx context.Context, c *awsapi.Call, in *sdk.CreateUserInput) (*sdk.CreateUserOutput, error) {
		u, err := a.Directory.CreateUser(ctx, c.Caller, directory.NewUser{
			Name: *in.UserName, Path: value(in.Path), Boundary: value(in.PermissionsBoundary), Tags: fromTags(in.Tags),
		})
		if err != nil {
			return nil, err
		}
		return &sdk.CreateUserOutput{User: toUserInFull(u)}, nil
	})
	handle(s, "GetUser", func(ctx context.Context, c *awsapi.Call, in *sdk.GetUserInput) (*sdk.GetUserOutput, error) {
		u, err := a.Directory.User(ctx, c.Caller, value(in.UserName))
		if err != nil {
			return nil, err
		}
		return &sdk.GetUserOutput{User: toUserInFull(u)}, nil
	})
	does[sdk.UpdateUserInput, sdk.UpdateUserOutput](s, "UpdateUser", func(ctx context.Context, c *awsapi.Call, in *sdk.UpdateUserInput) error {
		return a.Directory.UpdateUser(ctx, c.Caller, *in.UserName, value(in.NewUserName), value(in.NewPath))
	})
	does[sdk.DeleteUserInput, sdk.DeleteUserOutput](s, "DeleteUser", func(ctx context.Context, c *awsapi.Call, in *sdk.DeleteUserInput) error {
		return a.Directory.DeleteUser(ctx, c.Caller, *in.UserName)
	})
	handle(s, "ListUsers", func(ctx context.Context, c *awsapi.Call, in *sdk.ListUsersInput) (*sdk.ListUsersOutput, error) {
		users, more, next, err := list(in.Marker, in.MaxItems, userName, func(p directory.Page) ([]directory.User, bool, error) {
			return a.Directory.Users(ctx, c.Caller, value(in.PathPrefix), p)
		})
		if err != nil {
			return nil, err
		}
		return &sdk.ListUsersOutput{Users: each(users, toUser), IsTruncated: more, Marker: next}, nil
	})
	handle(s, "ListGroupsForUser", func(ctx context.Context, c *awsapi.Call, in *sdk.ListGroupsForUserInput) (*sdk.ListGroupsForUserOutput, error) {
		groups, more, next, err := list(in.Marker, in.MaxItems, groupName, func(p directory.Page) ([]directory.Group, bool, error) {
			return a.Directory.GroupsForUser(ctx, c.Caller, *in.UserName, p)
		})
		if err != nil {
			return nil, err
		}
		return &sdk.ListGroupsForUserOutput{Groups: each(groups, toGroup), IsTruncated: more, Marker: next}, nil
	})
}

func (a *API) accessKeys(s *awsapi.Service) {
	handle(s, "CreateAccessKey", func(ctx context.Context, c *awsapi.Call, in *sdk.CreateAccessKeyInput) (*sdk.CreateAccessKeyOutput, error) {
		k, err := a.Directory.CreateAccessKey(ctx, c.Caller, value(in.UserName))
		if err != nil {
			return nil, err
		}
		return &sdk.CreateAccessKeyOutput{AccessKey: &types.AccessKey{
			AccessKeyId: &k.ID, SecretAccessKey: new(k.Secret.Reveal()), Status: types.StatusType(k.Status), CreateDate: &k.Created,
			UserName: text(nameIn(k.ARN)),
		}}, nil
	})
	does[sdk.UpdateAccessKeyInput, sdk.UpdateAccessKeyOutput](s, "UpdateAccessKey",
		func(ctx context.Context, c *awsapi.Call, in *sdk.UpdateAccessKeyInput) error {
			return a.Directory.SetAccessKeyStatus(ctx, c.Caller, value(in.UserName), *in.AccessKeyId, domain.KeyStatus(in.Status))
		})
	does[sdk.DeleteAccessKeyInput, sdk.DeleteAccessKeyOutput](s, "DeleteAccessKey",
		func(ctx context.Context, c *awsapi.Call, in *sdk.DeleteAccessKeyInput) error {
			return a.Directory.DeleteAccessKey(ctx, c.Caller, value(in.UserName), *in.AccessKeyId)
		})
	handle(s, "ListAccessKeys", func(ctx context.Context, c *awsapi.Call, in *sdk.ListAccessKeysInput) (*sdk.ListAccessKeysOutput, error) {
		keys, more, next, err := list(in.Marker, in.MaxItems, accessKeyID, func(p directory.Page) ([]directory.AccessKey, bool, error) {
			return a.Directory.AccessKeys(ctx, c.Caller, value(in.UserName), p)
		})
		if err != nil {
			return nil, err
		}
		return &sdk.ListAccessKeysOutput{
			AccessKeyMetadata: each(keys, func(k *directory.AccessKey) types.AccessKeyMetadata {
				return types.AccessKeyMetadata{AccessKeyId: &k.ID, UserName: text(k.UserName), Status: types.StatusType(k.Status), CreateDate: &k.Created}
			}),
			IsTruncated: more, Marker: next,
		}, nil
	})
	handle(s, "GetAccessKeyLastUsed", func(ctx context.Context, c *awsapi.Call, in *sdk.GetAccessKeyLastUsedInput) (*sdk.GetAccessKeyLastUsedOutput, error) {
		use, err := a.Directory.AccessKeyLastUsed(ctx, c.Caller, *in.AccessKeyId)
		if err != nil {
			return nil, err
		}
		return &sdk.GetAccessKeyLastUsedOutput{
			UserName:          text(use.UserName),
			AccessKeyLastUsed: &types.AccessKeyLastUsed{LastUsedDate: moment(use.At), ServiceName: &use.Service, Region: &use.Region},
		}, nil
	})
}

// nameIn returns the name in the ARN of a user, or "" in that of root.
func nameIn(arn string) string {
	i := strings.LastIndexByte(arn, '/')
	if i < 0 {
		return ""
	}
	return arn[i+1:]
}
