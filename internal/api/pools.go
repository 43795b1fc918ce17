package api

import (
	"cmp"
	"context"
	"time"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/pool"
)

// PoolRef names a pool.
type PoolRef struct{ Pool string }

// AgentRef names an agent of a pool.
type AgentRef struct{ Pool, Agent string }

// EnrollmentCode is a one-time code with which one agent joins a pool.
type EnrollmentCode struct {
	ID      string
	Code    string // told this once
	Pool    string
	Agent   string // the only name that it is good for; "": any
	OneJob  bool
	Expires time.Time
}

// Queue counts what waits for the agents of a pool.
type Queue interface {
	Queued(ctx context.Context, account, pool string) (int, error)
}

// Pools adds the operations on pools and agents. name returns the name "project/name" of a pipeline of an account by its id, "" if it
// is gone; it may be nil.
func (s *Server) Pools(p *pool.Service, queue Queue, name func(ctx context.Context, account, id string) (string, error)) {
	Handle(s, "CreatePool", "agents:CreatePool", func(ctx context.Context, c *iam.Caller, in *pool.Draft) (*pool.Pool, error) {
		return p.CreatePool(ctx, c, *in)
	})
	Handle(s, "DescribePool", "agents:DescribePool", func(ctx context.Context, c *iam.Caller, in *PoolRef) (*pool.Pool, error) {
		x, err := p.DescribePool(ctx, c, in.Pool)
		if err != nil || name == nil {
			return x, err
		}
		for _, id := range x.Pipelines {
			called, err := name(ctx, x.Account, id)
			if err != nil {
				return nil, err
			}
			x.PipelineNames = append(x.PipelineNames, cmp.Or(called, id))
		}
		return x, nil
	})
	Handle(s, "UpdatePool", "agents:UpdatePool", func(ctx context.Context, c *iam.Caller, in *struct {
		Pool string
		Edit pool.Edit
	}) (*pool.Pool, error) {
		return p.UpdatePool(ctx, c, in.Pool, in.Edit)
	})
	Handle(s, "DeletePool", "agents:DeletePool", func(ctx context.Context, c *iam.Caller, in *PoolRef) (Nothing, error) {
		return Nothing{}, p.DeletePool(ctx, c, in.Pool)
	})
	Handle(s, "ListPools", "agents:ListPools", func(ctx context.Context, c *iam.Caller, _ *Nothing) (List[*pool.Pool], error) {
		all, err := p.Pools(ctx, c)
		return List[*pool.Pool]{Items: all}, err
	})
	Handle(s, "PermitPool", "agents:UpdatePool", func(ctx context.Context, c *iam.Caller, in *struct{ Pool, Pipeline string }) (Nothing, error) {
		return Nothing{}, p.PermitPipeline(ctx, c, in.Pool, in.Pipeline)
	})
	Handle(s, "ForbidPool", "agents:UpdatePool", func(ctx context.Context, c *iam.Caller, in *struct{ Pool, Pipeline string }) (Nothing, error) {
		return Nothing{}, p.ForbidPipeline(ctx, c, in.Pool, in.Pipeline)
	})
	Handle(s, "DescribeDemand", "agents:DescribePool", func(ctx context.Context, c *iam.Caller, in *PoolRef) (*pool.Demand, error) {
		return p.Demand(ctx, c, in.Pool, func(ctx context.Context, p *pool.Pool) (int, error) { return queue.Queued(ctx, p.Account, p.Name) })
	})
	Handle(s, "CreateEnrollmentCode", "agents:CreateEnrollmentCode", func(ctx context.Context, c *iam.Caller, in *struct {
		Pool, Agent string
		OneJob      bool
	}) (*EnrollmentCode, error) {
		code, err := p.CreateCode(ctx, c, in.Pool, in.Agent, in.OneJob)
		if err != nil {
			return nil, err
		}
		return &EnrollmentCode{code.ID, code.Secret.Reveal(), code.Pool, code.Agent, code.OneJob, code.Expires}, nil
	})
	Handle(s, "AddEnrollmentRule", "agents:UpdatePool", func(ctx context.Context, c *iam.Caller, in *struct {
		Pool string
		Rule pool.Rule
	}) (*pool.Rule, error) {
		return p.AddRule(ctx, c, in.Pool, in.Rule)
	})
	Handle(s, "RemoveEnrollmentRule", "agents:UpdatePool", func(ctx context.Context, c *iam.Caller, in *struct{ Pool, ID string }) (Nothing, error) {
		return Nothing{}, p.RemoveRule(ctx, c, in.Pool, in.ID)
	})
	Handle(s, "ListEnrollmentRules", "agents:DescribePool", func(ctx context.Context, c *iam.Caller, in *PoolRef) (List[pool.Rule], error) {
		all, err := p.Rules(ctx, c, in.Pool)
		return List[pool.Rule]{Items: all}, err
	})

	Handle(s, "ListAgents", "agents:DescribePool", func(ctx context.Context, c *iam.Caller, in *PoolRef) (List[*pool.Agent], error) {
		all, err := p.Agents(ctx, c, in.Pool)
		return List[*pool.Agent]{Items: all}, err
	})
	Handle(s, "DescribeAgent", "agents:DescribePool", func(ctx context.Context, c *iam.Caller, in *AgentRef) (*pool.Agent, error) {
		return p.DescribeAgent(ctx, c, in.Pool, in.Agent)
	})
	Handle(s, "EnableAgent", "agents:UpdateAgent", func(ctx context.Context, c *iam.Caller, in *struct {
		AgentRef
		Enabled bool
	}) (Nothing, error) {
		return Nothing{}, p.EnableAgent(ctx, c, in.Pool, in.Agent, in.Enabled)
	})
	Handle(s, "SetCapabilities", "agents:UpdateAgent", func(ctx context.Context, c *iam.Caller, in *struct {
		AgentRef
		Capabilities map[string]string
	}) (Nothing, error) {
		return Nothing{}, p.SetCapabilities(ctx, c, in.Pool, in.Agent, in.Capabilities)
	})
	Handle(s, "DeleteAgent", "agents:DeleteAgent", func(ctx context.Context, c *iam.Caller, in *struct {
		AgentRef
		Force bool
	}) (Nothing, error) {
		return Nothing{}, p.DeleteAgent(ctx, c, in.Pool, in.Agent, in.Force)
	})
}
