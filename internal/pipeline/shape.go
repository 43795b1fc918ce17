package pipeline

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/sekisho/sekisho/internal/pipeline/yaml"
)

// shape is what a value may look like: a text, a sequence, a mapping, or one of several of them. The alternatives differ
// by the kind of node; where several mappings are possible, their keys tell them apart.
type shape struct {
	text    *rule     // nil: no text
	items   *shape    // nil: no sequence
	objects []*object // none: no mapping
	any     bool      // whatever there is
}

// object is a mapping with known keys.
type object struct {
	name   string // as people call it: "job", "checkout step"
	keys   []key  // the first one is the first one to be written, if leads
	leads  bool
	old    bool   // not recommended to anybody
	values *shape // of other keys; nil: there must be none
}

type key struct {
	name     string
	value    *shape
	required bool
}

func (o *object) key(name string) *key {
	for i := range o.keys {
		if o.keys[i].name == name {
			return &o.keys[i]
		}
	}
	return nil
}

// rule is what a text must be.
type rule struct {
	says  string // "true or false"
	match func(string) bool
}

var (
	anyText  = &rule{}
	nonEmpty = &rule{"a text that isn't empty", func(s string) bool { return s != "" }}
	booleans = oneOf("true", "false", "yes", "no", "on", "off", "y", "n")
)

// oneOf is a text out of a few. The case of letters doesn't count: what an expression makes of a boolean is "True".
func oneOf(values ...string) *rule {
	says := strings.Join(values, ", ")
	if i := strings.LastIndex(says, ", "); i >= 0 {
		says = says[:i] + " or " + says[i+2:]
	}
	return &rule{says, func(s string) bool {
		return slices.ContainsFunc(values, func(v string) bool { return strings.EqualFold(v, s) })
	}}
}

func pattern(says, expression string) *rule {
	return &rule{says, regexp.MustCompile(expression).MatchString}
}

// isTrue is for texts that passed booleans.
func isTrue(s string) bool {
	switch strings.ToLower(s) {
	case "true", "yes", "on", "y":
		return true
	}
	return false
}

func scalar(r *rule) *shape             { return &shape{text: r} }
func listOf(items *shape) *shape        { return &shape{items: items} }
func mapping(objects ...*object) *shape { return &shape{objects: objects} }

// either is a shape with the alternatives of all.
func either(shapes ...*shape) *shape {
	all := &shape{}
	for _, s := range shapes {
		if s.text != nil {
			all.text = s.text
		}
		if s.items != nil {
			all.items = s.items
		}
		all.objects = append(all.objects, s.objects...)
	}
	return all
}

func optional(name string, value *shape) key  { return key{name: name, value: value} }
func mandatory(name string, value *shape) key { return key{name: name, value: value, required: true} }

// checker gathers what is wrong with a tree.
type checker struct{ errs []*yaml.Error }

func (c *checker) add(pos yaml.Pos, format string, args ...any) {
	c.errs = append(c.errs, &yaml.Error{Pos: pos, Message: fmt.Sprintf(format, args...)})
}

// full reports that there are as many errors as anybody will read; what follows is not looked at any more.
func (c *checker) full() bool { return len(c.errs) >= maxErrors }

// check compares a value with its shape.
func (c *checker) check(n *yaml.Node, s *shape) {
	if s.any || c.full() {
		return
	}
	switch n.Kind {
	case yaml.Scalar:
		switch {
		case s.text != nil:
			if s.text.match != nil && !s.text.match(n.Value) {
				c.add(n.Pos, "Unexpected value '%s'; expected %s", shorten(n.Value), s.text.says)
			}
		case n.Value == "":
			c.add(n.Pos, "Unexpected value ''; expected %s", s.expects())
		case len(s.objects) > 0 && s.items == nil:
			c.add(n.Pos, "Expected a mapping, not the text '%s'", shorten(n.Value))
		case s.items != nil && len(s.objects) == 0:
			c.add(n.Pos, "Expected a sequence, not the text '%s'", shorten(n.Value))
		default:
			c.add(n.Pos, "Unexpected value '%s'; expected %s", shorten(n.Value), s.expects())
		}
	case yaml.Sequence:
		if s.items == nil {
			c.add(n.Pos, "A sequence was not expected; expected %s", s.expects())
			return
		}
		for _, item := range n.Items {
			c.check(item, s.items)
		}
	case yaml.Mapping:
		if len(s.objects) == 0 {
			c.add(n.Pos, "A mapping was not expected; expected %s", s.expects())
			return
		}
		c.object(n, s.objects)
	}
}

// expects says what is expected.
func (s *shape) expects() string {
	var kinds []string
	if s.text != nil {
		if s.text.says != "" && s.text != nonEmpty {
			kinds = append(kinds, s.text.says)
		} else {
			kinds = append(kinds, "a text")
		}
	}
	if s.items != nil {
		kinds = append(kinds, "a sequence")
	}
	if len(s.objects) > 0 {
		kinds = append(kinds, "a mapping")
	}
	return strings.Join(kinds, " or ")
}

