package httpx

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

// BodyError says why a request's body could not be read: by the client's doing or
// the network's. Status is the answer it deserves: 400 cut short or malformed,
// 408 stalled, 413 longer than allowed. Protocols answer it in their own form.
type BodyError struct {
	Status int
	Err    error
}

func (e *BodyError) Error() string { return "read request body: " + e.Err.Error() }
func (e *BodyError) Unwrap() error { return e.Err }

var (
	errStalled  = errors.New("the client stopped sending")
	errTooSlow  = errors.New("the client sends too slowly")
	errCutShort = errors.New("it ended before its stated length")
)

// ReadBody returns the whole body of r. A body over limit bytes is a [BodyError]
// with status 413, without being read when its length is stated. Memory grows with
// what arrives, not with what is promised.
func ReadBody(r *http.Request, limit int64) ([]byte, error) {
	tooLarge := &BodyError{http.StatusRequestEntityTooLarge, fmt.Errorf("it is over %d bytes", limit)}
	if r.ContentLength > limit {
		return nil, tooLarge
	}
	var buf bytes.Buffer
	buf.Grow(int(min(max(r.ContentLength, 0), 64<<10)) + bytes.MinRead)
	n, err := buf.ReadFrom(io.LimitReader(r.Body, limit+1))
	if err != nil {
		return nil, err
	}
	if n > limit {
		return nil, tooLarge
	}
	return buf.Bytes(), nil
}

// body is a request's body: it counts, names errors, and keeps the client moving.
//
// The deadline moves with progress, at most once a [deadlineStep]. Only time spent
// waiting for the client counts: a slow disk is not held against it.
//
// It is not pooled with the Response and does not refer to it, because a handler that
// passes it on to an HTTP client may return while that still reads.
type body struct {
	under   io.ReadCloser
	control *http.ResponseController
	limits  *Limits
	now     func() time.Time

	n    atomic.Int64 // bytes read
	done atomic.Bool  // the handler has returned

	// Of the one goroutine that reads.
	waited time.Duration // in Read
	moved  time.Time     // when the read deadline was last set; zero: not set
	err    error         // what ended it, io.EOF included

	ended atomic.Bool // err is set
}

func (b *body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if b.done.Load() {
		return 0, http.ErrBodyReadAfterClose
	}
	start := b.now()
	if err := b.moveDeadline(start); err != nil {
		return 0, b.end(err)
	}
	n, err := b.under.Read(p)
	b.waited += b.now().Sub(start)
	b.n.Add(int64(n))
	switch {
	case err == nil:
		return n, nil
	case err == io.EOF:
		b.clearDeadline()
		return n, b.end(io.EOF)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return n, b.end(&BodyError{http.StatusRequestTimeout, errStalled})
	case errors.Is(err, io.ErrUnexpectedEOF):
		return n, b.end(&BodyError{http.StatusBadRequest, errCutShort})
	default:
		return n, b.end(&BodyError{http.StatusBadRequest, err})
	}
}

func (b *body) end(err error) error {
	b.err = err
	b.ended.Store(true)
	return err
}

// Close is the handler's; the server reads and closes what lies under it.
func (b *body) Close() error { return nil }

// moveDeadline gives the client Idle from now, and over the whole body no more
// than Idle and a second for each MinRate bytes it has sent.
func (b *body) moveDeadline(now time.Time) error {
	if now.Sub(b.moved) < deadlineStep {
		return nil
	}
	left := b.limits.Idle
	if rate := b.limits.MinRate; rate > 0 {
		earned := time.Duration(float64(b.n.Load()) / float64(rate) * float64(time.Second))
		if left = min(left, left+earned-b.waited); left <= 0 {
			return &BodyError{http.StatusRequestTimeout, errTooSlow}
		}
	}
	b.moved = now
	_ = b.control.SetReadDeadline(now.Add(left)) // a test's recorder has none
	return nil
}

// clearDeadline lets the handler work for as long as it needs after the last byte:
// the server reads on to notice the client's going, and would take a passed
// deadline for that.
func (b *body) clearDeadline() {
	if !b.moved.IsZero() {
		b.moved = time.Time{}
		_ = b.control.SetReadDeadline(time.Time{})
	}
}

// abandon bounds the server's own reading of what the handler leaves unread, which
// it does (up to 256 KiB) before it sends the header, so that the client sees it.
func (b *body) abandon(now time.Time) {
	if !b.ended.Load() {
		_ = b.control.SetReadDeadline(now.Add(drainTime))
	}
}

// drain reads what the handler left unread of a body that the client ends its connection with. Of such a connection the
// server reads no more, and closes it at once; what then still arrives is answered with a reset, which makes the client's
// system drop the response before the client has read it (RFC 9112 section 9.6). A client that has read it closes.
func (b *body) drain() {
	if !b.ended.Load() {
		_, _ = io.CopyN(io.Discard, b.under, drainBytes)
	}
}

const (
	drainTime  = 5 * time.Second
	drainBytes = 16 << 20 // more than is under way while the response is
)
