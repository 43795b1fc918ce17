package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/sekisho/sekisho/internal/agent/command"
	"github.com/sekisho/sekisho/internal/agent/nodetask"
	"github.com/sekisho/sekisho/internal/agent/task"
	"github.com/sekisho/sekisho/internal/agent/work"
)

const (
	maxIssues  = 100 // of a kind, that a record keeps
	maxMessage = 4 << 10
	maxRetries = 10
	maxDetails = 200 // records that a step's commands may add
)

// step is a step that runs. It is the task's log and its variables, and what commands in its output change.
type step struct {
	j        *job
	def      *work.Step
	log      *logFile
	restrict command.Restrictions
	host     task.Host
	force    context.CancelCauseFunc // ends the step's processes

	mu      sync.Mutex
	rec     work.Record
	result  work.Result // what commands made of it; empty: nothing
	counts  map[string]int
	details map[string]*work.Record
	expired bool // the step's log is closed
}

func (j *job) newStep(def *work.Step) *step {
	j.order++
	s := &step{
		j: j, def: def, restrict: command.RestrictionsOf(def.Target), counts: map[string]int{}, details: map[string]*work.Record{},
		force: func(error) {},
		rec: work.Record{
			Step: def.ID, Order: j.order, Name: def.Name, Task: def.Task,
			DisplayName: cmp.Or(j.vars.expand(def.DisplayName), def.Task, def.Name, def.ID), State: work.Pending, Log: def.ID,
		},
	}
	return s
}

// start opens the step's log.
func (s *step) start() {
	s.mu.Lock()
	s.rec.State, s.rec.Started = work.InProgress, s.j.opts.Clock.Now()
	s.mu.Unlock()
	s.log = newLog(s.j.tell, s.def.ID, s.j)
	if c := s.j.opts.Console; c != nil {
		name := s.j.masker.String(s.rec.DisplayName)
		s.log.console = func(text string) { c(name, text) }
	}
	s.put()
	s.Section("Starting: " + s.rec.DisplayName)
	s.j.main.Line(command.Section.String("Starting: " + s.rec.DisplayName))
}

// finish closes the step's log and tells its result.
func (s *step) finish(r work.Result, message string) {
	switch {
	case message != "":
		s.j.main.Line(fmt.Sprintf("%s: %s: %s", s.rec.DisplayName, r, message))
	default:
		s.j.main.Line(fmt.Sprintf("%s: %s", s.rec.DisplayName, r))
	}
	if s.log != nil {
		if r != work.Skipped {
			s.Section("Finishing: " + s.rec.DisplayName)
		}
		s.log.Close()
	}
	s.mu.Lock()
	s.expired = true
	s.rec.State, s.rec.Result, s.rec.Finished = work.Completed, r, s.j.opts.Clock.Now()
	if r != work.Skipped {
		s.rec.Progress = 100
	}
	s.rec.Operation = ""
	s.rec.Message = message
	if s.log == nil {
		s.rec.Log, s.rec.Started = "", s.rec.Finished
	}
	s.mu.Unlock()
	s.put()
}

// put tells the server how the step is.
func (s *step) put() {
	s.mu.Lock()
	rec := s.rec
	issues := make([]work.Issue, len(rec.Issues))
	copy(issues, rec.Issues)
	s.mu.Unlock()
	m := func(text string) string {
		if len(text) > maxMessage {
			text = strings.ToValidUTF8(text[:maxMessage], "") + "…"
		}
		return s.j.masker.String(text)
	}
	rec.DisplayName, rec.Message, rec.Operation = m(rec.DisplayName), m(rec.Message), m(rec.Operation)
	for i := range issues {
		is := &issues[i]
		is.Message, is.Source, is.Line, is.Column, is.Code = m(is.Message), m(is.Source), m(is.Line), m(is.Column), m(is.Code)
	}
	rec.Issues = issues
	s.j.records.put(rec)
}

// planned is a step of the job, or one that a step of the job brings with it.
type planned struct {
	def   *work.Step
	run   task.Func
	limit *command.Restrictions // of the task; nil: none
}

// plan is the steps in the order in which they run: first what tasks do before all, then the steps.
func (j *job) plan() []planned {
	var before, main []planned
	for i := range j.Job.Steps {
		def := &j.Job.Steps[i]
		if !def.Enabled {
			main = append(main, planned{def: def})
			continue
		}
		if isCheckout(def.Task) {
			main = append(main, planned{def: def, run: j.checkout})
			continue
		}
		t, _ := j.find(def.Task) // prepare found it
		main = append(main, planned{def, t.main, t.limit})
		if t.before != nil {
			d := *def
			d.ID, d.Name, d.DisplayName, d.Retries, d.Hook = def.ID+".pre", "", "Pre-job: "+def.DisplayName, 0, ""
			before = append(before, planned{&d, t.before, t.limit})
		}
		if t.after != nil {
			j.after = append(j.after, afterStep{"Post-job: " + def.DisplayName, def, t.after, t.limit})
		}
	}
	return append(before, main...)
}

