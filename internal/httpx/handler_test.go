package httpx_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sekisho/sekisho/internal/httpx"
)

// events collects what is logged, one map an event.
type events struct {
	mu    sync.Mutex
	buf   bytes.Buffer
	added chan struct{}
}

func newEvents() (*events, *slog.Logger) {
	e := &events{added: make(chan struct{}, 1000)}
	return e, slog.New(slog.NewJSONHandler(e, nil))
}

func (e *events) Write(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.added <- struct{}{}
	return e.buf.Write(p)
}

// next waits for the next event.
func (e *events) next(t *testing.T) map[string]any {
	t.Helper()
	select {
	case <-e.added:
	case <-time.After(10 * time.Second):
		t.Fatal("nothing logged")
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	line, err := e.buf.ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]any{}
	if err := json.Unmarshal(line, &got); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return got
}

func (e *events) none(t *testing.T) {
	t.Helper()
	select {
	case <-e.added:
		t.Fatalf("logged more than once: %s", e.buf.String())
	default:
	}
}

var requestID = regexp.MustCompile(`^[a-z2-7]{26}$`)

func TestAnswers(t *testing.T) {
	type want struct {
		Status int
		Body   string // ID stands for the request id
		Broken bool   // the connection, instead
		Log    map[string]any
	}
	tests := []struct {
		name string
		h    httpx.Handler
		want want
	}{
		{
			name: "nothing written",
			h:    func(*httpx.Response, *http.Request) error { return nil },
			want: want{Status: 200, Log: map[string]any{"level": "INFO", "status": 200.0}},
		},
		{
			name: "fields",
			h: func(w *httpx.Response, _ *http.Request) error {
				e := &w.Event
				e.Principal, e.Action, e.Repo, e.Digest, e.Tag = "arn:p", "ecr:BatchGetImage", "a/b", "sha256:00", "v1"
				w.WriteHeader(201)
				_, err := w.WriteString("made")
				return err
			},
			want: want{Status: 201, Body: "made", Log: map[string]any{"level": "INFO", "status": 201.0, "bytes_out": 4.0,
				"principal": "arn:p", "action": "ecr:BatchGetImage", "repo": "a/b", "digest": "sha256:00", "tag": "v1"}},
		},
		{
			name: "unknown error",
			h: func(w *httpx.Response, _ *http.Request) error {
				w.Header().Set("Etag", "x")
				return errors.New("disk on fire")
			},
			want: want{Status: 500, Body: "internal error\nrequest id: ID\n",
				Log: map[string]any{"level": "ERROR", "status": 500.0, "err": "disk on fire", "bytes_out": 54.0}},
		},
		{
			name: "known error",
			h: func(*httpx.Response, *http.Request) error {
				return &httpx.Error{Status: 404, Message: "no such page", Err: errors.New("row missing")}
			},
			want: want{Status: 404, Body: "no such page\nrequest id: ID\n",
				Log: map[string]any{"level": "INFO", "status": 404.0, "err": "no such page: row missing", "bytes_out": 52.0}},
		},
		{
			name: "error in the protocol's form",
			h: func(w *httpx.Response, _ *http.Request) error {
				w.WriteHeader(403)
				_, _ = w.WriteString("{}")
				return errors.New("denied")
			},
			want: want{Status: 403, Body: "{}", Log: map[string]any{"level": "INFO", "status": 403.0, "err": "denied", "bytes_out": 2.0}},
		},
		{
			name: "error after success",
			h: func(w *httpx.Response, _ *http.Request) error {
				_, _ = w.WriteString("half")
				_ = w.FlushError()
				return errors.New("read failed")
			},
			want: want{Broken: true, Log: map[string]any{"level": "INFO", "status": 200.0, "err": "read failed", "bytes_out": 4.0}},
		},
		{
			name: "panic",
			h:    func(*httpx.Response, *http.Request) error { panic("oh") },
			want: want{Status: 500, Body: "internal error\nrequest id: ID\n",
				Log: map[string]any{"level": "ERROR", "status": 500.0, "err": "panic: oh", "stack": "…", "bytes_out": 54.0}},
		},
		{
			name: "panic after success",
			h: func(w *httpx.Response, _ *http.Request) error {
				_, _ = w.WriteString("half")
				panic("oh")
			},
			want: want{Broken: true, Log: map[string]any{"level": "ERROR", "status": 500.0, "err": "panic: oh", "stack": "…", "bytes_out": 4.0}},
		},
		{
			name: "abort",
			h:    func(*httpx.Response, *http.Request) error { panic(http.ErrAbortHandler) },
			want: want{Broken: true, Log: map[string]any{"level": "INFO", "status": 0.0, "err": "net/http: abort Handler"}},
		},
		{
			name: "secrets in errors",
			h: func(w *httpx.Response, _ *http.Request) error {
				return errors.New(`Get "https://s3/b/k?X-Amz-Credential=AKIA%2Fx&X-Amz-Signature=abc&x=1": EOF`)
			},
			want: want{Status: 500, Body: "internal error\nrequest id: ID\n", Log: map[string]any{"level": "ERROR", "status": 500.0, "bytes_out": 54.0,
				"err": `Get "https://s3/b/k?X-Amz-Credential=REDACTED&X-Amz-Signature=REDACTED&x=1": EOF`}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			logged, log := newEvents()
			srv := httptest.NewServer(httpx.New(tt.h, httpx.Options{Logger: log}))
			defer srv.Close()
			var got want
			resp, err := http.Get(srv.URL + "/p?n=1&X-Amz-Signature=deadbeef")
			var body []byte
			if err == nil {
				body, err = io.ReadAll(resp.Body)
				_ = resp.Body.Close()
			}
			got.Log = logged.next(t)
			id, _ := got.Log["request_id"].(string)
			if !requestID.MatchString(id) {
				t.Errorf("request id %q", id)
			}
			if err != nil {
				got.Broken = true
			} else {
				got.Status, got.Body = resp.StatusCode, strings.ReplaceAll(string(body), id, "ID")
				if h := resp.Header.Values("X-Request-Id"); len(h) != 1 || h[0] != id {
					t.Errorf("X-Request-Id %q, logged %q", h, id)
				}
				if resp.Header.Get("Etag") != "" {
					t.Error("the error kept a header of the answer it replaces")
				}
			}
			if dur, _ := got.Log["dur"].(float64); dur <= 0 {
				t.Errorf("dur %v", got.Log["dur"])
			}
			if stack, ok := got.Log["stack"].(string); ok && strings.Contains(stack, "handler_test.go") {
				got.Log["stack"] = "…"
			}
			for _, k := range []string{"time", "request_id", "dur"} {
				delete(got.Log, k)
			}
			all := map[string]any{"msg": "request", "method": "GET", "path": "/p", "query": "n=1&X-Amz-Signature=REDACTED",
				"client": "127.0.0.1", "bytes_in": 0.0, "bytes_out": 0.0}
			for k, v := range tt.want.Log {
				all[k] = v
			}
			tt.want.Log = all
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			logged.none(t)
		})
	}
}

// A client that leaves is not a fault of the server's.
func TestClientGone(t *testing.T) {
	logged, log := newEvents()
	entered := make(chan struct{})
	srv := httptest.NewServer(httpx.New(func(w *httpx.Response, r *http.Request) error {
		close(entered)
		<-r.Context().Done()
		return r.Context().Err()
	}, httpx.Options{Logger: log}))
	defer srv.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-entered
		cancel()
	}()
	req, _ := http.NewRequestWithContext(ctx, "GET", srv.URL, nil)
	if _, err := http.DefaultClient.Do(req); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if got := logged.next(t); got["status"] != 499.0 || got["level"] != "INFO" {
		t.Errorf("logged %v", got)
	}
}

func TestObserverAndTrace(t *testing.T) {
	_, log := newEvents()
	var o observer
	var ended string
	h := httpx.New(func(w *httpx.Response, r *http.Request) error {
		w.Event.Operation = "Get"
		_, err := w.WriteString(r.Header.Get("Traceparent"))
		return err
	}, httpx.Options{Logger: log, Observer: &o, Trace: func(r *http.Request) (*http.Request, func(*httpx.Event)) {
		r = r.Clone(r.Context())
		r.Header.Set("Traceparent", "t")
		return r, func(e *httpx.Event) { ended = e.Operation }
	}})
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest("GET", "/", nil))
	if o.started != 1 || o.done != 1 || o.out != 1 || ended != "Get" || rec.Body.String() != "t" {
		t.Errorf("%+v, span ended with %q, body %q", o, ended, rec.Body)
	}
}

type observer struct {
	started, done int
	out           int64
}

func (o *observer) RequestStarted() { o.started++ }
func (o *observer) RequestDone(e *httpx.Event) {
	o.done++
	o.out += e.BytesOut
}

// Content goes out whole in every way a handler can send it.
func TestCopies(t *testing.T) {
	big := bytes.Repeat([]byte("0123456789abcdef"), 3<<20/16+1) // over several chunks, and not a multiple
	name := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(name, big, 0o600); err != nil {
		t.Fatal(err)
	}
	open := func() *os.File {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		return f
	}
	tests := []struct {
		name string
		h    httpx.Handler
		want []byte
	}{
		{"serve content", func(w *httpx.Response, r *http.Request) error {
			http.ServeContent(w, r, "", time.Time{}, open())
			return nil
		}, big},
		{"copy file", func(w *httpx.Response, r *http.Request) error {
			_, err := io.Copy(w, open())
			return err
		}, big},
		{"copy reader", func(w *httpx.Response, r *http.Request) error {
			_, err := io.Copy(w, struct{ io.Reader }{open()})
			return err
		}, big},
		{"part of a file", func(w *httpx.Response, r *http.Request) error {
			_, err := io.CopyN(w, open(), 2<<20+5)
			return err
		}, big[:2<<20+5]},
		{"writes", func(w *httpx.Response, r *http.Request) error {
			_, _ = w.Write(big[:10])
			w.Flush()
			_, err := w.Write(big[10:])
			return err
		}, big},
	}
	for _, tls := range []bool{false, true} {
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				logged, log := newEvents()
				srv := httptest.NewUnstartedServer(httpx.New(tt.h, httpx.Options{Logger: log}))
				if srv.EnableHTTP2 = tls; tls {
					srv.StartTLS()
				} else {
					srv.Start()
				}
				defer srv.Close()
				resp, err := srv.Client().Get(srv.URL)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				if tls != (resp.ProtoMajor == 2) {
					t.Errorf("%s", resp.Proto)
				}
				got, err := io.ReadAll(resp.Body)
				if err != nil || !bytes.Equal(got, tt.want) {
					t.Errorf("%d bytes of %d, %v", len(got), len(tt.want), err)
				}
				if n := logged.next(t)["bytes_out"]; n != float64(len(tt.want)) {
					t.Errorf("bytes_out %v, want %d", n, len(tt.want))
				}
			})
		}
	}
}
