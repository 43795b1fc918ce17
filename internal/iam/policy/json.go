package policy

import (
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// nodeKind is the type of a JSON value.
type nodeKind uint8

const (
	nullNode nodeKind = iota
	boolNode
	numberNode
	stringNode
	arrayNode
	objectNode
)

// String returns the type as a message about a wrong one names it.
func (k nodeKind) String() string {
	return [...]string{"null", "a boolean", "a number", "a string", "a list", "an object"}[k]
}

// node is a JSON value that knows where in the document it stands.
type node struct {
	kind    nodeKind
	offset  int
	text    string   // of a string unescaped; of a number or boolean as written
	items   []*node  // of a list
	members []member // of an object, in order
}

type member struct {
	name   string
	offset int // of the name
	value  *node
}

// maxDepth bounds the nesting: no policy needs more than five levels.
const maxDepth = 32

// reader reads JSON as RFC 8259 has it, and refuses what that leaves open:
// duplicate names, invalid UTF-8, lone surrogates.
type reader struct {
	text  string
	pos   int
	depth int
}

// readJSON returns the one value that text consists of.
func readJSON(text string) (*node, error) {
	r := &reader{text: text}
	if !utf8.ValidString(text) {
		for i, c := range text {
			if _, n := utf8.DecodeRuneInString(text[i:]); c == utf8.RuneError && n == 1 {
				return nil, r.errorAt(i, "the document is not valid UTF-8")
			}
		}
	}
	n, err := r.value()
	if err != nil {
		return nil, err
	}
	r.space()
	if r.pos < len(text) {
		return nil, r.errorAt(r.pos, "there is %s after the end of the document", r.found())
	}
	return n, nil
}

func (r *reader) errorAt(offset int, format string, args ...any) *SyntaxError {
	return newSyntaxError(r.text, offset, "", format, args...)
}

func (r *reader) space() {
	for r.pos < len(r.text) {
		switch r.text[r.pos] {
		case ' ', '\t', '\n', '\r':
			r.pos++
		default:
			return
		}
	}
}

// found names what stands at the reader's position, for messages.
func (r *reader) found() string {
	if r.pos >= len(r.text) {
		return "the end of the document"
	}
	c, _ := utf8.DecodeRuneInString(r.text[r.pos:])
	return fmt.Sprintf("%q", c)
}

func (r *reader) value() (*node, error) {
	r.space()
	n := &node{offset: r.pos}
	if r.pos >= len(r.text) {
		return nil, r.errorAt(r.pos, "a value is missing at the end of the document")
	}
	if r.depth++; r.depth > maxDepth {
		return nil, r.errorAt(r.pos, "values are nested more than %d levels deep", maxDepth)
	}
	defer func() { r.depth-- }()
	var err error
	switch c := r.text[r.pos]; {
	case c == '{':
		n.kind = objectNode
		n.members, err = r.object()
	case c == '[':
		n.kind = arrayNode
		n.items, err = r.array()
	case c == '"':
		n.kind = stringNode
		n.text, err = r.string()
	case c == '-' || c >= '0' && c <= '9':
		n.kind = numberNode
		n.text, err = r.number()
	default:
		err = r.word(n)
	}
	return n, err
}

func (r *reader) word(n *node) error {
	for _, w := range []struct {
		text string
		kind nodeKind
	}{{"true", boolNode}, {"false", boolNode}, {"null", nullNode}} {
		if strings.HasPrefix(r.text[r.pos:], w.text) {
			n.kind, n.text = w.kind, w.text
			r.pos += len(w.text)
			return nil
		}
	}
	return r.errorAt(r.pos, "%s is not the start of a JSON value", r.found())
}

func (r *reader) object() ([]member, error) {
	r.pos++
	var members []member
	if r.space(); r.take('}') {
		return nil, nil
	}
	seen := map[string]bool{}
	for {
		r.space()
		m := member{offset: r.pos}
		if r.pos >= len(r.text) || r.text[r.pos] != '"' {
			return nil, r.errorAt(r.pos, "the name of a member in quotes is needed here, not %s", r.found())
		}
		var err error
		if m.name, err = r.string(); err != nil {
			return nil, err
		}
		if seen[m.name] {
			return nil, r.errorAt(m.offset, "%q is there twice in one object; remove one", m.name)
		}
		seen[m.name] = true
		if r.space(); !r.take(':') {
			return nil, r.errorAt(r.pos, "a colon is needed after %q, not %s", m.name, r.found())
		}
		if m.value, err = r.value(); err != nil {
			return nil, err
		}
		members = append(members, m)
		r.space()
		switch {
		case r.take(','):
		case r.take('}'):
			return members, nil
		default:
			return nil, r.errorAt(r.pos, "a comma or a closing brace is needed here, not %s", r.found())
		}
	}
}

func (r *reader) array() ([]*node, error) {
	r.pos++
	var items []*node
	if r.space(); r.take(']') {
		return nil, nil
	}
	for {
		item, err := r.value()
		if err != nil {
			return nil, err
		}
		items = append(items, item)
		r.space()
		switch {
		case r.take(','):
		case r.take(']'):
			return items, nil
		default:
			return nil, r.errorAt(r.pos, "a comma or a closing bracket is needed here, not %s", r.found())
		}
	}
}

// take steps over c if it is next.
func (r *reader) take(c byte) bool {
	if r.pos < len(r.text) && r.text[r.pos] == c {
		r.pos++
		return true
	}
	return false
}

func (r *reader) number() (string, error) {
	start := r.pos
	r.take('-')
	if !r.take('0') && !r.digits() {
		return "", r.errorAt(start, "a number needs a digit here, not %s", r.found())
	}
	if r.take('.') && !r.digits() {
		return "", r.errorAt(start, "a number needs a digit after its point")
	}
	if r.take('e') || r.take('E') {
		if !r.take('+') {
			r.take('-')
		}
		if !r.digits() {
			return "", r.errorAt(start, "a number needs a digit in its exponent")
		}
	}
	return r.text[start:r.pos], nil
}

func (r *reader) digits() bool {
	start := r.pos
	for r.pos < len(r.text) && r.text[r.pos] >= '0' && r.text[r.pos] <= '9' {
		r.pos++
	}
	return r.pos > start
}

func (r *reader) string() (string, error) {
	start := r.pos
	r.pos++
	from := r.pos
	for r.pos < len(r.text) { // without escapes it is a part of the document
		switch c := r.text[r.pos]; {
		case c == '"':
			r.pos++
			return r.text[from : r.pos-1], nil
		case c == '\\':
			return r.escaped(start, from)
		case c < 0x20:
			return "", r.errorAt(r.pos, "a control character in a string must be escaped")
		}
		r.pos++
	}
	return "", r.errorAt(start, "this string has no closing quote")
}

// escaped reads on from the first escape in a string.
func (r *reader) escaped(start, from int) (string, error) {
	var b strings.Builder
	b.WriteString(r.text[from:r.pos])
	for r.pos < len(r.text) {
		c := r.text[r.pos]
		switch {
		case c == '"':
			r.pos++
			return b.String(), nil
		case c < 0x20:
			return "", r.errorAt(r.pos, "a control character in a string must be escaped")
		case c != '\\':
			b.WriteByte(c)
			r.pos++
			continue
		}
		if r.pos+1 >= len(r.text) {
			break
		}
		switch e := r.text[r.pos+1]; e {
		case '"', '\\', '/':
			b.WriteByte(e)
		case 'b':
			b.WriteByte('\b')
		case 'f':
			b.WriteByte('\f')
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case 't':
			b.WriteByte('\t')
		case 'u':
			c, ok := r.hex(r.pos + 2)
			if !ok {
				return "", r.errorAt(r.pos, `\u needs four hexadecimal digits`)
			}
			if utf16.IsSurrogate(c) {
				var low rune
				if strings.HasPrefix(r.text[r.pos+6:], `\u`) {
					low, _ = r.hex(r.pos + 8)
				}
				if c = utf16.DecodeRune(c, low); c == utf8.RuneError {
					return "", r.errorAt(r.pos, "half of a surrogate pair")
				}
				r.pos += 6
			}
			b.WriteRune(c)
			r.pos += 4
		default:
			return "", r.errorAt(r.pos, "JSON has no escape \\%c", e)
		}
		r.pos += 2
	}
	return "", r.errorAt(start, "this string has no closing quote")
}

// hex returns the four hexadecimal digits at offset i.
func (r *reader) hex(i int) (rune, bool) {
	if i+4 > len(r.text) {
		return 0, false
	}
	var v rune
	for _, c := range []byte(r.text[i : i+4]) {
		switch {
		case c >= '0' && c <= '9':
			v = v<<4 | rune(c-'0')
		case c >= 'a' && c <= 'f':
			v = v<<4 | rune(c-'a'+10)
		case c >= 'A' && c <= 'F':
			v = v<<4 | rune(c-'A'+10)
		default:
			return 0, false
		}
	}
	return v, true
}
