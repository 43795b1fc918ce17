package iam_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	sdk "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/awsapi/iam"
)

func TestPage(t *testing.T) {
	encode := base64.RawURLEncoding.EncodeToString
	for _, tt := range []struct {
		marker string
		after  string
		ok     bool
	}{
		{encode([]byte("ann")), "ann", true},
		{encode([]byte("arn:aws:iam::aws:policy/a b")), "arn:aws:iam::aws:policy/a b", true},
		{encode([]byte(strings.Repeat("é", 300))), strings.Repeat("é", 300), true},
		{"", "", false},
		{"!", "", false},
		{"YW5u=", "", false},
		{encode([]byte("a\x00b")), "", false},
		{encode([]byte("a\xff")), "", false},
	} {
		p, err := iam.Page(&tt.marker, new(int32(7)))
		if (err == nil) != tt.ok || p.After != tt.after || tt.ok && p.Limit != 7 {
			t.Errorf("%q: %+v, %v", tt.marker, p, err)
		}
	}
	if p, err := iam.Page(nil, nil); err != nil || p.After != "" || p.Limit != 100 {
		t.Errorf("%+v, %v", p, err)
	}
}

// TestPagesMeetChanges has users come and go, and the server start again, between two pages.
func TestPagesMeetChanges(t *testing.T) {
	s := newServer(t)
	create := func(name string) {
		t.Helper()
		if _, err := s.client.CreateUser(t.Context(), &sdk.CreateUserInput{UserName: &name}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 6 {
		create(fmt.Sprintf("user%d", i))
	}
	first, err := s.client.ListUsers(t.Context(), &sdk.ListUsersInput{MaxItems: new(int32(3))})
	if err != nil || !first.IsTruncated || len(first.Users) != 3 {
		t.Fatalf("%+v, %v", first, err)
	}
	if _, err := s.client.DeleteUser(t.Context(), &sdk.DeleteUserInput{UserName: new("user2")}); err != nil { // where the page ended
		t.Fatal(err)
	}
	create("user2a")
	create("user1a")
	s.restart(t)
	rest, err := s.client.ListUsers(t.Context(), &sdk.ListUsersInput{Marker: first.Marker})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, u := range rest.Users {
		names = append(names, *u.UserName)
	}
	if diff := cmp.Diff([]string{"user2a", "user3", "user4", "user5"}, names); diff != "" || rest.IsTruncated || rest.Marker != nil {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
