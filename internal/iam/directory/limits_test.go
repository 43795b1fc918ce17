package directory_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/iam/directory"
	"github.com/sekisho/sekisho/internal/iam/policy"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
)

// TestRefused: what is not as it must be, and what AWS says of it.
func TestRefused(t *testing.T) {
	in, ctx := open(t, metatest.Open(t, metatest.SQLite(t))), t.Context()
	in.furnish()
	user := func(u directory.NewUser) error { return no(in.CreateUser(ctx, root(), u)) }
	named := func(name string) error { return user(directory.NewUser{Name: name}) }
	path := func(p string) error { return user(directory.NewUser{Name: "x", Path: p}) }
	role := func(r directory.NewRole) error { r.Name = "x"; return no(in.CreateRole(ctx, root(), r)) }
	managed := func(document string) error {
		return no(in.CreatePolicy(ctx, root(), directory.NewPolicy{Name: "x", Document: document}))
	}
	tagged := func(tags ...directory.Tag) error { return user(directory.NewUser{Name: "x", Tags: tags}) }
	inline := func(ref directory.Ref, n int) error {
		return in.PutInlinePolicy(ctx, root(), ref, "big", padded(n))
	}
	provider := func(url string) error { return no(in.CreateProvider(ctx, root(), directory.NewProvider{URL: url})) }
	alice, team, builder := directory.UserNamed("alice"), directory.GroupNamed("team"), directory.RoleNamed("builder")
	have := len(anyDoc) // of each, from furnish
	for _, tt := range []struct {
		what string
		err  error
		kind directory.ErrorKind // "" for none
		text string
	}{
		{"no name", named(""), directory.ValidationError, "'userName'"},
		{"long name", named(strings.Repeat("n", 65)), directory.ValidationError, "between 1 and 64"},
		{"space in name", named("a b"), directory.ValidationError, "The specified value for userName is invalid. It must contain only alphanumeric characters and/or the following: +=,.@_-"},
		{"slash in name", named("a/b"), directory.ValidationError, "userName"},
		{"wildcard in name", named("a*"), directory.ValidationError, "userName"},
		{"no ASCII", named("älice"), directory.ValidationError, "userName"},
		{"same name", named("alice"), directory.EntityAlreadyExists, "User with name alice already exists."},
		{"same name in another case", named("ALICE"), directory.EntityAlreadyExists, "User with name ALICE already exists."},
		{"all that may be in a name", named("a+=,.@_-1"), "", ""},
		{"path without start", path("a/"), directory.ValidationError, "path"},
		{"path without end", path("/a"), directory.ValidationError, "path"},
		{"path of two slashes", path("//"), directory.ValidationError, "path"},
		{"path with a space", path("/a b/"), directory.ValidationError, "path"},
		{"long path", path("/" + strings.Repeat("p", 511) + "/"), directory.ValidationError, "path"},
		{"boundary that is not there", user(directory.NewUser{Name: "x", Boundary: prefix + "policy/none"}), directory.NoSuchEntity, "Scope ARN: " + prefix + "policy/none does not exist or is not attachable."},
		{"boundary of another account", user(directory.NewUser{Name: "x", Boundary: "arn:aws:iam::" + other + ":policy/p"}), directory.NoSuchEntity, "does not exist"},
		{"group again", no(in.CreateGroup(ctx, root(), "team", "")), directory.EntityAlreadyExists, "Group with name team already exists."},
		{"role again", no(in.CreateRole(ctx, root(), directory.NewRole{Name: "builder", Trust: trust})), directory.EntityAlreadyExists, "Role with name builder already exists."},
		{"policy again", no(in.CreatePolicy(ctx, root(), directory.NewPolicy{Name: "push", Document: anyDoc})), directory.EntityAlreadyExists, "A policy called push already exists. Duplicate names are not allowed."},
		{"profile again", no(in.CreateProfile(ctx, root(), directory.NewProfile{Name: "hosts"})), directory.EntityAlreadyExists, "Instance Profile hosts already exists."},
		{"provider again", provider("https://token.example.com/ci"), directory.EntityAlreadyExists, "Provider with url https://token.example.com/ci already exists."},
		{"provider over http", provider("http://token.example.com"), directory.ValidationError, "Invalid Open ID Connect Provider URL"},
		{"provider with a query", provider("https://token.example.com?a"), directory.ValidationError, "Invalid Open ID Connect Provider URL"},
		{"provider with a password", provider("https://a:b@token.example.com"), directory.ValidationError, "Invalid Open ID Connect Provider URL"},
		{"thumbprint", in.SetThumbprints(ctx, root(), prefix+"oidc-provider/token.example.com/ci", []string{"abc"}), directory.ValidationError, "thumbprintList"},
		{"no trust policy", role(directory.NewRole{}), directory.MalformedPolicyDocument, "line 1"},
		{"identity policy as trust policy", role(directory.NewRole{Trust: anyDoc}), directory.MalformedPolicyDocument, "Principal"},
		{"long trust policy", role(directory.NewRole{Trust: strings.Replace(trust, "ec2", strings.Repeat("e", 2048), 1)}), directory.LimitExceeded, "Cannot exceed quota for ACLSizePerRole: 2048"},
		{"white space does not count", role(directory.NewRole{Trust: strings.Repeat(" ", 4096) + trust}), "", ""},
		{"short session", role(directory.NewRole{Trust: trust, MaxSession: time.Minute}), directory.ValidationError, "Value '60' at 'maxSessionDuration' failed to satisfy constraint: Member must have value between 3600 and 43200"},
		{"long session", role(directory.NewRole{Trust: trust, MaxSession: 13 * time.Hour}), directory.ValidationError, "maxSessionDuration"},
		{"long description", role(directory.NewRole{Trust: trust, Description: strings.Repeat("d", 1001)}), directory.ValidationError, "description"},
		{"control character in description", role(directory.NewRole{Trust: trust, Description: "\x00"}), directory.ValidationError, "description"},
		{"no document", managed(""), directory.MalformedPolicyDocument, "line 1"},
		{"syntax error", managed("{\n  \"Version\": \"2012-10-17\",\n  Statement\n}"), directory.MalformedPolicyDocument, "line 3, column 3"},
		{"unknown element", managed(strings.Replace(anyDoc, `"Action"`, `"Actions"`, 1)), directory.MalformedPolicyDocument, "Statement[0].Actions"},
		{"long document", managed(padded(6145)), directory.LimitExceeded, "Cannot exceed quota for PolicySize: 6144"},
		{"longest document", managed(padded(6144)), "", ""},
		{"user's policies together", inline(alice, 2048-have+1), directory.LimitExceeded, "Maximum policy size of 2048 bytes exceeded for user alice"},
		{"user's policies, full", inline(alice, 2048-have), "", ""},
		{"group's policies together", inline(team, 5120-have+1), directory.LimitExceeded, "Maximum policy size of 5120 bytes exceeded for group team"},
		{"group's policies, full", inline(team, 5120-have), "", ""},
		{"role's policies together", inline(builder, 10240-have+1), directory.LimitExceeded, "Maximum policy size of 10240 bytes exceeded for role builder"},
		{"role's policies, full", inline(builder, 10240-have), "", ""},
		{"tag key of AWS", tagged(directory.Tag{Key: "AWS:x"}), directory.InvalidInput, "reserved"},
		{"no tag key", tagged(directory.Tag{}), directory.ValidationError, "tag key"},
		{"long tag value", tagged(directory.Tag{Key: "k", Value: strings.Repeat("v", 257)}), directory.ValidationError, "256"},
		{"tag key twice", tagged(directory.Tag{Key: "k"}, directory.Tag{Key: "K"}), directory.InvalidInput, "Duplicate tag keys found. Please note that Tag keys are case insensitive."},
		{"many tags", tagged(tags(51)...), directory.LimitExceeded, "50"},
		{"most tags", tagged(tags(50)...), "", ""},
		{"one more tag", in.SetTags(ctx, root(), directory.UserNamed("x"), []directory.Tag{{Key: "more"}}), directory.LimitExceeded, "50"},
		{"no policy ARN", in.AttachPolicy(ctx, root(), alice, "push"), directory.InvalidInput, "ARN push is not valid."},
		{"policy that is not there", in.AttachPolicy(ctx, root(), alice, prefix+"policy/push"), directory.NoSuchEntity, "Policy " + prefix + "policy/push does not exist or is not attachable."},
		{"policy of another account", in.AttachPolicy(ctx, root(), alice, "arn:aws:iam::"+other+":policy/push"), directory.NoSuchEntity, "does not exist or is not attachable."},
		{"policy of AWS that is not there", in.AttachPolicy(ctx, root(), alice, "arn:aws:iam::aws:policy/Nothing"), directory.NoSuchEntity, "does not exist"},
		{"policy of AWS under another path", in.AttachPolicy(ctx, root(), alice, "arn:aws:iam::aws:policy/x/AmazonEC2ContainerRegistryPullOnly"), directory.NoSuchEntity, "does not exist"},
		{"attached again", in.AttachPolicy(ctx, root(), alice, pull), "", ""},
		{"detach what is not attached", in.DetachPolicy(ctx, root(), alice, "arn:aws:iam::aws:policy/IAMFullAccess"), directory.NoSuchEntity, "was not found"},
		{"policy of AWS changed", in.DeletePolicy(ctx, root(), pull), directory.UnmodifiableEntity, pull},
		{"policy of AWS tagged", in.SetTags(ctx, root(), directory.PolicyAt(pull), tags(1)), directory.UnmodifiableEntity, pull},
		{"no inline policy", no(in.InlinePolicy(ctx, root(), alice, "none")), directory.NoSuchEntity, "The user policy with name none cannot be found."},
		{"no such user", no(in.User(ctx, root(), "bob")), directory.NoSuchEntity, "The user with name bob cannot be found."},
		{"user in another case", no(in.User(ctx, root(), "Alice")), directory.NoSuchEntity, "The user with name Alice cannot be found."},
		{"no such role", no(in.Role(ctx, root(), "bob")), directory.NoSuchEntity, "The role with name bob cannot be found."},
		{"no such group", in.DeleteGroup(ctx, root(), "bob"), directory.NoSuchEntity, "The group with name bob cannot be found."},
		{"no such policy", no(in.Policy(ctx, root(), prefix+"policy/bob")), directory.NoSuchEntity, "Policy " + prefix + "policy/bob was not found."},
		{"no such profile", no(in.Profile(ctx, root(), "bob")), directory.NoSuchEntity, "Instance Profile bob cannot be found."},
		{"no such provider", no(in.Provider(ctx, root(), prefix+"oidc-provider/bob")), directory.NoSuchEntity, "OpenIDConnect Provider not found for arn " + prefix + "oidc-provider/bob"},
		{"no such member", in.AddUserToGroup(ctx, root(), "team", "bob"), directory.NoSuchEntity, "The user with name bob cannot be found."},
		{"member again", in.AddUserToGroup(ctx, root(), "team", "alice"), "", ""},
		{"second role in a profile", in.AddRoleToProfile(ctx, root(), "hosts", "x"), directory.LimitExceeded, "Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1"},
		{"alias", in.SetAlias(ctx, root(), "Acme"), directory.ValidationError, "accountAlias"},
		{"alias that looks like an account", in.SetAlias(ctx, root(), other), directory.ValidationError, "accountAlias"},
		{"no alias", in.DeleteAlias(ctx, root(), "acme"), directory.NoSuchEntity, "acme"},
		{"status", in.SetAccessKeyStatus(ctx, root(), "alice", "AKIAX", "Gone"), directory.ValidationError, "[Active, Inactive]"},
		{"many items", no2(in.Users(ctx, root(), "", directory.Page{Limit: 1001})), directory.ValidationError, "maxItems"},
	} {
		if tt.kind == "" {
			if tt.err != nil {
				t.Errorf("%s: %v", tt.what, tt.err)
			}
			continue
		}
		e, is := errors.AsType[*directory.Error](tt.err)
		if !is || e.Kind != tt.kind || !strings.Contains(e.Message, tt.text) {
			t.Errorf("%s: %v, want %s: %s", tt.what, tt.err, tt.kind, tt.text)
		}
	}
}

