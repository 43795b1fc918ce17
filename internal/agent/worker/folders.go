package worker

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/sekisho/sekisho/internal/agent/task"
	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/durable"
)

// folderMap says which numbered folder belongs to which pipeline and repository: 1/s is always the same one's, so that what
// lies there can be used again. It stands in the file folders.json of the work folder.
type folderMap struct {
	Next    int               `json:"next"`
	Folders map[string]string `json:"folders"` // key → number
}

// mapLock keeps jobs of one process from writing one map at once. Two agents never share a work folder.
var mapLock sync.Mutex

// folders makes a job's folders, emptied as it asks for.
func folders(workDir string, j *work.Job) (task.Dirs, error) {
	number, err := folderOf(workDir, j)
	if err != nil {
		return task.Dirs{}, err
	}
	root := filepath.Join(workDir, number)
	d := task.Dirs{
		Work: workDir, Pipeline: root, Sources: filepath.Join(root, "s"), Binaries: filepath.Join(root, "b"),
		Staging: filepath.Join(root, "a"), Results: filepath.Join(root, "TestResults"),
		Temp: filepath.Join(workDir, "_temp"), Tools: filepath.Join(workDir, "_tool"), Tasks: filepath.Join(workDir, "_tasks"),
	}
	clean := []string{d.Temp, d.Staging, d.Results}
	if outside(j) {
		clean = append(clean, root)
	}
	switch strings.ToLower(j.Workspace) {
	case "", "none":
	case "outputs":
		clean = append(clean, d.Binaries)
	case "resources":
		clean = append(clean, d.Sources)
	case "all":
		clean = append(clean, root)
	default:
		return d, fmt.Errorf("workspace: clean must be outputs, resources or all, not %q", j.Workspace)
	}
	for _, dir := range clean {
		if err := removeAll(dir); err != nil {
			return d, fmt.Errorf("the workspace can't be cleaned: %w: remove %s by hand, or let the agent's user do it", err, dir)
		}
	}
	for _, dir := range []string{d.Pipeline, d.Sources, d.Binaries, d.Staging, d.Results, d.Temp, d.Tools, d.Tasks} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return d, err
		}
	}
	return d, nil
}

// outside reports whether a job is of a pull request, which comes from outside: its folders are not those of the pipeline's other
// runs, in whose sources it could leave something behind, and nothing in them is used again.
func outside(j *work.Job) bool { return strings.HasPrefix(j.Identity.Ref, "refs/pull/") }

func folderOf(workDir string, j *work.Job) (string, error) {
	mapLock.Lock()
	defer mapLock.Unlock()
	if err := os.MkdirAll(workDir, 0o755); err != nil {
		return "", err
	}
	file := filepath.Join(workDir, "folders.json")
	m := folderMap{Next: 1, Folders: map[string]string{}}
	text, err := os.ReadFile(file)
	if err == nil {
		if err := json.Unmarshal(text, &m); err != nil || m.Folders == nil {
			return "", fmt.Errorf("%s is damaged: remove it, and the numbered folders beside it", file)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	key := j.Identity.Project + "/" + j.Identity.PipelineID
	if j.Identity.PipelineID == "" {
		key = j.Identity.Project + "/" + j.Identity.Pipeline
	}
	for _, r := range j.Repositories {
		if r.Alias == "self" {
			key += "@" + r.Name + r.ID
		}
	}
	if outside(j) {
		key += " outside"
	}
	if number, ok := m.Folders[key]; ok {
		if _, err := strconv.Atoi(number); err != nil {
			return "", fmt.Errorf("%s is damaged: %q is no folder's number", file, number)
		}
		return number, nil
	}
	number := strconv.Itoa(max(m.Next, 1))
	m.Next = max(m.Next, 1) + 1
	m.Folders[key] = number
	if text, err = json.MarshalIndent(m, "", "  "); err != nil {
		return "", err
	}
	return number, durable.WriteFile(durable.OS{}, file, append(text, '\n'), 0o644)
}

// removeAll removes a folder, also where its folders were made read-only.
func removeAll(dir string) error {
	if err := os.RemoveAll(dir); err == nil {
		return nil
	}
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() {
			_ = os.Chmod(path, 0o700)
		}
		return nil
	})
	return os.RemoveAll(dir)
}

// within reports whether a cleaned path is a folder or lies in it.
func within(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}
