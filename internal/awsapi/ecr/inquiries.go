package ecr

import (
	"context"
	"fmt"

	sdk "github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/sekisho/sekisho/internal/awsapi"
	"github.com/sekisho/sekisho/internal/oci"
	"github.com/sekisho/sekisho/internal/registry"
)

// image finds the one image that an identifier names, for what is asked about it.
func (a *API) inquire(ctx context.Context, c *awsapi.Call, why registry.Inquiry, r registry.Repo, id *types.ImageIdentifier) (*types.ImageIdentifier, error) {
	return oneImage(r, *id, func(ref oci.Reference) (*registry.Image, error) {
		return a.Registry.InquireImage(ctx, c.Caller, why, r, ref)
	})
}

// oneImage has find find the image that an identifier names, and returns the identifier with its digest.
func oneImage(r registry.Repo, id types.ImageIdentifier, find func(oci.Reference) (*registry.Image, error)) (*types.ImageIdentifier, error) {
	ref, want, failure := reference(id)
	if failure != nil {
		return nil, invalid("imageId", *failure.FailureReason)
	}
	i, err := find(ref)
	if err != nil {
		return nil, err
	}
	if want != "" && i.Digest != want {
		return nil, imageNotFound(r, id)
	}
	return &types.ImageIdentifier{ImageDigest: new(string(i.Digest)), ImageTag: id.ImageTag}, nil
}

// describeImageScanFindings finds none: no image was ever scanned, see [API.Service].
func (a *API) describeImageScanFindings(ctx context.Context, c *awsapi.Call, in *sdk.DescribeImageScanFindingsInput) (*sdk.DescribeImageScanFindingsOutput, error) {
	r := repo(c, in.RegistryId, in.RepositoryName)
	id, err := a.inquire(ctx, c, registry.ScanFindings, r, in.ImageId)
	if err != nil {
		return nil, err
	}
	tag := "null"
	if id.ImageTag != nil {
		tag = *id.ImageTag
	}
	return nil, &types.ScanNotFoundException{Message: new(fmt.Sprintf(
		"Image scan does not exist for the image with '{imageDigest:'%s', imageTag:'%s'}' in the repository with name '%s' in the registry with id '%s'",
		*id.ImageDigest, tag, r.Name, r.Account))}
}

// describeImageReplicationStatus lists where an image was replicated to: nowhere.
func (a *API) describeImageReplicationStatus(ctx context.Context, c *awsapi.Call, in *sdk.DescribeImageReplicationStatusInput) (*sdk.DescribeImageReplicationStatusOutput, error) {
	r := repo(c, in.RegistryId, in.RepositoryName)
	id, err := a.inquire(ctx, c, registry.ReplicationStatus, r, in.ImageId)
	if err != nil {
		return nil, err
	}
	return &sdk.DescribeImageReplicationStatusOutput{RepositoryName: &r.Name, ImageId: id, ReplicationStatuses: []types.ImageReplicationStatus{}}, nil
}

// describeImageSigningStatus lists how an image was signed by the registry: it was not.
func (a *API) describeImageSigningStatus(ctx context.Context, c *awsapi.Call, in *sdk.DescribeImageSigningStatusInput) (*sdk.DescribeImageSigningStatusOutput, error) {
	r := repo(c, in.RegistryId, in.RepositoryName)
	id, err := a.inquire(ctx, c, registry.SigningStatus, r, in.ImageId)
	if err != nil {
		return nil, err
	}
	return &sdk.DescribeImageSigningStatusOutput{RegistryId: &r.Account, RepositoryName: &r.Name, ImageId: id, SigningStatuses: []types.ImageSigningStatus{}}, nil
}
