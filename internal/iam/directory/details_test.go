package directory_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/directory"
	"github.com/sekisho/sekisho/internal/iam/policy"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
)

// outline is what a Details has, a line each.
func outline(d *directory.Details) []string {
	var lines []string
	granted := func(g directory.Granted) string {
		s := ""
		for _, p := range g.Inline {
			s += " " + p.Name
		}
		for _, p := range g.Attached {
			s += " " + p.Name
		}
		return s
	}
	for _, u := range d.Users {
		lines = append(lines, "user "+u.Name+granted(u.Granted)+" in "+strings.Join(u.Groups, ","))
	}
	for _, g := range d.Groups {
		lines = append(lines, "group "+g.Name+granted(g.Granted))
	}
	for _, r := range d.Roles {
		line := "role " + r.Name + granted(r.Granted)
		for _, p := range r.Profiles {
			line += " in " + p.Name
		}
		lines = append(lines, line)
	}
	for _, p := range d.Policies {
		line := "policy " + p.Name
		for _, v := range p.Versions {
			line += " " + v.ID
		}
		lines = append(lines, line)
	}
	return lines
}

func TestDetails(t *testing.T) {
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) {
		in, ctx := open(t, db), t.Context()
		in.furnish()
		first(in.CreateUser(ctx, root(), directory.NewUser{Name: "Bob"}))
		want := []string{
			"user alice own push AmazonEC2ContainerRegistryPullOnly in team", "user Bob in ",
			"group team own push AmazonEC2ContainerRegistryPullOnly",
			"role builder own push AmazonEC2ContainerRegistryPullOnly in hosts",
			"policy push v1", "policy AmazonEC2ContainerRegistryPullOnly v2",
		}
		for limit := 1; limit <= len(want)+1; limit++ {
			var got []string
			p := directory.Page{Limit: limit}
			for {
				d, more, err := in.Details(ctx, root(), directory.DetailFilter{All: true}, p)
				ok(t, err)
				part := outline(d)
				if len(part) > limit || more && len(part) < limit {
					t.Fatalf("%d of %d, more: %v", len(part), limit, more)
				}
				got = append(got, part...)
				if !more {
					break
				}
				p.After = d.Last
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%d at a time (-want +got):\n%s", limit, diff)
			}
		}
		for _, tt := range []struct {
			filter directory.DetailFilter
			want   []string
		}{
			{directory.DetailFilter{}, nil}, {directory.DetailFilter{Users: true}, want[:2]}, {directory.DetailFilter{Groups: true, Local: true}, []string{want[2], want[4]}},
			{directory.DetailFilter{Roles: true, AWS: true}, []string{want[3], want[5]}},
		} {
			d, more, err := in.Details(ctx, root(), tt.filter, directory.Page{})
			ok(t, err)
			if diff := cmp.Diff(tt.want, outline(d)); diff != "" || more {
				t.Errorf("%+v: more: %v (-want +got):\n%s", tt.filter, more, diff)
			}
		}
		_, _, err := in.Details(ctx, root(), directory.DetailFilter{All: true}, directory.Page{After: "nothing/x"})
		wants(t, err, directory.ValidationError, "Invalid Marker.")
	})
}

func TestSubject(t *testing.T) {
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) {
		in, ctx := open(t, db), t.Context()
		in.furnish()
		for _, tt := range []struct {
			arn       string
			principal policy.Principal
			context   policy.MapContext // without ids
			policies  int
			bounded   bool
		}{
			{prefix + "user/people/alice", policy.Principal{Type: policy.User, ARN: prefix + "user/people/alice", Account: account},
				policy.MapContext{"aws:username": {"alice"}, "aws:principaltag/team": {"a"}}, 6, true},
			{prefix + "group/team", policy.Principal{Type: policy.User, Account: account}, policy.MapContext{}, 3, false},
			{prefix + "role/builder", policy.Principal{
				Type: policy.AssumedRole, ARN: "arn:aws:sts::" + account + ":assumed-role/builder/simulation", Account: account, RoleARN: prefix + "role/builder",
			}, policy.MapContext{}, 3, false},
		} {
			sub, err := in.Subject(ctx, root(), "iam:SimulatePrincipalPolicy", tt.arn)
			ok(t, err)
			delete(sub.Context, "aws:userid")
			if diff := cmp.Diff([]any{tt.principal, tt.context, tt.policies, tt.bounded}, []any{sub.Principal, sub.Context, len(sub.Identity), len(sub.Boundaries) == 1}); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.arn, diff)
			}
		}
		for arn, kind := range map[string]directory.ErrorKind{
			prefix + "user/alice":                          directory.NoSuchEntity, // that is not its path
			prefix + "user/people/Alice":                   directory.NoSuchEntity,
			prefix + "role/none":                           directory.NoSuchEntity,
			"arn:aws:iam::" + other + ":user/people/alice": directory.NoSuchEntity,
			prefix + "policy/ci/push":                      directory.InvalidInput,
			prefix + "root":                                directory.InvalidInput,
			"alice":                                        directory.InvalidInput,
			prefix + "user/":                               directory.InvalidInput,
		} {
			_, err := in.Subject(ctx, root(), "iam:SimulatePrincipalPolicy", arn)
			wants(t, err, kind, "")
		}
		in.deny = true
		for _, arn := range []string{prefix + "user/people/alice", prefix + "user/none", "arn:aws:iam::" + other + ":user/x"} {
			_, err := in.Subject(ctx, root(), "iam:SimulatePrincipalPolicy", arn)
			if _, denied := errors.AsType[*iam.DeniedError](err); !denied {
				t.Errorf("%s: %v", arn, err)
			}
		}
	})
}

func TestMay(t *testing.T) {
	in, ctx := open(t, metatest.Open(t, metatest.SQLite(t))), t.Context()
	in.furnish()
	ok(t, in.May(ctx, root(), "iam:ListMFADevices", directory.UserNamed("alice")))
	ok(t, in.May(ctx, root(), "iam:ListMFADevices", directory.UserNamed("")))
	ok(t, in.May(ctx, root(), "iam:ListSAMLProviders", directory.Ref{}))
	wants(t, in.May(ctx, root(), "iam:ListMFADevices", directory.UserNamed("none")), directory.NoSuchEntity, "The user with name none cannot be found.")
	var got []string
	for _, r := range in.asked[len(in.asked)-4:] {
		got = append(got, r.Action+" "+r.Resource.ARN)
	}
	want := []string{
		"iam:ListMFADevices " + prefix + "user/people/alice", "iam:ListMFADevices *", "iam:ListSAMLProviders *", "iam:ListMFADevices " + prefix + "user/none",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	in.deny = true
	for _, user := range []string{"alice", "none"} {
		if _, denied := errors.AsType[*iam.DeniedError](in.May(ctx, root(), "iam:ListMFADevices", directory.UserNamed(user))); !denied {
			t.Errorf("%s is told apart", user)
		}
	}
}
