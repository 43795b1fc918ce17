package pipeline

import (
	"slices"
	"sync"
)

// The language after expansion, in the words of the published schema: there are no templates, no parameters of templates
// and no directives any more. What each definition becomes is in normal.go and build.go; what of it this product doesn't
// run is in unsupported.go, and a test holds that there is nothing else.

var (
	text          = scalar(anyText)
	filled        = scalar(nonEmpty)
	boolean       = scalar(booleans)
	anything      = &shape{any: true}
	reference     = scalar(pattern("a name of letters, digits, '-' and '_'", `^[-_A-Za-z0-9]*$`))
	texts         = listOf(text)
	filledTexts   = listOf(filled)
	textOrTexts   = either(text, texts)
	textsByName   = mapping(&object{name: "mapping", values: text})
	blank         = scalar(&rule{"nothing", func(s string) bool { return s == "" }}) // a key without a value; the reference shows it
	never         = scalar(oneOf("none"))
	neverOrAlways = scalar(oneOf("none", "true"))
)

// language has the shapes of a whole file, and of what a parameter may hold.
type language struct {
	pipeline                     *shape
	step, job, deployment, stage *shape // of values of parameters
}

// schema is the published schema.
var schema = sync.OnceValue(func() *language {
	filter := mapping(&object{name: "filter", keys: []key{
		optional("include", filledTexts), optional("exclude", filledTexts),
	}})
	trigger := either(never, filledTexts, mapping(&object{name: "trigger", keys: []key{
		optional("enabled", boolean), optional("batch", boolean), optional("branches", filter), optional("paths", filter), optional("tags", filter),
	}}))
	pr := either(never, filledTexts, mapping(&object{name: "pr", keys: []key{
		optional("enabled", boolean), optional("autoCancel", boolean), optional("branches", filter), optional("paths", filter), optional("drafts", boolean),
	}}))
	schedules := listOf(mapping(&object{name: "schedule", leads: true, keys: []key{
		mandatory("cron", filled), optional("displayName", text), optional("branches", filter), optional("batch", boolean), optional("always", boolean),
	}}))
	lock := scalar(oneOf("sequential", "runLatest"))

	variables := either(textsByName, listOf(mapping(
		&object{name: "variable", leads: true, keys: []key{mandatory("name", filled), optional("value", text), optional("readonly", boolean)}},
		&object{name: "variable group", leads: true, keys: []key{mandatory("group", filled)}},
	)))
	// Hosted offerings put keys of their own into pool; the schema lets them pass.
	pool := either(text, mapping(&object{name: "pool", values: anything, keys: []key{
		optional("name", filled), optional("demands", either(text, filledTexts)), optional("vmImage", filled),
	}}))

	mounts := mapping(&object{name: "mountReadOnly", keys: []key{
		optional("work", boolean), optional("externals", boolean), optional("tools", boolean), optional("tasks", boolean),
	}})
	containerKeys := []key{
		optional("image", filled), optional("endpoint", text), optional("env", textsByName), optional("mapDockerSocket", boolean), optional("options", text),
		optional("ports", texts), optional("volumes", texts), optional("mountReadOnly", mounts),
	}
	inPlace := slices.Clone(containerKeys)
	inPlace[0].required = true
	container := either(text, mapping(
		&object{name: "container", keys: []key{mandatory("alias", text)}},
		&object{name: "container", keys: inPlace},
	))
	services := mapping(&object{name: "services", values: container})
	workspace := mapping(&object{name: "workspace", keys: []key{optional("clean", text)}})

	target := either(text, mapping(&object{name: "target", keys: []key{
		optional("container", filled), optional("commands", text), optional("settableVariables", either(never, filledTexts)),
	}}))
	steps := listOf(mapping(stepObjects(target)...))
	hook := mapping(&object{name: "hook", keys: []key{optional("steps", steps), optional("pool", pool)}})
	hooks := []key{
		optional("preDeploy", hook), optional("deploy", hook), optional("routeTraffic", hook), optional("postRouteTraffic", hook),
		optional("on", mapping(&object{name: "on", keys: []key{optional("failure", hook), optional("success", hook)}})),
	}
	rollout := mapping(
		&object{name: "deployment strategy", keys: []key{optional("runOnce", mapping(&object{name: "runOnce", keys: hooks}))}},
		&object{name: "deployment strategy", keys: []key{optional("rolling", mapping(&object{name: "rolling",
			keys: append([]key{optional("maxParallel", filled)}, hooks...)}))}},
		&object{name: "deployment strategy", keys: []key{optional("canary", mapping(&object{name: "canary",
			keys: append([]key{optional("increments", filledTexts)}, hooks...)}))}},
	)
	matrix := either(text, mapping(&object{name: "matrix", values: textsByName}))
	strategy := mapping(
		&object{name: "strategy", keys: []key{optional("matrix", matrix), optional("maxParallel", filled)}},
		&object{name: "strategy", keys: []key{optional("parallel", filled)}},
	)
	uses := mapping(&object{name: "uses", keys: []key{optional("repositories", filledTexts), optional("pools", filledTexts)}})
	environment := either(text, mapping(&object{name: "environment", keys: []key{
		optional("name", filled), optional("resourceName", filled), optional("resourceId", filled), optional("resourceType", filled),
		optional("tags", filled),
	}}))
	jobKeys := []key{
		optional("displayName", text), optional("dependsOn", textOrTexts), optional("condition", text), optional("continueOnError", text),
		optional("timeoutInMinutes", filled), optional("cancelTimeoutInMinutes", filled), optional("variables", variables), optional("pool", pool),
		optional("container", container), optional("services", services), optional("workspace", workspace), optional("uses", uses),
		optional("templateContext", anything),
	}
	jobs := listOf(mapping(
		&object{name: "job", leads: true, keys: append([]key{mandatory("job", reference), optional("strategy", strategy), optional("steps", steps)}, jobKeys...)},
		&object{name: "deployment job", leads: true, keys: append([]key{mandatory("deployment", reference), optional("environment", environment), optional("strategy", rollout)}, jobKeys...)},
	))
	checks := listOf(mapping(&object{name: "check", keys: []key{optional("type", scalar(oneOf("productionReadinessPolicy")))}}))
	stages := listOf(mapping(&object{name: "stage", leads: true, keys: []key{
		mandatory("stage", text), optional("group", text), optional("displayName", text), optional("pool", pool), optional("dependsOn", textOrTexts),
		optional("condition", text), optional("variables", variables), optional("jobs", jobs), optional("lockBehavior", lock),
		optional("trigger", scalar(oneOf("manual", "automatic"))), optional("isSkippable", boolean), optional("templateContext", anything), optional("checks", checks),
	}}))

	queue := either(text, mapping(&object{name: "queue", keys: []key{
		optional("cancelTimeoutInMinutes", filled), optional("container", filled), optional("demands", textOrTexts), optional("matrix", matrix), optional("name", text),
		optional("parallel", filled), optional("timeoutInMinutes", filled), optional("workspace", workspace),
	}}))
	server := either(text, mapping(&object{name: "server", keys: []key{
		optional("cancelTimeoutInMinutes", filled), optional("matrix", matrix), optional("parallel", filled), optional("timeoutInMinutes", filled),
	}}))
	phaseKeys := []key{
		mandatory("phase", reference), optional("dependsOn", textOrTexts), optional("displayName", text), optional("condition", text), optional("continueOnError", text),
		optional("variables", variables), optional("steps", steps),
	}
	phases := listOf(mapping(
		&object{name: "phase", leads: true, keys: append(slices.Clone(phaseKeys), optional("queue", queue))},
		&object{name: "phase", leads: true, keys: append(slices.Clone(phaseKeys), optional("server", server))},
		jobs.items.objects[0], jobs.items.objects[1], // templates of jobs fit in
	))

	base := []key{
		optional("name", text), optional("appendCommitMessageToRunName", boolean), optional("trigger", trigger), optional("parameters", anything), optional("pr", pr),
		optional("schedules", schedules), optional("resources", resourcesShape(trigger, containerKeys)), optional("variables", variables), optional("lockBehavior", lock),
	}
	root := func(keys ...key) *object { return &object{name: "pipeline", keys: append(keys, base...)} }
	before := func(keys ...key) *object { o := root(keys...); o.old = true; return o }
	return &language{step: steps.items, job: mapping(jobs.items.objects[0]), deployment: mapping(jobs.items.objects[1]), stage: stages.items, pipeline: mapping(
		root(mandatory("stages", stages), optional("pool", pool)),
		root(mandatory("jobs", jobs), optional("pool", pool)),
		before(mandatory("phases", phases)),
		root(mandatory("steps", steps), optional("strategy", strategy), optional("continueOnError", text), optional("pool", pool), optional("container", container),
			optional("services", services), optional("workspace", workspace)),
		before(mandatory("steps", steps), optional("continueOnError", text), mandatory("queue", queue)),
		before(mandatory("steps", steps), optional("continueOnError", text), mandatory("server", server)),
	)}
})

