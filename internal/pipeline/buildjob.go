package pipeline

import (
	"regexp"
	"strings"

	"github.com/sekisho/sekisho/internal/pipeline/yaml"
)

// identifier is what stages and jobs may be called: their names are used in expressions.
var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// identified checks the name of a stage or a job.
func (b *builder) identified(kind string, n *yaml.Node) string {
	if n.Value != "" && !identifier.MatchString(n.Value) {
		b.add(n.Pos, "The %s name '%s' is not valid. Valid names may only contain alphanumeric characters and '_' and may not start with a number", kind, shorten(n.Value))
	}
	return n.Value
}

func (b *builder) stage(n *yaml.Node) *Stage {
	s := &Stage{
		Pos: n.Pos, Name: b.identified("stage", n.Get("stage")), DisplayName: value(n, "displayName"), DependsOn: values(n.Get("dependsOn")),
		Condition: b.condition(n, ofJob), Variables: b.variables(n.Get("variables")), Pool: b.pool(n.Get("pool")),
		LockBehavior: value(n, "lockBehavior"), Manual: strings.EqualFold(value(n, "trigger"), "manual"),
		NotSkippable: n.Get("isSkippable") != nil && !isTrue(value(n, "isSkippable")),
	}
	if group := n.Get("group"); group != nil {
		b.refuse(group.Pos, "'group' of a stage is not known here; leave it out")
	}
	if checks := n.Get("checks"); checks != nil {
		b.refuse(checks.Pos, "'checks' of a stage are not done here; put checks on the environment that the stage deploys to")
	}
	if jobs := n.Get("jobs"); jobs == nil {
		b.refuse(n.Pos, "the stage has no jobs: nothing would run in it")
	} else {
		for _, job := range jobs.Items {
			s.Jobs = append(s.Jobs, b.job(job))
		}
	}
	return s
}

func (b *builder) job(n *yaml.Node) *Job {
	first := n.Get("job")
	if first == nil {
		first = n.Get("deployment")
	}
	j := &Job{
		Pos: n.Pos, Name: b.identified("job", first), DisplayName: value(n, "displayName"), DependsOn: values(n.Get("dependsOn")),
		Condition: b.condition(n, ofJob), ContinueOnError: value(n, "continueOnError"),
		TimeoutInMinutes: b.amount(n, "timeoutInMinutes"), CancelTimeoutInMinutes: b.amount(n, "cancelTimeoutInMinutes"),
		Variables: b.variables(n.Get("variables")), Pool: b.pool(n.Get("pool")), Container: b.container(n.Get("container")),
		WorkspaceClean: value(n.Get("workspace"), "clean"),
	}
	b.expression(n.Get("continueOnError"), nil) // what it names is looked at when it is decided
	if clean := j.WorkspaceClean; clean != "" && !strings.Contains(clean, "$") {
		switch strings.ToLower(clean) {
		case "outputs", "resources", "all":
		default:
			b.refuse(position(n.Get("workspace"), "clean"), "workspace: clean: '%s' is none of outputs, resources, all", shorten(clean))
		}
	}
	if services := n.Get("services"); services != nil {
		for _, pair := range services.Pairs {
			alias := pair.Value.Value
			if pair.Value.Kind == yaml.Mapping {
				if alias = value(pair.Value, "alias"); alias == "" {
					b.refuse(pair.Value.Pos, "a service that is described in place is not run here: put the container into 'resources' and name it")
				}
			}
			b.expression(pair.Value, anywhere)
			j.Services = append(j.Services, KeyValue{Pos: pair.Key.Pos, Key: pair.Key.Value, Value: alias})
		}
	}
	if uses := n.Get("uses"); uses != nil {
		j.Uses = Uses{Repositories: values(uses.Get("repositories")), Pools: values(uses.Get("pools"))}
	}
	if n.Get("deployment") != nil {
		j.Deployment = b.deployment(n)
		return j
	}
	j.Strategy = b.strategy(n.Get("strategy"))
	if steps := n.Get("steps"); steps != nil {
		j.Steps = b.steps(steps)
	}
	return j
}

