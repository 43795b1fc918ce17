package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"connectrpc.com/connect"

	agentv1 "github.com/sekisho/sekisho/internal/agent/rpc/sekisho/agent/v1"
	"github.com/sekisho/sekisho/internal/agent/work"
)

const (
	// renewEvery is far less than a lease, because the answer says whether the job is to be cancelled.
	renewEvery = 5 * time.Second
	// acknowledgeTime is how long the agent tries to take a job; then the queue has given it to another one.
	acknowledgeTime = 15 * time.Second
	// killAfter is how long a worker has to end when its claim is lost, or after its own time to cancel.
	killAfter = 20 * time.Second
	// workerEndTime is how long a worker has to end whose agent was killed.
	workerEndTime = 2 * time.Minute
	// tellTime is how long the agent tries to tell how a job ended.
	tellTime = 10 * time.Minute
)

// attempt is a job that the agent has.
type attempt struct {
	agent *Agent
	job   *work.Job
	claim *agentv1.Claim
	spool string

	cancelOnce sync.Once
	cancelled  chan struct{} // closed when the worker was told to end its job

	mu       sync.Mutex
	stdin    io.WriteCloser // guarded by mu; nil: the worker does not run
	released string         // guarded by mu; why the job is to be given back
}

// do runs a job to its end and returns its result, "" if it is not this agent's any more. ctx ends it at once.
func (a *Agent) do(ctx context.Context, job *work.Job, stop <-chan string) (work.Result, error) {
	x := &attempt{agent: a, job: job, claim: claimOf(job), spool: a.folder.spoolOf(job.ID, job.Attempt), cancelled: make(chan struct{})}
	s, err := openSpool(x.spool)
	if err != nil {
		return "", errors.Join(err, x.giveBack(ctx, "the agent can't keep what the job tells: "+err.Error()))
	}
	s.close() // it is the worker's until that ends
	if err := s.keepClaim(held{job.ID, job.Attempt, job.DisplayName, a.now()}); err != nil {
		return "", errors.Join(err, x.giveBack(ctx, "the agent can't keep what the job tells: "+err.Error()))
	}
	defer func() {
		if ctx.Err() != nil {
			return // the next start tells what is in it
		}
		if err := s.remove(); err != nil {
			a.log.Warn("the spool of a job can't be removed", "job", job.ID, "err", err)
		}
	}()
	soon, cancel := context.WithTimeout(ctx, acknowledgeTime)
	_, err = retry(soon, func(ctx context.Context) (*connect.Response[agentv1.AcknowledgeResponse], error) {
		return a.client.Acknowledge(ctx, connect.NewRequest(&agentv1.AcknowledgeRequest{Claim: x.claim}))
	})
	if cancel(); err != nil {
		return "", fmt.Errorf("take the job: %w", result(err))
	}

	lost, endLease := context.WithCancelCause(ctx)
	var lease sync.WaitGroup
	lease.Go(func() { x.renew(lost, endLease) })
	defer lease.Wait()
	defer endLease(nil)

	crash, err := x.run(lost, stop)
	if errors.Is(context.Cause(lost), work.ErrClaimLost) {
		return "", work.ErrClaimLost
	}
	if err != nil {
		return "", errors.Join(err, x.giveBack(ctx, "the agent can't start a worker: "+err.Error()))
	}
	return x.tell(lost, crash)
}

// giveBack returns the job to the queue.
func (x *attempt) giveBack(ctx context.Context, why string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	_, err := retry(ctx, func(ctx context.Context) (*connect.Response[agentv1.ReleaseResponse], error) {
		return x.agent.client.Release(ctx, connect.NewRequest(&agentv1.ReleaseRequest{Claim: x.claim, Reason: why}))
	})
	return result(err)
}

