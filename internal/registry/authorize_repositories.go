package registry

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/oci"
)

// requestTags are the condition keys of a request that sets some tags and removes others.
func requestTags(set map[string]string, remove []string) map[string][]string {
	if len(set)+len(remove) == 0 {
		return nil
	}
	keys := map[string][]string{"aws:tagkeys": append(slices.Sorted(maps.Keys(set)), remove...)}
	for k, v := range set {
		keys["aws:requesttag/"+strings.ToLower(k)] = []string{v}
	}
	return keys
}

func (a *authorized) PutTagMutability(ctx context.Context, c *iam.Caller, repo Repo, m Mutability, exclusions []string) (*Repository, error) {
	if err := a.j.Repo(ctx, c, "ecr:PutImageTagMutability", repo, nil); err != nil {
		return nil, err
	}
	return a.next.PutTagMutability(ctx, c, repo, m, exclusions)
}

func (a *authorized) PutScanOnPush(ctx context.Context, c *iam.Caller, repo Repo, on bool) (*Repository, error) {
	if err := a.j.Repo(ctx, c, "ecr:PutImageScanningConfiguration", repo, nil); err != nil {
		return nil, err
	}
	return a.next.PutScanOnPush(ctx, c, repo, on)
}

func (a *authorized) RepositoryPolicy(ctx context.Context, c *iam.Caller, repo Repo) (string, error) {
	if err := a.j.Repo(ctx, c, "ecr:GetRepositoryPolicy", repo, nil); err != nil {
		return "", err
	}
	return a.next.RepositoryPolicy(ctx, c, repo)
}

func (a *authorized) SetRepositoryPolicy(ctx context.Context, c *iam.Caller, repo Repo, document string, force bool) error {
	if err := a.j.Repo(ctx, c, "ecr:SetRepositoryPolicy", repo, nil); err != nil {
		return err
	}
	if !force {
		if err := a.j.lockout(ctx, c, repo, document); err != nil {
			return err
		}
	}
	return a.next.SetRepositoryPolicy(ctx, c, repo, document, force)
}

// lockout returns an error if c, calling from where it calls now, could not set another policy after this one.
func (j *Judge) lockout(ctx context.Context, c *iam.Caller, repo Repo, document string) error {
	p, err := parseRepositoryPolicy(document)
	if err != nil {
		return err
	}
	g := &Guard{}
	if j.Guard != nil {
		if g, err = j.Guard(ctx, c, repo); err != nil {
			return err
		}
	}
	g = g.with(p)
	r := iam.Request{Action: "ecr:SetRepositoryPolicy", Resource: iam.Resource{
		ARN: j.RepositoryARN(repo), Account: repo.Account, Tags: g.Tags, Policies: g.Policies,
	}}
	switch d := j.Authorizer.Authorize(ctx, c, &r); {
	case d.Err != nil:
		return fmt.Errorf("decide whether the policy of %s locks its author out: %w", repo.Name, d.Err)
	case !d.Allowed:
		return lockedOut(c, repo, d, document)
	}
	return nil
}

func (a *authorized) DeleteRepositoryPolicy(ctx context.Context, c *iam.Caller, repo Repo) (string, error) {
	if err := a.j.Repo(ctx, c, "ecr:DeleteRepositoryPolicy", repo, nil); err != nil {
		return "", err
	}
	return a.next.DeleteRepositoryPolicy(ctx, c, repo)
}

func (a *authorized) LifecyclePolicy(ctx context.Context, c *iam.Caller, repo Repo) (*LifecyclePolicy, error) {
	if err := a.j.Repo(ctx, c, "ecr:GetLifecyclePolicy", repo, nil); err != nil {
		return nil, err
	}
	return a.next.LifecyclePolicy(ctx, c, repo)
}

func (a *authorized) PutLifecyclePolicy(ctx context.Context, c *iam.Caller, repo Repo, document string) error {
	if err := a.j.Repo(ctx, c, "ecr:PutLifecyclePolicy", repo, nil); err != nil {
		return err
	}
	return a.next.PutLifecyclePolicy(ctx, c, repo, document)
}

func (a *authorized) DeleteLifecyclePolicy(ctx context.Context, c *iam.Caller, repo Repo) (*LifecyclePolicy, error) {
	if err := a.j.Repo(ctx, c, "ecr:DeleteLifecyclePolicy", repo, nil); err != nil {
		return nil, err
	}
	return a.next.DeleteLifecyclePolicy(ctx, c, repo)
}

func (a *authorized) InquireRepository(ctx context.Context, c *iam.Caller, why Inquiry, repo Repo) (*Repository, error) {
	if err := a.j.Repo(ctx, c, string(why), repo, nil); err != nil {
		return nil, err
	}
	return a.next.InquireRepository(ctx, c, why, repo)
}

func (a *authorized) InquireImage(ctx context.Context, c *iam.Caller, why Inquiry, repo Repo, ref oci.Reference) (*Image, error) {
	if err := a.j.Repo(ctx, c, string(why), repo, nil); err != nil {
		return nil, err
	}
	return a.next.InquireImage(ctx, c, why, repo, ref)
}

func (a *authorized) ArchiveImage(ctx context.Context, c *iam.Caller, repo Repo, ref oci.Reference, archive bool) (*Image, error) {
	if err := a.j.Repo(ctx, c, "ecr:UpdateImageStorageClass", repo, nil); err != nil {
		return nil, err
	}
	return a.next.ArchiveImage(ctx, c, repo, ref, archive)
}

func (a *authorized) ImageReferrers(ctx context.Context, c *iam.Caller, repo Repo, d digest.Digest, f ReferrerFilter, page Page) ([]Referrer, bool, error) {
	if err := a.j.Repo(ctx, c, "ecr:ListImageReferrers", repo, nil); err != nil {
		return nil, false, err
	}
	return a.next.ImageReferrers(ctx, c, repo, d, f, page)
}

func (a *authorized) RepositoryScanning(ctx context.Context, c *iam.Caller, repo Repo) (*RepositoryScanning, error) {
	if err := a.j.Repo(ctx, c, "ecr:BatchGetRepositoryScanningConfiguration", repo, nil); err != nil {
		return nil, err
	}
	return a.next.RepositoryScanning(ctx, c, repo)
}
