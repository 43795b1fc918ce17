package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/pipeline/macro"
	"github.com/sekisho/sekisho/internal/pool"
)

// serverAgent runs agentless jobs, which have no other tasks than those that wait. What it waits for is in the database
// or can be waited for again, so a job that another node began goes on here.
func (s *Service) serverAgent(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	wake, stop := s.hub.listen(serverTopic())
	defer stop()
	for {
		list, err := s.waitingServer(ctx)
		if err != nil && ctx.Err() == nil {
			s.o.Logger.Warn("agentless jobs can't be looked for", "err", err)
		}
		for _, w := range list {
			a := &pool.Agent{Name: "server", Account: ""}
			c, err := s.claim(ctx, w, a)
			if err != nil || c == nil {
				continue
			}
			running.Go(func() {
				if err := s.runServerJob(ctx, *c, a); err != nil && ctx.Err() == nil && !errors.Is(err, work.ErrClaimLost) {
					s.o.Logger.Warn("an agentless job failed", "job", c.Job, "err", err)
				}
			})
		}
		select {
		case <-ctx.Done():
			return
		case <-wake:
		}
	}
}

func (s *Service) waitingServer(ctx context.Context) ([]waitingJob, error) {
	rows, err := s.db.Query(ctx, `SELECT q.ord, q.job, q.run, q.first FROM run_queue q WHERE q.pool = $1 ORDER BY q.first, q.ord LIMIT $2`, serverPool, queuePage)
	return collect(rows, err, func(row scanner) (w waitingJob, err error) { return w, row.Scan(&w.ord, &w.job, &w.run, &w.first) })
}

// runServerJob runs one, renewing its claim as an agent does.
func (s *Service) runServerJob(ctx context.Context, c Claim, a *pool.Agent) error {
	j, err := s.handOut(ctx, c, a)
	if err != nil || j == nil {
		return err
	}
	if err := s.Acknowledge(ctx, c); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	canceled := make(chan struct{})
	var renewing sync.WaitGroup
	defer renewing.Wait()
	defer cancel()
	renewing.Go(func() {
		wake, stop := s.Canceled(c)
		defer stop()
		ticker := time.NewTicker(LeaseTime / 4)
		defer ticker.Stop()
		for {
			l, err := s.Renew(ctx, c)
			if errors.Is(err, work.ErrClaimLost) || l.Cancel {
				close(canceled)
				cancel()
				return
			}
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			case <-wake:
			}
		}
	})
	result, message := s.serverSteps(ctx, c, j)
	select {
	case <-canceled:
		result = work.Canceled
	default:
		if ctx.Err() != nil { // the server stops: another goes on with it
			return s.Release(context.WithoutCancel(ctx), c, "the server stops")
		}
	}
	return s.Complete(context.WithoutCancel(ctx), c, result, message)
}

// serverSteps runs the steps one after the other.
func (s *Service) serverSteps(ctx context.Context, c Claim, j *work.Job) (work.Result, string) {
	vars := func(name string) (string, bool) {
		for i := len(j.Variables) - 1; i >= 0; i-- {
			if v := j.Variables[i]; strings.EqualFold(v.Name, name) && !v.Secret {
				return v.Value, true
			}
		}
		return "", false
	}
	result, message := work.Succeeded, ""
	for i, st := range j.Steps {
		// After a failure come the steps of onFailure alone, and those come after nothing else.
		if strings.EqualFold(st.Hook, "onFailure") != (result == work.Failed) {
			continue
		}
		rec := work.Record{Step: st.ID, Sequence: 1, Order: i + 1, Name: st.Name, DisplayName: st.DisplayName, Task: st.Task, State: work.InProgress, Started: s.now()}
		if !st.Enabled {
			continue
		}
		if err := s.Update(ctx, c, []work.Record{rec}); err != nil {
			return work.Failed, err.Error()
		}
		rec.Result, rec.Message = s.serverStep(ctx, c, st, vars)
		rec.Sequence, rec.State, rec.Finished = 2, work.Completed, s.now()
		if err := s.Update(context.WithoutCancel(ctx), c, []work.Record{rec}); err != nil {
			return work.Failed, err.Error()
		}
		if rec.Result != work.Succeeded && !strings.EqualFold(st.ContinueOnError, "true") {
			if rec.Result != work.Failed || result == work.Failed || strings.EqualFold(st.Hook, "onSuccess") {
				return rec.Result, rec.Message
			}
			result, message = rec.Result, rec.Message
		}
	}
	return result, message
}

func (s *Service) serverStep(ctx context.Context, c Claim, st work.Step, vars func(string) (string, bool)) (work.Result, string) {
	input := func(name string) string {
		for key, value := range st.Inputs {
			if strings.EqualFold(key, name) {
				return macro.Expand(value, vars)
			}
		}
		return ""
	}
	if st.Condition != "" && !strings.EqualFold(strings.ReplaceAll(st.Condition, " ", ""), "succeeded()") {
		return work.Failed, fmt.Sprintf("%s: conditions of steps can't be decided in agentless jobs; put it at the job", st.File)
	}
	name, _, _ := strings.Cut(st.Task, "@")
	switch fold(name) {
	case "manualvalidation":
		var notify []string
		for _, who := range strings.FieldsFunc(cmp.Or(input("approvers"), input("notifyUsers")), func(r rune) bool { return r == '\n' || r == ',' }) {
			notify = append(notify, strings.TrimSpace(who))
		}
		result, comment, err := s.Approve(ctx, c, st.ID, input("instructions"), notify, time.Duration(st.TimeoutMinutes)*time.Minute, cmp.Or(fold(input("onTimeout")), "reject"))
		if err != nil {
			return work.Failed, err.Error()
		}
		return result, comment
	case "delay":
		minutes, err := strconv.ParseFloat(strings.TrimSpace(input("delayForMinutes")), 64)
		if err != nil || minutes < 0 || minutes > 60*24*30 {
			return work.Failed, "delayForMinutes must be a number of minutes"
		}
		return s.delay(ctx, c, time.Duration(minutes*float64(time.Minute)))
	}
	return work.Failed, fmt.Sprintf("%s: task %s can't run without an agent: agentless jobs (pool: server) run ManualValidation and Delay", st.File, st.Task)
}

// delay waits until so long after the job was first begun, on whichever node that was.
func (s *Service) delay(ctx context.Context, c Claim, d time.Duration) (work.Result, string) {
	var first int64
	err := s.db.QueryRow(ctx, `SELECT min(held_at) FROM run_claims WHERE job = $1 AND held_at > 0`, c.Job).Scan(&first)
	if err != nil {
		return work.Failed, err.Error()
	}
	wait := time.NewTimer(fromMicros(first).Add(d).Sub(s.now()))
	defer wait.Stop()
	select {
	case <-ctx.Done():
		return work.Canceled, ""
	case <-wait.C:
		return work.Succeeded, ""
	}
}
