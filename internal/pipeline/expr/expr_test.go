package expr

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// testContext is what the rows of the tables may name.
func testContext() *Context {
	nested := NewObject().Set("id", Number(1)).Set("name", String("one")).Set("tags", Strings("x", "y"))
	second := NewObject().Set("id", Number(2)).Set("name", String("two")).Set("tags", Strings("z"))
	third := NewObject().Set("ID", Number(3))
	variables := NewObject().Set("A", String("ABC")).Set("a.b", String("dotted")).Set("empty", String("")).
		Set("n", String("123")).Set("Build.SourceBranch", String("refs/heads/main"))
	return &Context{
		Names: map[string]Value{
			"variables":  FromObject(variables),
			"foo":        Array([]Value{FromObject(nested), FromObject(second), FromObject(third)}),
			"object":     FromObject(NewObject().Set("x", FromObject(nested)).Set("y", FromObject(second)).Set("flag", Bool(true))),
			"parameters": FromObject(NewObject().Set("list", Strings("FOO", "BAR", "ZOO")).Set("none", Null).Set("t", Bool(true)).Strict()),
			"pipeline":   FromObject(NewObject().Set("startTime", Date(time.Date(2024, 3, 9, 7, 5, 4, 120_000_000, time.UTC)))),
		},
		Functions: map[string]Function{
			"succeeded": {Min: 0, Max: -1, Call: func(args []Value) (Value, error) { return Bool(len(args) == 0), nil }},
			"boom":      {Min: 0, Max: 1, Call: func([]Value) (Value, error) { return Null, errors.New("boom was called") }},
		},
	}
}

func show(v Value) string {
	switch v.Kind() {
	case KindArray:
		var parts []string
		for _, item := range v.Items() {
			parts = append(parts, show(item))
		}
		return "[" + strings.Join(parts, ",") + "]"
	case KindObject:
		return "{" + strings.Join(v.Object().Keys(), ",") + "}"
	case KindNull:
		return "null"
	case KindString:
		return quote(v.text)
	}
	s, _ := v.ToString()
	return s
}

func TestEval(t *testing.T) {
	for _, row := range strings.Split(strings.TrimSpace(evalRows), "\n") {
		if row == "" || strings.HasPrefix(row, "#") {
			continue
		}
		text, want, ok := strings.Cut(row, " => ")
		if !ok {
			t.Fatalf("row %q", row)
		}
		text, want = strings.TrimSpace(text), strings.TrimSpace(want)
		e, err := Parse(text)
		got := ""
		if err == nil {
			var v Value
			if v, err = e.Eval(testContext()); err == nil {
				got = show(v)
			}
		}
		if err != nil {
			got = "! " + err.Error()
			if strings.HasPrefix(want, "! ") && strings.Contains(got, want[2:]) {
				continue
			}
		}
		if got != want {
			t.Errorf("%s\n got %s\nwant %s", text, got, want)
		}
	}
}