// stepObjects are the kinds of steps.
func stepObjects(target *shape) []*object {
	common := []key{
		optional("condition", text), optional("continueOnError", boolean), optional("displayName", text), optional("target", target), optional("enabled", boolean),
		optional("env", textsByName), optional("name", reference), optional("timeoutInMinutes", filled), optional("retryCountOnTaskFailure", text),
	}
	step := func(first key, own ...string) *object {
		o := &object{name: first.name + " step", leads: true, keys: []key{first}}
		for _, name := range own {
			o.keys = append(o.keys, optional(name, text))
		}
		o.keys = append(o.keys, common...)
		return o
	}
	task := step(mandatory("task", filled))
	task.keys = append(task.keys, optional("inputs", textsByName))
	build := step(mandatory("downloadBuild", filled), "artifact", "path", "patterns")
	build.keys = append(build.keys, optional("inputs", textsByName))
	power := []string{"errorActionPreference", "failOnStderr", "ignoreLASTEXITCODE", "workingDirectory"}
	return []*object{
		task,
		step(mandatory("script", text), "failOnStderr", "workingDirectory"),
		step(mandatory("powershell", text), power...),
		step(mandatory("pwsh", text), power...),
		step(mandatory("bash", text), "failOnStderr", "workingDirectory"),
		step(mandatory("checkout", text), "clean", "fetchDepth", "fetchFilter", "fetchTags", "lfs", "persistCredentials", "submodules", "path",
			"sparseCheckoutDirectories", "sparseCheckoutPatterns", "workspaceRepo"),
		step(mandatory("download", filled), "artifact", "patterns"),
		build,
		step(mandatory("getPackage", filled), "path"),
		step(mandatory("upload", text), "artifact"),
		step(mandatory("publish", text), "artifact"),
		step(mandatory("reviewApp", text)),
	}
}

