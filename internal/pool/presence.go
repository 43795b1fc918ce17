package pool

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
)

const (
	flushEvery = 5 * time.Second
	sweepEvery = 30 * time.Second
	// ghostAfter is when an agent of one job that is not heard of any more is taken for gone. One that hasn't had its job may be
	// starting, or be cut off.
	ghostAfter = 2 * time.Minute
	idleAfter  = 10 * time.Minute
)

// Heard notes that an agent was heard of. It is written a little later.
func (s *Service) Heard(id string) {
	now := s.now()
	s.mu.Lock()
	s.seen[id] = now
	s.mu.Unlock()
}

// Flush writes which agents were heard of.
func (s *Service) Flush(ctx context.Context) error {
	s.mu.Lock()
	seen := maps.Clone(s.seen)
	s.mu.Unlock()
	if len(seen) == 0 {
		return nil
	}
	err := s.db.Update(ctx, func(tx *meta.Tx) error {
		for _, id := range slices.Sorted(maps.Keys(seen)) { // the same order everywhere: no deadlocks
			_, err := tx.Exec(ctx, `UPDATE pool_agents SET seen_at = $1 WHERE id = $2 AND seen_at < $1 AND gone_at < $1`, seen[id].UnixMicro(), id)
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("write which agents were heard of: %w", err)
	}
	s.mu.Lock()
	for id, at := range seen {
		if s.seen[id].Equal(at) {
			delete(s.seen, id)
		}
	}
	s.mu.Unlock()
	return nil
}

// Run writes which agents were heard of and removes what is over, until ctx ends. An error is for report to tell; the next
// time is another try.
func (s *Service) Run(ctx context.Context, report func(error)) {
	flush, sweep := time.NewTicker(flushEvery), time.NewTicker(sweepEvery)
	defer flush.Stop()
	defer sweep.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushEvery)
			defer cancel()
			if err := s.Flush(last); err != nil {
				report(err)
			}
			return
		case <-flush.C:
			err = s.Flush(ctx)
		case <-sweep.C:
			_, err = s.Sweep(ctx)
		}
		if err != nil && ctx.Err() == nil {
			report(err)
		}
	}
}

// Sweep removes agents of one job that are gone, agents that are offline for longer than their pool keeps them, codes that have
// expired, and proofs that are too old to be shown again. It returns how many agents it removed.
func (s *Service) Sweep(ctx context.Context) (int, error) {
	if err := s.Flush(ctx); err != nil { // what is known here counts
		return 0, err
	}
	removed := 0
	err := s.db.Update(ctx, func(tx *meta.Tx) error {
		now := s.now()
		removed = 0
		rows, err := tx.Query(ctx, `SELECT `+agentColumns+fromAgents+`WHERE a.job = '' AND (
			a.ephemeral = 1 AND (a.gone_at > a.seen_at OR a.job_at > 0 AND a.seen_at < $1 OR a.seen_at < $2 AND a.enrolled_at < $2)
			OR p.cleanup > 0 AND a.seen_at < $3 - p.cleanup AND a.enrolled_at < $3 - p.cleanup) LIMIT 500`,
			now.Add(-ghostAfter).UnixMicro(), now.Add(-idleAfter).UnixMicro(), now.UnixMicro())
		gone, err := all(rows, err, "list agents that are gone", s.scanAgent)
		if err != nil {
			return err
		}
		for _, a := range gone {
			res, err := tx.Exec(ctx, `DELETE FROM pool_agents WHERE id = $1 AND job = ''`, a.ID)
			if err != nil {
				return err
			}
			n, err := res.RowsAffected()
			if err != nil || n == 0 {
				continue
			}
			removed++
			system := iam.SystemCaller(a.Account, "agents")
			if err := s.changed(ctx, tx, system, "DeleteAgent", s.arn(a.Account, a.Pool), "agent "+a.Name+": it was not heard of for too long"); err != nil {
				return err
			}
		}
		if _, err := tx.Exec(ctx, `DELETE FROM pool_codes WHERE expires_at <= $1`, now.UnixMicro()); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `DELETE FROM pool_proofs WHERE expires_at <= $1`, now.UnixMicro())
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("remove agents that are gone: %w", err)
	}
	return removed, nil
}

