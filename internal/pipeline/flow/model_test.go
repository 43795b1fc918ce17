package flow

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/pipeline"
)

var randomConditions = []string{"", "", "", "", "succeeded()", "failed()", "always()", "succeededOrFailed()", "canceled()", "false",
	"not(failed())", "eq(variables['Build.BuildId'], 42)", "lt('x', variables)"}

// randomPlan makes stages and jobs that depend on earlier ones; in the plan they stand in any order.
func randomPlan(r *rand.Rand) *pipeline.Plan {
	p := &pipeline.Plan{}
	needs := func(names []string) (out []string) {
		for _, name := range names {
			if r.IntN(3) == 0 {
				out = append(out, name)
			}
		}
		return out
	}
	var stages []string
	for i := range 1 + r.IntN(6) {
		s := &pipeline.Stage{Name: fmt.Sprintf("S%d", i), DependsOn: needs(stages), Condition: randomConditions[r.IntN(len(randomConditions))], Manual: r.IntN(8) == 0}
		stages = append(stages, s.Name)
		var jobs []string
		for k := range r.IntN(7) {
			j := &pipeline.Job{Name: fmt.Sprintf("J%d", k), DependsOn: needs(jobs), Condition: randomConditions[r.IntN(len(randomConditions))]}
			if r.IntN(6) == 0 {
				j.ContinueOnError = "true"
			}
			switch r.IntN(6) {
			case 0:
				j.Strategy = &pipeline.Strategy{Parallel: fmt.Sprint(1 + r.IntN(5)), MaxParallel: fmt.Sprint(r.IntN(4))}
			case 1:
				j.Strategy = &pipeline.Strategy{MatrixExpression: []string{"$['']", `$['{"a":{},"b":{},"c":{}}']`, "$['x']"}[r.IntN(3)], MaxParallel: "1"}
			}
			jobs = append(jobs, j.Name)
			s.Jobs = append(s.Jobs, j)
		}
		r.Shuffle(len(s.Jobs), func(a, b int) { s.Jobs[a], s.Jobs[b] = s.Jobs[b], s.Jobs[a] })
		p.Stages = append(p.Stages, s)
	}
	r.Shuffle(len(p.Stages), func(a, b int) { p.Stages[a], p.Stages[b] = p.Stages[b], p.Stages[a] })
	return p
}

// TestModel runs random plans with random results, cancels some on the way, and stores and reads the state all the time.
// Whatever happens: each stage, job and instance ends once, nothing starts before what it depends on, no more
// instances run than may, and the run ends.
func TestModel(t *testing.T) {
	results := []work.Result{work.Succeeded, work.Succeeded, work.Succeeded, work.SucceededWithIssues, work.Failed, work.Canceled, work.Abandoned}
	seeds := uint64(600)
	if testing.Short() {
		seeds = 100
	}
	for seed := range seeds {
		r := rand.New(rand.NewPCG(seed, 1))
		plan := randomPlan(r)
		f, err := New(plan, &testRun)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		st := NewState(plan)
		for i := range st.Stages {
			st.Stages[i].Omitted = r.IntN(12) == 0
		}
		m := &model{plan: plan, ended: map[string]work.Result{}, started: map[string]bool{}, created: map[string]int{}}
		fail := func(format string, args ...any) {
			t.Helper()
			text, _ := json.Marshal(plan.Stages)
			t.Fatalf("seed %d: %s\n%s", seed, fmt.Sprintf(format, args...), text)
		}
		for steps := 0; !st.Done; steps++ {
			if steps > 2000 {
				fail("no end")
			}
			actions, err := f.Next(st)
			if err != nil {
				fail("%v", err)
			}
			for _, a := range actions {
				if wrong := m.see(a, st); wrong != "" {
					fail("%s: %s", line(a), wrong)
				}
			}
			if again, _ := f.Next(st); len(again) > 0 {
				fail("%v follows from nothing", line(again[0]))
			}
			text, err := json.Marshal(st)
			if err != nil {
				fail("%v", err)
			}
			st = &State{}
			if err := json.Unmarshal(text, st); err != nil {
				fail("%v", err)
			}
			if !st.Done && !m.happen(r, st, results) && !st.Canceling {
				fail("stuck: %s", text)
			}
			if r.IntN(60) == 0 {
				st.Canceling = true
			}
			if r.IntN(60) == 0 {
				st.Stages[r.IntN(len(st.Stages))].Canceling = true
			}
			if r.IntN(10) == 0 { // another process goes on
				f, _ = New(plan, &testRun)
			}
		}
		for _, s := range plan.Stages {
			if m.ended[s.Name] == "" {
				fail("stage %s did not end", s.Name)
			}
			for _, j := range s.Jobs {
				if m.ended[s.Name+"."+j.Name] == "" {
					fail("job %s.%s did not end", s.Name, j.Name)
				}
			}
		}
	}
}

