package githttp_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/git"
)

// wantPushes compares what OnPush was told.
func (w *world) wantPushes(want ...string) {
	w.t.Helper()
	got := w.take()
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		w.t.Errorf("pushes -want +got:\n%s", diff)
	}
}

func TestPushCloneFetch(t *testing.T) {
	w := newWorld(t, nil)
	w.create(app)
	dir := w.workTree("root", "team/app")
	must(t, dir, "push", "-q", "origin", "main")
	w.wantPushes("push root create refs/heads/main")
	second := commit(t, dir, "b/c.txt", "two\n")
	must(t, dir, "tag", "-a", "v1", "-m", "one")
	must(t, dir, "push", "-q", "--follow-tags", "-o", "ci.skip", "origin", "main", "main:refs/heads/feature/x")
	w.wantPushes("push root update refs/heads/main", "push root create refs/tags/v1", "push root create refs/heads/feature/x")

	for _, version := range []string{"0", "1", "2"} {
		for name, args := range map[string][]string{
			"whole": {}, "shallow": {"--depth=1"}, "partial": {"--filter=blob:none"}, "single": {"--single-branch", "-b", "feature/x"}, "mirror": {"--mirror"},
		} {
			t.Run(version+"/"+name, func(t *testing.T) {
				clone := filepath.Join(t.TempDir(), "clone")
				must(t, t.TempDir(), append(append([]string{"-c", "protocol.version=" + version, "clone", "-q"}, args...), w.remote("root", "team/app.git"), clone)...)
				if got := must(t, clone, "rev-parse", "HEAD"); got != second {
					t.Errorf("HEAD is %s, want %s", got, second)
				}
				if name == "mirror" {
					return
				}
				if data, err := os.ReadFile(filepath.Join(clone, "b/c.txt")); err != nil || string(data) != "two\n" {
					t.Errorf("%q, %v", data, err)
				}
				want := "2"
				if name == "shallow" {
					want = "1"
				}
				if got := must(t, clone, "rev-list", "--count", "HEAD"); got != want {
					t.Errorf("%s commits, want %s", got, want)
				}
				if name == "shallow" {
					must(t, clone, "-c", "protocol.version="+version, "fetch", "-q", "--unshallow")
				}
			})
		}
	}
	// Back through another clone, by its owner's account in the path, compressed and in chunks.
	clone := filepath.Join(t.TempDir(), "clone")
	must(t, t.TempDir(), "clone", "-q", w.remote("root", account+"/TEAM/App"), clone)
	for i := range 300 {
		must(t, clone, "branch", fmt.Sprintf("b%03d", i))
	}
	commit(t, clone, "big", strings.Repeat("text that can be compressed\n", 1000))
	must(t, clone, "-c", "http.postBuffer=1000", "push", "-q", "--all")
	if got := len(w.take()); got != 301+0 { // b000… and main
		t.Errorf("%d updates were told", got)
	}
	must(t, dir, "fetch", "-q")
	must(t, dir, "push", "-q", "origin", ":feature/x")
	w.wantPushes("push root delete refs/heads/feature/x")
	if out := must(t, dir, "ls-remote", "origin", "refs/heads/feature/*"); out != "" {
		t.Errorf("still there: %s", out)
	}
}

