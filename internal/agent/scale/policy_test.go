package scale

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var began = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// agents makes agents from a text such as "sib": starting, idle, busy, away, lost, ending, each since as many minutes as it stands before
// the end.
func agents(text string) []Have {
	stages := map[rune]Stage{'s': Starting, 'i': Idle, 'b': Busy, 'a': Away, 'l': Away, 'e': Ending}
	var have []Have
	for i, r := range text {
		have = append(have, Have{Name: fmt.Sprintf("%c%d", r, i), Stage: stages[r], Since: began.Add(-time.Duration(len(text)-i) * time.Minute), Lost: r == 'l'})
	}
	return have
}

func TestPlan(t *testing.T) {
	for _, test := range []struct {
		name         string
		min, max     int
		warm         int
		idle         time.Duration
		queued       int
		others       int
		have         string
		drain        bool
		want, start  int
		stop         string
		nextInMinute float64 // 0: none
	}{
		{name: "nothing", max: 5},
		{name: "jobs wait", max: 5, queued: 3, want: 3, start: 3},
		{name: "more than the most", max: 5, queued: 30, want: 5, start: 5},
		{name: "the least", min: 2, max: 5, want: 2, start: 2},
		{name: "idle ones take them", max: 5, queued: 2, have: "ii", want: 2},
		{name: "those that start too", max: 5, queued: 2, have: "si", want: 2},
		{name: "beside busy ones", max: 5, queued: 2, have: "bb", want: 4, start: 2},
		{name: "others take them", max: 5, queued: 2, others: 3},
		{name: "others take some", max: 5, queued: 2, others: 1, want: 1, start: 1},
		{name: "not needed", max: 5, have: "iib", want: 1, stop: "i0 i1"},
		{name: "the longest idle go", max: 5, min: 1, have: "iii", want: 1, stop: "i0 i1"},
		{name: "the least stay", max: 5, min: 2, have: "ii", want: 2},
		{name: "idle for too short", max: 5, idle: 90 * time.Second, have: "ii", stop: "i0", nextInMinute: 0.5},
		{name: "warm", max: 5, warm: 1, queued: 1, have: "b", want: 3, start: 2},
		{name: "warm stays", max: 5, warm: 1, have: "bi", want: 2},
		{name: "busy ones are more than the most", max: 1, queued: 3, have: "bbb", want: 1},
		{name: "idle ones are more than the most", max: 1, queued: 3, have: "iii", want: 1, stop: "i0 i1"},
		{name: "ending ones are there", max: 2, queued: 2, have: "ee", want: 2},
		{name: "ending ones are no help", max: 3, queued: 2, have: "ee", want: 2, start: 1},
		{name: "away", max: 3, queued: 1, have: "a", want: 1, start: 1},
		{name: "lost for long", max: 3, queued: 1, have: "lss", want: 1, stop: "l0"},
		{name: "lost for short", max: 3, queued: 1, have: "sl", want: 1, nextInMinute: 1},
		{name: "starting ones are left to join", max: 3, have: "ss"},
		{name: "draining", min: 3, max: 5, queued: 3, idle: time.Hour, have: "sibael", drain: true, stop: "s0 i1 a3 l5"},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := Limits{Min: test.min, Max: test.max, Warm: test.warm, IdleAfter: test.idle, LostAfter: 2 * time.Minute}
			p := l.Plan(Demand{Queued: test.queued, Others: test.others}, agents(test.have), began, test.drain)
			want := Plan{Want: test.want, Start: test.start, Stop: strings.Fields(test.stop)}
			if len(want.Stop) == 0 {
				want.Stop = nil
			}
			if test.nextInMinute > 0 {
				want.Next = began.Add(time.Duration(test.nextInMinute * float64(time.Minute)))
			}
			if diff := cmp.Diff(want, p); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestPlanModel lets agents live as they like under random demand, and holds what must hold.
func TestPlanModel(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 7))
		most := r.IntN(12)
		l := Limits{Max: most, Min: r.IntN(most + 1), Warm: r.IntN(3), IdleAfter: time.Duration(r.IntN(3)) * time.Minute, LostAfter: 2 * time.Minute}
		now, names, queued := began, 0, 0
		var have []Have
		set := func(i int, s Stage) { have[i].Stage, have[i].Since = s, now }
		step := func(d Demand, drain bool) {
			p := l.Plan(d, have, now, drain)
			for _, name := range p.Stop {
				i := slices.IndexFunc(have, func(h Have) bool { return h.Name == name })
				if i < 0 || have[i].Stage == Busy || have[i].Stage == Ending || !drain && have[i].Stage == Starting {
					t.Fatalf("seed %d: %s is stopped of %v", seed, name, have)
				}
				have = slices.Delete(have, i, i+1)
			}
			if drain && p.Start > 0 || p.Start < 0 {
				t.Fatalf("seed %d: %d are started", seed, p.Start)
			}
			for range p.Start {
				names++
				have = append(have, Have{Name: fmt.Sprint("n", names), Stage: Starting, Since: now})
			}
			if len(have) > l.Max {
				t.Fatalf("seed %d: %d agents, and %d are the most", seed, len(have), l.Max)
			}
			if useful := count(have, Starting, Idle, Busy); !drain && useful < min(p.Want, l.Max-count(have, Away, Ending)) {
				t.Fatalf("seed %d: %d of %d", seed, useful, p.Want)
			}
		}
		live := func(jobs bool) {
			for i := len(have) - 1; i >= 0; i-- {
				h := &have[i]
				switch n := r.IntN(6); {
				case n == 0 && h.Stage == Starting, n == 1 && h.Stage == Away && jobs:
					set(i, Idle)
				case h.Stage == Idle && queued > 0:
					queued--
					set(i, Busy)
				case n == 2 && h.Stage == Idle && jobs:
					h.Lost = r.IntN(2) == 0
					set(i, Away)
				case n == 3 && h.Stage == Busy:
					set(i, Ending)
				case n == 4 && h.Stage == Ending, n == 5 && h.Stage == Starting && jobs && r.IntN(3) == 0:
					have = slices.Delete(have, i, i+1)
				}
			}
			now = now.Add(time.Duration(r.IntN(90)) * time.Second)
		}
		for range 150 {
			queued += r.IntN(4)
			live(true)
			step(Demand{Queued: queued, Others: r.IntN(2)}, false)
		}
		// Without demand it comes to rest at what is kept, and drained at nothing but those that are away without being lost.
		rest := min(l.Max, max(l.Min, l.Warm))
		queued = 0
		for range 400 {
			live(false)
			step(Demand{}, false)
		}
		if n := count(have, Idle); n != min(rest, l.Max-count(have, Away)) || n != len(have)-count(have, Away) {
			t.Fatalf("seed %d: at rest there are %v, and %d are wanted", seed, have, rest)
		}
		step(Demand{Queued: 5}, true)
		if len(have) != 0 {
			t.Fatalf("seed %d: drained there are %v", seed, have)
		}
	}
}

