package blobtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/blob"
)

func roundTrip(t *testing.T, s *suite) {
	for _, size := range sizes {
		data := Bytes(uint64(size), size)
		id := fmt.Sprint("up-", size)
		s.append(t, id, 0, data)
		s.wantUpload(t, id, size)
		o := s.commit(t, id, digest.FromBytes(data))
		s.wantContent(t, o, data)
		s.wantNoUpload(t, id)
	}
	s.wantNoUploads(t)
}

func resume(t *testing.T, s *suite) {
	data := Bytes(1, 12<<20)
	at := 0
	for _, n := range []int{0, 1, 100_000, 300_000, 0, 6 << 20, 12<<20 - 400_001 - 6<<20} {
		s.append(t, "up", at, data[at:at+n])
		at += n
		s.wantUpload(t, "up", at)
	}
	s.wantContent(t, s.commit(t, "up", digest.FromBytes(data)), data)
}

func manyAppends(t *testing.T, s *suite) {
	data := Bytes(2, 40*777)
	for at := 0; at < len(data); at += 777 {
		s.append(t, "up", at, data[at:at+777])
	}
	s.wantContent(t, s.commit(t, "up", digest.FromBytes(data)), data)
}

func offsets(t *testing.T, s *suite) {
	s.append(t, "up", 0, []byte("12345"))
	for _, at := range []int64{0, 4, 6, -1, 1 << 62} {
		var wrong *blob.OffsetError
		size, err := s.Append(t.Context(), "up", at, iotest.ErrReader(errors.New("must not be read")))
		if !errors.As(err, &wrong) || wrong.Size != 5 || size != 5 {
			t.Errorf("Append at %d = %d, %v, want an OffsetError with size 5", at, size, err)
		}
	}
	s.wantContent(t, s.commit(t, "up", digest.FromString("12345")), []byte("12345"))
}

func readerError(t *testing.T, s *suite) {
	broken := errors.New("connection reset")
	for _, n := range []int{0, 10, 300_000, 6 << 20} {
		id := fmt.Sprint("up-", n)
		data := Bytes(uint64(n), 7<<20)
		r := io.MultiReader(bytes.NewReader(data[:n]), iotest.ErrReader(broken))
		size, err := s.Append(t.Context(), id, 0, r)
		if !errors.Is(err, broken) || size != int64(n) {
			t.Fatalf("Append = %d, %v, want %d and the reader's error", size, err, n)
		}
		s.wantUpload(t, id, n)
		s.append(t, id, n, data[n:])
		s.wantContent(t, s.commit(t, id, digest.FromBytes(data)), data)
	}
}

func cancel(t *testing.T, s *suite) {
	for _, n := range []int{10, 300_000, 6 << 20} {
		id := fmt.Sprint("up-", n)
		data := Bytes(uint64(n), 7<<20)
		ctx, stop := context.WithCancel(t.Context())
		r := io.MultiReader(bytes.NewReader(data[:n]), readerFunc(func([]byte) (int, error) {
			stop()
			return 0, nil
		}))
		size, err := s.Append(ctx, id, 0, r)
		if !errors.Is(err, context.Canceled) || size != int64(n) {
			t.Fatalf("Append = %d, %v, want %d and context.Canceled", size, err, n)
		}
		s.append(t, id, n, data[n:])
		s.wantContent(t, s.commit(t, id, digest.FromBytes(data)), data)
	}
}

func busy(t *testing.T, s *suite) {
	s.append(t, "up", 0, []byte("1"))
	reading, goOn := make(chan struct{}), make(chan struct{})
	done := make(chan error, 1)
	go func() {
		r := readerFunc(func([]byte) (int, error) {
			close(reading)
			<-goOn
			return 0, io.EOF
		})
		_, err := s.Append(t.Context(), "up", 1, r)
		done <- err
	}()
	<-reading
	if _, err := s.Append(t.Context(), "up", 1, strings.NewReader("2")); !errors.Is(err, blob.ErrBusy) {
		t.Errorf("second Append = %v, want ErrBusy", err)
	}
	if _, err := s.Commit(t.Context(), "up", digest.FromString("1")); !errors.Is(err, blob.ErrBusy) {
		t.Errorf("Commit during Append = %v, want ErrBusy", err)
	}
	if err := s.Abort(t.Context(), "up"); !errors.Is(err, blob.ErrBusy) {
		t.Errorf("Abort during Append = %v, want ErrBusy", err)
	}
	s.wantUpload(t, "up", 1)
	s.append(t, "other", 0, []byte("1"))
	close(goOn)
	if err := <-done; err != nil {
		t.Errorf("first Append: %v", err)
	}
	s.wantContent(t, s.commit(t, "up", digest.FromString("1")), []byte("1"))
}

