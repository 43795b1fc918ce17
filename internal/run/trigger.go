package run

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/job"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/pipeline"
	"github.com/sekisho/sekisho/internal/pipeline/flow"
	"github.com/sekisho/sekisho/internal/pipeline/yaml"
	"github.com/sekisho/sekisho/internal/project"
)

// Push is what a push did to a repository.
type Push struct {
	Repository string // id
	Account    string
	By         string // ARN; empty: the server itself
	For        string // for people; empty: By
	At         time.Time
	Options    []string // of git push -o
	Updates    []RefUpdate
}

// RefUpdate is what became of a ref; zeroes stand for none.
type RefUpdate struct{ Ref, Old, New string }

func isZero(commit string) bool { return strings.Trim(commit, "0") == "" }

// maxUpdates is how many refs of one push start runs.
const maxUpdates = 50

// OnPush has a push start what it triggers, in the transaction that tells of it. The same push again starts nothing more.
func (s *Service) OnPush(ctx context.Context, tx *meta.Tx, p Push) error {
	for _, o := range p.Options {
		if o == "ci.skip" || o == "skip-ci" {
			return nil
		}
	}
	for i, u := range p.Updates {
		if i == maxUpdates {
			break
		}
		one := p
		one.Updates = []RefUpdate{u}
		_, _, err := s.o.Jobs.Enqueue(ctx, tx, job.Spec{Kind: PushJob, Unique: sourceOf(one), Payload: one})
		if err != nil {
			return err
		}
	}
	return nil
}

// sourceOf names a push of one ref.
func sourceOf(p Push) string {
	u := p.Updates[0]
	return fmt.Sprintf("push/%s/%s/%s/%s/%d", p.Repository, u.Ref, u.Old, u.New, p.At.UnixMicro())
}

// pushed does what a push of one ref asks for.
func (s *Service) pushed(ctx context.Context, p Push) error {
	u := p.Updates[0]
	list, err := s.o.Projects.PipelinesOf(ctx, p.Repository)
	if err != nil {
		return err
	}
	if isZero(u.New) {
		return s.refGone(ctx, list, u.Ref)
	}
	var errs []error
	for i := range list {
		if err := s.pushedTo(ctx, &list[i], p); err != nil {
			errs = append(errs, fmt.Errorf("pipeline %s: %w", list[i].Name, err))
		}
	}
	return errors.Join(errs...)
}

// pushedTo starts a run of a pipeline, if its file says so at what was pushed.
func (s *Service) pushedTo(ctx context.Context, p *project.Pipeline, push Push) error {
	u := push.Updates[0]
	about, err := s.o.Repositories.Commit(ctx, push.Repository, u.New)
	if isNotFound(err) {
		return nil // it is gone again, or is no commit
	}
	if err != nil {
		return err
	}
	pull := strings.HasPrefix(u.Ref, pulls)
	if !pull && !strings.HasPrefix(u.Ref, "refs/heads/") && !strings.HasPrefix(u.Ref, "refs/tags/") {
		return nil
	}
	by := push.By
	if by == "" {
		by = "arn:aws:iam::" + p.Account + ":system/git"
	}
	c := &iam.Caller{Principal: iam.Principal{Account: p.Account, ARN: by, Type: iam.System}}
	req := &StartRequest{Ref: u.Ref, Commit: u.New, Reason: IndividualCI}
	if pull {
		req.Reason = PullRequest
		req.PullRequest = pullRequest(u)
		if !p.Settings.ForkBuilds {
			return nil
		}
	}
	r, err := s.draft(ctx, c, p, req, push.For)
	if err != nil {
		return err
	}
	out, err := s.compile(ctx, r, p, req)
	if err != nil {
		return err
	}
	if out.missing {
		return nil // this branch has no such file
	}
	if out.plan != nil && strings.HasPrefix(u.Ref, "refs/heads/") {
		if err := s.schedule(ctx, p, u.Ref, out.plan); err != nil {
			return err
		}
		if u.Ref == p.DefaultBranch {
			if err := s.subscribe(ctx, p, out.plan); err != nil {
				return err
			}
		}
	}
	if p.Settings.TriggersOff {
		return nil
	}
	if out.plan == nil {
		if flow.SkipCI(about.Message) != "" {
			return nil
		}
		_, err := s.create(ctx, c, r, p, req, out, sourceOf(push)+"/"+p.ID)
		return err
	}
	var paths []string
	if !isZero(u.Old) {
		if paths, err = s.o.Repositories.Changed(ctx, push.Repository, u.Old, u.New); err != nil {
			paths = nil // not known: any filter matches
		}
	}
	var m flow.Match
	if pull {
		m = flow.MatchPullRequest(out.plan.PR, flow.PullRequestEvent{Target: p.DefaultBranch, Messages: []string{about.Message}, Paths: paths})
	} else {
		m = flow.MatchPush(out.plan.Trigger, flow.Push{Ref: u.Ref, Messages: []string{about.Message}, Paths: paths})
	}
	if !m.Run {
		s.o.Logger.Debug("a push starts no run", "pipeline", p.Name, "ref", u.Ref, "reason", m.Reason)
		return nil
	}
	if pull && (out.plan.PR == nil || out.plan.PR.AutoCancel) {
		if err := s.supersede(ctx, p, u.Ref, sourceOf(push)+"/"+p.ID); err != nil {
			return err
		}
	}
	if t := out.plan.Trigger; !pull && t != nil && t.Batch {
		waits, err := s.batch(ctx, p, push)
		if err != nil || waits {
			return err
		}
	}
	_, err = s.create(ctx, c, r, p, req, out, sourceOf(push)+"/"+p.ID)
	return err
}

