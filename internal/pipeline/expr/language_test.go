package expr

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestConversions(t *testing.T) {
	version, _ := Version("1.2.3")
	date := Date(time.Date(2024, 3, 9, 7, 5, 4, 0, time.FixedZone("", -5400)))
	for _, tt := range []struct {
		v      Value
		b      bool
		s      string // "!": there is none
		number string // "!": there is none
	}{
		{Null, false, "", "0"},
		{Bool(true), true, "True", "1"},
		{Bool(false), false, "False", "0"},
		{Number(0), false, "0", "0"},
		{Number(-1.5), true, "-1.5", "-1.5"},
		{Number(math.NaN()), false, "0", "0"},
		{Number(math.Inf(-1)), false, "0", "0"},
		{Number(1e15), true, "1000000000000000", "1e+15"},
		{Number(1e30), true, "1000000000000000000000000000000", "1e+30"},
		{Number(0.1), true, "0.1", "0.1"},
		{Number(1e-9), true, "0", "1e-09"},
		{Number(123456789.123456789), true, "123456789.1234568", "1.2345678912345679e+08"},
		{String(""), false, "", "0"},
		{String("x"), true, "x", "!"},
		{String("false"), true, "false", "!"},
		{String(" 12 "), true, " 12 ", "12"},
		{String("1,234.5"), true, "1,234.5", "1234.5"},
		{String(",1"), true, ",1", "!"},
		{String("1.2,3"), true, "1.2,3", "!"},
		{String("- 1"), true, "- 1", "!"},
		{String("+1"), true, "+1", "1"},
		{String("1-"), true, "1-", "!"},
		{String("(1)"), true, "(1)", "!"},
		{String("0x1F"), true, "0x1F", "!"},
		{String("1e3"), true, "1e3", "!"},
		{String("."), true, ".", "!"},
		{String("Infinity"), true, "Infinity", "!"},
		{String(strings.Repeat("9", 30)), true, strings.Repeat("9", 30), "!"},
		{String("0." + strings.Repeat("9", 100)), true, "0." + strings.Repeat("9", 100), "1"},
		{version, true, "1.2.3", "!"},
		{date, true, "2024-03-09 07:05:04-01:30", "!"},
		{Array(nil), true, "!", "!"},
		{FromObject(NewObject()), true, "!", "!"},
		{FromObject(nil), false, "", "0"},
	} {
		if tt.v.ToBool() != tt.b {
			t.Errorf("%v as a boolean: %v", tt.v, !tt.b)
		}
		s, err := tt.v.ToString()
		if err != nil {
			s = "!"
		}
		if s != tt.s {
			t.Errorf("%v as a string: %s, want %s", tt.v, s, tt.s)
		}
		n, err := tt.v.ToNumber()
		number := fmt.Sprint(n)
		if err != nil {
			number = "!"
		}
		if number != tt.number {
			t.Errorf("%v as a number: %s, want %s", tt.v, number, tt.number)
		}
	}
}

func TestVersions(t *testing.T) {
	for text, want := range map[string]string{
		"1.2": "1.2", "1.2.3.4": "1.2.3.4", "01.002": "1.2", " 1 . 2 ": "1.2", "2147483647.0": "2147483647.0",
		"1": "", "": "", "1.2.3.4.5": "", "1.": "", ".1": "", "1.-2": "", "1.x": "", "2147483648.0": "", "1._2": "", strings.Repeat("1.", 60): "",
	} {
		v, ok := Version(text)
		if s, _ := v.ToString(); ok != (want != "") || s != want {
			t.Errorf("%q: %q %v", text, s, ok)
		}
	}
}

