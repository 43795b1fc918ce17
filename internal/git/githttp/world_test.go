package githttp_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sekisho/sekisho/internal/git"
	"github.com/sekisho/sekisho/internal/git/githttp"
	"github.com/sekisho/sekisho/internal/httpx"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/policy"
	"github.com/sekisho/sekisho/internal/job"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
)

const account = "111122223333"

// world is a server with real git behind it and real git in front.
type world struct {
	t        testing.TB
	db       *meta.DB
	queue    *job.Queue
	git      *git.Service
	url      string
	path     string            // of the repositories
	identity map[string]string // policies by user
	log      *bytes.Buffer
	admit    func(c *iam.Caller, action string) error

	mu     sync.Mutex
	pushes []git.Push // guarded by mu
	noted  []string   // guarded by mu
}

func needGit(t testing.TB) {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		if os.Getenv("SEKISHO_REQUIRE_TOOLS") != "" {
			t.Fatal("git is not here, and SEKISHO_REQUIRE_TOOLS is set")
		}
		t.Skip("SKIPPED: git is not here")
	}
}

func newWorld(t testing.TB, change func(*git.Options)) *world {
	t.Helper()
	needGit(t)
	w := &world{t: t, db: metatest.Open(t, metatest.SQLite(t)), path: filepath.Join(t.TempDir(), "git"), log: &bytes.Buffer{}, identity: map[string]string{
		"root": policyOf(`{"Effect":"Allow","Action":"*","Resource":"*"}`),
	}}
	w.queue = job.New(w.db, job.Options{})
	w.open(change)
	h := httpx.New(func(rw *httpx.Response, r *http.Request) error {
		s := &githttp.Server{Git: w.git, Auth: w, Account: account, Admit: w.admit}
		if ep := r.Header.Get("Test-Endpoint"); ep != "" {
			rw.Origin.Endpoint = ep
		}
		return s.Serve(rw, r)
	}, httpx.Options{Logger: slog.New(slog.NewTextHandler(&locked{w: w.log}, nil))})
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	w.url = srv.URL
	return w
}

// open makes the service, again after a change of its options.
func (w *world) open(change func(*git.Options)) {
	o := git.Options{Region: "eu-west-1", Path: w.path, Logger: slog.New(slog.NewTextHandler(&locked{w: w.log}, nil)),
		OnPush: func(_ context.Context, tx *meta.Tx, p git.Push) error {
			tx.OnCommit(func() {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.pushes = append(w.pushes, p)
			})
			return nil
		}}
	if change != nil {
		change(&o)
	}
	w.git = git.New(w.db, &iam.Judge{Authorizer: w, Note: w.note}, w.queue, o)
	w.t.Cleanup(func() { _ = w.git.Close() })
}

// openOn is open with the queue over another database.
func (w *world) openOn(db *meta.DB) {
	w.queue = job.New(db, job.Options{})
	w.open(nil)
}

type locked struct {
	mu sync.Mutex
	w  *bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func policyOf(statements ...string) string {
	return `{"Version":"2012-10-17","Statement":[` + strings.Join(statements, ",") + `]}`
}

func caller(user string) *iam.Caller {
	p := iam.Principal{Account: account, ARN: "arn:aws:iam::" + account + ":user/" + user, Type: iam.User, ID: "AIDA", Name: user}
	c := p.Caller()
	c.RequestID = "request-of-" + user
	return c
}

// Authenticate knows everybody whose password is "secret".
func (w *world) Authenticate(_ context.Context, header string, _ netip.Addr) (*iam.Principal, error) {
	rest, _ := strings.CutPrefix(header, "Basic ")
	text, err := base64.StdEncoding.DecodeString(rest)
	user, password, ok := strings.Cut(string(text), ":")
	if err != nil || !ok || password != "secret" {
		return nil, iam.ErrInvalidCredentials
	}
	p := caller(user).Principal
	return &p, nil
}

// Authorize implements iam.Authorizer over the policies in identity.
func (w *world) Authorize(_ context.Context, c *iam.Caller, r *iam.Request) iam.Decision {
	keys := policy.MapContext{}
	for key, values := range r.Keys {
		keys[key] = values
	}
	p := policy.Policies{}
	if document := w.identity[c.Name]; document != "" {
		parsed, err := policy.Parse([]byte(document), policy.Identity)
		if err != nil {
			w.t.Error(err)
		}
		p.Identity = []policy.Named{{Name: "identity", Policy: parsed}}
	}
	d := policy.Decide(&policy.Request{Principal: policy.Principal{ARN: c.ARN, Account: c.Account, Type: policy.User}, Action: r.Action,
		Resource: r.Resource.ARN, ResourceAccount: r.Resource.Account, Context: keys}, &p)
	if d.Outcome == policy.Allowed {
		return iam.Decision{Allowed: true}
	}
	return iam.Decision{Reason: "because no identity-based policy allows the " + r.Action + " action"}
}

func (w *world) note(c *iam.Caller, r *iam.Request, d iam.Decision) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.noted = append(w.noted, fmt.Sprint(c.Name, " ", r.Action, " ", d.Allowed))
}

