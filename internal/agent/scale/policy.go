package scale

import (
	"cmp"
	"slices"
	"time"
)

// Stage is where an agent is in its life.
type Stage string

// The stages. Only agents that start, are idle or busy count as such that jobs can have; all count as being there.
const (
	Starting Stage = "starting" // has not joined the pool yet
	Idle     Stage = "idle"     // waits for a job
	Busy     Stage = "busy"     // has a job
	Away     Stage = "away"     // is in the pool and takes no jobs: offline, disabled, its disk is full
	Ending   Stage = "ending"   // has had its job, or is gone from the pool, and is still there
)

// Have is an agent that there is.
type Have struct {
	Name  string
	Stage Stage
	Since time.Time // in the stage
	Lost  bool      // of one that is away: nothing is heard of it
}

// Demand is what a pool needs.
type Demand struct {
	Queued int // jobs that wait for an agent
	Others int // agents of others that are idle, and are likely to take them
}

// Limits say how many agents there are.
type Limits struct {
	Min  int `json:"min"`  // at least
	Max  int `json:"max"`  // at most
	Warm int `json:"warm"` // idle ones beyond what is needed, so that a job needn't wait for a start
	// IdleAfter is how long an agent that isn't needed stays idle before it is ended: the next job is often not far.
	IdleAfter time.Duration `json:"idleAfter"`
	// LostAfter is how long an agent may not be heard of before it is ended.
	LostAfter time.Duration `json:"lostAfter"`
}

// Plan is what is to be done.
type Plan struct {
	Want  int       // how many there should be
	Start int       // how many to start
	Stop  []string  // which to retire and end; none of them is busy
	Next  time.Time // when to look again though nothing happens; zero: never
}

// Plan decides. Draining, nothing starts, and all go that have no job.
func (l Limits) Plan(d Demand, have []Have, now time.Time, draining bool) Plan {
	var useful, busy int
	for _, h := range have {
		switch h.Stage {
		case Busy:
			busy++
			useful++
		case Starting, Idle:
			useful++
		}
	}
	p := Plan{Want: min(max(l.Min, max(0, d.Queued-d.Others)+busy+l.Warm), l.Max)}
	if draining {
		p.Want = 0
	}
	p.Start = max(0, min(p.Want-useful, l.Max-len(have)))
	surplus := useful - p.Want
	later := func(at time.Time) {
		if p.Next.IsZero() || at.Before(p.Next) {
			p.Next = at
		}
	}
	sorted := slices.SortedFunc(slices.Values(have), func(a, b Have) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Name, b.Name)) // who is idle longest goes first
	})
	for _, h := range sorted {
		wait := l.IdleAfter
		switch {
		case draining && h.Stage != Busy && h.Stage != Ending:
			wait = 0
		case h.Stage == Idle && surplus > 0:
			surplus--
		case h.Stage == Away && h.Lost:
			wait = l.LostAfter
		default:
			continue
		}
		if at := h.Since.Add(wait); now.Before(at) {
			later(at)
			continue
		}
		p.Stop = append(p.Stop, h.Name)
	}
	return p
}

// Backoff keeps starts apart that fail.
type Backoff struct {
	Failures int       `json:"failures,omitempty"` // since one succeeded
	Until    time.Time `json:"until,omitzero"`
	Why      string    `json:"why,omitempty"` // the last one failed
}

const (
	firstBackoff = 5 * time.Second
	maxBackoff   = 5 * time.Minute
)

// Failed notes that a start failed. Those that were made together with one that failed count with it.
func (b *Backoff) Failed(now time.Time, why string) {
	b.Why = why
	if now.Before(b.Until) {
		return
	}
	b.Failures++
	wait := maxBackoff
	if b.Failures < 10 {
		wait = min(firstBackoff<<(b.Failures-1), maxBackoff)
	}
	b.Until = now.Add(wait)
}

// Joined notes that an agent came to be.
func (b *Backoff) Joined() { *b = Backoff{} }

// Allow returns how many of the starts that are wanted may be made: after a failure none for a while, then one as a trial.
func (b *Backoff) Allow(now time.Time, want, starting int) int {
	switch {
	case b.Failures == 0:
		return want
	case now.Before(b.Until) || starting > 0:
		return 0
	}
	return min(want, 1)
}