func count(have []Have, stages ...Stage) (n int) {
	for _, h := range have {
		if slices.Contains(stages, h.Stage) {
			n++
		}
	}
	return n
}

func TestBackoff(t *testing.T) {
	var b Backoff
	if got := b.Allow(began, 7, 3); got != 7 {
		t.Errorf("at first %d are allowed", got)
	}
	now := began
	wait := 5 * time.Second
	for n := range 100 {
		b.Failed(now, "no image")
		b.Failed(b.Until.Add(-1), "no image either") // was started at the same time
		if got := b.Until.Sub(now); got != wait {
			t.Errorf("after %d failures it waits for %v, want %v", n+1, got, wait)
		}
		if b.Allow(b.Until.Add(-1), 7, 0) != 0 || b.Allow(b.Until, 7, 1) != 0 || b.Allow(b.Until, 7, 0) != 1 || b.Allow(b.Until, 0, 0) != 0 {
			t.Errorf("after %d failures more is allowed than a trial", n+1)
		}
		now, wait = b.Until, min(wait*2, 5*time.Minute)
	}
	if b.Joined(); b.Allow(now, 7, 3) != 7 || b.Why != "" {
		t.Errorf("after a success it is %+v", b)
	}
}

func TestParseTemplate(t *testing.T) {
	for text, want := range map[string]string{
		"process": "process ", "docker:a/b:1": "docker a/b:1", "Podman:x": "podman x", "exec:/a/b": "exec /a/b",
		"kubernetes:x": "Kubernetes", "k8s": "Kubernetes", "": "is needed", "exec:b": "whole path", "lxc": "no template", "process:x": "takes nothing",
	} {
		kind, argument, err := ParseTemplate(text)
		got := kind + " " + argument
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, want) {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
	if _, err := NewContainer(ContainerOptions{Engine: "podman", Image: "--privileged"}); err == nil {
		t.Error("an option is taken for an image")
	}
	if _, err := NewContainer(ContainerOptions{Engine: "podman", Image: "a", Run: []string{"--detach"}}); err == nil || !strings.Contains(err.Error(), "--detach") {
		t.Errorf("a detached container: %v", err)
	}
}
