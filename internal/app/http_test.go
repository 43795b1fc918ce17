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
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/registry"
	"github.com/sekisho/sekisho/internal/registry/ociserver"
)

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
