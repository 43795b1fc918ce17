package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// node is a place in a YAML file.
type node struct {
	*yaml.Node
	file string
}

// setRecords reads a list of groups. It replaces what an earlier source said as a whole.
// In a file it knows the line of everything; elsewhere it is one text, as JSON or YAML.
func (l *loader) setRecords(f *field, a assignment) {
	r := recordReader{loader: l, origin: func(*yaml.Node) string { return a.origin }}
	var n *yaml.Node
	if a.node != nil {
		n = a.node.Node
		r.origin = func(n *yaml.Node) string { return fmt.Sprintf("%s:%d", a.node.file, n.Line) }
	} else {
		var doc yaml.Node
		if err := yaml.NewDecoder(bytes.NewReader([]byte(a.texts[0]))).Decode(&doc); err == nil {
			n = doc.Content[0]
		} else if strings.TrimSpace(a.texts[0]) != "" {
			l.problem(a.origin, f.key, "%s", strings.TrimPrefix(err.Error(), "yaml: "))
			return
		}
	}
	list := reflect.MakeSlice(f.value.Type(), 0, 0)
	if n != nil && !isNull(target(n)) {
		n = target(n)
		if n.Kind != yaml.SequenceNode {
			l.problem(r.origin(n), f.key, "a list is expected, as in [{key: value}, {key: value}]")
			return
		}
		list = reflect.MakeSlice(f.value.Type(), len(n.Content), len(n.Content))
		for i, element := range n.Content {
			r.record(fmt.Sprintf("%s[%d]", f.key, i), target(element), list.Index(i))
		}
	}
	f.value.Set(list)
}

type recordReader struct {
	*loader
	origin func(*yaml.Node) string
}

// record reads a group of scalars and lists of scalars: there is none that has more.
func (r *recordReader) record(key string, n *yaml.Node, v reflect.Value) {
	r.origins[key] = r.origin(n)
	if n.Kind != yaml.MappingNode {
		r.problem(r.origin(n), key, "settings are expected here, in the form key: value")
		return
	}
	byName := map[string]reflect.Value{}
	var names []string
	for sf, fv := range v.Fields() {
		name := sf.Tag.Get("yaml")
		byName[name], names = fv, append(names, name)
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], target(n.Content[i+1])
		at, key := r.origin(name), key+"."+name.Value
		fv, ok := byName[name.Value]
		if line, twice := seen[name.Value]; twice {
			r.problem(at, key, "is in line %d already", line)
			continue
		}
		seen[name.Value] = name.Line
		if !ok {
			r.problem(at, "", "unknown key %q%s", key, didYouMean(suggest(name.Value, names)))
			continue
		}
		r.origins[key] = at
		if isNull(value) {
			continue
		}
		if err := setNode(fv, value); err != nil {
			r.problem(at, key, "%v", err)
		}
	}
}

// setNode reads a scalar or a list of such.
func setNode(v reflect.Value, n *yaml.Node) error {
	switch {
	case n.Kind == yaml.SequenceNode && isList(v.Type()):
		var texts []string
		for _, element := range n.Content {
			if element = target(element); element.Kind != yaml.ScalarNode || isNull(element) {
				return fmt.Errorf("each element must be one value")
			}
			texts = append(texts, element.Value)
		}
		return setList(v, texts)
	case n.Kind == yaml.SequenceNode:
		return fmt.Errorf("one value is expected, not a list")
	case n.Kind != yaml.ScalarNode:
		return fmt.Errorf("a value is expected, not further keys")
	case isList(v.Type()):
		return setList(v, splitList(n.Value))
	default:
		return setScalar(v, n.Value)
	}
}

// formatRecords writes a list of groups as setRecords reads it: as JSON, without what is
// not set.
func formatRecords(list reflect.Value) string {
	if list.Len() == 0 {
		return ""
	}
	var b strings.Builder
	for i := range list.Len() {
		b.WriteString(sep(i, "[", ","))
		n := 0
		for sf, fv := range list.Index(i).Fields() {
			if fv.IsZero() {
				continue
			}
			b.WriteString(sep(n, "{", ",") + quoteJSON(sf.Tag.Get("yaml")) + ":")
			n++
			if !isList(fv.Type()) {
				b.WriteString(quoteJSON(format(fv)))
				continue
			}
			for j := range fv.Len() {
				b.WriteString(sep(j, "[", ",") + quoteJSON(format(fv.Index(j))))
			}
			b.WriteString(sep(fv.Len(), "[]", "]"))
		}
		b.WriteString(sep(n, "{}", "}"))
	}
	return b.String() + "]"
}

// sep returns first where nothing stands before, else later.
func sep(before int, first, later string) string {
	if before == 0 {
		return first
	}
	return later
}

func quoteJSON(s string) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string always can be
	return strings.TrimSuffix(b.String(), "\n")
}
