package session_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/directory"
	"github.com/sekisho/sekisho/internal/iam/session"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
)

const (
	accountRoot = `{"AWS":"arn:aws:iam::` + account + `:root"}`
	alice       = `{"AWS":"arn:aws:iam::` + account + `:user/alice"}`
)

func ask(role string) session.RoleAsk {
	return session.RoleAsk{Ask: session.Ask{Role: role, Name: "ci"}}
}

func TestAssumeRole(t *testing.T) {
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) {
		w := newWorld(t, db)
		user := w.user(t, w.root, "alice", "")
		role := w.role(t, "builder", trust(alice, "", "sts:AssumeRole"))
		got, err := w.sessions.AssumeRole(t.Context(), user, ask(builder))
		if err != nil {
			t.Fatal(err)
		}
		arn := "arn:aws:sts::" + account + ":assumed-role/builder/ci"
		if got.ARN != arn || got.ID != role.ID+":ci" || got.Packed != nil || got.SourceIdentity != "" || !got.Credentials.Expires.Equal(w.now().Add(time.Hour)) {
			t.Errorf("%+v", got)
		}
		c := w.as(t, got.Credentials)
		want := iam.Principal{
			Account: account, ARN: arn, Type: iam.AssumedRole, AccessKeyID: got.Credentials.AccessKeyID, ID: role.ID + ":ci", Name: "ci", Role: builder,
			Session: &iam.Session{Issued: w.now(), Expires: w.now().Add(time.Hour)},
		}
		if diff := cmp.Diff(want, c.Principal); diff != "" {
			t.Errorf("principal (-want +got):\n%s", diff)
		}
		if id := w.sessions.Identity(t.Context(), c); id != (session.Identity{Account: account, ARN: arn, ID: role.ID + ":ci"}) {
			t.Errorf("identity %+v", id)
		}
		if !w.may(t, c, "ecr:PutImage") || w.may(t, c, "iam:GetRole") || w.may(t, user, "ecr:PutImage") {
			t.Error("the session's permissions are not the role's")
		}
		if len(w.issues) != 1 || w.issues[0].Action != "sts:AssumeRole" || w.issues[0].Resource != builder || w.issues[0].Caller.ARN != user.ARN ||
			!strings.Contains(w.issues[0].Detail, got.Credentials.AccessKeyID) || strings.Contains(w.issues[0].Detail, got.Credentials.Secret.Reveal()) {
			t.Errorf("record %+v", w.issues)
		}

		// What is taken from the role is taken from the session.
		if err := w.directory.DeleteInlinePolicy(t.Context(), w.root, directory.RoleNamed("builder"), "own"); err != nil {
			t.Fatal(err)
		}
		if w.may(t, c, "ecr:PutImage") {
			t.Error("the session may do what its role may no longer")
		}
		if err := w.directory.DeleteRole(t.Context(), w.root, "builder"); err != nil {
			t.Fatal(err)
		}
		if _, _, err := w.keys.SigningKey(t.Context(), got.Credentials.AccessKeyID, got.Credentials.SessionToken.Reveal(), client); err == nil {
			t.Error("the session of a deleted role goes on")
		}
	})
}

