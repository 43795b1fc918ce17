package policy

import (
	"slices"
	"strings"
)

// Keys returns the condition keys that a policy asks for, in conditions and as variables, as they are written there. Each
// is there once, whatever its case, and they are sorted. The list is the policy's own and must not be changed.
func (p *Policy) Keys() []string { return p.keys() }

func (p *Policy) findKeys() []string {
	root, err := readJSON(p.document)
	if err != nil { // it was parsed before
		return nil
	}
	keys := map[string]string{}
	add := func(key string) {
		if lower := strings.ToLower(key); keys[lower] == "" {
			keys[lower] = key
		}
	}
	for _, st := range root.statements() {
		for i := range st.members {
			m := &st.members[i]
			if m.name == "Condition" {
				for _, operator := range m.value.members {
					for _, key := range operator.value.members {
						add(key.name)
					}
				}
			}
			if p.variables && (m.name == "Condition" || strings.HasSuffix(m.name, "Resource")) {
				m.value.variables(add)
			}
		}
	}
	names := make([]string, 0, len(keys))
	for _, key := range keys {
		names = append(names, key)
	}
	slices.SortFunc(names, compareFold)
	return names
}

// compareFold compares names of keys, whose case does not count.
func compareFold(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) }

// Missing returns those of the keys of policies that the request has no value for, sorted.
func Missing(r *Request, policies ...[]Named) []string {
	e := newEvaluator(r, &Policies{})
	var missing []string
	for _, list := range policies {
		for _, named := range list {
			if named.Policy == nil {
				continue
			}
			for _, name := range named.Policy.Keys() {
				k := newKey(name)
				if _, ok := e.values(&k); !ok {
					missing = append(missing, name)
				}
			}
		}
	}
	slices.SortFunc(missing, compareFold)
	return slices.CompactFunc(missing, strings.EqualFold)
}

// statements returns the statements of a document.
func (n *node) statements() []*node {
	for _, m := range n.members {
		switch {
		case m.name != "Statement":
		case m.value.kind == arrayNode:
			return m.value.items
		default:
			return []*node{m.value}
		}
	}
	return nil
}

// variables calls add with the keys of the policy variables in all strings below n.
func (n *node) variables(add func(key string)) {
	for _, item := range n.items {
		item.variables(add)
	}
	for _, m := range n.members {
		m.value.variables(add)
	}
	rest := n.text
	for n.kind == stringNode {
		var ok bool
		if _, rest, ok = strings.Cut(rest, "${"); !ok {
			return
		}
		var inside string
		if inside, rest, ok = strings.Cut(rest, "}"); !ok {
			return
		}
		name, _, _ := strings.Cut(inside, ",") // a default follows
		if name = strings.TrimSpace(name); strings.Contains(name, ":") {
			add(name) // the others are ${*}, ${?} and ${$}
		}
	}
}
