// Package expr is the expression language of pipelines: it parses expressions and evaluates them over values, the same
// way when a pipeline is compiled, when a job's condition is decided, and on an agent.
//
// It is pure: no clock, no file, no state. What an expression may name and call is said by whoever evaluates it.
// Hostile input is bounded: the length and depth of an expression, and the memory that evaluating it may take.
//
// Conversions, comparisons and error texts are those of Azure Pipelines; what the documentation leaves open is said
// where it is decided.
package expr

import (
	"strings"
	"time"
)

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
	KindDate // a point in time, such as pipeline.startTime; there is no literal for it
)

// String is the name of a kind as error messages have it.
func (k Kind) String() string {
	return [...]string{"Null", "Boolean", "Number", "Version", "String", "Array", "Object", "DateTime"}[k]
}

// Value is a value of the language. The zero Value is null. Values are never changed.
type Value struct {
	kind   Kind
	number float64 // Bool: 0 or 1; Number: as near as it gets
	text   string  // String; Number: its canonical decimal
	ref    any     // *list, *Object, version, time.Time
}

// list is behind a pointer because arrays are equal only to themselves.
type list struct {
	items    []Value
	filtered bool // made by *: an index goes to each item
}

// Null is the null value.
var Null Value

// Bool makes a boolean.
func Bool(b bool) Value {
	if b {
		return Value{kind: KindBool, number: 1}
	}
	return Value{kind: KindBool}
}

// Number makes a number. Numbers are decimals of 28 digits; one that isn't finite becomes 0.
func Number(f float64) Value { return number(decimalOf(f)) }

// String makes a string.
func String(s string) Value { return Value{kind: KindString, text: s} }

// Version makes a version from two to four numbers; ok is false for text that isn't one.
func Version(text string) (v Value, ok bool) {
	parsed, ok := parseVersion(text)
	if !ok {
		return Value{}, false
	}
	return Value{kind: KindVersion, ref: parsed}, true
}

// Date makes a point in time, in the time zone that t has.
func Date(t time.Time) Value { return Value{kind: KindDate, ref: t} }

// Array makes an array. The items must not be changed afterwards.
func Array(items []Value) Value { return Value{kind: KindArray, ref: &list{items: items}} }

// Strings makes an array of strings.
func Strings(items ...string) Value {
	values := make([]Value, len(items))
	for i, s := range items {
		values[i] = String(s)
	}
	return Array(values)
}

// FromObject makes a value of an object.
func FromObject(o *Object) Value {
	if o == nil {
		return Value{}
	}
	return Value{kind: KindObject, ref: o}
}

// Kind says what v is.
func (v Value) Kind() Kind { return v.kind }

// IsNull reports whether v is null.
func (v Value) IsNull() bool { return v.kind == KindNull }

// Items are the items of an array; nil for anything else.
func (v Value) Items() []Value {
	if l, ok := v.ref.(*list); ok {
		return l.items
	}
	return nil
}

// Object is the object; nil for anything else.
func (v Value) Object() *Object {
	o, _ := v.ref.(*Object)
	return o
}

// Time is the time of a date.
func (v Value) Time() (time.Time, bool) {
	t, ok := v.ref.(time.Time)
	return t, ok
}

// Get returns a property of an object, regardless of the key's case; null if there is none or v is no object.
func (v Value) Get(key string) Value {
	if o := v.Object(); o != nil {
		value, _ := o.Get(key)
		return value
	}
	return Value{}
}

// Object is a mapping that keeps its order; its keys differ in more than case.
type Object struct {
	keys   []string
	values map[string]Value // by the key in lower case
	lookup func(key string) (Value, bool)
	strict bool
}

// NewObject makes an empty object.
func NewObject() *Object { return &Object{values: map[string]Value{}} }

// NewLookup makes an object whose properties are found by a function, for mappings too big or too dear to spell out.
// It has no keys, so filters and convertToJson see it empty.
func NewLookup(lookup func(key string) (Value, bool)) *Object {
	return &Object{values: map[string]Value{}, lookup: lookup}
}

// Set sets a property. A key that differs from an earlier one only in case replaces its value and keeps its place.
// Objects that an expression may already see must not be changed.
func (o *Object) Set(key string, v Value) *Object {
	low := strings.ToLower(key)
	if _, ok := o.values[low]; !ok {
		o.keys = append(o.keys, key)
	}
	o.values[low] = v
	return o
}

// Strict makes asking for a missing property an error, where otherwise it is null.
func (o *Object) Strict() *Object {
	o.strict = true
	return o
}

// Get returns a property, regardless of the key's case.
func (o *Object) Get(key string) (Value, bool) {
	if v, ok := o.values[key]; ok { // most keys are asked for in lower case already
		return v, true
	}
	if v, ok := o.values[strings.ToLower(key)]; ok {
		return v, true
	}
	if o.lookup != nil {
		return o.lookup(key)
	}
	return Value{}, false
}

// Keys are the keys in their order, as they were written first.
func (o *Object) Keys() []string { return o.keys }

// Len is the number of properties.
func (o *Object) Len() int { return len(o.keys) }

// Values are the values in the order of the keys.
func (o *Object) Values() []Value {
	values := make([]Value, len(o.keys))
	for i, key := range o.keys {
		values[i] = o.values[strings.ToLower(key)]
	}
	return values
}
