package registry

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/blob"
	"github.com/sekisho/sekisho/internal/meta"
)

// checkObjects goes over the store: it reports objects that nothing names, and finds bytes that are wanted among those that
// no blob has.
func (f *fsck) checkObjects(ctx context.Context) error {
	buf := make([]byte, fsckRead)
	batch := make([]blob.Object, 0, orphanBatch)
	look := func() error {
		defer func() { batch = batch[:0] }()
		return f.lookAtObjects(ctx, batch, buf)
	}
	for o, err := range f.l.store.Objects(ctx) {
		if err != nil {
			return err
		}
		f.objects.Add(1)
		if batch = append(batch, o); len(batch) == orphanBatch {
			if err := look(); err != nil {
				return err
			}
		}
	}
	if err := look(); err != nil {
		return err
	}
	for _, d := range slices.Sorted(maps.Keys(f.wanted)) {
		if err := f.notFound(ctx, d, f.wanted[d], buf); err != nil {
			return err
		}
	}
	return nil
}

func (f *fsck) lookAtObjects(ctx context.Context, batch []blob.Object, buf []byte) error {
	orphans, err := unnamed(ctx, f.l.db, batch)
	if err != nil {
		return err
	}
	for _, o := range batch {
		f.tell(false)
		if len(f.wanted) > 0 {
			used, err := f.use(ctx, o, buf)
			if err != nil {
				return err
			}
			if used {
				continue
			}
		}
		if !slices.Contains(orphans, o) {
			continue
		}
		err := f.found(Problem{Kind: ProblemOrphan, Location: o.Key, Harmless: true,
			Detail: fmt.Sprintf("no blob has its %d bytes; the push that they are of is not done, or never was", o.Size), Advice: "nothing: collection takes it away"})
		if err != nil {
			return err
		}
	}
	return nil
}

// use looks whether an object that neither a blob nor somebody else has is one that is wanted, and repairs with it.
func (f *fsck) use(ctx context.Context, o blob.Object, buf []byte) (bool, error) {
	var named bool
	err := f.l.db.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM blobs b WHERE b.location = $1 AND b.location <> '')
		OR EXISTS (SELECT 1 FROM held_objects h WHERE h.location = $1)`, o.Key).Scan(&named)
	if err != nil || named {
		return false, err
	}
	h, digests := f.bothHashes()
	size, p, err := f.hash(ctx, o.Key, h, buf)
	if p != nil || err != nil {
		return false, err // what can't be read is no help
	}
	f.bytes.Add(size)
	for _, d := range digests() {
		w := f.wanted[d]
		if w == nil {
			continue
		}
		done, err := f.repairWith(ctx, d, w, o.Key, size)
		if err != nil || !done {
			return false, err
		}
		delete(f.wanted, d)
		for i := range w.problems {
			w.problems[i].Repaired = true
			w.problems[i].Detail += fmt.Sprintf("; the object %s has it", o.Key)
		}
		return true, f.foundAll(w.problems)
	}
	return false, nil
}

// repairWith names an object as a blob's bytes, and reports whether it could.
func (f *fsck) repairWith(ctx context.Context, d digest.Digest, w *wantedBlob, key string, size int64) (done bool, err error) {
	err = f.change(ctx, func(tx *meta.Tx) error {
		done = false
		if ok, err := rescue(ctx, tx, key); !ok || err != nil {
			return err
		}
		if w.row != 0 {
			res, err := tx.Exec(ctx, `UPDATE blobs SET location = $1, size = $2, data = NULL WHERE id = $3 AND location = $4`, key, size, w.row, w.location)
			if err != nil {
				return err
			}
			n, err := res.RowsAffected()
			done = n == 1
			return err
		}
		if err := f.l.insertBlob(ctx, tx, Descriptor{d, size}, key, nil); err != nil {
			return err
		}
		for _, m := range w.manifests {
			if err := f.linkNeed(ctx, tx, m, d); err != nil {
				return err
			}
		}
		done = true
		return nil
	})
	if meta.IsForeignKey(err) { // a manifest went meanwhile
		return false, nil
	}
	return done, err
}

// rescue takes an object out of garbage, so that a row may name it in the same transaction, unless it is being deleted.
func rescue(ctx context.Context, tx *meta.Tx, key string) (bool, error) {
	if _, err := tx.Exec(ctx, `DELETE FROM garbage WHERE location = $1 AND delete_at > 0`, key); err != nil {
		return false, err
	}
	var condemned bool
	err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM garbage WHERE location = $1)`, key).Scan(&condemned)
	return !condemned, err
}

// notFound reports a blob whose bytes are nowhere, and forgets it if that is wanted.
func (f *fsck) notFound(ctx context.Context, d digest.Digest, w *wantedBlob, buf []byte) error {
	for i := range w.problems {
		w.problems[i].Detail += "; no other object in the store has it"
	}
	if w.row == 0 {
		return f.foundAll(w.problems)
	}
	b, err := scanChecked(f.l.db.QueryRow(ctx, selectChecked+`WHERE id = $1`, w.row))
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	if again, _, err := f.examine(ctx, b, buf); again == nil || err != nil {
		return err // somebody brought the bytes back
	}
	if f.o.Forget {
		err := f.change(ctx, func(tx *meta.Tx) error {
			_, err := tx.Exec(ctx, `UPDATE blobs SET location = '', data = NULL WHERE id = $1 AND location = $2`, b.id, b.location)
			return err
		})
		if err != nil {
			return err
		}
		for i := range w.problems {
			w.problems[i].Advice = "push an image that has it again: the blob is forgotten until then"
		}
	}
	return f.foundAll(w.problems)
}

func (f *fsck) foundAll(all []Problem) error {
	for _, p := range all {
		if err := f.found(p); err != nil {
			return err
		}
	}
	return nil
}