// object compares a mapping with the objects that it may be. Each key leaves those that have it.
func (c *checker) object(n *yaml.Node, objects []*object) {
	left := objects
	if objects[0].leads {
		left = c.led(n, objects)
		if left == nil {
			return
		}
	}
	for _, pair := range n.Pairs {
		if c.full() {
			return
		}
		name := pair.Key.Value
		var fit []*object
		for _, o := range left {
			if o.key(name) != nil {
				fit = append(fit, o)
			}
		}
		if len(fit) > 0 {
			left = fit
			c.check(pair.Value, fit[0].key(name).value)
			continue
		}
		if open := slices.IndexFunc(left, func(o *object) bool { return o.values != nil }); open >= 0 {
			left = left[open : open+1]
			c.check(pair.Value, left[0].values)
			continue
		}
		c.add(pair.Key.Pos, "Unexpected value '%s'%s", shorten(name), c.hint(n, name, left, objects))
	}
	c.missing(n, left)
}

// led returns the objects that begin with the first key, nil after an error.
func (c *checker) led(n *yaml.Node, objects []*object) []*object {
	var leads []string
	var led []*object
	for _, o := range objects {
		if len(n.Pairs) > 0 && o.keys[0].name == n.Pairs[0].Key.Value {
			led = append(led, o)
		}
		if !slices.Contains(leads, o.keys[0].name) {
			leads = append(leads, o.keys[0].name)
		}
	}
	if led != nil {
		return led
	}
	if len(n.Pairs) == 0 {
		c.add(n.Pos, "Unexpected empty mapping; it begins with %s", alternatives(leads))
		return nil
	}
	first := n.Pairs[0].Key
	for _, pair := range n.Pairs[1:] {
		if slices.Contains(leads, pair.Key.Value) {
			c.add(first.Pos, "Unexpected value '%s'; '%s' must be the first key here", shorten(first.Value), pair.Key.Value)
			return nil
		}
	}
	if hint := meant(first.Value, leads...); hint != "" {
		c.add(first.Pos, "Unexpected value '%s'%s", shorten(first.Value), hint)
	} else {
		c.add(first.Pos, "Unexpected value '%s'; the first key here is %s", shorten(first.Value), alternatives(leads))
	}
	return nil
}

// hint says what may have been meant by a key that is in none of the objects that are left.
func (c *checker) hint(n *yaml.Node, name string, left, all []*object) string {
	for _, o := range all {
		if o.key(name) == nil {
			continue
		}
		for _, pair := range n.Pairs { // what rules o out
			if o.key(pair.Key.Value) == nil && pair.Key.Value != name && slices.ContainsFunc(left, func(l *object) bool { return l.key(pair.Key.Value) != nil }) {
				return fmt.Sprintf("; it can't stand beside '%s'", pair.Key.Value)
			}
		}
	}
	var names []string
	for _, o := range left {
		for _, k := range o.keys {
			if n.Get(k.name) == nil {
				names = append(names, k.name)
			}
		}
	}
	return meant(name, names...)
}

// missing reports keys that are required and not there.
func (c *checker) missing(n *yaml.Node, left []*object) {
	if len(left) == 1 {
		for _, k := range left[0].keys {
			if k.required && n.Get(k.name) == nil {
				c.add(n.Pos, "Required property is missing: '%s'", k.name)
			}
		}
		return
	}
	var names []string
	for _, o := range left {
		for _, k := range o.keys {
			if !k.required || o.old && n.Get(k.name) == nil {
				continue
			}
			if n.Get(k.name) != nil {
				return
			}
			names = append(names, k.name)
		}
	}
	slices.Sort(names)
	if names = slices.Compact(names); len(names) > 0 {
		c.add(n.Pos, "Required property is missing: %s", alternatives(names))
	}
}

// alternatives is "'a', 'b' or 'c'".
func alternatives(names []string) string {
	text := ""
	for i, name := range names {
		switch {
		case i == 0:
		case i == len(names)-1:
			text += " or "
		default:
			text += ", "
		}
		text += "'" + name + "'"
	}
	return text
}

// nearest returns the name that differs least from s, "" if all differ much.
func nearest(s string, names []string) string {
	const long = 64
	if len(s) > long {
		return ""
	}
	best, least := "", 1+max(1, len(s)/3)
	for _, name := range names {
		if len(name)-len(s) >= least || len(s)-len(name) >= least {
			continue
		}
		d := distance(strings.ToLower(s), strings.ToLower(name))
		if len(s) > 2 && strings.HasPrefix(name, s) { // begun well
			d = 0
		}
		if d < least {
			best, least = name, d
		}
	}
	return best
}

// meant is a hint at the nearest of some names, "" if there is none.
func meant(s string, names ...string) string {
	if near := nearest(s, names); near != "" {
		return fmt.Sprintf("; did you mean '%s'?", near)
	}
	return ""
}

// distance is the number of letters to insert, delete, change, or swap with a neighbour.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			d := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(a)][len(b)]
}

// shorten makes a text fit for a message.
func shorten(s string) string {
	const most = 80
	line, _, more := strings.Cut(s, "\n")
	if r := []rune(line); len(r) > most {
		line, more = string(r[:most]), true
	}
	if more {
		line += "…"
	}
	return line
}
