package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/job"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/pool"
)

// Claim is an agent's right to a job: what it shows with all that it tells of the job.
type Claim struct {
	Job     string
	Attempt int
	Agent   string // id of the agent that calls, as its credential says
}

// maxLost is how many agents a job may lose before it is given up.
const maxLost = 2

// runOf returns the run of a job.
func (s *Service) runOf(ctx context.Context, c Claim, action string) (id int64, err error) {
	err = s.db.QueryRow(ctx, `SELECT run FROM run_jobs WHERE id = $1`, c.Job).Scan(&id)
	if err = notFound(err, "no job"); isNotFound(err) {
		return 0, s.refused(c, action, "there is no such job")
	}
	return id, err
}

// verify returns the claim's row if the claim counts.
func (s *Service) verify(ctx context.Context, q reader, c Claim, action string) (*claimRow, error) {
	row, err := readClaim(ctx, q, c.Job, c.Attempt)
	if err != nil {
		return nil, fmt.Errorf("read claim of job %s: %w", c.Job, err)
	}
	switch {
	case row == nil:
		return nil, s.refused(c, action, "there is no such claim")
	case row.agent != c.Agent:
		return nil, s.refused(c, action, "the job was given to another agent")
	case row.lease == 0:
		return row, s.refused(c, action, "the claim is over: "+row.state)
	}
	return row, nil
}

// claimed runs fn on the run of a claim that counts.
func (s *Service) claimed(ctx context.Context, c Claim, action string, fn func(x *change, row *claimRow) error) error {
	id, err := s.runOf(ctx, c, action)
	if err != nil {
		return err
	}
	return s.change(ctx, id, func(x *change) error {
		row, err := s.verify(ctx, x.tx, c, action)
		if err != nil {
			return err
		}
		return fn(x, row)
	})
}

// Acknowledge takes a job that was given out: from here on it runs. Again, it changes nothing.
func (s *Service) Acknowledge(ctx context.Context, c Claim) error {
	return s.claimed(ctx, c, "Acknowledge", func(x *change, row *claimRow) error {
		if row.state == claimHeld {
			return nil
		}
		j, err := readJob(ctx, x.tx, c.Job)
		if err != nil {
			return err
		}
		now := x.now.UnixMicro()
		_, err = x.tx.Exec(ctx, `UPDATE run_claims SET state = $1, held_at = $2, lease = $3 WHERE job = $4 AND attempt = $5`,
			claimHeld, now, x.now.Add(LeaseTime).UnixMicro(), c.Job, c.Attempt)
		if err != nil {
			return fmt.Errorf("acknowledge job %s: %w", c.Job, err)
		}
		j.State = work.InProgress
		j.startedAt = now
		if j.cancel == 0 {
			if j.deadline = 0; j.timeout > 0 {
				j.deadline = now + j.timeout
			}
		}
		x.tellJob(j, row.agentName)
		if x.run.Started.IsZero() { // also where a run that never got so far is repeated
			x.run.Started = x.now
			x.dirty = true
		}
		if x.run.State == work.Pending {
			x.run.State = work.InProgress
			x.tellRun()
		}
		return storeJob(ctx, x.tx, j)
	})
}

// Lease says until when a claim counts unless it is renewed, and whether the job is to end.
type Lease struct {
	Until        time.Time
	Cancel       bool
	CancelReason string
}

