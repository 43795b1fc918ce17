package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/sekisho/sekisho/internal/blob"
	"github.com/sekisho/sekisho/internal/meta"
)

// garbageDue is the condition on a row g of garbage under which its bytes are deleted: it is time, $1, and no blob has
// them. A row that is condemned already stands at 0 and meets it.
const garbageDue = `g.delete_at < $1 AND ` + garbageUnnamed

const (
	garbageUnnamed = `NOT EXISTS (SELECT 1 FROM blobs b WHERE b.location = g.location AND b.location <> '')
		AND NOT EXISTS (SELECT 1 FROM held_objects h WHERE h.location = g.location)`

	countHolds  = `SELECT count(*) FROM gc_holds WHERE until > $1`
	deleteHolds = `DELETE FROM gc_holds WHERE until <= $1`

	pageGarbage = `SELECT g.location, g.size, g.delete_at FROM garbage g WHERE g.delete_at < $1 AND (g.delete_at, g.location) > ($2, $3)
		ORDER BY g.delete_at, g.location LIMIT $4`
	pageGarbagePostgreSQL = pageGarbage + ` FOR UPDATE SKIP LOCKED`
	condemn               = `UPDATE garbage AS g SET delete_at = 0 WHERE g.location = $2 AND ` + garbageDue
	deleteGarbage         = `DELETE FROM garbage WHERE location = $1`
)

// deleters is how many objects are deleted at a time, which for a store behind a network is one round trip each.
const deleters = 4

// maxFailures is how many objects may fail to be deleted in one batch before the rest of it is left, and how many in a row before
// the store is taken to be away.
const maxFailures = 3

// garbage deletes the bytes that are due. What can't be deleted is left to the next run.
func (c *Collector) garbage(ctx context.Context, r *CollectReport) error {
	now := c.l.now().UnixMicro()
	last := garbage{deleteAt: -1}
	var failed error
	failures := 0 // since an object was deleted
	for {
		var due []garbage
		next := last
		_, err := c.update(ctx, "condemn bytes", func(tx *meta.Tx) (err error) {
			due, next, err = c.condemn(ctx, tx, now, last, r)
			return err
		})
		if err != nil || next == last {
			return errors.Join(failed, err)
		}
		last = next
		begin := time.Now()
		gone, errs := c.deleteBytes(ctx, due)
		if failed == nil {
			failed = errors.Join(errs...)
		}
		if failures += len(errs); len(gone) > 0 {
			failures = 0
		}
		stopped := c.rest(ctx, time.Since(begin))
		_, err = c.update(context.WithoutCancel(ctx), "forget bytes", func(tx *meta.Tx) error {
			for _, g := range gone {
				if _, err := tx.Exec(ctx, deleteGarbage, g.location); err != nil {
					return err
				}
			}
			return nil
		})
		for _, g := range gone {
			r.Objects.add(g.size)
		}
		if err := errors.Join(err, stopped); err != nil || failures >= maxFailures { // the store is away
			return errors.Join(failed, err)
		}
	}
}

// condemn condemns the bytes that are due and come after a row, and returns the last it saw. The row of an object that is named
// goes: it was looked at before the row of its blob was committed.
func (c *Collector) condemn(ctx context.Context, tx *meta.Tx, now int64, after garbage, r *CollectReport) (due []garbage, last garbage, err error) {
	last = after
	if _, err := tx.Exec(ctx, deleteHolds, now); err != nil {
		return nil, last, err
	}
	if err := tx.QueryRow(ctx, countHolds, now).Scan(&r.Held); err != nil || r.Held > 0 {
		return nil, last, err
	}
	q := pageGarbage
	if tx.Dialect() == meta.PostgreSQL {
		q = pageGarbagePostgreSQL
	}
	rows, err := tx.Query(ctx, q, now, after.deleteAt, after.location, c.batch)
	if err != nil {
		return nil, last, err
	}
	page, err := scanEach(rows, func(row interface{ Scan(...any) error }) (g garbage, err error) {
		return g, row.Scan(&g.location, &g.size, &g.deleteAt)
	})
	if err != nil {
		return nil, last, err
	}
	for _, g := range page {
		res, err := tx.Exec(ctx, condemn, now, g.location)
		if err != nil {
			return nil, last, err
		}
		n, err := res.RowsAffected()
		if err != nil {
			return nil, last, err
		}
		if n == 1 {
			due = append(due, g)
		} else if _, err := tx.Exec(ctx, deleteGarbage, g.location); err != nil {
			return nil, last, err
		}
		last = g
	}
	return due, last, nil
}

// deleteBytes deletes objects, and returns those that are gone.
func (c *Collector) deleteBytes(ctx context.Context, due []garbage) (gone []garbage, errs []error) {
	var mu sync.Mutex // guards gone, errs, due
	var wg sync.WaitGroup
	for range min(deleters, len(due)) {
		wg.Go(func() {
			mu.Lock()
			defer mu.Unlock()
			for len(due) > 0 && len(errs) < maxFailures {
				g := due[0]
				due = due[1:]
				mu.Unlock()
				err := c.l.store.Delete(ctx, g.location)
				mu.Lock()
				if err != nil {
					errs = append(errs, fmt.Errorf("delete %s: %w", g.location, err))
					continue
				}
				gone = append(gone, g)
			}
		})
	}
	wg.Wait()
	return gone, errs
}

