package directory_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/directory"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
	"github.com/sekisho/sekisho/internal/seal"
)

const (
	account = "111122223333"
	other   = "444455556666"
	prefix  = "arn:aws:iam::" + account + ":"
	anyDoc  = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ecr:*","Resource":"*"}]}`
	trust   = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}`
	pull    = "arn:aws:iam::aws:policy/AmazonEC2ContainerRegistryPullOnly"
)

var t0 = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// instance is a directory of one account, whose decisions the test makes.
type instance struct {
	t    testing.TB
	keys *iam.Service
	*directory.Service

	mu      sync.Mutex
	now     time.Time
	deny    bool               // all that follows
	then    func()             // runs once, while the next decision is made
	asked   []iam.Request      // guarded by mu
	changes []directory.Change // guarded by mu
}

// Authorize implements [iam.Authorizer].
func (in *instance) Authorize(_ context.Context, _ *iam.Caller, r *iam.Request) iam.Decision {
	if then := in.then; then != nil {
		in.then = nil
		then()
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.asked = append(in.asked, *r)
	return iam.Decision{Allowed: !in.deny, Reason: "because the test says so"}
}

func open(t testing.TB, db *meta.DB) *instance {
	t.Helper()
	in := &instance{t: t, now: t0}
	now := func() time.Time {
		in.mu.Lock()
		defer in.mu.Unlock()
		return in.now
	}
	ring, err := seal.New(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	if in.keys, err = iam.New(db, ring, now); err != nil {
		t.Fatal(err)
	}
	if _, _, err := in.keys.Bootstrap(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	judge := &iam.Judge{Authorizer: in, Note: func(*iam.Caller, *iam.Request, iam.Decision) {}}
	in.Service = directory.New(db, in.keys, judge, directory.Options{Now: now, OnChange: func(_ context.Context, _ *meta.Tx, ch directory.Change) error {
		in.mu.Lock()
		defer in.mu.Unlock()
		in.changes = append(in.changes, ch)
		return nil
	}})
	return in
}

func root() *iam.Caller {
	return (&iam.Principal{Account: account, ARN: iam.RootARN(account), Type: iam.Root, ID: account}).Caller()
}

func as(u *directory.User) *iam.Caller {
	return (&iam.Principal{Account: u.Account, ARN: u.ARN, Type: iam.User, ID: u.ID, Name: u.Name}).Caller()
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wants checks the kind of an error, and that its message has a text.
func wants(t testing.TB, err error, kind directory.ErrorKind, text string) {
	t.Helper()
	e, is := errors.AsType[*directory.Error](err)
	if !is || e.Kind != kind || !strings.Contains(e.Message, text) {
		t.Errorf("%v, want %s: %s", err, kind, text)
	}
}

// furnish makes one of everything: user alice with a key in group team, role builder in profile hosts, policy push.
func (in *instance) furnish() {
	t, ctx := in.t, in.t.Context()
	t.Helper()
	push := first(in.CreatePolicy(ctx, root(), directory.NewPolicy{Name: "push", Path: "/ci/", Document: anyDoc}))
	_, err := in.CreateUser(ctx, root(), directory.NewUser{Name: "alice", Path: "/people/", Boundary: push.ARN, Tags: []directory.Tag{{Key: "Team", Value: "a"}}})
	ok(t, err)
	_, err = in.CreateAccessKey(ctx, root(), "alice")
	ok(t, err)
	_, err = in.CreateGroup(ctx, root(), "team", "")
	ok(t, err)
	ok(t, in.AddUserToGroup(ctx, root(), "team", "alice"))
	_, err = in.CreateRole(ctx, root(), directory.NewRole{Name: "builder", Trust: trust, Description: "builds"})
	ok(t, err)
	_, err = in.CreateProfile(ctx, root(), directory.NewProfile{Name: "hosts"})
	ok(t, err)
	ok(t, in.AddRoleToProfile(ctx, root(), "hosts", "builder"))
	_, err = in.CreateProvider(ctx, root(), directory.NewProvider{URL: "https://token.example.com/ci", ClientIDs: []string{"sts"}})
	ok(t, err)
	for _, ref := range []directory.Ref{directory.UserNamed("alice"), directory.GroupNamed("team"), directory.RoleNamed("builder")} {
		ok(t, in.PutInlinePolicy(ctx, root(), ref, "own", anyDoc))
		ok(t, in.AttachPolicy(ctx, root(), ref, push.ARN))
		ok(t, in.AttachPolicy(ctx, root(), ref, pull))
	}
}

func first[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestLifecycle makes one of everything, reads it back, changes it, and takes it apart in the order in which that works.
func TestLifecycle(t *testing.T) {
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) {
		in, ctx := open(t, db), t.Context()
		in.furnish()
		push := prefix + "policy/ci/push"

		alice := first(in.User(ctx, root(), "alice"))
		want := &directory.User{Boundary: push, Entity: directory.Entity{
			ID: alice.ID, Account: account, Name: "alice", Path: "/people/", ARN: prefix + "user/people/alice", Created: t0, Tags: []directory.Tag{{Key: "Team", Value: "a"}},
		}}
		if diff := cmp.Diff(want, alice); diff != "" || !strings.HasPrefix(alice.ID, "AIDA") || len(alice.ID) != 21 {
			t.Error(diff, alice.ID)
		}
		if self := first(in.User(ctx, as(alice), "")); !cmp.Equal(self, alice) {
			t.Errorf("%+v", self)
		}
		if r := first(in.User(ctx, root(), "")); r.ARN != iam.RootARN(account) || r.ID != account || r.Name != "" {
			t.Errorf("%+v", r)
		}
		role := first(in.Role(ctx, root(), "builder"))
		if role.Trust != trust || role.MaxSession != time.Hour || role.Description != "builds" || !strings.HasPrefix(role.ID, "AROA") {
			t.Errorf("%+v", role)
		}
		if p := first(in.Policy(ctx, root(), push)); p.Attached != 3 || p.Boundaries != 1 || p.DefaultVersion != "v1" {
			t.Errorf("%+v", p)
		}
		if p := first(in.Policy(ctx, root(), pull)); p.Attached != 3 || p.Account != "aws" {
			t.Errorf("%+v", p)
		}
		if d := first(in.InlinePolicy(ctx, root(), directory.GroupNamed("team"), "own")); d != anyDoc {
			t.Errorf("%s", d)
		}
		if p := first(in.Profile(ctx, root(), "hosts")); len(p.Roles) != 1 || p.Roles[0].Name != "builder" {
			t.Errorf("%+v", p)
		}
		provider := prefix + "oidc-provider/token.example.com/ci"
		ok(t, in.AddClientID(ctx, root(), provider, "two"))
		ok(t, in.RemoveClientID(ctx, root(), provider, "sts"))
		ok(t, in.SetThumbprints(ctx, root(), provider, []string{strings.Repeat("ab", 20)}))
		if p := first(in.Provider(ctx, root(), provider)); p.URL != "token.example.com/ci" || !slices.Equal(p.ClientIDs, []string{"two"}) || len(p.Thumbprints) != 1 {
			t.Errorf("%+v", p)
		}
		if p := first(in.Issuer(ctx, account, "https://token.example.com/ci")); p == nil || p.ARN != provider {
			t.Errorf("%+v", p)
		}
		if p := first(in.Issuer(ctx, other, "https://token.example.com/ci")); p != nil {
			t.Errorf("%+v", p)
		}

		// Renamed, it is the same.
		ok(t, in.UpdateUser(ctx, root(), "alice", "Alice", "/x/"))
		wants(t, in.UpdateUser(ctx, root(), "alice", "b", ""), directory.NoSuchEntity, "The user with name alice cannot be found.")
		if a := first(in.User(ctx, root(), "Alice")); a.ID != alice.ID || a.ARN != prefix+"user/x/Alice" {
			t.Errorf("%+v", a)
		}
		ok(t, in.UpdateUser(ctx, root(), "Alice", "alice", ""))
		ok(t, in.UpdateGroup(ctx, root(), "team", "crew", ""))
		if _, users, _, err := in.Group(ctx, root(), "crew", directory.Page{}); err != nil || len(users) != 1 || users[0].Name != "alice" {
			t.Errorf("%+v, %v", users, err)
		}

		// Taken apart.
		attached := []directory.Ref{directory.UserNamed("alice"), directory.GroupNamed("crew"), directory.RoleNamed("builder")}
		wants(t, in.DeleteUser(ctx, root(), "alice"), directory.DeleteConflict, "must delete access keys first")
		keys, _, err := in.AccessKeys(ctx, root(), "alice", directory.Page{})
		ok(t, err)
		ok(t, in.DeleteAccessKey(ctx, root(), "alice", keys[0].ID))
		for _, ref := range attached {
			del := map[directory.Kind]func() error{
				directory.KindUser:  func() error { return in.DeleteUser(ctx, root(), ref.Name) },
				directory.KindGroup: func() error { return in.DeleteGroup(ctx, root(), ref.Name) },
				directory.KindRole:  func() error { return in.DeleteRole(ctx, root(), ref.Name) },
			}[ref.Kind]
			wants(t, del(), directory.DeleteConflict, "must delete policies first")
			ok(t, in.DeleteInlinePolicy(ctx, root(), ref, "own"))
			wants(t, del(), directory.DeleteConflict, "must detach all policies first")
			ok(t, in.DetachPolicy(ctx, root(), ref, pull))
			wants(t, in.DeletePolicy(ctx, root(), push), directory.DeleteConflict, "attached to entities")
			ok(t, in.DetachPolicy(ctx, root(), ref, push))
		}
		wants(t, in.DeleteUser(ctx, root(), "alice"), directory.DeleteConflict, "must remove users from group first")
		wants(t, in.DeleteGroup(ctx, root(), "crew"), directory.DeleteConflict, "must remove users from group first")
		ok(t, in.RemoveUserFromGroup(ctx, root(), "crew", "alice"))
		wants(t, in.DeleteRole(ctx, root(), "builder"), directory.DeleteConflict, "must remove roles from instance profile first")
		wants(t, in.DeleteProfile(ctx, root(), "hosts"), directory.DeleteConflict, "must remove roles from instance profile first")
		ok(t, in.RemoveRoleFromProfile(ctx, root(), "hosts", "builder"))
		wants(t, in.DeletePolicy(ctx, root(), push), directory.DeleteConflict, "attached to entities") // as a boundary
		ok(t, in.DeleteBoundary(ctx, root(), directory.UserNamed("alice")))
		ok(t, in.DeleteUser(ctx, root(), "alice"))
		ok(t, in.DeleteGroup(ctx, root(), "crew"))
		ok(t, in.DeleteRole(ctx, root(), "builder"))
		ok(t, in.DeleteProfile(ctx, root(), "hosts"))
		ok(t, in.DeletePolicy(ctx, root(), push))
		ok(t, in.DeleteProvider(ctx, root(), provider))
		summary := first(in.Summary(ctx, root()))
		for _, what := range []string{"Users", "Groups", "Roles", "Policies", "InstanceProfiles", "Providers"} {
			if summary[what] != 0 {
				t.Errorf("%d %s are left", summary[what], what)
			}
		}
	})
}

// TestVersions: five at most, the default one is in force.
func TestVersions(t *testing.T) {
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) {
		in, ctx := open(t, db), t.Context()
		p := first(in.CreatePolicy(ctx, root(), directory.NewPolicy{Name: "p", Document: anyDoc}))
		for n := 2; n <= 5; n++ {
			v := first(in.CreatePolicyVersion(ctx, root(), p.ARN, strings.Replace(anyDoc, "*", fmt.Sprint("V", n), 1), n == 3))
			if v.ID != fmt.Sprint("v", n) || v.Default != (n == 3) {
				t.Errorf("%+v", v)
			}
		}
		_, err := in.CreatePolicyVersion(ctx, root(), p.ARN, anyDoc, true)
		wants(t, err, directory.LimitExceeded, "A managed policy can have up to 5 versions")
		wants(t, in.DeletePolicyVersion(ctx, root(), p.ARN, "v3"), directory.DeleteConflict, "Cannot delete the default version")
		wants(t, in.DeletePolicy(ctx, root(), p.ARN), directory.DeleteConflict, "more than one version")
		ok(t, in.DeletePolicyVersion(ctx, root(), p.ARN, "v1"))
		wants(t, in.DeletePolicyVersion(ctx, root(), p.ARN, "v1"), directory.NoSuchEntity, "version v1 does not exist")
		wants(t, in.SetDefaultPolicyVersion(ctx, root(), p.ARN, "v1"), directory.NoSuchEntity, "version v1 does not exist")
		wants(t, in.SetDefaultPolicyVersion(ctx, root(), p.ARN, "1"), directory.ValidationError, "versionId")
		if v := first(in.CreatePolicyVersion(ctx, root(), p.ARN, anyDoc, false)); v.ID != "v6" { // no number twice
			t.Errorf("%+v", v)
		}
		ok(t, in.SetDefaultPolicyVersion(ctx, root(), p.ARN, "v6"))
		var ids []string
		for page := (directory.Page{Limit: 2}); ; {
			vs, more, err := in.PolicyVersions(ctx, root(), p.ARN, page)
			ok(t, err)
			for _, v := range vs {
				ids = append(ids, v.ID)
				page.After = v.ID
			}
			if !more {
				break
			}
		}
		if diff := cmp.Diff([]string{"v6", "v5", "v4", "v3", "v2"}, ids); diff != "" {
			t.Error(diff)
		}
		for _, id := range ids[1:] {
			ok(t, in.DeletePolicyVersion(ctx, root(), p.ARN, id))
		}
		ok(t, in.DeletePolicy(ctx, root(), p.ARN))
	})
}

// TestTrustEndsWithThePrincipal: one made again under the same name is somebody else.
func TestTrustEndsWithThePrincipal(t *testing.T) {
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) {
		in, ctx := open(t, db), t.Context()
		u := first(in.CreateUser(ctx, root(), directory.NewUser{Name: "deployer"}))
		document := `{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Principal": {"AWS": ["` + account + `", "` + strings.ReplaceAll(u.ARN, "/", `\/`) + `"]},
			"Action": "sts:AssumeRole", "Condition": {"ArnLike": {"aws:PrincipalArn": "` + u.ARN + `"}}}}`
		_, err := in.CreateRole(ctx, root(), directory.NewRole{Name: "target", Trust: document})
		ok(t, err)
		ok(t, in.UpdateUser(ctx, root(), "deployer", "pusher", ""))
		if got := first(in.Role(ctx, root(), "target")).Trust; !strings.Contains(got, `"`+prefix+`user/pusher"`) {
			t.Errorf("renamed: %s", got)
		}
		ok(t, in.DeleteUser(ctx, root(), "pusher"))
		got := first(in.Role(ctx, root(), "target")).Trust
		if want := strings.Replace(document, strings.ReplaceAll(u.ARN, "/", `\/`), u.ID, 1); got != want {
			t.Errorf("deleted: %s, want %s", got, want)
		}
		first(in.CreateUser(ctx, root(), directory.NewUser{Name: "pusher"}))
		role, named, err := in.Trusting(ctx, prefix+"role/target")
		if err != nil || role == nil || named.Policy == nil || strings.Contains(named.Policy.Document(), "user/pusher") {
			t.Errorf("%+v, %v", role, err)
		}
		wants(t, in.UpdateTrust(ctx, root(), "target", got), directory.MalformedPolicyDocument, `Invalid principal in policy: "AWS":"`+u.ID)
		wants(t, in.UpdateTrust(ctx, root(), "target", document), directory.MalformedPolicyDocument, `Invalid principal in policy: "AWS":"`+u.ARN)
		if role, _, err := in.Trusting(ctx, prefix+"role/x/target"); role != nil || err != nil {
			t.Errorf("another path: %+v, %v", role, err)
		}
	})
}

