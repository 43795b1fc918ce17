package registry

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/blob"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/oci"
)

// StartUpload implements [Registry].
func (l *Local) StartUpload(ctx context.Context, _ *iam.Caller, repo Repo) (string, error) {
	if _, err := l.repository(ctx, repo); err != nil {
		return "", err
	}
	return l.ids.make(repo, l.now())
}

// AppendUpload implements [Registry].
func (l *Local) AppendUpload(ctx context.Context, _ *iam.Caller, repo Repo, id string, at int64, r io.Reader) (int64, error) {
	size, err := l.uploadSize(ctx, repo, id)
	if err != nil {
		return 0, err
	}
	return l.append(ctx, id, at, size, r)
}

func (l *Local) append(ctx context.Context, id string, at, size int64, r io.Reader) (int64, error) {
	if at == AtEnd {
		at = size
	}
	if at != size {
		return size, errRange(at, size)
	}
	if at == 0 { // the upload begins with its first byte: whoever sends none leaves nothing to collect
		first := make([]byte, 1)
		if _, err := io.ReadFull(r, first); err == io.EOF {
			return 0, nil
		} else if err != nil {
			return 0, wrap("upload", err)
		}
		if err := l.uploads.begin(ctx, l); err != nil {
			return 0, err
		}
		r = io.MultiReader(bytes.NewReader(first), r)
	}
	limited := &limitReader{r: r, left: l.o.MaxBlob - at, max: l.o.MaxBlob}
	after, err := l.store.Append(ctx, id, at, limited)
	if _, other := errors.AsType[*blob.OffsetError](err); at == 0 && (other || after == 0) {
		l.uploads.end() // nothing was kept, or another request began the upload
	}
	return after, storeError(id, at, err)
}

// limitReader fails with TooLarge past its limit.
type limitReader struct {
	r         io.Reader
	left, max int64
}

func (l *limitReader) Read(p []byte) (int, error) {
	n, err := l.r.Read(p[:min(int64(len(p)), l.left+1)])
	if l.left -= int64(n); l.left < 0 {
		return 0, errTooLarge(l.max)
	}
	return n, err
}

func errTooLarge(limit int64) error {
	return errorf(TooLarge, "the layer has more than %d bytes, which is as large as a layer may be", limit)
}

// storeError says to the client what the store's error means.
func storeError(id string, at int64, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, blob.ErrNotFound):
		return errUploadUnknown(id)
	case errors.Is(err, blob.ErrBusy):
		return errorf(UploadBusy, "another request is writing to the upload '%s'; wait for it to end", id)
	case errors.Is(err, blob.ErrFull):
		return errFull(err)
	}
	if e, ok := errors.AsType[*blob.OffsetError](err); ok {
		return errRange(at, e.Size)
	}
	if e, ok := errors.AsType[*blob.DigestError](err); ok {
		return errDigest(e.Got, e.Want)
	}
	return wrap("upload", err)
}

func errDigest(got, want digest.Digest) error {
	return errorf(DigestMismatch, "the digest of the bytes that arrived is %s, not %s; nothing was stored, send all the bytes again", got, want)
}

// UploadSize implements [Registry].
func (l *Local) UploadSize(ctx context.Context, _ *iam.Caller, repo Repo, id string) (int64, error) {
	return l.uploadSize(ctx, repo, id)
}

