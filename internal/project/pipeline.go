package project

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
)

// State says what becomes of a pipeline's runs.
type State string

// The states of pipelines.
const (
	Enabled  State = "enabled"
	Paused   State = "paused"   // runs are made, and wait
	Disabled State = "disabled" // no runs are made
)

// The kinds of repositories that a pipeline's file is in.
const (
	RepositoryGit      = "git"      // ours
	RepositoryExternal = "external" // at a URL
)

// Pipeline is the definition of a pipeline: where its file is, and how it is run.
type Pipeline struct {
	ID             string // UUID
	ProjectID      string
	Project        string // name
	Account        string
	Name           string
	Folder         string // "" or "a/b": for people
	RepositoryKind string
	Repository     string // id of ours; URL of an external one
	RepositoryName string // "project/name" of ours, as it is now, for people; "" where it is gone, and where nobody asked for it
	Connection     string // id of the service connection to an external one, or ""
	Path           string // of the YAML file in the repository
	DefaultBranch  string // "refs/heads/main"
	State          State
	Settings       PipelineSettings
	Created        time.Time
	Updated        time.Time
}

// PipelineSettings are how a pipeline is run.
type PipelineSettings struct {
	Concurrency   int  `json:"concurrency,omitempty"`   // runs at the same time; 0: any
	RetentionDays int  `json:"retentionDays,omitempty"` // 0: the project's
	KeepRuns      int  `json:"keepRuns,omitempty"`      // 0: the project's
	ForkBuilds    bool `json:"forkBuilds,omitempty"`    // pull requests from outside start runs, which get no secrets
	TriggersOff   bool `json:"triggersOff,omitempty"`   // nothing but people starts runs, whatever the file says
}

func (s PipelineSettings) check() error {
	if s.Concurrency < 0 || s.Concurrency > 1000 {
		return errorf(Invalid, "settings.concurrency", "0 (any) to 1000 runs are let run at the same time")
	}
	return Settings{RetentionDays: s.RetentionDays, KeepRuns: s.KeepRuns}.check()
}

// NewPipeline is a pipeline to be made.
type NewPipeline struct {
	Name           string
	Folder         string
	RepositoryKind string // default RepositoryGit
	Repository     string // one of ours by "project/name" or id, which the caller must be allowed to pull; else a URL
	Connection     string // name or id
	Path           string // default "azure-pipelines.yml"
	DefaultBranch  string // default "refs/heads/main"; "main" is the same
	State          State  // default Enabled
	Settings       PipelineSettings
}

// PipelineEdit is a change of a pipeline. What is nil stays.
type PipelineEdit struct {
	Name                                   *string
	Folder, Path, DefaultBranch            *string
	RepositoryKind, Repository, Connection *string
	State                                  *State
	Settings                               *PipelineSettings
}

const pipelineColumns = `id, project_id, name, folder, repository_kind, repository, connection, path, default_branch, state, settings, created_at, updated_at`

func scanPipeline(row scanner) (*Pipeline, error) { return scanPipelineAnd(row) }

func scanPipelineAnd(row scanner, more ...any) (*Pipeline, error) {
	var p Pipeline
	var settings string
	var created, updated int64
	into := []any{&p.ID, &p.ProjectID, &p.Name, &p.Folder, &p.RepositoryKind, &p.Repository, &p.Connection, &p.Path, &p.DefaultBranch, &p.State, &settings, &created, &updated}
	if err := row.Scan(append(into, more...)...); err != nil {
		return nil, err
	}
	p.Created, p.Updated = moment(created), moment(updated)
	return &p, json.Unmarshal([]byte(settings), &p.Settings)
}

// wholePipelines selects pipelines with the name and account of their projects.
var wholePipelines = `SELECT p.` + strings.ReplaceAll(pipelineColumns, ", ", ", p.") + `, o.name, o.account FROM pipelines p JOIN projects o ON o.id = p.project_id `

func scanWhole(row scanner) (*Pipeline, error) {
	var project, account string
	p, err := scanPipelineAnd(row, &project, &account)
	if p != nil {
		p.Project, p.Account = project, account
	}
	return p, err
}

