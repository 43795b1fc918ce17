package pool

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
)

// PermitPipeline lets a pipeline use a pool that is not open to all, and ForbidPipeline takes that back. The id is not
// looked up: that of a pipeline which is gone permits nobody. Errors: *iam.DeniedError; an [*Error] of kind NotFound, Invalid
// or LimitExceeded.
func (s *Service) PermitPipeline(ctx context.Context, c *iam.Caller, name, pipelineID string) error {
	return s.setPipeline(ctx, c, name, pipelineID, true)
}

// ForbidPipeline is the contrary of PermitPipeline.
func (s *Service) ForbidPipeline(ctx context.Context, c *iam.Caller, name, pipelineID string) error {
	return s.setPipeline(ctx, c, name, pipelineID, false)
}

func (s *Service) setPipeline(ctx context.Context, c *iam.Caller, name, pipelineID string, permit bool) error {
	p, err := s.allowed(ctx, c, "UpdatePool", name)
	if err != nil {
		return err
	}
	id, err := uuid.Parse(pipelineID)
	if err != nil {
		return errorf(Invalid, "%q is not the id of a pipeline, which is a UUID.", cut(pipelineID))
	}
	return s.db.Update(ctx, func(tx *meta.Tx) error {
		if _, err := s.lock(ctx, tx, p.ID); err != nil {
			return err
		}
		if !permit {
			if _, err := tx.Exec(ctx, `DELETE FROM pool_pipelines WHERE pool = $1 AND pipeline = $2`, p.ID, id.String()); err != nil {
				return err
			}
			return s.changed(ctx, tx, c, "UpdatePool", p.ARN, "pipeline "+id.String()+" may no longer use it")
		}
		var n int
		if err := tx.QueryRow(ctx, `SELECT COUNT(*) FROM pool_pipelines WHERE pool = $1`, p.ID).Scan(&n); err != nil {
			return err
		}
		if n >= maxPipelines {
			return errorf(LimitExceeded, "A pool can permit %d pipelines one by one; open it to all instead.", maxPipelines)
		}
		if err := s.Authorize(ctx, tx, p.ID, id.String(), c.Who()); err != nil {
			return err
		}
		return s.changed(ctx, tx, c, "UpdatePool", p.ARN, "pipeline "+id.String()+" may use it")
	})
}

// Authorize notes in a transaction that a pipeline may use a pool. Whoever calls it has asked the judge.
func (s *Service) Authorize(ctx context.Context, tx *meta.Tx, poolID, pipelineID, by string) error {
	_, err := tx.Exec(ctx, `INSERT INTO pool_pipelines (pool, pipeline, at, by_arn) VALUES ($1, $2, $3, $4) ON CONFLICT (pool, pipeline) DO NOTHING`,
		poolID, pipelineID, s.now().UnixMicro(), by)
	return err
}

// Find returns a pool of an account by its name, nil if there is none.
func (s *Service) Find(ctx context.Context, account, name string) (*Pool, error) {
	return s.find(ctx, s.db, account, name)
}

// MayUse reports whether a pipeline may use a pool. Nobody may use one that is not there.
func (s *Service) MayUse(ctx context.Context, account, poolName, pipelineID string) (bool, error) {
	p, err := s.find(ctx, s.db, account, poolName)
	if p == nil || err != nil || p.Open {
		return p != nil && err == nil, err
	}
	var one int
	err = s.db.QueryRow(ctx, `SELECT 1 FROM pool_pipelines WHERE pool = $1 AND pipeline = $2`, p.ID, pipelineID).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read pipelines of pool %s: %w", p.Name, err)
	}
	return true, nil
}
