// Package blobtest holds what every [blob.Store] must do, as one suite, whatever the store is made of.
package blobtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/blob"
)

// Sizes are lengths in bytes on both sides of where stores change their ways: nothing, one small buffer, a pipeline,
// a part of a multipart upload, several.
var sizes = []int{0, 1, 4096, 64 << 10, 256<<10 - 1, 256 << 10, 700_001, 5 << 20, 5<<20 + 1, 11_111_111}

// Run runs the suite. Each call of open must return a store with nothing in it.
func Run(t *testing.T, open func(t *testing.T) blob.Store) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, *suite){
		"RoundTrip":        roundTrip,
		"Resume":           resume,
		"ManyAppends":      manyAppends,
		"Offsets":          offsets,
		"ReaderError":      readerError,
		"Cancel":           cancel,
		"Busy":             busy,
		"Concurrent":       concurrent,
		"SameDigest":       sameDigest,
		"DigestMismatch":   digestMismatch,
		"SHA512":           sha512,
		"Abort":            abort,
		"ReuseID":          reuseID,
		"Ranges":           ranges,
		"Delete":           deleteTwice,
		"Listing":          listing,
		"ListingStops":     listingStops,
		"Unknown":          unknown,
		"Malformed":        malformed,
		"CommittedIsFixed": committedIsFixed,
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			})
			if err := s.Check(t.Context()); err != nil {
				t.Fatalf("Check: %v", err)
			}
			test(t, &suite{Store: s})
		})
	}
}

// RunReopened runs the part of the suite that concerns state which outlives a Store: reopen returns another Store over
// the same bytes, as another node or a restarted process has it.
func RunReopened(t *testing.T, open func(t *testing.T) (reopen func() blob.Store)) {
	t.Helper()
	for _, size := range sizes {
		for _, alg := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
			t.Run(fmt.Sprintf("%s/%d", alg, size), func(t *testing.T) {
				reopen := open(t)
				data := Bytes(uint64(size), size)
				half := size / 2
				a := &suite{Store: reopen()}
				a.append(t, "up", 0, data[:half])
				b := &suite{Store: reopen()}
				b.wantUpload(t, "up", half)
				b.append(t, "up", half, data[half:])
				c := &suite{Store: reopen()}
				c.wantUpload(t, "up", size)
				o := c.commit(t, "up", alg.FromBytes(data))
				d := &suite{Store: reopen()}
				d.wantContent(t, o, data)
				d.wantNoUploads(t)
			})
		}
	}
}

// Bytes returns n random bytes, the same for the same seed.
func Bytes(seed uint64, n int) []byte {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	b := make([]byte, n)
	rand.NewChaCha8(key).Read(b)
	return b
}

// suite is a store with what the tests do with it all the time.
type suite struct{ blob.Store }

func (s *suite) append(t *testing.T, id string, at int, data []byte) {
	t.Helper()
	size, err := s.Append(t.Context(), id, int64(at), bytes.NewReader(data))
	if err != nil || size != int64(at+len(data)) {
		t.Fatalf("Append(%s, %d, %d bytes) = %d, %v", id, at, len(data), size, err)
	}
}

func (s *suite) commit(t *testing.T, id string, want digest.Digest) blob.Object {
	t.Helper()
	o, err := s.Commit(t.Context(), id, want)
	if err != nil {
		t.Fatalf("Commit(%s): %v", id, err)
	}
	return o
}

// put makes an object in one go.
func (s *suite) put(t *testing.T, id string, data []byte) blob.Object {
	t.Helper()
	s.append(t, id, 0, data)
	return s.commit(t, id, digest.FromBytes(data))
}

func (s *suite) wantContent(t *testing.T, o blob.Object, want []byte) {
	t.Helper()
	c, err := s.Open(t.Context(), o.Key)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	defer c.Close()
	if c.Size() != int64(len(want)) || o.Size != int64(len(want)) {
		t.Errorf("size is %d, and %d in Object, want %d", c.Size(), o.Size, len(want))
	}
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("read %d bytes, %v, not the %d that were written", len(got), err, len(want))
	}
}

func (s *suite) wantUpload(t *testing.T, id string, want int) {
	t.Helper()
	size, err := s.UploadSize(t.Context(), id)
	if err != nil || size != int64(want) {
		t.Errorf("UploadSize(%s) = %d, %v, want %d", id, size, err, want)
	}
}

func (s *suite) wantNoUpload(t *testing.T, id string) {
	t.Helper()
	if size, err := s.UploadSize(t.Context(), id); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("UploadSize(%s) = %d, %v, want ErrNotFound", id, size, err)
	}
}

