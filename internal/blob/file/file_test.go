package file_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/blob"
	"github.com/sekisho/sekisho/internal/blob/blobtest"
	"github.com/sekisho/sekisho/internal/blob/file"
	"github.com/sekisho/sekisho/internal/durable"
)

func open(t testing.TB, dir string) *file.Store {
	t.Helper()
	s, err := file.Open(durable.OS{}, dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStore(t *testing.T) {
	blobtest.Run(t, func(t *testing.T) blob.Store { return open(t, t.TempDir()) })
}

func TestStoreReopened(t *testing.T) {
	blobtest.RunReopened(t, func(t *testing.T) func() blob.Store {
		dir := t.TempDir()
		return func() blob.Store { return open(t, dir) }
	})
}

func put(t *testing.T, s *file.Store, id string, data []byte) blob.Object {
	t.Helper()
	if _, err := s.Append(t.Context(), id, 0, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	o, err := s.Commit(t.Context(), id, digest.FromBytes(data))
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// What an earlier process left in uploads is not trusted to be what was hashed, nor to be all.
func TestChangedWhileDown(t *testing.T) {
	data := blobtest.Bytes(1, 1000)
	for name, change := range map[string]func([]byte) []byte{
		"same size": func(b []byte) []byte { b[500]++; return b },
		"longer":    func(b []byte) []byte { return append(b, 'x') },
		"shorter":   func(b []byte) []byte { return b[:999] },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if _, err := open(t, dir).Append(t.Context(), "up", 0, bytes.NewReader(data)); err != nil {
				t.Fatal(err)
			}
			changed := change(bytes.Clone(data))
			if err := os.WriteFile(filepath.Join(dir, "uploads", "up"), changed, 0o600); err != nil {
				t.Fatal(err)
			}
			s := open(t, dir)
			if size, err := s.UploadSize(t.Context(), "up"); err != nil || size != int64(len(changed)) {
				t.Errorf("UploadSize = %d, %v", size, err)
			}
			var mismatch *blob.DigestError
			if _, err := s.Commit(t.Context(), "up", digest.FromBytes(data)); !errors.As(err, &mismatch) {
				t.Errorf("Commit = %v, want a DigestError", err)
			}
		})
	}
}

func TestStrangersAreNotListed(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	o := put(t, s, "up", []byte("content"))
	object := filepath.Join(dir, "blobs", filepath.FromSlash(o.Key))
	for _, name := range []string{object + ".bak", filepath.Join(filepath.Dir(object), "lost+found"), filepath.Join(dir, "blobs", "sha256", ".DS_Store", "x"), filepath.Join(dir, "uploads", ".DS_Store")} {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var objects []blob.Object
	for o, err := range s.Objects(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		objects = append(objects, o)
	}
	if diff := cmp.Diff([]blob.Object{o}, objects); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
	for u, err := range s.Uploads(t.Context()) {
		t.Errorf("upload %v, %v is listed", u, err)
	}
}

func TestFilesArePrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "folder")
	put(t, open(t, dir), "up", []byte("content"))
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if info, err := d.Info(); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v, want nothing for others", path, info.Mode(), err)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// Content must offer what net and net/http look for before they use sendfile, behind whatever they wrap it in.
func TestContentReachesSendfile(t *testing.T) {
	s := open(t, t.TempDir())
	data := blobtest.Bytes(1, 300_000)
	o := put(t, s, "up", data)
	c, err := s.Open(t.Context(), o.Key)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, ok := c.(syscall.Conn); !ok {
		t.Error("net.TCPConn.ReadFrom will not find a file descriptor")
	}
	if _, ok := c.(io.WriterTo); !ok {
		t.Error("io.Copy will not ask the file to write itself")
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := s.Open(r.Context(), o.Key)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		http.ServeContent(w, r, "", time.Time{}, c)
	}))
	defer server.Close()
	for header, want := range map[string][]byte{"": data, "bytes=100-299999": data[100:], "bytes=-5": data[len(data)-5:]} {
		request, err := http.NewRequestWithContext(t.Context(), "GET", server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		if header != "" {
			request.Header.Set("Range", header)
		}
		response, err := server.Client().Do(request)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("Range %q: %d bytes, %v, want %d", header, len(got), err, len(want))
		}
	}
}

// However an Append ends, its goroutines end with it: synctest fails if one is left. And the next Append goes on where
// the bytes ended.
func TestNoGoroutineIsLeft(t *testing.T) {
	data := blobtest.Bytes(1, 3<<20)
	cause := errors.New("cause")
	for name, end := range map[string]func(stop func()) (int, error){
		"end":    func(func()) (int, error) { return 0, io.EOF },
		"error":  func(func()) (int, error) { return 0, cause },
		"cancel": func(stop func()) (int, error) { stop(); return 0, nil },
		"panic":  func(func()) (int, error) { panic(cause) },
		"idle":   func(func()) (int, error) { return 0, nil },
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, t.TempDir())
			synctest.Test(t, func(t *testing.T) {
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				func() {
					defer func() { _ = recover() }()
					s.Append(ctx, "up", 0, io.MultiReader(bytes.NewReader(data[:2<<20]), readerFunc(func([]byte) (int, error) { return end(stop) })))
				}()
			})
			size, err := s.UploadSize(t.Context(), "up")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Append(t.Context(), "up", size, bytes.NewReader(data[size:])); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Commit(t.Context(), "up", digest.FromBytes(data)); err != nil {
				t.Error(err)
			}
		})
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// Many clients with large bodies at once must not take memory for each.
func TestMemoryIsBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 256 MiB")
	}
	s := open(t, t.TempDir())
	megabyte := blobtest.Bytes(1, 1<<20)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var clients sync.WaitGroup
	for i := range 32 {
		clients.Go(func() {
			if _, err := s.Append(t.Context(), fmt.Sprint("up-", i), 0, &pattern{megabyte: megabyte, n: 8 << 20}); err != nil {
				t.Error(err)
			}
		})
	}
	clients.Wait()
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 16<<20 {
		t.Errorf("32 uploads of 8 MiB allocated %d bytes", n)
	}
}
