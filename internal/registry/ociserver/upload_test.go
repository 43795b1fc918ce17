package ociserver_test

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/sekisho/sekisho/internal/registry"
)

const uploadPath = "~/v2/team/app/blobs/uploads/[0-9a-f-]{61}"

// unsized hides a body's length, so that it is sent in HTTP chunks.
func unsized(s string) io.Reader { return io.MultiReader(strings.NewReader(s)) }

// thirds cuts s in three.
func thirds(s string) []string {
	n := (len(s) + 2) / 3
	return []string{s[:min(n, len(s))], s[min(n, len(s)):min(2*n, len(s))], s[min(2*n, len(s)):]}
}

func contentRange(from, n int) string { return fmt.Sprintf("%d-%d", from, from+n-1) }

// progress is what an upload of n bytes answers.
func progress(status, n int) want {
	return want{status: status, body: text(""), header: fields{"Location": uploadPath, "Range": "0-" + strconv.Itoa(max(n-1, 0)), "Docker-Upload-Uuid": "~[0-9a-f-]{61}"}}
}

// done is what a finished upload answers.
func done(d string) want {
	return want{status: 201, body: text(""), header: fields{"Location": "/v2/team/app/blobs/" + d, "Docker-Content-Digest": d, "Content-Length": "0"}}
}

// startUpload is the POST that begins most pushes.
func startUpload(in *instance) string {
	in.Helper()
	return in.expect(call{method: "POST", path: "/v2/team/app/blobs/uploads/"}, progress(202, 0)).header.Get("Location")
}

// pushes are the ways to push a blob (distribution-spec, "Pushing blobs"), and what clients make of them. Each returns
// the last call.
var pushes = map[string]func(in *instance, data, d string) call{
	"one POST": func(in *instance, data, d string) call {
		return call{method: "POST", path: "/v2/team/app/blobs/uploads/?digest=" + d, body: data}
	},
	"one POST without a slash, its length unknown": func(in *instance, data, d string) call {
		return call{method: "POST", path: "/v2/team/app/blobs/uploads?digest=" + d, reader: unsized(data)}
	},
	"POST and PUT": func(in *instance, data, d string) call {
		return call{method: "PUT", path: startUpload(in) + "?digest=" + d, body: data}
	},
	"POST and PUT, the digest encoded": func(in *instance, data, d string) call {
		return call{method: "PUT", path: startUpload(in) + "?digest=" + strings.Replace(d, ":", "%3A", 1), body: data}
	},
	"POST and PUT, the length unknown": func(in *instance, data, d string) call {
		return call{method: "PUT", path: startUpload(in) + "?digest=" + d, reader: unsized(data)}
	},
	"POST and PUT with a range": func(in *instance, data, d string) call {
		return call{method: "PUT", path: startUpload(in) + "?digest=" + d, body: data, header: chunkAt(0, data)}
	},
	"a stream": func(in *instance, data, d string) call {
		location := startUpload(in)
		in.expect(call{method: "PATCH", path: location, reader: unsized(data)}, progress(202, len(data)))
		in.expect(call{method: "GET", path: location}, progress(204, len(data)))
		in.expect(call{method: "HEAD", path: location}, progress(204, len(data)))
		return call{method: "PUT", path: location + "?digest=" + d}
	},
	"chunks with ranges": func(in *instance, data, d string) call {
		location, at := startUpload(in), 0
		for _, part := range thirds(data) {
			a := in.expect(call{method: "PATCH", path: location, body: part, header: chunkAt(at, part)}, progress(202, at+len(part)))
			location, at = a.header.Get("Location"), at+len(part)
			in.expect(call{method: "GET", path: location}, progress(204, at))
		}
		return call{method: "PUT", path: location + "?digest=" + d}
	},
	"chunks without ranges": func(in *instance, data, d string) call {
		location, at := startUpload(in), 0
		for _, part := range thirds(data) {
			at += len(part)
			in.expect(call{method: "PATCH", path: location, body: part}, progress(202, at))
		}
		return call{method: "PUT", path: location + "?digest=" + d}
	},
	"chunks with ranges in the form of RFC 9110, their lengths unknown": func(in *instance, data, d string) call {
		location, at := startUpload(in), 0
		for _, part := range thirds(data) {
			h := chunkAt(at, part)
			if part != "" {
				h["Content-Range"] = "bytes " + h["Content-Range"] + "/*"
			}
			at += len(part)
			in.expect(call{method: "PATCH", path: location, reader: unsized(part), header: h}, progress(202, at))
		}
		return call{method: "PUT", path: location + "?digest=" + d}
	},
	"chunks, the last in the PUT": func(in *instance, data, d string) call {
		location, at, parts := startUpload(in), 0, thirds(data)
		for _, part := range parts[:2] {
			at += len(part)
			in.expect(call{method: "PATCH", path: location, body: part}, progress(202, at))
		}
		return call{method: "PUT", path: location + "?digest=" + d, body: parts[2], header: chunkAt(at, parts[2])}
	},
	"a stream, the rest in the PUT, its length unknown": func(in *instance, data, d string) call {
		location := startUpload(in)
		in.expect(call{method: "PATCH", path: location, reader: unsized(data[:len(data)/2])}, progress(202, len(data)/2))
		return call{method: "PUT", path: location + "?digest=" + d, reader: unsized(data[len(data)/2:])}
	},
	"the id of the Location at another address of the repository": func(in *instance, data, d string) call {
		location := startUpload(in)
		path := "/v2/" + account + strings.TrimPrefix(location, "/v2")
		in.expect(call{method: "PATCH", path: path, body: data}, want{status: 202, header: fields{"Location": path}})
		return call{method: "PUT", path: location + "?digest=" + d}
	},
	"a status before the first byte": func(in *instance, data, d string) call {
		location := startUpload(in)
		in.expect(call{method: "GET", path: location}, progress(204, 0))
		in.expect(call{method: "PATCH", path: location}, progress(202, 0))
		return call{method: "PUT", path: location + "?digest=" + d, body: data}
	},
	"after a mount that failed": func(in *instance, data, d string) call {
		a := in.expect(call{method: "POST", path: "/v2/team/app/blobs/uploads/?mount=" + sum("nowhere") + "&from=team/none"}, progress(202, 0))
		return call{method: "PUT", path: a.header.Get("Location") + "?digest=" + d, body: data}
	},
}

