//go:build unix

package worker

import (
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/agent/work"
)

// gitServer serves repositories by the stock git, to whoever knows the token.
type gitServer struct {
	t    *testing.T
	dir  string
	url  string
	work string // a clone to make commits in
}

const jobToken = "token-of-the-job"

func newGitServer(t *testing.T) *gitServer {
	t.Helper()
	needs(t, "git")
	path, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		t.Fatal(err)
	}
	g := &gitServer{t: t, dir: t.TempDir(), work: t.TempDir()}
	backend := &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(path)), "git-http-backend"), Root: "/git",
		Env:        []string{"GIT_PROJECT_ROOT=" + g.dir, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"},
		InheritEnv: []string{"PATH"},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, password, _ := r.BasicAuth(); password != jobToken {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		backend.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	g.url = server.URL
	return g
}

func (g *gitServer) git(dir string, args ...string) string {
	g.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=protocol.file.allow", "GIT_CONFIG_VALUE_0=always")
	out, err := cmd.CombinedOutput()
	if err != nil {
		g.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// repository makes a repository with some commits, and returns their ids.
func (g *gitServer) repository(name string, files ...string) []string {
	g.t.Helper()
	bare, clone := filepath.Join(g.dir, name), filepath.Join(g.work, name)
	g.git(g.dir, "init", "--quiet", "--bare", "--initial-branch=main", bare)
	g.git(g.work, "init", "--quiet", "--initial-branch=main", clone)
	var ids []string
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(clone, f), []byte(f+"\n"), 0o644); err != nil {
			g.t.Fatal(err)
		}
		g.git(clone, "add", ".")
		g.git(clone, "commit", "--quiet", "-m", f)
		ids = append(ids, g.git(clone, "rev-parse", "HEAD"))
	}
	g.git(clone, "push", "--quiet", bare, "main")
	return ids
}

func (g *gitServer) bench(repos []work.Repository, steps ...work.Step) *bench {
	b := newBench(g.t, steps...)
	b.job.Server, b.job.Token, b.job.Repositories = g.url, jobToken, repos
	return b
}

func checkoutStep(inputs ...string) work.Step {
	s := work.Step{Task: "checkout@1", Inputs: map[string]string{}}
	for i := 0; i < len(inputs); i += 2 {
		s.Inputs[inputs[i]] = inputs[i+1]
	}
	return s
}

func self(version string) work.Repository {
	return work.Repository{Alias: "self", Name: "p/app", Type: "git", URL: "/git/app", Ref: "refs/heads/main", Version: version}
}

func TestCheckout(t *testing.T) {
	g := newGitServer(t)
	ids := g.repository("app", "one", "two", "three")
	look := bash("ls; git log --format=%s; git status --porcelain | head; git symbolic-ref -q HEAD || echo detached; cat .git/config | grep -ci authorization; pwd; true")
	b := g.bench([]work.Repository{self(ids[1])}, checkoutStep(), look, bash("ps -eo args | grep -c '[A]uthorization: Basic'; echo new > left; echo changed > one; mkdir -p .git/hooks; printf '#!/bin/sh\\necho hooked' > .git/hooks/post-checkout; chmod +x .git/hooks/post-checkout; true"))
	b.must(work.Succeeded)
	sources := filepath.Join(b.opts.Work, "1", "s")
	if diff := cmp.Diff("one\ntwo\ntwo\ndetached\n0\n"+sources, b.text("s2")); diff != "" {
		t.Error(diff, b.lines)
	}
	// Again, in the same folder: another commit, more of it, cleaned.
	again := g.bench([]work.Repository{self(ids[2])}, checkoutStep("clean", "true", "fetchDepth", "0", "persistCredentials", "true"), look, bash("git ls-remote -q origin | wc -l"))
	again.opts.Work = b.opts.Work
	again.must(work.Succeeded)
	if diff := cmp.Diff("one\nthree\ntwo\nthree\ntwo\none\ndetached\n1\n"+sources, again.text("s2")); diff != "" {
		t.Error(diff, again.lines)
	}
	if again.text("s3") == "0" {
		t.Error("the credentials did not persist")
	}
	if log := strings.Join(append(b.lines, again.lines...), "\n"); strings.Contains(log, jobToken) || strings.Contains(log, "\nhooked\n") {
		t.Error(log)
	}
	config, err := os.ReadFile(filepath.Join(sources, ".git", "config"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(strings.ToLower(string(config)), "authorization") {
		t.Errorf("the credentials are left:\n%s", config)
	}
}

// TestMovedRef has a branch that was overwritten, and moved on, since the run was started.
// TestLeftConfiguration: nothing that an earlier job left in the repository runs in the checkout of a later one.
func TestLeftConfiguration(t *testing.T) {
	g := newGitServer(t)
	ids := g.repository("p/one", "a", "b")
	repos := []work.Repository{{Alias: "self", Name: "p/one", Type: "git", URL: "/git/p/one", Ref: "refs/heads/main", Version: ids[0]}}
	checkout := work.Step{Task: "checkout@1", Inputs: map[string]string{"repository": "self"}}
	ran := filepath.Join(t.TempDir(), "ran")
	leave := bash(`elsewhere=$(mktemp -d)
cp -r .git/. "$elsewhere"
evil="touch ` + ran + `"
printf '[core]\n\tfsmonitor = %s\n[filter "x"]\n\tsmudge = %s; cat\n\tclean = %s; cat\n' "$evil" "$evil" "$evil" >>"$elsewhere/config"
mkdir -p "$elsewhere/info" .git/info
echo '* filter=x' | tee "$elsewhere/info/attributes" >.git/info/attributes
cp "$elsewhere/config" .git/config.worktree
echo "$elsewhere" >.git/commondir`)
	one := g.bench(repos, checkout, leave)
	one.must(work.Succeeded)
	repos[0].Version = ids[1]
	two := g.bench(repos, checkout, bash("ls"))
	two.opts.Work = one.opts.Work
	two.must(work.Succeeded)
	if diff := cmp.Diff("a\nb", two.text("s2")); diff != "" {
		t.Error(diff)
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("what was left ran")
	}
}

func TestMovedRef(t *testing.T) {
	g := newGitServer(t)
	ids := g.repository("app", "one", "two", "three")
	g.git(filepath.Join(g.dir, "app"), "config", "uploadpack.allowAnySHA1InWant", "false")
	g.git(filepath.Join(g.dir, "app"), "config", "protocol.version", "0")
	b := g.bench([]work.Repository{self(ids[0])}, checkoutStep(), bash("git log --format=%s -1"))
	b.must(work.Succeeded)
	if diff := cmp.Diff("one", b.text("s2")); diff != "" {
		t.Error(diff)
	}
	gone := g.bench([]work.Repository{self("0123456789012345678901234567890123456789")}, checkoutStep())
	gone.must(work.Failed)
	if m := gone.record("s1").Message; !strings.Contains(m, "is no longer in the repository") {
		t.Errorf("message %q", m)
	}
}

func TestCheckoutMany(t *testing.T) {
	g := newGitServer(t)
	app, tools := g.repository("app", "one"), g.repository("tools", "tool")
	repos := []work.Repository{self(app[0]), {Alias: "tools", Name: "p/tools", Type: "git", URL: "/git/tools", Ref: "refs/heads/main", Version: tools[0]}}
	b := g.bench(repos, checkoutStep("repository", "self"), checkoutStep("repository", "tools", "path", "s/deep/er"), bash("ls app deep/er; echo $BUILD_REPOSITORY_LOCALPATH; pwd"))
	b.must(work.Succeeded)
	sources := filepath.Join(b.opts.Work, "1", "s")
	if diff := cmp.Diff("app:\none\n\ndeep/er:\ntool\n"+sources+"/app\n"+sources, b.text("s3")); diff != "" {
		t.Error(diff)
	}
}

func TestCheckoutRefused(t *testing.T) {
	g := newGitServer(t)
	ids := g.repository("app", "one")
	for _, test := range []struct {
		repo   work.Repository
		inputs []string
		want   string
	}{
		{self(ids[0]), []string{"path", "../x"}, "leads out"},
		{self(ids[0]), []string{"path", "/etc/x"}, "leads out"},
		{self(ids[0]), []string{"path", "."}, "leads out"},
		{self(ids[0]), []string{"path", "a/../../x"}, "leads out"},
		{self("--upload-pack=touch x"), nil, "no commit"},
		{work.Repository{Alias: "self", Type: "git", URL: "/git/app", Ref: "--upload-pack=x"}, nil, "no ref"},
		{work.Repository{Alias: "self", Type: "external", URL: "ext::sh -c id", Ref: "refs/heads/main"}, nil, "only http and https"},
		{work.Repository{Alias: "self", Type: "external", URL: "file:///etc", Ref: "refs/heads/main"}, nil, "only http and https"},
		{self(ids[0]), []string{"fetchDepth", "x"}, "fetchDepth"},
		{self(ids[0]), []string{"submodules", "x"}, "submodules"},
		{self(ids[0]), []string{"repository", "other"}, "no repository resource"},
	} {
		b := g.bench([]work.Repository{test.repo}, checkoutStep(test.inputs...))
		b.must(work.Failed)
		if m := b.record("s1").Message; !strings.Contains(m, test.want) {
			t.Errorf("%v %v: %q", test.repo.URL, test.inputs, m)
		}
	}
	link := g.bench([]work.Repository{self(ids[0])}, bash("ln -s /tmp $AGENT_BUILDDIRECTORY/out"), checkoutStep("path", "out/x"))
	link.must(work.Failed)
}

func TestSubmodules(t *testing.T) {
	g := newGitServer(t)
	g.repository("tools", "tool")
	g.repository("app", "one")
	clone := filepath.Join(g.work, "app")
	g.git(clone, "submodule", "--quiet", "add", filepath.Join(g.dir, "tools"), "tools")
	g.git(clone, "config", "-f", ".gitmodules", "submodule.tools.url", "../tools")
	g.git(clone, "commit", "--quiet", "-am", "module")
	g.git(clone, "push", "--quiet", filepath.Join(g.dir, "app"), "main")
	b := g.bench([]work.Repository{self(g.git(clone, "rev-parse", "HEAD"))}, checkoutStep("submodules", "recursive"), bash("ls tools"))
	b.must(work.Succeeded)
	if diff := cmp.Diff("tool", b.text("s2")); diff != "" {
		t.Error(diff)
	}
}

func TestLocalCheckout(t *testing.T) {
	g := newGitServer(t)
	g.repository("app", "one", "two")
	clone := filepath.Join(g.work, "app")
	for name, text := range map[string]string{"one": "changed\n", "new": "new\n", ".gitignore": "ignored\n", "ignored": "x"} {
		if err := os.WriteFile(filepath.Join(clone, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(filepath.Join(clone, "two")); err != nil {
		t.Fatal(err)
	}
	b := newBench(t, checkoutStep(), bash("ls; cat one; git log --format=%s -1; git status --porcelain; echo more > two"))
	b.job.Repositories = []work.Repository{{Alias: "self", Name: "app", Type: "git"}}
	b.opts.Checkout = map[string]string{"self": clone}
	b.must(work.Succeeded)
	if diff := cmp.Diff("new\none\nchanged\ntwo\n M one\n D two\n?? .gitignore\n?? new", b.text("s2")); diff != "" {
		t.Error(diff)
	}
	if _, err := os.Stat(filepath.Join(clone, "two")); err == nil {
		t.Error("the step changed the folder that it came from")
	}
}
