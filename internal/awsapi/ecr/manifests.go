package ecr

import (
	"context"
	"errors"
	"fmt"
	"unicode/utf8"

	sdk "github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/awsapi"
	"github.com/sekisho/sekisho/internal/oci"
	"github.com/sekisho/sekisho/internal/registry"
)

// maxManifests bounds the manifests of one answer together, in bytes.
const maxManifests = 32 << 20

func (a *API) batchGetImage(ctx context.Context, c *awsapi.Call, in *sdk.BatchGetImageInput) (*sdk.BatchGetImageOutput, error) {
	r := repo(c, in.RegistryId, in.RepositoryName)
	out := &sdk.BatchGetImageOutput{Images: []types.Image{}, Failures: []types.ImageFailure{}}
	size := 0
	for _, id := range in.ImageIds {
		ref, want, failure := reference(id)
		if failure != nil {
			out.Failures = append(out.Failures, *failure)
			continue
		}
		m, err := a.Registry.Manifest(ctx, c.Caller, r, ref)
		switch {
		case isKind(err, registry.ManifestUnknown):
			out.Failures = append(out.Failures, *fail(id, types.ImageFailureCodeImageNotFound, "Requested image not found"))
			continue
		case isKind(err, registry.ImageArchived): // as if it were not there: who means to push it again goes on
			out.Failures = append(out.Failures, *fail(id, types.ImageFailureCodeImageNotFound, err.Error()))
			continue
		case err != nil:
			return nil, err
		case want != "" && m.Digest != want:
			out.Failures = append(out.Failures, *fail(id, types.ImageFailureCodeImageTagDoesNotMatchDigest, "The image tag names another digest, "+string(m.Digest)))
			continue
		case !utf8.Valid(m.Data):
			out.Failures = append(out.Failures, *fail(id, types.ImageFailureCodeImageInaccessible, "The manifest is not valid UTF-8 and can't be given in JSON unchanged"))
			continue
		}
		if size += len(m.Data); size > maxManifests {
			return nil, &types.LimitExceededException{Message: new(fmt.Sprintf("The manifests have more than %d bytes together; ask for fewer images at a time", maxManifests))}
		}
		out.Images = append(out.Images, *image(r, m, id.ImageTag))
	}
	return out, nil
}

func (a *API) putImage(ctx context.Context, c *awsapi.Call, in *sdk.PutImageInput) (*sdk.PutImageOutput, error) {
	r := repo(c, in.RegistryId, in.RepositoryName)
	put := registry.ManifestPut{Data: []byte(*in.ImageManifest), New: true}
	if in.ImageManifestMediaType != nil {
		put.MediaType = *in.ImageManifestMediaType
	}
	if in.ImageTag != nil {
		if err := oci.CheckTag(*in.ImageTag); err != nil {
			return nil, invalid("imageTag", err.Error())
		}
		put.Tags = []string{*in.ImageTag}
	}
	if in.ImageDigest != nil {
		d, err := oci.ParseDigest(*in.ImageDigest)
		if err != nil {
			return nil, invalid("imageDigest", err.Error())
		}
		put.Digest = d
	}
	m, err := a.Registry.PutManifest(ctx, c.Caller, r, put)
	if e, ok := errors.AsType[*registry.Error](err); ok && e.Kind == registry.DigestMismatch {
		return nil, &types.ImageDigestDoesNotMatchException{Message: &e.Message}
	}
	if err != nil {
		return nil, err
	}
	return &sdk.PutImageOutput{Image: image(r, m, in.ImageTag)}, nil
}

func image(r registry.Repo, m *registry.Manifest, tag *string) *types.Image {
	return &types.Image{
		RegistryId:             &r.Account,
		RepositoryName:         &r.Name,
		ImageId:                &types.ImageIdentifier{ImageDigest: new(string(m.Digest)), ImageTag: tag},
		ImageManifest:          new(string(m.Data)),
		ImageManifestMediaType: &m.MediaType,
	}
}

