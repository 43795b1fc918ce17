package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/sekisho/sekisho/internal/agent"
	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/api"
	"github.com/sekisho/sekisho/internal/api/client"
	"github.com/sekisho/sekisho/internal/pool"
	"github.com/sekisho/sekisho/internal/project"
	runs "github.com/sekisho/sekisho/internal/run"
)

const (
	demoProject    = "demo"
	demoPipeline   = "app"
	demoPool       = "build-hosts"
	demoConnection = "AWS_ECR"
	runLimit       = time.Minute
	shownLines     = 7 // of a step's log
)

// commitment is the second part of the demonstration: from a commit to an image, with the git and the builder that are here.
type commitment struct {
	*demonstration
	dir     string // for what is not the server's
	builder string // that the run uses; "": there is none, and it runs a script
	why     string // there is none

	client *client.Client
	agent  struct {
		signals chan struct{}
		ended   chan error
	}
}

// commits shows how a commit becomes an image behind the private endpoint.
func (d *demonstration) commits(ctx context.Context, dir string) (c *commitment, err error) {
	c = &commitment{demonstration: d, dir: dir}
	if err := d.in.Git.Available(); err != nil {
		d.tell.say("  What it does with commits and pipelines is left out: %v", err)
		return c, nil
	}
	if err := c.prepare(ctx); err != nil {
		return c, err
	}
	last := step{"See the push start a run, and the image arrive", c.image}
	if c.builder == "" {
		last = step{"See the push start a run", c.run}
	}
	return c, d.each(ctx, []step{
		{"Make a project with a repository and a pipeline", c.makeProject},
		{"Let an agent join that knows the endpoint only", c.startAgent},
		{"Commit, and push with git", c.commit},
		last,
	})
}

