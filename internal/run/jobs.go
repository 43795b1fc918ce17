package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/job"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/registry"
)

// The kinds of jobs of the background queue.
const (
	EndJob    = "run-claim-ended" // revokes what was bound to a claim, packs its logs
	FollowJob = "run-ended"       // starts what follows a run or a stage
	PushJob   = "run-push"        // starts what a push triggers
	RetainJob = "run-retain"      // deletes what was kept long enough
	ReadJob   = "run-read"        // reads the files of pipelines that are new or were changed
	// ScheduleJob starts the run of a schedule whose time has come.
	ScheduleJob = "run-schedule"
)

type schedulePayload struct {
	Pipeline, Ref, DisplayName string
	Source                     string // of the run
}

type endPayload struct {
	Job     string
	Attempt int
}

type followPayload struct {
	Run   int64
	Stage string // empty: the run itself
}

const (
	retainEvery = time.Hour
	readEvery   = time.Minute
)

// Handle has a queue do this package's jobs.
func (s *Service) Handle(q *job.Queue) {
	q.Handle(EndJob, job.KindOptions{Concurrency: 4}, func(ctx context.Context, j *job.Job) error {
		var p endPayload
		if err := json.Unmarshal(j.Payload, &p); err != nil {
			return err
		}
		return s.claimEnded(ctx, p)
	})
	q.Handle(FollowJob, job.KindOptions{Concurrency: 2}, func(ctx context.Context, j *job.Job) error {
		var p followPayload
		if err := json.Unmarshal(j.Payload, &p); err != nil {
			return err
		}
		return s.ended(ctx, p)
	})
	q.Handle(PushJob, job.KindOptions{Concurrency: 4, MaxAttempts: 5}, func(ctx context.Context, j *job.Job) error {
		var p Push
		if err := json.Unmarshal(j.Payload, &p); err != nil {
			return err
		}
		return s.pushed(ctx, p)
	})
	q.Handle(ScheduleJob, job.KindOptions{Concurrency: 2, MaxAttempts: 5}, func(ctx context.Context, j *job.Job) error {
		var p schedulePayload
		if err := json.Unmarshal(j.Payload, &p); err != nil {
			return err
		}
		return s.startDue(ctx, p)
	})
	q.Handle(ReadJob, job.KindOptions{Every: readEvery}, func(ctx context.Context, _ *job.Job) error { return s.ReadNew(ctx) })
	q.Handle(RetainJob, job.KindOptions{Every: retainEvery}, func(ctx context.Context, _ *job.Job) error {
		n, err := s.Retain(ctx)
		if n > 0 {
			s.o.Logger.Info("runs were deleted that were kept long enough", "count", n)
		}
		return err
	})
}

func (s *Service) system(account string) *iam.Caller { return iam.SystemCaller(account, "runs") }

// claimEnded does what a claim's end leaves to be done.
func (s *Service) claimEnded(ctx context.Context, p endPayload) error {
	if err := s.o.Projects.Ended(ctx, jobID(Claim{Job: p.Job, Attempt: p.Attempt})); err != nil {
		return err
	}
	if err := s.packClaim(ctx, p.Job, p.Attempt); err != nil {
		return err
	}
	return s.db.Update(ctx, func(tx *meta.Tx) error {
		rows, err := tx.Query(ctx, `SELECT object FROM run_staged WHERE job = $1 AND attempt = $2 AND object IS NOT NULL`, p.Job, p.Attempt)
		objects, err := collect(rows, err, func(row scanner) (n int64, err error) { return n, row.Scan(&n) })
		if err == nil {
			_, err = tx.Exec(ctx, `DELETE FROM run_staged WHERE job = $1 AND attempt = $2`, p.Job, p.Attempt)
		}
		for _, id := range objects {
			if err == nil {
				err = registry.DropObject(ctx, tx, id, s.now())
			}
		}
		return err
	})
}

// ended starts what follows.
func (s *Service) ended(ctx context.Context, p followPayload) error {
	r, err := s.run(ctx, s.db, p.Run)
	if isNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	err = s.startDownstream(ctx, r, p.Stage)
	if p.Stage == "" {
		err = errors.Join(err, s.startBatch(ctx, r))
	}
	return err
}