// found is what a step's task does.
type found struct {
	main, before, after task.Func
	limit               *command.Restrictions
}

// find finds a task: a published one in the folders that the agent was configured with, as those were put there on
// purpose; one that the agent knows itself; or a published one below the work folder, where jobs can write and must not
// replace what the agent knows.
func (j *job) find(ref string) (found, error) {
	t, err := nodetask.Find(j.opts.Tasks, ref)
	if err != nil {
		if f, _, ok := task.Lookup(ref); ok {
			return found{main: f}, nil
		}
		if t, err = nodetask.Find(append(j.opts.Tasks[:len(j.opts.Tasks):len(j.opts.Tasks)], j.dirs.Tasks), ref); err != nil {
			return found{}, err
		}
	}
	limit := t.Restrictions()
	f := found{main: t.Main, limit: &limit}
	if t.HasBefore() {
		f.before = t.Before
	}
	if t.HasAfter() {
		f.after = t.After
	}
	return f, nil
}

// runStep runs a step, if its condition says so.
func (j *job) runStep(p planned) {
	status, _ := j.result()
	h := &j.hooks
	if p.def.Hook != "" {
		h.enter(p.def.Hook, status)
		status = h.status(status)
	}
	_ = j.vars.define(work.Variable{Name: "Agent.JobStatus", Value: jobStatus(status), ReadOnly: true, From: "agent"})
	warnings, err := j.vars.expandAll()
	s := j.newStep(p.def)
	s.restrict.And = p.limit
	if !p.def.Enabled {
		s.finish(work.Skipped, "The step is disabled.")
		return
	}
	if p.def.Hook != "" && h.out != "" {
		s.finish(work.Skipped, h.out)
		return
	}
	var run bool
	if err == nil {
		run, err = j.condition(p.def.Condition, status)
	}
	switch {
	case j.hard.Err() != nil:
		s.finish(work.Skipped, "The job ended before.")
		return
	case err == nil && !run:
		s.finish(work.Skipped, "The condition is false: "+cmp.Or(p.def.Condition, "succeeded()"))
		return
	}
	s.start()
	for _, w := range warnings {
		s.Warning(w)
	}
	result, message := work.Failed, errText(err)
	if err != nil {
		s.Error(err.Error())
	} else {
		result, message = s.attempts(p)
	}
	if strings.EqualFold(strings.TrimSpace(j.vars.expand(p.def.ContinueOnError)), "true") && result == work.Failed {
		result = work.SucceededWithIssues
	}
	s.finish(result, message)
	if result != work.Skipped {
		j.merge(result, "")
		h.ended(result)
	}
}

func jobStatus(r work.Result) string {
	switch r {
	case work.SucceededWithIssues:
		return "SucceededWithIssues"
	case work.Failed:
		return "Failed"
	case work.Canceled:
		return "Canceled"
	}
	return "Succeeded"
}

// attempts runs the step's task, again where it may fail and be tried again.
func (s *step) attempts(p planned) (work.Result, string) {
	retries := min(p.def.Retries, maxRetries)
	for try := 1; ; try++ {
		s.mu.Lock()
		s.rec.Tries, s.result = try, ""
		s.mu.Unlock()
		result, message := s.attempt(p)
		if result != work.Failed || try > retries || s.j.soft.Err() != nil {
			return result, message
		}
		wait := time.Duration(try*try) * time.Second
		s.Warning(fmt.Sprintf("Attempt %d of %d failed: %s. The next one is in %s.", try, retries+1, cmp.Or(message, "see the log"), wait))
		c, stop := s.j.opts.Clock.After(wait)
		select {
		case <-c:
		case <-s.j.soft.Done():
		}
		stop()
		if s.j.soft.Err() != nil {
			return work.Canceled, "The job was canceled."
		}
	}
}

