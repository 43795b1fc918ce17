package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/sekisho/sekisho/internal/blob"
)

const (
	// readSize is how many bytes are hashed at a time, while they are in the processor's cache.
	readSize = 256 << 10
	// inFlight is how many parts of one upload may be sent at a time, while the next is being received.
	inFlight = 2
	// lingering is for how long what a client sent is still stored after it went away.
	lingering = time.Minute
)

// Append implements [blob.Store].
func (s *Store) Append(ctx context.Context, id string, at int64, r io.Reader) (int64, error) {
	if err := s.claim(id); err != nil {
		return 0, fmt.Errorf("append to upload %q: %w", id, err)
	}
	defer s.release(id)
	size, err := s.append(ctx, id, at, r)
	if err != nil {
		return size, fmt.Errorf("append to upload %s at %d: %w", id, at, err)
	}
	return size, nil
}

func (s *Store) append(ctx context.Context, id string, at int64, r io.Reader) (int64, error) {
	st, err := s.load(ctx, id)
	switch {
	case errors.Is(err, blob.ErrNotFound) && at == 0:
		st = &state{}
	case err != nil:
		return 0, err
	case at != st.size():
		return st.size(), &blob.OffsetError{Size: st.size()}
	}
	sum, err := st.hash()
	if err != nil {
		return at, err
	}
	lasting, stop := linger(ctx, lingering)
	defer stop()
	in := &intake{store: s, ctx: lasting, id: id, state: st, sum: sum}
	readErr := in.read(ctx, r)
	sendErr := in.finish()
	if st.etag != "" && st.size() == at {
		return at, errors.Join(readErr, sendErr)
	}
	if err := s.save(lasting, id, st); err != nil {
		return at, errors.Join(readErr, sendErr, err)
	}
	return st.size(), errors.Join(readErr, sendErr)
}

// linger returns a context that ends some time after ctx.
func linger(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	lasting, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(d, cancel) })
	return lasting, func() { stop(); cancel() }
}

// intake is one Append: bytes are collected in a buffer, and full buffers sent as parts while the next one fills.
type intake struct {
	store *Store
	ctx   context.Context // of the requests to S3; lives on for a while when the client is gone
	id    string
	state *state
	sum   hash.Hash

	buf     []byte  // received and not sent
	sending []*sent // in order
	spares  int     // how many buffers we have beyond one
	failed  *sent   // the first part that could not be sent
}

// sent is a part on its way.
type sent struct {
	data []byte
	sum  []byte        // snapshot of the hash after data
	done chan struct{} // closed when etag or err is set
	etag string
	err  error
}

// read receives until r ends, which is nil, or something fails. Failures to send are not told here but by finish.
func (in *intake) read(ctx context.Context, r io.Reader) error {
	defer in.settleAll() // also when r panics
	in.buf = append(make([]byte, 0, max(len(in.state.tail), 64<<10)), in.state.tail...)
	for idle := 0; ; {
		if err := in.room(); err != nil || in.failed != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, err := r.Read(in.buf[len(in.buf):min(cap(in.buf), len(in.buf)+readSize)])
		in.sum.Write(in.buf[len(in.buf) : len(in.buf)+n])
		in.buf = in.buf[:len(in.buf)+n]
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if n > 0 {
			idle = 0
		} else if idle++; idle == 100 {
			return io.ErrNoProgress
		}
	}
}

// room makes sure that buf has some, by making it larger or, when it is as large as a part, by sending it. So nobody
// makes us hold much more than he sent.
func (in *intake) room() error {
	switch {
	case len(in.buf) >= in.store.partSize:
		return in.send()
	case len(in.buf) == cap(in.buf):
		in.buf = append(make([]byte, 0, min(2*cap(in.buf), in.store.partSize)), in.buf...)
	}
	return nil
}

// send begins to send buf as a part and goes on with another buffer: a spare one if the store has one, otherwise that
// of the part begun first, when it has been sent.
func (in *intake) send() error {
	sum, err := snapshot(in.sum)
	if err != nil {
		return err
	}
	p := &sent{data: in.buf, sum: sum, done: make(chan struct{})}
	number := len(in.state.Parts) + len(in.sending) + 1
	in.buf = nil
	in.sending = append(in.sending, p)
	if err := in.begin(number); err != nil {
		p.err = err
		close(p.done)
	} else {
		key, multipart := in.state.Key, in.state.Multipart
		go func() { // settle waits for it
			defer close(p.done)
			p.etag, p.err = in.store.uploadPart(in.ctx, key, multipart, number, p.data)
		}()
	}
	if in.spares < inFlight && in.spare() {
		in.buf = make([]byte, 0, in.store.partSize)
	} else {
		in.buf = in.settle()
	}
	return nil
}

// spare takes one of the store's spare buffers if there is one.
func (in *intake) spare() bool {
	select {
	case in.store.spares <- struct{}{}:
		in.spares++
		return true
	default:
		return false
	}
}

// begin starts S3's multipart upload with the first part.
func (in *intake) begin(number int) error {
	if number > maxParts {
		return fmt.Errorf("upload is larger than %d parts of %d bytes", maxParts, in.store.partSize)
	}
	if in.state.Multipart != "" {
		return nil
	}
	key := newKey(in.id)
	out, err := in.store.client.CreateMultipartUpload(in.ctx, &s3.CreateMultipartUploadInput{
		Bucket:      &in.store.bucket,
		Key:         aws.String(in.store.objectName(key)),
		ContentType: aws.String(contentType),
	})
	if err != nil {
		return known(err)
	}
	in.state.Key, in.state.Multipart = key, aws.ToString(out.UploadId)
	return nil
}

func (s *Store) uploadPart(ctx context.Context, key, multipart string, number int, data []byte) (etag string, err error) {
	out, err := s.client.UploadPart(ctx, &s3.UploadPartInput{
		Bucket:     &s.bucket,
		Key:        aws.String(s.objectName(key)),
		UploadId:   &multipart,
		PartNumber: aws.Int32(int32(number)),
		Body:       bytes.NewReader(data),
	})
	if err != nil {
		return "", fmt.Errorf("part %d: %w", number, known(err))
	}
	return aws.ToString(out.ETag), nil
}

// settle waits for the part begun first, notes in the state that it was sent, and returns its buffer, empty. The first
// part that failed is kept in failed; those after it are lost.
func (in *intake) settle() []byte {
	p := in.sending[0]
	in.sending = in.sending[1:]
	<-p.done
	switch {
	case in.failed != nil:
	case p.err != nil:
		in.failed = p
		return nil
	default:
		in.state.Parts = append(in.state.Parts, part{ETag: p.etag, Size: int64(len(p.data))})
	}
	return p.data[:0]
}

func (in *intake) settleAll() {
	for len(in.sending) > 0 {
		in.settle()
	}
	for ; in.spares > 0; in.spares-- {
		<-in.store.spares
	}
}

// finish makes the state say what has arrived, and returns why not all of it could be sent.
func (in *intake) finish() error {
	if in.failed != nil {
		in.state.tail, in.state.Sum = in.failed.data, in.failed.sum
		return in.failed.err
	}
	sum, err := snapshot(in.sum)
	in.state.tail, in.state.Sum = in.buf, sum
	return err
}
