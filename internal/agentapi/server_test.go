package agentapi

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sekisho/sekisho/internal/httpx"
)

// counted counts how much of a body was taken.
type counted struct {
	io.Reader
	n int
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += n
	return n, err
}

// TestBodyOfNobody: of a call without a token that is good, nothing is read into memory.
func TestBodyOfNobody(t *testing.T) {
	s := New(Options{Secrets: [][]byte{make([]byte, 32)}})
	body := &counted{Reader: strings.NewReader(strings.Repeat("x", 4<<20))}
	var served error
	handler := httpx.New(func(w *httpx.Response, r *http.Request) error {
		r.Body = io.NopCloser(body)
		served = s.Serve(w, r)
		return served
	}, httpx.Options{Logger: slog.New(slog.DiscardHandler)})
	r := httptest.NewRequest(http.MethodPost, "/sekisho.agent.v1.AgentService/Attach", nil)
	r.Header.Set("Content-Type", "application/proto")
	r.Header.Set("Authorization", "Agent sat_nonsense")
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	if w.Code != http.StatusUnauthorized || served == nil || body.n != 0 {
		t.Errorf("%d, %v, %d bytes read", w.Code, errors.Unwrap(served), body.n)
	}
}