const evalRows = `
# literals
true => True
TRUE => True
False => False
1 => 1
-1.50 => -1.5
.5 => 0.5
5. => 5
007 => 7
-0 => 0
45700000000000000000000000000 => 45700000000000000000000000000
79228162514264337593543950335 => 79228162514264337593543950335
1.00000005 => 1.0000001
1.00000004 => 1
-1.00000005 => -1.0000001
0.00000001 => 0
1.2.3 => 1.2.3
1.2.4.05 => 1.2.4.5
'' => ''
'It''s OK' => 'It''s OK'
'  a b ' => '  a b '
# casting
eq(true, 'false') => True
eq('true', true) => True
eq('false', false) => True
eq(false, '') => True
eq(false, 0) => True
eq(1, true) => True
eq(2, true) => False
eq(1, '1') => True
eq(1, ' 1 ') => True
eq(1, '1.0') => True
eq(1000, '1,000') => True
eq(1, 'x') => False
eq(0, '') => True
eq(0, ' ') => False
eq('1', 1.0) => True
eq('1.0', 1) => False
eq('ABC', 'abc') => True
eq('é', 'É') => True
eq('', variables.none) => True
eq(variables.none, '') => True
eq(variables.none, 0) => False
eq(variables.none, false) => False
eq(variables.none, variables.other) => True
eq(false, variables.none) => True
eq(0, variables.none) => True
eq(1.2.3, '1.2.3') => True
eq('1.2.3', 1.2.3) => True
eq(1.2.0, '1.2') => False
eq(1.2.3, 'x') => False
eq(1.2, '1.20') => True
eq(foo, foo) => True
eq(foo, object) => False
eq(foo[0], object.x) => True
eq(foo, 'x') => False
eq('x', foo) => False
eq(split('a', ','), split('a', ',')) => False
eq(79228162514264337593543950335, 79228162514264337593543950334) => False
ne(1, 2) => True
ne('a', 'A') => False
ne(1, 'x') => True
# comparing
ge(1.0.0, 0.9.9.9) => True
gt(1.0.0, 0.9.9.9) => True
le(0.9.9.9, 1.0.0) => True
lt(0.9.9.9, 1.0.0) => True
lt(1.2.3, 1.2.3.0) => True
lt(1.2.3, '1.10.0') => True
lt('1.2.3', '1.10.0') => False
gt(1.2.3, 1.1) => True
gt(1.2.3, 1) => ! Unable to convert from Number to Version. Value: 1
lt(False, True) => True
lt(True, False) => False
ge(5, 5) => True
gt(5, 2) => True
le(2, 2) => True
lt(2, 5) => True
lt(2, '10') => True
lt('2', 10) => False
lt('a', 'B') => True
gt(5, 'x') => ! Unable to convert from String to Number. Value: 'x'. Located at position 1 within expression: gt(5, 'x')
gt('x', foo) => ! Unable to convert from Array to String. Value: Array
lt(variables.none, 1) => True
lt(foo, 1) => ! Unable to convert from Array to Number
lt(1, foo) => ! Unable to convert from Array to Number
lt(pipeline.startTime, '2024-03-09 07:05:05Z') => True
gt(pipeline.startTime, '2024/3/9T07:05:04.11Z') => True
eq(pipeline.startTime, '2024-03-09 08:05:04.12+01:00') => True
eq(pipeline.startTime, 'x') => False
lt(pipeline.startTime, 'x') => ! Unable to convert from String to DateTime
# logic
and(true, true) => True
and(true, false) => False
and(false, boom()) => False
and(true, boom()) => ! boom was called. Located at position 11 within expression: and(true, boom())
and(1, 'x', true) => True
AND(true, TRUE) => True
or(false, false) => False
or(true, boom()) => True
or('', 0) => False
or('False', 0) => True
not(true) => False
not('') => True
not(variables.none) => True
not(0.0.0.0) => False
xor(true, false) => True
xor(true, true) => False
xor('a', '') => True
in('B', 'A', 'B', 'C') => True
in('b', 'A', 'B') => True
in('D', 'A', 'B', 'C') => False
in(1, 'x', '1') => True
in('A', 'a', boom()) => True
notIn('D', 'A', 'B', 'C') => True
notin('A', 'A') => False
# text
contains('ABCDE', 'bcd') => True
contains('ABCDE', '') => True
contains('', 'x') => False
contains(123, 2) => True
contains(foo, 'x') => ! Unable to convert from Array to String
startsWith('ABCDE', 'ab') => True
startsWith('ABCDE', 'BC') => False
startsWith(variables['build.sourcebranch'], 'refs/heads/') => True
endsWith('ABCDE', 'de') => True
endsWith('ABCDE', 'AB') => False
lower('FooÉ') => 'fooé'
upper('foo') => 'FOO'
trim('  a b  ') => 'a b'
length('fabrikam') => 8
length('') => 0
length('é') => 1
length('😀') => 2
length(foo) => 3
length(object) => 3
length(variables.none) => 0
length(123) => 3
replace('https://a/saml', 'https://a', 'http://server') => 'http://server/saml'
replace('aaa', 'a', 'bb') => 'bbbbbb'
replace('a', '', 'b') => ! The text that replace looks for is empty
split('prod1,prod2', ',') => ['prod1','prod2']
split('a,b,', ',') => ['a','b','']
split('a,,b', ',') => ['a','','b']
split('', ',') => ['']
split('a,b;c', ',;') => ['a','b','c']
split('/x/y', '/')[2] => 'y'
join(';', parameters.list) => 'FOO;BAR;ZOO'
join(';', foo) => ';;'
join(';', 'x') => 'x'
join(';', object) => ''
join(';', split('', ',')) => ''
join(1, parameters.list) => 'FOO1BAR1ZOO'
coalesce(variables.none, '', 'literal value') => 'literal value'
coalesce(variables.none, '') => null
coalesce('', variables.none) => null
coalesce(variables.none, '', '') => null
coalesce(0, 1) => 0
coalesce(variables.empty, foo)[0].name => 'one'
iif(true, 'a', 'b') => 'a'
iif('', 'a', 'b') => 'b'
iif(true, 'a', boom()) => ! boom was called
iif(eq(variables.A, 'abc'), foo, object)[1].name => 'two'
containsValue(parameters.list, 'foo') => True
containsValue(parameters.list, 'nope') => False
containsValue(object, true) => True
containsValue('abc', 'abc') => False
containsValue(split('1,2', ','), 2) => True
containsValue(foo, foo[1]) => True
# format
format('Hello {0} {1}', 'John', 'Doe') => 'Hello John Doe'
format('literal left brace {{ and literal right brace }}') => 'literal left brace { and literal right brace }'
format('{0}{0}{1}', 1, true) => '11True'
format('{{{0}}}', 'x') => '{x}'
format(True) => 'True'
format(1.2.4.05) => '1.2.4.5'
format('{0}', variables.none) => ''
format('{0}', 1.50) => '1.5'
format('{1}', 'a', 'b') => 'b'
format('{1}', boom(), 'b') => 'b'
format('{0}', foo) => ! Unable to convert from Array to String
format('{1}', 'a') => ! The following format string references more arguments than were supplied: {1}
format('{', 'a') => ! The following format string is invalid: {
format('}', 'a') => ! The following format string is invalid: }
format('{x}', 'a') => ! The following format string is invalid: {x}
format('{-1}', 'a') => ! The following format string is invalid: {-1}
format('{300}', 'a') => ! The following format string is invalid: {300}
format('{0', 'a') => ! The following format string is invalid: {0
format('{0:x}', 'a') => ! The format specifiers 'x' are not valid for objects of type 'String'
format('{0:0.00}', 1) => ! The format specifiers '0.00' are not valid for objects of type 'Number'
format('{0:yyyyMMdd}', pipeline.startTime) => '20240309'
format('{0:yy/M}', pipeline.startTime) => ! The format specifiers 'yy/M' are not valid for objects of type 'DateTime'
format('{0:yy\/M d H:m}', pipeline.startTime) => ! The format specifiers
format('{0:yyyy\-MM\-dd\THH\:mm\:ss\.fffzzz}', pipeline.startTime) => '2024-03-09T07:05:04.120+00:00'
format('{0:d M H}', pipeline.startTime) => '9 3 7'
format('{0}', pipeline.startTime) => '2024-03-09 07:05:04+00:00'
format('{0:yyyy}}MM}', pipeline.startTime) => ! The format specifiers 'yyyy}MM' are not valid
# access
variables.a => 'ABC'
VARIABLES['A'] => 'ABC'
variables['a.b'] => 'dotted'
variables['A.B'] => 'dotted'
variables.a.b => null
variables.none => null
variables.none.deeper['x'][0] => null
variables[format('{0}.{1}', 'a', 'b')] => 'dotted'
foo[0].name => 'one'
foo['1'].name => 'two'
foo[1.7].name => 'two'
foo[-1] => null
foo[3] => null
foo['x'] => null
foo[2].id => 3
object['x'].tags[1] => 'y'
object[variables.none] => null
object[foo] => null
parameters.missing => ! Key not found 'missing'
coalesce('test', parameters.missing) => 'test'
parameters.none => null
parameters.none.x => null
foo.*.id => [1,2,3]
foo[*].id => [1,2,3]
foo.*.name => ['one','two']
foo.*.tags => [['x','y'],['z']]
foo.*.tags.* => ['x','y','z']
foo.*.tags[0] => ['x','z']
foo.* => [{id,name,tags},{id,name,tags},{ID}]
object.*.id => [1,2]
object['*'] => null
'x' => 'x'
variables.none.* => []
foo.*['name'][0] => []
join(',', foo.*.name) => 'one,two'
# calls
succeeded() => True
Succeeded('a') => False
# errors of evaluation
unknown => ! Unrecognized value: 'unknown'. Located at position 1 within expression: unknown
unknown() => ! Unrecognized value: 'unknown'. Located at position 1 within expression: unknown()
and(true, nothing.x) => ! Unrecognized value: 'nothing'. Located at position 11
boom(1, 2) => ! The function boom takes 0 to 1 arguments
# errors of syntax
3 + 4 => ! Unrecognized value: '+'. Located at position 3 within expression: 3 + 4. There are no operators
a == b => ! Unrecognized value: '=='. Located at position 3
and(true) => ! Unexpected symbol: ')'. Located at position 9 within expression: and(true). The function and takes at least 2 arguments
and() => ! Unexpected symbol: ')'
not(1, 2) => ! Unexpected symbol: ','. Located at position 6 within expression: not(1, 2). The function not takes 1 argument
in('a') => ! Unexpected symbol: ')'. Located at position 7
and(true, => ! Unclosed function: 'and'. Located at position 1
and(true, not(true) => ! Unclosed function: 'and'. Located at position 1
and(true, not(true => ! Unclosed function: 'not'. Located at position 11
and => ! Expected '(' to follow a function: 'and'. Located at position 1 within expression: and
and(true,) => ! Unexpected symbol: ')'. Located at position 10
and(,true) => ! Unexpected symbol: ','. Located at position 5
foo[ => ! Unclosed indexer: '['. Located at position 4
foo[0 => ! Unclosed indexer: '['. Located at position 4
foo[] => ! Unexpected symbol: ']'. Located at position 5
foo[0)] => ! Unexpected symbol: ')'. Located at position 6
foo. => ! Expected a property name to follow the dereference operator '.': '.'. Located at position 4
foo.'x' => ! Unexpected symbol: ''x''
foo.x-y => ! Unexpected symbol: 'x-y'. Located at position 5 within expression: foo.x-y. A name with other characters than letters, digits and _ is written in brackets: ['x-y']
param-minus => ! Unrecognized value: 'param-minus'
'open => ! Unrecognized value: ''open'. Located at position 1 within expression: 'open. The string does not end
"double" => ! Unrecognized value: '"double"'. Located at position 1 within expression: "double". Strings are written in single quotes
‘{0}‘ => ! Unrecognized value: '‘{0}‘'
(true) => ! Unexpected symbol: '('. Located at position 1
true) => ! Unexpected symbol: ')'. Located at position 5
true true => ! Unexpected symbol: 'true'. Located at position 6
'a'.x => ! Unexpected symbol: '.'. Located at position 4
'a'[0] => ! Unexpected symbol: '['
true.x => ! Unexpected symbol: '.'
1.x => ! Unrecognized value: '1.x'
0.9.o.9 => ! Unrecognized value: '0.9.o.9'
1.2.3.4.5 => ! Unrecognized value: '1.2.3.4.5'
-1.2.3 => ! Unrecognized value: '-1.2.3'
1.2.99999999999 => ! Unrecognized value: '1.2.99999999999'
0x10 => ! Unrecognized value: '0x10'
1e3 => ! Unrecognized value: '1e3'
+1 => ! Unrecognized value: '+1'
- => ! Unrecognized value: '-'
79228162514264337593543950336 => ! Unrecognized value: '79228162514264337593543950336'
* => ! Unexpected symbol: '*'
foo[*.x] => ! Unexpected symbol: '.'
[0] => ! Unexpected symbol: '['
, => ! Unexpected symbol: ','
null => ! Unrecognized value: 'null'
`
