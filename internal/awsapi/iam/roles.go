package iam

import (
	"context"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/sekisho/sekisho/internal/awsapi"
	"github.com/sekisho/sekisho/internal/iam/directory"
)

func (a *API) roles(s *awsapi.Service) {
	handle(s, "CreateRole", func(ctx context.Context, c *awsapi.Call, in *sdk.CreateRoleInput) (*sdk.CreateRoleOutput, error) {
		role := directory.NewRole{
			Name: *in.RoleName, Path: value(in.Path), Trust: *in.AssumeRolePolicyDocument, Description: value(in.Description),
			Boundary: value(in.PermissionsBoundary), Tags: fromTags(in.Tags),
		}
		if in.MaxSessionDuration != nil {
			role.MaxSession = seconds(*in.MaxSessionDuration)
		}
		r, err := a.Directory.CreateRole(ctx, c.Caller, role)
		if err != nil {
			return nil, err
		}
		return &sdk.CreateRoleOutput{Role: toRoleInFull(r)}, nil
	})
	handle(s, "GetRole", func(ctx context.Context, c *awsapi.Call, in *sdk.GetRoleInput) (*sdk.GetRoleOutput, error) {
		r, err := a.Directory.Role(ctx, c.Caller, *in.RoleName)
		if err != nil {
			return nil, err
		}
		return &sdk.GetRoleOutput{Role: toRoleInFull(r)}, nil
	})
	does[sdk.UpdateRoleInput, sdk.UpdateRoleOutput](s, "UpdateRole", func(ctx context.Context, c *awsapi.Call, in *sdk.UpdateRoleInput) error {
		u := directory.RoleUpdate{Description: in.Description}
		if in.MaxSessionDuration != nil {
			u.MaxSession = new(seconds(*in.MaxSessionDuration))
		}
		_, err := a.Directory.UpdateRole(ctx, c.Caller, *in.RoleName, u)
		return err
	})
	handle(s, "UpdateRoleDescription",
		func(ctx context.Context, c *awsapi.Call, in *sdk.UpdateRoleDescriptionInput) (*sdk.UpdateRoleDescriptionOutput, error) {
			r, err := a.Directory.UpdateRole(ctx, c.Caller, *in.RoleName, directory.RoleUpdate{Description: in.Description})
			if err != nil {
				return nil, err
			}
			return &sdk.UpdateRoleDescriptionOutput{Role: toRoleInFull(r)}, nil
		})
	does[sdk.UpdateAssumeRolePolicyInput, sdk.UpdateAssumeRolePolicyOutput](s, "UpdateAssumeRolePolicy",
		func(ctx context.Context, c *awsapi.Call, in *sdk.UpdateAssumeRolePolicyInput) error {
			return a.Directory.UpdateTrust(ctx, c.Caller, *in.RoleName, *in.PolicyDocument)
		})
	does[sdk.DeleteRoleInput, sdk.DeleteRoleOutput](s, "DeleteRole", func(ctx context.Context, c *awsapi.Call, in *sdk.DeleteRoleInput) error {
		return a.Directory.DeleteRole(ctx, c.Caller, *in.RoleName)
	})
	handle(s, "ListRoles", func(ctx context.Context, c *awsapi.Call, in *sdk.ListRolesInput) (*sdk.ListRolesOutput, error) {
		roles, more, next, err := list(in.Marker, in.MaxItems, roleName, func(p directory.Page) ([]directory.Role, bool, error) {
			return a.Directory.Roles(ctx, c.Caller, value(in.PathPrefix), p)
		})
		if err != nil {
			return nil, err
		}
		return &sdk.ListRolesOutput{Roles: each(roles, toRole), IsTruncated: more, Marker: next}, nil
	})
}

func seconds(n int32) time.Duration { return time.Duration(n) * time.Second }
