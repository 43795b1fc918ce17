package policy

import (
	"fmt"
	"strings"
	"sync"
)

// maxDocument bounds what is parsed, in bytes. The limits of AWS are smaller
// and depend on the call; see limits.go.
const maxDocument = 256 << 10

// Parse compiles a document and holds it to the grammar that AWS holds
// documents to when they are written. The error is a [*SyntaxError].
func Parse(doc []byte, k Kind) (*Policy, error) {
	return parse(doc, k, false)
}

// ParseLenient compiles a document that may have been accepted long ago, or
// that is only asked about: it must be a policy in form, but entries that could
// never match, such as an action without a name, are taken to match nothing.
// Use it where documents are explained, never where they are stored.
func ParseLenient(doc []byte, k Kind) (*Policy, error) {
	return parse(doc, k, true)
}

func parse(doc []byte, k Kind, lenient bool) (*Policy, error) {
	ps := &parser{text: string(doc), lenient: lenient, p: &Policy{document: string(doc), kind: k}}
	if len(doc) > maxDocument {
		return nil, newSyntaxError("", 0, "", "the document has %d bytes; at most %d are read", len(doc), maxDocument)
	}
	if strings.TrimSpace(ps.text) == "" {
		return nil, newSyntaxError(ps.text, 0, "", "the document is empty")
	}
	root, err := readJSON(ps.text)
	if err != nil {
		return nil, err
	}
	if err := ps.document(root); err != nil {
		return nil, err
	}
	ps.p.spans, ps.p.keys = sync.OnceValue(ps.p.findSpans), sync.OnceValue(ps.p.findKeys)
	return ps.p, nil
}

// parser compiles the nodes of a document.
type parser struct {
	text    string
	lenient bool
	p       *Policy
}

func (ps *parser) errorAt(offset int, path, format string, args ...any) error {
	return newSyntaxError(ps.text, offset, path, format, args...)
}

// wrong is the error of a value of another type.
func (ps *parser) wrong(n *node, path, want string) error {
	return ps.errorAt(n.offset, path, "must be %s, not %s", want, n.kind)
}

var policyElements = []string{"Version", "Id", "Statement"}

func (ps *parser) document(root *node) error {
	if root.kind != objectNode {
		return ps.errorAt(root.offset, "", "a policy is an object with Version and Statement, not %s", root.kind)
	}
	var list *member
	for i := range root.members {
		m := &root.members[i]
		switch m.name {
		case "Version":
			if m.value.kind != stringNode {
				return ps.wrong(m.value, "Version", `"2012-10-17"`)
			}
			switch m.value.text {
			case "2012-10-17":
				ps.p.variables = true
			case "2008-10-17":
			default:
				return ps.errorAt(m.value.offset, "Version", `there is no version %q; write "2012-10-17"`, m.value.text)
			}
		case "Id":
			if m.value.kind != stringNode {
				return ps.wrong(m.value, "Id", "a string")
			}
		case "Statement":
			list = m
		default:
			return ps.unknown(m, "", policyElements)
		}
	}
	if list == nil {
		return ps.errorAt(root.offset, "", "the element Statement is missing")
	}
	items, whole := []*node{list.value}, "Statement"
	switch list.value.kind {
	case objectNode:
	case arrayNode:
		items, whole = list.value.items, "Statement[%d]"
		if len(items) == 0 && !ps.lenient {
			return ps.errorAt(list.value.offset, "Statement", "there must be at least one statement")
		}
	default:
		return ps.wrong(list.value, "Statement", "a list of statements")
	}
	sids := map[string]bool{}
	for i, item := range items {
		path := whole
		if strings.Contains(whole, "%") {
			path = fmt.Sprintf(whole, i)
		}
		st, err := ps.statement(item, path)
		if err != nil {
			return err
		}
		if st.sid != "" && sids[st.sid] && !ps.lenient {
			return ps.errorAt(item.offset, path+".Sid", "another statement has the Sid %q too; a Sid is unique in its policy", st.sid)
		}
		sids[st.sid] = true
		st.label = newLabel(st.sid, i)
		if st.deny {
			ps.p.deny = append(ps.p.deny, i)
		} else {
			ps.p.allow = append(ps.p.allow, i)
		}
		ps.p.statements = append(ps.p.statements, *st)
	}
	return nil
}

func alphanumeric(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9')
	})
}

// unknown is the error of an element that is not one of known.
func (ps *parser) unknown(m *member, path string, known []string) error {
	at := m.name
	if path != "" {
		at = path + "." + m.name
	}
	for _, k := range known {
		if strings.EqualFold(k, m.name) {
			return ps.errorAt(m.offset, at, "there is no such element; case counts: write %s", k)
		}
	}
	return ps.errorAt(m.offset, at, "there is no such element; known here are %s", strings.Join(known, ", "))
}
