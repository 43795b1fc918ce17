package iam_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/awsapi/bototest"
	"github.com/sekisho/sekisho/internal/awsapi/iam"
)

// TestBoto3 calls every operation that is served, and holds the answers against the service's model.
func TestBoto3(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	s := newServer(t)
	bototest.Run(t, bototest.Env(s.URL, region, s.key.ID, s.key.Secret.Reveal()), append([]string{"-B", "testdata/client.py"}, s.served()...)...)
}

// TestOperations holds that everything that the model has is served or refused by name, and nothing else.
func TestOperations(t *testing.T) {
	got := []string{}
	for name := range (&iam.API{}).Service().Operations() {
		got = append(got, name)
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(bototest.Model(t, "iam"))), got); diff != "" {
		t.Errorf("(-model +ours):\n%s", diff)
	}
}

// TestConstraintsAreTheModels compares the constraints with the model that botocore ships.
func TestConstraintsAreTheModels(t *testing.T) {
	operations := bototest.Model(t, "iam")
	for name, members := range iam.Constraints() {
		got := bototest.Constraints(members)
		want := operations[name]
		if c, ok := want["Marker"]; ok { // ours can be longer
			c.Max = 1024
			want["Marker"] = c
		}
		if c, ok := want["AccountAlias"]; ok { // Go has no patterns that look ahead
			c.Pattern = "^[a-z0-9]([a-z0-9]|-){1,61}[a-z0-9]$"
			want["AccountAlias"] = c
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-model +ours):\n%s", name, diff)
		}
	}
}