type model struct {
	plan    *pipeline.Plan
	ended   map[string]work.Result // by "stage", "stage.job", "stage.job.instance"
	started map[string]bool
	created map[string]int // instances of a job
	done    bool
}

// see checks an action, and returns what is wrong with it.
func (m *model) see(a Action, st *State) string {
	if m.done {
		return "after the end of the run"
	}
	var stage *pipeline.Stage
	for _, s := range m.plan.Stages {
		if s.Name == a.Stage {
			stage = s
		}
	}
	key := a.Stage
	if a.Job != "" {
		key += "." + a.Job
	}
	if a.Kind == InstanceReady || a.Kind == InstanceDone {
		key += "." + a.Instance
	}
	if m.ended[key] != "" {
		return "it has ended already"
	}
	switch a.Kind {
	case StageReady, StageWaits:
		for _, need := range stage.DependsOn {
			if m.ended[need] == "" {
				return "before " + need
			}
		}
		if m.started[string(a.Kind)+key] {
			return "twice"
		}
		m.started[string(a.Kind)+key] = true
	case JobReady:
		for _, j := range stage.Jobs {
			for _, need := range j.DependsOn {
				if j.Name == a.Job && m.ended[a.Stage+"."+need] == "" {
					return "before " + need
				}
			}
		}
		if stageState(st, a.Stage).State == work.Pending || m.created[key] > 0 || len(a.Instances) == 0 {
			return "wrongly"
		}
		m.created[key] = len(a.Instances)
	case InstanceReady:
		if m.started[key] || m.created[a.Stage+"."+a.Job] == 0 {
			return "wrongly"
		}
		m.started[key] = true
		ss := stageState(st, a.Stage)
		for _, js := range ss.Jobs {
			active := 0
			for _, in := range js.Instances {
				if in.State == work.InProgress {
					active++
				}
			}
			if js.Name == a.Job && js.MaxParallel > 0 && active > js.MaxParallel {
				return "too many at once"
			}
		}
	case JobDone:
		if m.created[key] > 0 {
			for _, js := range stageState(st, a.Stage).Jobs {
				for _, in := range js.Instances {
					if js.Name == a.Job && in.State != work.Completed {
						return "before its instances"
					}
				}
			}
		}
		m.ended[key] = a.Result
	case StageDone:
		for _, j := range stage.Jobs {
			if m.ended[a.Stage+"."+j.Name] == "" {
				return "before its job " + j.Name
			}
		}
		m.ended[key] = a.Result
	case InstanceDone:
		m.ended[key] = a.Result
	case RunDone:
		m.done = true
		for _, s := range m.plan.Stages {
			if m.ended[s.Name] == "" {
				return "before its stage " + s.Name
			}
		}
	}
	if a.Result == "" && (a.Kind == JobDone || a.Kind == StageDone || a.Kind == RunDone || a.Kind == InstanceDone) {
		return "without a result"
	}
	return ""
}

// happen lets something happen that a run waits for, and reports whether there was anything.
func (m *model) happen(r *rand.Rand, st *State, results []work.Result) bool {
	var possible []func()
	for i := range st.Stages {
		ss := &st.Stages[i]
		if ss.State == work.Pending && ss.Ready {
			possible = append(possible, func() {
				if r.IntN(8) == 0 {
					ss.Rejected = "no"
				} else {
					ss.State = work.InProgress
				}
			})
		}
		if ss.Waiting && !ss.Released {
			possible = append(possible, func() { ss.Released = true })
		}
		for k := range ss.Jobs {
			for l := range ss.Jobs[k].Instances {
				if in := &ss.Jobs[k].Instances[l]; in.State == work.InProgress {
					possible = append(possible, func() { in.State, in.Result = work.Completed, results[r.IntN(len(results))] })
				}
			}
		}
	}
	if len(possible) == 0 {
		return false
	}
	possible[r.IntN(len(possible))]()
	return true
}

