package secret

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
)

// Tag sets tags of a secret. Errors: *iam.DeniedError, and an [*Error] of kind NotFound, InvalidRequest, InvalidParameter
// or LimitExceeded.
func (s *Store) Tag(ctx context.Context, c *iam.Caller, id string, set map[string]string) error {
	if err := checkTags(set); err != nil {
		return err
	}
	return s.tag(ctx, c, "TagResource", id, tagKeys(set), slices.Sorted(maps.Keys(set)), func(tags map[string]string) {
		maps.Copy(tags, set)
	})
}

// Untag removes tags of a secret; those that are not there are no error. Errors: as those of Tag.
func (s *Store) Untag(ctx context.Context, c *iam.Caller, id string, remove []string) error {
	return s.tag(ctx, c, "UntagResource", id, map[string][]string{"aws:tagkeys": remove}, remove, func(tags map[string]string) {
		for _, key := range remove {
			delete(tags, key)
		}
	})
}

func (s *Store) tag(ctx context.Context, c *iam.Caller, action, id string, keys map[string][]string, named []string, edit func(map[string]string)) error {
	x, err := s.allowed(ctx, c, action, id, keys)
	if err != nil {
		return err
	}
	return s.update(ctx, x, false, func(tx *meta.Tx, now *Secret) error {
		tags := nonNil(now.Tags)
		edit(tags)
		if err := checkTags(tags); err != nil {
			return err
		}
		text, err := json.Marshal(tags)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE secrets SET tags = $1, changed_at = $2 WHERE id = $3`, string(text), s.now().UnixMicro(), now.id); err != nil {
			return err
		}
		return s.changed(ctx, tx, c, action, x.ARN, strings.Join(named, " "))
	})
}
