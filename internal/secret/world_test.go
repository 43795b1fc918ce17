package secret_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/policy"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
	"github.com/sekisho/sekisho/internal/seal"
	"github.com/sekisho/sekisho/internal/secret"
)

const (
	account = "111122223333"
	other   = "444455556666"
	region  = "eu-west-1"
)

var (
	root    = caller(account, "root")
	alien   = caller(other, "root")
	nobody  = caller(account, "user/nobody")
	app     = caller(account, "user/app")
	visitor = caller(other, "user/visitor")
)

func caller(account, who string) *iam.Caller {
	c := &iam.Caller{Principal: iam.Principal{Account: account, ARN: "arn:aws:iam::" + account + ":" + who, Type: iam.User, ID: "AIDA"}}
	if who == "root" {
		c.Type = iam.Root
	}
	return c
}

// world is a store over a real database. Who may do what, the policies in identity say, and those of the secrets.
type world struct {
	*secret.Store
	t        testing.TB
	db       *meta.DB
	ring     *seal.Ring
	log      *bytes.Buffer
	identity map[string]string // policies by principal

	mu      sync.Mutex
	at      time.Time           // guarded by mu
	noted   []string            // decisions; guarded by mu
	changes []secret.Change     // guarded by mu
	keys    map[string][]string // condition keys of the last decision; guarded by mu
}

func newWorld(t testing.TB, db *meta.DB, out secret.Outward) *world {
	t.Helper()
	ring, err := seal.New(bytes.Repeat([]byte{5}, seal.MasterKeySize))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		t: t, db: db, ring: ring, log: &bytes.Buffer{}, at: time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC),
		identity: map[string]string{root.ARN: allow("*", "*"), alien.ARN: allow("*", "*")},
	}
	w.Store = w.open(out)
	return w
}

// open returns another store over the same database, such as another node has.
func (w *world) open(out secret.Outward) *secret.Store {
	judge := &iam.Judge{Authorizer: w, Note: w.note}
	return secret.New(w.db, w.ring, judge, secret.Options{
		Region: region, Now: w.now, Logger: slog.New(slog.NewTextHandler(w.log, nil)), Outward: out,
		OnChange: func(_ context.Context, tx *meta.Tx, ch secret.Change) error {
			tx.OnCommit(func() {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.changes = append(w.changes, ch)
			})
			return nil
		},
	})
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at = w.at.Add(time.Millisecond)
	return w.at
}

func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at = w.at.Add(d)
}

func allow(action, resource string) string {
	return `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"` + action + `","Resource":"` + resource + `"}}`
}

// Authorize implements iam.Authorizer.
func (w *world) Authorize(_ context.Context, c *iam.Caller, r *iam.Request) iam.Decision {
	if c == nil {
		c = &iam.Caller{}
	}
	if c.Type == iam.System {
		return iam.Decision{Allowed: true}
	}
	keys := policy.MapContext{}
	for key, values := range r.Keys {
		keys[key] = values
	}
	for key, value := range r.Resource.Tags {
		keys["aws:resourcetag/"+strings.ToLower(key)] = []string{value}
	}
	w.mu.Lock()
	w.keys = keys
	w.mu.Unlock()
	who := policy.Principal{ARN: c.ARN, Account: c.Account, Type: policy.User}
	switch c.Type {
	case iam.Root:
		who.Type = policy.Root
	case iam.Anonymous:
		who.Type = policy.Anonymous
	}
	p := policy.Policies{Resource: r.Resource.Policies}
	if document := w.identity[c.ARN]; document != "" {
		parsed, err := policy.Parse([]byte(document), policy.Identity)
		if err != nil {
			w.t.Error(err)
		}
		p.Identity = []policy.Named{{Name: "identity", Policy: parsed}}
	}
	d := policy.Decide(&policy.Request{Principal: who, Action: r.Action, Resource: r.Resource.ARN, ResourceAccount: r.Resource.Account, Context: keys}, &p)
	if d.Outcome == policy.Allowed {
		return iam.Decision{Allowed: true}
	}
	return iam.Decision{Reason: "because " + d.Outcome.String() + " by " + d.Layer.String() + " " + d.Policy + " " + d.Statement, Explicit: d.Outcome == policy.ExplicitDeny}
}

func (w *world) note(c *iam.Caller, r *iam.Request, d iam.Decision) {
	w.mu.Lock()
	defer w.mu.Unlock()
	verdict := "refused"
	if d.Allowed {
		verdict = "allowed"
	}
	w.noted = append(w.noted, verdict+" "+c.Who()+" "+r.Action+" "+r.Resource.ARN)
}

// create makes a secret of root's with a value.
func (w *world) create(name, value string) *secret.Secret {
	w.t.Helper()
	x, _, err := w.Create(w.t.Context(), root, secret.Draft{Name: name, Value: secret.Text(value)})
	if err != nil {
		w.t.Fatalf("create %s: %v", name, err)
	}
	return x
}

// is fails the test unless err is of a kind, and returns its message.
func is(t testing.TB, what string, err error, kind secret.Kind) string {
	t.Helper()
	if !errors.Is(err, secret.ErrOf(kind)) {
		t.Errorf("%s: %v, want an error of kind %d", what, err, kind)
		return ""
	}
	return err.Error()
}

// denied fails the test unless err is a refusal, and returns it.
func denied(t testing.TB, what string, err error) *iam.DeniedError {
	t.Helper()
	d, ok := errors.AsType[*iam.DeniedError](err)
	if !ok {
		t.Fatalf("%s: %v, want a refusal", what, err)
	}
	return d
}

// each runs a test on every kind of database.
func each(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) { test(t, newWorld(t, db, secret.Outward{})) })
}
