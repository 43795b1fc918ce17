package project

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/directory"
	"github.com/sekisho/sekisho/internal/iam/issuer"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/seal"
	"github.com/sekisho/sekisho/internal/secret"
)

// Options are those of [New].
type Options struct {
	Region    string // as it stands in ARNs; required
	Directory *directory.Service
	Keys      *iam.Service
	Issuer    *issuer.Issuer
	Secrets   *secret.Store
	Now       func() time.Time // default time.Now
	Logger    *slog.Logger     // default: discard
	// OnChange runs in the transaction of each change and of each use by a job, to record it. Nil: nothing is recorded.
	OnChange func(ctx context.Context, tx *meta.Tx, ch Change) error
	// Lookup finds what other packages keep and pipelines are authorised for, a repository, in an account by its name,
	// "project/name", or its id. Of one that is not there it returns the ARN that it would have, and [ErrNotFound]. Nil: there
	// are none.
	Lookup func(ctx context.Context, account string, kind Kind, name string) (id, arn string, err error)
	// SourceName returns the name "project/name" of a repository of source by its id, or [ErrNotFound]. Nil: none is named.
	SourceName func(ctx context.Context, id string) (string, error)
	// HasSource reports whether a project has repositories of source. Nil: none has.
	HasSource func(ctx context.Context, account, project string) (bool, error)
	// OnDelete runs in the transaction that deletes a project, to delete what other packages keep of it. Nil: they keep nothing.
	OnDelete func(ctx context.Context, tx *meta.Tx, c *iam.Caller, p *Project) error
}

// Change is something that was done.
type Change struct {
	Caller   *iam.Caller
	Action   string // as in policies: "pipelines:UpdateConnection"
	Resource string // ARN
	Detail   string // never a secret
}

// Service keeps the projects of all accounts. It is safe for concurrent use, and many nodes may share a database.
type Service struct {
	db    *meta.DB
	ring  *seal.Ring
	judge *iam.Judge
	o     Options
}

// New returns a Service over db. judge is asked before everything that people do.
func New(db *meta.DB, ring *seal.Ring, judge *iam.Judge, o Options) *Service {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.OnChange == nil {
		o.OnChange = func(context.Context, *meta.Tx, Change) error { return nil }
	}
	if o.HasSource == nil {
		o.HasSource = func(context.Context, string, string) (bool, error) { return false, nil }
	}
	if o.OnDelete == nil {
		o.OnDelete = func(context.Context, *meta.Tx, *iam.Caller, *Project) error { return nil }
	}
	return &Service{db: db, ring: ring, judge: judge, o: o}
}

// querier is what a database and a transaction share.
type querier interface {
	Query(ctx context.Context, q string, args ...any) (*sql.Rows, error)
	QueryRow(ctx context.Context, q string, args ...any) *sql.Row
}

// now is the time, as the database keeps it.
func (s *Service) now() time.Time { return s.o.Now().UTC().Truncate(time.Microsecond) }

func moment(micro int64) time.Time { return time.UnixMicro(micro).UTC() }

func orNobody(c *iam.Caller) *iam.Caller {
	if c == nil {
		return &iam.Caller{}
	}
	return c
}

// check asks the judge for an action on what has an ARN.
func (s *Service) check(ctx context.Context, c *iam.Caller, action, arn string, keys map[string][]string) error {
	r := iam.On(c, "pipelines:"+action, arn)
	r.Keys = keys
	return s.judge.Check(ctx, c, r)
}

// update runs fn in the transaction of a change, with its record. What fn returns of its own is returned as it is.
func (s *Service) update(ctx context.Context, c *iam.Caller, action, arn, detail string, fn func(tx *meta.Tx) error) error {
	err := s.db.Update(ctx, func(tx *meta.Tx) error {
		if err := fn(tx); err != nil {
			return err
		}
		return s.o.OnChange(ctx, tx, Change{Caller: c, Action: "pipelines:" + action, Resource: arn, Detail: detail})
	})
	if _, ours := errors.AsType[*Error](err); err == nil || ours {
		return err
	}
	return fmt.Errorf("pipelines:%s on %s: %w", action, arn, err)
}

// Page is a part of a list: the first Limit items whose name, in lower case, comes after After. Limit is 1 to 1000; 0
// means 100.
type Page struct {
	After string
	Limit int
}

func (p Page) limit() (int, error) {
	switch {
	case p.Limit == 0:
		return 100, nil
	case p.Limit < 0 || p.Limit > 1000:
		return 0, errorf(Invalid, "limit", "a page has 1 to 1000 items")
	}
	return p.Limit, nil
}

// cut takes away what a list has beyond a limit, and returns the After of the next page, "" for none.
func cut[T any](list []T, limit int, name func(*T) string) ([]T, string) {
	if len(list) <= limit {
		return list, ""
	}
	return list[:limit:limit], fold(name(&list[limit-1]))
}

// collect returns the rows of a query.
func collect[T any](ctx context.Context, q querier, scan func(scanner) (*T, error), query string, args ...any) ([]T, error) {
	rows, err := q.Query(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("read projects: %w", err)
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, fmt.Errorf("read projects: %w", err)
		}
		all = append(all, *v)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read projects: %w", err)
	}
	return all, nil
}

type scanner interface{ Scan(...any) error }

// one returns the row of a query, nil for none.
func one[T any](scan func(scanner) (*T, error), row scanner) (*T, error) {
	v, err := scan(row)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read projects: %w", err)
	}
	return v, nil
}

// fold is what makes names the same.
func fold(s string) string { return strings.ToLower(s) }

func forUpdate(tx *meta.Tx) string {
	if tx.Dialect() == meta.PostgreSQL {
		return ` FOR NO KEY UPDATE` // runs may go on referring to it
	}
	return ``
}
