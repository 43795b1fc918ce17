// Package worker runs a job: it prepares folders and containers, runs the steps one after the other, and tells the server
// what becomes of them. The agent and local runs use it alike.
//
// What always holds: nothing that a job started outlives it, what it wrote outside its folders apart; a secret is in no
// log, record or error; a step sees of the agent's environment only what is on a list; results, logs and records are
// with the server before [Run] returns, or Run says that they are not.
//
// It does not get jobs, renew leases or decide which jobs run: that is agent's and run's business.
package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/sekisho/sekisho/internal/agent/command"
	"github.com/sekisho/sekisho/internal/agent/mask"
	"github.com/sekisho/sekisho/internal/agent/task"
	"github.com/sekisho/sekisho/internal/agent/work"
)

var (
	// ErrCancel is the cause with which the context of [Run] ends when people or the server cancel the job: steps that run
	// always still do, for the job's cancel timeout at most. Any other end of the context stops everything at once.
	ErrCancel = errors.New("the job was canceled")
	// ErrDropped is what Run returns when it was told to drop the job.
	ErrDropped = errors.New("the job was dropped")
	// errStepTimeout and the next ones are causes too.
	errStepTimeout = errors.New("the step took longer than its timeout")
	errForced      = errors.New("the step said that it is complete")
	errOver        = errors.New("the job is over")
	errCancelTime  = errors.New("the time for ending a canceled job is over")
)

// Options are what a job's surroundings are.
type Options struct {
	Work  string // the work folder, absolute
	Agent Agent
	// Env is the agent's own environment; nil is this process's. Of it a step sees what is on the list of [Allowed], and the
	// names of Allow, which may end in *.
	Env   []string
	Allow []string
	// Tasks are folders with published tasks, beside the work folder's _tasks. What is there is used even for tasks that the
	// agent knows itself; jobs should not be able to write there.
	Tasks []string
	// Engine is the program that runs containers: "docker", "podman" or a path. Empty: the first one that is there.
	Engine string
	// Checkout says where repositories lie on this machine, by alias: local runs use what is there instead of fetching.
	Checkout map[string]string
	// CAFile holds the certificate authorities for the server, beside the system's.
	CAFile string
	// Console gets each line of output as it is written, masked, with the step's name. It must not block for long.
	Console func(step, line string)
	// Message is told why the job has its result, where that is not plain, before Run returns.
	Message func(text string)
	// Drop, when it is closed, stops a job at once that is being canceled already.
	Drop  <-chan struct{}
	Log   *slog.Logger // the agent's own log; nil: none
	Clock Clock        // nil: the machine's
}

// Agent says who runs the job.
type Agent struct{ ID, Name, Version, Home string }

// job is a job that runs.
type job struct {
	*work.Job
	opts   Options
	server work.Server
	log    *slog.Logger

	masker   *mask.Masker
	vars     *scope
	dirs     task.Dirs
	base     []string // the environment that steps get from the agent
	marker   string
	procs    *processes
	records  *recorder
	main     *logFile
	engine   *engine
	keep     []string // files and folders to remove at the end
	prepend  []string // folders before the PATH, the last one first
	order    int
	hooks    hooks
	notes    sync.Mutex // guards prepend, after and Endpoints
	after    []afterStep
	taskVars map[string]*scope // by task

	hard context.Context // its end stops everything at once
	stop context.CancelCauseFunc
	soft context.Context // its end cancels the job: steps decide by their conditions
	tell context.Context // its end means that the server is not told any more; hard ends with it
	mute context.CancelCauseFunc

	background sync.WaitGroup // readers of pipes
	statusMu   sync.Mutex
	status     work.Result
	message    string
	fatal      error
}

type afterStep struct {
	name  string
	of    *work.Step
	run   task.Func
	limit *command.Restrictions
}