// padded returns a policy of n characters that count.
func padded(n int) string {
	return strings.Replace(anyDoc, "ecr:*", "ecr:"+strings.Repeat("A", n-len(anyDoc)+1), 1)
}

func tags(n int) []directory.Tag {
	all := make([]directory.Tag, n)
	for i := range all {
		all[i].Key = fmt.Sprint("key", i)
	}
	return all
}

// TestQuotas: how many one can have.
func TestQuotas(t *testing.T) {
	in, ctx := open(t, metatest.Open(t, metatest.SQLite(t))), t.Context()
	first(in.CreateUser(ctx, root(), directory.NewUser{Name: "alice"}))
	for i := range 11 {
		p := first(in.CreatePolicy(ctx, root(), directory.NewPolicy{Name: fmt.Sprint("p", i), Document: anyDoc}))
		first(in.CreateGroup(ctx, root(), fmt.Sprint("g", i), ""))
		attached, joined := in.AttachPolicy(ctx, root(), directory.UserNamed("alice"), p.ARN), in.AddUserToGroup(ctx, root(), fmt.Sprint("g", i), "alice")
		if i < 10 {
			ok(t, attached)
			ok(t, joined)
			continue
		}
		wants(t, attached, directory.LimitExceeded, "Cannot exceed quota for PoliciesPerUser: 10")
		wants(t, joined, directory.LimitExceeded, "Cannot exceed quota for GroupsPerUser: 10")
	}
	for i := 11; i < 300; i++ {
		if _, err := in.CreateGroup(ctx, root(), fmt.Sprint("g", i), ""); err != nil {
			t.Fatal(err)
		}
	}
	_, err := in.CreateGroup(ctx, root(), "g300", "")
	wants(t, err, directory.LimitExceeded, "Cannot exceed quota for GroupsPerAccount: 300")
	in.furnishAlias(t)
}

