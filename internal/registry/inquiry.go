package registry

import (
	"context"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/oci"
)

// Inquiry is an operation that asks what is known about a repository or an image, for a reason of its own: the action of
// that name is what the caller needs.
type Inquiry string

// The inquiries about images, and those about repositories.
const (
	ScanFindings      Inquiry = "ecr:DescribeImageScanFindings"
	ScanStart         Inquiry = "ecr:StartImageScan"
	ReplicationStatus Inquiry = "ecr:DescribeImageReplicationStatus"
	SigningStatus     Inquiry = "ecr:DescribeImageSigningStatus"

	ScanningConfiguration  Inquiry = "ecr:BatchGetRepositoryScanningConfiguration"
	LifecyclePreviewStart  Inquiry = "ecr:StartLifecyclePolicyPreview"
	LifecyclePreviewResult Inquiry = "ecr:GetLifecyclePolicyPreview"
)

// InquireImage implements [Registry].
func (l *Local) InquireImage(ctx context.Context, c *iam.Caller, _ Inquiry, repo Repo, ref oci.Reference) (*Image, error) {
	return l.Image(ctx, c, repo, ref)
}

// InquireRepository implements [Registry].
func (l *Local) InquireRepository(ctx context.Context, c *iam.Caller, _ Inquiry, repo Repo) (*Repository, error) {
	return l.Repository(ctx, c, repo)
}