func concurrent(t *testing.T, s *suite) {
	var uploads sync.WaitGroup
	for i := range 16 {
		uploads.Go(func() {
			size := sizes[i%len(sizes)] / 2
			data := Bytes(uint64(i), size)
			id := fmt.Sprint("up-", i)
			half := size / 2
			if _, err := s.Append(t.Context(), id, 0, iotest.HalfReader(bytes.NewReader(data[:half]))); err != nil {
				t.Errorf("Append: %v", err)
			}
			if _, err := s.Append(t.Context(), id, int64(half), iotest.DataErrReader(bytes.NewReader(data[half:]))); err != nil {
				t.Errorf("Append: %v", err)
			}
			o, err := s.Commit(t.Context(), id, digest.FromBytes(data))
			if err != nil {
				t.Errorf("Commit: %v", err)
				return
			}
			c, err := s.Open(t.Context(), o.Key)
			if err != nil {
				t.Errorf("Open: %v", err)
				return
			}
			defer c.Close()
			if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, data) {
				t.Errorf("object of %d bytes reads otherwise: %v", size, err)
			}
		})
	}
	uploads.Wait()
	s.wantNoUploads(t)
	if n := len(all(t, s.Objects(t.Context()))); n != 16 {
		t.Errorf("%d objects, want 16", n)
	}
}

func digestMismatch(t *testing.T, s *suite) {
	for _, alg := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
		for _, size := range []int{0, 10, 6 << 20} {
			data := Bytes(4, size)
			s.append(t, "up", 0, data)
			want := alg.FromString("something else")
			var wrong *blob.DigestError
			_, err := s.Commit(t.Context(), "up", want)
			if !errors.As(err, &wrong) {
				t.Fatalf("Commit = %v, want a DigestError", err)
			}
			if diff := cmp.Diff(&blob.DigestError{Want: want, Got: alg.FromBytes(data)}, wrong); diff != "" {
				t.Errorf("DigestError (-want +got):\n%s", diff)
			}
			s.wantNoUpload(t, "up")
		}
	}
	s.wantNoUploads(t)
	// Of the largest, by SHA-512, the object itself may be what told the digest: it is for collection then.
	if objects := all(t, s.Objects(t.Context())); len(objects) > 1 || len(objects) == 1 && objects[0].Size != 6<<20 {
		t.Errorf("objects are left: %v", objects)
	}
}

func sha512(t *testing.T, s *suite) {
	for _, size := range sizes {
		data := Bytes(5, size)
		s.append(t, "up", 0, data[:size/2])
		s.append(t, "up", size/2, data[size/2:])
		s.wantContent(t, s.commit(t, "up", digest.SHA512.FromBytes(data)), data)
	}
	s.wantNoUploads(t)
}

func abort(t *testing.T, s *suite) {
	for _, size := range []int{0, 10, 6 << 20} {
		s.append(t, "up", 0, Bytes(6, size))
		for range 2 {
			if err := s.Abort(t.Context(), "up"); err != nil {
				t.Errorf("Abort: %v", err)
			}
			s.wantNoUpload(t, "up")
		}
	}
	s.wantNoUploads(t)
	s.wantNoObjects(t)
}

func reuseID(t *testing.T, s *suite) {
	s.append(t, "up", 0, []byte("aborted"))
	if err := s.Abort(t.Context(), "up"); err != nil {
		t.Fatal(err)
	}
	var objects []blob.Object
	for i := range 3 {
		objects = append(objects, s.put(t, "up", Bytes(uint64(i), 1000)))
	}
	for i, o := range objects {
		s.wantContent(t, o, Bytes(uint64(i), 1000))
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
