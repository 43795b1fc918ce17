package template

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/sekisho/sekisho/internal/pipeline/expr"
	"github.com/sekisho/sekisho/internal/pipeline/yaml"
)

// Expand expands a pipeline. Errors are *yaml.Error or yaml.Errors, but for those of the context.
func Expand(ctx context.Context, o Options) (*Result, error) {
	e := &expander{
		ctx: ctx, o: o, limits: o.Limits.orDefault(),
		said:  map[string]bool{},
		files: map[string]*file{}, repos: map[string]Repository{},
		texts: map[*yaml.Node]*text{}, paths: map[*expr.Expr][]string{}, checked: map[*expr.Expr]string{},
		weights: map[*yaml.Node]weight{}, made: map[*yaml.Node]bool{}, defined: map[string]bool{},
	}
	r := e.expand()
	if e.cause != nil {
		return nil, e.cause
	}
	if err := e.errs.Err(); err != nil {
		return nil, err
	}
	return r, nil
}

func (e *expander) expand() *Result {
	name := path.Clean(strings.TrimLeft(strings.ReplaceAll(e.o.File, `\`, "/"), "/"))
	fl := e.load(Repository{Alias: Self}, name, yaml.Pos{File: name})
	if !e.as(fl, pipelineFile) {
		return nil
	}
	f := &frame{file: fl, vars: &scope{object: expr.NewObject()}, chain: []string{fl.name}}
	for _, v := range e.o.Variables {
		f.vars.set(v.Name, v.Value)
	}
	if e.o.Parameters != nil && e.o.Parameters.Kind != yaml.Mapping && !isBlank(e.o.Parameters) {
		e.fail(e.o.Parameters.Pos, "The values of parameters must be a mapping")
		return nil
	}
	given := e.o.Parameters
	if isBlank(given) {
		given = nil
	}
	if fl.root.Get("parameters") == nil && given != nil {
		e.unexpected(expr.NewObject(), &yaml.Node{Kind: yaml.Sequence}, given)
	}
	if !e.parameters(f, f, given, fl.root.Pos) {
		return nil
	}
	root := e.file(f, nil)
	if e.stopped || len(e.errs) > 0 {
		return nil
	}
	return &Result{
		Root: root, Parameters: e.rootParameters, Repositories: e.repositories,
		Files: slices.Clone(e.order), Variables: e.definitions, Warnings: e.warnings,
	}
}

// file evaluates a pipeline's root file, or a template that it extends; then into is what the pipeline has already.
func (e *expander) file(f *frame, into *yaml.Node) *yaml.Node {
	n := f.file.root
	out := &yaml.Node{Kind: yaml.Mapping, Pos: n.Pos}
	e.known(f)
	slots := make([]*yaml.Node, len(n.Pairs))
	for pass := range 3 {
		for i, p := range n.Pairs {
			if e.stopped {
				return nil
			}
			if fileTurn(p.Key.Value) != pass {
				continue
			}
			switch p.Key.Value {
			case "parameters":
				slots[i] = p.Value
			case "resources":
				slots[i] = e.node(f, p.Value, resources)
				e.declare(slots[i])
			default:
				slots[i] = e.node(f, p.Value, root.below(p.Key.Value))
			}
		}
	}
	for i, p := range n.Pairs {
		switch key := p.Key.Value; {
		case key == "extends":
			e.extend(f, slots[i], out)
		case into == nil:
			out.Pairs = append(out.Pairs, yaml.Pair{Key: p.Key, Value: slots[i]})
		case key == "parameters":
		default:
			into.Pairs = append(into.Pairs, yaml.Pair{Key: p.Key, Value: slots[i]})
		}
	}
	if into == nil {
		e.combine(out)
		return out
	}
	// What is extended further on comes behind what is said here.
	into.Pairs = append(into.Pairs, out.Pairs...)
	return into
}

// fileTurn says when a key of a pipeline is evaluated: what others may use comes first.
func fileTurn(key string) int {
	switch key {
	case "variables":
		return 0
	case "resources":
		return 1
	}
	return 2
}

// extend puts the keys of a template in the place of extends.
func (e *expander) extend(f *frame, n, out *yaml.Node) {
	if n == nil || n.Kind != yaml.Mapping {
		if len(e.errs) == 0 {
			e.fail(n.Pos, "Expected a mapping")
		}
		return
	}
	if len(n.Pairs) == 0 || n.Pairs[0].Key.Value != "template" {
		// The order of the two keys does not matter here.
		i := slices.IndexFunc(n.Pairs, func(p yaml.Pair) bool { return p.Key.Value == "template" })
		if i < 0 {
			e.fail(n.Pos, "extends has no template")
			return
		}
		ordered := &yaml.Node{Kind: yaml.Mapping, Pos: n.Pos, Pairs: []yaml.Pair{n.Pairs[i]}}
		ordered.Pairs = append(ordered.Pairs, slices.Delete(slices.Clone(n.Pairs), i, i+1)...)
		n = ordered
	}
	in, _ := e.enter(f, n, fileKinds["extends"])
	if in != nil {
		e.file(in, out)
	}
}

// combine makes one of what a pipeline and the templates that it extends say twice: lists of resources are put together,
// the trigger of the pipeline holds, everything else is said once.
func (e *expander) combine(out *yaml.Node) {
	first := map[string]int{}
	pairs := out.Pairs[:0:0]
	for _, p := range out.Pairs {
		key := p.Key.Value
		i, twice := first[key]
		switch {
		case !twice:
			first[key] = len(pairs)
			pairs = append(pairs, p)
		case key == "resources":
			pairs[i].Value = e.together(pairs[i].Value, p.Value)
		case key == "trigger":
			e.warnings = append(e.warnings, &yaml.Error{Pos: p.Key.Pos, Message: fmt.Sprintf("this trigger is not used, that at %s is", pairs[i].Key.Pos)})
		default:
			e.fail(p.Key.Pos, "'%s' is already defined (at %s)", key, pairs[i].Key.Pos)
		}
	}
	out.Pairs = pairs
}

func (e *expander) together(a, b *yaml.Node) *yaml.Node {
	if a.Kind != yaml.Mapping || b.Kind != yaml.Mapping {
		return a
	}
	out := &yaml.Node{Kind: yaml.Mapping, Pos: a.Pos, Pairs: slices.Clone(a.Pairs)}
	for _, p := range b.Pairs {
		i := slices.IndexFunc(out.Pairs, func(q yaml.Pair) bool { return q.Key.Value == p.Key.Value })
		switch {
		case i < 0:
			out.Pairs = append(out.Pairs, p)
		case out.Pairs[i].Value.Kind == yaml.Sequence && p.Value.Kind == yaml.Sequence:
			have := out.Pairs[i].Value
			out.Pairs[i].Value = &yaml.Node{Kind: yaml.Sequence, Pos: have.Pos, Items: append(slices.Clone(have.Items), p.Value.Items...)}
		default:
			e.fail(p.Key.Pos, "'%s' is already defined (at %s)", p.Key.Value, out.Pairs[i].Key.Pos)
		}
	}
	return out
}

// known notes where templates may come from. Those of variables may be in other repositories, whose refs may be said with
// variables: they are known here as far as they were known before the file.
func (e *expander) known(f *frame) {
	r := f.file.root.Get("resources")
	if r == nil {
		return
	}
	if f.names == nil {
		f = f.with("parameters", binding{value: expr.FromObject(expr.NewObject())})
	}
	e.quiet++
	found := repositoriesOf(e.node(f, r, resources))
	e.quiet = max(e.quiet-1, 0)
	for _, r := range found {
		alias := strings.ToLower(r.Alias)
		if old, twice := e.repos[alias]; !twice || old.Pos == r.Pos {
			e.repos[alias] = r
		}
	}
}

// declare notes the repositories of the pipeline.
func (e *expander) declare(n *yaml.Node) {
	for _, r := range repositoriesOf(n) {
		i := slices.IndexFunc(e.repositories, func(have Repository) bool { return strings.EqualFold(have.Alias, r.Alias) })
		if i >= 0 {
			e.fail(r.Pos, "The repository '%s' is already defined (at %s)", r.Alias, e.repositories[i].Pos)
			continue
		}
		e.repositories = append(e.repositories, r)
	}
}

func repositoriesOf(n *yaml.Node) []Repository {
	list := n.Get("repositories")
	if list == nil {
		return nil
	}
	var found []Repository
	for _, item := range list.Items {
		text := func(key string) string {
			if v := item.Get(key); v != nil && v.Kind == yaml.Scalar {
				return v.Value
			}
			return ""
		}
		r := Repository{Pos: item.Pos, Alias: text("repository"), Type: text("type"), Name: text("name"), Ref: text("ref"), Endpoint: text("endpoint")}
		if r.Alias != "" && !strings.EqualFold(r.Alias, Self) { // what is said of self are settings
			found = append(found, r)
		}
	}
	return found
}
