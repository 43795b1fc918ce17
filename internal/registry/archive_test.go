package registry

import (
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/oci"
)

// TestCollectArchived: what was put aside is kept, with all that it needs, and has its time once it is back.
func TestCollectArchived(t *testing.T) {
	eachFixture(t, CollectOptions{UntaggedAge: 10 * time.Hour}, func(t *testing.T, f *fixture) {
		repo := f.repo("team/app")
		config := f.blob(repo, "{}")
		kept := f.put(repo, image([]digest.Digest{config}, "", "kept"))
		child := f.put(repo, image([]digest.Digest{config}, "", "child"))
		idx := f.put(repo, index([]digest.Digest{child}, ""))
		other := f.put(repo, image([]digest.Digest{config}, "", "other"))
		archive := func(d digest.Digest, archive bool) {
			t.Helper()
			f.must(second(f.l.ArchiveImage(t.Context(), nil, repo, oci.Reference{Digest: d}, archive)))
		}
		there := func(want map[digest.Digest]bool) {
			t.Helper()
			f.collect()
			for d, want := range want {
				_, err := f.l.Image(t.Context(), nil, repo, oci.Reference{Digest: d})
				if (err == nil) != want {
					t.Errorf("%s: %v, want it there: %v", d, err, want)
				}
			}
		}
		archive(kept, true)
		archive(idx, true)
		f.clock.add(11 * time.Hour)
		there(map[digest.Digest]bool{kept: true, idx: true, child: true, other: false})
		f.clock.add(1000 * time.Hour)
		there(map[digest.Digest]bool{kept: true, idx: true, child: true})
		archive(kept, false)
		archive(idx, false)
		f.wantBlob(repo, "{}")
		f.clock.add(9 * time.Hour)
		there(map[digest.Digest]bool{kept: true, idx: true, child: true})
		f.clock.add(2 * time.Hour)
		there(map[digest.Digest]bool{kept: false, idx: false})
	})
}