// attempt runs the step's task once.
func (s *step) attempt(p planned) (work.Result, string) {
	j := s.j
	ctx, cancel := context.WithCancelCause(j.hard)
	defer cancel(errOver)
	s.mu.Lock()
	s.force = cancel
	s.mu.Unlock()
	if m := p.def.TimeoutMinutes; m > 0 {
		c, stop := j.opts.Clock.After(time.Duration(m) * time.Minute)
		defer stop()
		go func() {
			select {
			case <-c:
				cancel(errStepTimeout)
			case <-ctx.Done():
			}
		}()
	}
	if j.soft.Err() == nil {
		// When the job is canceled the step goes on only if its condition still holds.
		unwatch := context.AfterFunc(j.soft, func() {
			if again, err := j.condition(p.def.Condition, work.Canceled); err != nil || !again {
				cancel(ErrCancel)
			}
		})
		defer unwatch()
	}
	err := s.runTask(ctx, p)
	cause := context.Cause(ctx)
	s.mu.Lock()
	said := s.result
	s.mu.Unlock()
	switch {
	case errors.Is(cause, errStepTimeout):
		s.Error(fmt.Sprintf("The task has timed out after %d minutes.", p.def.TimeoutMinutes))
		return work.Failed, "The step took longer than its timeout."
	case cause != nil && !errors.Is(cause, errForced):
		s.Error("The operation was canceled.")
		return work.Canceled, "The job was canceled."
	case errors.Is(cause, errForced) && errors.Is(err, errForced):
		err = nil
	}
	var exit *task.ExitError
	if errors.As(err, &exit) {
		s.mu.Lock()
		s.rec.ExitCode = &exit.Code
		s.mu.Unlock()
	}
	switch {
	case errors.Is(err, task.ErrSkipped):
		return work.Skipped, ""
	case errors.Is(err, task.ErrIssues):
		return worst(work.SucceededWithIssues, said), ""
	case err != nil:
		if exit == nil {
			s.Error(err.Error())
		}
		return worst(work.Failed, said), err.Error()
	}
	return cmp.Or(said, work.Succeeded), s.lastError(said)
}

// worst is the worse one of what a task returned and what its commands said.
func worst(a, b work.Result) work.Result {
	if b != "" && b != work.Skipped && worse(b, a) {
		return b
	}
	return a
}

// lastError is why commands made a step fail.
func (s *step) lastError(r work.Result) string {
	if r != work.Failed {
		return ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(s.rec.Issues) - 1; i >= 0; i-- {
		if s.rec.Issues[i].Type == "error" {
			return s.rec.Issues[i].Message
		}
	}
	return ""
}

func (s *step) runTask(ctx context.Context, p planned) error {
	j := s.j
	inputs := task.Inputs{}
	for k, v := range p.def.Inputs {
		inputs[strings.ToLower(strings.TrimSpace(k))] = strings.TrimSpace(j.vars.expand(v))
	}
	alias := j.Container
	if t := p.def.Target; t != nil && t.Container != "" {
		alias = t.Container
	}
	inside := alias != "" && !strings.EqualFold(alias, "host") && !isCheckout(p.def.Task)
	env := j.environment(p.def, inside)
	if inside {
		h, err := j.engine.host(j, s, alias, env)
		if err != nil {
			return err
		}
		s.host = h
	} else {
		s.host = &hostRunner{j: j, step: s, env: env, dirs: j.dirs}
	}
	j.notes.Lock()
	scope := j.taskVars[strings.ToLower(p.def.Task)]
	if scope == nil {
		scope = newScope(j.masker)
		j.taskVars[strings.ToLower(p.def.Task)] = scope
	}
	j.notes.Unlock()
	def := *p.def
	def.DisplayName = s.rec.DisplayName
	c := &task.Context{
		Job: j.Job, Step: &def, Inputs: inputs, Dirs: j.dirs, Env: env, Log: taskLog{s}, Vars: &stepVars{s, scope}, Host: s.host, Server: maskedServer{j.server, j.masker},
		Now:     j.opts.Clock.Now,
		Prepend: func(folder string) { _ = s.PrependPath(folder) },
		After: func(name string, f task.Func) {
			j.notes.Lock()
			defer j.notes.Unlock()
			j.after = append(j.after, afterStep{name, p.def, f, p.limit})
		},
	}
	return p.run(ctx, c)
}

// stepVars is the job's variables, as one of its steps changes them.
type stepVars struct {
	s     *step
	tasks *scope
}

func (v *stepVars) Get(name string) (string, bool) {
	got, ok := v.s.j.vars.get(name)
	return got.Value, ok
}

func (v *stepVars) Expand(text string) string { return v.s.j.vars.expand(text) }

func (v *stepVars) Set(w work.Variable, output bool) error { return v.s.Variable(w, output) }

// All and TaskVariables are what published tasks get in their environment.
func (v *stepVars) All() []work.Variable           { return v.s.j.vars.all() }
func (v *stepVars) TaskVariables() []work.Variable { return v.tasks.all() }

var (
	_ nodetask.Lister = (*stepVars)(nil)
	_ command.State   = (*step)(nil)
	_ task.Log        = taskLog{}
)
