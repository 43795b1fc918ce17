package ociserver_test

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/blob"
	"github.com/sekisho/sekisho/internal/blob/file"
	"github.com/sekisho/sekisho/internal/durable"
	"github.com/sekisho/sekisho/internal/httpx"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
	"github.com/sekisho/sekisho/internal/registry"
	"github.com/sekisho/sekisho/internal/registry/ociserver"
	"github.com/sekisho/sekisho/internal/seal"
)

const (
	account = "111122223333"
	other   = "444455556666"
	region  = "eu-west-1"
	domain  = "registry.example"
)

// instance is a registry as it is served: a real database, a real blob store, real accounts, and a server on a port of
// its own. Every answer that passes through do is checked for what all answers have in common.
type instance struct {
	testing.TB
	db      *meta.DB
	dir     string // of the blob store, if it is the usual one
	store   blob.Store
	local   *registry.Local
	iam     *iam.Service
	links   *ociserver.Links
	handler http.Handler
	addr    string
	http    *http.Client
	keys    map[string]*iam.AccessKey // of the roots, by account
	clock   clock
	asked   asked
}

// setup says how an instance differs from the usual one.
type setup struct {
	dsn        string // default: a fresh SQLite database
	store      blob.Store
	registry   registry.Options
	settings   registry.Settings // of account
	limits     httpx.Limits
	server     httpx.ServerOptions
	proxies    httpx.Proxies
	authorizer iam.Authorizer
}

// clock is a clock that can be moved forward.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

// asked is what policies were asked, as "action resource".
type asked struct {
	mu   sync.Mutex
	list []string
}

func (a *asked) note(_ *iam.Caller, r *iam.Request, _ iam.Decision) {
	action, resource := r.Action, r.Resource.ARN
	a.mu.Lock()
	defer a.mu.Unlock()
	a.list = append(a.list, action+" "+resource)
}

// take returns what was asked since it was last called.
func (a *asked) take() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	list := a.list
	a.list = nil
	return list
}

func newInstance(t testing.TB, s setup) *instance {
	t.Helper()
	if s.dsn == "" {
		s.dsn = metatest.SQLite(t)
	}
	dir := t.TempDir()
	if s.store == nil {
		s.store = files(t, durable.OS{}, dir)
	}
	if s.authorizer == nil {
		s.authorizer = iam.RootOnly{}
	}
	db := metatest.Open(t, s.dsn)
	in := &instance{TB: t, db: db, dir: dir, store: s.store, keys: map[string]*iam.AccessKey{}}
	key := bytes.Repeat([]byte("k"), seal.MasterKeySize)
	ring, err := seal.New(key)
	if err != nil {
		t.Fatal(err)
	}
	if in.iam, err = iam.New(db, ring, in.clock.now); err != nil {
		t.Fatal(err)
	}
	for _, a := range []string{account, other} {
		if _, in.keys[a], err = in.iam.Bootstrap(t.Context(), a); err != nil {
			t.Fatal(err)
		}
	}
	s.registry.UploadKey, s.registry.Now = key, in.clock.now
	if in.local, err = registry.NewLocal(db, s.store, s.registry); err != nil {
		t.Fatal(err)
	}
	if err := in.local.PutSettings(t.Context(), root(account), account, s.settings); err != nil {
		t.Fatal(err)
	}
	judge := &registry.Judge{Judge: iam.Judge{Authorizer: s.authorizer, Note: in.asked.note}, Region: region}
	in.links = &ociserver.Links{Key: key, Keys: in.iam, Now: in.clock.now}
	server := &ociserver.Server{
		Registry: registry.CreateOnPush(registry.Authorize(in.local, judge), in.local),
		Auth:     in.iam, Links: in.links, Account: account, Region: region, Domain: domain,
	}
	log := slog.New(slog.DiscardHandler)
	in.handler = httpx.New(server.Serve, httpx.Options{Logger: log, Limits: s.limits, Proxies: s.proxies})
	s.server.Logger, s.server.Limits = log, s.limits
	in.serve(httpx.NewServer(in.handler, s.server))
	return in
}

func files(t testing.TB, fsys durable.FS, dir string) blob.Store {
	t.Helper()
	s, err := file.Open(fsys, filepath.Join(dir, "data"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func root(account string) *iam.Caller {
	return (&iam.Principal{Account: account, ARN: iam.RootARN(account), Type: iam.Root}).Caller()
}

func (in *instance) serve(s *httpx.Server) {
	in.Helper()
	if err := s.Listen(in.Context(), "127.0.0.1:0"); err != nil {
		in.Fatal(err)
	}
	in.addr = s.Addrs()[0].String()
	transport := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 8}
	in.http = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	in.Cleanup(func() {
		transport.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			in.Errorf("Shutdown: %v", err)
		}
		if err := <-served; err != nil {
			in.Errorf("Serve: %v", err)
		}
	})
}

// with returns in for a subtest.
func (in *instance) with(t testing.TB) *instance {
	return &instance{TB: t, db: in.db, dir: in.dir, store: in.store, local: in.local, iam: in.iam, links: in.links, handler: in.handler, addr: in.addr, http: in.http, keys: in.keys}
}

// repositories creates some in account.
func (in *instance) repositories(names ...string) {
	in.Helper()
	for _, name := range names {
		if _, err := in.local.CreateRepository(in.Context(), root(account), registry.Repo{Account: account, Name: name}, registry.RepositorySettings{}, nil); err != nil {
			in.Fatal(err)
		}
	}
}

// Content that tests push and pull: on both sides of what is kept in the database.
var (
	small = content(1, 100)
	large = content(2, 100_000)
)

// content returns n bytes, others for another seed, all of them printable.
func content(seed, n int) string {
	const letters = "0123456789abcdef"
	b := make([]byte, n)
	x := uint32(seed)*2654435761 + 1
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = letters[x>>28]
	}
	return string(b)
}

func sum(data string) string    { return digest.FromString(data).String() }
func sum512(data string) string { return digest.SHA512.FromString(data).String() }

// push uploads blobs to a repository, whose path is given as a client writes it.
func (in *instance) push(repo string, blobs ...string) {
	in.Helper()
	for _, b := range blobs {
		in.expect(call{method: "POST", path: "/v2/" + repo + "/blobs/uploads/?digest=" + sum(b), body: b}, want{status: 201})
	}
}

// put pushes a manifest and returns its digest.
func (in *instance) put(repo, ref, mediaType, data string) string {
	in.Helper()
	in.expect(call{method: "PUT", path: "/v2/" + repo + "/manifests/" + ref, header: fields{"Content-Type": mediaType}, body: data},
		want{status: 201, header: fields{"Docker-Content-Digest": sum(data)}})
	return sum(data)
}

// staged returns the sizes of the uploads that the store holds, in order.
func (in *instance) staged() []int64 {
	in.Helper()
	sizes := []int64{}
	for u, err := range in.store.Uploads(in.Context()) {
		if err != nil {
			in.Fatal(err)
		}
		sizes = append(sizes, u.Size)
	}
	slices.Sort(sizes)
	return sizes
}

// nothingStaged checks that the store holds no upload.
func (in *instance) nothingStaged() {
	in.Helper()
	if sizes := in.staged(); len(sizes) > 0 {
		in.Errorf("uploads are left, of %d bytes", sizes)
	}
}

// eventually waits until is returns nil.
func eventually(t testing.TB, is func() error) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); ; <-tick.C {
		err := is()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}
