package flow

import (
	"cmp"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/pipeline"
	"github.com/sekisho/sekisho/internal/pipeline/macro"
)

// Surroundings are what a job needs and neither its plan nor its state knows.
type Surroundings struct {
	Self       work.Repository                            // that the pipeline is in
	Repository func(alias string) (work.Repository, bool) // one of the plan's resources
	Downloads  []work.Artifacts                           // what a deployment job gets that says nothing of downloads
	Native     func(task string) bool                     // tasks whose inputs are known
}

// Assembled is a job as an agent is given it, but for what its surroundings add: who it is, its secrets, its service connections.
type Assembled struct {
	Job *work.Job
	// Connections are the names of service connections that the job needs: those of containers, and of inputs that name a connection in
	// every task that has them.
	Connections []string
	// Mentions are words that may be names of connections: which inputs of a published task name one, only its definition says, and
	// that the agent has. So they are not errors where there is no such connection, or none that the pipeline may use.
	Mentions []string
}

// assembler makes one job.
type assembler struct {
	plan  *pipeline.Plan
	set   *Settings
	vars  []work.Variable
	round *Surroundings
	out   *Assembled
}

// Assemble makes the job of an instance, with variables that [Flow.Variables] returned. It is the same on a server and on one's own
// machine. Errors are the job's: it fails before it starts.
func Assemble(plan *pipeline.Plan, set *Settings, vars []work.Variable, round *Surroundings) (*Assembled, error) {
	j := &work.Job{
		DisplayName: set.DisplayName, TimeoutMinutes: set.TimeoutMinutes, CancelTimeoutMinutes: set.CancelTimeoutMinutes,
		Workspace: set.Job.WorkspaceClean, Variables: vars, Container: set.Container,
	}
	a := &assembler{plan: plan, set: set, vars: vars, round: round, out: &Assembled{Job: j}}
	for _, do := range []func() error{a.steps, a.repositories, a.containers} {
		if err := do(); err != nil {
			return nil, err
		}
	}
	return a.out, nil
}

// lookup returns a variable that is no secret, for texts that are needed before the job begins.
func (a *assembler) lookup(name string) (string, bool) {
	for i := len(a.vars) - 1; i >= 0; i-- {
		if v := a.vars[i]; strings.EqualFold(v.Name, name) && !v.Secret {
			return v.Value, true
		}
	}
	return "", false
}

func (a *assembler) text(s string) string { return macro.Expand(s, a.lookup) }

// Tasks whose presence says that a job does by itself what else is done for it.
const (
	checkoutTask = "checkout"
	downloadTask = "downloadpipelineartifact"
)

func taskName(ref string) string {
	name, _, _ := strings.Cut(ref, "@")
	return strings.ToLower(name)
}

// steps makes the steps, with those that nobody wrote: the checkout of the repository, and for a deployment job the download of what
// the run has published.
func (a *assembler) steps() error {
	var list []work.Step
	deployment := a.set.Job.Deployment != nil
	checkout, download := false, false
	for _, st := range a.set.Steps {
		w, err := a.step(st)
		if err != nil {
			return err
		}
		switch taskName(st.Task) {
		case checkoutTask:
			checkout = true
			if strings.EqualFold(w.Inputs["repository"], "none") {
				continue
			}
		case downloadTask:
			download = true
			if strings.EqualFold(strings.TrimSpace(st.Condition), "false") { // download: none
				continue
			}
		}
		list = append(list, w)
	}
	if !checkout && !deployment && !a.set.Server {
		name := a.round.Self.Name
		list = append([]work.Step{{
			Task: "checkout@1", DisplayName: "Checkout " + name[strings.LastIndexByte(name, '/')+1:], Inputs: map[string]string{"repository": "self"}, Enabled: true,
		}}, list...)
	}
	if deployment && !download && !a.set.Server {
		a.out.Job.Downloads = a.round.Downloads
	}
	for i := range list {
		list[i].ID = fmt.Sprintf("%03d", i+1)
	}
	a.out.Job.Steps = list
	return nil
}

func (a *assembler) step(st Step) (work.Step, error) {
	w := work.Step{
		Name: st.Name, DisplayName: cmp.Or(st.DisplayName, st.Task), Task: st.Task, Inputs: map[string]string{}, Condition: st.Condition, Hook: st.Hook,
		Enabled: !strings.EqualFold(strings.TrimSpace(st.Enabled), "false"), ContinueOnError: st.ContinueOnError, File: st.Pos.String(),
	}
	native := taskName(st.Task) == checkoutTask || a.round.Native(st.Task)
	for _, kv := range st.Inputs {
		w.Inputs[kv.Key] = kv.Value
		value := strings.TrimSpace(a.text(kv.Value))
		switch {
		case value == "" || strings.Contains(value, "$("):
		case slices.Contains(connectionInputs, strings.ToLower(kv.Key)):
			a.names(&a.out.Connections, value)
		case !native:
			a.names(&a.out.Mentions, value)
		}
	}
	for _, kv := range st.Env {
		w.Env = append(w.Env, work.Pair{Name: kv.Key, Value: kv.Value})
	}
	var err error
	if w.TimeoutMinutes, err = a.number(st, "timeoutInMinutes", st.TimeoutInMinutes); err != nil {
		return w, err
	}
	if w.Retries, err = a.number(st, "retryCountOnTaskFailure", st.Retries); err != nil {
		return w, err
	}
	w.Retries = min(w.Retries, maxRetries)
	if t := st.Target; t != nil {
		w.Target = &work.Target{Container: t.Container, Commands: t.Commands, SettableVariables: t.SettableVariables}
	}
	return w, nil
}

