package app_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/app"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/oci"
	"github.com/sekisho/sekisho/internal/registry"
)

// Sizes of the large registry.
const (
	manyTags      = 100_000
	manyRepos     = 10_000
	manyReferrers = 1_000
)

// BenchmarkScale measures what must not grow with content, over HTTP and with authorisation, in a registry with 100,000
// tags in one repository, 10,000 repositories and 1,000 referrers of one image. Each line's p50-ms is the median of one
// request at a time; start is the time from opening the data folder to the first answer.
func BenchmarkScale(b *testing.B) {
	dir := filepath.Join(b.TempDir(), "data")
	subject := fill(b, dir)
	var c *client
	stop := func() {}
	b.Run("start", func(b *testing.B) {
		took := make([]time.Duration, 0, b.N)
		for b.Loop() {
			stop()
			start := time.Now()
			_, c, stop = serveHere(b, dir)
			if _, _, err := c.expect(http.StatusOK, "GET", "/v2/", "", nil); err != nil {
				b.Fatal(err)
			}
			took = append(took, time.Since(start))
		}
		report(b, took)
	})
	defer func() { stop() }()
	for _, request := range []struct{ name, path string }{
		{"manifest by tag of 100", "/v2/scale/few/manifests/t000050"},
		{"manifest by tag of 100000", "/v2/scale/many/manifests/t050000"},
		{"first 100 tags of 100000", "/v2/scale/many/tags/list?n=100"},
		{"last 100 tags of 100000", "/v2/scale/many/tags/list?n=100&last=t099899"},
		{"first 100 repositories of 10000", "/v2/_catalog?n=100"},
		{"last 100 repositories of 10000", "/v2/_catalog?n=100&last=repo/09899"},
		{"1000 referrers", "/v2/scale/few/referrers/" + string(subject)},
	} {
		b.Run(request.name, func(b *testing.B) {
			took := make([]time.Duration, 0, b.N)
			for b.Loop() {
				start := time.Now()
				if _, _, err := c.expect(http.StatusOK, "GET", request.path, "", nil); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(start))
			}
			report(b, took)
		})
	}
}

func report(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
}

// serveHere serves dir in this process until stop is called.
func serveHere(b *testing.B, dir string) (*app.Instance, *client, func()) {
	b.Helper()
	c, err := testConfig(dir)
	if err != nil {
		b.Fatal(err)
	}
	in, err := app.Open(b.Context(), c, slog.New(slog.DiscardHandler), app.Serve)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	address := make(chan string, 1)
	done := make(chan error, 1)
	go func() { done <- in.Run(ctx, "bench", func(addrs []string) { address <- addrs[0] }) }()
	key, err := in.ReadRootKey(ctx)
	if err != nil {
		b.Fatal(err)
	}
	cl := &client{http: &http.Client{Transport: &http.Transport{}}, url: "http://" + <-address, user: key.AccessKeyID, pass: key.SecretAccessKey}
	return in, cl, func() {
		cl.http.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
		if err := in.Close(); err != nil {
			b.Error(err)
		}
	}
}

// fill makes the large registry and returns the digest of the image that has referrers.
func fill(b *testing.B, dir string) digest.Digest {
	b.Helper()
	in, _, stop := serveHere(b, dir)
	defer stop()
	ctx, who := b.Context(), iam.SystemCaller(in.Account, "benchmark")
	many, few := registry.Repo{Account: in.Account, Name: "scale/many"}, registry.Repo{Account: in.Account, Name: "scale/few"}
	index := func(n int, subject string) []byte {
		return fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[]%s,"annotations":{"n":"%d"}}`, oci.TypeIndex, subject, n)
	}
	put := func(repo registry.Repo, tag string, data []byte) digest.Digest {
		p := registry.ManifestPut{MediaType: oci.TypeIndex, Data: data}
		if tag != "" {
			p.Tags = []string{tag}
		}
		m, err := in.Local.PutManifest(ctx, who, repo, p)
		if err != nil {
			b.Error(err)
			return ""
		}
		return m.Digest
	}
	create := func(name string) {
		if _, err := in.Local.CreateRepository(ctx, who, registry.Repo{Account: in.Account, Name: name}, registry.RepositorySettings{}, nil); err != nil {
			b.Error(err)
		}
	}
	create(many.Name)
	create(few.Name)
	concurrently(manyTags, func(i int) { put(many, fmt.Sprintf("t%06d", i), index(i, "")) })
	concurrently(100, func(i int) { put(few, fmt.Sprintf("t%06d", i), index(i, "")) })
	concurrently(manyRepos, func(i int) { create(fmt.Sprintf("repo/%05d", i)) })
	subject := put(few, "subject", index(-1, ""))
	concurrently(manyReferrers, func(i int) {
		put(few, "", index(i, fmt.Sprintf(`,"artifactType":"application/x.bench.%d","subject":{"mediaType":%q,"digest":%q,"size":1}`, i%4, oci.TypeIndex, subject)))
	})
	return subject
}

func concurrently(n int, do func(int)) {
	var wg sync.WaitGroup
	const workers = 32
	for w := range workers {
		wg.Go(func() {
			for i := w; i < n; i += workers {
				do(i)
			}
		})
	}
	wg.Wait()
}
