package registry

import (
	"context"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/oci"
)

// Judge decides and takes note. Every call to an authorised registry passes it exactly once for each action it needs.
type Judge struct {
	Authorizer iam.Authorizer
	// Region is the instance's, as it stands in ARNs.
	Region string
	// Note is told every decision; it must not block.
	Note func(c *iam.Caller, action, resource string, d iam.Decision)
}

// Check returns nil if c may do action on resource, an ARN or "*", and else the *iam.DeniedError that says why not.
func (j *Judge) Check(ctx context.Context, c *iam.Caller, action, resource string) error {
	d := j.Authorizer.Authorize(ctx, c, action, resource)
	j.Note(c, action, resource, d)
	if d.Allowed {
		return nil
	}
	return d.Denied(c, action, resource)
}

// RepositoryARN returns arn:aws:ecr:<region>:<account>:repository/<name>.
func (j *Judge) RepositoryARN(repo Repo) string {
	return "arn:aws:ecr:" + j.Region + ":" + repo.Account + ":repository/" + repo.Name
}

// RegistryARN returns arn:aws:ecr:<region>:<account>:*, for what concerns a registry as a whole.
func (j *Judge) RegistryARN(account string) string {
	return "arn:aws:ecr:" + j.Region + ":" + account + ":*"
}

func (j *Judge) repo(ctx context.Context, c *iam.Caller, action string, repo Repo) error {
	return j.Check(ctx, c, action, j.RepositoryARN(repo))
}

// Authorize returns next behind the choke point: nothing reaches it that j does not allow. The table of what needs which
// action is this file; ECR's own names are used, so that policies written for ECR mean the same here.
func Authorize(next Registry, j *Judge) Registry { return &authorized{next, j} }

type authorized struct {
	next Registry
	j    *Judge
}

func (a *authorized) Manifest(ctx context.Context, c *iam.Caller, repo Repo, ref oci.Reference) (*Manifest, error) {
	if err := a.j.repo(ctx, c, "ecr:BatchGetImage", repo); err != nil {
		return nil, err
	}
	return a.next.Manifest(ctx, c, repo, ref)
}

func (a *authorized) PutManifest(ctx context.Context, c *iam.Caller, repo Repo, put ManifestPut) (*Manifest, error) {
	if err := a.j.repo(ctx, c, "ecr:PutImage", repo); err != nil {
		return nil, err
	}
	return a.next.PutManifest(ctx, c, repo, put)
}

func (a *authorized) DeleteManifest(ctx context.Context, c *iam.Caller, repo Repo, ref oci.Reference, o DeleteOptions) (*Manifest, error) {
	if err := a.j.repo(ctx, c, "ecr:BatchDeleteImage", repo); err != nil {
		return nil, err
	}
	return a.next.DeleteManifest(ctx, c, repo, ref, o)
}

func (a *authorized) Tags(ctx context.Context, c *iam.Caller, repo Repo, page Page) ([]string, bool, error) {
	if err := a.j.repo(ctx, c, "ecr:ListImages", repo); err != nil {
		return nil, false, err
	}
	return a.next.Tags(ctx, c, repo, page)
}

func (a *authorized) Referrers(ctx context.Context, c *iam.Caller, repo Repo, d digest.Digest, artifactType string, page Page) (*Referrers, error) {
	if err := a.j.repo(ctx, c, "ecr:BatchGetImage", repo); err != nil {
		return nil, err
	}
	return a.next.Referrers(ctx, c, repo, d, artifactType, page)
}

func (a *authorized) StatBlob(ctx context.Context, c *iam.Caller, repo Repo, d digest.Digest) (Descriptor, error) {
	if err := a.j.repo(ctx, c, "ecr:BatchCheckLayerAvailability", repo); err != nil {
		return Descriptor{}, err
	}
	return a.next.StatBlob(ctx, c, repo, d)
}

func (a *authorized) OpenBlob(ctx context.Context, c *iam.Caller, repo Repo, d digest.Digest) (*Blob, error) {
	if err := a.j.repo(ctx, c, "ecr:GetDownloadUrlForLayer", repo); err != nil {
		return nil, err
	}
	return a.next.OpenBlob(ctx, c, repo, d)
}

func (a *authorized) DeleteBlob(ctx context.Context, c *iam.Caller, repo Repo, d digest.Digest) error {
	if err := a.j.repo(ctx, c, "ecr:BatchDeleteImage", repo); err != nil {
		return err
	}
	return a.next.DeleteBlob(ctx, c, repo, d)
}

func (a *authorized) MountBlob(ctx context.Context, c *iam.Caller, repo, from Repo, d digest.Digest) (Descriptor, error) {
	if err := a.j.repo(ctx, c, "ecr:InitiateLayerUpload", repo); err != nil {
		return Descriptor{}, err
	}
	if err := a.j.repo(ctx, c, "ecr:GetDownloadUrlForLayer", from); err != nil {
		return Descriptor{}, err
	}
	return a.next.MountBlob(ctx, c, repo, from, d)
}

// Holders returns only the repositories that the caller may read.
func (a *authorized) Holders(ctx context.Context, c *iam.Caller, account string, d digest.Digest) ([]Repo, error) {
	all, err := a.next.Holders(ctx, c, account, d)
	var readable []Repo
	for _, repo := range all {
		if a.j.Authorizer.Authorize(ctx, c, "ecr:GetDownloadUrlForLayer", a.j.RepositoryARN(repo)).Allowed {
			readable = append(readable, repo)
		}
	}
	return readable, err
}

