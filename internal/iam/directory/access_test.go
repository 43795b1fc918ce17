package directory_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/directory"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
)

// call is one call of the directory, and what it must ask for: "action resource", with condition keys behind.
type call struct {
	name string
	do   func(ctx context.Context, in *instance, c *iam.Caller) error
	asks []string
}

func no[T any](_ T, err error) error                  { return err }
func no2[T any](_ T, _ bool, err error) error         { return err }
func no3[T, U any](_ T, _ U, _ bool, err error) error { return err }

// calls are all that there are, on what furnish makes.
func calls() []call {
	const (
		alice    = prefix + "user/people/alice"
		team     = prefix + "group/team"
		builder  = prefix + "role/builder"
		hosts    = prefix + "instance-profile/hosts"
		push     = prefix + "policy/ci/push"
		provider = prefix + "oidc-provider/token.example.com/ci"
		bounded  = " iam:permissionsboundary=" + push
	)
	u, g, r := directory.UserNamed("alice"), directory.GroupNamed("team"), directory.RoleNamed("builder")
	tags := []directory.Tag{{Key: "Env", Value: "x"}}
	const tagged = " aws:requesttag/env=x aws:tagkeys=Env"
	p := directory.Page{}
	type (
		ctxt = context.Context
		i    = *instance
		cl   = *iam.Caller
	)
	return []call{
		{"CreateUser", func(ctx ctxt, in i, c cl) error {
			return no(in.CreateUser(ctx, c, directory.NewUser{Name: "new", Path: "/a/", Boundary: push, Tags: tags}))
		}, []string{"iam:CreateUser " + prefix + "user/a/new" + tagged + bounded, "iam:TagUser " + prefix + "user/a/new" + tagged + bounded}},
		{"User", func(ctx ctxt, in i, c cl) error { return no(in.User(ctx, c, "alice")) }, []string{"iam:GetUser " + alice}},
		{"User self", func(ctx ctxt, in i, c cl) error { return no(in.User(ctx, c, "")) }, []string{"iam:GetUser " + prefix + "root"}},
		{"UpdateUser", func(ctx ctxt, in i, c cl) error { return in.UpdateUser(ctx, c, "alice", "bob", "") },
			[]string{"iam:UpdateUser " + alice, "iam:UpdateUser " + prefix + "user/people/bob"}},
		{"DeleteUser", func(ctx ctxt, in i, c cl) error { return in.DeleteUser(ctx, c, "alice") }, []string{"iam:DeleteUser " + alice}},
		{"Users", func(ctx ctxt, in i, c cl) error { return no2(in.Users(ctx, c, "", p)) }, []string{"iam:ListUsers " + prefix + "user/"}},
		{"CreateGroup", func(ctx ctxt, in i, c cl) error { return no(in.CreateGroup(ctx, c, "new", "")) }, []string{"iam:CreateGroup " + prefix + "group/new"}},
		{"Group", func(ctx ctxt, in i, c cl) error { return no3(in.Group(ctx, c, "team", p)) }, []string{"iam:GetGroup " + team}},
		{"UpdateGroup", func(ctx ctxt, in i, c cl) error { return in.UpdateGroup(ctx, c, "team", "", "/x/") },
			[]string{"iam:UpdateGroup " + team, "iam:UpdateGroup " + prefix + "group/x/team"}},
		{"DeleteGroup", func(ctx ctxt, in i, c cl) error { return in.DeleteGroup(ctx, c, "team") }, []string{"iam:DeleteGroup " + team}},
		{"Groups", func(ctx ctxt, in i, c cl) error { return no2(in.Groups(ctx, c, "", p)) }, []string{"iam:ListGroups " + prefix + "group/"}},
		{"AddUserToGroup", func(ctx ctxt, in i, c cl) error { return in.AddUserToGroup(ctx, c, "team", "alice") }, []string{"iam:AddUserToGroup " + team}},
		{"RemoveUserFromGroup", func(ctx ctxt, in i, c cl) error { return in.RemoveUserFromGroup(ctx, c, "team", "alice") }, []string{"iam:RemoveUserFromGroup " + team}},
		{"GroupsForUser", func(ctx ctxt, in i, c cl) error { return no2(in.GroupsForUser(ctx, c, "alice", p)) }, []string{"iam:ListGroupsForUser " + alice}},
		{"CreateRole", func(ctx ctxt, in i, c cl) error {
			return no(in.CreateRole(ctx, c, directory.NewRole{Name: "new", Trust: trust, Boundary: push}))
		}, []string{"iam:CreateRole " + prefix + "role/new" + bounded}},
		{"Role", func(ctx ctxt, in i, c cl) error { return no(in.Role(ctx, c, "builder")) }, []string{"iam:GetRole " + builder}},
		{"UpdateRole", func(ctx ctxt, in i, c cl) error { return no(in.UpdateRole(ctx, c, "builder", directory.RoleUpdate{})) }, []string{"iam:UpdateRole " + builder}},
		{"UpdateTrust", func(ctx ctxt, in i, c cl) error { return in.UpdateTrust(ctx, c, "builder", trust) }, []string{"iam:UpdateAssumeRolePolicy " + builder}},
		{"DeleteRole", func(ctx ctxt, in i, c cl) error { return in.DeleteRole(ctx, c, "builder") }, []string{"iam:DeleteRole " + builder}},
		{"Roles", func(ctx ctxt, in i, c cl) error { return no2(in.Roles(ctx, c, "", p)) }, []string{"iam:ListRoles " + prefix + "role/"}},
		{"CreatePolicy", func(ctx ctxt, in i, c cl) error {
			return no(in.CreatePolicy(ctx, c, directory.NewPolicy{Name: "new", Document: anyDoc}))
		}, []string{"iam:CreatePolicy " + prefix + "policy/new"}},
		{"Policy", func(ctx ctxt, in i, c cl) error { return no(in.Policy(ctx, c, push)) }, []string{"iam:GetPolicy " + push}},
		{"DeletePolicy", func(ctx ctxt, in i, c cl) error { return in.DeletePolicy(ctx, c, push) }, []string{"iam:DeletePolicy " + push}},
		{"Policies", func(ctx ctxt, in i, c cl) error { return no2(in.Policies(ctx, c, directory.PolicyFilter{}, p)) }, []string{"iam:ListPolicies " + prefix + "policy/"}},
		{"CreatePolicyVersion", func(ctx ctxt, in i, c cl) error { return no(in.CreatePolicyVersion(ctx, c, push, anyDoc, true)) }, []string{"iam:CreatePolicyVersion " + push}},
		{"PolicyVersion", func(ctx ctxt, in i, c cl) error { return no(in.PolicyVersion(ctx, c, push, "v1")) }, []string{"iam:GetPolicyVersion " + push}},
		{"PolicyVersions", func(ctx ctxt, in i, c cl) error { return no2(in.PolicyVersions(ctx, c, push, p)) }, []string{"iam:ListPolicyVersions " + push}},
		{"SetDefaultPolicyVersion", func(ctx ctxt, in i, c cl) error { return in.SetDefaultPolicyVersion(ctx, c, push, "v1") }, []string{"iam:SetDefaultPolicyVersion " + push}},
		{"DeletePolicyVersion", func(ctx ctxt, in i, c cl) error { return in.DeletePolicyVersion(ctx, c, push, "v1") }, []string{"iam:DeletePolicyVersion " + push}},
		{"PolicyEntities", func(ctx ctxt, in i, c cl) error {
			return no2(in.PolicyEntities(ctx, c, push, directory.AttachmentFilter{}, p))
		}, []string{"iam:ListEntitiesForPolicy " + push}},
		{"PutInlinePolicy user", func(ctx ctxt, in i, c cl) error { return in.PutInlinePolicy(ctx, c, u, "x", anyDoc) }, []string{"iam:PutUserPolicy " + alice + bounded}},
		{"PutInlinePolicy group", func(ctx ctxt, in i, c cl) error { return in.PutInlinePolicy(ctx, c, g, "x", anyDoc) }, []string{"iam:PutGroupPolicy " + team}},
		{"PutInlinePolicy role", func(ctx ctxt, in i, c cl) error { return in.PutInlinePolicy(ctx, c, r, "x", anyDoc) }, []string{"iam:PutRolePolicy " + builder}},
		{"InlinePolicy", func(ctx ctxt, in i, c cl) error { return no(in.InlinePolicy(ctx, c, u, "own")) }, []string{"iam:GetUserPolicy " + alice}},
		{"DeleteInlinePolicy", func(ctx ctxt, in i, c cl) error { return in.DeleteInlinePolicy(ctx, c, u, "own") }, []string{"iam:DeleteUserPolicy " + alice + bounded}},
		{"InlinePolicies", func(ctx ctxt, in i, c cl) error { return no2(in.InlinePolicies(ctx, c, r, p)) }, []string{"iam:ListRolePolicies " + builder}},
		{"AttachPolicy", func(ctx ctxt, in i, c cl) error { return in.AttachPolicy(ctx, c, u, pull) }, []string{"iam:AttachUserPolicy " + alice + bounded + " iam:policyarn=" + pull}},
		{"DetachPolicy", func(ctx ctxt, in i, c cl) error { return in.DetachPolicy(ctx, c, g, pull) }, []string{"iam:DetachGroupPolicy " + team + " iam:policyarn=" + pull}},
		{"AttachedPolicies", func(ctx ctxt, in i, c cl) error { return no2(in.AttachedPolicies(ctx, c, r, "", p)) }, []string{"iam:ListAttachedRolePolicies " + builder}},
		{"PutBoundary", func(ctx ctxt, in i, c cl) error { return in.PutBoundary(ctx, c, u, pull) }, []string{"iam:PutUserPermissionsBoundary " + alice + " iam:permissionsboundary=" + pull}},
		{"DeleteBoundary", func(ctx ctxt, in i, c cl) error { return in.DeleteBoundary(ctx, c, u) }, []string{"iam:DeleteUserPermissionsBoundary " + alice + bounded}},
		{"Tags", func(ctx ctxt, in i, c cl) error { return no2(in.Tags(ctx, c, u, p)) }, []string{"iam:ListUserTags " + alice}},
		{"SetTags", func(ctx ctxt, in i, c cl) error { return in.SetTags(ctx, c, r, tags) }, []string{"iam:TagRole " + builder + tagged}},
		{"RemoveTags", func(ctx ctxt, in i, c cl) error { return in.RemoveTags(ctx, c, u, []string{"Team"}) }, []string{"iam:UntagUser " + alice + " aws:tagkeys=Team"}},
		{"CreateProvider", func(ctx ctxt, in i, c cl) error {
			return no(in.CreateProvider(ctx, c, directory.NewProvider{URL: "https://new.example.com"}))
		}, []string{"iam:CreateOpenIDConnectProvider " + prefix + "oidc-provider/new.example.com"}},
		{"Provider", func(ctx ctxt, in i, c cl) error { return no(in.Provider(ctx, c, provider)) }, []string{"iam:GetOpenIDConnectProvider " + provider}},
		{"Providers", func(ctx ctxt, in i, c cl) error { return no(in.Providers(ctx, c)) }, []string{"iam:ListOpenIDConnectProviders " + prefix + "oidc-provider/*"}},
		{"DeleteProvider", func(ctx ctxt, in i, c cl) error { return in.DeleteProvider(ctx, c, provider) }, []string{"iam:DeleteOpenIDConnectProvider " + provider}},
		{"AddClientID", func(ctx ctxt, in i, c cl) error { return in.AddClientID(ctx, c, provider, "x") }, []string{"iam:AddClientIDToOpenIDConnectProvider " + provider}},
		{"RemoveClientID", func(ctx ctxt, in i, c cl) error { return in.RemoveClientID(ctx, c, provider, "x") }, []string{"iam:RemoveClientIDFromOpenIDConnectProvider " + provider}},
		{"SetThumbprints", func(ctx ctxt, in i, c cl) error { return in.SetThumbprints(ctx, c, provider, nil) }, []string{"iam:UpdateOpenIDConnectProviderThumbprint " + provider}},
		{"CreateProfile", func(ctx ctxt, in i, c cl) error {
			return no(in.CreateProfile(ctx, c, directory.NewProfile{Name: "new"}))
		}, []string{"iam:CreateInstanceProfile " + prefix + "instance-profile/new"}},
		{"Profile", func(ctx ctxt, in i, c cl) error { return no(in.Profile(ctx, c, "hosts")) }, []string{"iam:GetInstanceProfile " + hosts}},
		{"DeleteProfile", func(ctx ctxt, in i, c cl) error { return in.DeleteProfile(ctx, c, "hosts") }, []string{"iam:DeleteInstanceProfile " + hosts}},
		{"Profiles", func(ctx ctxt, in i, c cl) error { return no2(in.Profiles(ctx, c, "", p)) }, []string{"iam:ListInstanceProfiles " + prefix + "instance-profile/"}},
		{"ProfilesForRole", func(ctx ctxt, in i, c cl) error { return no2(in.ProfilesForRole(ctx, c, "builder", p)) }, []string{"iam:ListInstanceProfilesForRole " + builder}},
		{"AddRoleToProfile", func(ctx ctxt, in i, c cl) error { return in.AddRoleToProfile(ctx, c, "hosts", "builder") },
			[]string{"iam:AddRoleToInstanceProfile " + hosts, "iam:PassRole " + builder + " iam:passedtoservice=ec2.amazonaws.com"}},
		{"RemoveRoleFromProfile", func(ctx ctxt, in i, c cl) error { return in.RemoveRoleFromProfile(ctx, c, "hosts", "builder") }, []string{"iam:RemoveRoleFromInstanceProfile " + hosts}},
		{"CreateAccessKey", func(ctx ctxt, in i, c cl) error { return no(in.CreateAccessKey(ctx, c, "alice")) }, []string{"iam:CreateAccessKey " + alice}},
		{"CreateAccessKey root", func(ctx ctxt, in i, c cl) error { return no(in.CreateAccessKey(ctx, c, "")) }, []string{"iam:CreateAccessKey " + prefix + "root"}},
		{"AccessKeys", func(ctx ctxt, in i, c cl) error { return no2(in.AccessKeys(ctx, c, "alice", p)) }, []string{"iam:ListAccessKeys " + alice}},
		{"SetAccessKeyStatus", func(ctx ctxt, in i, c cl) error {
			return in.SetAccessKeyStatus(ctx, c, "alice", "AKIAX", iam.KeyInactive)
		}, []string{"iam:UpdateAccessKey " + alice}},
		{"DeleteAccessKey", func(ctx ctxt, in i, c cl) error { return in.DeleteAccessKey(ctx, c, "alice", "AKIAX") }, []string{"iam:DeleteAccessKey " + alice}},
		{"AccessKeyLastUsed", func(ctx ctxt, in i, c cl) error { return no(in.AccessKeyLastUsed(ctx, c, "AKIAX")) }, []string{"iam:GetAccessKeyLastUsed " + prefix + "user/*"}},
		{"Alias", func(ctx ctxt, in i, c cl) error { return no(in.Alias(ctx, c)) }, []string{"iam:ListAccountAliases *"}},
		{"SetAlias", func(ctx ctxt, in i, c cl) error { return in.SetAlias(ctx, c, "acme") }, []string{"iam:CreateAccountAlias *"}},
		{"DeleteAlias", func(ctx ctxt, in i, c cl) error { return in.DeleteAlias(ctx, c, "acme") }, []string{"iam:DeleteAccountAlias *"}},
		{"Summary", func(ctx ctxt, in i, c cl) error { return no(in.Summary(ctx, c)) }, []string{"iam:GetAccountSummary *"}},
		{"CreateAccount", func(ctx ctxt, in i, c cl) error {
			return no3(func() (*iam.Account, *iam.AccessKey, bool, error) {
				a, k, err := in.CreateAccount(ctx, c, other)
				return a, k, false, err
			}())
		}, []string{"organizations:CreateAccount arn:aws:iam::" + other + ":root"}},
	}
}

