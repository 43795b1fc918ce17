// Package folder is a work.Server in a folder of one's own machine: logs, artifacts and attachments are files of a folder, records are kept
// in memory. It is for runs without a server, and for tests.
package folder

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sekisho/sekisho/internal/agent/work"
)

// Run is a run's files and what is known of it. Its jobs share it.
type Run struct {
	Dir string // absolute
	// Ask answers approvals; nil refuses them.
	Ask func(ctx context.Context, instructions string) (bool, string, error)

	mu        sync.Mutex
	number    string
	tags      []string
	artifacts map[string]*work.Artifact // those that are finished
}

// Server is what one job of the run sees.
type Server struct {
	run *Run
	job string

	mu      sync.Mutex
	records map[string]work.Record
	logs    map[string]int64
}

// Job returns the Server of a job, by a name that can be a file's.
func (r *Run) Job(name string) *Server {
	return &Server{run: r, job: name, records: map[string]work.Record{}, logs: map[string]int64{}}
}

// Number is the run's number, if a job changed it, and Tags are the tags that jobs gave it.
func (r *Run) Number() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.number
}

func (r *Run) Tags() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.tags)
}

// Records are the last ones of each step, in their order; the job's own comes first.
func (s *Server) Records() []work.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []work.Record
	for _, r := range s.records {
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b work.Record) int {
		if a.Order != b.Order {
			return a.Order - b.Order
		}
		return strings.Compare(a.Step, b.Step)
	})
	return all
}

// Log returns a log as it is so far.
func (s *Server) Log(id string) (string, error) {
	b, err := os.ReadFile(s.logFile(id))
	return string(b), err
}

func (s *Server) logFile(id string) string {
	return filepath.Join(s.run.Dir, "logs", Name(s.job), Name(id)+".log")
}

// Name makes a text the name of a file or folder, which leads nowhere else.
func Name(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == '/' || r == '\\' || r == 0 || r == ':' {
			return '_'
		}
		return r
	}, s)
	if s == "" || s == "." || s == ".." {
		return "_" + s
	}
	return s
}

// Update keeps records that are newer than those it has.
func (s *Server) Update(_ context.Context, records []work.Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range records {
		if old, ok := s.records[r.Step]; !ok || old.Sequence < r.Sequence {
			s.records[r.Step] = r
		}
	}
	return nil
}

func (s *Server) AppendLog(_ context.Context, log string, offset int64, data []byte) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	size := s.logs[log]
	if offset > size {
		return size, fmt.Errorf("the log %s has %d bytes, nothing can be added at %d", log, size, offset)
	}
	skip := size - offset
	if skip >= int64(len(data)) {
		return size, nil
	}
	name := s.logFile(log)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return size, err
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return size, err
	}
	n, err := f.Write(data[skip:])
	s.logs[log] = size + int64(n)
	return s.logs[log], errors.Join(err, f.Close())
}

func (s *Server) Attach(_ context.Context, a work.Attachment) error {
	name := filepath.Join(s.run.Dir, "attachments", Name(s.job), Name(a.Type), Name(a.Name))
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, a.Data, 0o644)
}

func (s *Server) SetRunNumber(_ context.Context, number string) error {
	s.run.mu.Lock()
	defer s.run.mu.Unlock()
	s.run.number = number
	return nil
}

func (s *Server) AddTag(_ context.Context, tag string) error {
	s.run.mu.Lock()
	defer s.run.mu.Unlock()
	if !slices.Contains(s.run.tags, tag) {
		s.run.tags = append(s.run.tags, tag)
	}
	return nil
}

func (r *Run) artifactDir(name string) string { return filepath.Join(r.Dir, "artifacts", Name(name)) }

// open opens an artifact's folder; names can't lead out of it.
func (r *Run) open(artifact string) (*os.Root, error) {
	root, err := os.OpenRoot(r.artifactDir(artifact))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("artifact %s: %w", artifact, work.ErrNotFound)
	}
	return root, err
}

func (s *Server) PutFile(ctx context.Context, artifact, kind, name string, size int64, r io.Reader) error {
	if !filepath.IsLocal(filepath.FromSlash(name)) {
		return fmt.Errorf("%q leads out of the artifact", name)
	}
	s.run.mu.Lock()
	_, finished := s.run.artifacts[strings.ToLower(artifact)]
	s.run.mu.Unlock()
	if finished && kind == "pipeline" {
		return fmt.Errorf("there is an artifact %s in this run already", artifact)
	}
	if err := os.MkdirAll(s.run.artifactDir(artifact), 0o755); err != nil {
		return err
	}
	root, err := s.run.open(artifact)
	if err != nil {
		return err
	}
	defer root.Close()
	name = filepath.FromSlash(name)
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := root.Create(name)
	if err != nil {
		return err
	}
	n, err := io.Copy(f, r)
	if err = errors.Join(err, f.Close()); err == nil && n != size {
		err = fmt.Errorf("%s has %d bytes, not %d as was said", name, n, size)
	}
	return err
}