// prepare makes folders, and looks for a builder that works here. Container tools are given storage in the demo's folder, so that
// nothing of it stays with theirs.
func (c *commitment) prepare(ctx context.Context) error {
	for _, name := range []string{"agent", "home", "tmp", "probe", "app/templates"} {
		if err := os.MkdirAll(filepath.Join(c.dir, name), 0o700); err != nil {
			return err
		}
	}
	storage := fmt.Sprintf("[storage]\ndriver = \"vfs\"\ngraphroot = %q\nrunroot = %q\n", filepath.Join(c.dir, "storage"), filepath.Join(c.dir, "run"))
	for name, text := range map[string]string{"storage.conf": storage, "probe/Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"} {
		if err := os.WriteFile(filepath.Join(c.dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	if os.Geteuid() != 0 {
		c.why = "this is not root"
		return nil
	}
	c.why = "there is neither buildah nor podman"
	for _, name := range []string{"buildah", "podman"} {
		if _, err := exec.LookPath(name); err != nil {
			continue
		}
		probe := exec.CommandContext(ctx, name, "build", "--quiet", "--tag", "probe", filepath.Join(c.dir, "probe"))
		probe.Env = append(os.Environ(), c.environment()...)
		if out, err := probe.CombinedOutput(); err != nil {
			c.why = fmt.Sprintf("%s can't build here: %s", name, lastLine(out))
			continue
		}
		c.builder = name
		return nil
	}
	return nil
}

func lastLine(text []byte) string {
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return plain(lines[len(lines)-1])
}

// environment is what the agent's jobs have that this process has not.
func (c *commitment) environment() []string {
	return []string{
		"HOME=" + filepath.Join(c.dir, "home"), "TMPDIR=" + filepath.Join(c.dir, "tmp"),
		"CONTAINERS_STORAGE_CONF=" + filepath.Join(c.dir, "storage.conf"),
	}
}

func (c *commitment) makeProject(ctx context.Context) (string, error) {
	root, err := c.in.ReadRootKey(ctx)
	if err != nil {
		return "", err
	}
	c.client = &client.Client{
		Server: "http://" + c.host, Region: c.in.Config.Region, HTTP: &http.Client{Transport: new(http.Transport)},
		Credentials: aws.Credentials{AccessKeyID: root.AccessKeyID, SecretAccessKey: root.SecretAccessKey},
	}
	for _, call := range []struct {
		operation string
		in        any
	}{
		{"CreateProject", project.NewProject{Name: demoProject}},
		{"CreateRepository", api.NewRepository{RepositoryRef: api.RepositoryRef{Project: demoProject, Repository: demoPipeline}}},
		{"CreatePool", pool.Draft{Name: demoPool, Open: true}},
		{"CreatePipeline", api.Made[project.NewPipeline]{Project: demoProject, New: project.NewPipeline{
			Name: demoPipeline, Repository: demoProject + "/" + demoPipeline}}},
		{"SetPipelineVariable", api.VariableSet{Project: demoProject, Name: demoPipeline, Variable: project.Variable{Name: "DOCKER_REPOSITORY_NAME", Value: demoRepository}}},
		{"SetPipelineVariable", api.VariableSet{Project: demoProject, Name: demoPipeline, Variable: project.Variable{Name: "sekisho.builder", Value: c.builder}}},
		{"CreateConnection", api.Made[project.NewConnection]{Project: demoProject, New: project.NewConnection{
			Name: demoConnection, Type: project.TypeAWS, Parameters: map[string]string{"username": c.ci.Username, "password": c.ci.Password}, AllPipelines: true}}},
	} {
		if err := c.client.Call(ctx, call.operation, call.in, nil); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("http://%s/git/%s/%s, and a service connection %s with the CI user's key", c.host, demoProject, demoPipeline, demoConnection), nil
}

func (c *commitment) startAgent(ctx context.Context) (string, error) {
	var code api.EnrollmentCode
	if err := c.client.Call(ctx, "CreateEnrollmentCode", struct{ Pool string }{demoPool}, &code); err != nil {
		return "", err
	}
	folder := agent.Folder(filepath.Join(c.dir, "agent"))
	environ := append(os.Environ(), c.environment()...)
	var said bytes.Buffer
	err := folder.Configure(ctx, agent.ConfigureOptions{
		Answers:    agent.Answers{License: true, URL: "http://" + c.endpoint, Auth: "code", Token: code.Code, Pool: demoPool, Name: "builder"},
		Unattended: true, Version: version(), Environ: environ, Out: &said,
	})
	if err != nil {
		return "", fmt.Errorf("%w\n%s", err, said.String())
	}
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	c.agent.signals, c.agent.ended = make(chan struct{}, 2), make(chan error, 1)
	ready := &awaited{text: "Listening for Jobs", found: make(chan struct{})}
	go func() { // until stop
		c.agent.ended <- folder.Run(context.WithoutCancel(ctx), agent.RunOptions{
			Worker: []string{self, "agent", "worker"}, WorkerEnv: c.environment(), Version: version(), Console: ready, Drain: time.Second,
			Signals: c.agent.signals, Environ: environ,
		})
	}()
	select {
	case <-ready.found:
	case err := <-c.agent.ended:
		c.agent.ended <- err
		return "", fmt.Errorf("the agent ended: %w", err)
	case <-ctx.Done():
		return "", ctx.Err()
	}
	return fmt.Sprintf("builder of the pool %s, at http://%s, by a code that was good once; it has a key of its own now", demoPool, c.endpoint), nil
}

// stop ends the agent, if it runs.
func (c *commitment) stop() error {
	if c == nil || c.agent.ended == nil {
		return nil
	}
	c.agent.signals <- struct{}{}
	c.agent.signals <- struct{}{}
	return <-c.agent.ended
}

// awaited is a writer that tells when a text has been written.
type awaited struct {
	text  string
	found chan struct{}
	seen  []byte
}

func (a *awaited) Write(p []byte) (int, error) {
	if a.text != "" {
		if a.seen = append(a.seen, p...); bytes.Contains(a.seen, []byte(a.text)) {
			a.text, a.seen = "", nil
			close(a.found)
		}
	}
	return len(p), nil
}

// What is committed: a trigger and a template, as teams have them.
const (
	demoYAML = `trigger: [main]

stages:
- template: templates/build.yml
`
	demoBuildTemplate = `stages:
- stage: Build
  jobs:
  - job: Image
    pool: ` + demoPool + `
    steps:
    - task: Docker@2
      displayName: Build
      inputs: {command: build, repository: app, dockerfile: '**/Dockerfile', tags: $(Build.BuildId), addPipelineData: false}
    - task: ECRPushImage@1
      displayName: Push
      inputs:
        awsCredentials: ` + demoConnection + `
        regionName: us-east-1
        imageSource: imagename
        sourceImageName: app
        sourceImageTag: $(Build.BuildId)
        pushTag: run-$(Build.BuildId)
        repositoryName: $(DOCKER_REPOSITORY_NAME)
`
	demoScriptTemplate = `stages:
- stage: Build
  jobs:
  - job: Script
    pool: ` + demoPool + `
    steps:
    - script: |
        echo "run $(Build.BuildId) of $(Build.SourceBranchName) would build an image for $(DOCKER_REPOSITORY_NAME)"
        cat Dockerfile
      displayName: Build
`
	demoDockerfile = "FROM scratch\nCOPY motd /etc/motd\n"
)

func (c *commitment) commit(ctx context.Context) (string, error) {
	dir := filepath.Join(c.dir, "app")
	template := demoScriptTemplate
	if c.builder != "" {
		template = demoBuildTemplate
	}
	for name, text := range map[string]string{
		"azure-pipelines.yml": demoYAML, "templates/build.yml": template, "Dockerfile": demoDockerfile, "motd": "through the checkpoint\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return "", err
		}
	}
	root := c.client.Credentials
	var out []byte
	for _, args := range [][]string{
		{"init", "--quiet"}, {"symbolic-ref", "HEAD", "refs/heads/main"}, {"add", "."}, {"commit", "--quiet", "--message", "An image, and how it is built"},
		{"push", "--porcelain", fmt.Sprintf("http://%s/git/%s/%s", c.host, demoProject, demoPipeline), "HEAD:refs/heads/main"},
	} {
		cmd := exec.CommandContext(ctx, "git", args...)
		cmd.Dir = dir
		// The key goes by the environment, where others on this machine can't read it.
		cmd.Env = append(os.Environ(), c.environment()...)
		cmd.Env = append(cmd.Env, "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0", "GIT_AUTHOR_NAME=demo", "GIT_AUTHOR_EMAIL=demo@example.com",
			"GIT_COMMITTER_NAME=demo", "GIT_COMMITTER_EMAIL=demo@example.com", "DEMO_USER="+root.AccessKeyID, "DEMO_PASSWORD="+root.SecretAccessKey,
			"GIT_CONFIG_COUNT=2", "GIT_CONFIG_KEY_0=credential.helper", "GIT_CONFIG_VALUE_0=",
			"GIT_CONFIG_KEY_1=credential.helper", `GIT_CONFIG_VALUE_1=!f() { echo "username=$DEMO_USER"; echo "password=$DEMO_PASSWORD"; }; f`)
		var err error
		if out, err = cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("git %s: %w: %s", args[0], err, lastLine(out))
		}
	}
	if c.builder == "" {
		return "azure-pipelines.yml is a trigger and one template; the template runs a script", nil
	}
	return "azure-pipelines.yml is a trigger and one template; the template builds and pushes", nil
}

// run follows the run that the push started.
func (c *commitment) run(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, runLimit)
	defer cancel()
	if c.why != "" && c.builder == "" {
		c.tell.say("  No image is built, as %s; the run shows a script.", c.why)
	}
	id, err := c.started(ctx)
	if err != nil {
		return "", err
	}
	w := watch(c.client, &excerpt{tell: c.tell}, id)
	t, err := w.end(ctx)
	if err != nil {
		return "", err
	}
	if t.Result != work.Succeeded && t.Result != work.SucceededWithIssues {
		return "", fmt.Errorf("run %d %s", id, t.Result)
	}
	return fmt.Sprintf("run %d %s in %s, begun %s after the push", id, t.Result, duration(t.Finished.Sub(t.Started)), duration(t.Started.Sub(t.Created))), nil
}

// started waits for the run.
func (c *commitment) started(ctx context.Context) (int64, error) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		var list api.List[runs.Run]
		if err := c.client.Call(ctx, "ListRuns", runs.Query{Project: demoProject}, &list); err != nil {
			return 0, err
		}
		if len(list.Items) > 0 {
			return list.Items[0].ID, nil
		}
		select {
		case <-ctx.Done():
			return 0, errors.New("the push started no run")
		case <-tick.C:
		}
	}
}

