package policy

import "testing"

// TestPatternQuestions has questions about patterns of resources: is anything that they match allowed?
func TestPatternQuestions(t *testing.T) {
	statement := func(effect, element, resource string) string {
		return `{"Effect":"` + effect + `","Action":"ecr:*","` + element + `":"` + resource + `"}`
	}
	const repo = "arn:aws:ecr:us-east-1:111122223333:repository/"
	for _, tt := range []struct {
		name, statements, resource string
		want                       Outcome
	}{
		{"some of it", statement("Allow", "Resource", repo+"prod/*"), repo + "*", Allowed},
		{"none of it", statement("Allow", "Resource", repo+"prod/*"), repo + "dev/*", ImplicitDeny},
		{"all denied", statement("Allow", "Resource", repo+"*") + "," + statement("Deny", "Resource", repo+"*"), repo + "prod/*", ExplicitDeny},
		{"some denied", statement("Allow", "Resource", repo+"*") + "," + statement("Deny", "Resource", repo+"prod/a*"), repo + "prod/*", Allowed},
		{"what is allowed is denied", statement("Allow", "Resource", repo+"prod/*") + "," + statement("Deny", "Resource", repo+"prod/*"), repo + "*", ExplicitDeny},
		{"what is allowed is within what is denied", statement("Allow", "Resource", repo+"prod/a*") + "," + statement("Deny", "Resource", repo+"prod/*"), repo + "*", ExplicitDeny},
		{"a part of what is allowed is denied", statement("Allow", "Resource", repo+"prod/*") + "," + statement("Deny", "Resource", repo+"prod/a*"), repo + "*", Allowed},
		{"one of two is denied", statement("Allow", "Resource", repo+"prod/*") + "," + statement("Allow", "Resource", repo+"dev/*") + "," + statement("Deny", "Resource", repo+"prod/*"), repo + "*", Allowed},
		{"all but some denied", statement("Allow", "Resource", repo+"prod/*") + "," + statement("Deny", "NotResource", repo+"dev/*"), repo + "*", ExplicitDeny},
		{"all but this denied", statement("Allow", "Resource", repo+"prod/*") + "," + statement("Deny", "NotResource", repo+"prod/*"), repo + "*", Allowed},
		{"crosswise, nothing denied", statement("Allow", "Resource", repo+"prod/*"), repo + "*/app", Allowed},
		{"crosswise, all denied", statement("Allow", "Resource", repo+"prod/*") + "," + statement("Deny", "Resource", repo+"prod/*"), repo + "*/app", ExplicitDeny},
		{"crosswise, in doubt", statement("Allow", "Resource", repo+"prod/*") + "," + statement("Deny", "Resource", repo+"prod/a*"), repo + "*/app", ExplicitDeny},
		{"nothing allowed, some denied", statement("Allow", "Resource", repo+"dev/*") + "," + statement("Deny", "Resource", repo+"prod/a*"), repo + "prod/*", ImplicitDeny},
		{"everything", statement("Allow", "Resource", "*") + "," + statement("Deny", "Resource", repo+"prod/*"), "*", Allowed},
		{"one, in fact", statement("Allow", "Resource", repo+"prod/app") + "," + statement("Deny", "Resource", repo+"prod/*"), repo + "*", ExplicitDeny},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := Parse([]byte(`{"Version":"2012-10-17","Statement":[`+tt.statements+`]}`), Identity)
			if err != nil {
				t.Fatal(err)
			}
			r := &Request{
				Principal: Principal{Type: User, ARN: "arn:aws:iam::111122223333:user/alice", Account: "111122223333"},
				Action:    "ecr:PutImage", Resource: tt.resource, ResourceAccount: "111122223333", ResourcePattern: true,
			}
			policies := &Policies{Identity: []Named{{Name: "identity", Policy: p}}}
			if d := Decide(r, policies); d.Outcome != tt.want {
				t.Errorf("%s, want %s", d.Outcome, tt.want)
			}
			if trace := Explain(r, policies); trace.Outcome != tt.want {
				t.Errorf("explained as %s, want %s: %+v", trace.Outcome, tt.want, trace.Reasons)
			}
		})
	}
}
