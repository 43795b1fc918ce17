package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	agentv1 "github.com/sekisho/sekisho/internal/agent/rpc/sekisho/agent/v1"
	"github.com/sekisho/sekisho/internal/agent/work"
)

// DefaultMinFree is how much of the disk must be free for a job to be taken, in bytes.
const DefaultMinFree = 1 << 30

func decodeJob(text []byte) (*work.Job, error) {
	job := &work.Job{}
	if err := json.Unmarshal(text, job); err != nil {
		return nil, fmt.Errorf("the server's job can't be read, is the agent older than the server? %w", err)
	}
	if job.ID == "" {
		return nil, errors.New("the server's job has no id")
	}
	if job.DisplayName == "" {
		job.DisplayName = job.Identity.Job
	}
	return job, nil
}

func localFacts(version string, can map[string]string, why string) *agentv1.Facts {
	return &agentv1.Facts{Version: version, Os: runtime.GOOS, Arch: runtime.GOARCH, Host: hostname(), Capabilities: can, Reason: why}
}

func toValid(text string) string {
	return strings.ToValidUTF8(strings.ReplaceAll(text, "\x00", ""), "?")
}

// bytesText is a number of bytes for people.
func bytesText(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, i := float64(n)/unit, 0
	for ; value >= unit && i < 4; i++ {
		value /= unit
	}
	return fmt.Sprintf("%.1f %ciB", value, "KMGTP"[i])
}

const (
	diagPrefix = "agent-"
	diagKept   = 10
	// maxDiag is how long a file of diagnostics gets; then another one begins.
	maxDiag = 16 << 20
)

// diagLog is the agent's own log, in files of a folder of which the last ones are kept.
type diagLog struct {
	dir string

	mu   sync.Mutex
	file *os.File // guarded by mu
	size int64    // guarded by mu
}

func openDiag(dir string, now time.Time) (*diagLog, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make folder of diagnostics: %w", err)
	}
	d := &diagLog{dir: dir}
	return d, d.next(now)
}

// next begins another file and removes the oldest. It needs mu.
func (d *diagLog) next(now time.Time) error {
	f, err := os.OpenFile(filepath.Join(d.dir, diagPrefix+now.UTC().Format("20060102-150405.000000")+".log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open diagnostics: %w", err)
	}
	if d.file != nil {
		_ = d.file.Close()
	}
	d.file, d.size = f, 0
	names, err := filepath.Glob(filepath.Join(d.dir, diagPrefix+"*.log"))
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, name := range names[:max(0, len(names)-diagKept)] {
		_ = os.Remove(name)
	}
	return nil
}

// Write implements [io.Writer].
func (d *diagLog) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.size > maxDiag {
		if err := d.next(time.Now()); err != nil {
			return 0, err
		}
	}
	n, err := d.file.Write(p)
	d.size += int64(n)
	return n, err
}

func (d *diagLog) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.file.Close()
}