func TestDates(t *testing.T) {
	for text, want := range map[string]string{
		"2024-03-09 07:05:04Z":            "2024-03-09T07:05:04Z",
		"2024/3/9T7:5:4":                  "2024-03-09T07:05:04Z",
		" 2024-03-09 07:05:04.5+01:30 ":   "2024-03-09T07:05:04.5+01:30",
		"2024-03-09 07:05:04.1234567-1:0": "2024-03-09T07:05:04.1234567-01:00",
		"2024-02-29 00:00:00Z":            "2024-02-29T00:00:00Z",
		"2023-02-29 00:00:00Z":            "",
		"2024-13-01 00:00:00Z":            "",
		"2024-01-01 24:00:00Z":            "",
		"2024-01-01":                      "",
		"2024-01/01 00:00:00":             "",
		"2024-01-01 00:00:00.12345678":    "",
		"2024-01-01 00:00:00+15:00":       "",
		"2024-01-01 00:00:00Zx":           "",
		"":                                "",
		"x":                               "",
		"0000-01-01 00:00:00":             "",
	} {
		got, ok := parseDate(text)
		if ok != (want != "") || ok && got.Format(time.RFC3339Nano) != want {
			t.Errorf("%q: %v %v", text, got, ok)
		}
	}
}

func TestObjects(t *testing.T) {
	o := NewObject().Set("Name", Number(1)).Set("other", Null).Set("NAME", Number(2))
	if d := cmp.Diff([]string{"Name", "other"}, o.Keys()); d != "" {
		t.Error(d)
	}
	if v, ok := o.Get("nAmE"); !ok || !Equal(v, Number(2)) || o.Len() != 2 || len(o.Values()) != 2 {
		t.Error(v, ok)
	}
	if v, ok := o.Get("other"); !ok || !v.IsNull() {
		t.Error("a null is not there")
	}
	if v, ok := o.Get("none"); ok || !v.IsNull() {
		t.Error("what is not there is")
	}
	l := NewLookup(func(key string) (Value, bool) { return String(key), key != "no" })
	if got := FromObject(l).Get("Key"); got.text != "Key" {
		t.Error(got)
	}
	if !Equal(FromObject(o), FromObject(o)) || Equal(FromObject(o), FromObject(NewObject())) {
		t.Error("an object equals itself alone")
	}
}

func TestJSON(t *testing.T) {
	version, _ := Version("1.2.3")
	o := NewObject().
		Set("this_is", FromObject(NewObject().Set("a_complex", String("object")).Set("with", Strings("one", "two")))).
		Set("empty", Array(nil)).Set("none", FromObject(NewObject())).Set("null", Null).Set("yes", Bool(true)).Set("n", Number(1.25)).
		Set("v", version).Set("text", String("é<&/\"\\\n\t\x01\u2028"))
	e, _ := Parse("convertToJson(o)")
	got, err := e.EvalString(&Context{Names: map[string]Value{"o": FromObject(o)}})
	if err != nil {
		t.Fatal(err)
	}
	want := `{
  "this_is": {
    "a_complex": "object",
    "with": [
      "one",
      "two"
    ]
  },
  "empty": [],
  "none": {},
  "null": null,
  "yes": true,
  "n": 1.25,
  "v": "1.2.3",
  "text": "é<&/\"\\\n\t\u0001\u2028"
}`
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for text, want := range map[string]string{"convertToJson('a')": `"a"`, "convertToJson(1)": "1", "convertToJson(true)": "true", "convertToJson(split('a', ','))": "[\n  \"a\"\n]"} {
		e, _ := Parse(text)
		if got, err := e.EvalString(nil); err != nil || got != want {
			t.Errorf("%s: %s %v", text, got, err)
		}
	}
}

