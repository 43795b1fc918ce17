package project

import (
	"context"
	"encoding/json"
	"time"

	"github.com/google/uuid"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
)

// Environment is what deployment jobs deploy to, with what must be so before one does.
type Environment struct {
	ID          string // UUID
	ProjectID   string
	Name        string
	Description string
	Checks      Checks
	Created     time.Time
	Updated     time.Time
}

// NewEnvironment is an environment to be made.
type NewEnvironment struct {
	Name, Description string
	Checks            Checks
}

// EnvironmentEdit is a change of an environment. What is nil stays.
type EnvironmentEdit struct {
	Description *string
	Checks      *Checks
}

const environmentColumns = `id, project_id, name, description, checks, created_at, updated_at`

func scanEnvironment(row scanner) (*Environment, error) {
	var e Environment
	var checks string
	var created, updated int64
	if err := row.Scan(&e.ID, &e.ProjectID, &e.Name, &e.Description, &checks, &created, &updated); err != nil {
		return nil, err
	}
	e.Created, e.Updated = moment(created), moment(updated)
	return &e, json.Unmarshal([]byte(checks), &e.Checks)
}

// CreateEnvironment makes an environment. Errors: *iam.DeniedError; [*Error] of kind NotFound, Invalid, Exists, Limit.
func (s *Service) CreateEnvironment(ctx context.Context, c *iam.Caller, projectRef string, n NewEnvironment) (*Environment, error) {
	c = orNobody(c)
	h, err := s.within(ctx, c, "CreateEnvironment", projectRef, environmentItem, n.Name)
	if err != nil {
		return nil, err
	}
	if err := checkText("description", n.Description, maxDescription); err != nil {
		return nil, err
	}
	if err := n.Checks.complete(h.project.Account); err != nil {
		return nil, err
	}
	e := &Environment{ID: h.id, ProjectID: h.project.ID, Name: n.Name, Description: n.Description, Checks: n.Checks, Created: s.now()}
	e.Updated = e.Created
	err = s.update(ctx, c, "CreateEnvironment", h.arn, e.ID, func(tx *meta.Tx) error {
		if err := room(ctx, tx, h, environmentItem); err != nil {
			return err
		}
		return insertEnvironment(ctx, tx, e)
	})
	if err != nil {
		return nil, err
	}
	return e, nil
}

func insertEnvironment(ctx context.Context, tx *meta.Tx, e *Environment) error {
	checks, err := json.Marshal(e.Checks)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `INSERT INTO environments (`+environmentColumns+`, folded) VALUES ($1, $2, $3, $4, $5, $6, $6, $7)`,
		e.ID, e.ProjectID, e.Name, e.Description, string(checks), e.Created.UnixMicro(), fold(e.Name))
	return err
}

// DescribeEnvironment returns an environment by name or id. Errors: *iam.DeniedError; [*Error] of kind NotFound.
func (s *Service) DescribeEnvironment(ctx context.Context, c *iam.Caller, projectRef, ref string) (*Environment, error) {
	h, err := s.at(ctx, orNobody(c), "DescribeEnvironment", projectRef, environmentItem, ref)
	if err != nil {
		return nil, err
	}
	return s.environment(ctx, s.db, h.id, "")
}

func (s *Service) environment(ctx context.Context, q querier, id, lock string) (*Environment, error) {
	e, err := one(scanEnvironment, q.QueryRow(ctx, `SELECT `+environmentColumns+` FROM environments WHERE id = $1`+lock, id))
	if err == nil && e == nil {
		err = noSuch("environment", id)
	}
	return e, err
}

