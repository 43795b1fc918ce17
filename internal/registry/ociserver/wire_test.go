package ociserver_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/httpx"
	"github.com/sekisho/sekisho/internal/oci"
	"github.com/sekisho/sekisho/internal/registry"
)

// brokenBodies are the requests whose bodies break off; of most nothing stays, of a PATCH what came.
var brokenBodies = []struct {
	name   string
	line   func(location string) string
	head   string
	body   string // sent
	length int    // promised
	stays  []int64
}{
	{"small PUT", func(l string) string { return "PUT " + l + "?digest=" + sum(small) }, "", small[:50], 100, nil},
	{"large PUT", func(l string) string { return "PUT " + l + "?digest=" + sum(large) }, "", large[:60_000], 100_000, nil},
	{"small POST", func(string) string { return "POST /v2/team/app/blobs/uploads/?digest=" + sum(small) }, "", small[:50], 100, nil},
	{"large POST", func(string) string { return "POST /v2/team/app/blobs/uploads/?digest=" + sum(large) }, "", large[:60_000], 100_000, nil},
	{"PUT without a byte", func(l string) string { return "PUT " + l + "?digest=" + sum(large) }, "", "", 100_000, nil},
	{"manifest", func(string) string { return "PUT /v2/team/app/manifests/v2" }, "Content-Type: " + oci.TypeImage, `{"schemaVersion":2,`, 1000, nil},
	{"PATCH without a byte", func(l string) string { return "PATCH " + l }, "", "", 100_000, nil},
	{"small PATCH", func(l string) string { return "PATCH " + l }, "", small[:50], 100, []int64{50}},
	{"large PATCH", func(l string) string { return "PATCH " + l }, "Content-Range: 0-999999", large[:60_000], 1_000_000, []int64{60_000}},
}

// TestBodyCutShort: a body shorter than its stated length is told so, if the client still listens, and leaves nothing
// but what a PATCH is resumed with.
func TestBodyCutShort(t *testing.T) {
	in, _ := scene(t, setup{})
	for _, tc := range brokenBodies {
		for head, frame := range map[string]string{fmt.Sprintf("Content-Length: %d", tc.length): "", "Transfer-Encoding: chunked": fmt.Sprintf("%x\r\n", tc.length)} {
			t.Run(tc.name+", "+head, func(t *testing.T) {
				in := in.with(t)
				r := in.before()
				location := startUpload(in)
				c := in.dial().send(tc.line(location), strings.TrimSpace(head+"\r\n"+tc.head), frame+tc.body)
				_ = c.CloseWrite()
				method, _, _ := strings.Cut(tc.line(""), " ")
				c.wants(method, 400, "SIZE_INVALID")
				_ = c.Close()
				in.after(r, tc.stays...)
				in.expect(call{method: "DELETE", path: location}, want{status: 204})
			})
		}
	}
}

// TestBodyStalls: the same for a client that stays and says nothing more. (Deadlines of answers move once a second.)
func TestBodyStalls(t *testing.T) {
	for _, tc := range brokenBodies {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			in, location := scene(t, setup{limits: httpx.Limits{Idle: 1200 * time.Millisecond}})
			c := in.dial().send(tc.line(location), strings.TrimSpace(fmt.Sprintf("Content-Length: %d\r\n%s", tc.length, tc.head)), tc.body)
			method, _, _ := strings.Cut(tc.line(""), " ")
			c.wants(method, 408, "SIZE_INVALID")
			if _, err := c.r.ReadByte(); err != io.EOF {
				t.Errorf("the connection is still open: %v", err)
			}
			if diff := cmp.Diff(append([]int64{}, tc.stays...), in.staged()); diff != "" {
				t.Error("uploads: " + diff)
			}
			in.onlyKnownFiles()
		})
	}
}

