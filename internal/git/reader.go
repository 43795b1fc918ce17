package git

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// readers keeps programs that answer questions about the objects of a repository, for the next question.
type readers struct {
	mu     sync.Mutex
	idle   map[string][]*reader // by folder, the last used last; guarded by mu
	count  int                  // of all in idle; guarded by mu
	closed bool                 // guarded by mu
}

const (
	maxIdle    = 16
	idleTime   = time.Minute
	askTimeout = time.Minute // for one question
)

// reader is a running git cat-file --batch-command.
type reader struct {
	cmd    *exec.Cmd
	cancel context.CancelFunc
	in     io.WriteCloser
	out    *bufio.Reader
	broken atomic.Bool // an answer was not read to its end
	since  time.Time   // idle
	expiry *time.Timer
}

// ask runs fn with a reader of a repository.
func (s *Service) ask(ctx context.Context, id string, fn func(*reader) error) error {
	dir := s.folder(id)
	for first := true; ; first = false {
		r, reused, err := s.reader.get(s, dir, first)
		if err != nil {
			return err
		}
		stop := context.AfterFunc(ctx, func() {
			r.broken.Store(true)
			r.cancel()
		})
		timer := time.AfterFunc(askTimeout, func() {
			r.broken.Store(true)
			r.cancel()
		})
		err = fn(r)
		timer.Stop()
		stop()
		s.reader.put(dir, r)
		if err == nil || ctx.Err() != nil {
			return errors.Join(err, context.Cause(ctx))
		}
		if _, ok := errors.AsType[*Error](err); ok || !reused || !r.broken.Load() {
			return err
		}
		// One that had stood idle may have died: once more, with a new one.
	}
}

func (p *readers) get(s *Service, dir string, reuse bool) (r *reader, reused bool, err error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, false, errors.New("git: closed")
	}
	if list := p.idle[dir]; reuse && len(list) > 0 {
		r := list[len(list)-1]
		p.take(dir, len(list)-1)
		p.mu.Unlock()
		return r, true, nil
	}
	p.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	r, err = s.startReader(ctx, cancel, dir)
	if err != nil {
		cancel()
		if isNotExist(err) {
			err = errorf(NotFound, "the repository is not there any more")
		}
		return nil, false, err
	}
	return r, false, nil
}

func (s *Service) startReader(ctx context.Context, cancel context.CancelFunc, dir string) (*reader, error) {
	cmd, err := s.command(ctx, &program{dir: dir, args: []string{"cat-file", "--batch-command"}})
	if err != nil {
		return nil, err
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	limitMemory(cmd.Process.Pid, s.o.Limits.Memory)
	return &reader{cmd: cmd, cancel: cancel, in: in, out: bufio.NewReaderSize(out, 32<<10)}, nil
}

// take removes an idle reader, for who holds mu.
func (p *readers) take(dir string, i int) {
	list := p.idle[dir]
	list[i].expiry.Stop()
	if list = append(list[:i:i], list[i+1:]...); len(list) == 0 {
		delete(p.idle, dir)
	} else {
		p.idle[dir] = list
	}
	p.count--
}

func (p *readers) put(dir string, r *reader) {
	p.mu.Lock()
	if p.closed || r.broken.Load() {
		p.mu.Unlock()
		r.end()
		return
	}
	var old *reader
	if p.count >= maxIdle { // the one that stood idle longest goes
		oldest := ""
		for name, list := range p.idle {
			if oldest == "" || list[0].since.Before(p.idle[oldest][0].since) {
				oldest = name
			}
		}
		old = p.idle[oldest][0]
		p.take(oldest, 0)
	}
	r.since = time.Now()
	r.expiry = time.AfterFunc(idleTime, func() { p.expire(dir, r) })
	p.idle[dir] = append(p.idle[dir], r)
	p.count++
	p.mu.Unlock()
	if old != nil {
		old.end()
	}
}

func (p *readers) expire(dir string, r *reader) {
	p.mu.Lock()
	found := false
	for i, other := range p.idle[dir] {
		if other == r {
			p.take(dir, i)
			found = true
			break
		}
	}
	p.mu.Unlock()
	if found {
		r.end()
	}
}

// close ends all readers.
func (p *readers) close() error {
	p.mu.Lock()
	p.closed = true
	var all []*reader
	for dir, list := range p.idle {
		for _, r := range list {
			r.expiry.Stop()
			all = append(all, r)
		}
		delete(p.idle, dir)
	}
	p.count = 0
	p.mu.Unlock()
	for _, r := range all {
		r.end()
	}
	return nil
}

// end ends the program.
func (r *reader) end() {
	_ = r.in.Close()
	r.cancel()
	_ = r.cmd.Wait() // killed
}

// object asks for an object by name; spec has no line end. found is false if there is none.
func (r *reader) info(spec string) (hash, kind string, size int64, found bool, err error) {
	return r.command("info " + spec)
}

func (r *reader) command(line string) (hash, kind string, size int64, found bool, err error) {
	r.broken.Store(true) // until the answer was read
	if _, err := io.WriteString(r.in, line+"\n"); err != nil {
		return "", "", 0, false, fmt.Errorf("ask git cat-file: %w", err)
	}
	answer, err := r.out.ReadString('\n')
	if err != nil {
		return "", "", 0, false, fmt.Errorf("read from git cat-file: %w", err)
	}
	fields := strings.Fields(strings.TrimSuffix(answer, "\n"))
	if len(fields) == 3 && IsHash(fields[0]) {
		if size, err = strconv.ParseInt(fields[2], 10, 64); err == nil {
			r.broken.Store(false)
			return fields[0], fields[1], size, true, nil
		}
	}
	if strings.HasSuffix(answer, " missing\n") || strings.HasSuffix(answer, " ambiguous\n") {
		r.broken.Store(false)
		return "", "", 0, false, nil
	}
	return "", "", 0, false, fmt.Errorf("git cat-file answered %q", clip(answer, 100))
}

// contents returns an object whole, which has at most so many bytes.
func (r *reader) contents(hash string, limit int64) (kind string, data []byte, err error) {
	_, kind, size, found, err := r.command("contents " + hash)
	if err != nil {
		return "", nil, err
	}
	if !found {
		return "", nil, errorf(NotFound, "there is no object %s", hash)
	}
	r.broken.Store(true)
	if size > limit {
		return "", nil, fmt.Errorf("object %s grew to %d bytes", hash, size)
	}
	data = make([]byte, size+1)
	if _, err := io.ReadFull(r.out, data); err != nil {
		return "", nil, fmt.Errorf("read object %s: %w", hash, err)
	}
	if data[size] != '\n' {
		return "", nil, fmt.Errorf("read object %s: no line end after it", hash)
	}
	r.broken.Store(false)
	return kind, data[:size:size], nil
}
