// Package logs makes the server's logger: structured events through a buffer, so
// that a request does not wait for the terminal or pipe that they end up in.
//
// Invariants: what is logged is written within [Options.Delay], on Close, and at
// once, with all before it, when its level is error. Nothing is dropped: a full
// buffer makes its writer wait. A terminal gets each line as it comes. What kill -9
// takes is at most the last Delay of events below error.
//
// It is not where events get their fields; see the packages that log.
package logs

import (
	"context"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"golang.org/x/term"
)

// Options are those of [New]; the zero value is the default.
type Options struct {
	Level  slog.Level
	Format string        // json, text, or auto (the default): text on a terminal, else json
	Delay  time.Duration // default 100 ms
}

// Log is a logger's way out.
type Log struct {
	*slog.Logger
	out *buffer // nil: unbuffered
}

// New returns a logger that writes to w. Close it last.
func New(w io.Writer, o Options) *Log {
	if o.Delay <= 0 {
		o.Delay = 100 * time.Millisecond
	}
	file, _ := w.(*os.File)
	terminal := file != nil && term.IsTerminal(int(file.Fd()))
	l := &Log{}
	if !terminal {
		l.out = newBuffer(w, o.Delay)
		w = l.out
	}
	var h slog.Handler
	if ho := (&slog.HandlerOptions{Level: o.Level}); o.Format == "text" || terminal && o.Format != "json" {
		h = slog.NewTextHandler(w, ho)
	} else {
		h = slog.NewJSONHandler(w, ho)
	}
	if l.out != nil {
		h = handler{h, l.out}
	}
	l.Logger = slog.New(h)
	return l
}

// Close writes what is buffered. Events that come later are written unbuffered.
func (l *Log) Close() {
	if l.out != nil {
		l.out.close()
	}
}

// handler flushes after errors.
type handler struct {
	slog.Handler
	out *buffer
}

func (h handler) Handle(ctx context.Context, r slog.Record) error {
	err := h.Handler.Handle(ctx, r)
	if r.Level >= slog.LevelError {
		h.out.flush()
	}
	return err
}

func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return handler{h.Handler.WithAttrs(attrs), h.out}
}

func (h handler) WithGroup(name string) slog.Handler {
	return handler{h.Handler.WithGroup(name), h.out}
}

// bufferSize is some 300 events.
const bufferSize = 64 << 10

// buffer collects writes. There are two arrays, so that events can come in while
// the others go out.
type buffer struct {
	w     io.Writer
	delay time.Duration

	mu     sync.Mutex // of pending, timer and closed; held briefly
	timer  *time.Timer
	closed bool
	// pending is what flush writes next. The timer runs while it is not empty.
	pending []byte

	flushing sync.Mutex // held while w is written to; taken before mu
	spare    []byte     // under flushing
}

func newBuffer(w io.Writer, delay time.Duration) *buffer {
	b := &buffer{w: w, delay: delay, pending: make([]byte, 0, bufferSize), spare: make([]byte, 0, bufferSize)}
	b.timer = time.AfterFunc(time.Hour, b.flush)
	b.timer.Stop()
	return b
}

func (b *buffer) Write(p []byte) (int, error) {
	for {
		b.mu.Lock()
		if len(b.pending)+len(p) <= bufferSize || len(b.pending) == 0 {
			break
		}
		b.mu.Unlock()
		b.flush()
	}
	if len(b.pending) == 0 && !b.closed {
		b.timer.Reset(b.delay)
	}
	b.pending = append(b.pending, p...)
	closed := b.closed
	b.mu.Unlock()
	if closed {
		b.flush()
	}
	return len(p), nil
}

// flush returns when everything that came before it has been written. An error of
// the writer has nowhere to go.
func (b *buffer) flush() {
	b.flushing.Lock()
	defer b.flushing.Unlock()
	b.mu.Lock()
	b.timer.Stop()
	out := b.pending
	b.pending = b.spare[:0]
	b.mu.Unlock()
	if len(out) > 0 {
		_, _ = b.w.Write(out)
	}
	if cap(out) > bufferSize { // an event larger than the buffer
		out = make([]byte, 0, bufferSize)
	}
	b.spare = out
}

func (b *buffer) close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.flush()
}
