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
	// killAfter is how long a worker has to end after its own time to cancel, and killAfterLost when the claim is lost: somebody else may
	// have the job already.
	killAfter     = 20 * time.Second
	killAfterLost = 10 * time.Second
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

	fence      *fence
	lease      time.Duration
	cancelOnce sync.Once
	cancelled  chan struct{} // closed when the worker was told to end its job
	words      chan word     // to the worker
	cutOff     bool          // the worker was killed because the lease could not be renewed; set before run returns

	mu       sync.Mutex
	released string // guarded by mu; why the job is to be given back
}

// newAttempt returns the attempt of a job that is to be taken.
func (a *Agent) newAttempt(job *work.Job, spool string) *attempt {
	return &attempt{
		agent: a, job: job, claim: claimOf(job), spool: spool, fence: newFence(a.clock, a.clock()), lease: leaseOf(a.o.lease),
		cancelled: make(chan struct{}), words: make(chan word, maxWords),
	}
}

// maxWords is how many words wait for a worker that does not listen: then others are dropped, since it can't be told anyway.
const maxWords = 16

// do runs a job to its end and returns its result, "" if it is not this agent's any more. ctx ends it at once.
func (a *Agent) do(ctx context.Context, job *work.Job, stop <-chan string) (work.Result, error) {
	x := a.newAttempt(job, a.folder.spoolOf(job.ID, job.Attempt))
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
	taken := a.clock() // of several calls, the first one that arrived may be the one that counts
	_, err = retry(soon, func(ctx context.Context) (*connect.Response[agentv1.AcknowledgeResponse], error) {
		return a.client.Acknowledge(ctx, connect.NewRequest(&agentv1.AcknowledgeRequest{Claim: x.claim}))
	})
	if cancel(); err != nil {
		return "", fmt.Errorf("take the job: %w", result(err))
	}
	x.fence.renewed(taken)

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
		sent := x.agent.clock()
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
		case err == nil:
			x.fence.renewed(sent)
			x.say(word{Renewed: sent})
			if out.Msg.GetCancel() {
				x.cancel(orElse(out.Msg.GetReason(), "somebody cancelled it"))
			}
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
	x.cancelOnce.Do(func() {
		close(x.cancelled)
		x.say(word{Cancel: orElse(why, "it is to end")})
	})
}

// say tells the worker something.
func (x *attempt) say(w word) {
	select {
	case x.words <- w:
	default:
	}
}

// speak writes to a worker: first its order, then the words, until stop is closed. That the worker reads no more is its end.
func (x *attempt) speak(in io.WriteCloser, order []byte, stop <-chan struct{}) {
	defer in.Close()
	if _, err := in.Write(append(order, '\n')); err != nil {
		x.agent.log.Warn("the worker did not take its order", "job", x.job.ID, "err", err)
		return
	}
	for {
		select {
		case w := <-x.words:
			text, err := json.Marshal(w)
			if err == nil {
				_, err = in.Write(append(text, '\n'))
			}
			if err != nil {
				return
			}
		case <-stop:
			return
		}
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
		Renewed: x.fence.since(), Lease: a.o.lease,
		Place: Place{
			Work: a.folder.Work(a.settings), Home: string(a.folder), ID: a.settings.AgentID, Name: a.settings.Name, Version: a.o.Version,
			CAFile: a.settings.CAFile, Tasks: a.settings.Tasks,
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
	ended := make(chan error, 1)
	hush := make(chan struct{})
	silent := sync.OnceFunc(func() { close(hush) })
	defer silent()
	go x.speak(stdin, text, hush)
	go func() { ended <- cmd.Wait() }()
	watch, unwatch := context.WithCancel(ctx)
	defer unwatch()
	cutOff := make(chan struct{})
	go func() {
		if x.fence.over(watch, killAfterFence(x.lease)) {
			close(cutOff)
		}
	}()

	grace := time.Duration(max(x.job.CancelTimeoutMinutes, 1))*time.Minute + killAfter
	var kill <-chan time.Time
	lost, cancelled := ctx.Done(), x.cancelled
	for {
		select {
		case err := <-ended:
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
			lost, cancelled, cutOff = nil, nil, nil
			silent()                                                                                 // which ends the job at once
			if kill = time.After(killAfterLost); !errors.Is(context.Cause(ctx), work.ErrClaimLost) { // somebody wants the agent to end at once
				kill = time.After(time.Second)
			}
		case <-cutOff:
			cutOff = nil
			if outcomeIn(x.spool) != nil { // the job is over; what is left of it is to be told
				continue
			}
			x.cutOff = true
			a.log.Warn("the lease of the job could not be renewed, and the worker does not end; it is killed", "job", x.job.ID)
			killGroup(cmd.Process)
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
	switch {
	case end != nil:
	case x.cutOff:
		end = &outcome{Result: work.Abandoned, Message: cutOffMessage(x.lease)}
	case released == "":
		end = &outcome{Result: work.Failed, Message: "The worker, which ran the job, crashed: " + orElse(crash, "it said nothing of how the job ended")}
	}
	if end == nil || !end.Told { // what it wrote is told all the same
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
		end := s.result()
		if end == nil {
			end = &outcome{Result: work.Abandoned, Message: "The agent was stopped while it ran the job, and has started again."}
		}
		within, cancel := context.WithTimeout(ctx, time.Minute)
		x := a.newAttempt(&work.Job{ID: h.Job, Attempt: h.Attempt}, dir)
		lost, endLease := context.WithCancelCause(within)
		var lease sync.WaitGroup
		lease.Go(func() { x.renew(lost, endLease) }) // it may be much that is sent
		if err = x.rest(lost, s); err == nil {
			err = a.complete(lost, x.claim, end)
		}
		endLease(nil)
		lease.Wait()
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
