package ecr

import (
	"context"

	sdk "github.com/aws/aws-sdk-go-v2/service/ecr"

	"github.com/sekisho/sekisho/internal/awsapi"
	"github.com/sekisho/sekisho/internal/registry"
)

func (a *API) getAccountSetting(ctx context.Context, c *awsapi.Call, in *sdk.GetAccountSettingInput) (*sdk.GetAccountSettingOutput, error) {
	value, err := a.Control.AccountSetting(ctx, c.Caller, c.Account, *in.Name)
	if err != nil {
		return nil, err
	}
	return &sdk.GetAccountSettingOutput{Name: in.Name, Value: &value}, nil
}

func (a *API) putAccountSetting(ctx context.Context, c *awsapi.Call, in *sdk.PutAccountSettingInput) (*sdk.PutAccountSettingOutput, error) {
	if err := a.Control.PutAccountSetting(ctx, c.Caller, c.Account, *in.Name, *in.Value); err != nil {
		return nil, err
	}
	return &sdk.PutAccountSettingOutput{Name: in.Name, Value: in.Value}, nil
}

func (a *API) registerPullTimeUpdateExclusion(ctx context.Context, c *awsapi.Call, in *sdk.RegisterPullTimeUpdateExclusionInput) (*sdk.RegisterPullTimeUpdateExclusionOutput, error) {
	at, err := a.Control.ExcludePulls(ctx, c.Caller, c.Account, *in.PrincipalArn)
	if err != nil {
		return nil, err
	}
	return &sdk.RegisterPullTimeUpdateExclusionOutput{PrincipalArn: in.PrincipalArn, CreatedAt: &at}, nil
}

func (a *API) deregisterPullTimeUpdateExclusion(ctx context.Context, c *awsapi.Call, in *sdk.DeregisterPullTimeUpdateExclusionInput) (*sdk.DeregisterPullTimeUpdateExclusionOutput, error) {
	if err := a.Control.IncludePulls(ctx, c.Caller, c.Account, *in.PrincipalArn); err != nil {
		return nil, err
	}
	return &sdk.DeregisterPullTimeUpdateExclusionOutput{PrincipalArn: in.PrincipalArn}, nil
}

func (a *API) listPullTimeUpdateExclusions(ctx context.Context, c *awsapi.Call, in *sdk.ListPullTimeUpdateExclusionsInput) (*sdk.ListPullTimeUpdateExclusionsOutput, error) {
	from, err := parsePage(in.NextToken)
	if err != nil {
		return nil, err
	}
	arns, more, err := a.Control.PullExclusions(ctx, c.Caller, c.Account, registry.Page{After: from.After, Limit: pageSize(in.MaxResults)})
	if err != nil {
		return nil, err
	}
	out := &sdk.ListPullTimeUpdateExclusionsOutput{PullTimeUpdateExclusions: append([]string{}, arns...)}
	if more {
		out.NextToken = page{After: arns[len(arns)-1]}.token()
	}
	return out, nil
}
