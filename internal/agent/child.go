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
}

// Place says where a job runs.
type Place struct {
	Work    string // folder, absolute
	Home    string // the agent's own folder
	ID      string // of the agent
	Name    string // of the agent
	Version string // of the agent
	CAFile  string // PEM, authorities for the server beside the system's; empty: none
}

// stopWord is a line that tells a worker to cancel its job.
type stopWord struct {
	Cancel string // why
}

// Run runs a job to its end. ctx ends when the job is to be cancelled ([worker.ErrCancel]), or for a cause that lets nothing go on. The message says why it has its result, where
// that is not plain.
type Run func(ctx context.Context, job *work.Job, server work.Server, at Place) (result work.Result, message string, err error)

// flushTime is how long a worker tries to tell the last of its job.
const flushTime = 10 * time.Minute

// errAgentGone ends a job whose agent has died.
var errAgentGone = errors.New("the agent is gone")

// Work is the worker's process: it reads its order from in, runs the job, and says in the spool how it ended. The end of in
// means that the agent is gone, and cancels the job.
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

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() { // ends with the process
		for {
			text, err := lines.ReadBytes('\n')
			var w stopWord
			switch {
			case err != nil:
				cancel(errAgentGone) // and with it the lease
				return
			case json.Unmarshal(text, &w) == nil && w.Cancel != "":
				cancel(fmt.Errorf("%w: %s", worker.ErrCancel, w.Cancel))
			}
		}
	}()
	go func() {
		select {
		case <-r.lost:
			cancel(work.ErrClaimLost)
		case <-ctx.Done():
		}
	}()
	end := runSafely(ctx, run, o.Job, r, o.Place)
	if cause := context.Cause(ctx); errors.Is(cause, work.ErrClaimLost) || errors.Is(cause, errAgentGone) {
		return cause // whoever finds the spool says how the job ended
	}
	last, done := context.WithTimeout(context.WithoutCancel(ctx), flushTime)
	defer done()
	err = r.flush(last)
	if errors.Is(err, work.ErrClaimLost) {
		return err
	}
	if err != nil { // the job has its result all the same
		end.Message = join(end.Message, "not all of its log or records could be told: "+err.Error())
	}
	return s.write(resultFile, end)
}

// runSafely runs a job; a panic is its failure.
func runSafely(ctx context.Context, run Run, job *work.Job, server work.Server, at Place) (o outcome) {
	defer func() {
		if v := recover(); v != nil {
			o = outcome{work.Failed, fmt.Sprintf("the worker failed, which is a fault of its own: %v\n%s", v, debug.Stack())}
		}
	}()
	result, message, err := run(ctx, job, server, at)
	if err != nil {
		message = join(message, err.Error())
		if result == "" {
			result = work.Failed
		}
	}
	return outcome{result, message}
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
