package registry

import (
	"context"
	"database/sql"

	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/meta"
)

// linkIdle is the condition on a blob of a repository rb under which collection takes it: nobody was told since $1 that
// it is there, and no manifest names it.
const linkIdle = `rb.touched_at < $1
	AND NOT EXISTS (SELECT 1 FROM manifest_blobs mb WHERE mb.repository_id = rb.repository_id AND mb.blob_id = rb.blob_id)
	AND NOT EXISTS (SELECT 1 FROM blobs x JOIN manifest_missing mm ON mm.repository_id = rb.repository_id AND mm.digest = x.digest WHERE x.id = rb.blob_id)`

const (
	pageLinks = `SELECT rb.repository_id, rb.blob_id, ` + linkIdle + `
		FROM (SELECT repository_id, blob_id, touched_at FROM repository_blobs WHERE (repository_id, blob_id) > ($2, $3)
			ORDER BY repository_id, blob_id LIMIT ` + pageLimit + `) rb ORDER BY rb.repository_id, rb.blob_id`

	deleteLinks = `DELETE FROM repository_blobs AS rb WHERE (rb.repository_id, rb.blob_id) >= ($2, $3) AND (rb.repository_id, rb.blob_id) <= ($4, $5)
		AND ` + linkIdle + linksReturning
	// PostgreSQL gets the keys, because it has no idea how few rows such a range is. Rows that others have locked are in
	// use, and waiting for them with locks of our own could end in a deadlock.
	deleteLinksPostgreSQL = `WITH idle(r, b) AS MATERIALIZED (SELECT rb.repository_id, rb.blob_id
			FROM unnest(CAST($2 AS BIGINT[]), CAST($3 AS BIGINT[])) k(repository_id, blob_id)
			JOIN repository_blobs rb ON rb.repository_id = k.repository_id AND rb.blob_id = k.blob_id
			WHERE ` + linkIdle + ` FOR UPDATE OF rb SKIP LOCKED)
		DELETE FROM repository_blobs AS rb USING idle WHERE rb.repository_id = idle.r AND rb.blob_id = idle.b` + linksReturning
	linksReturning = ` RETURNING repository_id, (SELECT digest FROM blobs WHERE blobs.id = blob_id)`
)

// linkKey is the key of repository_blobs.
type linkKey struct{ repository, blob int64 }

// links takes blobs from repositories that don't need them.
func (c *Collector) links(ctx context.Context, r *CollectReport) error {
	return sweep(ctx, c, linkKey{}, func(after linkKey) ([]row[linkKey], error) {
		return scanLinks(c.l.db.Query(ctx, pageLinks, c.before(c.l.o.Grace), after.repository, after.blob))
	}, func(rows []row[linkKey]) error {
		q, args := deleteLinksArgs(c.l.db.Dialect(), rows)
		changed := map[int64]*stale{}
		n := int64(0)
		done, err := c.update(ctx, "collect blobs of repositories", func(tx *meta.Tx) error {
			clear(changed)
			n = 0
			rows, err := tx.Query(ctx, q, append([]any{c.before(c.l.o.Grace)}, args...)...)
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				var repository int64
				var d digest.Digest
				if err := rows.Scan(&repository, &d); err != nil {
					return err
				}
				s := changed[repository]
				if s == nil {
					s = &stale{}
					changed[repository] = s
				}
				s.blobs = append(s.blobs, d)
				n++
			}
			tx.OnCommit(func() {
				for repository, s := range changed {
					c.l.forget(repository, s)
				}
			})
			return rows.Err()
		})
		if done {
			r.Links.Count += n
		}
		return err
	})
}