// check completes a pipeline and refuses what none can be.
func (p *Pipeline) check() error {
	p.RepositoryKind = cmp.Or(p.RepositoryKind, RepositoryGit)
	p.Path = strings.TrimPrefix(cmp.Or(p.Path, "azure-pipelines.yml"), "/")
	p.DefaultBranch = cmp.Or(p.DefaultBranch, "refs/heads/main")
	if !strings.HasPrefix(p.DefaultBranch, "refs/") {
		p.DefaultBranch = "refs/heads/" + p.DefaultBranch
	}
	p.State = cmp.Or(p.State, Enabled)
	if p.Folder != "" && !folderName.MatchString(p.Folder) {
		return errorf(Invalid, "folder", "%.80q is no folder: write names with slashes between, such as team/images, at most 8 deep", p.Folder)
	}
	switch p.RepositoryKind {
	case RepositoryGit:
		if _, err := uuid.Parse(p.Repository); err != nil {
			return errorf(Invalid, "repository", "a pipeline needs the id of the repository that its file is in")
		}
		p.Repository = fold(p.Repository)
		if p.Connection != "" {
			return errorf(Invalid, "connection", "a repository of this server needs no service connection")
		}
	case RepositoryExternal:
		u, err := url.Parse(p.Repository)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || len(p.Repository) > 2048 {
			return errorf(Invalid, "repository", "an external repository is an http or https URL, without a user: credentials are a service connection's")
		}
	default:
		return errorf(Invalid, "repositoryKind", "%.40q is neither %s nor %s", p.RepositoryKind, RepositoryGit, RepositoryExternal)
	}
	if len(p.Path) > 1024 || path.Clean(p.Path) != p.Path || strings.HasPrefix(p.Path, "../") || p.Path == ".." || p.Path == "." || checkText("path", p.Path, 1024) != nil || strings.ContainsAny(p.Path, "\\\n\t") {
		return errorf(Invalid, "path", "%.80q is no path of a file within a repository", p.Path)
	}
	if !validRef(p.DefaultBranch) {
		return errorf(Invalid, "defaultBranch", "%.80q is no branch", p.DefaultBranch)
	}
	switch p.State {
	case Enabled, Paused, Disabled:
	default:
		return errorf(Invalid, "state", "%.40q is none of %s, %s, %s", p.State, Enabled, Paused, Disabled)
	}
	return p.Settings.check()
}

