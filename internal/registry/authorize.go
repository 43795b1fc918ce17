package registry

import (
	"context"
	"io"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/policy"
	"github.com/sekisho/sekisho/internal/oci"
)

// Judge is an [iam.Judge] who knows how the things of a registry are named and what they bring along.
type Judge struct {
	iam.Judge
	// Region is the instance's, as it stands in ARNs.
	Region string
	// Guard returns what a repository, or with an empty name a registry, brings along to a decision; for one that is not
	// there what its registry does. Nil: nothing brings anything.
	Guard func(ctx context.Context, c *iam.Caller, repo Repo) (*Guard, error)
}

// Guard is what a resource brings along to decisions about it. It is shared: nothing in it may be changed.
type Guard struct {
	Tags     map[string]string // resource tags
	Policies []policy.Named
	// Bringing are there for the actions that bring repositories and images in only: a registry policy of scope V1 is about
	// nothing else.
	Bringing []policy.Named
}

// policies returns those that an action is held against.
func (g *Guard) policies(action string) []policy.Named {
	if len(g.Bringing) > 0 {
		switch action {
		case "ecr:ReplicateImage", "ecr:BatchImportUpstreamImage", "ecr:CreateRepository":
			return slices.Concat(g.Policies, g.Bringing)
		}
	}
	return g.Policies
}

// Repo returns nil if c may do action on a repository, and else the *iam.DeniedError that says why not. keys are the
// condition keys that only this request has, see [iam.Request].
func (j *Judge) Repo(ctx context.Context, c *iam.Caller, action string, repo Repo, keys map[string][]string) error {
	return j.on(ctx, c, action, j.RepositoryARN(repo), repo, keys)
}

// Registry is Repo for what concerns a registry as a whole.
func (j *Judge) Registry(ctx context.Context, c *iam.Caller, action, account string, keys map[string][]string) error {
	return j.on(ctx, c, action, j.RegistryARN(account), Repo{Account: account}, keys)
}

// Anywhere is Repo for actions that are on no resource.
func (j *Judge) Anywhere(ctx context.Context, c *iam.Caller, action string) error {
	return j.Check(ctx, c, iam.On(c, action, "*"))
}

func (j *Judge) on(ctx context.Context, c *iam.Caller, action, arn string, repo Repo, keys map[string][]string) error {
	r, err := j.request(ctx, c, action, arn, repo)
	if err != nil {
		return err
	}
	r.Keys = keys
	return j.Check(ctx, c, &r)
}

func (j *Judge) request(ctx context.Context, c *iam.Caller, action, arn string, repo Repo) (iam.Request, error) {
	r := iam.Request{Action: action, Resource: iam.Resource{ARN: arn, Account: repo.Account}}
	if j.Guard != nil {
		g, err := j.Guard(ctx, c, repo)
		if err != nil {
			return r, err
		}
		r.Resource.Tags, r.Resource.Policies = g.Tags, g.policies(action)
	}
	return r, nil
}

// RepositoryARN returns arn:aws:ecr:<region>:<account>:repository/<name>.
func (j *Judge) RepositoryARN(repo Repo) string {
	return "arn:aws:ecr:" + j.Region + ":" + repo.Account + ":repository/" + repo.Name
}

// RegistryARN returns arn:aws:ecr:<region>:<account>:*, for what concerns a registry as a whole.
func (j *Judge) RegistryARN(account string) string {
	return "arn:aws:ecr:" + j.Region + ":" + account + ":*"
}

// allows is Repo without a trace: nobody asked for it by name, so there is nothing to tell them.
func (j *Judge) allows(ctx context.Context, c *iam.Caller, action string, repo Repo) (bool, error) {
	r, err := j.request(ctx, c, action, j.RepositoryARN(repo), repo)
	return err == nil && j.Authorizer.Authorize(ctx, c, &r).Allowed, err
}

// Authorize returns next behind the choke point: nothing reaches it that j does not allow. The table of what needs which
// action is this file and authorize_repositories.go, for what concerns registries as wholes [Control]. ECR's own names are
// used, so that policies written for ECR mean the same here.
func Authorize(next Registry, j *Judge) Registry { return &authorized{next, j} }

type authorized struct {
	next Registry
	j    *Judge
}

func (a *authorized) Manifest(ctx context.Context, c *iam.Caller, repo Repo, ref oci.Reference) (*Manifest, error) {
	if err := a.j.Repo(ctx, c, "ecr:BatchGetImage", repo, nil); err != nil {
		return nil, err
	}
	return a.next.Manifest(ctx, c, repo, ref)
}

func (a *authorized) PutManifest(ctx context.Context, c *iam.Caller, repo Repo, put ManifestPut) (*Manifest, error) {
	if err := a.j.Repo(ctx, c, "ecr:PutImage", repo, nil); err != nil {
		return nil, err
	}
	return a.next.PutManifest(ctx, c, repo, put)
}

