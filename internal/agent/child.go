package agent

import (
	"bufio"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	agentv1 "github.com/sekisho/sekisho/internal/agent/rpc/sekisho/agent/v1"
	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/agent/worker"
)

// order is what a worker reads first from its standard input. There it has no name in any list of processes.
type order struct {
	Job       *work.Job
	Route     Route
	AgentID   string
	Key       string // PEM
	Spool     string
	Place     Place
	UserAgent string
	Renewed   time.Duration // of [steady]: when the call was sent by which the job was taken
	Lease     time.Duration // 0: [work.Lease]
}

// Place says where a job runs.
type Place struct {
	Work    string   // folder, absolute
	Home    string   // the agent's own folder
	ID      string   // of the agent
	Name    string   // of the agent
	Version string   // of the agent
	CAFile  string   // PEM, authorities for the server beside the system's; empty: none
	Tasks   []string // folders with published tasks
}

// word is a line to a worker while its job runs.
type word struct {
	Cancel  string        `json:",omitempty"` // cancel the job; why
	Renewed time.Duration `json:",omitempty"` // the lease is renewed; when the call for it was sent, of [steady]
}

// Run runs a job to its end. ctx ends when the job is to be cancelled ([worker.ErrCancel]), or for a cause that lets nothing go on;
// drop is closed when nothing may go on although the job was cancelled before. The message says why it has its result, where that is
// not plain.
type Run func(ctx context.Context, job *work.Job, server work.Server, at Place, drop <-chan struct{}) (result work.Result, message string, err error)

// flushTime is how long a worker tries to tell the last of its job.
const flushTime = 10 * time.Minute

var (
	// errAgentGone ends a job whose agent has died.
	errAgentGone = errors.New("the agent is gone")
	// errCutOff ends a job that the server may give to another agent.
	errCutOff = errors.New("the lease of the job could not be renewed")
)

// Work is the worker's process: it reads its order from in, runs the job, and says in the spool how it ended. The end of in
// means that the agent is gone, or that the claim is lost, and ends the job at once; so does a lease that is not renewed.
func Work(ctx context.Context, in io.Reader, run Run) error {
	lines := bufio.NewReaderSize(in, 1<<20)
	text, err := lines.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("read order: %w; this command is run by the agent, not by people", err)
	}
	var o order
	if err := json.Unmarshal(text, &o); err != nil || o.Job == nil {
		return errors.New("read order: it is none; this command is run by the agent, not by people")
	}
	key, err := parseKey([]byte(o.Key))
	if err != nil {
		return err
	}
	s, err := openSpool(o.Spool)
	if err != nil {
		return err
	}
	defer s.close()
	unlock, err := lockFileOf(filepath.Join(o.Spool, workerLock))
	if err != nil {
		return fmt.Errorf("lock spool: %w", err)
	}
	defer unlock()
	c, err := newClient(&o.Route, &signer{key: key, agent: o.AgentID, userAgent: o.UserAgent})
	if err != nil {
		return err
	}
	defer c.close()
	r := newRemote(c, claimOf(o.Job), s, false)
	defer r.close()

	g := &guard{fence: newFence(steady, o.Renewed), lease: leaseOf(o.Lease)}
	var end outcome
	err = g.run(ctx, lines, r.lost, func(ctx context.Context, drop <-chan struct{}) {
		end = runSafely(ctx, run, o.Job, r, o.Place, drop)
	})
	switch {
	case errors.Is(err, errCutOff):
		return errors.Join(err, s.write(resultFile, outcome{Result: work.Abandoned, Message: cutOffMessage(g.lease)}))
	case err != nil:
		return err // whoever finds the spool says how the job ended
	}
	// The job is over and has its result. From here on, all that is lost is what could not be told of it.
	if err := s.write(resultFile, end); err != nil {
		return err
	}
	last, done := context.WithTimeout(g.agent, flushTime)
	defer done()
	err = r.flush(last)
	if errors.Is(err, work.ErrClaimLost) || g.agent.Err() != nil {
		return err
	}
	if end.Told = true; err != nil {
		end.Message = join(end.Message, "not all of its log or records could be told: "+err.Error())
	}
	return s.write(resultFile, end)
}

// guard ends a job when it must not go on.
type guard struct {
	fence *fence
	lease time.Duration
	agent context.Context // ends when the agent is gone; there after run began
}

// run runs a job. It ends it when a line says so, when there are no more lines, when the claim is lost, or when the lease was not
// renewed for too long. The error says that the job has no result: errCutOff, errAgentGone or work.ErrClaimLost.
func (g *guard) run(ctx context.Context, lines *bufio.Reader, lost <-chan struct{}, job func(ctx context.Context, drop <-chan struct{})) error {
	// What is to end at once does so also after the job was cancelled, so that is another context.
	now, stop := context.WithCancelCause(ctx)
	soft, cancel := context.WithCancelCause(now)
	defer cancel(nil)
	agent, gone := context.WithCancelCause(context.WithoutCancel(ctx))
	g.agent = agent
	go func() { // ends with the process
		for {
			text, err := lines.ReadBytes('\n')
			var w word
			switch {
			case err != nil:
				gone(errAgentGone)
				stop(errAgentGone)
				return
			case json.Unmarshal(text, &w) != nil:
			case w.Cancel != "":
				cancel(fmt.Errorf("%w: %s", worker.ErrCancel, w.Cancel))
			case w.Renewed != 0:
				g.fence.renewed(w.Renewed)
			}
		}
	}()
	done := make(chan struct{})
	var watchers sync.WaitGroup
	watchers.Go(func() {
		select {
		case <-lost:
			stop(work.ErrClaimLost)
		case <-done:
		}
	})
	watch, unwatch := context.WithCancel(now)
	watchers.Go(func() {
		if g.fence.over(watch, fenceAfter(g.lease)) {
			stop(errCutOff)
		}
	})
	job(soft, now.Done())
	close(done)
	unwatch()
	watchers.Wait()
	for _, cause := range []error{errCutOff, errAgentGone, work.ErrClaimLost} {
		if errors.Is(context.Cause(now), cause) {
			return cause
		}
	}
	return nil
}

// runSafely runs a job; a panic is its failure.
func runSafely(ctx context.Context, run Run, job *work.Job, server work.Server, at Place, drop <-chan struct{}) (o outcome) {
	defer func() {
		if v := recover(); v != nil {
			o = outcome{Result: work.Failed, Message: fmt.Sprintf("the worker failed, which is a fault of its own: %v\n%s", v, debug.Stack())}
		}
	}()
	result, message, err := run(ctx, job, server, at, drop)
	if err != nil {
		message = join(message, err.Error())
		if result == "" {
			result = work.Failed
		}
	}
	return outcome{Result: result, Message: message}
}

func join(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "; " + b
}

func claimOf(job *work.Job) *agentv1.Claim {
	return &agentv1.Claim{Job: job.ID, Attempt: int32(job.Attempt)}
}

// keyText returns a key in PEM form.
func keyText(key any) (string, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", err
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), nil
}