// Hold keeps the bytes of all blobs, needed or not, in the store until a time, so that what was read from the database once
// can be read from the store until then. Holding again under the same id moves the time. Rows go on being collected.
func (c *Collector) Hold(ctx context.Context, id, reason string, until time.Time) error {
	return c.l.update(ctx, "hold collection", func(tx *meta.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO gc_holds (id, reason, until) VALUES ($1, $2, $3)
			ON CONFLICT (id) DO UPDATE SET reason = excluded.reason, until = excluded.until`, id, reason, until.UnixMicro())
		return err
	})
}

// Release ends a hold; it need not exist.
func (c *Collector) Release(ctx context.Context, id string) error {
	return c.l.update(ctx, "release collection", func(tx *meta.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM gc_holds WHERE id = $1`, id)
		return err
	})
}

// orphanBatch is how many keys are looked up at once.
const orphanBatch = 32

// selectOrphans returns which of orphanBatch keys nothing names. Keys that are "" fill up.
const selectOrphans = `WITH k(location) AS (VALUES ($1), ($2), ($3), ($4), ($5), ($6), ($7), ($8), ($9), ($10), ($11), ($12), ($13), ($14), ($15), ($16),
		($17), ($18), ($19), ($20), ($21), ($22), ($23), ($24), ($25), ($26), ($27), ($28), ($29), ($30), ($31), ($32))
	SELECT k.location FROM k WHERE k.location <> ''
	AND NOT EXISTS (SELECT 1 FROM blobs b WHERE b.location = k.location AND b.location <> '')
	AND NOT EXISTS (SELECT 1 FROM held_objects h WHERE h.location = k.location)
	AND NOT EXISTS (SELECT 1 FROM garbage g WHERE g.location = k.location)`

// unnamed returns those of at most orphanBatch objects that neither blobs, nor others (see [HoldObject]), nor garbage have.
func unnamed(ctx context.Context, q reader, objects []blob.Object) ([]blob.Object, error) {
	if len(objects) == 0 {
		return nil, nil
	}
	keys := make([]any, orphanBatch)
	for i := range keys {
		keys[i] = ""
		if i < len(objects) {
			keys[i] = objects[i].Key
		}
	}
	found, err := stringsOf(q.Query(ctx, selectOrphans, keys...))
	if err != nil || len(found) == 0 {
		return nil, err
	}
	var out []blob.Object
	for _, o := range objects {
		if slices.Contains(found, o.Key) {
			out = append(out, o)
		}
	}
	return out, nil
}

const insertOrphan = `INSERT INTO garbage (location, size, delete_at) SELECT $1, $2, $3
	WHERE NOT EXISTS (SELECT 1 FROM blobs b WHERE b.location = $1 AND b.location <> '')
	AND NOT EXISTS (SELECT 1 FROM held_objects h WHERE h.location = $1) ON CONFLICT (location) DO NOTHING`

// orphans puts objects that nothing names into garbage.
func (c *Collector) orphans(ctx context.Context, r *CollectReport) error {
	return c.sweepOrphans(ctx, func(orphans []blob.Object) error {
		var found Tally
		done, err := c.update(ctx, "collect orphans", func(tx *meta.Tx) error {
			found = Tally{}
			at := c.before(-c.o.OrphanDelay)
			for _, o := range orphans {
				res, err := tx.Exec(ctx, insertOrphan, o.Key, o.Size, at)
				if err != nil {
					return err
				}
				if n, err := res.RowsAffected(); err != nil {
					return err
				} else if n == 1 {
					found.add(o.Size)
				}
			}
			return nil
		})
		if done {
			r.Orphans.Count += found.Count
			r.Orphans.Bytes += found.Bytes
		}
		return err
	})
}

// sweepOrphans has take called with objects that nothing names.
func (c *Collector) sweepOrphans(ctx context.Context, take func([]blob.Object) error) error {
	// A younger object is most likely on its way into blobs; it will be seen next time.
	young := c.l.now().Add(-maxCommit)
	var batch []blob.Object
	look := func() error {
		begin := time.Now()
		orphans, err := unnamed(ctx, c.l.db, batch)
		batch = batch[:0]
		if err == nil && len(orphans) > 0 {
			err = take(orphans)
		}
		return errors.Join(err, c.rest(ctx, time.Since(begin)))
	}
	for o, err := range c.l.store.Objects(ctx) {
		if err != nil {
			return err
		}
		if o.ModTime.After(young) {
			continue
		}
		if batch = append(batch, o); len(batch) == orphanBatch {
			if err := look(); err != nil {
				return err
			}
		}
	}
	return look()
}