func (s *suite) wantNoUploads(t *testing.T) {
	t.Helper()
	if ups := all(t, s.Uploads(t.Context())); len(ups) > 0 {
		t.Errorf("uploads are left: %v", ups)
	}
}

func (s *suite) wantNoObjects(t *testing.T) {
	t.Helper()
	if objects := all(t, s.Objects(t.Context())); len(objects) > 0 {
		t.Errorf("objects are left: %v", objects)
	}
}

func all[T any](t *testing.T, seq iter.Seq2[T, error]) []T {
	t.Helper()
	var list []T
	for x, err := range seq {
		if err != nil {
			t.Fatalf("listing: %v", err)
		}
		list = append(list, x)
	}
	return list
}

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

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

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

func sameDigest(t *testing.T, s *suite) {
	data := Bytes(3, 100_000)
	a, b := s.put(t, "a", data), s.put(t, "b", data)
	if a.Key == b.Key {
		t.Fatalf("two objects have the key %q", a.Key)
	}
	if err := s.Delete(t.Context(), a.Key); err != nil {
		t.Fatal(err)
	}
	s.wantContent(t, b, data)
	if c := s.put(t, "a", data); c.Key == a.Key || c.Key == b.Key {
		t.Errorf("key %q was used again", c.Key)
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
	s.wantNoObjects(t)
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

func ranges(t *testing.T, s *suite) {
	data := Bytes(7, 6<<20)
	o := s.put(t, "up", data)
	c, err := s.Open(t.Context(), o.Key)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	size := int64(len(data))
	for _, tt := range []struct {
		offset int64
		whence int
		at     int64
		n      int
	}{
		{0, io.SeekEnd, size, 10},
		{0, io.SeekStart, 0, 10},
		{0, io.SeekCurrent, 10, 10},
		{1 << 20, io.SeekStart, 1 << 20, 300_000},
		{-100, io.SeekCurrent, 1<<20 + 299_900, 100},
		{-5, io.SeekEnd, size - 5, 10},
		{5 << 20, io.SeekStart, 5 << 20, 1 << 20},
		{10, io.SeekEnd, size + 10, 1},
		{0, io.SeekStart, 0, len(data)},
	} {
		at, err := c.Seek(tt.offset, tt.whence)
		if err != nil || at != tt.at {
			t.Fatalf("Seek(%d, %d) = %d, %v, want %d", tt.offset, tt.whence, at, err, tt.at)
		}
		want := data[min(at, size):min(at+int64(tt.n), size)]
		got := make([]byte, tt.n)
		n, err := io.ReadFull(c, got)
		if n < tt.n && err != io.EOF && err != io.ErrUnexpectedEOF || !bytes.Equal(got[:n], want) {
			t.Errorf("at %d: read %d bytes, %v, want %d", at, n, err, len(want))
		}
	}
	if _, err := c.Seek(-1, io.SeekStart); err == nil {
		t.Error("Seek before the start: no error")
	}
	if _, err := c.Seek(0, 17); err == nil {
		t.Error("Seek from nowhere: no error")
	}
}

func deleteTwice(t *testing.T, s *suite) {
	o := s.put(t, "up", []byte("content"))
	for range 2 {
		if err := s.Delete(t.Context(), o.Key); err != nil {
			t.Errorf("Delete: %v", err)
		}
		if _, err := s.Open(t.Context(), o.Key); !errors.Is(err, blob.ErrNotFound) {
			t.Errorf("Open of a deleted object = %v, want ErrNotFound", err)
		}
	}
	s.wantNoObjects(t)
}

func listing(t *testing.T, s *suite) {
	s.wantNoObjects(t)
	s.wantNoUploads(t)
	wantObjects, wantUploads := map[string]int64{}, map[string]int64{}
	for i := range 7 {
		size := i * i * 30_000
		o := s.put(t, "up", Bytes(uint64(i), size))
		wantObjects[o.Key] = int64(size)
		s.append(t, fmt.Sprint("open-", i), 0, Bytes(uint64(i), size))
		wantUploads[fmt.Sprint("open-", i)] = int64(size)
	}
	s.append(t, "big", 0, Bytes(8, 6<<20))
	wantUploads["big"] = 6 << 20

	gotObjects, gotUploads := map[string]int64{}, map[string]int64{}
	for _, o := range all(t, s.Objects(t.Context())) {
		gotObjects[o.Key] = o.Size
		if o.ModTime.IsZero() {
			t.Errorf("object %s has no time", o.Key)
		}
	}
	for _, u := range all(t, s.Uploads(t.Context())) {
		gotUploads[u.ID] = u.Size
		if u.ModTime.IsZero() {
			t.Errorf("upload %s has no time", u.ID)
		}
	}
	if diff := cmp.Diff(wantObjects, gotObjects); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(wantUploads, gotUploads); diff != "" {
		t.Errorf("uploads (-want +got):\n%s", diff)
	}
}

func listingStops(t *testing.T, s *suite) {
	for i := range 3 {
		s.put(t, "up", Bytes(uint64(i), 10))
		s.append(t, fmt.Sprint("open-", i), 0, nil)
	}
	for range s.Objects(t.Context()) {
		break
	}
	for range s.Uploads(t.Context()) {
		break
	}
	// An object that a listing has named may be deleted before it goes on.
	for o, err := range s.Objects(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Delete(t.Context(), o.Key); err != nil {
			t.Error(err)
		}
	}
	s.wantNoObjects(t)
	ctx, stop := context.WithCancel(t.Context())
	stop()
	n := 0
	for _, err := range s.Uploads(ctx) {
		n++
		if !errors.Is(err, context.Canceled) {
			t.Errorf("listing after the end of ctx: %v", err)
		}
	}
	if n != 1 {
		t.Errorf("listing after the end of ctx yielded %d times, want once", n)
	}
}

func unknown(t *testing.T, s *suite) {
	o := s.put(t, "up", []byte("content"))
	if err := s.Delete(t.Context(), o.Key); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Append(t.Context(), "nosuch", 1, strings.NewReader("x")); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("Append = %v, want ErrNotFound", err)
	}
	if _, err := s.Commit(t.Context(), "nosuch", digest.FromString("")); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("Commit = %v, want ErrNotFound", err)
	}
	s.wantNoUpload(t, "nosuch")
	if err := s.Abort(t.Context(), "nosuch"); err != nil {
		t.Errorf("Abort: %v", err)
	}
	if _, err := s.Open(t.Context(), o.Key); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("Open = %v, want ErrNotFound", err)
	}
	s.wantNoUploads(t)
}

