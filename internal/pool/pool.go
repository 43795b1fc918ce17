package pool

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
)

// Pool is a set of agents that jobs ask for by name. All are self-hosted: there are no machines that come with the server.
type Pool struct {
	ID, Account, Name, ARN string
	Description            string
	Open                   bool          // every pipeline of the account may use it
	Pipelines              []string      // ids of those that may, where it isn't open; only of a pool that is described
	PipelineNames          []string      // what those are called for people, "project/name" in the same order, where whoever answers knows them
	Cleanup                time.Duration // an agent that is offline for so long is removed; 0: never. One-job agents are at once
	Created                time.Time
	CreatedBy              string // ARN
}

// Draft is a pool to be made.
type Draft struct {
	Name        string
	Description string
	Open        bool
	Cleanup     time.Duration
}

// Edit is a change of a pool. What is nil stays.
type Edit struct {
	Name        *string
	Description *string
	Open        *bool
	Cleanup     *time.Duration
}

const (
	maxPools     = 1000   // of an account
	maxAgents    = 10_000 // of a pool
	maxPipelines = 10_000 // of a pool
	minCleanup   = time.Minute
)

func (d *Draft) check() error {
	if err := checkName("a pool", d.Name, maxPoolName); err != nil {
		return err
	}
	if d.Cleanup != 0 && d.Cleanup < minCleanup {
		return errorf(Invalid, "Agents that are offline can be removed after %s at the earliest, or never (0).", minCleanup)
	}
	return checkText("The description", d.Description, maxDescription)
}

const poolColumns = `id, account, name, description, open, cleanup, created_at, created_by`

type row interface{ Scan(...any) error }

// reader is a database or a transaction.
type reader interface {
	Query(ctx context.Context, q string, args ...any) (*sql.Rows, error)
	QueryRow(ctx context.Context, q string, args ...any) *sql.Row
}

func (s *Service) scanPool(r row) (*Pool, error) {
	p := &Pool{}
	var open, cleanup, created int64
	if err := r.Scan(&p.ID, &p.Account, &p.Name, &p.Description, &open, &cleanup, &created, &p.CreatedBy); err != nil {
		return nil, err
	}
	p.Open, p.Cleanup, p.Created = open != 0, time.Duration(cleanup)*time.Microsecond, moment(created)
	p.ARN = s.arn(p.Account, p.Name)
	return p, nil
}

// find returns a pool by its name, nil if there is none.
func (s *Service) find(ctx context.Context, from reader, account, name string) (*Pool, error) {
	p, err := s.scanPool(from.QueryRow(ctx, `SELECT `+poolColumns+` FROM pools WHERE account = $1 AND folded = $2`, account, fold(name)))
	return orNone(p, err, "read pool "+cut(name))
}

// orNone turns the absence of a row into nil.
func orNone[T any](x *T, err error, what string) (*T, error) {
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return x, nil
}

// lock returns a pool as it is now; others who change it, or who is in it, wait.
func (s *Service) lock(ctx context.Context, tx *meta.Tx, id string) (*Pool, error) {
	read := `SELECT ` + poolColumns + ` FROM pools WHERE id = $1`
	if tx.Dialect() == meta.PostgreSQL {
		read += ` FOR UPDATE`
	}
	p, err := s.scanPool(tx.QueryRow(ctx, read, id))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, errorf(NotFound, "The pool was deleted just now.")
	}
	return p, err
}

// allowed returns the pool of a name if c may do the action on it. That there is none is told only to those who may.
func (s *Service) allowed(ctx context.Context, c *iam.Caller, action, name string) (*Pool, error) {
	p, err := s.find(ctx, s.db, accountOf(c), name)
	if err != nil {
		return nil, err
	}
	if p != nil {
		name = p.Name
	} else if err := checkName("a pool", name, maxPoolName); err != nil {
		return nil, err
	}
	if err := s.may(ctx, c, action, name); err != nil {
		return nil, err
	}
	if p == nil {
		return nil, errorf(NotFound, "There is no pool %q in account %s.", name, accountOf(c))
	}
	return p, nil
}

