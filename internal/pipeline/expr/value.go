// Package expr is the expression language of pipelines: it parses expressions and evaluates them over values, the same
// way when a pipeline is compiled, when a job's condition is decided, and on an agent.
//
// It is pure: no clock, no file, no state. What an expression may name and call is said by whoever evaluates it.
// Hostile input is bounded: the length and depth of an expression, and the memory that evaluating it may take.
package expr

// Kind says what a Value is.
type Kind uint8

// The kinds of values.
const (
	KindNull Kind = iota
	KindBool
	KindNumber
	KindVersion
	KindString
	KindArray
	KindObject
)

// Value is a value of the language. The zero Value is null. Values are never changed.
type Value struct {
	kind   Kind
	number float64 // Bool: 0 or 1
	text   string  // String; Version as it was written
	items  []Value
	object *Object
}

// Object is a mapping that keeps its order; its keys differ in more than case.
type Object struct {
	keys   []string
	values map[string]Value // by the key in lower case
}
