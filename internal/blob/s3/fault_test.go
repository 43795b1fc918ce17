package s3_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/blob"
	"github.com/sekisho/sekisho/internal/blob/blobtest"
	"github.com/sekisho/sekisho/internal/blob/blobtest/s3server"
	"github.com/sekisho/sekisho/internal/blob/s3"
)

// transport numbers requests, and lets a test make them fail.
type transport struct {
	n    atomic.Int64
	fail func(n int, r *http.Request) failure
}

type failure int

const (
	none    failure = iota
	refused         // an error from the service, which has done nothing; the SDK doesn't try again
	lost            // the service has done it, but its answer is lost; the SDK tries again
)

func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	how := none
	if t.fail != nil {
		how = t.fail(int(t.n.Add(1))-1, r)
	}
	if how == refused {
		if r.Body != nil {
			_, _ = io.Copy(io.Discard, r.Body)
			r.Body.Close()
		}
		return &http.Response{
			StatusCode: http.StatusForbidden,
			Header:     http.Header{"Content-Type": {"application/xml"}},
			Body:       io.NopCloser(strings.NewReader(`<Error><Code>AccessDenied</Code><Message>injected</Message></Error>`)),
			Request:    r,
		}, nil
	}
	response, err := http.DefaultTransport.RoundTrip(r)
	if err == nil && how == lost {
		_, _ = io.Copy(io.Discard, response.Body)
		response.Body.Close()
		return nil, errors.New("connection reset")
	}
	return response, err
}

// push does what a client does that does not give up: asks how far it got, sends the rest, commits.
func push(ctx context.Context, s blob.Store, id string, data []byte) (o blob.Object, failures []error) {
	for range 4 {
		size, err := s.UploadSize(ctx, id)
		if errors.Is(err, blob.ErrNotFound) {
			size, err = 0, nil
		}
		if err == nil && size < int64(len(data))/2 {
			size, err = s.Append(ctx, id, size, bytes.NewReader(data[size:len(data)/2]))
		}
		if err == nil {
			_, err = s.Append(ctx, id, size, bytes.NewReader(data[size:]))
		}
		if err == nil {
			o, err = s.Commit(ctx, id, digest.FromBytes(data))
		}
		if err == nil {
			return o, failures
		}
		failures = append(failures, err)
	}
	return o, failures
}

// Every request in turn fails once, in two ways. The client that goes on must end with its object, and nothing else may
// be left once the uploads that are listed are aborted.
func TestFaults(t *testing.T) {
	server := s3server.Start(t)
	bodies := map[string][]byte{"small": blobtest.Bytes(1, 1000), "parts": blobtest.Bytes(2, 2*s3.MinPartSize+1000)}
	for name, data := range bodies {
		var count transport
		count.fail = func(int, *http.Request) failure { return none }
		o := server
		o.Prefix, o.HTTPClient = name+"/count/", &http.Client{Transport: &count}
		if _, failures := push(t.Context(), open(t, o), "up", data); len(failures) > 0 {
			t.Fatalf("without faults: %v", failures)
		}
		for at := range int(count.n.Load()) {
			for _, how := range []failure{refused, lost} {
				t.Run(fmt.Sprintf("%s/%d/%d", name, at, how), func(t *testing.T) {
					t.Parallel()
					var what string
					o := server
					o.Prefix = t.Name() + "/"
					o.HTTPClient = &http.Client{Transport: &transport{fail: func(n int, r *http.Request) failure {
						if n != at {
							return none
						}
						what = r.Method + " " + r.URL.String()
						return how
					}}}
					s := open(t, o)
					defer s.Close()
					object, failures := push(t.Context(), s, "up", data)
					if object.Key == "" {
						t.Fatalf("%s failed: client did not succeed: %v", what, failures)
					}
					if how == refused && len(failures) == 0 {
						t.Errorf("%s failed: no call did", what)
					}
					c, err := s.Open(t.Context(), object.Key)
					if err != nil {
						t.Fatal(err)
					}
					defer c.Close()
					if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, data) {
						t.Errorf("%s failed: object has %d bytes, %v", what, len(got), err)
					}
					for u, err := range s.Uploads(t.Context()) {
						if err == nil {
							err = s.Abort(t.Context(), u.ID)
						}
						if err != nil {
							t.Fatal(err)
						}
					}
					for u, err := range s.Uploads(t.Context()) {
						t.Errorf("%s failed: upload %v, %v is left", what, u, err)
					}
					if failures == nil {
						n := 0
						for range s.Objects(t.Context()) {
							n++
						}
						if n != 1 {
							t.Errorf("%s failed: %d objects, want 1", what, n)
						}
					}
				})
			}
		}
	}
}

// A part that could not be sent, and all before it, are not lost.
func TestPartsSurviveOneThatFails(t *testing.T) {
	o := s3server.Start(t)
	var broken atomic.Bool
	broken.Store(true)
	o.HTTPClient = &http.Client{Transport: &transport{fail: func(_ int, r *http.Request) failure {
		if broken.Load() && r.URL.Query().Get("partNumber") == "3" {
			return refused
		}
		return none
	}}}
	s := open(t, o)
	data := blobtest.Bytes(1, 10*s3.MinPartSize)
	size, err := s.Append(t.Context(), "up", 0, bytes.NewReader(data))
	if err == nil || size != 3*s3.MinPartSize {
		t.Fatalf("Append = %d, %v, want an error after three parts", size, err)
	}
	broken.Store(false)
	if got, err := s.UploadSize(t.Context(), "up"); err != nil || got != size {
		t.Fatalf("UploadSize = %d, %v, want %d", got, err, size)
	}
	if _, failures := push(t.Context(), s, "up", data); len(failures) > 0 {
		t.Errorf("going on: %v", failures)
	}
}

