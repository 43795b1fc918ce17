package run

import (
	"errors"
	"fmt"
	"time"

	"github.com/sekisho/sekisho/internal/agent/work"
)

// Why a run was started: Build.Reason.
const (
	Manual          = "manual"
	IndividualCI    = "individualCI"
	BatchedCI       = "batchedCI"
	Schedule        = "schedule"
	PullRequest     = "pullRequest"
	ResourceTrigger = "resourceTrigger"
	queued          = "queued" // a state of jobs beside those of work.State: it waits for an agent
)

// Queued is the state of a job that waits for an agent.
const Queued work.State = queued

// Run is a run of a pipeline.
type Run struct {
	ID                   int64
	Account              string
	ProjectID, Project   string
	PipelineID, Pipeline string
	Number               string // Build.BuildNumber
	Reason               string
	Ref, Commit          string
	Message, Author      string // of the commit
	RequestedBy          string // ARN
	RequestedFor         string // for people
	Trusted              bool   // it may have secrets
	State                work.State
	Result               work.Result
	Canceling            bool
	CancelReason         string
	Waits                string // what keeps it as a whole, for people
	Attempt              int
	CauseRun             int64 // the run that triggered it
	Problems             []Problem
	Tests                TestCounts
	LogBytes             int64
	Seq                  int64 // of its last event
	Keep                 bool
	Tags                 []string
	Created              time.Time
	Started, Finished    time.Time // zero: not yet

	cancel int64
	waits  string
	spec   *spec
}

// Problem is something that people should know of a run, above all why it could not begin.
type Problem struct {
	Error        bool // else a warning
	Message      string
	File         string
	Line, Column int `json:",omitempty"`
}

// String is the problem with its place.
func (p Problem) String() string {
	switch {
	case p.Line > 0:
		return fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Message)
	case p.File != "":
		return p.File + ": " + p.Message
	}
	return p.Message
}

// TestCounts say how tests ended.
type TestCounts struct{ Passed, Failed, Skipped int64 }

// Kind says what is wrong, for a protocol's table.
type Kind int

// The kinds of errors.
const (
	Invalid  Kind = iota + 1 // what was asked for makes no sense
	NotFound                 // there is no such thing
	Conflict                 // not in this state
	Limit                    // too much of it
)

// Error is an error that is the caller's to know.
type Error struct {
	Kind     Kind
	Message  string
	Problems []Problem // of a pipeline that does not compile
}

func (e *Error) Error() string { return e.Message }

// Unwrap makes errors of kind NotFound be [work.ErrNotFound].
func (e *Error) Unwrap() error {
	if e.Kind == NotFound {
		return work.ErrNotFound
	}
	return nil
}

func errorf(kind Kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...)}
}

// GapError says that bytes for a log do not go on where it ends.
type GapError struct{ Size int64 }

func (e *GapError) Error() string {
	return fmt.Sprintf("the log has %d bytes; go on there", e.Size)
}

// errStale is a claim that no longer counts, with why. It is [work.ErrClaimLost].
type errStale struct{ why string }

func (e *errStale) Error() string { return work.ErrClaimLost.Error() + ": " + e.why }
func (e *errStale) Unwrap() error { return work.ErrClaimLost }

func isNotFound(err error) bool { return errors.Is(err, work.ErrNotFound) }

func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func fromMicros(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMicro(n).UTC()
}
