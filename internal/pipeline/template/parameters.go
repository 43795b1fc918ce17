package template

import (
	"slices"
	"strings"

	"github.com/sekisho/sekisho/internal/pipeline/expr"
	"github.com/sekisho/sekisho/internal/pipeline/yaml"
)

// parameterTypes are the types of parameters, and how errors call them.
var parameterTypes = map[string]string{
	"string": "String", "number": "Number", "boolean": "Boolean", "object": "Object", "legacyObject": "Object", "stringList": "StringList",
	"step": "Step", "stepList": "StepList", "job": "Job", "jobList": "JobList", "deployment": "Deployment", "deploymentList": "DeploymentList",
	"stage": "Stage", "stageList": "StageList", "container": "Container", "containerList": "ContainerList",
	"environment": "Environment", "filePath": "FilePath", "pool": "Pool", "secureFile": "SecureFile", "serviceConnection": "ServiceConnection",
}

// rootTypes are those that only the parameters of a pipeline may have: people choose their values from what there is.
var rootTypes = []string{"environment", "filePath", "pool", "secureFile", "serviceConnection"}

// things are the places of the parts of pipelines that a parameter may have as its value.
var things = map[string]*place{"step": steps, "job": jobs, "deployment": jobs, "stage": stages}

// declared is a parameter as a file declares it.
type declared struct {
	Parameter
	typePos yaml.Pos
}

// parameters binds the parameters of a file. given are the values, in from, the frame of the file that names this one.
func (e *expander) parameters(f, from *frame, given *yaml.Node, at yaml.Pos) bool {
	before := len(e.errs)
	o, bound := expr.NewObject(), &yaml.Node{Kind: yaml.Mapping, Pos: at}
	bind := func(name *yaml.Node, value *yaml.Node) {
		o.Set(name.Value, e.toValue(value))
		bound.Pairs = slices.DeleteFunc(bound.Pairs, func(p yaml.Pair) bool { return strings.EqualFold(p.Key.Value, name.Value) })
		bound.Pairs = append(bound.Pairs, yaml.Pair{Key: name, Value: value})
	}
	switch decl := f.file.root.Get("parameters"); {
	case decl != nil && decl.Kind == yaml.Sequence:
		// A template may ask for what it does not declare, and gets null; a pipeline may not.
		if f.isRoot() {
			o.Strict()
		}
		for _, d := range e.declarations(f, decl) {
			if v := e.bindTyped(f, from, d, given, at); v != nil {
				bind(word(d.Name, d.Pos), v)
			}
		}
		e.unexpected(o, decl, given)
	case decl != nil && decl.Kind == yaml.Scalar && !isBlank(decl):
		e.fail(decl.Pos, "Expected a sequence or a mapping")
	default:
		// Without declarations, or with a mapping of defaults, whatever is given is there, and all scalars are strings.
		if decl != nil {
			for _, p := range decl.Pairs {
				bind(p.Key, e.texted(e.node(f, p.Value, free)))
			}
		}
		if given != nil {
			for _, p := range given.Pairs {
				bind(p.Key, e.texted(p.Value))
			}
		}
	}
	e.spend(at, 64*o.Len())
	f.names = map[string]binding{"parameters": {expr.FromObject(o), bound}}
	return len(e.errs) == before && !e.stopped
}

// unexpected refuses values for parameters that are not declared.
func (e *expander) unexpected(o *expr.Object, decl, given *yaml.Node) {
	if given == nil {
		return
	}
	for _, p := range given.Pairs {
		known := slices.ContainsFunc(decl.Items, func(d *yaml.Node) bool {
			name := d.Get("name")
			return name != nil && strings.EqualFold(name.Value, p.Key.Value)
		})
		if !known {
			e.fail(p.Key.Pos, "Unexpected parameter '%s'", p.Key.Value)
		}
	}
}

