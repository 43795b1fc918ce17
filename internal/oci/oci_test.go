package oci

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCheckName(t *testing.T) {
	for name, ok := range map[string]bool{
		"ab": true, "a/b": true, "a-b/c_d.e__f": true, "a---b": true, "team/app/web": true, "12345678901/x": true, "docker-hub/library/nginx": true,
		"": false, "a": false, "A/b": false, "a//b": false, "/ab": false, "ab/": false, "a..b": false, "a___b": false, "a._b": false, "-ab": false, "ab-": false,
		"a/../b": false, "a/./b": false, "a b": false, "a\x00b": false, "123456789012/x": false, "123456789012": false, "é/x": false,
		strings.Repeat("a", 256): true, strings.Repeat("a", 257): false,
	} {
		if err := CheckName(name); (err == nil) != ok {
			t.Errorf("CheckName(%q) = %v, want ok %v", name, err, ok)
		}
	}
}

func TestParseReference(t *testing.T) {
	hex := strings.Repeat("0a", 32)
	for in, want := range map[string]Reference{
		"latest":                         {Tag: "latest"},
		"_1.2-3":                         {Tag: "_1.2-3"},
		"sha256:" + hex:                  {Digest: "sha256:" + "0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a"},
		"sha512:" + hex + hex:            {Digest: "sha512:" + "0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a"},
		strings.Repeat("x", 128):         {Tag: strings.Repeat("x", 128)},
		"":                               {},
		"-x":                             {},
		".x":                             {},
		"a/b":                            {},
		"sha256:":                        {},
		"sha256:" + hex[1:]:              {},
		"sha256:" + hex + "0":            {},
		"sha256:" + strings.ToUpper(hex): {},
		"sha384:" + hex:                  {},
		"md5:" + hex:                     {},
		"sha256:baddigeststring":         {},
		strings.Repeat("x", 129):         {},
	} {
		got, err := ParseReference(in)
		if want == (Reference{}) {
			if err == nil {
				t.Errorf("ParseReference(%q) = %v, want an error", in, got)
			}
			continue
		}
		if err != nil || got != want {
			t.Errorf("ParseReference(%q) = %v, %v, want %v", in, got, err, want)
		}
	}
}

func TestContentRange(t *testing.T) {
	for in, want := range map[string][2]int64{
		"0-0": {0, 0}, "0-1023": {0, 1023}, "10-19": {10, 19}, "bytes 5-9/20": {5, 9}, "bytes 5-9/*": {5, 9}, "0-9223372036854775807": {0, 1<<63 - 1},
		"": {-1}, "-": {-1}, "5": {-1}, "5-": {-1}, "-5": {-1}, "9-5": {-1}, "a-b": {-1}, "0-9223372036854775808": {-1}, "+0-5": {-1}, "0-5 ": {-1}, "0-5/7": {-1},
	} {
		first, last, err := ContentRange(in)
		if (err != nil) != (want[0] < 0) || err == nil && (first != want[0] || last != want[1]) {
			t.Errorf("ContentRange(%q) = %d, %d, %v, want %v", in, first, last, err, want)
		}
	}
}

const (
	someDigest = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
	descriptor = `{"mediaType":"m","digest":"` + someDigest + `","size":2}`
)

