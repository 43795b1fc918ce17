package app_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/app"
	"github.com/sekisho/sekisho/internal/config"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/registry"
	"github.com/sekisho/sekisho/internal/registry/ociserver"
)

// whole is the whole server, in this process.
type whole struct {
	*client
	t    *testing.T
	in   *app.Instance
	dir  string
	addr string
	log  *lines
	end  func() error // stops the server as a signal does, and closes the instance; called again it does nothing
}

// lines is what was logged.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// serveWhole serves dir with settings like "SEKISHO_LIMITS_IDLE=1s" until the test ends, and then checks that no
// goroutine of it is left.
func serveWhole(t *testing.T, dir string, settings ...string) *whole {
	t.Helper()
	goroutines := runtime.NumGoroutine()
	loaded, err := config.Load(config.Options{Env: append([]string{
		"SEKISHO_DATA=" + dir, "SEKISHO_LISTEN=127.0.0.1:0", "SEKISHO_CREATE_ON_PUSH=true", "SEKISHO_GC_INTERVAL=0s", "SEKISHO_DOMAIN=registry.example", "SEKISHO_REGION=eu-west-1",
	}, settings...)})
	if err != nil {
		t.Fatal(err)
	}
	w := &whole{t: t, dir: dir, log: &lines{}}
	if w.in, err = app.Open(t.Context(), &loaded.Config, slog.New(slog.NewJSONHandler(w.log, nil)), app.Serve); err != nil {
		t.Fatal(err)
	}
	key, err := w.in.ReadRootKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ready, ran := make(chan string, 1), make(chan error, 1)
	go func() { ran <- w.in.Run(ctx, "test", func(addrs []string) { ready <- addrs[0] }) }()
	transport := &http.Transport{}
	var once sync.Once
	w.end = func() (err error) {
		once.Do(func() {
			stop()
			transport.CloseIdleConnections()
			err = errors.Join(<-ran, w.in.Close())
		})
		return err
	}
	t.Cleanup(func() {
		if err := w.end(); err != nil {
			t.Errorf("the end of the server: %v", err)
		}
		until(t, func() error {
			if n := runtime.NumGoroutine(); n > goroutines {
				buf := make([]byte, 1<<20)
				return fmt.Errorf("%d goroutines, there were %d:\n%s", n, goroutines, buf[:runtime.Stack(buf, true)])
			}
			return nil
		})
	})
	select {
	case w.addr = <-ready:
	case err := <-ran:
		t.Fatal(err)
	}
	w.client = &client{http: &http.Client{Transport: transport}, url: "http://" + w.addr, user: key.AccessKeyID, pass: key.SecretAccessKey}
	return w
}

// until waits until is returns nil.
func until(t *testing.T, is func() error) {
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

func (w *whole) dial() *net.TCPConn {
	w.t.Helper()
	c, err := net.Dial("tcp", w.addr)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		w.t.Fatal(err)
	}
	return c.(*net.TCPConn)
}

func (w *whole) authorization() string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(w.user+":"+w.pass))
}

// raw sends a request line as it stands, and returns the answer.
func (w *whole) raw(line, head, body string) (*http.Response, string) {
	w.t.Helper()
	c := w.dial()
	if _, err := io.WriteString(c, line+" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"+head+"\r\n"+body); err != nil {
		w.t.Fatal(err)
	}
	method, _, _ := strings.Cut(line, " ")
	resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		w.t.Fatalf("%s: %v", line, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatalf("%s: %v", line, err)
	}
	return resp, string(text)
}

// must is expect that ends the test.
func (w *whole) must(status int, method, path, contentType, body string) (http.Header, string) {
	w.t.Helper()
	h, got, err := w.expect(status, method, path, contentType, []byte(body))
	if err != nil {
		w.t.Fatal(err)
	}
	return h, string(got)
}

const ociImage = "application/vnd.oci.image.manifest.v1+json"

