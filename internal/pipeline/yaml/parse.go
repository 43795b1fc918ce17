package yaml

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	lib "go.yaml.in/yaml/v4"
)

// Limits bound what one file may be. A zero field means the default.
type Limits struct {
	Bytes int // 10 MB
	Depth int // 100 nested collections
	Nodes int // 100,000, keys included
}

// DefaultLimits are what zero fields of Limits mean.
var DefaultLimits = Limits{Bytes: 10 << 20, Depth: 100, Nodes: 100_000}

func (l Limits) orDefault() Limits {
	if l.Bytes <= 0 {
		l.Bytes = DefaultLimits.Bytes
	}
	if l.Depth <= 0 {
		l.Depth = DefaultLimits.Depth
	}
	if l.Nodes <= 0 {
		l.Nodes = DefaultLimits.Nodes
	}
	return l
}

// maxErrors is how many errors of one file are told at once.
const maxErrors = 10

// Parse reads the one document of a file. Every scalar has Type String: whether a plain true is a boolean is the
// language's to say, see [Node.Resolve]. An empty file is an empty mapping.
//
// The error is an *Error, or [Errors] where a file has several.
func Parse(file string, data []byte, limits Limits) (*Node, error) {
	p := &parser{file: file, limits: limits.orDefault()}
	if len(data) > p.limits.Bytes {
		return nil, p.errorAt(0, 0, "the file has %d bytes, more than the %d that a file may have", len(data), p.limits.Bytes)
	}
	data, err := p.text(data)
	if err != nil {
		return nil, err
	}
	doc, err := p.load(data)
	if err != nil {
		return nil, err
	}
	if doc == nil {
		return &Node{Kind: Mapping, Pos: Pos{File: file, Line: 1, Column: 1}}, nil
	}
	root := p.node(doc, 0)
	if err := p.errs.Err(); err != nil {
		return nil, err
	}
	return root, nil
}

type parser struct {
	file   string
	limits Limits
	nodes  int
	full   bool // the limit of nodes was passed, and said
	data   []byte
	opened int // collections that the library has opened, counted before it builds them
	errs   Errors
}

func (p *parser) errorAt(line, column int, format string, args ...any) *Error {
	return &Error{Pos: Pos{File: p.file, Line: line, Column: column}, Message: fmt.Sprintf(format, args...)}
}

func (p *parser) add(n *lib.Node, format string, args ...any) {
	if len(p.errs) < maxErrors {
		p.errs = append(p.errs, p.errorAt(n.Line, n.Column, format, args...))
	}
}

// text checks the encoding, and takes a byte order mark off.
func (p *parser) text(data []byte) ([]byte, error) {
	if bytes.HasPrefix(data, []byte{0xff, 0xfe}) || bytes.HasPrefix(data, []byte{0xfe, 0xff}) {
		return nil, p.errorAt(1, 1, "the file is UTF-16; save it as UTF-8")
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	line, start := 1, 0
	entries := 1
	for i := 0; i < len(data); {
		r, size := rune(data[i]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRune(data[i:])
			if r == utf8.RuneError && size == 1 {
				return nil, p.errorAt(line, utf8.RuneCount(data[start:i])+1, "byte 0x%02x is not UTF-8", data[i])
			}
		}
		switch {
		case r == '\n':
			line, start = line+1, i+1
			entries++
		case r == ',':
			entries++
		case r < ' ' && r != '\t' && r != '\r', r == 0x7f:
			return nil, p.errorAt(line, utf8.RuneCount(data[start:i])+1, "the control character 0x%02x is not allowed here", r)
		}
		i += size
	}
	// The library builds all nodes before we see one. A scalar needs a line or a comma, or two of them share one; that
	// bounds what it builds to a small multiple of the limit, whatever the file holds.
	if entries > 4*p.limits.Nodes {
		return nil, p.errorAt(0, 0, "the file has more than %d lines and entries", 4*p.limits.Nodes)
	}
	return data, nil
}

// errTooDeep and errTooMany stop the library.
var (
	errTooDeep = errors.New("too deep")
	errTooMany = errors.New("too many")
)

// CheckDepth is called by the library whenever a collection opens.
func (p *parser) CheckDepth(depth int, _ *lib.DepthContext) error {
	p.opened++
	switch {
	case depth > p.limits.Depth:
		return errTooDeep
	case p.opened > p.limits.Nodes:
		return errTooMany
	}
	return nil
}

// CheckAlias is called by the library when it resolves an alias, which it is never asked to do.
func (p *parser) CheckAlias(int, int) error { return nil }

func (p *parser) load(data []byte) (*lib.Node, error) {
	p.data = data
	loader, err := lib.NewLoader(bytes.NewReader(data), lib.WithUniqueKeys(false), lib.WithPlugin(p))
	if err != nil {
		return nil, fmt.Errorf("yaml: %w", err)
	}
	var doc lib.Node
	if err := loader.Load(&doc); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, p.syntax(err)
	}
	var second lib.Node
	if err := loader.Load(&second); err == nil {
		return nil, p.errorAt(second.Line, max(second.Column, 1), "the file has a second document; a pipeline's file has one")
	} else if !errors.Is(err, io.EOF) {
		return nil, p.syntax(err)
	}
	if doc.Kind == lib.DocumentNode {
		if len(doc.Content) == 0 {
			return nil, nil
		}
		return doc.Content[0], nil
	}
	return &doc, nil
}

