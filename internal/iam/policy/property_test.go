package policy

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// world makes requests and policies out of few words, so that they often meet.
type world struct{ *rand.Rand }

func pick[T any](w world, from ...T) T { return from[w.IntN(len(from))] }

// doc is a policy in the making.
type doc struct {
	Version   string
	Statement []map[string]any
}

func (w world) statement(k Kind) map[string]any {
	st := map[string]any{"Effect": pick(w, "Allow", "Allow", "Allow", "Deny")}
	st[pick(w, "Action", "Action", "Action", "NotAction")] = w.some("ecr:*", "ecr:Put*", "ecr:PutImage", "ECR:batchgetimage", "ecr:BatchGet?mage", "s3:*", "*")
	if k.hasPrincipals() {
		name := pick(w, "Principal", "Principal", "Principal", "NotPrincipal")
		st[name] = pick[any](w, "*",
			map[string]any{"AWS": w.some("111122223333", "arn:aws:iam::111122223333:user/a", "arn:aws:iam::111122223333:role/r", "arn:aws:sts::111122223333:assumed-role/r/s", "444455556666", "*")},
			map[string]any{"AWS": w.some("arn:aws:iam::111122223333:root"), "Service": "codebuild.amazonaws.com"})
	}
	if k == Identity || k == ServiceControl || k == ResourceControl || k == Endpoint {
		st[pick(w, "Resource", "Resource", "Resource", "NotResource")] = w.some("*", "arn:aws:ecr:*:*:repository/*", "arn:aws:ecr:*:111122223333:repository/team/*",
			"arn:aws:ecr:eu-?-1:111122223333:repository/*/app", "arn:aws:ecr:*:*:repository/${aws:username}/app", "arn:aws:ecr:*:*:repository/${aws:PrincipalTag/t, 'team'}/*")
	}
	if w.IntN(3) == 0 {
		op := pick(w, "", "", "ForAllValues:", "ForAnyValue:") + pick(w, "StringEquals", "StringNotEquals", "StringLike", "StringNotLike", "StringEqualsIgnoreCase") + pick(w, "", "", "IfExists")
		st["Condition"] = pick(w,
			map[string]any{op: map[string]any{pick(w, "aws:TagKeys", "aws:SourceVpce", "aws:PrincipalTag/t"): w.some("team", "vpce-1", "v*", "${aws:PrincipalTag/t}")}},
			map[string]any{pick(w, "IpAddress", "NotIpAddress", "NotIpAddressIfExists"): map[string]any{"aws:SourceIp": w.some("10.0.0.0/8", "203.0.113.0/24")}},
			map[string]any{pick(w, "Bool", "BoolIfExists", "Null"): map[string]any{pick(w, "aws:SecureTransport", "aws:ViaAWSService"): pick(w, "true", "false")}},
			map[string]any{pick(w, "ArnLike", "ArnNotLike"): map[string]any{"aws:PrincipalArn": w.some("arn:aws:iam::*:role/*", "arn:aws:iam::111122223333:user/a")}})
	}
	return st
}

// some returns one or two of from.
func (w world) some(from ...string) any {
	if w.IntN(2) == 0 {
		return pick(w, from...)
	}
	return []string{pick(w, from...), pick(w, from...)}
}

func (w world) doc(k Kind) doc {
	d := doc{Version: pick(w, "2012-10-17", "2012-10-17", "2008-10-17")}
	for range 1 + w.IntN(4) {
		d.Statement = append(d.Statement, w.statement(k))
	}
	return d
}

func (d doc) compile(t testing.TB, k Kind) *Policy {
	t.Helper()
	data, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return mustParse(t, string(data), k)
}

