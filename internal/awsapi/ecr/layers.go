package ecr

import (
	"bytes"
	"context"
	"fmt"

	sdk "github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/sekisho/sekisho/internal/awsapi"
	"github.com/sekisho/sekisho/internal/oci"
	"github.com/sekisho/sekisho/internal/registry"
)

// partSize is what clients are told to cut layers into. A part is in memory as a whole, so it is half of what is allowed.
const partSize = 10 << 20

func (a *API) batchCheckLayerAvailability(ctx context.Context, c *awsapi.Call, in *sdk.BatchCheckLayerAvailabilityInput) (*sdk.BatchCheckLayerAvailabilityOutput, error) {
	out := &sdk.BatchCheckLayerAvailabilityOutput{Layers: []types.Layer{}, Failures: []types.LayerFailure{}}
	r := repo(c, in.RegistryId, in.RepositoryName)
	fail := func(name string, code types.LayerFailureCode, reason string) {
		out.Failures = append(out.Failures, types.LayerFailure{LayerDigest: &name, FailureCode: code, FailureReason: &reason})
	}
	for _, name := range in.LayerDigests {
		if name == "" {
			fail(name, types.LayerFailureCodeMissingLayerDigest, "Invalid request parameters: layer digest cannot be empty")
			continue
		}
		d, err := oci.ParseDigest(name)
		if err != nil {
			fail(name, types.LayerFailureCodeInvalidLayerDigest, "Invalid request parameters: "+err.Error())
			continue
		}
		found, err := a.Registry.StatBlob(ctx, c.Caller, r, d)
		switch {
		case err == nil:
			out.Layers = append(out.Layers, types.Layer{LayerDigest: &name, LayerAvailability: types.LayerAvailabilityAvailable, LayerSize: &found.Size})
		case isKind(err, registry.BlobUnknown):
			out.Layers = append(out.Layers, types.Layer{LayerDigest: &name, LayerAvailability: types.LayerAvailabilityUnavailable})
		default:
			return nil, err
		}
	}
	return out, nil
}

func (a *API) getDownloadURLForLayer(ctx context.Context, c *awsapi.Call, in *sdk.GetDownloadUrlForLayerInput) (*sdk.GetDownloadUrlForLayerOutput, error) {
	d, err := oci.ParseDigest(*in.LayerDigest)
	if err != nil {
		return nil, invalid("layerDigest", err.Error())
	}
	r := repo(c, in.RegistryId, in.RepositoryName)
	b, err := a.Registry.OpenBlob(ctx, c.Caller, r, d)
	if err != nil {
		return nil, err
	}
	url := b.URL
	if err := b.Close(); err != nil {
		return nil, fmt.Errorf("close layer: %w", err)
	}
	if url == "" {
		url = a.Addresses.link(a.Links.Sign(c.Caller, r, d), c.Origin)
	}
	return &sdk.GetDownloadUrlForLayerOutput{DownloadUrl: &url, LayerDigest: in.LayerDigest}, nil
}

func (a *API) initiateLayerUpload(ctx context.Context, c *awsapi.Call, in *sdk.InitiateLayerUploadInput) (*sdk.InitiateLayerUploadOutput, error) {
	id, err := a.Registry.StartUpload(ctx, c.Caller, repo(c, in.RegistryId, in.RepositoryName))
	if err != nil {
		return nil, err
	}
	return &sdk.InitiateLayerUploadOutput{UploadId: &id, PartSize: new(int64(partSize))}, nil
}

func (a *API) uploadLayerPart(ctx context.Context, c *awsapi.Call, in *sdk.UploadLayerPartInput) (*sdk.UploadLayerPartOutput, error) {
	first, last := *in.PartFirstByte, *in.PartLastByte
	if first < 0 {
		return nil, invalid("partFirstByte", "Member must have value greater than or equal to 0")
	}
	if n := int64(len(in.LayerPartBlob)); n == 0 || last-first+1 != n {
		return nil, invalid("partLastByte", fmt.Sprintf("must be partFirstByte plus the length of layerPartBlob, which has %d bytes, minus 1", n))
	}
	r := repo(c, in.RegistryId, in.RepositoryName)
	size, err := a.Registry.AppendUpload(ctx, c.Caller, r, *in.UploadId, first, bytes.NewReader(in.LayerPartBlob))
	if err != nil {
		return nil, layerError(err, r, in.UploadId)
	}
	return &sdk.UploadLayerPartOutput{
		RegistryId: &r.Account, RepositoryName: &r.Name, UploadId: in.UploadId, LastByteReceived: new(size - 1),
	}, nil
}

// layerError names the upload in the error that tells a client where to go on.
func layerError(err error, r registry.Repo, uploadID *string) error {
	if e, ok := explain(err).(*types.InvalidLayerPartException); ok {
		e.RegistryId, e.RepositoryName, e.UploadId = &r.Account, &r.Name, uploadID
		return e
	}
	return err
}

func (a *API) completeLayerUpload(ctx context.Context, c *awsapi.Call, in *sdk.CompleteLayerUploadInput) (*sdk.CompleteLayerUploadOutput, error) {
	if len(in.LayerDigests) != 1 {
		return nil, invalid("layerDigests", "Member must have length less than or equal to 1: a layer has one digest here")
	}
	d, err := oci.ParseDigest(in.LayerDigests[0])
	if err != nil {
		return nil, invalid("layerDigests.1.member", err.Error())
	}
	r := repo(c, in.RegistryId, in.RepositoryName)
	done, err := a.Registry.CompleteUpload(ctx, c.Caller, r, *in.UploadId, registry.UploadEnd{Digest: d, At: registry.AtEnd, New: true})
	if err != nil {
		return nil, err
	}
	return &sdk.CompleteLayerUploadOutput{
		RegistryId: &r.Account, RepositoryName: &r.Name, UploadId: in.UploadId, LayerDigest: new(string(done.Digest)),
	}, nil
}