// validRef reports whether git would have a ref of that name, by the rules of git-check-ref-format that matter here.
func validRef(ref string) bool {
	return strings.HasPrefix(ref, "refs/") && len(ref) <= 512 && !strings.HasSuffix(ref, "/") && !strings.HasSuffix(ref, ".lock") &&
		!strings.Contains(ref, "..") && !strings.Contains(ref, "//") && !strings.Contains(ref, "@{") &&
		!strings.ContainsFunc(ref, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`~^:?*[\`, r) })
}

// CreatePipeline makes a pipeline. Jobs may read its repository, so the caller must be allowed to. Errors: *iam.DeniedError;
// [*Error] of kind NotFound, Invalid, Exists, Limit.
func (s *Service) CreatePipeline(ctx context.Context, c *iam.Caller, projectRef string, n NewPipeline) (*Pipeline, error) {
	c = orNobody(c)
	h, err := s.within(ctx, c, "CreatePipeline", projectRef, pipelineItem, n.Name)
	if err != nil {
		return nil, err
	}
	p := &Pipeline{
		ID: h.id, ProjectID: h.project.ID, Project: h.project.Name, Account: h.project.Account, Name: n.Name, Folder: n.Folder, RepositoryKind: n.RepositoryKind,
		Repository: n.Repository, Path: n.Path, DefaultBranch: n.DefaultBranch, State: n.State, Settings: n.Settings, Created: s.now(),
	}
	if p.Connection, err = s.connectionID(ctx, h.project, n.Connection); err != nil {
		return nil, err
	}
	if p.Repository, err = s.source(ctx, c, p.RepositoryKind, p.Repository); err != nil {
		return nil, err
	}
	if err := p.check(); err != nil {
		return nil, err
	}
	p.Updated = p.Created
	settings, err := json.Marshal(p.Settings)
	if err != nil {
		return nil, err
	}
	err = s.update(ctx, c, "CreatePipeline", h.arn, p.ID, func(tx *meta.Tx) error {
		if err := room(ctx, tx, h, pipelineItem); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `INSERT INTO pipelines (`+pipelineColumns+`, folded) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12, $13)`,
			p.ID, p.ProjectID, p.Name, p.Folder, p.RepositoryKind, p.Repository, p.Connection, p.Path, p.DefaultBranch, string(p.State), string(settings),
			p.Created.UnixMicro(), fold(p.Name))
		return err
	})
	if err != nil {
		return nil, err
	}
	return p, s.nameSources(ctx, p)
}

// nameSources fills in what the repositories of pipelines are called.
func (s *Service) nameSources(ctx context.Context, list ...*Pipeline) error {
	if s.o.SourceName == nil {
		return nil
	}
	names := map[string]string{}
	for _, p := range list {
		if p.RepositoryKind != RepositoryGit {
			continue
		}
		name, ok := names[p.Repository]
		if !ok {
			var err error
			if name, err = s.o.SourceName(ctx, p.Repository); err != nil && !errors.Is(err, ErrNotFound) {
				return fmt.Errorf("repository of pipeline %s: %w", p.Name, err)
			}
			names[p.Repository] = name
		}
		p.RepositoryName = name
	}
	return nil
}

func (s *Service) connectionID(ctx context.Context, p *Project, ref string) (string, error) {
	if ref == "" {
		return "", nil
	}
	if err := checkRef("service connection", ref); err != nil {
		return "", err
	}
	h, err := locate(ctx, s.db, p, connectionItem, ref)
	if err != nil {
		return "", err
	}
	if h == nil {
		return "", errorf(Invalid, "connection", "there is no service connection %q in project %s", ref, p.Name)
	}
	return h.id, nil
}

// source returns what is kept of the repository that a caller names for a pipeline.
func (s *Service) source(ctx context.Context, c *iam.Caller, kind, repository string) (string, error) {
	if cmp.Or(kind, RepositoryGit) != RepositoryGit {
		return repository, nil
	}
	if repository == "" || s.o.Lookup == nil {
		return "", errorf(Invalid, "repository", "a pipeline needs the repository that its file is in")
	}
	id, arn, err := s.o.Lookup(ctx, c.Account, KindRepository, repository)
	if errors.Is(err, ErrNotFound) {
		return "", errorf(Invalid, "repository", "there is no repository %.80q", repository)
	}
	if err != nil {
		return "", err
	}
	return id, s.judge.Check(ctx, c, iam.On(c, "git:Pull", arn))
}

// DescribePipeline returns a pipeline by name or id. Errors: *iam.DeniedError; [*Error] of kind NotFound.
func (s *Service) DescribePipeline(ctx context.Context, c *iam.Caller, projectRef, ref string) (*Pipeline, error) {
	h, err := s.at(ctx, orNobody(c), "DescribePipeline", projectRef, pipelineItem, ref)
	if err != nil {
		return nil, err
	}
	p, err := s.Pipeline(ctx, h.id)
	if err != nil {
		return nil, err
	}
	return p, s.nameSources(ctx, p)
}

// UpdatePipeline changes a pipeline. To rename it takes the permission under both names. Errors: *iam.DeniedError;
// [*Error] of kind NotFound, Invalid, Exists, Conflict.
func (s *Service) UpdatePipeline(ctx context.Context, c *iam.Caller, projectRef, ref string, e PipelineEdit) (*Pipeline, error) {
	c = orNobody(c)
	h, err := s.at(ctx, c, "UpdatePipeline", projectRef, pipelineItem, ref)
	if err != nil {
		return nil, err
	}
	detail := ""
	if e.Name != nil && *e.Name != h.name {
		if err := checkItemName(pipelineItem, *e.Name); err != nil {
			return nil, err
		}
		if err := s.check(ctx, c, "UpdatePipeline", s.arn(c.Account, h.project.Name, pipelineItem, *e.Name), nil); err != nil {
			return nil, err
		}
		detail = "renamed to " + *e.Name
	}
	connection := ""
	if e.Connection != nil {
		if connection, err = s.connectionID(ctx, h.project, *e.Connection); err != nil {
			return nil, err
		}
	}
	if e.Repository != nil {
		kind := e.RepositoryKind
		if kind == nil {
			old, err := s.Pipeline(ctx, h.id)
			if err != nil {
				return nil, err
			}
			kind = &old.RepositoryKind
		}
		repository, err := s.source(ctx, c, *kind, *e.Repository)
		if err != nil {
			return nil, err
		}
		e.Repository, e.RepositoryKind = &repository, kind
	} else if e.RepositoryKind != nil {
		return nil, errorf(Invalid, "repository", "with another kind comes another repository: name it")
	}
	var p *Pipeline
	err = s.update(ctx, c, "UpdatePipeline", h.arn, detail, func(tx *meta.Tx) error {
		if p, err = one(scanPipeline, tx.QueryRow(ctx, `SELECT `+pipelineColumns+` FROM pipelines WHERE id = $1`+forUpdate(tx), h.id)); err != nil {
			return err
		}
		if p == nil || p.Name != h.name {
			return errorf(Conflict, "", "the pipeline %s was changed by others at the same time; try again", h.name)
		}
		p.Project, p.Account, p.Updated = h.project.Name, h.project.Account, s.now()
		if err := e.apply(p, connection); err != nil {
			return err
		}
		if fold(p.Name) != fold(h.name) {
			other, err := locate(ctx, tx, h.project, pipelineItem, p.Name)
			if err != nil || other != nil {
				return orExists(err, pipelineItem.noun, p.Name)
			}
		}
		settings, err := json.Marshal(p.Settings)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE pipelines SET name = $1, folded = $2, folder = $3, repository_kind = $4, repository = $5, connection = $6, path = $7,
			default_branch = $8, state = $9, settings = $10, updated_at = $11 WHERE id = $12`,
			p.Name, fold(p.Name), p.Folder, p.RepositoryKind, p.Repository, p.Connection, p.Path, p.DefaultBranch, string(p.State), string(settings), p.Updated.UnixMicro(), p.ID)
		if meta.IsUnique(err) {
			return orExists(nil, pipelineItem.noun, p.Name)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return p, s.nameSources(ctx, p)
}

