package awsapi

import (
	"encoding/base64"
	"fmt"
	"math"
	"net/url"
	"reflect"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	maxParameters    = 10_000
	maxParameterName = 512 // bytes
)

// form is the parameters of a Query request, sorted by name, so that those of a structure or a list are next to each
// other, and no name is there twice.
type form []parameter

type parameter struct{ name, value string }

// parseForm reads a body or a query string. Errors: [malformed].
func parseForm(raw string) (form, error) {
	if n := strings.Count(raw, "&"); n >= maxParameters {
		return nil, &malformed{message: fmt.Sprintf("The form has more than %d parameters.", maxParameters)}
	}
	var f form
	for part := range strings.SplitSeq(raw, "&") {
		if part == "" {
			continue
		}
		rawName, rawValue, _ := strings.Cut(part, "=")
		name, err := url.QueryUnescape(rawName)
		if err != nil || strings.Contains(part, ";") { // some readers separate with it
			return nil, &malformed{message: fmt.Sprintf("The form is malformed at %.64q.", rawName)}
		}
		value, err := url.QueryUnescape(rawValue)
		switch {
		case len(name) > maxParameterName:
			return nil, &malformed{message: fmt.Sprintf("The name of the parameter %.64q is longer than %d bytes.", name, maxParameterName)}
		case err != nil:
			return nil, &malformed{message: fmt.Sprintf("The value of the parameter %.128q is not encoded as forms are.", name)}
		case !plainText(name) || !plainText(value):
			return nil, &malformed{message: fmt.Sprintf("The parameter %.128q is not text in UTF-8.", name)}
		}
		f = append(f, parameter{name, value})
	}
	slices.SortFunc(f, func(a, b parameter) int { return strings.Compare(a.name, b.name) })
	for i := range len(f) - 1 {
		if f[i].name == f[i+1].name {
			return nil, &malformed{message: fmt.Sprintf("The parameter %.128q is there twice.", f[i].name)}
		}
	}
	return f, nil
}

// plainText reports whether s is text: PostgreSQL, for one, has no character 0.
func plainText(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }

// get returns the value of a parameter, or "".
func (f form) get(name string) string {
	value, _ := f.lookup(name)
	return value
}

func (f form) lookup(name string) (value string, ok bool) {
	i, ok := slices.BinarySearchFunc(f, name, func(p parameter, name string) int { return strings.Compare(p.name, name) })
	if !ok {
		return "", false
	}
	return f[i].value, true
}

// below returns the parameters whose names start with prefix.
func (f form) below(prefix string) form {
	start := sort.Search(len(f), func(i int) bool { return f[i].name >= prefix })
	n := sort.Search(len(f)-start, func(i int) bool { return !strings.HasPrefix(f[start+i].name, prefix) })
	return f[start : start+n]
}

// decode fills the structure that in points at. Parameters that it has no member for are ignored, as SDKs newer than this
// server may send them; what a member can't be is an error that names the parameter: [*malformed].
func (f form) decode(in any) error { return f.structure("", reflect.ValueOf(in).Elem(), 0) }

// structure fills v from the parameters whose names start with prefix, which is "" or ends with a dot.
func (f form) structure(prefix string, v reflect.Value, depth int) error {
	if depth > maxDepth {
		return unreadable(prefix, "it is nested too deep")
	}
	t := v.Type()
	for i := range t.NumField() {
		field := t.Field(i)
		if !field.IsExported() {
			continue
		}
		name := prefix + field.Name
		// The SDK has all its names in capitals; on the wire a few members start with a small letter.
		if other := prefix + lowerFirst(field.Name); f.has(other) {
			if f.has(name) {
				return unreadable(name, "it is there twice")
			}
			name = other
		}
		if !f.has(name) {
			continue
		}
		if err := f.value(name, v.Field(i), depth); err != nil {
			return err
		}
	}
	return nil
}

// has reports whether a member was sent: it, or something in it.
func (f form) has(name string) bool {
	_, ok := f.lookup(name)
	return ok || len(f.below(name+".")) > 0
}

// value fills v from the parameter name and those in it, of which there is at least one.
func (f form) value(name string, v reflect.Value, depth int) error {
	t := v.Type()
	if t.Kind() == reflect.Pointer {
		v.Set(reflect.New(t.Elem()))
		v, t = v.Elem(), t.Elem()
	}
	if t.Kind() == reflect.Interface {
		return unreadable(name, "this server does not support it")
	}
	text, isSet := f.lookup(name)
	inside := f.below(name + ".")
	container := t.Kind() == reflect.Map || t.Kind() == reflect.Struct && t != timeType || t.Kind() == reflect.Slice && t != bytesType
	switch {
	case container && text != "":
		return unreadable(name, "a value is not expected here, but what is in it")
	case container && isSet && len(inside) > 0:
		return unreadable(name, "it is both empty and not")
	case !container && len(inside) > 0:
		return unreadable(inside[0].name, "start of a structure, list or map where a value is expected")
	case t.Kind() == reflect.Slice && container:
		return inside.list(name, v, depth)
	case t.Kind() == reflect.Map:
		return inside.mapping(name, v, depth)
	case container:
		return inside.structure(name+".", v, depth+1)
	}
	if err := scalar(text, v); err != "" {
		return unreadable(name, err)
	}
	return nil
}