func malformed(t *testing.T, s *suite) {
	kept := s.put(t, "kept", []byte("content"))
	s.append(t, "up", 0, []byte("1"))
	for _, id := range []string{"", ".", "..", "a/b", "../up", "A", strings.Repeat("a", 65), "a\x00"} {
		_, appendErr := s.Append(t.Context(), id, 0, strings.NewReader("x"))
		_, sizeErr := s.UploadSize(t.Context(), id)
		_, commitErr := s.Commit(t.Context(), id, digest.FromString("x"))
		for i, err := range []error{appendErr, sizeErr, commitErr, s.Abort(t.Context(), id)} {
			if !errors.Is(err, blob.ErrInvalid) {
				t.Errorf("id %q, call %d: %v, want ErrInvalid", id, i, err)
			}
		}
	}
	for _, d := range []digest.Digest{"", "sha256:1234", "md5:d41d8cd98f00b204e9800998ecf8427e", "sha256:../../x"} {
		if _, err := s.Commit(t.Context(), "up", d); !errors.Is(err, blob.ErrInvalid) {
			t.Errorf("Commit with digest %q = %v, want ErrInvalid", d, err)
		}
	}
	s.wantUpload(t, "up", 1)
	for _, key := range []string{"", ".", "..", "../uploads/up", "/etc/passwd", "uploads/up", kept.Key + "/", kept.Key + "/..", "./" + kept.Key, kept.Key[:len(kept.Key)-1], "a\x00"} {
		c, err := s.Open(t.Context(), key)
		if err == nil {
			c.Close()
		}
		if !errors.Is(err, blob.ErrInvalid) && !errors.Is(err, blob.ErrNotFound) {
			t.Errorf("Open(%q) = %v, want ErrInvalid or ErrNotFound", key, err)
		}
		if err := s.Delete(t.Context(), key); err != nil && !errors.Is(err, blob.ErrInvalid) {
			t.Errorf("Delete(%q) = %v, want nil or ErrInvalid", key, err)
		}
	}
	s.wantContent(t, kept, []byte("content"))
	s.wantUpload(t, "up", 1)
}

// An object does not change with what is done to the upload's id, or to its twin, while somebody reads it.
func committedIsFixed(t *testing.T, s *suite) {
	data := Bytes(9, 300_000)
	o := s.put(t, "up", data)
	c, err := s.Open(t.Context(), o.Key)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	first := make([]byte, 1000)
	if _, err := io.ReadFull(c, first); err != nil {
		t.Fatal(err)
	}
	s.append(t, "up", 0, Bytes(10, 300_000))
	if err := s.Abort(t.Context(), "up"); err != nil {
		t.Fatal(err)
	}
	twin := s.put(t, "up", data)
	if err := s.Delete(t.Context(), twin.Key); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(slices.Concat(first, rest), data) {
		t.Errorf("object changed while it was read: %v", err)
	}
}