func (e *PipelineEdit) apply(p *Pipeline, connection string) error {
	for _, set := range []struct{ from, to *string }{
		{e.Name, &p.Name}, {e.Folder, &p.Folder}, {e.Path, &p.Path}, {e.DefaultBranch, &p.DefaultBranch},
		{e.RepositoryKind, &p.RepositoryKind}, {e.Repository, &p.Repository},
	} {
		if set.from != nil {
			*set.to = *set.from
		}
	}
	if e.Connection != nil {
		p.Connection = connection
	}
	if e.State != nil {
		p.State = *e.State
	}
	if e.Settings != nil {
		p.Settings = *e.Settings
	}
	return p.check()
}

// DeletePipeline deletes a pipeline with its variables and runs. Errors: *iam.DeniedError; [*Error] of kind NotFound.
func (s *Service) DeletePipeline(ctx context.Context, c *iam.Caller, projectRef, ref string) error {
	c = orNobody(c)
	h, err := s.at(ctx, c, "DeletePipeline", projectRef, pipelineItem, ref)
	if err != nil {
		return err
	}
	return s.remove(ctx, c, "DeletePipeline", pipelineItem, "", h)
}

// ListPipelines lists the pipelines of a project by name. Errors: *iam.DeniedError; [*Error] of kind NotFound, Invalid.
func (s *Service) ListPipelines(ctx context.Context, c *iam.Caller, projectRef string, page Page) ([]Pipeline, string, error) {
	o, list, next, err := items(ctx, s, c, projectRef, pipelineItem, pipelineColumns, scanPipeline, func(p *Pipeline) string { return p.Name }, page)
	all := make([]*Pipeline, 0, len(list))
	for i := range list {
		list[i].Project, list[i].Account = o.Name, o.Account
		all = append(all, &list[i])
	}
	if err == nil {
		err = s.nameSources(ctx, all...)
	}
	return list, next, err
}

// Pipeline returns a pipeline by its id, for other parts of the server: it decides nothing. Errors: [ErrNotFound].
func (s *Service) Pipeline(ctx context.Context, id string) (*Pipeline, error) {
	p, err := one(scanWhole, s.db.QueryRow(ctx, wholePipelines+`WHERE p.id = $1`, id))
	if err == nil && p == nil {
		err = noSuch("pipeline", id)
	}
	return p, err
}

// FindPipeline returns a pipeline of a project by name or id, for other parts of the server: it decides nothing. Errors:
// [ErrNotFound].
func (s *Service) FindPipeline(ctx context.Context, projectID, ref string) (*Pipeline, error) {
	h, err := locate(ctx, s.db, &Project{ID: projectID}, pipelineItem, ref)
	if err == nil && h == nil {
		err = noSuch("pipeline", ref)
	}
	if err != nil {
		return nil, err
	}
	return s.Pipeline(ctx, h.id)
}

// PipelinesOf returns the pipelines whose files are in one of our repositories and that are not disabled, for triggers: it
// decides nothing.
func (s *Service) PipelinesOf(ctx context.Context, repository string) ([]Pipeline, error) {
	return collect(ctx, s.db, scanWhole, wholePipelines+`WHERE p.repository = $1 AND p.repository_kind = $2 AND p.state <> $3 ORDER BY p.id`,
		fold(repository), RepositoryGit, string(Disabled))
}

// Counter returns the next number of a pipeline's counter: first the seed, then one more each time that the transaction is
// committed. It is for counter() in variables and for the numbers of runs.
func (s *Service) Counter(ctx context.Context, tx *meta.Tx, pipelineID, name string, seed int64) (n int64, err error) {
	if len(name) > 512 || strings.Contains(name, "\x00") {
		return 0, errorf(Invalid, "counter", "the prefix of a counter has at most 512 bytes of text")
	}
	err = tx.QueryRow(ctx, `INSERT INTO pipeline_counters (pipeline_id, name, value) VALUES ($1, $2, $3)
		ON CONFLICT (pipeline_id, name) DO UPDATE SET value = pipeline_counters.value + 1 RETURNING value`, pipelineID, name, seed).Scan(&n)
	return n, err
}
