package soak

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sekisho/sekisho/internal/api"
	"github.com/sekisho/sekisho/internal/meta/metatest"
)

// size says how much is done and killed.
type size struct {
	runs, jobs, agents       int
	serverKills, agentsKills int
	away                     int // how many jobs end, at most, before an agent comes back that does not at once
}

// sizes are the small one, and that of SEKISHO_SOAK.
var (
	small     = size{runs: 4, jobs: 100, agents: 8, serverKills: 3, agentsKills: 6, away: 10}
	smallPG   = size{runs: 2, jobs: 40, agents: 4, serverKills: 2, agentsKills: 3, away: 5}
	full      = size{runs: 10, jobs: 1000, agents: 50, serverKills: 10, agentsKills: 60, away: 250}
	fullPG    = size{runs: 4, jobs: 300, agents: 20, serverKills: 5, agentsKills: 20, away: 75}
	masterKey = strings.Repeat("5a", 32)
)

// TestSoak is one run of the small size; SEKISHO_SOAK=1h makes it as many of the full size as begin within an hour.
// SEKISHO_SOAK_SEED repeats what one drew; when its kills come depends on the machine all the same.
func TestSoak(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes take longer than a short run has")
	}
	lite, pg, duration := small, smallPG, time.Duration(0)
	if raceDetector {
		lite.jobs, pg.jobs = lite.jobs/2, pg.jobs/2
	}
	if s := os.Getenv("SEKISHO_SOAK"); s != "" {
		var err error
		if duration, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
		lite, pg = full, fullPG
	}
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("SEKISHO_SOAK_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	for until := time.Now().Add(duration); ; seed++ {
		t.Run("sqlite", func(t *testing.T) { soak(t, seed, lite, "") })
		t.Run("postgresql", func(t *testing.T) { soak(t, seed, pg, metatest.PostgreSQL(t)) })
		if t.Failed() || time.Now().After(until) {
			return
		}
	}
}

// kill is one that is drawn before: it comes after so many jobs have ended, and some events more.
type kill struct {
	after, events int
	server        bool
	all           bool // of an agent: with all that it started
	comeBack      int  // of an agent: how many jobs end before it starts again; 0: at once
}

func drawKills(rng *rand.Rand, s size) []kill {
	var list []kill
	point := func() int { return 1 + rng.IntN(s.jobs*8/10) }
	for range s.serverKills {
		list = append(list, kill{after: point(), events: rng.IntN(8), server: true})
	}
	for i := range s.agentsKills {
		k := kill{after: point(), events: rng.IntN(8), all: i%2 == 0}
		if i%3 == 0 {
			k.comeBack = rng.IntN(s.away)
		}
		list = append(list, k)
	}
	slices.SortFunc(list, func(a, b kill) int { return a.after - b.after })
	return list
}

// world is all that takes part.
type world struct {
	t      *testing.T
	rng    *rand.Rand
	size   size
	server *server
	agents []*agent
	told   *told
	dead   map[*agent]int // until so many jobs have ended

	serverKills, crashes, machines int
}

