package agent

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sekisho/sekisho/internal/agent/rpc"
	agentv1 "github.com/sekisho/sekisho/internal/agent/rpc/sekisho/agent/v1"
	"github.com/sekisho/sekisho/internal/agent/work"
)

// RunOptions are those of [Folder.Run]. Worker and Console are required.
type RunOptions struct {
	Worker    []string // the command that [Work] is behind
	WorkerEnv []string // "NAME=value", more than the agent's own
	Version   string
	Once      bool      // one job, and then the end
	Console   io.Writer // what people see
	// Drain is how long a job may go on after the first word to stop; then it is given back. 0: as long as it likes.
	Drain time.Duration
	// Signals get a value for each word to stop: after the first, no job is taken, and one that runs has Drain; with the second, it
	// is given back; with the third, the agent ends at once, and its next start tells of the job.
	Signals <-chan struct{}
	Environ []string // "NAME=value": where capabilities are found
	// Alone says that this process has no children but those of the agent: what a worker leaves behind is killed.
	Alone bool

	// For tests.
	free       func(dir string) (int64, error)
	renewEvery time.Duration
	wait       time.Duration
	lease      time.Duration
}

// Agent is an agent at work.
type Agent struct {
	folder     Folder
	settings   *Settings
	key        crypto.Signer
	client     *client
	signer     *signer
	o          RunOptions
	log        *slog.Logger // in _diag
	diag       io.Writer
	now        func() time.Time
	clock      func() time.Duration // steady
	renewEvery time.Duration
}

// ErrGone means that the server knows the agent no more.
var ErrGone = errors.New("the server does not know this agent any more: it was deleted, or another one took its name. Configure it again: sekisho agent config")

// Run takes jobs until it is told to stop, or, with Once, until one is done.
func (f Folder) Run(ctx context.Context, o RunOptions) error {
	settings, key, err := f.Load()
	if err != nil {
		return err
	}
	unlock, err := f.lock()
	if err != nil {
		return err
	}
	defer unlock()
	diag, err := openDiag(f.path(diagFolder), time.Now())
	if err != nil {
		return err
	}
	defer diag.Close()
	a := &Agent{
		folder: f, settings: settings, key: key, o: o, diag: diag, log: slog.New(slog.NewTextHandler(diag, nil)), now: time.Now, clock: steady,
		renewEvery: renewEvery, signer: &signer{key: key, agent: settings.AgentID},
	}
	if o.renewEvery > 0 {
		a.renewEvery = o.renewEvery
	}
	if a.o.free == nil {
		a.o.free = freeSpace
	}
	a.o.Once = o.Once || settings.OneJob
	a.signer.userAgent = a.userAgent()
	route := a.route()
	if a.client, err = newClient(&route, a.signer); err != nil {
		return err
	}
	defer a.client.close()
	if o.Alone {
		subreap()
	}
	return a.loop(ctx)
}

func (a *Agent) userAgent() string { return "sekisho-agent/" + a.o.Version }

func (a *Agent) route() Route {
	return Route{URL: a.settings.URL, Proxy: a.settings.Proxy, CAFile: a.settings.CAFile}
}

// say tells people something.
func (a *Agent) say(format string, args ...any) {
	fmt.Fprintf(a.o.Console, format+"\n", args...)
	a.log.Info(fmt.Sprintf(format, args...))
}

// stamp is say with the time, as in "2026-11-20 16:40:00Z: Listening for Jobs".
func (a *Agent) stamp(format string, args ...any) {
	a.say("%s: %s", a.now().UTC().Format("2006-01-02 15:04:05Z"), fmt.Sprintf(format, args...))
}

// loop is the agent's life.
func (a *Agent) loop(ctx context.Context) error {
	listen, end := context.WithCancel(ctx)
	defer end()
	stop := make(chan string, 4) // ends the job that runs
	finished := make(chan struct{})
	defer close(finished)
	hard, endHard := context.WithCancel(context.WithoutCancel(ctx))
	defer endHard()
	go a.listenToSignals(end, stop, endHard, finished)

	a.say("Scanning for tool capabilities.")
	can := Capabilities(listen, a.o.Environ)
	a.say("Connecting to the server.")
	report := func(ctx context.Context) (*connect.Response[agentv1.ReportResponse], error) {
		return a.client.Report(ctx, connect.NewRequest(&agentv1.ReportRequest{Facts: localFacts(a.o.Version, can, a.refusal())}))
	}
	if _, err := a.persist(listen, report); err != nil {
		return a.end(ctx, listen, err)
	}
	if err := a.recover(listen); err != nil {
		return a.end(ctx, listen, err)
	}
	a.stamp("Listening for Jobs")
	told := ""
	for {
		why := a.refusal()
		if why != told {
			if told = why; why != "" {
				a.stamp("No jobs are taken: %s", why)
			} else {
				a.stamp("Listening for Jobs")
			}
		}
		job, err := a.acquire(listen, why)
		if err != nil {
			return a.end(ctx, listen, err)
		}
		if job == nil {
			continue
		}
		a.stamp("Running job: %s", plainName(job.DisplayName))
		result, err := a.do(hard, job, stop)
		switch {
		case errors.Is(err, work.ErrClaimLost):
			a.stamp("Job %s was taken from this agent: it was cancelled, given to another one, or not heard of for too long", plainName(job.DisplayName))
		case errors.Is(err, errReleased):
			a.stamp("Job %s was given back to the queue", plainName(job.DisplayName))
		case err != nil:
			a.stamp("Job %s ended, and the server could not be told: %s", plainName(job.DisplayName), message(err))
		default:
			a.stamp("Job %s completed with result: %s", plainName(job.DisplayName), title(result))
		}
		if a.o.Once || listen.Err() != nil {
			return a.end(ctx, listen, nil)
		}
		a.tidyTo(oldAge)
	}
}