// renew keeps the lease until ctx ends, and ends it when the claim is lost.
func (x *attempt) renew(ctx context.Context, end context.CancelCauseFunc) {
	every := x.agent.renewEvery
	var b backoff
	wait := every
	for {
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
		call, cancel := context.WithTimeout(ctx, every)
		out, err := x.agent.client.Renew(call, connect.NewRequest(&agentv1.RenewRequest{Claim: x.claim}))
		cancel()
		switch err = result(err); {
		case errors.Is(err, work.ErrClaimLost):
			x.agent.log.Warn("the job is not this agent's any more", "job", x.job.ID)
			end(work.ErrClaimLost)
			return
		case err != nil && ctx.Err() == nil:
			x.agent.log.Warn("the lease of the job can't be renewed; trying again", "job", x.job.ID, "err", err)
			b.next = min(max(b.next*2, firstBackoff), every/4)
			wait = jitter(b.next)
			continue
		case err == nil && out.Msg.GetCancel():
			x.cancel(orElse(out.Msg.GetReason(), "somebody cancelled it"))
		}
		b, wait = backoff{}, every
	}
}

func orElse(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

// cancel tells the worker to end its job. Again, it changes nothing.
func (x *attempt) cancel(why string) {
	x.cancelOnce.Do(func() { close(x.cancelled) })
	text, err := json.Marshal(stopWord{why})
	if err != nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.stdin != nil {
		_, _ = x.stdin.Write(append(text, '\n'))
	}
}

// run runs the worker to its end. crash says how it ended if that was not by itself. An error means that it did not start.
func (x *attempt) run(ctx context.Context, stop <-chan string) (crash string, err error) {
	a := x.agent
	key, err := keyText(a.key)
	if err != nil {
		return "", err
	}
	x.job.Server = a.settings.URL
	text, err := json.Marshal(order{
		Job: x.job, Route: a.route(), AgentID: a.settings.AgentID, Key: key, Spool: x.spool, UserAgent: a.userAgent(),
		Place: Place{
			Work: a.folder.Work(a.settings), Home: string(a.folder), ID: a.settings.AgentID, Name: a.settings.Name, Version: a.o.Version,
			CAFile: a.settings.CAFile,
		},
	})
	if err != nil {
		return "", err
	}
	cmd := exec.Command(a.o.Worker[0], a.o.Worker[1:]...)
	cmd.Dir = string(a.folder)
	cmd.Env = a.workerEnv()
	tail := &tailWriter{}
	cmd.Stdout, cmd.Stderr = a.o.Console, io.MultiWriter(a.diag, tail)
	ownGroup(cmd)
	cmd.WaitDelay = killAfter
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", fmt.Errorf("start worker: %w", err)
	}
	x.mu.Lock()
	x.stdin = stdin
	x.mu.Unlock()
	ended := make(chan error, 1)
	go func() {
		if _, err := stdin.Write(append(text, '\n')); err != nil {
			a.log.Warn("the worker did not take its order", "job", x.job.ID, "err", err)
		}
	}()
	go func() { ended <- cmd.Wait() }()

	grace := time.Duration(max(x.job.CancelTimeoutMinutes, 1))*time.Minute + killAfter
	var kill <-chan time.Time
	lost, cancelled := ctx.Done(), x.cancelled
	for {
		select {
		case err := <-ended:
			x.mu.Lock()
			x.stdin = nil
			x.mu.Unlock()
			killGroup(cmd.Process)
			if a.o.Alone {
				reapLeft()
			}
			if err != nil {
				crash = orElse(err.Error(), "it ended")
				if last := tail.String(); last != "" {
					crash += ": " + last
				}
			}
			return crash, nil
		case why := <-stop:
			x.mu.Lock()
			x.released = why
			x.mu.Unlock()
			x.cancel(why)
		case <-cancelled: // the worker knows how long a job has; this is for one that doesn't answer
			cancelled = nil
			kill = time.After(grace)
		case <-lost:
			lost, cancelled = nil, nil
			x.cancel("it is not this agent's any more")
			if kill = time.After(killAfter); !errors.Is(context.Cause(ctx), work.ErrClaimLost) { // somebody wants the agent to end at once
				kill = time.After(time.Second)
			}
		case <-kill:
			a.log.Warn("the worker does not end; it is killed", "job", x.job.ID)
			killGroup(cmd.Process)
		}
	}
}

