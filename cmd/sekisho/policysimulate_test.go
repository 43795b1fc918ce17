package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const simulatedCase = `{
  "name": "push from the build network",
  "request": {
    "principal": "arn:aws:sts::111122223333:assumed-role/build/run-7",
    "action": "ecr:PutImage",
    "resource": {"resource": "arn:aws:ecr:eu-west-1:111122223333:repository/prod/app", "accountId": "111122223333"},
    "context": {"aws:SourceVpce": "vpce-build", "aws:TagKeys": ["team", "stage"], "aws:MultiFactorAuthAge": 7}
  },
  "identityPolicies": [
    {"name": "push", "policy": {"Version": "2012-10-17", "Statement": [{"Sid": "Push", "Effect": "Allow", "Action": "ecr:*", "Resource": "*"}]}}
  ],
  "resourcePolicy": {"Version": "2012-10-17", "Statement": [{"Sid": "OnlyThere", "Effect": "Deny", "Principal": "*", "Action": "ecr:*",
    "Condition": {"StringNotEquals": {"aws:SourceVpce": "vpce-build"}}}]},
  "permissionBoundaries": [],
  "sessionPolicy": null,
  "serviceControlPolicies": [{"orgIdentifier": "ou-1", "policies": [{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}]}],
  "resourceControlPolicies": [{"orgIdentifier": "ou-1", "policies": []}],
  "endpointPolicies": [{"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}]}]
}`

func TestPolicySimulate(t *testing.T) {
	r := sekisho(t, nil, simulatedCase, "policy", "simulate")
	r.want(t, 0, "")
	var one struct {
		Name, Decision string
		Reasons        []struct {
			Policy, Statement, Text string
			Checks                  []struct {
				Element         string
				Matches         bool
				Request, Policy []string
			}
		}
	}
	if err := json.Unmarshal([]byte(r.stdout), &one); err != nil {
		t.Fatalf("%v: %s", err, r.stdout)
	}
	if one.Name != "push from the build network" || one.Decision != "Allowed" {
		t.Errorf("%+v", one)
	}
	last := one.Reasons[len(one.Reasons)-1]
	if last.Policy != "push" || last.Statement != "Push" || last.Text != "Allowed by an identity-based policy" {
		t.Errorf("concludes with %+v", last)
	}
	found := false
	for _, reason := range one.Reasons {
		for _, c := range reason.Checks {
			if reason.Statement == "OnlyThere" && c.Element == "Condition.StringNotEquals.aws:SourceVpce" {
				found = !c.Matches && c.Request[0] == "vpce-build" && c.Policy[0] == "vpce-build"
			}
		}
	}
	if !found {
		t.Errorf("the condition that did not match is not among the reasons: %s", r.stdout)
	}
}

