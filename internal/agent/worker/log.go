package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/sekisho/sekisho/internal/agent/mask"
	"github.com/sekisho/sekisho/internal/agent/work"
)

const (
	maxLine     = 128 << 10 // bytes of a line that are shown
	maxCommand  = 1 << 20   // bytes of a line that is read as a command
	maxPending  = 4 << 20   // bytes of a log that wait to be sent; who writes more waits
	maxChunk    = 256 << 10 // bytes that are sent at once
	stampLayout = "2006-01-02T15:04:05.0000000Z "
)

// logFile is one log on its way to the server: masked, stamped, sent by offset. What is written waits when the server is slow,
// and whoever writes waits when too much does; so a flood of lines costs its writer time and not the agent memory.
type logFile struct {
	id      string
	server  work.Server
	now     func() time.Time
	console func(text string) // may be nil
	fail    func(error)       // told of an error that ends the job

	mu      sync.Mutex
	masked  *mask.Writer
	line    bytes.Buffer // what the masker passed on of the line that is being written
	pending []byte
	full    bool // the server takes no more
	closed  bool
	size    int64         // bytes written, pending ones too
	more    chan struct{} // something is pending, or closed changed
	room    *sync.Cond
	done    chan struct{} // closed when everything was sent
}

func newLog(ctx context.Context, id string, j *job) *logFile {
	l := &logFile{
		id: id, server: j.server, now: j.opts.Clock.Now, fail: j.fail,
		more: make(chan struct{}, 1), done: make(chan struct{}),
	}
	l.room = sync.NewCond(&l.mu)
	l.masked = j.masker.Writer(&l.line)
	go l.send(ctx)
	return l
}

// Line adds a line. Line breaks in it make more lines.
func (l *logFile) Line(text string) {
	text = strings.TrimRight(text, "\r\n")
	for part := range strings.SplitSeq(text, "\n") {
		l.one(strings.TrimRight(part, "\r"), 0)
	}
}

// one adds a line without a line break in it; cut is how many bytes of it are not there.
func (l *logFile) one(text string, cut int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	if n := int64(len(text)) - maxLine; n > 0 {
		text, cut = text[:maxLine], cut+n
	}
	l.line.Reset()
	_, _ = l.masked.Write([]byte(strings.ReplaceAll(text, "\x00", "\uFFFD"))) // a buffer takes everything
	if cut > 0 {
		// Half a secret at the place of the cut is not shown.
		l.masked.Discard()
		fmt.Fprintf(&l.line, "… (%d more bytes in this line are not shown)", cut)
	} else {
		_ = l.masked.Flush()
	}
	shown := l.line.String()
	if l.console != nil {
		l.console(shown)
	}
	for len(l.pending) > maxPending && !l.full && !l.closed {
		l.room.Wait()
	}
	if l.full {
		return
	}
	before := len(l.pending)
	l.pending = l.now().UTC().AppendFormat(l.pending, stampLayout)
	l.pending = append(append(l.pending, shown...), '\n')
	l.size += int64(len(l.pending) - before)
	l.wake()
}

func (l *logFile) wake() {
	select {
	case l.more <- struct{}{}:
	default:
	}
}

// send sends what is pending, until the log is closed and empty. While one call is under way more gathers, so the calls are as
// many as the server can take, and no line waits longer than it must.
func (l *logFile) send(ctx context.Context) {
	defer close(l.done)
	var offset int64
	for {
		l.mu.Lock()
		data := l.pending
		if len(data) > maxChunk {
			data = data[:maxChunk]
		}
		closed := l.closed
		l.mu.Unlock()
		if len(data) == 0 {
			if closed {
				return
			}
			select {
			case <-l.more:
				continue
			case <-ctx.Done():
				l.stop()
				return
			}
		}
		_, err := l.server.AppendLog(ctx, l.id, offset, data)
		if err != nil {
			if !errors.Is(err, work.ErrLogFull) {
				l.fail(fmt.Errorf("the log %s can't be sent: %w", l.id, err))
			}
			l.stop()
			return
		}
		offset += int64(len(data))
		l.mu.Lock()
		l.pending = append(l.pending[:0], l.pending[len(data):]...)
		l.room.Broadcast()
		l.mu.Unlock()
	}
}

// stop drops what is pending and what will be written.
func (l *logFile) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.full, l.pending = true, nil
	l.room.Broadcast()
}

// Close waits until everything was sent.
func (l *logFile) Close() {
	l.mu.Lock()
	l.closed = true
	l.room.Broadcast()
	l.mu.Unlock()
	l.wake()
	<-l.done
}

// splitter makes lines of what a process writes. It is for one goroutine.
type splitter struct {
	line func(text string, cut int64) // cut: bytes of the line that are not there
	rest []byte
	cut  int64
}

func (s *splitter) Write(p []byte) (int, error) {
	n := len(p)
	for {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			s.add(p)
			return n, nil
		}
		s.add(p[:i])
		s.flush()
		p = p[i+1:]
	}
}

func (s *splitter) add(p []byte) {
	if room := maxCommand - len(s.rest); len(p) > room {
		s.cut += int64(len(p) - room)
		p = p[:room]
	}
	s.rest = append(s.rest, p...)
}

func (s *splitter) flush() {
	s.line(strings.TrimRight(strings.ToValidUTF8(string(s.rest), "\uFFFD"), "\r"), s.cut)
	s.rest, s.cut = s.rest[:0], 0
}

// end is the end of the text: a last line without a line break is one too.
func (s *splitter) end() {
	if len(s.rest) > 0 || s.cut > 0 {
		s.flush()
	}
}
