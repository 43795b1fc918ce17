package git

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/sekisho/sekisho/internal/durable"
	"github.com/sekisho/sekisho/internal/meta"
)

// Fault is something that is wrong with a repository.
type Fault struct {
	Account, Project, Repo, ID string
	Detail                     string
}

// Fsck checks all repositories: objects, links, refs, and that the folder is there. Errors of one are given to report; of
// these, and of what can't be looked at, none ends it.
func (s *Service) Fsck(ctx context.Context, report func(Fault) error) (repositories int64, err error) {
	all, err := s.everyone(ctx, s.db)
	if err != nil || len(all) == 0 {
		return 0, err
	}
	for _, r := range all {
		detail := ""
		if _, err := os.Stat(s.folder(r.ID)); isNotExist(err) {
			if _, err := s.ByID(ctx, r.ID); errors.Is(err, ErrOf(NotFound)) {
				continue // deleted meanwhile
			}
			detail = "its folder " + s.folder(r.ID) + " is not there"
		} else if err := s.run(ctx, &program{dir: s.folder(r.ID), args: []string{"fsck", "--full", "--connectivity-only", "--no-dangling", "--no-progress"},
			stdout: &tailBuffer{}}); err != nil {
			if ctx.Err() != nil {
				return repositories, context.Cause(ctx)
			}
			detail = clip(err.Error(), 1000)
		} else if err := s.verifyPacks(ctx, r.ID); err != nil {
			if ctx.Err() != nil {
				return repositories, context.Cause(ctx)
			}
			detail = clip(err.Error(), 1000)
		}
		repositories++
		if detail != "" {
			if err := report(Fault{r.Account, r.Project, r.Name, r.ID, detail}); err != nil {
				return repositories, err
			}
		}
	}
	return repositories, nil
}

// verifyPacks compares every object with its name.
func (s *Service) verifyPacks(ctx context.Context, id string) error {
	return s.run(ctx, &program{dir: s.folder(id), args: []string{"fsck", "--full", "--no-dangling", "--no-progress"}, stdout: &tailBuffer{},
		config: [][2]string{{"fsck.badTimezone", "ignore"}, {"fsck.missingSpaceBeforeDate", "ignore"}, {"fsck.zeroPaddedFilemode", "ignore"}}})
}

func (s *Service) everyone(ctx context.Context, db querier) ([]*Repository, error) {
	rows, err := db.Query(ctx, `SELECT `+repositoryColumns+` FROM git_repositories ORDER BY account, project_key, name_key`)
	if err != nil {
		return nil, fmt.Errorf("list repositories: %w", err)
	}
	defer rows.Close()
	var all []*Repository
	for rows.Next() {
		r, err := s.scan(rows)
		if err != nil {
			return nil, fmt.Errorf("list repositories: %w", err)
		}
		all = append(all, r)
	}
	return all, rows.Err()
}

// CopyTo copies the objects and refs of the repositories that another database has, which is a copy of this one's, into the
// folder that belongs to it. They may be pushed to meanwhile: refs are copied as they are at the time, and objects after
// the refs were read, so everything that a ref needs is there. It returns how many were copied.
func (s *Service) CopyTo(ctx context.Context, db *meta.DB, path string) (repositories int64, err error) {
	all, err := s.everyone(ctx, db)
	if err != nil || len(all) == 0 {
		return 0, err
	}
	to := &Service{db: db, o: s.o}
	to.o.Path = path
	for _, r := range all {
		if _, err := os.Stat(s.folder(r.ID)); isNotExist(err) {
			if _, err := s.ByID(ctx, r.ID); errors.Is(err, ErrOf(NotFound)) {
				// It was deleted after the database was copied: the copy has it, empty.
				if err := to.makeFolder(r.ID, r.DefaultBranch); err != nil {
					return repositories, err
				}
				continue
			}
			return repositories, fmt.Errorf("repository %s: its folder is not there; look with sekisho fsck", r.ARN)
		}
		if err := s.copyOne(ctx, r, to); err != nil {
			return repositories, fmt.Errorf("copy repository %s: %w", r.ARN, err)
		}
		repositories++
	}
	return repositories, nil
}

func (s *Service) copyOne(ctx context.Context, r *Repository, to *Service) error {
	gc, err := s.lock(ctx, r.ID, gcLock, true) // nothing is deleted meanwhile
	if err != nil {
		return err
	}
	defer gc()
	if err := to.makeFolder(r.ID, r.DefaultBranch); err != nil {
		return err
	}
	refs, err := s.readRefs(ctx, r.ID)
	if err != nil {
		return err
	}
	if len(refs) == 0 {
		return nil
	}
	target := to.folder(r.ID)
	var tips, updates strings.Builder
	for name, hash := range refs {
		tips.WriteString(hash + "\n")
		updates.WriteString("create " + name + "\x00" + hash + "\x00")
	}
	// One pack of what the refs reach, each object read and so checked on its way.
	prefix := filepath.Join(target, "objects", "pack", "pack")
	p := &program{dir: s.folder(r.ID), args: []string{"pack-objects", "--revs", "-q", "--delta-base-offset", prefix}, stdin: strings.NewReader(tips.String()), stdout: &tailBuffer{}}
	if err := s.run(ctx, p); err != nil {
		return err
	}
	if err := (durable.OS{}).SyncDir(filepath.Dir(prefix)); err != nil {
		return err
	}
	to.programOnce.Do(func() { to.program, to.programErr = s.program, s.programErr })
	if err := to.run(ctx, &program{dir: target, args: []string{"update-ref", "-z", "--no-deref", "--stdin"}, stdin: strings.NewReader(updates.String()),
		config: [][2]string{{"core.fsync", "none"}}}); err != nil {
		return err
	}
	if err := to.packRefs(ctx, r.ID); err != nil {
		return err
	}
	return to.run(ctx, &program{dir: target, args: []string{"fsck", "--connectivity-only", "--no-dangling", "--no-progress"}, stdout: &tailBuffer{}})
}