// bigPlan is 1,000 jobs, each of which depends on some of those before.
func bigPlan() *pipeline.Plan {
	s := &pipeline.Stage{Name: "S", Variables: []pipeline.Variable{{Name: "v", Value: "$[counter('x', 1)]"}}}
	for i := range 1000 {
		j := &pipeline.Job{Name: fmt.Sprintf("J%d", i)}
		if i > 0 {
			j.DependsOn = []string{fmt.Sprintf("J%d", i/2)}
			if i%3 == 0 {
				j.DependsOn = append(j.DependsOn, fmt.Sprintf("J%d", i-1))
				j.Condition = fmt.Sprintf("and(succeeded(), eq(variables.v, 1), eq(dependencies.J%d.result, 'Succeeded'))", i-1)
			}
		}
		s.Jobs = append(s.Jobs, j)
	}
	return &pipeline.Plan{Stages: []*pipeline.Stage{s}}
}

func TestThousandJobs(t *testing.T) {
	f, st := newFlow(t, bigPlan(), &testRun)
	log := drive(t, f, st, nil)
	if st.Result != work.Succeeded || len(log) != 3*1000+3 {
		t.Errorf("%s after %d actions", st.Result, len(log))
	}
}

func BenchmarkNext(b *testing.B) {
	plan := bigPlan()
	f, err := New(plan, &testRun)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		st := NewState(plan)
		for !st.Done {
			actions, err := f.Next(st)
			if err != nil {
				b.Fatal(err)
			}
			for _, a := range actions {
				switch a.Kind {
				case StageReady:
					stageState(st, a.Stage).State = work.InProgress
				case InstanceReady:
					in := instanceState(st, a.Stage, a.Job, a.Instance)
					in.State, in.Result = work.Completed, work.Succeeded
				}
			}
		}
	}
}

func TestStateIsJSON(t *testing.T) {
	f, st := newFlow(t, onePlan("A", "B: A"), nil)
	drive(t, f, st, outcome{"A": "failed s.v=1"})
	text, err := json.Marshal(st)
	if err != nil {
		t.Fatal(err)
	}
	var back State
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(*st, back); d != "" {
		t.Error(d)
	}
}

// BenchmarkEvent is what one event of a run costs when its graph was kept: one of 1,000 jobs runs.
func BenchmarkEvent(b *testing.B) {
	plan := bigPlan()
	g, err := Prepare(plan)
	if err != nil {
		b.Fatal(err)
	}
	st := NewState(plan)
	for b.Loop() {
		f, err := g.Flow(&testRun)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := f.Next(st); err != nil {
			b.Fatal(err)
		}
		st.Stages[0].State = work.InProgress
	}
}

// TestGraphIsShared runs several runs of one graph at once.
func TestGraphIsShared(t *testing.T) {
	g, err := Prepare(onePlan("A", "B: A ? always()", "C: A, B ? and(succeeded(), eq(variables['Build.BuildId'], 42))"))
	if err != nil {
		t.Fatal(err)
	}
	results := make(chan work.Result)
	for range 8 {
		go func() {
			f, err := g.Flow(&testRun)
			if err != nil {
				results <- ""
				return
			}
			st := NewState(g.plan)
			for !st.Done {
				actions, _ := f.Next(st)
				for _, a := range actions {
					switch a.Kind {
					case StageReady:
						stageState(st, a.Stage).State = work.InProgress
					case InstanceReady:
						in := instanceState(st, a.Stage, a.Job, a.Instance)
						in.State, in.Result = work.Completed, work.Succeeded
					}
				}
			}
			results <- st.Result
		}()
	}
	for range 8 {
		if r := <-results; r != work.Succeeded {
			t.Error(r)
		}
	}
}
