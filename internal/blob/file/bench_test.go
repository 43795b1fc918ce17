package file_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/blob/blobtest"
)

// The benchmarks stand beside the least a program must do for the same bytes: read, hash and write in one loop, sync the
// file, rename it. cpu-ms/op is the processor time of the whole process, the reader's included.

const (
	largeSize = 512 << 20
	smallSize = 64 << 10
)

// pattern yields n bytes, a megabyte again and again.
type pattern struct {
	megabyte []byte
	n, off   int
}

func (p *pattern) Read(b []byte) (int, error) {
	if p.off == p.n {
		return 0, io.EOF
	}
	b = b[:min(len(b), p.n-p.off)]
	n := copy(b, p.megabyte[p.off%len(p.megabyte):])
	p.off += n
	return n, nil
}

func largeBody() (*pattern, digest.Digest) {
	m := blobtest.Bytes(1, 1<<20)
	h := sha256.New()
	if _, err := io.Copy(h, &pattern{megabyte: m, n: largeSize}); err != nil {
		panic(err)
	}
	return &pattern{megabyte: m, n: largeSize}, digest.NewDigest(digest.SHA256, h)
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// measure runs b.N times f and reports the processor time of each.
func measure(b *testing.B, size int64, f func(i int) error) {
	b.SetBytes(size)
	b.ResetTimer()
	begun := cpuTime()
	for i := range b.N {
		if err := f(i); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(cpuTime()-begun)/float64(b.N)/1e6, "cpu-ms/op")
}

func plain(dir string, i int64, r io.Reader) error {
	tmp := filepath.Join(dir, fmt.Sprint("tmp", i))
	f, err := os.Create(tmp)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	buf := make([]byte, 256<<10)
	if _, err := io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(h, f)}, struct{ io.Reader }{r}, buf); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(dir, fmt.Sprintf("%x", h.Sum(nil))))
}

func BenchmarkLarge(b *testing.B) {
	body, want := largeBody()
	b.Run("plain", func(b *testing.B) {
		dir := b.TempDir()
		measure(b, largeSize, func(i int) error {
			body.off = 0
			return plain(dir, int64(i), body)
		})
	})
	b.Run("store", func(b *testing.B) {
		s := open(b, b.TempDir())
		measure(b, largeSize, func(int) error {
			body.off = 0
			if _, err := s.Append(b.Context(), "up", 0, body); err != nil {
				return err
			}
			o, err := s.Commit(b.Context(), "up", want)
			if err != nil {
				return err
			}
			return s.Delete(context.Background(), o.Key)
		})
	})
}

// BenchmarkSmall commits uploads of 64 KiB, 32 at a time.
func BenchmarkSmall(b *testing.B) {
	data := blobtest.Bytes(1, smallSize)
	want := digest.FromBytes(data)
	parallel := func(b *testing.B, f func(i int64) error) {
		var next atomic.Int64
		b.SetBytes(smallSize)
		b.SetParallelism(16)
		begun := cpuTime()
		b.ResetTimer()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := f(next.Add(1)); err != nil {
					b.Error(err)
				}
			}
		})
		b.ReportMetric(float64(cpuTime()-begun)/float64(b.N)/1e6, "cpu-ms/op")
	}
	b.Run("plain", func(b *testing.B) {
		dir := b.TempDir()
		parallel(b, func(i int64) error { return plain(dir, i, bytes.NewReader(data)) })
	})
	b.Run("store", func(b *testing.B) {
		s := open(b, b.TempDir())
		parallel(b, func(i int64) error {
			id := fmt.Sprint("up-", i)
			if _, err := s.Append(b.Context(), id, 0, bytes.NewReader(data)); err != nil {
				return err
			}
			_, err := s.Commit(b.Context(), id, want)
			return err
		})
	})
}

// BenchmarkOpen opens an object, seeks as http.ServeContent does and closes it.
func BenchmarkOpen(b *testing.B) {
	s := open(b, b.TempDir())
	data := blobtest.Bytes(1, smallSize)
	if _, err := s.Append(b.Context(), "up", 0, bytes.NewReader(data)); err != nil {
		b.Fatal(err)
	}
	o, err := s.Commit(b.Context(), "up", digest.FromBytes(data))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		c, err := s.Open(b.Context(), o.Key)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := c.Seek(0, io.SeekStart); err != nil {
			b.Fatal(err)
		}
		c.Close()
	}
}
