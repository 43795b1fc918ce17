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

// lookupCost is what one look-up counts for, in bytes: values that are empty can be as many as those that are long.
const lookupCost = 64

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

// maxName is how long a name may be; what is longer is no macro.
const maxName = 1024

// expand writes text to b; limit < 0: any size.
func expand(b *strings.Builder, text string, lookup Lookup, limit int) bool {
	written := 0  // of text
	closing := -1 // the first closing parenthesis behind at, once it was looked for
	for at := 0; ; {
		start := strings.Index(text[at:], "$(")
		if start < 0 {
			break
		}
		start += at
		if closing < start {
			end := strings.IndexByte(text[start:], ')')
			if end < 0 {
				break
			}
			closing = start + end
		}
		at = start + 2 // also if it is unknown: $($(x)) has a macro in it
		if closing-at > maxName {
			continue
		}
		if value, ok := lookup(text[at:closing]); ok {
			b.WriteString(text[written:start])
			b.WriteString(value)
			at = closing + 1
			written = at
			if limit >= 0 && b.Len() > limit {
				return false
			}
		}
	}
	b.WriteString(text[written:])
	return limit < 0 || b.Len() <= limit
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
		r.left -= len(value) + lookupCost
		return value, true
	}, maxExpanded)
	if !ok {
		r.left = -1
	}
	return b.String()
}
