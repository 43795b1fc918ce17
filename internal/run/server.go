package run

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/project"
)

// server is what the job of a claim asks of the server.
type server struct {
	s *Service
	c Claim
}

// Server returns what the job of a claim may ask for. Each call checks the claim.
func (s *Service) Server(c Claim) work.Server { return &server{s, c} }

func (v *server) Update(ctx context.Context, records []work.Record) error {
	return v.s.Update(ctx, v.c, records)
}

func (v *server) AppendLog(ctx context.Context, log string, offset int64, data []byte) (int64, error) {
	return v.s.AppendLog(ctx, v.c, log, offset, data)
}

func (v *server) Attach(ctx context.Context, a work.Attachment) error {
	return v.s.Attach(ctx, v.c, a)
}

func (v *server) SetRunNumber(ctx context.Context, number string) error {
	return v.s.SetRunNumber(ctx, v.c, number)
}

func (v *server) AddTag(ctx context.Context, tag string) error { return v.s.AddTag(ctx, v.c, tag) }

func (v *server) PutFile(ctx context.Context, artifact, kind, name string, size int64, r io.Reader) error {
	return v.s.PutFile(ctx, v.c, artifact, kind, name, size, r)
}

func (v *server) FinishArtifact(ctx context.Context, artifact, kind string, properties map[string]string) error {
	return v.s.FinishArtifact(ctx, v.c, artifact, kind, properties)
}

func (v *server) Artifacts(ctx context.Context, run int64) ([]work.Artifact, error) {
	id, err := v.s.readable(ctx, v.c, run)
	if err != nil {
		return nil, err
	}
	return v.s.artifacts(ctx, id)
}

func (v *server) Files(ctx context.Context, run int64, artifact string) iter.Seq2[work.File, error] {
	return func(yield func(work.File, error) bool) {
		id, err := v.s.readable(ctx, v.c, run)
		if err != nil {
			yield(work.File{}, err)
			return
		}
		v.s.files(ctx, id, artifact)(yield)
	}
}

func (v *server) GetFile(ctx context.Context, run int64, artifact, name string) (io.ReadCloser, error) {
	id, err := v.s.readable(ctx, v.c, run)
	if err != nil {
		return nil, err
	}
	r, _, err := v.s.openFile(ctx, id, artifact, name)
	return r, err
}

func (v *server) Runs(ctx context.Context, q work.RunQuery) ([]int64, error) {
	return v.s.findRuns(ctx, v.c, q)
}

func (v *server) Approve(ctx context.Context, step, instructions string, notify []string, timeout time.Duration, onTimeout string) (work.Result, string, error) {
	return v.s.Approve(ctx, v.c, step, instructions, notify, timeout, onTimeout)
}

func (v *server) IdentityToken(ctx context.Context, audience string) (string, error) {
	j, err := v.s.jobOf(ctx, v.c, "IdentityToken")
	if err != nil {
		return "", err
	}
	return v.s.identityToken(ctx, iam.SystemCaller(j.Identity.Account, "agent/"+v.c.Agent), j, audience)
}

func (v *server) Login(ctx context.Context) (*work.Credentials, error) {
	j, err := v.s.jobOf(ctx, v.c, "Login")
	if err != nil {
		return nil, err
	}
	return v.s.o.Projects.Credentials(ctx, *j)
}

// JobOf says who the job of a claim is.
func (s *Service) JobOf(ctx context.Context, c Claim) (work.Identity, error) {
	j, err := s.jobOf(ctx, c, "Identity")
	if err != nil {
		return work.Identity{}, err
	}
	return j.Identity, nil
}

func (s *Service) jobOf(ctx context.Context, c Claim, action string) (*project.Job, error) {
	row, err := s.verify(ctx, s.db, c, action)
	if err != nil {
		return nil, err
	}
	j, err := readJob(ctx, s.db, c.Job)
	if err != nil {
		return nil, err
	}
	r, err := s.run(ctx, s.db, j.run)
	if err != nil {
		return nil, err
	}
	return s.jobFor(ctx, r, j, c, row.agentName)
}

// jobFor says who a job is, to package project.
func (s *Service) jobFor(ctx context.Context, r *Run, j *jobRow, c Claim, agent string) (*project.Job, error) {
	p := &project.Job{ID: jobID(c), Identity: s.identity(r, j, agent), Untrusted: !r.Trusted}
	p.Until = s.now().Add(time.Duration(j.timeout+j.cancelTimeout)*time.Microsecond + 10*time.Minute)
	err := s.db.QueryRow(ctx, `SELECT environment FROM run_phases WHERE run = $1 AND stage = $2 AND attempt = $3 AND name = $4`,
		j.run, j.stage, j.stageAttempt, j.phase).Scan(&p.Identity.Environment)
	if err != nil {
		return nil, fmt.Errorf("read job %s: %w", j.ID, err)
	}
	return p, nil
}

