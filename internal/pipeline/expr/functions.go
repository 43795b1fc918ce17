package expr

import (
	"strings"
	"unicode"
	"unicode/utf16"
)

type builtin struct {
	name     string
	min, max int // max < 0: any number
	call     func(s *state, n *node) (Value, error)
}

// builtins are the functions of the language, by name in lower case. It is filled by init because format and the others
// evaluate their arguments, which may be calls.
var builtins map[string]builtin

func init() {
	all := []builtin{
		{"and", 2, -1, callAnd},
		{"or", 2, -1, callOr},
		{"not", 1, 1, callNot},
		{"xor", 2, 2, callXor},
		{"eq", 2, 2, callEq},
		{"ne", 2, 2, callNe},
		{"lt", 2, 2, comparison(func(c int) bool { return c < 0 })},
		{"le", 2, 2, comparison(func(c int) bool { return c <= 0 })},
		{"gt", 2, 2, comparison(func(c int) bool { return c > 0 })},
		{"ge", 2, 2, comparison(func(c int) bool { return c >= 0 })},
		{"in", 2, -1, callIn},
		{"notIn", 2, -1, callNotIn},
		{"contains", 2, 2, textTest(strings.Contains)},
		{"startsWith", 2, 2, textTest(strings.HasPrefix)},
		{"endsWith", 2, 2, textTest(strings.HasSuffix)},
		{"containsValue", 2, 2, callContainsValue},
		{"format", 1, -1, callFormat},
		{"join", 2, 2, callJoin},
		{"split", 2, 2, callSplit},
		{"replace", 3, 3, callReplace},
		{"length", 1, 1, callLength},
		{"lower", 1, 1, textMap(strings.ToLower)},
		{"upper", 1, 1, textMap(strings.ToUpper)},
		{"trim", 1, 1, textMap(strings.TrimSpace)},
		{"coalesce", 2, -1, callCoalesce},
		{"iif", 3, 3, callIif},
		{"convertToJson", 1, 1, callConvertToJSON},
	}
	builtins = make(map[string]builtin, len(all))
	for _, b := range all {
		builtins[strings.ToLower(b.name)] = b
	}
}

// callAnd stops at the first that is false.
func callAnd(s *state, n *node) (Value, error) {
	for _, arg := range n.args {
		v, err := s.eval(arg)
		if err != nil || !v.ToBool() {
			return Bool(false), err
		}
	}
	return Bool(true), nil
}

// callOr stops at the first that is true.
func callOr(s *state, n *node) (Value, error) {
	for _, arg := range n.args {
		v, err := s.eval(arg)
		if err != nil {
			return Value{}, err
		}
		if v.ToBool() {
			return Bool(true), nil
		}
	}
	return Bool(false), nil
}

func callNot(s *state, n *node) (Value, error) {
	v, err := s.eval(n.args[0])
	return Bool(!v.ToBool()), err
}

func (s *state) two(n *node) (a, b Value, err error) {
	if a, err = s.eval(n.args[0]); err != nil {
		return a, b, err
	}
	if b, err = s.eval(n.args[1]); err != nil {
		return a, b, err
	}
	return a, b, s.look(n, a, b)
}

func callXor(s *state, n *node) (Value, error) {
	a, b, err := s.two(n)
	return Bool(a.ToBool() != b.ToBool()), err
}

func callEq(s *state, n *node) (Value, error) {
	a, b, err := s.two(n)
	if err != nil {
		return Value{}, err
	}
	return Bool(Equal(a, b)), nil
}

func callNe(s *state, n *node) (Value, error) {
	a, b, err := s.two(n)
	if err != nil {
		return Value{}, err
	}
	return Bool(!Equal(a, b)), nil
}

func comparison(holds func(int) bool) func(*state, *node) (Value, error) {
	return func(s *state, n *node) (Value, error) {
		a, b, err := s.two(n)
		if err != nil {
			return Value{}, err
		}
		c, err := Compare(a, b)
		if err != nil {
			return Value{}, s.fail(n, err)
		}
		return Bool(holds(c)), nil
	}
}

// isIn stops at the first that equals.
func (s *state) isIn(n *node) (bool, error) {
	a, err := s.eval(n.args[0])
	if err != nil {
		return false, err
	}
	for _, arg := range n.args[1:] {
		b, err := s.eval(arg)
		if err != nil {
			return false, err
		}
		if err := s.look(n, a, b); err != nil {
			return false, err
		}
		if Equal(a, b) {
			return true, nil
		}
	}
	return false, nil
}

func callIn(s *state, n *node) (Value, error) {
	in, err := s.isIn(n)
	return Bool(in), err
}

func callNotIn(s *state, n *node) (Value, error) {
	in, err := s.isIn(n)
	return Bool(!in), err
}

func textTest(holds func(a, b string) bool) func(*state, *node) (Value, error) {
	return func(s *state, n *node) (Value, error) {
		a, err := s.text(n, 0)
		if err != nil {
			return Value{}, err
		}
		b, err := s.text(n, 1)
		if err != nil {
			return Value{}, err
		}
		return Bool(holds(fold(a), fold(b))), nil
	}
}