// asked renders what was asked since the last time.
func (in *instance) takeAsked() []string {
	in.mu.Lock()
	defer in.mu.Unlock()
	var all []string
	for _, r := range in.asked {
		line := r.Action + " " + r.Resource.ARN
		var keys []string
		for k, v := range r.Keys {
			keys = append(keys, " "+k+"="+strings.Join(v, ","))
		}
		slices.Sort(keys)
		all = append(all, line+strings.Join(keys, ""))
	}
	in.asked = nil
	return all
}

// dump is all that is in the directory.
func dump(t *testing.T, db *meta.DB) string {
	t.Helper()
	var b strings.Builder
	for _, q := range []string{
		`SELECT id || name || path || document || description || boundary || CAST(version AS TEXT) || CAST(max_session AS TEXT) FROM identities ORDER BY id`,
		`SELECT identity || name || document FROM inline_policies ORDER BY identity, name`, `SELECT identity || policy FROM attached_policies ORDER BY identity, policy`,
		`SELECT policy || CAST(version AS TEXT) FROM policy_versions ORDER BY policy, version`, `SELECT container || member FROM memberships ORDER BY container, member`,
		`SELECT identity || key || value FROM identity_tags ORDER BY identity, key`, `SELECT id || status FROM access_keys ORDER BY id`,
		`SELECT alias FROM account_aliases`, `SELECT id FROM accounts ORDER BY id`, `SELECT CAST(n AS TEXT) FROM generation`,
	} {
		rows := first(db.Query(t.Context(), q))
		for rows.Next() {
			var s string
			ok(t, rows.Scan(&s))
			fmt.Fprintln(&b, s)
		}
		ok(t, rows.Err())
		ok(t, rows.Close())
	}
	return b.String()
}

