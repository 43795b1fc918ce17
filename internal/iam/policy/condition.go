package policy

import (
	"strings"
)

// operator is a comparison without its prefixes and suffixes.
type operator uint8

const (
	stringEquals operator = iota
	stringEqualsIgnoreCase
	stringLike
	numericEquals
	numericLessThan
	numericLessThanEquals
	numericGreaterThan
	numericGreaterThanEquals
	dateEquals
	dateLessThan
	dateLessThanEquals
	dateGreaterThan
	dateGreaterThanEquals
	boolEquals
	binaryEquals
	ipAddress
	arnLike // ArnEquals is the same
	isNull
)

// quantifier is how the values of a key with several are taken together.
type quantifier uint8

const (
	plain quantifier = iota
	forAllValues
	forAnyValue
)

// operatorNames has the operators in lower case, as their names are compared.
var operatorNames = map[string]struct {
	op     operator
	negate bool
}{
	"stringequals":              {stringEquals, false},
	"stringnotequals":           {stringEquals, true},
	"stringequalsignorecase":    {stringEqualsIgnoreCase, false},
	"stringnotequalsignorecase": {stringEqualsIgnoreCase, true},
	"stringlike":                {stringLike, false},
	"stringnotlike":             {stringLike, true},
	"numericequals":             {numericEquals, false},
	"numericnotequals":          {numericEquals, true},
	"numericlessthan":           {numericLessThan, false},
	"numericlessthanequals":     {numericLessThanEquals, false},
	"numericgreaterthan":        {numericGreaterThan, false},
	"numericgreaterthanequals":  {numericGreaterThanEquals, false},
	"dateequals":                {dateEquals, false},
	"datenotequals":             {dateEquals, true},
	"datelessthan":              {dateLessThan, false},
	"datelessthanequals":        {dateLessThanEquals, false},
	"dategreaterthan":           {dateGreaterThan, false},
	"dategreaterthanequals":     {dateGreaterThanEquals, false},
	"bool":                      {boolEquals, false},
	"binaryequals":              {binaryEquals, false},
	"ipaddress":                 {ipAddress, false},
	"notipaddress":              {ipAddress, true},
	"arnequals":                 {arnLike, false},
	"arnlike":                   {arnLike, false},
	"arnnotequals":              {arnLike, true},
	"arnnotlike":                {arnLike, true},
	"null":                      {isNull, false},
}

// condition is one key below one operator.
type condition struct {
	name       string // the operator as written
	op         operator
	negate     bool
	ifExists   bool
	quantifier quantifier
	key        key
	values     []operand
}

// parseOperator takes the name of an operator apart. Case does not count.
func parseOperator(name string) (c condition, ok bool) {
	c.name = name
	s := strings.ToLower(name)
	if before, after, found := strings.Cut(s, ":"); found {
		switch before {
		case "forallvalues":
			c.quantifier = forAllValues
		case "foranyvalue":
			c.quantifier = forAnyValue
		default:
			return c, false
		}
		s = after
	}
	s, c.ifExists = strings.CutSuffix(s, "ifexists")
	o, ok := operatorNames[s]
	c.op, c.negate = o.op, o.negate
	return c, ok && !(c.ifExists && c.op == isNull)
}

// match reports whether the condition holds ("IAM JSON policy elements:
// Condition operators" and "Multivalued context keys"). AWS says that keys with
// several values need a quantifier, not what comes of leaving it out; here
// such a condition holds in a Deny if it does for one of the values, and never in an Allow.
func (c *condition) match(e *evaluator, deny bool) bool {
	values, ok := e.values(&c.key)
	if c.op == isNull {
		for i := range c.values {
			if v := &c.values[i]; !v.invalid && v.bool != ok {
				return true
			}
		}
		return false
	}
	switch {
	case !ok && (c.ifExists && c.quantifier != forAnyValue || c.quantifier == forAllValues): // none of no values is one, IfExists or not
		return true
	case !ok:
		return c.negate && c.quantifier == plain
	case c.quantifier == plain && len(values) > 1 && !deny:
		return false
	case c.quantifier == forAllValues:
		for _, v := range values {
			if !c.matchValue(e, v, deny) {
				return false
			}
		}
		return true
	default:
		for _, v := range values {
			if c.matchValue(e, v, deny) {
				return true
			}
		}
		return false
	}
}

// matchValue reports whether one value of the request satisfies the operator:
// one of the policy's values equals it or, for negated operators, none does. A
// value of the policy that can't be read, or whose variable is not known, satisfies
// nothing. A value of the request that can't be read is equal to nothing, so it
// satisfies the negated operators of a Deny, which clients could else send nonsense
// to pass by, and those of an Allow not.
func (c *condition) matchValue(e *evaluator, v string, deny bool) bool {
	g, ok := c.parse(v)
	if !ok {
		return c.negate && deny
	}
	for i := range c.values {
		o := &c.values[i]
		if c.negate && (o.invalid || !o.known(e)) {
			return false
		}
		if c.compare(e, o, &g) {
			return !c.negate
		}
	}
	return c.negate
}