func (a *authorized) DeleteManifest(ctx context.Context, c *iam.Caller, repo Repo, ref oci.Reference, o DeleteOptions) (*Manifest, error) {
	if err := a.j.Repo(ctx, c, "ecr:BatchDeleteImage", repo, nil); err != nil {
		return nil, err
	}
	return a.next.DeleteManifest(ctx, c, repo, ref, o)
}

func (a *authorized) Tags(ctx context.Context, c *iam.Caller, repo Repo, page Page) ([]string, bool, error) {
	if err := a.j.Repo(ctx, c, "ecr:ListImages", repo, nil); err != nil {
		return nil, false, err
	}
	return a.next.Tags(ctx, c, repo, page)
}

func (a *authorized) Referrers(ctx context.Context, c *iam.Caller, repo Repo, d digest.Digest, artifactType string, page Page) (*Referrers, error) {
	if err := a.j.Repo(ctx, c, "ecr:BatchGetImage", repo, nil); err != nil {
		return nil, err
	}
	return a.next.Referrers(ctx, c, repo, d, artifactType, page)
}

func (a *authorized) StatBlob(ctx context.Context, c *iam.Caller, repo Repo, d digest.Digest) (Descriptor, error) {
	if err := a.j.Repo(ctx, c, "ecr:BatchCheckLayerAvailability", repo, nil); err != nil {
		return Descriptor{}, err
	}
	return a.next.StatBlob(ctx, c, repo, d)
}

func (a *authorized) OpenBlob(ctx context.Context, c *iam.Caller, repo Repo, d digest.Digest) (*Blob, error) {
	if err := a.j.Repo(ctx, c, "ecr:GetDownloadUrlForLayer", repo, nil); err != nil {
		return nil, err
	}
	return a.next.OpenBlob(ctx, c, repo, d)
}

func (a *authorized) DeleteBlob(ctx context.Context, c *iam.Caller, repo Repo, d digest.Digest) error {
	if err := a.j.Repo(ctx, c, "ecr:BatchDeleteImage", repo, nil); err != nil {
		return err
	}
	return a.next.DeleteBlob(ctx, c, repo, d)
}

func (a *authorized) MountBlob(ctx context.Context, c *iam.Caller, repo, from Repo, d digest.Digest) (Descriptor, error) {
	if err := a.j.Repo(ctx, c, "ecr:InitiateLayerUpload", repo, nil); err != nil {
		return Descriptor{}, err
	}
	if err := a.j.Repo(ctx, c, "ecr:GetDownloadUrlForLayer", from, nil); err != nil {
		return Descriptor{}, err
	}
	return a.next.MountBlob(ctx, c, repo, from, d)
}

// Holders returns only the repositories that the caller may read.
func (a *authorized) Holders(ctx context.Context, c *iam.Caller, account string, d digest.Digest) ([]Repo, error) {
	all, err := a.next.Holders(ctx, c, account, d)
	if err != nil {
		return nil, err
	}
	var readable []Repo
	for _, repo := range all {
		ok, err := a.j.allows(ctx, c, "ecr:GetDownloadUrlForLayer", repo)
		if err != nil {
			return nil, err
		}
		if ok {
			readable = append(readable, repo)
		}
	}
	return readable, nil
}

func (a *authorized) StartUpload(ctx context.Context, c *iam.Caller, repo Repo) (string, error) {
	if err := a.j.Repo(ctx, c, "ecr:InitiateLayerUpload", repo, nil); err != nil {
		return "", err
	}
	return a.next.StartUpload(ctx, c, repo)
}

func (a *authorized) AppendUpload(ctx context.Context, c *iam.Caller, repo Repo, id string, at int64, r io.Reader) (int64, error) {
	if err := a.j.Repo(ctx, c, "ecr:UploadLayerPart", repo, nil); err != nil {
		return 0, err
	}
	return a.next.AppendUpload(ctx, c, repo, id, at, r)
}

func (a *authorized) UploadSize(ctx context.Context, c *iam.Caller, repo Repo, id string) (int64, error) {
	if err := a.j.Repo(ctx, c, "ecr:UploadLayerPart", repo, nil); err != nil {
		return 0, err
	}
	return a.next.UploadSize(ctx, c, repo, id)
}

func (a *authorized) CompleteUpload(ctx context.Context, c *iam.Caller, repo Repo, id string, end UploadEnd) (Descriptor, error) {
	if err := a.j.Repo(ctx, c, "ecr:CompleteLayerUpload", repo, nil); err != nil {
		return Descriptor{}, err
	}
	return a.next.CompleteUpload(ctx, c, repo, id, end)
}

