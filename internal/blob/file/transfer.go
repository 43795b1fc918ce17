package file

import (
	"context"
	"hash"
	"io"
	"sync"
	"sync/atomic"

	"github.com/sekisho/sekisho/internal/durable"
)

const (
	// smallSize is what one buffer takes in of a body that is small, or has no pipeline: what a slow client can hold.
	smallSize = 64 << 10
	// pipelineFrom is how many bytes a body must have brought to be worth a pipeline.
	pipelineFrom = 256 << 10
	// blockSize and blocksEach are the buffers of a pipeline. More or larger ones leave the processor's cache.
	blockSize  = 256 << 10
	blocksEach = 4
	// writebackEvery is how many bytes are written before the device is asked to begin with them.
	writebackEvery = 8 << 20
)

// writer writes to a file from off on.
type writer struct {
	f     durable.File
	off   int64
	begun int64 // up to where writeback was asked for
}

func (w *writer) write(p []byte) error {
	n, err := w.f.WriteAt(p, w.off)
	w.off += int64(n)
	if w.off-w.begun >= writebackEvery {
		durable.StartWriteback(w.f, w.begun, w.off-w.begun)
		w.begun = w.off
	}
	return err
}

// transfer writes what r yields to w, and to sum if it is not nil. It returns when r has ended or failed, ctx has ended,
// or w has failed; all that was read was written unless writeErr says otherwise.
func (s *Store) transfer(ctx context.Context, r io.Reader, w *writer, sum hash.Hash) (readErr, writeErr error) {
	buf := s.small.Get().(*[smallSize]byte)
	for from := w.off; ; {
		n, err := fill(ctx, r, buf[:])
		if sum != nil {
			sum.Write(buf[:n])
		}
		if writeErr := w.write(buf[:n]); writeErr != nil || err != nil {
			s.small.Put(buf)
			return notEOF(err), writeErr
		}
		if w.off-from < pipelineFrom {
			continue
		}
		select {
		case s.pipelines <- struct{}{}:
			defer func() { <-s.pipelines }()
			s.small.Put(buf)
			return s.pipeline(ctx, r, w, sum)
		default: // enough of them run; perhaps after the next buffer
		}
	}
}

// block is a buffer that is hashed and written at the same time.
type block struct {
	buf   [blockSize]byte
	n     int
	users atomic.Int32 // who still read it
}

// pipeline does what transfer does: the caller reads, one goroutine hashes, one writes. Both have ended when it returns.
func (s *Store) pipeline(ctx context.Context, r io.Reader, w *writer, sum hash.Hash) (readErr, writeErr error) {
	free := make(chan *block, blocksEach)
	release := func(b *block) {
		if b.users.Add(-1) == 0 {
			free <- b
		}
	}
	toWrite, toHash := make(chan *block, blocksEach), make(chan *block, blocksEach)
	var failed atomic.Pointer[error]
	var workers sync.WaitGroup
	workers.Go(func() {
		for b := range toWrite {
			if failed.Load() == nil {
				if err := w.write(b.buf[:b.n]); err != nil {
					failed.Store(&err)
				}
			}
			release(b)
		}
	})
	users := int32(1)
	if sum != nil {
		users++
		workers.Go(func() {
			for b := range toHash {
				sum.Write(b.buf[:b.n])
				release(b)
			}
		})
	}
	defer func() { // also when r panics, as a handler's body may
		close(toWrite)
		close(toHash)
		workers.Wait()
		for len(free) > 0 {
			s.blocks.Put(<-free)
		}
		if err := failed.Load(); err != nil {
			writeErr = *err
		}
	}()
	made := 0
	for failed.Load() == nil {
		var b *block
		select {
		case b = <-free:
		default:
			if made < blocksEach {
				b = s.blocks.Get().(*block)
				made++
			} else {
				b = <-free
			}
		}
		b.n, readErr = fill(ctx, r, b.buf[:])
		b.users.Store(users)
		toWrite <- b
		if sum != nil {
			toHash <- b
		}
		if readErr != nil {
			break
		}
	}
	return notEOF(readErr), nil // writeErr comes from the deferred function
}

// fill reads until p is full. The error is nil only then.
func fill(ctx context.Context, r io.Reader, p []byte) (n int, err error) {
	for idle := 0; n < len(p); {
		if err := ctx.Err(); err != nil {
			return n, context.Cause(ctx)
		}
		m, err := r.Read(p[n:])
		n += m
		if err != nil {
			return n, err
		}
		if m > 0 {
			idle = 0
		} else if idle++; idle == 100 {
			return n, io.ErrNoProgress
		}
	}
	return n, nil
}

func notEOF(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}