// callContainsValue converts each item to what the value looked for is; of anything but a collection it is false.
func callContainsValue(s *state, n *node) (Value, error) {
	in, err := s.eval(n.args[0])
	if err != nil {
		return Value{}, err
	}
	var values []Value
	switch ref := in.ref.(type) {
	case *list:
		values = ref.items
	case *Object:
		values = ref.Values()
	default:
		return Bool(false), nil
	}
	v, err := s.eval(n.args[1])
	if err != nil {
		return Value{}, err
	}
	for _, item := range values {
		if err := s.look(n, v, item); err != nil {
			return Value{}, err
		}
		if Equal(v, item) {
			return Bool(true), nil
		}
	}
	return Bool(false), nil
}

// callJoin leaves out what has no text; of anything but an array it is that, as text.
func callJoin(s *state, n *node) (Value, error) {
	items, err := s.eval(n.args[1])
	if err != nil {
		return Value{}, err
	}
	l, ok := items.ref.(*list)
	if !ok {
		text, _ := items.toString()
		return s.made(n, text)
	}
	separator := ""
	if len(l.items) > 1 {
		if separator, err = s.text(n, 0); err != nil {
			return Value{}, err
		}
	}
	var b strings.Builder
	for i, item := range l.items {
		if i > 0 {
			b.WriteString(separator)
		}
		text, _ := item.toString()
		if err := s.take(n, len(separator)+len(text)); err != nil {
			return Value{}, err
		}
		b.WriteString(text)
	}
	return String(b.String()), nil
}

// callSplit takes each character of the second argument for a delimiter, and white space if there is none.
func callSplit(s *state, n *node) (Value, error) {
	text, err := s.text(n, 0)
	if err != nil {
		return Value{}, err
	}
	delimiters, err := s.text(n, 1)
	if err != nil {
		return Value{}, err
	}
	is := unicode.IsSpace
	if delimiters != "" {
		set := map[rune]bool{}
		for _, c := range delimiters {
			set[c] = true
		}
		is = func(c rune) bool { return set[c] }
	}
	var parts []Value
	start := 0
	add := func(part string) error {
		parts = append(parts, String(part))
		return s.take(n, 48)
	}
	for i, c := range text {
		if is(c) {
			if err := add(text[start:i]); err != nil {
				return Value{}, err
			}
			start = i + len(string(c))
		}
	}
	if err := add(text[start:]); err != nil {
		return Value{}, err
	}
	return Array(parts), nil
}

func callReplace(s *state, n *node) (Value, error) {
	text, err := s.text(n, 0)
	if err != nil {
		return Value{}, err
	}
	old, err := s.text(n, 1)
	if err != nil {
		return Value{}, err
	}
	by, err := s.text(n, 2)
	if err != nil {
		return Value{}, err
	}
	if old == "" {
		return Value{}, s.fail(n, message("The text that replace looks for is empty"))
	}
	if err := s.take(n, len(text)+strings.Count(text, old)*(len(by)-len(old))); err != nil {
		return Value{}, err
	}
	return String(strings.ReplaceAll(text, old, by)), nil
}

// callLength counts the items of a collection, otherwise the UTF-16 code units of a text.
func callLength(s *state, n *node) (Value, error) {
	v, err := s.eval(n.args[0])
	if err != nil {
		return Value{}, err
	}
	switch ref := v.ref.(type) {
	case *list:
		return Number(float64(len(ref.items))), nil
	case *Object:
		return Number(float64(ref.Len())), nil
	}
	if err := s.look(n, v); err != nil {
		return Value{}, err
	}
	text, _ := v.toString()
	units := 0
	for _, c := range text {
		units += utf16.RuneLen(c)
	}
	return Number(float64(units)), nil
}

func textMap(f func(string) string) func(*state, *node) (Value, error) {
	return func(s *state, n *node) (Value, error) {
		text, err := s.text(n, 0)
		if err != nil {
			return Value{}, err
		}
		return s.made(n, f(text))
	}
}

// callCoalesce goes through its arguments in their order, as far as the first that is something: neither null nor the
// empty string. Where none is, it found nothing, which is null.
func callCoalesce(s *state, n *node) (Value, error) {
	for i := range n.args {
		candidate, err := s.eval(n.args[i])
		if err != nil {
			return Value{}, err
		}
		switch candidate.kind {
		case KindNull:
			continue
		case KindString:
			if candidate.text == "" {
				continue
			}
		}
		return candidate, nil
	}
	return Value{}, nil
}

// callIif evaluates both, like the service.
func callIif(s *state, n *node) (Value, error) {
	condition, err := s.eval(n.args[0])
	if err != nil {
		return Value{}, err
	}
	yes, no, err := s.two(&node{at: n.at, args: n.args[1:]})
	if err != nil {
		return Value{}, err
	}
	if condition.ToBool() {
		return yes, nil
	}
	return no, nil
}
