package pipeline

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sekisho/sekisho/internal/pipeline/yaml"
)

// compiled is the plan of one file.
func compiled(t *testing.T, text string) *Plan {
	t.Helper()
	p, err := Compile(t.Context(), archive{"a.yml": text}, "a.yml", Options{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var places = cmpopts.IgnoreTypes(yaml.Pos{})

func TestPlanOfAStory(t *testing.T) {
	p, err := Compile(t.Context(), archive{
		"azure-pipelines.yml": "trigger:\n- main\nstages:\n- template: templates/build.yml\n",
		"templates/build.yml": `stages:
- stage: Build
  jobs:
  - job: Image
    pool: BUILDERS
    container: ubuntu:24.04
    steps:
    - task: Docker@2
      inputs:
        command: build
        tags: $(Build.BuildId)
    - task: ECRPushImage@1
      displayName: Push
      inputs:
        awsCredentials: AWS_ECR
        repositoryName: $(DOCKER_REPOSITORY_NAME)
      env: {A: b}
      retryCountOnTaskFailure: 2
- stage: Next
  jobs:
  - job:
  - job:
`}, "azure-pipelines.yml", Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := []*Stage{
		{Name: "Build", Jobs: []*Job{{
			Name: "Image", Pool: &Pool{Name: "BUILDERS"}, Container: &Container{Image: "ubuntu:24.04"},
			Steps: []*Step{
				{Task: "Docker@2", Inputs: []KeyValue{{Key: "command", Value: "build"}, {Key: "tags", Value: "$(Build.BuildId)"}}},
				{Task: "ECRPushImage@1", DisplayName: "Push", Retries: "2", Env: []KeyValue{{Key: "A", Value: "b"}},
					Inputs: []KeyValue{{Key: "awsCredentials", Value: "AWS_ECR"}, {Key: "repositoryName", Value: "$(DOCKER_REPOSITORY_NAME)"}}},
			},
		}}},
		{Name: "Next", DependsOn: []string{"Build"}, Jobs: []*Job{{Name: "Job"}, {Name: "Job_2"}}},
	}
	if diff := cmp.Diff(want, p.Stages, places, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("stages (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(&Trigger{Enabled: true, AutoCancel: true, Drafts: true, Branches: Filter{Include: []string{"main"}}}, p.Trigger, places); diff != "" {
		t.Errorf("trigger (-want +got):\n%s", diff)
	}
	if p.PR != nil {
		t.Errorf("a trigger that nobody wrote: %+v", p.PR)
	}
	if got := p.Stages[0].Jobs[0].Steps[1].Pos.String(); got != "templates/build.yml:12:7" {
		t.Errorf("the step is at %s", got)
	}
	if diff := cmp.Diff([]string{"azure-pipelines.yml", "templates/build.yml"}, p.Files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if p.Unsupported() != nil {
		t.Errorf("refused: %v", p.Unsupported())
	}
}

// Whose jobs name an image of hosted agents and no pool is told where they go; the trigger of another repository is refused,
// and that of self has its place.
func TestHosted(t *testing.T) {
	p := compiled(t, `resources:
  repositories:
  - repository: self
    trigger: [main]
  - repository: tools
    type: git
    name: tools
    trigger: none
pool:
  vmImage: ubuntu-latest
jobs:
- job: A
  steps:
  - script: x
- job: B
  pool:
    name: builders
    vmImage: windows-latest
  steps:
  - script: x
- job: C
  pool: server
`)
	if len(p.Warnings) != 1 || p.Warnings[0].Pos.Line != 10 || !strings.Contains(p.Warnings[0].Message, "'ubuntu-latest' names an image of hosted agents") ||
		!strings.Contains(p.Warnings[0].Message, "pool 'Default'") {
		t.Errorf("warnings: %v", p.Warnings)
	}
	if list := p.Unsupported(); len(list) != 1 || list[0].Pos.Line != 4 || !strings.Contains(list[0].Message, "at the top of the file") {
		t.Errorf("refused: %v", list)
	}
}

// TestTaskNames: what goes by an id in the normal form has a name in the plan.
func TestTaskNames(t *testing.T) {
	p := compiled(t, `resources:
- repo: self
  clean: true
  fetchDepth: 1
steps:
- checkout: self
  fetchDepth: 5
- checkout: none
- publish: out
  artifact: drop
- download: current
  artifact: drop
  patterns: '*.txt'
- download: current
`)
	want := []*Step{
		{Task: "checkout@1", Inputs: []KeyValue{{Key: "repository", Value: "self"}, {Key: "fetchDepth", Value: "5"}, {Key: "clean", Value: "true"}}},
		{Task: "checkout@1", Condition: "false", Inputs: []KeyValue{{Key: "repository", Value: "none"}}},
		{Task: "PublishPipelineArtifact@1", Inputs: []KeyValue{{Key: "targetPath", Value: "out"}, {Key: "artifactName", Value: "drop"}}},
		{Task: "DownloadPipelineArtifact@2", Inputs: []KeyValue{
			{Key: "buildType", Value: "current"}, {Key: "artifactName", Value: "drop"}, {Key: "itemPattern", Value: "*.txt"}, {Key: "targetPath", Value: "$(Pipeline.Workspace)/drop"},
		}},
		{Task: "DownloadPipelineArtifact@2", Inputs: []KeyValue{{Key: "buildType", Value: "current"}, {Key: "targetPath", Value: "$(Pipeline.Workspace)"}}},
	}
	if diff := cmp.Diff(want, p.Stages[0].Jobs[0].Steps, places); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestCheckoutOfSelf: a job that says nothing of checkout still heeds what the resource says.
func TestCheckoutOfSelf(t *testing.T) {
	p := compiled(t, "resources:\n  repositories:\n  - repository: self\n    checkoutOptions:\n      submodules: recursive\njobs:\n- job: A\n  steps:\n  - script: a\n- job: B\n  pool: server\n  steps:\n  - task: Delay@1\n")
	want := &Step{Task: "checkout@1", Inputs: []KeyValue{{Key: "repository", Value: "self"}, {Key: "submodules", Value: "recursive"}}}
	if diff := cmp.Diff(want, p.Stages[0].Jobs[0].Steps[0], places); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if n := len(p.Stages[0].Jobs[1].Steps); n != 1 {
		t.Errorf("a job without an agent has %d steps", n)
	}
}

func TestExplain(t *testing.T) {
	p := compiled(t, "variables:\n- name: a\n  value: 1\n- group: g\n- name: b\n  value: 2\njobs:\n- job: J\n  variables:\n  - group: h\n  steps: []\n- job: K\n  variables:\n  - name: B\n    value: 3\n  - group: k\n  steps: []\n")
	given := []Known{{Name: "a", Value: "0", From: "given"}, {Name: "c", Value: "9", From: "given"}}
	for _, tt := range []struct {
		name   string
		values []string // "job value groups"
	}{
		{"a", []string{"J 1 [g h]", "K 1 [g k]"}},
		{"b", []string{"J 2 [h]", "K 3 [k]"}},
		{"c", []string{"J 9 [g h]", "K 9 [g k]"}},
		{"d", []string{"J  [g h]", "K  [g k]"}},
	} {
		var got []string
		for _, v := range p.Explain(tt.name, given).Values {
			groups := ""
			for i, g := range v.Groups {
				if i > 0 {
					groups += " "
				}
				groups += g
			}
			got = append(got, v.Job+" "+v.Value+" ["+groups+"]")
		}
		if diff := cmp.Diff(tt.values, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}
