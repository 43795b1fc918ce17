package policy

import (
	"strings"
	"unicode/utf8"
)

// Outline is a document as its author wrote it: every part with where it stands. It is for those who judge documents;
// decisions come from the [Policy].
type Outline struct {
	Version string // "" if there is none
	Clauses []Clause
}

// Text is a string of a document. Position is the one of its first character, a quote.
type Text struct {
	Text string
	Position
}

// Clause is a statement.
type Clause struct {
	Position
	Sid, Label string // the label is the Sid or, without one, the number from 1
	Deny       bool

	Principals   []PrincipalText // {"AWS", "*"} for "*" too
	HasPrincipal bool            // one of Principal and NotPrincipal
	NotPrincipal bool

	Actions   []Text
	NotAction bool

	Resources   []Text // nil where there is no such element
	NotResource bool

	Tests []Test
}

// PrincipalText is a principal below its type: AWS, Service, Federated, CanonicalUser.
type PrincipalText struct {
	Type string
	Text
}

// Test is a key of a condition below its operator.
type Test struct {
	Operator Text
	Key      Text
	Values   []Text // numbers and booleans as they are written
}

// Outline returns the parts of the document.
func (p *Policy) Outline() *Outline {
	o := &Outline{}
	root, err := readJSON(p.document)
	if err != nil { // it was parsed before
		return o
	}
	at := places{text: p.document}
	for _, m := range root.members {
		if m.name == "Version" {
			o.Version = m.value.text
		}
	}
	for i, st := range root.statements() {
		c := Clause{Position: at.find(st.offset), Label: p.statements[i].label, Sid: p.statements[i].sid, Deny: p.statements[i].deny}
		for _, m := range st.members {
			switch m.name {
			case "Principal", "NotPrincipal":
				c.HasPrincipal, c.NotPrincipal = true, m.name == "NotPrincipal"
				if m.value.kind == stringNode {
					c.Principals = append(c.Principals, PrincipalText{"AWS", at.texts(m.value)[0]})
				}
				for _, kind := range m.value.members {
					for _, t := range at.texts(kind.value) {
						c.Principals = append(c.Principals, PrincipalText{kind.name, t})
					}
				}
			case "Action", "NotAction":
				c.Actions, c.NotAction = at.texts(m.value), m.name == "NotAction"
			case "Resource", "NotResource":
				c.Resources, c.NotResource = at.texts(m.value), m.name == "NotResource"
			case "Condition":
				for _, operator := range m.value.members {
					o := Text{operator.name, at.find(operator.offset)}
					for _, key := range operator.value.members {
						t := Test{Operator: o, Key: Text{key.name, at.find(key.offset)}}
						t.Values = at.texts(key.value)
						c.Tests = append(c.Tests, t)
					}
				}
			}
		}
		o.Clauses = append(o.Clauses, c)
	}
	return o
}

// places finds positions. Those asked for in order take one pass over the text.
type places struct {
	text   string
	offset int
	line   int // from 0, of offset
	column int
}

func (p *places) find(offset int) Position {
	if offset < p.offset {
		p.offset, p.line, p.column = 0, 0, 0
	}
	between := p.text[p.offset:offset]
	if n := strings.Count(between, "\n"); n > 0 {
		p.line += n
		p.column = 0
		between = between[strings.LastIndexByte(between, '\n')+1:]
	}
	p.column += utf8.RuneCountInString(between)
	p.offset = offset
	return Position{p.line + 1, p.column + 1}
}

// texts returns the value of n, or those of the list that it is.
func (p *places) texts(n *node) []Text {
	switch n.kind {
	case stringNode, numberNode, boolNode:
		return []Text{{n.text, p.find(n.offset)}}
	}
	all := make([]Text, 0, len(n.items))
	for _, item := range n.items {
		if item.kind == stringNode || item.kind == numberNode || item.kind == boolNode {
			all = append(all, Text{item.text, p.find(item.offset)})
		}
	}
	return all
}
