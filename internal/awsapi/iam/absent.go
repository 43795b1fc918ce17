package iam

import (
	"context"

	sdk "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/sekisho/sekisho/internal/awsapi"
	"github.com/sekisho/sekisho/internal/iam/directory"
)

// absent registers operations about what nobody has here. Who may ask is told so as AWS does.
func (a *API) absent(s *awsapi.Service) {
	handle(s, "ListMFADevices", func(ctx context.Context, c *awsapi.Call, in *sdk.ListMFADevicesInput) (*sdk.ListMFADevicesOutput, error) {
		return &sdk.ListMFADevicesOutput{MFADevices: []types.MFADevice{}}, a.none(ctx, c, "ListMFADevices", in.UserName)
	})
	handle(s, "ListSSHPublicKeys", func(ctx context.Context, c *awsapi.Call, in *sdk.ListSSHPublicKeysInput) (*sdk.ListSSHPublicKeysOutput, error) {
		return &sdk.ListSSHPublicKeysOutput{SSHPublicKeys: []types.SSHPublicKeyMetadata{}}, a.none(ctx, c, "ListSSHPublicKeys", in.UserName)
	})
	handle(s, "ListSigningCertificates",
		func(ctx context.Context, c *awsapi.Call, in *sdk.ListSigningCertificatesInput) (*sdk.ListSigningCertificatesOutput, error) {
			out := &sdk.ListSigningCertificatesOutput{Certificates: []types.SigningCertificate{}}
			return out, a.none(ctx, c, "ListSigningCertificates", in.UserName)
		})
	handle(s, "ListServiceSpecificCredentials",
		func(ctx context.Context, c *awsapi.Call, in *sdk.ListServiceSpecificCredentialsInput) (*sdk.ListServiceSpecificCredentialsOutput, error) {
			out := &sdk.ListServiceSpecificCredentialsOutput{ServiceSpecificCredentials: []types.ServiceSpecificCredentialMetadata{}}
			return out, a.none(ctx, c, "ListServiceSpecificCredentials", in.UserName)
		})
	handle(s, "GetLoginProfile", func(ctx context.Context, c *awsapi.Call, in *sdk.GetLoginProfileInput) (*sdk.GetLoginProfileOutput, error) {
		return nil, a.noLogin(ctx, c, "GetLoginProfile", in.UserName)
	})
	handle(s, "DeleteLoginProfile", func(ctx context.Context, c *awsapi.Call, in *sdk.DeleteLoginProfileInput) (*sdk.DeleteLoginProfileOutput, error) {
		return nil, a.noLogin(ctx, c, "DeleteLoginProfile", in.UserName)
	})
	handle(s, "ListVirtualMFADevices",
		func(ctx context.Context, c *awsapi.Call, _ *sdk.ListVirtualMFADevicesInput) (*sdk.ListVirtualMFADevicesOutput, error) {
			out := &sdk.ListVirtualMFADevicesOutput{VirtualMFADevices: []types.VirtualMFADevice{}}
			return out, a.Directory.May(ctx, c.Caller, "iam:ListVirtualMFADevices", directory.Ref{})
		})
	handle(s, "ListSAMLProviders", func(ctx context.Context, c *awsapi.Call, _ *sdk.ListSAMLProvidersInput) (*sdk.ListSAMLProvidersOutput, error) {
		out := &sdk.ListSAMLProvidersOutput{SAMLProviderList: []types.SAMLProviderListEntry{}}
		return out, a.Directory.May(ctx, c.Caller, "iam:ListSAMLProviders", directory.Ref{})
	})
	handle(s, "ListServerCertificates",
		func(ctx context.Context, c *awsapi.Call, _ *sdk.ListServerCertificatesInput) (*sdk.ListServerCertificatesOutput, error) {
			out := &sdk.ListServerCertificatesOutput{ServerCertificateMetadataList: []types.ServerCertificateMetadata{}}
			return out, a.Directory.May(ctx, c.Caller, "iam:ListServerCertificates", directory.Ref{})
		})
	handle(s, "GetAccountPasswordPolicy",
		func(ctx context.Context, c *awsapi.Call, _ *sdk.GetAccountPasswordPolicyInput) (*sdk.GetAccountPasswordPolicyOutput, error) {
			if err := a.Directory.May(ctx, c.Caller, "iam:GetAccountPasswordPolicy", directory.Ref{}); err != nil {
				return nil, err
			}
			return nil, noSuch("The Password Policy with domain name " + c.Account + " cannot be found.")
		})
}

// none checks that a user is there and may be asked about.
func (a *API) none(ctx context.Context, c *awsapi.Call, operation string, user *string) error {
	return a.Directory.May(ctx, c.Caller, "iam:"+operation, directory.UserNamed(value(user)))
}

// noLogin says that a user, who may be asked about, has no password.
func (a *API) noLogin(ctx context.Context, c *awsapi.Call, operation string, user *string) error {
	if err := a.none(ctx, c, operation, user); err != nil {
		return err
	}
	name := value(user)
	if name == "" {
		name = c.Name
	}
	return noSuch("Login Profile for User " + name + " cannot be found.")
}

func noSuch(message string) error {
	return &directory.Error{Kind: directory.NoSuchEntity, Message: message}
}
