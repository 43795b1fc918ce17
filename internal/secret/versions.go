package secret

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/seal"
)

// The staging labels that mean something.
const (
	Current  = "AWSCURRENT"
	Previous = "AWSPREVIOUS"
)

const (
	maxVersions = 100 // of a secret
	maxStages   = 20  // labels of a secret, over all versions
	maxStage    = 256 // characters
	// keepVersions is how long a version stays at least that has no label any more.
	keepVersions = 24 * time.Hour
)

// Put adds a version with a value and gives it staging labels, [Current] unless stages say otherwise. It returns the
// version's id, which is the token, and its labels. The same again changes nothing. Errors: *iam.DeniedError, and an
// [*Error] of kind NotFound, Exists (a version of that id has another value), InvalidRequest, InvalidParameter or
// LimitExceeded.
func (s *Store) Put(ctx context.Context, c *iam.Caller, id string, v Value, token string, stages []string) (x *Secret, version string, labels []string, err error) {
	if err := checkDraft(&Draft{Value: v, Token: token}); err != nil {
		return nil, "", nil, err
	}
	if v.IsZero() {
		return nil, "", nil, errorf(InvalidRequest, "You must provide either SecretString or SecretBinary.")
	}
	if stages == nil {
		stages = []string{Current}
	}
	for _, stage := range stages {
		if err := checkStage(stage); err != nil {
			return nil, "", nil, err
		}
	}
	x, err = s.allowed(ctx, c, "PutSecretValue", id, map[string][]string{"secretsmanager:versionstage": stages})
	if err != nil {
		return nil, "", nil, err
	}
	kind, err := s.kind(x.Account, v)
	if err != nil {
		return nil, "", nil, err
	}
	if token == "" {
		token = newToken()
	}
	err = s.update(ctx, x, false, func(tx *meta.Tx, now *Secret) (err error) {
		if labels, err = s.putVersion(ctx, tx, now, token, v, kind, stages); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE secrets SET changed_at = $1 WHERE id = $2`, s.now().UnixMicro(), now.id); err != nil {
			return err
		}
		return s.changed(ctx, tx, c, "PutSecretValue", x.ARN, versionDetail(token, kind)+", "+strings.Join(labels, " "))
	})
	if err != nil {
		return nil, "", nil, err
	}
	return x, token, labels, nil
}

func checkStage(stage string) error {
	if stage == "" || len([]rune(stage)) > maxStage {
		return errorf(InvalidParameter, "A staging label has 1 to %d characters.", maxStage)
	}
	return checkText("A staging label", stage)
}

// putVersion adds a version unless it is there, and returns its labels.
func (s *Store) putVersion(ctx context.Context, tx *meta.Tx, x *Secret, version string, v Value, kind valueKind, stages []string) ([]string, error) {
	known, err := s.stages(ctx, tx, x.id)
	if err != nil {
		return nil, err
	}
	same, err := s.sameVersion(ctx, tx, x, version, v)
	switch {
	case same || err != nil:
		return known.of(version), err
	}
	count, err := s.prune(ctx, tx, x)
	if err != nil {
		return nil, err
	}
	if count >= maxVersions {
		return nil, errorf(LimitExceeded, "The secret has %d versions that have a staging label or are younger than %d hours, and can't have more.",
			maxVersions, int(keepVersions.Hours()))
	}
	if count == 0 && !slices.Contains(stages, Current) { // the first one always is
		stages = append(slices.Clone(stages), Current)
	}
	sealed, err := s.ring.Seal(ctx, tx, seal.SecretValues(), v.data, x.id, version)
	if err != nil {
		return nil, err
	}
	_, err = tx.Exec(ctx, `INSERT INTO secret_versions (secret_id, version_id, kind, value, kms_key_id, created_at, accessed_at) VALUES ($1, $2, $3, $4, $5, $6, 0)`,
		x.id, version, string(kind), sealed, x.KMSKeyID, s.now().UnixMicro())
	if err != nil {
		return nil, err
	}
	for _, stage := range stages {
		if err := s.move(ctx, tx, x, known, stage, version, slices.Contains(stages, Previous)); err != nil {
			return nil, err
		}
	}
	if len(known) > maxStages {
		return nil, errorf(LimitExceeded, "A secret can have %d staging labels.", maxStages)
	}
	return known.of(version), nil
}

// sameVersion reports whether there is a version with the value. One with another value is an error.
func (s *Store) sameVersion(ctx context.Context, tx *meta.Tx, x *Secret, version string, v Value) (bool, error) {
	was, _, _, err := s.open(ctx, tx, x, version)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if !was.equal(v) {
		return false, errorf(Exists, "You can't use ClientRequestToken %s because that value is already in use for a version of secret %s.", version, x.ARN)
	}
	return true, nil
}

// open returns the value of a version as it was put in, or sql.ErrNoRows.
func (s *Store) open(ctx context.Context, from seal.Reader, x *Secret, version string) (Value, valueKind, *Version, error) {
	var kind string
	var sealed []byte
	var created, accessed int64
	v := &Version{ID: version}
	err := from.QueryRow(ctx, `SELECT kind, value, kms_key_id, created_at, accessed_at FROM secret_versions WHERE secret_id = $1 AND version_id = $2`, x.id, version).
		Scan(&kind, &sealed, &v.KMSKeyID, &created, &accessed)
	if errors.Is(err, sql.ErrNoRows) {
		return Value{}, "", nil, err
	}
	if err != nil {
		return Value{}, "", nil, fmt.Errorf("read version %s of %s: %w", version, x.ARN, err)
	}
	v.Created, v.Accessed = moment(created), moment(accessed)
	data, err := s.ring.Open(ctx, from, seal.SecretValues(), sealed, x.id, version)
	if err != nil {
		return Value{}, "", nil, fmt.Errorf("open version %s of %s: %w", version, x.ARN, err)
	}
	return Value{data: data, binary: kind == string(kindBinary), set: true}, valueKind(kind), v, nil
}

// prune deletes the oldest versions without a label beyond the limit, and returns how many versions there are.
func (s *Store) prune(ctx context.Context, tx *meta.Tx, x *Secret) (int, error) {
	count := func() (n int, err error) {
		err = tx.QueryRow(ctx, `SELECT count(*) FROM secret_versions WHERE secret_id = $1`, x.id).Scan(&n)
		return n, err
	}
	n, err := count()
	if err != nil || n < maxVersions {
		return n, err
	}
	_, err = tx.Exec(ctx, `DELETE FROM secret_versions WHERE secret_id = $1 AND version_id IN (
		SELECT v.version_id FROM secret_versions v WHERE v.secret_id = $1 AND v.created_at <= $2
			AND NOT EXISTS (SELECT 1 FROM secret_stages s WHERE s.secret_id = v.secret_id AND s.version_id = v.version_id)
		ORDER BY v.created_at, v.version_id LIMIT $3)`, x.id, s.now().Add(-keepVersions).UnixMicro(), n-maxVersions+1)
	if err != nil {
		return 0, err
	}
	return count()
}

// stages are the versions of a secret by their labels.
type stages map[string]string

// of returns the labels of a version.
func (st stages) of(version string) []string {
	labels := []string{}
	for _, stage := range slices.Sorted(maps.Keys(st)) {
		if st[stage] == version {
			labels = append(labels, stage)
		}
	}
	return labels
}

// byVersion returns the labels of all versions that have some.
func (st stages) byVersion() map[string][]string {
	all := map[string][]string{}
	for _, version := range st {
		if all[version] == nil {
			all[version] = st.of(version)
		}
	}
	return all
}

// querier is a [meta.DB] or a [meta.Tx].
type querier interface {
	seal.Reader
	Query(ctx context.Context, q string, args ...any) (*sql.Rows, error)
}

func (s *Store) stages(ctx context.Context, from querier, id string) (stages, error) {
	rows, err := from.Query(ctx, `SELECT stage, version_id FROM secret_stages WHERE secret_id = $1`, id)
	if err != nil {
		return nil, fmt.Errorf("read staging labels: %w", err)
	}
	defer rows.Close()
	st := stages{}
	for rows.Next() {
		var stage, version string
		if err := rows.Scan(&stage, &version); err != nil {
			return nil, fmt.Errorf("read staging labels: %w", err)
		}
		st[stage] = version
	}
	return st, rows.Err()
}

// move attaches a label to a version. The version that loses [Current] becomes [Previous], unless keepPrevious.
func (s *Store) move(ctx context.Context, tx *meta.Tx, x *Secret, known stages, stage, version string, keepPrevious bool) error {
	was := known[stage]
	if was == version {
		return nil
	}
	known[stage] = version
	_, err := tx.Exec(ctx, `INSERT INTO secret_stages (secret_id, stage, version_id) VALUES ($1, $2, $3)
		ON CONFLICT (secret_id, stage) DO UPDATE SET version_id = excluded.version_id`, x.id, stage, version)
	if err != nil || stage != Current || was == "" || keepPrevious {
		return err
	}
	return s.move(ctx, tx, x, known, Previous, was, false)
}

// MoveStage moves a staging label to the version to, or with "" removes it, from the version that it is at, which from
// names; with "" it is at none. Errors: *iam.DeniedError, and an [*Error] of kind NotFound, InvalidRequest,
// InvalidParameter or LimitExceeded.
func (s *Store) MoveStage(ctx context.Context, c *iam.Caller, id, stage, from, to string) (*Secret, error) {
	if err := checkStage(stage); err != nil {
		return nil, err
	}
	x, err := s.allowed(ctx, c, "UpdateSecretVersionStage", id, map[string][]string{"secretsmanager:versionstage": {stage}})
	if err != nil {
		return nil, err
	}
	err = s.update(ctx, x, false, func(tx *meta.Tx, now *Secret) error {
		known, err := s.stages(ctx, tx, now.id)
		if err != nil {
			return err
		}
		if err := s.checkMove(ctx, tx, now, known, stage, from, to); err != nil {
			return err
		}
		if to == "" {
			_, err = tx.Exec(ctx, `DELETE FROM secret_stages WHERE secret_id = $1 AND stage = $2`, now.id, stage)
		} else {
			err = s.move(ctx, tx, now, known, stage, to, false)
		}
		if err == nil && len(known) > maxStages {
			err = errorf(LimitExceeded, "A secret can have %d staging labels.", maxStages)
		}
		if err == nil {
			_, err = tx.Exec(ctx, `UPDATE secrets SET changed_at = $1 WHERE id = $2`, s.now().UnixMicro(), now.id)
		}
		if err != nil {
			return err
		}
		return s.changed(ctx, tx, c, "UpdateSecretVersionStage", x.ARN, fmt.Sprintf("%s from %q to %q", stage, from, to))
	})
	return x, err
}

func (s *Store) checkMove(ctx context.Context, tx *meta.Tx, x *Secret, known stages, stage, from, to string) error {
	at := known[stage]
	switch {
	case from == "" && to == "":
		return errorf(InvalidParameter, "You must provide RemoveFromVersionId, MoveToVersionId, or both.")
	case to == "" && stage == Current:
		return errorf(InvalidParameter, "You can only move staging label %s to a different secret version. It can't be completely removed.", Current)
	case from == "" && at != "" && at != to:
		return errorf(InvalidParameter, "The parameter RemoveFromVersionId can't be empty. Staging label %s is currently attached to version %s, so you must explicitly reference that version in RemoveFromVersionId.", stage, at)
	case from != "" && at != from:
		return errorf(InvalidParameter, "Staging label %s is not attached to version %s.", stage, from)
	case to == "":
		return nil
	}
	var one int
	err := tx.QueryRow(ctx, `SELECT 1 FROM secret_versions WHERE secret_id = $1 AND version_id = $2`, x.id, to).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return errorf(NotFound, "Secrets Manager can't find the specified secret version: %s", to)
	}
	return err
}

// Version is a version of a secret without its value.
type Version struct {
	ID       string
	Stages   []string // none: deprecated
	KMSKeyID string
	Created  time.Time
	Accessed time.Time // the day; zero: never
}

// Versions returns a page of a secret's versions, the newest first, with those that have no label if deprecated is set.
// next is what after is for the page that follows, nil for none.
func (s *Store) Versions(ctx context.Context, c *iam.Caller, id string, deprecated bool, limit int, after *VersionCursor) (x *Secret, page []Version, next *VersionCursor, err error) {
	if x, err = s.allowed(ctx, c, "ListSecretVersionIds", id, nil); err != nil {
		return nil, nil, nil, err
	}
	err = s.db.View(ctx, func(tx *meta.Tx) error {
		known, err := s.stages(ctx, tx, x.id)
		if err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `SELECT version_id, kms_key_id, created_at, accessed_at FROM secret_versions WHERE secret_id = $1 ORDER BY created_at DESC, version_id DESC`, x.id)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var v Version
			var created, accessed int64
			if err := rows.Scan(&v.ID, &v.KMSKeyID, &created, &accessed); err != nil {
				return err
			}
			v.Created, v.Accessed = moment(created), moment(accessed)
			v.Stages = known.of(v.ID)
			if len(v.Stages) == 0 && !deprecated || after != nil && !after.before(created, v.ID) {
				continue
			}
			page = append(page, v)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, nil, nil, fmt.Errorf("list versions of %s: %w", x.ARN, err)
	}
	if len(page) > limit {
		page = page[:limit]
		last := page[limit-1]
		next = &VersionCursor{last.Created.UnixMicro(), last.ID}
	}
	return x, page, next, nil
}

// VersionCursor is the last version of a page.
type VersionCursor struct {
	Created int64  `json:"c"` // Unix microseconds
	ID      string `json:"i"`
}

// before reports whether a version comes after the cursor, in the order from new to old.
func (v *VersionCursor) before(created int64, id string) bool {
	return created < v.Created || created == v.Created && id < v.ID
}
