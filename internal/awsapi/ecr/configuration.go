package ecr

import (
	"cmp"
	"context"

	sdk "github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/sekisho/sekisho/internal/awsapi"
	"github.com/sekisho/sekisho/internal/registry"
)

func (a *API) describeRegistry(ctx context.Context, c *awsapi.Call, _ *sdk.DescribeRegistryInput) (*sdk.DescribeRegistryOutput, error) {
	r, err := a.Control.Replication(ctx, c.Caller, c.Account)
	if err != nil {
		return nil, err
	}
	out := &types.ReplicationConfiguration{Rules: []types.ReplicationRule{}}
	for _, rule := range r.Rules {
		to := types.ReplicationRule{}
		for _, d := range rule.Destinations {
			to.Destinations = append(to.Destinations, types.ReplicationDestination{Region: &d.Region, RegistryId: &d.Account})
		}
		for _, p := range rule.Prefixes {
			to.RepositoryFilters = append(to.RepositoryFilters, types.RepositoryFilter{Filter: &p, FilterType: types.RepositoryFilterTypePrefixMatch})
		}
		out.Rules = append(out.Rules, to)
	}
	return &sdk.DescribeRegistryOutput{RegistryId: &c.Account, ReplicationConfiguration: out}, nil
}

func (a *API) putReplicationConfiguration(ctx context.Context, c *awsapi.Call, in *sdk.PutReplicationConfigurationInput) (*sdk.PutReplicationConfigurationOutput, error) {
	r := &registry.Replication{}
	for _, rule := range in.ReplicationConfiguration.Rules {
		to := registry.ReplicationRule{}
		for _, d := range rule.Destinations {
			to.Destinations = append(to.Destinations, registry.Destination{Region: *d.Region, Account: *d.RegistryId})
		}
		for _, f := range rule.RepositoryFilters {
			to.Prefixes = append(to.Prefixes, *f.Filter)
		}
		r.Rules = append(r.Rules, to)
	}
	if err := a.Control.PutReplication(ctx, c.Caller, c.Account, r); err != nil {
		return nil, err
	}
	return &sdk.PutReplicationConfigurationOutput{ReplicationConfiguration: in.ReplicationConfiguration}, nil
}

func (a *API) getRegistryScanningConfiguration(ctx context.Context, c *awsapi.Call, _ *sdk.GetRegistryScanningConfigurationInput) (*sdk.GetRegistryScanningConfigurationOutput, error) {
	s, err := a.Control.Scanning(ctx, c.Caller, c.Account)
	if err != nil {
		return nil, err
	}
	return &sdk.GetRegistryScanningConfigurationOutput{RegistryId: &c.Account, ScanningConfiguration: scanning(s)}, nil
}

func (a *API) putRegistryScanningConfiguration(ctx context.Context, c *awsapi.Call, in *sdk.PutRegistryScanningConfigurationInput) (*sdk.PutRegistryScanningConfigurationOutput, error) {
	s := &registry.Scanning{Type: cmp.Or(string(in.ScanType), registry.ScanBasic)}
	for _, rule := range in.Rules {
		to := registry.ScanRule{Frequency: string(rule.ScanFrequency)}
		for _, f := range rule.RepositoryFilters {
			to.Filters = append(to.Filters, *f.Filter)
		}
		s.Rules = append(s.Rules, to)
	}
	if err := a.Control.PutScanning(ctx, c.Caller, c.Account, s); err != nil {
		return nil, err
	}
	return &sdk.PutRegistryScanningConfigurationOutput{RegistryScanningConfiguration: scanning(s)}, nil
}

func scanning(s *registry.Scanning) *types.RegistryScanningConfiguration {
	out := &types.RegistryScanningConfiguration{ScanType: types.ScanType(s.Type), Rules: []types.RegistryScanningRule{}}
	for _, rule := range s.Rules {
		out.Rules = append(out.Rules, types.RegistryScanningRule{ScanFrequency: types.ScanFrequency(rule.Frequency), RepositoryFilters: scanFilters(rule.Filters)})
	}
	return out
}

// scanFilters returns filters of repositories, not nil.
func scanFilters(filters []string) []types.ScanningRepositoryFilter {
	out := []types.ScanningRepositoryFilter{}
	for _, f := range filters {
		out = append(out, types.ScanningRepositoryFilter{Filter: &f, FilterType: types.ScanningRepositoryFilterTypeWildcard})
	}
	return out
}

func (a *API) getSigningConfiguration(ctx context.Context, c *awsapi.Call, _ *sdk.GetSigningConfigurationInput) (*sdk.GetSigningConfigurationOutput, error) {
	s, err := a.Control.Signing(ctx, c.Caller, c.Account)
	if err != nil {
		return nil, err
	}
	return &sdk.GetSigningConfigurationOutput{RegistryId: &c.Account, SigningConfiguration: signing(s)}, nil
}

func (a *API) putSigningConfiguration(ctx context.Context, c *awsapi.Call, in *sdk.PutSigningConfigurationInput) (*sdk.PutSigningConfigurationOutput, error) {
	s := &registry.Signing{}
	for _, rule := range in.SigningConfiguration.Rules {
		to := registry.SigningRule{ProfileARN: *rule.SigningProfileArn}
		for _, f := range rule.RepositoryFilters {
			to.Filters = append(to.Filters, *f.Filter)
		}
		s.Rules = append(s.Rules, to)
	}
	if err := a.Control.PutSigning(ctx, c.Caller, c.Account, s); err != nil {
		return nil, err
	}
	return &sdk.PutSigningConfigurationOutput{SigningConfiguration: signing(s)}, nil
}

func (a *API) deleteSigningConfiguration(ctx context.Context, c *awsapi.Call, _ *sdk.DeleteSigningConfigurationInput) (*sdk.DeleteSigningConfigurationOutput, error) {
	s, err := a.Control.DeleteSigning(ctx, c.Caller, c.Account)
	if err != nil {
		return nil, err
	}
	return &sdk.DeleteSigningConfigurationOutput{RegistryId: &c.Account, SigningConfiguration: signing(s)}, nil
}

func signing(s *registry.Signing) *types.SigningConfiguration {
	out := &types.SigningConfiguration{Rules: []types.SigningRule{}}
	for _, rule := range s.Rules {
		to := types.SigningRule{SigningProfileArn: &rule.ProfileARN}
		for _, f := range rule.Filters {
			to.RepositoryFilters = append(to.RepositoryFilters, types.SigningRepositoryFilter{Filter: &f, FilterType: types.SigningRepositoryFilterTypeWildcardMatch})
		}
		out.Rules = append(out.Rules, to)
	}
	return out
}
