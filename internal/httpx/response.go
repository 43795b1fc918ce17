package httpx

import (
	"io"
	"log/slog"
	"net/http"
	"time"
)

const (
	// deadlineStep is how often, at most, progress moves a deadline: moving one
	// costs as much as a small read.
	deadlineStep = time.Second
	// sendChunk is how much of a file goes to the kernel in one call. The write
	// deadline moves between calls, so with [Limits.Idle] it gives the slowest
	// download there can be: 1 MiB a minute by default.
	sendChunk = 1 << 20
)

// Response is the http.ResponseWriter of a request, and carries its Event. It and
// the request's body are valid until the handler returns and not after.
//
// It keeps what the server's own writer can do: io.ReaderFrom (a file goes to the
// socket by sendfile) and, through Unwrap, all of http.ResponseController.
type Response struct {
	Event  Event
	Origin Origin

	under      http.ResponseWriter
	control    http.ResponseController
	limits     *Limits
	now        func() time.Time
	writeMoved time.Time // when the write deadline was last set
	writeErr   error     // the first

	body  *body // nil: the request has none
	attrs [eventAttrs]slog.Attr
}

var (
	_ http.ResponseWriter = (*Response)(nil)
	_ http.Flusher        = (*Response)(nil)
	_ io.ReaderFrom       = (*Response)(nil)
	_ io.StringWriter     = (*Response)(nil)
)

// Header returns the header that WriteHeader will send.
func (w *Response) Header() http.Header { return w.under.Header() }

// Unwrap serves http.ResponseController.
func (w *Response) Unwrap() http.ResponseWriter { return w.under }

// Written reports whether the status has been sent, so that nothing else can be said.
func (w *Response) Written() bool { return w.Event.Status != 0 }

// WriteHeader sends the status; 1xx may precede the final one.
func (w *Response) WriteHeader(status int) {
	if w.Event.Status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		w.Event.Status = status
		w.abandonBody(w.now())
	}
	w.under.WriteHeader(status)
}

func (w *Response) Write(p []byte) (int, error) {
	w.begin()
	n, err := w.under.Write(p)
	w.wrote(int64(n), err)
	return n, err
}

// WriteString is Write without a copy.
func (w *Response) WriteString(s string) (int, error) {
	w.begin()
	n, err := io.WriteString(w.under, s)
	w.wrote(int64(n), err)
	return n, err
}

// ReadFrom copies src to the client, by sendfile where src is a file or a limited
// part of one.
func (w *Response) ReadFrom(src io.Reader) (int64, error) {
	to, ok := w.under.(io.ReaderFrom)
	if !ok { // HTTP/2
		return io.Copy(struct{ io.Writer }{w}, src)
	}
	whole, ok := src.(*io.LimitedReader)
	if ok && whole.N <= sendChunk {
		w.begin()
		n, err := to.ReadFrom(src)
		w.wrote(n, err)
		return n, err
	}
	if !ok {
		whole = &io.LimitedReader{R: src, N: 1<<63 - 1}
	}
	part := &io.LimitedReader{R: whole.R} // over R itself: sendfile looks through one LimitedReader only
	var total int64
	for whole.N > 0 {
		want := min(whole.N, sendChunk)
		part.N = want
		w.begin()
		n, err := to.ReadFrom(part)
		w.wrote(n, err)
		total += n
		whole.N -= n
		if err != nil || n < want {
			return total, err
		}
	}
	return total, nil
}

// Flush sends what is buffered.
func (w *Response) Flush() { _ = w.FlushError() }

// FlushError is Flush, with the error that http.ResponseController reports.
func (w *Response) FlushError() error {
	w.begin()
	err := w.control.Flush()
	w.wrote(0, err)
	return err
}

// begin precedes whatever may block on the client's reading.
func (w *Response) begin() {
	now := w.now()
	if w.Event.Status == 0 {
		w.Event.Status = http.StatusOK
		w.abandonBody(now)
	}
	w.moveWriteDeadline(now)
}

func (w *Response) abandonBody(now time.Time) {
	if w.body != nil {
		w.body.abandon(now)
	}
}

func (w *Response) moveWriteDeadline(now time.Time) {
	if now.Sub(w.writeMoved) < deadlineStep {
		return
	}
	w.writeMoved = now
	_ = w.control.SetWriteDeadline(now.Add(w.limits.Idle)) // a test's recorder has none
}

func (w *Response) wrote(n int64, err error) {
	w.Event.BytesOut += n
	if err != nil && w.writeErr == nil {
		w.writeErr = err
	}
}
