package blobtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/blob"
)

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
