package registry

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// moveable reports whether the tag may be pointed at another manifest.
func (s *RepositorySettings) moveable(tag string) bool {
	excluded := false
	for _, f := range s.MutabilityExclusions {
		excluded = excluded || matchWildcard(f, tag)
	}
	switch s.Mutability {
	case Immutable:
		return false
	case ImmutableWithExclusion:
		return excluded
	case MutableWithExclusion:
		return !excluded
	}
	return true
}

// matchWildcard reports whether s matches pattern, in which each * stands for any run of characters.
func matchWildcard(pattern, s string) bool {
	first, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == s
	}
	s, ok := strings.CutPrefix(s, first)
	if !ok {
		return false
	}
	for {
		part, next, star := strings.Cut(rest, "*")
		if !star {
			return strings.HasSuffix(s, part)
		}
		_, after, ok := strings.Cut(s, part)
		if !ok {
			return false
		}
		s, rest = after, next
	}
}

func (s *RepositorySettings) check() error {
	switch s.Mutability {
	case "", Mutable, Immutable:
		if len(s.MutabilityExclusions) > 0 {
			return errorf(SettingInvalid, "imageTagMutabilityExclusionFilters need imageTagMutability %s or %s", MutableWithExclusion, ImmutableWithExclusion)
		}
	case MutableWithExclusion, ImmutableWithExclusion:
		if n := len(s.MutabilityExclusions); n == 0 || n > maxMutabilityExclusions {
			return errorf(SettingInvalid, "imageTagMutability %s needs 1 to %d imageTagMutabilityExclusionFilters, there are %d", s.Mutability, maxMutabilityExclusions, n)
		}
	default:
		return errorf(SettingInvalid, "imageTagMutability %q is none of MUTABLE, IMMUTABLE, MUTABLE_WITH_EXCLUSION, IMMUTABLE_WITH_EXCLUSION", s.Mutability)
	}
	for i, f := range s.MutabilityExclusions {
		if f == "" || len(f) > maxMutabilityFilterRunes || strings.Count(f, "*") > 2 || !tagPatternSyntax.MatchString(f) {
			return errorf(SettingInvalid, "imageTagMutabilityExclusionFilters: %q must have 1 to %d characters that tags have, and at most two *", f, maxMutabilityFilterRunes)
		}
		if slices.Contains(s.MutabilityExclusions[:i], f) {
			return errorf(SettingInvalid, "imageTagMutabilityExclusionFilters: %q is there twice", f)
		}
	}
	return nil
}

// encode gives the JSON of a settings struct or of resource tags.
func encode(v any) string {
	b, err := json.Marshal(v)
	if err != nil { // plain structs and maps of strings: cannot fail
		panic(fmt.Sprintf("registry: encode %T: %v", v, err))
	}
	return string(b)
}

func decode(what, s string, v any) error {
	if err := json.Unmarshal([]byte(s), v); err != nil {
		return fmt.Errorf("read %s: %w", what, err)
	}
	return nil
}
