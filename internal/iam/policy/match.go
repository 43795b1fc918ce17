package policy

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
			where := named.Policy.spans()[i]
			m.Start, m.End = where.start, where.end
			matches = append(matches, m)
		}
	}
	return matches
}

// span is where a statement starts and ends.
type span struct{ start, end Position }

// findSpans returns where the statements are. It takes one pass over the document.
func (p *Policy) findSpans() []span {
	spans := make([]span, len(p.statements))
	root, err := readJSON(p.document)
	if err != nil { // it was parsed before
		return spans
	}
	at := places{text: p.document}
	for i, st := range root.statements() {
		r := &reader{text: p.document, pos: st.offset}
		if _, err := r.value(); err != nil || i >= len(spans) {
			break
		}
		spans[i] = span{at.find(st.offset), at.find(r.pos)}
	}
	return spans
}