func TestCheck(t *testing.T) {
	functions := map[string]Function{"succeeded": {Min: 0, Max: -1}, "one": {Min: 1, Max: 1}}
	for text, want := range map[string]string{
		"and(succeeded(), eq(Variables.x, 1))":  "",
		"SUCCEEDED('a')":                        "",
		"and(succeeded(), parameters.x, other)": "Unrecognized value: 'parameters'. Located at position 18 within expression: and(succeeded(), parameters.x, other)",
		"variable.x":                            "Unrecognized value: 'variable'. Located at position 1 within expression: variable.x. Did you mean variables?",
		"succeed()":                             "Unrecognized value: 'succeed'. Located at position 1 within expression: succeed(). Did you mean succeeded?",
		"one()":                                 "Unexpected symbol: ')'. Located at position 5 within expression: one(). The function one takes 1 argument",
		"one(1, 2)":                             "Unexpected symbol: ','. Located at position 6 within expression: one(1, 2). The function one takes 1 argument",
		"one":                                   "Expected '(' to follow a function: 'one'. Located at position 1 within expression: one",
		"variables":                             "",
		"variables()":                           "Unexpected symbol: '('. Located at position 10 within expression: variables()",
		"eq(1, variables variables)":            "Unexpected symbol: 'variables'. Located at position 17 within expression: eq(1, variables variables)",
		"eq(1, variables nope)":                 "Unexpected symbol: 'nope'. Located at position 17 within expression: eq(1, variables nope)",
		"eq('é😀', nope)":                        "Unrecognized value: 'nope'. Located at position 10 within expression: eq('é😀', nope)",
	} {
		e, err := Parse(text)
		if err == nil {
			err = e.Check([]string{"variables"}, functions)
		}
		if got := fmt.Sprint(err); err != nil && got != want || err == nil && want != "" {
			t.Errorf("%s\n got %v\nwant %s", text, err, want)
		}
	}
}

func TestWalk(t *testing.T) {
	e, err := Parse("and(Succeeded('A', x), eq(variables['a.b'].c, deps.*.x), f(a[b.c][1].d))")
	if err != nil {
		t.Fatal(err)
	}
	var calls []string
	for _, c := range e.Calls() {
		calls = append(calls, fmt.Sprintf("%s@%d/%d", c.Name, c.Offset, len(c.Args)))
	}
	if d := cmp.Diff([]string{"and@0/3", "Succeeded@4/2", "eq@23/2", "f@57/1"}, calls); d != "" {
		t.Error(d)
	}
	var refs []string
	for _, r := range e.References() {
		refs = append(refs, fmt.Sprintf("%s@%d %v", strings.Join(r.Path, "|"), r.Offset, r.Dynamic))
	}
	want := []string{"x@19 false", "variables|a.b|c@26 false", "deps@46 true", "a@59 true", "b|c@61 false"}
	if d := cmp.Diff(want, refs); d != "" {
		t.Error(d)
	}
	if got := e.Calls()[1].Args; got[0].text != "A" || !got[1].IsNull() {
		t.Error(got)
	}
}