// deleteLinksArgs returns the statement that deletes the candidates among rows, and its arguments but the first.
func deleteLinksArgs(d meta.Dialect, rows []row[linkKey]) (q string, args []any) {
	if d == meta.SQLite {
		from, to := rows[0].key, rows[len(rows)-1].key
		return deleteLinks, []any{from.repository, from.blob, to.repository, to.blob}
	}
	var repositories, blobs []int64
	for _, r := range rows {
		if r.idle {
			repositories, blobs = append(repositories, r.key.repository), append(blobs, r.key.blob)
		}
	}
	return deleteLinksPostgreSQL, []any{repositories, blobs}
}

func scanLinks(rows *sql.Rows, err error) ([]row[linkKey], error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []row[linkKey]
	for rows.Next() {
		var r row[linkKey]
		if err := rows.Scan(&r.key.repository, &r.key.blob, &r.idle); err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, rows.Err()
}

// blobIdle is the condition on a blob b under which collection takes it: no repository has it.
const blobIdle = `NOT EXISTS (SELECT 1 FROM repository_blobs rb WHERE rb.blob_id = b.id)`

const (
	// The order is that of an index that has no content in it.
	pageBlobs = `SELECT b.digest, ` + blobIdle + ` FROM (SELECT id, digest FROM blobs WHERE digest > $1 ORDER BY digest LIMIT ` + pageLimit + `) b ORDER BY b.digest`

	deleteBlobs           = `DELETE FROM blobs AS b WHERE b.digest >= $1 AND b.digest <= $2 AND ` + blobIdle + ` RETURNING location, size`
	deleteBlobsPostgreSQL = `WITH idle AS MATERIALIZED (SELECT b.id FROM unnest(CAST($1 AS TEXT[])) k(digest) JOIN blobs b ON b.digest = k.digest
			WHERE ` + blobIdle + ` FOR UPDATE OF b SKIP LOCKED)
		DELETE FROM blobs AS b USING idle WHERE b.id = idle.id RETURNING location, size`

	// The key is there already if its blob's row was being inserted when collection looked for objects that nothing names.
	insertGarbage = `INSERT INTO garbage (location, size, delete_at) VALUES ($1, $2, $3) ON CONFLICT (location) DO UPDATE SET delete_at = excluded.delete_at`
)

// blobs takes contents that no repository has.
func (c *Collector) blobs(ctx context.Context, r *CollectReport) error {
	return sweep(ctx, c, "", func(after string) ([]row[string], error) {
		return scanRows[string](c.l.db.Query(ctx, pageBlobs, after))
	}, func(rows []row[string]) error {
		q, args := deleteBlobsArgs(c.l.db.Dialect(), rows)
		var gone []garbage
		done, err := c.update(ctx, "collect blobs", func(tx *meta.Tx) (err error) {
			gone, err = scanGarbage(tx.Query(ctx, q, args...))
			if err != nil {
				return err
			}
			at := c.before(-c.o.DeleteDelay)
			for _, g := range gone {
				if g.location == "" {
					continue
				}
				if _, err := tx.Exec(ctx, insertGarbage, g.location, g.size, at); err != nil {
					return err
				}
			}
			return nil
		})
		if done {
			for _, g := range gone {
				r.Blobs.add(g.size)
			}
		}
		return err
	})
}

// deleteBlobsArgs returns the statement that deletes the candidates among rows, and its arguments.
func deleteBlobsArgs(d meta.Dialect, rows []row[string]) (q string, args []any) {
	if d == meta.SQLite {
		return deleteBlobs, []any{rows[0].key, rows[len(rows)-1].key}
	}
	var digests []string
	for _, r := range rows {
		if r.idle {
			digests = append(digests, r.key)
		}
	}
	return deleteBlobsPostgreSQL, []any{digests}
}

// garbage is an object to be deleted.
type garbage struct {
	location string
	size     int64
	deleteAt int64
}

func scanGarbage(rows *sql.Rows, err error) ([]garbage, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []garbage
	for rows.Next() {
		var g garbage
		if err := rows.Scan(&g.location, &g.size); err != nil {
			return nil, err
		}
		all = append(all, g)
	}
	return all, rows.Err()
}
