package local

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/agent/folder"
	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/agent/worker"
	"github.com/sekisho/sekisho/internal/pipeline"
	"github.com/sekisho/sekisho/internal/pipeline/flow"
)

type files map[string]string

func (f files) File(_ context.Context, _ pipeline.Repository, path string) ([]byte, error) {
	text, ok := f[path]
	if !ok {
		return nil, pipeline.ErrNoFile
	}
	return []byte(text), nil
}

// try runs a pipeline and returns its result, what was said, and the lines that begin with "> ".
func try(t *testing.T, text string, change func(*Options, *folder.Run)) (work.Result, []string, []string) {
	t.Helper()
	plan, err := pipeline.Compile(t.Context(), files{"p.yml": text}, "p.yml", pipeline.Options{})
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "file"), []byte("of the repository\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var said, lines []string
	o := Options{
		Plan: plan, Facts: flow.Run{ID: 5, Number: "5", Project: "p", Pipeline: "p"}, Folders: map[string]string{"self": root}, Work: t.TempDir(),
		Worker: worker.Options{Agent: worker.Agent{Name: "local"}},
		Say:    func(text string) { said = append(said, text) },
		Line: func(job, _, line string) {
			mu.Lock()
			defer mu.Unlock()
			if rest, ok := strings.CutPrefix(line, "> "); ok {
				lines = append(lines, job+" "+rest)
			}
		},
	}
	run := &folder.Run{Dir: t.TempDir()}
	if change != nil {
		change(&o, run)
	}
	result, err := Execute(t.Context(), run, o)
	if err != nil {
		t.Fatal(err)
	}
	return result, said, lines
}

const several = `
variables: {base: b}
stages:
- stage: One
  jobs:
  - job: A
    pool: {name: any, demands: [gpu]}
    strategy: {matrix: {x: {leg: lx}, y: {leg: ly}}}
    steps:
    - bash: |
        echo "> $(base) $(leg) $(cat file)"
        echo "##vso[task.setvariable variable=out;isOutput=true]from $(leg)"
        echo "##vso[task.setvariable variable=hidden;isOutput=true;isSecret=true]secret of $(leg)"
      name: set
  - job: B
    dependsOn: A
    variables:
      got: $[ dependencies.A.outputs['x.set.out'] ]
      secret: $[ dependencies.A.outputs['y.set.hidden'] ]
    steps:
    - checkout: none
    - bash: 'echo "> $(got), $(secret), files: $(ls | wc -l)"; echo data > d'
    - publish: $(System.DefaultWorkingDirectory)/d
      artifact: data
- stage: Two
  jobs:
  - deployment: D
    environment: prod
    strategy: {runOnce: {deploy: {steps: [{bash: 'echo "> $(cat $PIPELINE_WORKSPACE/data/d)"; exit 1'}]}, on: {failure: {steps: [{bash: 'echo "> undone"'}]}, success: {steps: [{bash: 'echo "> no"'}]}}}}
- stage: Three
  condition: failed()
  jobs:
  - job: F
    steps:
    - bash: echo "> after the failure"
- stage: Four
  jobs:
  - job: G
    steps:
    - bash: echo "> no"
`

func TestExecute(t *testing.T) {
	result, said, lines := try(t, several, nil)
	if result != work.Failed {
		t.Errorf("the run %s", result)
	}
	want := []string{
		"One.A.x b lx of the repository", "One.A.y b ly of the repository", "One.B from lx, ***, files: 0", "Two.D data", "Two.D undone", "Three.F after the failure",
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("%s\n%s", diff, strings.Join(said, "\n"))
	}
	for _, part := range []string{"Pools, demands", "Checks and approvals", "Four: skipped"} {
		if !slices.ContainsFunc(said, func(s string) bool { return strings.Contains(s, part) }) {
			t.Errorf("%q was not said: %q", part, said)
		}
	}
}

func TestOnly(t *testing.T) {
	result, _, lines := try(t, several, func(o *Options, _ *folder.Run) { o.Stage, o.Job = "one", "b" })
	if result != work.Succeeded {
		t.Errorf("the run %s", result)
	}
	if diff := cmp.Diff([]string{"One.B , , files: 0"}, lines); diff != "" {
		t.Error(diff)
	}
	plan, err := pipeline.Compile(t.Context(), files{"p.yml": several}, "p.yml", pipeline.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := only(plan, "none", ""); err == nil || !strings.Contains(err.Error(), "One.A") {
		t.Errorf("%v", err)
	}
}

func TestParallelAndApprovals(t *testing.T) {
	const text = `
jobs:
- job: wait
  pool: server
  steps:
  - task: ManualValidation@0
    inputs: {instructions: "go on?"}
- job: a
  dependsOn: wait
  steps: [{bash: 'echo "> a"'}]
- job: b
  dependsOn: wait
  steps: [{bash: 'echo "> b"'}]
`
	for _, yes := range []bool{true, false} {
		var asked string
		result, said, lines := try(t, text, func(o *Options, r *folder.Run) {
			o.Parallel = 2
			r.Ask = func(_ context.Context, what string) (bool, string, error) {
				asked = what
				return yes, "", nil
			}
		})
		slices.Sort(lines)
		var want []string
		wantResult := work.Failed
		if yes {
			want, wantResult = []string{"a a", "b b"}, work.Succeeded
		}
		if diff := cmp.Diff(want, lines); diff != "" || result != wantResult || asked != "go on?" {
			t.Errorf("%v: %s, asked %q, %s\n%q", yes, result, asked, diff, said)
		}
	}
}

func TestCancel(t *testing.T) {
	plan, err := pipeline.Compile(t.Context(), files{"p.yml": `
jobs:
- job: a
  steps:
  - checkout: none
  - bash: echo "> started"; sleep 1000
  - bash: echo "> cleaned"
    condition: always()
- job: b
  dependsOn: a
  steps: [{bash: 'echo "> no"'}]
`}, "p.yml", pipeline.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	var lines []string
	result, err := Execute(ctx, &folder.Run{Dir: t.TempDir()}, Options{
		Plan: plan, Facts: flow.Run{ID: 1}, Folders: map[string]string{"self": t.TempDir()}, Work: t.TempDir(), Say: func(string) {},
		Line: func(_, _, line string) {
			if strings.HasPrefix(line, "> ") {
				lines = append(lines, line)
			}
			if line == "> started" {
				cancel(worker.ErrCancel)
			}
		},
	})
	if err != nil || result != work.Canceled {
		t.Errorf("%s, %v", result, err)
	}
	if diff := cmp.Diff([]string{"> started", "> cleaned"}, lines); diff != "" {
		t.Error(diff)
	}
}