func chunkAt(at int, data string) fields {
	if data == "" {
		return fields{}
	}
	return fields{"Content-Range": contentRange(at, len(data))}
}

// TestPush pushes blobs of all sizes in all ways. The last request may be repeated, since its answer may be lost.
func TestPush(t *testing.T) {
	in := newInstance(t, setup{})
	in.repositories("team/app")
	t.Run("all", func(t *testing.T) {
		for name, push := range pushes {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				in := in.with(t)
				for seed, n := range []int{0, 1, 2, registry.DefaultInlineLimit, registry.DefaultInlineLimit + 1, 1_000_000} {
					data := content(seed, n)
					for _, d := range []string{sum(data), sum512(data)} {
						last := push(in, data, d)
						again := last.reader == nil
						in.expect(last, done(d))
						if again {
							in.expect(last, done(d))
						}
						in.expect(call{method: "GET", path: "/v2/team/app/blobs/" + d}, want{status: 200, body: &data, header: fields{"Docker-Content-Digest": d}})
					}
				}
			})
		}
	})
	in.nothingStaged()
}

// TestDigestMismatch: bytes that are not what the client says they are do not stay, however they came.
func TestDigestMismatch(t *testing.T) {
	in := newInstance(t, setup{})
	in.repositories("team/app")
	t.Run("all", func(t *testing.T) {
		for name, push := range pushes {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				in := in.with(t)
				for _, n := range []int{1, 100, 1_000_000} {
					data := content(n, n)
					in.expect(push(in, data, sum("another")), want{status: 400, code: "DIGEST_INVALID", says: "the digest of the bytes that arrived is " + sum(data)})
					for _, d := range []string{sum(data), sum("another")} {
						in.expect(call{method: "HEAD", path: "/v2/team/app/blobs/" + d}, want{status: 404, code: "BLOB_UNKNOWN"})
					}
				}
			})
		}
	})
	in.nothingStaged()
}

// TestChunks: a chunk that is not where the upload ends, or not what its headers say, changes nothing; the answer says
// where to go on.
func TestChunks(t *testing.T) {
	in := newInstance(t, setup{})
	in.repositories("team/app")
	for _, half := range []string{large[:50_000], large[:50], ""} {
		t.Run(strconv.Itoa(len(half)), func(t *testing.T) {
			in := in.with(t)
			location := startUpload(in)
			if half != "" {
				in.expect(call{method: "PATCH", path: location, body: half}, progress(202, len(half)))
			}
			n := len(half)
			elsewhere := progress(416, n)
			elsewhere.body, elsewhere.code, elsewhere.says = nil, "BLOB_UPLOAD_INVALID", fmt.Sprintf("the upload has %d bytes", n)
			malformed := want{status: 416, code: "BLOB_UPLOAD_INVALID", says: "Content-Range"}
			length := want{status: 400, code: "SIZE_INVALID", says: "Content-Range says"}
			for _, tc := range []struct {
				name, contentRange, body string
				want                     want
			}{
				{"after a hole", contentRange(n+1, 10), "0123456789", elsewhere},
				{"far away", "9223372036854775797-9223372036854775806", "0123456789", elsewhere},
				{"no number", "a-b", "0123456789", malformed},
				{"no end", "0-", "0123456789", malformed},
				{"backwards", "9-0", "0123456789", malformed},
				{"negative", "-1-8", "0123456789", malformed},
				{"too large for a number", "0-9223372036854775808", "0123456789", malformed},
				{"with a sign", "+0-9", "0123456789", malformed},
				{"a list", "0-4,5-9", "0123456789", malformed},
				{"shorter than it says", contentRange(n, 11), "0123456789", length},
				{"longer than it says", contentRange(n, 9), "0123456789", length},
				{"empty", contentRange(n, 9), "", length},
				{"more than there are numbers", "0-9223372036854775807", "0123456789", want{status: 413, code: "SIZE_INVALID", says: "more bytes than a layer may have"}},
			} {
				in.expect(call{method: "PATCH", path: location, body: tc.body, header: fields{"Content-Range": tc.contentRange}}, tc.want)
				in.expect(call{method: "PUT", path: location + "?digest=" + sum(half+"0123456789"), body: tc.body, header: fields{"Content-Range": tc.contentRange}}, tc.want)
				in.expect(call{method: "GET", path: location}, progress(204, n))
			}
			if n > 0 { // again what was there
				in.expect(call{method: "PATCH", path: location, body: "0123456789", header: fields{"Content-Range": "0-9"}}, elsewhere)
				in.expect(call{method: "PUT", path: location + "?digest=" + sum(half), body: "0123456789", header: fields{"Content-Range": "0-9"}}, elsewhere)
			}
			in.expect(call{method: "PUT", path: location + "?digest=" + sum(half+"0123456789"), body: "0123456789", header: fields{"Content-Range": contentRange(n, 10)}}, done(sum(half+"0123456789")))
		})
	}
	a := in.expect(call{method: "POST", path: "/v2/team/app/blobs/uploads?digest=" + sum("abcdefghij"), body: "abcdefghij", header: fields{"Content-Range": "5-14"}},
		want{status: 416, code: "BLOB_UPLOAD_INVALID", header: fields{"Location": uploadPath, "Range": "0-0"}})
	in.expect(call{method: "PUT", path: a.header.Get("Location") + "?digest=" + sum("abcdefghij"), body: "abcdefghij"}, done(sum("abcdefghij")))
}

