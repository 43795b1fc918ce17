package project

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
)

// Kind is a kind of what pipelines are authorised to use.
type Kind string

// The kinds.
const (
	KindConnection  Kind = "connection"
	KindGroup       Kind = "variables"
	KindEnvironment Kind = "environment"
	KindRepository  Kind = "repository" // beside the pipeline's own
	KindPipeline    Kind = "pipeline"   // of another project, whose runs and artifacts are used

	// KindPool is an agent pool. Pools keep themselves which pipelines may use them: it is here for its name alone.
	KindPool Kind = "pool"
)

func (k Kind) noun() string {
	switch k {
	case KindConnection:
		return connectionItem.noun
	case KindGroup:
		return groupItem.noun
	case KindEnvironment:
		return environmentItem.noun
	case KindPool:
		return "agent pool"
	}
	return string(k)
}

func (k Kind) item() *item {
	switch k {
	case KindConnection:
		return connectionItem
	case KindGroup:
		return groupItem
	case KindEnvironment:
		return environmentItem
	}
	return nil
}

// Use is something that a pipeline uses.
type Use struct {
	Kind Kind
	Name string // a connection, a group, an environment: name or id; others: for messages
	ID   string // a repository, a pipeline
}

func (u *Use) label() string { return cmp.Or(u.Name, u.ID) }

// Authorization says that a pipeline, or all of a project, may use something.
type Authorization struct {
	Pipeline string // id; "" for all of the project
	Name     string // of the pipeline
	By       string // ARN
	At       time.Time
}

// target finds what people authorise for, if the caller may do so.
func (s *Service) target(ctx context.Context, c *iam.Caller, projectRef string, u Use) (p *Project, id, arn string, err error) {
	const action = "AuthorizePipeline"
	if it := u.Kind.item(); it != nil {
		h, err := s.at(ctx, c, action, projectRef, it, u.label())
		if err != nil {
			return nil, "", "", err
		}
		return h.project, h.id, h.arn, nil
	}
	switch u.Kind {
	case KindRepository, KindPipeline:
	case KindPool:
		return nil, "", "", errorf(Invalid, "kind", "a pool says itself which pipelines may use it")
	default:
		return nil, "", "", errorf(Invalid, "kind", "%.40q is none of %s, %s, %s, %s, %s", u.Kind, KindConnection, KindGroup, KindEnvironment, KindRepository, KindPipeline)
	}
	if err := checkRef("project", projectRef); err != nil {
		return nil, "", "", err
	}
	if s.o.Lookup == nil {
		return nil, "", "", noSuch(u.Kind.noun(), u.label())
	}
	id, arn, missing := s.o.Lookup(ctx, c.Account, u.Kind, u.label())
	if missing != nil && (!errors.Is(missing, ErrNotFound) || arn == "") {
		return nil, "", "", missing
	}
	if err := s.check(ctx, c, action, arn, nil); err != nil {
		return nil, "", "", err
	}
	if missing != nil {
		return nil, "", "", missing
	}
	p, err = find(ctx, s.db, c.Account, projectRef)
	if err == nil && p == nil {
		err = noSuch("project", projectRef)
	}
	return p, id, arn, err
}

// Authorize lets a pipeline of a project, by name or id, or with "" all of them, use something. A service connection, a
// variable group and an environment are of the same project. Errors: *iam.DeniedError; [*Error] of kind NotFound, Invalid.
func (s *Service) Authorize(ctx context.Context, c *iam.Caller, projectRef string, u Use, pipeline string) error {
	return s.authorize(ctx, orNobody(c), projectRef, u, pipeline, true)
}

// Deauthorize takes back what Authorize gave. Errors: *iam.DeniedError; [*Error] of kind NotFound, Invalid.
func (s *Service) Deauthorize(ctx context.Context, c *iam.Caller, projectRef string, u Use, pipeline string) error {
	return s.authorize(ctx, orNobody(c), projectRef, u, pipeline, false)
}