// declarations reads the sequence of declared parameters.
func (e *expander) declarations(f *frame, decl *yaml.Node) []declared {
	var found []declared
	seen := map[string]bool{}
	for _, item := range decl.Items {
		if item.Kind != yaml.Mapping {
			e.fail(item.Pos, "Expected a mapping")
			continue
		}
		d := declared{Parameter: Parameter{Pos: item.Pos, Type: "string"}, typePos: item.Pos}
		for i, p := range item.Pairs {
			scalar := p.Value.Kind == yaml.Scalar
			switch key := p.Key.Value; {
			case i == 0 && key != "name":
				e.fail(p.Key.Pos, "Unexpected value '%s'. The first key of a parameter is its name", key)
			case key == "name" && scalar:
				d.Name = p.Value.Value
			case key == "displayName" && scalar:
				d.DisplayName = p.Value.Value
			case key == "type" && scalar:
				d.Type, d.typePos = p.Value.Value, p.Value.Pos
			case key == "default":
				d.Default = p.Value
			case key == "values" && p.Value.Kind == yaml.Sequence:
				for _, v := range p.Value.Items {
					if v.Kind != yaml.Scalar {
						e.fail(v.Pos, "A %s was not expected", kindName(v))
					}
					d.Values = append(d.Values, v.Value)
				}
			case key == "values" && isBlank(p.Value):
			case key == "values":
				e.fail(p.Value.Pos, "Expected a sequence")
			case key == "name" || key == "displayName" || key == "type":
				e.fail(p.Value.Pos, "A %s was not expected", kindName(p.Value))
			default:
				e.fail(p.Key.Pos, "Unexpected value '%s'", key)
			}
		}
		known, ok := parameterType(d.Type)
		switch {
		case d.Name == "":
			e.fail(item.Pos, "A value for the 'name' parameter must be provided.")
			continue
		case !ok || !f.isRoot() && slices.Contains(rootTypes, known) || f.isRoot() && known == "legacyObject":
			e.fail(d.typePos, "Unexpected value '%s'", d.Type)
			continue
		case seen[strings.ToLower(d.Name)]:
			e.fail(item.Pos, "'%s' is already defined", d.Name)
			continue
		}
		d.Type = known
		seen[strings.ToLower(d.Name)] = true
		found = append(found, d)
	}
	return found
}

func parameterType(name string) (string, bool) {
	if _, ok := parameterTypes[name]; ok {
		return name, true
	}
	for known := range parameterTypes {
		if strings.EqualFold(known, name) {
			return known, true
		}
	}
	return "", false
}

// bindTyped returns the value of a declared parameter; nil if it has none, which is said.
func (e *expander) bindTyped(f, from *frame, d declared, given *yaml.Node, at yaml.Pos) *yaml.Node {
	var value *yaml.Node
	if given != nil {
		value = child(given, d.Name)
	}
	frame := from
	if value != nil && f.isRoot() {
		value = e.unpacked(d, value)
	}
	if value == nil {
		value, frame = d.Default, f
	} else if d.Default != nil {
		// An unfit default is wrong even where it is not used.
		e.convert(f, d, d.Default)
	}
	if value == nil {
		pos := at
		if f.isRoot() {
			pos = d.Pos
		}
		e.fail(pos, "A value for the '%s' parameter must be provided.", d.Name)
		return nil
	}
	if frame == from && !f.isRoot() && !strings.EqualFold(f.file.repo.Alias, from.file.repo.Alias) {
		to := *from
		to.given = f.file.repo.Alias
		frame = &to
	}
	v := e.convert(frame, d, value)
	if v != nil && f.isRoot() {
		d.Value = v
		e.rootParameters = append(e.rootParameters, d.Parameter)
	}
	return v
}

// unpacked reads a structure that was given as text, as the forms and calls that start runs do: in YAML, of which JSON is
// a part.
func (e *expander) unpacked(d declared, n *yaml.Node) *yaml.Node {
	switch d.Type {
	case "string", "boolean", "number", "environment", "filePath", "pool", "secureFile", "serviceConnection":
		return n
	}
	if n.Kind != yaml.Scalar || !strings.ContainsAny(n.Value, ":-[{\n") {
		return n
	}
	in, err := yaml.Parse(n.Pos.File, []byte(n.Value), yaml.Limits{})
	if err != nil || in.Kind == yaml.Scalar {
		return n
	}
	return moved(in, n.Pos)
}

// moved gives all of a tree one position.
func moved(n *yaml.Node, pos yaml.Pos) *yaml.Node {
	out := *n
	out.Pos = pos
	out.Items, out.Pairs = nil, nil
	for _, item := range n.Items {
		out.Items = append(out.Items, moved(item, pos))
	}
	for _, p := range n.Pairs {
		out.Pairs = append(out.Pairs, yaml.Pair{Key: moved(p.Key, pos), Value: moved(p.Value, pos)})
	}
	return &out
}