func TestWhoMayPush(t *testing.T) {
	w := newWorld(t, nil)
	w.create(app)
	arn := `"arn:aws:git:eu-west-1:` + account + `:team/app"`
	pull := `{"Effect":"Allow","Action":"git:Pull","Resource":` + arn + `}`
	w.identity["reader"] = policyOf(pull)
	w.identity["dev"] = policyOf(pull, `{"Effect":"Allow","Action":"git:Push","Resource":`+arn+`,"Condition":{"StringLike":{"git:Ref":"refs/heads/dev/*"}}}`)
	dir := w.workTree("root", "team/app")
	must(t, dir, "push", "-q", "origin", "main")
	w.take()
	commit(t, dir, "x", "x")

	fails(t, dir, []string{"403", "is not authorized to perform: git:Pull", "sekisho why"}, "fetch", w.remote("nobody", "team/app"))
	fails(t, dir, []string{"403"}, "fetch", w.remote("nobody", "team/other"))
	fails(t, dir, []string{"not found", "there is no repository team/other"}, "fetch", w.remote("root", "team/other"))
	fails(t, dir, []string{"! [remote rejected] main -> main (git:Push is not allowed)", "remote: sekisho: refs/heads/main: User: arn:aws:iam::" + account + ":user/reader is not authorized"},
		"push", w.remote("reader", "team/app"), "main")
	fails(t, dir, []string{"! [remote rejected] main -> main (git:Push is not allowed)", "[new branch]      main -> dev/x"},
		"push", w.remote("dev", "team/app"), "main", "main:dev/x")
	w.wantPushes("push dev create refs/heads/dev/x")
	fails(t, dir, []string{"atomic"}, "push", "--atomic", w.remote("dev", "team/app"), "main", "main:dev/y")
	fails(t, dir, []string{"git:ForcePush is not allowed"}, "push", w.remote("dev", "team/app"), ":dev/x")
	must(t, dir, "checkout", "-q", "--orphan", "other")
	commit(t, dir, "y", "y")
	fails(t, dir, []string{"non-fast-forward: git:ForcePush is not allowed"}, "push", "-f", w.remote("dev", "team/app"), "other:dev/x")
	w.wantPushes()
	must(t, dir, "push", "-q", "-f", "origin", "other:dev/x")
	w.wantPushes("push root update refs/heads/dev/x")
	for ref, why := range map[string]string{"refs/pull/1/head": "the server's own", "refs/x/y": "can be pushed to", "refs/heads/refs/heads/x": "not called so"} {
		fails(t, dir, []string{why}, "push", "origin", "other:"+ref)
	}
	fails(t, dir, []string{"there is a ref refs/heads/dev/x"}, "push", "origin", "other:refs/heads/dev/x/y")
	fails(t, dir, []string{"there are refs below"}, "push", "origin", "other:refs/heads/dev")
	fails(t, dir, []string{"default branch can't be deleted"}, "push", "origin", ":main")
	w.wantPushes()
}

