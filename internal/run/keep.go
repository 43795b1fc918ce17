package run

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/iam"
)

// Keep has a run stay for ever, or no longer.
func (s *Service) Keep(ctx context.Context, c *iam.Caller, id int64, keep bool) error {
	return s.edit(ctx, c, id, "KeepRun", fmt.Sprintf("keep %t", keep), func(x *change) error {
		x.run.Keep, x.dirty = keep, true
		return nil
	})
}

// edit changes what people say of a run.
func (s *Service) edit(ctx context.Context, c *iam.Caller, id int64, action, detail string, fn func(x *change) error) error {
	if _, err := s.visible(ctx, c, "UpdateRun", id); err != nil {
		return err
	}
	return s.change(ctx, id, func(x *change) error {
		if err := fn(x); err != nil {
			return err
		}
		return s.changed(ctx, x.tx, Change{Caller: c, Action: "pipelines:" + action, ARN: s.runARN(x.run.Account, x.run.Project, id), Detail: detail})
	})
}

// Retention is somebody's wish that a run is kept.
type Retention struct {
	ID            string
	Owner, Reason string
	Until         time.Time // zero: for ever
	Created       time.Time
}

// AddLease has a run be kept until a time, or for ever, whatever others want.
func (s *Service) AddLease(ctx context.Context, c *iam.Caller, id int64, until time.Time, reason string) (*Retention, error) {
	l := &Retention{ID: uuid.NewString(), Owner: c.Who(), Reason: clip(reason, maxText), Until: until}
	err := s.edit(ctx, c, id, "AddRunLease", l.Reason, func(x *change) error {
		l.Created = x.now
		var n int
		if err := x.tx.QueryRow(ctx, `SELECT count(*) FROM run_leases WHERE run = $1`, id).Scan(&n); err != nil {
			return err
		}
		if n >= 100 {
			return errorf(Limit, "a run has at most 100 leases")
		}
		_, err := x.tx.Exec(ctx, `INSERT INTO run_leases (id, run, owner, reason, until, created_at) VALUES ($1, $2, $3, $4, $5, $6)`,
			l.ID, id, l.Owner, l.Reason, micros(until), x.now.UnixMicro())
		return err
	})
	return l, err
}

// Leases lists them.
func (s *Service) Leases(ctx context.Context, c *iam.Caller, id int64) ([]Retention, error) {
	if _, err := s.visible(ctx, c, "DescribeRun", id); err != nil {
		return nil, err
	}
	rows, err := s.db.Query(ctx, `SELECT id, owner, reason, until, created_at FROM run_leases WHERE run = $1 ORDER BY created_at, id`, id)
	return collect(rows, err, func(row scanner) (l Retention, err error) {
		var until, created int64
		err = row.Scan(&l.ID, &l.Owner, &l.Reason, &until, &created)
		l.Until, l.Created = fromMicros(until), fromMicros(created)
		return l, err
	})
}

// DropLease takes one back.
func (s *Service) DropLease(ctx context.Context, c *iam.Caller, id int64, lease string) error {
	return s.edit(ctx, c, id, "DropRunLease", lease, func(x *change) error {
		res, err := x.tx.Exec(ctx, `DELETE FROM run_leases WHERE run = $1 AND id = $2`, id, lease)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return orNotFound(err, "run %d has no lease %s", id, lease)
		}
		return nil
	})
}

func orNotFound(err error, format string, args ...any) error {
	if err != nil {
		return err
	}
	return errorf(NotFound, format, args...)
}

// Tag tags a run, RemoveTag takes a tag away.
func (s *Service) Tag(ctx context.Context, c *iam.Caller, id int64, tag string) error {
	return s.edit(ctx, c, id, "TagRun", tag, func(x *change) error { return x.addTag(tag) })
}

// RemoveTag takes a tag away; it need not be there.
func (s *Service) RemoveTag(ctx context.Context, c *iam.Caller, id int64, tag string) error {
	return s.edit(ctx, c, id, "UntagRun", tag, func(x *change) error {
		_, err := x.tx.Exec(ctx, `DELETE FROM run_tags WHERE run = $1 AND tag = $2`, id, tag)
		x.dirty = true
		return err
	})
}

// Delete deletes a run that is over.
func (s *Service) Delete(ctx context.Context, c *iam.Caller, id int64) error {
	r, err := s.visible(ctx, c, "DeleteRun", id)
	if err != nil {
		return err
	}
	if r.State != work.Completed {
		return errorf(Conflict, "run %d is not over; cancel it first", id)
	}
	var leases int
	if err := s.db.QueryRow(ctx, `SELECT count(*) FROM run_leases WHERE run = $1`, id).Scan(&leases); err != nil {
		return err
	}
	if r.Keep || leases > 0 {
		return errorf(Conflict, "run %d is to be kept; take that back first", id)
	}
	return s.remove(ctx, c, id)
}
