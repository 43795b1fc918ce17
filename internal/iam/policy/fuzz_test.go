package policy

import (
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
)

// FuzzParse holds that no document breaks the parser, that whatever it accepts
// the lenient one accepts too, and that what was accepted can be decided on.
func FuzzParse(f *testing.F) {
	for _, c := range readTables(f) {
		for _, p := range append(c.policies.Identity, c.policies.Resource...) {
			f.Add(p.Policy.Document(), uint8(p.Policy.Kind()), "ecr:PutImage", c.request.Resource, "aws:SourceIp", "203.0.113.7")
		}
	}
	f.Add(`{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"*","Resource":"${a:b, 'c'}*?${*}"}}`, uint8(0), "a:b", "*", "a:b", "*")
	f.Fuzz(func(t *testing.T, doc string, kind uint8, action, resource, key, value string) {
		k := Kind(kind % 6)
		strict, err := Parse([]byte(doc), k)
		lenient, lenientErr := ParseLenient([]byte(doc), k)
		if err == nil && lenientErr != nil {
			t.Fatalf("refused only leniently: %v", lenientErr)
		}
		if lenientErr != nil {
			return
		}
		if lenient.Document() != doc || strict != nil && strict.Document() != doc {
			t.Fatal("the document is not given back as it was")
		}
		r := &Request{
			Principal: Principal{Type: User, ARN: "arn:aws:iam::111122223333:user/a", Account: own}, Action: action, Resource: resource, ResourceAccount: own,
			Context: MapContext{newKey(key).lower: {value}},
		}
		for _, pattern := range []bool{false, true} {
			r.ResourcePattern = pattern
			p := policiesOf(lenient)
			d := Decide(r, p)
			if x := Explain(r, p); x.Decision != d {
				t.Fatalf("Decide says %+v, Explain %+v", d, x.Decision)
			}
			if strict != nil {
				if x := Decide(r, policiesOf(strict)); x != d {
					t.Fatalf("lenient %+v, strict %+v", d, x)
				}
			}
		}
	})
}

func policiesOf(p *Policy) *Policies {
	named := []Named{{"p", p}}
	switch p.Kind() {
	case Resource, Trust:
		return &Policies{Resource: named}
	case Endpoint:
		return &Policies{Endpoint: named}
	case ServiceControl:
		return &Policies{ServiceControl: []Level{{"l", named}}}
	case ResourceControl:
		return &Policies{ResourceControl: []Level{{"l", named}}}
	default:
		return &Policies{Identity: named, Boundaries: named, Session: named}
	}
}

// FuzzLaws tries the laws of decisions on scenes beyond those of TestLaws.
func FuzzLaws(f *testing.F) {
	f.Add(uint64(0), uint64(0))
	f.Fuzz(func(t *testing.T, a, b uint64) { laws(t, world{rand.New(rand.NewPCG(a, b))}) })
}

// FuzzParsePrincipal holds that no string breaks the parser and that what it accepts says who it is.
func FuzzParsePrincipal(f *testing.F) {
	f.Add("arn:aws:iam::111122223333:user/a")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePrincipal(s)
		if err == nil && (p.ARN != s || p.Type == Anonymous) {
			t.Fatalf("%q is %+v", s, p)
		}
	})
}

// FuzzGlob compares the matcher of resources with the regular expression of a
// pattern, on words that b spells with few letters.
func FuzzGlob(f *testing.F) {
	f.Add([]byte("\x02\x00\x01"), []byte("\x00\x01"))
	spell := func(letters string, b []byte) string {
		var s strings.Builder
		for _, c := range b[:min(len(b), 24)] {
			s.WriteByte(letters[int(c)%len(letters)])
		}
		return s.String()
	}
	e := &evaluator{r: &Request{}}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		source, s := spell("ab:*?", a), spell("ab:", b)
		p, _ := newResourcePattern(source, false, false)
		if got, want := p.match(e, s), regexp.MustCompile("^"+narrowExpression(source)+"$").MatchString(s); got != want {
			t.Fatalf("%q on %q: %v, want %v", source, s, got, want)
		}
	})
}
