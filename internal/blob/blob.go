// Package blob keeps bytes: objects under keys, and the uploads that become objects.
//
// Invariants every Store holds:
//   - An object never changes, and its key is never used again, not even for the same bytes. Deleting a key can
//     therefore never hurt an object committed later.
//   - What a nil error acknowledged survives kill -9 and power loss.
//   - Commit makes an object only of bytes that were hashed to the digest asked for: bytes that the store did not
//     see itself in this process's life, or is not sure of, are read again and hashed again.
//   - An object or an upload that nobody knows of is listed by Objects or Uploads, so that it can be collected.
//
// A Store knows nothing of repositories, of references, or of who may do what, and does not deduplicate: two uploads
// of the same bytes become two objects. That a digest is stored once is the business of the metadata that names keys.
package blob

import (
	"context"
	"io"
	"iter"
	"time"

	"github.com/opencontainers/go-digest"
)

// Store is where bytes are kept. All methods may be called concurrently.
//
// Upload ids are made by the caller, see [CheckID]; keys are made by the store and opaque to everybody else. A
// malformed id, key or digest is [ErrInvalid]. A store without room answers [ErrFull] and keeps serving.
type Store interface {
	// Append adds what r yields to upload id at offset at, which must be the upload's size; at 0 creates it. It returns
	// the upload's new size, whatever the error: what arrived before an error of r or the end of ctx stays, so that the
	// client can resume. When the error is nil, the bytes are durable.
	//
	// Errors: [*OffsetError] when at is not the size, [ErrBusy] when another Append or Commit of this id is running,
	// [ErrNotFound] when at is not 0 and the upload is unknown, the error of r or ctx.
	Append(ctx context.Context, id string, at int64, r io.Reader) (size int64, err error)

	// UploadSize returns how many bytes an upload has; while an Append is running, how many it had before. They are
	// durable. Errors: [ErrNotFound]; [ErrBusy] when another call is finding that out after a restart.
	UploadSize(ctx context.Context, id string) (int64, error)

	// Commit checks that the upload's bytes have the digest want (sha256 or sha512) and makes them an object with a
	// fresh key, durable when the error is nil. The upload is gone then, and also on a [*DigestError]; after any other
	// error it is still there. Other errors: [ErrNotFound], [ErrBusy].
	Commit(ctx context.Context, id string, want digest.Digest) (Object, error)

	// Abort drops an upload; nil when it is unknown. Errors: [ErrBusy].
	Abort(ctx context.Context, id string) error

	// Open returns an object's bytes. ctx must live as long as they are read. Errors: [ErrNotFound].
	Open(ctx context.Context, key string) (Content, error)

	// Delete removes an object; nil when it is unknown. Content that is open may or may not stay readable. After a power
	// loss a deleted object can be back: Objects lists it, and it can be deleted again.
	Delete(ctx context.Context, key string) error

	// Objects lists all objects in no particular order. Those that come or go meanwhile may be missing or not. An error
	// is the last thing yielded.
	Objects(ctx context.Context) iter.Seq2[Object, error]

	// Uploads lists all uploads in the same way.
	Uploads(ctx context.Context) iter.Seq2[Upload, error]

	// Check returns nil when the store can be written and read now.
	Check(ctx context.Context) error

	// Close frees what the store holds. No call may be running or follow.
	Close() error
}

// Presigner is a [Store] whose objects can be fetched straight from where they are.
type Presigner interface {
	// PresignGet returns a URL that anybody may GET key from until expires has passed.
	PresignGet(ctx context.Context, key string, expires time.Duration) (string, error)
}

// Content is the bytes of one object. It is not for concurrent use.
//
// Where the object is a file, io.Copy and http.ServeContent to a TCP connection reach sendfile.
type Content interface {
	io.ReadSeekCloser
	// Size is the object's length in bytes.
	Size() int64
}

// Object is what is known of an object without reading it.
type Object struct {
	Key  string
	Size int64 // bytes
	// ModTime lies between the start of the upload that became the object and its Commit, by the store's clock. So an
	// object that no metadata names is surely no commit in progress only when it is older than an upload can get.
	ModTime time.Time
}

// Upload is what is known of bytes that are not an object yet.
type Upload struct {
	ID      string
	Size    int64     // bytes
	ModTime time.Time // of the last Append
}
