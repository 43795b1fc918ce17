package session_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/directory"
	"github.com/sekisho/sekisho/internal/iam/session"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
)

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

func TestUserSession(t *testing.T) {
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) {
		w := newWorld(t, db)
		user := w.user(t, w.root, "alice", allow("ecr:Put*"))
		got, err := w.sessions.UserSession(t.Context(), user, 0)
		if err != nil {
			t.Fatal(err)
		}
		c := w.as(t, got)
		if !got.Expires.Equal(w.now().Add(12*time.Hour)) || c.ARN != user.ARN || c.ID != user.ID || c.Type != iam.User || c.Session == nil || c.Session.Policies != nil {
			t.Errorf("%+v: %+v", got, c)
		}
		if !w.may(t, c, "ecr:PutImage") || w.may(t, c, "ecr:GetLifecyclePolicy") {
			t.Error("its permissions are not the user's")
		}
		if last := w.lastNote(); last != "allowed sts:GetSessionToken by "+user.ARN {
			t.Errorf("noted %q", last)
		}
		for _, tt := range []struct{ ask, want time.Duration }{{15 * time.Minute, 15 * time.Minute}, {36 * time.Hour, 36 * time.Hour}} {
			if got, err := w.sessions.UserSession(t.Context(), user, tt.ask); err != nil || !got.Expires.Equal(w.now().Add(tt.want)) {
				t.Errorf("asked for %v: %+v, %v", tt.ask, got, err)
			}
		}
		for _, d := range []time.Duration{-time.Hour, time.Second, 15*time.Minute - time.Second, 36*time.Hour + time.Second} {
			_, err := w.sessions.UserSession(t.Context(), user, d)
			refused(t, err, session.ValidationError, "'durationSeconds'")
		}
		ofRoot, err := w.sessions.UserSession(t.Context(), w.root, 2*time.Hour)
		if err != nil || !ofRoot.Expires.Equal(w.now().Add(time.Hour)) {
			t.Fatalf("root: %+v, %v", ofRoot, err)
		}
		if c := w.as(t, ofRoot); c.Type != iam.Root || c.ARN != iam.RootARN(account) || !w.may(t, c, "ecr:PutImage") {
			t.Errorf("root: %+v", c)
		}

		_, err = w.sessions.UserSession(t.Context(), c, 0)
		refused(t, err, session.AccessDenied, "Cannot call GetSessionToken with session credentials")
		_, err = w.sessions.KeyAccount(t.Context(), c, user.AccessKeyID)
		refused(t, err, session.AccessDenied, "Cannot call GetAccessKeyInfo")
		_, err = w.sessions.Explain(t.Context(), c, "x")
		refused(t, err, session.AccessDenied, "Cannot call DecodeAuthorizationMessage")
		w.role(t, "builder", trust(alice, "", "sts:AssumeRole"))
		if _, err := w.sessions.AssumeRole(t.Context(), c, ask(builder)); err != nil {
			t.Errorf("a user's session assumes a role: %v", err)
		}

		if err := w.directory.SetAccessKeyStatus(t.Context(), w.root, "alice", user.AccessKeyID, iam.KeyInactive); err != nil {
			t.Fatal(err)
		}
		if _, _, err := w.keys.SigningKey(t.Context(), got.AccessKeyID, got.SessionToken.Reveal(), client); !errors.Is(err, iam.ErrSessionToken) {
			t.Errorf("the key is inactive: %v", err)
		}
	})
}

func TestKeyAccount(t *testing.T) {
	w := newSQLite(t)
	user := w.user(t, w.root, "alice", allow("sts:GetAccessKeyInfo"))
	none := w.user(t, w.root, "bob", "")
	w.role(t, "builder", trust(alice, "", "sts:AssumeRole"))
	made, err := w.sessions.AssumeRole(t.Context(), user, ask(builder))
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{user.AccessKeyID, w.root.AccessKeyID, made.Credentials.AccessKeyID} {
		if got, err := w.sessions.KeyAccount(t.Context(), user, id); err != nil || got != account {
			t.Errorf("%s: %q, %v", id, got, err)
		}
	}
	_, err = w.sessions.KeyAccount(t.Context(), none, user.AccessKeyID)
	denied(t, err, "sts:GetAccessKeyInfo")
	_, theirs := w.sessions.KeyAccount(t.Context(), user, w.stranger.AccessKeyID)
	refused(t, theirs, session.ValidationError, "no access key")
	_, missing := w.sessions.KeyAccount(t.Context(), user, "AKIAXXXXXXXXXXXXXXXX")
	if strings.ReplaceAll(theirs.Error(), w.stranger.AccessKeyID, "") != strings.ReplaceAll(missing.Error(), "AKIAXXXXXXXXXXXXXXXX", "") {
		t.Errorf("a key of another account is told from one that is not there: %v, %v", theirs, missing)
	}
}

