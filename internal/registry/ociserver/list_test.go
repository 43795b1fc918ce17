package ociserver_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/meta/metatest"
	"github.com/sekisho/sekisho/internal/oci"
	"github.com/sekisho/sekisho/internal/registry"
)

var link = regexp.MustCompile(`^<(/v2/[^>]+)>; rel="next"$`)

// pages follows a list from path to its end, and returns what each page has, read by names.
func (in *instance) pages(path string, names func(answer) []string) (all [][]string) {
	in.Helper()
	for path != "" && len(all) < 1000 {
		a := in.expect(call{method: "GET", path: path}, want{status: 200})
		all = append(all, names(a))
		path = ""
		if l := a.header.Get("Link"); l != "" {
			m := link.FindStringSubmatch(l)
			if m == nil {
				in.Fatalf("malformed Link %q", l)
			}
			path = m[1]
		}
	}
	return all
}

// member reads a list of names from a JSON object.
func (in *instance) member(name string) func(answer) []string {
	return func(a answer) []string {
		in.Helper()
		var doc map[string]json.RawMessage
		names := []string{}
		if err := json.Unmarshal([]byte(a.body), &doc); err != nil {
			in.Fatalf("%v: %s", err, a.body)
		}
		if err := json.Unmarshal(doc[name], &names); err != nil || names == nil {
			in.Fatalf("%s is no list, %v: %s", name, err, a.body)
		}
		return names
	}
}

// testListing reads a list of five names behind a path in all ways.
func testListing(in *instance, path, key string, names []string) {
	in.Helper()
	read := in.member(key)
	chunk := func(n int) [][]string { return slices.Collect(slices.Chunk(names, n)) }
	for query, want := range map[string][][]string{
		"":                               {names},
		"?n=1":                           chunk(1),
		"?n=2":                           chunk(2),
		"?n=4":                           chunk(4),
		"?n=5":                           {names},
		"?n=6":                           {names},
		"?n=1000":                        {names},
		"?n=1001":                        {names},
		"?n=2147483648":                  {names},
		"?n=99999999999999999999":        {names},
		"?n=0":                           {{}},
		"?n=0&last=" + names[0]:          {{}},
		"?last=" + names[0]:              {names[1:]},
		"?n=2&last=" + names[2]:          {names[3:]},
		"?n=1&last=" + names[3]:          {names[4:]},
		"?last=" + names[1] + "-":        {names[2:]}, // not there, and still a place
		"?last=" + names[4]:              {{}},
		"?last=zzzz":                     {{}},
		"?last=~":                        {{}},
		"?last=":                         {names},
		"?last=" + names[2] + "&n=2&x=%": {names[3:]},
	} {
		if diff := cmp.Diff(want, in.pages(path+query, read)); diff != "" {
			in.Errorf("%s%s: %s", path, query, diff)
		}
	}
	for _, n := range []string{"-1", "x", "", "1.5", "0x10", "+1", "1e3", "%201", "1%00", "-99999999999999999999", "%FF"} {
		in.expect(call{method: "GET", path: path + "?n=" + n}, want{status: 400, code: "PAGINATION_NUMBER_INVALID", says: "n must be a number"})
	}
	for _, last := range []string{"%00", "a%00", "%FF", "%C3%A9", "a%0Ab", "%7F", strings.Repeat("x", 257), strings.Repeat("x", 30_000)} {
		in.expect(call{method: "GET", path: path + "?last=" + last}, want{status: 400, code: "PAGINATION_NUMBER_INVALID", says: "last"})
	}
}

func TestTags(t *testing.T) {
	metatest.EachDSN(t, func(t *testing.T, dsn string) {
		in := newInstance(t, setup{dsn: dsn})
		in.repositories("team/app", "team/none")
		in.push("team/app", small)
		names := []string{"A", "V1", "_x", "a.b-c", "v1"} // in byte order
		for _, name := range names {
			in.put("team/app", name, oci.TypeImage, imageOf(oci.TypeImage, small))
		}
		testListing(in, "/v2/team/app/tags/list", "tags", names)
		testListing(in, "/v2/"+account+"/team/app/tags/list", "tags", names)
		in.expect(call{method: "GET", path: "/v2/team/app/tags/list?n=2"}, want{status: 200, body: text(`{"name":"team/app","tags":["A","V1"]}`),
			header: fields{"Content-Type": "application/json", "Link": `</v2/team/app/tags/list?last=V1&n=2>; rel="next"`}})
		in.expect(call{method: "GET", path: "/v2/team/app/tags/list"}, want{status: 200, header: fields{"Link": ""}})
		in.expect(call{method: "GET", path: "/v2/team/none/tags/list"}, want{status: 200, body: text(`{"name":"team/none","tags":[]}`), header: fields{"Link": ""}})
		in.expect(call{method: "GET", path: "/v2/team/never/tags/list?n=0"}, want{status: 404, code: "NAME_UNKNOWN"})
	})
}

// TestManyTags: a page has an end, whatever n says, and a Link.
func TestManyTags(t *testing.T) {
	in := newInstance(t, setup{})
	in.repositories("team/app")
	in.push("team/app", small)
	var names []string
	image := imageOf(oci.TypeImage, small)
	for i := range registry.MaxPage + 5 {
		names = append(names, fmt.Sprintf("t%04d", i))
	}
	for tags := range slices.Chunk(names, 100) {
		in.expect(call{method: "PUT", path: "/v2/team/app/manifests/" + sum(image) + "?" + url.Values{"tag": tags}.Encode(), header: fields{"Content-Type": oci.TypeImage}, body: image}, want{status: 201})
	}
	cut := [][]string{names[:registry.MaxPage], names[registry.MaxPage:]}
	for _, query := range []string{"", "?n=1000", "?n=1001", "?n=4294967296"} {
		if diff := cmp.Diff(cut, in.pages("/v2/team/app/tags/list"+query, in.member("tags"))); diff != "" {
			t.Errorf("%s: %s", query, diff)
		}
	}
}