// Run runs a job to its end. The result counts if the error is nil: then all logs and records are with the server. The
// context ends with the cause [ErrCancel] to cancel the job, with another one to drop it.
func Run(ctx context.Context, w *work.Job, server work.Server, opts Options) (work.Result, error) {
	if opts.Clock == nil {
		opts.Clock = realClock{}
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Env == nil {
		opts.Env = os.Environ()
	}
	if !filepath.IsAbs(opts.Work) {
		return "", fmt.Errorf("the work folder %q is no absolute path", opts.Work)
	}
	copied := *w
	copied.Endpoints = cloneEndpoints(w.Endpoints)
	j := &job{
		Job: &copied, opts: opts, server: server, log: opts.Log, masker: mask.New(), marker: uuid.NewString(), status: work.Succeeded,
		taskVars: map[string]*scope{},
	}
	j.vars = newScope(j.masker)
	var drop context.CancelFunc
	j.hard, j.stop = context.WithCancelCause(context.WithoutCancel(ctx))
	j.soft, drop = context.WithCancel(context.WithoutCancel(ctx))
	j.tell, j.mute = context.WithCancelCause(context.WithoutCancel(ctx))
	defer drop()
	defer j.stop(errOver)
	defer j.mute(errOver)
	// What ends when: a cancel ends soft, and hard after a while; anything else ends hard, and soft with it.
	cancel := make(chan error, 1)
	unwatch := context.AfterFunc(ctx, func() { cancel <- context.Cause(ctx) })
	defer unwatch()
	watched := make(chan struct{})
	go func() { defer close(watched); j.watch(cancel, drop) }()

	dropped := make(chan struct{})
	go func() {
		defer close(dropped)
		select {
		case <-opts.Drop:
			j.drop(ErrDropped)
		case <-j.hard.Done():
		}
	}()
	j.procs = newProcesses()
	j.records = newRecorder(j.tell, server, j.fail)
	j.main = newLog(j.tell, "job", j)
	j.record(work.Record{State: work.InProgress, Started: j.opts.Clock.Now()}, true)
	started := j.opts.Clock.Now()

	j.all()

	// Nothing survives: first what runs, then what lies around.
	j.procs.end(j.marker)
	j.background.Wait()
	for _, path := range j.keep {
		_ = removeAll(path)
	}
	if j.dirs.Temp != "" {
		_ = removeAll(j.dirs.Temp)
	}
	result, message := j.result()
	j.main.Close()
	j.record(work.Record{State: work.Completed, Result: result, Message: message, Started: started, Finished: j.opts.Clock.Now(), Progress: 100}, true)
	j.records.close()
	if opts.Message != nil {
		opts.Message(j.masker.String(message))
	}
	cause := context.Cause(j.tell)
	j.stop(errOver)
	<-watched
	<-dropped
	j.statusMu.Lock()
	defer j.statusMu.Unlock()
	switch {
	case j.fatal != nil:
		return result, j.fatal
	case cause != nil:
		return result, cause
	}
	return result, nil
}

// watch turns the end of Run's context and the job's timeout into the ends of soft and hard.
func (j *job) watch(cancel <-chan error, drop func()) {
	defer drop()
	var timeout <-chan time.Time
	if j.TimeoutMinutes > 0 {
		c, stop := j.opts.Clock.After(time.Duration(j.TimeoutMinutes) * time.Minute)
		defer stop()
		timeout = c
	}
	select {
	case <-j.hard.Done():
		return
	case <-timeout:
		j.merge(work.Canceled, fmt.Sprintf("The job ran longer than the maximum time of %d minutes.", j.TimeoutMinutes))
	case cause := <-cancel:
		if !errors.Is(cause, ErrCancel) {
			j.drop(cause)
			return
		}
		j.merge(work.Canceled, "The job was canceled.")
	}
	drop()
	minutes := cmp.Or(j.CancelTimeoutMinutes, 5)
	over, stop := j.opts.Clock.After(time.Duration(minutes) * time.Minute)
	defer stop()
	select {
	case <-over:
		j.stop(errCancelTime)
	case cause := <-cancel:
		if !errors.Is(cause, ErrCancel) {
			j.drop(cause)
			return
		}
		select {
		case <-over:
			j.stop(errCancelTime)
		case <-j.hard.Done():
		}
	case <-j.hard.Done():
	}
}

// drop ends the job at once, and tells nobody.
func (j *job) drop(cause error) {
	j.merge(work.Canceled, "The agent stopped.")
	j.mute(cause)
	j.stop(cause)
}

// fail ends the job because the server can't be told any more.
func (j *job) fail(err error) {
	j.statusMu.Lock()
	if j.fatal == nil {
		j.fatal = err
	}
	j.statusMu.Unlock()
	j.mute(err)
	j.stop(err)
}

// merge changes the job's result, never to a better one.
func (j *job) merge(r work.Result, message string) {
	j.statusMu.Lock()
	defer j.statusMu.Unlock()
	if worse(r, j.status) {
		j.status = r
		if message != "" {
			j.message = message
		}
	}
}

func (j *job) result() (work.Result, string) {
	j.statusMu.Lock()
	defer j.statusMu.Unlock()
	return j.status, j.message
}

// worse reports whether a result takes another one's place. A canceled job stays canceled whatever fails on its way out.
func worse(a, b work.Result) bool {
	order := []work.Result{work.Succeeded, work.SucceededWithIssues, work.Failed, work.Canceled, work.Abandoned}
	return slices.Index(order, a) > slices.Index(order, b)
}

// all runs the job from its first step to its last one.
func (j *job) all() {
	if !j.begin() {
		j.end()
		return
	}
	list := j.plan()
	for i := range list {
		j.runStep(list[i])
	}
	j.end()
}

// begin is the step that prepares the job.
func (j *job) begin() bool {
	s := j.newStep(&work.Step{ID: "initialize", DisplayName: "Initialize job", Enabled: true})
	s.start()
	err := j.prepare(s)
	if err != nil {
		s.Error(err.Error())
	}
	s.finish(failedIf(err), errText(err))
	if err != nil {
		j.merge(work.Failed, "The job could not be prepared: "+errText(err))
	}
	return err == nil
}

func failedIf(err error) work.Result {
	if err != nil {
		return work.Failed
	}
	return work.Succeeded
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func (j *job) prepare(s *step) error {
	a := j.opts.Agent
	s.Line(fmt.Sprintf("Agent name: '%s'", a.Name))
	if host, err := os.Hostname(); err == nil {
		s.Line(fmt.Sprintf("Agent machine name: '%s'", host))
	}
	s.Line("Current agent version: '" + a.Version + "'")
	if err := j.masks(); err != nil {
		return err
	}
	var err error
	if j.dirs, err = folders(j.opts.Work, j.Job); err != nil {
		return err
	}
	s.Line("Work folder: " + j.dirs.Pipeline)
	j.base = allowed(j.opts.Env, j.opts.Allow)
	if err := j.define(); err != nil {
		return err
	}
	warnings, err := j.vars.expandAll()
	for _, w := range warnings {
		s.Warning(w)
	}
	if err != nil {
		return err
	}
	for i := range j.Job.Steps {
		if st := &j.Job.Steps[i]; st.Enabled && !isCheckout(st.Task) {
			if _, err := j.find(st.Task); err != nil {
				return fmt.Errorf("step %q: %w", cmp.Or(st.DisplayName, st.Name, st.ID), err)
			}
		}
	}
	if err := j.download(j.hard, s); err != nil {
		return err
	}
	return j.containers(j.soft, s)
}

// masks has all secrets of the job masked, before anything is logged that could hold one.
func (j *job) masks() error {
	values := slices.Clone(j.Masks)
	for _, v := range j.Variables {
		if v.Secret {
			values = append(values, v.Value)
		}
	}
	for _, e := range j.Endpoints {
		for k, v := range e.Auth {
			if !publicParameter(k) {
				values = append(values, v)
			}
		}
	}
	values = append(values, j.Token)
	if c := j.Credentials; c != nil {
		values = append(values, c.SecretAccessKey, c.SessionToken)
	}
	return j.masker.Add(values...)
}

// publicParameter reports whether a parameter of an endpoint is no secret: a name that is not known is one.
func publicParameter(name string) bool {
	switch strings.ToLower(name) {
	case "username", "registry", "registrytype", "url", "email", "region", "assumerolearn", "rolesessionname", "externalid", "scope", "scheme", "tenantid",
		"serviceprincipalid", "authenticationtype", "host", "port", "audience", "rolearn", "namespace", "cluster", "duration", "account":
		return true
	}
	return false
}

// define sets the variables of the job, and then those that only the agent knows.
func (j *job) define() error {
	for _, v := range j.Variables {
		if err := j.vars.define(v); err != nil {
			return err
		}
	}
	id, d := j.Identity, j.dirs
	host, _ := os.Hostname()
	for _, v := range []struct{ name, value string }{
		{"Agent.Id", j.opts.Agent.ID}, {"Agent.Name", j.opts.Agent.Name}, {"Agent.Version", j.opts.Agent.Version},
		{"Agent.MachineName", host}, {"Agent.OS", agentOS()}, {"Agent.OSArchitecture", architecture()},
		{"Agent.HomeDirectory", j.opts.Agent.Home}, {"Agent.RootDirectory", j.opts.Agent.Home}, {"Agent.WorkFolder", d.Work},
		{"Agent.BuildDirectory", d.Pipeline}, {"Agent.TempDirectory", d.Temp}, {"Agent.ToolsDirectory", d.Tools},
		{"Agent.IsSelfHosted", "1"}, {"Agent.JobName", cmp.Or(j.DisplayName, id.Job)}, {"Agent.JobStatus", "Succeeded"},
		{"Pipeline.Workspace", d.Pipeline}, {"Build.SourcesDirectory", d.Sources}, {"Build.Repository.LocalPath", d.Sources},
		{"Build.BinariesDirectory", d.Binaries}, {"Build.StagingDirectory", d.Staging}, {"Build.ArtifactStagingDirectory", d.Staging},
		{"Common.TestResultsDirectory", d.Results}, {"System.ArtifactsDirectory", d.Staging}, {"System.DefaultWorkingDirectory", d.Sources},
		{"System.WorkFolder", d.Work},
	} {
		if err := j.vars.define(work.Variable{Name: v.name, Value: v.value, ReadOnly: true, From: "agent"}); err != nil {
			return err
		}
	}
	if ca := j.opts.CAFile; ca != "" { // builders and published tasks look for it
		if err := j.vars.define(work.Variable{Name: "Agent.CAInfo", Value: ca, ReadOnly: true, From: "agent"}); err != nil {
			return err
		}
	}
	// The server says these; a local run, or an older server, may not.
	for _, v := range []struct{ name, value string }{
		{"System.HostType", "build"}, {"System.Culture", "en-US"}, {"System.ServerType", "Hosted"}, {"System.JobId", j.Job.ID},
		{"System.JobName", id.Job}, {"System.StageName", id.Stage}, {"System.JobDisplayName", j.DisplayName},
		{"System.TeamProject", id.Project}, {"System.TeamProjectId", id.ProjectID}, {"System.DefinitionId", id.PipelineID},
		{"System.CollectionUri", j.Server}, {"System.TeamFoundationCollectionUri", j.Server}, {"System.TeamFoundationServerUri", j.Server}, {"System.JobAttempt", strconv.Itoa(max(id.RunAttempt, 1))},
		{"Build.BuildId", strconv.FormatInt(id.Run, 10)}, {"Build.BuildNumber", id.RunNumber}, {"Build.DefinitionName", id.Pipeline},
		{"Build.SourceBranch", id.Ref}, {"Build.SourceVersion", id.Commit}, {"Build.Reason", id.Reason}, {"Build.RequestedFor", id.RequestedFor},
	} {
		if _, ok := j.vars.get(v.name); !ok && v.value != "" {
			if err := j.vars.define(work.Variable{Name: v.name, Value: v.value, ReadOnly: true, From: "agent"}); err != nil {
				return err
			}
		}
	}
	if j.Token != "" {
		request := work.Variable{Name: "System.OidcRequestUri", Value: strings.TrimSuffix(j.Server, "/") + work.IdentityPath, ReadOnly: true, From: "agent"}
		if err := j.vars.define(request); err != nil {
			return err
		}
		return j.vars.define(work.Variable{Name: "System.AccessToken", Value: j.Token, Secret: true, ReadOnly: true, From: "agent"})
	}
	return nil
}

func agentOS() string {
	switch runtime.GOOS {
	case "darwin":
		return "Darwin"
	case "windows":
		return "Windows_NT"
	}
	return "Linux"
}

func architecture() string {
	switch runtime.GOARCH {
	case "amd64":
		return "X64"
	case "386":
		return "X86"
	}
	return strings.ToUpper(runtime.GOARCH)
}

// end runs what was left for the end of the job, and takes its containers away.
func (j *job) end() {
	j.notes.Lock()
	list := slices.Clone(j.after)
	j.notes.Unlock()
	slices.Reverse(list)
	for _, a := range list {
		def := *a.of
		def.ID, def.Name, def.DisplayName, def.Condition = a.of.ID+".post", "", a.name, "always()"
		def.ContinueOnError, def.Retries, def.TimeoutMinutes = "", 0, 0
		j.runStep(planned{def: &def, run: a.run, limit: a.limit})
	}
	s := j.newStep(&work.Step{ID: "finalize", DisplayName: "Finalize Job", Enabled: true})
	s.start()
	j.removeContainers(s)
	s.finish(work.Succeeded, "")
}

// record numbers and sends a record of the job itself.
func (j *job) record(r work.Record, named bool) {
	if named {
		r.DisplayName, r.Log = j.DisplayName, j.main.id
	}
	r.Message = j.masker.String(r.Message)
	j.records.put(r)
}

func cloneEndpoints(all []work.Endpoint) []work.Endpoint {
	all = slices.Clone(all)
	for i := range all {
		all[i].Auth, all[i].Data = cloneMap(all[i].Auth), cloneMap(all[i].Data)
	}
	return all
}

func cloneMap(m map[string]string) map[string]string {
	c := make(map[string]string, len(m))
	for k, v := range m {
		c[k] = v
	}
	return c
}