// TestChunksOfUnknownLength: what arrived within the range stays, and the client is told that it was not all.
func TestChunksOfUnknownLength(t *testing.T) {
	in := newInstance(t, setup{})
	in.repositories("team/app")
	wrong := want{status: 400, code: "SIZE_INVALID", says: "ask for the upload's status"}
	for _, tc := range []struct {
		name, body string
		stays      int
	}{
		{"shorter than it says", large[:70_000], 70_000},
		{"empty", "", 0},
		{"longer than it says", large + "x", len(large)},
		{"much longer than it says", large + large + large, len(large)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := in.with(t)
			location := startUpload(in)
			in.expect(call{method: "PATCH", path: location, reader: unsized(tc.body), header: fields{"Content-Range": contentRange(0, len(large))}}, wrong)
			in.expect(call{method: "GET", path: location}, progress(204, tc.stays))
			in.expect(call{method: "PUT", path: location + "?digest=" + sum(large), body: large[tc.stays:]}, done(sum(large)))

			location = startUpload(in)
			in.expect(call{method: "PUT", path: location + "?digest=" + sum(large), reader: unsized(tc.body), header: fields{"Content-Range": contentRange(0, len(large))}}, wrong)
			in.expect(call{method: "PUT", path: location + "?digest=" + sum(large), body: large}, done(sum(large)))
		})
	}
	in.nothingStaged()
}

// TestCancel: a cancelled upload is gone, and its id is good for nothing more.
func TestCancel(t *testing.T) {
	in := newInstance(t, setup{})
	in.repositories("team/app")
	for _, data := range []string{"", "1", large} {
		location := startUpload(in)
		in.expect(call{method: "PATCH", path: location, body: data}, progress(202, len(data)))
		in.expect(call{method: "DELETE", path: location}, want{status: 204, body: text("")})
		for method, body := range map[string]string{"GET": "", "HEAD": "", "PATCH": "6", "PUT": "6", "DELETE": ""} {
			in.expect(call{method: method, path: location + "?digest=" + sum("6"), body: body}, want{status: 404, code: "BLOB_UPLOAD_UNKNOWN", says: "cancelled"})
		}
	}
	in.nothingStaged()
}

// TestUploadsAreOfOneRepository: the id of an upload is good for the repository that it was made for, and for a time.
func TestUploadsAreOfOneRepository(t *testing.T) {
	in := newInstance(t, setup{})
	in.repositories("team/app", "team/web")
	location := startUpload(in)
	in.expect(call{method: http.MethodPatch, path: location, body: "12345"}, progress(202, 5))
	unusable := func(path string) {
		t.Helper()
		for method, body := range map[string]string{"GET": "", "HEAD": "", "PATCH": "6", "PUT": "6", "DELETE": ""} {
			in.expect(call{method: method, path: path + "?digest=" + sum("123456"), body: body}, want{status: 404, code: "BLOB_UPLOAD_UNKNOWN"})
		}
	}
	const prefix = "/v2/team/app/blobs/uploads/"
	id := strings.TrimPrefix(location, prefix)
	unusable("/v2/team/web/blobs/uploads/" + id)
	for _, other := range []string{id + "0", id[:len(id)-1], strings.ToUpper(id), id[:36], "x", "%00", "..", "..%5C" + id, strings.Repeat("x", 10_000)} {
		unusable(prefix + other)
	}
	in.expect(call{method: "PUT", path: location + "?digest=" + sum("123456"), body: "6"}, done(sum("123456")))

	location = startUpload(in)
	in.clock.advance(registry.DefaultUploadExpiry + 1e9)
	unusable(location)
}
