package template

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sekisho/sekisho/internal/pipeline/expr"
	"github.com/sekisho/sekisho/internal/pipeline/yaml"
)

// maxErrors is how many errors are told at once.
const maxErrors = 10

// The defaults of Limits.
const (
	maxFiles = 100
	maxDepth = 20
	maxBytes = 10 << 20
	maxNodes = 500_000
	maxWork  = 256 << 20
)

func (l Limits) orDefault() Limits {
	for _, d := range []struct {
		field *int
		value int
	}{{&l.Files, maxFiles}, {&l.Depth, maxDepth}, {&l.Bytes, maxBytes}, {&l.Nodes, maxNodes}, {&l.Work, maxWork}} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
	return l
}

// expander is one expansion.
type expander struct {
	ctx    context.Context
	o      Options
	limits Limits

	errs    yaml.Errors
	said    map[string]bool
	quiet   int  // errors are not collected
	stopped bool // a limit was passed, or the context ended
	cause   error

	nodes, bytes, work int // made, and looked at
	size               int // of all files

	files map[string]*file
	order []string
	repos map[string]Repository // by alias in lower case

	texts   map[*yaml.Node]*text // of the scalars of all files that hold expressions
	paths   map[*expr.Expr][]string
	checked map[*expr.Expr]string // the names that an expression was checked against
	weights map[*yaml.Node]weight
	made    map[*yaml.Node]bool // scalars that are what an expression returned

	definitions []Definition
	defined     map[string]bool

	rootParameters []Parameter
	repositories   []Repository
	warnings       []*yaml.Error
}

// weight is how much a tree would be if it were written out.
type weight struct{ nodes, bytes int }

// frame is what is in force where a node is evaluated.
type frame struct {
	file   *file
	names  map[string]binding // parameters, and the variables of each; by name in lower case
	vars   *scope
	labels []string
	via    []yaml.Pos
	chain  []string // the files that led here
	inert  bool     // what is looked at was evaluated before
	given  string   // alias of another repository, to whose template what is looked at is given as a parameter
}

// binding is what a name stands for. The node has the origin of its parts; it is nil for what was computed.
type binding struct {
	value expr.Value
	node  *yaml.Node
}

// scope is the variables that ${{ variables }} knows. A scope is a copy of what is around it, made when it is written to.
type scope struct {
	object *expr.Object
	shared bool
}

// set defines a variable. It returns what that cost, in properties copied.
func (s *scope) set(name, value string) int {
	cost := 1
	if s.shared {
		copied := expr.NewObject()
		for _, key := range s.object.Keys() {
			v, _ := s.object.Get(key)
			copied.Set(key, v)
		}
		cost += copied.Len()
		s.object, s.shared = copied, false
	}
	s.object.Set(name, expr.String(value))
	return cost
}

// inside returns a frame for what is below a scope.
func (f *frame) inside(label string) *frame {
	in := *f
	in.vars = &scope{object: f.vars.object, shared: true}
	in.labels = append(slices.Clip(f.labels), label)
	return &in
}

// isRoot reports whether f is the pipeline's root file, and not a template.
func (f *frame) isRoot() bool { return len(f.chain) <= 1 }

// with returns a frame that knows one more name.
func (f *frame) with(name string, b binding) *frame {
	in := *f
	in.names = make(map[string]binding, len(f.names)+1)
	for k, v := range f.names {
		in.names[k] = v
	}
	in.names[strings.ToLower(name)] = b
	return &in
}

// evaluated returns a frame in which expressions are left alone.
func (f *frame) evaluated() *frame {
	if f.inert {
		return f
	}
	in := *f
	in.inert = true
	return &in
}

func (e *expander) fail(pos yaml.Pos, format string, args ...any) {
	e.failWith(&yaml.Error{Pos: pos, Message: fmt.Sprintf(format, args...)})
}

func (e *expander) failWith(err *yaml.Error) {
	if e.quiet > 0 || e.stopped || len(e.errs) >= maxErrors || e.said[err.Error()] {
		return
	}
	e.said[err.Error()] = true
	e.errs = append(e.errs, err)
}

// failAll takes errors over that know where they are.
func (e *expander) failAll(pos yaml.Pos, err error) {
	var several yaml.Errors
	var one *yaml.Error
	switch {
	case errors.As(err, &several):
		for _, one := range several {
			e.failWith(one)
		}
	case errors.As(err, &one):
		e.failWith(one)
	default:
		e.fail(pos, "%v", err)
	}
}

// stop ends the expansion with an error.
func (e *expander) stop(pos yaml.Pos, format string, args ...any) {
	if e.stopped {
		return
	}
	if e.quiet > 0 {
		e.quiet = 0
	}
	e.errs = append(e.errs[:min(len(e.errs), maxErrors-1)], &yaml.Error{Pos: pos, Message: fmt.Sprintf(format, args...)})
	e.stopped = true
}

// count books nodes and text that are made, and reports whether expansion may go on.
func (e *expander) count(pos yaml.Pos, nodes, bytes int) bool {
	e.nodes += nodes
	e.bytes += bytes
	switch {
	case e.stopped:
	case e.nodes > e.limits.Nodes:
		e.stop(pos, "The pipeline has more than %d nodes when it is expanded; this is where the limit was passed. Are loops (each) nested too deeply?", e.limits.Nodes)
	case e.bytes > 4*e.limits.Bytes:
		e.stop(pos, "The text of the pipeline has more than %d bytes when it is expanded; this is where the limit was passed.", 4*e.limits.Bytes)
	case e.nodes&0xff < nodes && e.ctx.Err() != nil:
		e.stopped, e.cause = true, e.ctx.Err()
	}
	return !e.stopped
}

// spend books work, in bytes looked at.
func (e *expander) spend(pos yaml.Pos, bytes int) {
	if e.work += bytes; e.work > e.limits.Work {
		e.stop(pos, "The expressions of the pipeline take too long to evaluate; this is where the limit was passed.")
	}
}

// weigh books a tree that is put in place as a whole.
func (e *expander) weigh(pos yaml.Pos, n *yaml.Node) bool {
	w := e.weight(n)
	return e.count(pos, w.nodes, w.bytes)
}

func (e *expander) weight(n *yaml.Node) weight {
	if n == nil {
		return weight{}
	}
	if n.Kind == yaml.Scalar {
		return weight{1, len(n.Value)}
	}
	if w, ok := e.weights[n]; ok {
		return w
	}
	w := weight{1, 0}
	add := func(n *yaml.Node) {
		child := e.weight(n)
		w.nodes = min(w.nodes+child.nodes, 1<<40)
		w.bytes = min(w.bytes+child.bytes, 1<<40)
	}
	for _, item := range n.Items {
		add(item)
	}
	for _, p := range n.Pairs {
		add(p.Key)
		add(p.Value)
	}
	e.weights[n] = w
	return w
}