// TestEverythingIsAskedFor: each call asks for what AWS asks for; refused, it does nothing and tells the same of what is
// there and of what is not.
func TestEverythingIsAskedFor(t *testing.T) {
	db := metatest.Open(t, metatest.SQLite(t))
	in, empty := open(t, db), open(t, metatest.Open(t, metatest.SQLite(t)))
	in.furnish()
	in.deny, empty.deny = true, true
	before := dump(t, db)
	for _, call := range calls() {
		if len(call.asks) == 1 { // the others are asked in order, and the first refusal ends it
			in.takeAsked()
			err := call.do(t.Context(), in, root())
			denied, is := errors.AsType[*iam.DeniedError](err)
			if !is {
				t.Errorf("%s: %v", call.name, err)
				continue
			}
			if got := in.takeAsked(); !slices.Equal(sortKeys(call.asks), got) {
				t.Errorf("%s asked for %q, want %q", call.name, got, call.asks)
			}
			// A name in no path is the same whether it is there or not.
			if other, is := errors.AsType[*iam.DeniedError](call.do(t.Context(), empty, root())); !is || strings.Replace(denied.Error(), "/people/", "/", 1) != strings.Replace(other.Error(), "/people/", "/", 1) {
				t.Errorf("%s: %v; without anything there: %v", call.name, denied, other)
			}
		}
		if err := call.do(t.Context(), in, nil); err == nil {
			t.Errorf("%s: done for nobody", call.name)
		}
	}
	if diff := cmp.Diff(before, dump(t, db)); diff != "" {
		t.Error(diff)
	}
	if n := len(in.changes); n > 30 {
		t.Errorf("%d changes are on record", n)
	}

	// Allowed, all of it is asked for, and what changes is on record.
	furnished := furnishedFile(t)
	for _, call := range calls() {
		name := filepath.Join(t.TempDir(), "meta.db")
		ok(t, os.WriteFile(name, furnished, 0o600))
		in := open(t, metatest.Open(t, "sqlite:"+name))
		in.takeAsked()
		in.changes = nil
		err := call.do(t.Context(), in, root())
		if got := in.takeAsked(); !slices.Equal(sortKeys(call.asks), got) {
			t.Errorf("%s asked for %q, want %q", call.name, got, call.asks)
		}
		action, _, _ := strings.Cut(call.asks[0], " ")
		reads := strings.HasPrefix(action, "iam:Get") || strings.HasPrefix(action, "iam:List")
		if want := err == nil && !reads; want != (len(in.changes) == 1) || want && in.changes[0].Action != action {
			t.Errorf("%s: %v; on record: %+v", call.name, err, in.changes)
		}
	}
}

