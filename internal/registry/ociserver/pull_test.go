package ociserver_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/sekisho/sekisho/internal/oci"
	"github.com/sekisho/sekisho/internal/registry"
)

func descriptor(mediaType, data string) string {
	return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, mediaType, sum(data), len(data))
}

// imageOf renders an image of a config and layers.
func imageOf(mediaType, config string, layers ...string) string {
	var ls []string
	for _, l := range layers {
		ls = append(ls, descriptor("application/vnd.oci.image.layer.v1.tar", l))
	}
	return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[%s]}`,
		mediaType, descriptor("application/vnd.oci.image.config.v1+json", config), strings.Join(ls, ","))
}

// indexOf renders an index of manifests.
func indexOf(mediaType string, childType string, children ...string) string {
	var cs []string
	for _, c := range children {
		cs = append(cs, descriptor(childType, c))
	}
	return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[%s]}`, mediaType, strings.Join(cs, ","))
}

// artifactOf renders an image whose subject is another manifest.
func artifactOf(artifactType, subject, note string) string {
	return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"artifactType":%q,"config":%s,"layers":[],"subject":%s,"annotations":{"note":%q}}`,
		oci.TypeImage, artifactType, descriptor("application/vnd.oci.empty.v1+json", "{}"), descriptor(oci.TypeImage, subject), note)
}

func TestPull(t *testing.T) {
	in := newInstance(t, setup{})
	in.repositories("team/app")
	image := imageOf(oci.TypeImage, small, large)
	in.push("team/app", small, large, "", "{}")
	in.put("team/app", "v1", oci.TypeImage, image)
	d, etag := sum(image), `"`+sum(image)+`"`
	const tag, blobs = "/v2/team/app/manifests/v1", "/v2/team/app/blobs/"
	whole := fields{"Docker-Content-Digest": d, "Etag": etag, "Content-Type": oci.TypeImage, "Content-Length": strconv.Itoa(len(image))}
	bytesOf := func(data string) fields {
		return fields{"Docker-Content-Digest": sum(data), "Etag": `"` + sum(data) + `"`, "Content-Type": "application/octet-stream",
			"Content-Length": strconv.Itoa(len(data)), "Accept-Ranges": "bytes", "Location": ""}
	}
	part := func(data string, from, to int) want {
		return want{status: 206, body: text(data[from : to+1]), header: fields{
			"Content-Range": fmt.Sprintf("bytes %d-%d/%d", from, to, len(data)), "Content-Length": strconv.Itoa(to + 1 - from),
			"Docker-Content-Digest": sum(data), "Etag": `"` + sum(data) + `"`}}
	}
	beyond := func(data string) want {
		return want{status: 416, code: "RANGE_INVALID", says: fmt.Sprintf("there are %d bytes", len(data)),
			header: fields{"Content-Range": fmt.Sprintf("bytes */%d", len(data)), "Etag": ""}}
	}
	for _, tc := range []struct {
		name, method, path string
		header             fields
		want               want
	}{
		{"ping", "GET", "/v2/", nil, want{status: 200, body: text("{}"), header: fields{"Content-Type": "application/json", "Content-Length": "2"}}},
		{"ping, head", "HEAD", "/v2/", nil, want{status: 200, header: fields{"Content-Length": "2"}}},
		{"manifest by tag", "GET", tag, nil, want{status: 200, body: &image, header: whole}},
		{"manifest by tag, head", "HEAD", tag, nil, want{status: 200, header: whole}},
		{"manifest by digest", "GET", "/v2/team/app/manifests/" + d, nil, want{status: 200, body: &image, header: whole}},
		{"manifest by encoded digest", "GET", "/v2/team/app/manifests/" + strings.Replace(d, ":", "%3A", 1), nil, want{status: 200, body: &image, header: whole}},
		{"encoded slash", "GET", "/v2/team%2Fapp/manifests/v1", nil, want{status: 200, body: &image}},
		{"manifest unchanged", "GET", tag, fields{"If-None-Match": etag}, want{status: 304, body: text(""), header: fields{"Etag": etag, "Docker-Content-Digest": d}}},
		{"manifest unchanged, head", "HEAD", tag, fields{"If-None-Match": etag}, want{status: 304}},
		{"manifest unchanged, weak", "GET", tag, fields{"If-None-Match": `"x", W/` + etag}, want{status: 304}},
		{"manifest unchanged, any", "GET", tag, fields{"If-None-Match": "*"}, want{status: 304}},
		{"manifest changed", "GET", tag, fields{"If-None-Match": `"` + sum("x") + `"`}, want{status: 200, body: &image, header: whole}},
		{"manifest, precondition", "GET", tag, fields{"If-Match": etag}, want{status: 200, body: &image}},
		{"manifest, precondition failed", "GET", tag, fields{"If-Match": `"x"`}, want{status: 412, code: "PRECONDITION_FAILED", says: "If-Match", header: fields{"Etag": ""}}},
		{"part of a manifest", "GET", tag, fields{"Range": "bytes=0-9"}, part(image, 0, 9)},
		{"HEAD has no ranges", "HEAD", tag, fields{"Range": "bytes=0-9"}, want{status: 200, header: whole}},

		{"small blob", "GET", blobs + sum(small), nil, want{status: 200, body: &small, header: bytesOf(small)}},
		{"small blob, head", "HEAD", blobs + sum(small), nil, want{status: 200, header: bytesOf(small)}},
		{"large blob", "GET", blobs + sum(large), nil, want{status: 200, body: &large, header: bytesOf(large)}},
		{"large blob, head", "HEAD", blobs + sum(large), nil, want{status: 200, header: bytesOf(large)}},
		{"large blob by encoded digest", "GET", blobs + strings.Replace(sum(large), ":", "%3a", 1), nil, want{status: 200, body: &large}},
		{"empty blob", "GET", blobs + sum(""), nil, want{status: 200, body: text(""), header: bytesOf("")}},
		{"empty blob, head", "HEAD", blobs + sum(""), nil, want{status: 200, header: bytesOf("")}},
		{"empty blob, range", "GET", blobs + sum(""), fields{"Range": "bytes=0-"}, want{status: 200, body: text("")}},
		{"small blob unchanged", "GET", blobs + sum(small), fields{"If-None-Match": `"` + sum(small) + `"`}, want{status: 304}},
		{"large blob unchanged", "GET", blobs + sum(large), fields{"If-None-Match": `"` + sum(large) + `"`}, want{status: 304}},
		{"small, first byte", "GET", blobs + sum(small), fields{"Range": "bytes=0-0"}, part(small, 0, 0)},
		{"large, first byte", "GET", blobs + sum(large), fields{"Range": "bytes=0-0"}, part(large, 0, 0)},
		{"large, middle", "GET", blobs + sum(large), fields{"Range": "bytes=50000-59999"}, part(large, 50_000, 59_999)},
		{"large, from", "GET", blobs + sum(large), fields{"Range": "bytes=99990-"}, part(large, 99_990, 99_999)},
		{"large, past the end", "GET", blobs + sum(large), fields{"Range": "bytes=99990-999999999"}, part(large, 99_990, 99_999)},
		{"small, last", "GET", blobs + sum(small), fields{"Range": "bytes=-7"}, part(small, 93, 99)},
		{"large, last", "GET", blobs + sum(large), fields{"Range": "bytes=-7"}, part(large, 99_993, 99_999)},
		{"large, more than there is", "GET", blobs + sum(large), fields{"Range": "bytes=-999999999"}, part(large, 0, 99_999)},
		{"small, several ranges", "GET", blobs + sum(small), fields{"Range": "bytes=0-1,5-6"}, want{status: 206, header: fields{"Content-Type": "~multipart/byteranges; boundary=.*"}}},
		{"large, if it is still that", "GET", blobs + sum(large), fields{"Range": "bytes=1-2", "If-Range": `"` + sum(large) + `"`}, part(large, 1, 2)},
		{"large, if it was another", "GET", blobs + sum(large), fields{"Range": "bytes=1-2", "If-Range": `"x"`}, want{status: 200, body: &large}},
		{"small, beyond", "GET", blobs + sum(small), fields{"Range": "bytes=100-"}, beyond(small)},
		{"large, beyond", "GET", blobs + sum(large), fields{"Range": "bytes=100000-100001"}, beyond(large)},
		{"large, huge", "GET", blobs + sum(large), fields{"Range": "bytes=9223372036854775807-"}, beyond(large)},
		{"large, more than a number", "GET", blobs + sum(large), fields{"Range": "bytes=9223372036854775808-"}, beyond(large)},
		{"large, backwards", "GET", blobs + sum(large), fields{"Range": "bytes=5-1"}, beyond(large)},
		{"small, no numbers", "GET", blobs + sum(small), fields{"Range": "bytes=a-b"}, beyond(small)},
		{"large, negative", "GET", blobs + sum(large), fields{"Range": "bytes=--1"}, beyond(large)},
		{"large, not bytes", "GET", blobs + sum(large), fields{"Range": "lines=1-2"}, want{status: 200, body: &large}},
		{"small, not bytes", "GET", blobs + sum(small), fields{"Range": "0-5"}, want{status: 200, body: &small}},

		{"no repository", "GET", "/v2/team/none/manifests/v1", nil, want{status: 404, code: "NAME_UNKNOWN", says: "The repository with name 'team/none' does not exist in the registry with id '" + account + "'"}},
		{"no repository, head", "HEAD", "/v2/team/none/manifests/v1", nil, want{status: 404, code: "NAME_UNKNOWN", says: "The repository with name 'team/none' does not exist in the registry with id '" + account + "'"}},
		{"no repository, blob", "GET", "/v2/team/none/blobs/" + sum("x"), nil, want{status: 404, code: "NAME_UNKNOWN"}},
		{"no repository, tags", "GET", "/v2/team/none/tags/list", nil, want{status: 404, code: "NAME_UNKNOWN"}},
		{"no repository, referrers", "GET", "/v2/team/none/referrers/" + d, nil, want{status: 404, code: "NAME_UNKNOWN"}},
		{"no tag", "GET", "/v2/team/app/manifests/v2", nil, want{status: 404, code: "MANIFEST_UNKNOWN", says: "imageTag:'v2'", header: fields{"Docker-Content-Digest": ""}}},
		{"no tag, head", "HEAD", "/v2/team/app/manifests/v2", nil, want{status: 404, code: "MANIFEST_UNKNOWN", says: "imageTag:'v2'"}},
		{"no digest", "GET", "/v2/team/app/manifests/" + sum("x"), nil, want{status: 404, code: "MANIFEST_UNKNOWN", says: sum("x")}},
		{"no blob", "GET", blobs + sum("x"), nil, want{status: 404, code: "BLOB_UNKNOWN", says: sum("x"), header: fields{"Docker-Content-Digest": "", "Etag": ""}}},
		{"no blob, head", "HEAD", blobs + sum("x"), nil, want{status: 404, code: "BLOB_UNKNOWN", says: sum("x")}},
		{"a manifest is no blob", "HEAD", blobs + d, nil, want{status: 404, code: "BLOB_UNKNOWN"}},
		{"no upload", "GET", "/v2/team/app/blobs/uploads/x", nil, want{status: 404, code: "BLOB_UPLOAD_UNKNOWN", says: "start again"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in.with(t).expect(call{method: tc.method, path: tc.path, header: tc.header}, tc.want)
		})
	}
}

// TestAccept: whatever a client says it accepts, it gets the manifest that was pushed.
func TestAccept(t *testing.T) {
	in := newInstance(t, setup{})
	in.repositories("team/app")
	in.push("team/app", small, large)
	image := imageOf(oci.TypeImage, small, large)
	docker := imageOf(oci.TypeDockerManifest, small, large)
	odd := "\n { \"layers\" : [ ],\t\"schemaVersion\":2, \"config\":" + descriptor("a/b", small) + " }  " // no mediaType, spaces
	index := indexOf(oci.TypeIndex, oci.TypeImage, image, odd)
	nested := indexOf(oci.TypeIndex, oci.TypeIndex, index)
	list := indexOf(oci.TypeDockerList, oci.TypeDockerManifest, docker)
	manifests := []struct{ tag, mediaType, data string }{
		{"image", oci.TypeImage, image}, {"docker", oci.TypeDockerManifest, docker}, {"odd", oci.TypeImage, odd},
		{"index", oci.TypeIndex, index}, {"nested", oci.TypeIndex, nested}, {"list", oci.TypeDockerList, list},
	}
	for _, m := range manifests {
		in.put("team/app", m.tag, m.mediaType, m.data)
	}
	for _, m := range manifests {
		for _, accept := range []string{"", "*/*", oci.TypeImage, oci.TypeDockerManifest, oci.TypeIndex + ", " + oci.TypeDockerList,
			"application/vnd.docker.distribution.manifest.v1+prettyjws", "text/html;q=0.1", ", ;;", oci.TypeIndex + ";q=0"} {
			for _, ref := range []string{m.tag, sum(m.data)} {
				w := want{status: 200, body: &m.data, header: fields{"Content-Type": m.mediaType, "Docker-Content-Digest": sum(m.data)}}
				in.expect(call{method: "GET", path: "/v2/team/app/manifests/" + ref, header: fields{"Accept": accept}}, w)
				w.body = nil
				in.expect(call{method: "HEAD", path: "/v2/team/app/manifests/" + ref, header: fields{"Accept": accept}}, w)
			}
		}
	}
}

// TestAddressing: both ways to name an account, for all that has an address in it.
func TestAddressing(t *testing.T) {
	in := newInstance(t, setup{})
	in.repositories("team/app")
	in.push("team/app", small)
	in.put("team/app", "v1", oci.TypeImage, imageOf(oci.TypeImage, small))
	const style = ".dkr.ecr." + region + "." + domain
	unknown := want{status: 404, code: "NAME_UNKNOWN", says: "in the registry with id '" + other + "'"}
	for _, tc := range []struct {
		host, prefix, as string
		want             want
	}{
		{"", "", account, want{status: 200}},
		{"localhost", "", account, want{status: 200}},
		{"", account + "/", account, want{status: 200}},
		{account + style, "", account, want{status: 200}},
		{account + style + ":5000", "", account, want{status: 200}},
		{strings.ToUpper(account + style), "", account, want{status: 200}},
		{account + style, account + "/", account, want{status: 200}},
		{other + style, account + "/", account, want{status: 200}}, // what stands nearer
		{other + style, "", other, unknown},
		{"", other + "/", other, unknown},
		{account + style, other + "/", other, unknown},
		{other + ".dkr.ecr.us-east-1." + domain, "", account, want{status: 200}}, // another region's name is just a name
		{other + style + ".", "", account, want{status: 200}},
		{"x" + other + style, "", account, want{status: 200}},
		{other, "", account, want{status: 200}},
		{other + style, "", account, want{status: 403, code: "DENIED", says: "arn:aws:ecr:" + region + ":" + other + ":repository/team/app"}},
		{"", account + "/", other, want{status: 403, code: "DENIED", says: "User: arn:aws:iam::" + other + ":root"}},
	} {
		for _, path := range []string{"/manifests/v1", "/blobs/" + sum(small), "/tags/list"} {
			in.expect(call{method: "GET", host: tc.host, path: "/v2/" + tc.prefix + "team/app" + path, as: tc.as}, tc.want)
		}
		if tc.want.status != 200 {
			continue
		}
		repo := "/v2/" + tc.prefix + "team/app"
		a := in.expect(call{method: "POST", host: tc.host, path: repo + "/blobs/uploads/", as: tc.as},
			want{status: 202, header: fields{"Location": "~" + repo + "/blobs/uploads/[0-9a-f-]+"}})
		in.expect(call{method: "PUT", host: tc.host, path: a.header.Get("Location") + "?digest=" + sum("x"), body: "x"},
			want{status: 201, header: fields{"Location": repo + "/blobs/" + sum("x")}})
		in.expect(call{method: "GET", host: tc.host, path: repo + "/tags/list"}, want{status: 200, body: text(`{"name":"` + tc.prefix + `team/app","tags":["v1"]}`)})
	}
	for host, w := range map[string]want{
		account + style: {status: 200, body: text(`{"repositories":["team/app"]}`)},
		other + style:   {status: 403, code: "DENIED", says: "ecr:DescribeRepositories on resource: arn:aws:ecr:" + region + ":" + other + ":repository/*"},
	} {
		in.expect(call{method: "GET", path: "/v2/_catalog", host: host}, w)
	}
	in.expect(call{method: "GET", path: "/v2/_catalog", host: other + style, as: other}, want{status: 200, body: text(`{"repositories":[]}`)})
}

// TestArchived: what is archived isn't there for pulls, and says why; pushing it again brings it back.
func TestArchived(t *testing.T) {
	in := newInstance(t, setup{})
	in.repositories("team/app")
	in.push("team/app", small, large)
	image := imageOf(oci.TypeImage, small, large)
	in.put("team/app", "v1", oci.TypeImage, image)
	repo := registry.Repo{Account: account, Name: "team/app"}
	archive := func() {
		t.Helper()
		if _, err := in.local.ArchiveImage(t.Context(), nil, repo, oci.Reference{Tag: "v1"}, true); err != nil {
			t.Fatal(err)
		}
	}
	const path = "/v2/team/app/manifests/"
	archive()
	for _, ref := range []string{"v1", sum(image)} {
		in.expect(call{method: "GET", path: path + ref}, want{status: 404, code: "MANIFEST_UNKNOWN", says: "is archived and cannot be pulled"})
		in.expect(call{method: "HEAD", path: path + ref}, want{status: 404, code: "MANIFEST_UNKNOWN", says: "is archived and cannot be pulled"})
	}
	in.expect(call{method: "GET", path: "/v2/team/app/tags/list"}, want{status: 200, body: text(`{"name":"team/app","tags":["v1"]}`)})
	in.expect(call{method: "HEAD", path: "/v2/team/app/blobs/" + sum(large)}, want{status: 200}) // who pushes it again need not send it
	in.put("team/app", "v1", oci.TypeImage, image)
	in.expect(call{method: "GET", path: path + "v1"}, want{status: 200, body: &image})
	archive()
	in.put("team/app", "v2", oci.TypeImage, image)
	in.expect(call{method: "GET", path: path + "v1"}, want{status: 200, body: &image})
}

// TestImmutableWithExclusion: the tags that a filter names move, the others don't, and the same image again is no move.
func TestImmutableWithExclusion(t *testing.T) {
	in := newInstance(t, setup{})
	in.repositories("team/app")
	in.push("team/app", small, large)
	if _, err := in.local.PutTagMutability(t.Context(), nil, registry.Repo{Account: account, Name: "team/app"}, registry.ImmutableWithExclusion, []string{"dev-*"}); err != nil {
		t.Fatal(err)
	}
	image, other := imageOf(oci.TypeImage, small, large), imageOf(oci.TypeImage, small)
	for _, tag := range []string{"v1", "dev-1"} {
		for range 2 {
			in.put("team/app", tag, oci.TypeImage, image)
		}
	}
	in.put("team/app", "dev-1", oci.TypeImage, other)
	in.expect(call{method: "PUT", path: "/v2/team/app/manifests/v1", body: other, header: fields{"Content-Type": oci.TypeImage}},
		want{status: 400, code: "TAG_INVALID", says: "The image tag 'v1' already exists in the 'team/app' repository and cannot be overwritten because the tag is immutable"})
	in.expect(call{method: "GET", path: "/v2/team/app/manifests/dev-1"}, want{status: 200, body: &other})
	in.expect(call{method: "GET", path: "/v2/team/app/manifests/v1"}, want{status: 200, body: &image})
}
