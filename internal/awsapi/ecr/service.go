// Package ecr is the Amazon ECR API over a [registry.Registry]: it translates inputs and outputs, names and errors, and
// leaves everything else, who may do what included, to the domain.
//
// Where it differs from ECR, it is more lenient: parts of layers may have any size up to 20 MiB; archived images leave the
// archive at once, and their layers stay there for others; and BatchGetImage gives manifests as they were pushed whatever
// acceptedMediaTypes says, because a converted one has another digest.
package ecr

import (
	"context"
	"reflect"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/awsapi"
	"github.com/sekisho/sekisho/internal/httpx"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/registry"
)

// Tokens issues authorization tokens, as [iam.Service] does.
type Tokens interface {
	IssueToken(ctx context.Context, c *iam.Caller) (password string, expires time.Time, err error)
}

// Links signs the path and query of a blob, so that it can be fetched without a credential.
type Links interface {
	Sign(c *iam.Caller, repo registry.Repo, d digest.Digest) string
}

// API is what the operations work on.
type API struct {
	Registry  registry.Registry
	Control   *registry.Control
	Judge     *registry.Judge // for the actions that no method of Registry stands for
	Tokens    Tokens
	Links     Links
	Addresses Addresses
}

// signingName and targetPrefix are those of the service's model, "2015-09-21".
const (
	signingName  = "ecr"
	targetPrefix = "AmazonEC2ContainerRegistry_V20150921"
)

// Service returns the operations, to be served.
func (a *API) Service() *awsapi.Service {
	s := awsapi.NewJSON(signingName, targetPrefix, awsapi.ServiceOptions{
		Explain: explain, Invalid: invalid, Internal: "ServerException", Note: note,
	})
	awsapi.Handle(s, op("GetAuthorizationToken"), a.getAuthorizationToken)
	awsapi.Handle(s, op("DescribeRegistry"), a.describeRegistry)

	awsapi.Handle(s, op("CreateRepository"), a.createRepository)
	awsapi.Handle(s, op("DescribeRepositories"), a.describeRepositories)
	awsapi.Handle(s, op("DeleteRepository"), a.deleteRepository)
	awsapi.Handle(s, op("PutImageTagMutability"), a.putImageTagMutability)
	awsapi.Handle(s, op("PutImageScanningConfiguration"), a.putImageScanningConfiguration)
	awsapi.Handle(s, op("BatchGetRepositoryScanningConfiguration"), a.batchGetRepositoryScanningConfiguration)
	awsapi.Handle(s, op("SetRepositoryPolicy"), a.setRepositoryPolicy)
	awsapi.Handle(s, op("GetRepositoryPolicy"), a.getRepositoryPolicy)
	awsapi.Handle(s, op("DeleteRepositoryPolicy"), a.deleteRepositoryPolicy)
	awsapi.Handle(s, op("PutLifecyclePolicy"), a.putLifecyclePolicy)
	awsapi.Handle(s, op("GetLifecyclePolicy"), a.getLifecyclePolicy)
	awsapi.Handle(s, op("DeleteLifecyclePolicy"), a.deleteLifecyclePolicy)
	awsapi.Handle(s, op("GetLifecyclePolicyPreview"), a.getLifecyclePolicyPreview)
	awsapi.Unsupported(s, []string{"StartLifecyclePolicyPreview"}, "Lifecycle policies are kept, and not acted on yet.")
	awsapi.Handle(s, op("TagResource"), a.tagResource)
	awsapi.Handle(s, op("UntagResource"), a.untagResource)
	awsapi.Handle(s, op("ListTagsForResource"), a.listTagsForResource)

	awsapi.Handle(s, op("DescribeImages"), a.describeImages)
	awsapi.Handle(s, op("ListImages"), a.listImages)
	awsapi.Handle(s, op("BatchGetImage"), a.batchGetImage)
	awsapi.Handle(s, op("BatchDeleteImage"), a.batchDeleteImage)
	awsapi.Handle(s, op("PutImage"), a.putImage)

	awsapi.Handle(s, op("ListImageReferrers"), a.listImageReferrers)
	awsapi.Handle(s, op("UpdateImageStorageClass"), a.updateImageStorageClass)
	awsapi.Handle(s, op("DescribeImageScanFindings"), a.describeImageScanFindings)
	awsapi.Handle(s, op("DescribeImageReplicationStatus"), a.describeImageReplicationStatus)
	awsapi.Handle(s, op("DescribeImageSigningStatus"), a.describeImageSigningStatus)
	awsapi.Unsupported(s, []string{"StartImageScan"}, "Images are not scanned yet.")

	awsapi.Handle(s, op("BatchCheckLayerAvailability"), a.batchCheckLayerAvailability)
	awsapi.Handle(s, op("GetDownloadUrlForLayer"), a.getDownloadURLForLayer)
	awsapi.Handle(s, op("InitiateLayerUpload"), a.initiateLayerUpload)
	awsapi.Handle(s, op("UploadLayerPart"), a.uploadLayerPart)
	awsapi.Handle(s, op("CompleteLayerUpload"), a.completeLayerUpload)
	a.handleRegistry(s)
	return s
}

// maxBody is for the operations whose input can be long: a manifest has at most 4 MiB, which escaping can make six times
// as long and does not; a part of a layer has 20 MiB, in base64.
var maxBody = map[string]int64{
	"PutImage":        12 << 20,
	"UploadLayerPart": 28 << 20,
}

func op(name string) awsapi.Op {
	return awsapi.Op{Name: name, MaxBody: maxBody[name], Members: constraints[name]}
}

// note puts the repository and the image into the event of the request.
func note(e *httpx.Event, in any) {
	text := func(name string) string {
		if p, ok := field(in, name).(*string); ok && p != nil {
			return *p
		}
		return ""
	}
	e.Repo, e.Tag = text("RepositoryName"), text("ImageTag")
	e.Digest = text("ImageDigest")
	if e.Digest == "" {
		e.Digest = text("LayerDigest")
	}
}

// field returns a field of the structure that in points at, or nil.
func field(in any, name string) any {
	if f := reflect.ValueOf(in).Elem().FieldByName(name); f.IsValid() {
		return f.Interface()
	}
	return nil
}

// repo returns the repository that an input names.
func repo(c *awsapi.Call, registryID, name *string) registry.Repo {
	return registry.Repo{Account: account(c, registryID), Name: *name}
}

// account returns the account that an input names, or the caller's.
func account(c *awsapi.Call, registryID *string) string {
	if registryID == nil {
		return c.Account
	}
	return *registryID
}

// text is a member that is left out when empty.
func text[T ~string](s T) *string {
	if s == "" {
		return nil
	}
	return new(string(s))
}