// syntax makes an error of the library one of ours.
func (p *parser) syntax(err error) error {
	if p.opened > p.limits.Nodes {
		return p.errorAt(0, 0, "the file has more than %d nodes", p.limits.Nodes)
	}
	var le *lib.LoadError
	if !errors.As(err, &le) {
		var all *lib.LoadErrors
		if errors.As(err, &all) && len(all.Errors) > 0 {
			le = all.Errors[0]
		}
	}
	if le == nil {
		return p.errorAt(0, 0, "%s", strings.TrimPrefix(err.Error(), "yaml: "))
	}
	message := le.Message
	if message == errTooDeep.Error() {
		message = fmt.Sprintf("collections are nested more than %d deep", p.limits.Depth)
	} else if le.ContextMsg != "" {
		message = le.ContextMsg + ": " + message
	}
	mark := le.Mark
	if mark.Line == 0 {
		mark = le.ContextMark
	}
	if mark.Line > 0 && mark.Column < 1 {
		mark.Column = 1
	}
	if p.tabbed(mark.Line) {
		message = "a tab is used where only spaces may be: YAML is indented with spaces"
	}
	return p.errorAt(mark.Line, mark.Column, "%s", message)
}

// tabbed reports whether a line is indented with tabs.
func (p *parser) tabbed(line int) bool {
	n := 0
	for text := range bytes.Lines(p.data) {
		if n++; n == line {
			return bytes.HasPrefix(bytes.TrimLeft(text, " "), []byte("\t"))
		}
	}
	return false
}

// node makes a node of the library one of ours.
func (p *parser) node(n *lib.Node, depth int) *Node {
	out := &Node{Kind: Scalar, Pos: Pos{File: p.file, Line: n.Line, Column: n.Column}}
	if p.nodes++; p.nodes > p.limits.Nodes {
		if !p.full {
			p.full = true
			p.add(n, "the file has more than %d nodes", p.limits.Nodes)
		}
		return out
	}
	if depth > p.limits.Depth {
		p.add(n, "collections are nested more than %d deep", p.limits.Depth)
		return out
	}
	if n.Kind == lib.AliasNode {
		p.add(n, "*%s is an alias; aliases are not allowed in a pipeline, use a template or a parameter", n.Value)
		return out
	}
	if n.Anchor != "" {
		p.add(n, "&%s is an anchor; anchors are not allowed in a pipeline, use a template or a parameter", n.Anchor)
	}
	p.tag(n)
	switch n.Kind {
	case lib.ScalarNode:
		out.Value = n.Value
		out.Quoted = n.Style&(lib.SingleQuotedStyle|lib.DoubleQuotedStyle|lib.LiteralStyle|lib.FoldedStyle) != 0 ||
			n.Style&lib.TaggedStyle != 0 && n.ShortTag() == "!!str"
	case lib.SequenceNode:
		out.Kind = Sequence
		out.Items = make([]*Node, 0, len(n.Content))
		for _, c := range n.Content {
			out.Items = append(out.Items, p.node(c, depth+1))
		}
	case lib.MappingNode:
		out.Kind = Mapping
		p.pairs(out, n, depth)
	default:
		p.add(n, "this kind of node is not known")
	}
	return out
}

// tag refuses tags that make a type other than those of the core schema.
func (p *parser) tag(n *lib.Node) {
	if n.Style&lib.TaggedStyle == 0 {
		return
	}
	switch tag := n.ShortTag(); tag {
	case "!!str", "!!bool", "!!int", "!!float", "!!null":
		if n.Kind != lib.ScalarNode {
			p.add(n, "the tag %s does not fit a sequence or a mapping", tag)
		}
	case "!!seq", "!!map":
		if (tag == "!!seq") != (n.Kind == lib.SequenceNode) || (tag == "!!map") != (n.Kind == lib.MappingNode) {
			p.add(n, "the tag %s does not fit what follows it", tag)
		}
	default:
		p.add(n, "Unexpected tag '%s'", tag)
	}
}

func (p *parser) pairs(out *Node, n *lib.Node, depth int) {
	out.Pairs = make([]Pair, 0, len(n.Content)/2)
	seen := make(map[string]Pos, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		switch {
		case k.Kind == lib.SequenceNode || k.Kind == lib.MappingNode:
			p.add(k, "a key is a word or an expression, not a sequence or a mapping; is an expression such as ${{ }} missing its quotes?")
			continue
		case k.Kind == lib.ScalarNode && k.Value == "<<" && k.Style == 0:
			p.add(k, "<< merges mappings; that is not allowed in a pipeline, use ${{ insert }} or a template")
			continue
		}
		key := p.node(k, depth+1)
		value := p.node(n.Content[i+1], depth+1)
		if p.full {
			return
		}
		if name := strings.ToLower(key.Value); !IsExpression(key.Value) {
			if first, twice := seen[name]; twice {
				p.add(k, "'%s' is already defined (at line %d, column %d)", key.Value, first.Line, first.Column)
			} else {
				seen[name] = key.Pos
			}
		}
		out.Pairs = append(out.Pairs, Pair{Key: key, Value: value})
	}
}

// IsExpression reports whether a key is, or holds, a compile-time expression. Such keys may occur twice: what they are
// is known only when they were evaluated.
func IsExpression(key string) bool { return strings.Contains(key, "${{") }