// Retain deletes runs that were kept long enough, and objects that runs left behind. It returns how many runs it deleted.
func (s *Service) Retain(ctx context.Context) (deleted int, err error) {
	rows, err := s.db.Query(ctx, `SELECT DISTINCT pipeline FROM runs WHERE state = 'completed'`)
	pipelines, err := collect(rows, err, func(row scanner) (id string, err error) { return id, row.Scan(&id) })
	if err != nil {
		return 0, fmt.Errorf("look for runs to delete: %w", err)
	}
	var errs []error
	for _, id := range pipelines {
		n, err := s.retainOf(ctx, id)
		deleted += n
		errs = append(errs, err)
	}
	errs = append(errs, s.sweepObjects(ctx), s.db.Update(ctx, func(tx *meta.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM run_leases WHERE until > 0 AND until < $1`, s.now().UnixMicro())
		return err
	}))
	return deleted, errors.Join(errs...)
}

// retainOf deletes runs of one pipeline: those older than its days, but for the newest that it keeps anyway.
func (s *Service) retainOf(ctx context.Context, id string) (deleted int, err error) {
	p, err := s.o.Projects.Pipeline(ctx, id)
	if err != nil {
		return 0, err
	}
	j, err := s.o.Projects.Project(ctx, p.ProjectID)
	if err != nil {
		return 0, err
	}
	days, keep := s.o.Limits.RetainDays, 3
	for _, n := range []int{j.Settings.RetentionDays, p.Settings.RetentionDays} {
		if n > 0 {
			days = n
		}
	}
	for _, n := range []int{j.Settings.KeepRuns, p.Settings.KeepRuns} {
		if n > 0 {
			keep = n
		}
	}
	now := s.now()
	rows, err := s.db.Query(ctx, `SELECT r.id, r.finished_at, r.keep + (SELECT count(*) FROM run_leases l WHERE l.run = r.id AND (l.until = 0 OR l.until > $2))
		FROM runs r WHERE r.pipeline = $1 AND r.state = 'completed' ORDER BY r.id DESC`, id, now.UnixMicro())
	type candidate struct {
		id, finished int64
		kept         int64
	}
	list, err := collect(rows, err, func(row scanner) (c candidate, err error) { return c, row.Scan(&c.id, &c.finished, &c.kept) })
	if err != nil {
		return 0, err
	}
	before := now.AddDate(0, 0, -days).UnixMicro()
	for i, c := range list {
		old := i >= keep && c.finished < before || i >= s.o.Limits.RetainAtMost
		if c.kept > 0 || !old {
			continue
		}
		if err := s.remove(ctx, nil, c.id); err != nil {
			return deleted, err
		}
		deleted++
	}
	return deleted, nil
}

// remove deletes a run that is over, with all that is in it.
func (s *Service) remove(ctx context.Context, by *iam.Caller, id int64) error {
	return s.db.Update(ctx, func(tx *meta.Tx) error {
		r, err := s.lockRun(ctx, tx, id)
		if isNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		// What it was when somebody looked may have changed: it may run again, or be kept.
		var leases int
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM run_leases WHERE run = $1 AND (until = 0 OR until > $2)`, id, s.now().UnixMicro()).Scan(&leases); err != nil {
			return err
		}
		if r.State != work.Completed || r.Keep || leases > 0 {
			if by == nil {
				return nil
			}
			return errorf(Conflict, "run %d runs again, or is to be kept", id)
		}
		if by == nil {
			by = s.system(r.Account)
		}
		rows, err := tx.Query(ctx, `SELECT f.object FROM run_files f JOIN run_artifacts a ON a.id = f.artifact WHERE a.run = $1 AND f.object IS NOT NULL
			UNION SELECT object FROM run_attachments WHERE run = $1 AND object IS NOT NULL
			UNION SELECT o.object FROM run_log_objects o JOIN run_logs l ON l.id = o.log JOIN run_jobs j ON j.id = l.job WHERE j.run = $1
			UNION SELECT n.object FROM run_staged n JOIN run_jobs j ON j.id = n.job WHERE j.run = $1 AND n.object IS NOT NULL`, id)
		objects, err := collect(rows, err, func(row scanner) (n int64, err error) { return n, row.Scan(&n) })
		if err == nil {
			_, err = tx.Exec(ctx, `DELETE FROM runs WHERE id = $1`, id)
		}
		for _, object := range objects {
			if err == nil {
				err = registry.DropObject(ctx, tx, object, s.now())
			}
		}
		if err != nil {
			return fmt.Errorf("delete run %d: %w", id, err)
		}
		tx.OnCommit(func() { s.hub.wake(projectTopic(r.ProjectID)) })
		return s.changed(ctx, tx, Change{Caller: by, Action: "pipelines:DeleteRun", ARN: s.runARN(r.Account, r.Project, id), Detail: "run " + r.Number + " of " + r.Pipeline})
	})
}

// sweepObjects drops objects that no row of a run names: those of runs that went with their pipeline.
func (s *Service) sweepObjects(ctx context.Context) error {
	rows, err := s.db.Query(ctx, `SELECT h.id FROM held_objects h WHERE h.holder = $1 AND h.created_at < $2
		AND NOT EXISTS (SELECT 1 FROM run_files f WHERE f.object = h.id) AND NOT EXISTS (SELECT 1 FROM run_staged n WHERE n.object = h.id)
		AND NOT EXISTS (SELECT 1 FROM run_attachments a WHERE a.object = h.id) AND NOT EXISTS (SELECT 1 FROM run_log_objects o WHERE o.object = h.id) LIMIT 10000`,
		holder, s.now().Add(-time.Hour).UnixMicro())
	list, err := collect(rows, err, func(row scanner) (n int64, err error) { return n, row.Scan(&n) })
	if err != nil {
		return fmt.Errorf("look for objects that no run names: %w", err)
	}
	for _, id := range list {
		err := s.db.Update(ctx, func(tx *meta.Tx) error { return registry.DropObject(ctx, tx, id, s.now()) })
		if err != nil && !meta.IsForeignKey(err) {
			return err
		}
	}
	return nil
}
