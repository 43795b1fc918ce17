package run

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/pipeline"
	"github.com/sekisho/sekisho/internal/pipeline/flow"
	"github.com/sekisho/sekisho/internal/pipeline/yaml"
	"github.com/sekisho/sekisho/internal/project"
	"github.com/sekisho/sekisho/internal/seal"
)

const (
	maxText     = 500
	maxMessage  = 4 << 10
	maxProblems = 200
)

// StartRequest says what is to be run.
type StartRequest struct {
	Account, Project, Pipeline string // names or ids
	Ref                        string // "refs/heads/main", "main"; empty: the pipeline's default branch
	Commit                     string // empty: what Ref is now
	Parameters                 map[string]string
	Variables                  []StartVariable
	SkipStages                 []string
	Resources                  map[string]Resource // by alias
	Reason                     string              // empty: manual; "pullRequest" with PullRequest
	PullRequest                *flow.PullRequest
}

// StartVariable is a variable for one run.
type StartVariable struct {
	Name, Value string
	Secret      bool
}

// Resource says which version of a resource is used.
type Resource struct {
	Ref     string // of a repository
	Version string // commit of a repository
	Run     int64  // of a pipeline
}

const (
	maxStartVariables = 200
	maxStartValue     = 64 << 10
)

// Start begins a run: the pipeline's file is read at the commit, and the run stored and queued in one transaction. A
// pipeline that is wrong is an [*Error] of kind Invalid with all that is wrong. Other errors: *iam.DeniedError, [*Error].
func (s *Service) Start(ctx context.Context, c *iam.Caller, req StartRequest) (*Run, error) {
	p, err := s.pipelineOf(ctx, cmp.Or(req.Account, accountOf(c)), req.Project, req.Pipeline)
	if err != nil {
		if !isNotFound(err) {
			return nil, err
		}
		arn := s.pipelineARN(cmp.Or(req.Account, accountOf(c)), req.Project, req.Pipeline)
		return nil, errors.Join(s.check(ctx, c, "StartRun", arn, nil), err)
	}
	ref, err := s.refOf(ctx, p, req.Ref)
	if err != nil {
		return nil, err
	}
	if err := s.check(ctx, c, "StartRun", s.pipelineARN(p.Account, p.Project, p.Name), map[string][]string{"pipelines:branch": {ref}, "pipelines:pipeline": {p.Name}}); err != nil {
		return nil, err
	}
	if err := checkStart(p, &req); err != nil {
		return nil, err
	}
	req.Ref = ref // what was decided on
	r, err := s.draft(ctx, c, p, &req, "")
	if err != nil {
		return nil, err
	}
	if err := s.isOn(ctx, r); err != nil {
		return nil, err
	}
	out, err := s.compile(ctx, r, p, &req)
	if err != nil {
		return nil, err
	}
	if out.broken() {
		return nil, &Error{Kind: Invalid, Message: sumOf(out.problems), Problems: out.problems}
	}
	return s.create(ctx, c, r, p, &req, out, "")
}

// refOf returns the full name of the ref that a run is asked for: that of a branch, or of a tag if there is no such branch.
func (s *Service) refOf(ctx context.Context, p *project.Pipeline, ref string) (string, error) {
	if ref = cmp.Or(ref, p.DefaultBranch); strings.HasPrefix(ref, "refs/") {
		return ref, nil
	}
	if p.RepositoryKind == project.RepositoryGit {
		full, _, err := s.o.Repositories.Resolve(ctx, p.Repository, ref)
		if err != nil && !isNotFound(err) {
			return "", err
		}
		if full != "" {
			return full, nil
		}
	}
	return "refs/heads/" + ref, nil
}

// isOn refuses a run of a commit that its ref does not lead to: a ref stands for what was accepted there, which permissions and
// the checks of environments go by.
func (s *Service) isOn(ctx context.Context, r *Run) error {
	_, tip, err := s.o.Repositories.Resolve(ctx, r.spec.Repository, r.Ref)
	if err == nil && tip != r.Commit {
		var on bool
		if on, err = s.o.Repositories.Contains(ctx, r.spec.Repository, tip, r.Commit); err == nil && !on {
			return errorf(Invalid, "commit %s is not on %s: name the branch or tag that it is on", r.Commit, r.Ref)
		}
	}
	if isNotFound(err) {
		return errorf(NotFound, "repository %s has no %s", r.spec.RepositoryName, r.Ref)
	}
	return err
}

