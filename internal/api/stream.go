package api

import (
	"context"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/sekisho/sekisho/internal/httpx"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/run"
)

// alive is how often a stream says that it still is one.
const alive = 15 * time.Second

// Stop ends the streams that wait for something to happen, which a server that stops would otherwise wait for. They end as if they
// were cut off, and whoever reads them begins again where they ended.
func (s *Server) Stop() { s.stopOnce.Do(func() { close(s.stop) }) }

var errStopping = &Error{Status: http.StatusServiceUnavailable, Code: CodeUnavailable, Message: "the server stops; call again"}

// waiting returns a context that also ends when the server stops.
func (s *Server) waiting(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	undo := make(chan struct{})
	go func() {
		select {
		case <-s.stop:
			cancel(errStopping)
		case <-undo:
		}
	}()
	return ctx, sync.OnceFunc(func() {
		close(undo)
		cancel(nil)
	})
}

// cut is how a stream ends whose context did: for who has gone, nothing is wrong.
func cut(ctx context.Context) error {
	if context.Cause(ctx) == errStopping {
		return errStopping
	}
	return nil
}

// events sends events as they happen, as server-sent events whose ids are where to go on after, until the run has ended.
func (s *Server) events(w *httpx.Response, r *http.Request, from func(context.Context) iter.Seq2[run.Event, error]) error {
	ctx, stop := s.waiting(r.Context())
	type item struct {
		event run.Event
		err   error
	}
	coming := make(chan item)
	go func() {
		defer close(coming)
		for e, err := range from(ctx) {
			select {
			case coming <- item{e, err}:
			case <-ctx.Done():
				return
			}
		}
	}()
	defer func() {
		stop()
		for range coming { // until it has ended
		}
	}()
	send := func() error { return http.NewResponseController(w).Flush() }
	begin := func() {
		if w.Written() {
			return
		}
		h := w.Header()
		h.Set("Content-Type", "text/event-stream")
		h.Set("Cache-Control", "no-store")
		h.Set("X-Accel-Buffering", "no")
		w.WriteHeader(http.StatusOK)
	}
	tick := time.NewTicker(s.alive)
	defer tick.Stop()
	for {
		select {
		case i, ok := <-coming:
			switch {
			case ctx.Err() != nil:
				return cut(ctx)
			case i.err != nil: // before the first event it is an answer like any other
				return i.err
			}
			begin()
			if !ok {
				_, err := io.WriteString(w, "event: end\ndata: {}\n\n")
				return err
			}
			if err := writeEvent(w, i.event); err != nil {
				return err
			}
		case <-tick.C:
			begin()
			if _, err := io.WriteString(w, ": alive\n\n"); err != nil {
				return err
			}
		case <-ctx.Done():
			return cut(ctx)
		}
		if err := send(); err != nil {
			return err
		}
	}
}

func writeEvent(w io.Writer, e run.Event) error {
	text, err := encode(RunEvent{e.Seq, e.At, e}) // with the end of its line
	if err != nil {
		return err
	}
	if e.Seq > 0 {
		if _, err := fmt.Fprintf(w, "id: %d\n", e.Seq); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(w, "data: %s\n", text)
	return err
}

// readLog sends a log from an offset: what there is, or with follow until no more comes.
func (s *Server) readLog(w *httpx.Response, r *http.Request, c *iam.Caller, runs *run.Service, id, offset int64) error {
	q := r.URL.Query()
	ref := run.LogRef{Job: q.Get("job"), Log: q.Get("log")}
	if text := q.Get("attempt"); text != "" {
		n, err := number("attempt", text)
		if err != nil {
			return err
		}
		ref.Attempt = int(n)
	}
	begin := func() {
		h := w.Header()
		h.Set("Content-Type", "text/plain; charset=utf-8")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
	}
	if q.Get("follow") == "" {
		for {
			part, err := runs.ReadLog(r.Context(), c, id, ref, offset, 1<<20)
			if err != nil {
				return err
			}
			if !w.Written() {
				begin()
				w.Header().Set("Sekisho-Log-Size", strconv.FormatInt(part.Size, 10))
			}
			if _, err := w.Write(part.Data); err != nil {
				return err
			}
			if offset = part.Offset + int64(len(part.Data)); len(part.Data) == 0 || offset >= part.Size {
				return nil
			}
		}
	}
	ctx, stop := s.waiting(r.Context())
	defer stop()
	for part, err := range runs.FollowLog(ctx, c, id, ref, offset) {
		if ctx.Err() != nil {
			return cut(ctx)
		}
		if err != nil {
			return err
		}
		if !w.Written() {
			begin()
		}
		if _, err := w.Write(part.Data); err != nil {
			return err
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			return err
		}
	}
	if !w.Written() {
		begin()
	}
	return nil
}
