package ociserver_test

import (
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sekisho/sekisho/internal/blob/mem"
	"github.com/sekisho/sekisho/internal/oci"
	"github.com/sekisho/sekisho/internal/registry"
)

// FuzzRequest feeds whole requests to the server: whatever a client sends, it is answered in the form of the
// specification, and never with an internal error.
func FuzzRequest(f *testing.F) {
	in := newInstance(f, setup{store: mem.New(time.Now), registry: registry.Options{MaxBlob: 1 << 20, MaxUploads: 1 << 30}, settings: registry.Settings{CreateOnPush: true}})
	in.repositories("team/app")
	in.push("team/app", small, large, "{}")
	image := imageOf(oci.TypeImage, small, large)
	in.put("team/app", "v1", oci.TypeImage, image)
	location := strings.TrimPrefix(startUpload(in), "/v2/")
	in.expect(call{method: "PATCH", path: "/v2/" + location, body: "12345"}, want{status: 202})
	good := in.authorization("")

	const one = "application/vnd.example.one"
	for _, s := range []struct{ method, path, query, auth, contentType, contentRange, conditions, body string }{
		{"GET", "", "", "", "", "", "", ""},
		{"GET", "_catalog", "n=1&last=a", "", "", "", "", ""},
		{"GET", "team/app/tags/list", "n=0&last=%00", "", "", "", "", ""},
		{"GET", "team/app/manifests/v1", "", "", "", "", "bytes=0-9", ""},
		{"HEAD", "team/app/manifests/" + sum(image), "", "Basic QVdTOng=", "", "", "", ""},
		{"PUT", "team/app/manifests/v2", "", "", oci.TypeImage, "", "", image},
		{"PUT", "team/app/manifests/" + sum(image), "tag=a&tag=b", "", oci.TypeImage, "", "", image},
		{"PUT", "team/new/manifests/v2", "", "", oci.TypeIndex, "", "", indexOf(oci.TypeIndex, oci.TypeImage, image)},
		{"PUT", "team/app/manifests/v3", "", "", "", "", "", artifactOf(one, image, "x")},
		{"DELETE", "team/app/manifests/v2", "", "", "", "", "", ""},
		{"GET", "team/app/referrers/" + sum(image), "artifactType=" + one, "", "", "", "", ""},
		{"GET", "team/app/blobs/" + sum(small), "", "", "", "", "bytes=5-1,-5", ""},
		{"GET", "team/app/blobs/" + sum(large), "", "", "", "", "bytes=-100001", ""},
		{"HEAD", account + "/team/app/blobs/" + sum512(small), "", "", "", "", "*", ""},
		{"DELETE", "team/app/blobs/" + sum("{}"), "", "", "", "", "", ""},
		{"POST", "team/app/blobs/uploads/", "mount=" + sum(large) + "&from=team/app", "", "", "", "", ""},
		{"POST", "team/app/blobs/uploads", "digest=" + sum(small), "", "", "0-99", "", small},
		{"PATCH", location, "", "", "", "5-9", "", "67890"},
		{"PUT", location, "digest=" + sum("12345"), "", "", "", "", ""},
		{"DELETE", location, "", "", "", "", "", ""},
		{"GET", other + "/team/app/tags/list", "Sekisho-Signature=x&Sekisho-Expires=9", "Bearer x", "", "", "", ""},
		{"BREW", "../%2e\x00", "%zz", "Basic", "\x00", "bytes 0-9223372036854775807/*", "\"", "\xff"},
	} {
		f.Add(s.method, s.path, s.query, s.auth, s.contentType, s.contentRange, s.conditions, []byte(s.body), false)
		f.Add(s.method, s.path, s.query, s.auth, s.contentType, s.contentRange, s.conditions, []byte(s.body), true)
	}
	f.Fuzz(func(t *testing.T, method, path, query, auth, contentType, contentRange, conditions string, body []byte, unsized bool) {
		if method == "" {
			method = "GET"
		}
		req := httptest.NewRequest("GET", "/v2/", strings.NewReader(string(body)))
		req.Method = method
		req.URL = &url.URL{Path: "/v2/" + path, RawQuery: query}
		if auth == "" {
			auth = good
		}
		req.Header.Set("Authorization", auth)
		header := fields{"Content-Type": contentType, "Content-Range": contentRange, "Range": conditions, "If-None-Match": conditions, "If-Match": conditions, "If-Range": conditions}
		for k, v := range header {
			if v != "" {
				req.Header.Set(k, v)
			}
		}
		if unsized {
			req.ContentLength = -1
		}
		rec := httptest.NewRecorder()
		in.handler.ServeHTTP(rec, req)
		resp := rec.Result()
		if resp.StatusCode >= 500 {
			t.Fatalf("%s %s: %d %s", method, req.URL, resp.StatusCode, rec.Body)
		}
		if _, err := read(method, resp); err != nil {
			t.Fatalf("%s %s: %v", method, req.URL, err)
		}
		for k, values := range resp.Header {
			for _, v := range values {
				if strings.ContainsAny(v, "\r\n\x00") {
					t.Fatalf("%s %s: the header %s is %q", method, req.URL, k, v)
				}
			}
		}
	})
}