// TestTrust checks who may assume a role with which trust policy and which policy of its own.
func TestTrust(t *testing.T) {
	w := newSQLite(t)
	none := w.user(t, w.root, "alice", "")
	may := w.user(t, w.root, "bob", allow("sts:AssumeRole"))
	foreign := w.user(t, w.stranger, "carol", allow("sts:AssumeRole"))
	foreignNone := w.user(t, w.stranger, "dave", "")
	forbidden := w.user(t, w.root, "eve", `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"sts:AssumeRole","Resource":"*"}]}`)
	for i, tt := range []struct {
		name   string
		caller *iam.Caller
		trust  string
		change func(*session.RoleAsk)
		denied string // the action; empty: may
	}{
		{"named, no policy of its own", none, trust(alice, "", "sts:AssumeRole"), nil, ""},
		{"account, no policy of its own", none, trust(accountRoot, "", "sts:AssumeRole"), nil, "sts:AssumeRole"},
		{"account, allowed", may, trust(accountRoot, "", "sts:AssumeRole"), nil, ""},
		{"account by number, allowed", may, trust(`{"AWS":"`+account+`"}`, "", "sts:AssumeRole"), nil, ""},
		{"not named, allowed", may, trust(alice, "", "sts:AssumeRole"), nil, "sts:AssumeRole"},
		{"named, forbidden", forbidden, trust(`{"AWS":"arn:aws:iam::`+account+`:user/eve"}`, "", "sts:AssumeRole"), nil, "sts:AssumeRole"},
		{"root of the account", w.root, trust(accountRoot, "", "sts:AssumeRole"), nil, ""},
		{"root that is not trusted", w.root, trust(alice, "", "sts:AssumeRole"), nil, "sts:AssumeRole"},
		{"other account, both allow", foreign, trust(`{"AWS":"arn:aws:iam::`+other+`:root"}`, "", "sts:AssumeRole"), nil, ""},
		{"other account, named, not allowed by its own", foreignNone, trust(`{"AWS":"arn:aws:iam::`+other+`:user/dave"}`, "", "sts:AssumeRole"), nil, "sts:AssumeRole"},
		{"other account, not trusted", foreign, trust(accountRoot, "", "sts:AssumeRole"), nil, "sts:AssumeRole"},
		{"service only", none, trust(`{"Service":"ecs-tasks.amazonaws.com"}`, "", "sts:AssumeRole"), nil, "sts:AssumeRole"},
		{"external id", foreign, trust(`{"AWS":"`+other+`"}`, `{"StringEquals":{"sts:ExternalId":"x/1"}}`, "sts:AssumeRole"),
			func(a *session.RoleAsk) { a.ExternalID = "x/1" }, ""},
		{"other external id", foreign, trust(`{"AWS":"`+other+`"}`, `{"StringEquals":{"sts:ExternalId":"x/1"}}`, "sts:AssumeRole"),
			func(a *session.RoleAsk) { a.ExternalID = "x/2" }, "sts:AssumeRole"},
		{"no external id", foreign, trust(`{"AWS":"`+other+`"}`, `{"StringEquals":{"sts:ExternalId":"x/1"}}`, "sts:AssumeRole"), nil, "sts:AssumeRole"},
		{"name of the session", none, trust(alice, `{"StringLike":{"sts:RoleSessionName":"${aws:username}"}}`, "sts:AssumeRole"),
			func(a *session.RoleAsk) { a.Name = "alice" }, ""},
		{"other name of the session", none, trust(alice, `{"StringLike":{"sts:RoleSessionName":"${aws:username}"}}`, "sts:AssumeRole"), nil, "sts:AssumeRole"},
		{"tags", none, trust(alice, `{"StringEquals":{"aws:RequestTag/Team":"Blue"},"ForAllValues:StringEquals":{"aws:TagKeys":["Team"],"sts:TransitiveTagKeys":["Team"]}}`,
			"sts:AssumeRole", "sts:TagSession"), func(a *session.RoleAsk) {
			a.Tags, a.Transitive = []session.Tag{{Key: "Team", Value: "Blue"}}, []string{"Team"}
		}, ""},
		{"tags, not allowed to", none, trust(alice, "", "sts:AssumeRole"), func(a *session.RoleAsk) { a.Tags = []session.Tag{{Key: "Team", Value: "Blue"}} }, "sts:TagSession"},
		{"tags, another value", none, trust(alice, `{"StringEquals":{"aws:RequestTag/Team":"Blue"}}`, "sts:AssumeRole", "sts:TagSession"),
			func(a *session.RoleAsk) { a.Tags = []session.Tag{{Key: "Team", Value: "Red"}} }, "sts:AssumeRole"},
		{"source identity", none, trust(alice, "", "sts:AssumeRole", "sts:SetSourceIdentity"), func(a *session.RoleAsk) { a.SourceIdentity = "alice" }, ""},
		{"source identity, not allowed to", none, trust(alice, "", "sts:AssumeRole"), func(a *session.RoleAsk) { a.SourceIdentity = "alice" }, "sts:SetSourceIdentity"},
		{"source identity, another", none, trust(alice, `{"StringEquals":{"sts:SourceIdentity":"alice"}}`, "sts:AssumeRole", "sts:SetSourceIdentity"),
			func(a *session.RoleAsk) { a.SourceIdentity = "bob" }, "sts:AssumeRole"},
		{"MFA", none, trust(alice, `{"Bool":{"aws:MultiFactorAuthPresent":"true"}}`, "sts:AssumeRole"), nil, "sts:AssumeRole"},
		{"address", none, trust(alice, `{"IpAddress":{"aws:SourceIp":"192.0.2.0/24"}}`, "sts:AssumeRole"), nil, ""},
		{"other address", none, trust(alice, `{"IpAddress":{"aws:SourceIp":"198.51.100.0/24"}}`, "sts:AssumeRole"), nil, "sts:AssumeRole"},
		{"nobody", &iam.Caller{}, trust(`"*"`, "", "sts:AssumeRole"), nil, "sts:AssumeRole"},
		{"the server itself", iam.SystemCaller(account, "test"), trust(`"*"`, "", "sts:AssumeRole"), nil, "sts:AssumeRole"},
		{"anybody, who is allowed", may, trust(`"*"`, "", "sts:AssumeRole"), nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			name := "role" + string(rune('a'+i%26)) + strings.Repeat("x", i/26)
			w.role(t, name, tt.trust)
			a := ask("arn:aws:iam::" + account + ":role/team/" + name)
			if tt.change != nil {
				tt.change(&a)
			}
			got, err := w.sessions.AssumeRole(t.Context(), tt.caller, a)
			if tt.denied != "" {
				denied(t, err, tt.denied)
				if got != nil {
					t.Errorf("let in: %+v", got)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			w.as(t, got.Credentials)
		})
	}
	// A role that is not there is refused like one that trusts others.
	_, missing := w.sessions.AssumeRole(t.Context(), may, ask("arn:aws:iam::"+account+":role/nope"))
	denied(t, missing, "sts:AssumeRole")
	_, elsewhere := w.sessions.AssumeRole(t.Context(), may, ask("arn:aws:iam::999999999999:role/nope"))
	denied(t, elsewhere, "sts:AssumeRole")
	_, path := w.sessions.AssumeRole(t.Context(), may, ask("arn:aws:iam::"+account+":role/rolec"))
	denied(t, path, "sts:AssumeRole")
	w.role(t, "distrustful", trust(alice, "", "sts:AssumeRole"))
	_, there := w.sessions.AssumeRole(t.Context(), may, ask("arn:aws:iam::"+account+":role/team/distrustful"))
	if a, b := strings.ReplaceAll(there.Error(), "team/distrustful", "nope"), missing.Error(); a != b {
		t.Errorf("a role that is there is told from one that is not:\n%s\n%s", a, b)
	}
}

// TestAskIsChecked asks in every wrong way for a role that trusts the caller.
func TestAskIsChecked(t *testing.T) {
	w := newSQLite(t)
	user := w.user(t, w.root, "alice", "")
	w.role(t, "builder", trust(alice, "", "sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"))
	if _, err := w.directory.CreatePolicy(t.Context(), w.root, directory.NewPolicy{Name: "read", Document: allow("ecr:Get*")}); err != nil {
		t.Fatal(err)
	}
	tags := func(tags ...session.Tag) func(*session.RoleAsk) {
		return func(a *session.RoleAsk) { a.Tags = tags }
	}
	var many []session.Tag
	for i := range 51 {
		many = append(many, session.Tag{Key: string(rune('A' + i)), Value: "x"})
	}
	for _, tt := range []struct {
		name    string
		change  func(*session.RoleAsk)
		kind    session.ErrorKind // empty: accepted
		message string
	}{
		{"nothing more", func(*session.RoleAsk) {}, "", ""},
		{"all", func(a *session.RoleAsk) {
			a.Duration, a.Policy, a.PolicyARNs = 2*time.Hour, allow("ecr:*"), []string{"arn:aws:iam::" + account + ":policy/read", "arn:aws:iam::aws:policy/AmazonEC2ContainerRegistryReadOnly"}
			a.Tags, a.Transitive, a.SourceIdentity, a.ExternalID = []session.Tag{{Key: "Team", Value: ""}}, []string{"team"}, "alice@example.com", "x"+"y:/z"
		}, "", ""},
		{"no ARN", func(a *session.RoleAsk) { a.Role = "builder" }, session.ValidationError, "builder is invalid"},
		{"ARN of a user", func(a *session.RoleAsk) { a.Role = "arn:aws:iam::" + account + ":user/alice" }, session.ValidationError, "is invalid"},
		{"other partition", func(a *session.RoleAsk) { a.Role = "arn:aws-cn:iam::" + account + ":role/team/builder" }, session.ValidationError, "is invalid"},
		{"account that is none", func(a *session.RoleAsk) { a.Role = "arn:aws:iam::1234:role/team/builder" }, session.ValidationError, "is invalid"},
		{"no name", func(a *session.RoleAsk) { a.Name = "" }, session.ValidationError, "'roleSessionName'"},
		{"name with a colon", func(a *session.RoleAsk) { a.Name = "a:b" }, session.ValidationError, "'roleSessionName'"},
		{"name with a slash", func(a *session.RoleAsk) { a.Name = "a/b" }, session.ValidationError, "'roleSessionName'"},
		{"long name", func(a *session.RoleAsk) { a.Name = strings.Repeat("a", 65) }, session.ValidationError, "'roleSessionName'"},
		{"bad external id", func(a *session.RoleAsk) { a.ExternalID = "a b" }, session.ValidationError, "'externalId'"},
		{"bad source identity", func(a *session.RoleAsk) { a.SourceIdentity = "a:b" }, session.ValidationError, "'sourceIdentity'"},
		{"too short", func(a *session.RoleAsk) { a.Duration = 15*time.Minute - time.Second }, session.ValidationError, "Value '899' at 'durationSeconds'"},
		{"negative", func(a *session.RoleAsk) { a.Duration = -time.Hour }, session.ValidationError, "'durationSeconds'"},
		{"longer than the role allows", func(a *session.RoleAsk) { a.Duration = 2*time.Hour + time.Second }, session.ValidationError, "exceeds the MaxSessionDuration set for this role"},
		{"policy that is none", func(a *session.RoleAsk) { a.Policy = `{"Statement":[{"Effect":"Maybe"}]}` }, session.MalformedPolicy, "line 1, column"},
		{"policy with a principal", func(a *session.RoleAsk) { a.Policy = trust(alice, "", "sts:AssumeRole") }, session.MalformedPolicy, ""},
		{"long policy", func(a *session.RoleAsk) { a.Policy = allow(strings.Repeat("x", 2048)) }, session.ValidationError, "2048"},
		{"policy that is not there", func(a *session.RoleAsk) { a.PolicyARNs = []string{"arn:aws:iam::" + account + ":policy/nope"} }, session.ValidationError, "does not exist"},
		{"policy of another account", func(a *session.RoleAsk) { a.PolicyARNs = []string{"arn:aws:iam::" + other + ":policy/read"} }, session.ValidationError, "does not exist"},
		{"policy that is no ARN", func(a *session.RoleAsk) { a.PolicyARNs = []string{"read"} }, session.ValidationError, "does not exist"},
		{"too many policies", func(a *session.RoleAsk) { a.PolicyARNs = make([]string, 11) }, session.PackedPolicyTooLarge, "10"},
		{"tag twice", tags(session.Tag{Key: "a"}, session.Tag{Key: "A"}), session.InvalidParameter, "Duplicate tag keys"},
		{"tag of AWS", tags(session.Tag{Key: "aws:x"}), session.InvalidParameter, "reserved"},
		{"tag without a key", tags(session.Tag{Value: "x"}), session.ValidationError, "'tags.member.key'"},
		{"tag with a strange key", tags(session.Tag{Key: "a*"}), session.ValidationError, "'tags.member.key'"},
		{"tag with a long value", tags(session.Tag{Key: "a", Value: strings.Repeat("x", 257)}), session.ValidationError, "'tags.member.value'"},
		{"too many tags", tags(many...), session.ValidationError, "'tags'"},
		{"transitive tag that is none", func(a *session.RoleAsk) { a.Transitive = []string{"x"} }, session.InvalidParameter, "must be included"},
		{"too much together", func(a *session.RoleAsk) {
			for _, m := range many[:20] {
				a.Tags = append(a.Tags, session.Tag{Key: m.Key, Value: strings.Repeat("x", 256)})
			}
		}, session.PackedPolicyTooLarge, "Packed size of session tags consumes 125%"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := ask(builder)
			tt.change(&a)
			got, err := w.sessions.AssumeRole(t.Context(), user, a)
			if tt.kind == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if got != nil {
				t.Errorf("let in: %+v", got)
			}
			refused(t, err, tt.kind, tt.message)
		})
	}
}

