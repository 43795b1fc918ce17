package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/sekisho/sekisho/internal/agent/folder"
	"github.com/sekisho/sekisho/internal/agent/local"
	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/agent/worker"
	"github.com/sekisho/sekisho/internal/pipeline"
	"github.com/sekisho/sekisho/internal/pipeline/flow"
	"github.com/sekisho/sekisho/internal/pipeline/yaml"
)

// localFlags are what a run on this machine is given.
type localFlags struct {
	local      bool
	variables  []string // k=v
	secrets    []string
	connection string
	stage, job string
	work       string
	engine     string
	tasks      []string
	allow      []string
	parallel   int
	yes        bool
}

func newPipelineRun(c *cli) *cobra.Command {
	var from pipelineFlags
	var f localFlags
	cmd := &cobra.Command{
		Use:   "run --local FILE",
		Short: "Run a pipeline on this machine, without a server",
		Long: `Run a pipeline on this machine, without a server: the same language, the same order of
stages and jobs, and the same code that an agent runs jobs with. Steps run as you do, in
folders of their own; "checkout" takes the files as they lie in the folders, with what is
not committed yet. Pools are not looked at. Artifacts, logs and attachments are files.

Secrets come from the environment: --secret NAME, or --secret NAME=VARIABLE. Service
connections come from a file (YAML or JSON), by name:

  AWS_ECR:
    type: AWS
    url: https://registry.example
    auth: {username: AKIA…, password: env:AWS_SECRET_ACCESS_KEY}

Of this machine's environment steps see what an agent's steps see, and --allow NAME.

The exit code is 0 if the run succeeded, also with issues; 1 if it failed; 2 if it was
canceled, which the first Ctrl-C asks for and the second one does not wait for.`,
		Example: `  sekisho pipeline run --local azure-pipelines.yml
  sekisho pipeline run --local azure-pipelines.yml --stage Build --variable configuration=Debug --secret TOKEN`,
		Args: usageOf(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !f.local {
				return usage("a pipeline runs on a server with: sekisho run start. To run %s on this machine, give --local", args[0])
			}
			return runLocal(cmd, &from, &f, args[0])
		},
	}
	from.add(cmd)
	flags := cmd.Flags()
	flags.BoolVar(&f.local, "local", false, "run on this machine")
	flags.StringArrayVar(&f.variables, "variable", nil, "`name=value` of a variable, as when a run is started; may be repeated")
	flags.StringArrayVar(&f.secrets, "secret", nil, "`NAME` of a secret variable, taken from the environment variable NAME, or NAME=VARIABLE; may be repeated")
	flags.StringVar(&f.connection, "connection", "", "`FILE` (YAML or JSON) with service connections; a value env:NAME is the environment's")
	flags.StringVar(&f.stage, "stage", "", "run the stage `NAME` alone, whatever it depends on")
	flags.StringVar(&f.job, "job", "", "run the job `NAME` alone, whatever it depends on")
	flags.StringVar(&f.work, "work", "", "`DIR` for the jobs' folders, artifacts and logs; without it one of the user's cache")
	flags.StringVar(&f.engine, "container-engine", "", "`PROGRAM` that runs containers: docker, podman or a path; without it the first that is there")
	flags.StringArrayVar(&f.tasks, "tasks", nil, "`DIR` with published tasks; may be repeated")
	flags.StringArrayVar(&f.allow, "allow", nil, "`NAME` of an environment variable that steps see too; may be repeated")
	flags.IntVar(&f.parallel, "parallel", 1, "jobs at once")
	flags.BoolVar(&f.yes, "yes", false, "answer approvals with yes")
	return cmd
}

