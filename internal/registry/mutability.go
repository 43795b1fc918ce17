package registry

import (
	"context"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
)

// PutTagMutability implements [Registry].
func (l *Local) PutTagMutability(ctx context.Context, c *iam.Caller, repo Repo, m Mutability, exclusions []string) (*Repository, error) {
	return l.changeSettings(ctx, c, repo, "ecr:PutImageTagMutability", func(s *RepositorySettings) {
		s.Mutability, s.MutabilityExclusions = m, exclusions
	})
}

// PutScanOnPush implements [Registry].
func (l *Local) PutScanOnPush(ctx context.Context, c *iam.Caller, repo Repo, on bool) (*Repository, error) {
	return l.changeSettings(ctx, c, repo, "ecr:PutImageScanningConfiguration", func(s *RepositorySettings) { s.ScanOnPush = on })
}

// changeSettings changes a repository's settings and returns it as it is then. What follows a change sees it: pushes
// that began before it may be done by the rules of before.
func (l *Local) changeSettings(ctx context.Context, c *iam.Caller, repo Repo, action string, change func(*RepositorySettings)) (*Repository, error) {
	var r *repository
	err := l.update(ctx, "change repository settings", func(tx *meta.Tx) (err error) {
		if r, err = l.lockRepository(ctx, tx, repo); err != nil {
			return err
		}
		change(&r.Settings)
		if err := r.Settings.check(); err != nil {
			return err
		}
		text := encode(r.Settings)
		if _, err := tx.Exec(ctx, `UPDATE repositories SET settings = $2 WHERE id = $1`, r.id, text); err != nil {
			return err
		}
		return l.changed(ctx, tx, c, action, repo, text)
	})
	l.forgetRepository(repo)
	if err != nil {
		return nil, err
	}
	return &r.Repository, nil
}

// lockRepository reads a repository for a transaction that changes its row: on PostgreSQL such transactions come one
// after another, and pushes don't wait for them. What it returns belongs to the caller.
func (l *Local) lockRepository(ctx context.Context, tx *meta.Tx, repo Repo) (*repository, error) {
	find := selectRepository + ` WHERE account = $1 AND name = $2`
	if tx.Dialect() == meta.PostgreSQL {
		find += ` FOR NO KEY UPDATE`
	}
	return scanFound(repo, tx.QueryRow(ctx, find, repo.Account, repo.Name))
}
