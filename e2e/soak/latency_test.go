package soak

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/api"
	"github.com/sekisho/sekisho/internal/run"
)

// at is when a job got how far.
type at struct {
	asked    time.Time // whoever starts the run sends the request
	queued   time.Time // the job waits for an agent, by the transaction that starts the run
	offered  time.Time // it was given to an agent, by the transaction
	begun    time.Time // the agent took it, by the transaction
	prepared time.Time // the worker began the first record, "Initialize job", by its clock, which is the same
	step     time.Time // the first step of the pipeline began, by the worker's clock
	told     time.Time // the server knew of that
}

// BenchmarkFirstStep measures how soon the first step of a run begins while an agent is idle; the parts are medians.
func BenchmarkFirstStep(b *testing.B) {
	dir := b.TempDir()
	p := &plan{name: "one", yaml: "trigger: none\npool: " + poolName + "\nsteps:\n- checkout: none\n- bash: 'true'\n  displayName: first\n"}
	s := newServer(b, dir)
	publish(s, []*plan{p})
	a := newAgents(s, dir, 1)[0]
	a.start()
	oneRun(b, s, p) // the agent is there, and everything was read once
	var list []at
	b.ResetTimer()
	for range b.N {
		list = append(list, oneRun(b, s, p))
	}
	b.StopTimer()
	part := func(name string, f func(at) time.Duration) {
		var all []time.Duration
		for _, x := range list {
			all = append(all, f(x))
		}
		slices.Sort(all)
		b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, name+"-ms")
		if name == "first-step" || name == "asked-to-told" {
			b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1000, name+"-p99-ms")
		}
	}
	part("first-step", func(x at) time.Duration { return x.step.Sub(x.queued) })
	part("asked-to-told", func(x at) time.Duration { return x.told.Sub(x.asked) })
	part("1-start", func(x at) time.Duration { return x.queued.Sub(x.asked) })
	part("2-acquire", func(x at) time.Duration { return x.offered.Sub(x.queued) })
	part("3-acknowledge", func(x at) time.Duration { return x.begun.Sub(x.offered) })
	part("4-worker", func(x at) time.Duration { return x.prepared.Sub(x.begun) })
	part("5-prepare", func(x at) time.Duration { return x.step.Sub(x.prepared) })
	part("6-tell", func(x at) time.Duration { return x.told.Sub(x.step) })
}

// oneRun starts a run and returns when it got how far. It returns when the agent is idle again.
func oneRun(b *testing.B, s *server, p *plan) at {
	x := at{asked: time.Now()}
	id := begin(s, p)
	events := make(chan api.RunEvent, 1000)
	ctx, cancel := context.WithTimeout(b.Context(), patience)
	defer cancel()
	if err := (&follower{server: s, id: id, to: events}).follow(ctx); err != nil {
		b.Fatal(err)
	}
	close(events)
	for e := range events {
		if e.Type == run.StepEvent && e.Name == "first" && x.told.IsZero() {
			x.told = e.At
		}
	}
	var tree run.Tree
	s.call("DescribeRun", api.RunRef{Run: id}, &tree)
	j := tree.Stages[0].Jobs[0].Legs[0]
	if tree.Result != work.Succeeded || len(j.Attempts) != 1 {
		b.Fatalf("run %d is %s, with %d attempts", id, tree.Result, len(j.Attempts))
	}
	x.queued, x.offered, x.begun = j.Queued, j.Attempts[0].Offered, j.Attempts[0].Begun
	for _, r := range j.Attempts[0].Steps {
		switch {
		case r.DisplayName == "first":
			x.step = r.Started
		case x.prepared.IsZero() || r.Started.Before(x.prepared):
			x.prepared = r.Started
		}
	}
	return x
}

// BenchmarkThroughput measures how many short jobs 8 agents get done in a second.
func BenchmarkThroughput(b *testing.B) {
	const agents = 8
	dir := b.TempDir()
	s := newServer(b, dir)
	const together = 50 // as many as a job may become, and fewer
	jobs := (b.N + together - 1) / together * together
	var yaml strings.Builder
	fmt.Fprintf(&yaml, "trigger: none\npool: %s\njobs:\n", poolName)
	for i := range jobs / together {
		fmt.Fprintf(&yaml, "- job: many%d\n  strategy: {parallel: %d}\n  steps:\n  - checkout: none\n  - bash: echo hello\n", i, together)
	}
	p := &plan{name: "many", yaml: yaml.String()}
	one := &plan{name: "one", yaml: "trigger: none\npool: " + poolName + "\nsteps:\n- checkout: none\n- bash: 'true'\n  displayName: first\n"}
	publish(s, []*plan{p, one})
	for _, a := range newAgents(s, dir, agents) {
		a.start()
	}
	oneRun(b, s, one)
	events := make(chan api.RunEvent, 100*jobs)
	b.ResetTimer()
	id := begin(s, p)
	if err := (&follower{server: s, id: id, to: events}).follow(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	var tree run.Tree
	if s.call("DescribeRun", api.RunRef{Run: id}, &tree); tree.Result != work.Succeeded {
		b.Fatalf("the run is %s", tree.Result)
	}
	b.ReportMetric(float64(jobs)/b.Elapsed().Seconds(), "jobs/s")
}