func accountOf(c *iam.Caller) string {
	if c == nil {
		return ""
	}
	return c.Account
}

// pipelineOf finds a pipeline by names or ids.
func (s *Service) pipelineOf(ctx context.Context, account, projectRef, ref string) (*project.Pipeline, error) {
	j, err := s.o.Projects.Find(ctx, account, projectRef)
	if err == nil && j == nil {
		err = project.ErrNotFound
	}
	var p *project.Pipeline
	if err == nil {
		p, err = s.o.Projects.FindPipeline(ctx, j.ID, ref)
	}
	if err == nil && p == nil {
		err = project.ErrNotFound
	}
	if errors.Is(err, project.ErrNotFound) {
		return nil, errorf(NotFound, "there is no pipeline %s in project %s", ref, projectRef)
	}
	return p, err
}

func checkStart(p *project.Pipeline, req *StartRequest) error {
	if p.State == "disabled" {
		return errorf(Conflict, "pipeline %s is disabled; enable it with: sekisho pipeline update -p %s %q --state enabled", p.Name, p.Project, p.Name)
	}
	if len(req.Variables) > maxStartVariables || len(req.Parameters) > maxStartVariables {
		return errorf(Limit, "a run takes at most %d variables and as many parameters", maxStartVariables)
	}
	for _, v := range req.Variables {
		if len(v.Value) > maxStartValue {
			return errorf(Limit, "variable %s has more than %d bytes", clip(v.Name, 100), maxStartValue)
		}
	}
	switch req.Reason {
	case "":
		req.Reason = Manual
	case Manual, PullRequest:
	default:
		return errorf(Invalid, "a run is started for the reason %q or %q; the others are the server's", Manual, PullRequest)
	}
	return nil
}

// pulls is where pull requests are. What is there comes from outside, whoever starts a run of it, and for whatever reason.
const pulls = "refs/pull/"

// draft is a run that is not stored: what it is of.
func (s *Service) draft(ctx context.Context, c *iam.Caller, p *project.Pipeline, req *StartRequest, by string) (*Run, error) {
	if p.RepositoryKind != project.RepositoryGit {
		return nil, errorf(Conflict, "the file of pipeline %s is in the outside repository %s, which runs can't read; make a mirror of it with sekisho git create %s/NAME --mirror URL, and name that in the pipeline", p.Name, p.Repository, p.Project)
	}
	repo, err := s.o.Repositories.Describe(ctx, p.Repository)
	if err != nil {
		return nil, fmt.Errorf("repository of pipeline %s: %w", p.Name, err)
	}
	full, commit, err := s.o.Repositories.Resolve(ctx, p.Repository, cmp.Or(req.Commit, req.Ref, p.DefaultBranch))
	if err != nil {
		if isNotFound(err) {
			return nil, errorf(NotFound, "repository %s/%s has no %s", repo.Project, repo.Name, cmp.Or(req.Commit, req.Ref, p.DefaultBranch))
		}
		return nil, err
	}
	ref := full
	if req.Commit != "" || ref == "" {
		if ref = cmp.Or(req.Ref, p.DefaultBranch); !strings.HasPrefix(ref, "refs/") {
			ref = "refs/heads/" + ref
		}
	}
	about, err := s.o.Repositories.Commit(ctx, p.Repository, commit)
	if err != nil {
		return nil, fmt.Errorf("read commit %s: %w", commit, err)
	}
	message, _, _ := strings.Cut(strings.TrimSpace(about.Message), "\n")
	r := &Run{
		Account: p.Account, ProjectID: p.ProjectID, Project: p.Project, PipelineID: p.ID, Pipeline: p.Name, Reason: req.Reason,
		Ref: ref, Commit: commit, Message: clip(message, maxText), Author: clip(about.Author, maxText),
		RequestedBy: c.Who(), RequestedFor: cmp.Or(by, shortName(c.Who())), State: work.Pending, Attempt: 1, Created: s.now(),
		Trusted: (req.PullRequest == nil || !req.PullRequest.Fork) && !strings.HasPrefix(ref, pulls),
		spec:    &spec{Parameters: req.Parameters, Skip: req.SkipStages, Repository: p.Repository, RepositoryName: repo.Project + "/" + repo.Name, PullRequest: req.PullRequest},
	}
	return r, nil
}

