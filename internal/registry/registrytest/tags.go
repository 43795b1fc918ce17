package registrytest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/registry"
)

var tagTests = []test{
	{"moved", movedTag},
	{"immutable", immutableTags},
	{"byte order", tagOrder},
	{"pages", tagPages},
	{"pages of images", imagePages},
}

func movedTag(c *client) {
	one, two := c.image("latest"), c.image()
	for _, m := range []document{two, one, two} {
		c.push(m, "latest")
		c.wantManifest(tag("latest"), m)
		c.wantManifest(byDigest(one.digest), one)
		c.wantManifest(byDigest(two.digest), two)
	}
	i, err := c.reg().Image(c.Context(), c.as, c.repo, byDigest(one.digest))
	if err != nil || len(i.Tags) > 0 {
		c.Errorf("Image without its tag: %v, %v", i, err)
	}
}

func immutableTags(c *client) {
	for i, tc := range []struct {
		mutability registry.Mutability
		exclusions []string
		tag        string
		moves      bool
	}{
		{"", nil, "v1", true},
		{registry.Mutable, nil, "v1", true},
		{registry.Immutable, nil, "v1", false},
		{registry.Immutable, nil, "latest", false},
		{registry.ImmutableWithExclusion, []string{"latest", "dev-*"}, "latest", true},
		{registry.ImmutableWithExclusion, []string{"latest", "dev-*"}, "dev-", true},
		{registry.ImmutableWithExclusion, []string{"latest", "dev-*"}, "dev-1", true},
		{registry.ImmutableWithExclusion, []string{"latest", "dev-*"}, "Dev-1", false},
		{registry.ImmutableWithExclusion, []string{"latest", "dev-*"}, "latest2", false},
		{registry.ImmutableWithExclusion, []string{"*-rc*"}, "1.0-rc1", true},
		{registry.ImmutableWithExclusion, []string{"*-rc*"}, "1.0rc1", false},
		{registry.ImmutableWithExclusion, []string{"1.*"}, "1x0", false},
		{registry.MutableWithExclusion, []string{"prod*"}, "prod", false},
		{registry.MutableWithExclusion, []string{"prod*"}, "prod-1", false},
		{registry.MutableWithExclusion, []string{"prod*"}, "test", true},
	} {
		c.Run(fmt.Sprintf("%s %v %s", tc.mutability, tc.exclusions, tc.tag), func(t *testing.T) {
			c := *c
			c.T = t
			r := c.repository(fmt.Sprintf("team/r%d", i), registry.RepositorySettings{Mutability: tc.mutability, MutabilityExclusions: tc.exclusions})
			one, two := r.image(tc.tag), r.image("other")
			r.push(one, tc.tag) // the same digest again always succeeds
			got, err := r.put(two, tc.tag)
			if tc.moves {
				if err != nil || got.Digest != two.digest {
					t.Errorf("moving the tag: %v", err)
				}
				r.wantManifest(tag(tc.tag), two)
				return
			}
			r.wantText("moving the tag", err, registry.TagImmutable, fmt.Sprintf(
				"The image tag '%s' already exists in the '%s' repository and cannot be overwritten because the tag is immutable", tc.tag, r.repo.Name))
			if e, ok := err.(*registry.Error); ok && e.Digest != one.digest {
				t.Errorf("the error names %s, want what is there, %s", e.Digest, one.digest)
			}
			r.wantManifest(tag(tc.tag), one)
			// A tag that is gone can be pushed again, as at ECR.
			if err := r.delete(tag(tc.tag)); err != nil {
				t.Error(err)
			}
			r.push(two, tc.tag)
			r.wantManifest(tag(tc.tag), two)
		})
	}
}

// mixed are tags in byte order, which is no locale's.
var mixed = []string{"0", "00", "1.0", "1.0-rc", "1.0.1", "10", "2", "A", "B-1", "Z", "_", "_a", "a", "a-", "a-1", "a.", "a0", "aB", "a_", "aa", "b", "z.1"}

