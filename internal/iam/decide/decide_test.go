package decide_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/decide"
	"github.com/sekisho/sekisho/internal/iam/directory"
	"github.com/sekisho/sekisho/internal/iam/policy"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
	"github.com/sekisho/sekisho/internal/seal"
)

const (
	account = "111122223333"
	other   = "444455556666"
	app     = "arn:aws:ecr:eu-west-1:111122223333:repository/team/app"
)

var t0 = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// node is one of those that share a database.
type node struct {
	t     testing.TB
	keys  *iam.Service
	dir   *directory.Service
	judge *iam.Judge
	auth  *decide.Authorizer
}

func newNode(t testing.TB, db *meta.DB, o decide.Options) *node {
	t.Helper()
	now := func() time.Time { return t0 }
	ring, err := seal.New(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	keys, err := iam.New(db, ring, now)
	if err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, keys: keys, judge: &iam.Judge{Note: func(*iam.Caller, *iam.Request, iam.Decision) {}}}
	n.dir = directory.New(db, keys, n.judge, directory.Options{Now: now})
	o.Now, o.Region = now, "eu-west-1"
	n.auth = decide.New(n.dir, keys.Generation(), o)
	n.judge.Authorizer = n.auth
	return n
}

// start returns a node with an account.
func start(t testing.TB, db *meta.DB, o decide.Options) *node {
	t.Helper()
	n := newNode(t, db, o)
	if _, _, err := n.keys.Bootstrap(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	return n
}

func root(account string) *iam.Caller {
	return (&iam.Principal{Account: account, ARN: iam.RootARN(account), Type: iam.Root, ID: account}).Caller()
}

func (n *node) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

// user makes a user with an inline policy and returns it as a caller, with its access key.
func (n *node) user(name, document string, tags ...directory.Tag) *iam.Caller {
	n.t.Helper()
	ctx := n.t.Context()
	u, err := n.dir.CreateUser(ctx, root(account), directory.NewUser{Name: name, Tags: tags})
	n.must(err)
	if document != "" {
		n.must(n.dir.PutInlinePolicy(ctx, root(account), directory.UserNamed(name), "own", document))
	}
	k, err := n.dir.CreateAccessKey(ctx, root(account), name)
	n.must(err)
	_, p, err := n.keys.Secret(ctx, k.ID, netip.Addr{})
	n.must(err)
	if p.ID != u.ID || p.ARN != u.ARN || p.Name != name || p.Type != iam.User {
		n.t.Fatalf("the key is of %+v", p)
	}
	return p.Caller()
}

func (n *node) role(name, document string) *iam.Caller {
	n.t.Helper()
	ctx := n.t.Context()
	r, err := n.dir.CreateRole(ctx, root(account), directory.NewRole{Name: name, Trust: trustAccount, Tags: []directory.Tag{{Key: "Team", Value: "role"}}})
	n.must(err)
	if document != "" {
		n.must(n.dir.PutInlinePolicy(ctx, root(account), directory.RoleNamed(name), "own", document))
	}
	return (&iam.Principal{
		Account: account, Type: iam.AssumedRole, ID: r.ID + ":run", Name: "run", Role: r.ARN, AccessKeyID: "ASIA" + strings.ToUpper(name),
		ARN:     "arn:aws:sts::" + account + ":assumed-role/" + name + "/run",
		Session: &iam.Session{Issued: t0, Expires: t0.Add(time.Hour), SourceIdentity: "me", Provider: "accounts.example.com"},
	}).Caller()
}

const trustAccount = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"111122223333"},"Action":"sts:AssumeRole"}]}`

// allow returns a policy that allows actions on everything if a condition holds, or "".
func allow(actions, condition string) string { return statement("Allow", actions, condition) }

func statement(effect, actions, condition string) string {
	if condition != "" {
		condition = `,"Condition":` + condition
	}
	return `{"Version":"2012-10-17","Statement":[{"Sid":"Only","Effect":"` + effect + `","Action":"` + actions + `","Resource":"*"` + condition + `}]}`
}

func parse(t testing.TB, kind policy.Kind, name, document string) policy.Named {
	t.Helper()
	p, err := policy.Parse([]byte(document), kind)
	if err != nil {
		t.Fatal(err)
	}
	return policy.Named{Name: name, Policy: p}
}

func on(action, arn string) *iam.Request {
	return &iam.Request{Action: action, Resource: iam.Resource{ARN: arn, Account: iam.ARNAccount(arn)}}
}

func (n *node) ask(c *iam.Caller, r *iam.Request) iam.Decision {
	n.t.Helper()
	d := n.auth.Authorize(n.t.Context(), c, r)
	if d.Err != nil {
		n.t.Fatal(d.Err)
	}
	if d.Allowed != (d.Reason == "") {
		n.t.Errorf("%+v", d)
	}
	if d.Trace != nil {
		if trace := d.Trace(); trace.Outcome == policy.Allowed {
			n.t.Errorf("refused, and explained as allowed: %+v", trace)
		}
	}
	return d
}

func sourced(c *iam.Caller, ip string) *iam.Caller {
	again := *c
	again.SourceIP = netip.MustParseAddr(ip)
	return &again
}

func through(c *iam.Caller, endpoint, vpc, ip string) *iam.Caller {
	again := sourced(c, ip)
	again.Endpoint, again.VPC = endpoint, vpc
	return again
}

// TestPrincipals: who gets what from which policies.
func TestPrincipals(t *testing.T) {
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) {
		n := start(t, db, decide.Options{})
		ctx := t.Context()
		alice := n.user("alice", allow("ecr:BatchGetImage", ""))
		denied := n.user("denied", statement("Deny", "ecr:*", ""))
		bounded := n.user("bounded", allow("ecr:*", ""))
		_, err := n.dir.CreatePolicy(ctx, root(account), directory.NewPolicy{Name: "limit", Document: allow("ecr:BatchGetImage", "")})
		n.must(err)
		n.must(n.dir.PutBoundary(ctx, root(account), directory.UserNamed("bounded"), "arn:aws:iam::"+account+":policy/limit"))
		member := n.user("member", "")
		_, err = n.dir.CreateGroup(ctx, root(account), "pushers", "")
		n.must(err)
		n.must(n.dir.AttachPolicy(ctx, root(account), directory.GroupNamed("pushers"), "arn:aws:iam::aws:policy/AmazonEC2ContainerRegistryPowerUser"))
		n.must(n.dir.AddUserToGroup(ctx, root(account), "pushers", "member"))
		ci := n.role("ci", allow("ecr:PutImage", ""))
		limited := *n.role("limited", allow("ecr:*", ""))
		session := *limited.Session
		session.Policies = []string{allow("ecr:BatchGetImage", "")}
		limited.Session = &session
		nothing := limited
		emptied := session
		emptied.Policies = []string{}
		nothing.Session, nothing.AccessKeyID = &emptied, "ASIANOTHING"
		ghost := *alice
		ghost.ID = "AIDAGHOST"
		impostor := *alice
		impostor.Account = other

		open := on("ecr:PutImage", app)
		open.Resource.Policies = []policy.Named{parse(t, policy.Resource, "repository policy", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"ecr:PutImage"}]}`)}
		closed := on("ecr:PutImage", app)
		closed.Resource.Policies = []policy.Named{parse(t, policy.Resource, "repository policy", `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"ecr:PutImage"}]}`)}

		const none = "because no identity-based policy allows the ecr:PutImage action"
		for _, tt := range []struct {
			name   string
			c      *iam.Caller
			r      *iam.Request
			reason string // "" for allowed
		}{
			{"root", root(account), on("ecr:PutImage", app), ""},
			{"root of another account", root(other), on("ecr:PutImage", app), "because no resource-based policy allows the ecr:PutImage action"},
			{"root, denied by the resource", root(account), closed, "with an explicit deny in a resource-based policy (statement 1 of repository policy)"},
			{"the server", iam.SystemCaller(account, "collection"), closed, ""},
			{"the server in another account", iam.SystemCaller(other, "collection"), open, none},
			{"nobody", nil, on("ecr:PutImage", app), "because no resource-based policy allows the ecr:PutImage action"},
			{"nobody, open", nil, open, ""},
			{"nobody, closed", nil, closed, "because no resource-based policy allows the ecr:PutImage action"},
			{"own policy", alice, on("ecr:BatchGetImage", app), ""},
			{"no policy", alice, on("ecr:PutImage", app), none},
			{"resource policy", alice, open, ""},
			{"own deny", denied, on("ecr:PutImage", app), `with an explicit deny in an identity-based policy (statement "Only" of inline policy own)`},
			{"own deny wins", denied, open, `with an explicit deny in an identity-based policy (statement "Only" of inline policy own)`},
			{"boundary allows", bounded, on("ecr:BatchGetImage", app), ""},
			{"boundary does not", bounded, on("ecr:PutImage", app), "because no permissions boundary allows the ecr:PutImage action"},
			{"group", member, on("ecr:PutImage", app), ""},
			{"group, other action", member, on("ecr:DeleteRepository", app), "because no identity-based policy allows the ecr:DeleteRepository action"},
			{"role", ci, on("ecr:PutImage", app), ""},
			{"role, other action", ci, on("ecr:BatchGetImage", app), "because no identity-based policy allows the ecr:BatchGetImage action"},
			{"session policy allows", &limited, on("ecr:BatchGetImage", app), ""},
			{"session policy does not", &limited, on("ecr:PutImage", app), "because no session policy allows the ecr:PutImage action"},
			{"empty list of session policies", &nothing, on("ecr:BatchGetImage", app), "because no session policy allows the ecr:BatchGetImage action"},
			{"unknown id", &ghost, open, none},
			{"id of another account", &impostor, open, none},
			{"unknown type", &iam.Caller{Principal: iam.Principal{Type: 99, Account: account, ARN: iam.RootARN(account)}}, open, none},
			{"half a root", &iam.Caller{Principal: iam.Principal{Type: iam.Root, Account: account}}, open, none},
			{"always allowed", alice, on("sts:GetCallerIdentity", "*"), ""},
		} {
			if d := n.ask(tt.c, tt.r); d.Reason != tt.reason {
				t.Errorf("%s: %q, want %q", tt.name, d.Reason, tt.reason)
			}
		}
	})
}

