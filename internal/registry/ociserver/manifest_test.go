package ociserver_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/sekisho/sekisho/internal/meta/metatest"
	"github.com/sekisho/sekisho/internal/oci"
	"github.com/sekisho/sekisho/internal/registry"
)

// pushed is what the push of a manifest answers.
func pushed(data string, more fields) want {
	h := fields{"Location": "/v2/team/app/manifests/" + sum(data), "Docker-Content-Digest": sum(data), "Oci-Subject": "", "Oci-Tag": "", "Content-Length": "0"}
	for k, v := range more {
		h[k] = v
	}
	return want{status: 201, body: text(""), header: h}
}

func TestPushManifest(t *testing.T) {
	metatest.EachDSN(t, func(t *testing.T, dsn string) {
		in := newInstance(t, setup{dsn: dsn})
		in.repositories("team/app")
		in.push("team/app", small, large, "{}")
		image := imageOf(oci.TypeImage, small, large)
		docker := imageOf(oci.TypeDockerManifest, small, large)
		index := indexOf(oci.TypeIndex, oci.TypeImage, image)
		signature := artifactOf("application/vnd.example.signature", image, "1")
		early := artifactOf("application/vnd.example.signature", "not there yet", "2")
		none := strings.Repeat("ab", 32)
		tags := url.Values{"tag": {"a", "b", "a"}}.Encode()
		var many []string
		for i := range 101 {
			many = append(many, fmt.Sprintf("tag=t%d", i))
		}
		const path = "/v2/team/app/manifests/"
		for _, tc := range []struct {
			name, path, mediaType, body string
			want                        want
		}{
			{"by tag", path + "v1", oci.TypeImage, image, pushed(image, nil)},
			{"again", path + "v1", oci.TypeImage, image, pushed(image, nil)},
			{"by digest", path + sum(image), oci.TypeImage, image, pushed(image, nil)},
			{"by sha512", path + sum512(image), oci.TypeImage, image,
				want{status: 201, header: fields{"Location": path + sum512(image), "Docker-Content-Digest": sum512(image)}}},
			{"as its own media type says", path + "v1", "", image, pushed(image, nil)},
			{"with a parameter", path + "v1", oci.TypeImage + "; charset=utf-8", image, pushed(image, nil)},
			{"docker", path + "v2", oci.TypeDockerManifest, docker, pushed(docker, nil)},
			{"index", path + "multi", oci.TypeIndex, index, pushed(index, nil)},
			{"with tags", path + sum(image) + "?" + tags, oci.TypeImage, image, pushed(image, fields{"Oci-Tag": "a, b, a"})},
			{"with a subject", path + sum(signature), oci.TypeImage, signature, pushed(signature, fields{"Oci-Subject": sum(image)})},
			{"before its subject", path + sum(early), oci.TypeImage, early, pushed(early, fields{"Oci-Subject": sum("not there yet")})},

			{"another digest", path + sum("x"), oci.TypeImage, image, want{status: 400, code: "DIGEST_INVALID", says: "the manifest's digest is " + sum(image)}},
			{"tags with a tag", path + "v1?tag=a", oci.TypeImage, image, want{status: 400, code: "TAG_INVALID", says: "by tag"}},
			{"malformed tags", path + sum(image) + "?tag=a&tag=-x", oci.TypeImage, image, want{status: 400, code: "TAG_INVALID", says: `"-x"`}},
			{"too many tags", path + sum(image) + "?" + strings.Join(many, "&"), oci.TypeImage, image, want{status: 414, code: "TAG_INVALID", says: "100"}},
			{"malformed tag", path + ".x", oci.TypeImage, image, want{status: 400, code: "MANIFEST_INVALID", says: `tag ".x"`}},
			{"malformed digest", path + "sha256:x", oci.TypeImage, image, want{status: 400, code: "DIGEST_INVALID", says: "64 hexadecimal digits"}},
			{"missing layers", path + "v3", oci.TypeImage, imageOf(oci.TypeImage, small, "one", "two", large, "one"),
				want{status: 404, code: "MANIFEST_BLOB_UNKNOWN", says: "Layers with digests '[" + sum("one") + ", " + sum("two") + "]' required for pushing image into repository with name 'team/app' in the registry with id '" + account + "' do not exist"}},
			{"missing images", path + "v3", oci.TypeIndex, indexOf(oci.TypeIndex, oci.TypeImage, image, "one"),
				want{status: 404, code: "MANIFEST_BLOB_UNKNOWN", says: "Images with digests '[" + sum("one") + "]' required for pushing image into repository with name 'team/app' in the registry with id '" + account + "' do not exist"}},
			{"no repository", "/v2/team/none/manifests/v1", oci.TypeImage, image, want{status: 404, code: "NAME_UNKNOWN"}},
			{"account's name", "/v2/" + account + "/manifests/v1", oci.TypeImage, image, want{status: 400, code: "NAME_INVALID", says: "12 digits"}},

			{"no media type", path + "v3", "", `{"schemaVersion":2}`, want{status: 400, code: "MANIFEST_INVALID", says: "Content-Type"}},
			{"other media type", path + "v3", oci.TypeIndex, image, want{status: 400, code: "MANIFEST_INVALID", says: "must be the same"}},
			{"no media type at all", path + "v3", ";;", image, want{status: 400, code: "MANIFEST_INVALID", says: "Content-Type"}},
			{"empty", path + "v3", oci.TypeImage, "", want{status: 400, code: "MANIFEST_INVALID", says: "ends too early"}},
			{"not JSON", path + "v3", oci.TypeImage, "{x", want{status: 400, code: "MANIFEST_INVALID", says: "not JSON"}},
			{"no object", path + "v3", oci.TypeImage, "[]", want{status: 400, code: "MANIFEST_INVALID", says: "one JSON object"}},
			{"two objects", path + "v3", oci.TypeImage, image + "{}", want{status: 400, code: "MANIFEST_INVALID", says: "nothing after it"}},
			{"too deep", path + "v3", oci.TypeImage, `{"x":` + strings.Repeat("[", 5000), want{status: 400, code: "MANIFEST_INVALID", says: "nested deeper"}},
			{"schema version", path + "v3", oci.TypeImage, strings.Replace(image, ":2,", ":3,", 1), want{status: 400, code: "MANIFEST_INVALID", says: "schemaVersion must be 2"}},
			{"config", path + "v3", oci.TypeImage, strings.Replace(image, sum(small), "sha256:"+none[1:], 1), want{status: 400, code: "MANIFEST_INVALID", says: "config: digest"}},
			{"layer", path + "v3", oci.TypeImage, strings.Replace(image, sum(large), "md5:"+none, 1), want{status: 400, code: "MANIFEST_INVALID", says: "layers[0]: digest"}},
			{"layer's size", path + "v3", oci.TypeImage, strings.Replace(image, "100000", "-1", 1), want{status: 400, code: "MANIFEST_INVALID", says: "layers[0]: size"}},
			{"layer's size, a string", path + "v3", oci.TypeImage, strings.Replace(image, "100000", `"1"`, 1), want{status: 400, code: "MANIFEST_INVALID", says: "layers.size"}},
			{"layer's size, huge", path + "v3", oci.TypeImage, strings.Replace(image, "100000", "1e30", 1), want{status: 400, code: "MANIFEST_INVALID", says: "layers.size"}},
			{"child", path + "v3", oci.TypeIndex, strings.Replace(index, sum(image), "SHA256:"+none, 1), want{status: 400, code: "MANIFEST_INVALID", says: "manifests[0]: digest"}},
			{"subject", path + "v3", oci.TypeImage, strings.Replace(signature, sum(image), "sha256:"+strings.ToUpper(none), 1), want{status: 400, code: "MANIFEST_INVALID", says: "subject: digest"}},
			{"artifactType", path + "v3", oci.TypeImage, strings.Replace(signature, "example.signature", `\u0000`, 1), want{status: 400, code: "MANIFEST_INVALID", says: "artifactType"}},
			{"twice", path + "v3", oci.TypeImage, strings.Replace(image, "{", `{"Layers":[],`, 1), want{status: 400, code: "MANIFEST_INVALID", says: `"layers" twice`}},
			{"schema 1", path + "v3", "application/vnd.docker.distribution.manifest.v1+prettyjws", `{"schemaVersion":1}`, want{status: 400, code: "MANIFEST_INVALID", says: "schema 1"}},
			{"no manifest's media type", path + "v3", "text/plain", `{"schemaVersion":2}`, want{status: 400, code: "MANIFEST_INVALID", says: `"text/plain"`}},
		} {
			t.Run(tc.name, func(t *testing.T) {
				in.with(t).expect(call{method: "PUT", path: tc.path, header: fields{"Content-Type": tc.mediaType}, body: tc.body}, tc.want)
			})
		}
		in.expect(call{method: "GET", path: "/v2/team/app/tags/list"}, want{status: 200, body: text(`{"name":"team/app","tags":["a","b","multi","v1","v2"]}`)})
	})
}

