package iam

import (
	"context"

	sdk "github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/sekisho/sekisho/internal/awsapi"
	"github.com/sekisho/sekisho/internal/iam/directory"
)

func (a *API) instanceProfiles(s *awsapi.Service) {
	handle(s, "CreateInstanceProfile",
		func(ctx context.Context, c *awsapi.Call, in *sdk.CreateInstanceProfileInput) (*sdk.CreateInstanceProfileOutput, error) {
			p, err := a.Directory.CreateProfile(ctx, c.Caller, directory.NewProfile{
				Name: *in.InstanceProfileName, Path: value(in.Path), Tags: fromTags(in.Tags),
			})
			if err != nil {
				return nil, err
			}
			return &sdk.CreateInstanceProfileOutput{InstanceProfile: new(toProfile(p))}, nil
		})
	handle(s, "GetInstanceProfile",
		func(ctx context.Context, c *awsapi.Call, in *sdk.GetInstanceProfileInput) (*sdk.GetInstanceProfileOutput, error) {
			p, err := a.Directory.Profile(ctx, c.Caller, *in.InstanceProfileName)
			if err != nil {
				return nil, err
			}
			return &sdk.GetInstanceProfileOutput{InstanceProfile: new(toProfile(p))}, nil
		})
	does[sdk.DeleteInstanceProfileInput, sdk.DeleteInstanceProfileOutput](s, "DeleteInstanceProfile",
		func(ctx context.Context, c *awsapi.Call, in *sdk.DeleteInstanceProfileInput) error {
			return a.Directory.DeleteProfile(ctx, c.Caller, *in.InstanceProfileName)
		})
	handle(s, "ListInstanceProfiles",
		func(ctx context.Context, c *awsapi.Call, in *sdk.ListInstanceProfilesInput) (*sdk.ListInstanceProfilesOutput, error) {
			profiles, more, next, err := list(in.Marker, in.MaxItems, profileName, func(p directory.Page) ([]directory.Profile, bool, error) {
				return a.Directory.Profiles(ctx, c.Caller, value(in.PathPrefix), p)
			})
			if err != nil {
				return nil, err
			}
			return &sdk.ListInstanceProfilesOutput{InstanceProfiles: each(profiles, toProfile), IsTruncated: more, Marker: next}, nil
		})
	handle(s, "ListInstanceProfilesForRole",
		func(ctx context.Context, c *awsapi.Call, in *sdk.ListInstanceProfilesForRoleInput) (*sdk.ListInstanceProfilesForRoleOutput, error) {
			profiles, more, next, err := list(in.Marker, in.MaxItems, profileName, func(p directory.Page) ([]directory.Profile, bool, error) {
				return a.Directory.ProfilesForRole(ctx, c.Caller, *in.RoleName, p)
			})
			if err != nil {
				return nil, err
			}
			return &sdk.ListInstanceProfilesForRoleOutput{InstanceProfiles: each(profiles, toProfile), IsTruncated: more, Marker: next}, nil
		})
	does[sdk.AddRoleToInstanceProfileInput, sdk.AddRoleToInstanceProfileOutput](s, "AddRoleToInstanceProfile",
		func(ctx context.Context, c *awsapi.Call, in *sdk.AddRoleToInstanceProfileInput) error {
			return a.Directory.AddRoleToProfile(ctx, c.Caller, *in.InstanceProfileName, *in.RoleName)
		})
	does[sdk.RemoveRoleFromInstanceProfileInput, sdk.RemoveRoleFromInstanceProfileOutput](s, "RemoveRoleFromInstanceProfile",
		func(ctx context.Context, c *awsapi.Call, in *sdk.RemoveRoleFromInstanceProfileInput) error {
			return a.Directory.RemoveRoleFromProfile(ctx, c.Caller, *in.InstanceProfileName, *in.RoleName)
		})
}
