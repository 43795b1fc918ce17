// Package work is what an agent is given to do and what it tells of it: one vocabulary for the server, the agent, and a
// run on one's own machine. It has types and no behaviour. On the wire they are JSON.
package work

import "time"

// Job is one attempt of one job of a run, complete: whoever has it needs nothing but the [Server] to run it.
type Job struct {
	ID      string // opaque, never used for another job: "<run>.<stage>.<job>…"
	Attempt int    // of the claim, from 1: results of an earlier claim don't count

	Identity Identity

	DisplayName          string
	TimeoutMinutes       int    // 0: none
	CancelTimeoutMinutes int    // between asking and killing
	Workspace            string // what to clean before: "", "outputs", "resources", "all"

	Steps        []Step
	Variables    []Variable // in the order in which they were set; a later one wins
	Endpoints    []Endpoint // service connections, only those this job may use
	Repositories []Repository
	Containers   []Container
	Container    string            // alias of the container that steps run in; empty: on the host
	Services     map[string]string // name on the job's network → alias of a container
	Downloads    []Artifacts       // runs whose artifacts a deployment job gets before its first step

	Masks []string // secrets beside those of Variables and Endpoints

	// Server is the base URL that tokens and addresses below are for, as the agent knows it. Filled in by the agent.
	Server string
	// Token authorises what the job itself asks of the server (git, artifacts, identity tokens), until it ends.
	Token string
	// Credentials are of the job's own identity, for the registry and the AWS APIs of this instance; nil if it has none.
	Credentials *Credentials
	// RegistryHosts are names, with ports, under which this instance's registry is reached; the first one is preferred. An empty
	// list: the host of Server.
	RegistryHosts []string
	Region        string
}

// Identity says what a job is a part of. It is what an identity token of the job claims.
type Identity struct {
	Account      string `json:"account"`
	Project      string `json:"project"`
	ProjectID    string `json:"project_id"`
	Pipeline     string `json:"pipeline"`
	PipelineID   string `json:"pipeline_id"`
	Run          int64  `json:"run_id"`
	RunNumber    string `json:"run_number"`
	RunAttempt   int    `json:"run_attempt"`
	Stage        string `json:"stage"`
	Job          string `json:"job"`
	Environment  string `json:"environment,omitempty"`
	Repository   string `json:"repository"`
	Ref          string `json:"ref"`
	Commit       string `json:"sha"`
	Reason       string `json:"reason"` // "manual", "individualCI", "batchedCI", "schedule", "pullRequest", "resourceTrigger"
	RequestedFor string `json:"requested_for"`
	Agent        string `json:"agent"`
	Pool         string `json:"pool"`
}

// Step is a step as the agent runs it. Texts may hold macros, $(name), and conditions are expressions over what only
// the agent knows.
type Step struct {
	ID              string // unique within the job
	Name            string // by which later ones name its outputs; may be empty
	DisplayName     string
	Task            string // "Bash@3"; "checkout@1" for the checkout step
	Inputs          map[string]string
	Env             []Pair
	Condition       string // empty: succeeded()
	Enabled         bool
	ContinueOnError string // "true", "false" or with macros; empty: false
	TimeoutMinutes  int    // 0: none of its own
	Retries         int    // retryCountOnTaskFailure
	Target          *Target
	Hook            string // of a deployment job: "preDeploy", "deploy", "routeTraffic", "postRouteTraffic", "onSuccess", "onFailure"
	File            string // where the step stands, for messages: "templates/build.yml:12:5"
}

// Target says where a step runs and what its commands may do.
type Target struct {
	Container         string   // alias; "host"; empty: as the job
	Commands          string   // "any", "restricted"; empty: any
	SettableVariables []string // nil: all; empty and not nil: none
}

// Pair is a name and a value, where order counts.
type Pair struct{ Name, Value string }

