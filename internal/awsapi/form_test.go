package awsapi

import (
	"errors"
	"fmt"
	"math"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

type fruit string

type inner struct {
	Key   *string
	Arn   *string
	Count *int32
	Again []inner
}

// everything has all that forms can carry.
type everything struct {
	Text    *string
	Fruit   fruit
	Fruits  []fruit
	Flag    bool
	Maybe   *bool
	Small   *int32
	Large   *int64
	Ratio   *float64
	Blob    []byte
	At      *time.Time
	Strings []string
	Inner   *inner
	List    []inner
	Map     map[string]string
	Numbers map[string]int32
	Deep    map[string]inner
	Lists   [][]string

	ResultMetadata struct{}
}

func TestForm(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, tt := range []struct {
		form string
		want everything
	}{
		{"", everything{}},
		{"Action=Do&Version=1&Unknown=x&X-Amz-Date=y&Texts=&Inne.Key=z", everything{}},
		{"Text=a%26b+c%C3%A9", everything{Text: new("a&b cé")}},
		{"Text=", everything{Text: new("")}},
		{"text=small", everything{Text: new("small")}},
		{"Fruit=kiwi&Fruits.member.1=a&Fruits.member.2=b", everything{Fruit: "kiwi", Fruits: []fruit{"a", "b"}}},
		{"Flag=true&Maybe=false", everything{Flag: true, Maybe: new(false)}},
		{"Small=-2147483648&Large=9223372036854775807", everything{Small: new(int32(math.MinInt32)), Large: new(int64(math.MaxInt64))}},
		{"Ratio=-1.5e3", everything{Ratio: new(-1500.0)}},
		{"Ratio=Infinity", everything{Ratio: new(math.Inf(1))}},
		{"Blob=AAH%2F", everything{Blob: []byte{0, 1, 255}}},
		{"Blob=", everything{Blob: []byte{}}},
		{"At=2026-01-02T03%3A04%3A05Z", everything{At: &at}},
		{"At=2026-01-02T05%3A04%3A05%2B02%3A00", everything{At: &at}},
		{"Strings=", everything{Strings: []string{}}},
		{"Strings.member.1=", everything{Strings: []string{""}}},
		{"Strings.member.2=b&Strings.member.1=a", everything{Strings: []string{"a", "b"}}},
		{"Strings.member.10=j&Strings.member.9=i&Strings.member.8=h&Strings.member.7=g&Strings.member.6=f&Strings.member.5=e" +
			"&Strings.member.4=d&Strings.member.3=c&Strings.member.2=b&Strings.member.1=a",
			everything{Strings: strings.Split("abcdefghij", "")}},
		{"Inner=", everything{Inner: &inner{}}},
		{"Inner.Key=k&Inner.arn=a&Inner.Other=x", everything{Inner: &inner{Key: new("k"), Arn: new("a")}}},
		{"List.member.1.Key=a&List.member.1.Count=3&List.member.2.Key=b",
			everything{List: []inner{{Key: new("a"), Count: new(int32(3))}, {Key: new("b")}}}},
		{"List.member.1.Again.member.1.Again.member.1.Key=x",
			everything{List: []inner{{Again: []inner{{Again: []inner{{Key: new("x")}}}}}}}},
		{"Map.entry.1.key=a&Map.entry.1.value=1&Map.entry.2.key=b.c&Map.entry.2.value=", everything{Map: map[string]string{"a": "1", "b.c": ""}}},
		{"Map=", everything{Map: map[string]string{}}},
		{"Numbers.entry.1.key=n&Numbers.entry.1.value=7", everything{Numbers: map[string]int32{"n": 7}}},
		{"Deep.entry.1.key=n&Deep.entry.1.value.Key=v", everything{Deep: map[string]inner{"n": {Key: new("v")}}}},
		{"Lists.member.1.member.1=a&Lists.member.2=", everything{Lists: [][]string{{"a"}, {}}}},
	} {
		f, err := parseForm(tt.form)
		if err != nil {
			t.Errorf("%s: %v", tt.form, err)
			continue
		}
		var got everything
		if err := f.decode(&got); err != nil {
			t.Errorf("%s: %v", tt.form, err)
			continue
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.form, diff)
		}
	}
}

