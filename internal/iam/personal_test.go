package iam_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
)

// tokens is personal access tokens with a judge who lets everybody do what they ask for about themselves, and root all.
type tokens struct {
	*iam.PersonalTokens
	mu    sync.Mutex
	notes []string // guarded by mu
	did   []string // guarded by mu
}

func (k *tokens) Authorize(_ context.Context, c *iam.Caller, r *iam.Request) iam.Decision {
	if c.Type == iam.Root && c.Account == account || c.ARN != "" && r.Resource.ARN == c.ARN {
		return iam.Decision{Allowed: true}
	}
	return iam.Decision{Reason: "because it is another's"}
}

func newTokens(s *iam.Service) *tokens {
	k := &tokens{}
	k.PersonalTokens = s.PersonalTokens(&iam.Judge{Authorizer: k, Note: func(c *iam.Caller, r *iam.Request, d iam.Decision) {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.notes = append(k.notes, fmt.Sprint(d.Allowed, " ", c.Who(), " ", r.Action, " ", r.Resource.ARN))
	}}, func(_ context.Context, tx *meta.Tx, c *iam.Caller, action, resource, detail string) error {
		tx.OnCommit(func() {
			k.mu.Lock()
			defer k.mu.Unlock()
			k.did = append(k.did, c.Who()+" "+action+" "+resource+" "+detail)
		})
		return nil
	})
	return k
}

var root = &iam.Caller{Principal: iam.Principal{Account: account, ARN: iam.RootARN(account), Type: iam.Root, ID: account}}

func userCaller(id, name string) *iam.Caller {
	return &iam.Caller{Principal: iam.Principal{Account: account, ARN: "arn:aws:iam::" + account + ":user/" + name, Type: iam.User, ID: id, Name: name}}
}