// TestConditions: what keys a request has. Each condition is on a policy of its own.
func TestConditions(t *testing.T) {
	db := metatest.Open(t, metatest.SQLite(t))
	full, err := decide.FullAccess()
	if err != nil {
		t.Fatal(err)
	}
	n := start(t, db, decide.Options{OrgID: "o-1", Endpoints: map[string]policy.Named{"vpce-1": full}})
	alice := n.user("alice", "", directory.Tag{Key: "Team", Value: "blue"})
	ci := n.role("ci", "")
	tagged := *ci.Session
	tagged.Tags = map[string]string{"team": "session"}
	withTags := *ci
	withTags.Session = &tagged
	office, endpoint := sourced(alice, "192.0.2.7"), through(alice, "vpce-1", "vpc-1", "10.0.0.7")
	office.SecureTransport, office.UserAgent = true, "docker/1"
	mapped := sourced(alice, "::ffff:192.0.2.7")
	plain := on("ecr:PutImage", app)
	withKeys := on("ecr:CreateRepository", app)
	withKeys.Keys = map[string][]string{"aws:requesttag/team": {"blue"}, "aws:tagkeys": {"team"},
		"aws:sourcevpce": {"vpce-1"}, "aws:sourceip": {"192.0.2.7"}, "aws:principaltag/x": {"y"}, "aws:principalarn": {"z"}}
	withTag := on("ecr:PutImage", app)
	withTag.Resource.Tags = map[string]string{"Team": "blue", "team": "red"}
	for i, tt := range []struct {
		c         *iam.Caller
		r         *iam.Request
		condition string
		want      bool
	}{
		{office, plain, `{"IpAddress":{"aws:SourceIp":"192.0.2.0/24"}}`, true},
		{mapped, plain, `{"IpAddress":{"aws:SourceIp":"192.0.2.0/24"}}`, true},
		{endpoint, plain, `{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}`, false},
		{endpoint, plain, `{"Null":{"aws:SourceIp":"true"}}`, true},
		{endpoint, withKeys, `{"Null":{"aws:SourceIp":"true"}}`, true},
		{endpoint, plain, `{"IpAddress":{"aws:VpcSourceIp":"10.0.0.0/8"}}`, true},
		{office, plain, `{"Null":{"aws:VpcSourceIp":"true"}}`, true},
		{endpoint, plain, `{"StringEquals":{"aws:SourceVpce":"vpce-1","aws:SourceVpc":"vpc-1"}}`, true},
		{office, plain, `{"Null":{"aws:SourceVpce":"true","aws:SourceVpc":"true"}}`, true},
		{office, withKeys, `{"StringEquals":{"aws:SourceVpce":"vpce-1"}}`, false},
		{alice, withKeys, `{"Null":{"aws:SourceIp":"true"}}`, true},
		{office, plain, `{"Bool":{"aws:SecureTransport":"true"}}`, true},
		{endpoint, plain, `{"Bool":{"aws:SecureTransport":"true"}}`, false},
		{office, plain, `{"StringLike":{"aws:UserAgent":"docker/*"}}`, true},
		{office, plain, `{"DateEquals":{"aws:CurrentTime":"2026-03-04T05:06:07Z"},"NumericEquals":{"aws:EpochTime":"1772600767"}}`, true},
		{office, plain, `{"StringEquals":{"aws:RequestedRegion":"eu-west-1","aws:ResourceAccount":"111122223333","aws:PrincipalAccount":"111122223333"}}`, true},
		{office, plain, `{"StringEquals":{"aws:PrincipalArn":"arn:aws:iam::111122223333:user/alice","aws:PrincipalType":"User","aws:username":"alice"}}`, true},
		{office, withKeys, `{"StringEquals":{"aws:PrincipalArn":"z"}}`, false},
		{office, plain, `{"StringEquals":{"aws:userid":"` + alice.ID + `","aws:PrincipalOrgID":"o-1"}}`, true},
		{office, plain, `{"Bool":{"aws:PrincipalIsAWSService":"false","aws:ViaAWSService":"false"}}`, true},
		{office, plain, `{"Null":{"aws:MultiFactorAuthPresent":"true","aws:TokenIssueTime":"true","aws:SourceIdentity":"true","aws:FederatedProvider":"true","aws:Referer":"true"}}`, true},
		{ci, plain, `{"Bool":{"aws:MultiFactorAuthPresent":"false"},"DateEquals":{"aws:TokenIssueTime":"2026-03-04T05:06:07Z"}}`, true},
		{ci, plain, `{"StringEquals":{"aws:SourceIdentity":"me","aws:FederatedProvider":"accounts.example.com","aws:userid":"` + ci.ID + `","aws:PrincipalArn":"` + ci.Role + `"},"Null":{"aws:username":"true"}}`, true},
		{office, plain, `{"StringEquals":{"aws:PrincipalTag/team":"blue"}}`, true},
		{ci, plain, `{"StringEquals":{"aws:PrincipalTag/team":"role"}}`, true},
		{&withTags, plain, `{"StringEquals":{"aws:PrincipalTag/Team":"session"}}`, true},
		{office, withKeys, `{"Null":{"aws:PrincipalTag/x":"true"}}`, true},
		{office, withKeys, `{"StringEquals":{"aws:RequestTag/Team":"blue"},"ForAllValues:StringEquals":{"aws:TagKeys":["team"]}}`, true},
		{office, withTag, `{"StringEquals":{"aws:ResourceTag/team":"blue","ecr:ResourceTag/TEAM":"blue"}}`, true},
		{office, withTag, `{"Null":{"iam:ResourceTag/team":"true","aws:ResourceTag/none":"true"}}`, true},
		{office, withTag, `{"StringEquals":{"aws:ResourceTag/team":"${aws:PrincipalTag/team}"}}`, true},
	} {
		of := directory.UserNamed("alice")
		if tt.c.Type == iam.AssumedRole {
			of = directory.RoleNamed("ci")
		}
		n.must(n.dir.PutInlinePolicy(t.Context(), root(account), of, "own", allow("ecr:*", tt.condition)))
		if d := n.ask(tt.c, tt.r); d.Allowed != tt.want {
			t.Errorf("%d: %s: %+v", i, tt.condition, d)
		}
	}
}

