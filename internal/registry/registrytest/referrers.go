package registrytest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/oci"
	"github.com/sekisho/sekisho/internal/registry"
)

var referrerTests = []test{
	{"pushed before and after the subject", subjectBeforeImage},
	{"descriptors", referrerDescriptors},
	{"filter and pages", referrerPages},
	{"long list", longReferrers},
	{"large annotations", largeReferrers},
	{"deleted", deletedReferrers},
}

// referrers lists the referrers of a digest, by pages of at most limit.
func (c *client) referrers(d digest.Digest, artifactType string, limit int) []oci.Descriptor {
	c.Helper()
	var all []oci.Descriptor
	for p := (registry.Page{Limit: limit}); ; {
		page, err := c.reg().Referrers(c.Context(), c.as, c.repo, d, artifactType, p)
		if err != nil {
			c.Fatalf("Referrers: %v", err)
		}
		if limit > 0 && len(page.Descriptors) > limit {
			c.Errorf("a page of %d has %d referrers", limit, len(page.Descriptors))
		}
		bytes := 0
		for _, text := range page.Descriptors {
			var d oci.Descriptor
			if err := json.Unmarshal(text, &d); err != nil {
				c.Fatalf("descriptor %s: %v", text, err)
			}
			bytes += len(text)
			all = append(all, d)
		}
		if bytes > 2*oci.MaxManifest {
			c.Errorf("a page has %d bytes", bytes)
		}
		if page.Next == "" {
			return all
		}
		if page.Next <= p.After || len(page.Descriptors) == 0 {
			c.Fatalf("the page after %q has %d referrers and the next one begins after %q", p.After, len(page.Descriptors), page.Next)
		}
		p.After = page.Next
	}
}

func digests(all []oci.Descriptor) []digest.Digest {
	var out []digest.Digest
	for _, d := range all {
		out = append(out, d.Digest)
	}
	return out
}

// wantReferrers checks a referrers list: by digest, each once.
func (c *client) wantReferrers(d digest.Digest, want ...document) {
	c.Helper()
	var names []digest.Digest
	for _, m := range want {
		names = append(names, m.digest)
	}
	slices.Sort(names)
	if diff := cmp.Diff(names, digests(c.referrers(d, "", 0))); diff != "" {
		c.Errorf("referrers of %s: %s", d, diff)
	}
}

func subjectBeforeImage(c *client) {
	config := c.small()
	c.blobs(config, empty)
	image := newImage(config)
	c.wantReferrers(image.digest)
	before := newArtifact(image.descriptor(), "a/sbom", "")
	c.push(before)
	c.wantReferrers(image.digest, before)
	c.push(image, "v1")
	c.wantReferrers(image.digest, before)
	after := newArtifact(image.descriptor(), "a/signature", "")
	got, err := c.put(after, "sig")
	if err != nil || got.Subject != image.digest {
		c.Errorf("PutManifest with a subject = %v, %v", got, err)
	}
	c.push(after) // again
	c.wantReferrers(image.digest, before, after)
	of := newArtifact(after.descriptor(), "a/x", "a referrer of a referrer")
	c.push(of)
	c.wantReferrers(after.digest, of)
	c.wantReferrers(image.digest, before, after)
	c.repository("team/other").wantReferrers(image.digest)
}

func referrerDescriptors(c *client) {
	c.blobs(empty)
	subject := c.image()
	child := c.image()
	artifact := newArtifact(subject.descriptor(), "a/sbom", "é <&> \"")
	config := c.small()
	c.blobs(config)
	members := imageMembers(config)
	members["subject"] = subject.descriptor()
	image := newDocument(oci.TypeImage, members) // no artifact type: the config's media type stands for it
	index := newDocument(oci.TypeIndex, object{"manifests": []oci.Descriptor{child.descriptor()}, "subject": subject.descriptor(), "artifactType": "a/index"})
	old := newDocument(oci.TypeArtifact, object{"artifactType": "a/old", "subject": subject.descriptor()})
	var want []oci.Descriptor
	for _, m := range []struct {
		document
		artifactType string
		annotations  map[string]string
	}{{artifact, "a/sbom", map[string]string{"note": "é <&> \""}}, {image, typeConfig, nil}, {index, "a/index", nil}, {old, "a/old", nil}} {
		c.push(m.document)
		d := m.descriptor()
		d.ArtifactType, d.Annotations = m.artifactType, m.annotations
		want = append(want, d)
	}
	slices.SortFunc(want, func(a, b oci.Descriptor) int { return strings.Compare(string(a.Digest), string(b.Digest)) })
	if diff := cmp.Diff(want, c.referrers(subject.digest, "", 0)); diff != "" {
		c.Errorf("referrers: %s", diff)
	}
}

