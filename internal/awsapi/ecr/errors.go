package ecr

import (
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/smithy-go"

	"github.com/sekisho/sekisho/internal/registry"
)

// kinds is the one table from the domain's errors to ECR's. What isn't in it is an internal error.
var kinds = map[registry.Kind]func(*registry.Error, *string) smithy.APIError{
	registry.RepositoryUnknown: func(_ *registry.Error, m *string) smithy.APIError {
		return &types.RepositoryNotFoundException{Message: m}
	},
	registry.RepositoryExists: func(_ *registry.Error, m *string) smithy.APIError {
		return &types.RepositoryAlreadyExistsException{Message: m}
	},
	registry.RepositoryNotEmpty: func(_ *registry.Error, m *string) smithy.APIError {
		return &types.RepositoryNotEmptyException{Message: m}
	},
	registry.NameInvalid: func(e *registry.Error, _ *string) smithy.APIError {
		return invalid("repositoryName", e.Message)
	},
	registry.ManifestUnknown: func(_ *registry.Error, m *string) smithy.APIError {
		return &types.ImageNotFoundException{Message: m}
	},
	registry.ManifestInvalid: func(e *registry.Error, _ *string) smithy.APIError {
		return invalid("imageManifest", e.Message)
	},
	registry.BlobUnknown: func(_ *registry.Error, m *string) smithy.APIError {
		return &types.LayersNotFoundException{Message: m}
	},
	registry.BlobsMissing: func(_ *registry.Error, m *string) smithy.APIError {
		return &types.LayersNotFoundException{Message: m}
	},
	registry.ManifestsMissing: func(_ *registry.Error, m *string) smithy.APIError {
		return &types.ReferencedImagesNotFoundException{Message: m}
	},
	registry.TagImmutable: func(_ *registry.Error, m *string) smithy.APIError {
		return &types.ImageTagAlreadyExistsException{Message: m}
	},
	registry.DigestMismatch: func(_ *registry.Error, m *string) smithy.APIError { // of a layer; see putImage
		return &types.InvalidLayerException{Message: m}
	},
	registry.UploadUnknown: func(_ *registry.Error, m *string) smithy.APIError {
		return &types.UploadNotFoundException{Message: m}
	},
	registry.UploadBusy: func(_ *registry.Error, m *string) smithy.APIError {
		return &types.LimitExceededException{Message: m}
	},
	registry.RangeInvalid: func(e *registry.Error, m *string) smithy.APIError {
		return &types.InvalidLayerPartException{Message: m, LastValidByteReceived: new(e.Offset - 1)}
	},
	registry.LengthMismatch: func(_ *registry.Error, m *string) smithy.APIError {
		return &types.InvalidLayerPartException{Message: m}
	},
	registry.TooLarge: func(_ *registry.Error, m *string) smithy.APIError {
		return &types.LimitExceededException{Message: m}
	},
	registry.TooManyUploads: func(_ *registry.Error, m *string) smithy.APIError {
		return &types.LimitExceededException{Message: m}
	},
	registry.TooManyTags: func(_ *registry.Error, m *string) smithy.APIError {
		return &types.TooManyTagsException{Message: m}
	},
	registry.SettingInvalid: func(_ *registry.Error, m *string) smithy.APIError {
		return &types.InvalidParameterException{Message: m}
	},
	registry.RegistryPolicyUnknown: func(_ *registry.Error, m *string) smithy.APIError {
		return &types.RegistryPolicyNotFoundException{Message: m}
	},
	registry.TemplateUnknown: func(_ *registry.Error, m *string) smithy.APIError {
		return &types.TemplateNotFoundException{Message: m}
	},
	registry.TemplateExists: func(_ *registry.Error, m *string) smithy.APIError {
		return &types.TemplateAlreadyExistsException{Message: m}
	},
	registry.PullThroughRuleUnknown: func(_ *registry.Error, m *string) smithy.APIError {
		return &types.PullThroughCacheRuleNotFoundException{Message: m}
	},
	registry.PullThroughRuleExists: func(_ *registry.Error, m *string) smithy.APIError {
		return &types.PullThroughCacheRuleAlreadyExistsException{Message: m}
	},
	registry.UpstreamUnsupported: func(_ *registry.Error, m *string) smithy.APIError {
		return &types.UnsupportedUpstreamRegistryException{Message: m}
	},
	registry.ExclusionUnknown: func(_ *registry.Error, m *string) smithy.APIError {
		return &types.ExclusionNotFoundException{Message: m}
	},
	registry.ExclusionExists: func(_ *registry.Error, m *string) smithy.APIError {
		return &types.ExclusionAlreadyExistsException{Message: m}
	},
	registry.SigningUnknown: func(_ *registry.Error, m *string) smithy.APIError {
		return &types.SigningConfigurationNotFoundException{Message: m}
	},
	registry.TooManyEntries: func(_ *registry.Error, m *string) smithy.APIError {
		return &types.LimitExceededException{Message: m}
	},
	registry.PolicyUnknown: func(_ *registry.Error, m *string) smithy.APIError {
		return &types.RepositoryPolicyNotFoundException{Message: m}
	},
	registry.PolicyInvalid: func(e *registry.Error, _ *string) smithy.APIError {
		return invalid("PolicyText", e.Message)
	},
	registry.LifecyclePolicyUnknown: func(_ *registry.Error, m *string) smithy.APIError {
		return &types.LifecyclePolicyNotFoundException{Message: m}
	},
	registry.LifecyclePolicyInvalid: func(e *registry.Error, _ *string) smithy.APIError {
		return invalid("LifecyclePolicyText", e.Message)
	},
	registry.ImageArchived: func(_ *registry.Error, m *string) smithy.APIError {
		return &types.ImageArchivedException{Message: m}
	},
	registry.StorageClassKept: func(_ *registry.Error, m *string) smithy.APIError {
		return &types.ImageStorageClassUpdateNotSupportedException{Message: m}
	},
	registry.ImageExists: func(_ *registry.Error, m *string) smithy.APIError {
		return &types.ImageAlreadyExistsException{Message: m}
	},
	registry.BlobExists: func(_ *registry.Error, m *string) smithy.APIError {
		return &types.LayerAlreadyExistsException{Message: m}
	},
	registry.UploadEmpty: func(_ *registry.Error, m *string) smithy.APIError {
		return &types.EmptyUploadException{Message: m}
	},
	registry.Busy: func(_ *registry.Error, m *string) smithy.APIError {
		return &types.ServerException{Message: m}
	},
	registry.Full: func(_ *registry.Error, m *string) smithy.APIError {
		return &types.ServerException{Message: m}
	},
}

func explain(err error) smithy.APIError {
	e, ok := errors.AsType[*registry.Error](err)
	if !ok {
		return nil
	}
	if make, ok := kinds[e.Kind]; ok {
		return make(e, &e.Message)
	}
	return nil
}

// isKind reports whether err is an error of the domain of that kind.
func isKind(err error, k registry.Kind) bool { return errors.Is(err, registry.ErrOf(k)) }

// invalid words a broken constraint as ECR does.
func invalid(member, constraint string) smithy.APIError {
	return &types.InvalidParameterException{
		Message: new(fmt.Sprintf("Invalid parameter at '%s' failed to satisfy constraint: '%s'", member, constraint)),
	}
}
