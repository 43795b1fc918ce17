package policy

import (
	"fmt"
	"slices"
	"strings"
)

func (ps *parser) elements() []string {
	all := []string{"Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition"}
	if ps.p.kind.hasPrincipals() || ps.lenient {
		all = slices.Insert(all, 2, "Principal", "NotPrincipal")
	}
	return all
}

func (ps *parser) statement(n *node, path string) (*statement, error) {
	if n.kind != objectNode {
		return nil, ps.wrong(n, path, "a statement, which is an object")
	}
	st := &statement{}
	elements := ps.elements()
	at := map[string]*member{}
	for i := range n.members {
		m := &n.members[i]
		if !slices.Contains(elements, m.name) {
			if m.name == "Principal" || m.name == "NotPrincipal" {
				return nil, ps.errorAt(m.offset, path+"."+m.name, "%s names no principals: it applies to whom it is attached to; remove the element", article(ps.p.kind.String())+ps.p.kind.String())
			}
			return nil, ps.unknown(m, path, elements)
		}
		at[m.name] = m
	}
	if m := at["Sid"]; m != nil {
		if m.value.kind != stringNode {
			return nil, ps.wrong(m.value, path+".Sid", "a string")
		}
		st.sid = m.value.text
		if k := ps.p.kind; !ps.lenient && (k == Identity || k == Trust) && !alphanumeric(st.sid) {
			return nil, ps.errorAt(m.value.offset, path+".Sid", "%q: a Sid consists of letters and digits", st.sid)
		}
	}
	if err := ps.effect(st, n, at["Effect"], path); err != nil {
		return nil, err
	}
	if err := ps.principals(st, n, at, path); err != nil {
		return nil, err
	}
	if err := ps.actions(st, n, at, path); err != nil {
		return nil, err
	}
	if err := ps.resources(st, n, at, path); err != nil {
		return nil, err
	}
	if m := at["Condition"]; m != nil {
		if err := ps.conditions(st, m.value, path+".Condition"); err != nil {
			return nil, err
		}
	}
	return st, nil
}

func (ps *parser) effect(st *statement, n *node, m *member, path string) error {
	path += ".Effect"
	if m == nil {
		return ps.errorAt(n.offset, path, `the element is missing; write "Allow" or "Deny"`)
	}
	if m.value.kind != stringNode {
		return ps.wrong(m.value, path, `"Allow" or "Deny"`)
	}
	switch m.value.text {
	case "Allow":
	case "Deny":
		st.deny = true
	default:
		return ps.errorAt(m.value.offset, path, `%q is no effect; write "Allow" or "Deny"`, m.value.text)
	}
	return nil
}

// either returns the one of two elements that is there.
func (ps *parser) either(n *node, at map[string]*member, path, name string) (m *member, not bool, err error) {
	m, other := at[name], at["Not"+name]
	switch {
	case m != nil && other != nil:
		return nil, false, ps.errorAt(other.offset, path+".Not"+name, "there can't be both %s and Not%s; remove one", name, name)
	case m != nil:
		return m, false, nil
	case other != nil:
		return other, true, nil
	}
	return nil, false, nil
}

// strings calls add with each of the strings that n is: one, or a list of them.
func (ps *parser) strings(n *node, path string, add func(item *node, path string) error) error {
	switch n.kind {
	case stringNode:
		return add(n, path)
	case arrayNode:
	default:
		return ps.wrong(n, path, "a string or a list of strings")
	}
	if len(n.items) == 0 && !ps.lenient {
		return ps.errorAt(n.offset, path, "the list is empty; name at least one")
	}
	for i, item := range n.items {
		path := fmt.Sprintf("%s[%d]", path, i)
		if item.kind != stringNode {
			return ps.wrong(item, path, "a string")
		}
		if err := add(item, path); err != nil {
			return err
		}
	}
	return nil
}

func (ps *parser) actions(st *statement, n *node, at map[string]*member, path string) error {
	m, not, err := ps.either(n, at, path, "Action")
	if err != nil {
		return err
	}
	if m == nil {
		return ps.errorAt(n.offset, path, "the element Action or NotAction is missing")
	}
	st.notAction = not
	return ps.strings(m.value, path+"."+m.name, func(item *node, path string) error {
		a, problem := newActionPattern(item.text)
		if problem == "" && ps.p.kind == Trust && !strings.HasPrefix(strings.ToLower(item.text), "sts:") {
			problem = "a trust policy is about assuming its role: its actions are such as sts:AssumeRole"
		}
		if problem != "" && !ps.lenient {
			return ps.errorAt(item.offset, path, "%q: %s", item.text, problem)
		}
		st.actions = append(st.actions, a)
		return nil
	})
}

