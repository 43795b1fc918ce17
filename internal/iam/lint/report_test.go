package lint_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/iam/lint"
)

// TestGuess has what documents are taken for.
func TestGuess(t *testing.T) {
	for _, tt := range []struct {
		doc  string
		want lint.Kind
	}{
		{document(push("")), lint.Identity},
		{`not JSON`, lint.Identity},
		{document(on("Allow", alice, "ecr:BatchGetImage", "")), lint.Repository},
		{document(`{"Effect":"Allow","Principal":"*","Action":"ecr:*","Resource":"arn:aws:ecr:us-east-1:111122223333:repository/*"}`), lint.Registry},
		{document(`{"Effect":"Allow","Principal":"*","Action":"secretsmanager:GetSecretValue","Resource":"*"}`), lint.Secret},
		{document(web("")), lint.Trust},
		{document(`{"Effect":"Allow","Principal":"*","Action":["ecr:*","sts:GetCallerIdentity"],"Resource":"*"}`), lint.Resource},
	} {
		if r := lint.Check([]byte(tt.doc), ""); r.Kind != tt.want {
			t.Errorf("%s is taken for %q, want %q", tt.doc, r.Kind, tt.want)
		}
	}
}

// TestFinding has what is said of the trap of story 1, and where.
func TestFinding(t *testing.T) {
	doc := `{
  "Version": "2012-10-17",
  "Statement": [{
    "Sid": "OnlyTheOffice",
    "Effect": "Deny",
    "Principal": "*",
    "Action": ["ecr:*", "ecr:PutImag"],
    "Condition": {
      "NotIpAddress": {"aws:SourceIp": ["203.0.113.0/24", "198.51.100.7"]}
    }
  }]
}`
	want := []lint.Finding{
		{
			Severity: lint.Error, Code: "unknown-action", Line: 7, Column: 25, Statement: "OnlyTheOffice",
			Message: `ecr has no action "PutImag"`, Fix: "Did you mean ecr:PutImage?",
		},
		{
			Severity: lint.Warning, Code: "endpoint-refused", Line: 9, Column: 7, Statement: "OnlyTheOffice",
			Message: "this Deny refuses everything that comes through a private endpoint: there aws:SourceIp is absent, and NotIpAddress, being negated, is true when its key is absent",
			Fix: `To let an endpoint in, write "Condition": {"NotIpAddressIfExists": {"aws:SourceIp": ["203.0.113.0/24", "198.51.100.7"]}, ` +
				`"StringNotEqualsIfExists": {"aws:SourceVpce": "vpce-…"}}. To leave what comes through endpoints out of this rule, add "Null": {"aws:SourceIp": "false"}.`,
		},
	}
	if diff := cmp.Diff(want, lint.Check([]byte(doc), lint.Repository).Findings); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
}

// TestCorrected: what the fix of the trap says is right.
func TestCorrected(t *testing.T) {
	trap := document(on("Deny", `"*"`, "ecr:*", office))
	r := lint.Check([]byte(trap), lint.Repository)
	if len(r.Findings) != 1 {
		t.Fatalf("findings: %v", codes(r))
	}
	_, condition, _ := strings.Cut(r.Findings[0].Fix, `"Condition": {`)
	condition, _, ok := strings.Cut(condition, "}}.")
	if !ok {
		t.Fatalf("no condition in %s", r.Findings[0].Fix)
	}
	condition = strings.ReplaceAll(condition, "vpce-…", "vpce-0123456789abcdef0") + "}"
	if r := lint.Check([]byte(document(on("Deny", `"*"`, "ecr:*", condition))), lint.Repository); len(r.Findings) > 0 {
		t.Errorf("the corrected condition %s has findings: %v", condition, r.Findings)
	}
}

// TestSuggestions has what is said instead of a misspelt name.
func TestSuggestions(t *testing.T) {
	for _, tt := range []struct{ statement, want string }{
		{`{"Effect":"Allow","Action":"ecr:GetAuthorisationToken","Resource":"*"}`, "ecr:GetAuthorizationToken"},
		{`{"Effect":"Allow","Action":"ecr:AssumeRole","Resource":"*"}`, "sts:AssumeRole"},
		{`{"Effect":"Allow","Action":"secretsmanger:GetSecretValue","Resource":"*"}`, "secretsmanager:GetSecretValue"},
		{push(`"StringEquals":{"aws:SourceVPCEndpoint":"vpce-0123456789abcdef0"}`), ""},
		{push(`"StringEquals":{"aws:SoruceVpce":"vpce-0123456789abcdef0"}`), "aws:SourceVpce"},
		{push(`"StringEquals":{"ecr:PrincipalAccount":"111122223333"}`), "aws:PrincipalAccount"},
		{push(`"StringEquals":{"aws:PrincipalTags/team":"x"}`), "aws:PrincipalTag/team"},
		{push(`"StringEquals":{"ecr:ResourceTags/team":"x"}`), "ecr:ResourceTag/team"},
	} {
		r := lint.Check([]byte(document(tt.statement)), lint.Identity)
		if len(r.Findings) != 1 || r.Findings[0].Severity != lint.Error {
			t.Errorf("%s: %v", tt.statement, r.Findings)
			continue
		}
		want := ""
		if tt.want != "" {
			want = "Did you mean " + tt.want + "?"
		}
		if got := r.Findings[0].Fix; !strings.Contains(got, want) || want == "" && strings.Contains(got, "Did you mean") {
			t.Errorf("%s: %q, want %q", tt.statement, got, want)
		}
	}
}