// create stores a run and has it begin. source, if not empty, names what it was started by: again, it is the run that there
// is.
func (s *Service) create(ctx context.Context, c *iam.Caller, draft *Run, p *project.Pipeline, req *StartRequest, out *compiled, source string) (*Run, error) {
	var packed, expanded []byte
	var err error
	draft.spec.Repositories = out.pins
	if out.plan != nil {
		if err := s.pinPipelines(ctx, draft, out, req); err != nil {
			e, ok := errors.AsType[*Error](err)
			if !ok || source == "" || len(e.Problems) == 0 {
				return nil, err
			}
			out.plan, out.problems = nil, append(e.Problems, out.problems...) // nobody is there to be told: the run shows what is wrong
		}
	}
	if out.plan != nil {
		if packed, err = packPlan(out.plan); err != nil {
			return nil, fmt.Errorf("store plan: %w", err)
		}
		if expanded, err = packExpanded(out.plan); err != nil {
			return nil, fmt.Errorf("store plan: %w", err)
		}
	}
	draft.Problems = out.problems[:min(len(out.problems), maxProblems)]
	f := &facts{plan: out.plan, environments: map[string]environment{}}
	for range maxNeeds {
		var made *Run
		again := false
		err := s.db.Update(ctx, func(tx *meta.Tx) error {
			r := *draft
			sp := *draft.spec
			r.spec, made, again = &sp, &r, false
			if source != "" {
				var id int64
				err := tx.QueryRow(ctx, `SELECT id FROM runs WHERE source = $1`, source).Scan(&id)
				if err == nil {
					r.ID, again = id, true
					return nil
				}
				if !errors.Is(err, sql.ErrNoRows) {
					return err
				}
			}
			x := &change{s: s, ctx: ctx, tx: tx, now: s.now(), facts: f, topics: map[string]struct{}{}, run: &r}
			return x.create(c, p, req, packed, expanded, source)
		})
		if need, ok := errors.AsType[*needError](err); ok {
			if err := s.supply(ctx, made, f, need); err != nil {
				return nil, err
			}
			continue
		}
		if meta.IsUnique(err) && source != "" {
			continue // somebody else started it at the same moment
		}
		if err != nil {
			return nil, err
		}
		if again {
			return s.run(ctx, s.db, made.ID)
		}
		if out.plan != nil {
			s.plans.put(made.ID, out.plan)
		}
		return s.run(ctx, s.db, made.ID)
	}
	return nil, fmt.Errorf("pipeline %s needs too many things at once", p.Name)
}

// create stores the rows of a run.
func (x *change) create(c *iam.Caller, p *project.Pipeline, req *StartRequest, packed, expanded []byte, source string) error {
	r, ctx, tx := x.run, x.ctx, x.tx
	err := tx.QueryRow(ctx, `INSERT INTO runs (account, project, pipeline, number, reason, ref, commit_id, message, author, requested_by, requested_for, trusted,
		state, result, cancel, cancel_by, waits, attempt, source, cause_run, spec, problems, tests_passed, tests_failed, tests_skipped, log_bytes, seq, keep,
		created_at, started_at, finished_at)
		VALUES ($1, $2, $3, '', $4, $5, $6, $7, $8, $9, $10, $11, 'pending', '', 0, '', '', 1, $12, $13, '{}', '[]', 0, 0, 0, 0, 0, 0, $14, 0, 0) RETURNING id`,
		r.Account, r.ProjectID, r.PipelineID, r.Reason, r.Ref, r.Commit, r.Message, r.Author, r.RequestedBy, r.RequestedFor, flag(r.Trusted),
		source, r.CauseRun, x.now.UnixMicro()).Scan(&r.ID)
	if err != nil {
		return fmt.Errorf("store run: %w", err)
	}
	r.Created = x.now
	for _, v := range req.Variables {
		sv := specVariable{Name: v.Name, Value: v.Value}
		if v.Secret {
			sv.Value = ""
			if sv.Secret, err = x.secret(v.Value); err != nil {
				return err
			}
		}
		r.spec.Variables = append(r.spec.Variables, sv)
	}
	if r.Number, err = x.number(); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `UPDATE runs SET spec = $1 WHERE id = $2`, toJSON(r.spec), r.ID)
	if err == nil {
		err = x.s.changed(ctx, tx, Change{Caller: c, Action: "pipelines:StartRun", ARN: x.s.runARN(r.Account, r.Project, r.ID),
			Detail: fmt.Sprintf("pipeline %s, %s at %s, %s", r.Pipeline, r.Ref, r.Commit, r.Reason)})
	}
	if err != nil {
		return err
	}
	if x.facts.plan == nil {
		r.State, r.Result, r.Started, r.Finished = work.Completed, work.Failed, x.now, x.now
		x.tellRun()
		return x.end()
	}
	_, err = tx.Exec(ctx, `INSERT INTO run_plans (run, plan, expanded) VALUES ($1, $2, $3)`, r.ID, packed, expanded)
	if err != nil {
		return fmt.Errorf("store plan: %w", err)
	}
	st := flow.NewState(x.facts.plan)
	x.stages = []*stage{}
	for i, ps := range x.facts.plan.Stages {
		for _, name := range r.spec.Skip {
			st.Stages[i].Omitted = st.Stages[i].Omitted || strings.EqualFold(name, ps.Name)
		}
		g := &stage{Name: ps.Name, Attempt: 1, ord: int64(i), DisplayName: clip(cmp.Or(ps.DisplayName, ps.Name), maxText), State: work.Pending}
		if err := x.addStage(g, ps); err != nil {
			return err
		}
	}
	_, err = tx.Exec(ctx, `INSERT INTO run_states (run, state, counters) VALUES ($1, $2, $3)`, r.ID, toJSON(st), toJSON(x.counters))
	if err != nil {
		return fmt.Errorf("store the state of run %d: %w", r.ID, err)
	}
	if r.waits, err = x.room(p); err != nil {
		return err
	}
	x.moved = true
	x.tellRun()
	return x.end()
}

