package ecr

import (
	"context"

	sdk "github.com/aws/aws-sdk-go-v2/service/ecr"

	"github.com/sekisho/sekisho/internal/awsapi"
)

func (a *API) putRegistryPolicy(ctx context.Context, c *awsapi.Call, in *sdk.PutRegistryPolicyInput) (*sdk.PutRegistryPolicyOutput, error) {
	if err := a.Control.PutRegistryPolicy(ctx, c.Caller, c.Account, *in.PolicyText); err != nil {
		return nil, err
	}
	return &sdk.PutRegistryPolicyOutput{RegistryId: &c.Account, PolicyText: in.PolicyText}, nil
}

func (a *API) getRegistryPolicy(ctx context.Context, c *awsapi.Call, _ *sdk.GetRegistryPolicyInput) (*sdk.GetRegistryPolicyOutput, error) {
	text, err := a.Control.RegistryPolicy(ctx, c.Caller, c.Account)
	if err != nil {
		return nil, err
	}
	return &sdk.GetRegistryPolicyOutput{RegistryId: &c.Account, PolicyText: &text}, nil
}

func (a *API) deleteRegistryPolicy(ctx context.Context, c *awsapi.Call, _ *sdk.DeleteRegistryPolicyInput) (*sdk.DeleteRegistryPolicyOutput, error) {
	text, err := a.Control.DeleteRegistryPolicy(ctx, c.Caller, c.Account)
	if err != nil {
		return nil, err
	}
	return &sdk.DeleteRegistryPolicyOutput{RegistryId: &c.Account, PolicyText: &text}, nil
}