// TestSilent has policies as they are in use, which are right.
func TestSilent(t *testing.T) {
	for _, tt := range []struct {
		name string
		kind lint.Kind
		doc  string
	}{
		{"least to push", lint.Identity, document(`{"Effect":"Allow","Action":["ecr:CompleteLayerUpload","ecr:UploadLayerPart","ecr:InitiateLayerUpload",
			"ecr:BatchCheckLayerAvailability","ecr:PutImage","ecr:BatchGetImage"],"Resource":"arn:aws:ecr:us-east-1:111122223333:repository/team/app"},
			{"Effect":"Allow","Action":"ecr:GetAuthorizationToken","Resource":"*"}`)},
		{"by network, as in the story", lint.Repository, document(`{"Sid":"OnlyTheRightNetwork","Effect":"Deny","Principal":"*","Action":"ecr:*","Condition":{
			"NotIpAddressIfExists":{"aws:SourceIp":["198.51.100.0/24","203.0.113.7/32"]},"StringNotEqualsIfExists":{"aws:SourceVpce":"vpce-0a1b2c3d4e5f60718"},
			"ArnNotEquals":{"aws:PrincipalArn":"arn:aws:iam::111122223333:user/scanner"}}},
			{"Sid":"OfficeReads","Effect":"Deny","Principal":"*","Action":["ecr:PutImage","ecr:InitiateLayerUpload","ecr:UploadLayerPart","ecr:CompleteLayerUpload"],
			"Condition":{"StringNotEquals":{"aws:SourceVpce":"vpce-0a1b2c3d4e5f60718"}}}`)},
		{"another account pulls", lint.Repository, document(`{"Sid":"Pull","Effect":"Allow","Principal":{"AWS":["arn:aws:iam::444455556666:root","555566667777"]},
			"Action":["ecr:BatchGetImage","ecr:GetDownloadUrlForLayer","ecr:BatchCheckLayerAvailability"]}`)},
		{"replication", lint.Registry, document(`{"Sid":"In","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::444455556666:root"},
			"Action":["ecr:CreateRepository","ecr:ReplicateImage"],"Resource":["arn:aws:ecr:eu-west-1:111122223333:repository/*"]}`)},
		{"from CI", lint.Trust, document(`{"Effect":"Allow","Principal":` + fromCI + `,"Action":["sts:AssumeRoleWithWebIdentity","sts:TagSession"],
			"Condition":{"StringEquals":{"` + github + `:aud":"sts.amazonaws.com","` + github + `:sub":"repo:team/app:ref:refs/heads/main"}}}`)},
		{"of Kubernetes", lint.Trust, document(`{"Effect":"Allow","Principal":{"Federated":"arn:aws:iam::111122223333:oidc-provider/oidc.eks.eu-west-1.amazonaws.com/id/ABC"},
			"Action":"sts:AssumeRoleWithWebIdentity","Condition":{"StringEquals":{"oidc.eks.eu-west-1.amazonaws.com/id/ABC:sub":"system:serviceaccount:build:runner"}}}`)},
		{"with an external id", lint.Trust, document(`{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::444455556666:role/ci"},"Action":"sts:AssumeRole",
			"Condition":{"StringEquals":{"sts:ExternalId":"7f3a"},"StringLike":{"sts:RoleSessionName":"run-*"}}}`)},
		{"own keys", lint.Identity, document(`{"Effect":"Allow","Action":["iam:CreateAccessKey","iam:DeleteAccessKey","iam:ListAccessKeys","iam:UpdateAccessKey"],
			"Resource":"arn:aws:iam::*:user/${aws:username}"}`)},
		{"with a boundary", lint.Identity, document(`{"Effect":"Allow","Action":["iam:CreateRole","iam:PutRolePolicy","iam:AttachRolePolicy"],"Resource":"arn:aws:iam::111122223333:role/ci/*",
			"Condition":{"StringEquals":{"iam:PermissionsBoundary":"arn:aws:iam::111122223333:policy/ci-boundary"}}}`)},
		{"certain policies", lint.Identity, document(`{"Effect":"Allow","Action":["iam:AttachUserPolicy","iam:DetachUserPolicy"],"Resource":"*",
			"Condition":{"ArnLike":{"iam:PolicyARN":["arn:aws:iam::aws:policy/AmazonEC2ContainerRegistry*","arn:aws:iam::111122223333:policy/*"]}}}`)},
		{"by team", lint.Identity, document(`{"Effect":"Allow","Action":"ecr:*","Resource":"*","Condition":{"StringEquals":{"ecr:ResourceTag/team":"${aws:PrincipalTag/team, 'none'}"}}}`)},
		{"tags of a team", lint.Identity, document(`{"Effect":"Allow","Action":["ecr:CreateRepository","ecr:TagResource"],"Resource":"*",
			"Condition":{"StringEquals":{"aws:RequestTag/team":"blue"},"ForAllValues:StringEquals":{"aws:TagKeys":["team","stage"]},"Null":{"aws:TagKeys":"false"}}}`)},
		{"secrets of a stage", lint.Identity, document(`{"Effect":"Allow","Action":"secretsmanager:GetSecretValue","Resource":"arn:aws:secretsmanager:*:111122223333:secret:prod/*",
			"Condition":{"StringEquals":{"secretsmanager:VersionStage":"AWSCURRENT"}}}`)},
		{"secret for a role", lint.Secret, document(`{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:role/deploy"},"Action":"secretsmanager:GetSecretValue","Resource":"*"}`)},
		{"through an endpoint, own accounts", lint.Endpoint, document(`{"Effect":"Allow","Principal":"*","Action":["ecr:*","sts:*"],"Resource":"*","Condition":{"StringEquals":{"aws:PrincipalAccount":["111122223333","444455556666"]}}}`)},
		{"region", lint.Identity, document(`{"Effect":"Deny","NotAction":["iam:*","sts:*"],"Resource":"*","Condition":{"StringNotEquals":{"aws:RequestedRegion":["eu-west-1","eu-central-1"]}}},
			{"Effect":"Allow","Action":"ecr:*","Resource":"*"}`)},
		{"sessions before a time", lint.Identity, document(`{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"DateLessThan":{"aws:TokenIssueTime":"2026-01-31T12:00:00Z"}}},
			{"Effect":"Allow","Action":"ecr:*","Resource":"*"}`)},
		{"boundary", lint.Boundary, document(`{"Effect":"Allow","Action":["ecr:*","sts:*","secretsmanager:GetSecretValue"],"Resource":"*"},{"Effect":"Deny","Action":"ecr:Delete*","Resource":"*"}`)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, f := range lint.Check([]byte(tt.doc), tt.kind).Findings {
				t.Errorf("%d:%d %s %s: %s", f.Line, f.Column, f.Severity, f.Code, f.Message)
			}
			if r := lint.Check([]byte(tt.doc), ""); !r.Clean() {
				t.Errorf("with the kind guessed: %v", r)
			}
		})
	}
}