func (w world) request() *Request {
	account := pick(w, own, own, "444455556666")
	r := &Request{
		Principal: pick(w,
			Principal{Type: User, ARN: "arn:aws:iam::" + account + ":user/a", Account: account},
			Principal{Type: AssumedRole, ARN: "arn:aws:sts::" + account + ":assumed-role/r/s", Account: account, RoleARN: "arn:aws:iam::" + account + ":role/r"},
			Principal{Type: Root, ARN: "arn:aws:iam::" + account + ":root", Account: account},
			Principal{Type: Service, ARN: "codebuild.amazonaws.com"},
			Principal{}),
		Action:          pick(w, "ecr:PutImage", "ecr:BatchGetImage", "s3:GetObject"),
		Resource:        "arn:aws:ecr:eu-w-1:111122223333:repository/" + pick(w, "team/app", "a/app", "app", "x"),
		ResourceAccount: own,
	}
	c := MapContext{}
	for _, k := range []string{"aws:tagkeys", "aws:sourcevpce", "aws:principaltag/t", "aws:securetransport", "aws:viaawsservice", "aws:sourceip"} {
		switch w.IntN(3) {
		case 0:
			c[k] = []string{pick(w, "team", "vpce-1", "true", "false", "10.0.0.7", "203.0.113.7", "*")}
		case 1:
			if k == "aws:tagkeys" {
				c[k] = []string{"team", pick(w, "vpce-1", "x")}
			}
		}
	}
	r.Context = c
	return r
}

// scene is a request and the documents that apply to it, by layer.
type scene struct {
	request *Request
	docs    []layered
}

type layered struct {
	layer Layer
	doc   doc
}

var kindOf = map[Layer]Kind{ResourceControlLayer: ResourceControl, ServiceControlLayer: ServiceControl, EndpointLayer: Endpoint,
	ResourceLayer: Resource, IdentityLayer: Identity, BoundaryLayer: Identity, SessionLayer: Identity}

func (w world) scene() *scene {
	s := &scene{request: w.request()}
	for range 1 + w.IntN(2) {
		s.docs = append(s.docs, layered{IdentityLayer, w.doc(Identity)})
	}
	for _, l := range []Layer{ResourceLayer, ResourceLayer, BoundaryLayer, SessionLayer, EndpointLayer, ServiceControlLayer, ResourceControlLayer} {
		if w.IntN(3) == 0 {
			s.docs = append(s.docs, layered{l, w.doc(kindOf[l])})
		}
	}
	return s
}

func (s *scene) policies(t testing.TB) *Policies {
	p := &Policies{}
	for i, d := range s.docs {
		named := []Named{{fmt.Sprint(i), d.doc.compile(t, kindOf[d.layer])}}
		switch d.layer {
		case ResourceControlLayer:
			p.ResourceControl = append(p.ResourceControl, Level{"root", named})
		case ServiceControlLayer:
			p.ServiceControl = append(p.ServiceControl, Level{"root", named})
		case EndpointLayer:
			p.Endpoint = append(p.Endpoint, named...)
		case ResourceLayer:
			p.Resource = append(p.Resource, named...)
		case IdentityLayer:
			p.Identity = append(p.Identity, named...)
		case BoundaryLayer:
			p.Boundaries, p.HasBoundary = append(p.Boundaries, named...), true
		case SessionLayer:
			p.Session, p.HasSession = append(p.Session, named...), true
		}
	}
	return p
}

func (s *scene) decide(t testing.TB) Outcome {
	t.Helper()
	return Decide(s.request, s.policies(t)).Outcome
}

// with returns s with the statements of document i replaced.
func (s *scene) with(i int, statements []map[string]any) *scene {
	out := &scene{request: s.request, docs: slices.Clone(s.docs)}
	out.docs[i].doc.Statement = statements
	return out
}

