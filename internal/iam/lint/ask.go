package lint

import (
	"encoding/json"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sekisho/sekisho/internal/iam/policy"
)

// asker tells whether conditions hold of a context, by the engine.
type asker struct {
	c *checker
	p policy.Policies
}

// newAsker compiles conditions. It returns nil if there are too many values to ask about.
func (c *checker) newAsker(tests []*test) *asker {
	condition := map[string]map[string][]string{}
	n := 0
	for _, t := range tests {
		keys := condition[t.Operator.Text]
		if keys == nil {
			keys = map[string][]string{}
			condition[t.Operator.Text] = keys
		}
		keys[t.Key.Text] = []string{}
		for _, v := range t.Values {
			keys[t.Key.Text] = append(keys[t.Key.Text], v.Text)
		}
		if n += len(t.Values); n > maxValues {
			return nil
		}
	}
	doc := map[string]any{"Statement": map[string]any{"Effect": "Allow", "Principal": "*", "Action": "*", "Condition": condition}}
	if c.variables {
		doc["Version"] = "2012-10-17"
	}
	text, err := json.Marshal(doc)
	if err != nil { // strings only: cannot fail
		return nil
	}
	p, err := policy.ParseLenient(text, policy.Resource)
	if err != nil {
		return nil
	}
	return &asker{c: c, p: policy.Policies{Resource: []policy.Named{{Policy: p}}}}
}

const maxValues = 300

// holds reports whether the conditions hold of a context. Without budget they do.
func (a *asker) holds(context policy.MapContext) bool {
	if a == nil || a.c.budget <= 0 {
		return true
	}
	a.c.budget--
	return policy.Decide(&policy.Request{Action: "x:x", Resource: "x", Context: context}, &a.p).Outcome == policy.Allowed
}

// candidates returns values of a key, of which some satisfy tests that can be satisfied, if complete is set.
func (c *checker) candidates(tests []*test) (values []string, complete bool) {
	spec := tests[0].spec
	if spec != nil && spec.only != nil {
		return spec.only, true
	}
	set := map[string]bool{}
	kinds := map[string]bool{}
	complete = true
	var numbers []float64
	for _, t := range tests {
		if t.op == "null" {
			continue
		}
		kinds[t.kind()] = true
		for _, v := range t.Values {
			if c.variables && strings.Contains(v.Text, "${") {
				complete = false
				continue
			}
			switch t.kind() {
			case "ipaddress":
				if p, ok := prefixOf(v.Text); ok {
					set[p.Addr().String()] = true
					if next := last(p).Next(); next.IsValid() {
						set[next.String()] = true
					}
				}
				set["0.0.0.0"], set["::"] = true, true
			case "numeric", "date":
				n, ok := moment(v.Text)
				if complete = complete && ok; ok {
					numbers = append(numbers, n)
				}
			case "bool":
				set["true"], set["false"] = true, true
			case "binaryequals":
				complete = false
			default:
				set[instance(v.Text, "", "0")], set[instance(v.Text, "x1", "0")] = true, true
				set[v.Text] = true
			}
		}
	}
	slices.Sort(numbers)
	for i, n := range numbers {
		set[decimal(n)], set[decimal(n-1)], set[decimal(n+1)] = true, true, true
		if i > 0 {
			set[decimal((n+numbers[i-1])/2)] = true
		}
	}
	if kinds["string"] || kinds["arn"] {
		set[fresh(spec)] = true
		complete = complete && len(kinds) == 1 && finite(tests)
	} else {
		complete = complete && len(kinds) <= 1
	}
	if len(kinds) == 0 { // Null alone
		set[fresh(spec)] = true
		complete = false
	}
	if len(set) > maxValues {
		return slices.Sorted(maps.Keys(set))[:maxValues], false
	}
	return slices.Sorted(maps.Keys(set)), complete
}

// finite reports whether tests on one key hold of the values that they list only, or of none at all.
func finite(tests []*test) bool {
	var denied []string // patterns
	for _, t := range tests {
		if t.negated && t.quantity == "" && (t.op == "stringlike" || t.kind() == "arn") {
			for _, v := range t.Values {
				denied = append(denied, v.Text)
			}
		}
	}
	for _, t := range tests {
		if t.negated || t.quantity != "" || t.op == "stringequalsignorecase" || t.op == "null" || len(t.Values) == 0 {
			continue
		}
		closed := true
		for _, v := range t.Values {
			open := wild(v.Text) && t.op != "stringequals"
			covered := slices.ContainsFunc(denied, func(d string) bool { return d == v.Text || t.op == "stringlike" && glob(d, v.Text, false) })
			closed = closed && (!open || covered)
		}
		if closed {
			return true
		}
	}
	return slices.ContainsFunc(denied, func(d string) bool { return d != "" && strings.Trim(d, "*") == "" })
}

// fresh returns a value of a key that nobody has named.
func fresh(spec *keySpec) string {
	if spec == nil {
		return "unnamed"
	}
	switch spec.form {
	case endpointID:
		return "vpce-0fedcba9876543210"
	case networkID:
		return "vpc-0fedcba9876543210"
	case organizationID:
		return "o-0unnamed000"
	case account:
		return "999999999999"
	case arn:
		return "arn:aws:iam::999999999999:role/unnamed"
	case boolean:
		return "true"
	case address:
		return "0.0.0.0"
	case principalType:
		return "User"
	case date, number:
		return "0"
	}
	return "unnamed"
}

// instance returns a string that matches a pattern.
func instance(pattern, many, one string) string {
	return strings.NewReplacer("*", many, "?", one).Replace(pattern)
}

// last returns the last address of a range.
func last(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// moment reads a number, or a time as seconds since 1970.
func moment(s string) (float64, bool) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04Z07:00", "2006-01-02"} {
		if t, err := time.Parse(layout, s); err == nil {
			return float64(t.Unix()), true
		}
	}
	n, err := strconv.ParseFloat(s, 64)
	return n, err == nil && n > -1e11 && n < 1e11 && len(s) != 4 // a year
}

func decimal(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) }