// Goodbye notes that an agent goes, by its own word. One for one job is removed, unless it has one.
func (s *Service) Goodbye(ctx context.Context, a *Agent) error {
	return s.db.Update(ctx, func(tx *meta.Tx) error {
		now := s.now()
		tx.OnCommit(func() {
			s.mu.Lock()
			delete(s.seen, a.ID)
			s.mu.Unlock()
		})
		if a.OneJob {
			_, err := tx.Exec(ctx, `DELETE FROM pool_agents WHERE id = $1 AND job = ''`, a.ID)
			if err != nil {
				return err
			}
		}
		_, err := tx.Exec(ctx, `UPDATE pool_agents SET gone_at = $1 WHERE id = $2`, now.UnixMicro(), a.ID)
		return err
	})
}

// Remove deletes an agent that asks for it itself. Errors: an [*Error] of kind InUse.
func (s *Service) Remove(ctx context.Context, c *iam.Caller, a *Agent) error {
	return s.db.Update(ctx, func(tx *meta.Tx) error {
		res, err := tx.Exec(ctx, `DELETE FROM pool_agents WHERE id = $1 AND job = ''`, a.ID)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			if err != nil {
				return err
			}
			return errorf(InUse, "The agent %s has a job: stop it first.", a.Name)
		}
		return s.changed(ctx, tx, c, "DeleteAgent", s.arn(a.Account, a.Pool), "agent "+a.Name+", by itself")
	})
}

// Facts are what an agent tells of itself.
type Facts struct {
	Version, OS, Arch, Host string
	System                  map[string]string // capabilities that it found
	Reason                  string            // why it takes no jobs; empty: it does
}

const (
	maxFact   = 128
	maxReason = 500
)

func (f *Facts) check() (system string, err error) {
	for what, text := range map[string]string{"The version": f.Version, "The operating system": f.OS, "The architecture": f.Arch, "The host's name": f.Host} {
		if err := checkText(what, text, maxFact); err != nil {
			return "", err
		}
	}
	if err := checkText("The reason", f.Reason, maxReason); err != nil {
		return "", err
	}
	return checkCapabilities(f.System)
}

// SetFacts keeps what an agent tells of itself. Errors: an [*Error] of kind Invalid.
func (s *Service) SetFacts(ctx context.Context, id string, f Facts) error {
	system, err := f.check()
	if err != nil {
		return err
	}
	return s.db.Update(ctx, func(tx *meta.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE pool_agents SET version = $1, os = $2, arch = $3, host = $4, system = $5, reason = $6 WHERE id = $7`,
			f.Version, f.OS, f.Arch, f.Host, system, f.Reason, id)
		return err
	})
}

// SetReason keeps why an agent takes no jobs; empty: it does again. Errors: an [*Error] of kind Invalid.
func (s *Service) SetReason(ctx context.Context, id, reason string) error {
	if err := checkText("The reason", reason, maxReason); err != nil {
		return err
	}
	return s.db.Update(ctx, func(tx *meta.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE pool_agents SET reason = $1 WHERE id = $2`, reason, id)
		return err
	})
}

// ErrGone means that an agent was removed just now: it gets no job.
var ErrGone = errors.New("the agent was removed")

// Begin notes, in the transaction that hands out a job, that an agent has it. Errors: [ErrGone], after which the transaction must
// change nothing.
func Begin(ctx context.Context, tx *meta.Tx, agentID, job string, now time.Time) error {
	res, err := tx.Exec(ctx, `UPDATE pool_agents SET job = $1, job_at = $2 WHERE id = $3 AND (ephemeral = 0 OR job = '')`, job, now.UnixMicro(), agentID)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return errors.Join(err, ErrGone)
	}
	return nil
}

// End notes, in the transaction that ends or takes back a claim, that an agent no longer has it. If it has another one,
// nothing changes.
//
// begun says that the agent had begun it. An offer that it never had is not the one job of an agent of one job.
func End(ctx context.Context, tx *meta.Tx, agentID, job string, begun bool) error {
	set := `UPDATE pool_agents SET job = '' WHERE id = $1 AND job = $2`
	if !begun {
		set = `UPDATE pool_agents SET job = '', job_at = 0 WHERE id = $1 AND job = $2`
	}
	_, err := tx.Exec(ctx, set, agentID, job)
	return err
}
