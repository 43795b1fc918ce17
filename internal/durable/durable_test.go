package durable_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/durable"
	"github.com/sekisho/sekisho/internal/durable/faultfs"
)

func TestWriteFileOS(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	if err := durable.MkdirAll(durable.OS{}, dir, 0o700); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "f")
	for _, want := range []string{"one", "", "three"} {
		if err := durable.WriteFile(durable.OS{}, name, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(name)
		if err != nil || string(got) != want {
			t.Errorf("file holds %q, %v, want %q", got, err, want)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("folder holds %v, %v, want one file", entries, err)
	}
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("Stat = %v, %v, want mode 0600", info, err)
	}
	if err := durable.MkdirAll(durable.OS{}, filepath.Join(name, "x"), 0o700); err == nil {
		t.Error("MkdirAll below a file: no error")
	}
}

// At every operation in turn the power goes, or the disk fails: the file must hold what it held or what was written.
func TestWriteFileFaults(t *testing.T) {
	const name = "/data/f"
	faults := map[string]error{"crash": faultfs.Crash, "full": syscall.ENOSPC, "short": faultfs.Short, "io": syscall.EIO}
	for label, fault := range faults {
		for at := range 20 {
			for seed := range uint64(4) {
				t.Run(fmt.Sprintf("%s/%d/%d", label, at, seed), func(t *testing.T) {
					fsys := faultfs.New()
					if err := durable.MkdirAll(fsys, "/data", 0o700); err != nil {
						t.Fatal(err)
					}
					if err := durable.WriteFile(fsys, name, []byte("old"), 0o600); err != nil {
						t.Fatal(err)
					}
					fsys.SetHook(func(op faultfs.Op) error {
						if op.Index == at && (fault != faultfs.Short || op.Kind == faultfs.Write) {
							return fault
						}
						return nil
					})
					err := durable.WriteFile(fsys, name, []byte("newer"), 0o600)
					if err != nil && fault != faultfs.Crash && len(fsys.Tree()) != 1 {
						t.Errorf("after %v there is %v, want one file", err, fsys.Tree())
					}
					var rng *rand.Rand
					if seed > 0 {
						rng = rand.New(rand.NewPCG(seed, 0))
					}
					fsys.Restart(rng)
					got := fsys.Tree()["data/f"]
					if got != "newer" && (err == nil || got != "old") {
						t.Errorf("after %v and power loss the file holds %q", err, got)
					}
				})
			}
		}
	}
}

func TestMkdirAllSurvivesPowerLoss(t *testing.T) {
	fsys := faultfs.New()
	if err := durable.MkdirAll(fsys, "/a/b/c", 0o700); err != nil {
		t.Fatal(err)
	}
	fsys.Restart(nil)
	if info, err := fsys.Stat("/a/b/c"); err != nil || !info.IsDir() {
		t.Errorf("after power loss: %v, %v", info, err)
	}
}

func TestMkdirAllAfterKill(t *testing.T) {
	for at := range 20 {
		fsys := faultfs.New()
		fsys.SetHook(func(op faultfs.Op) error {
			if op.Index == at {
				return faultfs.Crash
			}
			return nil
		})
		_ = durable.MkdirAll(fsys, "/a/b/c", 0o700)
		fsys.SetHook(nil)
		fsys.NewProcess()
		if err := durable.MkdirAll(fsys, "/a/b/c", 0o700); err != nil {
			t.Fatal(err)
		}
		fsys.Restart(nil)
		if _, err := fsys.Stat("/a/b/c"); err != nil {
			t.Errorf("killed at %d, made again, power lost: %v", at, err)
		}
	}
}

func TestMkdirAllWhereTheFolderAboveIsNotOurs(t *testing.T) {
	fsys := faultfs.New()
	if err := durable.MkdirAll(fsys, "/a", 0o700); err != nil {
		t.Fatal(err)
	}
	for err, ok := range map[error]bool{fs.ErrPermission: true, syscall.EINVAL: true, syscall.EIO: false} {
		fsys.SetHook(func(op faultfs.Op) error {
			if op.Kind == faultfs.SyncDir && op.Name == "/" {
				return err
			}
			return nil
		})
		if got := durable.MkdirAll(fsys, "/a", 0o700); (got == nil) != ok {
			t.Errorf("with %v above: MkdirAll = %v", err, got)
		}
	}
}

func TestIsFull(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{&fs.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}, true},
		{fmt.Errorf("write: %w", syscall.EDQUOT), true},
		{syscall.EFBIG, true},
		{syscall.EIO, false},
		{nil, false},
	} {
		if got := durable.IsFull(tt.err); got != tt.want {
			t.Errorf("IsFull(%v) = %v", tt.err, got)
		}
	}
}

// slowDirs counts the SyncDir calls, each of which takes a second.
type slowDirs struct {
	durable.OS
	begun atomic.Int64
	err   error
}

func (s *slowDirs) SyncDir(string) error {
	s.begun.Add(1)
	time.Sleep(time.Second)
	return s.err
}

func TestDirSyncerSharesCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dirs := &slowDirs{err: errors.New("broken")}
		s := durable.NewDirSyncer(dirs)
		var callers sync.WaitGroup
		for i := range 10 {
			callers.Go(func() {
				time.Sleep(time.Duration(i) * 100 * time.Millisecond)
				begun := dirs.begun.Load()
				if err := s.Sync("/d"); !errors.Is(err, dirs.err) {
					t.Errorf("Sync = %v, want the error of SyncDir", err)
				}
				if dirs.begun.Load() == begun {
					t.Error("Sync returned without a SyncDir that began after it")
				}
			})
		}
		callers.Wait()
		// The first alone, then the nine that came while it ran.
		if diff := cmp.Diff(int64(2), dirs.begun.Load()); diff != "" {
			t.Errorf("SyncDir calls (-want +got):\n%s", diff)
		}
		if err := s.Sync("/d"); err == nil || dirs.begun.Load() != 3 {
			t.Errorf("a later Sync shared an earlier call")
		}
	})
}

func TestDirSyncerKeepsFoldersApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dirs := &slowDirs{}
		s := durable.NewDirSyncer(dirs)
		start := time.Now()
		var callers sync.WaitGroup
		for i := range 5 {
			callers.Go(func() {
				if err := s.Sync(fmt.Sprint("/", i)); err != nil {
					t.Error(err)
				}
			})
		}
		callers.Wait()
		if took := time.Since(start); took != time.Second {
			t.Errorf("five folders took %v, want them synced at once", took)
		}
	})
}
