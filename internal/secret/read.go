package secret

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
)

// Read is a version of a secret with its value.
type Read struct {
	Secret *Secret
	Version
	Value Value
}

// Describe returns a secret without its value. Errors: *iam.DeniedError, and an [*Error] of kind NotFound, InvalidName or
// InvalidParameter.
func (s *Store) Describe(ctx context.Context, c *iam.Caller, id string) (*Secret, error) {
	x, err := s.allowed(ctx, c, "DescribeSecret", id, nil)
	if err != nil {
		return nil, err
	}
	known, err := s.stages(ctx, s.db, x.id)
	if err != nil {
		return nil, err
	}
	x.Stages = known.byVersion()
	return x, nil
}

// Value returns the current value of a secret, for other parts of the server that act for a caller. Errors: as those of
// Get.
func (s *Store) Value(ctx context.Context, c *iam.Caller, id string) (Value, error) {
	r, err := s.Get(ctx, c, id, "", "")
	if err != nil {
		return Value{}, err
	}
	return r.Value, nil
}

// Get returns a version of a secret with its value: the one with an id, or a staging label, or both, or with neither the
// one that is [Current]. What refers outward is fetched. Errors: *iam.DeniedError, and an [*Error] of kind NotFound,
// InvalidRequest (it is scheduled for deletion, or what it refers to can't be read), InvalidName or InvalidParameter.
func (s *Store) Get(ctx context.Context, c *iam.Caller, id, version, stage string) (*Read, error) {
	keys := map[string][]string{}
	if version != "" {
		keys["secretsmanager:versionid"] = []string{version}
	}
	if stage == "" && version == "" {
		stage = Current
	}
	if stage != "" {
		keys["secretsmanager:versionstage"] = []string{stage}
	}
	for member, text := range map[string]string{"VersionId": version, "VersionStage": stage} {
		if err := checkText(member, text); err != nil {
			return nil, err
		}
	}
	x, err := s.allowed(ctx, c, "GetSecretValue", id, keys)
	if err != nil {
		return nil, err
	}
	if !x.Deleted.IsZero() {
		return nil, errDeleted
	}
	return s.read(ctx, x, version, stage)
}

func (s *Store) read(ctx context.Context, x *Secret, version, stage string) (*Read, error) {
	r := &Read{Secret: x}
	var kind valueKind
	err := s.db.View(ctx, func(tx *meta.Tx) error {
		known, err := s.stages(ctx, tx, x.id)
		if err != nil {
			return err
		}
		wanted := version
		if wanted == "" {
			if wanted = known[stage]; wanted == "" {
				return errorf(NotFound, "Secrets Manager can't find the specified secret value for staging label: %s", stage)
			}
		}
		value, k, v, err := s.open(ctx, tx, x, wanted)
		if errors.Is(err, sql.ErrNoRows) {
			return errorf(NotFound, "Secrets Manager can't find the specified secret value for VersionId: %s", wanted)
		}
		if err != nil {
			return err
		}
		if stage != "" && known[stage] != wanted {
			return errorf(InvalidRequest, "You provided a VersionStage that is not associated to the provided VersionId.")
		}
		r.Version, r.Value, kind = *v, value, k
		r.Stages = known.of(wanted)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if kind == kindReference {
		if r.Value, err = s.fetch(x.Account, r.Value); err != nil {
			return nil, err
		}
	}
	s.accessed(ctx, x, &r.Version)
	return r, nil
}

// accessed keeps the day of the last reading. That it can't be kept is no reason to refuse the value.
func (s *Store) accessed(ctx context.Context, x *Secret, v *Version) {
	today := s.now().Truncate(24 * time.Hour)
	if !x.Accessed.Before(today) && !v.Accessed.Before(today) {
		return
	}
	err := s.db.Update(ctx, func(tx *meta.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE secrets SET accessed_at = $1 WHERE id = $2 AND accessed_at < $1`, today.UnixMicro(), x.id)
		if err == nil {
			_, err = tx.Exec(ctx, `UPDATE secret_versions SET accessed_at = $1 WHERE secret_id = $2 AND version_id = $3 AND accessed_at < $1`,
				today.UnixMicro(), x.id, v.ID)
		}
		return err
	})
	if err != nil {
		s.o.Logger.WarnContext(ctx, "the day on which a secret was read is not kept", "secret", x.ARN, "err", err)
	}
}

// BatchItem is one secret of a batch: a value or why there is none.
type BatchItem struct {
	ID   string // as it was asked for
	Read *Read
	Err  error
}

// Batch reads the current values of several secrets, each of which the caller must be allowed to get. Errors:
// *iam.DeniedError, about the batch as such.
func (s *Store) Batch(ctx context.Context, c *iam.Caller, ids []string) ([]BatchItem, error) {
	if err := s.anywhere(ctx, c, "BatchGetSecretValue"); err != nil {
		return nil, err
	}
	return s.batch(ctx, c, ids)
}

// BatchFiltered is Batch over a page of the secrets that filters find.
func (s *Store) BatchFiltered(ctx context.Context, c *iam.Caller, q Query) ([]BatchItem, *Cursor, error) {
	if err := s.anywhere(ctx, c, "BatchGetSecretValue"); err != nil {
		return nil, nil, err
	}
	found, next, err := s.List(ctx, c, q)
	if err != nil {
		return nil, nil, err
	}
	var ids []string
	for _, x := range found {
		ids = append(ids, x.ARN)
	}
	items, err := s.batch(ctx, c, ids)
	return items, next, err
}

func (s *Store) batch(ctx context.Context, c *iam.Caller, ids []string) ([]BatchItem, error) {
	var items []BatchItem
	for _, id := range ids {
		item := BatchItem{ID: id}
		item.Read, item.Err = s.Get(ctx, c, id, "", "")
		_, ours := errors.AsType[*Error](item.Err)
		_, denied := errors.AsType[*iam.DeniedError](item.Err)
		if item.Err != nil && !ours && !denied {
			return nil, fmt.Errorf("read %s: %w", id, item.Err)
		}
		items = append(items, item)
	}
	return items, nil
}
