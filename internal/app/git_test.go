package app_test

import (
	"errors"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sekisho/sekisho/internal/app"
	"github.com/sekisho/sekisho/internal/config"
	"github.com/sekisho/sekisho/internal/git"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/project"
)

// gitProgram runs the stock client, or skips the test where there is none.
func gitProgram(t *testing.T, dir string, args ...string) (string, bool) {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		if os.Getenv("SEKISHO_REQUIRE_TOOLS") != "" {
			t.Fatal("git is not here, and SEKISHO_REQUIRE_TOOLS is set")
		}
		t.Skip("SKIPPED: git is not here")
	}
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+dir, "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0", "GIT_ASKPASS=false", "LC_ALL=C",
		"GIT_AUTHOR_NAME=A", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=A", "GIT_COMMITTER_EMAIL=a@example.com")
	out, err := cmd.CombinedOutput()
	return string(out), err == nil
}

// TestGit: a repository of a project is pushed to and cloned, through the endpoints that lead to git and no other; it is in a
// backup, and damage is found.
func TestGit(t *testing.T) {
	w := serveEntrances(t)
	ctx := t.Context()
	root := (&iam.Principal{Account: w.in.Account, ARN: iam.RootARN(w.in.Account), Type: iam.Root, ID: w.in.Account}).Caller()
	name := git.Name{Account: w.in.Account, Project: "web", Repo: "shop"}
	if _, err := w.in.Git.Create(ctx, root, git.Draft{Name: name}); !errors.Is(err, project.ErrNotFound) {
		t.Errorf("in no project: %v", err)
	}
	if _, err := w.in.Projects.CreateProject(ctx, root, project.NewProject{Name: "web"}); err != nil {
		t.Fatal(err)
	}
	r, err := w.in.Git.Create(ctx, root, git.Draft{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	remote := func(addr, user, password string) string {
		return (&url.URL{Scheme: "http", User: url.UserPassword(user, password), Host: addr, Path: "/git/web/shop"}).String()
	}
	dir := t.TempDir()
	must := func(args ...string) string {
		t.Helper()
		out, ok := gitProgram(t, dir, args...)
		if !ok {
			t.Fatalf("git %v: %s", args, out)
		}
		return out
	}
	must("init", "-q", "-b", "main")
	must("commit", "-q", "--allow-empty", "-m", "one")
	must("push", "-q", remote(w.ordinary, w.user, w.pass), "main")
	must("push", "-q", remote(w.build, w.user, w.pass), "main:other")
	if out, ok := gitProgram(t, dir, "ls-remote", remote(w.console, w.user, w.pass)); ok || !strings.Contains(out, consoles) || !strings.Contains(out, "403") {
		t.Errorf("through the endpoint of the console: %v %s", ok, out)
	}
	if out, ok := gitProgram(t, dir, "ls-remote", remote(w.ordinary, w.user, "wrong")); ok || !strings.Contains(out, "Authentication failed") {
		t.Errorf("with a wrong secret: %v %s", ok, out)
	}
	head, err := w.in.Git.Resolve(ctx, r.ID, "main")
	if err != nil {
		t.Fatal(err)
	}

	backup := filepath.Join(t.TempDir(), "backup")
	report, err := w.in.Backup(ctx, backup, nil)
	if err != nil || report.Repositories != 1 {
		t.Fatalf("%+v %v", report, err)
	}
	loaded, err := config.Load(config.Options{Env: []string{"SEKISHO_DATA=" + backup, "SEKISHO_REGION=eu-west-1"}})
	if err != nil {
		t.Fatal(err)
	}
	copied, err := app.Open(ctx, &loaded.Config, w.in.Log, app.Exclusive)
	if err != nil {
		t.Fatal(err)
	}
	defer copied.Close()
	if got, err := copied.Git.Resolve(ctx, r.ID, "main"); err != nil || got != head {
		t.Errorf("in the backup main is %q, %v", got, err)
	}
	if n, err := copied.Git.Fsck(ctx, func(f git.Fault) error { return errors.New(f.Detail) }); n != 1 || err != nil {
		t.Errorf("%d %v", n, err)
	}
}

// Without git everything else works, and the log says what does not.
func TestWithoutGit(t *testing.T) {
	w := serveWhole(t, filepath.Join(t.TempDir(), "data"), "SEKISHO_GIT_PROGRAM=git-is-not-here")
	if n := strings.Count(w.log.String(), "git-is-not-here is not there on the server"); n != 1 {
		t.Errorf("the log says it %d times: %s", n, w.log.String())
	}
	resp, text := w.raw("GET /git/web/shop/info/refs?service=git-upload-pack", "Authorization: "+w.authorization()+"\r\n", "")
	if resp.StatusCode != 404 { // of what is not there, that comes first
		t.Errorf("%d %s", resp.StatusCode, text)
	}
	if resp, text := w.raw("GET /v2/", "Authorization: "+w.authorization()+"\r\n", ""); resp.StatusCode != 200 {
		t.Errorf("%d %s", resp.StatusCode, text)
	}
}
