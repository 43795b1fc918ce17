package pool

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
)

// OnlineWithin is how long ago an agent that is online was heard of at most.
const OnlineWithin = 45 * time.Second

// Agent is a machine, or a part of one, that runs jobs of a pool.
type Agent struct {
	ID, PoolID, Pool, Account, Name string
	ARN                             string
	PublicKey                       []byte // PKIX, DER

	Enabled bool // people let it have jobs
	OneJob  bool // it does one job, and is removed

	Version, OS, Arch, Host string            // OS and Arch as Go names them
	System, Custom          map[string]string // capabilities that it found, and that people gave it
	Reason                  string            // why it takes no jobs, in its own words; empty: it does

	Enrolled           time.Time
	EnrolledBy, Method string
	Seen               time.Time // when it was heard of last; zero: never
	Online             bool      // when this was read

	Job      string    // the claim that it has; empty: none
	JobSince time.Time // since when it has the last one, which may be over
}

// Busy reports whether the agent has a job.
func (a *Agent) Busy() bool { return a.Job != "" }

// Used reports whether a one-job agent has had its job.
func (a *Agent) Used() bool { return a.OneJob && !a.JobSince.IsZero() && a.Job == "" }

// Refuses says why the agent takes no other job now; empty: it would.
func (a *Agent) Refuses() string {
	switch {
	case !a.Enabled:
		return "disabled"
	case a.Busy():
		return "busy"
	case a.Used():
		return "has had its one job"
	case !a.Online:
		return "offline"
	}
	return a.Reason
}

const agentColumns = `a.id, a.pool, p.name, p.account, a.name, a.public_key, a.enabled, a.ephemeral, a.version, a.os, a.arch, a.host, a.system, a.custom,
	a.reason, a.seen_at, a.gone_at, a.job, a.job_at, a.enrolled_at, a.enrolled_by, a.method`

const fromAgents = ` FROM pool_agents a JOIN pools p ON p.id = a.pool `

func (s *Service) scanAgent(r row) (*Agent, error) {
	a := &Agent{}
	var enabled, oneJob, seen, gone, jobAt, enrolled int64
	var system, custom string
	err := r.Scan(&a.ID, &a.PoolID, &a.Pool, &a.Account, &a.Name, &a.PublicKey, &enabled, &oneJob, &a.Version, &a.OS, &a.Arch, &a.Host, &system, &custom,
		&a.Reason, &seen, &gone, &a.Job, &jobAt, &enrolled, &a.EnrolledBy, &a.Method)
	if err != nil {
		return nil, err
	}
	for text, to := range map[*string]*map[string]string{&system: &a.System, &custom: &a.Custom} {
		if err := json.Unmarshal([]byte(*text), to); err != nil {
			return nil, fmt.Errorf("capabilities of agent %s: %w", a.ID, err)
		}
	}
	a.Enabled, a.OneJob = enabled != 0, oneJob != 0
	a.Seen, a.JobSince, a.Enrolled = moment(seen), moment(jobAt), moment(enrolled)
	a.ARN = s.arn(a.Account, a.Pool) + "/agent/" + a.Name
	s.mu.Lock()
	if heard := s.seen[a.ID]; heard.After(a.Seen) {
		a.Seen = heard
	}
	s.mu.Unlock()
	a.Online = !a.Seen.IsZero() && a.Seen.After(moment(gone)) && s.now().Sub(a.Seen) < OnlineWithin
	return a, nil
}

func (s *Service) agents(ctx context.Context, from reader, poolID string) ([]*Agent, error) {
	rows, err := from.Query(ctx, `SELECT `+agentColumns+fromAgents+`WHERE a.pool = $1 ORDER BY a.folded`, poolID)
	return all(rows, err, "list agents", s.scanAgent)
}

// AgentsOf returns the agents of a pool, by name.
func (s *Service) AgentsOf(ctx context.Context, poolID string) ([]*Agent, error) {
	return s.agents(ctx, s.db, poolID)
}

// Agent returns an agent, nil if there is none.
func (s *Service) Agent(ctx context.Context, id string) (*Agent, error) {
	a, err := s.scanAgent(s.db.QueryRow(ctx, `SELECT `+agentColumns+fromAgents+`WHERE a.id = $1`, id))
	return orNone(a, err, "read agent "+cut(id))
}

// Agents lists the agents of a pool, by name. Errors: *iam.DeniedError; an [*Error] of kind NotFound.
func (s *Service) Agents(ctx context.Context, c *iam.Caller, pool string) ([]*Agent, error) {
	p, err := s.allowed(ctx, c, "DescribePool", pool)
	if err != nil {
		return nil, err
	}
	return s.agents(ctx, s.db, p.ID)
}

// DescribeAgent returns an agent. Errors: as those of Agents.
func (s *Service) DescribeAgent(ctx context.Context, c *iam.Caller, pool, name string) (*Agent, error) {
	p, err := s.allowed(ctx, c, "DescribePool", pool)
	if err != nil {
		return nil, err
	}
	return s.named(ctx, s.db, p, name)
}

func (s *Service) named(ctx context.Context, from reader, p *Pool, name string) (*Agent, error) {
	a, err := s.byName(ctx, from, p.ID, name)
	if a == nil && err == nil {
		err = errorf(NotFound, "There is no agent %q in pool %s.", cut(name), p.Name)
	}
	return a, err
}

