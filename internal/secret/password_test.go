package secret_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/sekisho/sekisho/internal/meta/metatest"
	"github.com/sekisho/sekisho/internal/secret"
)

func quote(t *testing.T, s string) string {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestPasswords(t *testing.T) {
	w := newWorld(t, metatest.Open(t, metatest.SQLite(t)), secret.Outward{})
	const lower, upper, digits, punct = "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789", "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
	for _, c := range []struct {
		rules   secret.PasswordRules
		length  int
		of      string
		oneEach []string
	}{
		{secret.PasswordRules{}, 32, lower + upper + digits + punct, []string{lower, upper, digits, punct}},
		{secret.PasswordRules{Length: 4}, 4, lower + upper + digits + punct, []string{lower, upper, digits, punct}},
		{secret.PasswordRules{Length: 5, Space: true}, 5, lower + upper + digits + punct + " ", []string{lower, upper, digits, punct, " "}},
		{secret.PasswordRules{Length: 4096, NoPunct: true}, 4096, lower + upper + digits, []string{lower, upper, digits}},
		{secret.PasswordRules{Length: 1, AnyMix: true}, 1, lower + upper + digits + punct, nil},
		{secret.PasswordRules{Length: 20, NoPunct: true, NoUpper: true, NoLower: true, Exclude: "0123"}, 20, "456789", nil},
		{secret.PasswordRules{Length: 20, Exclude: upper + punct}, 20, lower + digits, []string{lower, digits}},
	} {
		for range 50 {
			v, err := w.Password(t.Context(), root, c.rules)
			if err != nil {
				t.Fatalf("%+v: %v", c.rules, err)
			}
			p := string(v.Reveal())
			if len(p) != c.length || strings.Trim(p, c.of) != "" {
				t.Errorf("%+v: %q", c.rules, p)
			}
			for _, one := range c.oneEach {
				if !strings.ContainsAny(p, one) {
					t.Errorf("%+v: none of %q in %q", c.rules, one, p)
				}
			}
		}
	}
	for name, rules := range map[string]secret.PasswordRules{
		"too short":    {Length: 3},
		"nothing":      {NoLower: true, NoUpper: true, NoNumbers: true, NoPunct: true},
		"all left out": {Exclude: lower + upper + digits + punct},
		"too long":     {Length: 4097},
		"negative":     {Length: -1},
	} {
		_, err := w.Password(t.Context(), root, rules)
		is(t, name, err, secret.InvalidParameter)
	}
}
