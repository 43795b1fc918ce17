package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sekisho/sekisho/internal/pipeline"
	"github.com/sekisho/sekisho/internal/pipeline/yaml"
)

// pipelineFlags say where a pipeline's files are and what it is given.
type pipelineFlags struct {
	root       string
	repos      []string // alias=DIR
	parameters string
	variables  string
}

func (f *pipelineFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.root, "root", "", "`DIR` that paths of templates start at; without it the top of the git repository that FILE is in, else its folder")
	flags.StringArrayVar(&f.repos, "repo", nil, "`alias=DIR`: where the repository with that alias in the pipeline's resources is; may be repeated")
	flags.StringVar(&f.parameters, "parameters", "", "`FILE` (YAML or JSON) with the values of the pipeline's parameters")
	flags.StringVar(&f.variables, "variables", "", "`FILE` (YAML or JSON) with variables that are given when the run is started")
}

// pipelineFile is a pipeline on this machine.
type pipelineFile struct {
	source  *folders
	path    string // slash-separated, from the root
	options pipeline.Options
}

func (p *pipelineFile) Close() { p.source.Close() }

func (p *pipelineFile) compile(ctx context.Context) (*pipeline.Plan, error) {
	return pipeline.Compile(ctx, p.source, p.path, p.options)
}

// open finds the folders, and reads what the pipeline is given.
func (f *pipelineFlags) open(file string) (_ *pipelineFile, err error) {
	root, path, err := locate(f.root, file)
	if err != nil {
		return nil, err
	}
	p := &pipelineFile{source: &folders{byAlias: map[string]*os.Root{}}, path: path}
	defer func() {
		if err != nil {
			p.Close()
		}
	}()
	if err := p.source.add("self", root); err != nil {
		return nil, err
	}
	for _, repo := range f.repos {
		alias, dir, ok := strings.Cut(repo, "=")
		if !ok || alias == "" || dir == "" {
			return nil, usage("--repo: %q is not alias=DIR", repo)
		}
		if err := p.source.add(alias, dir); err != nil {
			return nil, err
		}
	}
	if f.parameters != "" {
		if p.options.Parameters, err = readMapping(f.parameters); err != nil {
			return nil, err
		}
	}
	if f.variables != "" {
		given, err := readMapping(f.variables)
		if err != nil {
			return nil, err
		}
		for _, pair := range given.Pairs {
			if pair.Value.Kind != yaml.Scalar {
				return nil, &yaml.Error{Pos: pair.Value.Pos, Message: fmt.Sprintf("the variable '%s' is not a text", pair.Key.Value)}
			}
			p.options.Variables = append(p.options.Variables, pipeline.Known{Name: pair.Key.Value, Value: pair.Value.Value, From: f.variables})
		}
	}
	return p, nil
}

// locate returns the root folder and the file's path from there.
func locate(root, file string) (folder, path string, err error) {
	if root == "" {
		full, err := filepath.Abs(file)
		if err != nil {
			return "", "", err
		}
		root = gitTop(filepath.Dir(full))
		file = full
	}
	if filepath.IsAbs(file) {
		full, err := filepath.Abs(root)
		if err != nil {
			return "", "", err
		}
		if file, err = filepath.Rel(full, file); err != nil {
			return "", "", err
		}
	}
	path = filepath.ToSlash(filepath.Clean(file))
	if !filepath.IsLocal(file) {
		return "", "", fmt.Errorf("%s is outside of %s", file, root)
	}
	return root, path, nil
}

// gitTop is the nearest folder from dir upwards that has a .git, dir if none has.
func gitTop(dir string) string {
	for at := dir; ; at = filepath.Dir(at) {
		if _, err := os.Lstat(filepath.Join(at, ".git")); err == nil {
			return at
		}
		if at == filepath.Dir(at) {
			return dir
		}
	}
}

// maxPipelineFile bounds what is read of one file, in bytes; the language says what is too much before that.
const maxPipelineFile = 16 << 20

func readMapping(file string) (*yaml.Node, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxPipelineFile))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	n, err := yaml.Parse(file, text, yaml.Limits{})
	if err != nil {
		return nil, err
	}
	if n.Kind != yaml.Mapping {
		return nil, &yaml.Error{Pos: n.Pos, Message: "Expected a mapping of names and values"}
	}
	return n, nil
}

// folders are repositories as folders. Nothing outside of them is read, whatever a path or a symbolic link says.
type folders struct {
	byAlias map[string]*os.Root // in lower case
}

func (s *folders) add(alias, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	alias = strings.ToLower(alias)
	if old := s.byAlias[alias]; old != nil {
		_ = old.Close()
	}
	s.byAlias[alias] = root
	return nil
}

func (s *folders) Close() {
	for _, root := range s.byAlias {
		_ = root.Close()
	}
}

// File implements [pipeline.Source].
func (s *folders) File(_ context.Context, repo pipeline.Repository, path string) ([]byte, error) {
	root := s.byAlias[strings.ToLower(repo.Alias)]
	if root == nil {
		name := repo.Name
		if name == "" {
			name = "of resources"
		}
		return nil, fmt.Errorf("the repository '%s' (%s) is not on this machine as far as is known; say where it is: --repo %s=DIR", repo.Alias, name, repo.Alias)
	}
	f, err := root.Open(filepath.FromSlash(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w in %s", pipeline.ErrNoFile, root.Name())
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", path)
	}
	return io.ReadAll(io.LimitReader(f, maxPipelineFile))
}