// Renew moves the end of a claim's lease.
func (s *Service) Renew(ctx context.Context, c Claim) (Lease, error) {
	row, err := s.verify(ctx, s.db, c, "Renew")
	if err != nil {
		return Lease{}, err
	}
	if row.state != claimHeld {
		return Lease{}, s.refused(c, "Renew", "the job was not acknowledged")
	}
	var l Lease
	l.Until = s.now().Add(LeaseTime)
	var n int64
	err = s.db.Update(ctx, func(tx *meta.Tx) error {
		r, err := tx.Exec(ctx, `UPDATE run_claims SET lease = $1 WHERE job = $2 AND attempt = $3 AND agent = $4 AND state = 'held' AND lease > 0`,
			l.Until.UnixMicro(), c.Job, c.Attempt, c.Agent)
		if err != nil {
			return err
		}
		n, err = r.RowsAffected()
		return err
	})
	if err != nil {
		return Lease{}, fmt.Errorf("renew the lease of job %s: %w", c.Job, err)
	}
	if n == 0 {
		return Lease{}, s.refused(c, "Renew", "the claim is over")
	}
	var cancel int64
	err = s.db.QueryRow(ctx, `SELECT j.cancel, j.message FROM run_jobs j WHERE j.id = $1`, c.Job).Scan(&cancel, &l.CancelReason)
	if err != nil {
		return Lease{}, fmt.Errorf("renew the lease of job %s: %w", c.Job, err)
	}
	if l.Cancel = cancel != 0; !l.Cancel {
		l.CancelReason = ""
	}
	return l, nil
}

// Complete ends a job. The same again is no error, so that an agent that got no answer can repeat it. With work.Abandoned an agent
// says that it lost the job, which is no result: the job goes to another agent, as when a lease runs out, but at once.
func (s *Service) Complete(ctx context.Context, c Claim, result work.Result, message string) error {
	switch result {
	case work.Succeeded, work.SucceededWithIssues, work.Failed, work.Canceled, work.Skipped:
	case work.Abandoned:
		return s.abandon(ctx, c, clip(message, maxMessage))
	default:
		return errorf(Invalid, "%q is no result that an agent can give a job", result)
	}
	row, err := readClaim(ctx, s.db, c.Job, c.Attempt)
	if err != nil {
		return fmt.Errorf("read claim of job %s: %w", c.Job, err)
	}
	if row != nil && row.agent == c.Agent && row.state == claimDone && row.result == result {
		return nil
	}
	return s.finish(ctx, c, result, clip(message, maxMessage), false)
}

// abandon ends a claim whose agent lost its job, and says so itself.
func (s *Service) abandon(ctx context.Context, c Claim, cause string) error {
	row, err := readClaim(ctx, s.db, c.Job, c.Attempt)
	if err != nil {
		return fmt.Errorf("read claim of job %s: %w", c.Job, err)
	}
	if row != nil && row.agent == c.Agent && row.state == claimLost {
		return nil
	}
	return s.claimed(ctx, c, "Complete", func(x *change, row *claimRow) error {
		if row.state != claimHeld {
			return s.refused(c, "Complete", "the job was not acknowledged")
		}
		return x.giveBack(c, claimLost, cmp.Or(cause, fmt.Sprintf("agent %s lost the job", row.agentName)))
	})
}

// finish ends a claim and its job.
func (s *Service) finish(ctx context.Context, c Claim, result work.Result, message string, before bool) error {
	return s.claimed(ctx, c, "Complete", func(x *change, row *claimRow) error {
		if row.state != claimHeld && !before {
			return s.refused(c, "Complete", "the job was not acknowledged")
		}
		if err := x.endClaim(c, claimDone, result, message); err != nil {
			return err
		}
		if err := x.load(); err != nil {
			return err
		}
		j := x.job(c.Job)
		if j == nil {
			return nil // of an attempt of the stage that is over
		}
		if j.cancel != 0 && result != work.Canceled && j.Message == "" {
			j.Message = message
		}
		if message != "" && j.cancel == 0 {
			j.Message = message
		}
		x.endJob(j, result)
		return nil
	})
}

// endJob gives a job its result. Questions of its steps are no longer asked.
func (x *change) endJob(j *jobRow, result work.Result) {
	j.State, j.Result, j.finishedAt, j.deadline = work.Completed, result, x.now.UnixMicro(), 0
	x.moved = true
	x.tellJob(j, "")
	_, err := x.tx.Exec(x.ctx, `UPDATE run_approvals SET state = 'canceled', ended_at = $1 WHERE job = $2 AND state = 'pending'`, x.now.UnixMicro(), j.ID)
	x.err = errors.Join(x.err, err)
}

