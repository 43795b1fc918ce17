package lint_test

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/sekisho/sekisho/internal/iam/lint"
	"github.com/sekisho/sekisho/internal/iam/policy"
)

// world makes documents and requests at random, of few words, so that they meet.
type world struct{ *rand.Rand }

func pick[T any](w world, all ...T) T { return all[w.IntN(len(all))] }

var worldValues = map[string][]string{
	"aws:SourceIp":         {"203.0.113.7", "203.0.114.7", "198.51.100.1", "2001:db8::1"},
	"aws:VpcSourceIp":      {"10.0.0.1", "10.1.0.1"},
	"aws:SourceVpce":       {"vpce-0123456789abcdef0", "vpce-0123456789abcdef1"},
	"aws:SourceVpc":        {"vpc-0123456789abcdef0", "vpc-0123456789abcdef1"},
	"aws:PrincipalTag/t":   {"a", "ab", "b", ""},
	"aws:SecureTransport":  {"true", "false"},
	"aws:PrincipalAccount": {"111122223333", "444455556666"},
	"aws:EpochTime":        {"10", "15", "20"},
}

// condition returns an operator, a key and values.
func (w world) condition() (operator, key string, values []string) {
	key = pick(w, "aws:SourceIp", "aws:SourceIp", "aws:VpcSourceIp", "aws:SourceVpce", "aws:SourceVpce", "aws:SourceVpc", "aws:PrincipalTag/t", "aws:PrincipalTag/t", "aws:SecureTransport", "aws:EpochTime")
	if w.IntN(6) == 0 {
		return "Null", key, []string{pick(w, "true", "false")}
	}
	from := worldValues[key]
	switch key {
	case "aws:SourceIp", "aws:VpcSourceIp":
		operator = pick(w, "IpAddress", "NotIpAddress")
		from = append(slices.Clone(from), "203.0.113.0/24", "203.0.112.0/20", "10.0.0.0/8", "0.0.0.0/0")
	case "aws:SecureTransport":
		operator = "Bool"
	case "aws:EpochTime":
		operator = pick(w, "NumericLessThan", "NumericGreaterThanEquals", "NumericNotEquals", "DateEquals")
	default:
		operator = pick(w, "StringEquals", "StringNotEquals", "StringLike", "StringNotLike", "ForAnyValue:StringLike", "ForAllValues:StringNotLike")
		from = append(slices.Clone(from), from[0][:1]+"*", "*")
	}
	if w.IntN(3) == 0 {
		operator += "IfExists"
	}
	for range 1 + w.IntN(2) {
		values = append(values, pick(w, from...))
	}
	return operator, key, values
}

// statement returns a statement and whether it has conditions.
func (w world) statement(effect, principal, action string) string {
	conditions := map[string]map[string][]string{}
	for range w.IntN(5) {
		operator, key, values := w.condition()
		if conditions[operator] == nil {
			conditions[operator] = map[string][]string{}
		}
		conditions[operator][key] = values
	}
	text, _ := json.Marshal(map[string]any{"Effect": effect, "Principal": map[string]string{"AWS": principal}, "Action": action, "Condition": conditions})
	return string(text)
}

// context returns what a request has that comes from somewhere.
func (w world) context() policy.MapContext {
	m := policy.MapContext{"aws:securetransport": {pick(w, worldValues["aws:SecureTransport"]...)}, "aws:epochtime": {pick(w, worldValues["aws:EpochTime"]...)}}
	if w.IntN(2) == 0 {
		m["aws:sourceip"] = []string{pick(w, worldValues["aws:SourceIp"]...)}
	} else {
		m["aws:sourcevpce"] = []string{pick(w, append(slices.Clone(worldValues["aws:SourceVpce"]), "vpce-0123456789abcdef2")...)}
		m["aws:vpcsourceip"] = []string{pick(w, worldValues["aws:VpcSourceIp"]...)}
		if w.IntN(2) == 0 {
			m["aws:sourcevpc"] = []string{pick(w, worldValues["aws:SourceVpc"]...)}
		}
	}
	if w.IntN(2) == 0 {
		m["aws:principaltag/t"] = []string{pick(w, worldValues["aws:PrincipalTag/t"]...)}
	}
	return m
}

// TestClaimsHold: of what is said to never match no request is found that does, of who is said to be locked out none gets in,
// and of what is said to be refused through endpoints nothing comes through.
func TestClaimsHold(t *testing.T) {
	w := world{rand.New(rand.NewPCG(7, 3))}
	claims := map[string]int{}
	for range 4000 {
		deny := w.IntN(2) == 0
		doc := w.statement("Allow", "*", "ecr:BatchGetImage")
		if deny {
			doc = w.statement("Deny", pick(w, "*", "*", "111122223333"), "ecr:*")
			if w.IntN(2) == 0 {
				doc += "," + w.statement("Deny", "*", "ecr:*")
			}
		}
		doc = document(doc)
		r := lint.Check([]byte(doc), lint.Repository)
		p, err := policy.Parse([]byte(doc), policy.Resource)
		if err != nil {
			t.Fatalf("%v: %s", err, doc)
		}
		has := func(code string) bool {
			return slices.ContainsFunc(r.Findings, func(f lint.Finding) bool { return f.Code == code })
		}
		dead := has("contradiction") || has("network-contradiction") || has("never-matches")
		resource := []policy.Named{{Name: "repository policy", Policy: p}}
		for _, f := range r.Findings {
			claims[f.Code]++
		}
		for range 60 {
			c := w.context()
			who := policy.Principal{Type: policy.User, ARN: "arn:aws:iam::111122223333:user/alice", Account: "111122223333"}
			if w.IntN(2) == 0 {
				who = policy.Principal{Type: policy.Root, ARN: "arn:aws:iam::111122223333:root", Account: "111122223333"}
			}
			ask := &policy.Request{Principal: who, Action: "ecr:SetRepositoryPolicy", Resource: "arn:aws:ecr:us-east-1:111122223333:repository/app", ResourceAccount: "111122223333", Context: c}
			if !deny {
				ask.Action, ask.Principal = "ecr:BatchGetImage", policy.Principal{}
			}
			d := policy.Decide(ask, &policy.Policies{Resource: resource, Identity: []policy.Named{{Policy: admin}}})
			switch {
			case !deny && dead && d.Outcome == policy.Allowed:
				t.Fatalf("said to never match, and matches %v: %s", c, doc)
			case deny && has("lockout") && d.Outcome == policy.Allowed:
				t.Fatalf("said to lock out, and lets in %v %v: %s", who, c, doc)
			case deny && has("endpoint-only") && d.Outcome == policy.Allowed && c["aws:sourceip"] != nil:
				t.Fatalf("said to be for endpoints only, and lets in %v: %s", c, doc)
			case deny && dead && len(p.Outline().Clauses) == 1 && d.Outcome != policy.Allowed:
				t.Fatalf("said to never match, and denies %v: %s", c, doc)
			case deny && has("denies-everywhere") && d.Outcome == policy.Allowed:
				t.Fatalf("said to deny everything, and lets in %v: %s", c, doc)
			}
		}
	}
	for _, code := range []string{"contradiction", "network-contradiction", "lockout", "endpoint-only", "endpoint-refused"} {
		if claims[code] < 20 {
			t.Errorf("%s was claimed %d times only: %v", code, claims[code], claims)
		}
	}
}

var admin = func() *policy.Policy {
	p, err := policy.Parse([]byte(`{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`), policy.Identity)
	if err != nil {
		panic(err)
	}
	return p
}()