func TestEndpoints(t *testing.T) {
	db := metatest.Open(t, metatest.SQLite(t))
	full, err := decide.FullAccess()
	if err != nil {
		t.Fatal(err)
	}
	pulls := parse(t, policy.Endpoint, "endpoint policy", `{"Statement":[{"Effect":"Allow","Principal":"*","Action":"ecr:BatchGetImage","Resource":"*"}]}`)
	never := parse(t, policy.Endpoint, "endpoint policy", `{"Statement":[{"Effect":"Deny","Principal":"*","Action":"ecr:*","Resource":"*"}]}`)
	n := start(t, db, decide.Options{Endpoints: map[string]policy.Named{"vpce-full": full, "vpce-pulls": pulls, "vpce-never": never, "vpce-nil": {}}})
	alice := n.user("alice", allow("ecr:*", ""))
	for _, tt := range []struct {
		endpoint, action, reason string
	}{
		{"", "ecr:PutImage", ""},
		{"vpce-full", "ecr:PutImage", ""},
		{"vpce-pulls", "ecr:BatchGetImage", ""},
		{"vpce-pulls", "ecr:PutImage", "because no VPC endpoint policy allows the ecr:PutImage action"},
		{"vpce-never", "ecr:BatchGetImage", "with an explicit deny in a VPC endpoint policy"},
		{"vpce-unknown", "ecr:BatchGetImage", "because no VPC endpoint policy allows the ecr:BatchGetImage action"},
		{"vpce-nil", "ecr:BatchGetImage", "because no VPC endpoint policy allows the ecr:BatchGetImage action"},
	} {
		for _, c := range []*iam.Caller{alice, root(account)} {
			if d := n.ask(through(c, tt.endpoint, "", "10.0.0.1"), on(tt.action, app)); d.Reason != tt.reason {
				t.Errorf("%s through %q: %q, want %q", tt.action, tt.endpoint, d.Reason, tt.reason)
			}
		}
	}
}

