package registry

import (
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/oci"
)

// Kind says what went wrong, for a protocol to translate into its own code and status.
type Kind int

// The kinds of errors a client can do something about.
const (
	RepositoryUnknown Kind = iota + 1
	RepositoryExists
	RepositoryNotEmpty
	NameInvalid
	ManifestUnknown
	ManifestInvalid
	BlobUnknown
	BlobsMissing     // a manifest names blobs that the repository doesn't have
	ManifestsMissing // an index names manifests that the repository doesn't have
	TagImmutable
	DigestMismatch
	UploadUnknown
	UploadBusy // another request is writing to the upload
	RangeInvalid
	LengthMismatch // a body has not the length it was said to have
	TooLarge
	Referenced // something else needs what was to be deleted
	Full       // the disk is
	Busy       // others change the same thing all the time
	SettingInvalid
	TooManyTags // on a resource
	TooManyUploads
	PolicyUnknown
	PolicyInvalid // also one that locks its author out
	LifecyclePolicyUnknown
	LifecyclePolicyInvalid
	ImageArchived
	ImageExists      // the manifest and its tag are there already
	BlobExists       // and was to be new
	UploadEmpty      // no bytes came
	StorageClassKept // an image can't be archived as things are

	RegistryPolicyUnknown
	TemplateUnknown
	TemplateExists
	PullThroughRuleUnknown
	PullThroughRuleExists
	UpstreamUnsupported
	ExclusionUnknown
	ExclusionExists
	SigningUnknown
	TooManyEntries // of a registry: rules, templates, exclusions
)

// Error is an error that a client can do something about.
type Error struct {
	Kind    Kind
	Message string
	// Detail has what a client may want to read by program: a digest, a tag, an offset. May be nil.
	Detail any
	// Digest is the manifest that is there already, with TagImmutable.
	Digest digest.Digest
	// Offset is where an upload stands, with RangeInvalid.
	Offset int64
	cause  error
}

func (e *Error) Error() string { return e.Message }

// Unwrap returns what caused the error, if anything did.
func (e *Error) Unwrap() error { return e.cause }

// Is lets errors.Is compare with [ErrOf] a kind.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Message == "" && t.Kind == e.Kind
}

// ErrOf returns an error that every error of the kind is, for errors.Is.
func ErrOf(k Kind) error { return &Error{Kind: k} }

func errorf(k Kind, format string, args ...any) *Error {
	return &Error{Kind: k, Message: fmt.Sprintf(format, args...)}
}

// The texts are ECR's where clients match on them.

func errRepositoryUnknown(r Repo) error {
	e := errorf(RepositoryUnknown, "The repository with name '%s' does not exist in the registry with id '%s'", r.Name, r.Account)
	e.Detail = map[string]string{"name": r.Name}
	return e
}

func errRepositoryExists(r Repo) error {
	return errorf(RepositoryExists, "The repository with name '%s' already exists in the registry with id '%s'", r.Name, r.Account)
}

func errRepositoryNotEmpty(r Repo) error {
	return errorf(RepositoryNotEmpty, "The repository with name '%s' in registry with id '%s' cannot be deleted because it still contains images", r.Name, r.Account)
}

func errManifestUnknown(r Repo, tag string, d digest.Digest) error {
	e := errorf(ManifestUnknown, "The image with imageId {imageDigest:'%s', imageTag:'%s'} does not exist within the repository with name '%s' in the registry with id '%s'",
		orNull(string(d)), orNull(tag), r.Name, r.Account)
	e.Detail = map[string]string{"name": r.Name}
	return e
}

func errArchived(r Repo, ref oci.Reference) error {
	e := errorf(ImageArchived, "The image with imageId {imageDigest:'%s', imageTag:'%s'} within the repository with name '%s' in the registry with id '%s' is archived and cannot be pulled; restore it with UpdateImageStorageClass, or push it again",
		orNull(string(ref.Digest)), orNull(ref.Tag), r.Name, r.Account)
	e.Detail = map[string]string{"name": r.Name}
	return e
}

func errImageExists(r Repo, d digest.Digest, tag string) error {
	return errorf(ImageExists, "Image with digest '%s' and tag '%s' already exists in the repository with name '%s' in registry with id '%s'", d, orNull(tag), r.Name, r.Account)
}

func errBlobExists(r Repo, d digest.Digest) error {
	return errorf(BlobExists, "The layer with digest '%s' already exists in the repository with name '%s' in the registry with id '%s'", d, r.Name, r.Account)
}

func orNull(s string) string {
	if s == "" {
		return "null"
	}
	return s
}

func errBlobUnknown(r Repo, d digest.Digest) error {
	e := errorf(BlobUnknown, "The layer with digest '%s' does not exist in the repository with name '%s' in the registry with id '%s'", d, r.Name, r.Account)
	e.Detail = map[string]string{"digest": string(d)}
	return e
}

func errMissing(k Kind, r Repo, missing []digest.Digest) error {
	what := "Layers"
	if k == ManifestsMissing {
		what = "Images"
	}
	names := make([]string, len(missing))
	for i, d := range missing {
		names[i] = string(d)
	}
	e := errorf(k, "%s with digests '[%s]' required for pushing image into repository with name '%s' in the registry with id '%s' do not exist",
		what, strings.Join(names, ", "), r.Name, r.Account)
	e.Detail = map[string][]string{"digests": names}
	return e
}

func errTagImmutable(r Repo, tag string, there digest.Digest) error {
	e := errorf(TagImmutable, "The image tag '%s' already exists in the '%s' repository and cannot be overwritten because the tag is immutable", tag, r.Name)
	e.Detail, e.Digest = map[string]string{"tag": tag, "digest": string(there)}, there
	return e
}

func errUploadUnknown(id string) error { // id is whatever the client wrote
	return errorf(UploadUnknown, "The upload '%.64s' does not exist: it was completed, cancelled, belongs to another repository, or is too old; start again", id)
}

func errRange(at, size int64) error {
	e := errorf(RangeInvalid, "The chunk starts at byte %d but the upload has %d bytes; send the chunk that starts there", at, size)
	e.Offset = size
	return e
}

func errBusy(err error) error {
	e := errorf(Busy, "The registry could not do this because too many others change the same thing; nothing was changed, try again")
	e.cause = err
	return e
}

func errFull(err error) error {
	e := errorf(Full, "The registry has no room left to store this; nothing was changed. Free disk space or delete images and push again")
	e.cause = err
	return e
}
