package githttp_test

import (
	"context"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sekisho/sekisho/internal/git"
	"github.com/sekisho/sekisho/internal/iam"
)

var copied = git.Name{Account: account, Project: "team", Repo: "copied"}

// settle waits until a mirror was tried again.
func (w *world) settle(n git.Name, after func(*git.MirrorState) bool) *git.MirrorState {
	w.t.Helper()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		st, err := w.git.MirrorState(w.t.Context(), caller("root"), n)
		if err != nil {
			w.t.Fatal(err)
		}
		if after(st) {
			return st
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			w.t.Fatalf("the mirror does not get there: %+v", st)
		}
	}
}

func tried(since time.Time) func(*git.MirrorState) bool {
	return func(st *git.MirrorState) bool { return st.Tried.After(since) }
}

func TestMirror(t *testing.T) {
	w := newWorld(t, func(o *git.Options) {
		o.MirrorAllow = []string{"127.0.0.1"}
		o.Credential = func(_ context.Context, c *iam.Caller, name string) (string, string, error) {
			if c.Name == "dev" {
				return "", "", errors.New("dev may not read secrets")
			}
			return "root", "secret", nil
		}
	})
	w.identity["dev"] = policyOf(`{"Effect":"Allow","Action":"git:*","Resource":"*"}`)
	ctx := t.Context()
	w.git.Handle()
	if err := w.queue.Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.queue.Stop(context.Background()) })
	w.create(app)
	dir := w.workTree("root", "team/app")
	must(t, dir, "push", "-q", "origin", "main", "main:refs/heads/x", "main:refs/tags/v1")
	w.take()

	draft := git.Draft{Name: copied, Mirror: &git.Mirror{URL: w.url + "/git/team/app", Credential: "some-secret", Every: time.Hour}}
	if _, err := w.git.Create(ctx, caller("dev"), draft); err == nil || !strings.Contains(err.Error(), "dev may not read secrets") {
		t.Errorf("dev uses a secret: %v", err)
	}
	r, err := w.git.Create(ctx, caller("root"), draft)
	if err != nil {
		t.Fatal(err)
	}
	st := w.settle(copied, tried(time.Time{}))
	if st.Error != "" || st.Fetched.IsZero() || st.Due.IsZero() {
		t.Fatalf("%+v", st)
	}
	w.wantPushes("mirror  create refs/heads/main", "mirror  create refs/heads/x", "mirror  create refs/tags/v1")
	second := commit(t, dir, "y", "y")
	must(t, dir, "push", "-q", "origin", "main", ":x")
	w.take()
	if err := w.git.FetchMirror(ctx, caller("root"), copied); err != nil {
		t.Fatal(err)
	}
	st = w.settle(copied, tried(st.Tried))
	w.wantPushes("mirror  update refs/heads/main", "mirror  delete refs/heads/x")
	if got, err := w.git.Resolve(ctx, r.ID, "main"); err != nil || got != second {
		t.Errorf("%s %v", got, err)
	}
	fails(t, dir, []string{"a mirror can't be pushed to", "mirrors another repository"}, "push", w.remote("root", "team/copied"), "main:z")
	if _, err := w.git.CommitFiles(ctx, caller("root"), copied, git.NewCommit{Branch: "main", Parent: second, Message: "x", Files: []git.FileChange{{Path: "a"}}}); !errors.Is(err, git.ErrOf(git.Refused)) {
		t.Error(err)
	}
	// The other end goes away: the mirror stays, and says so.
	if err := w.git.PutMirror(ctx, caller("root"), copied, git.Mirror{URL: w.url + "/git/team/gone", Credential: "some-secret", Every: time.Hour}); err != nil {
		t.Fatal(err)
	}
	st = w.settle(copied, tried(st.Tried))
	if !strings.Contains(st.Error, "not found") || st.Failures != 1 || strings.Contains(st.Error, "secret") {
		t.Errorf("%+v", st)
	}
	if got, err := w.git.Resolve(ctx, r.ID, "main"); err != nil || got != second {
		t.Errorf("%s %v", got, err)
	}
	w.wantPushes()
	if err := w.git.StopMirror(ctx, caller("root"), copied); err != nil {
		t.Fatal(err)
	}
	must(t, dir, "push", "-q", w.remote("root", "team/copied"), "main:z")
}