func (s *Service) byName(ctx context.Context, from reader, poolID, name string) (*Agent, error) {
	a, err := s.scanAgent(from.QueryRow(ctx, `SELECT `+agentColumns+fromAgents+`WHERE a.pool = $1 AND a.folded = $2`, poolID, fold(name)))
	return orNone(a, err, "read agent "+cut(name))
}

// EnableAgent lets an agent have jobs or keeps them from it; one that it has, it keeps. Errors: as those of Agents.
func (s *Service) EnableAgent(ctx context.Context, c *iam.Caller, pool, name string, enabled bool) error {
	return s.updateAgent(ctx, c, pool, name, fmt.Sprintf("enabled %t", enabled), func(tx *meta.Tx, a *Agent) error {
		_, err := tx.Exec(ctx, `UPDATE pool_agents SET enabled = $1 WHERE id = $2`, number(enabled), a.ID)
		return err
	})
}

// SetCapabilities replaces the capabilities that people gave an agent. Errors: as those of Agents, and of kind Invalid.
func (s *Service) SetCapabilities(ctx context.Context, c *iam.Caller, pool, name string, custom map[string]string) error {
	text, err := checkCapabilities(custom)
	if err != nil {
		return err
	}
	return s.updateAgent(ctx, c, pool, name, fmt.Sprintf("%d capabilities", len(custom)), func(tx *meta.Tx, a *Agent) error {
		_, err := tx.Exec(ctx, `UPDATE pool_agents SET custom = $1 WHERE id = $2`, text, a.ID)
		return err
	})
}

func (s *Service) updateAgent(ctx context.Context, c *iam.Caller, pool, name, detail string, change func(tx *meta.Tx, a *Agent) error) error {
	p, err := s.allowed(ctx, c, "UpdateAgent", pool)
	if err != nil {
		return err
	}
	return s.db.Update(ctx, func(tx *meta.Tx) error {
		a, err := s.named(ctx, tx, p, name)
		if err != nil {
			return err
		}
		if err := change(tx, a); err != nil {
			return err
		}
		return s.changed(ctx, tx, c, "UpdateAgent", p.ARN, "agent "+a.Name+": "+detail)
	})
}

// DeleteAgent removes an agent, whose key is good for nothing from then on. One that has a job and is online is not removed
// unless force is set: its job is lost then. Errors: as those of Agents, and of kind InUse.
func (s *Service) DeleteAgent(ctx context.Context, c *iam.Caller, pool, name string, force bool) error {
	p, err := s.allowed(ctx, c, "DeleteAgent", pool)
	if err != nil {
		return err
	}
	return s.db.Update(ctx, func(tx *meta.Tx) error {
		a, err := s.named(ctx, tx, p, name)
		if err != nil {
			return err
		}
		if a.Busy() && a.Online && !force {
			return errorf(InUse, "The agent %s runs a job. Disable it and wait, or force its deletion: the job is lost then.", a.Name)
		}
		if _, err := tx.Exec(ctx, `DELETE FROM pool_agents WHERE id = $1`, a.ID); err != nil {
			return err
		}
		return s.changed(ctx, tx, c, "DeleteAgent", p.ARN, "agent "+a.Name)
	})
}

const (
	maxCapabilities = 1000
	maxCapability   = 256 // bytes of a name
	maxCapable      = 4096
	maxCapableJSON  = 256 << 10
)

// checkCapabilities returns capabilities as they are stored.
func checkCapabilities(can map[string]string) (string, error) {
	if len(can) > maxCapabilities {
		return "", errorf(Invalid, "An agent can have %d capabilities.", maxCapabilities)
	}
	for name, value := range can {
		if name == "" {
			return "", errorf(Invalid, "A capability needs a name.")
		}
		if err := checkText("The name of a capability", name, maxCapability); err != nil {
			return "", err
		}
		if err := checkText("The capability "+cut(name), value, maxCapable); err != nil {
			return "", err
		}
	}
	if can == nil {
		can = map[string]string{}
	}
	text, err := json.Marshal(can)
	if err == nil && len(text) > maxCapableJSON {
		err = errorf(Invalid, "The capabilities have %d bytes together; %d are the most.", len(text), maxCapableJSON)
	}
	return string(text), err
}

// Demand is what a pool has and needs, for whoever starts and stops its agents.
type Demand struct {
	Queued  int // jobs that wait for an agent
	Busy    int // agents that have a job
	Idle    int // agents that would take one
	Desired int // Queued + Busy
}

// Demand returns the demand of a pool, of which the caller knows how many jobs are queued. Errors: as those of Agents.
func (s *Service) Demand(ctx context.Context, c *iam.Caller, pool string, queued func(ctx context.Context, p *Pool) (int, error)) (*Demand, error) {
	d, _, err := s.DemandAgents(ctx, c, pool, queued)
	return d, err
}

// DemandAgents is Demand with the agents that it counts.
func (s *Service) DemandAgents(ctx context.Context, c *iam.Caller, pool string, queued func(ctx context.Context, p *Pool) (int, error)) (*Demand, []*Agent, error) {
	p, err := s.allowed(ctx, c, "DescribePool", pool)
	if err != nil {
		return nil, nil, err
	}
	d := &Demand{}
	if d.Queued, err = queued(ctx, p); err != nil {
		return nil, nil, err
	}
	agents, err := s.agents(ctx, s.db, p.ID)
	if err != nil {
		return nil, nil, err
	}
	for _, a := range agents {
		switch {
		case a.Busy():
			d.Busy++
		case a.Refuses() == "":
			d.Idle++
		}
	}
	d.Desired = d.Queued + d.Busy
	return d, agents, nil
}
