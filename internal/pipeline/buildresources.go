package pipeline

import (
	"cmp"
	"slices"
	"strings"

	"github.com/sekisho/sekisho/internal/pipeline/yaml"
)

func (b *builder) resources(n *yaml.Node) Resources {
	r := Resources{}
	seen := map[string]map[string]bool{}
	list := func(kind string, each func(alias string, n *yaml.Node)) {
		for _, item := range items(n.Get(kind + "s")) {
			alias := item.Pairs[0].Value
			if alias.Value == "" {
				b.add(alias.Pos, "Unexpected value ''; a resource needs a name")
			}
			if seen[kind] == nil {
				seen[kind] = map[string]bool{}
			}
			if seen[kind][strings.ToLower(alias.Value)] {
				b.add(alias.Pos, "The %s resource '%s' appears more than once", kind, shorten(alias.Value))
			}
			seen[kind][strings.ToLower(alias.Value)] = true
			each(alias.Value, item)
		}
	}
	if repositories := n.Get("repositories"); repositories != nil {
		// The plural isn't regular.
		n = &yaml.Node{Kind: yaml.Mapping, Pos: n.Pos, Pairs: append([]yaml.Pair{{Key: textAt(n.Pos, "repositorys"), Value: repositories}}, n.Pairs...)}
	}
	list("repository", func(alias string, n *yaml.Node) { r.Repositories = append(r.Repositories, b.repository(alias, n)) })
	list("container", func(alias string, n *yaml.Node) {
		c := b.container(n)
		c.Alias = alias
		r.Containers = append(r.Containers, *c)
	})
	list("pipeline", func(alias string, n *yaml.Node) { r.Pipelines = append(r.Pipelines, b.pipelineResource(alias, n)) })
	for _, kind := range []string{"build", "package", "webhook"} {
		list(kind, func(alias string, n *yaml.Node) {
			b.refuse(n.Pos, "the %s resource '%s' is not known here: resources are repositories, containers and pipelines", kind, shorten(alias))
		})
	}
	return r
}

func items(n *yaml.Node) []*yaml.Node {
	if n == nil {
		return nil
	}
	return n.Items
}

// checkout gives the steps that check out a repository what its resource says of that. A job that would check out self
// without saying so gets the step, if there is something to say.
func (r *Resources) checkout(stages []*Stage) {
	for i := range r.Repositories {
		repository := &r.Repositories[i]
		if len(repository.Checkout) == 0 {
			continue
		}
		for _, s := range stages {
			for _, j := range s.Jobs {
				found := false
				for _, step := range j.steps() {
					if strings.HasPrefix(step.Task, "checkout@") {
						found = true
						step.Inputs = repository.options(step.Inputs)
					}
				}
				if !found && j.Deployment == nil && strings.EqualFold(repository.Alias, "self") && (j.Pool == nil || !j.Pool.Server) {
					inputs := []KeyValue{{Pos: repository.Pos, Key: "repository", Value: "self"}}
					j.Steps = append([]*Step{{Pos: repository.Pos, Task: "checkout@1", Inputs: repository.options(inputs)}}, j.Steps...)
				}
			}
		}
	}
}

// options are the inputs of a checkout step, and of the resource's options those that aren't among them.
func (r *Repository) options(inputs []KeyValue) []KeyValue {
	has := func(key string) int {
		return slices.IndexFunc(inputs, func(kv KeyValue) bool { return strings.EqualFold(kv.Key, key) })
	}
	if i := has("repository"); i < 0 || !strings.EqualFold(inputs[i].Value, r.Alias) {
		return inputs
	}
	for _, option := range r.Checkout {
		if has(option.Key) < 0 {
			inputs = append(inputs, option)
		}
	}
	return inputs
}

func (b *builder) repository(alias string, n *yaml.Node) Repository {
	r := Repository{Pos: n.Pos, Alias: alias, Type: strings.ToLower(value(n, "type")), Name: value(n, "name"), Ref: value(n, "ref"), Endpoint: value(n, "endpoint"), Trigger: b.trigger(n.Get("trigger"))}
	if t := r.Trigger; t != nil && t.Enabled {
		if strings.EqualFold(alias, "self") {
			b.refuse(t.Pos, "the trigger of the pipeline's own repository is 'trigger' at the top of the file, not one of its resource")
		} else {
			b.refuse(t.Pos, "pushes to the repository resource '%s' start no runs here: write 'trigger: none', give that repository a pipeline of its own, and name it in 'resources.pipelines' with a trigger", shorten(alias))
		}
	}
	for _, pair := range n.Pairs {
		switch name := pair.Key.Value; name {
		case "repository", "type", "name", "ref", "endpoint", "trigger":
		case "checkoutOptions":
			r.Checkout = append(r.Checkout, keyValues(pair.Value)...)
		case "clean", "fetchDepth", "fetchTags", "lfs", "submodules", "persistCredentials":
			r.Checkout = append(r.Checkout, KeyValue{Pos: pair.Key.Pos, Key: name, Value: pair.Value.Value})
		default:
			b.refuse(pair.Key.Pos, "'%s' of a repository resource is not known here%s", shorten(name), cmp.Or(meant(name, "type", "name", "ref", "endpoint", "trigger"), ": say it in the step 'checkout: "+shorten(alias)+"'"))
		}
	}
	return r
}