// FuzzCheck: whatever the document, there is a report in time, its positions are in the document, and it is always the same.
func FuzzCheck(f *testing.F) {
	for i, s := range []string{push(office), refuse(office + "," + through), on("Deny", `"*"`, "ecr:*", office), web(`"StringLike":{"` + github + `:sub":"repo:*"}`),
		on("Deny", `{"AWS":["111122223333","*"]}`, "ecr:*", `"ForAllValues:StringNotLike":{"aws:TagKeys":["a*","${aws:username}"]},"Null":{"aws:SourceIp":"true"}`),
		`{"Effect":"Deny","NotPrincipal":` + alice + `,"NotAction":"s3:*","NotResource":"arn:aws:ecr:*"}`,
		push(`"DateLessThan":{"aws:CurrentTime":"2026"},"NumericEquals":{"aws:EpochTime":1e3},"IpAddress":{"aws:VpcSourceIp":["::/0","::ffff:10.0.0.0/104"]}`)} {
		f.Add([]byte(document(s)), uint8(i))
	}
	f.Fuzz(func(t *testing.T, doc []byte, kind uint8) {
		kinds := append([]lint.Kind{""}, lint.Kinds...)
		k := kinds[int(kind)%len(kinds)]
		r := lint.Check(doc, k)
		if r.Kind == "" {
			t.Error("the kind is not said")
		}
		lines := strings.Count(string(doc), "\n") + 1
		for _, found := range r.Findings {
			if found.Line < 1 || found.Line > lines || found.Column < 1 || found.Column > len(doc)+1 || found.Code == "" || found.Message == "" {
				t.Errorf("%+v", found)
			}
		}
		if diff := cmp.Diff(r, lint.Check(doc, k)); diff != "" {
			t.Errorf("differs the second time:\n%s", diff)
		}
	})
}

// TestDocs: the documentation has every code.
func TestDocs(t *testing.T) {
	page, err := os.ReadFile("../../../docs/policies.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	code := regexp.MustCompile(`(?:Error|Warning|Note|severity), "([a-z-]+)"|[Cc]ode(?::|\s:?=) "([a-z-]+)"`)
	found := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		for _, m := range code.FindAllStringSubmatch(string(text), -1) {
			found++
			if name := m[1] + m[2]; !strings.Contains(string(page), "`"+name+"`") {
				t.Errorf("docs/policies.md does not have the code %s", name)
			}
		}
	}
	if found < 50 {
		t.Errorf("only %d codes are in the source", found)
	}
}