// furnishedFile is a database after furnish, to begin with again and again.
func furnishedFile(t *testing.T) []byte {
	t.Helper()
	dsn := metatest.SQLite(t)
	db := first(meta.Open(t.Context(), dsn, meta.Options{}))
	open(t, db).furnish()
	ok(t, db.Close()) // moves the log into the file
	return first(os.ReadFile(strings.TrimPrefix(dsn, "sqlite:")))
}

func sortKeys(asks []string) []string {
	all := make([]string, len(asks))
	for i, a := range asks {
		parts := strings.Split(a, " ")
		slices.Sort(parts[2:])
		all[i] = strings.Join(parts, " ")
	}
	return all
}

// TestSelf: without a name a user means itself, and nobody else can.
func TestSelf(t *testing.T) {
	in, ctx := open(t, metatest.Open(t, metatest.SQLite(t))), t.Context()
	alice := first(in.CreateUser(ctx, root(), directory.NewUser{Name: "alice"}))
	k := first(in.CreateAccessKey(ctx, as(alice), ""))
	if k.ARN != alice.ARN {
		t.Errorf("%+v", k)
	}
	keys, _, err := in.AccessKeys(ctx, as(alice), "", directory.Page{})
	if err != nil || len(keys) != 1 || keys[0].ID != k.ID || keys[0].UserName != "alice" {
		t.Errorf("%+v, %v", keys, err)
	}
	if keys, _, err := in.AccessKeys(ctx, root(), "", directory.Page{}); err != nil || len(keys) != 1 || keys[0].ID == k.ID || keys[0].UserName != "" {
		t.Errorf("root's: %+v, %v", keys, err)
	}
	wants(t, in.DeleteAccessKey(ctx, root(), "", k.ID), directory.NoSuchEntity, "cannot be found")
	ok(t, in.SetAccessKeyStatus(ctx, as(alice), "", k.ID, iam.KeyInactive))
	ok(t, in.DeleteAccessKey(ctx, as(alice), "", k.ID))
	session := (&iam.Principal{Account: account, Type: iam.AssumedRole, ID: "AROAX:y", ARN: "arn:aws:sts::" + account + ":assumed-role/x/y"}).Caller()
	_, err = in.User(ctx, session, "")
	wants(t, err, directory.ValidationError, "Must specify userName when calling with non-User credentials")
	gone := as(alice)
	ok(t, in.DeleteUser(ctx, root(), "alice"))
	first(in.CreateUser(ctx, root(), directory.NewUser{Name: "alice"}))
	_, err = in.User(ctx, gone, "")
	wants(t, err, directory.NoSuchEntity, "The user with name alice cannot be found.")
}