// UpdateEnvironment changes an environment. Runs that wait for its checks go by the new ones. Errors: *iam.DeniedError;
// [*Error] of kind NotFound, Invalid.
func (s *Service) UpdateEnvironment(ctx context.Context, c *iam.Caller, projectRef, ref string, edit EnvironmentEdit) (*Environment, error) {
	c = orNobody(c)
	h, err := s.at(ctx, c, "UpdateEnvironment", projectRef, environmentItem, ref)
	if err != nil {
		return nil, err
	}
	detail := ""
	if edit.Description != nil {
		if err := checkText("description", *edit.Description, maxDescription); err != nil {
			return nil, err
		}
	}
	if edit.Checks != nil {
		if err := edit.Checks.complete(h.project.Account); err != nil {
			return nil, err
		}
		text, err := json.Marshal(edit.Checks)
		if err != nil {
			return nil, err
		}
		detail = "checks " + clip(string(text))
	}
	var e *Environment
	err = s.update(ctx, c, "UpdateEnvironment", h.arn, detail, func(tx *meta.Tx) error {
		if e, err = s.environment(ctx, tx, h.id, forUpdate(tx)); err != nil {
			return err
		}
		if edit.Description != nil {
			e.Description = *edit.Description
		}
		if edit.Checks != nil {
			e.Checks = *edit.Checks
		}
		e.Updated = s.now()
		checks, err := json.Marshal(e.Checks)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE environments SET description = $1, checks = $2, updated_at = $3 WHERE id = $4`, e.Description, string(checks), e.Updated.UnixMicro(), e.ID)
		return err
	})
	if err != nil {
		return nil, err
	}
	return e, nil
}

// DeleteEnvironment deletes an environment. Errors: *iam.DeniedError; [*Error] of kind NotFound.
func (s *Service) DeleteEnvironment(ctx context.Context, c *iam.Caller, projectRef, ref string) error {
	c = orNobody(c)
	h, err := s.at(ctx, c, "DeleteEnvironment", projectRef, environmentItem, ref)
	if err != nil {
		return err
	}
	return s.remove(ctx, c, "DeleteEnvironment", environmentItem, KindEnvironment, h)
}

// ListEnvironments lists the environments of a project by name. Errors: *iam.DeniedError; [*Error] of kind NotFound, Invalid.
func (s *Service) ListEnvironments(ctx context.Context, c *iam.Caller, projectRef string, page Page) ([]Environment, string, error) {
	_, list, next, err := items(ctx, s, c, projectRef, environmentItem, environmentColumns, scanEnvironment, func(e *Environment) string { return e.Name }, page)
	return list, next, err
}

// Environment returns the environment that a pipeline deploys to, if it is authorised to. One that is not there is made,
// without checks and for this pipeline alone: so it is in Azure Pipelines, where the first deployment makes it. Errors:
// [*NotAuthorizedError]; [*Error] of kind Invalid, Limit.
func (s *Service) Environment(ctx context.Context, pipelineID, name string) (*Environment, error) {
	if err := checkItemName(environmentItem, name); err != nil {
		return nil, err
	}
	pipeline, err := s.Pipeline(ctx, pipelineID)
	if err != nil {
		return nil, err
	}
	p := &Project{ID: pipeline.ProjectID, Name: pipeline.Project, Account: pipeline.Account}
	h, err := locate(ctx, s.db, p, environmentItem, name)
	if err != nil {
		return nil, err
	}
	if h == nil {
		if err := s.firstDeployment(ctx, pipeline, p, name); err != nil {
			return nil, err
		}
	}
	if h, err = s.usable(ctx, pipelineID, Use{Kind: KindEnvironment, Name: name}); err != nil {
		return nil, err
	}
	return s.environment(ctx, s.db, h.id, "")
}

func (s *Service) firstDeployment(ctx context.Context, pipeline *Pipeline, p *Project, name string) error {
	c := iam.SystemCaller(p.Account, "pipelines")
	h := &head{id: uuid.NewString(), name: name, project: p, arn: s.arn(p.Account, p.Name, environmentItem, name)}
	e := &Environment{ID: h.id, ProjectID: p.ID, Name: name, Created: s.now()}
	err := s.update(ctx, c, "CreateEnvironment", h.arn, "the first deployment of pipeline "+p.Name+"/"+pipeline.Name, func(tx *meta.Tx) error {
		if err := room(ctx, tx, h, environmentItem); err != nil {
			return err
		}
		if err := insertEnvironment(ctx, tx, e); err != nil {
			return err
		}
		return permit(ctx, tx, p.ID, KindEnvironment, e.ID, pipeline.ID, c.ARN, e.Created)
	})
	if e, ok := err.(*Error); ok && e.Kind == Exists { // another run was quicker
		return nil
	}
	return err
}