func TestRules(t *testing.T) {
	w := newWorld(t, nil)
	w.create(app)
	all := `"Resource":"*"}`
	w.identity["dev"] = policyOf(`{"Effect":"Allow","Action":["git:Pull","git:Push","git:ForcePush"],` + all)
	ctx := t.Context()
	put := func(r git.Rule) {
		t.Helper()
		if err := w.git.PutRule(ctx, caller("root"), app, r); err != nil {
			t.Fatal(err)
		}
	}
	put(git.Rule{Pattern: "main", NoForce: true, NoDelete: true, MaxFile: 1000})
	put(git.Rule{Pattern: "release/**", Pushers: []string{caller("ops").ARN}})
	put(git.Rule{Pattern: "refs/tags/v*", NoForce: true, NoDelete: true})
	dir := w.workTree("dev", "team/app")
	must(t, dir, "push", "-q", "origin", "main", "main:x", "main:refs/tags/v1")
	fails(t, dir, []string{`rule for "release/**": pushes by others`}, "push", "origin", "main:release/1/a")
	fails(t, dir, []string{`rule for "refs/tags/v*": deletion`}, "push", "origin", ":refs/tags/v1")
	write(t, dir, "big.bin", make([]byte, 2000))
	commit(t, dir, "more", "more")
	fails(t, dir, []string{`(rule for "main": a file is too large)`, `"big.bin" has 2000 bytes, and a file may have 1000 bytes`}, "push", "origin", "main")
	must(t, dir, "push", "-q", "origin", "main:x")
	must(t, dir, "commit", "-q", "--amend", "-m", "x", "--allow-empty")
	must(t, dir, "checkout", "-q", "-b", "side", "HEAD~1")
	must(t, dir, "commit", "-q", "--amend", "--allow-empty", "-m", "another")
	fails(t, dir, []string{`non-fast-forward: rule for "main": a push that is not a fast-forward`}, "push", "-f", "origin", "side:main")
	fails(t, dir, []string{`rule for "refs/tags/v*": moving a tag`}, "push", "-f", "origin", "side:refs/tags/v1")
	must(t, dir, "push", "-q", "-f", "origin", "side:x")
	must(t, dir, "push", "-q", "-f", w.remote("root", "team/app"), "side:main") // bypasses
	if err := w.git.PutRule(ctx, caller("dev"), app, git.Rule{Pattern: "x", NoForce: true}); err == nil {
		t.Error("dev may change rules")
	}
	rules, err := w.git.Rules(ctx, caller("root"), app)
	if err != nil || len(rules) != 3 {
		t.Errorf("%v, %v", rules, err)
	}
	if err := w.git.DeleteRule(ctx, caller("root"), app, "main"); err != nil {
		t.Error(err)
	}
	for _, bad := range []git.Rule{{Pattern: "main"}, {Pattern: "[", NoForce: true}, {Pattern: "{a,b}", NoForce: true}, {Pattern: "a", Pushers: []string{"bob"}}} {
		if err := w.git.PutRule(ctx, caller("root"), app, bad); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}

func TestLimits(t *testing.T) {
	w := newWorld(t, func(o *git.Options) { o.Limits = git.Limits{Push: 100_000, Object: 50_000, Size: 400_000} })
	w.create(app)
	dir := w.workTree("root", "team/app")
	random := func(n int) []byte {
		b := make([]byte, n)
		_, _ = rand.Read(b)
		return b
	}
	must(t, dir, "push", "-q", "origin", "main")
	write(t, dir, "a", random(200_000))
	commit(t, dir, "m", "m")
	fails(t, dir, []string{"the push is larger than a push may be, which is 97 KiB", "[remote rejected] main -> main (unpacker error)"}, "push", "origin", "main")
	must(t, dir, "reset", "-q", "--hard", "HEAD~1")
	write(t, dir, "a", random(60_000))
	commit(t, dir, "m", "m")
	fails(t, dir, []string{"a file is too large", `"a" has 58 KiB`}, "push", "origin", "main")
	must(t, dir, "reset", "-q", "--hard", "HEAD~1")
	refused := false
	for i := range 12 {
		write(t, dir, fmt.Sprint("f", i), random(40_000))
		commit(t, dir, "m", fmt.Sprint(i))
		out, ok := run(t, dir, "push", "origin", "main")
		if !ok {
			refused = true
			if !strings.Contains(out, "repository") {
				t.Errorf("%s", out)
			}
			break
		}
	}
	if !refused {
		t.Error("the repository grew over its limit")
	}
	left, err := filepath.Glob(filepath.Join(w.path, "*.git", "objects", "tmp_*"))
	if err != nil || len(left) > 0 {
		t.Errorf("quarantines are left: %v", left)
	}
}

// Trees that would hurt whoever checks them out, and packs that are none.
func TestHostile(t *testing.T) {
	w := newWorld(t, nil)
	w.create(app)
	dir := w.workTree("root", "team/app")
	must(t, dir, "push", "-q", "origin", "main")
	w.take()
	blob := must(t, dir, "hash-object", "-w", "README")
	empty := must(t, dir, "hash-object", "-w", "-t", "tree", "/dev/null")
	object := func(kind string, data []byte) string {
		t.Helper()
		file := filepath.Join(t.TempDir(), "object")
		write(t, filepath.Dir(file), "object", data)
		return must(t, dir, "hash-object", "--literally", "-w", "-t", kind, file)
	}
	raw := func(hash string) string {
		var b bytes.Buffer
		for i := 0; i < 40; i += 2 {
			var c byte
			_, _ = fmt.Sscanf(hash[i:i+2], "%02x", &c)
			b.WriteByte(c)
		}
		return b.String()
	}
	for name, tree := range map[string]string{
		"dotgit":         "40000 .git\x00" + raw(empty),
		"dotgit in HFS+": "40000 .g\u200cit\x00" + raw(empty),
		"git~1":          "40000 git~1\x00" + raw(empty),
		"dotdot":         "40000 ..\x00" + raw(empty),
		"dot":            "40000 .\x00" + raw(empty),
		"slash":          "100644 a/b\x00" + raw(blob),
		"link modules":   "120000 .gitmodules\x00" + raw(blob),
		"twice":          "100644 a\x00" + raw(blob) + "100644 a\x00" + raw(blob),
		"null":           "100644 a\x00" + raw(git.Zero),
		"no blob":        "100644 a\x00" + raw("1234567890123456789012345678901234567890"),
	} {
		hash := object("tree", []byte(tree))
		c := object("commit", []byte("tree "+hash+"\nauthor A <a@example.com> 1 +0000\ncommitter A <a@example.com> 1 +0000\n\nhostile\n"))
		out, ok := run(t, dir, "-c", "fsck.skipList=/dev/null", "push", "origin", c+":refs/heads/hostile")
		if ok {
			t.Errorf("%s was taken", name)
		}
		if !strings.Contains(out, "remote rejected") && !strings.Contains(out, "bad tree object") && !strings.Contains(out, "missing") && !strings.Contains(out, "hung up") && !strings.Contains(out, "pack-objects") {
			t.Errorf("%s: %s", name, out)
		}
	}
	w.wantPushes()
	if out := must(t, dir, "ls-remote", "origin", "refs/heads/hostile"); out != "" {
		t.Error(out)
	}
}
