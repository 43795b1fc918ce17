// Package registry is the domain of the product: repositories, manifests, blobs and tags, and who may touch them.
//
// [Registry] is the one interface that everything served stands on: the OCI endpoints and the AWS APIs translate to it,
// and what the product adds (authorisation, a cache of upstreams, a gate) wraps it. [Local] keeps content in the
// metadata database and the blob store; [Authorize] is the choke point that every call passes.
//
// Invariants, held by the database's foreign keys and not by the code's good will:
//   - a tag names a manifest of its repository;
//   - the blobs and children a manifest names, and that were there when it was pushed, are there while it is;
//   - a blob's row names bytes that were durable before the row was written.
//
// Bytes without a row are possible (a crash between the two) and harmless: collection takes them away.
package registry

import (
	"context"
	"io"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/blob"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/oci"
)

// Registry is a registry of one or more accounts. Every call is made on behalf of a caller; [Authorize] decides whether
// it may. Errors that a client can do something about are of type [*Error] or [*iam.DeniedError].
type Registry interface {
	// Manifest returns a manifest by tag or digest. Errors: RepositoryUnknown, ManifestUnknown, ImageArchived.
	Manifest(ctx context.Context, c *iam.Caller, repo Repo, ref oci.Reference) (*Manifest, error)
	// PutManifest stores a manifest and points tags at it: all or nothing, durable on return. Pushing what is there
	// already succeeds, and takes it out of the archive. Errors: RepositoryUnknown, ManifestInvalid, DigestMismatch,
	// BlobsMissing, ManifestsMissing, TagImmutable, ImageExists.
	PutManifest(ctx context.Context, c *iam.Caller, repo Repo, put ManifestPut) (*Manifest, error)
	// DeleteManifest deletes a manifest and the tags that name it, or, by tag, the tag alone. Errors: RepositoryUnknown,
	// ManifestUnknown, Referenced.
	DeleteManifest(ctx context.Context, c *iam.Caller, repo Repo, ref oci.Reference, o DeleteOptions) (*Manifest, error)
	// Tags returns tag names in byte order, and whether there are more. Errors: RepositoryUnknown.
	Tags(ctx context.Context, c *iam.Caller, repo Repo, page Page) (names []string, more bool, err error)
	// Referrers returns the manifests whose subject is d, whether d is there or not, by digest. Errors: RepositoryUnknown.
	Referrers(ctx context.Context, c *iam.Caller, repo Repo, d digest.Digest, artifactType string, page Page) (*Referrers, error)

	// StatBlob says whether a blob is there; the answer holds for the grace time of collection. Errors:
	// RepositoryUnknown, BlobUnknown.
	StatBlob(ctx context.Context, c *iam.Caller, repo Repo, d digest.Digest) (Descriptor, error)
	// OpenBlob returns a blob's content; the caller closes it. Errors: RepositoryUnknown, BlobUnknown.
	OpenBlob(ctx context.Context, c *iam.Caller, repo Repo, d digest.Digest) (*Blob, error)
	// DeleteBlob takes a blob from a repository. Errors: RepositoryUnknown, BlobUnknown, Referenced.
	DeleteBlob(ctx context.Context, c *iam.Caller, repo Repo, d digest.Digest) error
	// MountBlob makes a blob of another repository visible in repo without moving bytes. Errors: RepositoryUnknown (of
	// repo), BlobUnknown.
	MountBlob(ctx context.Context, c *iam.Caller, repo, from Repo, d digest.Digest) (Descriptor, error)

	// Holders returns repositories of an account that have a blob, at most 100, in byte order. It passes no judgement
	// on what the caller may do in them.
	Holders(ctx context.Context, c *iam.Caller, account string, d digest.Digest) ([]Repo, error)

	// StartUpload returns the id of a new upload; nothing is kept until bytes come. Errors: RepositoryUnknown.
	StartUpload(ctx context.Context, c *iam.Caller, repo Repo) (id string, err error)
	// AppendUpload adds r to an upload at offset at, or at its end if at is AtEnd, and returns its size. What came
	// before an error of r stays, to be resumed. Errors: UploadUnknown, RangeInvalid, UploadBusy, TooLarge,
	// TooManyUploads, Full.
	AppendUpload(ctx context.Context, c *iam.Caller, repo Repo, id string, at int64, r io.Reader) (size int64, err error)
	// UploadSize returns how many bytes an upload has: 0 before the first and after its end. Errors: UploadUnknown.
	UploadSize(ctx context.Context, c *iam.Caller, repo Repo, id string) (int64, error)
	// CompleteUpload adds the rest, if any, and makes the upload a blob of repo, durable on return; if the answer was lost
	// it can be asked for again. If all came with it, nothing is kept after an error. Errors: those of AppendUpload,
	// RepositoryUnknown, DigestMismatch, LengthMismatch; if the blob is to be new, BlobExists and UploadEmpty.
	CompleteUpload(ctx context.Context, c *iam.Caller, repo Repo, id string, end UploadEnd) (Descriptor, error)
	// CancelUpload forgets an upload. Errors: UploadUnknown.
	CancelUpload(ctx context.Context, c *iam.Caller, repo Repo, id string) error

	// CreateRepository creates a repository. Errors: RepositoryExists, NameInvalid, SettingInvalid, TooManyTags.
	CreateRepository(ctx context.Context, c *iam.Caller, repo Repo, s RepositorySettings, tags map[string]string) (*Repository, error)
	// CreateByTemplate is CreateRepository with all that a template says. Who pushes or pulls needs no permission for what
	// the template adds. Errors: those of CreateRepository, PolicyInvalid, LifecyclePolicyInvalid.
	CreateByTemplate(ctx context.Context, c *iam.Caller, repo Repo, t *Template) (*Repository, error)
	// Repository returns one repository. Errors: RepositoryUnknown.
	Repository(ctx context.Context, c *iam.Caller, repo Repo) (*Repository, error)
	// Repositories returns an account's repositories in byte order of their names, and whether there are more.
	Repositories(ctx context.Context, c *iam.Caller, account string, page Page) ([]Repository, bool, error)
	// DeleteRepository deletes a repository; with content in it only if force. Errors: RepositoryUnknown, RepositoryNotEmpty.
	DeleteRepository(ctx context.Context, c *iam.Caller, repo Repo, force bool) (*Repository, error)
	// RepositoryTags returns a repository's resource tags. Errors: RepositoryUnknown.
	RepositoryTags(ctx context.Context, c *iam.Caller, repo Repo) (map[string]string, error)
	// TagRepository sets and removes resource tags. Errors: RepositoryUnknown, TooManyTags, SettingInvalid.
	TagRepository(ctx context.Context, c *iam.Caller, repo Repo, set map[string]string, remove []string) error
	// PutTagMutability says which tags can be moved. Errors: RepositoryUnknown, SettingInvalid.
	PutTagMutability(ctx context.Context, c *iam.Caller, repo Repo, m Mutability, exclusions []string) (*Repository, error)
	// PutScanOnPush says whether images are to be scanned when they are pushed. Errors: RepositoryUnknown.
	PutScanOnPush(ctx context.Context, c *iam.Caller, repo Repo, on bool) (*Repository, error)

	// RepositoryPolicy returns a repository's policy as it was set. Errors: RepositoryUnknown, PolicyUnknown.
	RepositoryPolicy(ctx context.Context, c *iam.Caller, repo Repo) (document string, err error)
	// SetRepositoryPolicy sets it; one that would keep the caller from setting another only if force. Errors:
	// RepositoryUnknown, PolicyInvalid.
	SetRepositoryPolicy(ctx context.Context, c *iam.Caller, repo Repo, document string, force bool) error
	// DeleteRepositoryPolicy deletes it and returns it. Errors: RepositoryUnknown, PolicyUnknown.
	DeleteRepositoryPolicy(ctx context.Context, c *iam.Caller, repo Repo) (document string, err error)
	// LifecyclePolicy returns a repository's lifecycle policy. Errors: RepositoryUnknown, LifecyclePolicyUnknown.
	LifecyclePolicy(ctx context.Context, c *iam.Caller, repo Repo) (*LifecyclePolicy, error)
	// PutLifecyclePolicy sets it. Errors: RepositoryUnknown, LifecyclePolicyInvalid.
	PutLifecyclePolicy(ctx context.Context, c *iam.Caller, repo Repo, document string) error
	// DeleteLifecyclePolicy deletes it and returns it. Errors: RepositoryUnknown, LifecyclePolicyUnknown.
	DeleteLifecyclePolicy(ctx context.Context, c *iam.Caller, repo Repo) (*LifecyclePolicy, error)

	// RepositoryScanning says when a repository's images are scanned. Errors: RepositoryUnknown.
	RepositoryScanning(ctx context.Context, c *iam.Caller, repo Repo) (*RepositoryScanning, error)
	// InquireRepository is Repository for an operation of another name.
	InquireRepository(ctx context.Context, c *iam.Caller, why Inquiry, repo Repo) (*Repository, error)
	// InquireImage is Image for an operation of another name.
	InquireImage(ctx context.Context, c *iam.Caller, why Inquiry, repo Repo, ref oci.Reference) (*Image, error)

	// Image returns what is known about one image. Errors: RepositoryUnknown, ManifestUnknown.
	Image(ctx context.Context, c *iam.Caller, repo Repo, ref oci.Reference) (*Image, error)
	// ArchiveImage puts an image into the archive, where it can't be pulled, or takes it out again. Errors:
	// RepositoryUnknown, ManifestUnknown, StorageClassKept.
	ArchiveImage(ctx context.Context, c *iam.Caller, repo Repo, ref oci.Reference, archive bool) (*Image, error)
	// ImageReferrers returns what refers to d, by digest, and whether there is more. Errors: RepositoryUnknown.
	ImageReferrers(ctx context.Context, c *iam.Caller, repo Repo, d digest.Digest, f ReferrerFilter, page Page) ([]Referrer, bool, error)
	// Images returns a repository's images in byte order of their digests, and whether there are more. Errors: RepositoryUnknown.
	Images(ctx context.Context, c *iam.Caller, repo Repo, page Page) ([]Image, bool, error)

	// ImageIDs is Images with Digest and Tags alone; it is another action to policies.
	ImageIDs(ctx context.Context, c *iam.Caller, repo Repo, page Page) ([]Image, bool, error)

	// Settings returns an account's settings for its registry.
	Settings(ctx context.Context, c *iam.Caller, account string) (Settings, error)
	// PutSettings replaces them.
	PutSettings(ctx context.Context, c *iam.Caller, account string, s Settings) error
}