// laws are what holds of every scene.
func laws(t *testing.T, w world) {
	s := w.scene()
	before := s.decide(t)
	explained := Explain(s.request, s.policies(t))
	if explained.Outcome != before {
		t.Errorf("Decide says %v, Explain %v", before, explained.Outcome)
	}
	denied := slices.ContainsFunc(explained.Reasons, func(r Reason) bool { return r.Applies && r.Effect == "Deny" })
	if denied != (before == ExplicitDeny) {
		t.Errorf("%v though a statement that denies applies: %v", before, denied)
	}
	for i, d := range s.docs {
		statements := d.doc.Statement
		if deny := s.with(i, append(slices.Clone(statements), w.denial(kindOf[d.layer]))).decide(t); deny == Allowed && before != Allowed {
			t.Errorf("a Deny more in %v allows", d.layer)
		}
		for j, st := range statements {
			without := s.with(i, slices.Delete(slices.Clone(statements), j, j+1))
			if len(statements) == 1 {
				continue // a document needs a statement
			}
			after := without.decide(t)
			if st["Effect"] == "Allow" && after == Allowed && before != Allowed {
				t.Errorf("an Allow less in %v allows", d.layer)
			}
			if st["Effect"] == "Deny" && before == Allowed && after != Allowed {
				t.Errorf("a Deny less in %v denies", d.layer)
			}
			if st["Effect"] == "Allow" && (before == ExplicitDeny) != (after == ExplicitDeny) {
				t.Errorf("an Allow less in %v changes what is denied: %v, then %v", d.layer, before, after)
			}
		}
		shuffled := slices.Clone(statements)
		w.Shuffle(len(shuffled), func(a, b int) { shuffled[a], shuffled[b] = shuffled[b], shuffled[a] })
		if after := s.with(i, shuffled).decide(t); after != before {
			t.Errorf("in another order: %v, then %v", before, after)
		}
		if after := s.with(i, split(statements)).decide(t); after != before {
			t.Errorf("with a statement for each action and resource: %v, then %v", before, after)
		}
		if after := s.with(i, slices.Concat(statements, statements)).decide(t); after != before {
			t.Errorf("said twice: %v, then %v", before, after)
		}
	}
	w.Shuffle(len(s.docs), func(a, b int) { s.docs[a], s.docs[b] = s.docs[b], s.docs[a] })
	if after := s.decide(t); after != before {
		t.Errorf("with the policies in another order: %v, then %v", before, after)
	}
	s.request.Action = strings.ToUpper(s.request.Action)
	if after := s.decide(t); after != before {
		t.Errorf("with the action in upper case: %v, then %v", before, after)
	}
	if t.Failed() {
		data, _ := json.MarshalIndent(s.docs, "", " ")
		t.Logf("%+v\n%s", s.request, data)
		for _, r := range explained.Reasons {
			t.Log(r.Text)
		}
		t.FailNow()
	}
}

// denial is a statement that denies whatever it is asked.
func (w world) denial(k Kind) map[string]any {
	st := w.statement(k)
	st["Effect"] = "Deny"
	return st
}

// split gives every action and resource a statement of its own, where that means the same.
func split(statements []map[string]any) []map[string]any {
	var out []map[string]any
	for _, st := range statements {
		parts := []map[string]any{st}
		for _, name := range []string{"Action", "Resource"} {
			var next []map[string]any
			for _, part := range parts {
				values, ok := part[name].([]string)
				if !ok {
					next = append(next, part)
				}
				for _, v := range values {
					one := map[string]any{}
					for k, x := range part {
						one[k] = x
					}
					one[name] = v
					next = append(next, one)
				}
			}
			parts = next
		}
		out = append(out, parts...)
	}
	return out
}

func TestLaws(t *testing.T) {
	n := uint64(1500)
	if testing.Short() {
		n = 300
	}
	outcomes := map[Outcome]int{}
	for seed := range n {
		w := world{rand.New(rand.NewPCG(seed, 1))}
		laws(t, w)
		outcomes[world{rand.New(rand.NewPCG(seed, 1))}.scene().decide(t)]++
	}
	for _, o := range []Outcome{Allowed, ImplicitDeny, ExplicitDeny} {
		if outcomes[o] < int(n)/20 {
			t.Errorf("of %d scenes only %d are %v: the laws were hardly tried", n, outcomes[o], o)
		}
	}
}

