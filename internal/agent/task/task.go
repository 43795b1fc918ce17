// Package task is the tasks that agents know by themselves. A task is a function over a [Context]; everything it does to
// the world goes through that, so that the same task runs on a host, in a container, and in a test.
//
// Tasks that are not here run from their published folders, see agent/nodetask.
package task

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/sekisho/sekisho/internal/agent/work"
)

// Func runs a task. An error fails the step, [ErrIssues] makes it succeed with issues, [ErrSkipped] skips it; what the
// task says of the reasons is in its log, and the error's text is the step's message.
type Func func(ctx context.Context, c *Context) error

var (
	// ErrIssues ends a task that did its work, with warnings.
	ErrIssues = errors.New("succeeded with issues")
	// ErrSkipped ends a task that had nothing to do.
	ErrSkipped = errors.New("skipped")
)

// Context is what a task runs with.
type Context struct {
	Job    *work.Job
	Step   *work.Step
	Inputs Inputs // macros replaced
	Dirs   Dirs
	Env    []string // "NAME=value": what a process of the step sees, complete
	Log    Log
	Vars   Variables
	Host   Host
	Server work.Server
	Now    func() time.Time
	// After has a function run at the end of the job, whatever its result, as a step of its own. Those that were registered
	// last run first.
	After func(displayName string, f Func)
	// Prepend puts a folder before the others of PATH, for later steps.
	Prepend func(folder string)
}

// Dirs are the folders of a job, absolute, as the task's processes see them.
type Dirs struct {
	Work     string // Agent.WorkFolder
	Pipeline string // Pipeline.Workspace, Agent.BuildDirectory
	Sources  string // Build.SourcesDirectory, System.DefaultWorkingDirectory
	Binaries string // Build.BinariesDirectory
	Staging  string // Build.ArtifactStagingDirectory
	Results  string // Common.TestResultsDirectory
	Temp     string // Agent.TempDirectory: emptied before and after each job
	Tools    string // Agent.ToolsDirectory
	Tasks    string // Agent.TasksDirectory, where published tasks are kept
}

// Log is a step's log. Each call adds whole lines; secrets are masked, and logging commands in lines that tasks write with
// it are not obeyed.
type Log interface {
	Line(text string)    // plain
	Section(text string) // ##[section]
	Command(text string) // ##[command]
	Warning(text string) // ##[warning], an issue too
	Error(text string)   // ##[error], an issue too
	Debug(text string)   // ##[debug], where System.Debug is true
	// Group begins a foldable group that end ends.
	Group(title string) (end func())
	// Secret has a value masked from here on, in this log and in those of later steps.
	Secret(value string)
	// Progress says how far the step is: percent, and what it does now.
	Progress(percent int, operation string)
}

// Variables are the job's, as they are when the step runs.
type Variables interface {
	Get(name string) (value string, ok bool)
	Set(v work.Variable, output bool) error
	// Expand replaces macros in a text, once.
	Expand(text string) string
}

// Process is a program to run where the step runs.
type Process struct {
	Path  string   // looked up in the PATH of Env
	Args  []string // without the program's own name
	Dir   string   // empty: Dirs.Sources
	Env   []string // nil: the Context's
	Stdin io.Reader
	// Stdout gets what the program writes. nil: it goes to the log, where logging commands are obeyed.
	Stdout io.Writer
	// Stderr is likewise; nil: to the log.
	Stderr io.Writer
	// Quiet keeps the command line out of the log.
	Quiet bool
}

// Host runs programs in the step's place (the host, or the container that the step targets), in the job's own process
// group, so that nothing survives the job.
type Host interface {
	// Run runs a program to its end. Errors: [*ExitError]; the end of ctx, after asking and then killing it.
	Run(ctx context.Context, p *Process) error
	// Look finds a program in the step's PATH. Errors: exec.ErrNotFound.
	Look(name string) (string, error)
	// Container says whether steps run in a container; then paths of Dirs are those inside of it, and Outside translates them.
	Container() bool
	Outside(path string) string
}

// ExitError is a program that ended with a code other than 0.
type ExitError struct {
	Program string
	Code    int
}

// Inputs are a task's inputs; names are compared without regard to case, and spaces around values are cut off.
type Inputs map[string]string // by the name in lower case

func (e *ExitError) Error() string {
	return fmt.Sprintf("%s ended with exit code %d", e.Program, e.Code)
}