// addStage stores an attempt of a stage, with its jobs.
func (x *change) addStage(g *stage, ps *pipeline.Stage) error {
	_, err := x.tx.Exec(x.ctx, `INSERT INTO run_stages (run, `+stageColumns+`) VALUES ($1, $2, $3, $4, $5, $6, '', 0, '', '', 0, 0)`,
		x.run.ID, g.Name, g.Attempt, g.ord, g.DisplayName, string(g.State))
	if err != nil {
		return fmt.Errorf("store stage %s: %w", g.Name, err)
	}
	for k, pj := range ps.Jobs {
		p := &phase{stage: g.Name, stageAttempt: g.Attempt, Name: pj.Name, ord: int64(k), DisplayName: clip(cmp.Or(pj.DisplayName, pj.Name), maxText), State: work.Pending}
		_, err := x.tx.Exec(x.ctx, `INSERT INTO run_phases (run, `+phaseColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, '', '', '', '', 0, 0)`,
			x.run.ID, g.Name, g.Attempt, p.Name, p.ord, p.DisplayName, string(p.State))
		if err != nil {
			return fmt.Errorf("store job %s: %w", p.Name, err)
		}
		g.phases = append(g.phases, p)
	}
	x.stages = append(x.stages, g)
	return nil
}

// secret seals a value of the run and returns its id.
func (x *change) secret(value string) (string, error) {
	id := fmt.Sprintf("%d/%s", x.run.ID, freshID())
	sealed, err := x.s.ring.Seal(x.ctx, x.tx, seal.RunSecrets(), []byte(value), id)
	if err == nil {
		_, err = x.tx.Exec(x.ctx, `INSERT INTO run_secrets (id, run, value) VALUES ($1, $2, $3)`, id, x.run.ID, sealed)
	}
	if err != nil {
		return "", fmt.Errorf("store a secret of run %d: %w", x.run.ID, err)
	}
	return id, nil
}

// open returns a secret of a run.
func (s *Service) open(ctx context.Context, id string) (string, error) {
	var sealed []byte
	err := s.db.QueryRow(ctx, `SELECT value FROM run_secrets WHERE id = $1`, id).Scan(&sealed)
	if err != nil {
		return "", fmt.Errorf("read a secret of a run: %w", err)
	}
	value, err := s.ring.Open(ctx, s.db, seal.RunSecrets(), sealed, id)
	return string(value), err
}

func packExpanded(p *pipeline.Plan) ([]byte, error) {
	var text []byte
	if p.Expanded != nil {
		text = yaml.Marshal(p.Expanded)
	}
	return pack(text)
}

// Expanded returns the normal form of what a run carries out, as YAML.
func (s *Service) Expanded(ctx context.Context, c *iam.Caller, id int64) ([]byte, error) {
	if _, err := s.visible(ctx, c, "DescribeRun", id); err != nil {
		return nil, err
	}
	var packed []byte
	err := s.db.QueryRow(ctx, `SELECT expanded FROM run_plans WHERE run = $1`, id).Scan(&packed)
	if err != nil {
		return nil, notFound(err, "run %d has no plan: its pipeline did not compile", id)
	}
	return unpack(packed, maxPlan)
}