// title is a result as people read it.
func title(r work.Result) string {
	if r == "" {
		return "Unknown"
	}
	return strings.ToUpper(string(r[:1])) + string(r[1:])
}

// listenToSignals ends listening with the first word to stop, the job with the second or after the time to drain, and all with the
// third.
func (a *Agent) listenToSignals(end context.CancelFunc, stop chan<- string, endHard context.CancelFunc, finished <-chan struct{}) {
	var drained <-chan time.Time
	for n := 0; ; {
		select {
		case <-a.o.Signals:
			if n++; n == 1 {
				end()
				a.say("Stopping: no more jobs are taken. Once more, and the one that runs is given back.")
				if a.o.Drain > 0 {
					t := time.NewTimer(a.o.Drain)
					defer t.Stop()
					drained = t.C
				}
				continue
			}
			if n == 2 {
				tryStop(stop, "the agent was stopped while it ran the job")
				continue
			}
			endHard()
		case <-drained:
			drained = nil
			tryStop(stop, fmt.Sprintf("the agent stops, and the job had %s to end", a.o.Drain))
		case <-finished:
			return
		}
	}
}

func tryStop(stop chan<- string, why string) {
	select {
	case stop <- why:
	default:
	}
}

// end says goodbye. err is why the agent stops, if it was not told to.
func (a *Agent) end(ctx, listen context.Context, err error) error {
	if reason(err) == rpc.ReasonUnknown {
		return ErrGone
	}
	if listen.Err() != nil {
		err = nil
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if _, gerr := a.client.Goodbye(last, connect.NewRequest(&agentv1.GoodbyeRequest{})); gerr != nil {
		a.log.Info("no goodbye", "err", gerr)
	}
	if err != nil {
		return fmt.Errorf("%s: %s", a.settings.URL, message(err))
	}
	return nil
}

// persist makes a call until it succeeds or is refused, and tells people while the server can't be reached.
func (a *Agent) persist(ctx context.Context, do func(ctx context.Context) (*connect.Response[agentv1.ReportResponse], error)) (*connect.Response[agentv1.ReportResponse], error) {
	said := false
	return retry(ctx, func(ctx context.Context) (*connect.Response[agentv1.ReportResponse], error) {
		out, err := do(ctx)
		if err != nil && ctx.Err() == nil && transient(err) && !said {
			said = true
			a.stamp("The server can't be reached; trying again: %s", message(err))
		}
		return out, err
	})
}

// refusalWait is how long an agent that takes no jobs waits before it looks again.
const refusalWait = 10 * time.Second

// acquire waits for a job, nil if there was none for a while. It waits for the server too.
func (a *Agent) acquire(ctx context.Context, why string) (*work.Job, error) {
	wait := a.o.wait
	if wait == 0 {
		wait = rpc.MaxWait - 5*time.Second
	}
	var b backoff
	for lost := false; ; {
		call, cancel := context.WithTimeout(ctx, wait+30*time.Second)
		out, err := a.client.Acquire(call, connect.NewRequest(&agentv1.AcquireRequest{Wait: durationpb.New(wait), Reason: why}))
		cancel()
		switch {
		case ctx.Err() != nil:
			// A job that is under way just now is not acknowledged, and so given to another agent.
			return nil, ctx.Err()
		case err != nil && !transient(err):
			return nil, err
		case err != nil:
			if !lost {
				lost = true
				a.stamp("The connection to the server is lost; trying again: %s", message(err))
			}
			if !b.wait(ctx) {
				return nil, ctx.Err()
			}
			continue
		}
		if lost {
			a.stamp("Connected to the server again. Listening for Jobs")
		}
		if text := out.Msg.GetJob(); len(text) > 0 {
			return decodeJob(text)
		}
		if why != "" {
			t := time.NewTimer(refusalWait)
			defer t.Stop()
			select {
			case <-t.C:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		return nil, nil
	}
}

// refusal says why no job is taken, "" if one is.
func (a *Agent) refusal() string {
	dir := a.folder.Work(a.settings)
	least := a.settings.MinFree
	if least == 0 {
		least = DefaultMinFree
	}
	free, err := a.o.free(dir)
	if err != nil {
		a.log.Warn("how much of the disk is free can't be told", "dir", dir, "err", err)
		return ""
	}
	if free < least && a.tidyTo(pressedAge) > 0 {
		free, err = a.o.free(dir)
	}
	if err == nil && free < least {
		return fmt.Sprintf("disk: %s free at %s, and %s are needed", bytesText(free), dir, bytesText(least))
	}
	return ""
}
