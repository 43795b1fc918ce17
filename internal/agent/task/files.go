package task

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"
)

// patterns are match patterns as tasks take them: one a line, "!" takes away what earlier ones gave, "#" is a comment.
type patterns []string

func parsePatterns(text string) (patterns, error) {
	var all patterns
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		clean := strings.TrimPrefix(filepath.ToSlash(line), "!")
		if !doublestar.ValidatePattern(clean) {
			return nil, fmt.Errorf("%q is no pattern", line)
		}
		all = append(all, line)
	}
	return all, nil
}

// match reports whether a slash-separated path below a root is meant. Patterns may be absolute, below the root.
func (p patterns) match(root, name string) bool {
	meant := false
	for _, pattern := range p {
		want := true
		for strings.HasPrefix(pattern, "!") {
			want, pattern = !want, pattern[1:]
		}
		pattern = filepath.ToSlash(pattern)
		if filepath.IsAbs(pattern) {
			rest, ok := strings.CutPrefix(pattern, strings.TrimSuffix(filepath.ToSlash(root), "/")+"/")
			if !ok {
				continue
			}
			pattern = rest
		}
		pattern = strings.TrimPrefix(pattern, "./")
		if want == meant {
			continue
		}
		if ok, _ := doublestar.Match(pattern, name); ok {
			meant = want
		}
	}
	return meant
}

// found is a file below a root.
type found struct {
	name string // slash-separated, below the root
	path string // on the host
	info fs.FileInfo
}

// maxFiles bounds how many files one step handles.
const maxFiles = 500_000

// find returns the files below a root that patterns mean, in order. Symbolic links to files are followed, those to folders
// are not: a link could lead anywhere.
func (c *Context) find(ctx context.Context, root string, p patterns) ([]found, error) {
	var all []found
	outside := c.Host.Outside(root)
	err := filepath.WalkDir(outside, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if d.IsDir() {
			return nil
		}
		name, err := filepath.Rel(outside, path)
		if err != nil {
			return err
		}
		if name = filepath.ToSlash(name); !p.match(root, name) {
			return nil
		}
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			c.Log.Warning(name + " is a link to nothing and is left out")
			return nil
		}
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return nil
		}
		if len(all) == maxFiles {
			return fmt.Errorf("there are over %d files", maxFiles)
		}
		all = append(all, found{name, path, info})
		return nil
	})
	return all, err
}

// findAnywhere is find, and patterns that are absolute may lead elsewhere.
func (c *Context) findAnywhere(ctx context.Context, root string, p patterns) ([]found, error) {
	var all []found
	if _, err := os.Stat(c.Host.Outside(root)); err == nil || !slices.ContainsFunc(p, filepath.IsAbs) {
		if all, err = c.find(ctx, root, p); err != nil {
			return nil, err
		}
	}
	for _, pattern := range p {
		if !filepath.IsAbs(pattern) || strings.HasPrefix(pattern, strings.TrimSuffix(root, string(filepath.Separator))+string(filepath.Separator)) {
			continue
		}
		base, rest := splitPattern(pattern)
		if _, err := os.Stat(c.Host.Outside(base)); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		more, err := c.find(ctx, base, patterns{rest})
		if err != nil {
			return nil, err
		}
		all = append(all, more...)
	}
	return all, nil
}

// folder returns an input that names a folder, absolute; def when it is not given.
func (c *Context) folder(def string, names ...string) string {
	v := c.Inputs.Get(names...)
	if v == "" {
		v = def
	}
	if !filepath.IsAbs(v) {
		v = filepath.Join(c.Dirs.Sources, v)
	}
	return filepath.Clean(v)
}

// contents returns the patterns of an input.
func (c *Context) contents(def string, names ...string) (patterns, error) {
	text := c.Inputs.Get(names...)
	if text == "" {
		text = def
	}
	p, err := parsePatterns(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", names[0], err)
	}
	return p, nil
}

// disposable returns an error unless a folder is the job's to empty: below one of its own, and not one of them.
func (c *Context) disposable(folder string) error {
	for _, d := range []string{c.Dirs.Pipeline, c.Dirs.Temp} {
		if rel, err := filepath.Rel(d, folder); err == nil && rel != "." && filepath.IsLocal(rel) {
			return nil
		}
	}
	return fmt.Errorf("%s is not below the job's own folder %s, so it is not deleted", folder, c.Dirs.Pipeline)
}