func tagOrder(c *client) {
	if !slices.IsSorted(mixed) {
		c.Fatal("the test's own tags are not in byte order")
	}
	m := c.image()
	for i := range mixed { // pushed in another order
		c.push(m, mixed[i*7%len(mixed)])
	}
	if diff := cmp.Diff(mixed, c.tags()); diff != "" {
		c.Errorf("tags: %s", diff)
	}
	for i, after := range append(mixed, "", "5", "Zz", "~") {
		var want []string
		for _, name := range mixed {
			if name > after {
				want = append(want, name)
			}
		}
		got, more, err := c.reg().Tags(c.Context(), c.as, c.repo, registry.Page{After: after, Limit: 3})
		if wantMore := len(want) > 3; err != nil || !slices.Equal(got, want[:min(3, len(want))]) || more != wantMore {
			c.Errorf("%d: tags after %q = %v, %v, %v, want %v, %v", i, after, got, more, err, want, wantMore)
		}
	}
}

func tagPages(c *client) {
	if got, more, err := c.reg().Tags(c.Context(), c.as, c.repo, registry.Page{}); len(got) > 0 || more || err != nil {
		c.Errorf("tags of an empty repository = %v, %v, %v", got, more, err)
	}
	m := c.image()
	const n = registry.MaxPage + 5
	var want []string
	for i := 0; i < n; i += 201 {
		var some []string
		for k := i; k < min(n, i+201); k++ {
			some = append(some, fmt.Sprintf("t%05d", k))
		}
		c.push(m, some...)
		want = append(want, some...)
	}
	for _, tc := range []struct {
		limit, want int
		more        bool
	}{
		{1, 1, true}, {registry.MaxPage - 1, registry.MaxPage - 1, true}, {registry.MaxPage, registry.MaxPage, true},
		{registry.MaxPage + 1, registry.MaxPage, true}, {1 << 40, registry.MaxPage, true}, {0, registry.MaxPage, true}, {-1, registry.MaxPage, true},
	} {
		got, more, err := c.reg().Tags(c.Context(), c.as, c.repo, registry.Page{Limit: tc.limit})
		if err != nil || !slices.Equal(got, want[:tc.want]) || more != tc.more {
			c.Errorf("tags with limit %d: %d, %v, %v, want the first %d, %v", tc.limit, len(got), more, err, tc.want, tc.more)
		}
	}
	got, more, err := c.reg().Tags(c.Context(), c.as, c.repo, registry.Page{After: want[n-3], Limit: 2})
	if err != nil || !slices.Equal(got, want[n-2:]) || more {
		c.Errorf("the last page is %v, %v, %v", got, more, err)
	}
	if diff := cmp.Diff(want, c.tags()); diff != "" {
		c.Errorf("all tags: %s", diff)
	}
}

func imagePages(c *client) {
	want := map[string][]string{}
	for i := range 25 {
		names := []string{fmt.Sprintf("t%d", i), fmt.Sprintf("T%d", i)}[:i%3%2+i%2]
		want[string(c.image(names...).digest)] = slices.Sorted(slices.Values(names))
	}
	for _, limit := range []int{1, 7, 24, 25, 26} {
		got := map[string][]string{}
		for p := (registry.Page{Limit: limit}); ; {
			images, more, err := c.reg().Images(c.Context(), c.as, c.repo, p)
			ids, idsMore, idsErr := c.reg().ImageIDs(c.Context(), c.as, c.repo, p)
			if err != nil || idsErr != nil || len(images) > limit || len(ids) != len(images) || more != idsMore {
				c.Fatalf("Images: %d, %v, %v; ImageIDs: %d, %v, %v", len(images), more, err, len(ids), idsMore, idsErr)
			}
			for i, image := range images {
				if ids[i].Digest != image.Digest || !slices.Equal(ids[i].Tags, image.Tags) || string(image.Digest) <= p.After {
					c.Errorf("Images has %v, ImageIDs %v, after %s", image, ids[i], p.After)
				}
				p.After = string(image.Digest)
				got[p.After] = image.Tags
			}
			if !more {
				break
			}
		}
		if diff := cmp.Diff(want, got, cmp.Comparer(slices.Equal[[]string])); diff != "" {
			c.Errorf("images by %d: %s", limit, diff)
		}
	}
}