// convert gives a value the type of its parameter. f is the frame of where the value was written.
func (e *expander) convert(f *frame, d declared, n *yaml.Node) *yaml.Node {
	scalar := n.Kind == yaml.Scalar
	invalid := func(why string) *yaml.Node {
		if why != "" {
			why = ". " + why
		}
		e.fail(n.Pos, "The '%s' parameter is not a valid %s%s", d.Name, parameterTypes[d.Type], why)
		return nil
	}
	switch d.Type {
	case "string", "environment", "filePath", "pool", "secureFile", "serviceConnection":
		if !scalar {
			return invalid("It is a " + kindName(n) + "; declare the parameter with type: object")
		}
		if !e.allowed(d, n) {
			return nil
		}
		if n.Type == yaml.String {
			return n
		}
		return &yaml.Node{Kind: yaml.Scalar, Pos: n.Pos, Value: n.Value, Quoted: true}
	case "boolean":
		switch {
		case scalar && strings.EqualFold(n.Value, "true"):
			return &yaml.Node{Kind: yaml.Scalar, Pos: n.Pos, Value: "True", Type: yaml.Bool}
		case scalar && strings.EqualFold(n.Value, "false"):
			return &yaml.Node{Kind: yaml.Scalar, Pos: n.Pos, Value: "False", Type: yaml.Bool}
		case scalar:
			return invalid("It is '" + n.Value + "', but may be true or false")
		}
		return invalid("")
	case "number":
		if !scalar {
			return invalid("")
		}
		if _, ok := yaml.Float(strings.TrimSpace(n.Value)); !ok {
			return invalid("It is '" + n.Value + "'")
		}
		if !e.allowed(d, n) {
			return nil
		}
		text, _ := number(strings.TrimSpace(n.Value)).ToString()
		return &yaml.Node{Kind: yaml.Scalar, Pos: n.Pos, Value: text, Type: yaml.Number}
	case "object":
		return e.typed(n)
	case "legacyObject":
		return e.texted(n)
	case "stringList":
		if n.Kind != yaml.Sequence {
			return invalid("It is a " + kindName(n) + ", but should be a sequence of strings")
		}
		for _, item := range n.Items {
			if item.Kind != yaml.Scalar {
				return invalid("An item of it is a " + kindName(item))
			}
			if !e.allowed(d, item) {
				return nil
			}
		}
		return e.texted(n)
	case "container":
		if n.Kind != yaml.Mapping {
			return invalid("It is a " + kindName(n))
		}
		return e.texted(n)
	}
	name, list := strings.CutSuffix(d.Type, "List")
	if !list {
		if isBlank(n) {
			return &yaml.Node{Kind: yaml.Scalar, Pos: n.Pos, Type: yaml.Null}
		}
		if n.Kind != yaml.Mapping {
			return invalid("It is a " + kindName(n))
		}
		return e.thing(f, name, n)
	}
	if isBlank(n) {
		return &yaml.Node{Kind: yaml.Sequence, Pos: n.Pos}
	}
	if n.Kind != yaml.Sequence {
		return invalid("It is a " + kindName(n))
	}
	p := things[name]
	if p == nil {
		return e.texted(n)
	}
	expanded := e.node(f.evaluated(), n, p)
	out := &yaml.Node{Kind: yaml.Sequence, Pos: n.Pos}
	for _, item := range expanded.Items {
		if item = e.normal(name, item); item == nil {
			return nil
		}
		out.Items = append(out.Items, item)
	}
	return e.texted(out)
}

// thing is a value that is one step, job, deployment or stage.
func (e *expander) thing(f *frame, name string, n *yaml.Node) *yaml.Node {
	one := &yaml.Node{Kind: yaml.Sequence, Pos: n.Pos, Items: []*yaml.Node{n}}
	expanded := e.node(f.evaluated(), one, things[name])
	if len(expanded.Items) != 1 {
		if len(e.errs) == 0 {
			e.fail(n.Pos, "The template has %d items where one %s is expected", len(expanded.Items), name)
		}
		return nil
	}
	if n = e.normal(name, expanded.Items[0]); n == nil {
		return nil
	}
	return e.texted(n)
}

func (e *expander) normal(name string, n *yaml.Node) *yaml.Node {
	if e.o.Normal == nil || len(e.errs) > 0 || e.stopped {
		return n
	}
	out, err := e.o.Normal(name, n)
	if err != nil {
		e.failAll(n.Pos, err)
		return nil
	}
	return out
}

// allowed checks a value against the values that a parameter may have.
func (e *expander) allowed(d declared, n *yaml.Node) bool {
	if d.Values == nil || slices.Contains(d.Values, n.Value) {
		return true
	}
	if d.Type == "number" {
		if v, ok := yaml.Float(n.Value); ok && slices.ContainsFunc(d.Values, func(s string) bool { w, ok := yaml.Float(s); return ok && v == w }) {
			return true
		}
	}
	e.fail(n.Pos, "The '%s' parameter value '%s' is not one of the allowed values: %s", d.Name, n.Value, strings.Join(d.Values, ", "))
	return false
}

// texted makes all scalars of a tree strings, as they were written.
func (e *expander) texted(n *yaml.Node) *yaml.Node {
	if !e.count(n.Pos, 1, 0) {
		return blank(n.Pos)
	}
	switch n.Kind {
	case yaml.Sequence:
		out := &yaml.Node{Kind: n.Kind, Pos: n.Pos, Items: make([]*yaml.Node, len(n.Items))}
		for i, item := range n.Items {
			out.Items[i] = e.texted(item)
		}
		return out
	case yaml.Mapping:
		out := &yaml.Node{Kind: n.Kind, Pos: n.Pos, Pairs: make([]yaml.Pair, len(n.Pairs))}
		for i, p := range n.Pairs {
			out.Pairs[i] = yaml.Pair{Key: p.Key, Value: e.texted(p.Value)}
		}
		return out
	}
	if n.Type == yaml.String {
		return n
	}
	return &yaml.Node{Kind: yaml.Scalar, Pos: n.Pos, Value: n.Value, Quoted: n.Type != yaml.Bool && n.Type != yaml.Number}
}
