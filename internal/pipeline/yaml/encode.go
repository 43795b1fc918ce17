package yaml

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Encode writes a node as a document: two spaces a level, sequences not indented below their key, text of several lines
// as literal blocks, quotes only where a reader would take the text for something else. What [Parse] reads from it is
// equal to what was written, but for positions and for which scalars were quoted.
func Encode(w io.Writer, n *Node) error {
	e := &encoder{w: bufio.NewWriter(w)}
	switch {
	case n == nil:
	case n.Kind == Scalar:
		e.text(scalar(n, false))
		e.text("\n")
	case empty(n):
		e.text(brackets(n))
		e.text("\n")
	default:
		e.block(n, 0, false)
	}
	return e.w.Flush()
}

// Marshal is Encode into bytes.
func Marshal(n *Node) []byte {
	var b strings.Builder
	_ = Encode(&b, n) // a Builder does not fail
	return []byte(b.String())
}

type encoder struct{ w *bufio.Writer }

// text writes; the error is kept by the Writer until Flush.
func (e *encoder) text(s string) { _, _ = e.w.WriteString(s) }

func (e *encoder) indent(n int) {
	for range n {
		_ = e.w.WriteByte(' ')
	}
}

func empty(n *Node) bool {
	return n.Kind == Sequence && len(n.Items) == 0 || n.Kind == Mapping && len(n.Pairs) == 0
}

func brackets(n *Node) string {
	if n.Kind == Sequence {
		return "[]"
	}
	return "{}"
}

// block writes a collection whose lines stand at column indent. With inline, the first line is begun already.
func (e *encoder) block(n *Node, indent int, inline bool) {
	if n.Kind == Sequence {
		for _, item := range n.Items {
			if !inline {
				e.indent(indent)
			}
			inline = false
			e.text("-")
			e.item(item, indent)
		}
		return
	}
	for _, p := range n.Pairs {
		if !inline {
			e.indent(indent)
		}
		inline = false
		key := scalar(p.Key, true)
		// A reader looks 1024 characters ahead for the colon.
		if len(key) > 1000 {
			e.text("? ")
			e.text(key)
			e.text("\n")
			e.indent(indent)
		} else {
			e.text(key)
		}
		e.text(":")
		switch v := p.Value; {
		case v == nil:
			e.text(" ''\n")
		case v.Kind == Scalar:
			e.scalar(v, indent)
		case empty(v):
			e.text(" " + brackets(v) + "\n")
		case v.Kind == Sequence:
			e.text("\n")
			e.block(v, indent, false)
		default:
			e.text("\n")
			e.block(v, indent+2, false)
		}
	}
}

func (e *encoder) item(v *Node, indent int) {
	switch {
	case v == nil:
		e.text(" ''\n")
	case v.Kind == Scalar:
		e.scalar(v, indent)
	case empty(v):
		e.text(" " + brackets(v) + "\n")
	default:
		e.text(" ")
		e.block(v, indent+2, true)
	}
}

// scalar writes a value behind a key or a dash that stands at column indent.
func (e *encoder) scalar(n *Node, indent int) {
	if !literal(n) {
		e.text(" " + scalar(n, false) + "\n")
		return
	}
	e.text(" |")
	// The first line says how far a block is indented, unless it is blank or begins with blanks itself.
	if n.Value[0] == ' ' || n.Value[0] == '\n' {
		e.text("2")
	}
	body := strings.TrimSuffix(n.Value, "\n")
	switch {
	case len(body) == len(n.Value):
		e.text("-")
	case strings.HasSuffix(body, "\n"):
		e.text("+")
	}
	e.text("\n")
	for line := range strings.SplitSeq(body, "\n") {
		if line != "" {
			e.indent(indent + 2)
			e.text(line)
		}
		e.text("\n")
	}
}

// literal reports whether a scalar can be, and is better, a literal block.
func literal(n *Node) bool {
	s := n.Value
	if n.Type != String || !strings.Contains(s, "\n") || !utf8.ValidString(s) {
		return false
	}
	if strings.Trim(s, " \n") == "" || s[0] == '\t' {
		return false
	}
	for _, r := range s {
		if r != '\n' && r != '\t' && !printable(r) {
			return false
		}
	}
	// A line of blanks only, before the first other line, would be taken for indentation.
	first := strings.TrimLeft(s, "\n")
	return !(s[0] == '\n' && (first[0] == ' ' || first[0] == '\t')) && !strings.HasSuffix(strings.TrimRight(s, "\n"), " ") && !blankLine(s)
}

// blankLine reports whether a line consists of blanks only.
func blankLine(s string) bool {
	for line := range strings.SplitSeq(s, "\n") {
		if line != "" && strings.Trim(line, " \t") == "" {
			return true
		}
	}
	return false
}

// printable reports whether a character may stand unescaped. The breaks of lines that are no \n, and the byte order
// mark, may not: readers differ in what they make of them.
func printable(r rune) bool {
	switch {
	case r < ' ', r >= 0x7f && r < 0xa0, r == '\u2028', r == '\u2029', r == '\ufeff', r == utf8.RuneError:
		return false
	case r >= 0xd800 && r < 0xe000, r == 0xfffe, r == 0xffff:
		return false
	}
	return true
}

// scalar is a scalar on one line.
func scalar(n *Node, key bool) string {
	if n == nil {
		return "''"
	}
	s := n.Value
	if n.Type != String && s != "" {
		return s
	}
	for _, r := range s {
		if !printable(r) {
			return doubleQuoted(s)
		}
	}
	if !plain(s) || n.Quoted && resolve(s) != String || key && s == "<<" || n.Quoted && s == "~" {
		return "'" + strings.ReplaceAll(s, "'", "''") + "'"
	}
	return s
}

// plain reports whether text of printable characters is read back as itself without quotes, in block context.
func plain(s string) bool {
	if s == "" || s[0] == ' ' || s[len(s)-1] == ' ' {
		return false
	}
	if strings.HasPrefix(s, "---") || strings.HasPrefix(s, "...") || s == "=" {
		return false
	}
	switch s[0] {
	case '#', ',', '[', ']', '{', '}', '&', '*', '!', '|', '>', '\'', '"', '%', '@', '`':
		return false
	case '-', '?', ':':
		if len(s) == 1 || s[1] == ' ' {
			return false
		}
	}
	return !strings.Contains(s, ": ") && !strings.HasSuffix(s, ":") && !strings.Contains(s, " #")
}

func doubleQuoted(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\r':
			b.WriteString(`\r`)
		case printable(r):
			b.WriteRune(r)
		case r < 0x100:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