func (s *Service) authorize(ctx context.Context, c *iam.Caller, projectRef string, u Use, pipeline string, may bool) error {
	p, id, arn, err := s.target(ctx, c, projectRef, u)
	if err != nil {
		return err
	}
	whose, detail := "", "all pipelines of "+p.Name
	if pipeline != "" {
		if err := checkRef(pipelineItem.noun, pipeline); err != nil {
			return err
		}
		h, err := locate(ctx, s.db, p, pipelineItem, pipeline)
		if err != nil {
			return err
		}
		if h == nil {
			return errorf(NotFound, "", "there is no pipeline %q in project %s", pipeline, p.Name)
		}
		whose, detail = h.id, "pipeline "+p.Name+"/"+h.name
	}
	if !may {
		detail = "no longer " + detail
	}
	return s.update(ctx, c, "AuthorizePipeline", arn, detail, func(tx *meta.Tx) error {
		if !may {
			_, err := tx.Exec(ctx, `DELETE FROM pipeline_authorizations WHERE project_id = $1 AND kind = $2 AND resource = $3 AND pipeline = $4`,
				p.ID, string(u.Kind), id, whose)
			return err
		}
		for table, row := range map[string]string{"pipelines": whose, tableOf(u.Kind): id} { // they may be gone since
			if table == "" || row == "" {
				continue
			}
			var there bool
			if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM `+table+` WHERE id = $1)`, row).Scan(&there); err != nil {
				return err
			}
			if !there {
				return noSuch(u.Kind.noun(), u.label())
			}
		}
		return permit(ctx, tx, p.ID, u.Kind, id, whose, c.Who(), s.now())
	})
}

func tableOf(k Kind) string {
	if it := k.item(); it != nil {
		return it.table
	}
	return ""
}

func permit(ctx context.Context, tx *meta.Tx, project string, kind Kind, id, pipeline, by string, at time.Time) error {
	_, err := tx.Exec(ctx, `INSERT INTO pipeline_authorizations (project_id, kind, resource, pipeline, granted_by, granted_at) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (project_id, kind, resource, pipeline) DO NOTHING`, project, string(kind), id, pipeline, by, at.UnixMicro())
	return err
}

// Authorizations returns which pipelines of a project may use something. Errors: as those of Authorize.
func (s *Service) Authorizations(ctx context.Context, c *iam.Caller, projectRef string, u Use) ([]Authorization, error) {
	p, id, _, err := s.target(ctx, orNobody(c), projectRef, u)
	if err != nil {
		return nil, err
	}
	return collect(ctx, s.db, func(row scanner) (*Authorization, error) {
		var a Authorization
		var at int64
		err := row.Scan(&a.Pipeline, &a.Name, &a.By, &at)
		a.At = moment(at)
		return &a, err
	}, `SELECT a.pipeline, COALESCE(p.name, ''), a.granted_by, a.granted_at FROM pipeline_authorizations a LEFT JOIN pipelines p ON p.id = a.pipeline
		WHERE a.project_id = $1 AND a.kind = $2 AND a.resource = $3 ORDER BY COALESCE(p.folded, ''), a.pipeline`, p.ID, string(u.Kind), id)
}

// Unauthorized returns those of the uses that a pipeline is not authorised for. Errors: [ErrNotFound] for what is not there.
func (s *Service) Unauthorized(ctx context.Context, pipelineID string, uses []Use) ([]Use, error) {
	var missing []Use
	for _, u := range uses {
		_, err := s.usable(ctx, pipelineID, u)
		if _, denied := errors.AsType[*NotAuthorizedError](err); denied {
			missing = append(missing, u)
		} else if err != nil {
			return nil, err
		}
	}
	return missing, nil
}

// usable finds what a pipeline uses, if it is authorised to.
func (s *Service) usable(ctx context.Context, pipelineID string, u Use) (*head, error) {
	pipeline, err := s.Pipeline(ctx, pipelineID)
	if err != nil {
		return nil, err
	}
	p := &Project{ID: pipeline.ProjectID, Name: pipeline.Project, Account: pipeline.Account}
	h := &head{id: u.ID, name: u.label(), project: p}
	if it := u.Kind.item(); it != nil {
		if err := checkRef(it.noun, u.label()); err != nil {
			return nil, err
		}
		found, err := locate(ctx, s.db, p, it, u.label())
		if err != nil {
			return nil, err
		}
		if found == nil {
			return nil, errorf(NotFound, "", "there is no %s %q in project %s", it.noun, u.label(), p.Name)
		}
		h = found
		h.arn = s.arn(p.Account, p.Name, it, h.name)
	} else if u.Kind != KindRepository && u.Kind != KindPipeline || u.ID == "" {
		return nil, fmt.Errorf("use of %q: it is no kind of what a pipeline is authorised for here, or has no id", u.Kind)
	}
	if u.Kind == KindRepository && pipeline.RepositoryKind == RepositoryGit && fold(u.ID) == pipeline.Repository {
		return h, nil
	}
	var may bool
	err = s.db.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM pipeline_authorizations WHERE project_id = $1 AND kind = $2 AND resource = $3 AND pipeline IN ('', $4))`,
		p.ID, string(u.Kind), h.id, pipeline.ID).Scan(&may)
	if err != nil {
		return nil, fmt.Errorf("read authorisations: %w", err)
	}
	if !may {
		return nil, &NotAuthorizedError{Use: u, Pipeline: pipeline.Name, Project: p.Name}
	}
	return h, nil
}