func TestExplain(t *testing.T) {
	w := newSQLite(t)
	user := w.user(t, w.root, "alice", allow("sts:DecodeAuthorizationMessage"))
	trace := json.RawMessage(`{"decision":"ExplicitlyDenied","reasons":[]}`)
	own := session.Refusal{Principal: user.ARN, Action: "ecr:PutImage", Resource: "arn:aws:ecr:eu-west-1:" + account + ":repository/a", Reason: "because …", Trace: trace}
	abroad := own
	abroad.Resource = "arn:aws:ecr:eu-west-1:" + other + ":repository/a"
	theirs := own
	theirs.Principal = w.stranger.ARN
	for name, tt := range map[string]struct {
		refusals []session.Refusal
		want     string // in the answer; empty: none
		absent   string
	}{
		"own":               {[]session.Refusal{own}, `"explicitDeny":true`, "!"},
		"the last one":      {[]session.Refusal{abroad, own}, `"trace":`, "!"},
		"resource's policy": {[]session.Refusal{abroad}, `"reason":"because …"`, `"trace"`},
		"of another":        {[]session.Refusal{theirs}, "", ""},
		"none":              {nil, "", ""},
	} {
		w.refusals = tt.refusals
		got, err := w.sessions.Explain(t.Context(), user, " req-1\n")
		if tt.want == "" {
			refused(t, err, session.InvalidMessage, "Message is not valid")
			continue
		}
		if err != nil || !json.Valid([]byte(got)) || !strings.Contains(got, tt.want) || strings.Contains(got, tt.absent) || !strings.Contains(got, `"action":"ecr:PutImage"`) {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
	w.refusals = []session.Refusal{own}
	for _, bad := range []string{"", " ", "a b", "'; --", "é"} {
		_, err := w.sessions.Explain(t.Context(), user, bad)
		refused(t, err, session.InvalidMessage, "Message is not valid")
	}
	none := w.user(t, w.root, "bob", "")
	_, err := w.sessions.Explain(t.Context(), none, "req")
	denied(t, err, "sts:DecodeAuthorizationMessage")
}

// TestDeleteUser checks that what a user had been given ends with it.
func TestDeleteUser(t *testing.T) {
	w := newSQLite(t)
	user := w.user(t, w.root, "alice", "")
	made, err := w.sessions.UserSession(t.Context(), user, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.directory.DeleteAccessKey(t.Context(), w.root, "alice", user.AccessKeyID); err != nil {
		t.Fatal(err)
	}
	if err := w.directory.DeleteUser(t.Context(), w.root, "alice"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.directory.CreateUser(t.Context(), w.root, directory.NewUser{Name: "alice"}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.keys.SigningKey(t.Context(), made.AccessKeyID, made.SessionToken.Reveal(), client); !errors.Is(err, iam.ErrSessionToken) {
		t.Error(err)
	}
}

// GetSessionToken needs no permission; but who is denied it, has none, and one key does not take all the room that there is.
func TestUserSessionLimits(t *testing.T) {
	w := newSQLite(t)
	user := w.user(t, w.root, "alice", "")
	denied := w.user(t, w.root, "bob", `{"Version":"2012-10-17","Statement":[{"Sid":"Quarantine","Effect":"Deny","Action":"*","Resource":"*"}]}`)
	_, err := w.sessions.UserSession(t.Context(), denied, 0)
	if e, ok := errors.AsType[*iam.DeniedError](err); !ok || !strings.Contains(e.Reason, "Quarantine") {
		t.Errorf("denied: %v", err)
	}
	through := *user
	through.Endpoint = "vpce-00000000" // allows nothing
	if _, err := w.sessions.UserSession(t.Context(), &through, 0); !strings.Contains(fmt.Sprint(err), "no VPC endpoint policy allows the sts:GetSessionToken action") {
		t.Errorf("through an endpoint: %v", err)
	}
	for i := range 1000 {
		if _, err := w.sessions.UserSession(t.Context(), user, 15*time.Minute); err != nil {
			t.Fatalf("session %d: %v", i, err)
		}
	}
	_, err = w.sessions.UserSession(t.Context(), user, 0)
	refused(t, err, session.TooManySessions, "too many sessions")
	if _, err := w.sessions.UserSession(t.Context(), w.root, 0); err != nil {
		t.Errorf("somebody else: %v", err)
	}
}