// TestMovedMeanwhile: what was decided on is what is changed; else it is decided on again.
func TestMovedMeanwhile(t *testing.T) {
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) {
		in, ctx := open(t, db), t.Context()
		first(in.CreateUser(ctx, root(), directory.NewUser{Name: "alice"}))
		in.takeAsked()
		in.then = func() {
			ok(t, in.SetTags(ctx, root(), directory.UserNamed("alice"), []directory.Tag{{Key: "Locked", Value: "yes"}}))
			in.takeAsked()
		}
		ok(t, in.PutInlinePolicy(ctx, root(), directory.UserNamed("alice"), "p", anyDoc))
		if got, want := in.takeAsked(), []string{"iam:PutUserPolicy " + prefix + "user/alice", "iam:PutUserPolicy " + prefix + "user/alice"}; !slices.Equal(got, want) {
			t.Errorf("%q", got)
		}
		in.then = func() {
			ok(t, in.DeleteInlinePolicy(ctx, root(), directory.UserNamed("alice"), "p"))
			ok(t, in.DeleteUser(ctx, root(), "alice"))
		}
		wants(t, in.PutInlinePolicy(ctx, root(), directory.UserNamed("alice"), "p", anyDoc), directory.NoSuchEntity, "alice cannot be found")
	})
}