func TestBadForm(t *testing.T) {
	var deep, many strings.Builder
	deep.WriteString("List.member.1")
	for range 40 {
		deep.WriteString(".Again.member.1")
	}
	for i := range maxParameters + 1 {
		fmt.Fprintf(&many, "Strings.member.%d=&", i+1)
	}
	for _, tt := range []struct {
		form  string
		input bool
		names string // what the error must name
	}{
		{"a%zz=1", false, "a%zz"},
		{"Text=%", false, "Text"},
		{"Text=a;b=c", false, "Text"},
		{"Text=%ff", false, "Text"},
		{"Text=a%00b", false, "Text"},
		{"Text=a&Text=b", false, "Text"},
		{"Text=a&Te%78t=a", false, "Text"},
		{strings.Repeat("n", 600) + "=1", false, "nnn"},
		{many.String(), false, "10000 parameters"},
		{"Text=a&text=b", true, "Text"},
		{"Text.member.1=a", true, "Text.member.1"},
		{"Strings=a", true, "Strings"},
		{"Strings=&Strings.member.1=a", true, "Strings"},
		{"Strings.1=a", true, "Strings.1"},
		{"Strings.member.0=a", true, "Strings.member.0"},
		{"Strings.member.01=a", true, "Strings.member.01"},
		{"Strings.member.-1=a", true, "Strings.member.-1"},
		{"Strings.member.x=a", true, "Strings.member.x"},
		{"Strings.member.1=a&Strings.member.3=c", true, "Strings.member.3"},
		{"Strings.member.4294967297=a", true, "Strings.member.4294967297"},
		{"Strings.member.99999999999999999999=a", true, "Strings.member.9999"},
		{"Strings.member.1.member.1=a", true, "Strings.member.1.member.1"},
		{"Map.entry.1.key=a", true, "Map.entry.1"},
		{"Map.entry.1.value=a", true, "Map.entry.1"},
		{"Map.entry.1.key=a&Map.entry.1.value=&Map.entry.2.key=a&Map.entry.2.value=", true, "Map.entry.2.key"},
		{"Map.member.1.key=a", true, "Map.member.1.key"},
		{"Inner=x", true, "Inner"},
		{"Inner=&Inner.Key=x", true, "Inner"},
		{"Inner.Count=two", true, "Inner.Count"},
		{"Flag=yes", true, "Flag"},
		{"Flag=", true, "Flag"},
		{"Small=2147483648", true, "Small"},
		{"Small=%2B1", true, "Small"},
		{"Small=1.0", true, "Small"},
		{"Small=", true, "Small"},
		{"Ratio=0x1p3", true, "Ratio"},
		{"Ratio=inf", true, "Ratio"},
		{"Blob=A", true, "Blob"},
		{"At=1767323045", true, "At"},
		{deep.String() + ".Key=x", false, "List.member"},
		{"List.member.1" + strings.Repeat(".Again.member.1", 30) + ".Key=x", true, "Again"},
	} {
		f, err := parseForm(tt.form)
		if err == nil {
			err = f.decode(new(everything))
		}
		e, ok := errors.AsType[*malformed](err)
		if !ok || e.input != tt.input || !strings.Contains(e.message, tt.names) {
			t.Errorf("%.80s: %v", tt.form, err)
		}
	}
}

// TestFormNamesNoValue makes sure that what may be a secret is not repeated.
func TestFormNamesNoValue(t *testing.T) {
	for _, form := range []string{"Small=hush", "Strings=hush", "Text=hush%zz", "Text=hush&Text=hush", "Text=hush%ff", "Blob=hush%21"} {
		f, err := parseForm(form)
		if err == nil {
			err = f.decode(new(everything))
		}
		if err == nil || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: %v", form, err)
		}
	}
}

