package soak

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/api"
	"github.com/sekisho/sekisho/internal/git"
	"github.com/sekisho/sekisho/internal/pool"
	"github.com/sekisho/sekisho/internal/project"
	"github.com/sekisho/sekisho/internal/run"
)

// linesTemplate is the step of all jobs: it prints numbered lines, and writes to a folder that all jobs share when it begins and ends.
// Two at a time of one job would meet at the lock, which also holds for what a killed worker may have left behind.
const linesTemplate = `
parameters:
- name: step
  type: string
- name: lines
  type: string
- name: code
  type: string
  default: '0'
steps:
- bash: |
    set -eu
    key="$SHARED/$BUILD_BUILDID.$SYSTEM_JOBIDENTIFIER"
    exec 9>>"$key.lock"
    flock --nonblock 9 || echo "$key $AGENT_NAME" >>"$SHARED/doubled"
    echo "begin ${{ parameters.step }} $AGENT_NAME $EPOCHREALTIME" >>"$key.records"
    awk -v id="$SYSTEM_JOBIDENTIFIER/${{ parameters.step }}" -v n="$LINE_COUNT" '
      BEGIN {
        while (length(text) < 97) text = text "."
        for (i = 1; i <= n; i++) print id " line " i " of " n " " substr(text, 1, (i * 7919 + n) % 97)
      }'
    echo "end ${{ parameters.step }} $AGENT_NAME $EPOCHREALTIME" >>"$key.records"
    exit ${{ parameters.code }}
  displayName: ${{ parameters.step }}
  env:
    LINE_COUNT: ${{ parameters.lines }}
`

// linesOf returns what that step prints.
func linesOf(identifier, step string, n int) string {
	var b strings.Builder
	dots := strings.Repeat(".", 97)
	for i := 1; i <= n; i++ {
		fmt.Fprintf(&b, "%s/%s line %d of %d %s\n", identifier, step, i, n, dots[:(i*7919+n)%97])
	}
	return b.String()
}

// wanted is what is known of a job before it runs.
type wanted struct {
	phase, leg string
	identifier string         // System.JobIdentifier
	lines      map[string]int // by step
	result     work.Result
	artifact   string // name of one it publishes; "": none
}

// plan is a pipeline with what is to come of it.
type plan struct {
	name string
	yaml string
	jobs map[string]*wanted // by phase and leg
}

func key(phase, leg string) string { return phase + "/" + leg }

func (p *plan) add(phase, leg string, result work.Result, lines map[string]int) *wanted {
	identifier := "__default." + phase + "." + leg
	if leg == "" {
		identifier = "__default." + phase + ".__default"
	}
	w := &wanted{phase: phase, leg: leg, identifier: identifier, lines: lines, result: result}
	p.jobs[key(phase, leg)] = w
	return w
}

// lineCount draws how many lines a step prints: mostly some, at times very many.
func lineCount(rng *rand.Rand) int {
	if rng.IntN(40) == 0 {
		return 5000 + rng.IntN(20_000)
	}
	return 1 + rng.IntN(400)
}