func (ps *parser) resources(st *statement, n *node, at map[string]*member, path string) error {
	m, not, err := ps.either(n, at, path, "Resource")
	if err != nil {
		return err
	}
	kind := ps.p.kind
	if m == nil {
		if kind == Resource || kind == Trust {
			st.attached = true
			return nil
		}
		return ps.errorAt(n.offset, path, "the element Resource or NotResource is missing")
	}
	if kind == Trust && !ps.lenient {
		return ps.errorAt(m.offset, path+"."+m.name, "a trust policy is about its role and names no resource; remove the element")
	}
	st.notResource = not
	complete := kind != Resource && kind != Trust
	return ps.strings(m.value, path+"."+m.name, func(item *node, path string) error {
		r, problem := newResourcePattern(item.text, ps.p.variables, complete)
		if problem != "" && !ps.lenient {
			return ps.errorAt(item.offset, path, "%q: %s", item.text, problem)
		}
		st.resources = append(st.resources, r)
		return nil
	})
}

func (ps *parser) principals(st *statement, n *node, at map[string]*member, path string) error {
	if !ps.p.kind.hasPrincipals() {
		return nil
	}
	m, not, err := ps.either(n, at, path, "Principal")
	if err != nil {
		return err
	}
	if m == nil {
		switch {
		case ps.p.kind == Endpoint:
		case ps.lenient:
			st.nobody = true
		default:
			return ps.errorAt(n.offset, path, "the element Principal is missing: a %s says whom each statement is about", ps.p.kind)
		}
		return nil
	}
	path += "." + m.name
	st.notPrincipal = not
	st.principals = []principalPattern{}
	if m.value.kind == stringNode {
		if m.value.text == "*" {
			st.principals = append(st.principals, principalPattern{kind: everyone, source: "*"})
			return nil
		}
		if !ps.lenient {
			return ps.errorAt(m.value.offset, path, `write "*" or an object such as {"AWS": "arn:aws:iam::111122223333:root"}`)
		}
		return ps.addPrincipal(st, "AWS", m.value, path)
	}
	if m.value.kind != objectNode {
		return ps.wrong(m.value, path, `"*" or an object such as {"AWS": "111122223333"}`)
	}
	if len(m.value.members) == 0 && !ps.lenient {
		return ps.errorAt(m.value.offset, path, "the object is empty; name at least one principal")
	}
	for i := range m.value.members {
		kind := &m.value.members[i]
		err := ps.strings(kind.value, path+"."+kind.name, func(item *node, path string) error {
			return ps.addPrincipal(st, kind.name, item, path)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (ps *parser) addPrincipal(st *statement, kind string, item *node, path string) error {
	p, problem := newPrincipalPattern(kind, item.text)
	if problem != "" && !ps.lenient {
		return ps.errorAt(item.offset, path, "%q: %s", item.text, problem)
	}
	st.principals = append(st.principals, p)
	return nil
}

func (ps *parser) conditions(st *statement, n *node, path string) error {
	if n.kind != objectNode {
		return ps.wrong(n, path, "an object of operators")
	}
	for i := range n.members {
		m := &n.members[i]
		path := path + "." + m.name
		c, ok := parseOperator(m.name)
		if !ok {
			return ps.errorAt(m.offset, path, "there is no such operator; %s", closestOperator(m.name))
		}
		if m.value.kind != objectNode {
			return ps.wrong(m.value, path, "an object of condition keys")
		}
		for j := range m.value.members {
			k := &m.value.members[j]
			path := path + "." + k.name
			c := c
			c.key = newKey(k.name)
			if !strings.Contains(k.name, ":") && !ps.lenient {
				return ps.errorAt(k.offset, path, "a condition key has a prefix, like aws:SourceIp or ecr:ResourceTag/team")
			}
			if err := ps.operands(&c, k.value, path); err != nil {
				return err
			}
			st.conditions = append(st.conditions, c)
		}
	}
	return nil
}

func (ps *parser) operands(c *condition, n *node, path string) error {
	items := []*node{n}
	if n.kind == arrayNode {
		items = n.items
	}
	for i, item := range items {
		path := path
		if n.kind == arrayNode {
			path = fmt.Sprintf("%s[%d]", path, i)
		}
		switch item.kind {
		case stringNode, numberNode, boolNode:
		default:
			return ps.wrong(item, path, "a string or a list of strings")
		}
		o, problem := c.newOperand(item.text, ps.p.variables)
		if problem != "" && !ps.lenient {
			return ps.errorAt(item.offset, path, "%q: %s", item.text, problem)
		}
		c.values = append(c.values, o)
	}
	return nil
}

// closestOperator suggests what was meant by an unknown operator.
func closestOperator(name string) string {
	s := strings.ToLower(name)
	for _, known := range []string{"StringEquals", "StringLike", "NumericEquals", "DateLessThan", "Bool", "IpAddress", "ArnLike", "Null"} {
		if strings.HasPrefix(s, strings.ToLower(known[:3])) {
			return "known are such as " + known + ", with ForAllValues: or ForAnyValue: before it and IfExists after it where that is meant"
		}
	}
	return "known are such as StringEquals, StringLike, ArnLike, IpAddress, Bool and Null"
}
