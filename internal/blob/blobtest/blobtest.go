// Package blobtest holds what every [blob.Store] must do, as one suite, whatever the store is made of.
package blobtest

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/blob"
)

// sizes are lengths in bytes on both sides of where stores change their ways: nothing, one small buffer, a pipeline,
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

// Bytes returns n bytes without a pattern, the same for the same seed.
func Bytes(seed uint64, n int) []byte {
	var key [aes.BlockSize]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // the key has the right length
	}
	b := make([]byte, n)
	cipher.NewCTR(block, key[:]).XORKeyStream(b, b)
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
