package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// maxNesting is more than any document here has levels.
const maxNesting = 16

// node is a value of a JSON document that knows where it stands.
type node struct {
	at     int    // offset of its first byte
	scalar any    // string, json.Number, bool or nil, of what is neither object nor list
	fields fields // of an object; not nil then
	list   []node // not nil of a list
}

// fields of an object in the order in which they are written, each once.
type fields []field

type field struct {
	name  string
	value node
}

func (f fields) get(name string) *node {
	for i := range f {
		if f[i].name == name {
			return &f[i].value
		}
	}
	return nil
}

// documentError is what is wrong at a place of a document.
type documentError struct {
	at      int
	message string
}

func (e *documentError) Error() string { return e.message }

func wrongAt(at int, format string, args ...any) error {
	return &documentError{at, fmt.Sprintf(format, args...)}
}

// parseDocument reads one JSON value and nothing behind it.
func parseDocument(text string) (*node, error) {
	p := documentParser{text: text, dec: json.NewDecoder(strings.NewReader(text))}
	p.dec.UseNumber()
	n, err := p.value(0)
	if err != nil {
		return nil, err
	}
	if at := p.next(); at < len(text) {
		return nil, wrongAt(at, "there is something behind the document")
	}
	return &n, nil
}

type documentParser struct {
	text string
	dec  *json.Decoder
}

// next returns where the next token begins.
func (p *documentParser) next() int {
	at := int(p.dec.InputOffset())
	return at + len(p.text[at:]) - len(strings.TrimLeft(p.text[at:], " \t\r\n,:"))
}

func (p *documentParser) token() (json.Token, int, error) {
	at := p.next()
	t, err := p.dec.Token()
	if s, ok := errors.AsType[*json.SyntaxError](err); ok {
		return nil, at, wrongAt(min(max(int(s.Offset)-1, 0), len(p.text)), "%v", err)
	}
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, at, wrongAt(len(p.text), "the document ends too early")
	}
	return t, at, err
}

func (p *documentParser) value(depth int) (node, error) {
	t, at, err := p.token()
	if err != nil {
		return node{}, err
	}
	n := node{at: at}
	if depth > maxNesting {
		return n, wrongAt(at, "the document is nested too deeply")
	}
	switch t {
	case json.Delim('['):
		n.list = []node{}
		for p.dec.More() {
			v, err := p.value(depth + 1)
			if err != nil {
				return n, err
			}
			n.list = append(n.list, v)
		}
	case json.Delim('{'):
		n.fields = fields{}
		for p.dec.More() {
			t, at, err := p.token()
			if err != nil {
				return n, err
			}
			name, ok := t.(string)
			if !ok || n.fields.get(name) != nil {
				return n, wrongAt(at, "the property %q is there twice", name)
			}
			v, err := p.value(depth + 1)
			if err != nil {
				return n, err
			}
			n.fields = append(n.fields, field{name, v})
		}
	default:
		n.scalar = t
		return n, nil
	}
	_, _, err = p.token() // the closing bracket
	return n, err
}

// kind is the type of the value as JSON schemas name it.
func (n *node) kind() string {
	switch {
	case n.fields != nil:
		return "object"
	case n.list != nil:
		return "array"
	}
	switch v := n.scalar.(type) {
	case string:
		return "string"
	case bool:
		return "boolean"
	case json.Number:
		if strings.ContainsAny(v.String(), ".eE") {
			return "number"
		}
		return "integer"
	}
	return "null"
}

// position returns line and column, from 1, of an offset; columns count characters.
func position(text string, at int) (line, column int) {
	before := text[:min(at, len(text))]
	start := strings.LastIndexByte(before, '\n') + 1
	return strings.Count(before, "\n") + 1, utf8.RuneCountInString(before[start:]) + 1
}
