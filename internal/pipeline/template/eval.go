package template

import (
	"errors"
	"strconv"
	"strings"

	"github.com/sekisho/sekisho/internal/pipeline/expr"
	"github.com/sekisho/sekisho/internal/pipeline/yaml"
)

// Limits of one evaluation.
const (
	exprMemory = 10 << 20
	exprWork   = 64 << 20
)

// eval evaluates an expression; ok is false if it has no value, which is said then.
func (e *expander) eval(f *frame, pos yaml.Pos, x *expr.Expr) (v expr.Value, ok bool) {
	names := make(map[string]expr.Value, len(f.names)+1)
	known := make([]string, 0, len(f.names)+1)
	for name, b := range f.names {
		names[name] = b.value
		known = append(known, name)
	}
	names["variables"] = expr.FromObject(f.vars.object)
	known = append(known, "variables")
	e.spend(pos, 500+64*len(names)+len(x.Text()))
	if err := e.check(x, known); err != nil {
		e.fail(pos, "%v", err)
		return v, false
	}
	if e.stopped {
		return v, false
	}
	spent := 0
	v, err := x.Eval(&expr.Context{Names: names, Limits: expr.Limits{Memory: exprMemory, Work: exprWork}, Spent: &spent})
	if e.spend(pos, spent); e.stopped {
		return v, false
	}
	if err != nil {
		if errors.Is(err, expr.ErrLimit) {
			e.stop(pos, "%v", err)
		}
		e.fail(pos, "%v", err)
		return v, false
	}
	return v, true
}

// check refuses names and functions that are not there, also in the parts of an expression that are not evaluated.
func (e *expander) check(x *expr.Expr, known []string) error {
	set := len(known)
	key := strconv.Itoa(set)
	for _, r := range x.References() {
		key += "," + r.Path[0]
		for _, name := range known {
			if strings.EqualFold(name, r.Path[0]) {
				key += "+"
			}
		}
	}
	if e.checked[x] == key {
		return nil
	}
	if err := x.Check(known, nil); err != nil {
		return err
	}
	e.checked[x] = key
	return nil
}

// scalar evaluates a scalar. What an expression alone returns keeps its structure; between text it becomes a string.
func (e *expander) scalar(f *frame, n *yaml.Node) *yaml.Node {
	if f.inert {
		return n
	}
	t := e.texts[n]
	if t == nil {
		return n
	}
	if t.directive != nil {
		return blank(n.Pos) // scan has said so
	}
	if x := t.lone(); x != nil {
		v, ok := e.eval(f, n.Pos, x)
		if !ok {
			return blank(n.Pos)
		}
		made := e.origin(f, x)
		if made == nil {
			made = e.fromValue(v, n.Pos)
		}
		return e.make(made)
	}
	var b strings.Builder
	for _, part := range t.parts {
		s := part.literal
		if part.expr != nil {
			v, ok := e.eval(f, n.Pos, part.expr)
			if !ok {
				return blank(n.Pos)
			}
			var err error
			if s, err = v.ToString(); err != nil {
				e.fail(n.Pos, "%v", err)
				return blank(n.Pos)
			}
		}
		if !e.count(n.Pos, 0, len(s)) {
			return blank(n.Pos)
		}
		b.WriteString(s)
	}
	return e.make(&yaml.Node{Kind: yaml.Scalar, Pos: n.Pos, Value: b.String()})
}

// make notes that a scalar is what an expression returned. Such are strings from then on, also where plain scalars are
// more: an object with a value that was ${{ true }} has the string True there.
func (e *expander) make(n *yaml.Node) *yaml.Node {
	if n.Kind != yaml.Scalar {
		return n
	}
	made := *n
	made.Quoted = false
	e.made[&made] = true
	return &made
}

// path returns what an expression names if it does nothing else.
func (e *expander) path(x *expr.Expr) []string {
	if p, ok := e.paths[x]; ok {
		return p
	}
	var path []string
	if refs := x.References(); len(refs) == 1 && !refs[0].Dynamic && len(x.Calls()) == 0 {
		path = refs[0].Path
	}
	e.paths[x] = path
	return path
}

// origin returns the node that an expression names, which knows where it and its parts were written.
func (e *expander) origin(f *frame, x *expr.Expr) *yaml.Node {
	path := e.path(x)
	if len(path) == 0 {
		return nil
	}
	n := f.names[strings.ToLower(path[0])].node
	for _, key := range path[1:] {
		if n == nil {
			return nil
		}
		e.spend(n.Pos, 8*len(n.Pairs))
		n = child(n, key)
	}
	return n
}

// child returns a property of a mapping, regardless of its case, or an item of a sequence.
func child(n *yaml.Node, key string) *yaml.Node {
	switch n.Kind {
	case yaml.Mapping:
		for _, p := range n.Pairs {
			if strings.EqualFold(p.Key.Value, key) {
				return p.Value
			}
		}
	case yaml.Sequence:
		if i, err := strconv.Atoi(key); err == nil && i >= 0 && i < len(n.Items) {
			return n.Items[i]
		}
	}
	return nil
}