func (a *authorized) StartUpload(ctx context.Context, c *iam.Caller, repo Repo) (string, error) {
	if err := a.j.repo(ctx, c, "ecr:InitiateLayerUpload", repo); err != nil {
		return "", err
	}
	return a.next.StartUpload(ctx, c, repo)
}

func (a *authorized) AppendUpload(ctx context.Context, c *iam.Caller, repo Repo, id string, at int64, r io.Reader) (int64, error) {
	if err := a.j.repo(ctx, c, "ecr:UploadLayerPart", repo); err != nil {
		return 0, err
	}
	return a.next.AppendUpload(ctx, c, repo, id, at, r)
}

func (a *authorized) UploadSize(ctx context.Context, c *iam.Caller, repo Repo, id string) (int64, error) {
	if err := a.j.repo(ctx, c, "ecr:UploadLayerPart", repo); err != nil {
		return 0, err
	}
	return a.next.UploadSize(ctx, c, repo, id)
}

func (a *authorized) CompleteUpload(ctx context.Context, c *iam.Caller, repo Repo, id string, end UploadEnd) (Descriptor, error) {
	if err := a.j.repo(ctx, c, "ecr:CompleteLayerUpload", repo); err != nil {
		return Descriptor{}, err
	}
	return a.next.CompleteUpload(ctx, c, repo, id, end)
}

func (a *authorized) CancelUpload(ctx context.Context, c *iam.Caller, repo Repo, id string) error {
	if err := a.j.repo(ctx, c, "ecr:UploadLayerPart", repo); err != nil {
		return err
	}
	return a.next.CancelUpload(ctx, c, repo, id)
}

func (a *authorized) CreateRepository(ctx context.Context, c *iam.Caller, repo Repo, s RepositorySettings, tags map[string]string) (*Repository, error) {
	if err := a.j.repo(ctx, c, "ecr:CreateRepository", repo); err != nil {
		return nil, err
	}
	if len(tags) > 0 {
		if err := a.j.repo(ctx, c, "ecr:TagResource", repo); err != nil {
			return nil, err
		}
	}
	return a.next.CreateRepository(ctx, c, repo, s, tags)
}

func (a *authorized) Repository(ctx context.Context, c *iam.Caller, repo Repo) (*Repository, error) {
	if err := a.j.repo(ctx, c, "ecr:DescribeRepositories", repo); err != nil {
		return nil, err
	}
	return a.next.Repository(ctx, c, repo)
}

func (a *authorized) Repositories(ctx context.Context, c *iam.Caller, account string, page Page) ([]Repository, bool, error) {
	if err := a.j.repo(ctx, c, "ecr:DescribeRepositories", Repo{account, "*"}); err != nil {
		return nil, false, err
	}
	return a.next.Repositories(ctx, c, account, page)
}

func (a *authorized) DeleteRepository(ctx context.Context, c *iam.Caller, repo Repo, force bool) (*Repository, error) {
	if err := a.j.repo(ctx, c, "ecr:DeleteRepository", repo); err != nil {
		return nil, err
	}
	return a.next.DeleteRepository(ctx, c, repo, force)
}

func (a *authorized) RepositoryTags(ctx context.Context, c *iam.Caller, repo Repo) (map[string]string, error) {
	if err := a.j.repo(ctx, c, "ecr:ListTagsForResource", repo); err != nil {
		return nil, err
	}
	return a.next.RepositoryTags(ctx, c, repo)
}

func (a *authorized) TagRepository(ctx context.Context, c *iam.Caller, repo Repo, set map[string]string, remove []string) error {
	if len(set) > 0 {
		if err := a.j.repo(ctx, c, "ecr:TagResource", repo); err != nil {
			return err
		}
	}
	if len(remove) > 0 || len(set) == 0 {
		if err := a.j.repo(ctx, c, "ecr:UntagResource", repo); err != nil {
			return err
		}
	}
	return a.next.TagRepository(ctx, c, repo, set, remove)
}

func (a *authorized) Image(ctx context.Context, c *iam.Caller, repo Repo, ref oci.Reference) (*Image, error) {
	if err := a.j.repo(ctx, c, "ecr:DescribeImages", repo); err != nil {
		return nil, err
	}
	return a.next.Image(ctx, c, repo, ref)
}

func (a *authorized) Images(ctx context.Context, c *iam.Caller, repo Repo, page Page) ([]Image, bool, error) {
	if err := a.j.repo(ctx, c, "ecr:DescribeImages", repo); err != nil {
		return nil, false, err
	}
	return a.next.Images(ctx, c, repo, page)
}

func (a *authorized) ImageIDs(ctx context.Context, c *iam.Caller, repo Repo, page Page) ([]Image, bool, error) {
	if err := a.j.repo(ctx, c, "ecr:ListImages", repo); err != nil {
		return nil, false, err
	}
	return a.next.ImageIDs(ctx, c, repo, page)
}

func (a *authorized) Settings(ctx context.Context, c *iam.Caller, account string) (Settings, error) {
	if err := a.j.Check(ctx, c, "ecr:GetAccountSetting", a.j.RegistryARN(account)); err != nil {
		return Settings{}, err
	}
	return a.next.Settings(ctx, c, account)
}

func (a *authorized) PutSettings(ctx context.Context, c *iam.Caller, account string, s Settings) error {
	if err := a.j.Check(ctx, c, "ecr:PutAccountSetting", a.j.RegistryARN(account)); err != nil {
		return err
	}
	return a.next.PutSettings(ctx, c, account, s)
}
