package policy

import (
	"strings"
	"unicode/utf8"
)

// Match is a statement that applies to a request.
type Match struct {
	Policy     string // its name
	Statement  string // the Sid or, without one, the number from 1
	Deny       bool
	Start, End Position // of the statement in its document; End is behind its brace
}

// Position is a place in a document, counted from 1. Columns count characters.
type Position struct{ Line, Column int }

// Matches returns the statements of policies that apply to a request, in order.
func Matches(r *Request, policies []Named) []Match {
	e := newEvaluator(r, &Policies{})
	var matches []Match
	for _, named := range policies {
		if named.Policy == nil {
			continue
		}
		for i := range named.Policy.statements {
			st := &named.Policy.statements[i]
			if st.match(&e) == notNamed {
				continue
			}
			m := Match{Policy: named.Name, Statement: st.label, Deny: st.deny}
			m.Start, m.End = named.Policy.span(i)
			matches = append(matches, m)
		}
	}
	return matches
}

// span returns where the statement with an index starts and ends.
func (p *Policy) span(index int) (start, end Position) {
	root, err := readJSON(p.document)
	if err != nil { // it was parsed before
		return start, end
	}
	statements := root.statements()
	if index >= len(statements) {
		return start, end
	}
	from := statements[index].offset
	r := &reader{text: p.document, pos: from}
	if _, err := r.value(); err != nil {
		return start, end
	}
	return position(p.document, from), position(p.document, r.pos)
}

func position(text string, offset int) Position {
	before := text[:offset]
	line := strings.LastIndexByte(before, '\n') + 1
	return Position{strings.Count(before, "\n") + 1, utf8.RuneCountInString(before[line:]) + 1}
}
