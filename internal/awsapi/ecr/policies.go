package ecr

import (
	"context"
	"fmt"

	sdk "github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/sekisho/sekisho/internal/awsapi"
	"github.com/sekisho/sekisho/internal/registry"
)

func (a *API) setRepositoryPolicy(ctx context.Context, c *awsapi.Call, in *sdk.SetRepositoryPolicyInput) (*sdk.SetRepositoryPolicyOutput, error) {
	r := repo(c, in.RegistryId, in.RepositoryName)
	if err := a.Registry.SetRepositoryPolicy(ctx, c.Caller, r, *in.PolicyText, in.Force); err != nil {
		return nil, err
	}
	return &sdk.SetRepositoryPolicyOutput{RegistryId: &r.Account, RepositoryName: &r.Name, PolicyText: in.PolicyText}, nil
}

func (a *API) getRepositoryPolicy(ctx context.Context, c *awsapi.Call, in *sdk.GetRepositoryPolicyInput) (*sdk.GetRepositoryPolicyOutput, error) {
	r := repo(c, in.RegistryId, in.RepositoryName)
	document, err := a.Registry.RepositoryPolicy(ctx, c.Caller, r)
	if err != nil {
		return nil, err
	}
	return &sdk.GetRepositoryPolicyOutput{RegistryId: &r.Account, RepositoryName: &r.Name, PolicyText: &document}, nil
}

func (a *API) deleteRepositoryPolicy(ctx context.Context, c *awsapi.Call, in *sdk.DeleteRepositoryPolicyInput) (*sdk.DeleteRepositoryPolicyOutput, error) {
	r := repo(c, in.RegistryId, in.RepositoryName)
	document, err := a.Registry.DeleteRepositoryPolicy(ctx, c.Caller, r)
	if err != nil {
		return nil, err
	}
	return &sdk.DeleteRepositoryPolicyOutput{RegistryId: &r.Account, RepositoryName: &r.Name, PolicyText: &document}, nil
}

func (a *API) putLifecyclePolicy(ctx context.Context, c *awsapi.Call, in *sdk.PutLifecyclePolicyInput) (*sdk.PutLifecyclePolicyOutput, error) {
	r := repo(c, in.RegistryId, in.RepositoryName)
	if err := a.Registry.PutLifecyclePolicy(ctx, c.Caller, r, *in.LifecyclePolicyText); err != nil {
		return nil, err
	}
	return &sdk.PutLifecyclePolicyOutput{RegistryId: &r.Account, RepositoryName: &r.Name, LifecyclePolicyText: in.LifecyclePolicyText}, nil
}

func (a *API) getLifecyclePolicy(ctx context.Context, c *awsapi.Call, in *sdk.GetLifecyclePolicyInput) (*sdk.GetLifecyclePolicyOutput, error) {
	r := repo(c, in.RegistryId, in.RepositoryName)
	p, err := a.Registry.LifecyclePolicy(ctx, c.Caller, r)
	if err != nil {
		return nil, err
	}
	return &sdk.GetLifecyclePolicyOutput{
		RegistryId: &r.Account, RepositoryName: &r.Name, LifecyclePolicyText: &p.Document, LastEvaluatedAt: moment(p.EvaluatedAt),
	}, nil
}

func (a *API) deleteLifecyclePolicy(ctx context.Context, c *awsapi.Call, in *sdk.DeleteLifecyclePolicyInput) (*sdk.DeleteLifecyclePolicyOutput, error) {
	r := repo(c, in.RegistryId, in.RepositoryName)
	p, err := a.Registry.DeleteLifecyclePolicy(ctx, c.Caller, r)
	if err != nil {
		return nil, err
	}
	return &sdk.DeleteLifecyclePolicyOutput{
		RegistryId: &r.Account, RepositoryName: &r.Name, LifecyclePolicyText: &p.Document, LastEvaluatedAt: moment(p.EvaluatedAt),
	}, nil
}

// getLifecyclePolicyPreview finds none: as long as none can be started, see [API.Service], there is none.
func (a *API) getLifecyclePolicyPreview(ctx context.Context, c *awsapi.Call, in *sdk.GetLifecyclePolicyPreviewInput) (*sdk.GetLifecyclePolicyPreviewOutput, error) {
	r := repo(c, in.RegistryId, in.RepositoryName)
	if _, err := a.Registry.InquireRepository(ctx, c.Caller, registry.LifecyclePreviewResult, r); err != nil {
		return nil, err
	}
	return nil, &types.LifecyclePolicyPreviewNotFoundException{Message: new(fmt.Sprintf(
		"Lifecycle policy preview does not exist for the repository with name '%s' in the registry with id '%s'", r.Name, r.Account))}
}