func (in *instance) furnishAlias(t *testing.T) {
	ctx := t.Context()
	ok(t, in.SetAlias(ctx, root(), "acme"))
	wants(t, in.SetAlias(ctx, root(), "acme"), directory.EntityAlreadyExists, "The account alias acme already exists.")
	ok(t, in.SetAlias(ctx, root(), "acme-2"))
	if a := first(in.Alias(ctx, root())); a != "acme-2" {
		t.Errorf("%s", a)
	}
	ok(t, in.DeleteAlias(ctx, root(), "acme-2"))
}

// TestPages: every list gives all of it, in pages of any size, without anything twice.
func TestPages(t *testing.T) {
	in, ctx := open(t, metatest.Open(t, metatest.SQLite(t))), t.Context()
	alice := directory.UserNamed("alice")
	first(in.CreateUser(ctx, root(), directory.NewUser{Name: "alice", Tags: []directory.Tag{{Key: "b"}, {Key: "A"}, {Key: "c"}}}))
	first(in.CreateRole(ctx, root(), directory.NewRole{Name: "r", Trust: trust}))
	for _, name := range []string{"Beta", "alpha", "gamma"} {
		first(in.CreateUser(ctx, root(), directory.NewUser{Name: name, Path: "/p/"}))
		first(in.CreateGroup(ctx, root(), name, ""))
		ok(t, in.AddUserToGroup(ctx, root(), name, "alice"))
		ok(t, in.PutInlinePolicy(ctx, root(), alice, name, anyDoc))
		p := first(in.CreatePolicy(ctx, root(), directory.NewPolicy{Name: name, Document: anyDoc, Path: "/p/"}))
		ok(t, in.AttachPolicy(ctx, root(), alice, p.ARN))
		ok(t, in.AttachPolicy(ctx, root(), directory.GroupNamed(name), pull))
		first(in.CreateProfile(ctx, root(), directory.NewProfile{Name: name}))
		ok(t, in.AddRoleToProfile(ctx, root(), name, "r"))
	}
	ok(t, in.AttachPolicy(ctx, root(), alice, pull))
	ok(t, in.AttachPolicy(ctx, root(), directory.RoleNamed("r"), pull))
	for _, tt := range []struct {
		name string
		want string
		page func(p directory.Page) ([]string, bool, error) // what a page has, as [Page.After] takes it
	}{
		{"users", "alice alpha Beta gamma", func(p directory.Page) ([]string, bool, error) {
			l, more, err := in.Users(ctx, root(), "", p)
			return names(l, func(u directory.User) string { return u.Name }), more, err
		}},
		{"users of a path", "alpha Beta gamma", func(p directory.Page) ([]string, bool, error) {
			l, more, err := in.Users(ctx, root(), "/p/", p)
			return names(l, func(u directory.User) string { return u.Name }), more, err
		}},
		{"groups of a user", "alpha Beta gamma", func(p directory.Page) ([]string, bool, error) {
			l, more, err := in.GroupsForUser(ctx, root(), "alice", p)
			return names(l, func(g directory.Group) string { return g.Name }), more, err
		}},
		{"inline", "Beta alpha gamma", func(p directory.Page) ([]string, bool, error) {
			return in.InlinePolicies(ctx, root(), alice, p)
		}},
		{"attached", "111122223333:policy/p/Beta 111122223333:policy/p/alpha 111122223333:policy/p/gamma aws:policy/AmazonEC2ContainerRegistryPullOnly",
			func(p directory.Page) ([]string, bool, error) {
				l, more, err := in.AttachedPolicies(ctx, root(), alice, "", p)
				return names(l, func(a directory.AttachedPolicy) string { return a.ARN }), more, err
			}},
		{"attached, of a path", "111122223333:policy/p/Beta 111122223333:policy/p/alpha 111122223333:policy/p/gamma", func(p directory.Page) ([]string, bool, error) {
			l, more, err := in.AttachedPolicies(ctx, root(), alice, "/p/", p)
			return names(l, func(a directory.AttachedPolicy) string { return a.ARN }), more, err
		}},
		{"policies that somebody has", "aws:policy/AmazonEC2ContainerRegistryPullOnly 111122223333:policy/p/alpha 111122223333:policy/p/Beta 111122223333:policy/p/gamma",
			func(p directory.Page) ([]string, bool, error) {
				l, more, err := in.Policies(ctx, root(), directory.PolicyFilter{OnlyAttached: true}, p)
				return names(l, func(m directory.ManagedPolicy) string { return m.ARN }), more, err
			}},
		{"own policies", "111122223333:policy/p/alpha 111122223333:policy/p/Beta 111122223333:policy/p/gamma", func(p directory.Page) ([]string, bool, error) {
			l, more, err := in.Policies(ctx, root(), directory.PolicyFilter{Scope: "Local"}, p)
			return names(l, func(m directory.ManagedPolicy) string { return m.ARN }), more, err
		}},
		{"who has a policy", "group/alpha group/beta group/gamma role/r user/alice", func(p directory.Page) ([]string, bool, error) {
			l, more, err := in.PolicyEntities(ctx, root(), pull, directory.AttachmentFilter{}, p)
			return names(l, func(a directory.Attachment) string { return a.Key() }), more, err
		}},
		{"profiles of a role", "alpha Beta gamma", func(p directory.Page) ([]string, bool, error) {
			l, more, err := in.ProfilesForRole(ctx, root(), "r", p)
			return names(l, func(p directory.Profile) string { return p.Name }), more, err
		}},
		{"tags", "A b c", func(p directory.Page) ([]string, bool, error) {
			l, more, err := in.Tags(ctx, root(), alice, p)
			return names(l, func(t directory.Tag) string { return t.Key }), more, err
		}},
	} {
		for limit := 1; limit <= 6; limit++ {
			var all []string
			for p := (directory.Page{Limit: limit}); ; {
				page, more, err := tt.page(p)
				ok(t, err)
				if all = append(all, page...); !more {
					break
				}
				if len(page) != limit {
					t.Fatalf("%s: %d of %d", tt.name, len(page), limit)
				}
				p.After = page[limit-1]
			}
			if got := strings.ReplaceAll(strings.Join(all, " "), "arn:aws:iam::", ""); got != tt.want {
				t.Errorf("%s, pages of %d: %s, want %s", tt.name, limit, got, tt.want)
			}
		}
	}
}

