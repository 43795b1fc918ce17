package flow

import (
	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/pipeline"
)

// State is how far a run is. Its stages and jobs stand in the order of the plan. Callers change what they know (marked
// below), [Flow.Next] all else. It can be stored as JSON, or be put together from rows.
type State struct {
	Canceling bool        `json:",omitempty"` // caller: the run is being canceled
	Done      bool        `json:",omitempty"`
	Result    work.Result `json:",omitempty"` // once it is done
	Stages    []StageState
}

// StageState is how far a stage is.
//
// A stage begins as pending. When all it depends on has completed, its condition is decided: it is skipped, or Next says
// StageReady and sets Ready. The caller then sees to approvals, checks and locks, and sets InProgress (or Rejected). From
// then on Next starts its jobs, until it completes it.
type StageState struct {
	Name   string
	State  work.State  // caller: InProgress, after it was Ready
	Result work.Result `json:",omitempty"`
	Reason string      `json:",omitempty"` // why it was skipped or canceled, for people
	Ready  bool        `json:",omitempty"`

	Waiting bool `json:",omitempty"` // for somebody to start it: StageWaits was said

	Released  bool   `json:",omitempty"` // caller: somebody started a stage with trigger: manual
	Omitted   bool   `json:",omitempty"` // caller, at the start: not wanted in this run; others run as if it were not there
	Canceling bool   `json:",omitempty"` // caller: this stage alone is being canceled
	Rejected  string `json:",omitempty"` // caller, instead of InProgress: a check said no, and why
	Attempt   int    `json:",omitempty"` // caller: System.StageAttempt; 0: the first

	Jobs []JobState
}

// JobState is how far a job is, with all its instances.
type JobState struct {
	Name      string
	State     work.State
	Result    work.Result     `json:",omitempty"`
	Reason    string          `json:",omitempty"`
	Attempt   int             `json:",omitempty"` // caller: System.JobAttempt; 0: the first
	Instances []InstanceState `json:",omitempty"`

	// MaxParallel is how many instances may run at once; 0: all. Set with the instances.
	MaxParallel int `json:",omitempty"`
	// ContinueOnError makes a failure count as success with issues. Set with the instances.
	ContinueOnError bool `json:",omitempty"`
}

// InstanceState is how far one instance of a job is: the job itself, a leg of its matrix, or one of its equals.
type InstanceState struct {
	Name    string            `json:",omitempty"` // empty for a job without a strategy
	State   work.State        // caller: Completed; Next sets InProgress when it says InstanceReady
	Result  work.Result       `json:",omitempty"` // caller
	Outputs map[string]string `json:",omitempty"` // caller: "step.variable" → value, but for secret ones

	// SecretOutputs are those that are secret. They are not stored; whoever asks for the variables of a job that is handed out
	// adds them before. What an expression makes of one is secret, too.
	SecretOutputs map[string]string `json:"-"`
}

// NewState is the state of a run that has not begun.
func NewState(plan *pipeline.Plan) *State {
	st := &State{Stages: make([]StageState, len(plan.Stages))}
	for i, s := range plan.Stages {
		st.Stages[i] = StageState{Name: s.Name, State: work.Pending, Jobs: make([]JobState, len(s.Jobs))}
		for k, j := range s.Jobs {
			st.Stages[i].Jobs[k] = JobState{Name: j.Name, State: work.Pending}
		}
	}
	return st
}

// Kind says what an Action is.
type Kind string

// The kinds of actions, and who does what.
const (
	// StageReady: all that the stage depends on has completed and its condition is true. The caller sees to checks and locks,
	// then sets the stage InProgress or Rejected, and calls Next.
	StageReady Kind = "stageReady"
	// StageWaits: as StageReady, but the stage is to be started by hand. Until it is Released nothing happens.
	StageWaits Kind = "stageWaits"
	// StageDone: the stage completed, with Result.
	StageDone Kind = "stageDone"
	// JobReady: the job's condition is true; Instances are what it becomes. They are not to be queued yet.
	JobReady Kind = "jobReady"
	// InstanceReady: the instance is to be given to an agent.
	InstanceReady Kind = "instanceReady"
	// JobDone: the job completed, with Result. A job that was never ready has no instances.
	JobDone Kind = "jobDone"
	// InstanceDone: the instance completed without ever having been ready, because the run is being canceled.
	InstanceDone Kind = "instanceDone"
	// RunDone: the run completed, with Result.
	RunDone Kind = "runDone"
)

// Action is something that follows. By the time Next returns it, it is in the State.
type Action struct {
	Kind      Kind
	Stage     string
	Job       string
	Instance  string      // of InstanceReady and InstanceDone
	Instances []Instance  // of JobReady
	Result    work.Result // of the kinds that end something
	Reason    string      // why something was skipped, canceled or failed, for people
}

// Instance is what a job becomes once or several times.
type Instance struct {
	Name        string // "" for a job without a strategy, the leg of a matrix, "Job1", "Job2"…
	DisplayName string // "Job", "Job leg"
	Position    int    // System.JobPositionInPhase, from 1
	Total       int    // System.TotalJobsInPhase
	Variables   []work.Variable
}