// uploadSize checks an upload's id and returns how many bytes have come.
func (l *Local) uploadSize(ctx context.Context, repo Repo, id string) (int64, error) {
	if err := l.ids.check(id, repo, l.now()); err != nil {
		return 0, err
	}
	n, err := l.store.UploadSize(ctx, id)
	if err == nil {
		return n, nil
	}
	if !errors.Is(err, blob.ErrNotFound) {
		return 0, storeError(id, 0, err)
	}
	var ended bool
	if err := l.db.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM ended_uploads WHERE id = $1)`, id).Scan(&ended); err != nil {
		return 0, wrap("find upload", err)
	}
	if ended {
		return 0, errUploadUnknown(id)
	}
	return 0, nil
}

// CompleteUpload implements [Registry].
func (l *Local) CompleteUpload(ctx context.Context, c *iam.Caller, repo Repo, id string, end UploadEnd) (Descriptor, error) {
	if _, err := oci.ParseDigest(string(end.Digest)); err != nil {
		return Descriptor{}, errorf(DigestMismatch, "%v", err)
	}
	r, err := l.repository(ctx, repo)
	if err != nil {
		return Descriptor{}, err
	}
	if end.New {
		return l.completeNew(ctx, c, r, id, end)
	}
	size, err := l.uploadSize(ctx, repo, id)
	if err != nil {
		return Descriptor{}, err
	}
	if end.Body == nil {
		end.Size = 0
	}
	if end.Size > l.o.MaxBlob-size { // said before all that is sent in vain
		return Descriptor{}, errTooLarge(l.o.MaxBlob)
	}
	if size == 0 && end.At > 0 {
		return l.completeAgain(ctx, c, repo, end.Digest, errRange(end.At, 0))
	}
	if size == 0 && 0 <= end.Size && end.Size <= l.o.InlineLimit {
		return l.completeSmall(ctx, c, repo, end)
	}
	if end.Size != 0 {
		after, err := l.append(ctx, id, end.At, size, end.Body)
		if err != nil {
			// If one request was to bring it all, a client that tries again starts again.
			if size == 0 && after > 0 && !errors.Is(err, ErrOf(RangeInvalid)) {
				l.abort(id)
			}
			return Descriptor{}, err
		}
		if after == 0 {
			return l.completeSmall(ctx, c, repo, UploadEnd{Digest: end.Digest})
		}
	} else if end.At > 0 && end.At != size {
		return Descriptor{}, errRange(end.At, size)
	}
	began := l.now()
	object, err := l.store.Commit(ctx, id, end.Digest)
	if err != nil {
		if _, gone := errors.AsType[*blob.DigestError](err); gone {
			l.uploads.end()
		}
		return Descriptor{}, storeError(id, size, err)
	}
	l.uploads.end()
	return l.keepObject(ctx, repo, end.Digest, object, began)
}

// completeNew is CompleteUpload for one who wants to know whether the blob was there before. The upload is ended all the
// same: then what the client is told is there stays for the time that it needs.
func (l *Local) completeNew(ctx context.Context, c *iam.Caller, r *repository, id string, end UploadEnd) (Descriptor, error) {
	_, err := l.blob(ctx, r, end.Digest)
	there := err == nil
	if err != nil && !errors.Is(err, ErrOf(BlobUnknown)) {
		return Descriptor{}, err
	}
	if !there && end.Body == nil {
		size, err := l.uploadSize(ctx, r.Repo, id)
		if err != nil {
			return Descriptor{}, err
		}
		if size == 0 {
			return Descriptor{}, errorf(UploadEmpty, "The upload with upload id '%.64s' does not contain any layer parts", id)
		}
	}
	end.New = false
	d, err := l.CompleteUpload(ctx, c, r.Repo, id, end)
	if err == nil && there {
		err = errBlobExists(r.Repo, end.Digest)
	}
	return d, err
}

// completeSmall ends an upload of which nothing came before.
func (l *Local) completeSmall(ctx context.Context, c *iam.Caller, repo Repo, end UploadEnd) (Descriptor, error) {
	d, err := l.putSmall(ctx, repo, end)
	if end.Size == 0 && errors.Is(err, ErrOf(DigestMismatch)) {
		return l.completeAgain(ctx, c, repo, end.Digest, err)
	}
	return d, err
}

// completeAgain answers the end of an upload that lacks what came before it. A client to whom the answer was lost ends
// its upload once more; by then that is gone, and the blob there. Else there is nothing but err to say.
func (l *Local) completeAgain(ctx context.Context, c *iam.Caller, repo Repo, d digest.Digest, err error) (Descriptor, error) {
	if there, serr := l.StatBlob(ctx, c, repo, d); serr == nil {
		return there, nil
	}
	return Descriptor{}, err
}

// abort drops what has come of an upload, after its request has ended too.
func (l *Local) abort(id string) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := l.store.Abort(ctx, id); err != nil {
		l.log.Warn("an upload that failed is left for collection", "upload", id, "err", err)
		return
	}
	l.uploads.end()
}

// putSmall stores a blob in the metadata database.
func (l *Local) putSmall(ctx context.Context, repo Repo, end UploadEnd) (Descriptor, error) {
	data := []byte{}
	if end.Body != nil {
		var buf bytes.Buffer
		buf.Grow(int(end.Size) + bytes.MinRead)
		if _, err := buf.ReadFrom(io.LimitReader(end.Body, end.Size+1)); err != nil {
			return Descriptor{}, wrap("read body", err)
		}
		if data = buf.Bytes(); int64(len(data)) != end.Size {
			return Descriptor{}, errorf(LengthMismatch, "the body has %d bytes, its Content-Length says %d", len(data), end.Size)
		}
	}
	if got := end.Digest.Algorithm().FromBytes(data); got != end.Digest {
		return Descriptor{}, errDigest(got, end.Digest)
	}
	d := Descriptor{end.Digest, int64(len(data))}
	err := l.update(ctx, "put blob", func(tx *meta.Tx) error {
		r, err := l.repositoryIn(ctx, tx, repo)
		if err != nil {
			return err
		}
		if err := l.insertBlob(ctx, tx, d, "", data); err != nil {
			return err
		}
		return l.link(ctx, tx, r, d.Digest)
	})
	return d, err
}

// maxCommit is how long an object may take from the start of its commit until a row names it. Collection may take an
// object that no row names for a left-over once it is much older (see Collector), so a process that was stopped for
// so long in between must not go on as if nothing had happened.
const maxCommit = 6 * time.Hour

// keepObject makes an object of the blob store, whose commit began at a time, the blob with a digest, unless there is
// one: then the older is kept and the new object dropped.
func (l *Local) keepObject(ctx context.Context, repo Repo, want digest.Digest, object blob.Object, began time.Time) (Descriptor, error) {
	d := Descriptor{want, object.Size}
	var location string
	err := l.update(ctx, "put blob", func(tx *meta.Tx) error {
		if took := l.now().UnixMicro() - began.UnixMicro(); took > maxCommit.Microseconds() { // not Sub: a clock that stands still in sleep won't do
			return fmt.Errorf("the upload was committed %v ago, its bytes may be collected by now", time.Duration(took)*time.Microsecond)
		}
		r, err := l.repositoryIn(ctx, tx, repo)
		if err != nil {
			return err
		}
		if err := l.insertBlob(ctx, tx, d, object.Key, nil); err != nil {
			return err
		}
		err = tx.QueryRow(ctx, `SELECT location FROM blobs WHERE digest = $1`, string(want)).Scan(&location)
		if errors.Is(err, sql.ErrNoRows) {
			return errAgain // it was there a statement ago, and collection on another node took it
		}
		if err == nil && location != object.Key {
			// Collection deletes it, not we: fsck may have found out meanwhile that the older one is damaged, and named this one.
			_, err = tx.Exec(ctx, `INSERT INTO garbage (location, size, delete_at) VALUES ($1, $2, $3) ON CONFLICT (location) DO NOTHING`,
				object.Key, object.Size, l.now().UnixMicro())
		}
		if err != nil {
			return err
		}
		return l.link(ctx, tx, r, want)
	})
	// A commit whose answer was lost, with the connection or because the client went away, may have been done: also after
	// an error a row may name the object. Collection finds out.
	return d, err
}

// insertBlob writes a blob's row, unless there is one whose bytes aren't lost.
func (l *Local) insertBlob(ctx context.Context, tx *meta.Tx, d Descriptor, location string, data []byte) error {
	res, err := tx.Exec(ctx, `INSERT INTO blobs (digest, size, location, created_at, data) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (digest) DO NOTHING`,
		string(d.Digest), d.Size, location, l.now().UnixMicro(), data)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n == 1 {
		return err
	}
	_, err = tx.Exec(ctx, `UPDATE blobs AS b SET size = $2, location = $3, data = $4 WHERE b.digest = $1 AND NOT `+blobThere, string(d.Digest), d.Size, location, data)
	return err
}

// CancelUpload implements [Registry].
func (l *Local) CancelUpload(ctx context.Context, _ *iam.Caller, repo Repo, id string) error {
	size, err := l.uploadSize(ctx, repo, id)
	if err != nil {
		return err
	}
	err = l.update(ctx, "cancel upload", func(tx *meta.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO ended_uploads (id, ended_at) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING`, id, l.now().UnixMicro())
		return err
	})
	if err != nil {
		return err
	}
	if err := l.store.Abort(ctx, id); err != nil {
		return storeError(id, size, err)
	}
	if size > 0 {
		l.uploads.end()
	}
	return nil
}
