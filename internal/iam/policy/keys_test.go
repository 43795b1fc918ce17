package policy

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestKeys(t *testing.T) {
	for _, tt := range []struct {
		doc  string
		want []string
	}{
		{`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`, []string{}},
		{`{"Version":"2012-10-17","Statement":[
			{"Effect":"Allow","Action":"*","Resource":["arn:aws:ecr:*:*:repository/${aws:PrincipalTag/team, 'none'}/${*}","${$}{no:key}"],
			 "Condition":{"StringEquals":{"aws:SourceVpce":"x","ecr:ResourceTag/a":["${aws:username}","${broken"]},"Bool":{"AWS:sourcevpce":"true"}}}]}`,
			[]string{"aws:PrincipalTag/team", "aws:SourceVpce", "aws:username", "ecr:ResourceTag/a"}},
		{`{"Version":"2008-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"${aws:username}","Condition":{"Null":{"aws:MultiFactorAuthAge":"true"}}}}`,
			[]string{"aws:MultiFactorAuthAge"}},
	} {
		p, err := ParseLenient([]byte(tt.doc), Identity)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, p.Keys()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.doc, diff)
		}
	}
}

func TestMatches(t *testing.T) {
	const doc = `{"Version":"2012-10-17","Statement":[
  {"Sid":"a","Effect":"Allow","Action":"ecr:*","Resource":"*"},
  {"Effect":"Deny",
   "Action":"ecr:PutImage", "Resource":"*", "Condition":{"StringEquals":{"aws:SourceVpce":"vpce-1","aws:username":"ann"}}},
  {"Effect":"Allow","Action":"s3:*","Resource":"*"}
]}`
	p, err := Parse([]byte(doc), Identity)
	if err != nil {
		t.Fatal(err)
	}
	policies := []Named{{Name: "gone"}, {Name: "p", Policy: p}}
	r := &Request{
		Principal: Principal{Type: User, ARN: "arn:aws:iam::111122223333:user/ann", Account: "111122223333"},
		Action:    "ecr:PutImage", Resource: "*", ResourceAccount: "111122223333",
	}
	allow := Match{Policy: "p", Statement: "a", Start: Position{2, 3}, End: Position{2, 63}}
	if diff := cmp.Diff([]Match{allow}, Matches(r, policies)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"aws:SourceVpce"}, Missing(r, policies, nil)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	r.Context = MapContext{"aws:sourcevpce": {"vpce-1"}}
	deny := Match{Policy: "p", Statement: "2", Deny: true, Start: Position{3, 3}, End: Position{4, 123}}
	if diff := cmp.Diff([]Match{allow, deny}, Matches(r, policies)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if missing := Missing(r, policies); missing != nil {
		t.Errorf("missing %q", missing)
	}
}