// TestCrossAccount: both sides must allow, and nothing is told about the other's policies.
func TestCrossAccount(t *testing.T) {
	n := start(t, metatest.Open(t, metatest.SQLite(t)), decide.Options{})
	alice := n.user("alice", allow("ecr:*", ""))
	theirs := "arn:aws:ecr:eu-west-1:" + other + ":repository/app"
	r := on("ecr:PutImage", theirs)
	for _, tt := range []struct{ statements, reason string }{
		{`{"Effect":"Allow","Principal":{"AWS":"` + account + `"},"Action":"ecr:*"}`, ""},
		{`{"Effect":"Allow","Principal":{"AWS":"` + other + `"},"Action":"ecr:*"}`, "because no resource-based policy allows the ecr:PutImage action"},
		{`{"Sid":"Secret","Effect":"Deny","Principal":"*","Action":"ecr:*"}`, "because no resource-based policy allows the ecr:PutImage action"}, // as if there were nothing
	} {
		r.Resource.Policies = []policy.Named{parse(t, policy.Resource, "repository policy", `{"Version":"2012-10-17","Statement":[`+tt.statements+`]}`)}
		if d := n.ask(alice, r); d.Reason != tt.reason {
			t.Errorf("%s: %q, want %q", tt.statements, d.Reason, tt.reason)
		}
	}
	n.must(n.dir.DeleteInlinePolicy(t.Context(), root(account), directory.UserNamed("alice"), "own"))
	r.Resource.Policies = []policy.Named{parse(t, policy.Resource, "repository policy", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"`+account+`"},"Action":"ecr:*"}]}`)}
	if d := n.ask(alice, r); d.Reason != "because no identity-based policy allows the ecr:PutImage action" {
		t.Errorf("%q", d.Reason)
	}
}

// TestCrossAccountTags: by policies of one's own one can ask for the tags of what is another account's. Whoever that account does
// not let in is answered as if there were nothing, tagged or not.
func TestCrossAccountTags(t *testing.T) {
	n := start(t, metatest.Open(t, metatest.SQLite(t)), decide.Options{})
	mallory := n.user("mallory", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"},
		{"Sid":"Tell","Effect":"Deny","Action":"*","Resource":"*","Condition":{"Null":{"aws:ResourceTag/team":"false"}}}]}`)
	r := on("ecr:PutImage", "arn:aws:ecr:eu-west-1:"+other+":repository/app")
	nothing := n.ask(mallory, r)
	for _, tags := range []map[string]string{{"other": "x"}, {"team": "a"}} {
		for _, p := range []string{"", `{"Effect":"Deny","Principal":"*","Action":"ecr:*"}`, `{"Effect":"Allow","Principal":{"AWS":"` + other + `"},"Action":"ecr:*"}`} {
			r.Resource.Tags, r.Resource.Policies = tags, nil
			if p != "" {
				r.Resource.Policies = []policy.Named{parse(t, policy.Resource, "repository policy", `{"Version":"2012-10-17","Statement":[`+p+`]}`)}
			}
			if d := n.ask(mallory, r); d.Allowed || d.Reason != nothing.Reason || d.Explicit != nothing.Explicit {
				t.Errorf("%v, %s: %q, and without: %q", tags, p, d.Reason, nothing.Reason)
			}
		}
	}
	// Who is let in may know why not now.
	r.Resource.Tags = map[string]string{"team": "a"}
	r.Resource.Policies = []policy.Named{parse(t, policy.Resource, "repository policy", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"`+account+`"},"Action":"ecr:*"}]}`)}
	if d, want := n.ask(mallory, r), `with an explicit deny in an identity-based policy (statement "Tell" of inline policy own)`; d.Reason != want {
		t.Errorf("%q, want %q", d.Reason, want)
	}
}

// TestUserAgent: of a header as long as it can be, conditions see the beginning, so that it can't make them slow.
func TestUserAgent(t *testing.T) {
	n := start(t, metatest.Open(t, metatest.SQLite(t)), decide.Options{})
	for i, tt := range []struct {
		name, pattern, agent string
		allowed              bool
	}{
		{"what is there", "docker/*x", "docker/" + strings.Repeat("y", 1016) + "x", true},
		{"what is beyond", "docker/*x", "docker/" + strings.Repeat("y", 60_000) + "x", false},
		{"the beginning of what is long", "docker/*y", "docker/" + strings.Repeat("y", 60_000) + "x", true},
	} {
		c := n.user(fmt.Sprint("u", i), allow("ecr:*", `{"StringLike":{"aws:UserAgent":"`+tt.pattern+`"}}`))
		c.UserAgent = tt.agent
		if got := n.ask(c, on("ecr:PutImage", app)).Allowed; got != tt.allowed {
			t.Errorf("%s: allowed %v", tt.name, got)
		}
	}
}

// TestNoLayer: what no policy can allow is refused in a sentence that is whole.
func TestNoLayer(t *testing.T) {
	n := start(t, metatest.Open(t, metatest.SQLite(t)), decide.Options{})
	r := on("iam:DeletePolicy", "arn:aws:iam::aws:policy/AdministratorAccess")
	r.Resource.Account = "aws"
	if d := n.ask(n.user("admin", allow("*", "")), r); d.Allowed || strings.Contains(d.Reason, "  ") {
		t.Errorf("allowed %v: %q", d.Allowed, d.Reason)
	}
}
