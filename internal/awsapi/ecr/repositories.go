package ecr

import (
	"cmp"
	"context"

	sdk "github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/sekisho/sekisho/internal/awsapi"
	"github.com/sekisho/sekisho/internal/registry"
)

func (a *API) createRepository(ctx context.Context, c *awsapi.Call, in *sdk.CreateRepositoryInput) (*sdk.CreateRepositoryOutput, error) {
	tags, err := tagMap(in.Tags)
	if err != nil {
		return nil, err
	}
	where := repo(c, in.RegistryId, in.RepositoryName)
	s := registry.RepositorySettings{
		Mutability: registry.Mutability(in.ImageTagMutability), MutabilityExclusions: exclusions(in.ImageTagMutabilityExclusionFilters),
	}
	if in.ImageScanningConfiguration != nil {
		s.ScanOnPush = in.ImageScanningConfiguration.ScanOnPush
	}
	if s.EncryptionType, s.KMSKey, err = a.encryption(where.Account, in.EncryptionConfiguration); err != nil {
		return nil, err
	}
	r, err := a.Registry.CreateRepository(ctx, c.Caller, where, s, tags)
	if err != nil {
		return nil, err
	}
	return &sdk.CreateRepositoryOutput{Repository: new(a.repository(c, r))}, nil
}

func (a *API) describeRepositories(ctx context.Context, c *awsapi.Call, in *sdk.DescribeRepositoriesInput) (*sdk.DescribeRepositoriesOutput, error) {
	out := &sdk.DescribeRepositoriesOutput{Repositories: []types.Repository{}}
	if in.RepositoryNames != nil {
		if in.MaxResults != nil || in.NextToken != nil {
			return nil, invalid("repositoryNames", "maxResults and nextToken can't be used with repositoryNames")
		}
		for _, name := range in.RepositoryNames {
			r, err := a.Registry.Repository(ctx, c.Caller, repo(c, in.RegistryId, &name))
			if err != nil {
				return nil, err
			}
			out.Repositories = append(out.Repositories, a.repository(c, r))
		}
		return out, nil
	}
	from, err := parsePage(in.NextToken)
	if err != nil {
		return nil, err
	}
	all, more, err := a.Registry.Repositories(ctx, c.Caller, account(c, in.RegistryId), registry.Page{After: from.After, Limit: pageSize(in.MaxResults)})
	if err != nil {
		return nil, err
	}
	for i := range all {
		out.Repositories = append(out.Repositories, a.repository(c, &all[i]))
	}
	if more {
		out.NextToken = page{After: all[len(all)-1].Name}.token()
	}
	return out, nil
}

func (a *API) deleteRepository(ctx context.Context, c *awsapi.Call, in *sdk.DeleteRepositoryInput) (*sdk.DeleteRepositoryOutput, error) {
	r, err := a.Registry.DeleteRepository(ctx, c.Caller, repo(c, in.RegistryId, in.RepositoryName), in.Force)
	if err != nil {
		return nil, err
	}
	return &sdk.DeleteRepositoryOutput{Repository: new(a.repository(c, r))}, nil
}

// repository returns a repository with every setting that it has, defaults included: what is left out, Terraform takes
// for a difference.
func (a *API) repository(c *awsapi.Call, r *registry.Repository) types.Repository {
	s := r.Settings
	out := types.Repository{
		RegistryId:                         &r.Account,
		RepositoryName:                     &r.Name,
		RepositoryArn:                      new(a.Judge.RepositoryARN(r.Repo)),
		RepositoryUri:                      new(a.Addresses.repository(r.Repo, c.Origin)),
		CreatedAt:                          &r.CreatedAt,
		ImageTagMutability:                 mutability(&s),
		ImageTagMutabilityExclusionFilters: exclusionFilters(s.MutabilityExclusions),
		ImageScanningConfiguration: &types.ImageScanningConfiguration{
			ScanOnPush: s.ScanOnPush,
		},
		EncryptionConfiguration: &types.EncryptionConfiguration{
			EncryptionType: types.EncryptionType(cmp.Or(s.EncryptionType, string(types.EncryptionTypeAes256))),
			KmsKey:         text(s.KMSKey),
		},
	}
	return out
}
