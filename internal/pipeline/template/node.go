package template

import (
	"strings"

	"github.com/sekisho/sekisho/internal/pipeline/yaml"
)

// node evaluates a node that stands at a place.
func (e *expander) node(f *frame, n *yaml.Node, p *place) *yaml.Node {
	if !e.count(n.Pos, 1, len(n.Value)) {
		return blank(n.Pos)
	}
	switch n.Kind {
	case yaml.Sequence:
		out := &yaml.Node{Kind: yaml.Sequence, Pos: n.Pos, Items: make([]*yaml.Node, 0, len(n.Items))}
		e.items(f, n, p, out)
		return out
	case yaml.Mapping:
		return e.mapping(f, n, p)
	}
	v := e.scalar(f, n)
	if v == n || v.Kind == yaml.Scalar {
		return v
	}
	return e.settle(f, v, p)
}

// settle puts a tree that an expression returned in its place: templates may be named in it, variables defined.
func (e *expander) settle(f *frame, v *yaml.Node, p *place) *yaml.Node {
	if p == free || p == literal || v.Kind == yaml.Scalar {
		e.weigh(v.Pos, v)
		return v
	}
	return e.node(f.evaluated(), v, p)
}

func blank(pos yaml.Pos) *yaml.Node { return &yaml.Node{Kind: yaml.Scalar, Pos: pos} }

// isBlank reports whether nothing was written, or null.
func isBlank(n *yaml.Node) bool {
	return n == nil || n.Kind == yaml.Scalar && (n.Type == yaml.Null || n.Value == "" && !n.Quoted)
}

// conditions is the chain of if, elseif and else that a sequence or a mapping is in. What is no directive does not
// interrupt it.
type conditions struct {
	open  bool // there was an if, and no else yet
	taken bool // one of the chain was true
}

// follow decides about one directive of a chain.
func (e *expander) follow(f *frame, key *yaml.Node, d *directive, c *conditions) bool {
	if d.name == "if" {
		*c = conditions{open: true}
	} else if !c.open {
		e.fail(key.Pos, "The directive '%s' does not follow an 'if' or an 'elseif' in the same sequence or mapping", d.name)
		return false
	}
	if d.name == "else" {
		c.open = false
		return !c.taken
	}
	if c.taken {
		return false
	}
	v, ok := e.eval(f, key.Pos, d.expr)
	if !ok {
		c.taken = true // whether it would have been is not known: nothing more is said of this chain
		return false
	}
	c.taken = v.ToBool()
	return c.taken
}

// each calls do for every item of a directive's collection.
func (e *expander) each(f *frame, key *yaml.Node, d *directive, do func(f *frame)) {
	name := strings.ToLower(d.each)
	if _, known := f.names[name]; known || name == "variables" || name == "parameters" {
		e.fail(key.Pos, "'%s' is already defined", d.each)
		return
	}
	v, ok := e.eval(f, key.Pos, d.expr)
	if !ok {
		return
	}
	items, ok := e.iterate(v, e.origin(f, d.expr), key.Pos)
	if !ok {
		text, _ := v.ToString()
		e.fail(key.Pos, "Expected a sequence or mapping. Actual value '%s'", text)
		return
	}
	for _, item := range items {
		if !e.count(key.Pos, 1, 0) {
			return
		}
		do(f.with(name, item))
	}
}

// splices returns the directive of a sequence's item whose content stands for items of the sequence.
func (e *expander) splices(f *frame, item *yaml.Node) *directive {
	if f.inert || item.Kind != yaml.Mapping || len(item.Pairs) != 1 || item.Pairs[0].Value.Kind == yaml.Mapping {
		return nil
	}
	t := e.texts[item.Pairs[0].Key]
	if t == nil || t.directive == nil || t.directive.name == "insert" {
		return nil
	}
	return t.directive
}

// items evaluates the items of a sequence into out.
func (e *expander) items(f *frame, n *yaml.Node, p *place, out *yaml.Node) {
	var chain conditions
	for _, item := range n.Items {
		if e.stopped {
			return
		}
		if d := e.splices(f, item); d != nil {
			key, body := item.Pairs[0].Key, item.Pairs[0].Value
			if d.name == "each" {
				e.each(f, key, d, func(f *frame) { e.body(f, body, p, out) })
			} else if e.follow(f, key, d, &chain) {
				e.body(f, body, p, out)
			}
			continue
		}
		if item.Kind == yaml.Scalar {
			e.splice(f, item, p, out)
			continue
		}
		e.add(f, item, e.node(f, item, p.item()), p, out)
	}
}

// body evaluates the content of a directive in a sequence: a sequence, an expression, or nothing.
func (e *expander) body(f *frame, n *yaml.Node, p *place, out *yaml.Node) {
	switch {
	case n.Kind == yaml.Sequence:
		e.items(f, n, p, out)
	case e.texts[n] != nil:
		e.splice(f, n, p, out)
	case !isBlank(n):
		e.fail(n.Pos, "Expected a sequence or a mapping")
	}
}

// splice evaluates a scalar in a sequence. A sequence that an expression returns becomes items.
func (e *expander) splice(f *frame, n *yaml.Node, p *place, out *yaml.Node) {
	if !e.count(n.Pos, 1, len(n.Value)) {
		return
	}
	switch v := e.scalar(f, n); {
	case v == n || v.Kind == yaml.Scalar:
		e.add(f, n, v, p, out)
	case v.Kind == yaml.Sequence:
		e.items(f.evaluated(), v, p, out)
	default:
		e.add(f, v, e.settle(f, v, p.item()), p, out)
	}
}

