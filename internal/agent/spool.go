package agent

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/durable"
)

// held is a claim as it is kept on disk, while it is held.
type held struct {
	Job     string    `json:"job"`
	Attempt int       `json:"attempt"`
	Name    string    `json:"name"`
	Since   time.Time `json:"since"`
}

// outcome is how a worker says that its job ended.
type outcome struct {
	Result  work.Result `json:"result"`
	Message string      `json:"message,omitempty"`
	Told    bool        `json:"told,omitempty"` // all that the job had to tell is with the server
}

// spool is a folder with what a job has to tell: its logs, the last record of each step, and how it ended. The worker writes it,
// and whoever is there sends it: the worker, and when that died, the agent.
type spool struct {
	dir string

	mu      sync.Mutex
	logs    map[string]*spooled    // guarded by mu; by the log's id
	order   []*spooled             // guarded by mu; the same, as they were begun
	records map[string]work.Record // guarded by mu; by step
}

// spooled is a log on disk.
type spooled struct {
	id   string
	file *os.File
	size int64 // guarded by the spool's mu
}

const (
	claimFile   = "claim.json"
	resultFile  = "result.json"
	recordsFile = "records.json"
	workerLock  = "lock" // held by the worker while it runs
	logSuffix   = ".log"
	nameSuffix  = ".name"
)

// openSpool opens a spool, made if it isn't there.
func openSpool(dir string) (*spool, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make spool: %w", err)
	}
	s := &spool{dir: dir, logs: map[string]*spooled{}, records: map[string]work.Record{}}
	names, err := filepath.Glob(filepath.Join(dir, "*"+nameSuffix))
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		id, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read spool: %w", err)
		}
		if _, err := s.log(string(id)); err != nil {
			return nil, err
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, recordsFile))
	if err == nil {
		err = json.Unmarshal(text, &s.records)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read spooled records: %w", err)
	}
	return s, nil
}

// log returns a log, made if it isn't there.
func (s *spool) log(id string) (*spooled, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.logs[id]; l != nil {
		return l, nil
	}
	sum := sha256.Sum256([]byte(id))
	base := filepath.Join(s.dir, hex.EncodeToString(sum[:12]))
	if err := os.WriteFile(base+nameSuffix, []byte(id), 0o600); err != nil {
		return nil, fmt.Errorf("spool log: %w", err)
	}
	f, err := os.OpenFile(base+logSuffix, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("spool log: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("spool log: %w", err)
	}
	l := &spooled{id: id, file: f, size: info.Size()}
	s.logs[id] = l
	s.order = append(s.order, l)
	return l, nil
}

// all returns the logs there are, in the order in which they were begun; those of an earlier process come first, in any.
func (s *spool) all() []*spooled {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.order)
}

// add writes bytes at an offset of a log. Those that are there already are not written again.
func (s *spool) add(l *spooled, offset int64, data []byte) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if offset < 0 || offset > l.size {
		return l.size, fmt.Errorf("log %s has %d bytes; none can be added at %d", l.id, l.size, offset)
	}
	skip := min(l.size-offset, int64(len(data)))
	data = data[skip:]
	if len(data) > 0 {
		if _, err := l.file.WriteAt(data, l.size); err != nil {
			return l.size, fmt.Errorf("spool log: %w", err)
		}
		l.size += int64(len(data))
	}
	return l.size, nil
}

// read returns up to limit bytes of a log from an offset on.
func (s *spool) read(l *spooled, offset int64, limit int) ([]byte, error) {
	s.mu.Lock()
	left := l.size - offset
	s.mu.Unlock()
	if left <= 0 {
		return nil, nil
	}
	data := make([]byte, min(int64(limit), left))
	if _, err := l.file.ReadAt(data, offset); err != nil && err != io.EOF {
		return nil, fmt.Errorf("read spooled log: %w", err)
	}
	return data, nil
}

func (s *spool) size(l *spooled) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return l.size
}

// keep writes down the last record of each step. Secret outputs are left out: they go to the server and not to this disk.
func (s *spool) keep(records []work.Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range records {
		if r.Sequence < s.records[r.Step].Sequence {
			continue
		}
		outputs := r.Outputs
		r.Outputs = nil
		for _, v := range outputs {
			if !v.Secret {
				r.Outputs = append(r.Outputs, v)
			}
		}
		s.records[r.Step] = r
	}
	return s.write(recordsFile, s.records)
}

// last returns the last record of each step.
func (s *spool) last() []work.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]work.Record, 0, len(s.records))
	for _, r := range s.records {
		list = append(list, r)
	}
	return list
}

// write replaces a file. What a crash of the machine takes away, the end of the lease says; so nothing is synced.
func (s *spool) write(name string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	return nil
}

// result returns how the worker said that the job ended, nil if it did not.
func (s *spool) result() *outcome { return outcomeIn(s.dir) }

func outcomeIn(dir string) *outcome {
	text, err := os.ReadFile(filepath.Join(dir, resultFile))
	if err != nil {
		return nil
	}
	var o outcome
	if json.Unmarshal(text, &o) != nil || o.Result == "" {
		return nil
	}
	return &o
}

func (s *spool) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, l := range s.logs {
		_ = l.file.Close()
		delete(s.logs, id)
	}
}

// remove deletes the spool.
func (s *spool) remove() error {
	s.close()
	return os.RemoveAll(s.dir)
}

// spoolOf returns the folder of a claim's spool.
func (f Folder) spoolOf(job string, attempt int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", job, attempt))
	return f.path(spoolFolder, hex.EncodeToString(sum[:12]))
}

// leftSpools returns the spools that are there, with their claims. What is no spool is removed.
func (f Folder) leftSpools() (map[string]held, error) {
	entries, err := os.ReadDir(f.path(spoolFolder))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read spools: %w", err)
	}
	left := map[string]held{}
	for _, e := range entries {
		dir := f.path(spoolFolder, e.Name())
		var h held
		text, err := os.ReadFile(filepath.Join(dir, claimFile))
		if err == nil {
			err = json.Unmarshal(text, &h)
		}
		if err != nil || h.Job == "" {
			if err := os.RemoveAll(dir); err != nil {
				return nil, fmt.Errorf("remove spool: %w", err)
			}
			continue
		}
		left[dir] = h
	}
	return left, nil
}

// keepClaim writes down that a claim is held, for an agent that starts again.
func (s *spool) keepClaim(h held) error {
	text, err := json.Marshal(h)
	if err != nil {
		return err
	}
	return durable.WriteFile(durable.OS{}, filepath.Join(s.dir, claimFile), text, 0o600)
}

// plainName makes a name that came from elsewhere safe to print.
func plainName(name string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, name)
}