// TestManifestSize: 4 MiB are the most, and are accepted.
func TestManifestSize(t *testing.T) {
	in := newInstance(t, setup{})
	in.repositories("team/app")
	in.push("team/app", small)
	image := imageOf(oci.TypeImage, small)
	image += strings.Repeat(" ", oci.MaxManifest-len(image))
	c := call{method: "PUT", path: "/v2/team/app/manifests/v1", header: fields{"Content-Type": oci.TypeImage}, body: image}
	in.expect(c, pushed(image, nil))
	in.expect(call{method: "GET", path: "/v2/team/app/manifests/v1"}, want{status: 200, body: &image})
	c.body, c.reader = "", unsized(image)
	in.expect(c, pushed(image, nil))
	large := want{status: 413, code: "SIZE_INVALID", says: "over 4194304 bytes"}
	c.reader = unsized(image + " ")
	in.expect(c, large)
	c.body, c.reader = image+" ", nil
	in.expect(c, large)
	in.expect(call{method: "HEAD", path: "/v2/team/app/manifests/v1"}, want{status: 200, header: fields{"Docker-Content-Digest": sum(image)}})
}

func TestImmutableTag(t *testing.T) {
	in := newInstance(t, setup{})
	repo := registry.Repo{Account: account, Name: "team/app"}
	if _, err := in.local.CreateRepository(t.Context(), root(account), repo, registry.RepositorySettings{Mutability: registry.Immutable}, nil); err != nil {
		t.Fatal(err)
	}
	in.push("team/app", small, large)
	image, another := imageOf(oci.TypeImage, small), imageOf(oci.TypeImage, large)
	in.put("team/app", "v1", oci.TypeImage, image)
	in.put("team/app", "v1", oci.TypeImage, image) // the same again is no change
	in.put("team/app", sum(image), oci.TypeImage, image)
	in.expect(call{method: "PUT", path: "/v2/team/app/manifests/v1", header: fields{"Content-Type": oci.TypeImage}, body: another}, want{status: 400, code: "TAG_INVALID",
		says: "The image tag 'v1' already exists in the 'team/app' repository and cannot be overwritten because the tag is immutable"})
	in.expect(call{method: "HEAD", path: "/v2/team/app/manifests/" + sum(another)}, want{status: 404, code: "MANIFEST_UNKNOWN"})
	in.expect(call{method: "HEAD", path: "/v2/team/app/manifests/v1"}, want{status: 200, header: fields{"Docker-Content-Digest": sum(image)}})
}

