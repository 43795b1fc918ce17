package oidc

import (
	"fmt"
	"testing"
)

func TestIssuersAreBounded(t *testing.T) {
	v, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 * maxIssuers {
		v.keysOf(&Provider{Thumbprints: []string{"b", "a"}}, fmt.Sprintf("https://%d.example", i))
	}
	if len(v.issuers) != maxIssuers {
		t.Errorf("%d issuers, want %d", len(v.issuers), maxIssuers)
	}
	// Accounts that trust the same issuer by other certificates do not share what it answers.
	a, b := v.keysOf(&Provider{Thumbprints: []string{"b", "a"}}, "https://x"), v.keysOf(&Provider{Thumbprints: []string{"a"}}, "https://x")
	if a == b || a != v.keysOf(&Provider{Thumbprints: []string{"A", "B"}}, "https://x") {
		t.Error("keys of other thumbprints are shared, or those of the same are not")
	}
}