// Repo names a repository.
type Repo struct {
	Account string // 12 digits
	Name    string
}

// Page asks for at most Limit names that come after After in byte order; Limit 0 means as many as the server gives at most.
type Page struct {
	After string
	Limit int
}

// Descriptor says what a blob is.
type Descriptor struct {
	Digest digest.Digest
	Size   int64
}

// Blob is a blob to read. Of Data, URL and Content exactly one is set: small content itself, a presigned address to
// redirect to, or the open bytes.
type Blob struct {
	Descriptor
	Data    []byte
	URL     string
	Content blob.Content
}

// Close closes what is open.
func (b *Blob) Close() error {
	if b.Content == nil {
		return nil
	}
	return b.Content.Close()
}

// Manifest is a stored manifest. It is shared: nothing in it may be changed.
type Manifest struct {
	Digest       digest.Digest
	MediaType    string
	ArtifactType string
	Subject      digest.Digest // empty for none
	Data         []byte        // as pushed
	PushedAt     time.Time

	id       int64
	pulled   *pullMark
	archived bool
	// idleSince is the last time, in Unix microseconds and as the database has it, that the manifest was named by a tag or
	// an index, pushed or pulled; 0 while something names it.
	idleSince int64
}

// ManifestPut is a manifest to store.
type ManifestPut struct {
	Tags      []string
	Digest    digest.Digest // what the client says it is; empty when it pushes by tag alone
	MediaType string        // the request's Content-Type; empty: as the manifest says
	Data      []byte
	// New refuses, with ImageExists, what would change nothing.
	New bool
}

