package run_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/blob"
	"github.com/sekisho/sekisho/internal/blob/mem"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/decide"
	"github.com/sekisho/sekisho/internal/iam/directory"
	"github.com/sekisho/sekisho/internal/iam/issuer"
	"github.com/sekisho/sekisho/internal/iam/oidc"
	"github.com/sekisho/sekisho/internal/iam/session"
	"github.com/sekisho/sekisho/internal/job"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
	"github.com/sekisho/sekisho/internal/pipeline"
	"github.com/sekisho/sekisho/internal/pool"
	"github.com/sekisho/sekisho/internal/project"
	"github.com/sekisho/sekisho/internal/run"
	"github.com/sekisho/sekisho/internal/seal"
	"github.com/sekisho/sekisho/internal/secret"
)

const (
	account = "111122223333"
	region  = "eu-west-1"
)

// world is an instance without a network and with a clock of its own.
type world struct {
	*run.Service
	t        testing.TB
	db       *meta.DB
	blobs    blob.Store
	ring     *seal.Ring
	judge    *iam.Judge
	jobs     *job.Queue
	projects *project.Service
	pools    *pool.Service
	repos    *repos
	root     *iam.Caller
	pipeline *project.Pipeline
	limits   run.Limits
	at       atomic.Int64

	mu      sync.Mutex
	changes []run.Change // guarded by mu
	refused []run.Change // guarded by mu
}

func newWorld(t testing.TB, db *meta.DB) *world { return newWorldWith(t, db, run.Limits{}) }

func newWorldWith(t testing.TB, db *meta.DB, limits run.Limits) *world {
	t.Helper()
	w := &world{t: t, db: db, limits: limits, repos: &repos{files: map[string]map[string]string{}, refs: map[string]string{}, id: uuid.NewString()}}
	w.at.Store(time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC).UnixNano())
	w.blobs = mem.New(w.now)
	var err error
	if w.ring, err = seal.New(bytes.Repeat([]byte{7}, seal.MasterKeySize)); err != nil {
		t.Fatal(err)
	}
	keys, err := iam.New(db, w.ring, w.now)
	if err != nil {
		t.Fatal(err)
	}
	w.judge = &iam.Judge{Note: func(*iam.Caller, *iam.Request, iam.Decision) {}}
	dir := directory.New(db, keys, w.judge, directory.Options{Now: w.now})
	w.judge.Authorizer = decide.New(dir, keys.Generation(), decide.Options{Now: w.now, Region: region})
	url := func() (string, error) { return "https://sekisho.example", nil }
	iss := issuer.New(db, w.ring, issuer.Options{Now: w.now, URL: url})
	tokens, err := oidc.New(oidc.Options{Now: w.now, Own: iss.Own})
	if err != nil {
		t.Fatal(err)
	}
	session.New(keys, w.judge, dir, tokens, session.Options{Now: w.now})
	secrets := secret.New(db, w.ring, w.judge, secret.Options{Region: region, Now: w.now})
	w.projects = project.New(db, w.ring, w.judge, project.Options{
		Region: region, Directory: dir, Keys: keys, Issuer: iss, Secrets: secrets, Now: w.now,
		Lookup: func(ctx context.Context, account string, kind project.Kind, name string) (string, string, error) {
			if owner, name, ok := strings.Cut(name, "/"); ok && kind == project.KindPipeline {
				p, err := w.projects.Find(ctx, account, owner)
				if err != nil {
					return "", "", err
				}
				l, err := w.projects.FindPipeline(ctx, p.ID, name)
				if err != nil {
					return "", "", err
				}
				return l.ID, l.ARN(region), nil
			}
			return w.repos.id, "arn:aws:git:" + region + ":" + account + ":" + name, nil
		},
	})
	w.pools = pool.New(db, w.judge, pool.Options{Region: region, Now: w.now})
	w.open()
	t.Cleanup(func() { w.close() })
	_, key, err := keys.Bootstrap(t.Context(), account)
	if err != nil {
		t.Fatal(err)
	}
	_, p, err := keys.Secret(t.Context(), key.ID, netip.MustParseAddr("192.0.2.1"))
	if err != nil {
		t.Fatal(err)
	}
	w.root = p.Caller()
	if _, err := w.projects.CreateProject(t.Context(), w.root, project.NewProject{Name: "web"}); err != nil {
		t.Fatal(err)
	}
	if w.pipeline, err = w.projects.CreatePipeline(t.Context(), w.root, "web", project.NewPipeline{Name: "build", Repository: "web/app"}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.pools.CreatePool(t.Context(), w.root, pool.Draft{Name: "Default", Open: true}); err != nil {
		t.Fatal(err)
	}
	return w
}

