package registrytest

import (
	"bytes"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/oci"
	"github.com/sekisho/sekisho/internal/registry"
)

var archiveTests = []test{
	{"image", archiveImage},
	{"pushed again", archivedAndPushed},
	{"index", archiveIndex},
	{"part of an index", archivePart},
	{"index of what is archived", indexOfArchived},
	{"referrer", archiveReferrer},
	{"referrers of images", imageReferrers},
	{"unknown", archiveUnknown},
	{"new", pushNew},
	{"against pushes", archiveRaces},
}

// archive moves an image into or out of the archive.
func (c *client) archive(ref oci.Reference, archive bool) *registry.Image {
	c.Helper()
	i, err := c.reg().ArchiveImage(c.Context(), c.as, c.repo, ref, archive)
	if err != nil {
		c.Fatalf("ArchiveImage %v %v: %v", ref, archive, err)
	}
	if i.Archived != archive || archive && i.ArchivedAt.IsZero() {
		c.Errorf("ArchiveImage %v %v = %+v", ref, archive, i)
	}
	return i
}

// wantArchived checks that an image can be described and listed, and not be pulled, by any of its names.
func (c *client) wantArchived(m document, tags ...string) {
	c.Helper()
	for range 2 {
		for _, ref := range append(references(tags), byDigest(m.digest)) {
			c.wantKind("Manifest", fail(c.manifest(ref)), registry.ImageArchived)
			if i, err := c.reg().Image(c.Context(), c.as, c.repo, ref); err != nil || !i.Archived {
				c.Errorf("Image = %+v, %v, want it archived", i, err)
			}
		}
	}
	for _, i := range c.images() {
		if i.Digest == m.digest && (!i.Archived || !cmp.Equal(i.Tags, tags, cmp.Comparer(sameSet))) {
			c.Errorf("Images has %+v, want it archived with the tags %v", i, tags)
		}
	}
}

