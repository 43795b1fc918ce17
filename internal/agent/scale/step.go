package scale

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/sekisho/sekisho/internal/agent"
	agentv1 "github.com/sekisho/sekisho/internal/agent/rpc/sekisho/agent/v1"
)

// step looks at what there is and does what is to be done. It returns when to look again at the latest, zero for no certain time.
func (s *scaler) step(ctx context.Context) (time.Time, error) {
	found, listed := s.list(ctx)
	if s.demand == nil || s.trouble != "" && !s.draining {
		s.tell(Plan{})
		return time.Time{}, nil
	}
	now := s.o.now()
	next := time.Time{}
	soonest := func(at time.Time) {
		if !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	s.adopt(found, now)
	s.orphans(ctx)
	for _, r := range slices.Clone(s.state.Agents) {
		if r.under {
			continue
		}
		s.place(r, now)
		f, there := found[r.Name]
		switch {
		case now.Before(r.again):
			soonest(r.again)
		case listed && !there && r.Stage == Starting && r.ID != "" && now.Before(r.Since.Add(listWithin)):
			soonest(r.Since.Add(listWithin))
		case listed && (!there || f.Ended):
			s.ended(ctx, r, f)
		case r.Stage == Ending:
			// By itself it is gone in a moment. What is left of a virtual machine, say, is not.
			if at := r.Since.Add(endWithin); now.Before(at) {
				soonest(at)
			} else {
				s.end(ctx, r, nil)
			}
		case r.Stage == Starting:
			if at := r.Since.Add(s.o.StartWithin); now.Before(at) {
				soonest(at)
			} else {
				s.end(ctx, r, &failure{why: fmt.Sprintf("agent %s did not join within %s%s", r.Name, s.o.StartWithin, said(f))})
			}
		}
	}
	p := s.plan(now)
	soonest(p.Next)
	for _, name := range p.Stop {
		if r := s.find(name); !r.under && !now.Before(r.again) {
			s.o.Log.Info("an agent is not needed", "agent", name, "stage", r.Stage)
			s.end(ctx, r, nil)
		}
	}
	starting := 0
	for _, r := range s.state.Agents {
		if r.Stage == Starting {
			starting++
		}
	}
	begin := s.state.Backoff.Allow(now, p.Start, starting)
	if begin < p.Start && now.Before(s.state.Backoff.Until) {
		soonest(s.state.Backoff.Until)
	}
	if begin > 0 && s.seen < s.forgotten {
		begin = 0
		soonest(s.refresh(ctx, now))
	}
	var begun []*record
	for range begin {
		r := &record{Name: s.newName(), Stage: Starting, Since: now}
		s.state.Agents = append(s.state.Agents, r)
		begun = append(begun, r)
	}
	if err := s.save(); err != nil { // first, so that what is started is never forgotten
		return next, err
	}
	for _, r := range begun {
		s.start(ctx, r)
	}
	s.tell(p)
	return next, nil
}

// list asks the template what there is. listed is false if it can't say.
func (s *scaler) list(ctx context.Context) (found map[string]Found, listed bool) {
	list, err := s.o.Template.List(ctx)
	if errors.Is(err, ErrUnlisted) {
		return nil, false
	}
	if err != nil {
		if s.listing != err.Error() {
			s.listing = err.Error()
			s.o.Log.Warn("the template can't say which agents there are", "err", err)
		}
		return nil, false
	}
	s.listing = ""
	found = map[string]Found{}
	for _, f := range list {
		if s.agentName.MatchString(f.Name) {
			found[f.Name] = f
		}
	}
	return found, true
}

func (s *scaler) find(name string) *record {
	for _, r := range s.state.Agents {
		if r.Name == name {
			return r
		}
	}
	return nil
}

func (s *scaler) forget(r *record) {
	s.state.Agents = slices.DeleteFunc(s.state.Agents, func(x *record) bool { return x == r })
	s.gone[r.Name] = s.o.now()
	s.forgotten++
}

// refresh asks for the demand after an agent has ended: one of before may have the job that it did, as one that waits.
func (s *scaler) refresh(ctx context.Context, now time.Time) (again time.Time) {
	if s.refreshing || now.Before(s.askAgain) {
		return s.askAgain
	}
	s.refreshing = true
	as := s.forgotten
	s.do(ctx, &record{}, func(ctx context.Context) func() {
		d, err := s.o.Server.Demand(ctx, s.o.Launch.Pool, s.o.Name+"-", "", 0)
		return func() {
			if s.refreshing = false; err != nil { // that is told by who watches
				s.askAgain = s.o.now().Add(callAgain)
				return
			}
			s.demand, s.seen = d, as
		}
	})
	return time.Time{}
}

// adopt takes on agents that the template has and nobody remembers.
func (s *scaler) adopt(found map[string]Found, now time.Time) {
	for name, f := range found {
		at, gone := s.gone[name]
		if gone && f.Ended && !now.Before(at.Add(endAgain)) { // what it had started wrote on, after all was removed
			gone = false
		}
		if s.find(name) == nil && !gone {
			s.o.Log.Info("an agent was found that this scaler started before", "agent", name, "ended", f.Ended)
			s.state.Agents = append(s.state.Agents, &record{Name: name, ID: f.ID, Stage: Starting, Since: now})
		}
	}
	for name := range s.gone { // so that it doesn't grow
		if _, there := found[name]; !there && s.inPool(name) == nil {
			delete(s.gone, name)
		}
	}
}

// orphans retires agents of this scaler that are in the pool, and of which nobody knows anything else.
func (s *scaler) orphans(ctx context.Context) {
	for _, a := range s.demand.GetAgents() {
		name := strings.ToLower(a.GetName())
		if !s.agentName.MatchString(name) || s.find(name) != nil || !s.gone[name].IsZero() || s.tried[name] || a.GetBusy() {
			continue
		}
		s.tried[name] = true // until something else is heard of it
		s.do(ctx, &record{Name: name}, func(ctx context.Context) func() {
			busy, _, err := s.o.Server.Retire(ctx, s.o.Launch.Pool, name)
			return func() {
				switch {
				case err != nil:
					s.o.Log.Warn("an agent that is not there any more can't be removed from the pool", "agent", name, "err", agent.Message(err))
				case !busy:
					s.gone[name] = s.o.now()
					s.o.Log.Info("an agent that is not there any more was removed from the pool", "agent", name)
				}
			}
		})
	}
}

func (s *scaler) inPool(name string) *agentv1.PoolAgent {
	for _, a := range s.demand.GetAgents() {
		if strings.EqualFold(a.GetName(), name) {
			return a
		}
	}
	return nil
}

// place finds out in which stage an agent is.
func (s *scaler) place(r *record, now time.Time) {
	a := s.inPool(r.Name)
	var stage Stage
	r.lost = false
	switch {
	case a == nil && !r.Joined:
		stage = Starting
	case a == nil || a.GetOver():
		stage = Ending
	case a.GetBusy():
		stage = Busy
	case a.GetRefuses() == "":
		stage = Idle
	default:
		stage, r.lost = Away, !a.GetOnline()
	}
	if a != nil && !r.Joined {
		r.Joined = true
		s.state.Backoff.Joined()
		s.o.Log.Info("an agent joined", "agent", r.Name)
	}
	if stage != r.Stage {
		r.Stage, r.Since = stage, now
	}
}

// plan asks the policy.
func (s *scaler) plan(now time.Time) Plan {
	have := make([]Have, 0, len(s.state.Agents))
	mine := 0
	for _, r := range s.state.Agents {
		h := Have{Name: r.Name, Stage: r.Stage, Since: r.Since, Lost: r.lost}
		if r.under && h.Stage != Starting { // it is on its way out
			h.Stage = Ending
		}
		if r.Stage == Idle {
			mine++
		}
		have = append(have, h)
	}
	queued, idle := int(s.demand.GetQueued()), int(s.demand.GetIdle())
	d := Demand{Queued: queued, Others: max(0, idle-mine)}
	// Whoever is idle takes a job in a moment, if it can. Jobs that wait on are not for those that there are.
	if queued == 0 || idle == 0 {
		s.waiting, s.told = time.Time{}, false
	} else if s.waiting.IsZero() {
		s.waiting = now
	}
	since := now.Sub(s.waiting)
	settled := !s.waiting.IsZero() && since >= othersWithin
	if settled {
		d.Others = 0
	}
	if !s.waiting.IsZero() && since >= unmatchedFor && mine > 0 && !s.told {
		s.told = true
		s.o.Log.Warn("jobs wait though agents are idle: they demand what these agents don't have, or their pipelines may not use the pool", "queued", queued, "idle", mine)
	}
	p := s.o.Limits.Plan(d, have, now, s.draining)
	if !s.waiting.IsZero() && !settled && (p.Next.IsZero() || s.waiting.Add(othersWithin).Before(p.Next)) {
		p.Next = s.waiting.Add(othersWithin)
	}
	return p
}

// start starts an agent.
func (s *scaler) start(ctx context.Context, r *record) {
	l := s.o.Launch
	l.Version, l.Agent = agent.LaunchVersion, r.Name
	s.do(ctx, r, func(ctx context.Context) func() {
		var err error
		if l.Code, l.Expires, err = s.o.Server.Code(ctx, l.Pool, l.Agent); err != nil {
			return func() {
				s.fail(r, errors.New("no code for an agent: "+agent.Message(err)))
				s.forget(r)
			}
		}
		id, err := s.o.Template.Start(ctx, &l)
		return func() {
			r.ID, r.launched = id, true
			if err != nil {
				s.end(ctx, r, &failure{why: err.Error(), err: err})
				return
			}
			s.o.Log.Info("an agent was started", "agent", r.Name, "id", id)
		}
	})
}

// failure is why an agent never came to be.
type failure struct {
	why string
	err error // may be nil
	// perhaps: it may have been there so shortly that nothing was seen of it. Then its code was used.
	perhaps bool
}

// said returns the last that an agent said, to be added to why it is no more.
func said(f Found) string {
	if f.Last == "" {
		return ""
	}
	return "; it said: " + f.Last
}

// fail notes that an agent never came to be.
func (s *scaler) fail(r *record, err error) {
	s.state.Backoff.Failed(s.o.now(), err.Error())
	s.failed = err
	level := slog.LevelWarn
	if errors.Is(err, ErrLater) {
		level = slog.LevelInfo
	}
	s.o.Log.Log(context.Background(), level, "an agent could not be started", "agent", r.Name, "err", err, "failures", s.state.Backoff.Failures,
		"next", s.state.Backoff.Until.UTC().Format(time.RFC3339))
}

// ended cleans up after an agent that is over, or never came to be.
func (s *scaler) ended(ctx context.Context, r *record, f Found) {
	switch {
	case s.inPool(r.Name).GetBusy(): // the server sees soon that nobody renews its job
	case r.Joined || !r.launched && r.ID == "": // the scaler ended while it started it
		s.end(ctx, r, nil)
	default:
		s.end(ctx, r, &failure{why: "agent " + r.Name + " ended before it joined" + said(f), perhaps: true})
	}
}

// end retires an agent and, if it has no job, ends it and removes what is left. failed, if not nil, says why it never came to be.
func (s *scaler) end(ctx context.Context, r *record, failed *failure) {
	name, id := r.Name, r.ID
	s.forgotten++ // from here on, demand of before may count its job twice
	s.do(ctx, r, func(ctx context.Context) func() {
		busy, unused, err := s.o.Server.Retire(ctx, s.o.Launch.Pool, name)
		if err == nil && !busy {
			err = s.o.Template.Remove(ctx, name, id)
		}
		return func() {
			now := s.o.now()
			if busy { // it got a job, or joined, at the last moment
				r.again = now.Add(callAgain)
				return
			}
			if failed != nil && (unused || !failed.perhaps) && !r.counted {
				why := failed.err
				if why == nil {
					why = errors.New(failed.why)
				}
				r.counted = true
				s.fail(r, why)
			}
			if err != nil {
				s.o.Log.Warn("an agent can't be ended; it is tried again", "agent", name, "err", agent.Message(err))
				r.again = now.Add(endAgain)
				return
			}
			s.o.Log.Info("an agent is gone", "agent", name)
			s.forget(r)
		}
	})
}

// tell writes the status, when it is another one.
func (s *scaler) tell(p Plan) {
	n := map[Stage]int{}
	for _, r := range s.state.Agents {
		n[r.Stage]++
	}
	line := fmt.Sprintf("pool=%s queued=%d wanted=%d starting=%d idle=%d busy=%d away=%d ending=%d min=%d max=%d", s.o.Launch.Pool, s.demand.GetQueued(), p.Want,
		n[Starting], n[Idle], n[Busy], n[Away], n[Ending], s.o.Limits.Min, s.o.Limits.Max)
	if b := s.state.Backoff; b.Failures > 0 {
		line += fmt.Sprintf(" failures=%d next=%s why=%q", b.Failures, b.Until.UTC().Format(time.RFC3339), b.Why)
	}
	if s.trouble != "" {
		line += fmt.Sprintf(" server=%q", s.trouble)
	}
	if s.draining {
		line += " stopping"
	}
	if line != s.status {
		s.status = line
		fmt.Fprintln(s.o.Status, line)
	}
}

// dryRun says what would be done.
func (s *scaler) dryRun(ctx context.Context) error {
	now := s.o.now()
	found, listed := s.list(ctx)
	if s.listing != "" {
		return errors.New(s.listing)
	}
	s.adopt(found, now)
	gone := 0
	for _, r := range s.state.Agents {
		s.place(r, now)
		if f, there := found[r.Name]; listed && (!there || f.Ended) {
			gone++
			r.under = r.Stage != Starting
			fmt.Fprintf(s.o.Status, "clean up after %s, which is over\n", r.Name)
		}
	}
	for _, a := range s.demand.GetAgents() {
		if s.find(strings.ToLower(a.GetName())) == nil && !a.GetBusy() {
			fmt.Fprintf(s.o.Status, "remove %s from the pool: nothing of it is there\n", a.GetName())
		}
	}
	p := s.plan(now)
	for _, name := range p.Stop {
		fmt.Fprintf(s.o.Status, "end %s, which is not needed\n", name)
	}
	if p.Start > 0 {
		fmt.Fprintf(s.o.Status, "start %d: %s\n", p.Start, s.o.Template.Describe())
	}
	s.tell(p)
	return nil
}
