package mask

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestString(t *testing.T) {
	const secret = `p@ss "w\o/rd'&<é>`
	m := New()
	if err := m.Add(secret, "AWS", "abcdef", "cdefgh", "-----BEGIN KEY-----\nMIIEowIBAAKCAQEA\nab\n"); err != nil {
		t.Fatal(err)
	}
	js, _ := json.Marshal(secret)
	twice, _ := json.Marshal(string(js))
	var x bytes.Buffer
	_ = xml.EscapeText(&x, []byte(secret))
	for _, test := range []struct{ name, in, want string }{
		{"plain", "a " + secret + " b", "a *** b"},
		{"nothing", "nothing to see", "nothing to see"},
		{"short ones stay", "AWS and AWS", "AWS and AWS"},
		{"overlapping", "xabcdefghx", "x***x"},
		{"twice in a row", "abcdefabcdef", "***"},
		{"apart", "abcdef abcdef", "*** ***"},
		{"a prefix", "abcde", "abcde"},
		{"json", string(js), `"***"`},
		{"json in json", string(twice), `"\"***\""`},
		{"query", url.QueryEscape(secret), "***"},
		{"path", url.PathEscape(secret), "***"},
		{"lower case query", strings.ToLower(url.QueryEscape("abcdef/ ")), "***%2f+"},
		{"xml", x.String(), "***"},
		{"lines", "-----BEGIN KEY-----\nMIIEowIBAAKCAQEA\nab\n", "***\n***\nab\n"},
		{"base64", base64.StdEncoding.EncodeToString([]byte(secret)), "***"},
		{"hex", fmt.Sprintf("%x", "abcdef"), "***"},
		{"url", "git clone https://user:hunter2@host/x", "git clone https://user:***@host/x"},
		{"url without a user", "redis://:hunter2@host", "redis://:***@host"},
		{"url with @ in the password", "x://u:a@b@host/ y", "x://u:***@host/ y"},
		{"url with a port", "http://host:8080/a@b", "http://host:8080/a@b"},
		{"comment", "// see: foo@example.com", "// see: foo@example.com"},
		{"file url", "file:///a:b@c", "file:///a:***@c"},
		{"two urls", "http://a:b@c http://d:e@f", "http://a:***@c http://d:***@f"},
	} {
		if got := m.String(test.in); got != test.want {
			t.Errorf("%s: %q became %q, want %q", test.name, test.in, got, test.want)
		}
	}
}

// TestBase64 has secrets encoded with something around them.
func TestBase64(t *testing.T) {
	const secret = "s3cr3t-value!"
	m := New()
	_ = m.Add(secret)
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding, base64.RawStdEncoding, base64.RawURLEncoding} {
		for _, user := range []string{"", "u:", "us:", "use:", "user:", "AWS:"} {
			for _, after := range []string{"", "\n", "xy", "xyz"} {
				text := enc.EncodeToString([]byte(user + secret + after))
				got := m.String("Basic " + text)
				if !strings.Contains(got, Mask) || len(strings.ReplaceAll(got, Mask, "")) > len("Basic ")+len(text)-len(enc.EncodeToString([]byte(secret)))+8 {
					t.Errorf("%q: %s became %s", user+secret+after, text, got)
				}
			}
		}
	}
}

func TestLater(t *testing.T) {
	m := New()
	var out strings.Builder
	w := m.Writer(&out)
	_, _ = w.Write([]byte("first-secret 1\n"))
	_ = m.Add("first-secret")
	_, _ = w.Write([]byte("first-secret 2 first-"))
	_ = m.Add("second-secret", "first-second-secret")
	_, _ = w.Write([]byte("secret 3 first-second-"))
	_, _ = w.Write([]byte("secret second-sec"))
	w.Discard()
	_, _ = w.Write([]byte("\nret"))
	_ = w.Flush()
	if diff := cmp.Diff("first-secret 1\n*** 2 *** 3 *** \nret", out.String()); diff != "" {
		t.Error(diff)
	}
}

func TestMany(t *testing.T) {
	m := New()
	r := rand.New(rand.NewPCG(1, 2))
	var text strings.Builder
	for i := range 2000 {
		s := fmt.Sprintf("secret-%d-%x", i, r.Uint64())
		if err := m.Add(s); err != nil {
			t.Fatal(err)
		}
		text.WriteString(s + " ")
	}
	if got := m.String(text.String()); strings.Trim(got, "* ") != "" {
		t.Errorf("left: %.200s", got)
	}
	if n := len(m.layers); n > 24 {
		t.Errorf("%d layers", n)
	}
}

func TestTooMany(t *testing.T) {
	m := New()
	if err := m.Add(strings.Repeat("x", maxLength+1)); !errors.Is(err, ErrTooMany) {
		t.Errorf("a value over the limit: %v", err)
	}
}

// FuzzWriter holds that no form of a secret survives, however the text is cut, that nothing else is changed, and
// that cuts make no difference.
func FuzzWriter(f *testing.F) {
	f.Add("hunter2!", "another one", "say hunter2! and another one", uint64(1), uint8(3))
	f.Add("aaaaaa", "aaaaaaa", "aaaaaaaaaaaaaaaaaaaaaaaaaaaa", uint64(2), uint8(0))
	f.Add("ab\ncdefgh\nij", "https://x", "https://u:p@x cdefgh", uint64(3), uint8(9))
	f.Fuzz(func(t *testing.T, one, two, text string, seed uint64, form uint8) {
		if len(one)+len(two) > 500 || len(text) > 5000 {
			return
		}
		m := New()
		if err := m.Add(one, two); err != nil {
			t.Fatal(err)
		}
		r := rand.New(rand.NewPCG(seed, 0))
		all := append(forms(one), forms(two)...)
		if len(all) > 0 {
			i := r.IntN(len(text) + 1)
			text = text[:i] + all[int(form)%len(all)] + text[i:]
		}
		whole := m.String(text)
		var out strings.Builder
		w := m.Writer(&out)
		for rest := text; rest != ""; {
			n := 1 + r.IntN(min(len(rest), 1+r.IntN(20)))
			if _, err := w.Write([]byte(rest[:n])); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		if out.String() != whole {
			t.Fatalf("in parts %q, as a whole %q", out.String(), whole)
		}
		for _, f := range all {
			if strings.Contains(whole, f) && !strings.Contains(f, "*") && !strings.Contains(f, Mask) {
				// What stands where a mask ends may be completed by what follows it, never by the mask.
				t.Fatalf("%q is in %q", f, whole)
			}
		}
		if !strings.Contains(text, "//") {
			if want := naive(text, all); want != whole {
				t.Fatalf("%q became %q, want %q", text, whole, want)
			}
		}
	})
}

// naive masks the slow way.
func naive(text string, all []string) string {
	marked := make([]bool, len(text))
	for _, f := range all {
		for i := range len(text) {
			if strings.HasPrefix(text[i:], f) {
				for j := range len(f) {
					marked[i+j] = true
				}
			}
		}
	}
	var b strings.Builder
	for i := range len(text) {
		switch {
		case !marked[i]:
			b.WriteByte(text[i])
		case i == 0 || !marked[i-1]:
			b.WriteString(Mask)
		}
	}
	return b.String()
}

func BenchmarkWriter(b *testing.B) {
	m := New()
	for i := range 1000 {
		_ = m.Add(fmt.Sprintf("secret-number-%d-of-many", i))
	}
	line := []byte(strings.Repeat("the quick brown fox jumps over the lazy dog and builds a container image\n", 100))
	w := m.Writer(discard{})
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		_, _ = w.Write(line)
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