// pullRequest is what a ref tells of its pull request; all of them are from outside.
func pullRequest(u RefUpdate) *flow.PullRequest {
	number := strings.Split(strings.TrimPrefix(u.Ref, pulls), "/")[0]
	return &flow.PullRequest{ID: number, Number: number, SourceBranch: u.Ref, SourceCommit: u.New, Fork: true}
}

// supersede cancels the runs of earlier versions of a pull request.
func (s *Service) supersede(ctx context.Context, p *project.Pipeline, ref, source string) error {
	rows, err := s.db.Query(ctx, `SELECT id FROM runs WHERE pipeline = $1 AND state <> 'completed' AND ref = $2 AND cancel = 0 AND source <> $3`, p.ID, ref, source)
	list, err := collect(rows, err, func(row scanner) (id int64, err error) { return id, row.Scan(&id) })
	if err != nil {
		return err
	}
	for _, id := range list {
		err := s.change(ctx, id, func(x *change) error {
			if x.run.State == work.Completed || x.run.cancel != 0 {
				return nil
			}
			if err := x.load(); err != nil {
				return err
			}
			why := "the pull request was updated"
			x.cancelRun(why)
			x.moved = true
			return x.cancelJobs(why, x.stages...)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// batch has a push wait for the run of its branch that there is; the last push wins.
func (s *Service) batch(ctx context.Context, p *project.Pipeline, push Push) (waits bool, err error) {
	u := push.Updates[0]
	err = s.db.Update(ctx, func(tx *meta.Tx) error {
		waits = false
		if err := lockPipeline(ctx, tx, p.ID); err != nil {
			return err
		}
		var live int
		err := tx.QueryRow(ctx, `SELECT count(*) FROM runs WHERE pipeline = $1 AND state <> 'completed' AND ref = $2 AND reason IN ('individualCI', 'batchedCI') AND source <> $3`,
			p.ID, u.Ref, sourceOf(push)+"/"+p.ID).Scan(&live)
		if err != nil || live == 0 {
			return err
		}
		waits = true
		_, err = tx.Exec(ctx, `INSERT INTO run_batches (pipeline, ref, spec, at) VALUES ($1, $2, $3, $4)
			ON CONFLICT (pipeline, ref) DO UPDATE SET spec = excluded.spec, at = excluded.at`, p.ID, u.Ref, toJSON(push), s.now().UnixMicro())
		return err
	})
	return waits, err
}

func lockPipeline(ctx context.Context, tx *meta.Tx, id string) error {
	if tx.Dialect() != meta.PostgreSQL {
		return nil
	}
	_, err := tx.Exec(ctx, `SELECT id FROM pipelines WHERE id = $1 FOR NO KEY UPDATE`, id)
	return err
}

// startBatch starts the run that pushes waited for while a run of their branch was going on.
func (s *Service) startBatch(ctx context.Context, r *Run) error {
	var text string
	err := s.db.QueryRow(ctx, `SELECT spec FROM run_batches WHERE pipeline = $1 AND ref = $2`, r.PipelineID, r.Ref).Scan(&text)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	var push Push
	if err == nil {
		err = json.Unmarshal([]byte(text), &push)
	}
	if err != nil {
		return fmt.Errorf("read what waits for run %d: %w", r.ID, err)
	}
	var live int
	err = s.db.QueryRow(ctx, `SELECT count(*) FROM runs WHERE pipeline = $1 AND state <> 'completed' AND ref = $2 AND reason IN ('individualCI', 'batchedCI')`, r.PipelineID, r.Ref).Scan(&live)
	if err != nil || live > 0 {
		return err
	}
	p, err := s.o.Projects.Pipeline(ctx, r.PipelineID)
	if err != nil {
		return err
	}
	if _, err := s.trigger(ctx, p, &StartRequest{Ref: r.Ref, Commit: push.Updates[0].New, Reason: BatchedCI}, push.By, push.For, sourceOf(push)+"/"+p.ID, nil); err != nil {
		return err
	}
	return s.db.Update(ctx, func(tx *meta.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM run_batches WHERE pipeline = $1 AND ref = $2 AND spec = $3`, r.PipelineID, r.Ref, text)
		return err
	})
}

// trigger starts a run that nobody asked for by hand; also one of a pipeline that is wrong, which shows what is wrong.
func (s *Service) trigger(ctx context.Context, p *project.Pipeline, req *StartRequest, by, forWhom, source string, edit func(r *Run)) (*Run, error) {
	if p.State == "disabled" || p.Settings.TriggersOff {
		return nil, nil
	}
	if by == "" {
		by = "arn:aws:iam::" + p.Account + ":system/" + req.Reason
	}
	c := &iam.Caller{Principal: iam.Principal{Account: p.Account, ARN: by, Type: iam.System}}
	r, err := s.draft(ctx, c, p, req, forWhom)
	if isNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if edit != nil {
		edit(r)
	}
	out, err := s.compile(ctx, r, p, req)
	if err != nil || out.missing {
		return nil, err
	}
	return s.create(ctx, c, r, p, req, out, source)
}

// upstream is a pipeline resource with a trigger, as it is stored.
type upstream struct {
	Trigger *pipeline.Trigger
	Stages  []string
	Tags    []string
	Branch  string
}

// subscribe remembers whose runs start those of a pipeline, as the file of its default branch says.
func (s *Service) subscribe(ctx context.Context, p *project.Pipeline, plan *pipeline.Plan) error {
	return s.db.Update(ctx, func(tx *meta.Tx) error {
		if _, err := tx.Exec(ctx, `DELETE FROM run_upstreams WHERE pipeline = $1`, p.ID); err != nil {
			return err
		}
		for _, res := range plan.Resources.Pipelines {
			if res.Trigger == nil || !res.Trigger.Enabled {
				continue
			}
			_, err := tx.Exec(ctx, `INSERT INTO run_upstreams (pipeline, alias, project, source, spec) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (pipeline, alias) DO NOTHING`,
				p.ID, fold(res.Alias), res.Project, fold(res.Source), toJSON(upstream{res.Trigger, res.TriggerStages, res.TriggerTags, res.Branch}))
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// startDownstream starts the runs that follow from the end of a run, or of one of its stages.
func (s *Service) startDownstream(ctx context.Context, r *Run, stage string) error {
	rows, err := s.db.Query(ctx, `SELECT pipeline, alias, project, spec FROM run_upstreams WHERE source = $1`, fold(r.Pipeline))
	type follower struct{ pipeline, alias, project, spec string }
	list, err := collect(rows, err, func(row scanner) (f follower, err error) {
		return f, row.Scan(&f.pipeline, &f.alias, &f.project, &f.spec)
	})
	if err != nil {
		return fmt.Errorf("look for pipelines that follow run %d: %w", r.ID, err)
	}
	var errs []error
	for _, f := range list {
		p, err := s.o.Projects.Pipeline(ctx, f.pipeline)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		var u upstream
		if err := json.Unmarshal([]byte(f.spec), &u); err != nil {
			errs = append(errs, err)
			continue
		}
		same := f.project == "" && p.ProjectID == r.ProjectID || strings.EqualFold(f.project, r.Project)
		if !same || p.Account != r.Account {
			continue
		}
		ok, err := s.follows(ctx, &u, r, stage)
		if err != nil || !ok {
			errs = append(errs, err)
			continue
		}
		if err := s.mayFollow(ctx, p, r.ProjectID, r.Project, r.PipelineID, r.Pipeline); err != nil {
			if !final(err) {
				errs = append(errs, err)
			}
			continue
		}
		req := &StartRequest{Reason: ResourceTrigger, Resources: map[string]Resource{f.alias: {Run: r.ID}}}
		source := fmt.Sprintf("run/%d/%d/%s/%s", r.ID, r.Attempt, p.ID, f.alias)
		_, err = s.trigger(ctx, p, req, r.RequestedBy, r.RequestedFor, source, func(d *Run) {
			d.CauseRun = r.ID
			d.spec.Triggered = &flow.Trigger{BuildID: r.ID, BuildNumber: r.Number, Pipeline: r.Pipeline, PipelineID: r.PipelineID, ProjectID: r.ProjectID}
		})
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// follows reports whether the end of a run, or of one of its stages, is what a trigger waits for.
func (s *Service) follows(ctx context.Context, u *upstream, r *Run, ended string) (bool, error) {
	good := func(x work.Result) bool { return x == work.Succeeded || x == work.SucceededWithIssues }
	if !r.Trusted || !flow.MatchBranch(u.Trigger.Branches, r.Ref) {
		return false, nil
	}
	if len(u.Tags) > 0 {
		tags, err := s.tags(ctx, s.db, r.ID)
		if err != nil {
			return false, err
		}
		for _, want := range u.Tags {
			if !contains(tags, want) {
				return false, nil
			}
		}
	}
	if len(u.Stages) == 0 {
		return ended == "" && good(r.Result), nil
	}
	if ended == "" || !contains(u.Stages, ended) {
		return false, nil
	}
	rows, err := s.db.Query(ctx, `SELECT `+stageColumns+` FROM run_stages WHERE run = $1 ORDER BY attempt`, r.ID)
	list, err := collect(rows, err, scanStage)
	if err != nil {
		return false, err
	}
	last := map[string]*stage{}
	for _, g := range list {
		last[fold(g.Name)] = g
	}
	for _, name := range u.Stages {
		if g := last[fold(name)]; g == nil || g.State != work.Completed || !good(g.Result) {
			return false, nil
		}
	}
	return true, nil
}

// mayFollow returns why a pipeline may not use the runs of another one: those of other projects are for pipelines that were
// authorised, because whoever writes to a repository could name any.
func (s *Service) mayFollow(ctx context.Context, p *project.Pipeline, ownerID, owner, id, name string) error {
	if p.ProjectID == ownerID {
		return nil
	}
	use := project.Use{Kind: project.KindPipeline, ID: id, Name: owner + "/" + name}
	missing, err := s.o.Projects.Unauthorized(ctx, p.ID, []project.Use{use})
	if err == nil && len(missing) > 0 {
		err = &project.NotAuthorizedError{Use: use, Pipeline: p.Name, Project: p.Project}
	}
	return err
}

// pinPipelines finds the runs that the pipeline resources of a run stand for.
func (s *Service) pinPipelines(ctx context.Context, r *Run, out *compiled, req *StartRequest) error {
	for _, res := range out.plan.Resources.Pipelines {
		ref := res.Project
		if ref == "" {
			ref = r.Project
		}
		var id int64
		for alias, asked := range req.Resources {
			if strings.EqualFold(alias, res.Alias) {
				id = asked.Run
			}
		}
		p, err := s.pipelineOf(ctx, r.Account, ref, res.Source)
		if err != nil && !isNotFound(err) {
			return err
		}
		if id == 0 && p != nil && r.Trusted {
			list, err := s.latest(ctx, p.ID, work.RunQuery{Branch: res.Branch, Tags: res.Tags, AllowPartial: true})
			if err != nil {
				return err
			}
			if len(list) > 0 {
				id = list[0]
			}
		}
		if id == 0 || p == nil {
			out.problems = append(out.problems, Problem{Message: fmt.Sprintf("pipeline resource %s: there is no run of %s/%s to use", res.Alias, ref, res.Source),
				File: res.Pos.File, Line: res.Pos.Line, Column: res.Pos.Column})
			continue
		}
		if err := s.mayFollow(ctx, &project.Pipeline{ID: r.PipelineID, Name: r.Pipeline, ProjectID: r.ProjectID, Project: r.Project}, p.ProjectID, p.Project, p.ID, p.Name); err != nil {
			if final(err) {
				err = &Error{Kind: Invalid, Message: err.Error(), Problems: []Problem{problem(&yaml.Error{Pos: res.Pos, Message: err.Error()}, true)}}
			}
			return err
		}
		other, err := s.run(ctx, s.db, id)
		if err != nil {
			return err
		}
		if other.PipelineID != p.ID {
			return errorf(Invalid, "run %d is not of pipeline %s, which resource %s names", id, p.Name, res.Alias)
		}
		r.spec.Pipelines = append(r.spec.Pipelines, flow.Resource{
			Alias: res.Alias, ProjectID: other.ProjectID, Project: other.Project, PipelineID: other.PipelineID, Pipeline: other.Pipeline, RunID: other.ID,
			RunNumber: other.Number, SourceBranch: other.Ref, SourceCommit: other.Commit, SourceProvider: "TfsGit", RequestedFor: other.RequestedFor,
		})
	}
	return nil
}
