package registry_test

import (
	"bytes"
	"fmt"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta/metatest"
	"github.com/sekisho/sekisho/internal/oci"
	"github.com/sekisho/sekisho/internal/registry"
)

// newBench opens what is served by default: SQLite and files, behind the choke point.
func newBench(b *testing.B) registry.Registry {
	l := local(b, metatest.Open(b, metatest.SQLite(b)), files(b)(), registry.Options{UploadKey: uploadKey})
	if _, err := l.CreateRepository(b.Context(), nil, app, registry.RepositorySettings{}, nil); err != nil {
		b.Fatal(err)
	}
	j := &registry.Judge{Judge: iam.Judge{Authorizer: iam.RootOnly{}, Note: func(*iam.Caller, *iam.Request, iam.Decision) {}}, Region: "eu-west-1"}
	return registry.CreateOnPush(registry.Authorize(l, j), l)
}

// cpu returns the processor time that this process has used: on a busy machine it says more than the time that passed.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func reportCPU(b *testing.B, before time.Duration) {
	b.ReportMetric(float64((cpu(b)-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
}

// BenchmarkRead reads what is hot.
func BenchmarkRead(b *testing.B) {
	r := newBench(b)
	small, large := pushBlob(b, r, app, bytes.Repeat([]byte("s"), 4096)), pushBlob(b, r, app, bytes.Repeat([]byte("l"), 100_000))
	pushImage(b, r, app, []byte("config"), "latest")
	for _, bench := range []struct {
		name string
		read func(c *iam.Caller) error
	}{
		{"Manifest", func(c *iam.Caller) error { return second(r.Manifest(b.Context(), c, app, tagged("latest"))) }},
		{"StatBlob", func(c *iam.Caller) error { return second(r.StatBlob(b.Context(), c, app, small)) }},
		{"OpenBlob/4KiB", func(c *iam.Caller) error { return open(b, r, c, small) }},
		{"OpenBlob/100KB", func(c *iam.Caller) error { return open(b, r, c, large) }},
	} {
		b.Run(bench.name, func(b *testing.B) {
			c := root(account)
			b.ReportAllocs()
			defer reportCPU(b, cpu(b))
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := bench.read(c); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

func open(b *testing.B, r registry.Registry, c *iam.Caller, d digest.Digest) error {
	blob, err := r.OpenBlob(b.Context(), c, app, d)
	if err != nil {
		return err
	}
	return blob.Close()
}

// BenchmarkPush pushes an image of two small blobs under a tag, durably, 32 at a time.
func BenchmarkPush(b *testing.B) {
	r := newBench(b)
	var n atomic.Int64
	b.ReportAllocs()
	defer reportCPU(b, cpu(b))
	b.SetParallelism((32 + runtime.GOMAXPROCS(0) - 1) / runtime.GOMAXPROCS(0))
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			i := n.Add(1)
			config, layer := fmt.Appendf(nil, "%2000d config", i), fmt.Appendf(nil, "%4000d layer", i)
			c, l := pushBlob(b, r, app, config), pushBlob(b, r, app, layer)
			m := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":%d},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":%q,"size":%d}]}`,
				oci.TypeImage, c, len(config), l, len(layer))
			_, err := r.PutManifest(b.Context(), root(account), app, registry.ManifestPut{Tags: []string{fmt.Sprint("v", i)}, MediaType: oci.TypeImage, Data: m})
			if err != nil {
				b.Error(err)
			}
		}
	})
}
