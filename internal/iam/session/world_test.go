package session_test

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/decide"
	"github.com/sekisho/sekisho/internal/iam/directory"
	"github.com/sekisho/sekisho/internal/iam/oidc"
	"github.com/sekisho/sekisho/internal/iam/oidc/oidctest"
	"github.com/sekisho/sekisho/internal/iam/session"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
	"github.com/sekisho/sekisho/internal/seal"
)

const (
	account = "111122223333"
	other   = "444455556666"
	builder = "arn:aws:iam::" + account + ":role/team/builder"
)

var client = netip.MustParseAddr("192.0.2.1")

type clock struct{ at atomic.Int64 }

func (c *clock) now() time.Time { return time.Unix(0, c.at.Load()).UTC() }

// world is two accounts with policies, and an issuer of identity tokens.
type world struct {
	*clock
	db        *meta.DB
	keys      *iam.Service
	directory *directory.Service
	sessions  *session.Service
	authorize *decide.Authorizer
	issuer    *oidctest.Issuer
	root      *iam.Caller // of account
	stranger  *iam.Caller // root of other

	mu       sync.Mutex
	notes    []string // "allowed sts:AssumeRole by <arn>"
	issues   []session.Issue
	refusals []session.Refusal
}

func newWorld(t testing.TB, db *meta.DB) *world {
	t.Helper()
	w := &world{clock: new(clock), db: db, issuer: oidctest.New(t)}
	w.at.Store(time.Now().Truncate(time.Second).UnixNano())
	ring, err := seal.New(bytes.Repeat([]byte{7}, seal.MasterKeySize))
	if err != nil {
		t.Fatal(err)
	}
	if w.keys, err = iam.New(db, ring, w.now); err != nil {
		t.Fatal(err)
	}
	judge := &iam.Judge{Note: w.note}
	w.directory = directory.New(db, w.keys, judge, directory.Options{Now: w.now})
	w.authorize = decide.New(w.directory, w.keys.Generation(), decide.Options{Now: w.now, Region: "eu-west-1"})
	judge.Authorizer = w.authorize
	tokens, err := oidc.New(oidc.Options{Now: w.now, Roots: w.issuer.Roots(), Loopback: true})
	if err != nil {
		t.Fatal(err)
	}
	w.sessions = session.New(w.keys, judge, w.directory, tokens, session.Options{
		Now: w.now,
		OnIssue: func(_ context.Context, _ *meta.Tx, i session.Issue) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.issues = append(w.issues, i)
			return nil
		},
		Refusals: func(context.Context, string) ([]session.Refusal, error) { return w.refusals, nil },
	})
	for _, a := range []struct {
		id string
		c  **iam.Caller
	}{{account, &w.root}, {other, &w.stranger}} {
		_, key, err := w.keys.Bootstrap(t.Context(), a.id)
		if err != nil {
			t.Fatal(err)
		}
		*a.c = w.caller(t, key.ID, "")
	}
	return w
}

func newSQLite(t testing.TB) *world { return newWorld(t, metatest.Open(t, metatest.SQLite(t))) }

func (w *world) note(c *iam.Caller, r *iam.Request, d iam.Decision) {
	w.mu.Lock()
	defer w.mu.Unlock()
	said := "refused "
	if d.Allowed {
		said = "allowed "
	}
	w.notes = append(w.notes, said+r.Action+" by "+c.Who())
}

// lastNote returns the decision taken note of last.
func (w *world) lastNote() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.notes[len(w.notes)-1]
}

func (w *world) caller(t testing.TB, keyID, token string) *iam.Caller {
	t.Helper()
	_, p, err := w.keys.SigningKey(t.Context(), keyID, token, client)
	if err != nil {
		t.Fatal(err)
	}
	c := p.Caller()
	c.SourceIP, c.RequestID = client, "req"
	return c
}

// as returns the caller that temporary credentials make.
func (w *world) as(t testing.TB, c *iam.Credentials) *iam.Caller {
	t.Helper()
	return w.caller(t, c.AccessKeyID, c.SessionToken.Reveal())
}

// user makes a user with an inline policy, or none.
func (w *world) user(t testing.TB, root *iam.Caller, name, policy string) *iam.Caller {
	t.Helper()
	if _, err := w.directory.CreateUser(t.Context(), root, directory.NewUser{Name: name}); err != nil {
		t.Fatal(err)
	}
	if policy != "" {
		if err := w.directory.PutInlinePolicy(t.Context(), root, directory.UserNamed(name), "own", policy); err != nil {
			t.Fatal(err)
		}
	}
	key, err := w.directory.CreateAccessKey(t.Context(), root, name)
	if err != nil {
		t.Fatal(err)
	}
	return w.caller(t, key.ID, "")
}

// role makes a role below /team/ with a trust policy, which may do everything with ECR.
func (w *world) role(t testing.TB, name, trust string, tags ...directory.Tag) *directory.Role {
	t.Helper()
	r, err := w.directory.CreateRole(t.Context(), w.root, directory.NewRole{Name: name, Path: "/team/", Trust: trust, MaxSession: 2 * time.Hour, Tags: tags})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.directory.PutInlinePolicy(t.Context(), w.root, directory.RoleNamed(name), "own", allow("ecr:*")); err != nil {
		t.Fatal(err)
	}
	return r
}

// provider makes the issuer known to the account.
func (w *world) provider(t testing.TB) *directory.Provider {
	t.Helper()
	p, err := w.directory.CreateProvider(t.Context(), w.root, directory.NewProvider{URL: w.issuer.URL, ClientIDs: []string{"sts.amazonaws.com"}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func allow(action string) string {
	return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"` + action + `","Resource":"*"}]}`
}

// trust is a trust policy of one statement: {"AWS":"…"}, actions, and a condition or "".
func trust(principal, condition string, actions ...string) string {
	if condition != "" {
		condition = `,"Condition":` + condition
	}
	return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":` + principal + `,"Action":["` + strings.Join(actions, `","`) + `"]` + condition + `}]}`
}

// may reports whether a caller may do an action on a repository of the account.
func (w *world) may(t testing.TB, c *iam.Caller, action string) bool {
	t.Helper()
	d := w.authorize.Authorize(t.Context(), c, iam.On(c, action, "arn:aws:ecr:eu-west-1:"+account+":repository/a"))
	if d.Err != nil {
		t.Fatal(d.Err)
	}
	return d.Allowed
}

func refused(t testing.TB, err error, kind session.ErrorKind, message string) {
	t.Helper()
	e, ok := errors.AsType[*session.Error](err)
	if !ok || e.Kind != kind || !strings.Contains(e.Message, message) {
		t.Errorf("got %v, want %s: …%s…", err, kind, message)
	}
}

func denied(t testing.TB, err error, action string) {
	t.Helper()
	e, ok := errors.AsType[*iam.DeniedError](err)
	if !ok || e.Action != action {
		t.Errorf("got %v, want %s to be denied", err, action)
	}
}
