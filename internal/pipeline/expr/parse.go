package expr

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Limits of what is parsed. MaxDepth counts the functions and indexes that are open at once.
const (
	MaxLength = 21000 // characters
	MaxDepth  = 50
)

// SyntaxError is what is wrong with the text of an expression.
type SyntaxError struct {
	Offset  int    // of the character, from 0
	Message string // as Azure Pipelines words it
	Hint    string // what that means, where the message is no help
}

func (e *SyntaxError) Error() string {
	if e.Hint == "" {
		return e.Message
	}
	return e.Message + ". " + e.Hint
}

// Expr is a parsed expression. It may be used by several goroutines.
type Expr struct {
	text string
	root *node
}

// Text is the expression as it was written.
func (e *Expr) Text() string { return e.text }

type nodeKind uint8

const (
	nodeLiteral nodeKind = iota
	nodeName
	nodeCall
	nodeIndex // args: what, by what
	nodeStar  // args: what
)

type node struct {
	kind  nodeKind
	at    int
	name  string // as it was written
	value Value
	args  []*node
}

// Parse reads an expression that may name and call anything; the arguments of the language's own functions are counted.
// Errors: [*SyntaxError].
func Parse(text string) (*Expr, error) {
	return parse(text, nil)
}

// Check reports the first thing that e names or calls and that is neither of the language, nor among names and functions,
// regardless of case. Errors: [*SyntaxError].
func (e *Expr) Check(names []string, functions map[string]Function) error {
	_, err := parse(e.text, &scope{names: names, functions: functions})
	return err
}

type scope struct {
	names     []string
	functions map[string]Function
}

func (s *scope) hasName(name string) bool {
	return slices.ContainsFunc(s.names, func(n string) bool { return strings.EqualFold(n, name) })
}

func parse(text string, known *scope) (*Expr, error) {
	if !utf8.ValidString(text) {
		return nil, &SyntaxError{Message: "The expression is not valid UTF-8"}
	}
	p := &parser{lexer: lexer{text: []rune(text)}, source: text, known: known}
	if len(p.lexer.text) > MaxLength {
		return nil, &SyntaxError{Message: fmt.Sprintf("Exceeded max expression length %d", MaxLength)}
	}
	p.advance()
	if p.token.kind == tokenEnd {
		return nil, &SyntaxError{Message: "An expression is expected"}
	}
	root, err := p.expression()
	if err != nil {
		return nil, err
	}
	if p.token.kind != tokenEnd {
		return nil, p.unexpected()
	}
	return &Expr{text: text, root: root}, nil
}

type parser struct {
	lexer  lexer
	source string
	token  token
	depth  int
	known  *scope // nil: everything
}

func (p *parser) advance() { p.token = p.lexer.next() }

func (p *parser) fail(what string, t token, hint string) error {
	return &SyntaxError{
		Offset:  t.at,
		Message: fmt.Sprintf("%s: '%s'. Located at position %d within expression: %s", what, t.text, t.at+1, p.source),
		Hint:    hint,
	}
}

// unexpected is the error for a token that can't stand where it does.
func (p *parser) unexpected() error {
	t := p.token
	switch {
	case t.kind == tokenMalformed && t.text[0] == '\'':
		return p.fail("Unrecognized value", t, "The string does not end")
	case t.kind == tokenMalformed && strings.ContainsAny(t.text, `"“”‘’`):
		return p.fail("Unrecognized value", t, "Strings are written in single quotes: 'text'")
	case t.kind == tokenMalformed && strings.ContainsAny(t.text, "=!<>&|+/"):
		return p.fail("Unrecognized value", t, "There are no operators, only functions: eq(a, b), ne(a, b), and(a, b), or(a, b), not(a)")
	case t.kind == tokenMalformed:
		return p.fail("Unrecognized value", t, "")
	case t.kind == tokenKeyword && p.known != nil:
		if _, ok := p.function(t.text); !ok && !p.known.hasName(t.text) {
			return p.fail("Unrecognized value", t, "")
		}
	}
	return p.fail("Unexpected symbol", t, "")
}

// function finds a function that is known.
func (p *parser) function(name string) (Function, bool) {
	if b, ok := builtins[strings.ToLower(name)]; ok {
		return Function{Min: b.min, Max: b.max}, true
	}
	if p.known == nil {
		return Function{}, false
	}
	return findFunction(p.known.functions, name)
}

func (p *parser) expression() (*node, error) {
	t := p.token
	switch t.kind {
	case tokenLiteral:
		p.advance()
		return &node{kind: nodeLiteral, at: t.at, value: t.value}, nil // nothing is accessed of a literal
	case tokenKeyword:
		n, err := p.named()
		if err != nil {
			return nil, err
		}
		return p.access(n)
	}
	return nil, p.unexpected()
}

