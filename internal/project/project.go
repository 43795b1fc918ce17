package project

import (
	"context"
	"encoding/json"
	"time"

	"github.com/google/uuid"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
)

const maxProjects = 2000 // of an account

// Project is what pipelines, repositories and all they use belong to. Its name stays.
type Project struct {
	ID          string // UUID
	Account     string
	Name        string
	Description string
	RoleID      string // unique id of the role of its jobs; "" until the first is needed
	Settings    Settings
	Created     time.Time
	Updated     time.Time
}

// Settings are what a project sets for all its pipelines.
type Settings struct {
	RetentionDays int `json:"retentionDays,omitempty"` // of runs; 0: the instance's
	KeepRuns      int `json:"keepRuns,omitempty"`      // of each pipeline, whatever their age; 0: the instance's
}

func (s Settings) check() error {
	if s.RetentionDays < 0 || s.RetentionDays > 36500 {
		return errorf(Invalid, "settings.retentionDays", "runs are kept for 1 to 36500 days, or 0 for the server's setting")
	}
	if s.KeepRuns < 0 || s.KeepRuns > 100_000 {
		return errorf(Invalid, "settings.keepRuns", "0 to 100000 runs are kept whatever their age")
	}
	return nil
}

// NewProject is a project to be made.
type NewProject struct {
	Name        string
	Description string
	Settings    Settings
}

// ProjectEdit is a change of a project. What is nil stays.
type ProjectEdit struct {
	Description *string
	Settings    *Settings
}

const projectColumns = `id, account, name, description, role, settings, created_at, updated_at`

func scanProject(row scanner) (*Project, error) {
	var p Project
	var settings string
	var created, updated int64
	if err := row.Scan(&p.ID, &p.Account, &p.Name, &p.Description, &p.RoleID, &settings, &created, &updated); err != nil {
		return nil, err
	}
	p.Created, p.Updated = moment(created), moment(updated)
	return &p, json.Unmarshal([]byte(settings), &p.Settings)
}

// find returns a project of an account by name or id, nil if it is not there.
func find(ctx context.Context, q querier, account, ref string) (*Project, error) {
	if _, err := uuid.Parse(ref); err == nil {
		return one(scanProject, q.QueryRow(ctx, `SELECT `+projectColumns+` FROM projects WHERE id = $1 AND account = $2`, fold(ref), account))
	}
	return one(scanProject, q.QueryRow(ctx, `SELECT `+projectColumns+` FROM projects WHERE account = $1 AND folded = $2`, account, fold(ref)))
}

// on returns a project if the caller may do an action on it and it is there.
func (s *Service) on(ctx context.Context, c *iam.Caller, action, ref string) (*Project, error) {
	if err := checkRef("project", ref); err != nil {
		return nil, err
	}
	p, err := find(ctx, s.db, c.Account, ref)
	if err != nil {
		return nil, err
	}
	name := ref
	if p != nil {
		name = p.Name
	}
	if err := s.check(ctx, c, action, s.ProjectARN(c.Account, name), nil); err != nil {
		return nil, err
	}
	if p == nil {
		return nil, noSuch("project", ref)
	}
	return p, nil
}