func (s *Server) FinishArtifact(_ context.Context, artifact, kind string, properties map[string]string) error {
	s.run.mu.Lock()
	defer s.run.mu.Unlock()
	key := strings.ToLower(artifact)
	if s.run.artifacts == nil {
		s.run.artifacts = map[string]*work.Artifact{}
	}
	if _, ok := s.run.artifacts[key]; ok && kind == "pipeline" {
		return fmt.Errorf("there is an artifact %s in this run already", artifact)
	}
	s.run.artifacts[key] = &work.Artifact{Name: artifact, Kind: kind, Properties: properties}
	return os.MkdirAll(s.run.artifactDir(artifact), 0o755)
}

func (s *Server) foreign(run int64) error {
	if run != 0 {
		return fmt.Errorf("run %d: %w: a local run knows its own artifacts only", run, work.ErrNotFound)
	}
	return nil
}

func (s *Server) Artifacts(ctx context.Context, run int64) ([]work.Artifact, error) {
	if err := s.foreign(run); err != nil {
		return nil, err
	}
	s.run.mu.Lock()
	var all []work.Artifact
	for _, a := range s.run.artifacts {
		all = append(all, *a)
	}
	s.run.mu.Unlock()
	slices.SortFunc(all, func(a, b work.Artifact) int { return strings.Compare(a.Name, b.Name) })
	for i := range all {
		for f, err := range s.Files(ctx, 0, all[i].Name) {
			if err != nil {
				return nil, err
			}
			all[i].Files++
			all[i].Size += f.Size
		}
	}
	return all, nil
}

func (s *Server) Files(_ context.Context, run int64, artifact string) iter.Seq2[work.File, error] {
	return func(yield func(work.File, error) bool) {
		err := s.foreign(run)
		s.run.mu.Lock()
		a := s.run.artifacts[strings.ToLower(artifact)]
		s.run.mu.Unlock()
		if err == nil && a == nil {
			err = fmt.Errorf("artifact %s: %w", artifact, work.ErrNotFound)
		}
		if err != nil {
			yield(work.File{}, err)
			return
		}
		dir := s.run.artifactDir(a.Name)
		err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			f, err := sum(dir, path)
			if err != nil {
				return err
			}
			if !yield(f, nil) {
				return fs.SkipAll
			}
			return nil
		})
		if err != nil {
			yield(work.File{}, err)
		}
	}
}

func sum(dir, path string) (work.File, error) {
	rel, err := filepath.Rel(dir, path)
	if err != nil {
		return work.File{}, err
	}
	f, err := os.Open(path)
	if err != nil {
		return work.File{}, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	return work.File{Name: filepath.ToSlash(rel), Size: n, SHA256: hex.EncodeToString(h.Sum(nil))}, err
}

func (s *Server) GetFile(_ context.Context, run int64, artifact, name string) (io.ReadCloser, error) {
	if err := s.foreign(run); err != nil {
		return nil, err
	}
	root, err := s.run.open(artifact)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f, err := root.Open(filepath.FromSlash(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("artifact %s has no file %s: %w", artifact, name, work.ErrNotFound)
	}
	return f, err
}

func (s *Server) Runs(context.Context, work.RunQuery) ([]int64, error) {
	return nil, fmt.Errorf("%w: a local run knows no other runs", work.ErrNotFound)
}

var errNoServer = errors.New("a local run has no server to ask")

func (s *Server) IdentityToken(context.Context, string) (string, error) {
	return "", fmt.Errorf("no identity token: %w", errNoServer)
}

func (s *Server) Login(context.Context) (*work.Credentials, error) {
	return nil, fmt.Errorf("no credentials of the job's own: %w", errNoServer)
}

// Approve asks whoever started the run.
func (s *Server) Approve(ctx context.Context, _, instructions string, _ []string, timeout time.Duration, onTimeout string) (work.Result, string, error) {
	if s.run.Ask == nil {
		return work.Failed, "nobody is there to answer", nil
	}
	limited := ctx
	if timeout > 0 {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	ok, comment, err := s.run.Ask(limited, instructions)
	switch {
	case ctx.Err() != nil:
		return work.Canceled, "", context.Cause(ctx)
	case limited.Err() != nil && strings.EqualFold(onTimeout, "resume"):
		return work.Succeeded, "nobody answered in time", nil
	case limited.Err() != nil:
		return work.Failed, "nobody answered in time", nil
	case err != nil:
		return work.Failed, "", err
	case !ok:
		return work.Failed, comment, nil
	}
	return work.Succeeded, comment, nil
}

var _ work.Server = (*Server)(nil)
