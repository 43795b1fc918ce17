package session_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/oidc"
	"github.com/sekisho/sekisho/internal/iam/session"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
)

// token is what a CI's job gets from its issuer.
func (w *world) token(t testing.TB, changes map[string]any) string {
	t.Helper()
	claims := map[string]any{
		"iss": w.issuer.URL, "sub": "repo:a/b:ref:refs/heads/main", "aud": "sts.amazonaws.com", "repository": "a/b",
		"iat": w.now().Unix(), "exp": w.now().Add(5 * time.Minute).Unix(),
	}
	for k, v := range changes {
		claims[k] = v
	}
	return w.issuer.Sign(t, "1", jose.ES256, claims)
}

func (w *world) host() string { return strings.TrimPrefix(w.issuer.URL, "https://") }

// federated is a trust policy for the issuer with a condition on claims.
func (w *world) federated(condition string, actions ...string) string {
	return trust(`{"Federated":"arn:aws:iam::`+account+`:oidc-provider/`+w.host()+`"}`, strings.ReplaceAll(condition, "ISS", w.host()),
		append(actions, "sts:AssumeRoleWithWebIdentity")...)
}

func nobody() *iam.Caller { return &iam.Caller{SourceIP: client, RequestID: "req1"} }

func TestAssumeRoleWithWebIdentity(t *testing.T) {
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) {
		w := newWorld(t, db)
		p := w.provider(t)
		role := w.role(t, "builder", w.federated(`{"StringEquals":{"ISS:aud":"sts.amazonaws.com"},"StringLike":{"ISS:sub":"repo:a/*"}}`))
		got, err := w.sessions.AssumeRoleWithWebIdentity(t.Context(), nobody(), session.Ask{Role: builder, Name: "ci", Duration: 2 * time.Hour}, w.token(t, nil))
		if err != nil {
			t.Fatal(err)
		}
		if got.ID != role.ID+":ci" || got.Provider != p.ARN || got.Audience != "sts.amazonaws.com" || got.Subject != "repo:a/b:ref:refs/heads/main" ||
			!got.Credentials.Expires.Equal(w.now().Add(2*time.Hour)) {
			t.Errorf("%+v", got)
		}
		c := w.as(t, got.Credentials)
		if c.Session.Provider != p.ARN || !cmp.Equal(c.Session.Keys[w.host()+":repository"], []string{"a/b"}) || !w.may(t, c, "ecr:PutImage") {
			t.Errorf("%+v", c.Session)
		}
		if last := w.lastNote(); last != "allowed sts:AssumeRoleWithWebIdentity by "+p.ARN {
			t.Errorf("noted %q", last)
		}
		if i := w.issues[len(w.issues)-1]; i.Caller.ARN != p.ARN || !strings.Contains(i.Detail, "for repo:a/b:ref:refs/heads/main") {
			t.Errorf("record %+v", i)
		}
	})
}

