package ecr

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"

	sdk "github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/sekisho/sekisho/internal/awsapi"
	"github.com/sekisho/sekisho/internal/registry"
)

func (a *API) putImageTagMutability(ctx context.Context, c *awsapi.Call, in *sdk.PutImageTagMutabilityInput) (*sdk.PutImageTagMutabilityOutput, error) {
	r, err := a.Registry.PutTagMutability(ctx, c.Caller, repo(c, in.RegistryId, in.RepositoryName),
		registry.Mutability(in.ImageTagMutability), exclusions(in.ImageTagMutabilityExclusionFilters))
	if err != nil {
		return nil, err
	}
	return &sdk.PutImageTagMutabilityOutput{
		RegistryId: &r.Account, RepositoryName: &r.Name,
		ImageTagMutability:                 mutability(&r.Settings),
		ImageTagMutabilityExclusionFilters: exclusionFilters(r.Settings.MutabilityExclusions),
	}, nil
}

func (a *API) putImageScanningConfiguration(ctx context.Context, c *awsapi.Call, in *sdk.PutImageScanningConfigurationInput) (*sdk.PutImageScanningConfigurationOutput, error) {
	r, err := a.Registry.PutScanOnPush(ctx, c.Caller, repo(c, in.RegistryId, in.RepositoryName), in.ImageScanningConfiguration.ScanOnPush)
	if err != nil {
		return nil, err
	}
	return &sdk.PutImageScanningConfigurationOutput{
		RegistryId: &r.Account, RepositoryName: &r.Name,
		ImageScanningConfiguration: &types.ImageScanningConfiguration{ScanOnPush: r.Settings.ScanOnPush},
	}, nil
}

func mutability(s *registry.RepositorySettings) types.ImageTagMutability {
	return types.ImageTagMutability(cmp.Or(s.Mutability, registry.Mutable))
}

// exclusions are the patterns of filters; wildcard is the only type that there is.
func exclusions(filters []types.ImageTagMutabilityExclusionFilter) []string {
	var patterns []string
	for _, f := range filters {
		patterns = append(patterns, *f.Filter)
	}
	return patterns
}

func exclusionFilters(patterns []string) []types.ImageTagMutabilityExclusionFilter {
	var filters []types.ImageTagMutabilityExclusionFilter
	for _, p := range patterns {
		filters = append(filters, types.ImageTagMutabilityExclusionFilter{Filter: &p, FilterType: types.ImageTagMutabilityExclusionFilterTypeWildcard})
	}
	return filters
}

// encryption reads how a repository is to be encrypted. It is kept and given back, no more: what is encrypted here is the
// disk or the bucket. ECR names the key of a repository that was to have one and named none; so do we, the same for all
// of an account, because what is left out Terraform takes for a change.
func (a *API) encryption(account string, e *types.EncryptionConfiguration) (kind, key string, err error) {
	if e == nil {
		return "", "", nil
	}
	if e.EncryptionType == types.EncryptionTypeAes256 {
		if e.KmsKey != nil {
			return "", "", invalid("encryptionConfiguration", "KMS key must not be given with the encryption type AES256")
		}
		return string(e.EncryptionType), "", nil
	}
	if e.KmsKey != nil {
		return string(e.EncryptionType), *e.KmsKey, nil
	}
	sum := sha256.Sum256([]byte("alias/aws/ecr " + a.Judge.Region + " " + account))
	sum[6], sum[8] = sum[6]&0x0f|0x80, sum[8]&0x3f|0x80 // a UUID, version 8 (RFC 9562)
	return string(e.EncryptionType), fmt.Sprintf("arn:aws:kms:%s:%s:key/%x-%x-%x-%x-%x", a.Judge.Region, account, sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16]), nil
}

func (a *API) batchGetRepositoryScanningConfiguration(ctx context.Context, c *awsapi.Call, in *sdk.BatchGetRepositoryScanningConfigurationInput) (*sdk.BatchGetRepositoryScanningConfigurationOutput, error) {
	out := &sdk.BatchGetRepositoryScanningConfigurationOutput{
		ScanningConfigurations: []types.RepositoryScanningConfiguration{},
		Failures:               []types.RepositoryScanningConfigurationFailure{},
	}
	for _, name := range in.RepositoryNames {
		r := registry.Repo{Account: c.Account, Name: name}
		s, err := a.Registry.RepositoryScanning(ctx, c.Caller, r)
		if isKind(err, registry.RepositoryUnknown) {
			out.Failures = append(out.Failures, types.RepositoryScanningConfigurationFailure{
				RepositoryName: &name, FailureCode: types.ScanningConfigurationFailureCodeRepositoryNotFound, FailureReason: new(err.Error()),
			})
			continue
		}
		if err != nil {
			return nil, err
		}
		conf := types.RepositoryScanningConfiguration{
			RepositoryArn: new(a.Judge.RepositoryARN(r)), RepositoryName: &name,
			ScanOnPush: s.OnPush, ScanFrequency: types.ScanFrequency(s.Frequency), AppliedScanFilters: []types.ScanningRepositoryFilter{},
		}
		for _, f := range s.Filters {
			conf.AppliedScanFilters = append(conf.AppliedScanFilters, types.ScanningRepositoryFilter{Filter: &f, FilterType: types.ScanningRepositoryFilterTypeWildcard})
		}
		out.ScanningConfigurations = append(out.ScanningConfigurations, conf)
	}
	return out, nil
}
