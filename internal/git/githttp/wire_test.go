package githttp_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/sekisho/sekisho/internal/git"
	"github.com/sekisho/sekisho/internal/iam"
)

// ask sends a request as a user, "" for nobody, and returns status, header and body.
func (w *world) ask(user, method, path string, header http.Header, body io.Reader) (int, http.Header, string) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, body)
	if err != nil {
		w.t.Fatal(err)
	}
	for k, v := range header {
		req.Header[k] = v
	}
	if user != "" {
		req.SetBasicAuth(user, "secret")
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return res.StatusCode, res.Header, string(text)
}

func TestWire(t *testing.T) {
	w := newWorld(t, nil)
	w.create(app)
	dir := w.workTree("root", "team/app")
	must(t, dir, "push", "-q", "origin", "main")
	w.admit = func(c *iam.Caller, _ string) error {
		if c.Endpoint != "vpce-0123456789" {
			return errors.New("the private endpoint does not lead to git")
		}
		return nil
	}
	const base = "/git/team/app.git"
	upload := http.Header{"Content-Type": {"application/x-git-upload-pack-request"}}
	receive := http.Header{"Content-Type": {"application/x-git-receive-pack-request"}}
	for _, c := range []struct {
		name, user, method, path string
		header                   http.Header
		body                     string
		status                   int
		text                     string
	}{
		{"anonymous", "", "GET", base + "/info/refs?service=git-upload-pack", nil, "", 401, "no credential"},
		{"anonymous, no repository", "", "GET", "/git/x/y/info/refs", nil, "", 401, "no credential"},
		{"refs", "root", "GET", base + "/info/refs?service=git-upload-pack", nil, "", 200, "001e# service=git-upload-pack\n0000"},
		{"refs, version 2", "root", "GET", base + "/info/refs?service=git-upload-pack", http.Header{"Git-Protocol": {"version=2"}}, "", 200, "version 2"},
		{"refs, unknown version", "root", "GET", base + "/info/refs?service=git-upload-pack", http.Header{"Git-Protocol": {"version=9; touch /tmp/x"}}, "", 200, "001e# service"},
		{"refs to push", "root", "GET", base + "/info/refs?service=git-receive-pack", nil, "", 200, "001f# service=git-receive-pack\n0000"},
		{"dumb", "root", "GET", base + "/info/refs", nil, "", 403, "dumb"},
		{"dumb objects", "root", "GET", base + "/objects/info/packs", nil, "", 403, "dumb"},
		{"another service", "root", "GET", base + "/info/refs?service=git-shell", nil, "", 403, "are the services"},
		{"lfs", "root", "POST", base + "/info/lfs/objects/batch", nil, "", 501, `{"message":"Git LFS is not supported`},
		{"nothing", "root", "GET", base + "/settings", nil, "", 404, "there is nothing here"},
		{"bad name", "root", "GET", "/git/../x/info/refs?service=git-upload-pack", nil, "", 404, "there is nothing here"},
		{"bad name", "root", "GET", "/git/team/%2e%2e/info/refs?service=git-upload-pack", nil, "", 404, "there is nothing here"},
		{"wrong method", "root", "GET", base + "/git-upload-pack", nil, "", 405, "use POST"},
		{"wrong type", "root", "POST", base + "/git-upload-pack", nil, "", 415, "application/x-git-upload-pack-request"},
		{"compression", "root", "POST", base + "/git-upload-pack", http.Header{"Content-Type": upload["Content-Type"], "Content-Encoding": {"br"}}, "x", 415, "gzip"},
		{"not gzip", "root", "POST", base + "/git-upload-pack", http.Header{"Content-Type": upload["Content-Type"], "Content-Encoding": {"gzip"}}, "xxxxxxxxxxxxxxxxx", 400, "gzip"},
		{"probe", "root", "POST", base + "/git-receive-pack", receive, "0000", 200, ""},
		{"no packet", "root", "POST", base + "/git-receive-pack", receive, "zzzz", 400, "packet format"},
		{"no command", "root", "POST", base + "/git-receive-pack", receive, "0009hello0000", 400, "packet format"},
		{"cut off", "root", "POST", base + "/git-receive-pack", receive, "00", 400, "packet format"},
		{"other hash", "root", "POST", base + "/git-receive-pack", receive,
			"0000", 200, ""},
		{"not allowed", "nobody", "POST", base + "/git-receive-pack", receive, "0000", 403, "git:Pull"},
		{"through an endpoint", "root", "GET", base + "/info/refs?service=git-upload-pack", http.Header{"Test-Endpoint": {"vpce-0123456789"}}, "", 200, "# service"},
		{"through another", "root", "GET", base + "/info/refs?service=git-upload-pack", http.Header{"Test-Endpoint": {"vpce-999999999"}}, "", 403, "does not lead to git"},
	} {
		status, header, text := w.ask(c.user, c.method, c.path, c.header, strings.NewReader(c.body))
		if status != c.status || !strings.Contains(text, c.text) {
			t.Errorf("%s: %d %q, want %d %q", c.name, status, text, c.status, c.text)
		}
		if status == 401 && !strings.HasPrefix(header.Get("WWW-Authenticate"), "Basic realm=") {
			t.Errorf("%s: no challenge", c.name)
		}
	}
	if status, _, text := w.ask("root", "POST", base+"/git-receive-pack", receive, strings.NewReader("0000")); status != 200 || text != "" {
		t.Errorf("%d %q", status, text)
	}
	// A small body that becomes a large one.
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	for range 2000 {
		if _, err := z.Write(bytes.Repeat([]byte("0032have 1234567890123456789012345678901234567890\n"), 1000)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	status, _, text := w.ask("root", "POST", base+"/git-upload-pack", http.Header{"Content-Type": upload["Content-Type"], "Content-Encoding": {"gzip"}}, &bomb)
	if status != 413 && status != 400 { // git may be the first to have enough
		t.Errorf("a bomb: %d %q", status, text)
	}
}

// An unwanted push is read to its end, so that the client sees why; with 100-continue it is asked for all the same.
func TestExpect(t *testing.T) {
	w := newWorld(t, nil)
	w.create(app)
	u, err := url.Parse(w.url)
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	// Nobody's request is refused without its body.
	_, err = io.WriteString(c, "POST /git/team/app/git-receive-pack HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-git-receive-pack-request\r\nExpect: 100-continue\r\nContent-Length: 1000000\r\n\r\n")
	if err != nil {
		t.Fatal(err)
	}
	head := make([]byte, 12)
	if _, err := io.ReadFull(c, head); err != nil || string(head) != "HTTP/1.1 401" {
		t.Errorf("%q, %v", head, err)
	}
}

func TestNoProgram(t *testing.T) {
	w := newWorld(t, func(o *git.Options) { o.Program = "git-is-not-here" })
	w.create(app)
	for _, path := range []string{"/info/refs?service=git-upload-pack", "/info/refs?service=git-receive-pack"} {
		status, _, text := w.ask("root", "GET", "/git/team/app"+path, nil, nil)
		if status != 503 || !strings.Contains(text, "git-is-not-here is not there on the server") {
			t.Errorf("%d %q", status, text)
		}
	}
	fails(t, t.TempDir(), []string{"503", "remote: git repositories are not served: the program git-is-not-here is not there"}, "clone", w.remote("root", "team/app"))
}
