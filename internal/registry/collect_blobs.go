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
			ORDER BY repository_id, blob_id LIMIT $4) rb ORDER BY rb.repository_id, rb.blob_id`

	// Rows that others have locked are in use, and waiting for them with locks of our own could end in a deadlock.
	deleteLinks           = deleteLinksFrom + deleteLinksReturning
	deleteLinksPostgreSQL = deleteLinksFrom + ` FOR UPDATE OF rb SKIP LOCKED` + deleteLinksReturning
	deleteLinksFrom       = `WITH idle AS MATERIALIZED (SELECT rb.repository_id, rb.blob_id FROM repository_blobs rb
		WHERE (rb.repository_id, rb.blob_id) >= ($2, $3) AND (rb.repository_id, rb.blob_id) <= ($4, $5) AND ` + linkIdle
	deleteLinksReturning = `) DELETE FROM repository_blobs WHERE (repository_id, blob_id) IN (SELECT repository_id, blob_id FROM idle)
		RETURNING repository_id, (SELECT digest FROM blobs WHERE blobs.id = repository_blobs.blob_id)`
)

// linkKey is the key of repository_blobs.
type linkKey struct{ repository, blob int64 }

// links takes blobs from repositories that don't need them.
func (c *Collector) links(ctx context.Context, r *CollectReport) error {
	q := deleteLinks
	if c.l.db.Dialect() == meta.PostgreSQL {
		q = deleteLinksPostgreSQL
	}
	return sweep(ctx, c, linkKey{}, func(after linkKey, limit int) ([]row[linkKey], error) {
		return scanLinks(c.l.db.Query(ctx, pageLinks, c.before(c.l.o.Grace), after.repository, after.blob, limit))
	}, func(rows []row[linkKey]) error {
		from, to := rows[0].key, rows[len(rows)-1].key
		changed := map[int64]*stale{}
		n := int64(0)
		done, err := c.update(ctx, "collect blobs of repositories", func(tx *meta.Tx) error {
			clear(changed)
			n = 0
			rows, err := tx.Query(ctx, q, c.before(c.l.o.Grace), from.repository, from.blob, to.repository, to.blob)
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
	pageBlobs = `SELECT b.digest, ` + blobIdle + ` FROM (SELECT id, digest FROM blobs WHERE digest > $1 ORDER BY digest LIMIT $2) b ORDER BY b.digest`

	deleteBlobs           = deleteBlobsFrom + deleteBlobsReturning
	deleteBlobsPostgreSQL = deleteBlobsFrom + ` FOR UPDATE OF b SKIP LOCKED` + deleteBlobsReturning
	deleteBlobsFrom       = `WITH idle AS MATERIALIZED (SELECT b.id FROM blobs b WHERE b.digest >= $1 AND b.digest <= $2 AND ` + blobIdle
	deleteBlobsReturning  = `) DELETE FROM blobs WHERE id IN (SELECT id FROM idle) RETURNING location, size`

	// The key is there already if its blob's row was being inserted when collection looked for objects that nothing names.
	insertGarbage = `INSERT INTO garbage (location, size, delete_at) VALUES ($1, $2, $3) ON CONFLICT (location) DO UPDATE SET delete_at = excluded.delete_at`
)

// blobs takes contents that no repository has.
func (c *Collector) blobs(ctx context.Context, r *CollectReport) error {
	q := deleteBlobs
	if c.l.db.Dialect() == meta.PostgreSQL {
		q = deleteBlobsPostgreSQL
	}
	return sweep(ctx, c, "", func(after string, limit int) ([]row[string], error) {
		return scanRows[string](c.l.db.Query(ctx, pageBlobs, after, limit))
	}, func(rows []row[string]) error {
		var gone []garbage
		done, err := c.update(ctx, "collect blobs", func(tx *meta.Tx) (err error) {
			gone, err = scanGarbage(tx.Query(ctx, q, rows[0].key, rows[len(rows)-1].key))
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
