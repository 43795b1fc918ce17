package expr

import (
	"errors"
	"fmt"
	"strings"
)

// Context is what an expression is evaluated in.
type Context struct {
	Names     map[string]Value    // by name, regardless of case
	Functions map[string]Function // beside those of the language; by name, regardless of case
	Limits    Limits
	Spent     *int // if set, the bytes that were made and looked at are added to it

	// Mask is applied to the values that errors quote. It must be set where a value may be secret.
	Mask func(string) string
}

// Function is a function that the caller of Eval supplies. Its arguments are evaluated before it is called.
type Function struct {
	Min, Max int // numbers of arguments; Max < 0: any
	Call     func(args []Value) (Value, error)
}

// Limits bound an evaluation; zero fields have the defaults.
type Limits struct {
	Memory int // bytes that values made on the way may take, 10 MiB
	Work   int // bytes that may be looked at, 256 MiB
}

// EvalError is why an expression has no value.
type EvalError struct {
	Offset int // of the function or the access, in characters
	Expr   string
	Err    error
}

func (e *EvalError) Error() string {
	return fmt.Sprintf("%v. Located at position %d within expression: %s", e.Err, e.Offset+1, e.Expr)
}

func (e *EvalError) Unwrap() error { return e.Err }

// message is an error as Azure Pipelines words it, which is a sentence.
type message string

func (m message) Error() string { return string(m) }

// ErrLimit is in the chain of errors about the limits of an evaluation.
var ErrLimit = errors.New("limit exceeded")

type limitError struct{ what, source string }

func (e *limitError) Error() string {
	return fmt.Sprintf("The maximum allowed %s was exceeded while evaluating the following expression: %s", e.what, e.source)
}
func (e *limitError) Is(target error) bool { return target == ErrLimit }

// Eval evaluates e. Errors: [*EvalError], and in its chain [*ConvertError], [ErrLimit], what a function returned;
// [*SyntaxError] for a name or a function that c does not have.
func (e *Expr) Eval(c *Context) (Value, error) {
	if c == nil {
		c = &Context{}
	}
	s := &state{context: c, source: e, memory: c.Limits.Memory, work: c.Limits.Work}
	if s.memory <= 0 {
		s.memory = 10 << 20
	}
	if s.work <= 0 {
		s.work = 256 << 20
	}
	if c.Spent != nil {
		memory, work := s.memory, s.work
		defer func() { *c.Spent += memory - s.memory + work - s.work }()
	}
	return s.eval(e.root)
}

// EvalBool evaluates e as a condition.
func (e *Expr) EvalBool(c *Context) (bool, error) {
	v, err := e.Eval(c)
	return err == nil && v.ToBool(), err
}

// EvalString evaluates e and converts the value to a string.
func (e *Expr) EvalString(c *Context) (string, error) {
	v, err := e.Eval(c)
	if err != nil {
		return "", err
	}
	s, ok := v.toString()
	if !ok {
		return "", &EvalError{Offset: e.root.at, Expr: e.text, Err: convertError(v, KindString)}
	}
	return s, nil
}

type state struct {
	context      *Context
	source       *Expr
	memory, work int // what is left
}

// fail says where an error came from, once.
func (s *state) fail(n *node, err error) error {
	var located *EvalError
	if errors.As(err, &located) && located.Expr == s.source.text {
		return err
	}
	var convert *ConvertError
	if s.context.Mask != nil && errors.As(err, &convert) {
		masked := *convert
		masked.Value = s.context.Mask(convert.Value)
		err = &masked
	}
	return &EvalError{Offset: n.at, Expr: s.source.text, Err: err}
}

// take books memory for a value that is made.
func (s *state) take(n *node, bytes int) error {
	if s.memory -= bytes + 16; s.memory < 0 || bytes < 0 {
		return s.fail(n, &limitError{"memory size", s.source.text})
	}
	return nil
}

// look books the work of looking at a value.
func (s *state) look(n *node, values ...Value) error {
	for _, v := range values {
		s.work -= len(v.text) + 8
	}
	if s.work < 0 {
		return s.fail(n, &limitError{"work", s.source.text})
	}
	return nil
}