// TestPolicySimulateList has a case for each decision and for each way to be no case: the others are decided all the same.
func TestPolicySimulateList(t *testing.T) {
	change := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(simulatedCase) }
	cases := []struct {
		doc, decision, field, message string
	}{
		{change(), "Allowed", "", ""},
		{change("vpce-build\", \"aws:TagKeys", "vpce-other\", \"aws:TagKeys"), "ExplicitlyDenied", "", ""},
		{change(`"Action": "ecr:*", "Resource"`, `"Action": "ecr:Get*", "Resource"`), "ImplicitlyDenied", "", ""},
		{change(`"arn:aws:sts::111122223333:assumed-role/build/run-7"`, `{"type": "Anonymous"}`), "ImplicitlyDenied", "", ""},
		{change(`"sessionPolicy": null`, `"sessionPolicy": {"Statement": []}`), "ImplicitlyDenied", "", ""},
		{change(`"sessionPolicy": null`, `"sessionPolicy": "{\"Statement\": {\"Effect\": \"Allow\", \"Action\": \"ecr:*\", \"Resource\": \"*\"}}"`), "Allowed", "", ""},
		{change(`, "accountId": "111122223333"`, ``), "Allowed", "", ""},
		{change(`"Effect": "Deny"`, `"Effect": "deny"`), "", "resourcePolicy", `line 1, column 72: Statement[0].Effect: "deny" is no effect; write "Allow" or "Deny"`},
		{change(`"Allow", "Action": "*", "Resource": "*"`, `"Allow", "Action": "*", "Resources": "*"`), "", "serviceControlPolicies[0].policies[0]", `there is no such element`},
		{change(`arn:aws:sts::111122223333:assumed-role/build/run-7`, `build`), "", "request.principal", `"build" is neither an ARN nor`},
		{change(`"arn:aws:sts::111122223333:assumed-role/build/run-7"`, `{"type": "User"}`), "", "request.principal.type", `"User" is unknown`},
		{change(`"arn:aws:sts::111122223333:assumed-role/build/run-7"`, `7`), "", "request.principal", `write an ARN`},
		{change(`"ecr:PutImage"`, `"PutImage"`), "", "request.action", `"PutImage" is no action; write service:Action`},
		{change(`"ecr:PutImage"`, `["ecr:PutImage"]`), "", "request.action", `must be a string, and is a JSON array`},
		{change(`{"resource": "arn:aws:ecr:eu-west-1:111122223333:repository/prod/app", "accountId": "111122223333"}`, `"*"`), "", "request.resource", `must be {"resource": an ARN or "*", "accountId": 12 digits}, and is a JSON string`},
		{change(`"arn:aws:ecr:eu-west-1:111122223333:repository/prod/app"`, `""`), "", "request.resource.resource", `is missing`},
		{change(`["team", "stage"]`, `{"team": 1}`), "", "request.context.aws:TagKeys", `must be a string or a list of strings`},
		{change(`"permissionBoundaries": []`, `"permissionBoundaries": {}`), "", "permissionBoundaries", `must be a list of policies, and is a JSON object`},
	}
	var docs []string
	for _, c := range cases {
		docs = append(docs, c.doc)
	}
	file := filepath.Join(t.TempDir(), "cases.json")
	if err := os.WriteFile(file, []byte("["+strings.Join(docs, ",")+"]"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := sekisho(t, nil, "", "policy", "simulate", file)
	r.want(t, exitFailed, "")
	var results []struct {
		Name, Decision string
		Error          *struct{ Field, Message string }
	}
	if err := json.Unmarshal([]byte(r.stdout), &results); err != nil || len(results) != len(cases) {
		t.Fatalf("%v: %s", err, r.stdout)
	}
	for i, c := range cases {
		got := results[i]
		switch {
		case got.Name != "push from the build network":
			t.Errorf("case %d is called %q", i, got.Name)
		case got.Decision != c.decision || (got.Error != nil) != (c.decision == ""):
			t.Errorf("case %d: %+v %+v, want %s", i, got, got.Error, c.decision)
		case got.Error != nil && (got.Error.Field != c.field || !strings.Contains(got.Error.Message, c.message)):
			t.Errorf("case %d: %+v, want %s: %s", i, got.Error, c.field, c.message)
		}
	}
	if want := "11 of 18 cases can't be decided"; !strings.Contains(r.stderr, want) {
		t.Errorf("%q is not in %s", want, r.stderr)
	}
}

func TestPolicySimulateInput(t *testing.T) {
	for _, tt := range []struct {
		name, stdin string
		args        []string
		code        int
		stderr      string
	}{
		{"nothing", " \n", nil, exitFailed, "standard input is empty"},
		{"no JSON", "[\n{,}]", nil, exitFailed, "standard input is no JSON: line 2, column 2"},
		{"no file", "", []string{"/nowhere/cases.json"}, exitFailed, "/nowhere/cases.json"},
		{"two files", "", []string{"a", "b"}, exitUsage, "usage: sekisho policy simulate [FILE]"},
		{"a word", `"case"`, nil, exitFailed, "case 1: must be an object, and is a JSON string"},
		{"empty list", `[]`, nil, 0, ""},
		{"unknown field", strings.Replace(simulatedCase, `"resourcePolicy"`, `"resourcePolicies"`, 1), nil, 0, "push from the build network: resourcePolicies is no field of a case, and is left out"},
		{"unknown field of the request", strings.Replace(simulatedCase, `"context"`, `"contextKeys"`, 1), nil, 0, "push from the build network: request.contextKeys is no field of a case, and is left out"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := sekisho(t, nil, tt.stdin, append([]string{"policy", "simulate"}, tt.args...)...)
			r.want(t, tt.code, "")
			if !strings.Contains(r.stderr, tt.stderr) {
				t.Errorf("stderr is %s", r.stderr)
			}
			if tt.name == "empty list" && strings.TrimSpace(r.stdout) != "[]" {
				t.Errorf("prints %s", r.stdout)
			}
		})
	}
}

// TestPolicySimulateTable wants a line to tell what decided: the table has no other reason.
func TestPolicySimulateTable(t *testing.T) {
	for _, tt := range []struct{ change, to, want string }{
		{"", "", "push from the build network  Allowed   by an identity-based policy (statement \"Push\" of push)"},
		{`"aws:SourceVpce": "vpce-build", "aws:TagKeys"`, `"aws:TagKeys"`, "ExplicitlyDenied  with an explicit deny in a resource-based policy (statement \"OnlyThere\" of resourcePolicy)"},
		{`"Action": "ecr:*", "Resource"`, `"Action": "ecr:Get*", "Resource"`, "ImplicitlyDenied  because no identity-based policy allows the ecr:PutImage action"},
	} {
		r := sekisho(t, nil, strings.Replace(simulatedCase, tt.change, tt.to, 1), "policy", "simulate", "-o", "table")
		r.want(t, 0, "")
		if !strings.Contains(r.stdout, tt.want) {
			t.Errorf("no %q in\n%s", tt.want, r.stdout)
		}
	}
}
