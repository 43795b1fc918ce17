package awsapi

import (
	"crypto/sha256"
	"errors"
	"io"
	"net/http"

	"golang.org/x/sync/semaphore"

	"github.com/sekisho/sekisho/internal/httpx"
)

const (
	smallBody   = 1 << 20   // so much of each body is free
	sharedBody  = 256 << 20 // so much, beyond that, all bodies together may take
	firstBuffer = 64 << 10
)

// bodies bounds the memory that the bodies of requests take. A body has to be in memory as a whole, because its hash is
// part of the signature: nothing may be done with it before its last byte.
type bodies struct{ shared *semaphore.Weighted }

func newBodies() *bodies { return &bodies{semaphore.NewWeighted(sharedBody)} }

// heldBody is a body that was read.
type heldBody struct {
	bytes  []byte
	shared int64 // taken from the shared allowance
	from   *bodies
}

// release gives back what the body took of the allowance.
func (h *heldBody) release() {
	h.from.shared.Release(h.shared)
	h.bytes, h.shared = nil, 0
}

var errBodyTooLarge = errors.New("it is longer than this operation takes")

// read returns the body of r, which has at most limit bytes. Memory is taken as bytes arrive and not as they are
// promised. When the shared allowance is used up it fails rather than waits: whoever sends slowly would make others wait.
// Errors: [httpx.BodyError], errBusy.
func (b *bodies) read(r *http.Request, limit int64) (*heldBody, error) {
	tooLarge := &httpx.BodyError{Status: http.StatusRequestEntityTooLarge, Err: errBodyTooLarge}
	if r.ContentLength > limit {
		return nil, tooLarge
	}
	most := limit + 1 // one more than there may be, to notice
	if r.ContentLength >= 0 {
		most = r.ContentLength + 1
	}
	h := &heldBody{bytes: make([]byte, 0, min(most, firstBuffer)), from: b}
	for {
		n, err := r.Body.Read(h.bytes[len(h.bytes):cap(h.bytes)])
		h.bytes = h.bytes[:len(h.bytes)+n]
		switch {
		case int64(len(h.bytes)) == most:
			err = tooLarge
		case err == io.EOF:
			return h, nil
		case err == nil && len(h.bytes) == cap(h.bytes):
			err = h.grow(min(2*int64(cap(h.bytes)), most))
		}
		if err != nil {
			h.release()
			return nil, err
		}
	}
}

// hashBody returns the SHA-256 of the body of r, which has at most limit bytes, without keeping it.
// Errors: [httpx.BodyError].
func hashBody(r *http.Request, limit int64) (sum [sha256.Size]byte, err error) {
	if r.ContentLength > limit {
		return sum, &httpx.BodyError{Status: http.StatusRequestEntityTooLarge, Err: errBodyTooLarge}
	}
	h := sha256.New()
	n, err := io.Copy(h, io.LimitReader(r.Body, limit+1))
	if err != nil {
		return sum, err
	}
	if n > limit {
		return sum, &httpx.BodyError{Status: http.StatusRequestEntityTooLarge, Err: errBodyTooLarge}
	}
	h.Sum(sum[:0])
	return sum, nil
}

// grow makes room for size bytes.
func (h *heldBody) grow(size int64) error {
	if more := max(size-smallBody, 0) - h.shared; more > 0 {
		if !h.from.shared.TryAcquire(more) {
			return errBusy
		}
		h.shared += more
	}
	h.bytes = append(make([]byte, 0, size), h.bytes...)
	return nil
}