// endClaim ends a claim, and with it what was bound to it.
func (x *change) endClaim(c Claim, state string, result work.Result, cause string) error {
	var was string
	if err := x.tx.QueryRow(x.ctx, `SELECT state FROM run_claims WHERE job = $1 AND attempt = $2`, c.Job, c.Attempt).Scan(&was); err != nil {
		return fmt.Errorf("end claim of job %s: %w", c.Job, err)
	}
	_, err := x.tx.Exec(x.ctx, `UPDATE run_claims SET state = $1, result = $2, cause = $3, lease = 0, ended_at = $4 WHERE job = $5 AND attempt = $6`,
		state, string(result), cause, x.now.UnixMicro(), c.Job, c.Attempt)
	if err == nil {
		_, err = x.tx.Exec(x.ctx, `UPDATE run_logs SET closed = 1 WHERE job = $1 AND attempt = $2`, c.Job, c.Attempt)
	}
	if err == nil && c.Agent != "" {
		err = pool.End(x.ctx, x.tx, c.Agent, jobID(c), was != claimOffered)
	}
	if err == nil {
		_, _, err = x.s.o.Jobs.Enqueue(x.ctx, x.tx, job.Spec{Kind: EndJob, Unique: jobID(c), Payload: endPayload{c.Job, c.Attempt}})
	}
	if err != nil {
		return fmt.Errorf("end claim of job %s: %w", c.Job, err)
	}
	x.wake(logTopic(c.Job))
	x.dirty = true
	return nil
}

// Release gives a job back: the agent is stopping. It goes to the front of the queue, and is not counted as lost.
func (s *Service) Release(ctx context.Context, c Claim, cause string) error {
	return s.giveBack(ctx, c, claimReleased, clip(cause, maxMessage))
}

func (s *Service) giveBack(ctx context.Context, c Claim, state, cause string) error {
	return s.claimed(ctx, c, "Release", func(x *change, _ *claimRow) error { return x.giveBack(c, state, cause) })
}

// endLease takes a job back whose lease was seen to be over, unless it was renewed since.
func (s *Service) endLease(ctx context.Context, c Claim, lease int64, state, cause string) error {
	id, err := s.runOf(ctx, c, "Lease")
	if err != nil {
		return err
	}
	return s.change(ctx, id, func(x *change) error {
		row, err := readClaim(ctx, x.tx, c.Job, c.Attempt)
		if err != nil || row == nil || row.lease != lease {
			return err
		}
		return x.giveBack(c, state, cause)
	})
}

// giveBack ends a claim whose job did not end. The job is queued again, or given up.
func (x *change) giveBack(c Claim, state, cause string) error {
	if err := x.endClaim(c, state, "", cause); err != nil {
		return err
	}
	if state == claimLost {
		if err := x.s.changed(x.ctx, x.tx, Change{Caller: x.s.system(x.run.Account), Action: "pipelines:LoseJob", ARN: x.s.runARN(x.run.Account, x.run.Project, x.run.ID),
			Detail: fmt.Sprintf("%s: %s", jobID(c), cause)}); err != nil {
			return err
		}
	}
	if err := x.load(); err != nil {
		return err
	}
	j := x.job(c.Job)
	if j == nil || j.State == work.Completed {
		return nil
	}
	if state == claimLost {
		if !j.server { // it waits, and any node can go on with that
			j.lost++
		}
		x.tell(Event{Type: IssueEvent, Stage: j.stage, Attempt: j.stageAttempt, Phase: j.phase, Job: j.ID, Claim: j.attempt,
			Issue: &work.Issue{Type: "warning", Message: "The agent was lost: " + cause}})
	}
	switch {
	case j.cancel != 0:
		x.endJob(j, work.Canceled)
	case j.lost >= maxLost:
		j.Message = fmt.Sprintf("The job was given up: %d agents were lost while they ran it. The last one: %s.", j.lost, cause)
		x.endJob(j, work.Abandoned)
	default:
		j.startedAt = 0
		if err := x.enqueue(j, true); err != nil {
			return err
		}
		x.tellJob(j, "")
	}
	return nil
}

