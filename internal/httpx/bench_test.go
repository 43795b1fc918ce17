package httpx_test

import (
	"io"
	"log/slog"
	"net/http"
	"testing"

	"github.com/sekisho/sekisho/internal/httpx"
)

// writer is the least there can be under a Response.
type writer struct{ h http.Header }

func (w *writer) Header() http.Header         { return w.h }
func (w *writer) WriteHeader(int)             {}
func (w *writer) Write(p []byte) (int, error) { return len(p), nil }

var answer = []byte("0123456789")

// BenchmarkEntry is what the package adds to a request that reads a manifest.
func BenchmarkEntry(b *testing.B) {
	serve := func(w *httpx.Response, r *http.Request) error {
		e := &w.Event
		e.Operation, e.Action = "GetManifest", "ecr:BatchGetImage"
		e.Principal, e.Repo, e.Tag = "arn:aws:iam::123456789012:root", "team/app", "v1.2.3"
		_, err := w.Write(answer)
		return err
	}
	for _, bb := range []struct {
		name string
		log  slog.Handler
	}{
		{"nolog", slog.DiscardHandler},
		{"json", slog.NewJSONHandler(io.Discard, nil)},
		{"text", slog.NewTextHandler(io.Discard, nil)},
	} {
		b.Run(bb.name, func(b *testing.B) {
			h := httpx.New(serve, httpx.Options{Logger: slog.New(bb.log)})
			r, _ := http.NewRequest("GET", "/v2/team/app/manifests/v1.2.3", nil)
			r.RemoteAddr = "192.0.2.1:12345"
			w := &writer{h: http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				h.ServeHTTP(w, r)
			}
		})
	}
}
