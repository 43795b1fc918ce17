package ociserver_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
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

func (a *asked) note(_ *iam.Caller, action, resource string, _ iam.Decision) {
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
	key := bytes.Repeat([]byte("k"), iam.MasterKeySize)
	var err error
	if in.iam, err = iam.New(db, key, in.clock.now); err != nil {
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
	judge := &registry.Judge{Authorizer: s.authorizer, Region: region, Note: in.asked.note}
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

// fields are those of a header.
type fields map[string]string

// call is a request.
type call struct {
	method, path string
	host         string // default: the server's address
	as           string // nobody, an account, or an Authorization header; default: account
	header       fields
	body         string
	reader       io.Reader // instead of body; its length is not told to the server
}

// nobody shows no credential.
const nobody = "nobody"

func (in *instance) authorization(as string) string {
	switch as {
	case nobody:
		return ""
	case "":
		as = account
	}
	if k := in.keys[as]; k != nil {
		return basic(k.ID, k.Secret.Reveal())
	}
	return as
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// answer is a response.
type answer struct {
	status  int
	header  http.Header
	body    string
	code    string // of an error, in the body or for HEAD in the header
	message string
}

func (in *instance) do(c call) answer {
	in.Helper()
	url := c.path
	if strings.HasPrefix(url, "/") {
		url = "http://" + in.addr + url
	}
	var body io.Reader = strings.NewReader(c.body)
	if c.reader != nil {
		body = c.reader
	}
	req, err := http.NewRequestWithContext(in.Context(), c.method, url, body)
	if err != nil {
		in.Fatal(err)
	}
	if c.host != "" {
		req.Host = c.host
	}
	if a := in.authorization(c.as); a != "" {
		req.Header.Set("Authorization", a)
	}
	for k, v := range c.header {
		req.Header.Set(k, v)
	}
	resp, err := in.http.Do(req)
	if err != nil {
		in.Fatalf("%s %s: %v", c.method, c.path, err)
	}
	a, err := read(c.method, resp)
	if err != nil {
		in.Errorf("%s %s: %v", c.method, c.path, err)
	}
	return a
}

// read reads a response and checks what all have in common.
func read(method string, resp *http.Response) (answer, error) {
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, err
	}
	a := answer{status: resp.StatusCode, header: resp.Header, body: string(body)}
	if v := resp.Header.Get("Docker-Distribution-Api-Version"); v != "registry/2.0" {
		return a, fmt.Errorf("status %d, Docker-Distribution-Api-Version is %q", a.status, v)
	}
	if resp.Header.Get("X-Request-Id") == "" {
		return a, fmt.Errorf("status %d, X-Request-Id is missing", a.status)
	}
	if method == http.MethodHead && len(body) > 0 {
		return a, fmt.Errorf("a HEAD was answered with a body: %s", body)
	}
	return a, a.checkError(method)
}

// checkError checks that a refusal has the form of the specification ("Error Codes"), and reads it.
func (a *answer) checkError(method string) error {
	named := a.header.Get("Sekisho-Error")
	if a.status < 400 {
		if named != "" {
			return fmt.Errorf("status %d has an error: %s", a.status, named)
		}
		return nil
	}
	if a.code, a.message, _ = strings.Cut(named, ": "); method == http.MethodHead {
		if a.message == "" {
			return fmt.Errorf("status %d of a HEAD has no reason in its header", a.status)
		}
		return nil
	}
	if t := a.header.Get("Content-Type"); t != "application/json" {
		return fmt.Errorf("status %d with Content-Type %q: %s", a.status, t, a.body)
	}
	if n, err := strconv.Atoi(a.header.Get("Content-Length")); err != nil || n != len(a.body) {
		return fmt.Errorf("status %d with a Content-Length of %q and %d bytes", a.status, a.header.Get("Content-Length"), len(a.body))
	}
	var doc struct {
		Errors []struct {
			Code, Message string
			Detail        any
		}
	}
	if err := json.Unmarshal([]byte(a.body), &doc); err != nil || len(doc.Errors) != 1 || doc.Errors[0].Message == "" {
		return fmt.Errorf("status %d with a malformed body, %v: %s", a.status, err, a.body)
	}
	if !regexp.MustCompile(`^[A-Z_]+$`).MatchString(doc.Errors[0].Code) {
		return fmt.Errorf("status %d with the code %q", a.status, doc.Errors[0].Code)
	}
	if doc.Errors[0].Code != a.code || named == "" {
		return fmt.Errorf("status %d with the code %q in the body and %q in the header", a.status, doc.Errors[0].Code, named)
	}
	a.message = doc.Errors[0].Message
	return nil
}

// want is what an answer must be.
type want struct {
	status int
	header fields // "": must not be there; after "~" a regular expression
	body   *string
	code   string // of an error
	says   string // part of its message
}

func text(s string) *string { return &s }

// expect does c and compares the answer.
func (in *instance) expect(c call, w want) answer {
	in.Helper()
	a := in.do(c)
	if a.status != w.status || a.code != w.code || !strings.Contains(a.message, w.says) {
		in.Errorf("%s %s: %d %s %q, want %d %s %q", c.method, c.path, a.status, a.code, a.message, w.status, w.code, w.says)
	}
	for k, v := range w.header {
		got := strings.Join(a.header.Values(k), ", ")
		if e, ok := strings.CutPrefix(v, "~"); ok {
			if !regexp.MustCompile("^(?:" + e + ")$").MatchString(got) {
				in.Errorf("%s %s: %s is %q, want it to match %s", c.method, c.path, k, got, e)
			}
		} else if got != v {
			in.Errorf("%s %s: %s is %q, want %q", c.method, c.path, k, got, v)
		}
	}
	if w.body != nil && a.body != *w.body {
		in.Errorf("%s %s: %d bytes, want %d: %.200q", c.method, c.path, len(a.body), len(*w.body), a.body)
	}
	return a
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
