package ecr

import (
	"context"
	"encoding/base64"

	sdk "github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/sekisho/sekisho/internal/awsapi"
	"github.com/sekisho/sekisho/internal/iam"
)

func (a *API) getAuthorizationToken(ctx context.Context, c *awsapi.Call, in *sdk.GetAuthorizationTokenInput) (*sdk.GetAuthorizationTokenOutput, error) {
	if err := a.Judge.Anywhere(ctx, c.Caller, "ecr:GetAuthorizationToken"); err != nil {
		return nil, err
	}
	password, expires, err := a.Tokens.IssueToken(ctx, c.Caller)
	if err != nil {
		return nil, err
	}
	token := base64.StdEncoding.EncodeToString([]byte(iam.TokenUser + ":" + password))
	//lint:ignore SA1019 deprecated, because one token is good for every registry that its principal may use, but sent
	accounts := in.RegistryIds
	if accounts == nil {
		accounts = []string{c.Account}
	}
	out := &sdk.GetAuthorizationTokenOutput{}
	for _, account := range accounts {
		out.AuthorizationData = append(out.AuthorizationData, types.AuthorizationData{
			AuthorizationToken: &token,
			ExpiresAt:          &expires,
			ProxyEndpoint:      new(a.Addresses.endpoint(account, c.Origin)),
		})
	}
	return out, nil
}