// DeleteOptions says how far a deletion by tag goes.
type DeleteOptions struct {
	// LastTagDeletes deletes the manifest with its last tag, as ECR's BatchDeleteImage does.
	LastTagDeletes bool
	// Digest, if set, must be what the tag names.
	Digest digest.Digest
}

// AtEnd as an offset means wherever the upload ends.
const AtEnd = -1

// UploadEnd ends an upload.
type UploadEnd struct {
	Digest digest.Digest
	At     int64     // where Body goes, or AtEnd
	Body   io.Reader // the rest of the bytes; nil for none
	Size   int64     // length of Body, -1 if unknown
	// New says with BlobExists that the blob was there before; the upload is ended all the same. An upload without bytes is
	// refused, with UploadEmpty.
	New bool
}

// Referrers is a page of a referrers list.
type Referrers struct {
	Descriptors [][]byte // JSON, one a referrer
	Next        string   // After of the next page, empty if this was the last
}

// Repository is a repository's own data.
type Repository struct {
	Repo
	CreatedAt time.Time
	Settings  RepositorySettings
	Tags      map[string]string // resource tags, not image tags
}

// Image is a manifest as the control plane sees it.
type Image struct {
	Digest          digest.Digest
	Tags            []string // in byte order
	MediaType       string
	ArtifactType    string
	ConfigMediaType string
	Subject         digest.Digest
	Size            int64 // bytes of the blobs it names; of an index, of the images it names
	PushedAt        time.Time
	PulledAt        time.Time // zero: never; kept to the minute
	Archived        bool
	ArchivedAt      time.Time // the last time; zero: never
	ActivatedAt     time.Time // when it left the archive the last time; zero: never
}

