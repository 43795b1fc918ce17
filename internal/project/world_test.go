package project_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/decide"
	"github.com/sekisho/sekisho/internal/iam/directory"
	"github.com/sekisho/sekisho/internal/iam/issuer"
	"github.com/sekisho/sekisho/internal/iam/oidc"
	"github.com/sekisho/sekisho/internal/iam/session"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
	"github.com/sekisho/sekisho/internal/project"
	"github.com/sekisho/sekisho/internal/seal"
	"github.com/sekisho/sekisho/internal/secret"
)

const (
	account   = "111122223333"
	other     = "444455556666"
	region    = "eu-west-1"
	publicURL = "https://sekisho.example"
)

var client = netip.MustParseAddr("192.0.2.1")

// world is an instance without a network: two accounts with real policies.
type world struct {
	*project.Service
	t         testing.TB
	db        *meta.DB
	ring      *seal.Ring
	keys      *iam.Service
	judge     *iam.Judge
	directory *directory.Service
	sessions  *session.Service
	secrets   *secret.Store
	issuer    *issuer.Issuer
	root      *iam.Caller // of account
	stranger  *iam.Caller // root of other
	log       *bytes.Buffer
	repos     map[string]string // ids of repositories by name
	source    string            // a project that has some
	at        atomic.Int64

	mu      sync.Mutex
	changes []project.Change // guarded by mu
	notes   []string         // guarded by mu
}

func newWorld(t testing.TB, db *meta.DB) *world {
	t.Helper()
	w := &world{t: t, db: db, log: &bytes.Buffer{}, repos: map[string]string{"web/app": uuid.NewString(), "web/lib": uuid.NewString(), "other/tools": uuid.NewString()}}
	w.at.Store(time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC).UnixNano())
	var err error
	if w.ring, err = seal.New(bytes.Repeat([]byte{7}, seal.MasterKeySize)); err != nil {
		t.Fatal(err)
	}
	if w.keys, err = iam.New(db, w.ring, w.now); err != nil {
		t.Fatal(err)
	}
	w.judge = &iam.Judge{Note: w.note}
	w.directory = directory.New(db, w.keys, w.judge, directory.Options{Now: w.now})
	w.judge.Authorizer = decide.New(w.directory, w.keys.Generation(), decide.Options{Now: w.now, Region: region})
	w.issuer = issuer.New(db, w.ring, issuer.Options{Now: w.now, URL: func() (string, error) { return publicURL, nil }})
	tokens, err := oidc.New(oidc.Options{Now: w.now, Own: w.issuer.Own})
	if err != nil {
		t.Fatal(err)
	}
	w.sessions = session.New(w.keys, w.judge, w.directory, tokens, session.Options{Now: w.now})
	w.secrets = secret.New(db, w.ring, w.judge, secret.Options{Region: region, Now: w.now})
	w.Service = w.open()
	for _, a := range []struct {
		id string
		c  **iam.Caller
	}{{account, &w.root}, {other, &w.stranger}} {
		_, key, err := w.keys.Bootstrap(t.Context(), a.id)
		if err != nil {
			t.Fatal(err)
		}
		*a.c = w.caller(key.ID)
	}
	return w
}

// open returns another service over the same database, such as another node has.
func (w *world) open() *project.Service {
	return project.New(w.db, w.ring, w.judge, project.Options{
		Region: region, Directory: w.directory, Keys: w.keys, Issuer: w.issuer, Secrets: w.secrets, Now: w.now,
		Logger: slog.New(slog.NewTextHandler(w.log, nil)),
		OnChange: func(_ context.Context, tx *meta.Tx, ch project.Change) error {
			tx.OnCommit(func() {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.changes = append(w.changes, ch)
			})
			return nil
		},
		HasSource: func(_ context.Context, account, name string) (bool, error) {
			return account == w.root.Account && name == w.source, nil
		},
		OnDelete: func(_ context.Context, _ *meta.Tx, _ *iam.Caller, p *project.Project) error {
			if p.Name == w.source {
				w.source = ""
			}
			return nil
		},
		Lookup: func(_ context.Context, account string, _ project.Kind, name string) (string, string, error) {
			for repo, id := range w.repos {
				if repo == name || id == name {
					return id, "arn:aws:git:" + region + ":" + account + ":" + repo, nil
				}
			}
			return "", "arn:aws:git:" + region + ":" + account + ":" + name, fmt.Errorf("repository %s: %w", name, project.ErrNotFound)
		},
	})
}

