// Package nodetask runs published tasks: folders with a task.json and a program for Node.js, as they are in the
// marketplaces, unmodified. It gives the program the environment it expects; what the program answers with are logging
// commands, which the step obeys.
//
// Tasks are never downloaded: an administrator puts them below the work folder's _tasks, or in a folder that the agent's
// configuration names, as <Name>_<id>/<version>/ or simply as a folder with the task.json in it.
package nodetask

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/sekisho/sekisho/internal/agent/command"
	"github.com/sekisho/sekisho/internal/agent/task"
)

// ErrNotFound is in the chain of errors about tasks that are not there.
var ErrNotFound = errors.New("no such task")

// Task is a published task.
type Task struct {
	Folder string
	def    definition
}

// definition is the part of a task.json that matters here.
type definition struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Title   string `json:"friendlyName"`
	About   string `json:"description"`
	Author  string `json:"author"`
	Help    string `json:"helpUrl"`
	Version struct{ Major, Minor, Patch number }
	Inputs  []input              `json:"inputs"`
	Before  map[string]execution `json:"prejobexecution"`
	Main    map[string]execution `json:"execution"`
	After   map[string]execution `json:"postjobexecution"`
	Limits  struct {
		Commands struct {
			Mode string `json:"mode"`
		} `json:"commands"`
		Settable *struct {
			Allowed []string `json:"allowed"`
		} `json:"settableVariables"`
	} `json:"restrictions"`
}

type input struct {
	Name     string   `json:"name"`
	Aliases  []string `json:"aliases"`
	Type     string   `json:"type"`
	Default  text     `json:"defaultValue"`
	Required flag     `json:"required"`
	Visible  string   `json:"visibleRule"`
}

type execution struct {
	Target           string   `json:"target"`
	WorkingDirectory string   `json:"workingDirectory"`
	Platforms        []string `json:"platforms"`
}

// text, flag and number are values that files in the wild write as JSON values of any type.
type (
	text   string
	flag   bool
	number int
)

func (t *text) UnmarshalJSON(b []byte) error {
	var s string
	if json.Unmarshal(b, &s) == nil {
		*t = text(s)
		return nil
	}
	if b = bytes.TrimSpace(b); string(b) != "null" {
		*t = text(b)
	}
	return nil
}

func (f *flag) UnmarshalJSON(b []byte) error {
	*f = flag(strings.EqualFold(strings.Trim(string(b), `" `), "true"))
	return nil
}

func (n *number) UnmarshalJSON(b []byte) error {
	v, err := strconv.Atoi(strings.Trim(string(b), `" `))
	*n = number(v)
	return err
}

const maxDefinition = 4 << 20 // bytes of a task.json

// Find finds the task that a step names, in the newest version of the major version it asks for. Errors: [ErrNotFound].
func Find(folders []string, ref string) (*Task, error) {
	name, major, err := task.Split(ref)
	if err != nil {
		return nil, err
	}
	var best *Task
	var broken error
	for _, root := range folders {
		for _, file := range definitions(root) {
			t, err := read(file)
			if err != nil {
				broken = fmt.Errorf("%s: %w", file, err)
				continue
			}
			d := &t.def
			if !strings.EqualFold(d.Name, name) && !strings.EqualFold(d.ID, name) || int(d.Version.Major) != major {
				continue
			}
			if best == nil || d.Version.Minor > best.def.Version.Minor || d.Version.Minor == best.def.Version.Minor && d.Version.Patch > best.def.Version.Patch {
				best = t
			}
		}
	}
	if best == nil {
		err := fmt.Errorf("%w: %s is not one that the agent knows itself, and no published task of that name and version is below %s: put its folder there, with its task.json",
			ErrNotFound, ref, strings.Join(folders, " or "))
		if broken != nil {
			err = fmt.Errorf("%w (and %w)", err, broken)
		}
		return nil, err
	}
	return best, nil
}

// definitions are the task.json files of a folder, at most two folders down.
func definitions(root string) []string {
	var all []string
	for _, pattern := range []string{"task.json", "*/task.json", "*/*/task.json"} {
		found, _ := filepath.Glob(filepath.Join(escape(root), pattern)) // the pattern is a good one
		all = append(all, found...)
	}
	return all
}

// escape makes a path a pattern that matches it alone.
func escape(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}

func read(file string) (*Task, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxDefinition {
		return nil, fmt.Errorf("it has more than %d bytes", maxDefinition)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	t := &Task{Folder: filepath.Dir(file)}
	if err := json.Unmarshal(bytes.TrimPrefix(b, []byte("\xef\xbb\xbf")), &t.def); err != nil {
		return nil, fmt.Errorf("it is no definition of a task: %w", err)
	}
	if t.def.Name == "" {
		return nil, errors.New("it is no definition of a task: it has no name")
	}
	return t, nil
}

// HasBefore and HasAfter report whether the task has something to do before the job's first step, and after its last one.
func (t *Task) HasBefore() bool { return len(t.def.Before) > 0 }
func (t *Task) HasAfter() bool  { return len(t.def.After) > 0 }

// Restrictions are what the task itself says its commands may do at most.
func (t *Task) Restrictions() command.Restrictions {
	r := command.Restrictions{Restricted: strings.EqualFold(t.def.Limits.Commands.Mode, "restricted")}
	if s := t.def.Limits.Settable; s != nil {
		r.Settable = append([]string{}, s.Allowed...)
	}
	return r
}

// madeFor is the major version of Node.js that a kind of execution is for: "Node16", "Node20_1"; "Node" is the first there was.
func madeFor(kind string) (int, bool) {
	version, ok := strings.CutPrefix(strings.ToLower(kind), "node")
	if ok && version == "" {
		return 6, true
	}
	version, _, _ = strings.Cut(version, "_")
	n, err := strconv.Atoi(version)
	return n, ok && err == nil && n > 0
}

// pick chooses an execution for a version of Node.js: the newest one that is not newer than that. A program for an
// older one is expected to run on a newer one.
func pick(all map[string]execution, node int) (execution, error) {
	var best execution
	bestVersion := 0
	var others, newer []string
	for kind, e := range all {
		v, ok := madeFor(kind)
		switch {
		case !ok:
			others = append(others, kind)
		case v > node:
			newer = append(newer, kind)
		case v > bestVersion:
			best, bestVersion = e, v
		}
	}
	slices.Sort(others)
	slices.Sort(newer)
	switch {
	case bestVersion > 0:
		return best, nil
	case len(newer) > 0:
		return best, fmt.Errorf("the task needs %s, and the node on the PATH is version %d: install a newer one", strings.Join(newer, " or "), node)
	case len(others) > 0:
		return best, fmt.Errorf("the task is made for %s, which this agent does not run: it runs tasks for Node.js", strings.Join(others, ", "))
	}
	return best, errors.New("the task has nothing to execute")
}
