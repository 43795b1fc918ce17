package api

import (
	"bufio"
	"context"
	"errors"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sekisho/sekisho/internal/httpx"
	"github.com/sekisho/sekisho/internal/run"
)

// eventful serves events from a channel, and says when nobody reads them any more.
func eventful(t *testing.T, alive time.Duration) (s *Server, url string, events chan<- run.Event, gone <-chan struct{}) {
	t.Helper()
	s = New(Options{})
	s.alive = alive
	in, out := make(chan run.Event), make(chan struct{}, 8)
	from := func(ctx context.Context) iter.Seq2[run.Event, error] {
		return func(yield func(run.Event, error) bool) {
			defer func() { out <- struct{}{} }()
			for {
				select {
				case e, ok := <-in:
					if !ok {
						return
					}
					var err error
					if e.Message == "fail" {
						err = errors.New("it failed")
					}
					if !yield(e, err) || err != nil {
						return
					}
				case <-ctx.Done():
					yield(run.Event{}, ctx.Err())
					return
				}
			}
		}
	}
	srv := httptest.NewServer(httpx.New(func(w *httpx.Response, r *http.Request) error {
		err := s.events(w, r, from)
		if err == nil || w.Written() {
			return err
		}
		return s.fail(w, err)
	}, httpx.Options{Logger: slog.New(slog.DiscardHandler)}))
	t.Cleanup(srv.Close)
	return s, srv.URL, in, out
}

func open(t *testing.T, url string) *http.Response {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

func TestEventsEnd(t *testing.T) {
	_, url, events, gone := eventful(t, time.Hour)
	go func() {
		events <- run.Event{Seq: 7, Type: run.RunEvent}
		events <- run.Event{Type: run.LogEvent, Log: "1"}
		close(events)
	}()
	text, err := io.ReadAll(open(t, url).Body)
	want := []string{"id: 7\ndata: {", "}\n\ndata: {", "}\n\nevent: end\ndata: {}\n\n"}
	rest := string(text)
	for _, part := range want {
		_, after, ok := strings.Cut(rest, part)
		if err != nil || !ok {
			t.Fatalf("%q, %v; want %q", text, err, want)
		}
		rest = after
	}
	<-gone
}

// A client that waits for something to happen hears at once, or nearly, that it was heard.
func TestEventsAlive(t *testing.T) {
	_, url, events, _ := eventful(t, time.Millisecond)
	resp := open(t, url)
	line, err := bufio.NewReader(resp.Body).ReadString('\n')
	if err != nil || line != ": alive\n" {
		t.Errorf("%q, %v", line, err)
	}
	close(events)
}

func TestEventsRefused(t *testing.T) {
	_, url, events, _ := eventful(t, time.Hour)
	go func() { events <- run.Event{Message: "fail"} }()
	if resp := open(t, url); resp.StatusCode != http.StatusInternalServerError {
		t.Errorf("status %d", resp.StatusCode)
	}
}

// A server that stops is not kept by who follows a run, who sees that it was no end.
func TestEventsStop(t *testing.T) {
	s, url, events, gone := eventful(t, time.Hour)
	go func() { events <- run.Event{Seq: 1, Type: run.RunEvent} }()
	resp := open(t, url)
	s.Stop()
	s.Stop() // again
	<-gone
	text, err := io.ReadAll(resp.Body)
	if err == nil || strings.Contains(string(text), "event: end") {
		t.Errorf("%q, %v: that is an end", text, err)
	}
	if resp := open(t, url); resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("after the stop: status %d", resp.StatusCode)
	}
}

func TestEventsGone(t *testing.T) {
	_, url, events, gone := eventful(t, time.Hour)
	go func() { events <- run.Event{Seq: 1, Type: run.RunEvent} }()
	resp := open(t, url)
	resp.Body.Close()
	<-gone
}
