package run_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
	"github.com/sekisho/sekisho/internal/pool"
	"github.com/sekisho/sekisho/internal/run"
)

// held is what an agent of the model has, and the calls it made before.
type held struct {
	claim  run.Claim
	acked  bool
	log    strings.Builder // what was acknowledged
	agent  *pool.Agent
	silent bool // it is dead, and may come back
	steps  int64
}

// model runs random pipelines with random agents and checks what must always hold.
type model struct {
	w      *world
	r      *rand.Rand
	agents []*pool.Agent
	has    map[string]*held // by agent's id
	past   []*held          // claims that are over, by the model's knowledge or not
	runs   []int64
}

// randomPipeline is a random graph of stages and jobs.
func randomPipeline(r *rand.Rand) string {
	var b strings.Builder
	b.WriteString("trigger: none\nstages:\n")
	stages := 1 + r.IntN(3)
	for i := range stages {
		fmt.Fprintf(&b, "- stage: S%d\n", i)
		if i > 0 && r.IntN(2) == 0 {
			fmt.Fprintf(&b, "  dependsOn: [S%d]\n", r.IntN(i))
		}
		if r.IntN(4) == 0 {
			b.WriteString("  condition: always()\n")
		}
		b.WriteString("  jobs:\n")
		for k := range 1 + r.IntN(3) {
			fmt.Fprintf(&b, "  - job: J%d\n", k)
			if k > 0 && r.IntN(2) == 0 {
				fmt.Fprintf(&b, "    dependsOn: J%d\n", r.IntN(k))
			}
			switch r.IntN(5) {
			case 0:
				b.WriteString("    condition: succeededOrFailed()\n")
			case 1:
				b.WriteString("    condition: failed()\n")
			}
			if r.IntN(3) == 0 {
				fmt.Fprintf(&b, "    strategy:\n      maxParallel: %d\n      matrix:\n        a: {n: 1}\n        b: {n: 2}\n        c: {n: 3}\n", 1+r.IntN(3))
			}
			if r.IntN(4) == 0 {
				b.WriteString("    continueOnError: true\n")
			}
			b.WriteString("    steps:\n    - script: x\n")
		}
	}
	return b.String()
}

func TestModel(t *testing.T) {
	t.Parallel()
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		m := &model{w: newWorld(t, db), r: rand.New(rand.NewPCG(seed, 1)), has: map[string]*held{}}
		for i := range 4 {
			m.agents = append(m.agents, m.w.agent(fmt.Sprintf("agent-%d", i)))
		}
		for range rounds(500, 150) {
			m.step()
		}
		m.settle()
		m.check()
	})
}

func (m *model) step() {
	w, ctx := m.w, m.w.t.Context()
	switch n := m.r.IntN(100); {
	case n < 6 && len(m.runs) < 12:
		m.runs = append(m.runs, w.start(randomPipeline(m.r)).ID)
	case n < 9 && len(m.runs) > 0: // cancel something
		id := m.runs[m.r.IntN(len(m.runs))]
		m.allow(w.Cancel(ctx, w.root, id, run.CancelRequest{}))
	case n < 12 && len(m.runs) > 0:
		_, err := w.Rerun(ctx, w.root, m.runs[m.r.IntN(len(m.runs))], run.RerunRequest{Failed: true})
		m.allow(err)
	case n < 14: // the server crashes
		w.close()
		w.open()
	case n < 17:
		w.advance(time.Duration(m.r.IntN(50)) * time.Second)
		for _, h := range m.has { // those that live renew
			if h.acked && !h.silent {
				_, err := w.Renew(ctx, h.claim)
				m.allow(err)
			}
		}
	case n < 22 && len(m.past) > 0: // something late, or said twice
		h := m.past[m.r.IntN(len(m.past))]
		err := w.Complete(ctx, h.claim, work.Succeeded, "")
		_, lerr := w.AppendLog(ctx, h.claim, "1", int64(h.log.Len()), []byte("late"))
		if lerr == nil {
			w.t.Errorf("claim %+v is over and its log takes bytes", h.claim)
		}
		m.allow(err)
	default:
		a := m.agents[m.r.IntN(len(m.agents))]
		m.act(a)
	}
}

// allow fails the test on errors other than those that a late or needless call gets.
func (m *model) allow(err error) {
	m.w.t.Helper()
	var e *run.Error
	if err != nil && !errors.Is(err, work.ErrClaimLost) && !errors.As(err, &e) {
		m.w.t.Error(err)
	}
}

