package githttp_test

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sekisho/sekisho/internal/git"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
)

// Ten thousand refs are pushed at once, listed, updated and deleted.
func TestManyRefs(t *testing.T) {
	n := 10_000
	if testing.Short() || raceDetector {
		n = 500
	}
	w := newWorld(t, nil)
	r := w.create(app)
	dir := w.workTree("root", "team/app")
	head := must(t, dir, "rev-parse", "HEAD")
	must(t, dir, "push", "-q", "origin", "main")
	// By hand: the stock client's own work grows with the square of it.
	push := func(before, now string, pack []byte) {
		t.Helper()
		var body bytes.Buffer
		capabilities := "\x00 report-status side-band-64k object-format=sha1"
		for i := range n {
			line := fmt.Sprintf("%s %s refs/heads/many/b%05d%s", before, now, i, capabilities)
			fmt.Fprintf(&body, "%04x%s", len(line)+4, line)
			capabilities = ""
		}
		body.WriteString("0000")
		body.Write(pack)
		status, _, text := w.ask("root", "POST", "/git/team/app/git-receive-pack", http.Header{"Content-Type": {"application/x-git-receive-pack-request"}}, &body)
		if status != 200 || strings.Contains(text, "ng ") {
			t.Fatalf("%d %.300q", status, text)
		}
	}
	empty := []byte("PACK\x00\x00\x00\x02\x00\x00\x00\x00")
	sum := sha1.Sum(empty)
	push(git.Zero, head, append(empty, sum[:]...))
	if got := len(w.take()); got != n+1 {
		t.Errorf("%d were told", got)
	}
	refs, err := w.git.Refs(t.Context(), r.ID, "refs/heads/many/", "", n+1)
	if err != nil || len(refs) != n {
		t.Errorf("%d %v", len(refs), err)
	}
	if got := strings.Count(must(t, dir, "ls-remote", "origin", "refs/heads/many/*"), "\n") + 1; got != n {
		t.Errorf("%d are listed", got)
	}
	push(head, git.Zero, nil)
	if got := len(w.take()); got != n {
		t.Errorf("%d were told", got)
	}
	if out := must(t, dir, "ls-remote", "origin", "refs/heads/many/*"); out != "" {
		t.Errorf("left: %.300s", out)
	}
}