// TestBodyDrops: the same for a client whose connection breaks.
func TestBodyDrops(t *testing.T) {
	in, _ := scene(t, setup{})
	for _, tc := range brokenBodies {
		t.Run(tc.name, func(t *testing.T) {
			in := in.with(t)
			r := in.before()
			location := startUpload(in)
			for i := range 6 {
				c := in.dial().send(tc.line(location), strings.TrimSpace(fmt.Sprintf("Content-Length: %d\r\n%s", tc.length, tc.head)), tc.body)
				if len(tc.stays) > 0 { // of a second one nothing would be taken
					_ = c.Close()
					break
				}
				if i%2 == 0 {
					c.reset()
				} else {
					_ = c.Close()
				}
			}
			in.after(r, tc.stays...)
			in.expect(call{method: "DELETE", path: location}, want{status: 204})
		})
	}
}

// TestBusy: while one request writes to an upload another is told to wait, and spoils nothing.
func TestBusy(t *testing.T) {
	in, location := scene(t, setup{})
	r := in.before()
	data := content(9, 300_000)
	c := in.dial().send("PATCH "+location, "Content-Length: 300000", data[:200_000])
	eventually(t, func() error {
		if n := in.staged(); len(n) != 1 || n[0] == 0 {
			return fmt.Errorf("the upload has %d bytes", n)
		}
		return nil
	})
	busy := want{status: 409, code: "BLOB_UPLOAD_INVALID", says: "another request is writing"}
	in.expect(call{method: "PATCH", path: location, body: data}, busy)
	in.expect(call{method: "PUT", path: location + "?digest=" + sum(data), body: data}, busy)
	in.expect(call{method: "DELETE", path: location}, busy)
	in.expect(call{method: "GET", path: location}, want{status: 204}) // what is durable by now
	if _, err := io.WriteString(c, data[200_000:]); err != nil {
		t.Fatal(err)
	}
	c.wants("PATCH", 202, "")
	_ = c.Close()
	in.expect(call{method: "PUT", path: location + "?digest=" + sum(data)}, done(sum(data)))
	in.after(r)
}

// TestResume: a stream that broke is gone on with from where its status says.
func TestResume(t *testing.T) {
	in, location := scene(t, setup{})
	r := in.before()
	data := content(3, 3_000_000)
	at := 0
	for _, upTo := range []int{1, 100_000, 1_500_000, 1_500_001, 2_999_999} {
		c := in.dial().send("PATCH "+location, fmt.Sprintf("Content-Range: %s\r\nContent-Length: %d", contentRange(at, len(data)-at), len(data)-at), data[at:upTo])
		_ = c.CloseWrite()
		c.wants("PATCH", 400, "SIZE_INVALID")
		_ = c.Close()
		a := in.expect(call{method: "GET", path: location}, progress(204, upTo))
		if _, err := fmt.Sscanf(a.header.Get("Range"), "0-%d", &at); err != nil {
			t.Fatal(err)
		}
		at++
		location = a.header.Get("Location")
	}
	in.expect(call{method: "PATCH", path: location, body: data[at:], header: fields{"Content-Range": contentRange(at, len(data)-at)}}, progress(202, len(data)))
	in.expect(call{method: "PUT", path: location + "?digest=" + sum(data)}, done(sum(data)))
	in.after(r)
}

// TestMalformedChunks: the transfer's own chunks, not the upload's.
func TestMalformedChunks(t *testing.T) {
	in, _ := scene(t, setup{})
	r := in.before()
	for _, body := range []string{"zz\r\n", "-1\r\nx\r\n0\r\n\r\n", "\r\n\r\n", "ffffffffffffffffff\r\nx", "5;" + strings.Repeat("x", 100_000) + "\r\n12345\r\n0\r\n\r\n", "5\r\n1234567\r\n0\r\n\r\n", "0x5\r\n12345\r\n0\r\n\r\n", "5\r\n12345\n0\n\n\x00"} {
		for _, line := range []string{"PUT " + startUpload(in) + "?digest=" + sum("12345"), "POST /v2/team/app/blobs/uploads/?digest=" + sum("12345"), "PUT /v2/team/app/manifests/v2"} {
			c := in.dial().send(line, "Transfer-Encoding: chunked", body)
			_ = c.CloseWrite()
			if a := c.receive("PUT"); a.status != 400 || a.code != "SIZE_INVALID" {
				t.Errorf("%.20q: %d %s %q", body, a.status, a.code, a.message)
			}
			_ = c.Close()
		}
	}
	in.after(r)
}