// act has an agent do the next thing.
func (m *model) act(a *pool.Agent) {
	w, ctx := m.w, m.w.t.Context()
	h := m.has[a.ID]
	if h == nil || h.silent && m.r.IntN(3) == 0 { // a dead agent starts anew
		soon, cancel := context.WithTimeout(ctx, 30*time.Millisecond)
		defer cancel()
		j, err := w.Acquire(soon, a)
		if h != nil {
			m.drop(h)
		}
		if err != nil {
			if !errors.Is(err, context.DeadlineExceeded) {
				w.t.Error(err)
			}
			return
		}
		m.has[a.ID] = &held{claim: run.Claim{Job: j.ID, Attempt: j.Attempt, Agent: a.ID}, agent: a}
		return
	}
	if h.silent {
		return
	}
	lost := func(err error) {
		m.allow(err)
		if errors.Is(err, work.ErrClaimLost) {
			m.drop(h)
		}
	}
	switch n := m.r.IntN(20); {
	case n == 0:
		h.silent = true
	case n == 1 && !h.acked:
		m.drop(h) // it never acknowledges
	case !h.acked:
		err := w.Acknowledge(ctx, h.claim)
		h.acked = err == nil
		lost(err)
	case n < 4:
		lost(w.Release(ctx, h.claim, "it stops"))
		m.drop(h)
	case n < 8:
		result := []work.Result{work.Succeeded, work.Succeeded, work.Failed, work.SucceededWithIssues, work.Abandoned}[m.r.IntN(5)]
		lost(w.Complete(ctx, h.claim, result, ""))
		m.drop(h)
	case n < 10:
		h.steps++
		lost(w.Update(ctx, h.claim, []work.Record{{Step: "001", Sequence: h.steps, State: work.InProgress}}))
	default:
		at := int64(h.log.Len())
		back := min(at, int64(m.r.IntN(30)))
		fresh := fmt.Sprintf("%s %d\n", h.claim.Job, at)
		data := h.log.String()[at-back:] + fresh
		size, err := w.AppendLog(ctx, h.claim, "1", at-back, []byte(data))
		if err == nil {
			h.log.WriteString(fresh)
			if size != int64(h.log.Len()) {
				w.t.Errorf("log of %s has %d bytes, want %d", h.claim.Job, size, h.log.Len())
			}
		}
		lost(err)
	}
}

func (m *model) drop(h *held) {
	if m.has[h.claim.Agent] == h {
		delete(m.has, h.claim.Agent)
		if h.acked {
			m.past = append(m.past, h)
		}
	}
	m.exclusive()
}

// exclusive checks that no job has two claims that count.
func (m *model) exclusive() {
	var n int
	err := m.w.db.QueryRow(m.w.t.Context(), `SELECT count(*) FROM (SELECT job FROM run_claims WHERE lease > 0 GROUP BY job HAVING count(*) > 1) x`).Scan(&n)
	if err != nil || n > 0 {
		m.w.t.Fatalf("%d jobs have two claims, %v", n, err)
	}
}

// settle lets all runs come to their end.
func (m *model) settle() {
	w := m.w
	ctx, cancel := context.WithTimeout(w.t.Context(), 40*time.Second)
	defer cancel()
	for _, h := range m.has {
		m.past = append(m.past, h)
	}
	m.has = map[string]*held{}
	w.advance(2 * run.LeaseTime)
	done := make(chan struct{})
	for _, a := range m.agents {
		go func() {
			defer func() { done <- struct{}{} }()
			for {
				j, err := w.Acquire(ctx, a)
				if err != nil {
					return
				}
				c := run.Claim{Job: j.ID, Attempt: j.Attempt, Agent: a.ID}
				if err := w.Acknowledge(ctx, c); err == nil {
					m.allow(w.Complete(ctx, c, work.Succeeded, ""))
				} else {
					m.allow(err)
				}
			}
		}()
	}
	for _, id := range m.runs {
		w.wait(id)
	}
	cancel()
	for range m.agents {
		<-done
	}
}

// check checks that everything ended once, and that logs are what was acknowledged.
func (m *model) check() {
	w := m.w
	for _, id := range m.runs {
		tree := w.tree(id)
		for _, g := range tree.Stages {
			for _, p := range g.Jobs {
				for _, j := range p.Legs {
					done := 0
					for _, a := range j.Attempts {
						if a.State == "done" {
							done++
						}
					}
					if j.State != work.Completed || j.Result == "" || done > 1 || done == 0 && (j.Result == work.Succeeded || j.Result == work.Failed) {
						w.t.Errorf("job %s: %s %s, ended %d times\n%s", j.ID, j.State, j.Result, done, show(tree))
					}
				}
				if g.Last && p.State != work.Completed {
					w.t.Errorf("job %s of stage %s is %s\n%s", p.Name, g.Name, p.State, show(tree))
				}
			}
		}
	}
	for _, h := range m.past {
		if h.log.Len() == 0 {
			continue
		}
		var id int64
		if _, err := fmt.Sscanf(h.claim.Job, "%d.", &id); err != nil {
			w.t.Fatal(err)
		}
		if got := w.readAll(id, run.LogRef{Job: h.claim.Job, Attempt: h.claim.Attempt, Log: "1"}, 100); got != h.log.String() {
			w.t.Errorf("log of %+v:\n%q\nwant\n%q", h.claim, got, h.log.String())
		}
	}
}
