package secret

import (
	"slices"
	"strings"
	"unicode"
)

// Filter is a condition on the secrets of a list.
type Filter struct {
	Key    FilterKey
	Values []string // one must match; with "!" in front, none may
}

// FilterKey says what a filter looks at.
type FilterKey string

// The keys (API_Filter). ByDescription and ByAll match from the start of any word and don't mind the case; the others match
// from the start and do.
const (
	ByDescription   FilterKey = "description"
	BySecretName    FilterKey = "name"
	ByTagKey        FilterKey = "tag-key"
	ByTagValue      FilterKey = "tag-value"
	ByPrimaryRegion FilterKey = "primary-region"
	ByOwningService FilterKey = "owning-service"
	ByAll           FilterKey = "all" // words, at the start of any word of name, description and tags
)

// compileFilters returns a function that reports whether a secret matches all filters.
func compileFilters(filters []Filter) (func(x *Secret, region string) bool, error) {
	for _, f := range filters {
		if len(f.Values) == 0 {
			return nil, errorf(InvalidParameter, "The filter %s has no values.", f.Key)
		}
		if !slices.Contains([]FilterKey{ByDescription, BySecretName, ByTagKey, ByTagValue, ByPrimaryRegion, ByOwningService, ByAll}, f.Key) {
			return nil, errorf(InvalidParameter, "There is no filter %q.", f.Key)
		}
	}
	return func(x *Secret, region string) bool {
		return !slices.ContainsFunc(filters, func(f Filter) bool { return !f.matches(x, region) })
	}, nil
}

func (f *Filter) matches(x *Secret, region string) bool {
	wanted, found := false, false
	for _, value := range f.Values {
		if rest, not := strings.CutPrefix(value, "!"); not {
			if f.has(x, region, rest) {
				return false
			}
			continue
		}
		wanted = true
		found = found || f.has(x, region, value)
	}
	return found || !wanted
}

func (f *Filter) has(x *Secret, region, value string) bool {
	starts := func(text string) bool { return strings.HasPrefix(text, value) }
	switch f.Key {
	case BySecretName:
		return starts(x.Name)
	case ByDescription:
		return atWord(x.Description, value)
	case ByTagKey:
		for key := range x.Tags {
			if starts(key) {
				return true
			}
		}
	case ByTagValue:
		for _, v := range x.Tags {
			if starts(v) {
				return true
			}
		}
	case ByPrimaryRegion:
		return starts(region)
	case ByAll:
		texts := []string{x.Name, x.Description}
		for key, v := range x.Tags {
			texts = append(texts, key, v)
		}
		for _, word := range strings.FieldsFunc(value, notWord) {
			if !slices.ContainsFunc(texts, func(text string) bool { return atWord(text, word) }) {
				return false
			}
		}
		return true
	}
	return false // no service owns a secret here
}

// atWord reports whether text has value at its start or that of one of its words, whatever the case.
func atWord(text, value string) bool {
	text, value = strings.ToLower(text), strings.ToLower(value)
	before := ' '
	for i, r := range text {
		if notWord(before) && strings.HasPrefix(text[i:], value) {
			return true
		}
		before = r
	}
	return value == ""
}

func notWord(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }
