package ociserver

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sekisho/sekisho/internal/httpx"
)

// serveBytes answers with content that is in memory.
func serveBytes(w *httpx.Response, req *request, digest string, data []byte) error {
	h := w.Header()
	v := [2]string{digest, `"` + digest + `"`}
	h["Docker-Content-Digest"] = v[0:1:1]
	h["Etag"] = v[1:2:2]
	if conditional(req.Header) {
		return serveContent(w, req, bytes.NewReader(data), int64(len(data)))
	}
	h["Content-Length"] = []string{strconv.Itoa(len(data))}
	w.WriteHeader(http.StatusOK)
	if req.Method == http.MethodHead {
		return nil
	}
	_, err := w.Write(data)
	return err
}

func conditional(h http.Header) bool {
	return h["Range"] != nil || h["If-None-Match"] != nil || h["If-Match"] != nil
}

// serveContent lets net/http see to conditions and ranges (RFC 9110, sections 13 and 14), and answers what that refuses
// in the form of this protocol.
func serveContent(w *httpx.Response, req *request, content io.ReadSeeker, size int64) error {
	// Only GET has ranges, and only in bytes: others don't count (section 14.2).
	if req.Method != http.MethodGet || !strings.HasPrefix(req.Header.Get("Range"), "bytes=") {
		delete(req.Header, "Range")
	}
	c := contentWriter{Response: w}
	http.ServeContent(&c, req.Request, "", time.Time{}, content)
	switch c.refused {
	case 0:
		return nil
	case http.StatusRequestedRangeNotSatisfiable:
		w.Header()["Content-Range"] = []string{"bytes */" + strconv.FormatInt(size, 10)}
		return &protocolError{c.refused, "RANGE_INVALID", "there are " + strconv.FormatInt(size, 10) + " bytes, and none of them in the range that was asked for"}
	case http.StatusPreconditionFailed:
		return &protocolError{c.refused, "PRECONDITION_FAILED", "this is not the content that If-Match names"}
	}
	return errors.New("serve content: it can't be read")
}

// contentWriter passes on everything but refusals, and so keeps what httpx.Response does to send files.
type contentWriter struct {
	*httpx.Response
	refused int // the status of one
}

func (c *contentWriter) WriteHeader(status int) {
	if status >= 400 {
		c.refused = status
		return
	}
	c.Response.WriteHeader(status)
}

func (c *contentWriter) Write(p []byte) (int, error) {
	if c.refused > 0 {
		return len(p), nil
	}
	return c.Response.Write(p)
}