// Settings are an account's settings for its whole registry.
type Settings struct {
	// CreateOnPush creates a missing repository when something is pushed to it.
	CreateOnPush bool `json:"createOnPush,omitempty"`
	// SparseManifests accepts manifests that name blobs and children the repository doesn't have.
	SparseManifests bool `json:"sparseManifests,omitempty"`
	// UntaggedDays is after how many days collection takes manifests that no tag and no index names, and whose subject, if
	// they have one, is gone. 0: as the instance does; negative: never.
	UntaggedDays int `json:"untaggedDays,omitempty"`
}

// Mutability says whether a tag can be moved.
type Mutability string

// Mutabilities, as ECR spells them. The exclusions turn the rule around for the tags that a filter matches.
const (
	Mutable                  Mutability = "MUTABLE"
	Immutable                Mutability = "IMMUTABLE"
	MutableWithExclusion     Mutability = "MUTABLE_WITH_EXCLUSION"
	ImmutableWithExclusion   Mutability = "IMMUTABLE_WITH_EXCLUSION"
	maxMutabilityExclusions             = 5
	maxMutabilityFilterRunes            = 128
)

// RepositorySettings are what a repository was created with or told later.
type RepositorySettings struct {
	Mutability           Mutability `json:"mutability,omitempty"`           // empty: Mutable
	MutabilityExclusions []string   `json:"mutabilityExclusions,omitempty"` // tag patterns, * matches any run
	ScanOnPush           bool       `json:"scanOnPush,omitempty"`
	EncryptionType       string     `json:"encryptionType,omitempty"` // as asked for: AES256, KMS, KMS_DSSE
	KMSKey               string     `json:"kmsKey,omitempty"`
}
