// Package job is the durable queue of background work, kept in the metadata database next to the data it is about.
//
// A job is enqueued in the transaction that causes it: both happen or neither does. From then on it runs at least
// once, on some node, until its handler succeeds, it has failed MaxAttempts times (dead), or somebody cancels it. kill
// -9 of a node loses nothing: its jobs are leased, and run elsewhere when the lease is over.
//
// Invariants:
//   - Only one attempt of a job counts. Each claim raises Attempt, and whoever completes, fails or renews names the
//     attempt: one that has lost its lease, because its node stood still or lost the database, changes nothing any
//     more. Its context is cancelled as soon as it can know. A handler whose effects are all in the metadata database
//     makes them exactly-once by calling [Job.Complete] in the same transaction; all others must be repeatable.
//   - At most one job of a kind and unique key is live. Enqueueing another while it is queued is the same as having
//     enqueued it once, at the earlier of both times; while it runs, it has a successor run after it, because it
//     may have already read what the enqueuing transaction changed.
//   - Nothing here depends on a clean stop, on the order of node starts, or on one node being up.
//
// The clocks of nodes over one database must agree to within a third of the lease, or jobs are interrupted (not
// lost). It is not a message broker: no fan-out, no priorities, no ordering between jobs.
package job

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/sekisho/sekisho/internal/meta"
)

var (
	// ErrNotFound is returned for the id of no job.
	ErrNotFound = errors.New("no such job")
	// ErrState is returned where a job is not in a state in which it can be cancelled or retried.
	ErrState = errors.New("job is not in the right state")
	// ErrLeaseLost is the cause of the end of a handler's context, and what Complete returns, when the attempt no longer counts.
	ErrLeaseLost = errors.New("job: lease lost")
	// ErrCancelled is the cause of the end of a handler's context when the job was cancelled.
	ErrCancelled = errors.New("job: cancelled")
	// ErrStopping is the cause of the end of a handler's context when the queue could not wait for it any longer. The job
	// runs again later; this attempt doesn't count as a failure.
	ErrStopping = errors.New("job: queue is stopping")
)

// Options are the settings of a Queue; the zero value is ready to use.
type Options struct {
	// Logger gets one event for each attempt. Default: discard.
	Logger *slog.Logger
	// Now is the clock. Default time.Now.
	Now func() time.Time
	// NodeID names this process in what operators see. It is made unique. Default "node".
	NodeID string
	// PollInterval is how soon work of other nodes and processes is noticed: jobs they enqueued or retried, cancellations, and
	// leases they let go. What this process enqueues starts at once. Default 1 s.
	PollInterval time.Duration
	// Lease is how long a job of a dead node waits for another one. Default 30 s.
	Lease time.Duration
	// KeepDone is how long jobs that were done or cancelled stay to be seen. Default 24 h.
	KeepDone time.Duration
	// KeepDead is how long dead jobs stay to be retried by hand. Default 30 days.
	KeepDead time.Duration
}

// KindOptions are the settings of one kind of job; the zero value is ready to use.
type KindOptions struct {
	// Concurrency bounds how many run at once on this node. Default 1.
	Concurrency int
	// Timeout bounds one attempt. Default: none.
	Timeout time.Duration
	// MaxAttempts is after how many failures a job is dead, unless its Spec says otherwise. Default 10.
	MaxAttempts int
	// Backoff returns how long to wait after so many failures, from 1. The default doubles from 5 s to an hour, less up to
	// half of it at random.
	Backoff func(failures int) time.Duration
	// Every has a job of this kind run again and again, so far apart from start to start: with the unique key ScheduleKey
	// and no payload. Default: no schedule.
	Every time.Duration
}

// Handler does the work of one attempt. It must return soon after its context has ended. What it returns an error for
// is tried again later.
type Handler func(ctx context.Context, j *Job) error

type kind struct {
	name   string
	o      KindOptions
	handle Handler
}

