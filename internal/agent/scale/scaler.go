package scale

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/sekisho/sekisho/internal/agent"
	agentv1 "github.com/sekisho/sekisho/internal/agent/rpc/sekisho/agent/v1"
)

// Server is what the scaler asks of the server. [agent.Owner] does it.
type Server interface {
	Demand(ctx context.Context, pool, prefix, known string, wait time.Duration) (*agentv1.DemandResponse, error)
	Code(ctx context.Context, pool, name string) (code string, expires time.Time, err error)
	// Retire removes an agent that has no job, and what was made for one of its name.
	Retire(ctx context.Context, pool, name string) (busy, unused bool, err error)
}

// Options are those of [Run].
type Options struct {
	Server   Server
	Template Template
	Kind     string // of the template, as it is remembered
	Folder   string // what the scaler remembers is there
	Name     string // its agents' names begin with it
	Launch   agent.Launch
	Limits   Limits
	// StartWithin is how long an agent may take to join.
	StartWithin time.Duration
	Once        bool // look once, do what is to be done, and return; agents go on
	DryRun      bool // say what would be done, and do nothing
	Log         *slog.Logger
	Status      io.Writer // gets a line whenever something changes
	// Changed is sent to when the template knows of something new.
	Changed <-chan struct{}
	// Stop gets a value for each word to stop: after the first nothing is started, and all go that have no job; with the second the scaler
	// returns at once, and those that have one go on by themselves.
	Stop <-chan struct{}

	now func() time.Time
	at  func(time.Time) <-chan time.Time // is sent to when it is so late
}

const (
	// MaxAgents is how many a scaler can have.
	MaxAgents = 1000
	// MaxStartWithin is less than what a code is good for.
	MaxStartWithin = 14 * time.Minute

	endWithin     = 5 * time.Second  // that an agent which has had its job has to be gone by itself
	listWithin    = time.Minute      // that a plug-in has to list what it started
	endAgain      = 20 * time.Second // after it failed
	lookEvery     = 30 * time.Second // at the template, which may tell nothing by itself
	demandWait    = 45 * time.Second
	othersWithin  = 5 * time.Second // that an idle agent takes a job which it can take
	unmatchedFor  = time.Minute
	callAgain     = time.Second
	maxCallAgain  = time.Minute
	atOnce        = 8 // things that are done at the same time
	maxName       = 50
	suffixLetters = 8
)

