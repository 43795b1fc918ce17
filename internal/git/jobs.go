package git

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sekisho/sekisho/internal/job"
	"github.com/sekisho/sekisho/internal/meta"
)

// The kinds of jobs.
const (
	MirrorJob    = "git-mirror"    // fetches a mirror
	RemoveJob    = "git-remove"    // deletes the folder of a repository that was deleted
	RepackJob    = "git-repack"    // packs a repository, and deletes what nothing needs
	HouseJob     = "git-house"     // looks for mirrors that are due, and pushes that were not told
	ReconcileJob = "git-reconcile" // compares all refs with what was told
)

const (
	houseEvery     = time.Minute
	reconcileEvery = time.Hour
	unfinished     = 10 * time.Minute // after which an intent is looked after; longer than applyTime
	repackAfter    = 40               // packs, or
	repackLoose    = 2000             // loose objects
	fullEvery      = 7 * 24 * time.Hour
	expiry         = "2.weeks.ago" // of objects that nothing reaches
	orphanAge      = 24 * time.Hour
)

// Handle has the queue do the background work of this node. It is called before the queue starts.
func (s *Service) Handle() {
	id := func(work func(context.Context, string) error) job.Handler {
		return func(ctx context.Context, j *job.Job) error {
			var id string
			if err := json.Unmarshal(j.Payload, &id); err != nil {
				return err
			}
			return work(ctx, id)
		}
	}
	s.jobs.Handle(MirrorJob, job.KindOptions{Concurrency: 2, Timeout: mirrorTime + time.Minute, MaxAttempts: 3}, id(s.fetchMirror))
	s.jobs.Handle(RemoveJob, job.KindOptions{Timeout: time.Hour}, id(func(_ context.Context, id string) error { return s.removeFolder(id) }))
	s.jobs.Handle(RepackJob, job.KindOptions{Timeout: 6 * time.Hour, MaxAttempts: 3}, id(s.repack))
	s.jobs.Handle(HouseJob, job.KindOptions{Every: houseEvery, Timeout: time.Hour}, func(ctx context.Context, _ *job.Job) error { return s.keepHouse(ctx) })
	s.jobs.Handle(ReconcileJob, job.KindOptions{Every: reconcileEvery, Timeout: time.Hour}, func(ctx context.Context, _ *job.Job) error {
		if s.Available() != nil {
			return nil
		}
		return errors.Join(s.ReconcileAll(ctx), s.Sweep(ctx))
	})
}

// keepHouse starts what is due.
func (s *Service) keepHouse(ctx context.Context) error {
	if s.Available() != nil {
		return nil
	}
	due, err := s.ids(ctx, `SELECT repository_id FROM git_mirrors WHERE due_at > 0 AND due_at <= $1 ORDER BY due_at LIMIT 1000`, s.now().UnixMicro())
	if err != nil {
		return err
	}
	err = s.enqueueAll(ctx, MirrorJob, due)
	late, ierr := s.ids(ctx, `SELECT DISTINCT repository_id FROM git_intents WHERE created_at < $1`, s.now().Add(-unfinished).UnixMicro())
	err = errors.Join(err, ierr)
	for _, id := range late {
		if rerr := s.Reconcile(ctx, id); rerr != nil && !errors.Is(rerr, ErrOf(NotFound)) {
			err = errors.Join(err, rerr)
		}
	}
	return err
}

func (s *Service) enqueueAll(ctx context.Context, kind string, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	return s.db.Update(ctx, func(tx *meta.Tx) error {
		for _, id := range ids {
			if _, _, err := s.jobs.Enqueue(ctx, tx, job.Spec{Kind: kind, Unique: id, Payload: id}); err != nil {
				return err
			}
		}
		return nil
	})
}

// Start tells of pushes that nobody was told of because a process died. It is called before clients are served.
func (s *Service) Start(ctx context.Context) error {
	if s.Available() != nil {
		return nil
	}
	late, err := s.ids(ctx, `SELECT DISTINCT repository_id FROM git_intents`)
	if err != nil {
		return err
	}
	var errs []error
	for _, id := range late {
		if err := s.Reconcile(ctx, id); err != nil && !errors.Is(err, ErrOf(NotFound)) {
			errs = append(errs, fmt.Errorf("repository %s: %w", id, err))
		}
	}
	return errors.Join(errs...)
}

// Sweep measures repositories, has those be repacked by jobs that need it, and deletes folders that belong to nothing.
func (s *Service) Sweep(ctx context.Context) error {
	repack, err := s.measure(ctx)
	return errors.Join(err, s.enqueueAll(ctx, RepackJob, repack), s.sweepFolders(ctx))
}

// Collect is Sweep where nobody serves and runs jobs: it repacks here.
func (s *Service) Collect(ctx context.Context) error {
	repack, err := s.measure(ctx)
	if len(repack) > 0 && s.Available() != nil {
		return errors.Join(err, s.Available())
	}
	for _, id := range repack {
		err = errors.Join(err, s.repack(ctx, id))
	}
	return errors.Join(err, s.sweepFolders(ctx))
}

