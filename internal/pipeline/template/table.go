package template

// place is what expansion knows of a place in a pipeline.
type place struct {
	literal  bool              // no expressions here, nor below but where keys or items say otherwise
	keys     map[string]*place // of a mapping
	rest     *place            // of all other keys; nil: as the place itself, but with nothing known below
	items    *place            // of a sequence
	template string            // the key of a template file that items of the sequence may be replaced by; "": none
	names    []string          // keys that name the thing; they are evaluated first, for those who ask where it is
	scope    bool              // variables that are defined below hold below only
	label    string            // of a scope: "stage", "job"
}

// The places that templates and variables make a difference in. Where nothing else is said, expressions are allowed.
var (
	free    = &place{}
	literal = &place{literal: true}

	variables = &place{template: "variables", items: free}
	steps     = &place{template: "steps", items: free}

	hook  = &place{keys: map[string]*place{"steps": steps}}
	hooks = &place{keys: map[string]*place{
		"preDeploy": hook, "deploy": hook, "routeTraffic": hook, "postRouteTraffic": hook,
		"on": {keys: map[string]*place{"failure": hook, "success": hook}},
	}}
	strategy = &place{keys: map[string]*place{"runOnce": hooks, "rolling": hooks, "canary": hooks}}

	job = &place{scope: true, label: "job", names: []string{"job", "deployment"},
		keys: map[string]*place{"variables": variables, "steps": steps, "strategy": strategy}}
	jobs = &place{template: "jobs", items: job}

	stage = &place{scope: true, label: "stage", names: []string{"stage"},
		keys: map[string]*place{"variables": variables, "jobs": jobs}}
	stages = &place{template: "stages", items: stage}

	// In resources, expressions may say which version is used, and what a container is.
	resource  = &place{literal: true, keys: map[string]*place{"ref": free, "branch": free, "version": free, "tag": free}}
	resources = &place{literal: true, keys: map[string]*place{
		"containers":   free,
		"repositories": {literal: true, items: resource},
		"pipelines":    {literal: true, items: resource},
		"builds":       {literal: true, items: resource},
		"packages":     {literal: true, items: resource},
	}}

	extends = &place{keys: map[string]*place{"template": free, "parameters": free}}

	// The pool of a pipeline may have expressions in its values; there are none that choose its keys, or the whole of it.
	pool = &place{literal: true, rest: free}

	root = &place{literal: true, keys: map[string]*place{
		"name": free, "variables": variables, "resources": resources, "pool": pool,
		"strategy": strategy, "container": free, "services": free, "workspace": free, "continueOnError": free,
		"stages": stages, "jobs": jobs, "phases": jobs, "steps": steps, "extends": extends,
	}}
)

// kind is what a file is read as. The keys that it may have at its root are closed, but for the pipeline itself, whose
// keys the schema checks.
type kind struct {
	name string // as errors call it
	key  string // what it is there for
	root *place
	only []string
}

var (
	pipelineFile = kind{name: "pipeline", root: root}

	fileKinds = map[string]kind{
		"stages": {"stages template", "stages", root, []string{"parameters", "stages"}},
		"jobs":   {"jobs template", "jobs", root, []string{"parameters", "jobs", "phases"}},
		"steps":  {"steps template", "steps", root, []string{"parameters", "steps"}},

		"variables": {"variables template", "variables", root, []string{"parameters", "variables"}},
		"extends":   {"template that is extended", "", root, []string{"parameters", "resources", "trigger", "variables", "stages", "jobs", "steps", "extends"}},
	}

	// bodies are the keys of which a pipeline has just one.
	bodies = []string{"stages", "jobs", "steps", "extends", "phases"}
)

// below returns the place of a key's value.
func (p *place) below(key string) *place {
	if child, ok := p.keys[key]; ok {
		return child
	}
	if p.rest != nil {
		return p.rest
	}
	if p.literal {
		return literal
	}
	return free
}

// item returns the place of a sequence's items.
func (p *place) item() *place {
	switch {
	case p.items != nil:
		return p.items
	case p.literal:
		return literal
	}
	return free
}

// listed reports whether the items of a sequence are things of the pipeline, of which none may be empty.
func (p *place) listed() bool { return p.template != "" }
