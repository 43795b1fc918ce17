package task_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sekisho/sekisho/internal/agent/task"
	"github.com/sekisho/sekisho/internal/agent/work"
)

// step is a job with one step, in folders of the test's own, on this machine.
type step struct {
	t         *testing.T
	job       *work.Job
	dirs      task.Dirs
	env       []string
	variables map[string]string
	outputs   map[string]string
	secrets   []string
	after     []task.Func
	prepended []string
	server    *server

	mu   sync.Mutex
	text bytes.Buffer
}

func newStep(t *testing.T) *step {
	root := t.TempDir()
	s := &step{t: t, variables: map[string]string{"build.buildid": "7"}, outputs: map[string]string{}, server: &server{files: map[string]map[string][]byte{}}}
	s.dirs = task.Dirs{Work: root, Pipeline: filepath.Join(root, "1"), Sources: filepath.Join(root, "1", "s"), Binaries: filepath.Join(root, "1", "b"),
		Staging: filepath.Join(root, "1", "a"), Results: filepath.Join(root, "1", "r"), Temp: filepath.Join(root, "_temp"), Tools: filepath.Join(root, "_tool"), Tasks: filepath.Join(root, "_tasks")}
	for _, d := range []string{s.dirs.Sources, s.dirs.Binaries, s.dirs.Staging, s.dirs.Results, s.dirs.Temp, s.dirs.Tools} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s.job = &work.Job{ID: "7.Build.Job", Identity: work.Identity{Stage: "Build", Job: "Job"}}
	s.env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + root}
	return s
}

// file writes a file below the sources.
func (s *step) file(name, text string) string {
	s.t.Helper()
	path := filepath.Join(s.dirs.Sources, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// run runs a task with inputs, given as names and values.
func (s *step) run(ref string, inputs ...string) error {
	s.t.Helper()
	f, _, ok := task.Lookup(ref)
	if !ok {
		s.t.Fatalf("there is no task %s", ref)
	}
	in := task.Inputs{}
	for i := 0; i < len(inputs); i += 2 {
		in[strings.ToLower(inputs[i])] = inputs[i+1]
	}
	return f(s.t.Context(), &task.Context{
		Job: s.job, Step: &work.Step{ID: "1", Task: ref}, Inputs: in, Dirs: s.dirs, Env: s.env, Log: s, Vars: s, Host: s, Server: s.server, Now: time.Now,
		After:   func(_ string, f task.Func) { s.after = append(s.after, f) },
		Prepend: func(folder string) { s.prepended = append(s.prepended, folder) },
	})
}

// tree lists the files below a folder.
func (s *step) tree(folder string) []string {
	s.t.Helper()
	var all []string
	err := filepath.WalkDir(folder, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(folder, path)
			all = append(all, filepath.ToSlash(rel))
		}
		return err
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		s.t.Fatal(err)
	}
	return all
}

func (s *step) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *step) log() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func (s *step) Line(text string)    { fmt.Fprintln(s, text) }
func (s *step) Section(text string) { s.Line("##[section]" + text) }
func (s *step) Command(text string) { s.Line("##[command]" + text) }
func (s *step) Warning(text string) { s.Line("##[warning]" + text) }
func (s *step) Error(text string)   { s.Line("##[error]" + text) }
func (s *step) Debug(text string)   { s.Line("##[debug]" + text) }
func (s *step) Group(title string) func() {
	s.Line("##[group]" + title)
	return func() { s.Line("##[endgroup]") }
}
func (s *step) Secret(value string)  { s.secrets = append(s.secrets, value) }
func (s *step) Progress(int, string) {}

func (s *step) Get(name string) (string, bool) {
	v, ok := s.variables[strings.ToLower(name)]
	return v, ok
}

func (s *step) Set(v work.Variable, output bool) error {
	s.variables[strings.ToLower(v.Name)] = v.Value
	if output {
		s.outputs[v.Name] = v.Value
	}
	if v.Name == strings.ToUpper(v.Name) {
		s.env = append(s.env, v.Name+"="+v.Value)
	}
	return nil
}

func (s *step) Expand(text string) string {
	for name, value := range s.variables {
		for _, spelt := range []string{name, "Build.BuildId"} {
			if strings.EqualFold(spelt, name) {
				text = strings.ReplaceAll(text, "$("+spelt+")", value)
			}
		}
	}
	return text
}

func (s *step) Container() bool            { return false }
func (s *step) Outside(path string) string { return path }
func (s *step) Look(name string) (string, error) {
	return exec.LookPath(name)
}

func (s *step) Run(ctx context.Context, p *task.Process) error {
	cmd := exec.CommandContext(ctx, p.Path, p.Args...)
	if cmd.Env = p.Env; cmd.Env == nil {
		cmd.Env = s.env
	}
	if cmd.Dir = p.Dir; cmd.Dir == "" {
		cmd.Dir = s.dirs.Sources
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = p.Stdin, io.Writer(s), io.Writer(s)
	if p.Stdout != nil {
		cmd.Stdout = p.Stdout
	}
	if p.Stderr != nil {
		cmd.Stderr = p.Stderr
	}
	err := cmd.Run()
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		return &task.ExitError{Program: p.Path, Code: e.ExitCode()}
	}
	return err
}

// server keeps artifacts and attachments in memory. What else a server does, these tasks do not ask.
type server struct {
	work.Server
	mu          sync.Mutex
	files       map[string]map[string][]byte
	finished    []string
	attachments []work.Attachment
	asked       work.RunQuery
}

func (s *server) PutFile(_ context.Context, artifact, kind, name string, size int64, r io.Reader) error {
	data, err := io.ReadAll(r)
	if err == nil && int64(len(data)) != size {
		err = fmt.Errorf("%d bytes came, %d were said", len(data), size)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.files[artifact] == nil {
		s.files[artifact] = map[string][]byte{}
	}
	s.files[artifact][name] = data
	return err
}

func (s *server) FinishArtifact(_ context.Context, artifact, kind string, _ map[string]string) error {
	s.finished = append(s.finished, artifact+" "+kind)
	return nil
}

func (s *server) Artifacts(context.Context, int64) ([]work.Artifact, error) {
	var all []work.Artifact
	for name := range s.files {
		all = append(all, work.Artifact{Name: name})
	}
	slices.SortFunc(all, func(a, b work.Artifact) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

func (s *server) Files(_ context.Context, _ int64, artifact string) iter.Seq2[work.File, error] {
	return func(yield func(work.File, error) bool) {
		for name, data := range s.files[artifact] {
			if !yield(work.File{Name: name, Size: int64(len(data))}, nil) {
				return
			}
		}
	}
}

func (s *server) GetFile(_ context.Context, _ int64, artifact, name string) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(s.files[artifact][name])), nil
}

func (s *server) Runs(_ context.Context, q work.RunQuery) ([]int64, error) {
	s.asked = q
	return []int64{5, 3}, nil
}

func (s *server) Attach(_ context.Context, a work.Attachment) error {
	s.attachments = append(s.attachments, a)
	return nil
}
