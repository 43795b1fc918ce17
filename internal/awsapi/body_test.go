package awsapi

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/iotest"

	"github.com/sekisho/sekisho/internal/httpx"
)

func TestReadBody(t *testing.T) {
	b := newBodies()
	for _, tt := range []struct {
		name      string
		sent      int
		announced int64 // -1: not
		limit     int64
		tooLarge  bool
	}{
		{"none", 0, 0, 10, false},
		{"none, unannounced", 0, -1, 10, false},
		{"at the limit", 10, 10, 10, false},
		{"at the limit, unannounced", 10, -1, 10, false},
		{"over the limit", 11, 11, 10, true},
		{"over the limit, unannounced", 11, -1, 10, true},
		{"large", 3 << 20, 3 << 20, 4 << 20, false},
		{"large, unannounced", 3 << 20, -1, 4 << 20, false},
	} {
		for name, wrap := range map[string]func(io.Reader) io.Reader{
			"": func(r io.Reader) io.Reader { return r }, " at once with EOF": iotest.DataErrReader, " by halves": iotest.HalfReader,
		} {
			t.Run(tt.name+name, func(t *testing.T) {
				sent := bytes.Repeat([]byte("x"), tt.sent)
				r := httptest.NewRequest(http.MethodPost, "/", wrap(bytes.NewReader(sent)))
				r.ContentLength = tt.announced
				h, err := b.read(r, tt.limit)
				if tt.tooLarge {
					if e, ok := errors.AsType[*httpx.BodyError](err); !ok || e.Status != http.StatusRequestEntityTooLarge {
						t.Errorf("got %v", err)
					}
					return
				}
				if err != nil || !bytes.Equal(h.bytes, sent) {
					t.Fatalf("%v", err)
				}
				if want := max(int64(tt.sent)-smallBody, 0); h.shared < want || h.shared > want+1 && tt.announced >= 0 {
					t.Errorf("takes %d of the allowance, want %d", h.shared, want)
				}
				h.release()
			})
		}
	}
	if !b.shared.TryAcquire(sharedBody) {
		t.Error("some of the allowance was not given back")
	}
}

// TestBodiesAreBounded reads while others hold all of the allowance: small bodies pass, large ones are sent away.
func TestBodiesAreBounded(t *testing.T) {
	b := newBodies()
	if !b.shared.TryAcquire(sharedBody) {
		t.Fatal("no allowance")
	}
	read := func(size int) error {
		_, err := b.read(httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(make([]byte, size))), 8<<20)
		return err
	}
	if err := read(smallBody - 1); err != nil {
		t.Errorf("small: %v", err)
	}
	if err := read(2 * smallBody); !errors.Is(err, errBusy) {
		t.Errorf("large: %v", err)
	}
	b.shared.Release(sharedBody)
	if err := read(2 * smallBody); err != nil {
		t.Errorf("large, later: %v", err)
	}
}

func TestReadBodyError(t *testing.T) {
	broken := errors.New("broken")
	b := newBodies()
	_, err := b.read(httptest.NewRequest(http.MethodPost, "/", io.MultiReader(bytes.NewReader(make([]byte, 2<<20)), iotest.ErrReader(broken))), 8<<20)
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if !b.shared.TryAcquire(sharedBody) {
		t.Error("some of the allowance was not given back")
	}
}