func referrerPages(c *client) {
	c.blobs(empty)
	subject := c.image()
	byType := map[string][]digest.Digest{}
	for i := range 23 {
		artifactType := []string{"a/sbom", "a/signature", "a/rare"}[min(i%2+i/22, 2)]
		m := newArtifact(subject.descriptor(), artifactType, fmt.Sprint(i))
		c.push(m)
		byType[artifactType] = append(byType[artifactType], m.digest)
		byType[""] = append(byType[""], m.digest)
	}
	byType["a/none"] = nil
	for artifactType, want := range byType {
		slices.Sort(want)
		for _, limit := range []int{0, 1, 2, 10, 11, 12, 22, 23, 24} {
			if diff := cmp.Diff(want, digests(c.referrers(subject.digest, artifactType, limit))); diff != "" {
				c.Errorf("referrers of type %q by %d: %s", artifactType, limit, diff)
			}
		}
	}
}

func longReferrers(c *client) {
	c.blobs(empty)
	subject := c.image()
	var want []document
	for i := range registry.MaxPage + 10 {
		m := newArtifact(subject.descriptor(), "a/x", fmt.Sprint(i))
		c.push(m)
		want = append(want, m)
	}
	c.wantReferrers(subject.digest, want...)
	page, err := c.reg().Referrers(c.Context(), c.as, c.repo, subject.digest, "", registry.Page{Limit: 1 << 40})
	if err != nil || len(page.Descriptors) != registry.MaxPage || page.Next == "" {
		c.Errorf("a page as large as it gets has %d referrers, next %q, %v", len(page.Descriptors), page.Next, err)
	}
}

// largeReferrers: a page is bounded in bytes too.
func largeReferrers(c *client) {
	c.blobs(empty)
	subject := c.image()
	var want []document
	for i := range 10 {
		m := newArtifact(subject.descriptor(), "a/x", strings.Repeat(fmt.Sprint(i), 1_500_000))
		c.push(m)
		want = append(want, m)
	}
	c.wantReferrers(subject.digest, want...)
	slices.SortFunc(want, func(a, b document) int { return strings.Compare(string(a.digest), string(b.digest)) })
	if got := digests(c.referrers(subject.digest, "a/x", 0)); len(got) != len(want) {
		c.Errorf("%d referrers of a type, want %d", len(got), len(want))
	}
}

func deletedReferrers(c *client) {
	c.blobs(empty)
	subject := c.image("v1")
	one, two := newArtifact(subject.descriptor(), "a/x", "1"), newArtifact(subject.descriptor(), "a/x", "2")
	c.push(one)
	c.push(two, "two")
	c.wantReferrers(subject.digest, one, two)
	if err := c.delete(byDigest(one.digest)); err != nil {
		c.Fatal(err)
	}
	c.wantReferrers(subject.digest, two)
	if err := c.delete(tag("two")); err != nil { // the tag alone
		c.Fatal(err)
	}
	c.wantReferrers(subject.digest, two)
	if err := c.delete(byDigest(subject.digest)); err != nil {
		c.Fatal(err)
	}
	c.wantReferrers(subject.digest, two)
	if err := c.delete(byDigest(two.digest)); err != nil {
		c.Fatal(err)
	}
	c.wantReferrers(subject.digest)
	c.push(one)
	c.wantReferrers(subject.digest, one)
}
