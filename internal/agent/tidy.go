package agent

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

const (
	// oldAge is how long a pipeline's folder is kept after its last job; pressedAge when the disk is full.
	oldAge     = 30 * 24 * time.Hour
	pressedAge = 24 * time.Hour
)

// tidyTo removes the folders of pipelines that had no job for so long, and returns how many. The worker makes them again.
func (a *Agent) tidyTo(age time.Duration) int {
	work := a.folder.Work(a.settings)
	entries, err := os.ReadDir(work)
	if err != nil {
		return 0
	}
	removed := 0
	for _, e := range entries {
		dir := filepath.Join(work, e.Name())
		if _, err := strconv.Atoi(e.Name()); err != nil || !e.IsDir() || a.now().Sub(lastUse(dir)) < age {
			continue
		}
		if err := removeTree(dir); err != nil {
			a.log.Warn("an old work folder can't be removed", "dir", dir, "err", err, "fix", "sudo rm -rf "+dir)
			continue
		}
		a.log.Info("an old work folder was removed", "dir", dir)
		removed++
	}
	return removed
}

// lastUse is when something was made or removed in a pipeline's folder, or in one of those in it.
func lastUse(dir string) time.Time {
	var last time.Time
	paths, _ := filepath.Glob(filepath.Join(dir, "*"))
	for _, path := range append(paths, dir) {
		if info, err := os.Lstat(path); err == nil && info.ModTime().After(last) {
			last = info.ModTime()
		}
	}
	return last
}

// removeTree removes a folder, also what containers of this user wrote there as somebody else.
func removeTree(dir string) error {
	err := os.RemoveAll(dir)
	if err == nil {
		return nil
	}
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, _ error) error {
		if d != nil && d.IsDir() {
			_ = os.Chmod(path, 0o700)
		}
		return nil
	})
	if err = os.RemoveAll(dir); err == nil || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	if podman, lerr := exec.LookPath("podman"); lerr == nil && os.Getuid() != 0 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_ = exec.CommandContext(ctx, podman, "unshare", "rm", "-rf", "--", dir).Run()
		err = os.RemoveAll(dir)
	}
	return err
}