func (a *authorized) CancelUpload(ctx context.Context, c *iam.Caller, repo Repo, id string) error {
	if err := a.j.Repo(ctx, c, "ecr:UploadLayerPart", repo, nil); err != nil {
		return err
	}
	return a.next.CancelUpload(ctx, c, repo, id)
}

func (a *authorized) CreateRepository(ctx context.Context, c *iam.Caller, repo Repo, s RepositorySettings, tags map[string]string) (*Repository, error) {
	keys := requestTags(tags, nil)
	if err := a.j.Repo(ctx, c, "ecr:CreateRepository", repo, keys); err != nil {
		return nil, err
	}
	if len(tags) > 0 {
		if err := a.j.Repo(ctx, c, "ecr:TagResource", repo, keys); err != nil {
			return nil, err
		}
	}
	return a.next.CreateRepository(ctx, c, repo, s, tags)
}

func (a *authorized) CreateByTemplate(ctx context.Context, c *iam.Caller, repo Repo, t *Template) (*Repository, error) {
	if err := a.j.Repo(ctx, c, "ecr:CreateRepository", repo, nil); err != nil {
		return nil, err
	}
	return a.next.CreateByTemplate(ctx, c, repo, t)
}

func (a *authorized) Repository(ctx context.Context, c *iam.Caller, repo Repo) (*Repository, error) {
	if err := a.j.Repo(ctx, c, "ecr:DescribeRepositories", repo, nil); err != nil {
		return nil, err
	}
	return a.next.Repository(ctx, c, repo)
}

func (a *authorized) Repositories(ctx context.Context, c *iam.Caller, account string, page Page) ([]Repository, bool, error) {
	if err := a.j.Repo(ctx, c, "ecr:DescribeRepositories", Repo{account, "*"}, nil); err != nil {
		return nil, false, err
	}
	return a.next.Repositories(ctx, c, account, page)
}

func (a *authorized) DeleteRepository(ctx context.Context, c *iam.Caller, repo Repo, force bool) (*Repository, error) {
	if err := a.j.Repo(ctx, c, "ecr:DeleteRepository", repo, nil); err != nil {
		return nil, err
	}
	return a.next.DeleteRepository(ctx, c, repo, force)
}

func (a *authorized) RepositoryTags(ctx context.Context, c *iam.Caller, repo Repo) (map[string]string, error) {
	if err := a.j.Repo(ctx, c, "ecr:ListTagsForResource", repo, nil); err != nil {
		return nil, err
	}
	return a.next.RepositoryTags(ctx, c, repo)
}

func (a *authorized) TagRepository(ctx context.Context, c *iam.Caller, repo Repo, set map[string]string, remove []string) error {
	if len(set) > 0 {
		if err := a.j.Repo(ctx, c, "ecr:TagResource", repo, requestTags(set, nil)); err != nil {
			return err
		}
	}
	if len(remove) > 0 || len(set) == 0 {
		if err := a.j.Repo(ctx, c, "ecr:UntagResource", repo, requestTags(nil, remove)); err != nil {
			return err
		}
	}
	return a.next.TagRepository(ctx, c, repo, set, remove)
}

func (a *authorized) Image(ctx context.Context, c *iam.Caller, repo Repo, ref oci.Reference) (*Image, error) {
	if err := a.j.Repo(ctx, c, "ecr:DescribeImages", repo, nil); err != nil {
		return nil, err
	}
	return a.next.Image(ctx, c, repo, ref)
}

func (a *authorized) Images(ctx context.Context, c *iam.Caller, repo Repo, page Page) ([]Image, bool, error) {
	if err := a.j.Repo(ctx, c, "ecr:DescribeImages", repo, nil); err != nil {
		return nil, false, err
	}
	return a.next.Images(ctx, c, repo, page)
}

func (a *authorized) ImageIDs(ctx context.Context, c *iam.Caller, repo Repo, page Page) ([]Image, bool, error) {
	if err := a.j.Repo(ctx, c, "ecr:ListImages", repo, nil); err != nil {
		return nil, false, err
	}
	return a.next.ImageIDs(ctx, c, repo, page)
}

func (a *authorized) Settings(ctx context.Context, c *iam.Caller, account string) (Settings, error) {
	if err := a.j.Registry(ctx, c, "ecr:GetAccountSetting", account, nil); err != nil {
		return Settings{}, err
	}
	return a.next.Settings(ctx, c, account)
}

func (a *authorized) PutSettings(ctx context.Context, c *iam.Caller, account string, s Settings) error {
	if err := a.j.Registry(ctx, c, "ecr:PutAccountSetting", account, nil); err != nil {
		return err
	}
	return a.next.PutSettings(ctx, c, account, s)
}
