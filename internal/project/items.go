package project

import (
	"context"
	"database/sql"
	"errors"

	"github.com/google/uuid"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
)

// head is what all things of a project have.
type head struct {
	id, name string
	project  *Project
	arn      string
}

func scanHead(row scanner) (*head, error) {
	var h head
	return &h, row.Scan(&h.id, &h.name)
}

// locate finds a thing of a project by name or id, nil if it is not there.
func locate(ctx context.Context, q querier, p *Project, it *item, ref string) (*head, error) {
	column, value := "folded", fold(ref)
	if _, err := uuid.Parse(ref); err == nil {
		column = "id"
	}
	h, err := one(scanHead, q.QueryRow(ctx, `SELECT id, name FROM `+it.table+` WHERE project_id = $1 AND `+column+` = $2`, p.ID, value))
	if h != nil {
		h.project = p
	}
	return h, err
}

// at returns a thing of a project if the caller may do an action on it and it is there.
func (s *Service) at(ctx context.Context, c *iam.Caller, action, projectRef string, it *item, ref string) (*head, error) {
	if err := checkRef("project", projectRef); err != nil {
		return nil, err
	}
	if err := checkRef(it.noun, ref); err != nil {
		return nil, err
	}
	p, err := find(ctx, s.db, c.Account, projectRef)
	if err != nil {
		return nil, err
	}
	project, name := projectRef, ref
	var h *head
	if p != nil {
		project = p.Name
		if h, err = locate(ctx, s.db, p, it, ref); err != nil {
			return nil, err
		}
	}
	if h != nil {
		name = h.name
	}
	arn := s.arn(c.Account, project, it, name)
	if err := s.check(ctx, c, action, arn, nil); err != nil {
		return nil, err
	}
	switch {
	case p == nil:
		return nil, noSuch("project", projectRef)
	case h == nil:
		return nil, errorf(NotFound, "", "there is no %s %q in project %s", it.noun, ref, p.Name)
	}
	h.arn = arn
	return h, nil
}

// within returns a project to make a thing in, if the caller may do an action on that.
func (s *Service) within(ctx context.Context, c *iam.Caller, action, projectRef string, it *item, name string) (*head, error) {
	if err := checkRef("project", projectRef); err != nil {
		return nil, err
	}
	if err := checkItemName(it, name); err != nil {
		return nil, err
	}
	p, err := find(ctx, s.db, c.Account, projectRef)
	if err != nil {
		return nil, err
	}
	project := projectRef
	if p != nil {
		project = p.Name
	}
	arn := s.arn(c.Account, project, it, name)
	if err := s.check(ctx, c, action, arn, nil); err != nil {
		return nil, err
	}
	if p == nil {
		return nil, noSuch("project", projectRef)
	}
	return &head{id: uuid.NewString(), name: name, project: p, arn: arn}, nil
}

// room fails if a project has as many things of a kind as it can have, or is gone.
func room(ctx context.Context, tx *meta.Tx, h *head, it *item) error {
	there, err := one(scanHead, tx.QueryRow(ctx, `SELECT id, name FROM projects WHERE id = $1`+forUpdate(tx), h.project.ID))
	if err != nil {
		return err
	}
	if there == nil {
		return noSuch("project", h.project.Name)
	}
	var count int
	if err := tx.QueryRow(ctx, `SELECT count(*) FROM `+it.table+` WHERE project_id = $1`, h.project.ID).Scan(&count); err != nil {
		return err
	}
	if count >= it.most {
		return errorf(Limit, "", "the project %s has %d %ss, and can have no more", h.project.Name, count, it.noun)
	}
	var taken bool
	if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM `+it.table+` WHERE project_id = $1 AND folded = $2)`, h.project.ID, fold(h.name)).Scan(&taken); err != nil {
		return err
	}
	if taken {
		return orExists(nil, it.noun, h.name)
	}
	return nil
}

// remove deletes a thing with its variables, secrets and authorisations.
func (s *Service) remove(ctx context.Context, c *iam.Caller, action string, it *item, kind Kind, h *head) error {
	return s.update(ctx, c, action, h.arn, h.id, func(tx *meta.Tx) error {
		if it == connectionItem {
			var user string
			err := tx.QueryRow(ctx, `SELECT name FROM pipelines WHERE project_id = $1 AND connection = $2 ORDER BY folded LIMIT 1`, h.project.ID, h.id).Scan(&user)
			if err == nil {
				return errorf(Conflict, "", "the pipeline %s reads its repository with the service connection %s: give it another one first", user, h.name)
			}
			if !errors.Is(err, sql.ErrNoRows) {
				return err
			}
		}
		for _, table := range []string{"project_variables", "project_secrets"} {
			if _, err := tx.Exec(ctx, `DELETE FROM `+table+` WHERE owner = $1`, h.id); err != nil {
				return err
			}
		}
		var err error
		if it == pipelineItem {
			_, err = tx.Exec(ctx, `DELETE FROM pipeline_authorizations WHERE pipeline = $1`, h.id)
		} else {
			_, err = tx.Exec(ctx, `DELETE FROM pipeline_authorizations WHERE kind = $1 AND resource = $2`, string(kind), h.id)
		}
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `DELETE FROM `+it.table+` WHERE id = $1`, h.id)
		return err
	})
}

// items reads a page of the things of a project, if the caller may list them.
func items[T any](ctx context.Context, s *Service, c *iam.Caller, projectRef string, it *item, columns string, scan func(scanner) (*T, error),
	name func(*T) string, page Page) (p *Project, list []T, next string, err error) {
	c = orNobody(c)
	if p, err = s.on(ctx, c, "List"+it.action+"s", projectRef); err != nil {
		return nil, nil, "", err
	}
	limit, err := page.limit()
	if err != nil {
		return nil, nil, "", err
	}
	list, err = collect(ctx, s.db, scan, `SELECT `+columns+` FROM `+it.table+` WHERE project_id = $1 AND folded > $2 ORDER BY folded LIMIT $3`, p.ID, fold(page.After), limit+1)
	list, next = cut(list, limit, name)
	return p, list, next, err
}