// add puts an evaluated item into a sequence, or what the template has that it names. source is the item as it was before.
func (e *expander) add(f *frame, source, item *yaml.Node, p *place, out *yaml.Node) {
	if !p.listed() || e.stopped {
		out.Items = append(out.Items, item)
		return
	}
	if item.Kind == yaml.Mapping {
		if len(item.Pairs) == 0 {
			e.fail(item.Pos, "Expected at least one key-value pair in the mapping")
			return
		}
		if item.Pairs[0].Key.Value == "template" {
			e.include(f, item, p, out)
			return
		}
		if p == variables {
			e.defineItem(f, source, item)
		}
	}
	out.Items = append(out.Items, item)
}

// entry is a pair of a mapping that is being made, and where errors about it are shown.
type entry struct {
	yaml.Pair
	at yaml.Pos
}

// mapping evaluates a mapping.
func (e *expander) mapping(f *frame, n *yaml.Node, p *place) *yaml.Node {
	if p.scope {
		f = f.inside(p.label)
	}
	slots := make([][]entry, len(n.Pairs))
	for pass := range 3 {
		var chain conditions
		for i, pair := range n.Pairs {
			if e.stopped {
				return blank(n.Pos)
			}
			if p.turn(pair.Key.Value) == pass {
				e.pair(f, pair, p, &chain, func(key, value *yaml.Node, at yaml.Pos) {
					slots[i] = append(slots[i], entry{yaml.Pair{Key: key, Value: value}, at})
				})
			}
		}
		if pass == 0 && p.scope {
			f.labels[len(f.labels)-1] = label(p, slots)
		}
	}
	out := &yaml.Node{Kind: yaml.Mapping, Pos: n.Pos, Pairs: make([]yaml.Pair, 0, len(n.Pairs))}
	seen := make(map[string]yaml.Pos, len(n.Pairs))
	for _, slot := range slots {
		for _, en := range slot {
			name := strings.ToLower(en.Key.Value)
			if first, twice := seen[name]; twice {
				e.fail(en.at, "'%s' is already defined (at %s)", en.Key.Value, first)
				continue
			}
			seen[name] = en.Key.Pos
			out.Pairs = append(out.Pairs, en.Pair)
		}
	}
	return out
}

// emitter takes the pairs that one pair stands for.
type emitter func(key, value *yaml.Node, at yaml.Pos)

// turn says when a key is evaluated: names first, then variables, which all else may use, then the rest.
func (p *place) turn(key string) int {
	switch {
	case !p.scope:
		return 2
	case key == "variables":
		return 1
	}
	for _, name := range p.names {
		if key == name {
			return 0
		}
	}
	return 2
}

// label is how people are told where they are: "stage Build".
func label(p *place, slots [][]entry) string {
	for _, slot := range slots {
		for _, en := range slot {
			if p.turn(en.Key.Value) == 0 {
				return strings.TrimSpace(p.label + " " + en.Value.Value)
			}
		}
	}
	return p.label
}

// pair evaluates one pair of a mapping, which may stand for any number of them.
func (e *expander) pair(f *frame, pair yaml.Pair, p *place, chain *conditions, emit emitter) {
	if !e.count(pair.Key.Pos, 1, len(pair.Key.Value)) {
		return
	}
	var t *text
	if !f.inert {
		t = e.texts[pair.Key]
	}
	switch {
	case t == nil:
		e.emit(f, pair.Key, pair.Value, p, emit)
	case t.directive == nil:
		key := e.scalar(f, pair.Key)
		if key.Kind != yaml.Scalar {
			e.fail(pair.Key.Pos, "A key must be a string; this expression is a %s", kindName(key))
			return
		}
		e.emit(f, key, pair.Value, p, emit)
	case t.directive.name == "each":
		e.each(f, pair.Key, t.directive, func(f *frame) { e.merge(f, pair.Value, p, emit) })
	case t.directive.name == "insert" || e.follow(f, pair.Key, t.directive, chain):
		e.merge(f, pair.Value, p, emit)
	}
}

func (e *expander) emit(f *frame, key, value *yaml.Node, p *place, emit emitter) {
	v := e.node(f, value, p.below(key.Value))
	if p == variables {
		e.definePair(f, key, value, v)
	}
	emit(key, v, key.Pos)
}

// merge evaluates what stands for pairs of a mapping: a mapping, or an expression.
func (e *expander) merge(f *frame, n *yaml.Node, p *place, emit emitter) {
	if n.Kind == yaml.Scalar {
		if isBlank(n) && e.texts[n] == nil {
			return
		}
		errs := len(e.errs)
		v := e.scalar(f, n)
		if v.Kind != yaml.Mapping {
			if len(e.errs) == errs {
				e.fail(n.Pos, "Expected a mapping")
			}
			return
		}
		at, outer := n.Pos, emit
		emit = func(key, value *yaml.Node, _ yaml.Pos) { outer(key, value, at) }
		f, n = f.evaluated(), v
	}
	if n.Kind != yaml.Mapping {
		e.fail(n.Pos, "Expected a mapping")
		return
	}
	var chain conditions
	for _, pair := range n.Pairs {
		if e.stopped {
			return
		}
		e.pair(f, pair, p, &chain, emit)
	}
}

func kindName(n *yaml.Node) string {
	switch n.Kind {
	case yaml.Sequence:
		return "sequence"
	case yaml.Mapping:
		return "mapping"
	}
	return "scalar"
}