// TestMoreThanPromised: what follows a body is the next request, and only that.
func TestMoreThanPromised(t *testing.T) {
	in, location := scene(t, setup{})
	r := in.before()
	c := in.dial().send("PUT "+location+"?digest="+sum("12345"), "Content-Length: 5", "12345GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n6789 / x\r\n\r\n")
	c.wants("PUT", 201, "")
	c.wants("GET", 401, "UNAUTHORIZED") // it has no credential: the first one's is not its
	if resp, err := http.ReadResponse(c.r, nil); err != nil || resp.StatusCode != 400 {
		t.Errorf("%v, %v", resp, err)
	}
	_ = c.Close()
	in.after(r)
}

// TestTwoLengths: of Transfer-Encoding and Content-Length the first counts, and nothing can be smuggled in between.
func TestTwoLengths(t *testing.T) {
	in, _ := scene(t, setup{})
	for _, tc := range []struct{ head, body, says string }{
		{"Content-Length: 5\r\nTransfer-Encoding: chunked", "5\r\n12345\r\n0\r\n\r\n", "201"},
		{"Content-Length: 5\r\nContent-Length: 6", "123456", "400"},
		{"Content-Length: 5, 5", "12345", "400"},
		{"Content-Length: +5", "12345", "400"},
		{"Content-Length: -5", "12345", "400"},
		{"Content-Length: 0x5", "12345", "400"},
		{"Content-Length: 99999999999999999999", "12345", "400"},
		{"Transfer-Encoding: gzip, chunked", "5\r\n12345\r\n0\r\n\r\n", "501"},
		{"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", "5\r\n12345\r\n0\r\n\r\n", "501"},
		{"Transfer-Encoding : chunked", "5\r\n12345\r\n0\r\n\r\n", "400"},
	} {
		c := in.dial().send("POST /v2/team/app/blobs/uploads/?digest="+sum("12345"), tc.head, tc.body)
		line, err := c.r.ReadString('\n')
		if err != nil || !strings.HasPrefix(line, "HTTP/1.1 "+tc.says) {
			t.Errorf("%q: %q, %v, want %s", tc.head, line, err, tc.says)
		}
		_ = c.Close()
	}
	in.nothingStaged()
}

// TestHugeLength: what can't be kept is refused before it is sent.
func TestHugeLength(t *testing.T) {
	in, location := scene(t, setup{registry: registry.Options{MaxBlob: 1 << 20}})
	r := in.before()
	for line, code := range map[string]string{
		"PUT " + location + "?digest=" + sum(large):                  "SIZE_INVALID",
		"POST /v2/team/app/blobs/uploads/?digest=" + sum(large):      "SIZE_INVALID",
		"PUT /v2/team/app/manifests/v1":                              "SIZE_INVALID",
		"PUT /v2/team/app/manifests/" + sum(imageOf("a/b", "", "x")): "SIZE_INVALID",
	} {
		method, _, _ := strings.Cut(line, " ")
		for _, n := range []string{"5000000", "4611686018427387904", "9223372036854775807"} {
			c := in.dial().send(line, "Expect: 100-continue\r\nContent-Length: "+n, "")
			c.wants(method, 413, code)
			_ = c.Close()
		}
	}
	// Without a length it shows on the way; what fits of a PATCH stays and can't be completed.
	more := content(1, 1<<20+1)
	tooLarge := want{status: 413, code: "SIZE_INVALID", says: "1048576 bytes"}
	in.expect(call{method: "POST", path: "/v2/team/app/blobs/uploads/?digest=" + sum(more), reader: unsized(more)}, tooLarge)
	in.nothingStaged()
	in.expect(call{method: "PATCH", path: location, body: more}, tooLarge)
	in.expect(call{method: "PUT", path: location + "?digest=" + sum(more), body: more[1<<19:]}, tooLarge)
	in.expect(call{method: "DELETE", path: location}, want{status: 204})
	in.expect(call{method: "POST", path: "/v2/team/app/blobs/uploads/?digest=" + sum(more[1:]), body: more[1:]}, want{status: 201})
	in.after(r)
}

