package policy

import "testing"

// mustParse parses a document that a test relies on.
func mustParse(t testing.TB, doc string, k Kind) *Policy {
	t.Helper()
	p, err := Parse([]byte(doc), k)
	if err != nil {
		t.Fatalf("%s: %v", doc, err)
	}
	return p
}

func TestDecideOutline(t *testing.T) {
	identity := []Named{{"inline policy pull", mustParse(t, `{"Version": "2012-10-17", "Statement": [
		{"Sid": "Pull", "Effect": "Allow", "Action": "ecr:Batch*", "Resource": "arn:aws:ecr:*:111122223333:repository/team/*"},
		{"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": {"StringNotEqualsIfExists": {"aws:SourceVpce": "vpce-1"}}}
	]}`, Identity)}}
	alice := Principal{Type: User, ARN: "arn:aws:iam::111122223333:user/alice", Account: "111122223333"}
	for _, tt := range []struct {
		name, action, repo, vpce string
		want                     Decision
	}{
		{"allowed", "ecr:batchgetimage", "team/a", "vpce-1", Decision{Allowed, IdentityLayer, "inline policy pull", "Pull"}},
		{"denied", "ecr:BatchGetImage", "team/a", "vpce-2", Decision{ExplicitDeny, IdentityLayer, "inline policy pull", "2"}},
		{"elsewhere", "ecr:BatchGetImage", "other/a", "vpce-1", Decision{ImplicitDeny, IdentityLayer, "", ""}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := Decide(&Request{
				Principal: alice, Action: tt.action, ResourceAccount: "111122223333",
				Resource: "arn:aws:ecr:eu-west-1:111122223333:repository/" + tt.repo,
				Context:  MapContext{"aws:sourcevpce": {tt.vpce}},
			}, &Policies{Identity: identity})
			if got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}
