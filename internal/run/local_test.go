package run_test

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sekisho/sekisho/internal/agent/folder"
	"github.com/sekisho/sekisho/internal/agent/local"
	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/agent/worker"
	"github.com/sekisho/sekisho/internal/meta/metatest"
	"github.com/sekisho/sekisho/internal/pipeline"
	"github.com/sekisho/sekisho/internal/pipeline/flow"
)

// rich has what a job can have.
const rich = `
trigger: none
name: $(Date:yyyyMMdd)$(Rev:.r)
resources:
  containers:
  - container: tools
    image: example.com/tools:$(version)
    options: --cpus 1
    env: {A: b}
    ports: ["80:80"]
    volumes: ["/a:/b"]
    mountReadOnly: {work: true}
  - container: db
    image: db:1
    mapDockerSocket: false
variables:
- {name: version, value: "3"}
- {name: tries, value: "2"}
- {name: shown, value: "tag-$(version)"}
stages:
- stage: Build
  jobs:
  - job: Matrix
    displayName: Build on $(os)
    timeoutInMinutes: 7
    cancelTimeoutInMinutes: 2
    workspace: {clean: all}
    strategy:
      matrix:
        linux: {os: linux}
        mac: {os: mac}
    variables: {local: "$[ variables['version'] ]"}
    container: tools
    services: {postgres: db}
    steps:
    - script: echo $(os) $(local)
      name: say
      displayName: Say it
      condition: and(succeeded(), eq(variables['os'], 'linux'))
      continueOnError: true
      timeoutInMinutes: $(tries)
      retryCountOnTaskFailure: $(tries)
      env: {X: $(version), Y: plain}
    - bash: echo host
      enabled: false
      target: {container: host, commands: restricted, settableVariables: [a]}
    - task: Docker@2
      inputs: {command: build, Tags: $(shown)}
  - job: None
    steps:
    - checkout: none
    - publish: out
      artifact: drop
  - job: Two
    container: ubuntu:24.04
    steps:
    - checkout: self
      fetchDepth: 1
      clean: true
    - script: echo $(Build.BuildNumber)
      target: db
- stage: Deploy
  jobs:
  - deployment: Prod
    environment: prod
    strategy:
      runOnce:
        preDeploy:
          steps:
          - script: echo pre
        deploy:
          steps:
          - script: echo deploy
            condition: always()
        on:
          failure:
            steps:
            - script: echo failed
          success:
            steps:
            - script: echo fine
  - deployment: Quiet
    environment: prod
    strategy:
      runOnce:
        deploy:
          steps:
          - download: none
          - script: echo deploy
`

// TestLocalJobs runs a pipeline on a server and on one's own machine, and compares what agents are given.
func TestLocalJobs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, metatest.Open(t, metatest.SQLite(t)))
	a := w.agent("one")
	server := map[string]*work.Job{}
	r := w.start(rich)
	for len(server) < 6 {
		j, c := w.take(a)
		name, _, _ := strings.Cut(j.Identity.Job, " ")
		server[j.Identity.Stage+"."+name+" "+j.DisplayName] = j
		w.complete(c, work.Succeeded)
	}
	if done := w.wait(r.ID); done.Result != work.Succeeded {
		t.Fatal(show(w.tree(r.ID)))
	}

	plan, err := pipeline.Compile(t.Context(), source{w.repos, r.Commit}, "azure-pipelines.yml", pipeline.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	here := map[string]*work.Job{}
	facts := flow.Run{
		ID: r.ID, Number: r.Number, Reason: r.Reason, StartTime: r.Created, Project: r.Project, ProjectID: r.ProjectID, Pipeline: r.Pipeline, PipelineID: r.PipelineID,
		Repository: flow.Repository{ID: w.repos.id, Name: "app"}, Ref: r.Ref, Commit: r.Commit, CommitMessage: r.Message,
	}
	result, err := local.Execute(t.Context(), &folder.Run{Dir: t.TempDir(), Ask: func(context.Context, string) (bool, string, error) { return true, "", nil }}, local.Options{
		Plan: plan, Facts: facts, Folders: map[string]string{"self": t.TempDir()}, Work: t.TempDir(), Say: func(text string) { t.Log(text) },
		Run: func(_ context.Context, j *work.Job, _ work.Server, _ worker.Options) (work.Result, error) {
			mu.Lock()
			defer mu.Unlock()
			here[j.Identity.Stage+"."+j.Identity.Job+" "+j.DisplayName] = j
			return work.Succeeded, nil
		},
	})
	if err != nil {
		t.Fatal(result, err)
	}
	if d := cmp.Diff(slices.Sorted(maps.Keys(server)), slices.Sorted(maps.Keys(here))); d != "" {
		t.Fatalf("the jobs differ (server -, here +):\n%s", d)
	}
	for name, want := range server {
		got := here[name]
		// What a server alone knows.
		options := []cmp.Option{
			cmpopts.IgnoreFields(work.Job{}, "ID", "Attempt", "Identity", "Token", "Credentials", "Region", "RegistryHosts", "Variables"),
			cmpopts.IgnoreFields(work.Repository{}, "Name", "URL"), cmpopts.IgnoreFields(work.Artifacts{}, "Run"), cmpopts.EquateEmpty(),
		}
		if d := cmp.Diff(want, got, options...); d != "" {
			t.Errorf("%s differs (server -, here +):\n%s", name, d)
		}
		if d := cmp.Diff(own(want.Variables), own(got.Variables)); d != "" {
			t.Errorf("the variables of %s differ (server -, here +):\n%s", name, d)
		}
	}
	j := server["Build.Matrix Build on linux linux"]
	if j == nil || len(j.Containers) != 2 || j.Containers[0].Image != "example.com/tools:3" || j.Steps[1].Retries != 2 || j.Steps[1].TimeoutMinutes != 2 || j.TimeoutMinutes != 7 || j.Workspace != "all" {
		t.Errorf("the job is %+v, of %q", j, slices.Sorted(maps.Keys(server)))
	}
}

// own are the variables that the pipeline sets.
func own(list []work.Variable) map[string]string {
	out := map[string]string{}
	for _, v := range list {
		if !strings.Contains(v.Name, ".") {
			out[v.Name] = v.Value + " from " + v.From
		}
	}
	return out
}

// source is the repository at a commit, for the compiler.
type source struct {
	repos  *repos
	commit string
}

func (s source) File(ctx context.Context, _ pipeline.Repository, path string) ([]byte, error) {
	return s.repos.File(ctx, "", s.commit, path)
}