func names[T any](list []T, name func(T) string) []string {
	var all []string
	for _, v := range list {
		all = append(all, name(v))
	}
	return all
}

// TestBuiltins: the policies of AWS are policies.
func TestBuiltins(t *testing.T) {
	in, ctx := open(t, metatest.Open(t, metatest.SQLite(t))), t.Context()
	all, more, err := in.Policies(ctx, root(), directory.PolicyFilter{Scope: "AWS"}, directory.Page{})
	ok(t, err)
	if len(all) < 8 || more {
		t.Errorf("%d, %v", len(all), more)
	}
	ids := map[string]bool{}
	for _, p := range all {
		v := first(in.PolicyVersion(ctx, root(), p.ARN, p.DefaultVersion))
		if _, err := policy.Parse([]byte(v.Document), policy.Identity); err != nil || !v.Default || !strings.HasPrefix(p.ID, "ANPA") || len(p.ID) != 21 || ids[p.ID] {
			t.Errorf("%s: %v, %+v", p.ARN, err, p)
		}
		ids[p.ID] = true
	}
	if p := first(in.Policy(ctx, root(), "arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy")); p.Path != "/service-role/" {
		t.Errorf("%+v", p)
	}
}

func TestReplacePrincipal(t *testing.T) {
	const from, to = "arn:aws:iam::111122223333:role/a", "AROAXXXXXXXXXXXXXXXXX"
	for _, tt := range []struct{ document, want string }{
		{`{"Statement":[{"Principal":{"AWS":"` + from + `"}}]}`, `{"Statement":[{"Principal":{"AWS":"` + to + `"}}]}`},
		{`{"Statement":{"NotPrincipal":{"AWS":["x", "` + from + `" ,"` + from + `"]}}}`, `{"Statement":{"NotPrincipal":{"AWS":["x", "` + to + `" ,"` + to + `"]}}}`},
		{`{ "Statement" : [ { "Principal" : { "AWS" : "arn:aws:iam::111122223333:role\/\u0061" } } ] } `, `{ "Statement" : [ { "Principal" : { "AWS" : "` + to + `" } } ] } `},
		{`{"Statement":[{"Principal":{"Federated":"` + from + `"}}]}`, ""},
		{`{"Statement":[{"Principal":"` + from + `"}]}`, ""},
		{`{"Statement":[{"Principal":{"AWS":"` + from + `b"}}]}`, ""},
		{`{"Statement":[{"Condition":{"ArnEquals":{"aws:PrincipalArn":"` + from + `"}},"Resource":"` + from + `"}]}`, ""},
		{`{"Principal":{"AWS":"` + from + `"}}`, ""},
		{`"` + from + `"`, ""},
		{``, ""},
		{`{"Statement":[{"Principal":{"AWS":`, ""},
	} {
		got, found := directory.ReplacePrincipal(tt.document, from, to)
		if found != (tt.want != "") || found && got != tt.want || !found && got != tt.document {
			t.Errorf("%s: %v, %s", tt.document, found, cmp.Diff(tt.want, got))
		}
	}
}