// empty deletes what is in a folder.
func (c *Context) empty(folder string) error {
	if err := c.disposable(folder); err != nil {
		return err
	}
	entries, err := os.ReadDir(c.Host.Outside(folder))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(c.Host.Outside(folder), e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// CopyFiles is CopyFiles@2.
func CopyFiles(ctx context.Context, c *Context) error {
	if _, err := c.Inputs.Require("TargetFolder"); err != nil {
		return err
	}
	source, target := c.folder(c.Dirs.Sources, "SourceFolder"), c.folder("", "TargetFolder")
	p, err := c.contents("**", "Contents")
	if err != nil {
		return err
	}
	files, err := c.find(ctx, source, p)
	if err != nil {
		return fmt.Errorf("SourceFolder: %w", err)
	}
	c.Log.Line(fmt.Sprintf("found %d files", len(files)))
	if c.Inputs.Bool(false, "CleanTargetFolder") {
		c.Log.Line("Cleaning target folder: " + target)
		if err := c.empty(target); err != nil {
			return err
		}
	}
	flat, over, times := c.Inputs.Bool(false, "flattenFolders"), c.Inputs.Bool(false, "OverWrite"), c.Inputs.Bool(false, "preserveTimestamp")
	for i, f := range files {
		name := f.name
		if flat {
			name = name[strings.LastIndexByte(name, '/')+1:]
		}
		to := filepath.Join(target, filepath.FromSlash(name))
		at := c.Host.Outside(to)
		if was, err := os.Stat(at); err == nil && !over {
			if os.SameFile(was, f.info) {
				continue
			}
			c.Log.Line("File " + f.name + " already exists at " + to)
			continue
		}
		if len(files) <= 1000 {
			c.Log.Line("Copying " + filepath.Join(source, f.name) + " to " + to)
		}
		if i%100 == 0 {
			c.Log.Progress(100*i/len(files), name)
		}
		if err := copyFile(f, at, times); err != nil {
			return fmt.Errorf("copy %s: %w", f.name, err)
		}
	}
	return nil
}

// copyFile copies a file, its mode, and if wanted its time.
func copyFile(f found, to string, times bool) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	in, err := os.Open(f.path)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, f.info.Mode().Perm()|0o200)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Close()); err != nil || !times {
		return err
	}
	return os.Chtimes(to, time.Time{}, f.info.ModTime())
}

// DeleteFiles is DeleteFiles@1: files and folders that patterns mean, below a folder of the job.
func DeleteFiles(ctx context.Context, c *Context) error {
	folder := c.folder(c.Dirs.Sources, "SourceFolder")
	p, err := c.contents("", "Contents")
	if err != nil {
		return err
	}
	if err := c.disposable(filepath.Join(folder, "x")); err != nil {
		return err
	}
	outside := c.Host.Outside(folder)
	dots := c.Inputs.Bool(false, "RemoveDotFiles")
	var remove []string
	err = filepath.WalkDir(outside, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || path == outside {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		name, err := filepath.Rel(outside, path)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		if !p.match(folder, name) || !dots && hasDot(name) {
			return nil
		}
		remove = append(remove, path)
		if d.IsDir() {
			return fs.SkipDir
		}
		return nil
	})
	if err != nil {
		return err
	}
	slices.Sort(remove)
	for _, path := range remove {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	c.Log.Line(fmt.Sprintf("deleted %d files and folders", len(remove)))
	if c.Inputs.Bool(false, "RemoveSourceFolder") {
		if err := c.disposable(folder); err != nil {
			return err
		}
		if err := os.Remove(outside); err != nil && !errors.Is(err, fs.ErrNotExist) {
			c.Log.Line(folder + " is not empty and stays")
		}
	}
	return nil
}

// hasDot reports whether a part of a path begins with a dot.
func hasDot(name string) bool {
	return strings.HasPrefix(name, ".") || strings.Contains(name, "/.")
}

// number reads an input that is a number.
func (c *Context) number(def int, names ...string) (int, error) {
	text := c.Inputs.Get(names...)
	if text == "" {
		return def, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("%s: %q is no number", names[0], text)
	}
	return n, nil
}