// Variable is a variable of a job.
type Variable struct {
	Name     string
	Value    string
	Secret   bool `json:",omitempty"`
	ReadOnly bool `json:",omitempty"`
	// Expression says that Value is $[ ], to be evaluated when the job starts, and was not evaluated by the server.
	Expression bool `json:",omitempty"`
	// From says where it was set, for people: "variable group prod", "azure-pipelines.yml:4:3", "stage Build", "queue".
	From string `json:",omitempty"`
}

// Endpoint is a service connection as tasks see it.
type Endpoint struct {
	ID     string
	Name   string
	Type   string // "AWS", "dockerregistry", "sekisho", "generic", "git"
	URL    string
	Scheme string            // "UsernamePassword", "Token", "None", "WorkloadIdentityFederation"
	Auth   map[string]string // parameters of Scheme, by the names Azure's tasks know: "username", "password", "registry", "assumeRoleArn", …
	Data   map[string]string
}

// Repository is one that steps may check out.
type Repository struct {
	Alias    string // "self", or as resources name it
	ID       string
	Name     string // "project/repo"
	Type     string // "git": ours; "external": at URL
	URL      string // a path below the server's URL for ours: "/git/project/repo"
	Ref      string // "refs/heads/main"
	Version  string // commit
	Endpoint string // ID of the endpoint that authenticates; empty: the job's token for ours, nothing for others
}

// Container is an image that steps or services run in.
type Container struct {
	Alias           string
	Image           string
	Endpoint        string // ID of the registry's endpoint; empty: the job's own credentials where it is our registry
	Options         string
	Env             []Pair
	Ports           []string
	Volumes         []string
	MountReadOnly   []string
	MapDockerSocket bool
}

// Artifacts names what a job downloads.
type Artifacts struct {
	Alias string // "current", or a pipeline resource
	Run   int64
	Names []string // nil: all
}

// Credentials are temporary ones of the job's identity.
type Credentials struct {
	AccessKeyID, SecretAccessKey, SessionToken string
	Expires                                    time.Time
}

// Result is how a step, a job, a stage or a run ended.
type Result string

// The results. Abandoned is a job whose agent was lost.
const (
	Succeeded           Result = "succeeded"
	SucceededWithIssues Result = "succeededWithIssues"
	Failed              Result = "failed"
	Canceled            Result = "canceled"
	Skipped             Result = "skipped"
	Abandoned           Result = "abandoned"
)

// State is how far something is.
type State string

// The states.
const (
	Pending    State = "pending"
	InProgress State = "inProgress"
	Completed  State = "completed"
)

// Record is what is known of a step (or of the job as a whole, with an empty Step). Of each step the last record
// counts; the agent numbers them so that one that comes late or twice changes nothing.
type Record struct {
	Step        string // Step.ID; empty for the job; a step that the agent adds itself has an ID of its own
	Sequence    int64  // of this job, rising
	Order       int    // place among the steps as people see them
	Name        string
	DisplayName string
	Task        string
	State       State
	Result      Result `json:",omitempty"`
	Started     time.Time
	Finished    time.Time
	Progress    int    `json:",omitempty"` // percent
	Operation   string `json:",omitempty"` // what it does now
	Message     string `json:",omitempty"` // why it has its result, where that is not plain
	ExitCode    *int   `json:",omitempty"`
	Tries       int    `json:",omitempty"` // beyond 1: it was retried
	Issues      []Issue
	Outputs     []Variable // variables it set with isOutput; secrets among them too
	Log         string     // id of its log; empty for none
}

// Issue is an error or a warning that a step logged.
type Issue struct {
	Type                       string // "error", "warning"
	Message                    string
	Source, Line, Column, Code string `json:",omitempty"`
}

// Attachment is a small file about a run: a summary in Markdown, test results, coverage.
type Attachment struct {
	Step string
	Type string // [SummaryAttachment], [TestsAttachment], [CoverageAttachment], or one of a script's
	Name string
	Data []byte
}