// TestSparse: where the account says so, manifests need nothing.
func TestSparse(t *testing.T) {
	in := newInstance(t, setup{settings: registry.Settings{SparseManifests: true}})
	in.repositories("team/app")
	image := imageOf(oci.TypeImage, small, large)
	in.put("team/app", "v1", oci.TypeIndex, indexOf(oci.TypeIndex, oci.TypeImage, image))
	in.put("team/app", "v2", oci.TypeImage, image)
	in.expect(call{method: "GET", path: "/v2/team/app/blobs/" + sum(small)}, want{status: 404, code: "BLOB_UNKNOWN"})
}

// TestCreateOnPush: where the account says so, the first push makes the repository; all its forms do.
func TestCreateOnPush(t *testing.T) {
	in := newInstance(t, setup{settings: registry.Settings{CreateOnPush: true, SparseManifests: true}})
	in.repositories("from")
	in.push("from", small)
	for i, c := range []call{
		{method: "POST", path: "/blobs/uploads/"},
		{method: "POST", path: "/blobs/uploads/?digest=" + sum(large), body: large},
		{method: "POST", path: "/blobs/uploads/?from=from&mount=" + sum(small)},
		{method: "POST", path: "/blobs/uploads/?mount=" + sum(small)},
		{method: "PUT", path: "/manifests/v1", header: fields{"Content-Type": oci.TypeImage}, body: imageOf(oci.TypeImage, small)},
	} {
		repo := fmt.Sprintf("/v2/new/r%d", i)
		in.expect(call{method: "GET", path: repo + "/tags/list"}, want{status: 404, code: "NAME_UNKNOWN"})
		c.path = repo + c.path
		status := 201
		if i == 0 {
			status = 202
		}
		in.expect(c, want{status: status})
		in.expect(call{method: "GET", path: repo + "/tags/list"}, want{status: 200})
	}
	for _, c := range []call{
		{method: "POST", path: "/v2/A/blobs/uploads/"}, {method: "PUT", path: "/v2/a//b/manifests/v1"}, {method: "POST", path: "/v2/" + account + "/" + account + "/x/blobs/uploads/"},
		{method: "PUT", path: "/v2/manifests/v1"}, {method: "PUT", path: "/v2/" + account + "/manifests/v1"},
	} {
		in.expect(c, want{status: 400, code: "NAME_INVALID", says: "repository name"})
	}
	in.expect(call{method: "GET", path: "/v2/_catalog"}, want{status: 200, body: text(`{"repositories":["from","new/r0","new/r1","new/r2","new/r3","new/r4"]}`)})
}

