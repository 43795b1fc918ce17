package agentapi

import (
	"context"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/pool"
)

// Claim is a job as it was given to an agent.
type Claim struct {
	Job     string
	Attempt int
	Agent   string // id of the agent that makes the call
}

// Lease is how long a claim is good, unless it is renewed.
type Lease struct {
	Cancel bool // the job is to be cancelled
	Reason string
}

// Jobs is the queue of runs. Calls about a claim that no longer counts, or is not the agent's, return [work.ErrClaimLost].
type Jobs interface {
	// Acquire waits for a job for an agent. It returns nil, or the error of ctx, when ctx ends first.
	Acquire(ctx context.Context, a *pool.Agent) (*work.Job, error)
	Acknowledge(ctx context.Context, c Claim) error
	Renew(ctx context.Context, c Claim) (Lease, error)
	Complete(ctx context.Context, c Claim, result work.Result, message string) error
	Release(ctx context.Context, c Claim, cause string) error
	// Server is what the job of a claim may ask for.
	Server(c Claim) work.Server
	// Queued returns how many jobs wait for an agent of a pool.
	Queued(ctx context.Context, account, pool string) (int, error)
}

// GapError is returned for bytes that are not at the end of a log.
type GapError struct {
	Size int64 // where to go on
}

func (e *GapError) Error() string { return "the bytes are not at the end of the log" }