// TestLastUse: gathered in memory, written now and then.
func TestLastUse(t *testing.T) {
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) {
		in, ctx := open(t, db), t.Context()
		in.furnish()
		keys, _, err := in.AccessKeys(ctx, root(), "alice", directory.Page{})
		ok(t, err)
		role := first(in.Role(ctx, root(), "builder"))
		use := func(want directory.KeyUse) {
			t.Helper()
			if diff := cmp.Diff(&want, first(in.AccessKeyLastUsed(ctx, root(), keys[0].ID))); diff != "" {
				t.Error(diff)
			}
		}
		use(directory.KeyUse{UserName: "alice", Service: "N/A", Region: "N/A"})
		key := &iam.Caller{Principal: iam.Principal{Type: iam.User, AccessKeyID: keys[0].ID}}
		in.Used(key, "ecr:PutImage", "eu-west-1")
		in.Used(nil, "ecr:PutImage", "eu-west-1")
		in.Used(&iam.Caller{Principal: iam.Principal{Type: iam.AssumedRole, ID: role.ID + ":run", AccessKeyID: "ASIAX"}}, "ecr:PutImage", "eu-west-1")
		want := directory.KeyUse{UserName: "alice", At: t0, Service: "ecr", Region: "eu-west-1"}
		use(want)
		ok(t, in.Flush(ctx))
		use(want)
		if r := first(in.Role(ctx, root(), "builder")); !r.LastUsed.Equal(t0) || r.LastUsedRegion != "eu-west-1" {
			t.Errorf("%+v", r)
		}
		in.now = in.now.Add(directory.FlushEvery - 1)
		in.Used(key, "ecr:PutImage", "eu-west-1")
		use(want) // not exacter than that
		in.now = in.now.Add(1)
		in.Used(key, "iam:GetUser", "eu-west-1")
		want.At, want.Service = in.now, "iam"
		use(want)
		in.now = in.now.Add(5 * directory.FlushEvery)
		ok(t, in.Flush(ctx)) // written
		ok(t, in.Flush(ctx)) // forgotten
		use(want)
		_, err = in.AccessKeyLastUsed(ctx, root(), "AKIANOTTHERE")
		wants(t, err, directory.NoSuchEntity, "The Access Key with id AKIANOTTHERE cannot be found.")
		stranger := (&iam.Principal{Account: other, ARN: iam.RootARN(other), Type: iam.Root, ID: other}).Caller()
		_, err = in.AccessKeyLastUsed(ctx, stranger, keys[0].ID)
		wants(t, err, directory.NoSuchEntity, "cannot be found.")
	})
}

