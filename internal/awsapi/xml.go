package awsapi

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"time"
)

// xmlWriter writes elements whose names are known to need no escaping.
type xmlWriter struct{ bytes.Buffer }

func (x *xmlWriter) start(name, namespace string) {
	x.WriteString("<" + name)
	if namespace != "" {
		x.WriteString(` xmlns="` + namespace + `"`)
	}
	x.WriteByte('>')
}

func (x *xmlWriter) end(name string) { x.WriteString("</" + name + ">") }

func (x *xmlWriter) element(name, text string) {
	x.start(name, "")
	_ = xml.EscapeText(x, []byte(text)) // a buffer takes everything
	x.end(name)
}

// members writes the members of a structure that are there. The SDK has no pointer to those that AWS never leaves out.
func (x *xmlWriter) members(v reflect.Value) {
	t := v.Type()
	for i := range t.NumField() {
		if f := t.Field(i); f.IsExported() && f.Name != resultMetadata {
			x.value(f.Name, v.Field(i))
		}
	}
}

// value writes an element, or nothing for what is not there.
func (x *xmlWriter) value(name string, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		if v.IsNil() {
			return
		}
	}
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	} else if v.Kind() == reflect.String && v.Len() == 0 { // an enumeration
		return
	}
	switch v.Kind() {
	case reflect.String:
		x.element(name, v.String())
	case reflect.Bool:
		x.element(name, strconv.FormatBool(v.Bool()))
	case reflect.Int32, reflect.Int64:
		x.element(name, strconv.FormatInt(v.Int(), 10))
	case reflect.Float32, reflect.Float64:
		x.element(name, formatFloat(v.Float(), v.Type().Bits()))
	case reflect.Slice:
		if v.Type() == bytesType {
			x.element(name, base64.StdEncoding.EncodeToString(v.Bytes()))
			return
		}
		x.start(name, "")
		for i := range v.Len() {
			x.element1("member", v.Index(i))
		}
		x.end(name)
	case reflect.Map:
		x.start(name, "")
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return bytes.Compare([]byte(a.String()), []byte(b.String())) })
		for _, key := range keys {
			x.start("entry", "")
			x.element("key", key.String())
			x.element1("value", v.MapIndex(key))
			x.end("entry")
		}
		x.end(name)
	case reflect.Struct:
		if v.Type() == timeType {
			// Whole seconds, as the services give that speak this protocol.
			x.element(name, v.Interface().(time.Time).UTC().Format(time.RFC3339))
			return
		}
		x.start(name, "")
		x.members(v)
		x.end(name)
	}
}

// element1 writes an element of a list or a map, which is there even if it is empty.
func (x *xmlWriter) element1(name string, v reflect.Value) {
	if v.Kind() == reflect.String && v.Len() == 0 {
		x.element(name, "")
		return
	}
	x.value(name, v)
}

func formatFloat(f float64, bits int) string {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	}
	return strconv.FormatFloat(f, 'g', -1, bits)
}

// checkShape reports why values of a type can't be read from forms or written as XML. Unions, which the SDK has as
// interfaces, are refused where they are sent and can't be answered with. open has the structures that t is in.
func checkShape(t reflect.Type, answer bool, open ...reflect.Type) error {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice:
		if t == bytesType {
			return nil
		}
		return checkShape(t.Elem(), answer, open...)
	case reflect.Map:
		if t.Key().Kind() != reflect.String {
			return fmt.Errorf("the keys of %v are not strings", t)
		}
		return checkShape(t.Elem(), answer, open...)
	case reflect.String, reflect.Bool, reflect.Int32, reflect.Int64, reflect.Float32, reflect.Float64:
		return nil
	case reflect.Interface:
		if !answer {
			return nil
		}
	case reflect.Struct:
		if t == timeType || slices.Contains(open, t) {
			return nil
		}
		for i := range t.NumField() {
			f := t.Field(i)
			if !f.IsExported() || f.Name == resultMetadata {
				continue
			}
			if err := checkShape(f.Type, answer, append(open, t)...); err != nil {
				return fmt.Errorf("%v.%s: %w", t, f.Name, err)
			}
		}
		return nil
	}
	return fmt.Errorf("%v is not supported", t)
}
