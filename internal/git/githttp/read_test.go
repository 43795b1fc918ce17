package githttp_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/git"
	"github.com/sekisho/sekisho/internal/iam"
)

func TestRead(t *testing.T) {
	w := newWorld(t, nil)
	r := w.create(app)
	ctx := t.Context()
	if _, err := w.git.Resolve(ctx, r.ID, ""); !errors.Is(err, git.ErrOf(git.NotFound)) {
		t.Errorf("an empty repository: %v", err)
	}
	dir := w.workTree("root", "team/app")
	first := must(t, dir, "rev-parse", "HEAD")
	write(t, dir, "dir/with space/ü.yml", []byte("a: 1\n"))
	write(t, dir, "big", bytes.Repeat([]byte("x"), 5000))
	if err := os.Symlink("README", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	second := commit(t, dir, "run.sh", "#!/bin/sh\n")
	must(t, dir, "tag", "-a", "-m", "x", "v1")
	must(t, dir, "push", "-q", "origin", "main", "v1")

	for name, want := range map[string]string{"": second, "HEAD": second, "main": second, "refs/heads/main": second, "v1": second, "refs/tags/v1": second, first: first} {
		if got, err := w.git.Resolve(ctx, r.ID, name); err != nil || got != want {
			t.Errorf("%q is %s, %v", name, got, err)
		}
	}
	for _, name := range []string{"x", "HEAD~1", "main^{tree}", "main:README", "@{-1}", "--all", "main\nquit", strings.Repeat("1", 40), "../x", "refs/heads/ma in"} {
		if got, err := w.git.Resolve(ctx, r.ID, name); err == nil {
			t.Errorf("%q is %s", name, got)
		}
	}
	f, err := w.git.ReadFile(ctx, r.ID, second, "dir/with space/ü.yml", 100)
	if err != nil || string(f.Data) != "a: 1\n" {
		t.Errorf("%v, %v", f, err)
	}
	for path, kind := range map[string]git.Kind{"big": git.TooLarge, "dir": git.Invalid, "none": git.NotFound, "../README": git.Invalid, ".git/config": git.Invalid,
		"a\nb": git.Invalid, "/README": git.Invalid, "README/x": git.NotFound} {
		if _, err := w.git.ReadFile(ctx, r.ID, second, path, 1000); !errors.Is(err, git.ErrOf(kind)) {
			t.Errorf("%q: %v", path, err)
		}
	}
	if _, err := w.git.ReadFile(ctx, r.ID, strings.Repeat("1", 40), "README", 100); !errors.Is(err, git.ErrOf(git.NotFound)) {
		t.Error(err)
	}
	entries, err := w.git.ListTree(ctx, r.ID, second, "")
	var got []string
	for _, e := range entries {
		got = append(got, fmt.Sprint(e.Kind, " ", e.Name))
	}
	if diff := cmp.Diff([]string{"folder dir", "file README", "file big", "symlink link", "file run.sh"}, got); diff != "" || err != nil {
		t.Errorf("%v -want +got:\n%s", err, diff)
	}
	if entries, err = w.git.ListTree(ctx, r.ID, second, "dir/with space"); err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
	commits, err := w.git.Commits(ctx, r.ID, git.LogQuery{From: second})
	if err != nil || len(commits) != 2 || commits[0].Hash != second || commits[0].Subject != "change run.sh" || commits[0].Parents[0] != first || commits[0].Author.Email != "a@example.com" {
		t.Errorf("%+v, %v", commits, err)
	}
	if commits, err = w.git.Commits(ctx, r.ID, git.LogQuery{From: second, Path: "README", Skip: 0}); err != nil || len(commits) != 1 || commits[0].Hash != first {
		t.Errorf("%+v, %v", commits, err)
	}
	if commits, err = w.git.Commits(ctx, r.ID, git.LogQuery{From: second, Until: first}); err != nil || len(commits) != 1 {
		t.Errorf("%+v, %v", commits, err)
	}
	paths, complete, err := w.git.ChangedPaths(ctx, r.ID, first, second, 100)
	if diff := cmp.Diff([]string{"big", "dir/with space/ü.yml", "link", "run.sh"}, paths); diff != "" || !complete || err != nil {
		t.Errorf("%v %v -want +got:\n%s", complete, err, diff)
	}
	if paths, complete, err = w.git.ChangedPaths(ctx, r.ID, first, second, 2); len(paths) != 2 || complete || err != nil {
		t.Errorf("%v %v %v", paths, complete, err)
	}
	if paths, complete, err = w.git.ChangedPaths(ctx, r.ID, git.Zero, first, 2); len(paths) != 1 || !complete || err != nil {
		t.Errorf("%v %v %v", paths, complete, err)
	}
	if base, err := w.git.MergeBase(ctx, r.ID, first, second); base != first || err != nil {
		t.Errorf("%v %v", base, err)
	}
	refs, err := w.git.Refs(ctx, r.ID, "refs/tags/", "", 10)
	if err != nil || len(refs) != 1 || refs[0].Commit != second || refs[0].Target == second {
		t.Errorf("%v %v", refs, err)
	}
}

func TestCommitFiles(t *testing.T) {
	w := newWorld(t, nil)
	r := w.create(app)
	ctx := t.Context()
	w.identity["dev"] = policyOf(`{"Effect":"Allow","Action":["git:Pull","git:Push"],"Resource":"*"}`)
	w.identity["reader"] = policyOf(`{"Effect":"Allow","Action":["git:Pull"],"Resource":"*"}`)
	file := func(name, text string) []git.FileChange { return []git.FileChange{{Path: name, Data: []byte(text)}} }
	first, err := w.git.CommitFiles(ctx, caller("dev"), app, git.NewCommit{Branch: "main", Message: "one", Files: file("a/b.yml", "1\n")})
	if err != nil {
		t.Fatal(err)
	}
	w.wantPushes("commit dev create refs/heads/main")
	second, err := w.git.CommitFiles(ctx, caller("dev"), app, git.NewCommit{Branch: "main", Parent: first, Message: "two", Files: append(file("c", "2"), git.FileChange{Path: "a/b.yml", Remove: true})})
	if err != nil {
		t.Fatal(err)
	}
	w.wantPushes("commit dev update refs/heads/main")
	if _, err := w.git.CommitFiles(ctx, caller("dev"), app, git.NewCommit{Branch: "topic", From: first, Message: "three", Files: file("c", "2")}); err != nil {
		t.Error(err)
	}
	w.take()
	for name, c := range map[string]struct {
		user string
		nc   git.NewCommit
		kind git.Kind
	}{
		"stale":     {"dev", git.NewCommit{Branch: "main", Parent: first, Message: "x", Files: file("c", "3")}, git.Conflict},
		"is there":  {"dev", git.NewCommit{Branch: "main", Message: "x", Files: file("c", "3")}, git.Conflict},
		"nothing":   {"dev", git.NewCommit{Branch: "main", Parent: second, Message: "x", Files: file("c", "2")}, git.Invalid},
		".git":      {"dev", git.NewCommit{Branch: "main", Parent: second, Message: "x", Files: file("x/.GIT/config", "2")}, git.Invalid},
		"..":        {"dev", git.NewCommit{Branch: "main", Parent: second, Message: "x", Files: file("../x", "2")}, git.Invalid},
		".g it":     {"dev", git.NewCommit{Branch: "main", Parent: second, Message: "x", Files: file(".g\u200cit/config", "2")}, git.Invalid},
		"in a file": {"dev", git.NewCommit{Branch: "main", Parent: second, Message: "", Files: file("c/d", "2")}, git.Invalid},
		"branch":    {"dev", git.NewCommit{Branch: "a..b", Parent: second, Message: "x", Files: file("d", "2")}, git.Invalid},
		"refused":   {"reader", git.NewCommit{Branch: "main", Parent: second, Message: "x", Files: file("d", "2")}, git.Refused},
	} {
		if _, err := w.git.CommitFiles(ctx, caller(c.user), app, c.nc); !errors.Is(err, git.ErrOf(c.kind)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, ok := errors.AsType[*iam.DeniedError](func() error {
		_, err := w.git.CommitFiles(ctx, caller("nobody"), app, git.NewCommit{Branch: "main", Parent: second, Message: "x", Files: file("d", "2")})
		return err
	}()); !ok {
		t.Error("nobody is told")
	}
	w.wantPushes()
	dir := t.TempDir()
	must(t, dir, "clone", "-q", w.remote("root", "team/app"), "x")
	if got := must(t, filepath.Join(dir, "x"), "log", "-1", "--format=%an %ae %s", "--name-status"); !strings.HasPrefix(got, "dev dev@"+account+".invalid two") {
		t.Error(got)
	}
	if err := w.git.Reconcile(ctx, r.ID); err != nil {
		t.Error(err)
	}
	w.wantPushes()
}
