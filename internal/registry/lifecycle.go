package registry

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
)

// LifecyclePolicy says which images of a repository are to go, or to be archived. It is kept; what acts on it is
// elsewhere.
type LifecyclePolicy struct {
	Document    string    // as its author wrote it
	EvaluatedAt time.Time // zero: never
}

const selectLifecyclePolicy = `SELECT document, evaluated_at FROM lifecycle_policies WHERE repository_id = $1`

func scanLifecyclePolicy(repo Repo, row *sql.Row) (*LifecyclePolicy, error) {
	var p LifecyclePolicy
	var evaluated int64
	err := row.Scan(&p.Document, &evaluated)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, errorf(LifecyclePolicyUnknown, "Lifecycle policy does not exist for the repository with name '%s' in the registry with id '%s'", repo.Name, repo.Account)
	}
	if evaluated > 0 {
		p.EvaluatedAt = time.UnixMicro(evaluated).UTC()
	}
	return &p, err
}

// LifecyclePolicy implements [Registry].
func (l *Local) LifecyclePolicy(ctx context.Context, _ *iam.Caller, repo Repo) (*LifecyclePolicy, error) {
	r, err := l.repository(ctx, repo)
	if err != nil {
		return nil, err
	}
	p, err := scanLifecyclePolicy(repo, l.db.QueryRow(ctx, selectLifecyclePolicy, r.id))
	return p, wrap("read lifecycle policy", err)
}

// PutLifecyclePolicy implements [Registry].
func (l *Local) PutLifecyclePolicy(ctx context.Context, c *iam.Caller, repo Repo, document string) error {
	if err := checkLifecyclePolicy(document); err != nil {
		return err
	}
	return l.update(ctx, "put lifecycle policy", func(tx *meta.Tx) error {
		r, err := l.repositoryIn(ctx, tx, repo)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `INSERT INTO lifecycle_policies (repository_id, document, evaluated_at) VALUES ($1, $2, 0)
			ON CONFLICT (repository_id) DO UPDATE SET document = excluded.document, evaluated_at = 0`, r.id, document); err != nil {
			return err
		}
		return l.changed(ctx, tx, c, "ecr:PutLifecyclePolicy", repo, document)
	})
}

// DeleteLifecyclePolicy implements [Registry].
func (l *Local) DeleteLifecyclePolicy(ctx context.Context, c *iam.Caller, repo Repo) (*LifecyclePolicy, error) {
	var p *LifecyclePolicy
	err := l.update(ctx, "delete lifecycle policy", func(tx *meta.Tx) error {
		r, err := l.repositoryIn(ctx, tx, repo)
		if err != nil {
			return err
		}
		if p, err = scanLifecyclePolicy(repo, tx.QueryRow(ctx, `DELETE FROM lifecycle_policies WHERE repository_id = $1 RETURNING document, evaluated_at`, r.id)); err != nil {
			return err
		}
		return l.changed(ctx, tx, c, "ecr:DeleteLifecyclePolicy", repo, "")
	})
	return p, err
}
