package run

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/registry"
)

// AttachmentInfo is what is known of an attachment without reading it.
type AttachmentInfo struct {
	ID         int64
	Job, Step  string
	Attempt    int // of the claim
	Type, Name string
	Size       int64
	At         time.Time
}

// Attach keeps an attachment: work.Server. The same again replaces it.
func (s *Service) Attach(ctx context.Context, c Claim, a work.Attachment) error {
	if int64(len(a.Data)) > s.o.Limits.Attachment {
		return errorf(Limit, "an attachment has at most %d bytes", s.o.Limits.Attachment)
	}
	a.Type, a.Name, a.Step = cleaned(a.Type), cleaned(a.Name), cleaned(a.Step)
	if a.Type == "" || a.Name == "" || len(a.Type) > maxName || len(a.Name) > maxText || len(a.Step) > maxName {
		return errorf(Invalid, "an attachment has a type and a name of at most %d characters", maxName)
	}
	if _, err := s.verify(ctx, s.db, c, "Attach"); err != nil {
		return err
	}
	k, err := s.keep(ctx, int64(len(a.Data)), s.o.Limits.Attachment, bytes.NewReader(a.Data))
	if err != nil {
		return fmt.Errorf("store attachment %s: %w", a.Name, err)
	}
	var tests *TestRun // nil also where it is not what it should be: it is kept as it is, and the task says what is wrong with it
	switch {
	case a.Type == work.TestsAttachment:
		tests, _ = parseTests(a.Data)
	case strings.EqualFold(a.Type, "tests.junit"):
		tests, _ = parseJUnit(a.Data)
	}
	err = s.claimed(ctx, c, "Attach", func(x *change, _ *claimRow) error {
		var n int64
		if err := x.tx.QueryRow(ctx, `SELECT count(*) FROM run_attachments WHERE run = $1`, x.run.ID).Scan(&n); err != nil {
			return err
		}
		if n >= s.o.Limits.Attachments {
			return errorf(Limit, "a run has at most %d attachments", s.o.Limits.Attachments)
		}
		var old int64
		var object sql.NullInt64
		err := x.tx.QueryRow(ctx, `SELECT id, object FROM run_attachments WHERE job = $1 AND attempt = $2 AND step = $3 AND type = $4 AND name = $5`,
			c.Job, c.Attempt, a.Step, a.Type, a.Name).Scan(&old, &object)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if err == nil {
			if _, err := x.tx.Exec(ctx, `DELETE FROM run_attachments WHERE id = $1`, old); err != nil {
				return err
			}
			if object.Valid {
				if err := registry.DropObject(ctx, x.tx, object.Int64, x.now); err != nil {
					return err
				}
			}
		}
		held, err := k.hold(ctx, x.tx)
		if err != nil {
			return err
		}
		var id int64
		err = x.tx.QueryRow(ctx, `INSERT INTO run_attachments (run, job, attempt, step, type, name, size, sha256, object, data, at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) RETURNING id`,
			x.run.ID, c.Job, c.Attempt, a.Step, a.Type, a.Name, k.size, k.sha256, held, k.data, x.now.UnixMicro()).Scan(&id)
		if err != nil {
			return fmt.Errorf("store attachment %s: %w", a.Name, err)
		}
		if tests != nil {
			_, err = x.tx.Exec(ctx, `INSERT INTO run_tests (attachment, run, name, passed, failed, skipped, duration, failures) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
				id, x.run.ID, a.Name, tests.Passed, tests.Failed, tests.Skipped, tests.Duration.Microseconds(), toJSON(nonNil(tests.Failures)))
			if err != nil {
				return fmt.Errorf("store test results %s: %w", a.Name, err)
			}
		}
		x.dirty = true
		return x.tx.QueryRow(ctx, `SELECT coalesce(sum(passed), 0), coalesce(sum(failed), 0), coalesce(sum(skipped), 0) FROM run_tests WHERE run = $1`, x.run.ID).
			Scan(&x.run.Tests.Passed, &x.run.Tests.Failed, &x.run.Tests.Skipped)
	})
	if err != nil {
		s.drop(ctx, k, err)
	}
	return err
}

// Attachments lists those of a run, of one type or of all.
func (s *Service) Attachments(ctx context.Context, c *iam.Caller, id int64, typ string) ([]AttachmentInfo, error) {
	if _, err := s.visible(ctx, c, "DescribeRun", id); err != nil {
		return nil, err
	}
	rows, err := s.db.Query(ctx, `SELECT id, job, attempt, step, type, name, size, at FROM run_attachments WHERE run = $1 AND (CAST($2 AS TEXT) = '' OR type = $2) ORDER BY id`, id, typ)
	list, err := collect(rows, err, func(row scanner) (a AttachmentInfo, err error) {
		var at int64
		err = row.Scan(&a.ID, &a.Job, &a.Attempt, &a.Step, &a.Type, &a.Name, &a.Size, &at)
		a.At = fromMicros(at)
		return a, err
	})
	if err != nil {
		return nil, fmt.Errorf("list attachments of run %d: %w", id, err)
	}
	return list, nil
}

// ReadAttachment returns an attachment of a run.
func (s *Service) ReadAttachment(ctx context.Context, c *iam.Caller, id, attachment int64) ([]byte, error) {
	if _, err := s.visible(ctx, c, "ReadArtifacts", id); err != nil {
		return nil, err
	}
	var data []byte
	var location sql.NullString
	err := s.db.QueryRow(ctx, `SELECT a.data, h.location FROM run_attachments a LEFT JOIN held_objects h ON h.id = a.object WHERE a.run = $1 AND a.id = $2`, id, attachment).
		Scan(&data, &location)
	if err != nil {
		return nil, notFound(err, "run %d has no attachment %d", id, attachment)
	}
	r, err := s.openStored(ctx, data, location)
	if err != nil {
		return nil, fmt.Errorf("read attachment %d: %w", attachment, err)
	}
	defer r.Close()
	return io.ReadAll(io.LimitReader(r, s.o.Limits.Attachment+1))
}