// newPlan draws a pipeline of so many jobs, which write to a shared folder.
func newPlan(rng *rand.Rand, name, shared string, jobs int) *plan {
	p := &plan{name: name, jobs: map[string]*wanted{}}
	var b strings.Builder
	fmt.Fprintf(&b, "trigger: none\npool: %s\nvariables:\n  shared: '%s'\njobs:\n", poolName, shared)
	step := func(name, lines, code string) {
		fmt.Fprintf(&b, "  - template: lines.yml\n    parameters: {step: %s, lines: '%s', code: '%s'}\n", name, lines, code)
	}
	next := 0
	for len(p.jobs) < jobs {
		next++
		left := jobs - len(p.jobs)
		switch kind := rng.IntN(10); {
		case kind < 4: // a matrix; some legs fail
			phase := fmt.Sprintf("matrix%d", next)
			fmt.Fprintf(&b, "- job: %s\n  strategy:\n    matrix:\n", phase)
			for i := range min(left, 2+rng.IntN(20)) {
				first, second, code, result := lineCount(rng), lineCount(rng), 0, work.Succeeded
				if rng.IntN(12) == 0 {
					code, result = 3, work.Failed
				}
				leg := fmt.Sprintf("leg%d", i)
				fmt.Fprintf(&b, "      %s: {first: '%d', second: '%d', code: '%d'}\n", leg, first, second, code)
				p.add(phase, leg, result, map[string]int{"first": first, "second": second})
			}
			b.WriteString("  steps:\n  - checkout: none\n")
			step("first", "$(first)", "0")
			step("second", "$(second)", "$(code)")
		case kind < 6: // slices
			phase, lines, n := fmt.Sprintf("slices%d", next), lineCount(rng), min(left, 2+rng.IntN(12))
			fmt.Fprintf(&b, "- job: %s\n  strategy: {parallel: %d}\n  steps:\n  - checkout: none\n", phase, n)
			step("slice", fmt.Sprint(lines), "0")
			for i := range n {
				p.add(phase, fmt.Sprintf("Job%d", i+1), work.Succeeded, map[string]int{"slice": lines})
			}
		case kind < 8 && left > 1: // a job that says how many lines the next one prints
			giver, taker, lines, own := fmt.Sprintf("giver%d", next), fmt.Sprintf("taker%d", next), lineCount(rng), lineCount(rng)
			fmt.Fprintf(&b, "- job: %s\n  steps:\n  - checkout: none\n", giver)
			step("before", fmt.Sprint(own), "0")
			fmt.Fprintf(&b, "  - bash: echo '##vso[task.setvariable variable=count;isOutput=true]%d'\n    name: give\n", lines)
			fmt.Fprintf(&b, "- job: %s\n  dependsOn: %s\n  condition: in(dependencies.%s.result, 'Succeeded')\n", taker, giver, giver)
			fmt.Fprintf(&b, "  variables:\n    count: $[ dependencies.%s.outputs['give.count'] ]\n  steps:\n  - checkout: none\n", giver)
			step("after", "$(count)", "0")
			p.add(giver, "", work.Succeeded, map[string]int{"before": own})
			p.add(taker, "", work.Succeeded, map[string]int{"after": lines})
		default: // an artifact
			phase, lines := fmt.Sprintf("files%d", next), lineCount(rng)
			fmt.Fprintf(&b, "- job: %s\n  steps:\n  - checkout: none\n", phase)
			step("work", fmt.Sprint(lines), "0")
			fmt.Fprintf(&b, "  - bash: echo %s >\"$BUILD_ARTIFACTSTAGINGDIRECTORY/name.txt\"\n", phase)
			fmt.Fprintf(&b, "  - publish: $(Build.ArtifactStagingDirectory)\n    artifact: %s\n", phase)
			p.add(phase, "", work.Succeeded, map[string]int{"work": lines}).artifact = phase
		}
	}
	p.yaml = b.String()
	return p
}

// publish makes the project, with a pipeline for each plan, and the pool.
func publish(s *server, plans []*plan) {
	s.t.Helper()
	files := []git.FileChange{{Path: "lines.yml", Data: []byte(linesTemplate)}}
	for _, p := range plans {
		files = append(files, git.FileChange{Path: p.name + ".yml", Data: []byte(p.yaml)})
	}
	ref := api.RepositoryRef{Project: "soak", Repository: "jobs"}
	s.call("CreateProject", project.NewProject{Name: "soak"}, nil)
	s.call("CreatePool", pool.Draft{Name: poolName, Open: true}, nil)
	s.call("CreateRepository", api.NewRepository{RepositoryRef: ref}, nil)
	s.call("CommitFiles", api.NewCommit{RepositoryRef: ref, NewCommit: git.NewCommit{Branch: "main", Message: "jobs", Files: files}}, nil)
	for _, p := range plans {
		s.call("CreatePipeline", api.Made[project.NewPipeline]{Project: "soak", New: project.NewPipeline{Name: p.name, Repository: "soak/jobs", Path: p.name + ".yml"}}, nil)
	}
}

// begin starts a run.
func begin(s *server, p *plan) int64 {
	s.t.Helper()
	var r run.Run
	s.call("StartRun", run.StartRequest{Project: "soak", Pipeline: p.name}, &r)
	return r.ID
}

func names[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
