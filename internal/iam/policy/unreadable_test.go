package policy

import (
	"fmt"
	"testing"
)

// What a client sends and an operator can't read, such as a tag that is no ARN, satisfies no Allow and doesn't pass by a Deny
// of all but some values.
func TestUnreadableValues(t *testing.T) {
	const key = "aws:RequestTag/owner"
	for _, tt := range []struct{ operator, value, sent string }{
		{"ArnNotLike", "arn:aws:iam::111122223333:role/*", "nonsense"},
		{"ArnNotEquals", "arn:aws:iam::111122223333:role/a", ""},
		{"NotIpAddress", "203.0.113.0/24", "203.0.113.7/24"},
		{"NumericNotEquals", "5", "five"},
		{"DateNotEquals", "2026-01-31T12:00:00Z", "tomorrow"},
	} {
		for _, prefix := range []string{"", "ForAnyValue:", "ForAllValues:"} {
			for _, suffix := range []string{"", "IfExists"} {
				operator := prefix + tt.operator + suffix
				decide := func(effect string) Outcome {
					p, err := Parse(fmt.Appendf(nil, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ecr:Get*","Resource":"*"},
						{"Effect":%q,"Action":"*","Resource":"*","Condition":{%q:{%q:%q}}}]}`, effect, operator, key, tt.value), Identity)
					if err != nil {
						t.Fatal(err)
					}
					action := map[string]string{"Allow": "ecr:PutImage", "Deny": "ecr:GetRepositoryPolicy"}[effect]
					r := &Request{Principal: Principal{Type: User, ARN: "arn:aws:iam::111122223333:user/alice", Account: "111122223333"}, Action: action,
						Resource: "arn:aws:ecr:eu-west-1:111122223333:repository/app", ResourceAccount: "111122223333",
						Context: MapContext{"aws:requesttag/owner": {tt.sent}}}
					return Decide(r, &Policies{Identity: []Named{{"x", p}}}).Outcome
				}
				if got := decide("Allow"); got != ImplicitDeny {
					t.Errorf("Allow, %s of %q: %v", operator, tt.sent, got)
				}
				if got := decide("Deny"); got != ExplicitDeny {
					t.Errorf("Deny, %s of %q: %v", operator, tt.sent, got)
				}
			}
		}
	}
}