// TestSessionPolicies checks that a session can do what its role and its own policies allow, and nothing else.
func TestSessionPolicies(t *testing.T) {
	w := newSQLite(t)
	user := w.user(t, w.root, "alice", "")
	w.role(t, "builder", trust(alice, "", "sts:AssumeRole"))
	p, err := w.directory.CreatePolicy(t.Context(), w.root, directory.NewPolicy{Name: "read", Document: allow("ecr:Get*")})
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		policy string
		arns   []string
		want   []bool // ecr:PutImage, ecr:GetDownloadUrlForLayer, s3:GetObject
	}{
		"none":    {"", nil, []bool{true, true, false}},
		"inline":  {allow("ecr:Put*"), nil, []bool{true, false, false}},
		"managed": {"", []string{p.ARN}, []bool{false, true, false}},
		"both":    {allow("ecr:Put*"), []string{p.ARN}, []bool{true, true, false}},
		"wider":   {allow("*"), nil, []bool{true, true, false}},
	} {
		a := ask(builder)
		a.Policy, a.PolicyARNs = tt.policy, tt.arns
		made, err := w.sessions.AssumeRole(t.Context(), user, a)
		if err != nil {
			t.Fatal(err)
		}
		if (made.Packed != nil) != (name != "none") {
			t.Errorf("%s: packed size %v", name, made.Packed)
		}
		c := w.as(t, made.Credentials)
		if got := []bool{w.may(t, c, "ecr:PutImage"), w.may(t, c, "ecr:GetDownloadUrlForLayer"), w.may(t, c, "s3:GetObject")}; !cmp.Equal(got, tt.want) {
			t.Errorf("%s: may %v, want %v", name, got, tt.want)
		}
		// A token for docker is bound in the same way.
		password, _, err := w.keys.IssueToken(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		principal, err := w.keys.Authenticate(t.Context(), basic("AWS", password), client)
		if err != nil {
			t.Fatal(err)
		}
		if got := w.may(t, principal.Caller(), "ecr:PutImage"); got != tt.want[0] {
			t.Errorf("%s: the token may %v, want %v", name, got, tt.want[0])
		}
	}
}

