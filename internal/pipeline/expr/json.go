package expr

import (
	"fmt"
	"strings"
)

// callConvertToJSON writes a value over several lines, indented by two blanks.
func callConvertToJSON(s *state, n *node) (Value, error) {
	v, err := s.eval(n.args[0])
	if err != nil {
		return Value{}, err
	}
	w := &jsonWriter{state: s, node: n}
	if err := w.value(v, 1); err != nil {
		return Value{}, err
	}
	return String(w.String()), nil
}

type jsonWriter struct {
	strings.Builder
	state *state
	node  *node
}

func (w *jsonWriter) write(text string) error {
	w.WriteString(text)
	return w.state.take(w.node, len(text))
}

func (w *jsonWriter) value(v Value, level int) error {
	if level > 200 {
		return w.state.fail(w.node, &limitError{"depth of objects", w.state.source.text})
	}
	var open, end string
	var count int
	var item func(int) error
	switch v.kind {
	case KindArray:
		items := v.Items()
		open, end, count = "[", "]", len(items)
		item = func(i int) error { return w.value(items[i], level+1) }
	case KindObject:
		o := v.Object()
		values := o.Values()
		open, end, count = "{", "}", len(values)
		item = func(i int) error {
			if err := w.write(quoteJSON(o.keys[i]) + ": "); err != nil {
				return err
			}
			return w.value(values[i], level+1)
		}
	case KindNull:
		return w.write("null")
	case KindBool:
		return w.write(strings.ToLower(fmt.Sprint(v.ToBool())))
	case KindNumber:
		return w.write(formatNumber(v.text))
	default:
		text, _ := v.toString()
		return w.write(quoteJSON(text))
	}
	if count == 0 {
		return w.write(open + end)
	}
	for i := range count {
		separator := open
		if i > 0 {
			separator = ","
		}
		if err := w.write(separator + "\n" + strings.Repeat("  ", level)); err != nil {
			return err
		}
		if err := item(i); err != nil {
			return err
		}
	}
	return w.write("\n" + strings.Repeat("  ", level-1) + end)
}

// quoteJSON escapes what must be, and the line ends that JavaScript knows; all else stays as it is.
func quoteJSON(s string) string {
	var b strings.Builder
	b.Grow(len(s) + 2)
	b.WriteByte('"')
	for _, c := range s {
		switch c {
		case '"', '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case '\b':
			b.WriteString(`\b`)
		case '\f':
			b.WriteString(`\f`)
		case '\n':
			b.WriteString(`\n`)
		case '\r':
			b.WriteString(`\r`)
		case '\t':
			b.WriteString(`\t`)
		default:
			if c < ' ' || c == 0x85 || c == 0x2028 || c == 0x2029 {
				fmt.Fprintf(&b, `\u%04x`, c)
			} else {
				b.WriteRune(c)
			}
		}
	}
	b.WriteByte('"')
	return b.String()
}