// batchDeleteImage deletes tags, and images with their last one. What is part of an index goes after the index,
// whatever the order they are named in.
func (a *API) batchDeleteImage(ctx context.Context, c *awsapi.Call, in *sdk.BatchDeleteImageInput) (*sdk.BatchDeleteImageOutput, error) {
	r := repo(c, in.RegistryId, in.RepositoryName)
	out := &sdk.BatchDeleteImageOutput{ImageIds: []types.ImageIdentifier{}, Failures: []types.ImageFailure{}}
	left := in.ImageIds
	for {
		var referenced []types.ImageIdentifier
		var failures []types.ImageFailure
		for _, id := range left {
			deleted, failure, err := a.deleteImage(ctx, c, r, id)
			switch {
			case err != nil:
				return nil, err
			case failure == nil:
				out.ImageIds = append(out.ImageIds, *deleted)
			case failure.FailureCode == types.ImageFailureCodeImageReferencedByManifestList:
				referenced, failures = append(referenced, id), append(failures, *failure)
			default:
				out.Failures = append(out.Failures, *failure)
			}
		}
		if len(referenced) == 0 || len(referenced) == len(left) {
			out.Failures = append(out.Failures, failures...)
			return out, nil
		}
		left = referenced
	}
}

func (a *API) deleteImage(ctx context.Context, c *awsapi.Call, r registry.Repo, id types.ImageIdentifier) (*types.ImageIdentifier, *types.ImageFailure, error) {
	ref, want, failure := reference(id)
	if failure != nil {
		return nil, failure, nil
	}
	m, err := a.Registry.DeleteManifest(ctx, c.Caller, r, ref, registry.DeleteOptions{LastTagDeletes: true, Digest: want})
	e, _ := errors.AsType[*registry.Error](err)
	switch {
	case err == nil:
		return &types.ImageIdentifier{ImageDigest: new(string(m.Digest)), ImageTag: id.ImageTag}, nil, nil
	case isKind(err, registry.ManifestUnknown):
		return nil, fail(id, types.ImageFailureCodeImageNotFound, "Requested image not found"), nil
	case isKind(err, registry.Referenced):
		return nil, fail(id, types.ImageFailureCodeImageReferencedByManifestList, e.Message), nil
	}
	return nil, nil, err
}

// reference reads an identifier. With both tag and digest it is the tag, and want is the digest that it must name.
func reference(id types.ImageIdentifier) (ref oci.Reference, want digest.Digest, failure *types.ImageFailure) {
	if id.ImageDigest == nil && id.ImageTag == nil {
		return ref, "", fail(id, types.ImageFailureCodeMissingDigestAndTag, "Invalid request parameters: both tag and digest cannot be null")
	}
	if id.ImageDigest != nil {
		d, err := oci.ParseDigest(*id.ImageDigest)
		if err != nil {
			return ref, "", fail(id, types.ImageFailureCodeInvalidImageDigest, "Invalid request parameters: "+err.Error())
		}
		if id.ImageTag == nil {
			return oci.Reference{Digest: d}, "", nil
		}
		want = d
	}
	if err := oci.CheckTag(*id.ImageTag); err != nil {
		return ref, "", fail(id, types.ImageFailureCodeInvalidImageTag, "Invalid request parameters: "+err.Error())
	}
	return oci.Reference{Tag: *id.ImageTag}, want, nil
}

func fail(id types.ImageIdentifier, code types.ImageFailureCode, reason string) *types.ImageFailure {
	return &types.ImageFailure{ImageId: &id, FailureCode: code, FailureReason: &reason}
}

// imageNotFound is what the domain says of an image that is not there, for a tag that names another digest.
func imageNotFound(r registry.Repo, id types.ImageIdentifier) error {
	return &types.ImageNotFoundException{Message: new(fmt.Sprintf(
		"The image with imageId {imageDigest:'%s', imageTag:'%s'} does not exist within the repository with name '%s' in the registry with id '%s'",
		*id.ImageDigest, *id.ImageTag, r.Name, r.Account))}
}
