package registry

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/opencontainers/go-digest"
)

// heldObject is a row of held_objects.
type heldObject struct {
	id, size         int64
	holder, location string
	digest           digest.Digest
}

const selectHeld = `SELECT id, holder, location, digest, size FROM held_objects `

func scanHeld(row interface{ Scan(...any) error }) (h heldObject, err error) {
	return h, row.Scan(&h.id, &h.holder, &h.location, &h.digest, &h.size)
}

// checkHeld reads all that others keep in the same store: logs, and files of artifacts.
func (f *fsck) checkHeld(ctx context.Context) error {
	buf := make([]byte, fsckRead)
	for after := int64(0); ; {
		rows, err := f.l.db.Query(ctx, selectHeld+`WHERE id > $1 ORDER BY id LIMIT $2`, after, fsckPage)
		if err != nil {
			return err
		}
		page, err := scanEach(rows, scanHeld)
		if err != nil {
			return err
		}
		for _, h := range page {
			if err := f.checkHeldObject(ctx, h, buf); err != nil {
				return err
			}
			after = h.id
		}
		if len(page) < fsckPage {
			return nil
		}
	}
}

// checkHeldObject checks one object. There is nothing to repair it with; whoever keeps it says that it can't be read.
func (f *fsck) checkHeldObject(ctx context.Context, h heldObject, buf []byte) error {
	defer f.tell(false)
	var sum hash.Hash = sha256.New()
	to := io.Writer(sum)
	known := h.digest.Algorithm() == digest.SHA256
	if !known {
		to = io.Discard
	}
	size, p, err := f.hash(ctx, h.location, to, buf)
	if err != nil {
		return err
	}
	f.bytes.Add(size)
	switch {
	case p != nil:
	case size != h.size:
		p = &Problem{Detail: fmt.Sprintf("it has %d bytes and not %d", size, h.size)}
	case known && digest.NewDigest(digest.SHA256, sum) != h.digest:
		p = &Problem{Detail: "its bytes are not those that were written: they are " + string(digest.NewDigest(digest.SHA256, sum))}
	default:
		return nil
	}
	_, err = scanHeld(f.l.db.QueryRow(ctx, selectHeld+`WHERE id = $1`, h.id)) // it may have been dropped meanwhile
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	p.Kind, p.Digest, p.Location, p.Detail = ProblemHeld, h.digest, h.location, "kept for "+h.holder+": "+p.Detail
	p.Advice = "restore the object from a backup; what of runs is lost, a new run makes again"
	return f.found(*p)
}
