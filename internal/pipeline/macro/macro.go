// Package macro expands $(name) in texts, the same way on the server and on agents.
//
// It is no expression language: a macro is a name between $( and ), and a name that is unknown stays as it was written,
// so that $(command) in a script goes to the shell.
package macro

import (
	"errors"
	"strings"
)

// MaxDepth is how deep values may refer to values.
const MaxDepth = 50

// maxExpanded bounds what an expansion may grow to, in bytes.
const maxExpanded = 16 << 20

// ErrTooBig means that a value would grow beyond what is sensible.
var ErrTooBig = errors.New("the value grows too big when its macros are expanded")

// Lookup finds the value of a variable, by its name regardless of case.
type Lookup func(name string) (value string, ok bool)

// Expand replaces the macros of a text, once: what a value holds is not looked at again. This is what inputs of steps get.
func Expand(text string, lookup Lookup) string {
	first := strings.Index(text, "$(")
	if first < 0 {
		return text
	}
	var b strings.Builder
	expand(&b, text, lookup, -1)
	return b.String()
}

// expand writes text to b; limit < 0: any size.
func expand(b *strings.Builder, text string, lookup Lookup, limit int) bool {
	for {
		start := strings.Index(text, "$(")
		if start < 0 {
			b.WriteString(text)
			return limit < 0 || b.Len() <= limit
		}
		end := strings.IndexByte(text[start:], ')')
		if end < 0 {
			b.WriteString(text)
			return limit < 0 || b.Len() <= limit
		}
		value, ok := lookup(text[start+2 : start+end])
		if ok {
			b.WriteString(text[:start])
			b.WriteString(value)
			text = text[start+end+1:]
		} else {
			// Go on right behind the prefix: $($(x)) has a macro in it.
			b.WriteString(text[:start+2])
			text = text[start+2:]
		}
		if limit >= 0 && b.Len() > limit {
			return false
		}
	}
}

// Names are the names of the macros in a text, known or not, in their order.
func Names(text string) []string {
	var names []string
	Expand(text, func(name string) (string, bool) {
		names = append(names, name)
		return "", false
	})
	return names
}

// Recursive replaces the macros of a variable's value, and those of the values it refers to, to [MaxDepth]. A macro that
// refers back to a value which is being expanded stays as it was written. Errors: [ErrTooBig].
func Recursive(name, value string, lookup Lookup) (string, error) {
	r := &recursion{lookup: lookup, open: map[string]bool{strings.ToLower(name): true}, left: maxExpanded}
	out := r.expand(value, 1)
	if r.left < 0 {
		return value, ErrTooBig
	}
	return out, nil
}

type recursion struct {
	lookup Lookup
	open   map[string]bool // values that are being expanded, in lower case
	left   int
}

func (r *recursion) expand(text string, depth int) string {
	if r.left < 0 || !strings.Contains(text, "$(") {
		return text
	}
	var b strings.Builder
	ok := expand(&b, text, func(name string) (string, bool) {
		low := strings.ToLower(name)
		if r.left < 0 || r.open[low] {
			return "", false
		}
		value, ok := r.lookup(name)
		if !ok {
			return "", false
		}
		if depth < MaxDepth {
			r.open[low] = true
			value = r.expand(value, depth+1)
			delete(r.open, low)
		}
		r.left -= len(value)
		return value, true
	}, maxExpanded)
	if !ok {
		r.left = -1
	}
	return b.String()
}