// iterate returns what each goes through: items, or pairs as objects with key and value. Null has none.
func (e *expander) iterate(v expr.Value, origin *yaml.Node, pos yaml.Pos) ([]binding, bool) {
	var found []binding
	switch v.Kind() {
	case expr.KindNull:
		return nil, true
	case expr.KindArray:
		for i, item := range v.Items() {
			b := binding{value: item}
			if origin != nil && origin.Kind == yaml.Sequence && i < len(origin.Items) {
				b.node = origin.Items[i]
			}
			found = append(found, b)
		}
	case expr.KindObject:
		for i, key := range v.Object().Keys() {
			value, _ := v.Object().Get(key)
			b := binding{value: expr.FromObject(expr.NewObject().Set("key", expr.String(key)).Set("value", value))}
			if origin != nil && origin.Kind == yaml.Mapping && i < len(origin.Pairs) && strings.EqualFold(origin.Pairs[i].Key.Value, key) {
				p := origin.Pairs[i]
				b.node = &yaml.Node{Kind: yaml.Mapping, Pos: p.Key.Pos, Pairs: []yaml.Pair{{Key: word("key", pos), Value: p.Key}, {Key: word("value", pos), Value: p.Value}}}
			}
			found = append(found, b)
		}
	default:
		return nil, false
	}
	e.spend(pos, 200*len(found))
	return found, true
}

func word(s string, pos yaml.Pos) *yaml.Node {
	return &yaml.Node{Kind: yaml.Scalar, Pos: pos, Value: s}
}

// fromValue makes nodes of a value that was computed at a place.
func (e *expander) fromValue(v expr.Value, pos yaml.Pos) *yaml.Node {
	n := &yaml.Node{Kind: yaml.Scalar, Pos: pos}
	switch v.Kind() {
	case expr.KindArray:
		n.Kind = yaml.Sequence
		for _, item := range v.Items() {
			if !e.count(pos, 1, 0) {
				break
			}
			n.Items = append(n.Items, e.fromValue(item, pos))
		}
	case expr.KindObject:
		n.Kind = yaml.Mapping
		for _, key := range v.Object().Keys() {
			if !e.count(pos, 1, len(key)) {
				break
			}
			value, _ := v.Object().Get(key)
			n.Pairs = append(n.Pairs, yaml.Pair{Key: word(key, pos), Value: e.fromValue(value, pos)})
		}
	default:
		n.Value, _ = v.ToString()
		e.count(pos, 0, len(n.Value))
		switch v.Kind() {
		case expr.KindNull:
			n.Type = yaml.Null
		case expr.KindBool:
			n.Type = yaml.Bool
		case expr.KindNumber:
			n.Type = yaml.Number
		}
	}
	return n
}

// toValue makes a value of nodes whose scalars have types.
func (e *expander) toValue(n *yaml.Node) expr.Value {
	switch n.Kind {
	case yaml.Sequence:
		items := make([]expr.Value, len(n.Items))
		for i, item := range n.Items {
			items[i] = e.toValue(item)
		}
		return expr.Array(items)
	case yaml.Mapping:
		o := expr.NewObject()
		for _, p := range n.Pairs {
			o.Set(p.Key.Value, e.toValue(p.Value))
		}
		return expr.FromObject(o)
	}
	switch n.Type {
	case yaml.Null:
		return expr.Null
	case yaml.Bool:
		return expr.Bool(strings.EqualFold(n.Value, "true"))
	case yaml.Number:
		return number(n.Value)
	}
	return expr.String(n.Value)
}

// number is the number that a text is; text that is none is 0.
func number(s string) expr.Value {
	if x, err := expr.Parse(s); err == nil {
		if v, ok := x.Literal(); ok && v.Kind() == expr.KindNumber {
			return v
		}
	}
	f, _ := yaml.Float(s)
	return expr.Number(f)
}

// typed gives the plain scalars of a tree the types that YAML has for them, as in values of type object.
func (e *expander) typed(n *yaml.Node) *yaml.Node {
	if !e.count(n.Pos, 1, 0) {
		return blank(n.Pos)
	}
	switch n.Kind {
	case yaml.Sequence:
		out := &yaml.Node{Kind: n.Kind, Pos: n.Pos, Items: make([]*yaml.Node, len(n.Items))}
		for i, item := range n.Items {
			out.Items[i] = e.typed(item)
		}
		return out
	case yaml.Mapping:
		out := &yaml.Node{Kind: n.Kind, Pos: n.Pos, Pairs: make([]yaml.Pair, len(n.Pairs))}
		for i, p := range n.Pairs {
			out.Pairs[i] = yaml.Pair{Key: p.Key, Value: e.typed(p.Value)}
		}
		return out
	}
	switch {
	case e.made[n]:
		return &yaml.Node{Kind: yaml.Scalar, Pos: n.Pos, Value: n.Value, Quoted: true}
	case n.Type != yaml.String:
		return n
	}
	out := &yaml.Node{Kind: yaml.Scalar, Pos: n.Pos, Type: n.Resolve()}
	switch out.Type {
	case yaml.Bool:
		out.Value = "True"
		if n.Value == "false" {
			out.Value = "False"
		}
	case yaml.Number:
		out.Value, _ = number(n.Value).ToString()
	case yaml.Null:
	default:
		return n
	}
	return out
}