func TestParseManifest(t *testing.T) {
	d := Descriptor{MediaType: "m", Digest: someDigest, Size: 2}
	for _, tc := range []struct {
		name, contentType, data string
		want                    *Manifest
		err                     string
	}{
		{"image", TypeImage, `{"schemaVersion":2,"mediaType":"` + TypeImage + `","config":` + descriptor + `,"layers":[` + descriptor + `]}`,
			&Manifest{MediaType: TypeImage, ArtifactType: "m", Config: &d, Blobs: []Descriptor{d, d}}, ""},
		{"parameters are ignored", TypeImage + "; charset=utf-8", `{"schemaVersion":2,"config":` + descriptor + `,"layers":[]}`,
			&Manifest{MediaType: TypeImage, ArtifactType: "m", Config: &d, Blobs: []Descriptor{d}}, ""},
		{"its own media type", "", `{"schemaVersion":2,"mediaType":"` + TypeIndex + `","manifests":[` + descriptor + `]}`,
			&Manifest{MediaType: TypeIndex, Children: []Descriptor{d}}, ""},
		{"artifact with subject", TypeImage, `{"schemaVersion":2,"artifactType":"a/b","config":` + descriptor + `,"layers":[],"subject":` + descriptor + `,"annotations":{"k":"v"},"custom":{"x":[1]}}`,
			&Manifest{MediaType: TypeImage, ArtifactType: "a/b", Config: &d, Blobs: []Descriptor{d}, Subject: &d, Annotations: map[string]string{"k": "v"}}, ""},
		{"artifact manifest", TypeArtifact, `{"mediaType":"` + TypeArtifact + `","artifactType":"a/b","blobs":[` + descriptor + `]}`,
			&Manifest{MediaType: TypeArtifact, ArtifactType: "a/b", Blobs: []Descriptor{d}}, ""},
		{"no type", "", `{"schemaVersion":2}`, nil, "neither the request's Content-Type"},
		{"other type", TypeImage, `{"schemaVersion":2,"mediaType":"` + TypeIndex + `"}`, nil, "must be the same"},
		{"unknown type", "text/plain", `{"schemaVersion":2}`, nil, `media type "text/plain" is no manifest's`},
		{"schema 1", "application/vnd.docker.distribution.manifest.v1+prettyjws", `{"schemaVersion":1}`, nil, "schema 1"},
		{"schema version", TypeImage, `{"schemaVersion":1,"config":` + descriptor + `}`, nil, "schemaVersion must be 2"},
		{"image and index", TypeImage, `{"schemaVersion":2,"config":` + descriptor + `,"manifests":[]}`, nil, "must not have manifests"},
		{"index and image", TypeIndex, `{"schemaVersion":2,"manifests":[],"layers":[` + descriptor + `]}`, nil, "must not have config or layers"},
		{"no config", TypeImage, `{"schemaVersion":2,"layers":[]}`, nil, "config is missing"},
		{"bad digest", TypeImage, `{"schemaVersion":2,"config":` + descriptor + `,"layers":[{"digest":"sha256:x"}]}`, nil, "layers[0]: digest"},
		{"bad child", TypeIndex, `{"schemaVersion":2,"manifests":[{"digest":"x:y"}]}`, nil, "manifests[0]: digest"},
		{"artifact type", TypeIndex, `{"schemaVersion":2,"manifests":[],"artifactType":"a\u0000b"}`, nil, `artifactType "a\x00b" is not a media type`},
		{"media type", TypeIndex, `{"schemaVersion":2,"manifests":[{"digest":"` + someDigest + `","mediaType":"é"}]}`, nil, `manifests[0]: mediaType "é" is not a media type`},
		{"negative size", TypeImage, `{"schemaVersion":2,"config":{"digest":"` + someDigest + `","size":-1}}`, nil, "config: size"},
		{"twice", TypeImage, `{"schemaVersion":2,"config":` + descriptor + `,"Config":` + descriptor + `}`, nil, `member "Config" twice`},
		{"wrong kind", TypeImage, `{"schemaVersion":2,"config":7}`, nil, "must be a"},
		{"truncated", TypeImage, `{"schemaVersion":2,"config":`, nil, "ends too early"},
		{"trailing", TypeImage, `{"schemaVersion":2} {}`, nil, "nothing after it"},
		{"array", TypeImage, `[]`, nil, "one JSON object"},
		{"empty", TypeImage, ``, nil, "ends too early"},
		{"deep", TypeImage, `{"a":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, nil, "deeper than"},
		{"large", TypeImage, strings.Repeat(" ", MaxManifest+1), nil, "at most"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := ParseManifest(tc.contentType, []byte(tc.data))
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Fatalf("error %v, want one with %q", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func FuzzReference(f *testing.F) {
	for _, s := range []string{"latest", someDigest, "a/../b", "sha512:", "123456789012"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if r, err := ParseReference(s); err == nil && r.String() != s {
			t.Errorf("ParseReference(%q).String() = %q", s, r.String())
		}
		if CheckName(s) == nil && (strings.Contains(s, "..") || strings.HasPrefix(s, "/") || strings.ContainsAny(s, "\x00\\:@ ")) {
			t.Errorf("CheckName accepts %q", s)
		}
	})
}

func FuzzContentRange(f *testing.F) {
	f.Add("0-10")
	f.Add("bytes 0-10/11")
	f.Fuzz(func(t *testing.T, s string) {
		if first, last, err := ContentRange(s); err == nil && (first < 0 || last < first) {
			t.Errorf("ContentRange(%q) = %d, %d", s, first, last)
		}
	})
}

// TestPlainJSON: what is taken for plain has nothing that is refused, and what clients send is plain.
func TestPlainJSON(t *testing.T) {
	for data, plain := range map[string]bool{
		`{"schemaVersion":2,"config":` + descriptor + `,"layers":[` + descriptor + `,` + descriptor + `]}`: true,
		"{\n \"a\": [1, {\"b\": \"}\\\"{\"}], \"b\": {\"a\": 1, \"a\": 2}, \"é\" : \"\"}":                  false,
		"{\n \"a\": [1, {\"b\": \"}\\\"{\"}], \"b\": {\"a\": 1, \"a\": 2}, \"c\" : \"é\"}":                 true,
		`{"a":1,"A":2}`: false, `{"a":1,"a":2}`: false, `{"a":1,"\u0061":2}`: false, `{"k":1,"\u212a":2}`: false, `{"s":1,"ſ":2}`: false,
		`{}`: false, `[]`: false, `7`: false, ``: false, `{"a":1} {}`: false, `{"a":`: false, `{"a":1,}`: false,
		`{"a":` + strings.Repeat("[", maxDepth-1) + strings.Repeat("]", maxDepth-1) + `}`: true,
		`{"a":` + strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth) + `}`:     false,
	} {
		if got := plainJSON([]byte(data)); got != plain || got && checkJSON([]byte(data)) != nil {
			t.Errorf("plainJSON(%s) = %v, checkJSON %v", data, got, checkJSON([]byte(data)))
		}
	}
}

func BenchmarkParseManifest(b *testing.B) {
	data := []byte(`{"schemaVersion":2,"mediaType":"` + TypeImage + `","config":` + descriptor + `,"layers":[` + descriptor + `,` + descriptor + `]}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseManifest(TypeImage, data); err != nil {
			b.Fatal(err)
		}
	}
}

func FuzzManifest(f *testing.F) {
	f.Add(TypeImage, []byte(`{"schemaVersion":2,"config":`+descriptor+`,"layers":[]}`))
	f.Add(TypeIndex, []byte(`{"schemaVersion":2,"manifests":[`+descriptor+`]}`))
	f.Add("", []byte(`{"a":[{"\u0061":"\\\""}],"B":"{","b":{}}`))
	f.Fuzz(func(t *testing.T, contentType string, data []byte) {
		if plainJSON(data) {
			if err := checkJSON(data); err != nil {
				t.Errorf("taken for plain: %v", err)
			}
		}
		m, err := ParseManifest(contentType, data)
		if err != nil {
			return
		}
		for _, d := range append(m.Blobs, m.Children...) {
			if _, err := ParseDigest(string(d.Digest)); err != nil {
				t.Error(err)
			}
		}
	})
}
