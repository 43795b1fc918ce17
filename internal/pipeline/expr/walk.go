package expr

import "strings"

// Call is a function call in an expression.
type Call struct {
	Name   string // as it was written
	Offset int
	Args   []Value // literal ones; null for those that are computed
}

// Reference is a name in an expression with the keys that are taken of it, as far as they are literal:
// variables['a.b'].c is variables, a.b, c.
type Reference struct {
	Path    []string
	Offset  int
	Dynamic bool // more is taken of it, by keys that are computed, or by a filter
}

// Calls are the function calls in an expression, from left to right.
func (e *Expr) Calls() []Call {
	var calls []Call
	e.root.walk(func(n *node) {
		if n.kind != nodeCall {
			return
		}
		c := Call{Name: n.name, Offset: n.at, Args: make([]Value, len(n.args))}
		for i, arg := range n.args {
			if arg.kind == nodeLiteral {
				c.Args[i] = arg.value
			}
		}
		calls = append(calls, c)
	})
	return calls
}

// References are the names in an expression, from left to right.
func (e *Expr) References() []Reference {
	var refs []Reference
	var visit func(n *node, above []*node)
	visit = func(n *node, above []*node) {
		switch n.kind {
		case nodeName:
			r := Reference{Path: []string{n.name}, Offset: n.at}
			for i := len(above) - 1; i >= 0; i-- {
				key := ""
				ok := false
				if above[i].kind == nodeIndex && above[i].args[1].kind == nodeLiteral {
					key, ok = above[i].args[1].value.toString()
				}
				if !ok {
					r.Dynamic = true
					break
				}
				r.Path = append(r.Path, key)
			}
			refs = append(refs, r)
		case nodeIndex, nodeStar:
			visit(n.args[0], append(above, n))
			for _, arg := range n.args[1:] {
				visit(arg, nil)
			}
		default:
			for _, arg := range n.args {
				visit(arg, nil)
			}
		}
	}
	visit(e.root, nil)
	return refs
}

func (n *node) walk(f func(*node)) {
	f(n)
	for _, arg := range n.args {
		arg.walk(f)
	}
}

// Literal returns the value of an expression that is nothing but a literal.
func (e *Expr) Literal() (Value, bool) {
	return e.root.value, e.root.kind == nodeLiteral
}

// String writes an expression in its normal form, which means the same.
func (e *Expr) String() string {
	var b strings.Builder
	e.root.print(&b)
	return b.String()
}

func (n *node) print(b *strings.Builder) {
	switch n.kind {
	case nodeLiteral:
		switch n.value.kind {
		case KindString:
			b.WriteString(quote(n.value.text))
		case KindNumber:
			b.WriteString(n.value.text)
		default:
			s, _ := n.value.toString()
			b.WriteString(s)
		}
	case nodeName:
		b.WriteString(n.name)
	case nodeCall:
		b.WriteString(n.name)
		b.WriteByte('(')
		for i, arg := range n.args {
			if i > 0 {
				b.WriteString(", ")
			}
			arg.print(b)
		}
		b.WriteByte(')')
	case nodeIndex:
		n.args[0].print(b)
		if key := n.args[1]; key.kind == nodeLiteral && key.value.kind == KindString && isKeyword(key.value.text) {
			b.WriteString("." + key.value.text)
			return
		}
		b.WriteByte('[')
		n.args[1].print(b)
		b.WriteByte(']')
	case nodeStar:
		n.args[0].print(b)
		b.WriteString(".*")
	}
}

// Replace is the normal form of an expression in which one function is called in the place of another, regardless of case.
func (e *Expr) Replace(function, by string) string {
	var b strings.Builder
	e.root.renamed(function, by).print(&b)
	return b.String()
}

func (n *node) renamed(function, by string) *node {
	c := *n
	if c.kind == nodeCall && strings.EqualFold(c.name, function) {
		c.name = by
	}
	c.args = make([]*node, len(n.args))
	for i, arg := range n.args {
		c.args[i] = arg.renamed(function, by)
	}
	return &c
}