func create(t testing.TB, k *tokens, c *iam.Caller, n iam.NewPersonalToken) *iam.PersonalToken {
	t.Helper()
	if n.Name == "" {
		n.Name = "ci"
	}
	made, err := k.Create(t.Context(), c, n)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func TestPersonalToken(t *testing.T) { metatest.EachDB(t, testPersonalToken) }

func testPersonalToken(t *testing.T, db *meta.DB) {
	ctx, clk := t.Context(), newClock()
	s, _ := bootstrapped(t, db, clk)
	node := newService(t, db, clk) // another one
	k := newTokens(s)
	addIdentity(t, db, "user", "AIDAALICE", "alice")
	alice := userCaller("AIDAALICE", "alice")
	made := create(t, k, alice, iam.NewPersonalToken{Name: "laptop", Scopes: []iam.Scope{iam.ScopeGit, iam.ScopeRegistry, iam.ScopeGit}})
	text := made.Token.Reveal()
	if !strings.HasPrefix(text, "skp_") || len(text) != 66 || !strings.HasPrefix(made.ID, "SKPT") || !strings.Contains(text, made.ID[4:]) {
		t.Errorf("%s of %d characters", made.ID, len(text))
	}
	if made.Expires.Sub(made.Created) != iam.DefaultTokenLife {
		t.Errorf("until %s", made.Expires)
	}
	if shown := fmt.Sprintf("%v %+v %#v %s", made, made, made.Token, k.did); strings.Contains(shown, text[24:]) {
		t.Error("the token is printed")
	}
	for _, at := range []*iam.Service{s, node} {
		for _, header := range []string{"Bearer " + text, "bearer  " + text, basic("x", text), basic("", text), basic("AWS", text), basic("alice", text)} {
			for range 2 { // the second time from memory
				who, err := at.Authenticate(ctx, header, client)
				if err != nil {
					t.Fatalf("%.10s: %v", header, err)
				}
				if who.ARN != alice.ARN || who.ID != alice.ID || who.Type != iam.User || who.Name != "alice" || who.AccessKeyID != made.ID {
					t.Errorf("%+v", who)
				}
				if who.Session == nil || len(who.Session.Policies) != 1 || !strings.Contains(who.Session.Policies[0], `"ecr:*","ecr-public:*","git:*"`) {
					t.Errorf("limits %+v", who.Session)
				}
			}
		}
	}
	flipped := []byte(text)
	flipped[30] ^= 1
	for what, header := range map[string]string{
		"wrong checksum": "Bearer " + string(flipped), "cut": "Bearer " + text[:65], "as user": basic(text, "x"), "longer": "Bearer " + text + "0",
		"another prefix": "Bearer skj_" + text[4:], "an access key": "Bearer AKIA", "nothing": "Bearer ", "the id": basic("x", made.ID),
	} {
		if who, err := s.Authenticate(ctx, header, client); !errors.Is(err, iam.ErrInvalidCredentials) {
			t.Errorf("%s: %v, %v", what, who, err)
		}
	}
	if _, _, err := s.Secret(ctx, made.ID, client); !errors.Is(err, iam.ErrUnknownKey) {
		t.Errorf("a token as an access key: %v", err)
	}
	// Whoever signs in with it and asks for a registry's token gets one that ends with it, and is limited as it is.
	who, err := s.Authenticate(ctx, "Bearer "+text, client)
	if err != nil {
		t.Fatal(err)
	}
	password, _, err := s.IssueToken(ctx, who.Caller())
	if err != nil {
		t.Fatal(err)
	}
	if again, err := s.Authenticate(ctx, basic("AWS", password), client); err != nil || again.AccessKeyID != made.ID || again.Session == nil || len(again.Session.Policies) != 1 {
		t.Errorf("%+v, %v", again, err)
	}
	if err := s.FlushTokens(ctx); err != nil {
		t.Fatal(err)
	}
	list, err := k.List(ctx, alice, "")
	if err != nil || len(list) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
	want := *made
	want.Token, want.Used = iam.Secret{}, clk.now().Truncate(time.Minute)
	if d := cmp.Diff(want, list[0], cmp.AllowUnexported(iam.Secret{})); d != "" {
		t.Error(d)
	}
	if mine, err := k.List(ctx, root, ""); err != nil || len(mine) != 0 {
		t.Errorf("root's own: %v, %v", mine, err)
	}
	if hers, err := k.List(ctx, root, "alice"); err != nil || len(hers) != 1 {
		t.Errorf("for root: %v, %v", hers, err)
	}
	addIdentity(t, db, "user", "AIDABOB", "bob")
	bob := userCaller("AIDABOB", "bob")
	if _, err := k.List(ctx, bob, "alice"); !isDenied(err) {
		t.Errorf("another's list: %v", err)
	}
	if err := k.Revoke(ctx, bob, made.ID); !isDenied(err) {
		t.Errorf("revoke another's: %v", err)
	}
	if err := k.Revoke(ctx, root, "SKPTNONE"); !errors.Is(err, iam.ErrNoToken) {
		t.Errorf("revoke none: %v", err)
	}
	foreign := &iam.Caller{Principal: iam.Principal{Account: "444455556666", ARN: iam.RootARN("444455556666"), Type: iam.Root, ID: "444455556666"}}
	if err := k.Revoke(ctx, foreign, made.ID); err == nil {
		t.Error("another account revokes it")
	}
	if err := k.Revoke(ctx, alice, made.ID); err != nil {
		t.Fatal(err)
	}
	if db.Dialect() == meta.SQLite {
		if err := node.Generation().Poll(ctx); err != nil {
			t.Fatal(err)
		}
	}
	for _, at := range []*iam.Service{s, node} {
		for _, header := range []string{"Bearer " + text, basic("x", text), basic("AWS", password)} {
			if _, err := at.Authenticate(ctx, header, client); !errors.Is(err, iam.ErrInvalidCredentials) {
				t.Errorf("revoked: %v", err)
			}
		}
	}
	if len(k.did) != 2 || !strings.Contains(k.did[0], made.ID+" until ") || !strings.Contains(k.did[1], "iam:RevokePersonalAccessToken "+alice.ARN+" "+made.ID) {
		t.Errorf("records %q", k.did)
	}
}

func isDenied(err error) bool {
	_, ok := errors.AsType[*iam.DeniedError](err)
	return ok
}

func TestPersonalTokenEnds(t *testing.T) { metatest.EachDB(t, testPersonalTokenEnds) }

func testPersonalTokenEnds(t *testing.T, db *meta.DB) {
	ctx, clk := t.Context(), newClock()
	s, _ := bootstrapped(t, db, clk)
	k := newTokens(s)
	addIdentity(t, db, "user", "AIDAALICE", "alice")
	hers := create(t, k, userCaller("AIDAALICE", "alice"), iam.NewPersonalToken{})
	roots := create(t, k, root, iam.NewPersonalToken{Life: time.Hour})
	header := func(x *iam.PersonalToken) string { return "Bearer " + x.Token.Reveal() }
	for _, x := range []*iam.PersonalToken{hers, roots} {
		who, err := s.Authenticate(ctx, header(x), client)
		if err != nil || who.Session.Policies != nil || who.ARN != x.ARN {
			t.Fatalf("%+v, %v", who, err)
		}
	}
	clk.advance(time.Hour)
	for range 2 {
		_, err := s.Authenticate(ctx, header(roots), client)
		if !errors.Is(err, iam.ErrInvalidCredentials) || !strings.Contains(err.Error(), "expired") {
			t.Errorf("expired: %v", err)
		}
	}
	deleteIdentity(t, db, "AIDAALICE")
	if err := s.Generation().Poll(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Authenticate(ctx, header(hers), client); !errors.Is(err, iam.ErrInvalidCredentials) {
		t.Errorf("of a user that is deleted: %v", err)
	}
	if list, err := k.List(ctx, root, ""); err != nil || len(list) != 1 {
		t.Errorf("an expired one is not listed: %v, %v", list, err)
	}
	clk.advance(31 * 24 * time.Hour)
	if err := s.FlushTokens(ctx); err != nil {
		t.Fatal(err)
	}
	if list, err := k.List(ctx, root, ""); err != nil || len(list) != 0 {
		t.Errorf("one that is over for long is listed: %v, %v", list, err)
	}
}

func TestPersonalTokenRefused(t *testing.T) {
	ctx, clk := t.Context(), newClock()
	db := metatest.Open(t, metatest.SQLite(t))
	s, _ := bootstrapped(t, db, clk)
	k := newTokens(s)
	for what, n := range map[string]iam.NewPersonalToken{
		"no name": {}, "long name": {Name: strings.Repeat("x", 129)}, "lines": {Name: "a\nb"}, "two years": {Name: "a", Life: 2 * iam.MaxTokenLife},
		"in the past": {Name: "a", Life: -time.Hour}, "scope": {Name: "a", Scopes: []iam.Scope{"everything"}},
	} {
		_, err := k.Create(ctx, root, n)
		if _, ok := errors.AsType[*iam.TokenError](err); !ok {
			t.Errorf("%s: %v", what, err)
		}
	}
	session := *root
	session.Session = &iam.Session{Expires: clk.now().Add(time.Hour)}
	role := &iam.Caller{Principal: iam.Principal{Account: account, ARN: "arn:aws:sts::" + account + ":assumed-role/r/s", Type: iam.AssumedRole, ID: "AROA:s"}}
	for what, c := range map[string]*iam.Caller{"nobody": nil, "nothing": {}, "a session": &session, "a role": role, "the server": iam.SystemCaller(account, "x")} {
		if _, err := k.Create(ctx, c, iam.NewPersonalToken{Name: "a"}); !isDenied(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
	// A token makes no token, so that whoever steals one has it no longer than it is good.
	first := create(t, k, root, iam.NewPersonalToken{})
	who, err := s.Authenticate(ctx, "Bearer "+first.Token.Reveal(), client)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Create(ctx, who.Caller(), iam.NewPersonalToken{Name: "a"}); !isDenied(err) {
		t.Errorf("a token: %v", err)
	}
	gone := userCaller("AIDAGONE", "gone")
	if _, err := k.Create(ctx, gone, iam.NewPersonalToken{Name: "a"}); !errors.Is(err, iam.ErrPrincipalGone) {
		t.Errorf("a user that is gone: %v", err)
	}
	for range 99 {
		create(t, k, root, iam.NewPersonalToken{})
	}
	_, err = k.Create(ctx, root, iam.NewPersonalToken{Name: "a"})
	if _, ok := errors.AsType[*iam.TokenError](err); !ok {
		t.Errorf("too many: %v", err)
	}
}

// TestPersonalTokenThrottled is an address that guesses: what is in use there goes on to work.
func TestPersonalTokenThrottled(t *testing.T) {
	ctx, clk := t.Context(), newClock()
	db := metatest.Open(t, metatest.SQLite(t))
	s, _ := bootstrapped(t, db, clk)
	k := newTokens(s)
	good, later := create(t, k, root, iam.NewPersonalToken{}), create(t, k, root, iam.NewPersonalToken{})
	if _, err := s.Authenticate(ctx, "Bearer "+good.Token.Reveal(), client); err != nil {
		t.Fatal(err)
	}
	var err error
	for range 200 {
		if _, err = s.Authenticate(ctx, "Bearer "+iam.MakeBearer("skp_"), client); err == nil {
			t.Fatal("a token that nobody made is good")
		}
	}
	if !errors.Is(err, iam.ErrThrottled) {
		t.Errorf("%v", err)
	}
	if _, err := s.Authenticate(ctx, basic("x", later.Token.Reveal()), client); !errors.Is(err, iam.ErrThrottled) {
		t.Errorf("another token from there: %v", err)
	}
	if _, err := s.Authenticate(ctx, "Bearer "+good.Token.Reveal(), client); err != nil {
		t.Errorf("one in use: %v", err)
	}
	if _, err := s.Authenticate(ctx, "Bearer "+later.Token.Reveal(), netip.MustParseAddr("192.0.2.99")); err != nil {
		t.Errorf("from elsewhere: %v", err)
	}
}

// TestTokensOutliveTheMasterKey rotates it.
func TestTokensOutliveTheMasterKey(t *testing.T) {
	ctx, clk := t.Context(), newClock()
	db := metatest.Open(t, metatest.SQLite(t))
	s, _ := bootstrapped(t, db, clk)
	made := create(t, newTokens(s), root, iam.NewPersonalToken{})
	next := []byte(strings.Repeat("n", len(masterKey)))
	if _, err := newRing(t, next, masterKey).Rotate(ctx, db); err != nil {
		t.Fatal(err)
	}
	after, err := iam.New(db, newRing(t, next), clk.now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := after.Authenticate(ctx, "Bearer "+made.Token.Reveal(), client); err != nil {
		t.Error(err)
	}
}

// jobGrant is a token of a job of the role AROAJOB.
func jobGrant(clk *clock, job string) iam.JobGrant {
	g := roleSession(clk, time.Hour)
	g.Principal.Session.Policies = []string{`{"Version":"2012-10-17","Statement":[]}`}
	return iam.JobGrant{Job: job, Principal: g.Principal}
}

func TestJobToken(t *testing.T) { metatest.EachDB(t, testJobToken) }

func testJobToken(t *testing.T, db *meta.DB) {
	ctx, clk := t.Context(), newClock()
	s, _ := bootstrapped(t, db, clk)
	node := newService(t, db, clk)
	g := jobGrant(clk, "1.a.b#1")
	id, _, _ := strings.Cut(g.Principal.ID, ":")
	if _, err := s.NewJobToken(ctx, g); !errors.Is(err, iam.ErrPrincipalGone) {
		t.Errorf("of a role that is not there: %v", err)
	}
	addIdentity(t, db, "role", id, "builder")
	unlimited := jobGrant(clk, "1.a.b#1")
	unlimited.Principal.Session.Policies = nil
	if _, err := s.NewJobToken(ctx, unlimited); err == nil {
		t.Error("a token that nothing limits")
	}
	make := func(job string) string {
		t.Helper()
		token, err := s.NewJobToken(ctx, jobGrant(clk, job))
		if err != nil {
			t.Fatal(err)
		}
		return token.Reveal()
	}
	first, second := make("1.a.b#1"), make("1.a.b#2")
	for _, at := range []*iam.Service{s, node} {
		who, err := at.Authenticate(ctx, basic("x", first), client)
		if err != nil {
			t.Fatal(err)
		}
		if job, ok := iam.JobOf(who); !ok || job != "1.a.b#1" || len(who.Session.Policies) != 1 {
			t.Errorf("%q, %+v", job, who.Session)
		}
	}
	if err := s.EndJob(ctx, "1.a.b#1"); err != nil {
		t.Fatal(err)
	}
	for _, at := range []*iam.Service{s, node} { // with no generation in between
		if _, err := at.Authenticate(ctx, basic("x", first), client); !errors.Is(err, iam.ErrInvalidCredentials) {
			t.Errorf("after the end: %v", err)
		}
		if _, err := at.Authenticate(ctx, "Bearer "+second, client); err != nil {
			t.Errorf("another job's: %v", err)
		}
	}
	forged := &iam.Principal{AccessKeyID: "ASIA", Session: &iam.Session{Keys: map[string][]string{"pipelines:job": {"x"}}}}
	if _, ok := iam.JobOf(forged); ok {
		t.Error("claims of a provider pass for a job")
	}
	clk.advance(time.Hour)
	if _, err := s.Authenticate(ctx, "Bearer "+second, client); !errors.Is(err, iam.ErrInvalidCredentials) {
		t.Errorf("expired: %v", err)
	}
}

func FuzzBearer(f *testing.F) {
	f.Add("skp_" + strings.Repeat("A", 62))
	f.Add(iam.MakeBearer("skj_"))
	f.Add("skp_")
	f.Fuzz(func(t *testing.T, text string) {
		id, ok := iam.ParseBearer(text)
		if !ok {
			return
		}
		if len(text) != 66 || len(id) != 20 || strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") != "" || !strings.Contains(text, id[4:]) {
			t.Errorf("%q is %q", text, id)
		}
	})
}