// TestLawsOfTables tries on the tables that a Deny more never allows and that an Allow less never does.
func TestLawsOfTables(t *testing.T) {
	everything := mustParse(t, `{"Statement": {"Effect": "Deny", "Action": "*", "Resource": "*"}}`, Identity)
	for _, c := range readTables(t) {
		if always(&c.request) {
			continue
		}
		p := c.policies
		p.Identity = append(slices.Clone(p.Identity), Named{"deny", everything})
		if d := Decide(&c.request, &p); d.Outcome != ExplicitDeny {
			t.Errorf("%s: %s: with everything denied %v", c.file, c.line, d)
		}
		for i := range c.policies.Identity {
			p := c.policies
			p.Identity = slices.Delete(slices.Clone(p.Identity), i, i+1)
			if d := Decide(&c.request, &p); c.want == ImplicitDeny && d.Outcome == Allowed {
				t.Errorf("%s: %s: allowed without %s", c.file, c.line, c.policies.Identity[i].Name)
			}
		}
	}
}

// TestGlob compares the matcher with the regular expression of a pattern.
func TestGlob(t *testing.T) {
	w := world{rand.New(rand.NewPCG(7, 7))}
	e := &evaluator{r: &Request{}}
	word := func(letters string, n int) string {
		b := make([]byte, w.IntN(n))
		for i := range b {
			b[i] = letters[w.IntN(len(letters))]
		}
		return string(b)
	}
	matched := 0
	for range 20_000 {
		source, s := word("ab:*?", 9), word("ab:", 9)
		tokens, _ := tokenize(source, syntax{wildcards: true})
		wide := newPattern(source, tokens, false)
		expression := regexp.MustCompile("^" + strings.NewReplacer("*", ".*", "?", ".").Replace(source) + "$")
		if got, want := wide.match(e, s), expression.MatchString(s); got != want {
			t.Fatalf("%q on %q: %v, want %v", source, s, got, want)
		}
		if wide.overlaps(e, s) != wide.match(e, s) {
			t.Fatalf("%q overlaps %q: %v", source, s, wide.overlaps(e, s))
		}
		resource, _ := newResourcePattern(source, false, false)
		expression = regexp.MustCompile("^" + narrowExpression(source) + "$")
		if got, want := resource.match(e, s), expression.MatchString(s); got != want {
			t.Fatalf("resource %q on %q: %v, want %v", source, s, got, want)
		}
		if resource.match(e, s) {
			matched++
		}
	}
	if matched < 500 {
		t.Errorf("only %d matches", matched)
	}
}

// narrowExpression is the regular expression of a resource's pattern.
func narrowExpression(source string) string {
	var b strings.Builder
	colons := 0
	for i := 0; i < len(source); i++ {
		end := i+1 == len(source) || source[i+1] == ':'
		switch c := source[i]; {
		case c == ':':
			colons++
			b.WriteByte(':')
		case c == '*' && (colons >= 5 || end):
			b.WriteString(".*")
		case c == '*':
			b.WriteString("[^:]*")
		case c == '?' && colons >= 5:
			b.WriteString(".")
		case c == '?':
			b.WriteString("[^:]")
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// TestOverlaps holds that patterns overlap when a string matches both.
func TestOverlaps(t *testing.T) {
	w := world{rand.New(rand.NewPCG(8, 8))}
	e := &evaluator{r: &Request{}}
	compile := func(source string) pattern {
		tokens, _ := tokenize(source, syntax{wildcards: true})
		return newPattern(source, tokens, false)
	}
	var words []string
	for n := range 5 {
		for i := range 1 << n {
			words = append(words, strings.NewReplacer("0", "a", "1", "b").Replace(fmt.Sprintf("%0*b", n, i))[:n])
		}
	}
	for range 3000 {
		a, b := "", ""
		for range w.IntN(4) {
			a += pick(w, "a", "b", "*", "?")
		}
		for range w.IntN(4) {
			b += pick(w, "a", "b", "*", "?")
		}
		pa, pb := compile(a), compile(b)
		want := slices.ContainsFunc(words, func(s string) bool { return pa.match(e, s) && pb.match(e, s) })
		// Words of up to 4 letters are enough where no more than 4 are fixed between the two.
		if got := pa.overlaps(e, b); got != want && len(a)+len(b) <= 4 {
			t.Errorf("%q and %q: %v, want %v", a, b, got, want)
		}
	}
}
