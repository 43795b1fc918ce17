package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/pool"
)

// serverPool is the queue of agentless jobs, which this package runs itself. No pool has such a name.
const serverPool = "*server"

// enqueue has a job wait for an agent. Jobs that come back stand before those that never had one.
func (x *change) enqueue(j *jobRow, first bool) error {
	name := fold(j.pool)
	if j.server {
		name = serverPool
	}
	j.State, j.queuedAt, j.cancel, j.deadline = Queued, x.now.UnixMicro(), 0, 0
	ord := int64(1)
	if first {
		ord = 0
	}
	_, err := x.tx.Exec(x.ctx, `INSERT INTO run_queue (job, run, account, pool, first, demands, at) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		j.ID, x.run.ID, j.account, name, ord, toJSON(nonNil(j.demands)), x.now.UnixMicro())
	if err != nil {
		return fmt.Errorf("queue job %s: %w", j.ID, err)
	}
	if j.server {
		x.wake(serverTopic())
	} else {
		x.wake(poolTopic(j.account, j.pool))
	}
	return nil
}

func (x *change) dequeue(job string) (bool, error) {
	res, err := x.tx.Exec(x.ctx, `DELETE FROM run_queue WHERE job = $1`, job)
	if err != nil {
		return false, fmt.Errorf("take job %s from the queue: %w", job, err)
	}
	n, err := res.RowsAffected()
	return n == 1, err
}

// Queued returns how many jobs wait for an agent of a pool.
func (s *Service) Queued(ctx context.Context, account, name string) (n int, err error) {
	err = s.db.QueryRow(ctx, `SELECT count(*) FROM run_queue WHERE account = $1 AND pool = $2`, account, fold(name)).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("look at the queue of pool %s: %w", name, err)
	}
	return n, nil
}

// WatchPool returns what is woken when a job begins to wait for an agent of a pool, on any node, until stop is called.
func (s *Service) WatchPool(account, name string) (wake <-chan struct{}, stop func()) {
	return s.hub.listen(poolTopic(account, name))
}

// waitingJob is a job in the queue.
type waitingJob struct {
	ord      int64
	job      string
	run      int64
	first    int64
	project  string
	pipeline string
	demands  []string
}

const queuePage = 200

// waitingFor lists jobs of a pool's queue in their order, after one.
func (s *Service) waitingFor(ctx context.Context, account, name string, after waitingJob) ([]waitingJob, error) {
	rows, err := s.db.Query(ctx, `SELECT q.ord, q.job, q.run, q.first, r.project, r.pipeline, q.demands FROM run_queue q JOIN runs r ON r.id = q.run
		WHERE q.account = $1 AND q.pool = $2 AND (q.first, q.ord) > ($3, $4) ORDER BY q.first, q.ord LIMIT $5`, account, name, after.first, after.ord, queuePage)
	return collect(rows, err, func(row scanner) (w waitingJob, err error) {
		var demands string
		if err := row.Scan(&w.ord, &w.job, &w.run, &w.first, &w.project, &w.pipeline, &demands); err != nil {
			return w, err
		}
		return w, json.Unmarshal([]byte(demands), &w.demands)
	})
}

// Reconsider has agents of a pool that wait look again at what there is, because one of them, or the pool, may do more now.
func (s *Service) Reconsider(account, pool string) { s.hub.wake(poolTopic(account, pool)) }

// Acquire waits until there is a job for an agent and gives it out. The agent has it once it acknowledged it. What the agent had
// before and has not ended is over: it says so by asking. The error is that of ctx, or one of the database's.
func (s *Service) Acquire(ctx context.Context, a *pool.Agent) (*work.Job, error) {
	if err := s.forget(ctx, a); err != nil {
		return nil, err
	}
	wake, stop := s.hub.listen(poolTopic(a.Account, a.Pool))
	defer stop()
	for {
		j, err := s.take(ctx, a)
		if err != nil || j != nil {
			return j, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-wake:
		}
	}
}

// take gives out the first job in the queue that an agent can run, nil if there is none.
func (s *Service) take(ctx context.Context, a *pool.Agent) (*work.Job, error) {
	// The agent may have been disabled, or lost or gained a capability, while it waited.
	a, err := s.o.Pools.Agent(ctx, a.ID)
	if err != nil || a == nil || !a.Enabled || a.Used() {
		return nil, err
	}
	may := map[string]bool{}
	after := waitingJob{first: -1}
	for {
		page, err := s.waitingFor(ctx, a.Account, fold(a.Pool), after)
		if err != nil {
			return nil, fmt.Errorf("look for work: %w", err)
		}
		for _, w := range page {
			if after = w; len(a.Matches(w.demands)) > 0 {
				continue
			}
			ok, known := may[w.pipeline]
			if !known {
				if ok, err = s.o.Pools.MayUse(ctx, a.Account, a.Pool, w.pipeline); err != nil {
					return nil, err
				}
				may[w.pipeline] = ok
			}
			if !ok {
				continue
			}
			c, err := s.claim(ctx, w, a)
			if err != nil {
				return nil, err
			}
			if c == nil {
				continue // somebody else was faster
			}
			// From here on it is the agent's, also when nobody waits any more: whoever asked for it gives it back.
			j, err := s.handOut(context.WithoutCancel(ctx), *c, a)
			if err != nil || j != nil {
				return j, err
			}
		}
		if len(page) < queuePage {
			return nil, nil
		}
	}
}

// claim takes a job from the queue for an agent; nil if it is not there any more.
func (s *Service) claim(ctx context.Context, w waitingJob, a *pool.Agent) (*Claim, error) {
	var c *Claim
	err := s.change(ctx, w.run, func(x *change) error {
		c = nil
		there, err := x.dequeue(w.job)
		if err != nil || !there {
			return err
		}
		j, err := readJob(ctx, x.tx, w.job)
		if err != nil {
			return err
		}
		j.attempt++
		j.changed = true
		_, err = x.tx.Exec(ctx, `INSERT INTO run_claims (`+claimColumns+`) VALUES ($1, $2, $3, $4, $5, '', '', $6, 0, $7, 0)`,
			j.ID, j.attempt, a.ID, a.Name, claimOffered, x.now.UnixMicro(), x.now.Add(OfferTime).UnixMicro())
		if err != nil {
			return fmt.Errorf("give out job %s: %w", j.ID, err)
		}
		if a.ID != "" {
			if err := pool.Begin(ctx, x.tx, a.ID, jobID(Claim{Job: j.ID, Attempt: j.attempt}), x.now); err != nil {
				return err
			}
		}
		c = &Claim{Job: j.ID, Attempt: j.attempt, Agent: a.ID}
		return storeJob(ctx, x.tx, j)
	})
	if isNotFound(err) || errors.Is(err, pool.ErrGone) {
		return nil, nil // its run was deleted, or the agent
	}
	return c, err
}

// handOut assembles a claimed job. One that can't be run ends here, and nil is returned.
func (s *Service) handOut(ctx context.Context, c Claim, a *pool.Agent) (*work.Job, error) {
	j, err := s.assemble(ctx, c, a)
	if err == nil {
		return j, nil
	}
	// What can't be read now may be readable in a moment; but not for ever.
	if final(err) || c.Attempt >= maxHandOuts {
		if err := s.finish(ctx, c, work.Failed, clip(err.Error(), maxMessage), true); err != nil && !errors.Is(err, work.ErrClaimLost) {
			return nil, err
		}
		return nil, nil
	}
	if back := s.giveBack(ctx, c, claimReleased, "it could not be put together: "+err.Error()); back != nil {
		err = errors.Join(err, back)
	}
	return nil, err
}

// maxHandOuts is how often it is tried to put a job together.
const maxHandOuts = 20

// forget ends what an agent that asks for work still seems to have.
func (s *Service) forget(ctx context.Context, a *pool.Agent) error {
	rows, err := s.db.Query(ctx, `SELECT `+claimColumns+` FROM run_claims WHERE agent = $1 AND lease > 0`, a.ID)
	list, err := collect(rows, err, scanClaim)
	if err != nil {
		return fmt.Errorf("look for work that agent %s has: %w", a.Name, err)
	}
	for _, c := range list {
		claim := Claim{Job: c.job, Attempt: c.attempt, Agent: c.agent}
		state, cause := claimLost, "the agent asked for other work: it was started anew"
		if c.state == claimOffered {
			state, cause = claimUnanswered, "the agent asked again before it acknowledged the job"
		}
		if err := s.giveBack(ctx, claim, state, cause); err != nil && !errors.Is(err, work.ErrClaimLost) {
			return err
		}
	}
	return nil
}

// endLeases takes jobs back from agents that were not heard of in time.
func (s *Service) endLeases(ctx context.Context) error {
	rows, err := s.db.Query(ctx, `SELECT `+claimColumns+` FROM run_claims WHERE lease > 0 AND lease < $1`, s.now().UnixMicro())
	list, err := collect(rows, err, scanClaim)
	if err != nil {
		return fmt.Errorf("look for leases that are over: %w", err)
	}
	for _, c := range list {
		claim := Claim{Job: c.job, Attempt: c.attempt, Agent: c.agent}
		state, cause := claimLost, fmt.Sprintf("nothing was heard of agent %s for %v", c.agentName, LeaseTime)
		if c.state == claimHeld && s.now().Before(s.opened.Add(StartTime)) {
			continue // it may be this server that was not heard of
		}
		if c.state == claimOffered {
			state, cause = claimUnanswered, fmt.Sprintf("agent %s did not acknowledge the job within %v", c.agentName, OfferTime)
		}
		err := s.endLease(ctx, claim, c.lease, state, cause)
		if err != nil && !errors.Is(err, work.ErrClaimLost) {
			return err
		}
	}
	return nil
}

// Demand is how many jobs of a pool wait and how many run, for whoever starts agents.
type Demand struct {
	Waiting int
	Running int
	Demands [][]string // of those that wait, each list once
	Oldest  time.Time  // since when the first one waits; zero: none
}

// Demand tells what a pool has to do.
func (s *Service) Demand(ctx context.Context, account, name string) (*Demand, error) {
	d := &Demand{}
	rows, err := s.db.Query(ctx, `SELECT demands, at FROM run_queue WHERE account = $1 AND pool = $2 ORDER BY first, ord`, account, fold(name))
	_, err = collect(rows, err, func(row scanner) (struct{}, error) {
		var text string
		var at int64
		var list []string
		if err := row.Scan(&text, &at); err != nil {
			return struct{}{}, err
		}
		if err := json.Unmarshal([]byte(text), &list); err != nil {
			return struct{}{}, err
		}
		d.Waiting++
		if t := fromMicros(at); d.Oldest.IsZero() || t.Before(d.Oldest) {
			d.Oldest = t
		}
		if !slices.ContainsFunc(d.Demands, func(have []string) bool { return slices.Equal(have, list) }) {
			d.Demands = append(d.Demands, list)
		}
		return struct{}{}, nil
	})
	if err == nil {
		err = s.db.QueryRow(ctx, `SELECT count(*) FROM run_claims c JOIN run_jobs j ON j.id = c.job WHERE c.lease > 0 AND j.account = $1 AND lower(j.pool) = $2`,
			account, fold(name)).Scan(&d.Running)
	}
	if err != nil {
		return nil, fmt.Errorf("look at the queue of pool %s: %w", name, err)
	}
	return d, nil
}