// measure writes down the sizes of repositories and returns those that are to be repacked.
func (s *Service) measure(ctx context.Context) (repack []string, err error) {
	rows, err := s.db.Query(ctx, `SELECT id, size, packed_at, pushed_at FROM git_repositories`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	type state struct{ size, packed, pushed int64 }
	all := map[string]state{}
	for rows.Next() {
		var id string
		var st state
		if err := rows.Scan(&id, &st.size, &st.packed, &st.pushed); err != nil {
			return nil, err
		}
		all[id] = st
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, err
	}
	var errs []error
	for id, st := range all {
		size, err := s.diskSize(id)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if size != st.size {
			errs = append(errs, s.setSize(ctx, id, size, st.packed))
		}
		if s.needsRepack(id) || st.pushed > st.packed && st.packed < s.now().Add(-fullEvery).UnixMicro() {
			repack = append(repack, id)
		}
	}
	return repack, errors.Join(errs...)
}

func (s *Service) setSize(ctx context.Context, id string, size, packed int64) error {
	return s.db.Update(ctx, func(tx *meta.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE git_repositories SET size = $2, packed_at = $3 WHERE id = $1`, id, size, packed)
		return err
	})
}

// needsRepack reports whether a repository is in so many pieces that it becomes slow.
func (s *Service) needsRepack(id string) bool {
	objects := filepath.Join(s.folder(id), "objects")
	packs, _ := filepath.Glob(filepath.Join(objects, "pack", "*.pack"))
	loose, _ := filepath.Glob(filepath.Join(objects, "17", "*")) // hashes are spread evenly
	return len(packs) > repackAfter || len(loose)*256 > repackLoose
}

// sweepFolders deletes folders that were being made or deleted, and quarantines, when a process died a day ago.
func (s *Service) sweepFolders(ctx context.Context) error {
	entries, err := os.ReadDir(s.o.Path)
	if isNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	old := func(e os.DirEntry) bool {
		info, err := e.Info()
		return err == nil && s.now().Sub(info.ModTime()) > orphanAge
	}
	var errs []error
	for _, e := range entries {
		name := filepath.Join(s.o.Path, e.Name())
		if _, ok := folderID(e.Name(), newEnd); ok && old(e) {
			errs = append(errs, os.RemoveAll(name))
		}
		if _, ok := folderID(e.Name(), removedEnd); ok && old(e) {
			errs = append(errs, os.RemoveAll(name))
		}
		id, ok := folderID(e.Name(), folderEnd)
		if !ok {
			continue
		}
		if _, err := s.ByID(ctx, id); errors.Is(err, ErrOf(NotFound)) && old(e) {
			errs = append(errs, s.removeFolder(id))
			continue
		}
		inside, err := os.ReadDir(filepath.Join(name, "objects"))
		errs = append(errs, err)
		for _, q := range inside {
			if strings.HasPrefix(q.Name(), quarantine) && old(q) {
				errs = append(errs, os.RemoveAll(filepath.Join(name, "objects", q.Name())))
			}
		}
	}
	return errors.Join(errs...)
}

// repack packs a repository. Now and then it is packed whole, and what nothing has reached for two weeks is deleted; pushes
// wait for that at their end. Fetches go on.
func (s *Service) repack(ctx context.Context, id string) error {
	var packed int64
	r, err := s.ByID(ctx, id)
	if errors.Is(err, ErrOf(NotFound)) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := s.db.QueryRow(ctx, `SELECT packed_at FROM git_repositories WHERE id = $1`, id).Scan(&packed); err != nil {
		return err
	}
	dir := s.folder(id)
	whole := packed < s.now().Add(-fullEvery).UnixMicro()
	if whole {
		err = s.repackWhole(ctx, id, dir)
		packed = s.now().UnixMicro()
	} else {
		err = s.run(ctx, &program{dir: dir, args: []string{"repack", "--geometric=2", "-d", "-l", "-q"}})
	}
	if err != nil {
		return fmt.Errorf("repack %s: %w", r.ARN, err)
	}
	size, err := s.diskSize(id)
	if err != nil {
		return err
	}
	return s.setSize(ctx, id, size, packed)
}

func (s *Service) repackWhole(ctx context.Context, id, dir string) error {
	// Outside the lock first: nothing is deleted, and most of the work is done.
	if err := s.run(ctx, &program{dir: dir, args: []string{"repack", "--cruft", "-d", "-l", "-q"}}); err != nil {
		return err
	}
	release, err := s.lock(ctx, id, gcLock, false)
	if err != nil {
		return err
	}
	defer release()
	refs, err := s.lock(ctx, id, refsLock, false)
	if err != nil {
		return err
	}
	defer refs()
	if err := s.packRefs(ctx, id); err != nil {
		return err
	}
	return s.run(ctx, &program{dir: dir, args: []string{"repack", "--cruft", "--cruft-expiration=" + expiry, "-d", "-l", "-q"}})
}
