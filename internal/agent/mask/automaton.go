package mask

// automaton finds any of its patterns in a text, after Aho and Corasick: one step a byte, whatever the patterns are.
type automaton struct {
	patterns []string
	size     int // bytes of patterns
	nodes    []node
	root     [256]int32 // the nodes of the first byte
}

// node is a prefix of patterns.
type node struct {
	fail    int32 // the node of the longest proper suffix that is a prefix of a pattern too
	child   int32 // the first of its children; 0 for none
	sibling int32 // the next child of its parent
	depth   int32 // bytes of the prefix
	match   int32 // bytes of the longest pattern that ends here; 0 for none
	b       byte  // the last byte of the prefix
}

// build makes an automaton. Patterns are not empty.
func build(patterns []string) *automaton {
	a := &automaton{patterns: patterns, size: total(patterns), nodes: make([]node, 1, 1+total(patterns)/2)}
	for _, p := range patterns {
		at := int32(0)
		for i := range len(p) {
			next := a.child(at, p[i])
			if next == 0 {
				next = int32(len(a.nodes))
				n := node{b: p[i], depth: int32(i + 1)}
				if at == 0 {
					a.root[p[i]] = next
				} else {
					n.sibling = a.nodes[at].child
					a.nodes[at].child = next
				}
				a.nodes = append(a.nodes, n)
			}
			at = next
		}
		a.nodes[at].match = int32(len(p))
	}
	// Breadth first: a node's suffixes are shorter, so theirs are known.
	var queue []int32
	for _, n := range a.root {
		if n != 0 {
			queue = append(queue, n)
		}
	}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		n := &a.nodes[at]
		if n.match == 0 {
			n.match = a.nodes[n.fail].match
		}
		for c := n.child; c != 0; c = a.nodes[c].sibling {
			a.nodes[c].fail = a.step(n.fail, a.nodes[c].b)
			queue = append(queue, c)
		}
	}
	return a
}

func (a *automaton) child(at int32, b byte) int32 {
	if at == 0 {
		return a.root[b]
	}
	for c := a.nodes[at].child; c != 0; c = a.nodes[c].sibling {
		if a.nodes[c].b == b {
			return c
		}
	}
	return 0
}

// step returns the node of the longest prefix that the text ends with after another byte.
func (a *automaton) step(at int32, b byte) int32 {
	for {
		if c := a.child(at, b); c != 0 || at == 0 {
			return c
		}
		at = a.nodes[at].fail
	}
}
