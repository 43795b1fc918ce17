package registry

import (
	"regexp"
	"strings"
	"testing"
)

func TestMatchWildcard(t *testing.T) {
	for _, tc := range []struct {
		pattern, s string
		want       bool
	}{
		{"a", "a", true}, {"a", "b", false}, {"a", "ab", false}, {"a", "ba", false}, {"a", "", false},
		{"*", "", true}, {"*", "a", true}, {"**", "a", true}, {"***", "", true},
		{"a*", "a", true}, {"a*", "ab", true}, {"a*", "ba", false},
		{"*a", "a", true}, {"*a", "ba", true}, {"*a", "ab", false}, {"*a", "aba", true},
		{"a*a", "a", false}, {"a*a", "aa", true}, {"a*a", "aba", true}, {"a*a", "abab", false},
		{"*a*", "bab", true}, {"*a*", "bb", false},
		{"a*b*c", "abc", true}, {"a*b*c", "a1b2c", true}, {"a*b*c", "a1b2", false}, {"a*b*b", "ab", false}, {"a*b*b", "abb", true},
		{"*ab*ab", "ab", false}, {"*ab*ab", "abab", true}, {"*ab*ab", "aab", false},
		{"v?.*", "v1.0", false}, {"v.*", "v10", false}, {"[a]*", "a", false},
	} {
		if got := matchWildcard(tc.pattern, tc.s); got != tc.want {
			t.Errorf("matchWildcard(%q, %q) = %v", tc.pattern, tc.s, got)
		}
	}
}

func FuzzMatchWildcard(f *testing.F) {
	f.Add("a*b", "a1b")
	f.Add("*ab*ab", "abab")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		want, err := regexp.Compile(`(?s)\A` + strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, `.*`) + `\z`)
		if err != nil || len(pattern) > 100 || !strings.HasPrefix(strings.ToValidUTF8(s+pattern, "\x00"), s) || strings.ToValidUTF8(pattern, "") != pattern {
			t.Skip("not text")
		}
		if got := matchWildcard(pattern, s); got != want.MatchString(s) {
			t.Errorf("matchWildcard(%q, %q) = %v", pattern, s, got)
		}
	})
}

func TestMoveable(t *testing.T) {
	for _, tc := range []struct {
		settings RepositorySettings
		tag      string
		want     bool
	}{
		{RepositorySettings{}, "a", true},
		{RepositorySettings{Mutability: Mutable}, "a", true},
		{RepositorySettings{Mutability: Immutable}, "a", false},
		{RepositorySettings{Mutability: MutableWithExclusion, MutabilityExclusions: []string{"a*", "b"}}, "b", false},
		{RepositorySettings{Mutability: MutableWithExclusion, MutabilityExclusions: []string{"a*", "b"}}, "c", true},
		{RepositorySettings{Mutability: ImmutableWithExclusion, MutabilityExclusions: []string{"a*", "b"}}, "b", true},
		{RepositorySettings{Mutability: ImmutableWithExclusion, MutabilityExclusions: []string{"a*", "b"}}, "c", false},
	} {
		if got := tc.settings.moveable(tc.tag); got != tc.want {
			t.Errorf("%+v moveable(%q) = %v", tc.settings, tc.tag, got)
		}
	}
}
