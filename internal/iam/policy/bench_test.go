package policy

import (
	"fmt"
	"strings"
	"testing"
)

// realistic returns 5 policies with 20 statements, as a team that pushes from
// its own network has them, and a request that is allowed by the last of them.
func realistic(t testing.TB) (*Request, *Policies) {
	const account = "111122223333"
	statements := func(n int, format string) string {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf(format, i))
		}
		return `{"Version": "2012-10-17", "Statement": [` + strings.Join(all, ",") + `]}`
	}
	identity := []Named{
		{"AmazonEC2ContainerRegistryReadOnly", mustParse(t, `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": [
			"ecr:GetAuthorizationToken", "ecr:BatchCheckLayerAvailability", "ecr:GetDownloadUrlForLayer", "ecr:GetRepositoryPolicy",
			"ecr:DescribeRepositories", "ecr:ListImages", "ecr:DescribeImages", "ecr:BatchGetImage"], "Resource": "*",
			"Condition": {"StringEquals": {"aws:PrincipalTag/stage": "test"}}}]}`, Identity)},
		{"network", mustParse(t, `{"Version": "2012-10-17", "Statement": [
			{"Sid": "Outside", "Effect": "Deny", "NotAction": "iam:*", "Resource": "*", "Condition": {
				"StringNotEqualsIfExists": {"aws:SourceVpce": ["vpce-1", "vpce-2"]}, "NotIpAddressIfExists": {"aws:SourceIp": ["203.0.113.0/24", "2001:db8::/32"]},
				"BoolIfExists": {"aws:ViaAWSService": "false"}}},
			{"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": {"Bool": {"aws:SecureTransport": "false"}}}]}`, Identity)},
		{"teams", mustParse(t, statements(8, `{"Sid": "Team%[1]d", "Effect": "Allow", "Action": ["ecr:PutImage", "ecr:InitiateLayerUpload", "ecr:UploadLayerPart",
			"ecr:CompleteLayerUpload"], "Resource": "arn:aws:ecr:*:111122223333:repository/team%[1]d/*", "Condition": {"StringLike": {"aws:PrincipalTag/team": "team%[1]d*"}}}`), Identity)},
		{"own", mustParse(t, statements(6, `{"Effect": "Allow", "Action": "ecr:*", "Resource": "arn:aws:ecr:eu-west-%d:111122223333:repository/home/${aws:username}/*"}`), Identity)},
	}
	resource := []Named{{"repository policy", mustParse(t, `{"Version": "2012-10-17", "Statement": [
		{"Effect": "Allow", "Principal": {"AWS": ["444455556666", "arn:aws:iam::777788889999:role/pull"]}, "Action": ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]},
		{"Effect": "Deny", "Principal": "*", "Action": "ecr:BatchDeleteImage", "Condition": {"ArnNotLike": {"aws:PrincipalArn": "arn:aws:iam::111122223333:role/admin/*"}}},
		{"Effect": "Deny", "Principal": "*", "Action": "ecr:*", "Condition": {"StringNotEquals": {"aws:PrincipalOrgID": "o-1"}}}]}`, Resource)}}
	n := 0
	for _, p := range append(identity, resource...) {
		n += len(p.Policy.statements)
	}
	if n != 20 {
		t.Fatalf("%d statements", n)
	}
	return &Request{
		Principal: Principal{Type: User, ARN: "arn:aws:iam::111122223333:user/alice", Account: account},
		Action:    "ecr:PutImage", Resource: "arn:aws:ecr:eu-west-5:111122223333:repository/home/alice/app", ResourceAccount: account,
		Context: MapContext{
			"aws:sourcevpce": {"vpce-2"}, "aws:sourcevpc": {"vpc-1"}, "aws:vpcsourceip": {"10.0.0.7"}, "aws:securetransport": {"true"},
			"aws:principaltag/team": {"team9"}, "aws:principalorgid": {"o-1"}, "aws:currenttime": {"2026-11-20T08:00:00Z"}, "aws:viaawsservice": {"false"},
		},
	}, &Policies{Identity: identity, Resource: resource}
}

func BenchmarkDecide(b *testing.B) {
	r, p := realistic(b)
	if d := Decide(r, p); d.Outcome != Allowed {
		b.Fatalf("%+v", d)
	}
	b.ReportAllocs()
	for b.Loop() {
		Decide(r, p)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "decisions/s")
}

func BenchmarkExplain(b *testing.B) {
	r, p := realistic(b)
	b.ReportAllocs()
	for b.Loop() {
		Explain(r, p)
	}
}

func BenchmarkParse(b *testing.B) {
	_, p := realistic(b)
	doc := []byte(p.Identity[2].Policy.Document())
	b.SetBytes(int64(len(doc)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(doc, Identity); err != nil {
			b.Fatal(err)
		}
	}
}

// TestDecideDoesNotAllocate holds what makes decisions on every request cheap.
func TestDecideDoesNotAllocate(t *testing.T) {
	r, p := realistic(t)
	if n := testing.AllocsPerRun(100, func() { Decide(r, p) }); n != 0 {
		t.Errorf("%v allocations a decision", n)
	}
}
