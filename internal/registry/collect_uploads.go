package registry

import (
	"context"
	"errors"
	"time"

	"github.com/sekisho/sekisho/internal/blob"
)

// uploads aborts uploads to which nothing was added for so long that their ids, which are older, are good for nothing.
func (c *Collector) uploads(ctx context.Context, r *CollectReport) error {
	return c.sweepUploads(ctx, func(u blob.Upload) error {
		begin := time.Now()
		err := c.l.store.Abort(ctx, u.ID)
		if errors.Is(err, blob.ErrBusy) { // a very long request
			return nil
		}
		if err != nil {
			return err
		}
		c.l.uploads.end()
		r.Uploads.add(u.Size)
		return c.rest(ctx, time.Since(begin))
	})
}

// sweepUploads has take called with the abandoned uploads.
func (c *Collector) sweepUploads(ctx context.Context, take func(blob.Upload) error) error {
	before := c.l.now().Add(-c.l.o.UploadExpiry)
	for u, err := range c.l.store.Uploads(ctx) {
		if err != nil {
			return err
		}
		if !u.ModTime.Before(before) {
			continue
		}
		if err := take(u); err != nil {
			return err
		}
	}
	return nil
}

// endedUploads forgets cancelled uploads whose ids would be too old by now. The hour is for clocks of other nodes.
func (c *Collector) endedUploads(ctx context.Context, _ *CollectReport) error {
	before := c.before(c.l.o.UploadExpiry + time.Hour)
	return sweep(ctx, c, "", func(after string) ([]row[string], error) {
		return scanRows[string](c.l.db.Query(ctx, `SELECT id, ended_at < $1 FROM ended_uploads WHERE id > $2 ORDER BY id LIMIT `+pageLimit, before, after))
	}, func(rows []row[string]) error {
		return c.delete(ctx, "forget ended uploads", nil, `DELETE FROM ended_uploads WHERE id >= $2 AND id <= $3 AND ended_at < $1 RETURNING 0`,
			before, rows[0].key, rows[len(rows)-1].key)
	})
}