func soak(t *testing.T, seed uint64, s size, dsn string) {
	t.Logf("seed %d: %d jobs in %d runs, %d agents, %d kills of the server and %d of agents; set SEKISHO_SOAK_SEED to draw the same",
		seed, s.jobs, s.runs, s.agents, s.serverKills, s.agentsKills)
	rng := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	shared := filepath.Join(dir, "shared")
	if err := os.Mkdir(shared, 0o700); err != nil {
		t.Fatal(err)
	}
	var args []string
	if dsn != "" {
		args = []string{"--set", "database.url=" + dsn, "--set", "master_key=" + masterKey}
	}
	w := &world{t: t, rng: rng, size: s, server: newServer(t, dir, args...), told: newTold(), dead: map[*agent]int{}}
	var plans []*plan
	for i := range s.runs {
		jobs := s.jobs / s.runs
		if i == 0 {
			jobs += s.jobs % s.runs
		}
		plans = append(plans, newPlan(rng, "pipeline"+strconv.Itoa(i+1), shared, jobs))
	}
	publish(w.server, plans)
	w.agents = newAgents(w.server, dir, s.agents)
	kills := drawKills(rng, s)

	began := time.Now()
	ids := make([]int64, len(plans))
	for i, p := range plans {
		ids[i] = begin(w.server, p) // they wait, since no agent is there
	}
	for _, a := range w.agents {
		a.start()
	}
	w.carryOut(ids, kills)
	took := time.Since(began)
	for _, a := range w.agents {
		if a.cmd == nil {
			a.start() // one that was dead to the end
		}
	}

	tally := newTally()
	for i, p := range plans {
		c := &checker{server: w.server, plan: p, id: ids[i], shared: shared, told: w.told, tally: tally}
		c.check()
	}
	if text, err := os.ReadFile(filepath.Join(shared, "doubled")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("jobs ran twice at the same time: %s%v", text, err)
	}
	for _, a := range w.agents {
		if n := tally.lostBy[a.name]; n > a.kills {
			t.Errorf("%s was lost %d times, and killed %d times", a.name, n, a.kills)
		}
	}
	if n := tally.attempts["lost"]; w.told.lost != n {
		t.Errorf("%d attempts were lost, and events tell of %d", n, w.told.lost)
	}
	for _, a := range w.agents {
		if err := a.stop(); err != nil {
			t.Errorf("%s, told to stop: %v", a.name, err)
		}
	}
	t.Logf("%v for %d jobs (%.1f/s), by result %v; killed: the server %d times, agents %d times alone and %d with all they had started", took.Round(100*time.Millisecond),
		s.jobs, float64(s.jobs)/took.Seconds(), tally.jobs, w.serverKills, w.crashes, w.machines)
	for _, cause := range names(tally.released) {
		t.Logf("%d attempts were given back: %s", tally.released[cause], cause)
	}
	t.Logf("attempts %v; %d jobs lost an agent and were done by another; %d events; %d logs with %d bytes", tally.attempts, tally.retried, w.told.events, tally.logs, tally.logBytes)
}

// carryOut follows the runs to their ends, and kills what is drawn.
func (w *world) carryOut(ids []int64, kills []kill) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Hour)
	defer cancel()
	events := make(chan api.RunEvent, 100)
	var followers sync.WaitGroup
	for _, id := range ids {
		f := &follower{server: w.server, id: id, to: events}
		followers.Go(func() {
			if err := f.follow(ctx); err != nil {
				w.t.Error(err)
				cancel()
			}
		})
	}
	go func() {
		followers.Wait()
		close(events)
	}()
	done, since := 0, 0
	for e := range events {
		since++
		if w.told.take(e) {
			done++
			since = 0
			w.comeBack(done)
		}
		for len(kills) > 0 && (done > kills[0].after || done == kills[0].after && since >= kills[0].events) && (kills[0].server || w.told.at != "") {
			w.kill(kills[0], done)
			kills = kills[1:]
		}
	}
	if len(kills) > 0 {
		w.t.Errorf("%d kills never came", len(kills))
	}
}

func (w *world) kill(k kill, done int) {
	if k.server {
		w.serverKills++
		w.server.kill()
		w.server.start()
		return
	}
	// Mostly one in the midst of a job. Some must be left to do them.
	var at *agent
	var alive []*agent
	for _, a := range w.agents {
		if a.cmd == nil {
			continue
		}
		alive = append(alive, a)
		if a.name == w.told.at {
			at = a
		}
	}
	if len(alive) <= w.size.agents/2 {
		k.comeBack = 0
	}
	a := at
	if a == nil || w.rng.IntN(5) == 0 {
		a = alive[w.rng.IntN(len(alive))]
	}
	w.told.at = ""
	a.kills++
	if k.all {
		w.machines++
	} else {
		w.crashes++
	}
	a.kill(k.all)
	if k.comeBack > 0 {
		w.dead[a] = done + k.comeBack
		return
	}
	a.start()
}

// comeBack starts the agents whose time has come.
func (w *world) comeBack(done int) {
	for _, a := range w.agents {
		if until, ok := w.dead[a]; ok && done >= until {
			delete(w.dead, a)
			a.start()
		}
	}
}