func imageOf(config string, note string) string {
	return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"a/b","digest":%q,"size":%d},"layers":[],"annotations":{"note":%q}}`, ociImage, sum([]byte(config)), len(config), note)
}

// TestOnePort: what is behind a path is decided by the path as it stands; no trick leads from one to the other, and who
// shows no credential finds nothing but the door.
func TestOnePort(t *testing.T) {
	w := serveWhole(t, filepath.Join(t.TempDir(), "data"))
	for _, tc := range []struct {
		line   string
		status int
		says   string // of the body
	}{
		{"GET /healthz", 200, "ok\n"},
		{"HEAD /healthz", 200, ""},
		{"GET /readyz", 200, "ok\n"},
		{"POST /healthz", 405, "use GET"},
		{"GET /v2", 401, "UNAUTHORIZED"},
		{"GET /v2/", 401, "UNAUTHORIZED"},
		{"GET /v2?x", 401, "UNAUTHORIZED"},
		{"GET http://elsewhere.example/v2/", 401, "UNAUTHORIZED"},
		{"GET /%76%32/", 401, "UNAUTHORIZED"}, // the same path, written another way
		{"GET /v2%2f", 401, "UNAUTHORIZED"},
		{"GET /v2/../healthz", 401, "UNAUTHORIZED"},
		{"GET /v2/%2e%2e/healthz", 401, "UNAUTHORIZED"},
		{"GET /v2/../../etc/passwd", 401, "UNAUTHORIZED"},
		{"GET /v2/team/app/manifests/v1", 401, "UNAUTHORIZED"},
		{"GET //v2/", 404, "the registry is at /v2/"},
		{"GET /V2/", 404, "the registry is at /v2/"},
		{"GET /v2x", 404, "the registry is at /v2/"},
		{"GET /healthz/", 404, "the registry is at /v2/"},
		{"GET /healthz/../v2/", 404, "the registry is at /v2/"},
		{"GET /./healthz", 404, "the registry is at /v2/"},
		{"GET /", 404, "the registry is at /v2/"},
		{"GET /%00", 404, "the registry is at /v2/"},
		{"GET /<script>", 404, `"/<script>"`}, // as plain text
		{"OPTIONS *", 404, ""},
		{"GET x", 400, ""},
		{"GET /%zz", 400, ""},
		{"GET /\x7f", 400, ""},
	} {
		resp, body := w.raw(tc.line, "", "")
		if resp.StatusCode != tc.status || !strings.Contains(body, tc.says) {
			t.Errorf("%s: %d %q, want %d %q", tc.line, resp.StatusCode, body, tc.status, tc.says)
		}
		if tc.status == 400 { // net/http's own
			continue
		}
		if resp.Header.Get("X-Request-Id") == "" {
			t.Errorf("%s: there is no X-Request-Id", tc.line)
		}
		if tc.status == 404 && (resp.Header.Get("Content-Type") != "text/plain; charset=utf-8" || resp.Header.Get("X-Content-Type-Options") != "nosniff") {
			t.Errorf("%s: %v", tc.line, resp.Header)
		}
		if tc.status == 401 && resp.Header.Get("Www-Authenticate") != `Basic realm="http://`+map[bool]string{true: "elsewhere.example", false: "localhost"}[strings.Contains(tc.line, "elsewhere")]+`/",service="ecr.amazonaws.com"` {
			t.Errorf("%s: %v", tc.line, resp.Header)
		}
	}
	if _, body := w.must(200, "GET", "/v2", "", ""); body != "{}" {
		t.Errorf("/v2: %s", body)
	}
}

// TestAddresses: the configured domain's host names lead to their accounts.
func TestAddresses(t *testing.T) {
	w := serveWhole(t, filepath.Join(t.TempDir(), "data"))
	w.must(202, "POST", "/v2/team/app/blobs/uploads/", "", "")
	for host, want := range map[string]int{
		w.in.Account + ".dkr.ecr.eu-west-1.registry.example": 200, "000000000000.dkr.ecr.eu-west-1.registry.example": 403, "000000000000.dkr.ecr.us-east-1.registry.example": 200, "localhost": 200,
	} {
		req, err := http.NewRequest("GET", w.url+"/v2/team/app/tags/list", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		req.SetBasicAuth(w.user, w.pass)
		resp, err := w.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: status %d, want %d", host, resp.StatusCode, want)
		}
	}
}

// TestLog: one event a request, under the id that its client got, and no secret in any.
func TestLog(t *testing.T) {
	w := serveWhole(t, filepath.Join(t.TempDir(), "data"))
	w.must(201, "POST", "/v2/team/app/blobs/uploads/?digest="+sum([]byte("x")), "", "x")
	principal := &iam.Principal{Account: w.in.Account, ARN: iam.RootARN(w.in.Account), Type: iam.Root, AccessKeyID: w.user}
	token, _, err := w.in.IAM.IssueToken(t.Context(), principal.Caller())
	if err != nil {
		t.Fatal(err)
	}
	links := &ociserver.Links{Key: bytes.Repeat([]byte("k"), 32), Keys: w.in.IAM, Now: time.Now} // another key: what is refused is logged too
	link := links.Sign(principal.Caller(), registry.Repo{Account: w.in.Account, Name: "team/app"}, digest.FromString("x"))
	_, signature, _ := strings.Cut(link, "Sekisho-Signature=")
	bearer := base64.StdEncoding.EncodeToString([]byte("AWS:" + token))
	ids := map[string]bool{}
	for _, tc := range []struct{ line, head string }{
		{"GET /v2/", "Authorization: " + w.authorization() + "\r\n"},
		{"GET /v2/team/app/tags/list?n=1&last=a", "Authorization: Basic " + bearer + "\r\n"},
		{"GET /v2/team/app/tags/list?token=" + token, "Authorization: Basic " + bearer + "x\r\n"},
		{"GET /v2/team/app/manifests/v1", "Authorization: Bearer " + token + "\r\nCookie: a=" + w.pass + "\r\n"},
		{"GET " + link, ""},
		{"PUT /v2/team/app/blobs/uploads/x?digest=x&x-amz-signature=" + signature, "Authorization: " + w.authorization() + "\r\nContent-Length: 0\r\n"},
		{"GET /v2/%0a%22%7d/tags/list", "Authorization: " + w.authorization() + "\r\n"},
		{"GET /v2/" + strings.Repeat("x", 20_000) + "/tags/list", "Authorization: " + w.authorization() + "\r\n"},
	} {
		resp, body := w.raw(tc.line, tc.head, "")
		ids[resp.Header.Get("X-Request-Id")] = true
		for _, secret := range []string{w.pass, token, signature, bearer} {
			if strings.Contains(body, secret) || strings.Contains(fmt.Sprint(resp.Header), secret) {
				t.Errorf("%s: the answer has a secret", tc.line)
			}
		}
	}
	if err := w.end(); err != nil {
		t.Fatal(err)
	}
	log := w.log.String()
	for _, secret := range []string{w.pass, token, signature, bearer} {
		if strings.Contains(log, secret) {
			t.Errorf("the log has a secret: %s", log)
		}
	}
	for line := range strings.Lines(log) {
		var event struct {
			Msg       string
			RequestID string `json:"request_id"`
		}
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			t.Errorf("%v: %s", err, line)
		}
		if len(line) > 4096 {
			t.Errorf("a line of %d bytes", len(line))
		}
		if event.Msg == "request" {
			delete(ids, event.RequestID)
		}
	}
	if len(ids) > 0 {
		t.Errorf("requests that are not logged: %v", ids)
	}
}

// TestLimits: the settings are those of the server.
func TestLimits(t *testing.T) {
	w := serveWhole(t, filepath.Join(t.TempDir(), "data"), "SEKISHO_LIMITS_HEADER=200ms", "SEKISHO_LIMITS_IDLE=1200ms", "SEKISHO_LIMITS_LAYER=1MiB", "SEKISHO_LIMITS_UPLOADS=2")
	auth := "Authorization: " + w.authorization() + "\r\n"
	h, _ := w.must(202, "POST", "/v2/team/app/blobs/uploads/", "", "")
	for _, tc := range []struct {
		name, line, head, body string
		status                 int
	}{
		{"large header", "GET /v2/", "A: " + strings.Repeat("a", 80<<10) + "\r\n", "", 431},
		{"large layer", "PUT " + h.Get("Location") + "?digest=" + sum(nil), auth + "Content-Length: 1048577\r\n", "", 413},
		{"large manifest", "PUT /v2/team/app/manifests/v1", auth + "Content-Length: 4194305\r\n", "", 413},
		{"stalled body", "PATCH " + h.Get("Location"), auth + "Content-Length: 100\r\n", "12345", 408},
		{"body cut short", "PATCH " + h.Get("Location"), auth + "Transfer-Encoding: chunked\r\n", "zz\r\n", 400},
	} {
		if resp, body := w.raw(tc.line, tc.head, tc.body); resp.StatusCode != tc.status {
			t.Errorf("%s: %d %s, want %d", tc.name, resp.StatusCode, body, tc.status)
		}
	}
	c := w.dial()
	if _, err := io.WriteString(c, "GET /v2/ HTTP/1.1\r\nHost: x\r\n"); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(c); err != nil || len(b) > 0 {
		t.Errorf("a header that never ends: %q, %v", b, err)
	}
	status := []int{}
	for range 3 { // one is there
		h, _ := w.must(202, "POST", "/v2/team/app/blobs/uploads/", "", "")
		s, _, _, err := w.do("PATCH", h.Get("Location"), "", []byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		status = append(status, s)
	}
	if diff := cmp.Diff([]int{202, 429, 429}, status); diff != "" {
		t.Errorf("uploads beyond the limit: %s", diff)
	}
}

// TestDrain: a stop lets an upload end; one that doesn't is cut off, and can be gone on with after the next start.
func TestDrain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	w := serveWhole(t, dir, "SEKISHO_SHUTDOWN_GRACE=30s")
	h, _ := w.must(202, "POST", "/v2/team/app/blobs/uploads/", "", "")
	location, data := h.Get("Location"), strings.Repeat("0123456789", 100_000)
	patch := func(w *whole, at, upTo int) *net.TCPConn {
		t.Helper()
		c := w.dial()
		if _, err := fmt.Fprintf(c, "PATCH %s HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nContent-Length: %d\r\n\r\n%s", location, w.authorization(), len(data)-at, data[at:upTo]); err != nil {
			t.Fatal(err)
		}
		until(t, func() error { // until the server has begun with it
			if n := stagedBytes(t, dir); n <= int64(at) {
				return fmt.Errorf("%d bytes are staged", n)
			}
			return nil
		})
		return c
	}
	c := patch(w, 0, 500_000)
	ended := make(chan error, 1)
	go func() { ended <- w.end() }()
	until(t, func() error {
		if probe, err := net.Dial("tcp", w.addr); err == nil {
			_ = probe.Close()
			return errors.New("the server still accepts")
		}
		return nil
	})
	if _, err := io.WriteString(c, data[500_000:700_000]); err != nil {
		t.Fatal(err)
	}
	_ = c.CloseWrite() // the client ends in the middle
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || resp.StatusCode != 400 {
		t.Fatalf("%v, %v", resp, err)
	}
	_ = c.Close()
	if err := <-ended; err != nil {
		t.Errorf("the end of the server: %v", err)
	}

	w = serveWhole(t, dir, "SEKISHO_SHUTDOWN_GRACE=100ms")
	h, _ = w.must(204, "GET", location, "", "")
	if got := h.Get("Range"); got != "0-699999" {
		t.Fatalf("after a restart the upload has %s", got)
	}
	c = patch(w, 700_000, 900_000)
	if err := w.end(); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the end of the server: %v, want that the time was up", err)
	}
	_ = c.Close()
	w = serveWhole(t, dir)
	h, _ = w.must(204, "GET", location, "", "")
	var last int
	if _, err := fmt.Sscanf(h.Get("Range"), "0-%d", &last); err != nil || last < 699_999 || last > 899_999 {
		t.Fatalf("after it was cut off the upload has %s", h.Get("Range"))
	}
	w.must(201, "PUT", location+"?digest="+sum([]byte(data)), "", data[last+1:])
	if _, got := w.must(200, "GET", "/v2/team/app/blobs/"+sum([]byte(data)), "", ""); got != data {
		t.Error("the blob is not what was pushed")
	}
	if n := stagedBytes(t, dir); n != 0 {
		t.Errorf("%d bytes are left", n)
	}
}

// stagedBytes is what the files of uploads have.
func stagedBytes(t *testing.T, dir string) (n int64) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, "uploads"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		n += info.Size()
	}
	return n
}

// TestFull: where files can't grow any more, neither the database's nor the layers', pushes are refused with 507 and
// everything else goes on; once they can, so do pushes. All that was acknowledged is there after a restart.
func TestFull(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	w := serveWhole(t, dir)
	acknowledged := map[string]string{} // by path
	blob := func(data string) int {
		t.Helper()
		status, _, answer, err := w.do("POST", "/v2/team/app/blobs/uploads/?digest="+sum([]byte(data)), "", []byte(data))
		if err != nil {
			t.Fatal(err)
		}
		if status == 201 {
			acknowledged["blobs/"+sum([]byte(data))] = data
		} else if !strings.Contains(string(answer), "no room left") {
			t.Fatalf("%d %s", status, answer)
		}
		return status
	}
	image := func(note string) int {
		t.Helper()
		data := imageOf("config", note)
		status, _, answer, err := w.do("PUT", "/v2/team/app/manifests/"+sum([]byte(data)), ociImage, []byte(data))
		if err != nil {
			t.Fatal(err)
		}
		if status == 201 {
			acknowledged["manifests/"+sum([]byte(data))] = data
		} else if !strings.Contains(string(answer), "no room left") {
			t.Fatalf("%d %s", status, answer)
		}
		return status
	}
	reads := func() {
		t.Helper()
		for path, data := range acknowledged {
			if _, got := w.must(200, "GET", "/v2/team/app/"+path, "", ""); got != data {
				t.Errorf("%s is not what was pushed", path)
			}
		}
		for _, path := range []string{"/healthz", "/v2/", "/v2/_catalog", "/v2/team/app/tags/list"} {
			w.must(200, "GET", path, "", "")
		}
	}
	if s := blob("config"); s != 201 {
		t.Fatalf("status %d", s)
	}
	if s := blob(strings.Repeat("large", 20_000)); s != 201 {
		t.Fatalf("status %d", s)
	}
	limitFiles(t, largestFile(t, dir)+256<<10)
	refused := map[string]bool{}
	for i := 0; len(refused) < 3 && i < 500; i++ {
		note := fmt.Sprintf("%d %s", i, strings.Repeat("x", 10_000))
		if blob(note) == 507 {
			refused["small"] = true
		}
		if blob(note+strings.Repeat("y", 5<<20)) == 507 {
			refused["large"] = true
		}
		if image(note) == 507 {
			refused["manifest"] = true
		}
	}
	if len(refused) < 3 {
		t.Errorf("only these were refused: %v", refused)
	}
	for range 20 {
		reads()
	}
	limitFiles(t, 0)
	for _, status := range []int{blob("again"), blob(strings.Repeat("again", 2<<20)), image("again")} {
		if status != 201 {
			t.Errorf("once there was room: status %d", status)
		}
	}
	reads()
	if n := stagedBytes(t, dir); n != 0 {
		t.Errorf("%d bytes are left of uploads", n)
	}
	if err := w.end(); err != nil {
		t.Errorf("the end of the server: %v", err)
	}
	w = serveWhole(t, dir)
	reads()
	t.Logf("%d pushes were acknowledged", len(acknowledged))
}

// limitFiles lets no file of this process grow beyond size, 0 for no limit.
func limitFiles(t *testing.T, size int64) {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Cur = limit.Max; size > 0 {
		limit.Cur = uint64(size)
		t.Cleanup(func() { limitFiles(t, 0) })
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
}

func largestFile(t *testing.T, dir string) int64 {
	t.Helper()
	var sizes []int64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			sizes = append(sizes, info.Size())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return slices.Max(sizes)
}
