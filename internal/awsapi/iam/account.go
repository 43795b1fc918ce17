package iam

import (
	"context"

	sdk "github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/sekisho/sekisho/internal/awsapi"
)

func (a *API) account(s *awsapi.Service) {
	does[sdk.CreateAccountAliasInput, sdk.CreateAccountAliasOutput](s, "CreateAccountAlias",
		func(ctx context.Context, c *awsapi.Call, in *sdk.CreateAccountAliasInput) error {
			return a.Directory.SetAlias(ctx, c.Caller, *in.AccountAlias)
		})
	does[sdk.DeleteAccountAliasInput, sdk.DeleteAccountAliasOutput](s, "DeleteAccountAlias",
		func(ctx context.Context, c *awsapi.Call, in *sdk.DeleteAccountAliasInput) error {
			return a.Directory.DeleteAlias(ctx, c.Caller, *in.AccountAlias)
		})
	handle(s, "ListAccountAliases",
		func(ctx context.Context, c *awsapi.Call, _ *sdk.ListAccountAliasesInput) (*sdk.ListAccountAliasesOutput, error) {
			alias, err := a.Directory.Alias(ctx, c.Caller)
			if err != nil {
				return nil, err
			}
			out := &sdk.ListAccountAliasesOutput{AccountAliases: []string{}}
			if alias != "" {
				out.AccountAliases = append(out.AccountAliases, alias)
			}
			return out, nil
		})
	handle(s, "GetAccountSummary",
		func(ctx context.Context, c *awsapi.Call, _ *sdk.GetAccountSummaryInput) (*sdk.GetAccountSummaryOutput, error) {
			summary, err := a.Directory.Summary(ctx, c.Caller)
			if err != nil {
				return nil, err
			}
			out := &sdk.GetAccountSummaryOutput{SummaryMap: make(map[string]int32, len(summary))}
			for name, n := range summary {
				out.SummaryMap[name] = int32(n)
			}
			return out, nil
		})
	handle(s, "GetAccountAuthorizationDetails", a.getAccountAuthorizationDetails)
}