var (
	timeType  = reflect.TypeFor[time.Time]()
	bytesType = reflect.TypeFor[[]byte]()
)

// list fills a slice from <name>.member.1 and so on. No parameters are an empty list: f has those in it alone.
func (f form) list(name string, v reflect.Value, depth int) error {
	n, err := f.count(name + ".member.")
	if err != nil {
		return err
	}
	v.Set(reflect.MakeSlice(v.Type(), n, n))
	for i := range n {
		if err := f.value(name+".member."+strconv.Itoa(i+1), v.Index(i), depth+1); err != nil {
			return err
		}
	}
	return nil
}

// mapping fills a map from <name>.entry.1.key, <name>.entry.1.value and so on.
func (f form) mapping(name string, v reflect.Value, depth int) error {
	n, err := f.count(name + ".entry.")
	if err != nil {
		return err
	}
	t := v.Type()
	v.Set(reflect.MakeMapWithSize(t, n))
	for i := range n {
		entry := name + ".entry." + strconv.Itoa(i+1)
		key, value := reflect.New(t.Key()).Elem(), reflect.New(t.Elem()).Elem()
		for part, to := range map[string]reflect.Value{".key": key, ".value": value} {
			if !f.has(entry + part) {
				return unreadable(entry, "an entry needs a key and a value")
			}
			if err := f.value(entry+part, to, depth+1); err != nil {
				return err
			}
		}
		if v.MapIndex(key).IsValid() {
			return unreadable(entry+".key", "the key is there twice")
		}
		v.SetMapIndex(key, value)
	}
	return nil
}

// count returns how many elements a list has whose parameters all start with prefix. They are numbered from 1 without
// gaps.
func (f form) count(prefix string) (int, error) {
	numbers := map[int]bool{}
	largest := 0
	for _, p := range f {
		rest, ok := strings.CutPrefix(p.name, prefix)
		digits, _, _ := strings.Cut(rest, ".")
		n, err := strconv.Atoi(digits)
		if !ok || err != nil || n < 1 || strconv.Itoa(n) != digits {
			return 0, unreadable(p.name, "expected "+prefix+"N, counted from 1")
		}
		numbers[n] = true
		largest = max(largest, n)
	}
	if largest > len(numbers) {
		return 0, unreadable(prefix+strconv.Itoa(largest), "others before it are missing")
	}
	return len(numbers), nil
}

// scalar fills v from text, and otherwise returns what text should be.
func scalar(text string, v reflect.Value) (problem string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		if text != "true" && text != "false" {
			return "it must be true or false"
		}
		v.SetBool(text == "true")
	case reflect.Int32, reflect.Int64:
		n, err := strconv.ParseInt(text, 10, v.Type().Bits())
		if err != nil || text[0] == '+' {
			return "it must be an integer of " + strconv.Itoa(v.Type().Bits()) + " bits"
		}
		v.SetInt(n)
	case reflect.Float32, reflect.Float64:
		n, err := parseFloat(text, v.Type().Bits())
		if err != nil {
			return "it must be a number"
		}
		v.SetFloat(n)
	case reflect.Slice:
		b, err := base64.StdEncoding.Strict().DecodeString(text)
		if err != nil {
			return "it must be base64"
		}
		v.SetBytes(b)
	default: // the only structure that is a value
		at, err := time.Parse(time.RFC3339, text)
		if at = at.UTC(); err != nil || at.Year() < 1 || at.Year() > 9999 {
			return "it must be a time such as 2006-01-02T15:04:05Z"
		}
		v.Set(reflect.ValueOf(at))
	}
	return ""
}

// parseFloat takes what the protocol calls numbers, which is less than Go does.
func parseFloat(text string, bits int) (float64, error) {
	switch text {
	case "NaN":
		return math.NaN(), nil
	case "Infinity":
		return math.Inf(1), nil
	case "-Infinity":
		return math.Inf(-1), nil
	}
	if strings.Trim(text, "0123456789+-.eE") != "" {
		return 0, strconv.ErrSyntax
	}
	return strconv.ParseFloat(text, bits)
}

func unreadable(parameter, problem string) error {
	return &malformed{message: fmt.Sprintf("The parameter %.200q can't be read: %s.", parameter, problem), input: true}
}
