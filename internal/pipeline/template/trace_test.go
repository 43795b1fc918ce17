package template

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/pipeline/yaml"
)

var traced = memory{
	"main.yml": `parameters:
- name: p
  default: dev
resources:
  repositories:
  - repository: shared
    name: x/shared
    ref: refs/heads/${{ parameters.p }}
    type: git
variables:
- name: env
  value: ${{ parameters.p }}-${{ variables['Build.Reason'] }}
- template: vars.yml@shared
- group: g
stages:
- stage: A
  variables:
    env: stage
  jobs:
  - template: job.yml
    parameters:
      steps:
      - script: ${{ variables.env }}
`,
	"vars.yml@shared": "variables:\n  a: $(x)\n",
	"job.yml": `parameters:
- name: steps
  type: stepList
jobs:
- job: J
  variables:
    own: ${{ variables.env }}
  steps:
  - ${{ parameters.steps }}
  - ${{ each s in parameters.steps }}:
    - ${{ each k in s }}:
        ${{ k.key }}: ${{ k.value }}
`,
}

func TestTrace(t *testing.T) {
	r, err := Expand(t.Context(), Options{Source: traced, File: "main.yml", Normal: normal, Variables: []Variable{{Name: "Build.Reason", Value: "Manual"}}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range r.Variables {
		name := d.Name
		if d.Group != "" {
			name = "group " + d.Group
		}
		got = append(got, fmt.Sprintf("%s %s=%s (%s) in %q via %v uses %q", d.Pos, name, d.Value, d.Written, d.Scope, d.Via, d.Uses))
	}
	want := []string{
		`main.yml:12:10 env=dev-Manual (${{ parameters.p }}-${{ variables['Build.Reason'] }}) in [] via [] uses ["parameters.p" "variables.Build.Reason"]`,
		`vars.yml@shared:2:6 a=$(x) ($(x)) in [] via [main.yml:13:13] uses []`,
		`main.yml:14:10 group g= () in [] via [] uses []`,
		`main.yml:18:10 env=stage (stage) in ["stage A"] via [] uses []`,
		`job.yml:7:10 own=stage (${{ variables.env }}) in ["stage A" "job J"] via [main.yml:20:15] uses ["variables.env"]`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("variables (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"main.yml", "vars.yml@shared", "job.yml"}, r.Files); diff != "" {
		t.Errorf("files: %s", diff)
	}
	if diff := cmp.Diff([]Repository{{Pos: yaml.Pos{File: "main.yml", Line: 6, Column: 5}, Alias: "shared", Type: "git", Name: "x/shared", Ref: "refs/heads/dev"}}, r.Repositories); diff != "" {
		t.Errorf("repositories: %s", diff)
	}
	if len(r.Parameters) != 1 || r.Parameters[0].Value.Value != "dev" || r.Parameters[0].Default == nil {
		t.Errorf("parameters: %+v", r.Parameters)
	}
}

// TestOrigins holds that every scalar says where it was written.
func TestOrigins(t *testing.T) {
	r, err := Expand(t.Context(), Options{Source: traced, File: "main.yml"})
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	var walk func(n *yaml.Node, path string)
	walk = func(n *yaml.Node, path string) {
		for i, item := range n.Items {
			walk(item, fmt.Sprintf("%s[%d]", path, i))
		}
		for _, p := range n.Pairs {
			walk(p.Key, path+"."+p.Key.Value+"?")
			walk(p.Value, path+"."+p.Key.Value)
		}
		if n.Kind == yaml.Scalar && strings.HasPrefix(path, ".stages") {
			lines = append(lines, path+" "+n.Pos.String())
		}
	}
	walk(r.Root, "")
	want := []string{
		".stages? main.yml:15:1",
		".stages[0].stage? main.yml:16:3",
		".stages[0].stage main.yml:16:10",
		".stages[0].variables? main.yml:17:3",
		".stages[0].variables.env? main.yml:18:5",
		".stages[0].variables.env main.yml:18:10",
		".stages[0].jobs? main.yml:19:3",
		".stages[0].jobs[0].job? job.yml:5:3",
		".stages[0].jobs[0].job job.yml:5:8",
		".stages[0].jobs[0].variables? job.yml:6:3",
		".stages[0].jobs[0].variables.own? job.yml:7:5",
		".stages[0].jobs[0].variables.own job.yml:7:10",
		".stages[0].jobs[0].steps? job.yml:8:3",
		".stages[0].jobs[0].steps[0].script? main.yml:23:9",
		".stages[0].jobs[0].steps[0].script main.yml:23:17",
		".stages[0].jobs[0].steps[1].script? main.yml:23:9",
		".stages[0].jobs[0].steps[1].script main.yml:23:17",
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("origins (-want +got):\n%s", diff)
	}
}
