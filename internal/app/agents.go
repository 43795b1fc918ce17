package app

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"os"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/agentapi"
	"github.com/sekisho/sekisho/internal/httpx"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/pool"
	"github.com/sekisho/sekisho/internal/run"
)

// openPools opens pools of agents. tokens verifies identity tokens of agents that join.
func (in *Instance) openPools(tokens pool.Verifier) {
	in.Pools = pool.New(in.DB, &in.Judge.Judge, pool.Options{
		Region: in.Config.Region, Now: in.now, Logger: in.Log, Tokens: tokens,
		OnChange: func(ctx context.Context, tx *meta.Tx, ch pool.Change) error {
			return in.appendChange(ctx, tx, ch.Caller, ch.Action, ch.ARN, ch.Detail)
		},
	})
}

// openAgents opens what answers agents about the pools and the queue of runs.
func (in *Instance) openAgents(version string) error {
	secrets, err := in.Seal.Derive("sekisho agent tokens")
	if err != nil {
		return err
	}
	host := ""
	if u, err := url.Parse(in.Config.PublicURL); err == nil {
		host = u.Host
	}
	in.agents = agentapi.New(agentapi.Options{
		Pools: in.Pools, Jobs: agentJobs{in.Runs}, Keys: in.IAM, Secrets: secrets, Region: in.Config.Region, Account: in.Account, Version: version,
		PublicHost: host, Logger: in.Log, Now: in.now,
		Admit: func(endpoint string) error { return in.leads(endpoint, agents) }, Watch: in.Runs.WatchPool,
		Explain: func(err error) string {
			if e, ok := errors.AsType[*run.Error](err); ok {
				return e.Message
			}
			return ""
		},
	})
	return nil
}

// agentDownloads serves the program to build hosts.
func (in *Instance) agentDownloads() httpx.Handler {
	self, err := os.Executable()
	if err != nil {
		in.Log.Warn("build hosts can't download this program", "err", err)
	}
	d := &agentapi.Downloads{Self: self, Folder: in.Config.Agents.Binaries, URL: in.Config.PublicURL}
	return func(w *httpx.Response, r *http.Request) error {
		if err := in.leads(w.Origin.Endpoint, agents); err != nil {
			return &httpx.Error{Status: http.StatusForbidden, Message: err.Error()}
		}
		return d.Serve(w, r)
	}
}

// agentJobs is the queue of runs as the agents' protocol asks for it.
type agentJobs struct{ runs *run.Service }

func claimOf(c agentapi.Claim) run.Claim {
	return run.Claim{Job: c.Job, Attempt: c.Attempt, Agent: c.Agent}
}

func (j agentJobs) Acquire(ctx context.Context, a *pool.Agent) (*work.Job, error) {
	return j.runs.Acquire(ctx, a)
}

func (j agentJobs) Acknowledge(ctx context.Context, c agentapi.Claim) error {
	return j.runs.Acknowledge(ctx, claimOf(c))
}

func (j agentJobs) Renew(ctx context.Context, c agentapi.Claim) (agentapi.Lease, error) {
	l, err := j.runs.Renew(ctx, claimOf(c))
	return agentapi.Lease{Cancel: l.Cancel, Reason: l.CancelReason}, err
}

func (j agentJobs) Complete(ctx context.Context, c agentapi.Claim, result work.Result, message string) error {
	return j.runs.Complete(ctx, claimOf(c), result, message)
}

func (j agentJobs) Release(ctx context.Context, c agentapi.Claim, cause string) error {
	return j.runs.Release(ctx, claimOf(c), cause)
}

func (j agentJobs) Queued(ctx context.Context, account, pool string) (int, error) {
	return j.runs.Queued(ctx, account, pool)
}

func (j agentJobs) Server(c agentapi.Claim) work.Server {
	return agentJob{j.runs.Server(claimOf(c))}
}

// agentJob is the server to a job, with the errors that the protocol knows.
type agentJob struct{ work.Server }

func (j agentJob) AppendLog(ctx context.Context, log string, offset int64, data []byte) (int64, error) {
	size, err := j.Server.AppendLog(ctx, log, offset, data)
	if gap, ok := errors.AsType[*run.GapError](err); ok {
		err = &agentapi.GapError{Size: gap.Size}
	}
	return size, err
}
