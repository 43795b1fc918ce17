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
	// Sensitive values are not repeated in errors.
	Sensitive bool
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
		if m.Pattern != nil && !(strings.HasPrefix(m.Pattern.String(), "^(?:") && strings.HasSuffix(m.Pattern.String(), ")$")) {
			return nil, fmt.Errorf("%s: the pattern %s matches parts of a string: make it with Pattern", name, m.Pattern)
		}
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

// violation is a member that breaks a constraint.
type violation struct {
	path       string // as on the wire
	value      string // as errors show it; "" if they do not
	constraint string // in the words that most services share
	pattern    string // what the member does not match, where that is it
}

// maxViolations is how many of them an error names.
const maxViolations = 10

// broken adds what v breaks to found, up to maxViolations. prefix is the path of v with a dot, or "".
func (cs checks) broken(prefix string, v reflect.Value, found []violation) []violation {
	for i := range cs {
		found = cs[i].broken(prefix+cs[i].name, v.Field(cs[i].field), found)
	}
	return found
}

func (c *check) broken(path string, v reflect.Value, found []violation) []violation {
	if len(found) == maxViolations {
		return found
	}
	if c.absent(v) {
		if c.member.Required {
			found = append(found, violation{path: path, value: "null", constraint: "Member must not be null"})
		}
		return found
	}
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	constraint, pattern := c.member.broken(v)
	if c.enum != nil && !slices.Contains(c.enum, v.String()) {
		constraint = "Member must satisfy enum value set: [" + strings.Join(c.enum, ", ") + "]"
	}
	switch {
	case constraint != "":
		broken := violation{path: path, constraint: constraint, pattern: pattern}
		if !c.member.Sensitive {
			broken.value = valueText(v)
		}
		found = append(found, broken)
	case c.elements != nil:
		for i := range v.Len() {
			found = c.elements.broken(path+"."+strconv.Itoa(i+1)+".member", v.Index(i), found)
		}
	case c.members != nil:
		found = c.members.broken(path+".", v, found)
	}
	return found
}

// absent reports whether a member was not sent: the SDK has enumerations without a pointer.
func (c *check) absent(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Pointer, reflect.Slice:
		return v.IsNil()
	}
	return c.enum != nil && v.String() == ""
}

// broken returns the constraint that v breaks, and the pattern if it is that.
func (m *Member) broken(v reflect.Value) (constraint, pattern string) {
	if m.Min == 0 && m.Max == 0 && m.Pattern == nil {
		return "", ""
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
		return fmt.Sprintf("Member must have %s greater than or equal to %d", what, m.Min), ""
	case m.Max > 0 && n > m.Max:
		return fmt.Sprintf("Member must have %s less than or equal to %d", what, m.Max), ""
	case m.Pattern != nil && !m.Pattern.MatchString(v.String()):
		return "Member must satisfy regular expression pattern: " + m.PatternText(), m.PatternText()
	}
	return "", ""
}

// PatternText returns the pattern as the service's model has it, or "".
func (m *Member) PatternText() string {
	if m.Pattern == nil {
		return ""
	}
	text := strings.TrimSuffix(strings.TrimPrefix(m.Pattern.String(), "^(?:"), ")$")
	return goCodePoint.ReplaceAllString(text, `\u$1`)
}

// Pattern compiles a pattern of a model, which matches strings as a whole.
func Pattern(p string) *regexp.Regexp {
	return regexp.MustCompile("^(?:" + modelCodePoint.ReplaceAllString(p, `\x{$1}`) + ")$")
}

// Models write a code point in another way than Go.
var (
	modelCodePoint = regexp.MustCompile(`\\u([0-9A-Fa-f]{4})`)
	goCodePoint    = regexp.MustCompile(`\\x\{([0-9A-Fa-f]{4})\}`)
)

// maxShown is the longest value that an error repeats, in bytes.
const maxShown = 256

// valueText returns how errors show a value, or "" for those that they do not.
func valueText(v reflect.Value) string {
	text := ""
	switch v.Kind() {
	case reflect.String:
		text = "'" + v.String() + "'"
	case reflect.Int32, reflect.Int64:
		text = "'" + strconv.FormatInt(v.Int(), 10) + "'"
	case reflect.Slice:
		if k := v.Type().Elem().Kind(); k != reflect.String {
			return ""
		}
		var b strings.Builder
		for i := range v.Len() {
			if i > 0 {
				b.WriteString(", ")
			}
			if b.WriteString(v.Index(i).String()); b.Len() > maxShown {
				return ""
			}
		}
		text = "'[" + b.String() + "]'"
	}
	if len(text) > maxShown {
		return ""
	}
	return text
}

// validationError says what is wrong with an input as most services do.
func validationError(found []violation) error {
	plural := ""
	if len(found) != 1 {
		plural = "s"
	}
	b := fmt.Appendf(nil, "%d validation error%s detected: ", len(found), plural)
	for i, f := range found {
		if i > 0 {
			b = append(b, "; "...)
		}
		b = append(b, "Value "...)
		if f.value != "" {
			b = append(append(b, f.value...), ' ')
		}
		names := strings.Split(f.path, ".")
		for i := range names {
			names[i] = lowerFirst(names[i])
		}
		b = fmt.Appendf(b, "at '%s' failed to satisfy constraint: %s", strings.Join(names, "."), f.constraint)
	}
	return &invalidInput{string(b)}
}

func lowerFirst(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	if n == 0 {
		return s
	}
	return string(unicode.ToLower(r)) + s[n:]
}
