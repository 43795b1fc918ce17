package yaml

import (
	"math"
	"strconv"
	"strings"
)

// Resolve says what a scalar is where the language takes types from a file: in values of parameters of type object, and
// in what an untyped parameter is given. A quoted scalar is a String, and so is an empty one. In lower case only, true and
// false are Bool and null is Null; ~, .inf and .nan are words.
func (n *Node) Resolve() Type {
	switch {
	case n.Kind != Scalar:
		return String
	case n.Type != String:
		return n.Type
	case n.Quoted:
		return String
	}
	return resolve(n.Value)
}

func resolve(s string) Type {
	switch {
	case s == "null":
		return Null
	case s == "true", s == "false":
		return Bool
	}
	if _, ok := Float(s); ok {
		return Number
	}
	return String
}

// Float is the number that a plain scalar is: decimal digits with an optional sign, point and exponent, or 0x and digits.
func Float(s string) (float64, bool) {
	digits := strings.TrimPrefix(s, "0x")
	if len(digits) != len(s) {
		v, err := strconv.ParseUint(digits, 16, 31)
		return float64(v), err == nil && !strings.ContainsAny(digits, "+-_")
	}
	if s == "" || strings.Trim(s, "0123456789+-.eE") != "" {
		return 0, false
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsInf(v, 0) {
		return 0, false
	}
	return v, true
}
