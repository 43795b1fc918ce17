// Package local runs pipelines on one's own machine: what flow decides is given to the worker, stage by stage and job
// by job, as a server and its agents would. What only a server has is said and left out: pools, checks, other runs.
package local

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sekisho/sekisho/internal/agent/folder"
	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/agent/worker"
	"github.com/sekisho/sekisho/internal/pipeline"
	"github.com/sekisho/sekisho/internal/pipeline/flow"
)

// Options are a run on this machine.
type Options struct {
	Plan *pipeline.Plan
	// Facts are what the run knows of itself. Groups that the plan uses and that are not among Facts.Groups are empty.
	Facts     flow.Run
	Folders   map[string]string // of repositories, by alias in lower case; "self" must be there
	Endpoints []work.Endpoint   // service connections
	Secrets   []string          // to be masked, beside those of Facts

	Stage, Job string // run this one alone, whatever it depends on; empty: all
	Parallel   int    // jobs at once; 0: one

	Work   string         // folder with the jobs' work folders, kept from run to run
	Worker worker.Options // Work, Checkout and Console are filled in
	// Run runs a job. Nil: the worker does.
	Run func(ctx context.Context, job *work.Job, server work.Server, o worker.Options) (work.Result, error)
	// Say is told what happens, Line each line of output, with the job and the step it is of.
	Say  func(text string)
	Line func(job, step, line string)
}

// Execute runs a plan to its end. The error is one of the run's surroundings; a run that fails has a result.
func Execute(ctx context.Context, r *folder.Run, o Options) (work.Result, error) {
	plan, err := only(o.Plan, o.Stage, o.Job)
	if err != nil {
		return "", err
	}
	o.Plan = plan
	if o.Facts.Groups == nil {
		o.Facts.Groups = map[string][]work.Variable{}
	}
	for _, g := range flow.Groups(plan) {
		if _, ok := o.Facts.Groups[strings.ToLower(g)]; !ok {
			o.Facts.Groups[strings.ToLower(g)] = nil
			o.Say(fmt.Sprintf("The variable group %s is the server's: its variables are not set here.", g))
		}
	}
	f, err := flow.New(plan, &o.Facts)
	if err != nil {
		return "", err
	}
	e := &execution{run: r, o: o, flow: f, state: flow.NewState(plan), ended: make(chan ending), said: map[string]bool{}}
	return e.all(ctx)
}

// only is a plan with one stage, or one job, that depends on nothing.
func only(plan *pipeline.Plan, stage, job string) (*pipeline.Plan, error) {
	if stage == "" && job == "" {
		return plan, nil
	}
	p := *plan
	p.Stages = nil
	for _, s := range plan.Stages {
		if stage != "" && !strings.EqualFold(s.Name, stage) {
			continue
		}
		c := *s
		c.DependsOn = nil
		if job != "" {
			c.Jobs = nil
			for _, j := range s.Jobs {
				if strings.EqualFold(j.Name, job) {
					one := *j
					one.DependsOn = nil
					c.Jobs = append(c.Jobs, &one)
				}
			}
			if len(c.Jobs) == 0 {
				continue
			}
		}
		p.Stages = append(p.Stages, &c)
	}
	if len(p.Stages) == 0 {
		return nil, fmt.Errorf("there is no %s: the pipeline has %s", strings.TrimSpace(named("stage", stage)+" "+named("job", job)), names(plan))
	}
	return &p, nil
}

func named(what, name string) string {
	if name == "" {
		return ""
	}
	return what + " " + name
}

func names(plan *pipeline.Plan) string {
	var all []string
	for _, s := range plan.Stages {
		for _, j := range s.Jobs {
			all = append(all, s.Name+"."+j.Name)
		}
	}
	return strings.Join(all, ", ")
}

// execution is a run that is under way. Its state is its own goroutine's alone.
type execution struct {
	run     *folder.Run
	o       Options
	flow    *flow.Flow
	state   *flow.State
	queue   []flow.Action // instances that are ready
	running int
	ended   chan ending
	masks   []string
	said    map[string]bool
}

// ending is how an instance ended.
type ending struct {
	action  flow.Action
	result  work.Result
	outputs map[string]string
	secrets []string
	err     error
}

func (e *execution) all(ctx context.Context) (work.Result, error) {
	var failure error
	done := ctx.Done()
	for {
		actions, err := e.flow.Next(e.state)
		if err != nil {
			return "", errors.Join(failure, err)
		}
		for _, a := range actions {
			e.follow(ctx, a)
		}
		for len(e.queue) > 0 && e.running < max(e.o.Parallel, 1) && !e.state.Canceling {
			a := e.queue[0]
			e.queue = e.queue[1:]
			e.start(ctx, a)
		}
		if e.state.Canceling {
			for _, a := range e.queue {
				e.complete(ending{action: a, result: work.Canceled})
			}
			if len(e.queue) > 0 {
				e.queue = nil
				continue
			}
		}
		if e.state.Done && e.running == 0 {
			return e.state.Result, failure
		}
		if len(actions) > 0 && e.running == 0 {
			continue
		}
		if e.running == 0 {
			return "", errors.Join(failure, errors.New("the run can't go on: nothing runs and nothing is ready"))
		}
		select {
		case end := <-e.ended:
			e.running--
			e.complete(end)
			if end.err != nil && failure == nil {
				failure = end.err
				e.state.Canceling = true
			}
		case <-done:
			done = nil
			e.state.Canceling = true
			e.say("Canceling: steps that always run still do.")
		}
	}
}

