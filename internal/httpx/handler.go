package httpx

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync"
	"time"
)

// A Handler answers a request: it decodes, calls the domain, encodes. An error it
// returns is logged with the request's event, never by the handler itself. A
// protocol writes its errors in its own form first and returns them for the log;
// when nothing has been written, [Error] and [BodyError] say what to answer and
// all other errors are a 500 that names the request id and nothing more. An error
// after a success status breaks the connection, so that the client cannot take a
// part for the whole.
type Handler func(w *Response, r *http.Request) error

// Error is an answer in plain text, for what belongs to no protocol.
type Error struct {
	Status  int
	Message string // for the client
	Err     error  // for the log; may be nil
}

func (e *Error) Error() string {
	if e.Err != nil {
		return e.Message + ": " + e.Err.Error()
	}
	return e.Message
}

func (e *Error) Unwrap() error { return e.Err }

// Limits keep slow clients from holding the server. The zero value means the
// defaults.
type Limits struct {
	Idle    time.Duration // without progress of a body, in either direction; default 1 minute
	MinRate int64         // bytes a second a request body must come with on average, after Idle; default 1024, negative: any
}

const (
	defaultIdle    = time.Minute
	defaultMinRate = 1024
)

func (l *Limits) setDefaults() {
	if l.Idle <= 0 {
		l.Idle = defaultIdle
	}
	if l.MinRate == 0 {
		l.MinRate = defaultMinRate
	}
}

// Observer counts requests. Calls come from many goroutines; it keeps no Event.
type Observer interface {
	RequestStarted()
	RequestDone(*Event)
}

// Options are those of [New]. Only Logger is required.
type Options struct {
	Logger   *slog.Logger
	Proxies  Proxies
	Limits   Limits
	Observer Observer
	// Trace, when not nil, starts the span of a request and returns the request to
	// go on with and what ends the span.
	Trace func(*http.Request) (*http.Request, func(*Event))
	Now   func() time.Time
}

// New returns the outermost handler: everything this package promises for h.
func New(h Handler, o Options) http.Handler {
	o.Limits.setDefaults()
	if o.Now == nil {
		o.Now = time.Now
	}
	return &entry{serve: h, o: o, log: o.Logger.Handler()}
}

// Std adapts a standard handler.
func Std(h http.Handler) Handler {
	return func(w *Response, r *http.Request) error {
		h.ServeHTTP(w, r)
		return nil
	}
}

type entry struct {
	serve Handler
	o     Options
	log   slog.Handler
	pool  sync.Pool // of *Response
}

func (s *entry) ServeHTTP(under http.ResponseWriter, r *http.Request) {
	w, _ := s.pool.Get().(*Response)
	if w == nil {
		w = new(Response)
	}
	start := s.o.Now()
	w.under = under
	w.control = *http.NewResponseController(under)
	w.limits = &s.o.Limits
	w.now = s.o.Now
	w.writeMoved = start // by http.Server.WriteTimeout
	w.Origin = s.o.origin(r)
	w.Event = Event{
		RequestID: newRequestID(),
		Method:    r.Method,
		Path:      r.URL.Path,
		Client:    w.Origin.Client,
		Endpoint:  w.Origin.Endpoint,
		Start:     start,
		query:     r.URL.RawQuery,
	}
	under.Header()["X-Request-Id"] = []string{w.Event.RequestID}
	if r.Body != nil && r.Body != http.NoBody {
		w.body = &body{under: r.Body, control: http.NewResponseController(under), limits: &s.o.Limits, now: s.o.Now}
		// A copy, because the server looks at the type of its own request's body to
		// decide whether to drain it.
		request := *r
		request.Body = w.body
		r = &request
	}
	if s.o.Observer != nil {
		s.o.Observer.RequestStarted()
	}
	var endSpan func(*Event)
	if s.o.Trace != nil {
		r, endSpan = s.o.Trace(r)
	}

	panicked, abort := s.call(w, r)

	now := s.o.Now()
	e := &w.Event
	if w.body != nil {
		w.body.done.Store(true)
		w.body.abandon(now)
		e.BytesIn = w.body.n.Load()
	}
	w.moveWriteDeadline(now) // for what the server has yet to flush
	e.Duration = now.Sub(start)
	if e.Err == nil {
		e.Err = w.writeErr
	}
	if s.o.Observer != nil {
		s.o.Observer.RequestDone(e)
	}
	if endSpan != nil {
		endSpan(e)
	}
	_ = e.log(r.Context(), s.log, &w.attrs, now) // nowhere else to say it
	if abort {
		panic(http.ErrAbortHandler)
	}
	if w.body != nil && r.Close && e.Status >= 400 && w.control.Flush() == nil {
		w.body.drain() // within the time that abandon has set
	}
	if !panicked { // else something may still hold it
		w.reset()
		s.pool.Put(w)
	}
}

// call runs the handler and answers its error. abort says that the connection must
// not be used again.
func (s *entry) call(w *Response, r *http.Request) (panicked, abort bool) {
	e := &w.Event
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		panicked = true
		if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
			e.Err, abort = err, true
			return
		}
		e.stack = debug.Stack()
		e.Err = fmt.Errorf("panic: %v", v)
		if abort = w.Written(); !abort {
			w.answer(e.Err)
		} else {
			e.Status = http.StatusInternalServerError // for the log: what was sent was no answer
		}
	}()
	e.Err = s.serve(w, r)
	switch {
	case e.Err == nil:
		if e.Status == 0 {
			e.Status = http.StatusOK // as the server will send
		}
	case e.Status == 0:
		w.answer(e.Err)
	case e.Status < 400:
		abort = true
	}
	if r.Context().Err() != nil && errors.Is(e.Err, context.Canceled) {
		e.Status = statusClientGone
	}
	return false, abort
}

// statusClientGone is logged in place of whatever was said to a client that did
// not wait for it.
const statusClientGone = 499

// answer sends err in plain text.
func (w *Response) answer(err error) {
	status, text := http.StatusInternalServerError, "internal error"
	if e, ok := errors.AsType[*Error](err); ok {
		status, text = e.Status, e.Message
	} else if e, ok := errors.AsType[*BodyError](err); ok {
		status, text = e.Status, e.Error()
	}
	h := w.Header()
	clear(h)
	h.Set("X-Request-Id", w.Event.RequestID)
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.WriteString(text + "\nrequest id: " + w.Event.RequestID + "\n")
}

// reset drops every reference to the request.
func (w *Response) reset() {
	w.under, w.control = nil, http.ResponseController{}
	w.Event, w.Origin = Event{}, Origin{}
	w.writeErr, w.body = nil, nil
}