// endDeadlines has jobs end that ran too long, and ends those that were asked to and didn't.
func (s *Service) endDeadlines(ctx context.Context) error {
	rows, err := s.db.Query(ctx, `SELECT id, run FROM run_jobs WHERE deadline > 0 AND deadline < $1`, s.now().UnixMicro())
	type due struct {
		id  string
		run int64
	}
	list, err := collect(rows, err, func(row scanner) (d due, err error) { return d, row.Scan(&d.id, &d.run) })
	if err != nil {
		return fmt.Errorf("look for jobs that take too long: %w", err)
	}
	var errs []error
	for _, d := range list {
		errs = append(errs, s.change(ctx, d.run, func(x *change) error {
			if err := x.load(); err != nil {
				return err
			}
			j := x.job(d.id)
			if j == nil || j.deadline == 0 || j.deadline >= x.now.UnixMicro() {
				if j == nil { // of an earlier attempt of its stage, which can't be
					_, err := x.tx.Exec(ctx, `UPDATE run_jobs SET deadline = 0 WHERE id = $1`, d.id)
					return err
				}
				return nil
			}
			if j.cancel == 0 {
				j.Message = fmt.Sprintf("The job ran longer than the maximum time of %v minutes.", time.Duration(j.timeout*1000).Minutes())
				return x.cancelJob(j, j.Message)
			}
			return x.forceJob(j, fmt.Sprintf("The job did not end within %v after it was asked to.", time.Duration(j.cancelTimeout*1000)))
		}))
	}
	return errors.Join(errs...)
}

// forceJob ends a job whatever its agent does.
func (x *change) forceJob(j *jobRow, why string) error {
	c, err := readClaim(x.ctx, x.tx, j.ID, j.attempt)
	if err != nil {
		return err
	}
	if c != nil && c.lease > 0 {
		if err := x.endClaim(Claim{Job: j.ID, Attempt: j.attempt, Agent: c.agent}, claimLost, "", why); err != nil {
			return err
		}
	}
	if j.Message == "" {
		j.Message = why
	}
	x.endJob(j, work.Canceled)
	return nil
}

// cancelJob asks for the end of a job: at once if no agent has it.
func (x *change) cancelJob(j *jobRow, why string) error {
	if j.State == work.Completed || j.cancel != 0 {
		return nil
	}
	j.changed = true
	if j.cancel = x.now.UnixMicro(); j.Message == "" {
		j.Message = why
	}
	if _, err := x.dequeue(j.ID); err != nil {
		return err
	}
	c, err := readClaim(x.ctx, x.tx, j.ID, j.attempt)
	if err != nil {
		return err
	}
	switch {
	case c == nil || c.lease == 0:
		x.endJob(j, work.Canceled)
	case c.state == claimOffered:
		if err := x.endClaim(Claim{Job: j.ID, Attempt: j.attempt, Agent: c.agent}, claimUnanswered, "", why); err != nil {
			return err
		}
		x.endJob(j, work.Canceled)
	default:
		// The agent kills after the same time; what is added lets it say how that went.
		j.deadline = x.now.UnixMicro() + j.cancelTimeout + (30 * time.Second).Microseconds()
		x.tellJob(j, c.agentName)
		x.wake(claimTopic(j.ID))
	}
	return nil
}

func claimTopic(job string) string { return "claim/" + job }

// Canceled returns a channel that is sent to when the job of a claim may have been asked to end, so that a stream to the agent
// can tell it before it renews.
func (s *Service) Canceled(c Claim) (wake <-chan struct{}, stop func()) {
	return s.hub.listen(claimTopic(c.Job))
}
