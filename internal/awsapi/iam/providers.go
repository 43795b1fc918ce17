package iam

import (
	"context"

	sdk "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/sekisho/sekisho/internal/awsapi"
	"github.com/sekisho/sekisho/internal/iam/directory"
)

func (a *API) providers(s *awsapi.Service) {
	handle(s, "CreateOpenIDConnectProvider",
		func(ctx context.Context, c *awsapi.Call, in *sdk.CreateOpenIDConnectProviderInput) (*sdk.CreateOpenIDConnectProviderOutput, error) {
			p, err := a.Directory.CreateProvider(ctx, c.Caller, directory.NewProvider{
				URL: *in.Url, ClientIDs: in.ClientIDList, Thumbprints: in.ThumbprintList, Tags: fromTags(in.Tags),
			})
			if err != nil {
				return nil, err
			}
			return &sdk.CreateOpenIDConnectProviderOutput{OpenIDConnectProviderArn: &p.ARN, Tags: toTags(p.Tags)}, nil
		})
	handle(s, "GetOpenIDConnectProvider",
		func(ctx context.Context, c *awsapi.Call, in *sdk.GetOpenIDConnectProviderInput) (*sdk.GetOpenIDConnectProviderOutput, error) {
			p, err := a.Directory.Provider(ctx, c.Caller, *in.OpenIDConnectProviderArn)
			if err != nil {
				return nil, err
			}
			return &sdk.GetOpenIDConnectProviderOutput{
				Url: &p.URL, ClientIDList: each(p.ClientIDs, itself), ThumbprintList: each(p.Thumbprints, itself),
				CreateDate: &p.Created, Tags: toTags(p.Tags),
			}, nil
		})
	handle(s, "ListOpenIDConnectProviders",
		func(ctx context.Context, c *awsapi.Call, _ *sdk.ListOpenIDConnectProvidersInput) (*sdk.ListOpenIDConnectProvidersOutput, error) {
			providers, err := a.Directory.Providers(ctx, c.Caller)
			if err != nil {
				return nil, err
			}
			return &sdk.ListOpenIDConnectProvidersOutput{
				OpenIDConnectProviderList: each(providers, func(p *directory.Provider) types.OpenIDConnectProviderListEntry {
					return types.OpenIDConnectProviderListEntry{Arn: &p.ARN}
				}),
			}, nil
		})
	does[sdk.DeleteOpenIDConnectProviderInput, sdk.DeleteOpenIDConnectProviderOutput](s, "DeleteOpenIDConnectProvider",
		func(ctx context.Context, c *awsapi.Call, in *sdk.DeleteOpenIDConnectProviderInput) error {
			return a.Directory.DeleteProvider(ctx, c.Caller, *in.OpenIDConnectProviderArn)
		})
	does[sdk.AddClientIDToOpenIDConnectProviderInput, sdk.AddClientIDToOpenIDConnectProviderOutput](s, "AddClientIDToOpenIDConnectProvider",
		func(ctx context.Context, c *awsapi.Call, in *sdk.AddClientIDToOpenIDConnectProviderInput) error {
			return a.Directory.AddClientID(ctx, c.Caller, *in.OpenIDConnectProviderArn, *in.ClientID)
		})
	does[sdk.RemoveClientIDFromOpenIDConnectProviderInput, sdk.RemoveClientIDFromOpenIDConnectProviderOutput](s, "RemoveClientIDFromOpenIDConnectProvider",
		func(ctx context.Context, c *awsapi.Call, in *sdk.RemoveClientIDFromOpenIDConnectProviderInput) error {
			return a.Directory.RemoveClientID(ctx, c.Caller, *in.OpenIDConnectProviderArn, *in.ClientID)
		})
	does[sdk.UpdateOpenIDConnectProviderThumbprintInput, sdk.UpdateOpenIDConnectProviderThumbprintOutput](s, "UpdateOpenIDConnectProviderThumbprint",
		func(ctx context.Context, c *awsapi.Call, in *sdk.UpdateOpenIDConnectProviderThumbprintInput) error {
			return a.Directory.SetThumbprints(ctx, c.Caller, *in.OpenIDConnectProviderArn, in.ThumbprintList)
		})
}
