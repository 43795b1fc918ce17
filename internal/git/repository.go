package git

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/job"
	"github.com/sekisho/sekisho/internal/meta"
)

// Name names a repository.
type Name struct{ Account, Project, Repo string }

// Repository is a repository without what is in it.
type Repository struct {
	ID            string
	Account       string
	Project       string
	Name          string
	ARN           string
	Description   string
	DefaultBranch string // without refs/heads/
	MaxPush       int64  // bytes of one push; 0: as configured
	MaxObject     int64  // bytes of one file; 0: as configured
	MaxSize       int64  // bytes of all; 0: as configured
	Created       time.Time
	Pushed        time.Time // zero: never
	Size          int64     // bytes on disk, when it was measured last
	Mirror        bool      // it is filled from outside, and can't be pushed to
}

const repositoryColumns = `id, account, project, name, description, default_branch, max_push, max_object, max_size, created_at, pushed_at, size,
	EXISTS (SELECT 1 FROM git_mirrors WHERE repository_id = git_repositories.id)`

type querier interface {
	QueryRow(ctx context.Context, q string, args ...any) *sql.Row
	Query(ctx context.Context, q string, args ...any) (*sql.Rows, error)
}

func (s *Service) scan(row interface{ Scan(...any) error }) (*Repository, error) {
	r := &Repository{}
	var created, pushed int64
	if err := row.Scan(&r.ID, &r.Account, &r.Project, &r.Name, &r.Description, &r.DefaultBranch, &r.MaxPush, &r.MaxObject, &r.MaxSize,
		&created, &pushed, &r.Size, &r.Mirror); err != nil {
		return nil, err
	}
	r.ARN = s.arn(Name{r.Account, r.Project, r.Name})
	r.Created, r.Pushed = moment(created), moment(pushed)
	return r, nil
}

// moment returns a time of the database, zero for 0.
func moment(micro int64) time.Time {
	if micro == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micro).UTC()
}

func (s *Service) arn(n Name) string {
	return "arn:aws:git:" + s.o.Region + ":" + n.Account + ":" + n.Project + "/" + n.Repo
}

// read returns the repository of a row, or nil.
func (s *Service) read(ctx context.Context, from querier, where string, args ...any) (*Repository, error) {
	r, err := s.scan(from.QueryRow(ctx, `SELECT `+repositoryColumns+` FROM git_repositories WHERE `+where, args...))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read repository: %w", err)
	}
	return r, nil
}

func (s *Service) find(ctx context.Context, n Name) (*Repository, error) {
	return s.read(ctx, s.db, `account = $1 AND project_key = $2 AND name_key = $3`, n.Account, strings.ToLower(n.Project), strings.ToLower(n.Repo))
}

func notFound(n Name) error {
	return errorf(NotFound, "there is no repository %s/%s in account %s", n.Project, n.Repo, n.Account)
}

