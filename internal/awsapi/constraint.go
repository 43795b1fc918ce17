package awsapi

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Member is a constraint on a member of an input, as the service's model has it. Members whose type is an enumeration of
// the SDK are checked without one.
type Member struct {
	// Path names the member as it is on the wire, "imageIds[].imageTag" a member of the elements of a list. "tagKeys[]"
	// are the elements themselves.
	Path     string
	Required bool
	// Min and Max bound the characters of a string, the bytes of a blob, the elements of a list or the value of a number.
	// Max 0 is no bound.
	Min, Max int64
	// Pattern must match the whole of a string.
	Pattern *regexp.Regexp
}

// checks are the constraints on a structure.
type checks []check

type check struct {
	field    int
	name     string // on the wire
	member   Member
	elements *check // of a list
	members  checks // of a structure
	enum     []string
}

// compile resolves the paths of the constraints in a type and adds its enumerations.
func compile(t reflect.Type, members []Member) (checks, error) {
	byName := map[string][]Member{}
	for _, m := range members {
		head := m.Path
		if i := strings.IndexAny(m.Path, ".["); i >= 0 {
			head = m.Path[:i]
		}
		m.Path = m.Path[len(head):]
		byName[head] = append(byName[head], m)
	}
	var all checks
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() {
			continue
		}
		name := lowerFirst(f.Name)
		below, ok := byName[name]
		if !ok { // a few members are in capitals on the wire too
			name = f.Name
			below, ok = byName[name]
		}
		delete(byName, name)
		if !ok {
			name = lowerFirst(f.Name)
		}
		c, err := compileValue(f.Type, name, below)
		if err != nil {
			return nil, err
		}
		if c != nil {
			c.field = i
			all = append(all, *c)
		}
	}
	for name := range byName {
		return nil, fmt.Errorf("%v has no member %q", t, name)
	}
	return all, nil
}

// compileValue returns nil if there is nothing to check.
func compileValue(t reflect.Type, name string, members []Member) (*check, error) {
	c := &check{name: name}
	var below []Member // of what is within
	for _, m := range members {
		switch {
		case m.Path == "":
			c.member = m
		case strings.HasPrefix(m.Path, "[]"):
			m.Path = m.Path[len("[]"):]
			below = append(below, m)
		default:
			m.Path = m.Path[len("."):]
			below = append(below, m)
		}
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	var err error
	switch {
	case t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Uint8:
		c.elements, err = compileValue(t.Elem(), "member", below)
	case t.Kind() == reflect.Struct:
		c.members, err = compile(t, trimDots(below))
	case len(below) > 0:
		err = fmt.Errorf("%v has no members", t)
	default:
		c.enum = enumOf(t)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if c.member == (Member{}) && c.elements == nil && c.members == nil && c.enum == nil {
		return nil, nil
	}
	return c, nil
}

func trimDots(members []Member) []Member {
	for i := range members {
		members[i].Path = strings.TrimPrefix(members[i].Path, ".")
	}
	return members
}

// enumOf returns the values of an enumeration of the SDK, or nil for other types.
func enumOf(t reflect.Type) []string {
	method, ok := t.MethodByName("Values")
	if !ok || t.Kind() != reflect.String {
		return nil
	}
	var values []string
	for _, v := range method.Func.Call([]reflect.Value{reflect.Zero(t)})[0].Seq2() {
		values = append(values, v.String())
	}
	return values
}

// broken returns the first member that breaks a constraint, and which in AWS's words.
func (cs checks) broken(v reflect.Value) (member, constraint string) {
	for i := range cs {
		c := &cs[i]
		if member, constraint := c.broken(v.Field(c.field)); constraint != "" {
			return c.name + member, constraint
		}
	}
	return "", ""
}

// broken returns what is under c and breaks a constraint, as a path that follows c's name.
func (c *check) broken(v reflect.Value) (member, constraint string) {
	if c.absent(v) {
		if c.member.Required {
			return "", "Member must not be null"
		}
		return "", ""
	}
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if constraint := c.member.broken(v); constraint != "" {
		return "", constraint
	}
	switch {
	case c.enum != nil && !slices.Contains(c.enum, v.String()):
		return "", "Member must satisfy enum value set: [" + strings.Join(c.enum, ", ") + "]"
	case c.elements != nil:
		for i := range v.Len() {
			if member, constraint := c.elements.broken(v.Index(i)); constraint != "" {
				return "." + strconv.Itoa(i+1) + ".member" + member, constraint
			}
		}
	case c.members != nil:
		if member, constraint := c.members.broken(v); constraint != "" {
			return "." + member, constraint
		}
	}
	return "", ""
}

// absent reports whether a member was not sent: the SDK has enumerations without a pointer.
func (c *check) absent(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Pointer, reflect.Slice:
		return v.IsNil()
	}
	return c.enum != nil && v.String() == ""
}

func (m *Member) broken(v reflect.Value) string {
	if m.Min == 0 && m.Max == 0 && m.Pattern == nil {
		return ""
	}
	what, n := "length", int64(0)
	switch v.Kind() {
	case reflect.String:
		n = int64(utf8.RuneCountInString(v.String()))
	case reflect.Slice:
		n = int64(v.Len())
	default:
		what, n = "value", v.Int()
	}
	switch {
	case n < m.Min:
		return fmt.Sprintf("Member must have %s greater than or equal to %d", what, m.Min)
	case m.Max > 0 && n > m.Max:
		return fmt.Sprintf("Member must have %s less than or equal to %d", what, m.Max)
	case m.Pattern != nil && !m.Pattern.MatchString(v.String()):
		return "must satisfy regular expression '" + strings.TrimSuffix(strings.TrimPrefix(m.Pattern.String(), "^(?:"), ")$") + "'"
	}
	return ""
}

// Pattern compiles a pattern of a model, which matches strings as a whole.
func Pattern(p string) *regexp.Regexp { return regexp.MustCompile("^(?:" + p + ")$") }

func lowerFirst(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	if n == 0 {
		return s
	}
	return string(unicode.ToLower(r)) + s[n:]
}