// TestHeaders: their size and the time they take have bounds.
func TestHeaders(t *testing.T) {
	in, _ := scene(t, setup{server: httpx.ServerOptions{HeaderTimeout: 200 * time.Millisecond}})
	r := in.before()
	for name, tc := range map[string]struct{ raw, want string }{
		"one large":         {"GET /v2/ HTTP/1.1\r\nHost: x\r\nA: " + strings.Repeat("a", 80<<10) + "\r\n\r\n", "HTTP/1.1 431 "},
		"many":              {"GET /v2/ HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("A: b\r\n", 20<<10) + "\r\n", "HTTP/1.1 431 "},
		"a long path":       {"GET /v2/" + strings.Repeat("a", 80<<10) + " HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 431 "},
		"a long credential": {"GET /v2/ HTTP/1.1\r\nHost: x\r\nAuthorization: Basic " + strings.Repeat("a", 60<<10) + "\r\n\r\n", "HTTP/1.1 401 "},
		"NUL in a path":     {"GET /v2/\x00 HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 400 "},
		"NUL in a header":   {"GET /v2/ HTTP/1.1\r\nHost: x\r\nA: \x00\r\n\r\n", "HTTP/1.1 400 "},
		"no host":           {"GET /v2/ HTTP/1.1\r\n\r\n", "HTTP/1.1 400 "},
		"two hosts":         {"GET /v2/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "HTTP/1.1 400 "},
		"odd host":          {"GET /v2/ HTTP/1.1\r\nHost: a\"b\r\n\r\n", "HTTP/1.1 400 "},
		"not HTTP":          {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", ""},
		"HTTP/0.9":          {"GET /v2/\r\n\r\n", "HTTP/1.1 400 "},
		"HTTP/1.0":          {"GET /v2/ HTTP/1.0\r\n\r\n", "HTTP/1.0 401 "},
		"slow":              {"GET /v2/ HTTP/1.1\r\nHost: x\r\nA: b\r\n", ""},
		"nothing":           {"", ""},
	} {
		c := in.dial()
		if _, err := io.WriteString(c, tc.raw); err != nil {
			t.Logf("%s: %v", name, err)
		}
		line, err := c.r.ReadString('\n')
		if !strings.HasPrefix(line, tc.want) || tc.want == "" && err == nil && !strings.HasPrefix(line, "HTTP/1.1 400 ") {
			t.Errorf("%s: %q, %v", name, line, err)
		}
		_ = c.Close()
	}
	in.after(r)
}

// TestRefusedBeforeBody: a body that nobody will read is not asked for.
func TestRefusedBeforeBody(t *testing.T) {
	in, location := scene(t, setup{})
	r := in.before()
	for line, status := range map[string]int{
		"PUT /v2/team/app/blobs/uploads/x?digest=" + sum("x"): 404, "PATCH /v2/" + other + "/team/app/blobs/uploads/x": 403, "PUT /v2/A/manifests/v1": 400, "PUT " + location: 400, "POST /v2/": 405,
	} {
		method, _, _ := strings.Cut(line, " ")
		c := in.dial().send(line, "Expect: 100-continue\r\nContent-Length: 1000000", "")
		if a := c.receive(method); a.status != status {
			t.Errorf("%s: status %d, want %d", line, a.status, status)
		}
		_ = c.Close()
	}
	in.after(r)
}

// TestReaderDrops: clients that go while they are sent something.
func TestReaderDrops(t *testing.T) {
	in, _ := scene(t, setup{})
	huge := content(5, 20_000_000)
	in.push("team/app", huge)
	r := in.before()
	var conns []*conn
	for range 10 {
		c := in.dial().send("GET /v2/team/app/blobs/"+sum(huge), "", "")
		if _, err := io.ReadFull(c.r, make([]byte, 100_000)); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	for i, c := range slices.Backward(conns) {
		if i%2 == 0 {
			c.reset()
		} else {
			_ = c.Close()
		}
	}
	in.after(r)
}