// container makes a container of a resource, or of what a job says.
func (b *builder) container(n *yaml.Node) *Container {
	if n == nil {
		return nil
	}
	c := &Container{
		Pos: n.Pos, Alias: value(n, "alias"), Image: value(n, "image"), Endpoint: value(n, "endpoint"), Options: value(n, "options"), Env: keyValues(n.Get("env")),
		Ports: values(n.Get("ports")), Volumes: values(n.Get("volumes")),
	}
	b.expression(n.Get("alias"), anywhere)
	b.expression(n.Get("image"), anywhere)
	if v := n.Get("mapDockerSocket"); v != nil {
		yes := isTrue(v.Value)
		c.MapDockerSocket = &yes
	}
	if mounts := n.Get("mountReadOnly"); mounts != nil {
		for _, pair := range mounts.Pairs {
			if isTrue(pair.Value.Value) {
				c.MountReadOnly = append(c.MountReadOnly, pair.Key.Value)
			}
		}
	}
	if trigger := n.Get("trigger"); trigger != nil {
		if c.Trigger = b.trigger(trigger).Enabled; c.Trigger {
			b.refuse(trigger.Pos, "a container resource doesn't start runs here; write 'trigger: none', or leave it out")
		}
	}
	for _, pair := range n.Pairs {
		switch name := pair.Key.Value; name {
		case "alias", "container", "image", "endpoint", "options", "env", "ports", "volumes", "mapDockerSocket", "mountReadOnly", "trigger":
		case "type":
			if !strings.EqualFold(pair.Value.Value, "docker") {
				b.refuse(pair.Value.Pos, "the container type '%s' is not known here: say the address in 'image', and what opens the registry in 'endpoint'", shorten(pair.Value.Value))
			}
		default:
			b.refuse(pair.Key.Pos, "'%s' of a container is not known here: say its address in 'image', and what opens the registry in 'endpoint'", shorten(name))
		}
	}
	if n.Get("container") != nil && c.Image == "" && n.Get("type") == nil && n.Get("repository") == nil {
		b.add(n.Pos, "Required property is missing: 'image'")
	}
	return c
}

func (b *builder) pipelineResource(alias string, n *yaml.Node) PipelineResource {
	p := PipelineResource{
		Pos: n.Pos, Alias: alias, Project: value(n, "project"), Source: value(n, "source"), Version: value(n, "version"), Branch: value(n, "branch"), Tags: values(n.Get("tags")),
	}
	if trigger := n.Get("trigger"); trigger != nil {
		if t := b.trigger(trigger); t.Enabled {
			t.Tags = Filter{}
			p.Trigger, p.TriggerStages, p.TriggerTags = t, values(trigger.Get("stages")), values(trigger.Get("tags"))
		}
	}
	return p
}

// aliases checks that what is named as a resource is one.
func (b *builder) aliases(p *Plan) {
	known := map[string]bool{"self": true, "none": true}
	for _, r := range p.Resources.Repositories {
		known[strings.ToLower(r.Alias)] = true
	}
	containers := map[string]bool{"host": true}
	for _, c := range p.Resources.Containers {
		containers[strings.ToLower(c.Alias)] = true
	}
	pipelines := map[string]bool{"current": true, "none": true}
	for _, r := range p.Resources.Pipelines {
		pipelines[strings.ToLower(r.Alias)] = true
	}
	literal := func(s string) bool { return s != "" && !strings.ContainsAny(s, "$") }
	for _, s := range p.Stages {
		for _, j := range s.Jobs {
			// What is no resource is an image.
			if c := j.Container; c != nil && literal(c.Alias) && !containers[strings.ToLower(c.Alias)] {
				c.Image, c.Alias = c.Alias, ""
			}
			for _, alias := range j.Services {
				if literal(alias.Value) && !containers[strings.ToLower(alias.Value)] {
					b.refuse(alias.Pos, "the service '%s' names the container '%s', which is none of the resources", alias.Key, shorten(alias.Value))
				}
			}
			for _, step := range j.steps() {
				for _, in := range step.Inputs {
					switch {
					case strings.HasPrefix(step.Task, "checkout@") && strings.EqualFold(in.Key, "repository") && literal(in.Value) && !known[strings.ToLower(in.Value)]:
						if _, _, inline := strings.Cut(in.Value, "://"); inline {
							b.refuse(in.Pos, "the repository '%s' is named in place: put it into 'resources' and name its alias", shorten(in.Value))
						} else {
							b.add(in.Pos, "The repository '%s' is not defined in the pipeline's resources", shorten(in.Value))
						}
					case strings.HasPrefix(step.Task, "DownloadPipelineArtifact@") && in.Key == "pipelineResource" && literal(in.Value) && !pipelines[strings.ToLower(in.Value)]:
						b.refuse(in.Pos, "the pipeline '%s' is not defined in the pipeline's resources", shorten(in.Value))
					}
				}
				if t := step.Target; t != nil && literal(t.Container) && !containers[strings.ToLower(t.Container)] {
					b.refuse(step.Pos, "the step's target '%s' is neither 'host' nor a container of the resources", shorten(t.Container))
				}
			}
		}
	}
}

// steps are all steps of a job, those of hooks too.
func (j *Job) steps() []*Step {
	list := j.Steps
	if j.Deployment != nil {
		for _, h := range j.Deployment.Hooks {
			list = append(list, h.Steps...)
		}
	}
	return list
}