// Whoever makes a role again gets none of what sessions of the one before were given by name.
func TestSessionsOfDeletedRole(t *testing.T) {
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) {
		in := open(t, db)
		ctx := t.Context()
		old := first(in.CreateRole(ctx, root(), directory.NewRole{Name: "ci", Path: "/team/", Trust: trust}))
		const session = "arn:aws:sts::" + account + ":assumed-role/ci/deploy"
		trusting := func(arn string) string {
			return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":["` + arn + `","arn:aws:sts::` + account + `:assumed-role/ci2/deploy"]},"Action":"sts:AssumeRole"}]}`
		}
		first(in.CreateRole(ctx, root(), directory.NewRole{Name: "trusting", Trust: trusting(session)}))
		if err := in.DeleteRole(ctx, root(), "ci"); err != nil {
			t.Fatal(err)
		}
		if got := first(in.Role(ctx, root(), "trusting")).Trust; got != trusting(old.ID) {
			t.Error(got)
		}
		if _, p, err := in.Trusting(ctx, prefix+"role/trusting"); err != nil || p.Policy == nil {
			t.Errorf("%v, %v", p, err)
		}
	})
}

// FuzzReplacePrincipal: what is a policy is one afterwards, and names nobody by the old name.
func FuzzReplacePrincipal(f *testing.F) {
	const from, to = "arn:aws:iam::111122223333:role/a", "AROAXXXXXXXXXXXXXXXXX"
	f.Add(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":["` + from + `","*"]},"Action":"sts:AssumeRole"}]}`)
	f.Add(`{"Statement":{"Effect":"Deny","NotPrincipal":{"AWS":"arn:aws:iam::111122223333:role\/a"},"Action":"*"}}`)
	f.Add(trust)
	f.Fuzz(func(t *testing.T, document string) {
		got, found := directory.ReplacePrincipal(document, from, to)
		if _, err := policy.Parse([]byte(document), policy.Trust); err != nil {
			return
		}
		if _, err := policy.Parse([]byte(got), policy.Trust); err != nil {
			t.Errorf("%s became %s: %v", document, got, err)
		}
		if again, still := directory.ReplacePrincipal(got, from, to); still || again != got || found == (got == document) {
			t.Errorf("%s became %s", document, got)
		}
	})
}
