package flow

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/pipeline"
	"github.com/sekisho/sekisho/internal/pipeline/yaml"
)

func texts(errs []*yaml.Error) []string {
	var out []string
	for _, e := range errs {
		out = append(out, e.Error())
	}
	return out
}

func TestCheck(t *testing.T) {
	for _, tt := range []struct {
		jobs string
		want []string
	}{
		{"A; B: A; C: A, b", nil},
		{"A: A", []string{"azure-pipelines.yml:1:3: the job A depends on itself"}},
		{"A; B: X", []string{"azure-pipelines.yml:2:3: the job B depends on X, but there is no such job of stage S"}},
		{"A; a", []string{"azure-pipelines.yml:2:3: there is a job called A already, at azure-pipelines.yml:1:3"}},
		{"A: C; B: A; C: B; D: C", []string{"azure-pipelines.yml:1:3: the jobs wait for each other: A → C → B → A"}},
		{"Z; D: B; A; B: C; C: B", []string{"azure-pipelines.yml:4:3: the jobs wait for each other: B → C → B"}},
		{"A ? eq(1,", []string{"azure-pipelines.yml:1:3: the condition of job A: Unclosed function: 'eq'. Located at position 1 within expression: eq(1,"}},
		{"A ? succeded()", []string{"azure-pipelines.yml:1:3: the condition of job A: Unrecognized value: 'succeded'. Located at position 1 within expression: succeded(). Did you mean succeeded?"}},
		{"A ? eq(parameters.x, 1)", []string{"azure-pipelines.yml:1:3: the condition of job A: Unrecognized value: 'parameters'. Located at position 4 within expression: eq(parameters.x, 1). Parameters are known only in ${{ }}, while the pipeline is compiled"}},
		{"A ? eq(counter('a', 1), 1)", []string{"azure-pipelines.yml:1:3: the condition of job A: Unrecognized value: 'counter'. Located at position 4 within expression: eq(counter('a', 1), 1). counter can be called in $[ ] of a variable alone"}},
		{"A ? always(1)", []string{"azure-pipelines.yml:1:3: the condition of job A: Unexpected symbol: ')'. Located at position 9 within expression: always(1). The function always takes no arguments"}},
	} {
		if d := cmp.Diff(tt.want, texts(Check(onePlan(strings.Split(tt.jobs, ";")...)))); d != "" {
			t.Errorf("%s: %s", tt.jobs, d)
		}
	}
}

func TestCheckVariables(t *testing.T) {
	plan := onePlan("A")
	plan.Variables = []pipeline.Variable{
		variable(1, "good", "$[ counter('a', 1) ]"), variable(2, "empty", "$[ ]"), variable(3, "status", "$[succeeded()]"),
		variable(4, "name", "$[nothing.x]"), variable(5, "text", "a $[ b"),
	}
	plan.Stages[0].Jobs[0].Strategy = &pipeline.Strategy{Matrix: []pipeline.Leg{{Name: "1x"}}, Parallel: "$[1 +"}
	plan.Stages = append(plan.Stages, newStage("T: nope"), newStage(""))
	plan.Stages[1].Pos = at(20)
	want := []string{
		"azure-pipelines.yml:2:3: the variable empty: An expression is expected",
		"azure-pipelines.yml:3:3: the variable status: Unrecognized value: 'succeeded'. Located at position 1 within expression: succeeded(). Status functions can be called in conditions alone",
		"azure-pipelines.yml:4:3: the variable name: Unrecognized value: 'nothing'. Located at position 1 within expression: nothing.x",
		": the stage  has no name",
	}
	got := texts(Check(plan))
	for _, w := range want[:3] {
		if !strings.Contains(strings.Join(got, "\n"), w) {
			t.Errorf("%q is not among\n%s", w, strings.Join(got, "\n"))
		}
	}
	for _, w := range []string{"the stage has no name", "azure-pipelines.yml:20:3: the stage T depends on nope, but there is no such stage", "the leg name '1x' is not possible"} {
		if !strings.Contains(strings.Join(got, "\n"), w) {
			t.Errorf("%q is not among\n%s", w, strings.Join(got, "\n"))
		}
	}
	if _, err := New(plan, nil); err == nil {
		t.Error("such a plan can be run")
	}
}

func TestWarn(t *testing.T) {
	plan := onePlan("A", "B ? eq(dependencies.A.result, 'Failed')", "C: B ? and(succeeded('A'), succeeded('b'), failed(variables.x))", "D: C ? failed('B')")
	plan.Stages[0].Jobs[1].Variables = []pipeline.Variable{variable(7, "v", "$[stageDependencies.Other.A.outputs['s.v']]")}
	plan.Stages = append(plan.Stages, newStage("T: S ? eq(dependencies.S.result, 'x')"))
	want := []string{
		"azure-pipelines.yml:2:3: job B: dependencies.A is always empty, since the job A is not among dependsOn",
		"azure-pipelines.yml:7:3: the variable v: stageDependencies.Other is always empty, since the stage Other is not among dependsOn",
		"azure-pipelines.yml:3:3: job C: succeeded('A') can't be decided, since the job does not depend on A",
	}
	if d := cmp.Diff(want, texts(Warn(plan))); d != "" {
		t.Error(d)
	}
}

func TestGroups(t *testing.T) {
	plan := variablesPlan()
	plan.Stages[0].Jobs[0].Variables = []pipeline.Variable{{Group: "SHARED"}, {Group: "other"}}
	if d := cmp.Diff([]string{"Shared", "other"}, Groups(plan)); d != "" {
		t.Error(d)
	}
}

// FuzzTexts gives hostile texts to what reads texts of pipelines and outputs of jobs.
func FuzzTexts(f *testing.F) {
	for _, s := range []string{`{"a":{"b":1}}`, "0 0 * * Mon-Fri", "releases/*", "$(Date:yyyyMMdd)$(Rev:.r)", "[skip ci]", "src/**/x?", "{{[[", "$(a)$(b)", "*/5,3-4/2 * * * *"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if legs, err := parseMatrix(s); err == nil && checkLegs(legs) == nil && len(legs) > MaxInstances {
			t.Error("too many legs")
		}
		if c, err := ParseCron(s); err == nil {
			if _, err := c.Next(testRun.StartTime); err != nil {
				t.Error(err)
			}
		}
		SkipCI(s)
		if !matchGlob("*", s) || !matchGlob(s+"*", s+"x") && !strings.Contains(s, "?") {
			t.Error("a star does not match")
		}
		MatchPath(pipeline.Filter{Include: []string{s}, Exclude: []string{"**/" + s}}, "a/b/c.txt")
		MatchPath(filter("a/* -b"), s)
		plan := onePlan("A")
		plan.Name = s
		fl, err := New(plan, &testRun)
		if err != nil {
			t.Fatal(err)
		}
		number, err := fl.Number(func(string) (int64, error) { return 1, nil })
		if err == nil && CheckNumber(number) != nil {
			t.Error(number)
		}
	})
}
