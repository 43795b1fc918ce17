package directory

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
)

// checkTags returns tags by key, as they are stored.
func checkTags(tags []Tag) ([]Tag, error) {
	if len(tags) > maxTags {
		return nil, quota(limit{"TagsPerResource", maxTags})
	}
	tags = slices.SortedFunc(slices.Values(tags), func(a, b Tag) int { return cmp.Compare(fold(a.Key), fold(b.Key)) })
	for i, t := range tags {
		if err := checkTagKey(t.Key); err != nil {
			return nil, err
		}
		if utf8.RuneCountInString(t.Value) > maxTagValue || !tagText(t.Value) {
			return nil, errf(ValidationError, "The value of tag %.128q is longer than %d characters, or has others than letters, digits, spaces and _.:/=+-@", t.Key, maxTagValue)
		}
		if i > 0 && fold(tags[i-1].Key) == fold(t.Key) {
			return nil, errf(InvalidInput, "Duplicate tag keys found. Please note that Tag keys are case insensitive.")
		}
	}
	return tags, nil
}

func checkTagKey(key string) error {
	switch {
	case key == "" || utf8.RuneCountInString(key) > maxTagKey || !tagText(key):
		return errf(ValidationError, "A tag key has 1 to %d characters, which are letters, digits, spaces and _.:/=+-@", maxTagKey)
	case strings.HasPrefix(fold(key), "aws:"):
		return errf(InvalidInput, "Caller is not an authorized caller for the specified tag key: keys that begin with aws: are reserved.")
	}
	return nil
}

func tagText(s string) bool {
	for _, c := range s {
		if !unicode.In(c, unicode.L, unicode.Z, unicode.N) && !strings.ContainsRune("_.:/=+-@", c) {
			return false
		}
	}
	return utf8.ValidString(s)
}

// Tags lists tags by key. [Page.After] is a key.
func (s *Service) Tags(ctx context.Context, c *iam.Caller, of Ref, p Page) ([]Tag, bool, error) {
	limit, err := p.limit()
	if err != nil {
		return nil, false, err
	}
	r, err := s.show(ctx, c, of, "iam:List"+actionNames[of.Kind]+"Tags")
	if err != nil {
		return nil, false, err
	}
	after := fold(p.After)
	tags := slices.DeleteFunc(slices.Clone(r.tags), func(t Tag) bool { return after != "" && fold(t.Key) <= after })
	tags, more := cut(tags, limit)
	return tags, more, nil
}

// SetTags adds tags, and gives those that are there the new values.
func (s *Service) SetTags(ctx context.Context, c *iam.Caller, of Ref, tags []Tag) error {
	tags, err := checkTags(tags)
	if err != nil {
		return err
	}
	needs := func(*row) []need {
		k := keys{}
		addTagKeys(k, tags)
		return []need{{action: "iam:Tag" + actionNames[of.Kind], keys: k}}
	}
	return s.change(ctx, c, of, needs, "", func(tx *meta.Tx, r *row) error {
		if err := putTags(ctx, tx, r.id, tags); err != nil {
			return err
		}
		n, err := count(ctx, tx, `SELECT count(*) FROM identity_tags WHERE identity = $1`, r.id)
		if err == nil && n > maxTags {
			err = quota(limit{"TagsPerResource", maxTags})
		}
		return err
	})
}

// RemoveTags removes tags by key. Those that are not there are as good as removed.
func (s *Service) RemoveTags(ctx context.Context, c *iam.Caller, of Ref, tagKeys []string) error {
	if len(tagKeys) > maxTags {
		return quota(limit{"TagsPerResource", maxTags})
	}
	for _, key := range tagKeys {
		if err := checkTagKey(key); err != nil {
			return err
		}
	}
	needs := func(*row) []need {
		return []need{{action: "iam:Untag" + actionNames[of.Kind], keys: keys{"aws:tagkeys": tagKeys}}}
	}
	return s.change(ctx, c, of, needs, strings.Join(tagKeys, " "), func(tx *meta.Tx, r *row) error {
		for _, key := range tagKeys {
			if _, err := tx.Exec(ctx, `DELETE FROM identity_tags WHERE identity = $1 AND folded = $2`, r.id, fold(key)); err != nil {
				return err
			}
		}
		return nil
	})
}
