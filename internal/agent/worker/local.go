package worker

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/sekisho/sekisho/internal/agent/task"
)

// local takes a repository from a folder of this machine: what git keeps track of or would, as it lies there, changed files and new ones
// too. A folder that is no repository is copied as it is.
func (g *git) local(ctx context.Context, from string) error {
	from, err := filepath.Abs(from)
	if err != nil {
		return err
	}
	g.c.Log.Section("Copying repository: " + g.repo.Alias)
	g.c.Log.Line("From " + from + ", with what is not committed yet")
	if err := removeAll(g.dir); err != nil {
		return err
	}
	if err := os.MkdirAll(g.dir, 0o755); err != nil {
		return err
	}
	names, repository := g.tracked(ctx, from)
	if !repository {
		if names, err = g.everything(from); err != nil {
			return err
		}
	} else {
		g.env = append(g.j.base[:len(g.j.base):len(g.j.base)], "GIT_TERMINAL_PROMPT=0", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*")
		var out bytes.Buffer
		if g.in(ctx, &out, "-C", from, "rev-parse", "--verify", "--quiet", "HEAD") == nil {
			// A clone of its own, so that steps can't change what they came from.
			if err := g.git(ctx, "clone", "--quiet", "--no-checkout", "--no-hardlinks", from, g.dir); err != nil {
				return err
			}
			if err := g.git(ctx, "reset", "--quiet", strings.TrimSpace(out.String())); err != nil {
				return err
			}
			if err := g.git(ctx, "checkout", "--quiet", "--detach"); err != nil {
				g.c.Log.Debug(err.Error())
			}
		}
	}
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if err := copyFile(filepath.Join(from, name), filepath.Join(g.dir, name)); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// tracked lists the files of a repository's work tree that are not ignored.
func (g *git) tracked(ctx context.Context, from string) ([]string, bool) {
	var out, drop bytes.Buffer
	err := g.c.Host.Run(ctx, &task.Process{
		Path: "git", Args: []string{"-C", from, "ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate", "-z"},
		Dir: g.dir, Stdout: &out, Stderr: &drop, Quiet: true,
	})
	if err != nil {
		return nil, false
	}
	var names []string
	for n := range strings.SplitSeq(out.String(), "\x00") {
		if n != "" && filepath.IsLocal(n) {
			names = append(names, n)
		}
	}
	return names, true
}

func (g *git) everything(from string) ([]string, error) {
	var names []string
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path == g.j.opts.Work {
			return filepath.SkipDir
		}
		if !d.IsDir() {
			rel, err := filepath.Rel(from, path)
			if err != nil {
				return err
			}
			names = append(names, rel)
		}
		return nil
	})
	return names, err
}

func copyFile(from, to string) error {
	info, err := os.Lstat(from)
	if os.IsNotExist(err) {
		_ = os.Remove(to) // deleted, and that not committed yet
		return nil
	}
	if err != nil || info.IsDir() { // a submodule
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	_ = os.Remove(to)
	if info.Mode()&fs.ModeSymlink != 0 {
		target, err := os.Readlink(from)
		if err != nil {
			return err
		}
		return os.Symlink(target, to)
	}
	if !info.Mode().IsRegular() {
		return nil
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, info.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	return err
}