func TestCatalog(t *testing.T) {
	metatest.EachDSN(t, func(t *testing.T, dsn string) {
		in := newInstance(t, setup{dsn: dsn})
		names := []string{"a-b", "a/b", "a0", "b/c/d", "b1"} // in byte order
		in.repositories(names...)
		testListing(in, "/v2/_catalog", "repositories", names)
		in.expect(call{method: "GET", path: "/v2/_catalog?n=2"}, want{status: 200, body: text(`{"repositories":["a-b","a/b"]}`),
			header: fields{"Content-Type": "application/json", "Link": `</v2/_catalog?last=a%2Fb&n=2>; rel="next"`}})
		in.expect(call{method: "GET", path: "/v2/_catalog", as: other}, want{status: 403, code: "DENIED"})
	})
}

func TestReferrers(t *testing.T) {
	metatest.EachDSN(t, func(t *testing.T, dsn string) {
		in := newInstance(t, setup{dsn: dsn})
		in.repositories("team/app")
		in.push("team/app", small, "{}")
		image := imageOf(oci.TypeImage, small)
		const one, two = "application/vnd.example.one", "application/vnd.example.two+json; v=\"1\""
		byType := map[string][]string{}
		sizes := map[string]int{}
		var all []string
		for i := range 7 { // some of them before the image
			if i == 3 {
				in.put("team/app", "v1", oci.TypeImage, image)
			}
			artifactType := []string{one, two}[i%2]
			a := artifactOf(artifactType, image, fmt.Sprint(i))
			d := in.put("team/app", sum(a), oci.TypeImage, a)
			all, byType[artifactType], sizes[d] = append(all, d), append(byType[artifactType], d), len(a)
		}
		slices.Sort(all)
		digests := func(a answer) []string {
			var index struct {
				SchemaVersion int
				MediaType     string
				Manifests     []oci.Descriptor
			}
			if err := json.Unmarshal([]byte(a.body), &index); err != nil || index.SchemaVersion != 2 || index.MediaType != oci.TypeIndex || index.Manifests == nil {
				t.Fatalf("%v: %s", err, a.body)
			}
			found := []string{}
			for _, m := range index.Manifests {
				if m.Size != int64(sizes[string(m.Digest)]) || m.MediaType != oci.TypeImage || m.ArtifactType != one && m.ArtifactType != two || m.Annotations["note"] == "" {
					t.Errorf("descriptor %+v", m)
				}
				found = append(found, string(m.Digest))
			}
			return found
		}
		path := "/v2/team/app/referrers/" + sum(image)
		for _, n := range []int{1, 3, 7, 100} {
			for artifactType, want := range map[string][]string{"": all, one: byType[one], two: byType[two], "application/none": nil} {
				slices.Sort(want)
				q := url.Values{"n": {fmt.Sprint(n)}}
				if artifactType != "" {
					q.Set("artifactType", artifactType)
				}
				if diff := cmp.Diff(want, slices.Concat(in.pages(path+"?"+q.Encode(), digests)...)); diff != "" {
					t.Errorf("n=%d, artifactType=%s: %s", n, artifactType, diff)
				}
			}
		}
		in.expect(call{method: "GET", path: path}, want{status: 200, header: fields{"Content-Type": oci.TypeIndex, "Oci-Filters-Applied": "", "Link": ""}})
		in.expect(call{method: "GET", path: path + "?n=2"}, want{status: 200, header: fields{"Link": "</v2/team/app/referrers/" + sum(image) + "?last=" + url.QueryEscape(all[1]) + `&n=2>; rel="next"`}})
		in.expect(call{method: "GET", path: path + "?n=1&artifactType=" + one}, want{status: 200, header: fields{"Oci-Filters-Applied": "artifactType",
			"Link": "~</v2/team/app/referrers/.*artifactType=" + url.QueryEscape(one) + "&last=sha256%3A[0-9a-f]{64}&n=1>; rel=\"next\""}})
		empty := want{status: 200, body: text(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`), header: fields{"Link": ""}}
		for _, path := range []string{path + "?n=0", path + "?last=sha512", "/v2/team/app/referrers/" + sum("never"), "/v2/team/app/referrers/" + sum512(image), path + "?artifactType=none"} {
			in.expect(call{method: "GET", path: path}, empty)
		}
		for _, query := range []string{"artifactType=%00", "artifactType=a%FFb"} {
			in.expect(call{method: "GET", path: path + "?" + query}, want{status: 400, code: "MANIFEST_INVALID", says: "artifactType"})
		}
		for _, query := range []string{"last=%00", "last=%FF", "n=-1", "n=x"} {
			in.expect(call{method: "GET", path: path + "?" + query}, want{status: 400, code: "PAGINATION_NUMBER_INVALID"})
		}
		for _, d := range []string{"v1", "sha256:x", "md5:" + strings.Repeat("0", 32), strings.ToUpper(sum(image)), ""} {
			in.expect(call{method: "GET", path: "/v2/team/app/referrers/" + d}, want{status: 400, code: "DIGEST_INVALID"})
		}
	})
}