// take returns what OnPush was told since the last call, a line each ref.
func (w *world) take() (all []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.pushes {
		for _, u := range p.Updates {
			what := "update"
			switch {
			case u.Old == git.Zero:
				what = "create"
			case u.New == git.Zero:
				what = "delete"
			}
			who := p.Principal[strings.LastIndexByte(p.Principal, '/')+1:]
			all = append(all, fmt.Sprintf("%s %s %s %s", p.Source, who, what, u.Ref))
		}
	}
	w.pushes = nil
	return all
}

var app = git.Name{Account: account, Project: "team", Repo: "app"}

func (w *world) create(n git.Name) *git.Repository {
	w.t.Helper()
	r, err := w.git.Create(w.t.Context(), caller("root"), git.Draft{Name: n})
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// remote is the URL of a repository for a user.
func (w *world) remote(user, path string) string {
	u, err := url.Parse(w.url)
	if err != nil {
		w.t.Fatal(err)
	}
	u.User = url.UserPassword(user, "secret")
	u.Path = "/git/" + path
	return u.String()
}

// run runs git in a folder; it returns what was printed, and whether that went well.
func run(t testing.TB, dir string, args ...string) (string, bool) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0", "GIT_ASKPASS=false", "LC_ALL=C",
		"GIT_AUTHOR_NAME=A", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=A", "GIT_COMMITTER_EMAIL=a@example.com",
		"GIT_CONFIG_COUNT=2", "GIT_CONFIG_KEY_0=init.defaultBranch", "GIT_CONFIG_VALUE_0=main", "GIT_CONFIG_KEY_1=gc.auto", "GIT_CONFIG_VALUE_1=0")
	out, err := cmd.CombinedOutput()
	return string(out), err == nil
}

func must(t testing.TB, dir string, args ...string) string {
	t.Helper()
	out, ok := run(t, dir, args...)
	if !ok {
		t.Fatalf("git %s: %s", strings.Join(args, " "), out)
	}
	return strings.TrimSpace(out)
}

// fails runs git, which must fail and print all of the texts.
func fails(t testing.TB, dir string, texts []string, args ...string) {
	t.Helper()
	out, ok := run(t, dir, args...)
	if ok {
		t.Errorf("git %s went well: %s", strings.Join(args, " "), out)
	}
	for _, text := range texts {
		if !strings.Contains(out, text) {
			t.Errorf("git %s did not print %q:\n%s", strings.Join(args, " "), text, out)
		}
	}
}

func write(t testing.TB, dir, name string, data []byte) {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// commit adds a file to a work tree.
func commit(t testing.TB, dir, name, text string) string {
	t.Helper()
	write(t, dir, name, []byte(text))
	must(t, dir, "add", "-A")
	must(t, dir, "commit", "-q", "-m", "change "+name)
	return must(t, dir, "rev-parse", "HEAD")
}

// workTree makes a work tree with a commit, and origin at a repository of the server.
func (w *world) workTree(user, path string) string {
	w.t.Helper()
	dir := w.t.TempDir()
	must(w.t, dir, "init", "-q")
	must(w.t, dir, "remote", "add", "origin", w.remote(user, path))
	commit(w.t, dir, "README", "hello\n")
	return dir
}