// readable returns the id of a run whose artifacts a claim's job may read: its own (0), one of its project, or one that its
// pipeline names as a resource. A run from outside reads its own alone.
func (s *Service) readable(ctx context.Context, c Claim, id int64) (int64, error) {
	if _, err := s.verify(ctx, s.db, c, "ReadArtifacts"); err != nil {
		return 0, err
	}
	own, err := s.runOf(ctx, c, "ReadArtifacts")
	if err != nil || id == 0 || id == own {
		return own, err
	}
	r, err := s.run(ctx, s.db, own)
	if err != nil {
		return 0, err
	}
	other, err := s.run(ctx, s.db, id)
	if err != nil {
		return 0, err
	}
	named := false
	for _, p := range r.spec.Pipelines {
		named = named || p.RunID == id
	}
	if !r.Trusted || other.Account != r.Account || other.ProjectID != r.ProjectID && !named {
		return 0, errorf(NotFound, "there is no run %d that this job may read", id)
	}
	return id, nil
}

const maxFound = 100

// findRuns finds runs whose artifacts a claim's job may download: those of its project, completed, the newest first.
func (s *Service) findRuns(ctx context.Context, c Claim, q work.RunQuery) ([]int64, error) {
	own, err := s.readable(ctx, c, 0)
	if err != nil {
		return nil, err
	}
	r, err := s.run(ctx, s.db, own)
	if err != nil {
		return nil, err
	}
	if q.Run != 0 {
		id, err := s.readable(ctx, c, q.Run)
		if err != nil {
			return nil, err
		}
		return []int64{id}, nil
	}
	if !r.Trusted {
		return nil, errorf(NotFound, "a pull request from outside reads no other runs")
	}
	ref := q.Pipeline
	if ref == "" {
		ref = r.PipelineID
	}
	if q.Project != "" && !strings.EqualFold(q.Project, r.Project) && q.Project != r.ProjectID {
		return nil, errorf(NotFound, "jobs of project %s download from pipelines of their project, or from those that are named in resources.pipelines", r.Project)
	}
	p, err := s.o.Projects.FindPipeline(ctx, r.ProjectID, ref)
	if err != nil || p == nil {
		if err == nil || errors.Is(err, project.ErrNotFound) {
			return nil, errorf(NotFound, "there is no pipeline %s in project %s", ref, r.Project)
		}
		return nil, err
	}
	return s.latest(ctx, p.ID, q)
}

// latest lists completed runs of a pipeline. Those of pull requests from outside are not among them: what anybody may propose is
// not what others build on or deploy.
func (s *Service) latest(ctx context.Context, pipeline string, q work.RunQuery) ([]int64, error) {
	branch := q.Branch
	if branch != "" && !strings.HasPrefix(branch, "refs/") {
		branch = "refs/heads/" + branch
	}
	rows, err := s.db.Query(ctx, `SELECT id, result FROM runs WHERE pipeline = $1 AND state = 'completed' AND trusted = 1 AND (CAST($2 AS TEXT) = '' OR ref = $2) ORDER BY id DESC LIMIT 1000`, pipeline, branch)
	type found struct {
		id     int64
		result work.Result
	}
	list, err := collect(rows, err, func(row scanner) (f found, err error) { return f, row.Scan(&f.id, &f.result) })
	if err != nil {
		return nil, fmt.Errorf("look for runs: %w", err)
	}
	var out []int64
	for _, f := range list {
		ok := f.result == work.Succeeded || q.AllowPartial && f.result == work.SucceededWithIssues || q.AllowFailed && f.result == work.Failed
		if !ok || len(out) == maxFound {
			continue
		}
		if len(q.Tags) > 0 {
			tags, err := s.tags(ctx, s.db, f.id)
			if err != nil {
				return nil, err
			}
			if slices.ContainsFunc(q.Tags, func(t string) bool { return !slices.Contains(tags, t) }) {
				continue
			}
		}
		out = append(out, f.id)
	}
	return out, nil
}

func (s *Service) tags(ctx context.Context, q reader, id int64) ([]string, error) {
	rows, err := q.Query(ctx, `SELECT tag FROM run_tags WHERE run = $1 ORDER BY tag`, id)
	list, err := collect(rows, err, func(row scanner) (t string, err error) { return t, row.Scan(&t) })
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("read tags of run %d: %w", id, err)
	}
	return list, nil
}
