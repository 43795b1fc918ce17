package registry

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/blob"
	"github.com/sekisho/sekisho/internal/meta"
)

const (
	fsckPage = 32 // rows that may have content in them, read at once
	fsckRead = 256 << 10
)

// checkedBlob is a row of blobs.
type checkedBlob struct {
	id       int64
	digest   digest.Digest
	size     int64
	location string
	inline   bool // data is not NULL; empty data may be read as nil
	data     []byte
}

const selectChecked = `SELECT id, digest, size, location, data IS NOT NULL, data FROM blobs `

func scanChecked(row interface{ Scan(...any) error }) (b checkedBlob, err error) {
	return b, row.Scan(&b.id, &b.digest, &b.size, &b.location, &b.inline, &b.data)
}

// checkBlobs reads all blobs and hashes them.
func (f *fsck) checkBlobs(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	work := make(chan checkedBlob)
	var wg sync.WaitGroup
	for range f.o.Workers {
		wg.Go(func() {
			buf := make([]byte, fsckRead)
			for b := range work {
				if err := f.checkBlob(ctx, b, buf); err != nil {
					cancel(err)
				}
			}
		})
	}
	err := f.eachBlob(ctx, func(b checkedBlob) error {
		select {
		case work <- b:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
	close(work)
	wg.Wait()
	return errors.Join(err, context.Cause(ctx))
}

func (f *fsck) eachBlob(ctx context.Context, do func(checkedBlob) error) error {
	for after := ""; ; {
		rows, err := f.l.db.Query(ctx, selectChecked+`WHERE digest > $1 ORDER BY digest LIMIT $2`, after, fsckPage)
		if err != nil {
			return err
		}
		page, err := scanEach(rows, scanChecked)
		if err != nil {
			return err
		}
		for _, b := range page {
			if err := do(b); err != nil {
				return err
			}
			after = string(b.digest)
		}
		if len(page) < fsckPage {
			return nil
		}
	}
}

// scanEach reads rows with scan, and closes them.
func scanEach[T any](rows *sql.Rows, scan func(interface{ Scan(...any) error }) (T, error)) ([]T, error) {
	defer rows.Close()
	var all []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, rows.Err()
}

// checkBlob checks one blob. A problem is looked at again with the row as it is by then: it may have gone meanwhile.
func (f *fsck) checkBlob(ctx context.Context, b checkedBlob, buf []byte) error {
	defer f.tell(false)
	f.blobs.Add(1)
	p, size, err := f.examine(ctx, b, buf)
	if err != nil || p == nil {
		return err
	}
	b, err = scanChecked(f.l.db.QueryRow(ctx, selectChecked+`WHERE id = $1`, b.id))
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	if p, size, err = f.examine(ctx, b, buf); err != nil || p == nil {
		return err
	}
	p.Digest, p.Location = b.digest, b.location
	if p.Kind == ProblemBlobSize {
		if f.o.Repair {
			if err := f.change(ctx, func(tx *meta.Tx) error {
				_, err := tx.Exec(ctx, `UPDATE blobs SET size = $1 WHERE id = $2 AND location = $3`, size, b.id, b.location)
				return err
			}); err != nil {
				return err
			}
			p.Repaired = true
		}
		return f.found(*p)
	}
	if f.o.Repair && f.want(b.digest, func(w *wantedBlob) { w.problems, w.row, w.location = []Problem{*p}, b.id, b.location }) {
		return nil // it is reported when the store has been searched
	}
	return f.found(*p)
}

const adviceBytes = "restore the bytes from a backup to this place; or have another copy of it looked for in the store (repair), " +
	"or the blob forgotten (forget), and push an image that has it again"

// examine reads a blob. What is wrong with it is a problem, an error is something else.
func (f *fsck) examine(ctx context.Context, b checkedBlob, buf []byte) (p *Problem, size int64, err error) {
	h, err := blob.NewHash(b.digest)
	if err != nil {
		return &Problem{Kind: ProblemBlobCorrupt, Detail: "its digest is none: " + err.Error(), Advice: adviceBytes}, 0, nil
	}
	switch {
	case b.location != "":
		var problem *Problem
		if size, problem, err = f.hash(ctx, b.location, h, buf); problem != nil || err != nil {
			return problem, size, err
		}
	case b.inline:
		h.Write(b.data)
		size = int64(len(b.data))
	default:
		return &Problem{Kind: ProblemBlobMissing, Detail: "its bytes are known to be lost", Advice: "push an image that has it again"}, 0, nil
	}
	f.bytes.Add(size)
	if err := blob.CheckDigest(h, b.digest); err != nil {
		return &Problem{Kind: ProblemBlobCorrupt, Detail: fmt.Sprintf("its %d bytes have another digest: %v", size, err), Advice: adviceBytes}, size, nil
	}
	if size != b.size {
		return &Problem{Kind: ProblemBlobSize, Detail: fmt.Sprintf("its row says %d bytes, it has %d", b.size, size), Advice: "repair"}, size, nil
	}
	return nil, size, nil
}

// hash reads an object into h.
func (f *fsck) hash(ctx context.Context, location string, h io.Writer, buf []byte) (size int64, p *Problem, err error) {
	content, err := f.l.store.Open(ctx, location)
	switch {
	case err == nil:
		size, err = io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{content}, buf)
		content.Close()
	case errors.Is(err, blob.ErrNotFound):
		return 0, &Problem{Kind: ProblemBlobMissing, Detail: "its bytes are not in the store", Advice: adviceBytes}, nil
	}
	if ctx.Err() != nil {
		return 0, nil, context.Cause(ctx)
	}
	if err != nil {
		return size, &Problem{Kind: ProblemBlobUnreadable, Detail: "its bytes can't be read: " + err.Error(), Advice: adviceBytes}, nil
	}
	return size, nil, nil
}

// bothHashes makes the digests that objects are looked for with.
func (f *fsck) bothHashes() (w io.Writer, digests func() []digest.Digest) {
	a := sha256.New()
	if !f.sha512 {
		return a, func() []digest.Digest { return []digest.Digest{digest.NewDigest(digest.SHA256, a)} }
	}
	b := sha512.New()
	return io.MultiWriter(a, b), func() []digest.Digest {
		return []digest.Digest{digest.NewDigest(digest.SHA256, a), digest.NewDigest(digest.SHA512, b)}
	}
}
