package registry

import (
	"context"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/blob"
	"github.com/sekisho/sekisho/internal/meta"
)

// HoldObject has collection leave an object of the blob store that is not the registry's, and copies of the instance take
// it along: a row of held_objects names it from now on. began is when its first bytes were given to the store; after too
// long a time collection may have taken them, and it is an error. The id that is returned is for references.
func HoldObject(ctx context.Context, tx *meta.Tx, holder string, o blob.Object, d digest.Digest, began, now time.Time) (id int64, err error) {
	if took := now.UnixMicro() - began.UnixMicro(); took > maxCommit.Microseconds() { // not Sub: a clock that stands still in sleep won't do
		return 0, fmt.Errorf("the object was begun %v ago, its bytes may be collected by now", time.Duration(took)*time.Microsecond)
	}
	err = tx.QueryRow(ctx, `INSERT INTO held_objects (holder, location, digest, size, created_at) VALUES ($1, $2, $3, $4, $5) RETURNING id`,
		holder, o.Key, string(d), o.Size, now.UnixMicro()).Scan(&id)
	if err != nil {
		return 0, fmt.Errorf("hold object: %w", err)
	}
	return id, nil
}

// DropObject ends that: collection deletes the bytes after a delay, in which who reads them may end. Nothing may refer to
// the row any more.
func DropObject(ctx context.Context, tx *meta.Tx, id int64, now time.Time) error {
	_, err := tx.Exec(ctx, `INSERT INTO garbage (location, size, delete_at) SELECT location, size, CAST($1 AS BIGINT) FROM held_objects WHERE id = $2
		ON CONFLICT (location) DO UPDATE SET delete_at = excluded.delete_at`, now.Add(DefaultDeleteDelay).UnixMicro(), id)
	if err == nil {
		_, err = tx.Exec(ctx, `DELETE FROM held_objects WHERE id = $1`, id)
	}
	if err != nil {
		return fmt.Errorf("drop object: %w", err)
	}
	return nil
}