func sameSet(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

func references(tags []string) (refs []oci.Reference) {
	for _, t := range tags {
		refs = append(refs, tag(t))
	}
	return refs
}

func archiveImage(c *client) {
	m := c.image("v1", "latest")
	c.wantManifest(tag("v1"), m)
	for _, ref := range []oci.Reference{tag("v1"), byDigest(m.digest)} {
		if i := c.archive(ref, false); !i.ActivatedAt.IsZero() { // it is in no archive
			if ref.Tag != "" {
				c.Errorf("an image that was never archived left the archive at %v", i.ActivatedAt)
			}
		}
		first := c.archive(ref, true)
		c.wantArchived(m, "v1", "latest")
		if again := c.archive(ref, true); again.ArchivedAt != first.ArchivedAt {
			c.Errorf("archived at %v, and again at %v", first.ArchivedAt, again.ArchivedAt)
		}
		back := c.archive(ref, false)
		if back.ActivatedAt.Before(first.ArchivedAt) || back.ArchivedAt != first.ArchivedAt {
			c.Errorf("archived at %v and restored at %v", back.ArchivedAt, back.ActivatedAt)
		}
		c.wantManifest(tag("v1"), m)
		c.wantManifest(tag("latest"), m)
		c.wantManifest(byDigest(m.digest), m)
	}
	c.archive(tag("v1"), true)
	if err := c.delete(byDigest(m.digest)); err != nil {
		c.Errorf("delete an archived image: %v", err)
	}
	c.wantNoManifest(tag("v1"))
}

// archivedAndPushed: who pushes what is archived takes it out, also under another tag alone.
func archivedAndPushed(c *client) {
	m := c.image("v1")
	for _, tags := range [][]string{{"v1"}, {"v2"}, nil} {
		c.archive(tag("v1"), true)
		c.wantArchived(m, c.tags()...)
		put, err := c.reg().PutManifest(c.Context(), c.as, c.repo, registry.ManifestPut{Tags: tags, MediaType: m.mediaType, Data: m.data, New: true})
		if err != nil || put.Digest != m.digest {
			c.Fatalf("push what is archived: %v", err)
		}
		c.wantManifest(tag("v1"), m)
		c.wantManifest(byDigest(m.digest), m)
	}
	other := c.image("other")
	c.archive(tag("v1"), true)
	c.push(other, "v1")
	c.wantManifest(tag("v1"), other)
	c.wantArchived(m, "v2") // moving one of its tags away is no push of it
	c.archive(tag("v2"), false)
}

// archiveIndex: an index goes with what it alone names.
func archiveIndex(c *client) {
	alone, tagged, shared := c.image(), c.image("tagged"), c.image()
	index, other := newIndex(alone, tagged, shared), newIndex(shared)
	c.push(index, "index")
	c.push(other, "other")
	outer := newIndex(index)
	c.push(outer, "outer")
	_, err := c.reg().ArchiveImage(c.Context(), c.as, c.repo, tag("index"), true)
	c.wantKind("an index in an index", err, registry.StorageClassKept)
	if err := c.delete(tag("index")); err != nil {
		c.Fatal(err)
	}
	c.archive(tag("outer"), true)
	c.wantArchived(outer, "outer")
	c.wantArchived(index)
	c.wantArchived(alone)
	for _, m := range []document{tagged, shared, other} {
		c.wantManifest(byDigest(m.digest), m)
	}
	c.archive(tag("outer"), false)
	for _, m := range []document{outer, index, alone, tagged, shared, other} {
		c.wantManifest(byDigest(m.digest), m)
	}
}

func archivePart(c *client) {
	m := c.image("part")
	index := newIndex(m)
	c.push(index, "index")
	_, err := c.reg().ArchiveImage(c.Context(), c.as, c.repo, tag("part"), true)
	c.wantKind("part of an index", err, registry.StorageClassKept)
	c.wantManifest(tag("part"), m)
	c.archive(tag("index"), true)
	c.wantManifest(tag("part"), m)
	c.archive(tag("part"), true)
	c.wantArchived(m, "part")
	c.archive(tag("index"), false) // nothing in use has something archived below it
	c.wantManifest(tag("part"), m)
	c.wantManifest(tag("index"), index)
}

func indexOfArchived(c *client) {
	m := c.image("v1")
	c.archive(tag("v1"), true)
	index := newIndex(m)
	c.push(index, "index")
	c.wantManifest(tag("index"), index)
	c.wantManifest(tag("v1"), m)
}

func archiveReferrer(c *client) {
	m := c.image("v1")
	c.blobs(empty)
	a, b := newArtifact(m.descriptor(), "a/x", ""), newArtifact(m.descriptor(), "a/y", "")
	c.push(a)
	c.push(b)
	c.wantReferrers(m.digest, a, b)
	c.archive(byDigest(a.digest), true)
	c.wantReferrers(m.digest, b)
	c.archive(byDigest(a.digest), false)
	c.wantReferrers(m.digest, a, b)
}

func imageReferrers(c *client) {
	m := c.image("v1")
	c.blobs(empty)
	byType := map[string]document{}
	for _, t := range []string{"a/x", "a/y", "a/z"} {
		byType[t] = newArtifact(m.descriptor(), t, "of type "+t)
		c.push(byType[t])
	}
	c.archive(byDigest(byType["a/z"].digest), true)
	for _, tc := range []struct {
		filter registry.ReferrerFilter
		want   []string
	}{
		{registry.ReferrerFilter{}, nil},
		{registry.ReferrerFilter{Active: true}, []string{"a/x", "a/y"}},
		{registry.ReferrerFilter{Archived: true}, []string{"a/z"}},
		{registry.ReferrerFilter{Active: true, Archived: true}, []string{"a/x", "a/y", "a/z"}},
		{registry.ReferrerFilter{Active: true, ArtifactTypes: []string{"a/y"}}, []string{"a/y"}},
		{registry.ReferrerFilter{Active: true, Archived: true, ArtifactTypes: []string{"a/z", "a/x", "none"}}, []string{"a/x", "a/z"}},
		{registry.ReferrerFilter{Active: true, ArtifactTypes: []string{"a/z"}}, nil},
	} {
		for _, limit := range []int{0, 1, 2} {
			all := pages(c, func(p registry.Page) ([]registry.Referrer, bool, error) {
				p.Limit = limit
				return c.reg().ImageReferrers(c.Context(), c.as, c.repo, m.digest, tc.filter, p)
			}, func(r registry.Referrer) string { return string(r.Digest) })
			var got []string
			for _, r := range all {
				got = append(got, r.ArtifactType)
				want := byType[r.ArtifactType]
				if r.Digest != want.digest || r.Size != int64(len(want.data)) || r.Archived != (r.ArtifactType == "a/z") {
					c.Errorf("%+v is not %s", r, want.digest)
				}
			}
			if !sameSet(got, tc.want) {
				c.Errorf("%+v by pages of %d: %v, want %v", tc.filter, limit, got, tc.want)
			}
		}
	}
	list, more, err := c.reg().ImageReferrers(c.Context(), c.as, c.repo, digest.FromString("none"), registry.ReferrerFilter{Active: true}, registry.Page{})
	if err != nil || more || len(list) > 0 {
		c.Errorf("referrers of nothing: %v, %v, %v", list, more, err)
	}
	c.archive(byDigest(byType["a/z"].digest), false)
}

func archiveUnknown(c *client) {
	for _, archive := range []bool{true, false} {
		_, err := c.reg().ArchiveImage(c.Context(), c.as, c.repo, tag("none"), archive)
		c.wantKind("tag", err, registry.ManifestUnknown)
		_, err = c.reg().ArchiveImage(c.Context(), c.as, c.repo, byDigest(digest.FromString("none")), archive)
		c.wantKind("digest", err, registry.ManifestUnknown)
		_, err = c.reg().ArchiveImage(c.Context(), c.as, registry.Repo{Account: c.repo.Account, Name: "team/none"}, tag("none"), archive)
		c.wantKind("repository", err, registry.RepositoryUnknown)
	}
}

// pushNew: who wants to know is told that nothing changed.
func pushNew(c *client) {
	m := c.image("v1")
	push := func(tags ...string) error {
		return fail(c.reg().PutManifest(c.Context(), c.as, c.repo, registry.ManifestPut{Tags: tags, MediaType: m.mediaType, Data: m.data, New: true}))
	}
	c.wantText("the same", push("v1"), registry.ImageExists, "Image with digest '"+string(m.digest)+"' and tag 'v1' already exists in the repository with name 'team/app' in registry with id '"+c.repo.Account+"'")
	c.wantKind("without a tag", push(), registry.ImageExists)
	if err := push("v2"); err != nil {
		c.Errorf("another tag: %v", err)
	}
	c.push(c.image(), "v1")
	if err := push("v1"); err != nil {
		c.Errorf("a tag moved back: %v", err)
	}
	c.wantManifest(tag("v1"), m)
	for _, b := range []content{c.small(), c.large()} {
		for _, want := range []registry.Kind{0, registry.BlobExists, registry.BlobExists} {
			u := c.start()
			if _, err := c.reg().AppendUpload(c.Context(), c.as, c.repo, u.id, registry.AtEnd, bytes.NewReader(b)); err != nil {
				c.Fatal(err)
			}
			_, err := c.reg().CompleteUpload(c.Context(), c.as, c.repo, u.id, registry.UploadEnd{Digest: b.digest(), At: registry.AtEnd, New: true})
			if want != 0 {
				c.wantKind("blob", err, want)
			} else if err != nil {
				c.Fatal(err)
			}
			c.wantBlob(b)
		}
	}
	_, err := c.reg().CompleteUpload(c.Context(), c.as, c.repo, c.start().id, registry.UploadEnd{Digest: c.small().digest(), At: registry.AtEnd, New: true})
	c.wantKind("an upload without bytes", err, registry.UploadEmpty)
}

// archiveRaces: whatever goes on at once, nothing in use has something archived below it.
func archiveRaces(c *client) {
	n := 20
	if testing.Short() {
		n = 4
	}
	for range n {
		m := c.image()
		index := newIndex(m)
		together(
			func() { c.push(index, "index") },
			func() {
				_, err := c.reg().ArchiveImage(c.Context(), c.as, c.repo, byDigest(m.digest), true)
				if err != nil {
					c.wantKind("archive", err, registry.StorageClassKept)
				}
			},
		)
		c.wantManifest(tag("index"), index)
		c.wantManifest(byDigest(m.digest), m)
	}
}
