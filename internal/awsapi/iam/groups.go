package iam

import (
	"context"

	sdk "github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/sekisho/sekisho/internal/awsapi"
	"github.com/sekisho/sekisho/internal/iam/directory"
)

func (a *API) groups(s *awsapi.Service) {
	handle(s, "CreateGroup", func(ctx context.Context, c *awsapi.Call, in *sdk.CreateGroupInput) (*sdk.CreateGroupOutput, error) {
		g, err := a.Directory.CreateGroup(ctx, c.Caller, *in.GroupName, value(in.Path))
		if err != nil {
			return nil, err
		}
		return &sdk.CreateGroupOutput{Group: new(toGroup(g))}, nil
	})
	handle(s, "GetGroup", func(ctx context.Context, c *awsapi.Call, in *sdk.GetGroupInput) (*sdk.GetGroupOutput, error) {
		var g *directory.Group
		users, more, next, err := list(in.Marker, in.MaxItems, userName, func(p directory.Page) (users []directory.User, more bool, err error) {
			g, users, more, err = a.Directory.Group(ctx, c.Caller, *in.GroupName, p)
			return users, more, err
		})
		if err != nil {
			return nil, err
		}
		return &sdk.GetGroupOutput{Group: new(toGroup(g)), Users: each(users, toUser), IsTruncated: more, Marker: next}, nil
	})
	does[sdk.UpdateGroupInput, sdk.UpdateGroupOutput](s, "UpdateGroup", func(ctx context.Context, c *awsapi.Call, in *sdk.UpdateGroupInput) error {
		return a.Directory.UpdateGroup(ctx, c.Caller, *in.GroupName, value(in.NewGroupName), value(in.NewPath))
	})
	does[sdk.DeleteGroupInput, sdk.DeleteGroupOutput](s, "DeleteGroup", func(ctx context.Context, c *awsapi.Call, in *sdk.DeleteGroupInput) error {
		return a.Directory.DeleteGroup(ctx, c.Caller, *in.GroupName)
	})
	handle(s, "ListGroups", func(ctx context.Context, c *awsapi.Call, in *sdk.ListGroupsInput) (*sdk.ListGroupsOutput, error) {
		groups, more, next, err := list(in.Marker, in.MaxItems, groupName, func(p directory.Page) ([]directory.Group, bool, error) {
			return a.Directory.Groups(ctx, c.Caller, value(in.PathPrefix), p)
		})
		if err != nil {
			return nil, err
		}
		return &sdk.ListGroupsOutput{Groups: each(groups, toGroup), IsTruncated: more, Marker: next}, nil
	})
	does[sdk.AddUserToGroupInput, sdk.AddUserToGroupOutput](s, "AddUserToGroup",
		func(ctx context.Context, c *awsapi.Call, in *sdk.AddUserToGroupInput) error {
			return a.Directory.AddUserToGroup(ctx, c.Caller, *in.GroupName, *in.UserName)
		})
	does[sdk.RemoveUserFromGroupInput, sdk.RemoveUserFromGroupOutput](s, "RemoveUserFromGroup",
		func(ctx context.Context, c *awsapi.Call, in *sdk.RemoveUserFromGroupInput) error {
			return a.Directory.RemoveUserFromGroup(ctx, c.Caller, *in.GroupName, *in.UserName)
		})
}
