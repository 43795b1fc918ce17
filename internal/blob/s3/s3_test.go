package s3_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/blob"
	"github.com/sekisho/sekisho/internal/blob/blobtest"
	"github.com/sekisho/sekisho/internal/blob/blobtest/s3server"
	"github.com/sekisho/sekisho/internal/blob/s3"
)

func open(t testing.TB, o s3.Options) *s3.Store {
	t.Helper()
	o.PartSize = s3.MinPartSize
	s, err := s3.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStore(t *testing.T) {
	shared := s3server.Start(t)
	blobtest.Run(t, func(t *testing.T) blob.Store {
		o := shared
		o.Prefix = t.Name() + "/"
		return open(t, o)
	})
}

func TestStoreReopened(t *testing.T) {
	blobtest.RunReopened(t, func(t *testing.T) func() blob.Store {
		o := s3server.Start(t)
		return func() blob.Store { return open(t, o) }
	})
}

func TestPresignGet(t *testing.T) {
	s := open(t, s3server.Start(t))
	data := blobtest.Bytes(1, 1000)
	o, failures := push(t.Context(), s, "up", data)
	if len(failures) > 0 {
		t.Fatal(failures)
	}
	url, err := s.PresignGet(t.Context(), o.Key, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if got, err := io.ReadAll(response.Body); err != nil || !bytes.Equal(got, data) {
		t.Errorf("GET of the URL: %s, %d bytes, %v", response.Status, len(got), err)
	}
	if _, err := s.PresignGet(t.Context(), "../uploads/up", time.Minute); !errors.Is(err, blob.ErrInvalid) {
		t.Errorf("PresignGet of what is no key = %v, want ErrInvalid", err)
	}
}

func TestCheckSaysWhatIsWrong(t *testing.T) {
	right := s3server.Start(t)
	for name, change := range map[string]func(*s3.Options){
		"no bucket":    func(o *s3.Options) { o.Bucket = "nosuch" },
		"wrong secret": func(o *s3.Options) { o.SecretAccessKey = "wrong" },
		"no service":   func(o *s3.Options) { o.Endpoint = "http://127.0.0.1:1" },
	} {
		o := right
		change(&o)
		if err := open(t, o).Check(t.Context()); err == nil || errors.Is(err, blob.ErrNotFound) {
			t.Errorf("%s: Check = %v", name, err)
		}
	}
}

func TestOptions(t *testing.T) {
	for name, o := range map[string]s3.Options{
		"no bucket":   {},
		"small parts": {Bucket: "b", AccessKeyID: "a", PartSize: s3.MinPartSize - 1},
	} {
		if _, err := s3.Open(t.Context(), o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// BenchmarkLarge uploads 64 MiB. It measures the service on the same machine more than the store.
func BenchmarkLarge(b *testing.B) {
	s := open(b, s3server.Start(b))
	data := blobtest.Bytes(1, 64<<20)
	want := digest.FromBytes(data)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for i := range b.N {
		id := fmt.Sprint("up-", i)
		if _, err := s.Append(b.Context(), id, 0, bytes.NewReader(data)); err != nil {
			b.Fatal(err)
		}
		o, err := s.Commit(b.Context(), id, want)
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Delete(b.Context(), o.Key); err != nil {
			b.Fatal(err)
		}
	}
}