// allowed returns a repository if c may do the action on it. What is not there is told only to those who could if it were.
func (s *Service) allowed(ctx context.Context, c *iam.Caller, action string, n Name) (*Repository, error) {
	if err := errors.Join(CheckName(n.Project), CheckName(n.Repo)); err != nil {
		return nil, errorf(Invalid, "%s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	r, err := s.find(ctx, n)
	if err != nil {
		return nil, err
	}
	arn := s.arn(n)
	if r != nil {
		arn = r.ARN // as it is written, whatever case was asked for
	}
	if err := s.judge.Check(ctx, c, iam.On(c, "git:"+action, arn)); err != nil {
		return nil, err
	}
	if r == nil {
		return nil, notFound(n)
	}
	return r, nil
}

// ByID returns a repository, for other parts of the server that have judged by themselves. Errors: kind NotFound.
func (s *Service) ByID(ctx context.Context, id string) (*Repository, error) {
	r, err := s.read(ctx, s.db, `id = $1`, id)
	if err == nil && r == nil {
		err = errorf(NotFound, "there is no repository with the id %s", clip(id, 40))
	}
	return r, err
}

// Find returns a repository by name, for other parts of the server that have judged by themselves. Errors: kind NotFound.
func (s *Service) Find(ctx context.Context, n Name) (*Repository, error) {
	r, err := s.find(ctx, n)
	if err == nil && r == nil {
		err = notFound(n)
	}
	return r, err
}

// Describe returns a repository. Errors: *iam.DeniedError, kinds NotFound and Invalid.
func (s *Service) Describe(ctx context.Context, c *iam.Caller, n Name) (*Repository, error) {
	return s.allowed(ctx, c, "DescribeRepository", n)
}

// List returns the repositories of an account, or of one of its projects, by name, after the one named so, at most limit.
func (s *Service) List(ctx context.Context, c *iam.Caller, account, project string, after *Name, limit int) ([]*Repository, error) {
	arn := "arn:aws:git:" + s.o.Region + ":" + account + ":*"
	if project != "" {
		if err := CheckName(project); err != nil {
			return nil, err
		}
		arn = s.arn(Name{account, project, "*"})
	}
	if err := s.judge.Check(ctx, c, iam.On(c, "git:ListRepositories", arn)); err != nil {
		return nil, err
	}
	if after == nil {
		after = &Name{}
	}
	rows, err := s.db.Query(ctx, `SELECT `+repositoryColumns+` FROM git_repositories
		WHERE account = $1 AND ($2 = '' OR project_key = $2) AND (project_key > $3 OR project_key = $3 AND name_key > $4)
		ORDER BY project_key, name_key LIMIT $5`, account, strings.ToLower(project), strings.ToLower(after.Project), strings.ToLower(after.Repo), limit)
	if err != nil {
		return nil, fmt.Errorf("list repositories: %w", err)
	}
	defer rows.Close()
	var all []*Repository
	for rows.Next() {
		r, err := s.scan(rows)
		if err != nil {
			return nil, fmt.Errorf("list repositories: %w", err)
		}
		all = append(all, r)
	}
	return all, rows.Err()
}

// Draft is a repository to be made.
type Draft struct {
	Name          Name
	Description   string
	DefaultBranch string // default: main
	Mirror        *Mirror
}

const maxDescription = 1024

// Create makes a repository: an empty one, or one that is filled from outside. Errors: *iam.DeniedError, kinds Invalid and Exists.
func (s *Service) Create(ctx context.Context, c *iam.Caller, d Draft) (*Repository, error) {
	if err := errors.Join(CheckName(d.Name.Project), CheckName(d.Name.Repo)); err != nil {
		return nil, errorf(Invalid, "%s", err)
	}
	if d.DefaultBranch == "" {
		d.DefaultBranch = "main"
	}
	if err := checkBranch(d.DefaultBranch); err != nil {
		return nil, err
	}
	if err := checkDescription(d.Description); err != nil {
		return nil, err
	}
	arn := s.arn(d.Name)
	if err := s.judge.Check(ctx, c, iam.On(c, "git:CreateRepository", arn)); err != nil {
		return nil, err
	}
	if s.o.CheckProject != nil {
		if err := s.o.CheckProject(ctx, d.Name.Account, d.Name.Project); err != nil {
			return nil, err
		}
	}
	if d.Mirror != nil {
		if err := s.checkMirror(ctx, c, d.Mirror); err != nil {
			return nil, err
		}
	}
	id := uuid.NewString()
	if err := s.makeFolder(id, d.DefaultBranch); err != nil {
		return nil, fmt.Errorf("make repository %s: %w", arn, err)
	}
	var made *Repository
	err := s.db.Update(ctx, func(tx *meta.Tx) error {
		res, err := tx.Exec(ctx, `INSERT INTO git_repositories (id, account, project, project_key, name, name_key, description, default_branch,
			max_push, max_object, max_size, created_at, pushed_at, size, packed_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, 0, 0, $9, 0, 0, 0) ON CONFLICT (account, project_key, name_key) DO NOTHING`,
			id, d.Name.Account, d.Name.Project, strings.ToLower(d.Name.Project), d.Name.Repo, strings.ToLower(d.Name.Repo),
			d.Description, d.DefaultBranch, s.now().UnixMicro())
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			if err == nil {
				err = errorf(Exists, "a repository %s/%s is there already", d.Name.Project, d.Name.Repo)
			}
			return err
		}
		if d.Mirror != nil {
			if err := s.insertMirror(ctx, tx, id, d.Mirror); err != nil {
				return err
			}
		}
		if made, err = s.read(ctx, tx, `id = $1`, id); err != nil {
			return err
		}
		return s.changed(ctx, tx, c, "CreateRepository", arn, mirrorDetail(d.Mirror))
	})
	if err != nil {
		return nil, errors.Join(err, s.removeFolder(id))
	}
	return made, nil
}

func checkBranch(name string) error {
	if why := checkPushable(branches + name); why != "" {
		return errorf(Invalid, "%q is no name of a branch: %s", clip(name, 80), why)
	}
	return nil
}

func checkDescription(text string) error {
	if len(text) > maxDescription || strings.ContainsRune(text, 0) {
		return errorf(Invalid, "a description has at most %d bytes", maxDescription)
	}
	return nil
}

// Edit is a change of a repository. What is nil stays.
type Edit struct {
	Project, Name               *string
	Description, DefaultBranch  *string
	MaxPush, MaxObject, MaxSize *int64
}

// Update changes a repository and returns it. For another name, it must be allowed to make one there too. Errors:
// *iam.DeniedError, kinds NotFound, Invalid and Exists.
func (s *Service) Update(ctx context.Context, c *iam.Caller, n Name, e Edit) (*Repository, error) {
	r, err := s.allowed(ctx, c, "UpdateRepository", n)
	if err != nil {
		return nil, err
	}
	to := Name{r.Account, value(e.Project, r.Project), value(e.Name, r.Name)}
	if err := errors.Join(CheckName(to.Project), CheckName(to.Repo)); err != nil {
		return nil, errorf(Invalid, "%s", err)
	}
	if s.arn(to) != r.ARN {
		if err := s.judge.Check(ctx, c, iam.On(c, "git:CreateRepository", s.arn(to))); err != nil {
			return nil, err
		}
		if s.o.CheckProject != nil {
			if err := s.o.CheckProject(ctx, to.Account, to.Project); err != nil {
				return nil, err
			}
		}
	}
	branch := value(e.DefaultBranch, r.DefaultBranch)
	if err := errors.Join(checkBranch(branch), checkDescription(value(e.Description, ""))); err != nil {
		return nil, errorf(Invalid, "%s", err)
	}
	for _, limit := range []*int64{e.MaxPush, e.MaxObject, e.MaxSize} {
		if limit != nil && *limit < 0 {
			return nil, errorf(Invalid, "a limit is a number of bytes, or 0 for the configured one")
		}
	}
	err = s.db.Update(ctx, func(tx *meta.Tx) error {
		if s.arn(to) != r.ARN {
			other, err := s.read(ctx, tx, `account = $1 AND project_key = $2 AND name_key = $3`, to.Account, strings.ToLower(to.Project), strings.ToLower(to.Repo))
			if err != nil {
				return err
			}
			if other != nil && other.ID != r.ID {
				return errorf(Exists, "a repository %s/%s is there already", to.Project, to.Repo)
			}
		}
		_, err := tx.Exec(ctx, `UPDATE git_repositories SET project = $2, project_key = $3, name = $4, name_key = $5, description = $6, default_branch = $7,
			max_push = $8, max_object = $9, max_size = $10 WHERE id = $1`,
			r.ID, to.Project, strings.ToLower(to.Project), to.Repo, strings.ToLower(to.Repo), value(e.Description, r.Description), branch,
			value(e.MaxPush, r.MaxPush), value(e.MaxObject, r.MaxObject), value(e.MaxSize, r.MaxSize))
		if err != nil {
			return err
		}
		detail := ""
		if s.arn(to) != r.ARN {
			detail = "now " + s.arn(to)
		}
		return s.changed(ctx, tx, c, "UpdateRepository", r.ARN, detail)
	})
	if err != nil {
		return nil, err
	}
	if branch != r.DefaultBranch {
		if err := s.setHead(r.ID, branch); err != nil {
			return nil, fmt.Errorf("set default branch of %s: %w", r.ARN, err)
		}
	}
	return s.ByID(ctx, r.ID)
}

func value[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}

// Delete removes a repository and all that is in it. Errors: *iam.DeniedError, kinds NotFound and Invalid.
func (s *Service) Delete(ctx context.Context, c *iam.Caller, n Name) error {
	r, err := s.allowed(ctx, c, "DeleteRepository", n)
	if err != nil {
		return err
	}
	return s.db.Update(ctx, func(tx *meta.Tx) error { return s.deleteTx(ctx, tx, c, r) })
}

// DeleteProject removes all repositories of a project, in the transaction that removes it, for who has judged that.
func (s *Service) DeleteProject(ctx context.Context, tx *meta.Tx, c *iam.Caller, account, project string) error {
	rows, err := tx.Query(ctx, `SELECT `+repositoryColumns+` FROM git_repositories WHERE account = $1 AND project_key = $2`, account, strings.ToLower(project))
	if err != nil {
		return err
	}
	defer rows.Close()
	var all []*Repository
	for rows.Next() {
		r, err := s.scan(rows)
		if err != nil {
			return err
		}
		all = append(all, r)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return err
	}
	for _, r := range all {
		if err := s.deleteTx(ctx, tx, c, r); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) deleteTx(ctx context.Context, tx *meta.Tx, c *iam.Caller, r *Repository) error {
	if _, err := tx.Exec(ctx, `DELETE FROM git_repositories WHERE id = $1`, r.ID); err != nil {
		return err
	}
	if _, _, err := s.jobs.Enqueue(ctx, tx, job.Spec{Kind: RemoveJob, Unique: r.ID, Payload: r.ID}); err != nil {
		return err
	}
	return s.changed(ctx, tx, c, "DeleteRepository", r.ARN, "")
}
