package yaml

import (
	"math/rand/v2"
	"strings"
	"testing"
)

func TestEncodeScalars(t *testing.T) {
	for _, c := range []struct{ in, out string }{
		{"", "''"}, {"a", "a"}, {"a b", "a b"}, {"a: b", "'a: b'"}, {"a:b", "a:b"}, {"it's", "it's"}, {"'a'", "'''a'''"},
		{"#a", "'#a'"}, {"a #b", "'a #b'"}, {"a#b", "a#b"}, {"- a", "'- a'"}, {"-a", "-a"}, {"*", "'*'"}, {"$(x)", "$(x)"}, {"[x]", "'[x]'"},
		{"$[ x ]", "$[ x ]"}, {"{}", "'{}'"}, {" a", "' a'"}, {"a ", "'a '"}, {"a\tb", `"a\tb"`}, {"a\x00", `"a\x00"`}, {"ü😀", "ü😀"},
		{"@a", "'@a'"}, {"%a", "'%a'"}, {"---", "'---'"}, {"true", "true"}, {"1", "1"}, {"a\\b", "a\\b"}, {"C:\\", "C:\\"}, {"C:", "'C:'"}, {"a\r\nb", `"a\r\nb"`},
		{"eq(variables['a'], 'b')", "eq(variables['a'], 'b')"}, {"\n", `"\n"`}, {"a\nb", "|-\n  a\n  b"}, {"a\nb\n", "|\n  a\n  b"}, {"a\nb\n\n", "|+\n  a\n  b\n"},
		{" a\nb\n", "|2\n   a\n  b"}, {"a\n\n  b\n", "|\n  a\n\n    b"},
	} {
		got := string(Marshal(&Node{Kind: Mapping, Pairs: []Pair{{Key: &Node{Kind: Scalar, Value: "k"}, Value: &Node{Kind: Scalar, Value: c.in}}}}))
		if want := "k: " + c.out + "\n"; got != want {
			t.Errorf("%q is\n%s\nwant\n%s", c.in, got, want)
		}
	}
}

// equal ignores positions and quotes.
func equal(a, b *Node) bool {
	if a.Kind != b.Kind || a.Value != b.Value || len(a.Items) != len(b.Items) || len(a.Pairs) != len(b.Pairs) {
		return false
	}
	for i := range a.Items {
		if !equal(a.Items[i], b.Items[i]) {
			return false
		}
	}
	for i := range a.Pairs {
		if !equal(a.Pairs[i].Key, b.Pairs[i].Key) || !equal(a.Pairs[i].Value, b.Pairs[i].Value) {
			return false
		}
	}
	return true
}

var fragments = []string{"", "a", "Z9", " ", "  ", "\n", "\n\n", "\t", ":", ": ", "#", " #", "-", "- ", "'", `"`, `\`, "[", "]", "{", "}", ",", "&", "*", "!", "|", ">", "%", "@", "`",
	"?", "=", "<<", "~", "null", "true", "1", "0x1", "---", "...", "\r", "\r\n", "\x00", "\x7f", "\u0085", "\u00a0", "\u2028", "\ufeff", "é", "😀", "$(x)", "${{ y }}", strings.Repeat("long ", 300)}

func randomText(r *rand.Rand) string {
	var b strings.Builder
	for range r.IntN(5) {
		b.WriteString(fragments[r.IntN(len(fragments))])
	}
	return b.String()
}

func randomNode(r *rand.Rand, depth int) *Node {
	switch k := r.IntN(6); {
	case depth == 0 || k < 3:
		return &Node{Kind: Scalar, Value: randomText(r), Quoted: r.IntN(2) == 0}
	case k < 4:
		n := &Node{Kind: Sequence}
		for range r.IntN(4) {
			n.Items = append(n.Items, randomNode(r, depth-1))
		}
		return n
	default:
		n := &Node{Kind: Mapping}
		seen := map[string]bool{}
		for range r.IntN(4) {
			key := randomText(r)
			if low := strings.ToLower(key); !seen[low] || IsExpression(key) {
				seen[low] = true
				n.Pairs = append(n.Pairs, Pair{&Node{Kind: Scalar, Value: key}, randomNode(r, depth-1)})
			}
		}
		return n
	}
}

func TestWhatIsWrittenIsReadBack(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		n := randomNode(r, 4)
		text := Marshal(n)
		back, err := Parse("f", text, Limits{})
		if err != nil {
			t.Fatalf("%v\n%s\n%q", err, text, text)
		}
		if n.Kind == Scalar && n.Value == "" {
			continue // an empty document is a mapping
		}
		if !equal(n, back) {
			t.Fatalf("not the same:\n%s\n%q\nread back as\n%s", text, text, Marshal(back))
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"a: b\n", "- |2-\n   x\n  y\n", "? a\n: b\n", "a: &b c", "[[[", "a: \"\\u2028\"\n", "%YAML 1.1\n---\na: b\n...\n", "{a: b, c: [d]}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := Parse("f", data, Limits{Bytes: 1 << 16, Nodes: 2000})
		if err != nil {
			return
		}
		text := Marshal(n)
		back, err := Parse("f", text, Limits{Bytes: 1 << 22, Depth: 200, Nodes: 4000})
		if err != nil {
			t.Fatalf("%q is written as %q, which is refused: %v", data, text, err)
		}
		if !equal(n, back) {
			t.Fatalf("%q is written as %q, and read as %q", data, text, Marshal(back))
		}
	})
}