// named reads a name, or a call.
func (p *parser) named() (*node, error) {
	t := p.token
	f, isFunction := p.function(t.text)
	_, own := builtins[strings.ToLower(t.text)]
	if p.known != nil && !own && p.known.hasName(t.text) {
		isFunction = false
	} else if p.known != nil && !isFunction {
		return nil, p.fail("Unrecognized value", t, p.didYouMean(t.text))
	}
	p.advance()
	if !isFunction && p.known == nil && p.token.kind == tokenOpen {
		f, isFunction = Function{Max: -1}, true
	}
	if !isFunction {
		return &node{kind: nodeName, at: t.at, name: t.text}, nil
	}
	if p.token.kind != tokenOpen {
		return nil, p.fail("Expected '(' to follow a function", t, "")
	}
	return p.call(t, f)
}

func (p *parser) call(name token, f Function) (*node, error) {
	n := &node{kind: nodeCall, at: name.at, name: name.text}
	if err := p.enter(); err != nil {
		return nil, err
	}
	p.advance()
	for p.token.kind != tokenClose {
		if p.token.kind == tokenEnd {
			return nil, p.fail("Unclosed function", name, "")
		}
		arg, err := p.expression()
		if err != nil {
			return nil, err
		}
		n.args = append(n.args, arg)
		switch p.token.kind {
		case tokenClose:
		case tokenEnd:
			return nil, p.fail("Unclosed function", name, "")
		case tokenComma:
			if f.Max >= 0 && len(n.args) >= f.Max {
				return nil, p.fail("Unexpected symbol", p.token, arity(name.text, f))
			}
			p.advance()
			if p.token.kind == tokenClose {
				return nil, p.unexpected()
			}
		default:
			return nil, p.unexpected()
		}
	}
	if len(n.args) < f.Min || f.Max >= 0 && len(n.args) > f.Max {
		return nil, p.fail("Unexpected symbol", p.token, arity(name.text, f))
	}
	p.depth--
	p.advance()
	return n, nil
}

func arity(name string, f Function) string {
	count := fmt.Sprintf("%d to %d arguments", f.Min, f.Max)
	switch {
	case f.Max < 0:
		count = fmt.Sprintf("at least %d arguments", f.Min)
	case f.Min == f.Max && f.Min == 1:
		count = "1 argument"
	case f.Max == 0:
		count = "no arguments"
	case f.Min == f.Max:
		count = fmt.Sprintf("%d arguments", f.Min)
	}
	return fmt.Sprintf("The function %s takes %s", name, strings.Replace(count, "at least 1 arguments", "at least 1 argument", 1))
}

// access reads what follows a name or a call: .key, [index], .* and [*].
func (p *parser) access(n *node) (*node, error) {
	for {
		t := p.token
		switch t.kind {
		case tokenDot:
			p.advance()
			switch p.token.kind {
			case tokenProperty:
				key := &node{kind: nodeLiteral, at: p.token.at, value: String(p.token.text)}
				n = &node{kind: nodeIndex, at: t.at, args: []*node{n, key}}
			case tokenStar:
				n = &node{kind: nodeStar, at: t.at, args: []*node{n}}
			case tokenEnd:
				return nil, p.fail("Expected a property name to follow the dereference operator '.'", t, "")
			default:
				hint := ""
				if strings.Contains(p.token.text, "-") {
					hint = "A name with other characters than letters, digits and _ is written in brackets: ['" + p.token.text + "']"
				}
				return nil, p.fail("Unexpected symbol", p.token, hint)
			}
			p.advance()
		case tokenOpenIndex:
			if err := p.enter(); err != nil {
				return nil, err
			}
			p.advance()
			if p.token.kind == tokenStar {
				n = &node{kind: nodeStar, at: t.at, args: []*node{n}}
				p.advance()
			} else if p.token.kind != tokenEnd {
				by, err := p.expression()
				if err != nil {
					return nil, err
				}
				n = &node{kind: nodeIndex, at: t.at, args: []*node{n, by}}
			}
			if p.token.kind == tokenEnd {
				return nil, p.fail("Unclosed indexer", t, "")
			}
			if p.token.kind != tokenCloseIndex {
				return nil, p.unexpected()
			}
			p.depth--
			p.advance()
		default:
			return n, nil
		}
	}
}

func (p *parser) enter() error {
	if p.depth++; p.depth >= MaxDepth {
		return &SyntaxError{Offset: p.token.at, Message: fmt.Sprintf("Exceeded max expression depth %d", MaxDepth)}
	}
	return nil
}

// didYouMean looks for a name or a function that differs from one that is unknown by a slip.
func (p *parser) didYouMean(name string) string {
	candidates := slices.Clone(p.known.names)
	for f := range p.known.functions {
		candidates = append(candidates, f)
	}
	for _, b := range builtins {
		candidates = append(candidates, b.name)
	}
	slices.Sort(candidates)
	best, distance := "", 3
	if len(name) <= 4 {
		distance = 2
	}
	for _, c := range candidates {
		if d := editDistance(strings.ToLower(name), strings.ToLower(c)); d < distance {
			best, distance = c, d
		}
	}
	if best == "" {
		return ""
	}
	return "Did you mean " + best + "?"
}

func editDistance(a, b string) int {
	if len(a) > 40 || len(b) > 40 {
		return len(a) + len(b)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