// TestChain assumes a role with the session of another one.
func TestChain(t *testing.T) {
	w := newSQLite(t)
	user := w.user(t, w.root, "alice", "")
	w.role(t, "builder", trust(alice, "", "sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"))
	w.role(t, "release", trust(`{"AWS":"`+builder+`"}`, `{"StringEquals":{"aws:PrincipalTag/Team":"Blue"}}`, "sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"))
	w.role(t, "named", trust(`{"AWS":"arn:aws:sts::`+account+`:assumed-role/builder/ci"}`, "", "sts:AssumeRole"))
	first := ask(builder)
	first.Tags = []session.Tag{{Key: "Team", Value: "Blue"}, {Key: "Cost", Value: "1"}}
	first.Transitive, first.SourceIdentity = []string{"Team"}, "alice"
	made, err := w.sessions.AssumeRole(t.Context(), user, first)
	if err != nil {
		t.Fatal(err)
	}
	c := w.as(t, made.Credentials)
	release := ask("arn:aws:iam::" + account + ":role/team/release")
	got, err := w.sessions.AssumeRole(t.Context(), c, release)
	if err != nil {
		t.Fatal(err)
	}
	next := w.as(t, got.Credentials)
	if got.SourceIdentity != "alice" || next.Session.SourceIdentity != "alice" ||
		!cmp.Equal(next.Session.Tags, map[string]string{"Team": "Blue"}) || !cmp.Equal(next.Session.Transitive, []string{"Team"}) {
		t.Errorf("%+v", next.Session)
	}
	for name, tt := range map[string]struct {
		change  func(*session.RoleAsk)
		kind    session.ErrorKind
		message string
	}{
		"more than an hour": {func(a *session.RoleAsk) { a.Duration = time.Hour + time.Second }, session.ValidationError, "role chaining"},
		"an inherited tag":  {func(a *session.RoleAsk) { a.Tags = []session.Tag{{Key: "team", Value: "Red"}} }, session.InvalidParameter, "transitive tag key from the calling session"},
		"someone else":      {func(a *session.RoleAsk) { a.SourceIdentity = "bob" }, session.AccessDenied, "can't be changed"},
	} {
		a := release
		tt.change(&a)
		_, err := w.sessions.AssumeRole(t.Context(), c, a)
		t.Run(name, func(t *testing.T) { refused(t, err, tt.kind, tt.message) })
	}
	more := release
	more.Duration, more.SourceIdentity, more.Tags = time.Hour, "alice", []session.Tag{{Key: "Cost", Value: "2"}}
	if got, err = w.sessions.AssumeRole(t.Context(), c, more); err != nil {
		t.Fatal(err)
	}
	if tags := w.as(t, got.Credentials).Session.Tags; !cmp.Equal(tags, map[string]string{"Team": "Blue", "Cost": "2"}) {
		t.Errorf("tags %v", tags)
	}
	_, err = w.sessions.AssumeRole(t.Context(), c, ask("arn:aws:iam::"+account+":role/team/named"))
	denied(t, err, "sts:SetSourceIdentity") // its source identity goes with it, which the role must allow
	_, err = w.sessions.AssumeRole(t.Context(), user, release)
	denied(t, err, "sts:AssumeRole")
}
