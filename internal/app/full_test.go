package app_test

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

const ociImage = "application/vnd.oci.image.manifest.v1+json"

func imageOf(config string, note string) string {
	return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"a/b","digest":%q,"size":%d},"layers":[],"annotations":{"note":%q}}`, ociImage, sum([]byte(config)), len(config), note)
}

// TestFull: where files can't grow any more, neither the database's nor the layers', pushes are refused with 507 and
// everything else goes on; once they can, so do pushes. All that was acknowledged is there after a restart.
func TestFull(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	w := serveWhole(t, dir)
	acknowledged := map[string]string{} // by path
	blob := func(data string) int {
		t.Helper()
		status, _, answer, err := w.do("POST", "/v2/team/app/blobs/uploads/?digest="+sum([]byte(data)), "", []byte(data))
		if err != nil {
			t.Fatal(err)
		}
		if status == 201 {
			acknowledged["blobs/"+sum([]byte(data))] = data
		} else if !strings.Contains(string(answer), "no room left") {
			t.Fatalf("%d %s", status, answer)
		}
		return status
	}
	image := func(note string) int {
		t.Helper()
		data := imageOf("config", note)
		status, _, answer, err := w.do("PUT", "/v2/team/app/manifests/"+sum([]byte(data)), ociImage, []byte(data))
		if err != nil {
			t.Fatal(err)
		}
		if status == 201 {
			acknowledged["manifests/"+sum([]byte(data))] = data
		} else if !strings.Contains(string(answer), "no room left") {
			t.Fatalf("%d %s", status, answer)
		}
		return status
	}
	reads := func() {
		t.Helper()
		for path, data := range acknowledged {
			if _, got := w.must(200, "GET", "/v2/team/app/"+path, "", ""); got != data {
				t.Errorf("%s is not what was pushed", path)
			}
		}
		for _, path := range []string{"/healthz", "/v2/", "/v2/_catalog", "/v2/team/app/tags/list"} {
			w.must(200, "GET", path, "", "")
		}
	}
	if s := blob("config"); s != 201 {
		t.Fatalf("status %d", s)
	}
	if s := blob(strings.Repeat("large", 20_000)); s != 201 {
		t.Fatalf("status %d", s)
	}
	limitFiles(t, largestFile(t, dir)+256<<10)
	refused := map[string]bool{}
	for i := 0; len(refused) < 3 && i < 500; i++ {
		note := fmt.Sprintf("%d %s", i, strings.Repeat("x", 10_000))
		if blob(note) == 507 {
			refused["small"] = true
		}
		if blob(note+strings.Repeat("y", 5<<20)) == 507 {
			refused["large"] = true
		}
		if image(note) == 507 {
			refused["manifest"] = true
		}
	}
	if len(refused) < 3 {
		t.Errorf("only these were refused: %v", refused)
	}
	for range 20 {
		reads()
	}
	limitFiles(t, 0)
	for _, status := range []int{blob("again"), blob(strings.Repeat("again", 2<<20)), image("again")} {
		if status != 201 {
			t.Errorf("once there was room: status %d", status)
		}
	}
	reads()
	if n := stagedBytes(t, dir); n != 0 {
		t.Errorf("%d bytes are left of uploads", n)
	}
	if err := w.end(); err != nil {
		t.Errorf("the end of the server: %v", err)
	}
	w = serveWhole(t, dir)
	reads()
	t.Logf("%d pushes were acknowledged", len(acknowledged))
}

// limitFiles lets no file of this process grow beyond size, 0 for no limit.
func limitFiles(t *testing.T, size int64) {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Cur = limit.Max; size > 0 {
		limit.Cur = uint64(size)
		t.Cleanup(func() { limitFiles(t, 0) })
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
}

func largestFile(t *testing.T, dir string) int64 {
	t.Helper()
	var sizes []int64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			sizes = append(sizes, info.Size())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return slices.Max(sizes)
}