func runLocal(cmd *cobra.Command, from *pipelineFlags, f *localFlags, file string) error {
	p, err := from.open(file)
	if err != nil {
		return err
	}
	defer p.Close()
	facts := flow.Run{
		ID: time.Now().Unix(), Reason: "manual", StartTime: time.Now(), Project: "local", ProjectID: "local", Pipeline: strings.TrimSuffix(filepath.Base(file), filepath.Ext(file)),
		Repository: flow.Repository{ID: "self", Name: filepath.Base(p.source.byAlias["self"].Name()), Provider: "TfsGit"}, ServerURL: "http://localhost/",
	}
	facts.PipelineID = p.path
	root, err := filepath.Abs(p.source.byAlias["self"].Name())
	if err != nil {
		return err
	}
	facts.Ref, facts.Commit, facts.CommitMessage = gitFacts(cmd.Context(), root)
	if user := os.Getenv("USER"); user != "" {
		facts.For.Name, facts.QueuedBy.Name = user, user
	}
	var masks []string
	for _, v := range f.variables {
		name, value, ok := strings.Cut(v, "=")
		if !ok || name == "" {
			return usage("--variable: %q is not name=value", v)
		}
		facts.Queue = append(facts.Queue, work.Variable{Name: name, Value: value, From: "--variable"})
	}
	for _, known := range p.options.Variables {
		facts.Queue = append(facts.Queue, work.Variable{Name: known.Name, Value: known.Value, From: known.From})
	}
	for _, s := range f.secrets {
		name, variable, ok := strings.Cut(s, "=")
		if !ok {
			variable = name
		}
		value, ok := os.LookupEnv(variable)
		if !ok || name == "" {
			return usage("--secret %s: there is no environment variable %s", name, variable)
		}
		facts.Settings = append(facts.Settings, flow.Setting{Variable: work.Variable{Name: name, Value: value, Secret: true, From: "--secret"}})
		masks = append(masks, value)
	}
	for _, v := range facts.Queue {
		p.options.Variables = append(p.options.Variables, pipeline.Known{Name: v.Name, Value: v.Value, From: v.From})
	}
	for _, v := range facts.Predefined() {
		p.options.Variables = append(p.options.Variables, pipeline.Known{Name: v.Name, Value: v.Value, From: v.From})
	}
	plan, err := p.compile(cmd.Context())
	found, err := findings(err)
	if err != nil {
		return err
	}
	if plan != nil {
		found = plan.Unsupported()
		warn(cmd, plan)
	}
	if len(found) > 0 {
		tell(cmd, found)
		return &exitError{exitFailed, fmt.Errorf("%s can't be run", file)}
	}
	endpoints, err := readConnections(f.connection)
	if err != nil {
		return err
	}
	workDir, err := localWork(f.work, root)
	if err != nil {
		return err
	}
	numbered, err := flow.New(plan, &facts)
	if err != nil {
		return err
	}
	if facts.Number, err = numbered.Number(func(string) (int64, error) { return 1, nil }); err != nil {
		return err
	}
	t := &terminal{out: cmd.OutOrStdout(), in: cmd.InOrStdin(), yes: f.yes}
	run := &folder.Run{Dir: filepath.Join(workDir, "runs", fmt.Sprint(facts.ID)+"-"+uuid.NewString()[:8]), Ask: t.ask}
	if err := os.MkdirAll(run.Dir, 0o755); err != nil {
		return err
	}
	t.say(fmt.Sprintf("Run %s of %s; logs and artifacts are in %s", facts.Number, p.path, run.Dir))
	byAlias := map[string]string{}
	for alias, dir := range p.source.byAlias {
		if byAlias[alias], err = filepath.Abs(dir.Name()); err != nil {
			return err
		}
	}
	ctx, drop, stop := interrupts(cmd.Context(), t)
	defer stop()
	result, err := local.Execute(ctx, run, local.Options{
		Plan: plan, Facts: facts, Folders: byAlias, Endpoints: endpoints, Secrets: masks, Stage: f.stage, Job: f.job, Parallel: f.parallel,
		Work:   filepath.Join(workDir, "jobs"),
		Worker: worker.Options{Agent: worker.Agent{ID: "0", Name: "local", Version: version(), Home: workDir}, Engine: f.engine, Tasks: f.tasks, Allow: f.allow, Drop: drop},
		Say:    t.say, Line: t.line,
	})
	if err != nil && !errors.Is(err, worker.ErrCancel) && !errors.Is(err, worker.ErrDropped) {
		return err
	}
	t.say("Run " + facts.Number + ": " + string(result))
	switch result {
	case work.Succeeded, work.SucceededWithIssues:
		return nil
	case work.Failed:
		return &exitError{exitFailed, errors.New("the run failed")}
	}
	return &exitError{exitUsage, errors.New("the run was canceled")}
}

// gitFacts are the ref, the commit and its message of a folder, empty where it is no repository.
func gitFacts(ctx context.Context, dir string) (ref, commit, message string) {
	git := func(args ...string) string {
		out, err := exec.CommandContext(ctx, "git", append([]string{"-C", dir}, args...)...).Output()
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(out))
	}
	if ref = git("symbolic-ref", "--quiet", "HEAD"); ref == "" {
		ref = "refs/heads/main"
	}
	return ref, git("rev-parse", "--verify", "--quiet", "HEAD"), git("log", "-1", "--format=%B")
}