// tell tells the server how the job ended.
func (x *attempt) tell(ctx context.Context, crash string) (work.Result, error) {
	a := x.agent
	ctx, cancel := context.WithTimeout(ctx, tellTime)
	defer cancel()
	x.mu.Lock()
	released := x.released
	x.mu.Unlock()
	s, err := openSpool(x.spool)
	if err != nil {
		return "", err
	}
	defer s.close()
	end := s.result()
	if end == nil { // it crashed: what it wrote is told all the same
		if released == "" {
			end = &outcome{work.Failed, "The worker, which ran the job, crashed: " + orElse(crash, "it said nothing of how the job ended")}
		}
		if err := x.rest(ctx, s); err != nil {
			return "", err
		}
	}
	if released != "" && (end == nil || end.Result == work.Canceled) {
		return "", errors.Join(errReleased, x.giveBack(ctx, released))
	}
	return end.Result, a.complete(ctx, x.claim, end)
}

// errReleased says that the job was given back.
var errReleased = errors.New("the job was given back")

// rest tells what is left in a spool.
func (x *attempt) rest(ctx context.Context, s *spool) error {
	r := newRemote(x.agent.client, x.claim, s, true)
	defer r.close()
	if err := r.flush(ctx); errors.Is(err, work.ErrClaimLost) {
		return err
	} else if err != nil {
		x.agent.log.Warn("not all that the job told could be sent", "job", x.job.ID, "err", err)
	}
	return nil
}

// complete says how a job ended.
func (a *Agent) complete(ctx context.Context, claim *agentv1.Claim, end *outcome) error {
	const most = 8 << 10
	text := end.Message[:min(len(end.Message), most)]
	_, err := retry(ctx, func(ctx context.Context) (*connect.Response[agentv1.CompleteResponse], error) {
		return a.client.Complete(ctx, connect.NewRequest(&agentv1.CompleteRequest{Claim: claim, Result: string(end.Result), Message: toValid(text)}))
	})
	return result(err)
}

// recover tells what jobs left behind that the agent had when it was stopped without a word.
func (a *Agent) recover(ctx context.Context) error {
	left, err := a.folder.leftSpools()
	if err != nil {
		return err
	}
	for dir, h := range left {
		a.say("The agent was stopped while it ran the job %s. What that had told is sent now.", plainName(h.Name))
		if err := workerEnds(ctx, dir); err != nil {
			return err
		}
		s, err := openSpool(dir)
		if err != nil {
			return err
		}
		claim := &agentv1.Claim{Job: h.Job, Attempt: int32(h.Attempt)}
		end := s.result()
		if end == nil {
			end = &outcome{work.Abandoned, "The agent was stopped while it ran the job, and has started again."}
		}
		within, cancel := context.WithTimeout(ctx, time.Minute)
		x := &attempt{agent: a, job: &work.Job{ID: h.Job, Attempt: h.Attempt}, claim: claim, spool: dir}
		err = x.rest(within, s)
		if err == nil {
			err = a.complete(within, claim, end)
		}
		cancel()
		if err != nil && ctx.Err() != nil {
			s.close()
			return ctx.Err()
		}
		if err != nil { // the queue has seen to it, or will when the lease ends
			a.log.Info("a job from before is not this agent's any more", "job", h.Job, "err", err)
		}
		if err := s.remove(); err != nil {
			return fmt.Errorf("remove spool: %w", err)
		}
	}
	return nil
}

// workerEnds waits for a worker whose agent was killed: it ends by itself, since nobody is there for it.
func workerEnds(ctx context.Context, dir string) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for until := time.Now().Add(workerEndTime); ; {
		unlock, err := lockFileOf(filepath.Join(dir, workerLock))
		if err == nil {
			unlock()
			return nil
		}
		if !errors.Is(err, errLocked) || time.Now().After(until) {
			return fmt.Errorf("the worker of the job before still runs: %w; end it and start the agent again", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// tailWriter keeps the last of what is written.
type tailWriter struct {
	mu   sync.Mutex
	text []byte // guarded by mu
}

func (w *tailWriter) Write(p []byte) (int, error) {
	const most = 2 << 10
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text = append(w.text, p...)
	if len(w.text) > most {
		w.text = append([]byte(nil), w.text[len(w.text)-most:]...)
	}
	return len(p), nil
}

func (w *tailWriter) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return toValid(string(w.text))
}

// workerEnv is the environment of a worker: the agent's, without what configures the agent.
func (a *Agent) workerEnv() []string {
	var env []string
	for _, pair := range os.Environ() {
		if !isInput(pair) {
			env = append(env, pair)
		}
	}
	return append(env, a.o.WorkerEnv...)
}
