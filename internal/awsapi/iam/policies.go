package iam

import (
	"context"

	sdk "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/sekisho/sekisho/internal/awsapi"
	"github.com/sekisho/sekisho/internal/iam/directory"
)

func (a *API) managedPolicies(s *awsapi.Service) {
	handle(s, "CreatePolicy", func(ctx context.Context, c *awsapi.Call, in *sdk.CreatePolicyInput) (*sdk.CreatePolicyOutput, error) {
		p, err := a.Directory.CreatePolicy(ctx, c.Caller, directory.NewPolicy{
			Name: *in.PolicyName, Path: value(in.Path), Document: *in.PolicyDocument, Description: value(in.Description), Tags: fromTags(in.Tags),
		})
		if err != nil {
			return nil, err
		}
		return &sdk.CreatePolicyOutput{Policy: toPolicyInFull(p)}, nil
	})
	handle(s, "GetPolicy", func(ctx context.Context, c *awsapi.Call, in *sdk.GetPolicyInput) (*sdk.GetPolicyOutput, error) {
		p, err := a.Directory.Policy(ctx, c.Caller, *in.PolicyArn)
		if err != nil {
			return nil, err
		}
		return &sdk.GetPolicyOutput{Policy: toPolicyInFull(p)}, nil
	})
	does[sdk.DeletePolicyInput, sdk.DeletePolicyOutput](s, "DeletePolicy", func(ctx context.Context, c *awsapi.Call, in *sdk.DeletePolicyInput) error {
		return a.Directory.DeletePolicy(ctx, c.Caller, *in.PolicyArn)
	})
	handle(s, "ListPolicies", func(ctx context.Context, c *awsapi.Call, in *sdk.ListPoliciesInput) (*sdk.ListPoliciesOutput, error) {
		filter := directory.PolicyFilter{
			Scope: string(in.Scope), OnlyAttached: in.OnlyAttached, PathPrefix: value(in.PathPrefix), Usage: string(in.PolicyUsageFilter),
		}
		policies, more, next, err := list(in.Marker, in.MaxItems, policyARN, func(p directory.Page) ([]directory.ManagedPolicy, bool, error) {
			return a.Directory.Policies(ctx, c.Caller, filter, p)
		})
		if err != nil {
			return nil, err
		}
		return &sdk.ListPoliciesOutput{Policies: each(policies, toPolicy), IsTruncated: more, Marker: next}, nil
	})
	a.policyVersions(s)
	handle(s, "ListEntitiesForPolicy", a.listEntitiesForPolicy)
}

func (a *API) policyVersions(s *awsapi.Service) {
	handle(s, "CreatePolicyVersion",
		func(ctx context.Context, c *awsapi.Call, in *sdk.CreatePolicyVersionInput) (*sdk.CreatePolicyVersionOutput, error) {
			v, err := a.Directory.CreatePolicyVersion(ctx, c.Caller, *in.PolicyArn, *in.PolicyDocument, in.SetAsDefault)
			if err != nil {
				return nil, err
			}
			v.Document = "" // whoever made it has it
			return &sdk.CreatePolicyVersionOutput{PolicyVersion: new(toPolicyVersion(v))}, nil
		})
	handle(s, "GetPolicyVersion",
		func(ctx context.Context, c *awsapi.Call, in *sdk.GetPolicyVersionInput) (*sdk.GetPolicyVersionOutput, error) {
			v, err := a.Directory.PolicyVersion(ctx, c.Caller, *in.PolicyArn, *in.VersionId)
			if err != nil {
				return nil, err
			}
			return &sdk.GetPolicyVersionOutput{PolicyVersion: new(toPolicyVersion(v))}, nil
		})
	does[sdk.DeletePolicyVersionInput, sdk.DeletePolicyVersionOutput](s, "DeletePolicyVersion",
		func(ctx context.Context, c *awsapi.Call, in *sdk.DeletePolicyVersionInput) error {
			return a.Directory.DeletePolicyVersion(ctx, c.Caller, *in.PolicyArn, *in.VersionId)
		})
	handle(s, "ListPolicyVersions",
		func(ctx context.Context, c *awsapi.Call, in *sdk.ListPolicyVersionsInput) (*sdk.ListPolicyVersionsOutput, error) {
			versions, more, next, err := list(in.Marker, in.MaxItems, versionName, func(p directory.Page) ([]directory.PolicyVersion, bool, error) {
				return a.Directory.PolicyVersions(ctx, c.Caller, *in.PolicyArn, p)
			})
			if err != nil {
				return nil, err
			}
			return &sdk.ListPolicyVersionsOutput{Versions: each(versions, toPolicyVersion), IsTruncated: more, Marker: next}, nil
		})
	does[sdk.SetDefaultPolicyVersionInput, sdk.SetDefaultPolicyVersionOutput](s, "SetDefaultPolicyVersion",
		func(ctx context.Context, c *awsapi.Call, in *sdk.SetDefaultPolicyVersionInput) error {
			return a.Directory.SetDefaultPolicyVersion(ctx, c.Caller, *in.PolicyArn, *in.VersionId)
		})
}

// entityKinds are the kinds of those who can have a policy, by IAM's names. Others are for the directory to refuse.
var entityKinds = map[types.EntityType]directory.Kind{
	types.EntityTypeUser: directory.KindUser, types.EntityTypeGroup: directory.KindGroup, types.EntityTypeRole: directory.KindRole,
}

func (a *API) listEntitiesForPolicy(ctx context.Context, c *awsapi.Call, in *sdk.ListEntitiesForPolicyInput) (*sdk.ListEntitiesForPolicyOutput, error) {
	filter := directory.AttachmentFilter{Kind: entityKinds[in.EntityFilter], PathPrefix: value(in.PathPrefix), Usage: string(in.PolicyUsageFilter)}
	out := &sdk.ListEntitiesForPolicyOutput{PolicyGroups: []types.PolicyGroup{}, PolicyRoles: []types.PolicyRole{}, PolicyUsers: []types.PolicyUser{}}
	if filter.Kind == "" && in.EntityFilter != "" {
		filter.Kind = directory.Kind(in.EntityFilter)
	}
	entities, more, next, err := list(in.Marker, in.MaxItems, (*directory.Attachment).Key, func(p directory.Page) ([]directory.Attachment, bool, error) {
		return a.Directory.PolicyEntities(ctx, c.Caller, *in.PolicyArn, filter, p)
	})
	if err != nil {
		return nil, err
	}
	for i := range entities {
		e := &entities[i]
		switch e.Kind {
		case directory.KindGroup:
			out.PolicyGroups = append(out.PolicyGroups, types.PolicyGroup{GroupId: &e.ID, GroupName: &e.Name})
		case directory.KindRole:
			out.PolicyRoles = append(out.PolicyRoles, types.PolicyRole{RoleId: &e.ID, RoleName: &e.Name})
		case directory.KindUser:
			out.PolicyUsers = append(out.PolicyUsers, types.PolicyUser{UserId: &e.ID, UserName: &e.Name})
		}
	}
	out.IsTruncated, out.Marker = more, next
	return out, nil
}
