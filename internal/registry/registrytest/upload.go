package registrytest

import (
	"bytes"
	"errors"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/registry"
)

// upload is one upload of a client.
type upload struct {
	*client
	id string
}

func (c *client) start() *upload {
	c.Helper()
	id, err := c.reg().StartUpload(c.Context(), c.as, c.repo)
	if err != nil {
		c.Fatalf("StartUpload: %v", err)
	}
	return &upload{c, id}
}

func (u *upload) append(at int64, r io.Reader) (int64, error) {
	return u.reg().AppendUpload(u.Context(), u.as, u.repo, u.id, at, r)
}

// grow appends a chunk.
func (u *upload) grow(at int64, chunk content, want int) {
	u.Helper()
	if size, err := u.append(at, bytes.NewReader(chunk)); err != nil || size != int64(want) {
		u.Fatalf("AppendUpload at %d of %d bytes: %d, %v, want %d", at, len(chunk), size, err, want)
	}
	u.wantSize(want)
}

func (u *upload) size() (int64, error) {
	return u.reg().UploadSize(u.Context(), u.as, u.repo, u.id)
}

func (u *upload) wantSize(want int) {
	u.Helper()
	if size, err := u.size(); err != nil || size != int64(want) {
		u.Errorf("UploadSize = %d, %v, want %d", size, err, want)
	}
}

func (u *upload) complete(end registry.UploadEnd) error {
	_, err := u.reg().CompleteUpload(u.Context(), u.as, u.repo, u.id, end)
	return err
}

// end completes an upload that has all its bytes.
func (u *upload) end(d digest.Digest) error {
	return u.complete(registry.UploadEnd{Digest: d, At: registry.AtEnd})
}

func (u *upload) cancel() error {
	return u.reg().CancelUpload(u.Context(), u.as, u.repo, u.id)
}

// wantUnknown checks that the upload can't be used any more, or never could.
func (u *upload) wantUnknown(what string) {
	u.Helper()
	b := u.small()
	_, err := u.size()
	u.wantKind(what+": UploadSize", err, registry.UploadUnknown)
	_, err = u.append(0, bytes.NewReader(b))
	u.wantKind(what+": AppendUpload", err, registry.UploadUnknown)
	_, err = u.append(registry.AtEnd, bytes.NewReader(b))
	u.wantKind(what+": AppendUpload at the end", err, registry.UploadUnknown)
	u.wantKind(what+": CompleteUpload", u.end(b.digest()), registry.UploadUnknown)
	u.wantKind(what+": CompleteUpload with a body", u.complete(registry.UploadEnd{Digest: b.digest(), At: registry.AtEnd, Body: bytes.NewReader(b), Size: int64(len(b))}), registry.UploadUnknown)
	u.wantKind(what+": CancelUpload", u.cancel(), registry.UploadUnknown)
	u.wantNoBlob(b.digest())
}

// wantRange checks that a chunk in the wrong place is refused with the place it should have.
func (u *upload) wantRange(what string, err error, size int64) {
	u.Helper()
	u.wantKind(what, err, registry.RangeInvalid)
	var e *registry.Error
	if errors.As(err, &e) && e.Offset != size {
		u.Errorf("%s: the error says that the upload has %d bytes, it has %d", what, e.Offset, size)
	}
}

// broken yields b and then the error of a client that went away.
func broken(b []byte) io.Reader {
	return io.MultiReader(bytes.NewReader(b), errorReader{})
}

type errorReader struct{}

func (errorReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