// image follows the run and looks for the image.
func (c *commitment) image(ctx context.Context) (string, error) {
	said, err := c.run(ctx)
	if err != nil {
		return "", err
	}
	out, err := c.ecr.DescribeImages(ctx, &ecr.DescribeImagesInput{
		RepositoryName: aws.String(demoRepository), ImageIds: []types.ImageIdentifier{{ImageTag: aws.String("run-1")}},
	})
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s; %s has the tag run-1, built with %s and pushed through the endpoint", said, aws.ToString(out.ImageDetails[0].ImageDigest), c.builder), nil
}

// excerpt shows some lines of what a watcher prints, as they come.
type excerpt struct {
	tell  *teller
	shown int // lines of a step
	rest  []byte
}

func (e *excerpt) Write(p []byte) (int, error) {
	e.rest = append(e.rest, p...)
	for {
		line, rest, ok := bytes.Cut(e.rest, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		e.rest = rest
		e.line(plain(string(line)))
	}
}

func (e *excerpt) line(line string) {
	const width = 110
	if text, ok := strings.CutPrefix(line, "== "); ok {
		if strings.HasPrefix(text, "job ") {
			e.say(text)
		}
		return
	}
	_, text, _ := strings.Cut(line, " ") // the time
	if name, ok := strings.CutPrefix(text, "##[section]Starting: "); ok {
		e.shown = shownLines // what an agent does around the steps has nothing to show
		if strings.HasPrefix(name, "Checkout ") || name == "Build" || name == "Push" {
			e.shown = 0
			e.say(name)
		}
		return
	}
	if text == "" || strings.HasPrefix(text, "##[") && !strings.HasPrefix(text, "##[error]") || e.shown >= shownLines {
		return
	}
	if runes := []rune(text); len(runes) > width {
		text = string(runes[:width]) + "…"
	}
	e.shown++
	e.say("  " + text)
}

func (e *excerpt) say(text string) { e.tell.say("  %s", e.tell.in(faint, "| "+text)) }
