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
	ReplicationStatus Inquiry = "ecr:DescribeImageReplicationStatus"
	SigningStatus     Inquiry = "ecr:DescribeImageSigningStatus"

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

// RepositoryScanning says when the images of a repository are scanned.
type RepositoryScanning struct {
	OnPush    bool
	Frequency string   // [ScanManual] and its like
	Filters   []string // of the registry's rules, those that say so
}

// RepositoryScanning implements [Registry].
func (l *Local) RepositoryScanning(ctx context.Context, _ *iam.Caller, repo Repo) (*RepositoryScanning, error) {
	r, err := l.repository(ctx, repo)
	if err != nil {
		return nil, err
	}
	s, err := l.Scanning(ctx, repo.Account)
	if err != nil {
		return nil, err
	}
	var out RepositoryScanning
	out.Frequency, out.Filters = s.Of(repo.Name, r.Settings.ScanOnPush)
	out.OnPush = out.Frequency == ScanOnPushed
	return &out, nil
}