var scalerName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]*$`)

// CheckName says whether a name can be that of a scaler: it is the beginning of names of agents and containers.
func CheckName(name string) error {
	if len(name) > maxName || !scalerName.MatchString(name) {
		return fmt.Errorf("%q can't be the name of a scaler: it has 1 to %d lower-case letters, digits, dots and hyphens, and begins with a letter or digit", name, maxName)
	}
	return nil
}

func (o *Options) check() error {
	l := o.Limits
	switch {
	case l.Min < 0 || l.Max < 0 || l.Warm < 0 || l.IdleAfter < 0:
		return errors.New("limits are not negative")
	case l.Min > l.Max:
		return fmt.Errorf("there can't be at least %d agents and at most %d", l.Min, l.Max)
	case l.Max > MaxAgents:
		return fmt.Errorf("a scaler can have %d agents, not %d; more scalers can share a pool", MaxAgents, l.Max)
	case o.StartWithin <= 0 || o.StartWithin > MaxStartWithin:
		return fmt.Errorf("an agent must have joined within %s, which is what its code is good for, not %s", MaxStartWithin, o.StartWithin)
	}
	return CheckName(o.Name)
}

// Run starts and ends agents until it is told to stop.
func Run(ctx context.Context, o Options) error {
	if o.now == nil {
		o.now, o.at = time.Now, func(t time.Time) <-chan time.Time { return time.After(time.Until(t)) }
	}
	if o.Limits.LostAfter == 0 {
		o.Limits.LostAfter = 2 * time.Minute
	}
	if err := o.check(); err != nil {
		return err
	}
	s := &scaler{
		o: o, events: make(chan func(), 16), slots: make(chan struct{}, atOnce), gone: map[string]time.Time{}, tried: map[string]bool{},
		agentName: regexp.MustCompile(`^` + regexp.QuoteMeta(o.Name) + `-[a-z0-9]{8}$`),
	}
	if !o.DryRun {
		if err := os.MkdirAll(o.Folder, 0o700); err != nil {
			return fmt.Errorf("make the scaler's folder: %w", err)
		}
		lock, err := hold(filepath.Join(o.Folder, lockFile))
		if errors.Is(err, errHeld) {
			return fmt.Errorf("a scaler runs in %s already", o.Folder)
		}
		if err != nil {
			return fmt.Errorf("lock the scaler's folder: %w", err)
		}
		defer lock.Close()
	}
	var err error
	s.state, err = readState(o.Folder, state{Version: stateVersion, Server: o.Launch.Server, Pool: o.Launch.Pool, Name: o.Name, Template: o.Kind})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer s.work.Wait()
	defer cancel()
	return s.run(ctx)
}

// scaler is one at work. All that changes belongs to the goroutine of run; what takes long is done by others, which send what is to be
// done at the end as an event.
type scaler struct {
	o         Options
	state     *state
	agentName *regexp.Regexp

	demand   *agentv1.DemandResponse // nil: not known
	trouble  string                  // why it isn't known any more
	listing  string                  // why the template doesn't say what there is
	draining bool
	gone     map[string]time.Time // when agents were retired that may still be in a demand of before
	tried    map[string]bool      // agents that nobody knows, and that were tried to retire since the last demand
	failed   error                // the last start that failed, of this process
	saved    string
	open     int // things that are being done

	forgotten  int // agents that ended
	seen       int // how many of them the demand knows of
	refreshing bool
	askAgain   time.Time
	waiting    time.Time // since when jobs wait though agents are idle
	told       bool      // that they do
	status     string

	work   sync.WaitGroup
	events chan func()
	slots  chan struct{}
}

func (s *scaler) run(ctx context.Context) error {
	first, err := s.o.Server.Demand(ctx, s.o.Launch.Pool, s.o.Name+"-", "", 0)
	if err != nil {
		// A service is started before its server, at times. Who is refused is told at once.
		if agent.Refused(err) || s.o.Once || s.o.DryRun {
			return &CallError{fmt.Sprintf("%s: %s", s.o.Launch.Server, agent.Message(err)), agent.Refused(err)}
		}
		s.trouble = agent.Message(err)
	}
	s.demand = first
	if s.o.DryRun {
		return s.dryRun(ctx)
	}
	s.o.Log.Info("scaling", "pool", s.o.Launch.Pool, "server", s.o.Launch.Server, "name", s.o.Name, "min", s.o.Limits.Min, "max", s.o.Limits.Max,
		"template", s.o.Template.Describe(), "agents", len(s.state.Agents))
	if !s.o.Once {
		s.work.Go(func() { s.watch(ctx, first.GetState()) })
	}
	for {
		next, err := s.step(ctx)
		if err != nil {
			return err
		}
		if s.open == 0 && s.o.Once {
			return s.failed
		}
		if s.open == 0 && s.draining && len(s.state.Agents) == 0 {
			return nil
		}
		if again := s.o.now().Add(lookEvery); next.IsZero() || again.Before(next) {
			next = again
		}
		select {
		case do := <-s.events:
			do()
			s.more()
		case <-s.o.Changed:
		case <-s.o.at(next):
		case <-s.o.Stop:
			if s.draining {
				s.o.Log.Warn("stopped; agents that have a job go on by themselves", "agents", len(s.state.Agents))
				return nil
			}
			s.draining = true
			s.o.Log.Info("stopping: no agent is started, and those without a job are ended; once more, and the others are left to themselves")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// CallError is a call that failed.
type CallError struct {
	Message string
	Refused bool // for good
}

func (e *CallError) Error() string { return e.Message }

// more does what else has come.
func (s *scaler) more() {
	for {
		select {
		case do := <-s.events:
			do()
		default:
			return
		}
	}
}

// send has something done by the goroutine of run.
func (s *scaler) send(ctx context.Context, do func()) {
	select {
	case s.events <- do:
	case <-ctx.Done():
	}
}

// watch waits at the server for demand to change.
func (s *scaler) watch(ctx context.Context, known string) {
	pause := callAgain
	for ctx.Err() == nil {
		d, err := s.o.Server.Demand(ctx, s.o.Launch.Pool, s.o.Name+"-", known, demandWait)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			s.send(ctx, func() {
				if why := agent.Message(err); s.trouble != why {
					s.trouble = why
					s.o.Log.Warn("the server can't say what the pool needs; nothing is started or ended meanwhile", "err", why)
				}
			})
			select {
			case <-s.o.at(s.o.now().Add(pause)):
			case <-ctx.Done():
			}
			pause = min(pause*2, maxCallAgain)
			continue
		}
		pause = callAgain
		if d.GetState() == known {
			continue
		}
		known = d.GetState()
		s.send(ctx, func() {
			if s.trouble != "" {
				s.o.Log.Info("the server answers again")
			}
			s.demand, s.trouble = d, ""
			clear(s.tried)
		})
	}
}

// do has something done to an agent beside the loop; then, in the loop, comes what it returns.
func (s *scaler) do(ctx context.Context, r *record, what func(ctx context.Context) (then func())) {
	r.under = true
	s.open++
	s.work.Go(func() {
		s.slots <- struct{}{}
		then := what(ctx)
		<-s.slots
		s.send(ctx, func() {
			r.under = false
			s.open--
			then()
		})
	})
}

// newName returns a name that no agent had.
func (s *scaler) newName() string {
	return s.o.Name + "-" + strings.ToLower(rand.Text()[:suffixLetters])
}
