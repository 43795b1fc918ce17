package template

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sekisho/sekisho/internal/pipeline/yaml"
)

// definePair notes a variable in form of a pair.
func (e *expander) definePair(f *frame, name, source, value *yaml.Node) {
	if value.Kind == yaml.Scalar {
		e.define(f, name.Value, source, value)
	}
}

// defineItem notes a variable, or a group, in form of an item.
func (e *expander) defineItem(f *frame, source, item *yaml.Node) {
	if group := item.Get("group"); group != nil && group.Kind == yaml.Scalar {
		e.record(f, Definition{Pos: group.Pos, Group: group.Value})
		return
	}
	name, value := item.Get("name"), item.Get("value")
	if name == nil || name.Kind != yaml.Scalar || name.Value == "" {
		return // the schema's to refuse
	}
	if value == nil {
		value = blank(name.Pos)
	}
	if value.Kind != yaml.Scalar {
		return
	}
	written := value
	if source != nil && source.Kind == yaml.Mapping && !f.inert {
		if w := source.Get("value"); w != nil && w.Kind == yaml.Scalar {
			written = w
		}
	}
	e.define(f, name.Value, written, value)
}

func (e *expander) define(f *frame, name string, source, value *yaml.Node) {
	e.spend(value.Pos, 100*f.vars.set(name, value.Value))
	d := Definition{Pos: value.Pos, Name: name, Value: value.Value, Written: source.Value}
	if t := e.texts[source]; t != nil {
		d.Pos = source.Pos
		for _, part := range t.parts {
			if part.expr == nil {
				continue
			}
			for _, r := range part.expr.References() {
				if use := strings.Join(r.Path, "."); !slices.Contains(d.Uses, use) {
					d.Uses = append(d.Uses, use)
				}
			}
		}
	}
	e.record(f, d)
}

// record keeps a definition, once.
func (e *expander) record(f *frame, d Definition) {
	if e.quiet > 0 {
		return
	}
	d.Scope, d.Via = slices.Clone(f.labels), slices.Clone(f.via)
	key := fmt.Sprintf("%s\x00%s\x00%s\x00%q", d.Pos, d.Name, d.Value, d.Scope)
	if e.defined[key] {
		return
	}
	e.defined[key] = true
	e.definitions = append(e.definitions, d)
}