// TestFormUnion has what newer clients may send and nothing here takes.
func TestFormUnion(t *testing.T) {
	f, err := parseForm("Unions.member.1.Arn=x")
	if err != nil {
		t.Fatal(err)
	}
	err = f.decode(new(struct{ Unions []any }))
	if err == nil || !strings.Contains(err.Error(), `"Unions.member.1"`) {
		t.Errorf("%v", err)
	}
}

// FuzzForm takes any form, and reads again what it has read.
func FuzzForm(f *testing.F) {
	for _, s := range []string{
		"Text=a&Fruits.member.1=b&Map.entry.1.key=k&Map.entry.1.value=v&Small=1&Flag=true",
		"List.member.1.Again.member.1.Key=x&Deep.entry.1.key=n&Deep.entry.1.value.Key=v&At=2026-01-02T03:04:05Z&Blob=AAE=",
		"Strings=&Map=&Inner=&Ratio=NaN", "Strings.member.2=b", "a=%zz", "text=1&Text=2", "Lists.member.1.member.1=a",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		form, err := parseForm(raw)
		if err != nil {
			return
		}
		var v everything
		if err := form.decode(&v); err != nil {
			return
		}
		values := url.Values{}
		encodeForm(values, "", reflect.ValueOf(v))
		again, err := parseForm(values.Encode())
		if err != nil {
			t.Fatal(err)
		}
		var w everything
		if err := again.decode(&w); err != nil {
			t.Fatalf("%v\n%s\n%s", err, raw, values.Encode())
		}
		nan := cmp.Comparer(func(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) })
		if diff := cmp.Diff(v, w, nan); diff != "" {
			t.Errorf("%s\n%s", values.Encode(), diff)
		}
	})
}

// encodeForm is how a client writes v.
func encodeForm(to url.Values, name string, v reflect.Value) {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return
		}
		v = v.Elem()
	}
	dot := strings.TrimPrefix(name+".", ".")
	switch {
	case v.Type() == timeType:
		to.Set(name, v.Interface().(time.Time).Format(time.RFC3339Nano))
	case v.Type() == bytesType:
		if !v.IsNil() {
			var x xmlWriter
			x.value("b", v)
			to.Set(name, strings.TrimSuffix(strings.TrimPrefix(x.String(), "<b>"), "</b>"))
		}
	case v.Kind() == reflect.Struct:
		n := len(to)
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() && f.Name != resultMetadata {
				encodeForm(to, dot+f.Name, v.Field(i))
			}
		}
		if len(to) == n && name != "" {
			to.Set(name, "")
		}
	case v.Kind() == reflect.Slice:
		if !v.IsNil() && v.Len() == 0 {
			to.Set(name, "")
		}
		for i := range v.Len() {
			encodeElement(to, fmt.Sprintf("%s.member.%d", name, i+1), v.Index(i))
		}
	case v.Kind() == reflect.Map:
		if !v.IsNil() && v.Len() == 0 {
			to.Set(name, "")
		}
		for i, key := range v.MapKeys() {
			to.Set(fmt.Sprintf("%s.entry.%d.key", name, i+1), key.String())
			encodeElement(to, fmt.Sprintf("%s.entry.%d.value", name, i+1), v.MapIndex(key))
		}
	case v.Kind() == reflect.Bool:
		to.Set(name, fmt.Sprint(v.Bool()))
	case v.Kind() == reflect.Float64:
		to.Set(name, formatFloat(v.Float(), 64))
	case v.Kind() == reflect.String && v.Type() == reflect.TypeFor[fruit]() && v.Len() == 0:
	default:
		to.Set(name, fmt.Sprint(v.Interface()))
	}
}

func encodeElement(to url.Values, name string, v reflect.Value) {
	if v.Kind() == reflect.String {
		to.Set(name, v.String())
		return
	}
	encodeForm(to, name, v)
}