// localWork is the folder for a repository's runs.
func localWork(given, root string) (string, error) {
	if given != "" {
		return filepath.Abs(given)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("there is no folder for the jobs: give --work: %w", err)
	}
	return filepath.Join(cache, "sekisho", "local", filepath.Base(root)+"-"+uuid.NewSHA1(uuid.NameSpaceURL, []byte(root)).String()[:8]), nil
}

// readConnections reads service connections from a file.
func readConnections(file string) ([]work.Endpoint, error) {
	if file == "" {
		return nil, nil
	}
	n, err := readMapping(file)
	if err != nil {
		return nil, err
	}
	text := func(n *yaml.Node) (string, error) {
		if n == nil {
			return "", nil
		}
		if n.Kind != yaml.Scalar {
			return "", &yaml.Error{Pos: n.Pos, Message: "Expected a text"}
		}
		if name, ok := strings.CutPrefix(n.Value, "env:"); ok {
			v, ok := os.LookupEnv(name)
			if !ok {
				return "", &yaml.Error{Pos: n.Pos, Message: "There is no environment variable " + name}
			}
			return v, nil
		}
		return n.Value, nil
	}
	texts := func(n *yaml.Node) (map[string]string, error) {
		m := map[string]string{}
		if n == nil {
			return m, nil
		}
		if n.Kind != yaml.Mapping {
			return nil, &yaml.Error{Pos: n.Pos, Message: "Expected a mapping"}
		}
		for _, p := range n.Pairs {
			v, err := text(p.Value)
			if err != nil {
				return nil, err
			}
			m[p.Key.Value] = v
		}
		return m, nil
	}
	var all []work.Endpoint
	for _, p := range n.Pairs {
		if p.Value.Kind != yaml.Mapping {
			return nil, &yaml.Error{Pos: p.Value.Pos, Message: "Expected a mapping with type, url, scheme, auth and data"}
		}
		e := work.Endpoint{ID: uuid.NewSHA1(uuid.NameSpaceURL, []byte(p.Key.Value)).String(), Name: p.Key.Value}
		for _, kv := range p.Value.Pairs {
			var err error
			switch strings.ToLower(kv.Key.Value) {
			case "type":
				e.Type, err = text(kv.Value)
			case "url":
				e.URL, err = text(kv.Value)
			case "scheme":
				e.Scheme, err = text(kv.Value)
			case "auth":
				e.Auth, err = texts(kv.Value)
			case "data":
				e.Data, err = texts(kv.Value)
			default:
				err = &yaml.Error{Pos: kv.Key.Pos, Message: fmt.Sprintf("'%s' is nothing that a service connection has: it has type, url, scheme, auth and data", kv.Key.Value)}
			}
			if err != nil {
				return nil, err
			}
		}
		if e.Scheme == "" {
			e.Scheme = "UsernamePassword"
		}
		all = append(all, e)
	}
	return all, nil
}

// terminal is where people see the run, and answer what it asks.
type terminal struct {
	mu  sync.Mutex
	out io.Writer
	in  io.Reader
	yes bool
}

func (t *terminal) say(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintln(t.out, text)
}

func (t *terminal) line(job, _, line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(t.out, "%s | %s\n", job, line)
}

func (t *terminal) ask(ctx context.Context, what string) (bool, string, error) {
	t.say(what + " [y/N] ")
	if t.yes {
		t.say("yes, as --yes says")
		return true, "", nil
	}
	answer := make(chan string, 1)
	go func() { // ends with the process, where nobody answers
		line, _ := bufio.NewReader(t.in).ReadString('\n')
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case a := <-answer:
		return a == "y" || a == "yes", "", nil
	case <-ctx.Done():
		return false, "", context.Cause(ctx)
	}
}

// interrupts is a context whose end cancels the run, at the first interrupt, and a channel that the second one closes.
func interrupts(parent context.Context, t *terminal) (context.Context, <-chan struct{}, func()) {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(parent))
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done, drop := make(chan struct{}), make(chan struct{})
	go func() {
		select {
		case <-signals:
		case <-done:
			return
		}
		t.say("Canceling. Interrupt again to stop at once.")
		cancel(worker.ErrCancel)
		select {
		case <-signals:
			close(drop)
		case <-done:
		}
	}()
	return ctx, drop, func() { signal.Stop(signals); close(done); cancel(nil) }
}
