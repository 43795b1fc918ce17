package scale

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sekisho/sekisho/internal/agent"
	agentv1 "github.com/sekisho/sekisho/internal/agent/rpc/sekisho/agent/v1"
)

// stage is a server and a template in memory, with a clock of their own, on which a scaler plays.
type stage struct {
	mu      sync.Mutex
	now     time.Time                     // guarded by mu
	timers  map[chan time.Time]time.Time  // guarded by mu
	wake    chan struct{}                 // guarded by mu; closed and replaced with each change
	state   int                           // guarded by mu
	queued  int                           // guarded by mu
	pool    map[string]*agentv1.PoolAgent // guarded by mu
	there   map[string]bool               // guarded by mu; what the template has; true: it is over
	busy    map[string]bool               // guarded by mu; agents that have a job, which demand may not say yet
	unused  map[string]bool               // guarded by mu; codes
	frozen  chan struct{}                 // guarded by mu; what changes is not told until it is closed; nil: it is
	down    error                         // guarded by mu; of the server
	broken  error                         // guarded by mu; of starts
	unknown error                         // guarded by mu; of lists
	starts  int                           // guarded by mu
	begins  chan struct{}                 // guarded by mu; closed and replaced with each start
	parked  chan struct{}                 // guarded by mu; closed and replaced when the scaler looks at the clock
	removed []string                      // guarded by mu
	changed chan struct{}
	said    *lines
}

func newStage() *stage {
	return &stage{
		now: began, timers: map[chan time.Time]time.Time{}, wake: make(chan struct{}), pool: map[string]*agentv1.PoolAgent{}, there: map[string]bool{},
		busy: map[string]bool{}, unused: map[string]bool{}, changed: make(chan struct{}, 1), begins: make(chan struct{}), parked: make(chan struct{}), said: &lines{},
	}
}

// set changes something, and tells the scaler of it.
func (p *stage) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	p.state++
	close(p.wake)
	p.wake = make(chan struct{})
	for timer, at := range p.timers {
		if !p.now.Before(at) {
			timer <- p.now
			delete(p.timers, timer)
		}
	}
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

func (p *stage) advance(d time.Duration) { p.set(func() { p.now = p.now.Add(d) }) }

func (p *stage) clock() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now
}

func (p *stage) at(t time.Time) <-chan time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.parked)
	p.parked = make(chan struct{})
	timer := make(chan time.Time, 1)
	if p.now.Before(t) {
		p.timers[timer] = t
	} else {
		timer <- p.now
	}
	return timer
}

