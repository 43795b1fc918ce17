package ecr

import (
	"cmp"
	"context"

	sdk "github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/sekisho/sekisho/internal/awsapi"
	"github.com/sekisho/sekisho/internal/oci"
	"github.com/sekisho/sekisho/internal/registry"
)

// defaultReferrers is how many results ListImageReferrers gives where a request names no maxResults.
const defaultReferrers = 20

func (a *API) updateImageStorageClass(ctx context.Context, c *awsapi.Call, in *sdk.UpdateImageStorageClassInput) (*sdk.UpdateImageStorageClassOutput, error) {
	r := repo(c, in.RegistryId, in.RepositoryName)
	ref, want, failure := reference(*in.ImageId)
	if failure != nil {
		return nil, invalid("imageId", *failure.FailureReason)
	}
	ref.Digest = cmp.Or(ref.Digest, want)
	i, err := a.Registry.ArchiveImage(ctx, c.Caller, r, ref, in.TargetStorageClass == types.TargetStorageClassArchive)
	if err != nil {
		return nil, err
	}
	return &sdk.UpdateImageStorageClassOutput{
		RegistryId: &r.Account, RepositoryName: &r.Name,
		ImageId:     &types.ImageIdentifier{ImageDigest: new(string(i.Digest)), ImageTag: in.ImageId.ImageTag},
		ImageStatus: imageStatus(i),
	}, nil
}

func imageStatus(i *registry.Image) types.ImageStatus {
	if i.Archived {
		return types.ImageStatusArchived
	}
	return types.ImageStatusActive
}

func (a *API) listImageReferrers(ctx context.Context, c *awsapi.Call, in *sdk.ListImageReferrersInput) (*sdk.ListImageReferrersOutput, error) {
	r := repo(c, in.RegistryId, in.RepositoryName)
	d, err := oci.ParseDigest(*in.SubjectId.ImageDigest)
	if err != nil {
		return nil, invalid("subjectId.imageDigest", err.Error())
	}
	from, err := parsePage(in.NextToken)
	if err != nil {
		return nil, err
	}
	f := registry.ReferrerFilter{Active: true}
	if in.Filter != nil {
		f.ArtifactTypes = in.Filter.ArtifactTypes
		switch in.Filter.ArtifactStatus {
		case types.ArtifactStatusFilterArchived:
			f.Active, f.Archived = false, true
		case types.ArtifactStatusFilterActivating: // nothing takes time here
			f.Active = false
		case types.ArtifactStatusFilterAny:
			f.Archived = true
		}
	}
	limit := defaultReferrers
	if in.MaxResults != nil {
		limit = int(*in.MaxResults)
	}
	all, more, err := a.Registry.ImageReferrers(ctx, c.Caller, r, d, f, registry.Page{After: from.After, Limit: limit})
	if err != nil {
		return nil, err
	}
	out := &sdk.ListImageReferrersOutput{Referrers: []types.ImageReferrer{}}
	for _, ref := range all {
		status := types.ArtifactStatusActive
		if ref.Archived {
			status = types.ArtifactStatusArchived
		}
		out.Referrers = append(out.Referrers, types.ImageReferrer{
			Digest: new(string(ref.Digest)), MediaType: &ref.MediaType, ArtifactType: text(ref.ArtifactType), Size: &ref.Size,
			Annotations: ref.Annotations, ArtifactStatus: status,
		})
	}
	if more {
		out.NextToken = page{After: string(all[len(all)-1].Digest)}.token()
	}
	return out, nil
}