// resourcesShape is what a pipeline says it uses.
func resourcesShape(trigger *shape, containerKeys []key) *shape {
	named := func(kind string, keys ...key) *shape {
		return listOf(mapping(&object{name: kind + " resource", leads: true, keys: append([]key{mandatory(kind, reference)}, keys...)}))
	}
	branches := either(filledTexts, mapping(&object{name: "branches", keys: []key{optional("include", filledTexts), optional("exclude", filledTexts)}}))
	tags := either(neverOrAlways, branches) // the reference shows "tags: none", the schema doesn't have it
	ofContainer := either(neverOrAlways, mapping(&object{name: "container trigger", keys: []key{optional("enabled", boolean), optional("tags", tags)}}))
	ofPipeline := either(neverOrAlways, mapping(&object{name: "trigger", keys: []key{
		optional("enabled", boolean), optional("branches", either(blank, branches)), optional("stages", filledTexts), optional("tags", filledTexts),
	}}))
	containers := named("container", append(slices.Clone(containerKeys),
		optional("type", text), optional("trigger", ofContainer), optional("azureSubscription", filled), optional("resourceGroup", filled),
		optional("registry", filled), optional("repository", filled), optional("localImage", boolean))...)
	containers.items.objects[0].values = text
	repositories := named("repository", optional("endpoint", filled), optional("trigger", trigger),
		optional("checkoutOptions", mapping(&object{name: "checkoutOptions", keys: []key{
			optional("clean", text), optional("fetchDepth", text), optional("fetchTags", text), optional("lfs", text), optional("submodules", text), optional("persistCredentials", text),
		}})), optional("name", filled), optional("ref", text), optional("type", text))
	repositories.items.objects[0].values = text
	return either(
		listOf(mapping(&object{name: "legacy resource", leads: true, keys: []key{
			mandatory("repo", scalar(oneOf("self"))), optional("clean", text), optional("fetchDepth", text), optional("lfs", text),
		}})),
		mapping(&object{name: "resources", keys: []key{
			optional("builds", named("build", mandatory("type", filled), mandatory("connection", filled), mandatory("source", filled),
				optional("version", text), optional("branch", text), optional("trigger", neverOrAlways))),
			optional("containers", containers),
			optional("pipelines", named("pipeline", optional("project", filled), optional("source", filled), optional("version", text), optional("branch", text),
				optional("tags", filledTexts), optional("trigger", ofPipeline))),
			optional("repositories", repositories),
			optional("webhooks", named("webhook", mandatory("connection", filled), optional("type", filled),
				optional("filters", listOf(mapping(&object{name: "filter", keys: []key{mandatory("path", filled), mandatory("value", filled)}}))))),
			optional("packages", named("package", mandatory("type", filled), mandatory("connection", filled), mandatory("name", filled),
				optional("version", text), optional("tag", text), optional("trigger", neverOrAlways))),
		}}),
	)
}