func TestString(t *testing.T) {
	for text, want := range map[string]string{
		" and( true,eq( 'it''s' , variables [ 'a' ] ) ) ": "and(True, eq('it''s', variables.a))",
		"a['b c'][0].*['d']":                              "a['b c'][0].*.d",
		"a[*].b":                                          "a.*.b",
		"a['true']":                                       "a.true",
		"1.50":                                            "1.5",
		"1.2.03":                                          "1.2.3",
		"f(-0.0)":                                         "f(0)",
		"a['']":                                           "a['']",
	} {
		e, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := e.String(); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	e, _ := Parse("and(succeeded(), or(SUCCEEDED('a'), x))")
	if got := e.Replace("succeeded", "always"); got != "and(always(), or(always('a'), x))" || e.String() != "and(succeeded(), or(SUCCEEDED('a'), x))" {
		t.Error(got, e)
	}
}

func TestLimits(t *testing.T) {
	nested := func(n int) string { return strings.Repeat("not(", n) + "true" + strings.Repeat(")", n) }
	if _, err := Parse(nested(49)); err != nil {
		t.Error(err)
	}
	indexed := func(n int) string { return strings.Repeat("a[", n) + "0" + strings.Repeat("]", n) }
	if _, err := Parse(indexed(49)); err != nil {
		t.Error(err)
	}
	for _, text := range []string{nested(50), nested(60), indexed(50)} {
		if _, err := Parse(text); err == nil || err.Error() != "Exceeded max expression depth 50" {
			t.Error(err)
		}
	}
	if _, err := Parse("a" + strings.Repeat(".b", 5000)); err != nil {
		t.Error("what stands one after the other is not deep:", err)
	}
	if _, err := Parse("'" + strings.Repeat("é", MaxLength-2) + "'"); err != nil {
		t.Error(err)
	}
	if _, err := Parse("'" + strings.Repeat("x", MaxLength-1) + "'"); err == nil || err.Error() != "Exceeded max expression length 21000" {
		t.Error(err)
	}
	for _, text := range []string{"", "  ", "\n"} {
		if _, err := Parse(text); err == nil || err.Error() != "An expression is expected" {
			t.Error(err)
		}
	}
	if _, err := Parse("'\xff'"); err == nil {
		t.Error("it is not UTF-8")
	}

	big := String(strings.Repeat("x", 1<<16))
	var deep, wide Value
	for range 250 {
		deep = Array([]Value{deep})
	}
	wide = big
	for range 20 { // a million times big, if it were written out
		wide = Array([]Value{wide, wide, wide})
	}
	c := &Context{Limits: Limits{Memory: 1 << 20, Work: 1 << 24}, Names: map[string]Value{"big": big, "deep": deep, "wide": wide, "xs": Strings(strings.Split(strings.Repeat("x,", 10000), ",")...)}}
	for _, text := range []string{
		"replace(big, 'x', big)",
		"replace(big, 'x', '0123456789012345')",
		"format('" + strings.Repeat("{0}", 20) + "', big)",
		"join(big, xs)",
		"split(big, 'x')",
		"convertToJson(deep)",
		"convertToJson(wide)",
		"wide.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*",
		"and(" + strings.Repeat("upper(big), ", 40) + "1)",
		"in(1, " + strings.Repeat("big, ", 3000) + "1)",
		"or(" + strings.Repeat("contains(big, 'y'), ", 900) + "true)",
	} {
		e, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		v, err := e.Eval(c)
		if !errors.Is(err, ErrLimit) {
			t.Errorf("%.40s: %v %v", text, v.Kind(), err)
		}
	}
	e, _ := Parse("upper('abcdefghijklmnopqrstuvwxyz')")
	if _, err := e.Eval(&Context{Limits: Limits{Memory: 20}}); err == nil || !strings.HasPrefix(err.Error(),
		"The maximum allowed memory size was exceeded while evaluating the following expression: upper(") {
		t.Error(err)
	}
	e, _ = Parse("in('a', 'b', 'b', 'b', 'b', 'b', 'b', 'b', 'b')")
	if _, err := e.Eval(&Context{Limits: Limits{Work: 50}}); !errors.Is(err, ErrLimit) {
		t.Error(err)
	}
}

func TestMask(t *testing.T) {
	e, _ := Parse("gt(1, variables.secret)")
	c := testContext()
	c.Names["variables"] = FromObject(NewObject().Set("secret", String("hunter2")))
	c.Mask = func(string) string { return "***" }
	_, err := e.Eval(c)
	var convert *ConvertError
	if err == nil || strings.Contains(err.Error(), "hunter2") || !errors.As(err, &convert) || convert.From != KindString || convert.To != KindNumber {
		t.Error(err)
	}
}

// FuzzExpr parses, prints and evaluates: no panic, no hang, and what is printed means the same.
func FuzzExpr(f *testing.F) {
	for _, row := range strings.Split(evalRows, "\n") {
		if text, _, ok := strings.Cut(row, " => "); ok {
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		e, err := Parse(text)
		if err != nil {
			var syntax *SyntaxError
			if !errors.As(err, &syntax) || syntax.Offset < 0 || syntax.Offset > len([]rune(text)) {
				t.Errorf("%#v", err)
			}
			return
		}
		printed := e.String()
		again, err := Parse(printed)
		if err != nil && !strings.Contains(err.Error(), "length") {
			t.Fatalf("%q is printed as %q: %v", text, printed, err)
		}
		e.Calls()
		e.References()
		_ = e.Check([]string{"variables"}, nil)
		c := testContext()
		c.Limits = Limits{Memory: 1 << 20, Work: 1 << 22}
		v, err := e.Eval(c)
		if again == nil || errors.Is(err, ErrLimit) {
			return
		}
		if again.String() != printed {
			t.Fatalf("%q is printed as %q, and that as %q", text, printed, again.String())
		}
		w, err2 := again.Eval(c)
		if (err == nil) != (err2 == nil) || err == nil && show(v) != show(w) {
			t.Fatalf("%q is %s %v, %q is %s %v", text, show(v), err, printed, show(w), err2)
		}
	})
}
