// Package pipeline is the pipeline language: a file and the templates it names become a [Plan], or diagnostics with
// file, line and column. It is pure: what it reads comes from a [Source], and nothing is run here.
//
// Every shape of the published schema is either understood or refused by name; an unknown key is never passed over.
// Whoever runs a plan finds in it what was written, defaults filled in, with runtime expressions, $[ ], and macros,
// $( ), as they were.
package pipeline

import (
	"context"

	"github.com/sekisho/sekisho/internal/pipeline/template"
	"github.com/sekisho/sekisho/internal/pipeline/yaml"
)

// ErrNoFile is what a Source returns for a file, a repository or a ref that is not there.
var ErrNoFile = template.ErrNoFile

// Source is where files come from.
type Source interface {
	// File returns the bytes of a file, by its slash-separated path from the root of the repository that has the alias in the
	// pipeline's resources; "self" is the one that the pipeline stands in. Errors: [ErrNoFile].
	File(ctx context.Context, repo Repository, path string) ([]byte, error)
}

// Plan is a pipeline, expanded and checked.
type Plan struct {
	Name                         string // the format of run numbers; empty: the default
	AppendCommitMessageToRunName bool
	LockBehavior                 string   // "", "sequential", "runLatest"
	Trigger                      *Trigger // nil: not said, which is every branch
	PR                           *Trigger // nil: not said
	Schedules                    []Schedule
	Parameters                   []Parameter
	Variables                    []Variable
	Resources                    Resources
	Pool                         *Pool
	Stages                       []*Stage

	Expanded *yaml.Node // the normal form, as expand prints it
	Files    []string   // what was read, the root first: "azure-pipelines.yml", "templates/build.yml@shared"
	Warnings []*yaml.Error

	Definitions []template.Definition // every place that expansion found to give a variable a value

	unsupported []*yaml.Error
}

// Trigger says which pushes, or which pull requests, start a run.
type Trigger struct {
	Pos                   yaml.Pos
	Enabled               bool
	Batch                 bool
	AutoCancel            bool
	Drafts                bool
	Branches, Tags, Paths Filter
}

// Filter includes and excludes names by pattern.
type Filter struct{ Include, Exclude []string }

// Schedule starts runs by the clock, in UTC.
type Schedule struct {
	Pos         yaml.Pos
	Cron        string
	DisplayName string
	Branches    Filter
	Always      bool // also without changes
	Batch       bool // not while the last one still runs
}

// Parameter is one of the root file's, with the value it had.
type Parameter struct {
	Pos         yaml.Pos
	Name        string
	DisplayName string
	Type        string
	Default     *yaml.Node
	Values      []string // allowed ones; nil: any
	Value       *yaml.Node
}

// Variable is a variable as a pipeline, a stage or a job declares it. Just one of Name and Group is set. Pos is that of the
// value, if there is one.
type Variable struct {
	Pos      yaml.Pos
	Name     string
	Value    string
	ReadOnly bool
	Group    string
}

// Resources are what a pipeline uses from elsewhere.
type Resources struct {
	Repositories []Repository
	Containers   []Container
	Pipelines    []PipelineResource
}

// Repository is a repository resource. The one that the pipeline stands in has the alias "self".
type Repository struct {
	Pos      yaml.Pos
	Alias    string
	Type     string // "git", "github", "githubenterprise", "bitbucket", "external"
	Name     string // "repo" or "project/repo"
	Ref      string // "refs/heads/main"; empty: the default branch
	Endpoint string
	Trigger  *Trigger
	Checkout []KeyValue // inputs for checkout steps; they are in the steps already
}

// Container is a container resource, or one that a job describes in place.
type Container struct {
	Pos             yaml.Pos
	Alias           string
	Image           string
	Endpoint        string
	Options         string
	Env             []KeyValue
	Ports           []string
	Volumes         []string
	MountReadOnly   []string
	MapDockerSocket *bool
	Trigger         bool
}

// PipelineResource is another pipeline whose runs start this one, or give it artifacts.
type PipelineResource struct {
	Pos             yaml.Pos
	Alias           string
	Project         string
	Source          string
	Version, Branch string
	Tags            []string
	Trigger         *Trigger // nil: none
	TriggerStages   []string
	TriggerTags     []string
}

// Pool says who may run a job. Demands are "name" or "name -equals value".
type Pool struct {
	Pos     yaml.Pos
	Name    string // empty: the default pool
	VMImage string
	Demands []string
	Server  bool // pool: server, an agentless job
}

// Stage is a stage. DependsOn is complete: that of a stage which says nothing names the one before.
type Stage struct {
	Pos          yaml.Pos
	Name         string
	DisplayName  string
	DependsOn    []string
	Condition    string // an expression; empty: succeeded()
	Variables    []Variable
	Pool         *Pool
	LockBehavior string
	Manual       bool // trigger: manual
	NotSkippable bool
	Jobs         []*Job
}

// Job is a job, or a deployment job. Texts that may hold $[ ] or $( ) are kept as they were written.
type Job struct {
	Pos                    yaml.Pos
	Name                   string
	DisplayName            string
	DependsOn              []string
	Condition              string
	ContinueOnError        string // "true", "false", an expression; empty: false
	TimeoutInMinutes       string // empty: 60
	CancelTimeoutInMinutes string // empty: 5
	Variables              []Variable
	Pool                   *Pool // nil: the stage's, else the pipeline's
	Strategy               *Strategy
	Container              *Container // Alias alone: one of the resources; Alias may be an expression
	Services               []KeyValue // name → alias
	WorkspaceClean         string
	Uses                   Uses
	Deployment             *Deployment
	Steps                  []*Step // of a deployment job: none, see its hooks
}

// Uses names what a job will use that no step of it shows.
type Uses struct{ Repositories, Pools []string }

// Strategy multiplies a job.
type Strategy struct {
	Matrix           []Leg  // in order
	MatrixExpression string // $[ ], instead of Matrix
	Parallel         string // number of equal jobs
	MaxParallel      string
}

// Leg is one row of a matrix.
type Leg struct {
	Name      string
	Variables []KeyValue
}

// Deployment is what makes a job a deployment job.
type Deployment struct {
	Environment  string // may hold macros
	ResourceName string
	ResourceType string
	Tags         string
	Strategy     string // "runOnce", "rolling", "canary"
	Hooks        []Hook // in the order in which they run
}

// Hook is a lifecycle hook: "preDeploy", "deploy", "routeTraffic", "postRouteTraffic", "onFailure", "onSuccess".
type Hook struct {
	Pos   yaml.Pos
	Name  string
	Pool  *Pool
	Steps []*Step
}

// Step is a step in its normal form, a task with inputs.
type Step struct {
	Pos              yaml.Pos
	Task             string // "Bash@3"; "checkout@1"
	Name             string
	DisplayName      string
	Inputs           []KeyValue
	Env              []KeyValue
	Condition        string
	Enabled          string // "true", "false"; empty: true
	ContinueOnError  string
	TimeoutInMinutes string
	Retries          string // retryCountOnTaskFailure
	Target           *Target
}

// Target says where a step runs and what its commands may do.
type Target struct {
	Container         string
	Commands          string
	SettableVariables []string // nil: all; empty: none
}

// KeyValue is a key with a value, where order counts.
type KeyValue struct {
	Pos        yaml.Pos
	Key, Value string
}