// A large file goes in and out as it is, in bounded memory.
func TestLargeFile(t *testing.T) {
	size := 200 << 20
	if testing.Short() || raceDetector {
		size = 40 << 20
	}
	w := newWorld(t, nil)
	w.create(app)
	dir := w.workTree("root", "team/app")
	name := filepath.Join(dir, "large.bin")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	hash := sha256.New()
	if _, err := io.CopyN(io.MultiWriter(f, hash), rand.NewChaCha8([32]byte{1}), int64(size)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	must(t, dir, "-c", "core.compression=0", "add", "-A")
	must(t, dir, "commit", "-q", "-m", "large")
	must(t, dir, "-c", "core.compression=0", "push", "-q", "origin", "main")
	clone := filepath.Join(t.TempDir(), "clone")
	must(t, t.TempDir(), "clone", "-q", w.remote("root", "team/app"), clone)
	if f, err = os.Open(filepath.Join(clone, "large.bin")); err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got := sha256.New()
	if _, err := io.Copy(got, f); err != nil {
		t.Fatal(err)
	}
	if string(got.Sum(nil)) != string(hash.Sum(nil)) {
		t.Error("it came back as another one")
	}
}

// Clients that push to one branch at once: one wins, the others are told to fetch first, and nothing is lost.
func TestRacingPushes(t *testing.T) {
	w := newWorld(t, nil)
	r := w.create(app)
	dir := w.workTree("root", "team/app")
	must(t, dir, "push", "-q", "origin", "main")
	const clients = 4
	var wg sync.WaitGroup
	for i := range clients {
		clone := filepath.Join(t.TempDir(), "clone")
		must(t, t.TempDir(), "clone", "-q", w.remote("root", "team/app"), clone)
		wg.Go(func() {
			commit(t, clone, fmt.Sprint("f", i), "x")
			for range 20 {
				if out, ok := run(t, clone, "push", "-q", "origin", "main"); ok {
					return
				} else if !strings.Contains(out, "fetch first") {
					t.Errorf("%s", out)
					return
				}
				must(t, clone, "pull", "-q", "--rebase", "origin", "main")
			}
			t.Error("never got through")
		})
	}
	wg.Wait()
	head, err := w.git.Resolve(t.Context(), r.ID, "main")
	if err != nil {
		t.Fatal(err)
	}
	commits, err := w.git.Commits(t.Context(), r.ID, git.LogQuery{From: head})
	if err != nil || len(commits) != clients+1 {
		t.Errorf("%d commits, %v", len(commits), err)
	}
}

// Packing keeps what is there, also while it is pushed to; a copy is whole; damage is found.
func TestUpkeep(t *testing.T) {
	w := newWorld(t, nil)
	r := w.create(app)
	other := w.create(git.Name{Account: account, Project: "team", Repo: "empty"})
	ctx := t.Context()
	dir := w.workTree("root", "team/app")
	for i := range 5 {
		commit(t, dir, "f", fmt.Sprint(i))
		must(t, dir, "push", "-q", "origin", "main")
	}
	must(t, dir, "push", "-q", "origin", "HEAD~2:refs/heads/gone")
	must(t, dir, "push", "-q", "origin", ":gone")
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range 5 {
			commit(t, dir, "g", fmt.Sprint(i))
			must(t, dir, "push", "-q", "origin", "main")
		}
	})
	for range 2 {
		if err := w.git.Collect(ctx); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
	if err := w.git.Collect(ctx); err != nil {
		t.Error(err)
	}
	clone := filepath.Join(t.TempDir(), "clone")
	must(t, t.TempDir(), "clone", "-q", w.remote("root", "team/app"), clone)
	if got := must(t, clone, "rev-list", "--count", "HEAD"); got != "11" {
		t.Errorf("%s commits", got)
	}
	noFault := func(f git.Fault) error { return errors.New(f.Detail) }
	if n, err := w.git.Fsck(ctx, noFault); n != 2 || err != nil {
		t.Errorf("%d %v", n, err)
	}
	if got, err := w.git.ByID(ctx, r.ID); err != nil || got.Size == 0 {
		t.Errorf("%+v %v", got, err)
	}

	target := filepath.Join(t.TempDir(), "git")
	if n, err := w.git.CopyTo(ctx, w.db, target); n != 2 || err != nil {
		t.Fatalf("%d %v", n, err)
	}
	must(t, filepath.Join(target, r.ID+".git"), "fsck", "--full")
	clone = filepath.Join(t.TempDir(), "clone")
	must(t, t.TempDir(), "clone", "-q", "--bare", filepath.Join(target, r.ID+".git"), clone)
	if got := must(t, clone, "rev-list", "--count", "HEAD"); got != "11" {
		t.Errorf("%s commits in the copy", got)
	}

	packs, err := filepath.Glob(filepath.Join(w.path, r.ID+".git", "objects", "pack", "*.pack"))
	if err != nil || len(packs) == 0 {
		t.Fatal(packs, err)
	}
	for _, pack := range packs {
		data, err := os.ReadFile(pack)
		if err != nil {
			t.Fatal(err)
		}
		data[len(data)/2] ^= 0x55
		if err := errors.Join(os.Remove(pack), os.WriteFile(pack, data, 0o400)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.RemoveAll(filepath.Join(w.path, other.ID+".git")); err != nil {
		t.Fatal(err)
	}
	var faults []string
	n, err := w.git.Fsck(ctx, func(f git.Fault) error {
		faults = append(faults, f.Repo)
		return nil
	})
	if err != nil || n != 2 || strings.Join(faults, " ") != "app empty" {
		t.Errorf("%d %v %v", n, faults, err)
	}
	if _, err := w.git.CopyTo(ctx, w.db, filepath.Join(t.TempDir(), "git")); err == nil {
		t.Error("a damaged repository was copied")
	}
}

// Settings, names, deletion; on both databases.
func TestRepositories(t *testing.T) {
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) {
		w := newWorld(t, nil)
		w.db = db
		ctx := t.Context()
		w.openOn(db)
		root := caller("root")
		r := w.create(app)
		for _, n := range []git.Name{{Account: account, Project: "Team", Repo: "APP"}, {Account: account, Project: "team", Repo: "app"}} {
			if _, err := w.git.Create(ctx, root, git.Draft{Name: n}); !errors.Is(err, git.ErrOf(git.Exists)) {
				t.Errorf("%v: %v", n, err)
			}
		}
		for _, name := range []string{"", ".", "..", "a/b", "a.git", "a..b", "-x", "a b", strings.Repeat("a", 64), "ü"} {
			if _, err := w.git.Create(ctx, root, git.Draft{Name: git.Name{Account: account, Project: "team", Repo: name}}); !errors.Is(err, git.ErrOf(git.Invalid)) {
				t.Errorf("%q: %v", name, err)
			}
		}
		dir := w.workTree("root", "team/app")
		must(t, dir, "push", "-q", "origin", "main", "main:trunk")
		name, branch := "renamed", "trunk"
		changed, err := w.git.Update(ctx, root, app, git.Edit{Name: &name, DefaultBranch: &branch})
		if err != nil || changed.Name != name || changed.ID != r.ID || changed.ARN != "arn:aws:git:eu-west-1:"+account+":team/renamed" {
			t.Fatalf("%+v %v", changed, err)
		}
		if out := must(t, dir, "ls-remote", "--symref", w.remote("root", "team/renamed"), "HEAD"); !strings.Contains(out, "refs/heads/trunk") {
			t.Error(out)
		}
		all, err := w.git.List(ctx, root, account, "", nil, 10)
		if err != nil || len(all) != 1 {
			t.Errorf("%v %v", all, err)
		}
		if err := w.git.PutRule(ctx, root, git.Name{Account: account, Project: "team", Repo: name}, git.Rule{Pattern: "**", NoForce: true, Pushers: []string{"arn:x"}}); err != nil {
			t.Error(err)
		}
		if err := w.git.Reconcile(ctx, r.ID); err != nil {
			t.Error(err)
		}
		if err := w.git.Delete(ctx, root, git.Name{Account: account, Project: "team", Repo: name}); err != nil {
			t.Fatal(err)
		}
		fails(t, dir, []string{"not found"}, "ls-remote", w.remote("root", "team/renamed"))
		if _, err := w.git.Resolve(ctx, r.ID, "trunk"); !errors.Is(err, git.ErrOf(git.NotFound)) {
			// The folder may still be there: only the default branch is looked up in the database.
			if _, err := w.git.ByID(ctx, r.ID); !errors.Is(err, git.ErrOf(git.NotFound)) {
				t.Error(err)
			}
		}
	})
}