// rounds is how often something is done: all of it for a soak, and less where it must be quick or the detector slows it down.
func rounds(all, few int) int {
	if os.Getenv("SEKISHO_SOAK") == "" && (testing.Short() || raceDetector) {
		return few
	}
	return all
}

// open begins the service, as after a start of the server.
func (w *world) open() {
	w.t.Helper()
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("RUN_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	w.jobs = job.New(w.db, job.Options{Now: w.now, PollInterval: 50 * time.Millisecond, Logger: log})
	w.Service = run.New(w.db, w.blobs, w.ring, w.judge, run.Options{
		Region: region, Now: w.now, Projects: w.projects, Pools: w.pools, Repositories: w.repos, Jobs: w.jobs, Tick: 20 * time.Millisecond, Limits: w.limits, Logger: log,
		OnChange: func(_ context.Context, tx *meta.Tx, ch run.Change) error {
			tx.OnCommit(func() {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.changes = append(w.changes, ch)
			})
			return nil
		},
		Note: func(ch run.Change) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.refused = append(w.refused, ch)
		},
	})
	w.Handle(w.jobs)
	if err := w.jobs.Start(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	if err := w.Open(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) close() {
	w.Close()
	_ = w.jobs.Stop(context.Background())
}

func (w *world) now() time.Time          { return time.Unix(0, w.at.Add(1000)).UTC() }
func (w *world) advance(d time.Duration) { w.at.Add(int64(d)) }

// agent registers an agent of the default pool.
func (w *world) agent(name string, capabilities ...string) *pool.Agent {
	w.t.Helper()
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		w.t.Fatal(err)
	}
	system := map[string]string{}
	for _, c := range capabilities {
		system[c] = "1"
	}
	a, err := w.pools.Register(w.t.Context(), w.root, pool.Join{Pool: "Default", Name: name, PublicKey: der, Facts: pool.Facts{Version: "1.0.0", OS: "Linux", Arch: "X64", Host: name, System: system}})
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

// commit puts files at main.
func (w *world) commit(files map[string]string) string {
	return w.repos.commit("refs/heads/main", files)
}

// start commits a pipeline and starts a run of it.
func (w *world) start(yaml string) *run.Run {
	w.t.Helper()
	w.commit(map[string]string{"azure-pipelines.yml": yaml})
	r, err := w.Start(w.t.Context(), w.root, run.StartRequest{Project: "web", Pipeline: "build"})
	if err != nil {
		var e *run.Error
		if errors.As(err, &e) {
			w.t.Fatalf("%v\n%v", err, e.Problems)
		}
		w.t.Fatal(err)
	}
	return r
}

// take has an agent acquire and acknowledge a job that is there.
func (w *world) take(a *pool.Agent) (*work.Job, run.Claim) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	defer cancel()
	j, err := w.Acquire(ctx, a)
	if err != nil {
		w.t.Fatalf("acquire: %v", err)
	}
	c := run.Claim{Job: j.ID, Attempt: j.Attempt, Agent: a.ID}
	if err := w.Acknowledge(ctx, c); err != nil {
		w.t.Fatalf("acknowledge: %v", err)
	}
	return j, c
}

func (w *world) complete(c run.Claim, result work.Result) {
	w.t.Helper()
	if err := w.Complete(w.t.Context(), c, result, ""); err != nil {
		w.t.Fatalf("complete %s: %v", c.Job, err)
	}
}

func (w *world) tree(id int64) *run.Tree {
	w.t.Helper()
	tree, err := w.Tree(w.t.Context(), w.root, id)
	if err != nil {
		w.t.Fatal(err)
	}
	return tree
}

// wait follows a run to its end.
func (w *world) wait(id int64) *run.Run {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
	defer cancel()
	for _, err := range w.Watch(ctx, w.root, id, 0) {
		if err != nil {
			w.t.Fatalf("run %d: %v\n%s", id, err, show(w.tree(id)))
		}
	}
	r, err := w.Get(ctx, w.root, id)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// until waits for something to be so.
func (w *world) until(id int64, what string, ok func(t *run.Tree) bool) *run.Tree {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	defer cancel()
	wake, stop := w.Changed(w.pipeline.ProjectID)
	defer stop()
	for {
		if tree := w.tree(id); ok(tree) {
			return tree
		}
		select {
		case <-ctx.Done():
			w.t.Fatalf("%s never came\n%s", what, show(w.tree(id)))
		case <-wake:
		}
	}
}

func show(t *run.Tree) string {
	var b strings.Builder
	fmt.Fprintf(&b, "run %d %s %s %s\n", t.ID, t.State, t.Result, t.Waits)
	for _, g := range t.Stages {
		fmt.Fprintf(&b, "  %s#%d %s %s %s %s\n", g.Name, g.Attempt, g.State, g.Result, g.Waits, g.Message)
		for _, p := range g.Jobs {
			fmt.Fprintf(&b, "    %s %s %s %s\n", p.Name, p.State, p.Result, p.Message)
			for _, j := range p.Legs {
				fmt.Fprintf(&b, "      %s %s %s %s %s %d\n", j.ID, j.State, j.Result, j.Waits, j.Message, len(j.Attempts))
			}
		}
	}
	return b.String()
}

// repos is one repository in memory.
type repos struct {
	mu    sync.Mutex
	id    string
	files map[string]map[string]string // by commit; guarded by mu
	refs  map[string]string            // guarded by mu
	texts map[string]string

	parents map[string]string // of commits; guarded by mu
}

func (r *repos) commit(ref string, files map[string]string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	id := fmt.Sprintf("%040x", len(r.files)+1)
	r.files[id] = files
	r.refs[ref] = id
	return id
}

func (r *repos) Resolve(_ context.Context, _, ref string) (full, commit string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.files[ref] != nil {
		return "", ref, nil
	}
	if ref == "" {
		ref = "refs/heads/main"
	}
	if !strings.HasPrefix(ref, "refs/") {
		ref = "refs/heads/" + ref
	}
	if id := r.refs[ref]; id != "" {
		return ref, id, nil
	}
	return "", "", work.ErrNotFound
}

// Contains has every commit stand by itself, but for those whose parent is told.
func (r *repos) Contains(_ context.Context, _, tip, commit string) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for ; tip != ""; tip = r.parents[tip] {
		if tip == commit {
			return true, nil
		}
	}
	return false, nil
}

func (r *repos) Commit(_ context.Context, _, commit string) (*run.Commit, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.files[commit] == nil {
		return nil, work.ErrNotFound
	}
	message := r.texts[commit]
	if message == "" {
		message = "change\n\nmore"
	}
	return &run.Commit{ID: commit, Message: message, Author: "A <a@example.com>"}, nil
}

func (r *repos) File(_ context.Context, _, commit, path string) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	text, ok := r.files[commit][path]
	if !ok {
		return nil, pipeline.ErrNoFile
	}
	return []byte(text), nil
}

func (r *repos) Changed(_ context.Context, _, from, to string) ([]string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []string
	for path, text := range r.files[to] {
		if r.files[from][path] != text {
			list = append(list, path)
		}
	}
	return list, nil
}

func (r *repos) Find(_ context.Context, _, project, name string) (*run.Repository, error) {
	if project == "web" && name == "app" {
		return r.Describe(context.Background(), r.id)
	}
	return nil, work.ErrNotFound
}

func (r *repos) Describe(context.Context, string) (*run.Repository, error) {
	return &run.Repository{ID: r.id, Account: account, Project: "web", Name: "app", DefaultBranch: "refs/heads/main"}, nil
}

func (r *repos) Branches(context.Context, string) (map[string]string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string]string{}
	for ref, commit := range r.refs {
		if strings.HasPrefix(ref, "refs/heads/") {
			out[ref] = commit
		}
	}
	return out, nil
}

func each(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	t.Parallel()
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) { test(t, newWorld(t, db)) })
}