func (e *execution) say(format string, a ...any) { e.o.Say(fmt.Sprintf(format, a...)) }

// follow does what an action asks for.
func (e *execution) follow(ctx context.Context, a flow.Action) {
	switch a.Kind {
	case flow.StageReady:
		e.stage(a.Stage).State = work.InProgress
		if a.Stage != "__default" {
			e.say("Stage %s", a.Stage)
		}
	case flow.StageWaits:
		ok, err := e.ask(ctx, "Start the stage "+a.Stage+", which is started by hand?")
		s := e.stage(a.Stage)
		if ok && err == nil {
			s.Released = true
		} else {
			s.Released, s.Rejected = true, "it was not started"
		}
	case flow.InstanceReady:
		e.queue = append(e.queue, a)
	case flow.JobDone, flow.StageDone:
		if a.Reason != "" {
			e.say("%s: %s: %s", strings.TrimPrefix(a.Stage+strings.TrimSuffix("."+a.Job, "."), "__default."), a.Result, a.Reason)
		}
	}
}

func (e *execution) ask(ctx context.Context, what string) (bool, error) {
	if e.run.Ask == nil {
		e.say("%s Nobody is there to answer.", what)
		return false, nil
	}
	ok, _, err := e.run.Ask(ctx, what)
	return ok, err
}

func (e *execution) stage(name string) *flow.StageState {
	for i := range e.state.Stages {
		if e.state.Stages[i].Name == name {
			return &e.state.Stages[i]
		}
	}
	return &flow.StageState{}
}

// complete notes how an instance ended.
func (e *execution) complete(end ending) {
	e.masks = append(e.masks, end.secrets...)
	s := e.stage(end.action.Stage)
	for i := range s.Jobs {
		if s.Jobs[i].Name != end.action.Job {
			continue
		}
		for k := range s.Jobs[i].Instances {
			in := &s.Jobs[i].Instances[k]
			if in.Name == end.action.Instance {
				in.State, in.Result, in.Outputs = work.Completed, end.result, end.outputs
			}
		}
	}
	name := jobName(end.action)
	if end.err != nil {
		e.say("%s could not be run: %v", name, end.err)
		return
	}
	e.say("%s: %s", name, end.result)
}

func jobName(a flow.Action) string {
	name := strings.TrimPrefix(a.Stage+"."+a.Job, "__default.")
	if a.Instance != "" {
		name += "." + a.Instance
	}
	return name
}

// start runs an instance beside the others.
func (e *execution) start(ctx context.Context, a flow.Action) {
	e.running++
	end := ending{action: a, result: work.Failed}
	set, err := e.flow.Job(e.state, a.Stage, a.Job, a.Instance)
	var vars []work.Variable
	if err == nil {
		vars, err = e.flow.Variables(e.state, a.Stage, a.Job, a.Instance)
	}
	var job *work.Job
	if err == nil {
		job, err = e.assemble(a, set, vars)
	}
	if err != nil {
		// As on a server, what is wrong with one job fails it and no other.
		e.say("%s: %v", jobName(a), err)
		go func() { e.ended <- end }()
		return
	}
	job.Masks = append(slices.Clone(e.masks), e.o.Secrets...)
	name := jobName(a)
	e.once("Pools, demands and images of machines are not looked at: jobs run on this machine.", set.Pool != "" || set.VMImage != "")
	e.once("Checks and approvals of environments are the server's: they are not asked here.", set.Environment != "")
	go func() {
		defer func() { e.ended <- end }()
		server := e.run.Job(name)
		if set.Server {
			end.result, end.err = e.agentless(ctx, job, server)
			return
		}
		w := e.o.Worker
		w.Work = filepath.Join(e.o.Work, folder.Name(name))
		w.Checkout = e.o.Folders
		w.Console = func(step, line string) { e.o.Line(name, step, line) }
		if end.err = os.MkdirAll(w.Work, 0o755); end.err != nil {
			return
		}
		run := e.o.Run
		if run == nil {
			run = worker.Run
		}
		end.result, end.err = run(ctx, job, server, w)
		end.outputs = map[string]string{}
		for _, rec := range server.Records() {
			for _, o := range rec.Outputs {
				end.outputs[rec.Name+"."+o.Name] = o.Value
				if o.Secret {
					end.secrets = append(end.secrets, o.Value)
				}
			}
		}
	}()
}

func (e *execution) once(text string, when bool) {
	if when && !e.said[text] {
		e.said[text] = true
		e.say("%s", text)
	}
}

// agentless runs a job of the server pool: only its approvals can be.
func (e *execution) agentless(ctx context.Context, job *work.Job, server *folder.Server) (work.Result, error) {
	for i := range job.Steps {
		s := &job.Steps[i]
		name, _, _ := strings.Cut(s.Task, "@")
		if !s.Enabled {
			continue
		}
		if !strings.EqualFold(name, "ManualValidation") {
			e.say("%s: the task %s of an agentless job is the server's: it is not run here.", job.DisplayName, s.Task)
			return work.Failed, nil
		}
		instructions := ""
		for k, v := range s.Inputs {
			if strings.EqualFold(k, "instructions") {
				instructions = v
			}
		}
		result, message, err := server.Approve(ctx, s.ID, cmp.Or(instructions, s.DisplayName), nil, 0, "")
		if err != nil || result != work.Succeeded {
			if message != "" {
				e.say("%s: %s", job.DisplayName, message)
			}
			return result, err
		}
	}
	return work.Succeeded, nil
}