// CreateProject makes a project and the role of its jobs. Errors: *iam.DeniedError; [*Error] of kind Invalid, Exists, Limit.
func (s *Service) CreateProject(ctx context.Context, c *iam.Caller, n NewProject) (*Project, error) {
	c = orNobody(c)
	if err := checkProjectName(n.Name); err != nil {
		return nil, err
	}
	arn := s.ProjectARN(c.Account, n.Name)
	if err := s.check(ctx, c, "CreateProject", arn, nil); err != nil {
		return nil, err
	}
	if err := checkText("description", n.Description, maxDescription); err != nil {
		return nil, err
	}
	if err := n.Settings.check(); err != nil {
		return nil, err
	}
	now := s.now()
	p := &Project{ID: uuid.NewString(), Account: c.Account, Name: n.Name, Description: n.Description, Settings: n.Settings, Created: now, Updated: now}
	settings, err := json.Marshal(p.Settings)
	if err != nil {
		return nil, err
	}
	err = s.update(ctx, c, "CreateProject", arn, p.ID, func(tx *meta.Tx) error {
		var count int
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM projects WHERE account = $1`, p.Account).Scan(&count); err != nil {
			return err
		}
		if count >= maxProjects {
			return errorf(Limit, "", "the account has %d projects, and can have no more", count)
		}
		res, err := tx.Exec(ctx, `INSERT INTO projects (`+projectColumns+`, folded) VALUES ($1, $2, $3, $4, '', $5, $6, $6, $7) ON CONFLICT (account, folded) DO NOTHING`,
			p.ID, p.Account, p.Name, p.Description, string(settings), now.UnixMicro(), fold(p.Name))
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return orExists(err, "project", p.Name)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := s.ensureRole(ctx, c, p); err != nil {
		// Without its role it is of no use, and of no use to anybody else under this name.
		if undo := s.update(context.WithoutCancel(ctx), c, "DeleteProject", arn, "its role can't be made", func(tx *meta.Tx) error {
			_, err := tx.Exec(ctx, `DELETE FROM projects WHERE id = $1 AND role = ''`, p.ID)
			return err
		}); undo != nil {
			s.o.Logger.WarnContext(ctx, "a project without a role is left", "project", arn, "err", undo)
		}
		return nil, err
	}
	return p, nil
}

func orExists(err error, noun, name string) error {
	if err != nil {
		return err
	}
	return errorf(Exists, "name", "there is a %s %q already; names differ by more than the case of their letters", noun, name)
}

// DescribeProject returns a project by name or id. Errors: *iam.DeniedError; [*Error] of kind NotFound.
func (s *Service) DescribeProject(ctx context.Context, c *iam.Caller, ref string) (*Project, error) {
	return s.on(ctx, orNobody(c), "DescribeProject", ref)
}

// UpdateProject changes a project. Errors: *iam.DeniedError; [*Error] of kind NotFound, Invalid.
func (s *Service) UpdateProject(ctx context.Context, c *iam.Caller, ref string, e ProjectEdit) (*Project, error) {
	c = orNobody(c)
	p, err := s.on(ctx, c, "UpdateProject", ref)
	if err != nil {
		return nil, err
	}
	if e.Description != nil {
		if err := checkText("description", *e.Description, maxDescription); err != nil {
			return nil, err
		}
	}
	if e.Settings != nil {
		if err := e.Settings.check(); err != nil {
			return nil, err
		}
	}
	err = s.update(ctx, c, "UpdateProject", s.ProjectARN(p.Account, p.Name), "", func(tx *meta.Tx) error {
		now, err := one(scanProject, tx.QueryRow(ctx, `SELECT `+projectColumns+` FROM projects WHERE id = $1`+forUpdate(tx), p.ID))
		if err != nil {
			return err
		}
		if now == nil {
			return noSuch("project", ref)
		}
		p = now
		if e.Description != nil {
			p.Description = *e.Description
		}
		if e.Settings != nil {
			p.Settings = *e.Settings
		}
		p.Updated = s.now()
		settings, err := json.Marshal(p.Settings)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE projects SET description = $1, settings = $2, updated_at = $3 WHERE id = $4`,
			p.Description, string(settings), p.Updated.UnixMicro(), p.ID)
		return err
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

// DeleteProject deletes a project with its role, its variable groups, service connections and environments. One that has
// pipelines or repositories is deleted only with all, together with their runs and all source, which takes the permission
// to delete that too. Errors: *iam.DeniedError; [*Error] of kind NotFound, Conflict.
func (s *Service) DeleteProject(ctx context.Context, c *iam.Caller, ref string, all bool) error {
	c = orNobody(c)
	p, err := s.on(ctx, c, "DeleteProject", ref)
	if err != nil {
		return err
	}
	source, err := s.o.HasSource(ctx, p.Account, p.Name)
	if err != nil {
		return err
	}
	if source && !all {
		return errorf(Conflict, "", "the project %s has repositories: delete them first, or say that they are to be deleted with it", p.Name)
	}
	if source {
		if err := s.judge.Check(ctx, c, iam.On(c, "git:DeleteRepository", "arn:aws:git:"+s.o.Region+":"+p.Account+":"+p.Name+"/*")); err != nil {
			return err
		}
	}
	err = s.update(ctx, c, "DeleteProject", s.ProjectARN(p.Account, p.Name), p.ID, func(tx *meta.Tx) error {
		var count int
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM pipelines WHERE project_id = $1`, p.ID).Scan(&count); err != nil {
			return err
		}
		if count > 0 && !all {
			return errorf(Conflict, "", "the project %s has %d pipelines: delete them first, or say that they are to be deleted with it", p.Name, count)
		}
		for _, it := range []*item{pipelineItem, groupItem, connectionItem, environmentItem} {
			if _, err := tx.Exec(ctx, `DELETE FROM `+it.table+` WHERE project_id = $1`, p.ID); err != nil {
				return err
			}
		}
		if err := s.o.OnDelete(ctx, tx, c, p); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `DELETE FROM projects WHERE id = $1`, p.ID)
		return err
	})
	if meta.IsForeignKey(err) {
		return errorf(Conflict, "", "something was just made in the project %s; try again", p.Name)
	}
	if err != nil {
		return err
	}
	// What is left of the role when this is cut off, the next project of the name takes away.
	return s.removeRole(context.WithoutCancel(ctx), c, p)
}

// ListProjects lists the projects of the caller's account by name. Errors: *iam.DeniedError; [*Error] of kind Invalid.
func (s *Service) ListProjects(ctx context.Context, c *iam.Caller, page Page) (list []Project, next string, err error) {
	c = orNobody(c)
	if err := s.check(ctx, c, "ListProjects", "*", nil); err != nil {
		return nil, "", err
	}
	limit, err := page.limit()
	if err != nil {
		return nil, "", err
	}
	list, err = collect(ctx, s.db, scanProject, `SELECT `+projectColumns+` FROM projects WHERE account = $1 AND folded > $2 ORDER BY folded LIMIT $3`,
		c.Account, fold(page.After), limit+1)
	list, next = cut(list, limit, func(p *Project) string { return p.Name })
	return list, next, err
}

// Project returns a project by its id, for other parts of the server: it decides nothing. Errors: [ErrNotFound].
func (s *Service) Project(ctx context.Context, id string) (*Project, error) {
	p, err := one(scanProject, s.db.QueryRow(ctx, `SELECT `+projectColumns+` FROM projects WHERE id = $1`, id))
	if err == nil && p == nil {
		err = noSuch("project", id)
	}
	return p, err
}

// Find returns a project of an account by name or id, for other parts of the server: it decides nothing. Errors:
// [ErrNotFound].
func (s *Service) Find(ctx context.Context, account, ref string) (*Project, error) {
	if err := checkRef("project", ref); err != nil {
		return nil, err
	}
	p, err := find(ctx, s.db, account, ref)
	if err == nil && p == nil {
		err = noSuch("project", ref)
	}
	return p, err
}
