package api

import (
	"bytes"
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode"
)

// Marshal returns a value as answers have it, for programs that print what they were answered.
func Marshal(v any) ([]byte, error) { return encode(v) }

// encode writes a value as JSON, with the names of fields as JSON has them: projectId for ProjectID. The types of the domain
// know nothing of that. Tags count where there are any, as for encoding/json; so do its marshalers. Reading needs nothing of
// this kind, as encoding/json compares names without regard to case.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	if err := encodeValue(&b, reflect.ValueOf(v)); err != nil {
		return nil, err
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

var (
	jsonMarshaler = reflect.TypeFor[json.Marshaler]()
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
)

func encodeValue(b *bytes.Buffer, v reflect.Value) error {
	if !v.IsValid() {
		b.WriteString("null")
		return nil
	}
	if t := v.Type(); t.Implements(jsonMarshaler) || t.Implements(textMarshaler) {
		return encodeStandard(b, v)
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			b.WriteString("null")
			return nil
		}
		return encodeValue(b, v.Elem())
	case reflect.Struct:
		return encodeStruct(b, v)
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return encodeStandard(b, v)
		}
		return encodeList(b, v) // an empty one, not null: callers go over it
	case reflect.Array:
		return encodeList(b, v)
	case reflect.Map:
		return encodeMap(b, v)
	}
	return encodeStandard(b, v)
}

func encodeStandard(b *bytes.Buffer, v reflect.Value) error {
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v.Interface()); err != nil {
		return err
	}
	b.Truncate(b.Len() - 1) // the end of the line
	return nil
}

func encodeList(b *bytes.Buffer, v reflect.Value) error {
	b.WriteByte('[')
	for i := range v.Len() {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := encodeValue(b, v.Index(i)); err != nil {
			return err
		}
	}
	b.WriteByte(']')
	return nil
}

func encodeMap(b *bytes.Buffer, v reflect.Value) error {
	if v.Type().Key().Kind() != reflect.String {
		return fmt.Errorf("api: %s can't be an object of JSON", v.Type())
	}
	keys := v.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
	b.WriteByte('{')
	for i, k := range keys {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := encodeStandard(b, reflect.ValueOf(k.String())); err != nil {
			return err
		}
		b.WriteByte(':')
		if err := encodeValue(b, v.MapIndex(k)); err != nil {
			return err
		}
	}
	b.WriteByte('}')
	return nil
}

func encodeStruct(b *bytes.Buffer, v reflect.Value) error {
	b.WriteByte('{')
	first := true
	for _, f := range reflect.VisibleFields(v.Type()) {
		if f.Anonymous && isStruct(f.Type) || !f.IsExported() {
			continue // what is embedded has fields of its own here
		}
		field, err := v.FieldByIndexErr(f.Index)
		if err != nil { // of an embedded pointer that is nil
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" || strings.Contains(options, "omitempty") && isEmpty(field) || strings.Contains(options, "omitzero") && field.IsZero() {
			continue
		}
		if name == "" {
			name = lowerCamel(f.Name)
		}
		if !first {
			b.WriteByte(',')
		}
		first = false
		if err := encodeStandard(b, reflect.ValueOf(name)); err != nil {
			return err
		}
		b.WriteByte(':')
		if err := encodeValue(b, field); err != nil {
			return err
		}
	}
	b.WriteByte('}')
	return nil
}

func isStruct(t reflect.Type) bool {
	return t.Kind() == reflect.Struct || t.Kind() == reflect.Pointer && t.Elem().Kind() == reflect.Struct
}

func isEmpty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Array, reflect.Map, reflect.Slice, reflect.String:
		return v.Len() == 0
	case reflect.Struct:
		return false
	}
	return v.IsZero()
}

// lowerCamel makes a name of JSON of one of Go: ID is id, ProjectID projectId, URLs urls.
func lowerCamel(name string) string {
	r := []rune(name)
	out := make([]rune, len(r))
	for i, c := range r {
		// A capital stays if it begins a word: after a small letter, or before one.
		begins := i > 0 && (!unicode.IsUpper(r[i-1]) || i+1 < len(r) && unicode.IsLower(r[i+1]) && !plural(r[i+1:]))
		if out[i] = c; !begins {
			out[i] = unicode.ToLower(c)
		}
	}
	return string(out)
}

// plural reports whether an abbreviation ends here in the s of a plural.
func plural(rest []rune) bool {
	return rest[0] == 's' && (len(rest) == 1 || unicode.IsUpper(rest[1]))
}
