package yaml

import (
	"errors"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, c := range []struct{ name, in, out, err string }{
		{name: "positions and order", in: "b: 1\na:\n- x\n-  y: z\n", out: "b: 1\na:\n- x\n- y: z\n"},
		{name: "empty", in: "", out: "{}\n"},
		{name: "comments only", in: "# nothing\n", out: "{}\n"},
		{name: "byte order mark", in: "\xef\xbb\xbfa: b\n", out: "a: b\n"},
		{name: "carriage returns", in: "a: |\r\n  x\r\n  y\r\nb: c\r\n", out: "a: |\n  x\n  y\nb: c\n"},
		{name: "quoted numbers stay quoted", in: "a: '01'\nb: 01\nc: \"true\"\nd: true\ne: 'word'\n", out: "a: '01'\nb: 01\nc: 'true'\nd: true\ne: word\n"},
		{name: "empty values", in: "a:\nb: ''\nc: ~\nd: null\n", out: "a: ''\nb: ''\nc: ~\nd: null\n"},
		{name: "flow", in: "a: [1, {b: c}, []]\nd: {}\n", out: "a:\n- 1\n- b: c\n- []\nd: {}\n"},
		{name: "directives twice", in: "${{ if x }}:\n  a: 1\n${{ if x }}:\n  b: 1\n", out: "${{ if x }}:\n  a: 1\n${{ if x }}:\n  b: 1\n"},
		{name: "core tags", in: "a: !!str 1\nb: !!int 2\n", out: "a: '1'\nb: 2\n"},
		{name: "yes is a word", in: "a: yes\nb: 1_000\n", out: "a: yes\nb: 1_000\n"},

		{name: "duplicate", in: "a: 1\nB: 2\nb: 3\n", err: "f.yml:3:1: 'b' is already defined (at line 2, column 1)"},
		{name: "duplicates", in: "a: 1\na: 2\na: 3\n", err: "f.yml:2:1: 'a' is already defined (at line 1, column 1)\nf.yml:3:1: 'a' is already defined (at line 1, column 1)"},
		{name: "anchor", in: "a: &x 1\n", err: "f.yml:1:4: &x is an anchor; anchors are not allowed in a pipeline, use a template or a parameter"},
		{name: "alias", in: "a: &x 1\nb: *x\n", err: "f.yml:1:4: &x is an anchor; anchors are not allowed in a pipeline, use a template or a parameter\n" +
			"f.yml:2:4: *x is an alias; aliases are not allowed in a pipeline, use a template or a parameter"},
		{name: "merge", in: "a:\n  <<: {b: c}\n", err: "f.yml:2:3: << merges mappings; that is not allowed in a pipeline, use ${{ insert }} or a template"},
		{name: "tag", in: "a: !foo bar\n", err: "f.yml:1:4: Unexpected tag '!foo'"},
		{name: "timestamp tag", in: "a: !!timestamp 2001-01-01\n", err: "f.yml:1:4: Unexpected tag '!!timestamp'"},
		{name: "two documents", in: "a: 1\n---\nb: 2\n", err: "f.yml:2:1: the file has a second document; a pipeline's file has one"},
		{name: "key that is a mapping", in: "{a: b}: c\n", err: "f.yml:1:1: a key is a word or an expression, not a sequence or a mapping; is an expression such as ${{ }} missing its quotes?"},
		{name: "not UTF-8", in: "a: \xff\n", err: "f.yml:1:4: byte 0xff is not UTF-8"},
		{name: "UTF-16", in: "\xff\xfea\x00", err: "f.yml:1:1: the file is UTF-16; save it as UTF-8"},
		{name: "control character", in: "a: b\nc: é\x01\n", err: "f.yml:2:5: the control character 0x01 is not allowed here"},
		{name: "tab", in: "a:\n\tb: c\n", err: "f.yml:2:1: a tab is used where only spaces may be: YAML is indented with spaces"},
		{name: "document start and end", in: "---\na: b\n...\n", out: "a: b\n"},
		{name: "long key and empty key", in: "? a\n: b\n: c\n", out: "a: b\n'': c\n"},
		{name: "unclosed", in: "a: [1, 2\n", err: "f.yml:2:1: while parsing a flow sequence: did not find expected ',' or ']'"},
		{name: "two values", in: "a: b: c\n", err: "f.yml:1:5: mapping values are not allowed in this context"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n, err := Parse("f.yml", []byte(c.in), Limits{})
			if c.err != "" {
				if err == nil || err.Error() != c.err {
					t.Fatalf("got error\n%v\nwant\n%s", err, c.err)
				}
				var one *Error
				if !errors.As(err, &one) {
					t.Fatal("not an *Error")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := string(Marshal(n)); got != c.out {
				t.Errorf("got\n%s\nwant\n%s", got, c.out)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	limits := Limits{Bytes: 1000, Depth: 5, Nodes: 20}
	for _, c := range []struct{ name, in, err string }{
		{"size", strings.Repeat("a", 1001), "f.yml: the file has 1001 bytes, more than the 1000 that a file may have"},
		{"flow depth", strings.Repeat("[", 50), "f.yml:1:6: collections are nested more than 5 deep"},
		{"block depth", strings.Repeat("- ", 6) + "a", "f.yml:1:11: collections are nested more than 5 deep"},
		{"entries", strings.Repeat("\n", 81), "f.yml: the file has more than 80 lines and entries"},
		{"collections", "[" + strings.Repeat("[],", 30) + "]", "f.yml: the file has more than 20 nodes"},
		{"nodes", strings.Repeat("- a\n", 30), "f.yml:20:3: the file has more than 20 nodes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse("f.yml", []byte(c.in), limits)
			if err == nil || err.Error() != c.err {
				t.Errorf("got %v\nwant %s", err, c.err)
			}
		})
	}
}

func TestResolve(t *testing.T) {
	for in, want := range map[string]Type{
		"true": Bool, "false": Bool, "False": String, "TRUE": String, "yes": String, "null": Null, "~": String, "": String, "Null": String,
		"1": Number, "-1": Number, "+1.5": Number, "01": Number, "1e3": Number, ".5": Number, "1.": Number, "0x1F": Number,
		"0x": String, "0o17": String, "1_000": String, ".inf": String, "1.2.3": String, "1e": String, "-": String, "e3": String,
		"0x+1": String, "NaN": String, "1e999": String, "Infinity": String, "E": String, "--1": String,
	} {
		if got := (&Node{Kind: Scalar, Value: in}).Resolve(); got != want {
			t.Errorf("%q is %d, want %d", in, got, want)
		}
	}
}
