package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

// readYAML turns a file into assignments. It walks the nodes itself, because they
// know their lines, rather than decoding them.
func (l *loader) readYAML(name string, text []byte) []assignment {
	var doc, more yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(text))
	switch err := dec.Decode(&doc); {
	case err == io.EOF: // nothing but comments
		return nil
	case err != nil:
		l.problem(name, "", "%s", strings.TrimPrefix(err.Error(), "yaml: "))
		return nil
	}
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		l.problem(name, "", "only one YAML document is expected")
		return nil
	}
	y := yamlReader{loader: l, file: name}
	y.mapping("", doc.Content[0])
	return y.source
}

type yamlReader struct {
	*loader
	file   string
	source []assignment
}

func (y *yamlReader) at(n *yaml.Node) string { return fmt.Sprintf("%s:%d", y.file, n.Line) }

// mapping reads the settings whose keys begin with prefix. It goes no deeper than
// settings do, so an alias to what contains it ends.
func (y *yamlReader) mapping(prefix string, n *yaml.Node) {
	n = target(n)
	if isNull(n) { // a heading with everything under it commented out
		return
	}
	if n.Kind != yaml.MappingNode {
		y.problem(y.at(n), strings.TrimSuffix(prefix, "."), "settings are expected here, in the form key: value")
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], target(n.Content[i+1])
		key := prefix + name.Value
		if line, ok := seen[key]; ok {
			y.problem(y.at(name), key, "is in line %d already", line)
			continue
		}
		seen[key] = name.Line
		f, _ := y.find(key)
		switch {
		case f == nil && y.isGroup(key):
			y.mapping(key+".", value)
		case f == nil:
			y.problem(y.at(name), "", "unknown key %q%s", key, didYouMean(suggest(key, append(y.names(), y.groups()...))))
		case isNull(value): // as if it were not there
		case isRecords(f.value.Type()):
			y.source = append(y.source, assignment{key: key, node: &node{value, y.file}, origin: y.at(name)})
		case value.Kind == yaml.SequenceNode:
			y.list(key, value)
		case value.Kind == yaml.ScalarNode:
			y.source = append(y.source, assignment{key: key, texts: []string{value.Value}, origin: y.at(name)})
		default:
			y.problem(y.at(value), key, "a value is expected, not further keys")
		}
	}
}

func (y *yamlReader) list(key string, n *yaml.Node) {
	a := assignment{key: key, list: true, origin: y.at(n)}
	for _, element := range n.Content {
		if element = target(element); element.Kind != yaml.ScalarNode || isNull(element) {
			y.problem(y.at(element), key, "each element must be one value")
			return
		}
		a.texts = append(a.texts, element.Value)
	}
	y.source = append(y.source, a)
}

func (y *yamlReader) isGroup(key string) bool {
	for _, f := range y.fields {
		if strings.HasPrefix(f.key, key+".") {
			return true
		}
	}
	return false
}

func (y *yamlReader) groups() []string {
	var groups []string
	for _, f := range y.fields {
		for i, c := range f.key {
			if c == '.' {
				groups = append(groups, f.key[:i])
			}
		}
	}
	return groups
}

func target(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }
