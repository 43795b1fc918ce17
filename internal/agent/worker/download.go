package worker

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// download gets the artifacts that a deployment job starts with.
func (j *job) download(ctx context.Context, s *step) error {
	for _, d := range j.Downloads {
		names := d.Names
		if names == nil {
			all, err := j.server.Artifacts(ctx, d.Run)
			if err != nil {
				return fmt.Errorf("the artifacts of %s can't be listed: %w", d.Alias, err)
			}
			for _, a := range all {
				names = append(names, a.Name)
			}
			slices.Sort(names)
		}
		for _, name := range names {
			dir := j.dirs.Pipeline
			if d.Alias != "" && d.Alias != "current" {
				dir = filepath.Join(dir, d.Alias)
			}
			dir = filepath.Join(dir, name)
			if !within(j.dirs.Pipeline, dir) || dir == j.dirs.Pipeline {
				return fmt.Errorf("the artifact %q has a name that leads out of the workspace", name)
			}
			n, err := j.fetchArtifact(ctx, d.Run, name, dir)
			if err != nil {
				return fmt.Errorf("the artifact %s of %s: %w", name, d.Alias, err)
			}
			s.Line(fmt.Sprintf("Artifact %s: %d files in %s", name, n, dir))
		}
	}
	return nil
}

func (j *job) fetchArtifact(ctx context.Context, run int64, name, dir string) (n int, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return 0, err
	}
	root, err := os.OpenRoot(dir) // names can't lead out of it, by links neither
	if err != nil {
		return 0, err
	}
	defer root.Close()
	for f, err := range j.server.Files(ctx, run, name) {
		if err != nil {
			return n, err
		}
		if !filepath.IsLocal(filepath.FromSlash(f.Name)) {
			return n, fmt.Errorf("%q leads out of the artifact", f.Name)
		}
		if parent := filepath.Dir(filepath.FromSlash(f.Name)); parent != "." {
			if err := root.MkdirAll(parent, 0o755); err != nil {
				return n, err
			}
		}
		if err := j.fetchFile(ctx, root, run, name, f.Name); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

func (j *job) fetchFile(ctx context.Context, root *os.Root, run int64, artifact, name string) error {
	r, err := j.server.GetFile(ctx, run, artifact, name)
	if err != nil {
		return err
	}
	defer r.Close()
	f, err := root.Create(filepath.FromSlash(name))
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}