func (b *builder) strategy(n *yaml.Node) *Strategy {
	if n == nil {
		return nil
	}
	s := &Strategy{MaxParallel: b.amount(n, "maxParallel"), Parallel: b.amount(n, "parallel")}
	matrix := n.Get("matrix")
	switch {
	case matrix == nil:
	case matrix.Kind == yaml.Scalar:
		s.MatrixExpression = matrix.Value
		if runtimeExpression(matrix.Value) == "" && strings.TrimSpace(matrix.Value) != "" {
			b.add(matrix.Pos, "Expected a mapping, or an expression in $[ ], not the text '%s'", shorten(matrix.Value))
		}
		b.expression(matrix, anywhere)
	default:
		seen := map[string]bool{}
		for _, pair := range matrix.Pairs {
			name := pair.Key.Value
			if name == "" {
				b.add(pair.Key.Pos, "Unexpected value ''; a configuration of a matrix needs a name")
			}
			if seen[strings.ToLower(name)] {
				b.add(pair.Key.Pos, "'%s' is already defined", shorten(name))
			}
			seen[strings.ToLower(name)] = true
			s.Matrix = append(s.Matrix, Leg{Name: name, Variables: keyValues(pair.Value)})
		}
	}
	return s
}

func (b *builder) deployment(n *yaml.Node) *Deployment {
	d := &Deployment{}
	if environment := n.Get("environment"); environment != nil {
		d.Environment = value(environment, "name")
		if name, resource, ok := strings.Cut(d.Environment, "."); ok && !strings.Contains(name, "$(") {
			d.Environment, d.ResourceName = name, resource
		}
		if v := value(environment, "resourceName"); v != "" {
			d.ResourceName = v
		}
		d.ResourceType, d.Tags = value(environment, "resourceType"), value(environment, "tags")
		if d.ResourceName != "" {
			b.refuse(position(environment, "resourceName"), "an environment has no resources here (this names '%s'): jobs run on agents of a pool, and reach their target from there", shorten(d.ResourceName))
		}
		for _, name := range []string{"resourceType", "resourceId", "tags"} {
			if v := environment.Get(name); v != nil {
				b.refuse(v.Pos, "'%s' of an environment is not known here: an environment has no Kubernetes or virtual machine resources, jobs run on agents of a pool", name)
			}
		}
	}
	strategy := n.Get("strategy")
	if strategy == nil || len(strategy.Pairs) == 0 {
		b.refuse(position(n, "strategy"), "the deployment job has no strategy: write 'strategy: runOnce: deploy: steps:'")
		return d
	}
	kind := strategy.Pairs[0]
	d.Strategy = kind.Key.Value
	if d.Strategy != "runOnce" {
		b.refuse(kind.Key.Pos, "the deployment strategy '%s' is not run here: write 'runOnce'", d.Strategy)
	}
	add := func(name string, n *yaml.Node) {
		if n == nil {
			return
		}
		h := Hook{Pos: n.Pos, Name: name, Pool: b.pool(n.Get("pool"))}
		if steps := n.Get("steps"); steps != nil {
			h.Steps = b.steps(steps)
		}
		d.Hooks = append(d.Hooks, h)
	}
	for _, name := range []string{"preDeploy", "deploy", "routeTraffic", "postRouteTraffic"} {
		add(name, kind.Value.Get(name))
	}
	on := kind.Value.Get("on")
	add("onFailure", on.Get("failure"))
	add("onSuccess", on.Get("success"))
	if len(d.Hooks) == 0 {
		b.refuse(kind.Value.Pos, "the strategy '%s' has no steps: write them below 'deploy'", d.Strategy)
	}
	return d
}