// slowReader yields data when it is let go.
type slowReader struct {
	reading chan struct{} // closed when Read is called
	goOn    chan struct{}
	data    io.Reader
}

func newSlowReader(data []byte) *slowReader {
	return &slowReader{make(chan struct{}), make(chan struct{}), bytes.NewReader(data)}
}

func (r *slowReader) Read(p []byte) (int, error) {
	if r.reading != nil {
		close(r.reading)
		<-r.goOn
		r.reading = nil
	}
	return r.data.Read(p)
}

// race has two nodes append at the same offset at the same time; the one whose body is returned was first.
func race(t *testing.T, a, b *s3.Store, size int) (winner []byte) {
	t.Helper()
	head := blobtest.Bytes(0, 100)
	if _, err := a.Append(t.Context(), "up", 0, bytes.NewReader(head)); err != nil {
		t.Fatal(err)
	}
	slow, done := newSlowReader(blobtest.Bytes(1, size)), make(chan error, 1)
	reading := slow.reading
	go func() {
		_, err := a.Append(t.Context(), "up", 100, slow)
		done <- err
	}()
	<-reading
	fast := blobtest.Bytes(2, size)
	if _, err := b.Append(t.Context(), "up", 100, bytes.NewReader(fast)); err != nil {
		t.Fatal(err)
	}
	close(slow.goOn)
	if err := <-done; !errors.Is(err, blob.ErrBusy) {
		t.Errorf("Append that lost a race = %v, want ErrBusy", err)
	}
	return append(head, fast...)
}

func TestRaceBetweenNodes(t *testing.T) {
	for _, size := range []int{1000, 2*s3.MinPartSize + 1000} {
		o := s3server.Start(t)
		a, b := open(t, o), open(t, o)
		want := race(t, a, b, size)
		object, err := a.Commit(t.Context(), "up", digest.FromBytes(want))
		if err != nil {
			t.Fatal(err)
		}
		c, err := b.Open(t.Context(), object.Key)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, want) {
			t.Errorf("object has %d bytes, %v", len(got), err)
		}
		c.Close()
	}
}

// Two nodes that go on with an upload which has parts write parts of the same number. What the loser of the race wrote
// over must not become part of the object.
func TestOverwrittenPart(t *testing.T) {
	o := s3server.Start(t)
	a, b := open(t, o), open(t, o)
	head := blobtest.Bytes(0, s3.MinPartSize+100)
	if _, err := a.Append(t.Context(), "up", 0, bytes.NewReader(head)); err != nil {
		t.Fatal(err)
	}
	slow, done := newSlowReader(blobtest.Bytes(1, s3.MinPartSize)), make(chan error, 1)
	reading := slow.reading
	go func() {
		_, err := a.Append(t.Context(), "up", int64(len(head)), slow)
		done <- err
	}()
	<-reading
	fast := blobtest.Bytes(2, s3.MinPartSize)
	if _, err := b.Append(t.Context(), "up", int64(len(head)), bytes.NewReader(fast)); err != nil {
		t.Fatal(err)
	}
	close(slow.goOn)
	if err := <-done; !errors.Is(err, blob.ErrBusy) {
		t.Errorf("Append that lost a race = %v, want ErrBusy", err)
	}
	var mismatch *blob.DigestError
	_, err := b.Commit(t.Context(), "up", digest.FromBytes(append(head, fast...)))
	if err == nil || errors.As(err, &mismatch) {
		t.Errorf("Commit with a part that was written over = %v, want S3's error", err)
	}
	for o, err := range a.Objects(t.Context()) {
		t.Errorf("object %v, %v", o, err)
	}
	if err := a.Abort(t.Context(), "up"); err != nil {
		t.Errorf("Abort: %v", err)
	}
	for u, err := range a.Uploads(t.Context()) {
		t.Errorf("upload %v, %v is left", u, err)
	}
}

// What a client sent before it went away is stored though its context has ended.
func TestClientGoesAwayDuringParts(t *testing.T) {
	s := open(t, s3server.Start(t))
	data := blobtest.Bytes(1, 3*s3.MinPartSize)
	ctx, stop := context.WithCancel(t.Context())
	r := io.MultiReader(bytes.NewReader(data[:2*s3.MinPartSize+7]), readerFunc(func([]byte) (int, error) {
		stop()
		return 0, io.ErrUnexpectedEOF
	}))
	size, err := s.Append(ctx, "up", 0, r)
	if !errors.Is(err, io.ErrUnexpectedEOF) || size != 2*s3.MinPartSize+7 {
		t.Fatalf("Append = %d, %v", size, err)
	}
	if _, failures := push(t.Context(), s, "up", data); len(failures) > 0 {
		t.Errorf("going on: %v", failures)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