func (p *stage) Demand(ctx context.Context, _, _, known string, _ time.Duration) (*agentv1.DemandResponse, error) {
	for {
		p.mu.Lock()
		for frozen := p.frozen; frozen != nil && known != ""; {
			p.mu.Unlock()
			select {
			case <-frozen:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			p.mu.Lock()
			frozen = p.frozen
		}
		d, wake, err := &agentv1.DemandResponse{Queued: int32(p.queued), State: fmt.Sprint(p.state)}, p.wake, p.down
		for _, name := range slices.Sorted(maps.Keys(p.pool)) {
			a := p.pool[name]
			d.Agents = append(d.Agents, proto.CloneOf(a)) // what was answered is not changed any more
			if a.GetRefuses() == "" {
				d.Idle++
			}
		}
		p.mu.Unlock()
		if err != nil || d.GetState() != known {
			return d, err
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (p *stage) Code(_ context.Context, _, name string) (string, time.Time, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unused[name] = true
	return "sac_" + name, p.now.Add(15 * time.Minute), nil
}

func (p *stage) Retire(_ context.Context, _, name string) (busy, unused bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.busy[name] {
		return true, false, nil
	}
	unused = p.unused[name]
	delete(p.unused, name)
	delete(p.pool, name)
	return false, unused, nil
}

func (p *stage) Start(_ context.Context, l *agent.Launch) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.starts++
	close(p.begins)
	p.begins = make(chan struct{})
	if p.broken != nil {
		return "", p.broken
	}
	p.there[l.Agent] = false
	return "id-" + l.Agent, nil
}

func (p *stage) List(context.Context) ([]Found, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var found []Found
	for name, over := range p.there {
		found = append(found, Found{Name: name, ID: "id-" + name, Ended: over, Last: "boo"})
	}
	return found, p.unknown
}

func (p *stage) Remove(_ context.Context, name, _ string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.busy[name] {
		panic("a busy agent was ended")
	}
	delete(p.there, name)
	p.removed = append(p.removed, name)
	return nil
}

func (p *stage) Describe() string { return "nothing" }

// join has all join the pool that started.
func (p *stage) join() {
	p.set(func() {
		for name := range p.there {
			if p.unused[name] {
				delete(p.unused, name)
				p.pool[name] = &agentv1.PoolAgent{Name: name, Online: true}
			}
		}
	})
}

// started waits until so many were started in all, and returns those that are there.
func (p *stage) started(n int) []string {
	for {
		p.mu.Lock()
		starts, began, names := p.starts, p.begins, slices.Collect(maps.Keys(p.there))
		p.mu.Unlock()
		if starts >= n {
			return names
		}
		<-began
	}
}

func (p *stage) play(t *testing.T, l Limits) *running {
	t.Helper()
	r := &running{said: p.said, words: make(chan struct{}, 2), result: make(chan error, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	r.kill = cancel
	o := Options{
		Server: p, Template: p, Kind: "test", Folder: t.TempDir(), Name: testName, Launch: agent.Launch{Server: "https://a", Pool: testPool}, Limits: l,
		StartWithin: 3 * time.Minute, Log: slog.New(slog.NewTextHandler(p.said, nil)), Status: p.said, Changed: p.changed, Stop: r.words, now: p.clock, at: p.at,
	}
	go func() { r.result <- Run(ctx, o); close(r.result) }()
	t.Cleanup(func() {
		cancel()
		for range r.result { //nolint:revive // until it has ended
		}
	})
	return r
}

func TestStartsFail(t *testing.T) {
	p := newStage()
	p.broken = errors.New("there is no image a")
	p.queued = 3
	r := p.play(t, Limits{Max: 5})
	r.said.until(t, "queued=3", "starting=0", "failures=1", `next=2026-11-20T12:00:05Z`, `why="there is no image a"`)
	p.advance(5 * time.Second) // one trial
	r.said.until(t, "starting=0", "failures=2", "next=2026-11-20T12:00:15Z")
	if p.set(func() { p.broken = fmt.Errorf("%w: full", ErrLater) }); p.starts != 4 {
		t.Errorf("%d starts, want 4", p.starts)
	}
	p.advance(10 * time.Second)
	r.said.until(t, "starting=0", "failures=3", "no room for another agent now: full")
	r.said.until(t, "level=INFO", "could not be started", "no room")
	p.set(func() { p.broken = nil })
	p.advance(20 * time.Second)
	r.said.until(t, "an agent was started")
	p.join()
	r.said.until(t, "starting=2", "idle=1")
	if strings.Contains(r.said.String(), "sac_") {
		t.Error("the log has a code")
	}
}

func TestStartsTooLong(t *testing.T) {
	p := newStage()
	p.queued = 1
	r := p.play(t, Limits{Max: 5})
	r.said.until(t, "starting=1")
	r.said.until(t, "an agent was started")
	p.advance(3 * time.Minute)
	r.said.until(t, "did not join within 3m0s; it said: boo", "failures=1")

	// It joins at the last moment and has a job: it is left alone, and what it is comes with the next demand.
	p.advance(5 * time.Second)
	late := p.started(2)[0]
	p.mu.Lock()
	p.busy[late] = true
	p.mu.Unlock()
	p.advance(3 * time.Minute)
	p.set(func() {
		p.queued = 0
		delete(p.unused, late)
		p.pool[late] = &agentv1.PoolAgent{Name: late, Busy: true, Online: true, Refuses: "busy"}
	})
	r.said.until(t, "starting=0", "busy=1")
	if _, there := p.there[late]; !there {
		t.Error("an agent that has a job is gone")
	}
}

// TestEndedEarly tells an agent that failed from one that was so quick that it was not seen.
func TestEndedEarly(t *testing.T) {
	p := newStage()
	p.queued = 1
	r := p.play(t, Limits{Max: 5})
	r.said.until(t, "an agent was started")
	p.set(func() {
		for name := range p.there {
			delete(p.unused, name)
			p.there[name] = true
		}
		p.queued = 0
	})
	r.said.until(t, "queued=0", "starting=0")
	if strings.Contains(r.said.String(), "failures=") {
		t.Errorf("it counts as a failure:\n%s", r.said)
	}
	p.set(func() { p.queued = 2 })
	r.said.until(t, "queued=2", "starting=2")
	p.started(3)
	p.set(func() {
		for name := range p.there {
			p.there[name] = true
		}
	})
	r.said.until(t, "ended before it joined; it said: boo", "failures=1")
}

// TestQuick has an agent do its job and end before demand says anything of it.
func TestQuick(t *testing.T) {
	p := newStage()
	p.queued = 1
	r := p.play(t, Limits{Max: 5})
	p.started(1)
	p.join()
	r.said.until(t, "queued=1", "idle=1")
	p.mu.Lock()
	p.frozen = make(chan struct{})
	p.mu.Unlock()
	p.set(func() {
		p.queued = 0
		for name := range p.there {
			p.there[name] = true
			delete(p.pool, name)
		}
	})
	r.said.until(t, "an agent is gone")
	r.said.until(t, "queued=0", "idle=0", "ending=0")
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.starts != 1 {
		t.Errorf("%d agents were started for one job", p.starts)
	}
}

// TestBusyStays has demand that is late: it calls an agent idle that has a job.
func TestBusyStays(t *testing.T) {
	p := newStage()
	p.queued = 2
	r := p.play(t, Limits{Max: 2})
	p.started(2)
	p.join()
	r.said.until(t, "idle=2")
	p.set(func() {
		for name := range p.pool {
			p.busy[name] = true
		}
		p.queued = 0 // and so they are not needed
	})
	r.said.until(t, "an agent is not needed")
	r.words <- struct{}{}
	r.said.until(t, "stopping")
	p.advance(time.Hour)
	p.set(func() {
		for _, a := range p.pool {
			*a = agentv1.PoolAgent{Name: a.GetName(), Busy: true, Refuses: "busy"}
		}
	})
	r.said.until(t, "busy=2", "stopping")
	p.set(func() {
		clear(p.busy)
		clear(p.pool)
		for name := range p.there {
			p.there[name] = true
		}
	})
	for ended := false; !ended; { // what is tried again comes with time
		p.mu.Lock()
		parked := p.parked
		p.mu.Unlock()
		p.advance(time.Minute)
		select {
		case err := <-r.result:
			if ended = true; err != nil || len(p.removed) != 2 {
				t.Errorf("%v, %v were ended", err, p.removed)
			}
		case <-parked:
		}
	}
}

// TestBlind does nothing while the server or the template can't be asked.
func TestBlind(t *testing.T) {
	p := newStage()
	p.down = errors.New("no route")
	p.queued = 2
	r := p.play(t, Limits{Max: 2})
	r.said.until(t, `server="no route"`)
	if p.starts != 0 {
		t.Error("agents are started though nobody asks for them")
	}
	p.set(func() { p.down = nil })
	p.advance(time.Second)
	r.said.until(t, "queued=2", "starting=2")
	p.set(func() { p.unknown = errors.New("the engine is down") })
	r.said.until(t, "can't say which agents there are", "the engine is down")
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.removed) > 0 {
		t.Errorf("%v are ended", p.removed)
	}
}

func TestLimits(t *testing.T) {
	p := newStage()
	for want, l := range map[string]Limits{
		"at least 3": {Min: 3, Max: 2}, "1000 agents": {Max: 1001}, "not negative": {Min: -1},
	} {
		if err := p.play(t, l).wait(t); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", l, err)
		}
	}
	for _, name := range []string{"", "-a", "A", "a b", "a/b", strings.Repeat("a", 51)} {
		if CheckName(name) == nil {
			t.Errorf("%q is taken for a name", name)
		}
	}
}

// TestLeftovers has something of an agent that ended write on, after all was removed.
func TestLeftovers(t *testing.T) {
	p := newStage()
	p.queued = 1
	r := p.play(t, Limits{Max: 5})
	name := p.started(1)[0]
	p.join()
	r.said.until(t, "idle=1")
	over := func() {
		p.queued = 0
		delete(p.pool, name)
		p.there[name] = true
	}
	p.set(over)
	r.said.until(t, "an agent is gone")
	r.said.until(t, "queued=0", "idle=0", "ending=0")
	p.set(over)
	p.advance(endAgain)
	r.said.until(t, "an agent was found", "ended=true")
	r.words <- struct{}{}
	if err := r.wait(t); err != nil || len(p.removed) != 2 || len(p.there) > 0 {
		t.Errorf("%v; %v were removed, and %v is there", err, p.removed, p.there)
	}
	if strings.Contains(r.said.String(), "failures=") {
		t.Errorf("it counts as a failure:\n%s", r.said)
	}
}
