package policy

import (
	"bytes"
	"encoding/base64"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// operand is a value of a condition, of the policy or of the request, as its operator reads it.
type operand struct {
	source  string
	invalid bool // equals nothing
	pattern pattern
	arn     []pattern // the six segments
	number  float64
	time    time.Time
	bool    bool
	prefix  netip.Prefix
	binary  []byte
}

// given is a value of the request as an operator reads it.
type given struct {
	text   string
	number float64
	time   time.Time
	addr   netip.Addr
}

// newOperand compiles a value of a policy and says what is wrong with it.
func (c *condition) newOperand(s string, variables bool) (operand, string) {
	o := operand{source: s}
	x := syntax{variables: variables}
	var ok bool
	switch c.op {
	case stringEquals, stringEqualsIgnoreCase, stringLike:
		x.wildcards = c.op == stringLike
		tokens, problem := tokenize(s, x)
		if problem != "" {
			o.invalid = true
			return o, problem
		}
		o.pattern = newPattern(s, tokens, c.op == stringEqualsIgnoreCase)
		return o, ""
	case arnLike:
		x.wildcards = true
		tokens, problem := tokenize(s, x)
		if problem != "" {
			o.invalid = true
			return o, problem
		}
		o.arn, ok = segments(tokens)
		o.pattern = newPattern(s, tokens, false)
		if !ok && !o.pattern.any() {
			o.invalid = true
			return o, "an ARN has six parts with colons between them, like arn:aws:iam::111122223333:role/name"
		}
		return o, ""
	case numericEquals, numericLessThan, numericLessThanEquals, numericGreaterThan, numericGreaterThanEquals:
		if o.number, ok = parseNumber(s); !ok {
			o.invalid = true
			return o, "this is no number"
		}
	case dateEquals, dateLessThan, dateLessThanEquals, dateGreaterThan, dateGreaterThanEquals:
		if o.time, ok = parseTime(s); !ok {
			o.invalid = true
			return o, "this is no date; write 2026-01-31T12:00:00Z, or seconds since 1970"
		}
	case boolEquals, isNull:
		o.bool = strings.EqualFold(s, "true")
		if !o.bool && !strings.EqualFold(s, "false") {
			o.invalid = true
			return o, "write true or false"
		}
	case binaryEquals:
		var err error
		if o.binary, err = base64.StdEncoding.DecodeString(s); err != nil {
			o.invalid = true
			return o, "this is no base64"
		}
	case ipAddress:
		if o.prefix, ok = parsePrefix(s); !ok {
			o.invalid = true
			return o, "this is no address range; write 203.0.113.0/24 or 2001:db8::/32"
		}
	}
	return o, ""
}

// segments splits the pattern of an ARN at its first five colons.
func segments(tokens []token) ([]pattern, bool) {
	parts := make([][]token, 1, 6)
	for _, t := range tokens {
		for t.kind == literal && len(parts) < 6 {
			before, after, found := strings.Cut(t.text, ":")
			if !found {
				break
			}
			if before != "" {
				parts[len(parts)-1] = append(parts[len(parts)-1], token{kind: literal, text: before})
			}
			parts = append(parts, nil)
			t.text = after
		}
		if t.kind != literal || t.text != "" {
			parts[len(parts)-1] = append(parts[len(parts)-1], t)
		}
	}
	patterns := make([]pattern, len(parts))
	for i, part := range parts {
		patterns[i] = newPattern("", part, false)
	}
	return patterns, len(parts) == 6
}

// parse reads a value of the request.
func (c *condition) parse(s string) (g given, ok bool) {
	g.text = s
	switch c.op {
	case numericEquals, numericLessThan, numericLessThanEquals, numericGreaterThan, numericGreaterThanEquals:
		g.number, ok = parseNumber(s)
	case dateEquals, dateLessThan, dateLessThanEquals, dateGreaterThan, dateGreaterThanEquals:
		g.time, ok = parseTime(s)
	case ipAddress:
		g.addr, ok = parseAddr(s)
	case arnLike:
		ok = strings.Count(s, ":") >= 5
	default:
		ok = true
	}
	return g, ok
}

// known reports whether every variable of the value has a value.
func (o *operand) known(e *evaluator) bool {
	return o.pattern.known(e)
}

// compare reports whether a value of the request compares as the operator,
// leaving out its negation, says.
func (c *condition) compare(e *evaluator, o *operand, g *given) bool {
	if o.invalid {
		return false
	}
	switch c.op {
	case stringEquals, stringEqualsIgnoreCase, stringLike:
		return o.pattern.match(e, g.text)
	case numericEquals:
		return g.number == o.number
	case numericLessThan:
		return g.number < o.number
	case numericLessThanEquals:
		return g.number <= o.number
	case numericGreaterThan:
		return g.number > o.number
	case numericGreaterThanEquals:
		return g.number >= o.number
	case dateEquals:
		return g.time.Equal(o.time)
	case dateLessThan:
		return g.time.Before(o.time)
	case dateLessThanEquals:
		return !g.time.After(o.time)
	case dateGreaterThan:
		return g.time.After(o.time)
	case dateGreaterThanEquals:
		return !g.time.Before(o.time)
	case boolEquals:
		if o.bool {
			return strings.EqualFold(g.text, "true")
		}
		return strings.EqualFold(g.text, "false")
	case binaryEquals:
		var buf [256]byte
		if base64.StdEncoding.DecodedLen(len(g.text)) > len(buf) {
			decoded, err := base64.StdEncoding.DecodeString(g.text)
			return err == nil && bytes.Equal(decoded, o.binary)
		}
		n, err := base64.StdEncoding.Decode(buf[:], []byte(g.text))
		return err == nil && bytes.Equal(buf[:n], o.binary)
	case ipAddress:
		return o.prefix.Contains(g.addr)
	case arnLike:
		return o.matchARN(e, g.text)
	}
	return false
}

// matchARN compares segment by segment: no wildcard reaches over one of the first five colons.
func (o *operand) matchARN(e *evaluator, s string) bool {
	if len(o.arn) < 6 {
		return o.pattern.any()
	}
	for i := range o.arn {
		part := s
		if i < 5 {
			var ok bool
			if part, s, ok = strings.Cut(s, ":"); !ok {
				return false
			}
		}
		if !o.arn[i].match(e, part) {
			return false
		}
	}
	return true
}

// parseNumber parses an integer or a decimal number.
func parseNumber(s string) (float64, bool) {
	if s == "" || strings.Trim(s, "+-.0123456789eE") != "" {
		return 0, false
	}
	v, err := strconv.ParseFloat(s, 64)
	return v, err == nil
}

// dateLayouts are the forms of ISO 8601 in "Date and Time Formats" of the W3C,
// to which the page of the condition operators refers.
var dateLayouts = [...]string{
	"2006-01-02T15:04:05Z07:00", "2006-01-02T15:04Z07:00", "2006-01-02", "2006-01", "2006-01-02T15:04:05", "2006-01-02T15:04",
	"20060102T150405Z",
}

// parseTime parses a date, or seconds since 1970.
func parseTime(s string) (time.Time, bool) {
	if v, ok := parseNumber(s); ok && strings.Trim(s, "+.0123456789") == "" && (len(s) != 4) {
		if v > 1e14 {
			return time.Time{}, false
		}
		if v > 1e11 { // no year that a policy means: milliseconds
			v /= 1000
		}
		whole := int64(v)
		return time.Unix(whole, int64((v-float64(whole))*1e9)).UTC(), true
	}
	if len(s) == 4 {
		if v, err := strconv.Atoi(s); err == nil && v > 0 {
			return time.Date(v, 1, 1, 0, 0, 0, 0, time.UTC), true
		}
	}
	for _, layout := range dateLayouts {
		if len(s) < len(layout)-5 {
			continue
		}
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// parsePrefix parses a range of addresses, or one address.
func parsePrefix(s string) (netip.Prefix, bool) {
	if !strings.Contains(s, "/") {
		a, ok := parseAddr(s)
		if !ok {
			return netip.Prefix{}, false
		}
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, false
	}
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), true
}

func parseAddr(s string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return netip.Addr{}, false
	}
	return a.Unmap(), true
}
