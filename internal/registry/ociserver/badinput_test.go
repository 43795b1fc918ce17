package ociserver_test

import (
	"strings"
	"testing"

	"github.com/sekisho/sekisho/internal/oci"
)

// TestNames: whatever stands where a repository's name should, no file and no other repository is reached by it.
func TestNames(t *testing.T) {
	in, _ := scene(t, setup{})
	for _, name := range []string{
		"a", "A/b", "team/App", "-a", "a-", "a_", "a..b", "a___b", "a.-b", "a/", "/a", "team//app", "team/./app", "team/../app", "../app", "..", "../../../../etc/passwd", "a b", "a+b", "a:b", "a@b", "~a", "a\\b", "a;b",
		"é", "a\x00b", "team/app\x00", "a\nb", "a\r\nX: y", "\xff\xfe", "\xc0\xae\xc0\xae/x", "team/app%2e", "%", "<script>", "123456789012", "123456789012/123456789012/x", account + "//app", account + "/../" + other + "/x",
		strings.Repeat("a", 257), strings.Repeat("a/", 128) + "aa", strings.Repeat("../", 5000) + "x", strings.Repeat("a", 10_000),
	} {
		invalid := want{status: 400, code: "NAME_INVALID", says: "repository name"}
		for _, c := range []call{
			{method: "GET", path: "/manifests/v1"}, {method: "HEAD", path: "/manifests/v1"}, {method: "DELETE", path: "/manifests/v1"}, {method: "PUT", path: "/manifests/v1", body: imageOf(oci.TypeImage, small)},
			{method: "GET", path: "/blobs/" + sum(small)}, {method: "DELETE", path: "/blobs/" + sum(small)}, {method: "GET", path: "/tags/list"}, {method: "GET", path: "/referrers/" + sum(small)},
			{method: "POST", path: "/blobs/uploads/"}, {method: "POST", path: "/blobs/uploads/?digest=" + sum("x"), body: "x"}, {method: "PATCH", path: "/blobs/uploads/x", body: "x"}, {method: "PUT", path: "/blobs/uploads/x?digest=" + sum("x"), body: "x"},
		} {
			c.path = "/v2/" + escape(name) + c.path
			in.expect(c, invalid)
		}
		in.expect(call{method: "POST", path: "/v2/team/app/blobs/uploads/?mount=" + sum(large) + "&from=" + escape(name)}, want{status: 202}) // whatever that is, it isn't there
	}
	in.nothingStaged()
	in.expect(call{method: "GET", path: "/v2/_catalog"}, want{status: 200, body: text(`{"repositories":["from","team/app"]}`)})
}

// escape writes every byte as a client may that has something in mind.
func escape(s string) string {
	const hex = "0123456789abcdef"
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c == '/' && i%2 == 0 {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}

// TestPaths: a path that is none of the table's is answered as such.
func TestPaths(t *testing.T) {
	in, _ := scene(t, setup{})
	for _, path := range []string{
		"x", "team/app", "team/app/", "team/app/manifests", "team/app/tags", "team/app/tags/", "team/app/tags/list/", "team/app/tags/all", "team/app/blobs", "team/app/referrers", "_catalog/", "_catalog/x", account + "/_catalog",
		"team/app/uploads/", "team/app/uploads/x", "team/app/blobs/uploads/x/", "team/app/blobs/uploads/x/y", "team/app/blobs/uploads//", "/", "//", ".", "..", "../healthz", "%2e%2e/healthz", "..%2fhealthz", "%2e%2e%2f..%2fetc/passwd",
		"%00", "team/app/manifests/v1%00/", "?", "?x=/v2/team/app/manifests/v1", strings.Repeat("x/", 20_000),
	} {
		for _, method := range []string{"GET", "PUT", "BREW"} {
			w := want{status: 404, code: "NAME_UNKNOWN", says: "nothing at this path"}
			if strings.HasPrefix(path, "?") { // the root with a query
				if w = (want{status: 200}); method != "GET" {
					w = want{status: 405, code: "UNSUPPORTED"}
				}
			}
			in.expect(call{method: method, path: "/v2/" + path}, w)
		}
	}
	for path, code := range map[string]string{
		"/v2/team/app/manifests/": "MANIFEST_INVALID", "/v2/team/app/manifests/..": "MANIFEST_INVALID", "/v2/team/app/manifests/%2e%2e": "MANIFEST_INVALID", "/v2/team/app/manifests/v1%00": "MANIFEST_INVALID",
		"/v2/team/app/manifests/%2e%2e%2fv1": "NAME_UNKNOWN", "/v2/team/app/blobs/..": "DIGEST_INVALID", "/v2/team/app/blobs/": "DIGEST_INVALID", "/v2/team/app/manifests/v1?": "",
		"/v2/team/app/manifests/" + strings.Repeat("x", 129): "MANIFEST_INVALID", "/v2/team/app/manifests/" + strings.Repeat("x", 30_000): "MANIFEST_INVALID",
	} {
		status := map[string]int{"": 200, "NAME_UNKNOWN": 404}[code]
		if status == 0 {
			status = 400
		}
		in.expect(call{method: "GET", path: path}, want{status: status, code: code})
	}
}

// TestDigests: a malformed digest is told from one that is not there, wherever it stands.
func TestDigests(t *testing.T) {
	in, location := scene(t, setup{})
	good := sum(small)
	for _, d := range []string{
		"sha256:", "sha256:" + good[8:], "sha256:" + strings.ToUpper(good[7:]), good + "0", good[:70], "SHA256:" + good[7:], "sha384:" + strings.Repeat("0", 96), "md5:" + strings.Repeat("0", 32),
		"sha512:" + good[7:], ":" + good[7:], "sha256::" + good[7:], "sha256:" + strings.Repeat("g", 64), "sha256:" + strings.Repeat("é", 32), good[:40] + "\x00" + good[41:], good + "\x00", good + "\n", " " + good,
		"sha256+b64u:x", "sha256:../../../../../../etc/passwd", good + ":", strings.Repeat("sha256:", 1000), ":", "sha256:" + strings.Repeat("0", 10_000),
	} {
		e := strings.ReplaceAll(escape(d), "/", "%2f")
		invalid := want{status: 400, code: "DIGEST_INVALID", says: "digest "}
		if strings.Contains(d, "/") {
			in.expect(call{method: "GET", path: "/v2/team/app/manifests/" + e}, want{status: 404, code: "NAME_UNKNOWN"})
		} else {
			for _, c := range []call{
				{method: "GET", path: "blobs"}, {method: "HEAD", path: "blobs"}, {method: "DELETE", path: "blobs"}, {method: "GET", path: "manifests"}, {method: "HEAD", path: "manifests"}, {method: "DELETE", path: "manifests"},
				{method: "PUT", path: "manifests", body: imageOf(oci.TypeImage, small)}, {method: "GET", path: "referrers"},
			} {
				c.path = "/v2/team/app/" + c.path + "/" + e
				in.expect(c, invalid)
			}
		}
		for _, c := range []call{
			{method: "POST", path: "/v2/team/app/blobs/uploads/?digest=" + e, body: "x"}, {method: "POST", path: "/v2/team/app/blobs/uploads/?from=from&mount=" + e}, {method: "PUT", path: location + "?digest=" + e, body: "x"},
		} {
			in.expect(c, invalid)
		}
	}
	for _, query := range []string{"", "?", "?Digest=" + good, "?digest", "?x=%zz&digest", "?digest=&digest=" + good} {
		in.expect(call{method: "PUT", path: location + query, body: "x"}, want{status: 400, code: "DIGEST_INVALID", says: "digest"})
	}
	in.nothingStaged()
}