// TestTwoAtOnce: two at most, however many ask at the same time; a policy that is being attached is not deleted.
func TestTwoAtOnce(t *testing.T) {
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) {
		in, ctx := open(t, db), t.Context()
		first(in.CreateUser(ctx, root(), directory.NewUser{Name: "alice"}))
		p := first(in.CreatePolicy(ctx, root(), directory.NewPolicy{Name: "p", Document: anyDoc}))
		var wg sync.WaitGroup
		var attached, deleted error
		for range 6 {
			wg.Go(func() { _, _ = in.CreateAccessKey(ctx, root(), "alice") })
		}
		wg.Go(func() { attached = in.AttachPolicy(ctx, root(), directory.UserNamed("alice"), p.ARN) })
		wg.Go(func() { deleted = in.DeletePolicy(ctx, root(), p.ARN) })
		wg.Wait()
		if keys, _, err := in.AccessKeys(ctx, root(), "alice", directory.Page{}); err != nil || len(keys) != 2 {
			t.Errorf("%d keys, %v", len(keys), err)
		}
		if (attached == nil) == (deleted == nil) {
			t.Errorf("attached: %v; deleted: %v", attached, deleted)
		}
		_, err := in.CreateAccessKey(ctx, root(), "alice")
		wants(t, err, directory.LimitExceeded, "Cannot exceed quota for AccessKeysPerUser: 2")
	})
}