func (b *builder) steps(n *yaml.Node) []*Step {
	var list []*Step
	seen := map[string]bool{}
	for _, item := range n.Items {
		s := b.step(item)
		if name := strings.ToLower(s.Name); name != "" {
			if seen[name] {
				b.add(position(item, "name"), "The step name '%s' appears more than once. Step names must be unique within a job", s.Name)
			}
			seen[name] = true
		}
		list = append(list, s)
	}
	return list
}

// taskReference is what a step calls a task: a name, or a publisher's id with names, or an id, and a major version.
var taskReference = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._ -]*@[0-9]+(\.[0-9]+){0,2}$`)

func (b *builder) step(n *yaml.Node) *Step {
	task := n.Get("task")
	s := &Step{
		Pos: n.Pos, Task: task.Value, Name: value(n, "name"), DisplayName: value(n, "displayName"), Inputs: keyValues(n.Get("inputs")), Env: keyValues(n.Get("env")),
		Condition: b.condition(n, ofStep), Enabled: value(n, "enabled"), ContinueOnError: value(n, "continueOnError"),
		TimeoutInMinutes: b.amount(n, "timeoutInMinutes"), Retries: b.amount(n, "retryCountOnTaskFailure"), Target: b.target(n.Get("target")),
	}
	if !taskReference.MatchString(s.Task) {
		b.add(task.Pos, "Unexpected value '%s'; a task is written with its major version, such as 'Bash@3'", shorten(s.Task))
	}
	b.named(n, s)
	return s
}

// named gives tasks that go by their id their name.
func (b *builder) named(n *yaml.Node, s *Step) {
	id, version, _ := strings.Cut(s.Task, "@")
	switch strings.ToLower(id) {
	case checkoutID:
		s.Task = "checkout@" + version
	case publishID:
		s.Task = "PublishPipelineArtifact@" + version
	case downloadID:
		s.Task = "DownloadPipelineArtifact@2"
		s.Inputs = downloadInputs(s.Inputs)
	case "reviewapp", "downloadpackage":
		b.refuse(n.Get("task").Pos, "'%s' is not run here", s.Task)
	}
}

// downloadInputs makes the inputs of a download step those of the task that does it. An artifact goes to a folder of its
// name in the workspace, one of another pipeline below that pipeline's alias.
func downloadInputs(inputs []KeyValue) []KeyValue {
	get := func(name string) (KeyValue, bool) {
		for _, in := range inputs {
			if strings.EqualFold(in.Key, name) {
				return in, true
			}
		}
		return KeyValue{}, false
	}
	alias, _ := get("alias")
	out := []KeyValue{{Pos: alias.Pos, Key: "buildType", Value: "current"}}
	path := "$(Pipeline.Workspace)"
	if !strings.EqualFold(alias.Value, "current") && !strings.EqualFold(alias.Value, "none") {
		out[0].Value = "specific"
		out = append(out, KeyValue{Pos: alias.Pos, Key: "pipelineResource", Value: alias.Value})
		path += "/" + alias.Value
	}
	if artifact, ok := get("artifact"); ok {
		out = append(out, KeyValue{Pos: artifact.Pos, Key: "artifactName", Value: artifact.Value})
		path += "/" + artifact.Value
	}
	if patterns, ok := get("patterns"); ok {
		out = append(out, KeyValue{Pos: patterns.Pos, Key: "itemPattern", Value: patterns.Value})
	}
	return append(out, KeyValue{Pos: alias.Pos, Key: "targetPath", Value: path})
}

func (b *builder) target(n *yaml.Node) *Target {
	if n == nil {
		return nil
	}
	t := &Target{Container: value(n, "container"), Commands: value(n, "commands")}
	switch strings.ToLower(t.Commands) {
	case "", "any", "restricted":
	default:
		b.refuse(position(n, "commands"), "target: commands: '%s' is none of any, restricted", shorten(t.Commands))
	}
	if settable := n.Get("settableVariables"); settable != nil {
		t.SettableVariables = []string{}
		if settable.Kind == yaml.Sequence {
			t.SettableVariables = values(settable)
		}
	}
	return t
}
