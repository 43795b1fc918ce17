package directory

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sekisho/sekisho/internal/meta"
)

// querier is what a database and a transaction share.
type querier interface {
	Query(ctx context.Context, q string, args ...any) (*sql.Rows, error)
	QueryRow(ctx context.Context, q string, args ...any) *sql.Row
}

// row is a row of identities.
type row struct {
	id, account, name, path      string
	kind                         Kind
	created, updated             int64 // Unix microseconds, as all times here
	description, document        string
	version, versions            int64
	maxSession                   int64
	boundary                     string
	usedAt                       int64
	usedIn                       string
	tags                         []Tag // by key without case
	attachments, boundaryAttachs int   // of a policy
}

const columns = `id, account, kind, name, path, created_at, updated_at, description, document, version, versions, max_session, boundary, used_at, used_in`

func (r *row) fields() []any {
	return []any{&r.id, &r.account, &r.kind, &r.name, &r.path, &r.created, &r.updated, &r.description, &r.document, &r.version,
		&r.versions, &r.maxSession, &r.boundary, &r.usedAt, &r.usedIn}
}

func (r *row) arn() string { return arnOf(r.account, r.kind, r.path, r.name) }

func arnOf(account string, kind Kind, path, name string) string {
	if kind == KindProvider {
		path = "/"
	}
	return "arn:aws:iam::" + account + ":" + string(kind) + path + name
}

func (r *row) entity() Entity {
	e := Entity{ID: r.id, Account: r.account, Name: r.name, Path: r.path, ARN: r.arn(), Created: at(r.created), Tags: r.tags}
	return e
}

// at is the time that a column says, zero for 0.
func at(micro int64) time.Time {
	if micro == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micro).UTC()
}

// byName returns the row of a name as it is written, or nil.
func byName(ctx context.Context, q querier, account string, kind Kind, name string) (*row, error) {
	r, err := one(ctx, q, `SELECT `+columns+` FROM identities WHERE account = $1 AND kind = $2 AND folded = $3`, account, string(kind), fold(name))
	if r != nil && r.name != name {
		return nil, nil
	}
	return r, err
}

// byID returns a row with its tags, or nil.
func byID(ctx context.Context, q querier, id string) (*row, error) {
	return one(ctx, q, `SELECT `+columns+` FROM identities WHERE id = $1`, id)
}

func one(ctx context.Context, q querier, query string, args ...any) (*row, error) {
	r := &row{}
	err := q.QueryRow(ctx, query, args...).Scan(r.fields()...)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read identity: %w", err)
	}
	r.tags, err = tagsOf(ctx, q, r.id)
	return r, err
}

func tagsOf(ctx context.Context, q querier, id string) ([]Tag, error) {
	return collect(ctx, q, func(t *Tag) []any { return []any{&t.Key, &t.Value} },
		`SELECT key, value FROM identity_tags WHERE identity = $1 ORDER BY folded`, id)
}

// collect returns the rows of a query, each scanned into the fields of a T.
func collect[T any](ctx context.Context, q querier, fields func(*T) []any, query string, args ...any) ([]T, error) {
	rows, err := q.Query(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("read directory: %w", err)
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		var v T
		if err := rows.Scan(fields(&v)...); err != nil {
			return nil, fmt.Errorf("read directory: %w", err)
		}
		all = append(all, v)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read directory: %w", err)
	}
	return all, nil
}

func itself[T any](v *T) []any { return []any{v} }

// count returns the number that a query finds.
func count(ctx context.Context, q querier, query string, args ...any) (n int, err error) {
	if err = q.QueryRow(ctx, query, args...).Scan(&n); err != nil {
		return 0, fmt.Errorf("read directory: %w", err)
	}
	return n, nil
}

// fold is what makes names the same.
func fold(s string) string { return strings.ToLower(s) }

// sameForDecision reports whether a decision about r holds for other: it looked at the ARN, the tags and the boundary.
func (r *row) sameForDecision(other *row) bool {
	return other != nil && r.id == other.id && r.name == other.name && r.path == other.path && r.boundary == other.boundary &&
		slices.Equal(r.tags, other.tags)
}

func (s *Service) insert(ctx context.Context, tx *meta.Tx, r *row) error {
	r.created = s.o.Now().UnixMicro()
	r.updated = r.created
	_, err := tx.Exec(ctx, `INSERT INTO identities (`+columns+`, folded) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)`,
		r.id, r.account, string(r.kind), r.name, r.path, r.created, r.updated, r.description, r.document, r.version, r.versions,
		r.maxSession, r.boundary, r.usedAt, r.usedIn, fold(r.name))
	if err != nil {
		return err
	}
	return putTags(ctx, tx, r.id, r.tags)
}

func putTags(ctx context.Context, tx *meta.Tx, id string, tags []Tag) error {
	for _, t := range tags {
		if _, err := tx.Exec(ctx, `INSERT INTO identity_tags (identity, folded, key, value) VALUES ($1, $2, $3, $4)
			ON CONFLICT (identity, folded) DO UPDATE SET key = excluded.key, value = excluded.value`, id, fold(t.Key), t.Key, t.Value); err != nil {
			return err
		}
	}
	return nil
}

// page reads the rows of a kind whose path begins with a prefix, and whether there are more.
func (s *Service) page(ctx context.Context, account string, kind Kind, pathPrefix string, p Page) ([]row, bool, error) {
	limit, err := p.limit()
	if err != nil {
		return nil, false, err
	}
	if err := checkPathPrefix(pathPrefix); err != nil {
		return nil, false, err
	}
	rows, err := collect(ctx, s.db, (*row).fields, `SELECT `+columns+` FROM identities
		WHERE account = $1 AND kind = $2 AND substr(path, 1, length($3)) = $3 AND folded > $4 ORDER BY folded LIMIT $5`,
		account, string(kind), pathPrefix, fold(p.After), limit+1)
	rows, more := cut(rows, limit)
	return rows, more, err
}

// limit returns how many items a page has.
func (p Page) limit() (int, error) {
	switch {
	case p.Limit == 0:
		return 100, nil
	case p.Limit < 0 || p.Limit > 1000:
		return 0, errf(ValidationError, "1 validation error detected: Value '%d' at 'maxItems' failed to satisfy constraint: Member must have value between 1 and 1000", p.Limit)
	}
	return p.Limit, nil
}

// cut takes away what a list has beyond limit, and reports whether there was any.
func cut[T any](list []T, limit int) ([]T, bool) {
	if len(list) > limit {
		return list[:limit:limit], true
	}
	return list, false
}
