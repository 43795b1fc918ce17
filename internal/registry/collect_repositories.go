package registry

import (
	"context"
	"database/sql"
	"errors"

	"github.com/sekisho/sekisho/internal/meta"
)

// selectDeleted finds the next deleted repository. Its id is never used again, so nothing remembered under it can be
// mistaken for something else, and nobody looks for it.
const selectDeleted = `SELECT id FROM repositories WHERE account = '' AND id > $1 ORDER BY id LIMIT 1`

// repositories purges deleted repositories.
func (c *Collector) repositories(ctx context.Context, r *CollectReport) error {
	for id := int64(0); ; {
		err := c.l.db.QueryRow(ctx, selectDeleted, id).Scan(&id)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := c.purge(ctx, id, r); err != nil {
			return err
		}
	}
}

func (c *Collector) purge(ctx context.Context, id int64, r *CollectReport) error {
	err := c.purgeBy(ctx, id, `SELECT name FROM tags WHERE repository_id = $1 AND name > $2 ORDER BY name LIMIT `+pageLimit,
		`DELETE FROM tags WHERE repository_id = $1 AND name >= $2 AND name <= $3 RETURNING 0`, nil)
	if err != nil {
		return err
	}
	// Each pass takes what no index of the repository names any more: as many passes as indexes are nested.
	for taken := int64(-1); taken != r.Manifests.Count; {
		taken = r.Manifests.Count
		err := c.purgeBy(ctx, id, `SELECT digest FROM manifests WHERE repository_id = $1 AND digest > $2 ORDER BY digest LIMIT `+pageLimit,
			`DELETE FROM manifests WHERE repository_id = $1 AND digest >= $2 AND digest <= $3
				AND NOT EXISTS (SELECT 1 FROM manifest_children WHERE child_id = manifests.id) RETURNING size`, &r.Manifests)
		if err != nil {
			return err
		}
	}
	err = sweep(ctx, c, 0, func(after int64) ([]row[int64], error) {
		return scanKeys[int64](c.l.db.Query(ctx, `SELECT blob_id FROM repository_blobs WHERE repository_id = $1 AND blob_id > $2 ORDER BY blob_id LIMIT `+pageLimit, id, after))
	}, func(rows []row[int64]) error {
		return c.delete(ctx, "purge repository", &r.Links, `DELETE FROM repository_blobs WHERE repository_id = $1 AND blob_id >= $2 AND blob_id <= $3 RETURNING 0`,
			id, rows[0].key, rows[len(rows)-1].key)
	})
	if err != nil {
		return err
	}
	return c.delete(ctx, "purge repository", &r.Repositories, `DELETE FROM repositories WHERE id = $1 AND account = '' RETURNING 0`, id)
}

// purgeBy deletes rows of a repository by a key of text: page selects it, remove deletes a range.
func (c *Collector) purgeBy(ctx context.Context, id int64, page, remove string, t *Tally) error {
	return sweep(ctx, c, "", func(after string) ([]row[string], error) {
		return scanKeys[string](c.l.db.Query(ctx, page, id, after))
	}, func(rows []row[string]) error {
		return c.delete(ctx, "purge repository", t, remove, id, rows[0].key, rows[len(rows)-1].key)
	})
}

// delete runs a deletion that returns each row's size, and adds it to t.
func (c *Collector) delete(ctx context.Context, what string, t *Tally, q string, args ...any) error {
	var sizes []int64
	done, err := c.update(ctx, what, func(tx *meta.Tx) (err error) {
		sizes, err = scanAll[int64](tx.Query(ctx, q, args...))
		return err
	})
	if done && t != nil {
		for _, n := range sizes {
			t.add(n)
		}
	}
	return err
}

// scanAll reads rows of one column, and closes them.
func scanAll[T any](rows *sql.Rows, err error) ([]T, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		var v T
		if err := rows.Scan(&v); err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, rows.Err()
}

// scanKeys reads rows of one column, all candidates.
func scanKeys[K any](rows *sql.Rows, err error) ([]row[K], error) {
	keys, err := scanAll[K](rows, err)
	all := make([]row[K], len(keys))
	for i, k := range keys {
		all[i] = row[K]{k, true}
	}
	return all, err
}