// Queue runs the jobs of one node. It may also be used without being started, to enqueue and to administer.
type Queue struct {
	db    *meta.DB
	o     Options
	kinds map[string]*kind // fixed by Start

	wake     chan struct{} // holds one: look for work now
	stopping chan struct{} // closed by Stop
	stopOnce sync.Once
	loops    sync.WaitGroup // look for work, keep house
	handlers sync.WaitGroup
	idle     context.CancelFunc // ends the heartbeat
	beat     sync.WaitGroup     // the heartbeat

	mu      sync.Mutex
	started bool
	running map[claim]*attempt
}

// claim names one attempt.
type claim struct{ id, attempt int64 }

// New returns a queue over db. Handlers are added with Handle, then it is started with Start.
func New(db *meta.DB, o Options) *Queue {
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	if o.Now == nil {
		o.Now = time.Now
	}
	o.NodeID = fmt.Sprintf("%s-%08x", cmp.Or(o.NodeID, "node"), rand.Uint32())
	o.PollInterval = cmp.Or(o.PollInterval, time.Second)
	o.Lease = cmp.Or(o.Lease, 30*time.Second)
	o.KeepDone = cmp.Or(o.KeepDone, 24*time.Hour)
	o.KeepDead = cmp.Or(o.KeepDead, 30*24*time.Hour)
	return &Queue{
		db:       db,
		o:        o,
		kinds:    make(map[string]*kind),
		wake:     make(chan struct{}, 1),
		stopping: make(chan struct{}),
		running:  make(map[claim]*attempt),
	}
}

// Handle has this node run jobs of a kind. It is called before Start, once for each kind.
func (q *Queue) Handle(name string, o KindOptions, h Handler) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.started || q.kinds[name] != nil {
		panic("job: Handle of " + name + " after Start or for the second time")
	}
	o.Concurrency = cmp.Or(o.Concurrency, 1)
	o.MaxAttempts = cmp.Or(o.MaxAttempts, defaultMaxAttempts)
	if o.Backoff == nil {
		o.Backoff = backoff
	}
	q.kinds[name] = &kind{name: name, o: o, handle: h}
}

// Start begins to run jobs. ctx bounds the start only. A queue that was started must be stopped, and then is not started again.
func (q *Queue) Start(ctx context.Context) error {
	q.mu.Lock()
	if q.started {
		q.mu.Unlock()
		return errors.New("job: queue was started before")
	}
	q.started = true
	q.mu.Unlock()

	if err := q.ensureSchedules(ctx, true); err != nil {
		return err
	}
	beating, idle := context.WithCancel(context.Background())
	q.idle = idle
	q.beat.Go(func() { q.heartbeat(beating) })
	q.loops.Go(q.dispatchLoop)
	q.loops.Go(q.houseLoop)
	return nil
}

// Stop claims no more jobs and returns when the handlers have. When ctx ends first, it ends their contexts, still waits
// for them, and returns an error.
func (q *Queue) Stop(ctx context.Context) (err error) {
	q.stopOnce.Do(func() { close(q.stopping) })
	q.loops.Wait()
	returned := make(chan struct{})
	go func() {
		q.handlers.Wait()
		close(returned)
	}()
	select {
	case <-returned:
	case <-ctx.Done():
		interrupted := 0
		for _, a := range q.attempts() {
			a.cancel(ErrStopping)
			interrupted++
		}
		<-returned
		if interrupted > 0 {
			err = fmt.Errorf("stop job queue: %d handlers were interrupted: %w", interrupted, ctx.Err())
		}
	}
	if q.idle != nil {
		q.idle()
	}
	q.beat.Wait()
	return err
}

// attempts returns what runs on this node now.
func (q *Queue) attempts() []*attempt {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Collect(maps.Values(q.running))
}

// poke has the queue look for work now.
func (q *Queue) poke() {
	select {
	case q.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// operation bounds one use of the database in the background.
func operation() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), 15*time.Second)
}
