package iam_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
)

const roleID = "AROAEXAMPLEEXAMPLE01"

// addIdentity adds the row that a session of a role or a user refers to.
func addIdentity(t testing.TB, db *meta.DB, kind, id, name string) {
	t.Helper()
	err := db.Update(t.Context(), func(tx *meta.Tx) error {
		_, err := tx.Exec(t.Context(), `INSERT INTO identities (id, account, kind, name, folded, path, created_at, updated_at,
			description, document, version, versions, max_session, boundary, used_at, used_in)
			VALUES ($1, $2, $3, $4, $4, '/', 0, 0, '', '', 0, 0, 3600, '', 0, '')`, id, account, kind, name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// deleteIdentity deletes such a row, as the directory does.
func deleteIdentity(t testing.TB, db *meta.DB, id string) {
	t.Helper()
	g := iam.NewGeneration(db)
	err := db.Update(t.Context(), func(tx *meta.Tx) error {
		if err := g.Bump(t.Context(), tx); err != nil {
			return err
		}
		_, err := tx.Exec(t.Context(), `DELETE FROM identities WHERE id = $1`, id)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func roleSession(clk *clock, life time.Duration) iam.Grant {
	return iam.Grant{Principal: iam.Principal{
		Account: account, Type: iam.AssumedRole, ID: roleID + ":ci", Name: "ci",
		ARN:  "arn:aws:sts::" + account + ":assumed-role/builder/ci",
		Role: "arn:aws:iam::" + account + ":role/team/builder",
		Session: &iam.Session{
			Expires:        clk.now().Add(life),
			Policies:       []string{},
			Tags:           map[string]string{"Team": "Blue"},
			Transitive:     []string{"Team"},
			Provider:       "arn:aws:iam::" + account + ":oidc-provider/ci.example",
			Keys:           map[string][]string{"ci.example:sub": {"repo:a/b"}},
			SourceIdentity: "alice",
		},
	}}
}

func newSession(t testing.TB, s *iam.Service, g iam.Grant) *iam.Credentials {
	t.Helper()
	c, err := s.NewSession(t.Context(), g)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestSession(t *testing.T) {
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) {
		clk := newClock()
		s, _ := bootstrapped(t, db, clk)
		addIdentity(t, db, "role", roleID, "builder")
		g := roleSession(clk, time.Hour)
		c := newSession(t, s, g)
		if !strings.HasPrefix(c.AccessKeyID, "ASIA") || len(c.AccessKeyID) != 20 || len(c.Secret.Reveal()) != 40 ||
			!c.Expires.Equal(clk.now().Add(time.Hour)) || c.SessionToken.Reveal() == "" {
			t.Errorf("credentials %+v", c)
		}
		if shown := fmt.Sprintf("%v %+v", c, c); strings.Contains(shown, c.Secret.Reveal()) || strings.Contains(shown, c.SessionToken.Reveal()) {
			t.Errorf("printed: %s", shown)
		}
		for _, node := range []*iam.Service{s, newService(t, db, clk)} {
			secret, p, err := node.SigningKey(t.Context(), c.AccessKeyID, c.SessionToken.Reveal(), client)
			if err != nil || secret != c.Secret {
				t.Fatalf("secret is another one, %v", err)
			}
			want := g.Principal
			want.AccessKeyID = c.AccessKeyID
			session := *g.Principal.Session
			session.Issued = clk.now()
			want.Session = &session
			if diff := cmp.Diff(&want, p); diff != "" {
				t.Errorf("principal (-want +got):\n%s", diff)
			}
		}
		var stored string
		err := db.QueryRow(t.Context(), `SELECT grants FROM sessions WHERE id = $1`, c.AccessKeyID).Scan(&stored)
		if err != nil || strings.Contains(stored, c.Secret.Reveal()) || strings.Contains(stored, c.SessionToken.Reveal()) {
			t.Errorf("stored %s, %v", stored, err)
		}
	})
}

// TestSessionToken checks that temporary credentials need their own token, and that long-lived ones can't have any.
func TestSessionToken(t *testing.T) {
	db := metatest.Open(t, metatest.SQLite(t))
	clk := newClock()
	s, key := bootstrapped(t, db, clk)
	addIdentity(t, db, "role", roleID, "builder")
	c, other := newSession(t, s, roleSession(clk, time.Hour)), newSession(t, s, roleSession(clk, time.Hour))
	good := c.SessionToken.Reveal()
	docker, _, err := s.IssueToken(t.Context(), &iam.Caller{Principal: iam.Principal{AccessKeyID: c.AccessKeyID}})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, id, token string
		want            error
	}{
		{"its own", c.AccessKeyID, good, nil},
		{"a long-lived key without", key.ID, "", nil},
		{"none", c.AccessKeyID, "", iam.ErrSessionToken},
		{"of another session", c.AccessKeyID, other.SessionToken.Reveal(), iam.ErrSessionToken},
		{"an authorization token", c.AccessKeyID, docker, iam.ErrSessionToken},
		{"cut", c.AccessKeyID, good[:len(good)-1], iam.ErrSessionToken},
		{"longer", c.AccessKeyID, good + "A", iam.ErrSessionToken},
		{"made up", c.AccessKeyID, "x", iam.ErrSessionToken},
		{"huge", c.AccessKeyID, strings.Repeat("A", 1<<16), iam.ErrSessionToken},
		{"with a long-lived key", key.ID, good, iam.ErrSessionToken},
		{"with a key that is not there", "AKIAXXXXXXXXXXXXXXXX", "", iam.ErrUnknownKey},
		{"with a session that is not there", "ASIAXXXXXXXXXXXXXXXX", good, iam.ErrSessionToken},
	} {
		t.Run(tt.name, func(t *testing.T) {
			secret, p, err := s.SigningKey(t.Context(), tt.id, tt.token, client)
			if !errors.Is(err, tt.want) || (p != nil) != (tt.want == nil) || (secret != iam.Secret{}) != (tt.want == nil) {
				t.Errorf("%v, %v", p, err)
			}
		})
	}
}

// TestSessionExpires checks each use of temporary credentials just before their end and at it.
func TestSessionExpires(t *testing.T) {
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) {
		clk := newClock()
		s, _ := bootstrapped(t, db, clk)
		addIdentity(t, db, "role", roleID, "builder")
		g := roleSession(clk, time.Hour)
		c := newSession(t, s, g)
		_, p, err := s.SigningKey(t.Context(), c.AccessKeyID, c.SessionToken.Reveal(), client)
		if err != nil {
			t.Fatal(err)
		}
		password, expires, err := s.IssueToken(t.Context(), p.Caller())
		if err != nil || !expires.Equal(c.Expires) {
			t.Fatalf("token expires at %v, the session at %v, %v", expires, c.Expires, err)
		}
		uses := func(wantKey, wantToken error) {
			t.Helper()
			if _, _, err := s.SigningKey(t.Context(), c.AccessKeyID, c.SessionToken.Reveal(), client); !errors.Is(err, wantKey) {
				t.Errorf("signature: %v, want %v", err, wantKey)
			}
			if p, err := s.Authenticate(t.Context(), basic("AWS", password), client); !errors.Is(err, wantToken) {
				t.Errorf("token: %v, want %v", err, wantToken)
			} else if err == nil && (p.ARN != g.Principal.ARN || p.Session == nil || p.TokenIssued.IsZero()) {
				t.Errorf("token of %+v", p)
			}
			if _, _, err := s.Secret(t.Context(), c.AccessKeyID, client); (err == nil) != (wantKey == nil) {
				t.Errorf("link: %v", err)
			}
		}
		uses(nil, nil)
		clk.advance(time.Hour - time.Nanosecond)
		uses(nil, nil)
		clk.advance(time.Nanosecond)
		uses(iam.ErrSessionExpired, iam.ErrTokenExpired)

		// The next one removes its row; what is said of it stays.
		newSession(t, s, roleSession(clk, time.Hour))
		var n int
		if err := db.QueryRow(t.Context(), `SELECT count(*) FROM sessions`).Scan(&n); err != nil || n != 1 {
			t.Errorf("%d sessions, %v", n, err)
		}
		uses(iam.ErrSessionExpired, iam.ErrTokenExpired)
	})
}

// TestSessionEnds checks that temporary credentials end, on every node, with the role or the user, and those that were
// asked for with a long-lived key with that.
func TestSessionEnds(t *testing.T) {
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) {
		ctx := t.Context()
		clk := newClock()
		s, key := bootstrapped(t, db, clk)
		nodes := []*iam.Service{s}
		if db.Dialect() == meta.PostgreSQL {
			nodes = append(nodes, newService(t, db, clk))
		}
		const userID = "AIDAEXAMPLEEXAMPLE01"
		addIdentity(t, db, "role", roleID, "builder")
		addIdentity(t, db, "user", userID, "alice")
		user := iam.Principal{Account: account, Type: iam.User, ID: userID, Name: "alice", ARN: "arn:aws:iam::" + account + ":user/alice",
			Session: &iam.Session{Expires: clk.now().Add(time.Hour)}}
		root := iam.Principal{Account: account, Type: iam.Root, ID: account, ARN: iam.RootARN(account), Session: user.Session}
		ofRole := newSession(t, s, roleSession(clk, time.Hour))
		ofUser := newSession(t, s, iam.Grant{Principal: user})
		ofRoot := newSession(t, s, iam.Grant{Principal: root, Parent: key.ID})
		password, _, err := s.IssueToken(ctx, &iam.Caller{Principal: iam.Principal{AccessKeyID: ofRole.AccessKeyID}})
		if err != nil {
			t.Fatal(err)
		}
		expect := func(when string, c *iam.Credentials, want error) {
			t.Helper()
			for i, node := range nodes {
				if _, _, err := node.SigningKey(ctx, c.AccessKeyID, c.SessionToken.Reveal(), client); !errors.Is(err, want) {
					t.Errorf("%s, node %d: %v, want %v", when, i, err, want)
				}
			}
		}
		for _, c := range []*iam.Credentials{ofRole, ofUser, ofRoot} {
			expect("at first", c, nil)
		}
		if err := s.SetKeyStatus(ctx, account, key.ID, iam.KeyInactive); err != nil {
			t.Fatal(err)
		}
		expect("key inactive", ofRoot, iam.ErrSessionToken)
		expect("key inactive", ofRole, nil)
		if err := s.SetKeyStatus(ctx, account, key.ID, iam.KeyActive); err != nil {
			t.Fatal(err)
		}
		expect("key active", ofRoot, nil)
		if err := s.DeleteKey(ctx, account, key.ID); err != nil {
			t.Fatal(err)
		}
		expect("key deleted", ofRoot, iam.ErrSessionToken)
		for _, node := range nodes {
			if _, err := node.Authenticate(ctx, basic("AWS", password), client); err != nil {
				t.Error(err)
			}
		}
		deleteIdentity(t, db, roleID)
		if db.Dialect() == meta.SQLite { // another Generation of the same process: as if it was a command beside it
			if err := s.Generation().Poll(ctx); err != nil {
				t.Fatal(err)
			}
		}
		expect("role deleted", ofRole, iam.ErrSessionToken)
		expect("role deleted", ofUser, nil)
		for i, node := range nodes {
			if _, err := node.Authenticate(ctx, basic("AWS", password), client); !errors.Is(err, iam.ErrInvalidCredentials) {
				t.Errorf("token of a deleted role's session, node %d: %v", i, err)
			}
		}
		addIdentity(t, db, "role", "AROAEXAMPLEEXAMPLE02", "builder")
		expect("role made again", ofRole, iam.ErrSessionToken)
		if _, err := s.NewSession(ctx, roleSession(clk, time.Hour)); !errors.Is(err, iam.ErrPrincipalGone) {
			t.Errorf("session of a role that is gone: %v", err)
		}
		if _, err := s.NewSession(ctx, iam.Grant{Principal: root, Parent: key.ID}); !errors.Is(err, iam.ErrPrincipalGone) {
			t.Errorf("session of a key that is gone: %v", err)
		}
	})
}

func TestNewSessionRefuses(t *testing.T) {
	db := metatest.Open(t, metatest.SQLite(t))
	clk := newClock()
	s, _ := bootstrapped(t, db, clk)
	addIdentity(t, db, "role", roleID, "builder")
	for name, change := range map[string]func(*iam.Principal){
		"no session":    func(p *iam.Principal) { p.Session = nil },
		"no id":         func(p *iam.Principal) { p.ID = "" },
		"no ARN":        func(p *iam.Principal) { p.ARN = "" },
		"over already":  func(p *iam.Principal) { p.Session.Expires = clk.now() },
		"anonymous":     func(p *iam.Principal) { p.Type = iam.Anonymous },
		"the server":    func(p *iam.Principal) { p.Type = iam.System },
		"unknown":       func(p *iam.Principal) { p.Type = 99 },
		"other account": func(p *iam.Principal) { p.Account = "999999999999" },
	} {
		g := roleSession(clk, time.Hour)
		change(&g.Principal)
		if c, err := s.NewSession(t.Context(), g); err == nil {
			t.Errorf("%s: %+v", name, c)
		}
	}
}

// TestTemporaryKeyAsPassword checks that docker login with a temporary key says what to do instead, however often.
func TestTemporaryKeyAsPassword(t *testing.T) {
	db := metatest.Open(t, metatest.SQLite(t))
	clk := newClock()
	s, _ := bootstrapped(t, db, clk)
	addIdentity(t, db, "role", roleID, "builder")
	c := newSession(t, s, roleSession(clk, time.Hour))
	for range 3 {
		for _, header := range []string{basic(c.AccessKeyID, c.Secret.Reveal()), basic("ASIAXXXXXXXXXXXXXXXX", "x")} {
			p, err := s.Authenticate(t.Context(), header, client)
			if p != nil || !errors.Is(err, iam.ErrTemporaryKey) || !errors.Is(err, iam.ErrInvalidCredentials) || !strings.Contains(err.Error(), "get-login-password") {
				t.Errorf("%v, %v", p, err)
			}
		}
	}
	for range 3 {
		if _, err := s.Authenticate(t.Context(), basic("AKIAXXXXXXXXXXXXXXXX", "x"), client); errors.Is(err, iam.ErrTemporaryKey) {
			t.Error(err)
		}
	}
}

// TestKeysAreNoSecret guesses secrets of a key that is there and of one that is not, and wants the same answers in the
// same order from either.
func TestKeysAreNoSecret(t *testing.T) {
	clk := newClock()
	s, key := bootstrapped(t, metatest.Open(t, metatest.SQLite(t)), clk)
	// What the server in front does with a signature that is wrong.
	signed := func(ctx context.Context, id string, from netip.Addr) string {
		_, _, err := s.SigningKey(ctx, id, "", from)
		if err == nil {
			err = s.WrongSecret(id, from)
		}
		if err == nil || errors.Is(err, iam.ErrUnknownKey) {
			return "wrong"
		}
		return err.Error()
	}
	n := 0
	login := func(ctx context.Context, id string, from netip.Addr) string {
		n++
		header := "Basic " + base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%s:%d", id, n))
		if _, err := s.Authenticate(ctx, header, from); err != nil {
			return err.Error()
		}
		return "let in"
	}
	for name, guess := range map[string]func(context.Context, string, netip.Addr) string{"signature": signed, "password": login} {
		answers := func(id string, from netip.Addr) (all []string) {
			for range 150 {
				all = append(all, guess(t.Context(), id, from))
			}
			clk.advance(time.Second)
			for range 20 {
				all = append(all, guess(t.Context(), id, from))
			}
			return all
		}
		there := answers(key.ID, netip.MustParseAddr("192.0.2.10"))
		missing := answers("AKIAXXXXXXXXXXXXXXXX", netip.MustParseAddr("192.0.2.11"))
		if diff := cmp.Diff(missing, there); diff != "" {
			t.Errorf("%s (-missing +there):\n%s", name, diff)
		}
		if there[0] == there[149] {
			t.Errorf("%s: not throttled: %s", name, there[149])
		}
		// Whoever has used up the allowance on other keys learns nothing more of this one.
		tired := netip.MustParseAddr("192.0.2.12")
		for i := range 150 {
			guess(t.Context(), fmt.Sprintf("AKIA%016d", i), tired)
		}
		if a, b := guess(t.Context(), key.ID, tired), guess(t.Context(), "AKIAXXXXXXXXXXXXXXXX", tired); a != b || a != iam.ErrThrottled.Error() {
			t.Errorf("%s: %q and %q", name, a, b)
		}
		clk.advance(time.Minute)
	}
	// The owner, elsewhere, is not locked out.
	if _, _, err := s.SigningKey(t.Context(), key.ID, "", client); err != nil {
		t.Error(err)
	}
}

// FuzzSessionToken looks for a token that is taken and was not issued.
func FuzzSessionToken(f *testing.F) {
	db := metatest.Open(f, metatest.SQLite(f))
	clk := newClock()
	s, key := bootstrapped(f, db, clk)
	addIdentity(f, db, "role", roleID, "builder")
	c := newSession(f, s, roleSession(clk, time.Hour))
	f.Add(c.AccessKeyID, c.SessionToken.Reveal())
	f.Add(key.ID, "")
	f.Add("ASIAXXXXXXXXXXXXXXXX", c.SessionToken.Reveal())
	f.Fuzz(func(t *testing.T, id, token string) {
		_, p, err := s.SigningKey(t.Context(), id, token, netip.Addr{})
		if good := id == c.AccessKeyID && token == c.SessionToken.Reveal() || id == key.ID && token == ""; good != (err == nil) || good != (p != nil) {
			t.Errorf("%q with %q: %v, %v", id, token, p, err)
		}
	})
}

// BenchmarkNewSession makes sessions beside many others, some of which have expired.
func BenchmarkNewSession(b *testing.B) {
	db := metatest.Open(b, metatest.SQLite(b))
	clk := newClock()
	s, _ := bootstrapped(b, db, clk)
	addIdentity(b, db, "role", roleID, "builder")
	for range 2000 {
		newSession(b, s, roleSession(clk, time.Hour))
		clk.advance(time.Second)
	}
	b.ReportAllocs()
	for b.Loop() {
		newSession(b, s, roleSession(clk, time.Hour))
	}
}

// BenchmarkSigningKey looks a session up that is in use.
func BenchmarkSigningKey(b *testing.B) {
	db := metatest.Open(b, metatest.SQLite(b))
	clk := newClock()
	s, _ := bootstrapped(b, db, clk)
	addIdentity(b, db, "role", roleID, "builder")
	c := newSession(b, s, roleSession(clk, time.Hour))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := s.SigningKey(b.Context(), c.AccessKeyID, c.SessionToken.Reveal(), client); err != nil {
			b.Fatal(err)
		}
	}
}
