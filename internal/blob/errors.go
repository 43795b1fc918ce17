package blob

import (
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
)

var (
	// ErrNotFound means that there is no such object or upload.
	ErrNotFound = errors.New("not found")
	// ErrBusy means that another call is changing this upload now.
	ErrBusy = errors.New("upload is in use by another request")
	// ErrFull means that there is no room for the bytes: disk, quota or inodes.
	ErrFull = errors.New("no space left in the blob store")
	// ErrInvalid means that an upload id, key or digest is malformed, or the digest's algorithm is not supported.
	ErrInvalid = errors.New("invalid")
)

// OffsetError says that an Append did not start where the upload ends.
type OffsetError struct {
	Size int64 // of the upload, in bytes: where the next Append must start
}

func (e *OffsetError) Error() string {
	return fmt.Sprintf("offset is not the size of the upload, which is %d", e.Size)
}

// DigestError says that an upload's bytes do not have the digest they were said to have.
type DigestError struct {
	Want, Got digest.Digest
}

func (e *DigestError) Error() string {
	return fmt.Sprintf("digest is %s, not %s", e.Got, e.Want)
}