// With credentials of GetSessionToken nobody calls IAM: what was to end soon would not.
func TestSessionsOfUsers(t *testing.T) {
	in := open(t, metatest.Open(t, metatest.SQLite(t)))
	u, err := in.CreateUser(t.Context(), root(), directory.NewUser{Name: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	r, err := in.CreateRole(t.Context(), root(), directory.NewRole{Name: "admin", Trust: trust})
	if err != nil {
		t.Fatal(err)
	}
	begun := &iam.Session{Issued: t0, Expires: t0.Add(time.Hour)}
	user := (&iam.Principal{Account: account, ARN: u.ARN, Type: iam.User, ID: u.ID, Name: u.Name, Session: begun}).Caller()
	ofRoot := root()
	ofRoot.Session = begun
	for _, c := range []*iam.Caller{user, ofRoot} {
		_, create := in.CreateAccessKey(t.Context(), c, "")
		_, read := in.Role(t.Context(), c, "admin")
		_, _, list := in.Users(t.Context(), c, "", directory.Page{})
		for _, err := range []error{create, read, list, in.May(t.Context(), c, "iam:SimulateCustomPolicy", directory.Ref{})} {
			if e, ok := errors.AsType[*iam.DeniedError](err); !ok || !strings.Contains(e.Reason, "GetSessionToken") {
				t.Errorf("%s: %v", c.Who(), err)
			}
		}
	}
	session := (&iam.Principal{Account: account, ARN: "arn:aws:sts::" + account + ":assumed-role/admin/x", Type: iam.AssumedRole, ID: r.ID + ":x", Role: r.ARN, Session: begun}).Caller()
	if _, err := in.CreateAccessKey(t.Context(), session, "alice"); err != nil {
		t.Errorf("a role: %v", err)
	}
	if _, err := in.CreateRole(t.Context(), root(), directory.NewRole{Name: "linked", Path: "/aws-service-role/x/", Trust: trust}); err == nil {
		t.Error("a role with the path of a service's own")
	}
}