func TestDelete(t *testing.T) {
	in := newInstance(t, setup{})
	in.repositories("team/app")
	in.push("team/app", small, large, "free")
	image := imageOf(oci.TypeImage, small, large)
	index := indexOf(oci.TypeIndex, oci.TypeImage, image)
	in.put("team/app", "v1", oci.TypeImage, image)
	in.put("team/app", "v2", oci.TypeImage, image)
	in.put("team/app", "multi", oci.TypeIndex, index)
	accepted := want{status: 202, body: text(""), header: fields{"Content-Length": "0"}}
	const manifests, blobs = "/v2/team/app/manifests/", "/v2/team/app/blobs/"
	for _, step := range []struct {
		method, path string
		want         want
	}{
		{"DELETE", manifests + "none", want{status: 404, code: "MANIFEST_UNKNOWN"}},
		{"DELETE", manifests + sum("x"), want{status: 404, code: "MANIFEST_UNKNOWN"}},
		{"DELETE", manifests + "-", want{status: 400, code: "MANIFEST_INVALID"}},
		{"DELETE", "/v2/team/none/manifests/v1", want{status: 404, code: "NAME_UNKNOWN"}},
		{"DELETE", manifests + "v1", accepted},
		{"DELETE", manifests + "v1", want{status: 404, code: "MANIFEST_UNKNOWN"}},
		{"HEAD", manifests + "v2", want{status: 200}},
		{"DELETE", manifests + sum(image), want{status: 409, code: "UNSUPPORTED", says: sum(index)}},
		{"DELETE", blobs + sum(small), want{status: 409, code: "UNSUPPORTED", says: "delete the image first"}},
		{"DELETE", manifests + sum(index), accepted},
		{"HEAD", manifests + "multi", want{status: 404, code: "MANIFEST_UNKNOWN"}},
		{"DELETE", manifests + sum(image), accepted},
		{"HEAD", manifests + "v2", want{status: 404, code: "MANIFEST_UNKNOWN"}},
		{"GET", "/v2/team/app/tags/list", want{status: 200, body: text(`{"name":"team/app","tags":[]}`)}},
		{"DELETE", blobs + sum("x"), want{status: 404, code: "BLOB_UNKNOWN"}},
		{"DELETE", blobs + "sha256:x", want{status: 400, code: "DIGEST_INVALID"}},
		{"DELETE", blobs + sum(small), accepted},
		{"DELETE", blobs + sum(small), want{status: 404, code: "BLOB_UNKNOWN"}},
		{"HEAD", blobs + sum(small), want{status: 404, code: "BLOB_UNKNOWN"}},
		{"GET", blobs + sum(large), want{status: 200, body: &large}},
	} {
		in.expect(call{method: step.method, path: step.path}, step.want)
	}
}
