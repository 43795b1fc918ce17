package iam

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestRootOnly(t *testing.T) {
	const (
		own   = "111122223333"
		other = "444455556666"
		repo  = "arn:aws:ecr:eu-west-1:" + own + ":repository/a/b"
	)
	root := (&Principal{Account: own, ARN: RootARN(own), Type: Root}).Caller()
	for _, tt := range []struct {
		name     string
		caller   *Caller
		action   string
		resource string
		allow    bool
	}{
		{"root in its account", root, "ecr:PutImage", repo, true},
		{"root without a resource", root, "ecr:GetAuthorizationToken", "*", true},
		{"system in its account", SystemCaller(own, "collection"), "ecr:BatchDeleteImage", repo, true},
		{"root elsewhere", root, "ecr:PutImage", "arn:aws:ecr:eu-west-1:" + other + ":repository/a/b", false},
		{"system elsewhere", SystemCaller(other, "collection"), "ecr:BatchDeleteImage", repo, false},
		{"anonymous", &Caller{}, "ecr:BatchGetImage", repo, false},
		{"anonymous that names an account", &Caller{Principal: Principal{Account: own}}, "ecr:BatchGetImage", repo, false},
		{"nobody", nil, "ecr:BatchGetImage", repo, false},
		{"unknown type", &Caller{Principal: Principal{Account: own, Type: 99}}, "ecr:BatchGetImage", repo, false},
		{"root of no account", &Caller{Principal: Principal{Type: Root}}, "ecr:BatchGetImage", "arn:aws:ecr:eu-west-1::repository/a", false},
		{"no action", root, "", repo, false},
		{"no resource", root, "ecr:PutImage", "", false},
		{"account only as a resource name", root, "ecr:PutImage", "arn:aws:ecr:eu-west-1:" + other + ":" + own + ":x", false},
		{"truncated ARN", root, "ecr:PutImage", "arn:aws:ecr:eu-west-1:" + own, false},
		{"empty resource part", root, "ecr:PutImage", "arn:aws:ecr:eu-west-1:" + own + ":", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := RootOnly{}.Authorize(t.Context(), tt.caller, On(tt.caller, tt.action, tt.resource))
			if d.Allowed != tt.allow {
				t.Fatalf("Allowed = %v, want %v", d.Allowed, tt.allow)
			}
			if want := "because no identity-based policy allows the " + tt.action + " action"; !tt.allow && d.Reason != want {
				t.Errorf("Reason = %q, want %q", d.Reason, want)
			}
		})
	}
}

func TestDeniedError(t *testing.T) {
	d := Decision{Reason: "because no identity-based policy allows the ecr:PutImage action"}
	for _, tt := range []struct {
		caller *Caller
		who    string
	}{
		{&Caller{Principal: Principal{ARN: RootARN("111122223333")}}, "arn:aws:iam::111122223333:root"},
		{&Caller{}, "anonymous"},
		{nil, "anonymous"},
	} {
		got := d.Denied(tt.caller, On(tt.caller, "ecr:PutImage", "arn:aws:ecr:r:1:repository/x")).Error()
		want := "User: " + tt.who + " is not authorized to perform: ecr:PutImage on resource: " +
			"arn:aws:ecr:r:1:repository/x because no identity-based policy allows the ecr:PutImage action"
		if got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}

func TestSecretIsNotPrinted(t *testing.T) {
	k := AccessKey{ID: "AKIAIOSFODNN7EXAMPLE", Secret: NewSecret("hunter2")}
	js, err := json.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	for _, got := range []string{
		fmt.Sprint(k), fmt.Sprintf("%+v", k), fmt.Sprintf("%#v", k), fmt.Sprintf("%s %q %d %x %v", k.Secret, k.Secret, k.Secret, k.Secret, &k.Secret), string(js),
	} {
		if want := "hunter2"; len(got) == 0 || strings.Contains(got, want) {
			t.Errorf("secret in %q", got)
		}
	}
}