func TestWebIdentityTrust(t *testing.T) {
	w := newSQLite(t)
	w.provider(t)
	tags := map[string]any{"https://aws.amazon.com/tags": map[string]any{"principal_tags": map[string]any{"Team": []string{"Blue"}}, "transitive_tag_keys": []string{"Team"}}}
	for i, tt := range []struct {
		name, trust string
		claims      map[string]any
		allowed     bool
	}{
		{"anybody of the issuer", w.federated(""), nil, true},
		{"subject", w.federated(`{"StringEquals":{"ISS:sub":"repo:a/b:ref:refs/heads/main"}}`), nil, true},
		{"other subject", w.federated(`{"StringEquals":{"ISS:sub":"repo:a/b:ref:refs/heads/main"}}`), map[string]any{"sub": "repo:a/b:pull_request"}, false},
		{"key in capitals", w.federated(`{"StringEquals":{"ISS:SUB":"repo:a/b:ref:refs/heads/main"}}`), nil, true},
		{"custom claim", w.federated(`{"StringEquals":{"ISS:repository":"a/b"}}`), nil, true},
		{"other custom claim", w.federated(`{"StringEquals":{"ISS:repository":"a/c"}}`), nil, false},
		{"no such claim", w.federated(`{"StringEquals":{"ISS:nope":"a/b"}}`), nil, false},
		{"claim of a pod", w.federated(`{"StringEquals":{"ISS:kubernetes.io/namespace":"build"}}`), map[string]any{"kubernetes.io": map[string]any{"namespace": "build"}}, true},
		{"one of a list", w.federated(`{"ForAnyValue:StringEquals":{"ISS:groups":"admins"}}`), map[string]any{"groups": []string{"x", "admins"}}, true},
		{"provider by condition", w.federated(`{"StringEquals":{"aws:FederatedProvider":"arn:aws:iam::` + account + `:oidc-provider/ISS"}}`), nil, true},
		{"name of the session", w.federated(`{"StringEquals":{"sts:RoleSessionName":"other"}}`), nil, false},
		{"address", w.federated(`{"IpAddress":{"aws:SourceIp":"192.0.2.0/24"}}`), nil, true},
		{"other address", w.federated(`{"IpAddress":{"aws:SourceIp":"198.51.100.0/24"}}`), nil, false},
		{"external id in a claim", w.federated(`{"StringEquals":{"sts:ExternalId":"x"}}`), map[string]any{"sts:ExternalId": "x"}, false},
		{"other provider", trust(`{"Federated":"arn:aws:iam::`+account+`:oidc-provider/other.example"}`, "", "sts:AssumeRoleWithWebIdentity"), nil, false},
		{"provider of another account", trust(`{"Federated":"arn:aws:iam::`+other+`:oidc-provider/`+w.host()+`"}`, "", "sts:AssumeRoleWithWebIdentity"), nil, false},
		{"another action", trust(`{"Federated":"arn:aws:iam::`+account+`:oidc-provider/`+w.host()+`"}`, "", "sts:AssumeRole"), nil, false},
		{"users only", trust(accountRoot, "", "sts:AssumeRole"), nil, false},
		{"tags", w.federated(`{"StringEquals":{"aws:RequestTag/Team":"Blue"}}`, "sts:TagSession"), tags, true},
		{"tags, not allowed to", w.federated(""), tags, false},
		{"source identity", w.federated("", "sts:SetSourceIdentity"), map[string]any{"https://aws.amazon.com/source_identity": "alice"}, true},
		{"source identity, not allowed to", w.federated(""), map[string]any{"https://aws.amazon.com/source_identity": "alice"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			name := fmt.Sprintf("role%d", i)
			w.role(t, name, tt.trust)
			c := nobody()
			c.RequestID = fmt.Sprintf("req%d", i)
			got, err := w.sessions.AssumeRoleWithWebIdentity(t.Context(), c, session.Ask{Role: "arn:aws:iam::" + account + ":role/team/" + name, Name: "ci"}, w.token(t, tt.claims))
			if !tt.allowed {
				refused(t, err, session.AccessDenied, "Not authorized to perform sts:AssumeRoleWithWebIdentity")
				if strings.Contains(err.Error(), "Condition") || !strings.Contains(err.Error(), c.RequestID) {
					t.Error(err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			made := w.as(t, got.Credentials).Session
			if tt.name == "tags" && (!cmp.Equal(made.Tags, map[string]string{"Team": "Blue"}) || !cmp.Equal(made.Transitive, []string{"Team"})) || tt.name == "source identity" && got.SourceIdentity != "alice" {
				t.Errorf("%+v", made)
			}
		})
	}
}

func TestWebIdentityRefused(t *testing.T) {
	w := newSQLite(t)
	w.role(t, "builder", w.federated(""))
	try := func(role, token string) error {
		got, err := w.sessions.AssumeRoleWithWebIdentity(t.Context(), nobody(), session.Ask{Role: role, Name: "ci"}, token)
		if got != nil {
			t.Errorf("let in: %+v", got)
		}
		return err
	}
	refused(t, try(builder, w.token(t, nil)), session.InvalidIdentityToken, "No OpenIDConnect provider found in your account for "+w.issuer.URL)
	w.provider(t)
	refused(t, try("arn:aws:iam::"+account+":role/nope", w.token(t, nil)), session.AccessDenied, "Not authorized to perform")
	refused(t, try("arn:aws:iam::"+other+":role/team/builder", w.token(t, nil)), session.InvalidIdentityToken, "No OpenIDConnect provider")
	refused(t, try("builder", w.token(t, nil)), session.ValidationError, "is invalid")
	for name, tt := range map[string]struct {
		token string
		kind  oidc.ErrorKind
	}{
		"no token":       {"x", oidc.Invalid},
		"other audience": {w.token(t, map[string]any{"aud": "x"}), oidc.Invalid},
		"expired":        {w.token(t, map[string]any{"exp": w.now().Add(-time.Hour).Unix()}), oidc.Expired},
	} {
		e, ok := errors.AsType[*oidc.Error](try(builder, tt.token))
		if !ok || e.Kind != tt.kind {
			t.Errorf("%s: %v", name, e)
		}
	}
	// An address that goes on is not listened to for a while; others are.
	throttled := false
	for range 200 {
		if throttled = errors.Is(try(builder, "a.b.c"), iam.ErrThrottled); throttled {
			break
		}
	}
	if !throttled {
		t.Error("never throttled")
	}
	if err := try(builder, w.token(t, nil)); !errors.Is(err, iam.ErrThrottled) {
		t.Error(err)
	}
	next := nobody()
	next.SourceIP = netip.MustParseAddr("192.0.2.2")
	if _, err := w.sessions.AssumeRoleWithWebIdentity(t.Context(), next, session.Ask{Role: builder, Name: "ci"}, w.token(t, nil)); err != nil {
		t.Error(err)
	}
}