func (w *world) now() time.Time          { return time.Unix(0, w.at.Load()).UTC() }
func (w *world) advance(d time.Duration) { w.at.Add(int64(d)) }

func (w *world) note(c *iam.Caller, r *iam.Request, d iam.Decision) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.notes = append(w.notes, fmt.Sprint(d.Allowed, " ", c.Who(), " ", r.Action, " ", r.Resource.ARN, " ", d.Reason))
}

func (w *world) caller(keyID string) *iam.Caller {
	w.t.Helper()
	_, p, err := w.keys.Secret(w.t.Context(), keyID, client)
	if err != nil {
		w.t.Fatal(err)
	}
	c := p.Caller()
	c.RequestID = "request-1"
	return c
}

// user makes a user with statements of a policy and returns it as a caller.
func (w *world) user(name string, statements ...string) *iam.Caller {
	w.t.Helper()
	ctx := w.t.Context()
	if _, err := w.directory.CreateUser(ctx, w.root, directory.NewUser{Name: name}); err != nil {
		w.t.Fatal(err)
	}
	if len(statements) > 0 {
		document := `{"Version":"2012-10-17","Statement":[` + strings.Join(statements, ",") + `]}`
		if err := w.directory.PutInlinePolicy(ctx, w.root, directory.UserNamed(name), "own", document); err != nil {
			w.t.Fatal(err)
		}
	}
	key, err := w.directory.CreateAccessKey(ctx, w.root, name)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.caller(key.ID)
}

func allow(action, resource string) string {
	return `{"Effect":"Allow","Action":"` + action + `","Resource":"` + resource + `"}`
}

// project makes the project web with a pipeline, whose source is web/app.
func (w *world) project() (*project.Project, *project.Pipeline) {
	w.t.Helper()
	p, err := w.CreateProject(w.t.Context(), w.root, project.NewProject{Name: "web"})
	if err != nil {
		w.t.Fatal(err)
	}
	l, err := w.CreatePipeline(w.t.Context(), w.root, "web", project.NewPipeline{Name: "build image", Repository: "web/app"})
	if err != nil {
		w.t.Fatal(err)
	}
	return p, l
}

func jobOf(p *project.Project, l *project.Pipeline) project.Job {
	return project.Job{ID: "12.Build.Docker#1", Identity: work.Identity{
		Account: p.Account, Project: p.Name, ProjectID: p.ID, Pipeline: l.Name, PipelineID: l.ID, Run: 12, RunNumber: "20260504.1", RunAttempt: 1,
		Stage: "Build", Job: "Docker", Repository: "web/app", Ref: "refs/heads/main", Commit: strings.Repeat("a", 40), Reason: "manual",
		RequestedFor: "arn:aws:iam::" + p.Account + ":root", Agent: "a", Pool: "linux",
	}}
}

func each(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) { test(t, newWorld(t, db)) })
}

func newSQLite(t testing.TB) *world { return newWorld(t, metatest.Open(t, metatest.SQLite(t))) }

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// allowed asks the judge.
func (w *world) allowed(c *iam.Caller, action, arn string) bool {
	w.t.Helper()
	err := w.judge.Check(w.t.Context(), c, iam.On(c, action, arn))
	if _, denied := errors.AsType[*iam.DeniedError](err); err != nil && !denied {
		w.t.Fatal(err)
	}
	return err == nil
}

// must fails the test unless err is nil.
func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func is(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %#v", what, err, want)
	}
}

func denied(t testing.TB, what string, err error) *iam.DeniedError {
	t.Helper()
	d, ok := errors.AsType[*iam.DeniedError](err)
	if !ok {
		t.Errorf("%s: %v, want a refusal", what, err)
		return &iam.DeniedError{}
	}
	return d
}