// The server is no way into its own network.
func TestMirrorGuard(t *testing.T) {
	w := newWorld(t, nil)
	ctx := t.Context()
	w.git.Handle()
	if err := w.queue.Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.queue.Stop(context.Background()) })
	asked := false
	inside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	defer inside.Close()
	port := inside.URL[strings.LastIndexByte(inside.URL, ':'):]
	for i, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0", "[::1]", "2130706433", "127.1"} {
		n := git.Name{Account: account, Project: "team", Repo: fmt.Sprint("m", i)}
		_, err := w.git.Create(ctx, caller("root"), git.Draft{Name: n, Mirror: &git.Mirror{URL: "http://" + host + port + "/x/y"}})
		if err != nil {
			t.Fatal(err)
		}
		st := w.settle(n, tried(time.Time{}))
		if st.Error == "" || strings.HasPrefix(host, "127.0") && !strings.Contains(st.Error, "which is not a public address; an administrator can allow it with git.mirror_allow") {
			t.Errorf("%s: %q", host, st.Error)
		}
	}
	if asked {
		t.Error("a private address was called")
	}
	for url, text := range map[string]string{
		"ssh://git@example.com/x":       "not fetched over ssh",
		"git@example.com:x/y":           "", // no URL at all
		"file:///etc":                   "begins with https://",
		"ext::sh -c id":                 "",
		"/etc":                          "begins with https://",
		"https://user:pw@example.com/x": "no user and password",
		"https://example.com":           "scheme, host and path",
		"https://example.com/x?y":       "scheme, host and path",
		"--upload-pack=x":               "begins with https://",
	} {
		_, err := w.git.Create(ctx, caller("root"), git.Draft{Name: copied, Mirror: &git.Mirror{URL: url}})
		if !errors.Is(err, git.ErrOf(git.Invalid)) || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", url, err)
		}
	}
}

// What an allowed host redirects to is looked at too.
func TestMirrorRedirect(t *testing.T) {
	asked := false
	inside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	defer inside.Close()
	u, err := url.Parse(inside.URL)
	if err != nil {
		t.Fatal(err)
	}
	outside := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		http.Redirect(rw, r, "http://127.0.0.1:"+u.Port()+r.URL.RequestURI(), http.StatusFound)
	}))
	defer outside.Close()
	w := newWorld(t, func(o *git.Options) { o.MirrorAllow = []string{"localhost"} })
	ctx := t.Context()
	w.git.Handle()
	if err := w.queue.Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.queue.Stop(context.Background()) })
	_, err = w.git.Create(ctx, caller("root"), git.Draft{Name: copied, Mirror: &git.Mirror{URL: strings.Replace(outside.URL, "127.0.0.1", "localhost", 1) + "/x/y"}})
	if err != nil {
		t.Fatal(err)
	}
	if st := w.settle(copied, tried(time.Time{})); !strings.Contains(st.Error, "127.0.0.1 is at 127.0.0.1, which is not a public address") || asked {
		t.Errorf("%+v, asked %v", st, asked)
	}
}

// Over TLS, with an authority of one's own; and no further than the repository's limit.
func TestMirrorTLS(t *testing.T) {
	ca := filepath.Join(t.TempDir(), "ca.pem")
	w := newWorld(t, func(o *git.Options) {
		o.MirrorAllow, o.MirrorCA, o.Limits.Size = []string{"127.0.0.0/8"}, ca, 300_000
		o.Credential = func(context.Context, *iam.Caller, string) (string, string, error) { return "root", "secret", nil }
	})
	ctx := t.Context()
	w.git.Handle()
	if err := w.queue.Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.queue.Stop(context.Background()) })
	u, err := url.Parse(w.url)
	if err != nil {
		t.Fatal(err)
	}
	outside := httptest.NewTLSServer(httputil.NewSingleHostReverseProxy(u))
	defer outside.Close()
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: outside.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	w.create(app)
	dir := w.workTree("root", "team/app")
	must(t, dir, "push", "-q", "origin", "main:trunk")
	r, err := w.git.Create(ctx, caller("root"), git.Draft{Name: copied, Mirror: &git.Mirror{URL: outside.URL + "/git/team/app", Credential: "x"}})
	if err != nil {
		t.Fatal(err)
	}
	st := w.settle(copied, tried(time.Time{}))
	if got, err := w.git.Resolve(ctx, r.ID, ""); err != nil || got != must(t, dir, "rev-parse", "HEAD") || st.Error != "" {
		t.Errorf("%s %v %+v", got, err, st)
	}
	w.take()
	for i := range 3 {
		data := make([]byte, 80_000)
		_, _ = rand.Read(data)
		write(t, dir, fmt.Sprint("f", i), data)
	}
	commit(t, dir, "m", "m")
	must(t, dir, "push", "-q", "origin", "main:trunk")
	w.take()
	limit := int64(100_000)
	if _, err := w.git.Update(ctx, caller("root"), copied, git.Edit{MaxSize: &limit}); err != nil {
		t.Fatal(err)
	}
	if err := w.git.FetchMirror(ctx, caller("root"), copied); err != nil {
		t.Fatal(err)
	}
	if st = w.settle(copied, tried(st.Tried)); !strings.Contains(st.Error, "and what comes is more") {
		t.Errorf("%+v", st)
	}
	w.wantPushes()
}
