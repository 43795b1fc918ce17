package git

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"

	"github.com/sekisho/sekisho/internal/durable"
)

const (
	folderEnd  = ".git"     // a repository's folder: <id>.git
	newEnd     = ".new"     // one that is being made
	removedEnd = ".removed" // one that is to be deleted

	refsLock = "refs.lock-sekisho"
	gcLock   = "gc.lock-sekisho"

	// quarantine is what folders in objects/ begin with that hold what is not part of the repository yet. git prune knows the name.
	quarantine = "tmp_objdir-incoming-"
)

// folder returns the folder of a repository.
func (s *Service) folder(id string) string { return filepath.Join(s.o.Path, id+folderEnd) }

// makeFolder makes an empty repository, durably.
func (s *Service) makeFolder(id, branch string) error {
	fsys := durable.OS{}
	if err := durable.MkdirAll(fsys, s.o.Path, 0o700); err != nil {
		return err
	}
	making := filepath.Join(s.o.Path, id+newEnd)
	for _, dir := range []string{"objects/info", "objects/pack", "refs/heads", "refs/tags"} {
		if err := os.MkdirAll(filepath.Join(making, dir), 0o700); err != nil {
			return err
		}
	}
	for name, text := range map[string]string{
		"config": "[core]\n\trepositoryformatversion = 0\n\tbare = true\n",
		"HEAD":   "ref: " + branches + branch + "\n",
	} {
		if err := durable.WriteFile(fsys, filepath.Join(making, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	for _, dir := range []string{"objects", "refs", "."} {
		if err := fsys.SyncDir(filepath.Join(making, dir)); err != nil {
			return err
		}
	}
	if err := os.Rename(making, s.folder(id)); err != nil {
		return err
	}
	return fsys.SyncDir(s.o.Path)
}

// removeFolder deletes a repository's folder. It is renamed first, so that nobody finds half of it.
func (s *Service) removeFolder(id string) error {
	gone := filepath.Join(s.o.Path, id+removedEnd)
	if err := os.Rename(s.folder(id), gone); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.RemoveAll(gone); err != nil {
		return err
	}
	return durable.OS{}.SyncDir(s.o.Path)
}

// setHead makes a branch the one that clients check out.
func (s *Service) setHead(id, branch string) error {
	return durable.WriteFile(durable.OS{}, filepath.Join(s.folder(id), "HEAD"), []byte("ref: "+branches+branch+"\n"), 0o600)
}

// folderID returns the id of the repository that a folder is of.
func folderID(name, end string) (string, bool) {
	id, ok := strings.CutSuffix(name, end)
	if !ok || uuid.Validate(id) != nil {
		return "", false
	}
	return id, true
}

// lockPoll is how soon a lock that another process lets go is noticed.
const lockPoll = 10 * time.Millisecond

// lock takes a lock of a repository, between all processes, until release or the end of this one.
func (s *Service) lock(ctx context.Context, id, name string, shared bool) (release func(), err error) {
	f, err := os.OpenFile(filepath.Join(s.folder(id), name), os.O_CREATE|os.O_RDWR, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errorf(NotFound, "the repository is not there any more")
	}
	if err != nil {
		return nil, err
	}
	how := syscall.LOCK_EX
	if shared {
		how = syscall.LOCK_SH
	}
	for {
		err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", name, err), f.Close())
		}
		timer := time.NewTimer(lockPoll)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, errors.Join(fmt.Errorf("wait for %s: %w", name, context.Cause(ctx)), f.Close())
		case <-timer.C:
		}
	}
}

// diskSize returns the bytes of a repository's files.
func (s *Service) diskSize(id string) (total int64, err error) {
	err = filepath.WalkDir(s.folder(id), func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			if errors.Is(err, fs.ErrNotExist) { // repacked meanwhile
				return nil
			}
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			total += info.Size()
		}
		return err
	})
	return total, err
}

func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }
