package httpx_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sekisho/sekisho/internal/httpx"
)

// dial sends raw bytes and returns the connection.
func dial(t *testing.T, addr, raw string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, raw); err != nil {
		t.Fatal(err)
	}
	return c
}

func readResponse(t *testing.T, c net.Conn) (status int, body string) {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestReadBody(t *testing.T) {
	serve := func(w *httpx.Response, r *http.Request) error {
		b, err := httpx.ReadBody(r, 10)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(w, "got %s", b)
		return err
	}
	tests := []struct {
		name, raw string
		half      bool // the client closes its side afterwards
		status    int
		body      string
		in        float64
	}{
		{name: "whole", raw: "Content-Length: 10\r\n\r\n0123456789", status: 200, body: "got 0123456789", in: 10},
		{name: "empty", raw: "Content-Length: 0\r\n\r\n", status: 200, body: "got "},
		{name: "chunked", raw: "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", status: 200, body: "got abc", in: 3},
		{name: "too long", raw: "Content-Length: 11\r\n\r\n0123456789a", status: 413, body: "read request body: it is over 10 bytes"},
		{name: "chunked too long", raw: "Transfer-Encoding: chunked\r\n\r\nb\r\n0123456789a\r\n0\r\n\r\n", status: 413,
			body: "read request body: it is over 10 bytes", in: 11},
		{name: "cut short", raw: "Content-Length: 10\r\n\r\n012", half: true, status: 400,
			body: "read request body: it ended before its stated length", in: 3},
		{name: "chunk cut short", raw: "Transfer-Encoding: chunked\r\n\r\n8\r\n012", half: true, status: 400,
			body: "read request body: it ended before its stated length", in: 3},
		{name: "malformed chunk", raw: "Transfer-Encoding: chunked\r\n\r\nzz\r\n", status: 400,
			body: "read request body: invalid byte in chunk length"},
		{name: "stalled", raw: "Content-Length: 10\r\n\r\n012", status: 408, body: "read request body: the client stopped sending", in: 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			logged, log := newEvents()
			srv := httptest.NewServer(httpx.New(serve, httpx.Options{Logger: log, Limits: httpx.Limits{Idle: 200 * time.Millisecond}}))
			defer srv.Close()
			c := dial(t, srv.Listener.Addr().String(), "PUT / HTTP/1.1\r\nHost: x\r\n"+tt.raw)
			if tt.half {
				if err := c.(*net.TCPConn).CloseWrite(); err != nil {
					t.Fatal(err)
				}
			}
			status, body := readResponse(t, c)
			body, _, _ = strings.Cut(body, "\n")
			in := logged.next(t)["bytes_in"]
			if status != tt.status || body != tt.body || in != tt.in {
				t.Errorf("%d %q after %v bytes, want %d %q after %v", status, body, in, tt.status, tt.body, tt.in)
			}
		})
	}
}

// A refusal reaches a client that sends no body it promised, without a wait for it
// and without asking for it.
func TestRefusalBeforeBody(t *testing.T) {
	refuse := func(w *httpx.Response, r *http.Request) error {
		w.WriteHeader(401)
		_, err := w.WriteString("who?")
		return err
	}
	_, log := newEvents()
	srv := httptest.NewServer(httpx.New(refuse, httpx.Options{Logger: log}))
	defer srv.Close()
	c := dial(t, srv.Listener.Addr().String(), "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n")
	status, body := readResponse(t, c)
	if status != 401 || body != "who?" {
		t.Errorf("%d %q", status, body)
	}
	_ = c.Close() // the server waits a while for that, to not reset the answer away
}

// The deadline of a body must not outlive it: the server takes a deadline that
// passes while the handler works for the client's going.
// TestRefusalOfLastBody: a client that ends the connection with its request, and writes all of it before it reads, gets the
// response.
func TestRefusalOfLastBody(t *testing.T) {
	_, log := newEvents()
	srv := httptest.NewServer(httpx.New(func(*httpx.Response, *http.Request) error {
		return &httpx.Error{Status: http.StatusForbidden, Message: "no"}
	}, httpx.Options{Logger: log}))
	defer srv.Close()
	c := dial(t, srv.Listener.Addr().String(), "PUT / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 8388608\r\n\r\n")
	if _, err := io.CopyN(c, zeros{}, 8<<20); err != nil {
		t.Fatal(err)
	}
	if status, body := readResponse(t, c); status != http.StatusForbidden || !strings.HasPrefix(body, "no\n") {
		t.Errorf("%d %q", status, body)
	}
}

func TestSlowHandlerAfterBody(t *testing.T) {
	const idle = 50 * time.Millisecond
	_, log := newEvents()
	srv := httptest.NewServer(httpx.New(func(w *httpx.Response, r *http.Request) error {
		if _, err := httpx.ReadBody(r, 10); err != nil {
			return err
		}
		select {
		case <-r.Context().Done():
			return r.Context().Err()
		case <-time.After(4 * idle):
		}
		_, err := w.WriteString("done")
		return err
	}, httpx.Options{Logger: log, Limits: httpx.Limits{Idle: idle}}))
	defer srv.Close()
	c := dial(t, srv.Listener.Addr().String(), "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
	if status, body := readResponse(t, c); status != 200 || body != "done" {
		t.Errorf("%d %q", status, body)
	}
}

// A client that never stops but dribbles loses as well; one that is fast enough
// may take longer than Idle.
func TestMinRate(t *testing.T) {
	now := time.Unix(0, 0)
	for _, tt := range []struct {
		name string
		each int // bytes a read, each after 30 s
		ok   bool
	}{{"dribble", 30, false}, {"slow", 3000, true}} {
		t.Run(tt.name, func(t *testing.T) {
			_, log := newEvents()
			var readErr error
			h := httpx.New(func(w *httpx.Response, r *http.Request) error {
				_, readErr = io.Copy(io.Discard, r.Body)
				if _, again := r.Body.Read(make([]byte, 1)); readErr != nil && !errors.Is(again, readErr) {
					t.Errorf("%v, and read again: %v", readErr, again)
				}
				return nil
			}, httpx.Options{Logger: log, Limits: httpx.Limits{Idle: time.Minute, MinRate: 100}, Now: func() time.Time { return now }})
			reads := 10
			body := readerFunc(func(p []byte) (int, error) {
				now = now.Add(30 * time.Second)
				if reads--; reads < 0 {
					return 0, io.EOF
				}
				return tt.each, nil
			})
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("PUT", "/", body))
			var be *httpx.BodyError
			if tt.ok != (readErr == nil) || (!tt.ok && (!errors.As(readErr, &be) || be.Status != 408)) {
				t.Errorf("read: %v", readErr)
			}
		})
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// A client that takes nothing is dropped, however large the rest.
func TestStalledDownload(t *testing.T) {
	logged, log := newEvents()
	srv := httptest.NewUnstartedServer(httpx.New(func(w *httpx.Response, r *http.Request) error {
		_, err := io.Copy(w, io.LimitReader(zeros{}, 1<<30))
		return err
	}, httpx.Options{Logger: log, Limits: httpx.Limits{Idle: 200 * time.Millisecond}}))
	srv.Config.WriteTimeout = 200 * time.Millisecond
	srv.Start()
	defer srv.Close()
	dial(t, srv.Listener.Addr().String(), "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if err, _ := logged.next(t)["err"].(string); !strings.Contains(err, "i/o timeout") {
		t.Errorf("err %q", err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// A body that somebody still holds after its handler returned gives nothing: least of
// all the next request's bytes.
func TestBodyAfterHandler(t *testing.T) {
	_, log := newEvents()
	bodies := make(chan io.Reader, 2)
	srv := httptest.NewServer(httpx.New(func(w *httpx.Response, r *http.Request) error {
		bodies <- r.Body
		_, err := io.CopyN(io.Discard, r.Body, 1)
		return err
	}, httpx.Options{Logger: log}))
	defer srv.Close()
	for range 2 {
		resp, err := http.Post(srv.URL, "", strings.NewReader("secret"))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
	}
	for range 2 {
		if n, err := (<-bodies).Read(make([]byte, 10)); n != 0 || err == nil {
			t.Errorf("read %d bytes, %v", n, err)
		}
	}
}