// CreatePool makes a pool. Errors: *iam.DeniedError; an [*Error] of kind Invalid, Exists or LimitExceeded.
func (s *Service) CreatePool(ctx context.Context, c *iam.Caller, d Draft) (*Pool, error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	if err := s.may(ctx, c, "CreatePool", d.Name); err != nil {
		return nil, err
	}
	p := &Pool{
		ID: uuid.NewString(), Account: accountOf(c), Name: d.Name, ARN: s.arn(accountOf(c), d.Name), Description: d.Description,
		Open: d.Open, Cleanup: d.Cleanup, Created: s.now(), CreatedBy: c.Who(),
	}
	err := s.db.Update(ctx, func(tx *meta.Tx) error {
		var n int
		if err := tx.QueryRow(ctx, `SELECT COUNT(*) FROM pools WHERE account = $1`, p.Account).Scan(&n); err != nil {
			return err
		}
		if n >= maxPools {
			return errorf(LimitExceeded, "An account can have %d pools.", maxPools)
		}
		res, err := tx.Exec(ctx, `INSERT INTO pools (folded, `+poolColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
			ON CONFLICT (account, folded) DO NOTHING`,
			fold(p.Name), p.ID, p.Account, p.Name, p.Description, number(p.Open), p.Cleanup.Microseconds(), p.Created.UnixMicro(), p.CreatedBy)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return orExists(err, "There is a pool %q already; names are the same whatever their case.", p.Name)
		}
		return s.changed(ctx, tx, c, "CreatePool", p.ARN, "")
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

func orExists(err error, format string, args ...any) error {
	if err != nil {
		return err
	}
	return errorf(Exists, format, args...)
}

// Pools lists the pools of the caller's account, by name.
func (s *Service) Pools(ctx context.Context, c *iam.Caller) ([]*Pool, error) {
	if err := s.may(ctx, c, "ListPools", ""); err != nil {
		return nil, err
	}
	return s.pools(ctx, accountOf(c))
}

func (s *Service) pools(ctx context.Context, account string) ([]*Pool, error) {
	rows, err := s.db.Query(ctx, `SELECT `+poolColumns+` FROM pools WHERE account = $1 ORDER BY folded`, account)
	return all(rows, err, "list pools", s.scanPool)
}

// all reads rows to their end.
func all[T any](rows *sql.Rows, err error, what string, scan func(row) (T, error)) ([]T, error) {
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	defer rows.Close()
	var list []T
	for rows.Next() {
		x, err := scan(rows)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
		list = append(list, x)
	}
	return list, rows.Err()
}

// DescribePool returns a pool with the pipelines that may use it.
func (s *Service) DescribePool(ctx context.Context, c *iam.Caller, name string) (*Pool, error) {
	p, err := s.allowed(ctx, c, "DescribePool", name)
	if err != nil {
		return nil, err
	}
	rows, err := s.db.Query(ctx, `SELECT pipeline FROM pool_pipelines WHERE pool = $1 ORDER BY pipeline`, p.ID)
	p.Pipelines, err = all(rows, err, "list pipelines of pool "+p.Name, func(r row) (id string, err error) {
		err = r.Scan(&id)
		return id, err
	})
	return p, err
}

// UpdatePool changes a pool. A new name takes its agents along; whoever names the old one finds nothing. Errors: as those of
// CreatePool, and of kind NotFound.
func (s *Service) UpdatePool(ctx context.Context, c *iam.Caller, name string, e Edit) (*Pool, error) {
	p, err := s.allowed(ctx, c, "UpdatePool", name)
	if err != nil {
		return nil, err
	}
	if e.Name != nil && fold(*e.Name) != fold(p.Name) { // policies are by name
		if err := checkName("a pool", *e.Name, maxPoolName); err != nil {
			return nil, err
		}
		if err := s.may(ctx, c, "CreatePool", *e.Name); err != nil {
			return nil, err
		}
	}
	err = s.db.Update(ctx, func(tx *meta.Tx) error {
		now, err := s.lock(ctx, tx, p.ID)
		if err != nil {
			return err
		}
		d := Draft{Name: now.Name, Description: now.Description, Open: now.Open, Cleanup: now.Cleanup}
		set(&d.Name, e.Name)
		set(&d.Description, e.Description)
		set(&d.Open, e.Open)
		set(&d.Cleanup, e.Cleanup)
		if err := d.check(); err != nil {
			return err
		}
		if fold(d.Name) != fold(now.Name) {
			if other, err := s.find(ctx, tx, now.Account, d.Name); err != nil || other != nil {
				return orExists(err, "There is a pool %q already.", d.Name)
			}
		}
		_, err = tx.Exec(ctx, `UPDATE pools SET name = $1, folded = $2, description = $3, open = $4, cleanup = $5 WHERE id = $6`,
			d.Name, fold(d.Name), d.Description, number(d.Open), d.Cleanup.Microseconds(), now.ID)
		if err != nil {
			return err
		}
		detail := fmt.Sprintf("open %t, offline agents removed after %s", d.Open, d.Cleanup)
		if d.Name != now.Name {
			detail = "now " + d.Name + "; " + detail
		}
		before := now.ARN
		now.Name, now.Description, now.Open, now.Cleanup, now.ARN = d.Name, d.Description, d.Open, d.Cleanup, s.arn(now.Account, d.Name)
		p = now
		return s.changed(ctx, tx, c, "UpdatePool", before, detail)
	})
	if meta.IsUnique(err) { // at the same time, elsewhere
		err = errorf(Exists, "There is a pool %q already.", *e.Name)
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// DeletePool removes a pool, its codes and rules, and its agents, none of which may be online or have a job. Errors:
// *iam.DeniedError; an [*Error] of kind NotFound or InUse.
func (s *Service) DeletePool(ctx context.Context, c *iam.Caller, name string) error {
	p, err := s.allowed(ctx, c, "DeletePool", name)
	if err != nil {
		return err
	}
	return s.db.Update(ctx, func(tx *meta.Tx) error {
		if _, err := s.lock(ctx, tx, p.ID); err != nil {
			return err
		}
		agents, err := s.agents(ctx, tx, p.ID)
		if err != nil {
			return err
		}
		for _, a := range agents {
			if a.Online || a.Busy() {
				return errorf(InUse, "The pool %s has agents that are online or have a job, such as %s: stop or delete them first.", p.Name, a.Name)
			}
		}
		if _, err := tx.Exec(ctx, `DELETE FROM pool_agents WHERE pool = $1`, p.ID); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `DELETE FROM pools WHERE id = $1`, p.ID); err != nil {
			return err
		}
		return s.changed(ctx, tx, c, "DeletePool", p.ARN, fmt.Sprintf("%d agents", len(agents)))
	})
}