func (s *state) eval(n *node) (Value, error) {
	if err := s.look(n); err != nil {
		return Value{}, err
	}
	switch n.kind {
	case nodeLiteral:
		return n.value, nil
	case nodeName:
		v, ok := find(s.context.Names, n.name)
		if !ok {
			return Value{}, &SyntaxError{Offset: n.at, Message: fmt.Sprintf(
				"Unrecognized value: '%s'. Located at position %d within expression: %s", n.name, n.at+1, s.source.text)}
		}
		return v, nil
	case nodeCall:
		return s.call(n)
	case nodeStar:
		v, err := s.eval(n.args[0])
		if err != nil {
			return Value{}, err
		}
		return s.filter(n, v)
	}
	of, err := s.eval(n.args[0])
	if err != nil {
		return Value{}, err
	}
	if of.kind != KindObject && of.kind != KindArray {
		return Value{}, nil
	}
	by, err := s.eval(n.args[1])
	if err != nil {
		return Value{}, err
	}
	if err := s.look(n, by); err != nil {
		return Value{}, err
	}
	l, ok := of.ref.(*list)
	if !ok || !l.filtered {
		v, _, err := s.index(n, of, by)
		return v, err
	}
	var found []Value
	for _, item := range l.items {
		v, ok, err := s.index(n, item, by)
		if err != nil {
			return Value{}, err
		}
		if !ok {
			continue
		}
		if err := s.take(n, 48); err != nil {
			return Value{}, err
		}
		found = append(found, v)
	}
	return Value{kind: KindArray, ref: &list{items: found, filtered: true}}, nil
}

// index takes one thing of a collection.
func (s *state) index(n *node, of, by Value) (v Value, ok bool, err error) {
	switch ref := of.ref.(type) {
	case *Object:
		key, ok := by.toString()
		if !ok {
			return Value{}, false, nil
		}
		if v, ok := ref.Get(key); ok {
			return v, true, nil
		}
		if ref.strict {
			return Value{}, false, s.fail(n, message(fmt.Sprintf("Key not found '%s'", key)))
		}
	case *list:
		i, ok := by.toNumber()
		if ok && i.number >= 0 && i.number < float64(len(ref.items)) {
			return ref.items[int(i.number)], true, nil
		}
	}
	return Value{}, false, nil
}

// filter is [*]: all that a collection holds, or all that the items of a filtered array hold.
func (s *state) filter(n *node, v Value) (Value, error) {
	from := []Value{v}
	if l, ok := v.ref.(*list); ok && l.filtered {
		from = l.items
	}
	var all []Value
	for _, item := range from {
		switch ref := item.ref.(type) {
		case *Object:
			if err := s.take(n, 48*ref.Len()); err != nil {
				return Value{}, err
			}
			all = append(all, ref.Values()...)
		case *list:
			if err := s.take(n, 48*len(ref.items)); err != nil {
				return Value{}, err
			}
			all = append(all, ref.items...)
		}
	}
	return Value{kind: KindArray, ref: &list{items: all, filtered: true}}, nil
}

func (s *state) call(n *node) (Value, error) {
	if b, ok := builtins[strings.ToLower(n.name)]; ok {
		return b.call(s, n)
	}
	f, ok := findFunction(s.context.Functions, n.name)
	if !ok {
		return Value{}, &SyntaxError{Offset: n.at, Message: fmt.Sprintf(
			"Unrecognized value: '%s'. Located at position %d within expression: %s", n.name, n.at+1, s.source.text)}
	}
	if len(n.args) < f.Min || f.Max >= 0 && len(n.args) > f.Max {
		return Value{}, s.fail(n, errors.New(arity(n.name, f)))
	}
	args := make([]Value, len(n.args))
	for i, arg := range n.args {
		v, err := s.eval(arg)
		if err != nil {
			return Value{}, err
		}
		args[i] = v
	}
	v, err := f.Call(args)
	if err != nil {
		return Value{}, s.fail(n, err)
	}
	return v, s.take(n, len(v.text))
}

// text evaluates an argument and converts it to a string.
func (s *state) text(n *node, arg int) (string, error) {
	v, err := s.eval(n.args[arg])
	if err != nil {
		return "", err
	}
	if err := s.look(n, v); err != nil {
		return "", err
	}
	str, ok := v.toString()
	if !ok {
		return "", s.fail(n, convertError(v, KindString))
	}
	return str, nil
}

// made returns a string that a function has made.
func (s *state) made(n *node, text string) (Value, error) {
	return String(text), s.take(n, len(text))
}

func find(m map[string]Value, name string) (Value, bool) {
	if v, ok := m[name]; ok {
		return v, true
	}
	for key, v := range m {
		if strings.EqualFold(key, name) {
			return v, true
		}
	}
	return Value{}, false
}

func findFunction(m map[string]Function, name string) (Function, bool) {
	if f, ok := m[name]; ok {
		return f, true
	}
	for key, f := range m {
		if strings.EqualFold(key, name) {
			return f, true
		}
	}
	return Function{}, false
}
