package ecr

import (
	"context"

	sdk "github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/sekisho/sekisho/internal/awsapi"
	"github.com/sekisho/sekisho/internal/registry"
)

func (a *API) createPullThroughCacheRule(ctx context.Context, c *awsapi.Call, in *sdk.CreatePullThroughCacheRuleInput) (*sdk.CreatePullThroughCacheRuleOutput, error) {
	owner := account(c, in.RegistryId)
	r, err := a.Control.CreatePullThroughRule(ctx, c.Caller, owner, *in.EcrRepositoryPrefix, registry.Upstream{
		URL: *in.UpstreamRegistryUrl, Kind: string(in.UpstreamRegistry), Prefix: deref(in.UpstreamRepositoryPrefix),
		Access: registry.Access{CredentialARN: deref(in.CredentialArn), RoleARN: deref(in.CustomRoleArn)},
	})
	if err != nil {
		return nil, err
	}
	rule := pullThroughRule(owner, r)
	return &sdk.CreatePullThroughCacheRuleOutput{
		RegistryId: rule.RegistryId, EcrRepositoryPrefix: rule.EcrRepositoryPrefix, CreatedAt: rule.CreatedAt,
		UpstreamRegistry: rule.UpstreamRegistry, UpstreamRegistryUrl: rule.UpstreamRegistryUrl, UpstreamRepositoryPrefix: rule.UpstreamRepositoryPrefix,
		CredentialArn: rule.CredentialArn, CustomRoleArn: rule.CustomRoleArn,
	}, nil
}

func (a *API) updatePullThroughCacheRule(ctx context.Context, c *awsapi.Call, in *sdk.UpdatePullThroughCacheRuleInput) (*sdk.UpdatePullThroughCacheRuleOutput, error) {
	owner := account(c, in.RegistryId)
	r, err := a.Control.UpdatePullThroughRule(ctx, c.Caller, owner, *in.EcrRepositoryPrefix,
		registry.Access{CredentialARN: deref(in.CredentialArn), RoleARN: deref(in.CustomRoleArn)})
	if err != nil {
		return nil, err
	}
	rule := pullThroughRule(owner, r)
	return &sdk.UpdatePullThroughCacheRuleOutput{
		RegistryId: rule.RegistryId, EcrRepositoryPrefix: rule.EcrRepositoryPrefix, UpdatedAt: rule.UpdatedAt,
		UpstreamRepositoryPrefix: rule.UpstreamRepositoryPrefix, CredentialArn: rule.CredentialArn, CustomRoleArn: rule.CustomRoleArn,
	}, nil
}

func (a *API) deletePullThroughCacheRule(ctx context.Context, c *awsapi.Call, in *sdk.DeletePullThroughCacheRuleInput) (*sdk.DeletePullThroughCacheRuleOutput, error) {
	owner := account(c, in.RegistryId)
	r, err := a.Control.DeletePullThroughRule(ctx, c.Caller, owner, *in.EcrRepositoryPrefix)
	if err != nil {
		return nil, err
	}
	rule := pullThroughRule(owner, r)
	return &sdk.DeletePullThroughCacheRuleOutput{
		RegistryId: rule.RegistryId, EcrRepositoryPrefix: rule.EcrRepositoryPrefix, CreatedAt: rule.CreatedAt,
		UpstreamRegistryUrl: rule.UpstreamRegistryUrl, UpstreamRepositoryPrefix: rule.UpstreamRepositoryPrefix,
		CredentialArn: rule.CredentialArn, CustomRoleArn: rule.CustomRoleArn,
	}, nil
}

func (a *API) describePullThroughCacheRules(ctx context.Context, c *awsapi.Call, in *sdk.DescribePullThroughCacheRulesInput) (*sdk.DescribePullThroughCacheRulesOutput, error) {
	from, err := pageOf("ecrRepositoryPrefixes", in.EcrRepositoryPrefixes, in.NextToken, in.MaxResults)
	if err != nil {
		return nil, err
	}
	owner := account(c, in.RegistryId)
	all, more, err := a.Control.PullThroughRules(ctx, c.Caller, owner, in.EcrRepositoryPrefixes, from)
	if err != nil {
		return nil, err
	}
	out := &sdk.DescribePullThroughCacheRulesOutput{PullThroughCacheRules: []types.PullThroughCacheRule{}}
	for _, r := range all {
		out.PullThroughCacheRules = append(out.PullThroughCacheRules, pullThroughRule(owner, r))
	}
	if more {
		out.NextToken = page{After: all[len(all)-1].Prefix}.token()
	}
	return out, nil
}

func pullThroughRule(owner string, r *registry.PullThroughRule) types.PullThroughCacheRule {
	return types.PullThroughCacheRule{
		RegistryId:               &owner,
		EcrRepositoryPrefix:      &r.Prefix,
		UpstreamRegistry:         types.UpstreamRegistry(r.Kind),
		UpstreamRegistryUrl:      &r.URL,
		UpstreamRepositoryPrefix: text(r.Upstream.Prefix), // Terraform takes one that was not given for a change
		CredentialArn:            text(r.CredentialARN),
		CustomRoleArn:            text(r.RoleARN),
		CreatedAt:                &r.CreatedAt,
		UpdatedAt:                &r.UpdatedAt,
	}
}
