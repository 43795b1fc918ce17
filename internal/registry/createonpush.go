package registry

import (
	"context"
	"errors"

	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/iam"
)

// CreateOnPush returns next with missing repositories created by the first push to them, in accounts that want it: where
// a creation template is for it, the repository is made by that one, and where the account's settings say so, also without
// a template. (ECR has the template alone.) wants is asked on the server's behalf; the creation itself goes through next,
// so the caller needs ecr:CreateRepository.
func CreateOnPush(next Registry, wants CreationWants) Registry {
	return &createOnPush{next, wants}
}

// CreationWants says how accounts want missing repositories to be made, as [Local] does.
type CreationWants interface {
	// Template returns the creation template of a repository that is missing, or nil.
	Template(ctx context.Context, repo Repo, on Occasion) (*Template, error)
	// Settings is that of [Registry].
	Settings(ctx context.Context, c *iam.Caller, account string) (Settings, error)
}

type createOnPush struct {
	Registry
	wants CreationWants
}

func (p *createOnPush) StartUpload(ctx context.Context, c *iam.Caller, repo Repo) (id string, err error) {
	err = p.push(ctx, c, repo, func() (err error) { id, err = p.Registry.StartUpload(ctx, c, repo); return err })
	return id, err
}

func (p *createOnPush) MountBlob(ctx context.Context, c *iam.Caller, repo, from Repo, d digest.Digest) (desc Descriptor, err error) {
	err = p.push(ctx, c, repo, func() (err error) { desc, err = p.Registry.MountBlob(ctx, c, repo, from, d); return err })
	return desc, err
}

func (p *createOnPush) PutManifest(ctx context.Context, c *iam.Caller, repo Repo, put ManifestPut) (m *Manifest, err error) {
	err = p.push(ctx, c, repo, func() (err error) { m, err = p.Registry.PutManifest(ctx, c, repo, put); return err })
	return m, err
}

// push runs do, and again after creating the repository if it was missing.
func (p *createOnPush) push(ctx context.Context, c *iam.Caller, repo Repo, do func() error) error {
	err := do()
	if !errors.Is(err, ErrOf(RepositoryUnknown)) {
		return err
	}
	t, terr := p.wants.Template(ctx, repo, OnPush)
	if terr != nil {
		return terr
	}
	if t == nil {
		s, serr := p.wants.Settings(ctx, iam.SystemCaller(repo.Account, "create-on-push"), repo.Account)
		if serr != nil {
			return serr
		}
		if !s.CreateOnPush {
			return err
		}
		t = &Template{}
	}
	_, err = p.CreateByTemplate(ctx, c, repo, t)
	if err != nil && !errors.Is(err, ErrOf(RepositoryExists)) {
		return err
	}
	return do()
}
