package run

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sekisho/sekisho/internal/job"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/pipeline"
	"github.com/sekisho/sekisho/internal/pipeline/flow"
	"github.com/sekisho/sekisho/internal/project"
)

// scheduled is a time at which a pipeline is to run, and how.
type scheduled struct {
	pipeline, ref string
	ord           int64
	cron          string
	displayName   string
	always, batch bool
	next          int64
	lastCommit    string
}

const scheduleColumns = `pipeline, ref, ord, cron, display_name, always, batch, next_at, last_commit`

func scanScheduled(row scanner) (d scheduled, err error) {
	var always, batch int64
	err = row.Scan(&d.pipeline, &d.ref, &d.ord, &d.cron, &d.displayName, &always, &batch, &d.next, &d.lastCommit)
	d.always, d.batch = always != 0, batch != 0
	return d, err
}

func next(cron string, after time.Time) (time.Time, error) {
	c, err := flow.ParseCron(cron)
	if err != nil {
		return time.Time{}, err
	}
	return c.Next(after.UTC())
}

// schedule remembers the schedules that a pipeline's file has at a branch. Those that stay as they were keep their time.
func (s *Service) schedule(ctx context.Context, p *project.Pipeline, ref string, plan *pipeline.Plan) error {
	return s.db.Update(ctx, func(tx *meta.Tx) error {
		rows, err := tx.Query(ctx, `SELECT `+scheduleColumns+` FROM run_schedules WHERE pipeline = $1 AND ref = $2`, p.ID, ref)
		old, err := collect(rows, err, scanScheduled)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `DELETE FROM run_schedules WHERE pipeline = $1 AND ref = $2`, p.ID, ref); err != nil {
			return err
		}
		for i, sch := range plan.Schedules {
			if !flow.MatchBranch(sch.Branches, ref) {
				continue
			}
			at, err := next(sch.Cron, s.now())
			if err != nil {
				continue // such a day never comes
			}
			d := scheduled{next: at.UnixMicro()}
			for _, was := range old {
				if was.cron == sch.Cron && was.ord == int64(i) {
					d.next, d.lastCommit = was.next, was.lastCommit
				}
			}
			_, err = tx.Exec(ctx, `INSERT INTO run_schedules (`+scheduleColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
				p.ID, ref, i, sch.Cron, clip(sch.DisplayName, maxText), flag(sch.Always), flag(sch.Batch), d.next, d.lastCommit)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// refGone forgets the schedules of a branch that was deleted.
func (s *Service) refGone(ctx context.Context, list []project.Pipeline, ref string) error {
	return s.db.Update(ctx, func(tx *meta.Tx) error {
		for i := range list {
			if _, err := tx.Exec(ctx, `DELETE FROM run_schedules WHERE pipeline = $1 AND ref = $2`, list[i].ID, ref); err != nil {
				return err
			}
		}
		return nil
	})
}

// startScheduled starts the runs whose time has come. A time that passed while no server ran starts one run, not several.
func (s *Service) startScheduled(ctx context.Context) error {
	rows, err := s.db.Query(ctx, `SELECT `+scheduleColumns+` FROM run_schedules WHERE next_at <= $1 ORDER BY next_at LIMIT 100`, s.now().UnixMicro())
	list, err := collect(rows, err, scanScheduled)
	if err != nil {
		return fmt.Errorf("look for schedules: %w", err)
	}
	var errs []error
	for _, d := range list {
		if err := s.startOne(ctx, d); err != nil {
			errs = append(errs, fmt.Errorf("schedule %q of pipeline %s: %w", d.cron, d.pipeline, err))
		}
	}
	return errors.Join(errs...)
}

// startDue starts the run of a schedule.
func (s *Service) startDue(ctx context.Context, d schedulePayload) error {
	p, err := s.o.Projects.Pipeline(ctx, d.Pipeline)
	if err != nil {
		return err
	}
	_, err = s.trigger(ctx, p, &StartRequest{Ref: d.Ref, Reason: Schedule}, "", "", d.Source, func(r *Run) { r.spec.Schedule = d.DisplayName })
	return err
}

func (s *Service) startOne(ctx context.Context, d scheduled) error {
	p, err := s.o.Projects.Pipeline(ctx, d.pipeline)
	if err != nil {
		return err
	}
	_, commit, err := s.o.Repositories.Resolve(ctx, p.Repository, d.ref)
	if err != nil && !isNotFound(err) {
		return err
	}
	busy := 0
	if err == nil && d.batch {
		err = s.db.QueryRow(ctx, `SELECT count(*) FROM runs WHERE pipeline = $1 AND ref = $2 AND state <> 'completed' AND reason = 'schedule'`, d.pipeline, d.ref).Scan(&busy)
		if err != nil {
			return err
		}
	}
	starts := err == nil && busy == 0 && (d.always || commit != d.lastCommit)
	if starts {
		d.lastCommit = commit
	}
	after, err := next(d.cron, s.now())
	return s.db.Update(ctx, func(tx *meta.Tx) error {
		if starts {
			// Its file is read by the queue: one that takes long, or that nothing can be made of, keeps nobody else from theirs.
			source := fmt.Sprintf("schedule/%s/%s/%d/%d", d.pipeline, d.ref, d.ord, d.next)
			_, _, err := s.o.Jobs.Enqueue(ctx, tx, job.Spec{Kind: ScheduleJob, Unique: source, Payload: schedulePayload{d.pipeline, d.ref, d.displayName, source}})
			if err != nil {
				return err
			}
		}
		if err != nil {
			_, err := tx.Exec(ctx, `DELETE FROM run_schedules WHERE pipeline = $1 AND ref = $2 AND ord = $3`, d.pipeline, d.ref, d.ord)
			return err
		}
		_, err := tx.Exec(ctx, `UPDATE run_schedules SET next_at = $1, last_commit = $2 WHERE pipeline = $3 AND ref = $4 AND ord = $5 AND next_at = $6`,
			after.UnixMicro(), d.lastCommit, d.pipeline, d.ref, d.ord, d.next)
		return err
	})
}

// Refresh reads the file of a pipeline at all branches of its repository, for its schedules and for the pipelines that it
// follows: for one that is new, or was changed.
func (s *Service) Refresh(ctx context.Context, pipelineID string) error {
	p, err := s.o.Projects.Pipeline(ctx, pipelineID)
	if err != nil || p.RepositoryKind != project.RepositoryGit {
		return err
	}
	branches, err := s.o.Repositories.Branches(ctx, p.Repository)
	if err != nil {
		return err
	}
	var errs []error
	for ref, commit := range branches {
		req := &StartRequest{Ref: ref, Commit: commit, Reason: Schedule}
		r, err := s.draft(ctx, s.system(p.Account), p, req, "")
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out, err := s.compile(ctx, r, p, req)
		if err != nil || out.plan == nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, s.schedule(ctx, p, ref, out.plan))
		if ref == p.DefaultBranch {
			errs = append(errs, s.subscribe(ctx, p, out.plan))
		}
	}
	return errors.Join(errs...)
}

// ReadNew refreshes the pipelines that were made or changed since it was called last.
func (s *Service) ReadNew(ctx context.Context) error {
	rows, err := s.db.Query(ctx, `SELECT p.id, p.updated_at FROM pipelines p WHERE p.state <> 'disabled' AND p.repository_kind = 'git'
		AND NOT EXISTS (SELECT 1 FROM run_seen n WHERE n.source = 'pipeline/' || p.id AND n.at = p.updated_at) LIMIT 100`)
	type fresh struct {
		id string
		at int64
	}
	list, err := collect(rows, err, func(row scanner) (f fresh, err error) { return f, row.Scan(&f.id, &f.at) })
	if err != nil {
		return fmt.Errorf("look for new pipelines: %w", err)
	}
	var errs []error
	for _, f := range list {
		if err := s.Refresh(ctx, f.id); err != nil { // it is read again at its next push, or change
			errs = append(errs, fmt.Errorf("read pipeline %s: %w", f.id, err))
		}
		errs = append(errs, s.db.Update(ctx, func(tx *meta.Tx) error {
			_, err := tx.Exec(ctx, `INSERT INTO run_seen (source, at) VALUES ($1, $2) ON CONFLICT (source) DO UPDATE SET at = excluded.at`, "pipeline/"+f.id, f.at)
			return err
		}))
	}
	return errors.Join(errs...)
}