const maxRetries = 10

// number reads a number of a step, which may have macros in it.
func (a *assembler) number(st Step, what, text string) (int, error) {
	text = strings.TrimSpace(a.text(text))
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(n) || n < 0 || n > 1e6 {
		return 0, fmt.Errorf("%s: %s is '%s', it must be a number", st.Pos, what, shorten(text, 80))
	}
	return int(n), nil
}

// connectionInputs are the inputs that name a service connection in every task that has them.
//
// Which connections a job gets is decided by this rule, and nothing goes beyond it: one that is named by an input of a step, by its name
// or id, after $(variables) that are known before the job begins and are no secrets; or by a container; and only if the pipeline is
// authorised for it, and the run is trusted. A name in such an input as these must be a connection's; in any other input of a task
// that is not one of the agent's own it may be one. What a step makes up while it runs, or reads from a file, names none.
var connectionInputs = []string{
	"awscredentials", "containerregistry", "dockerregistryendpoint", "dockerregistryserviceconnection", "azuresubscription", "connectedservicename",
	"connectedservicenamearm", "kubernetesserviceendpoint", "kubernetesserviceconnection", "serviceconnection", "serviceendpoint",
	"externalfeedcredentials", "customendpoint", "publishendpoint", "nugetserviceconnections", "npmserviceconnection",
	"sshendpoint", "githubconnection", "sonarqube", "sonarcloud", "connectedservice",
}

// connectionName is what can be the name, or the id, of a service connection.
var connectionName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9 ._-]{0,62}$`)

// maxMentions bounds what is looked up for a job.
const maxMentions = 200

func (a *assembler) names(to *[]string, value string) {
	for one := range strings.SplitSeq(value, ",") {
		one = strings.TrimSpace(one)
		same := func(have string) bool { return strings.EqualFold(have, one) }
		if one == "" || slices.ContainsFunc(*to, same) || to == &a.out.Mentions && (!connectionName.MatchString(one) || len(*to) == maxMentions) {
			continue
		}
		*to = append(*to, one)
	}
}

// repositories lists what steps may check out.
func (a *assembler) repositories() error {
	j := a.out.Job
	self := a.round.Self
	self.Alias = "self"
	j.Repositories = []work.Repository{self}
	used := func(alias string) bool {
		for _, st := range j.Steps {
			if taskName(st.Task) == checkoutTask && strings.EqualFold(st.Inputs["repository"], alias) {
				return true
			}
		}
		return slices.ContainsFunc(a.set.Job.Uses.Repositories, func(name string) bool { return strings.EqualFold(name, alias) })
	}
	for _, r := range a.plan.Resources.Repositories {
		if strings.EqualFold(r.Alias, "self") || !used(r.Alias) {
			continue
		}
		w, ok := a.round.Repository(r.Alias)
		if !ok {
			return fmt.Errorf("%s: it is not known what repository %s is", r.Pos, r.Alias)
		}
		w.Alias = r.Alias
		j.Repositories = append(j.Repositories, w)
	}
	return nil
}

// containers lists the images that steps and services of the job run in.
func (a *assembler) containers() error {
	j := a.out.Job
	if c := a.set.InlineContainer; c != nil {
		w := a.container(c)
		w.Alias = cmp.Or(w.Alias, "job")
		j.Containers, j.Container = append(j.Containers, w), w.Alias
	} else if j.Container != "" && a.resource(j.Container) == nil { // an image by its name
		j.Containers = append(j.Containers, work.Container{Alias: j.Container, Image: j.Container, MapDockerSocket: true})
	} else if err := a.addContainer(j.Container); err != nil {
		return err
	}
	for _, kv := range a.set.Services {
		if err := a.addContainer(kv.Value); err != nil {
			return err
		}
		if j.Services == nil {
			j.Services = map[string]string{}
		}
		j.Services[kv.Key] = kv.Value
	}
	for _, st := range j.Steps {
		if st.Target != nil && !strings.Contains(st.Target.Container, "$(") {
			if err := a.addContainer(st.Target.Container); err != nil {
				return fmt.Errorf("%s: %w", st.File, err)
			}
		}
	}
	return nil
}

func (a *assembler) resource(alias string) *pipeline.Container {
	for i := range a.plan.Resources.Containers {
		if c := &a.plan.Resources.Containers[i]; strings.EqualFold(c.Alias, alias) {
			return c
		}
	}
	return nil
}

// addContainer adds one of the plan's containers to those of the job.
func (a *assembler) addContainer(alias string) error {
	j := a.out.Job
	if alias == "" || strings.EqualFold(alias, "host") || slices.ContainsFunc(j.Containers, func(c work.Container) bool { return strings.EqualFold(c.Alias, alias) }) {
		return nil
	}
	c := a.resource(alias)
	if c == nil {
		return fmt.Errorf("there is no container %s in resources", alias)
	}
	j.Containers = append(j.Containers, a.container(c))
	return nil
}

func (a *assembler) container(c *pipeline.Container) work.Container {
	w := work.Container{
		Alias: c.Alias, Image: a.text(c.Image), Endpoint: strings.TrimSpace(a.text(c.Endpoint)), Options: a.text(c.Options), Ports: c.Ports, Volumes: c.Volumes,
		MountReadOnly: c.MountReadOnly, MapDockerSocket: c.MapDockerSocket == nil || *c.MapDockerSocket,
	}
	for _, kv := range c.Env {
		w.Env = append(w.Env, work.Pair{Name: kv.Key, Value: kv.Value})
	}
	if w.Endpoint != "" {
		a.names(&a.out.Connections, w.Endpoint)
	}
	return w
}
