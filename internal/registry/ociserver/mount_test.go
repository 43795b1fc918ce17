package ociserver_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/blob"
	"github.com/sekisho/sekisho/internal/durable"
	"github.com/sekisho/sekisho/internal/oci"
	"github.com/sekisho/sekisho/internal/registry"
)

// TestMount: a blob of another repository that the caller may read needs no upload; else one begins, so that a client
// that was wrong about the other repository just goes on.
func TestMount(t *testing.T) {
	in := newInstance(t, setup{})
	in.repositories("from", "team/app")
	in.push("from", small, large)
	elsewhere := registry.Repo{Account: other, Name: "from"}
	if _, err := in.local.CreateRepository(t.Context(), root(other), elsewhere, registry.RepositorySettings{}, nil); err != nil {
		t.Fatal(err)
	}
	in.expect(call{method: "POST", path: "/v2/" + other + "/from/blobs/uploads/?digest=" + sum("theirs"), body: "theirs", as: other}, want{status: 201})
	mounted := func(data string) want { return done(sum(data)) }
	begun := progress(202, 0)
	begun.header["Sekisho-Mount-Error"] = ""
	denied := progress(202, 0)
	denied.header["Sekisho-Mount-Error"] = "~DENIED: User: .*:root is not authorized to perform: ecr:GetDownloadUrlForLayer on resource: .*:" + other + ":repository/.* because .*"
	for _, tc := range []struct {
		name, query string
		want        want
	}{
		{"small", "mount=" + sum(small) + "&from=from", mounted(small)},
		{"large, digest encoded", "from=from&mount=" + strings.Replace(sum(large), ":", "%3A", 1), mounted(large)},
		{"again", "mount=" + sum(small) + "&from=from", mounted(small)},
		{"from the account's name", "mount=" + sum(small) + "&from=" + account + "/from", mounted(small)},
		{"from itself", "mount=" + sum(small) + "&from=team/app", mounted(small)},
		{"from anywhere", "mount=" + sum(large), mounted(large)},
		{"from anywhere, said emptily", "from=&mount=" + sum(large), mounted(large)},
		{"nowhere", "mount=" + sum("nowhere"), begun},
		{"not in from", "mount=" + sum("nowhere") + "&from=from", begun},
		{"no such from", "mount=" + sum(small) + "&from=none", begun},
		{"malformed from", "mount=" + sum(small) + "&from=..%2F..%2Fetc", begun},
		{"another account's", "mount=" + sum("theirs") + "&from=" + other + "/from", denied},
		{"another account's that is not there", "mount=" + sum("theirs") + "&from=" + other + "/none", denied},
		{"another account's, anywhere", "mount=" + sum("theirs"), begun},
		{"malformed digest", "mount=sha256:x&from=from", want{status: 400, code: "DIGEST_INVALID"}},
		{"no digest", "mount=&from=from", want{status: 400, code: "DIGEST_INVALID"}},
		{"malformed algorithm", "digest-algorithm=md5", want{status: 400, code: "DIGEST_INVALID", says: "sha256 or sha512"}},
		{"from without mount", "from=from", begun},
		{"algorithm", "digest-algorithm=sha512", begun},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in.with(t).expect(call{method: "POST", path: "/v2/team/app/blobs/uploads/?" + tc.query}, tc.want)
		})
	}
	in.expect(call{method: "POST", path: "/v2/team/app/blobs/uploads/?mount=" + sum("theirs") + "&digest=" + sum("theirs"), body: "theirs"}, done(sum("theirs")))
	in.expect(call{method: "GET", path: "/v2/team/app/blobs/" + sum(large)}, want{status: 200, body: &large})
	in.expect(call{method: "POST", path: "/v2/team/none/blobs/uploads/?from=from&mount=" + sum(small)}, want{status: 404, code: "NAME_UNKNOWN"})
}

// presigner is a store that says where its objects are.
type presigner struct {
	blob.Store
	url string
}

func (p *presigner) PresignGet(_ context.Context, key string, expires time.Duration) (string, error) {
	return p.url + "/" + key + "?for=" + expires.String(), nil
}

// TestRedirect: GET of a large blob leads to the store itself; nothing else does, and nobody without permission gets there.
func TestRedirect(t *testing.T) {
	store := &presigner{Store: files(t, durable.OS{}, t.TempDir())}
	direct := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := store.Open(r.Context(), strings.TrimPrefix(r.URL.Path, "/"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		defer c.Close()
		http.ServeContent(w, r, "", time.Time{}, c)
	}))
	defer direct.Close()
	store.url = direct.URL
	in := newInstance(t, setup{store: store, registry: registry.Options{Redirect: true, RedirectExpiry: 7 * time.Minute}})
	in.repositories("team/app")
	in.push("team/app", small, large)
	in.put("team/app", "v1", oci.TypeImage, imageOf(oci.TypeImage, small, large))
	const blobs = "/v2/team/app/blobs/"
	in.expect(call{method: "GET", path: blobs + sum(small)}, want{status: 200, body: &small})
	in.expect(call{method: "HEAD", path: blobs + sum(large)}, want{status: 200, header: fields{"Content-Length": "100000", "Location": ""}})
	a := in.expect(call{method: "GET", path: blobs + sum(large), header: fields{"Range": "bytes=1-2"}}, want{status: 307, body: text(""),
		header: fields{"Location": "~" + direct.URL + `/sha256/.*\?for=7m0s`, "Docker-Content-Digest": sum(large), "Content-Length": "0"}})
	resp, err := in.http.Get(a.header.Get("Location"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if d, err := digest.FromReader(resp.Body); err != nil || string(d) != sum(large) {
		t.Errorf("%s, %v behind the redirect", d, err)
	}
	in.expect(call{method: "GET", path: blobs + sum(large), as: other}, want{status: 403, code: "DENIED", header: fields{"Location": ""}})
	in.expect(call{method: "GET", path: blobs + sum(large), as: nobody}, want{status: 401, code: "UNAUTHORIZED", header: fields{"Location": ""}})
	in.expect(call{method: "GET", path: blobs + sum("x")}, want{status: 404, code: "BLOB_UNKNOWN", header: fields{"Location": ""}})
}
