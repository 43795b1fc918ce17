package registry_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/registry"
)

const allowOwn = `{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "ecr:*", "Resource": "*"}}`

// TestLockout: a policy after which its author could not set another is refused, with the reason, unless it is meant.
func TestLockout(t *testing.T) {
	const deny = `{"Version": "2012-10-17", "Statement": [{"Sid": "OnlyFromHere", "Effect": "Deny", "Principal": "*", "Action": "ecr:*", "Condition": `
	office, elsewhere := netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("203.0.113.9")
	for _, tc := range []struct {
		name, policy string
		from         netip.Addr
		endpoint     string
		says         []string // nil: accepted
	}{
		{"from the office", deny + `{"NotIpAddress": {"aws:SourceIp": "198.51.100.0/24"}}}]}`, office, "", nil},
		{"from elsewhere", deny + `{"NotIpAddress": {"aws:SourceIp": "198.51.100.0/24"}}}]}`, elsewhere, "",
			[]string{"lock its author out", "user/author could not call ecr:SetRepositoryPolicy on team/app again", "statement OnlyFromHere", "set force"}},
		{"through an endpoint, where there is no SourceIp", deny + `{"NotIpAddress": {"aws:SourceIp": "198.51.100.0/24"}}}]}`, office, "vpce-1",
			[]string{`In the Deny of statement "OnlyFromHere", NotIpAddress on aws:SourceIp is true because this request came through the private endpoint vpce-1, so that the key is absent`}},
		{"from the office, where there is no endpoint", deny + `{"StringNotEquals": {"aws:SourceVpce": "vpce-1"}}}]}`, office, "",
			[]string{"StringNotEquals on aws:SourceVpce is true because this request came through no private endpoint"}},
		{"through the endpoint", deny + `{"StringNotEquals": {"aws:SourceVpce": "vpce-1"}}}]}`, office, "vpce-1", nil},
		{"through another endpoint", deny + `{"StringNotEquals": {"aws:SourceVpce": "vpce-1"}}}]}`, office, "vpce-2", []string{"lock its author out"}},
		{"either, from the office", deny + `{"NotIpAddress": {"aws:SourceIp": "198.51.100.0/24"}, "StringNotEquals": {"aws:SourceVpce": "vpce-1"}}}]}`, office, "", nil},
		{"either, through the endpoint", deny + `{"NotIpAddress": {"aws:SourceIp": "198.51.100.0/24"}, "StringNotEquals": {"aws:SourceVpce": "vpce-1"}}}]}`, elsewhere, "vpce-1", nil},
		{"either, from elsewhere", deny + `{"NotIpAddress": {"aws:SourceIp": "198.51.100.0/24"}, "StringNotEquals": {"aws:SourceVpce": "vpce-1"}}}]}`, elsewhere, "",
			[]string{"aws:SourceVpce is true because"}},
		{"another action", strings.Replace(deny, `"ecr:*"`, `"ecr:PutImage"`, 1) + `{"NotIpAddress": {"aws:SourceIp": "198.51.100.0/24"}}}]}`, elsewhere, "", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l, r := guarded(t, engine{user(account, "author").ARN: allowOwn})
			if _, err := l.CreateRepository(t.Context(), nil, app, registry.RepositorySettings{}, nil); err != nil {
				t.Fatal(err)
			}
			author := user(account, "author")
			author.SourceIP, author.Endpoint = tc.from, tc.endpoint
			err := r.SetRepositoryPolicy(t.Context(), author, app, tc.policy, false)
			if (err == nil) != (tc.says == nil) || err != nil && !errors.Is(err, registry.ErrOf(registry.PolicyInvalid)) {
				t.Fatalf("SetRepositoryPolicy: %v", err)
			}
			for _, s := range tc.says {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("%v\ndoes not say %q", err, s)
				}
			}
			if got, gerr := l.RepositoryPolicy(t.Context(), nil, app); (gerr == nil) != (err == nil) {
				t.Errorf("the policy is %q, %v", got, gerr)
			}
			again := r.SetRepositoryPolicy(t.Context(), author, app, tc.policy, true)
			_, refused := errors.AsType[*iam.DeniedError](r.SetRepositoryPolicy(t.Context(), author, app, tc.policy, true))
			if again != nil || refused != (tc.says != nil) {
				t.Errorf("with force: %v, and after it refused: %v", again, refused)
			}
		})
	}
}

// TestAcrossAccounts: another account's repository is there for those whom its policy lets in, and for nobody else; what
// the others are told says nothing about what there is.
func TestAcrossAccounts(t *testing.T) {
	const theirs = "444455556666"
	guest, stranger := user(theirs, "guest"), user(theirs, "stranger")
	l, r := guarded(t, engine{guest.ARN: allowOwn, stranger.ARN: allowOwn, user(account, "own").ARN: allowOwn})
	for _, repo := range []registry.Repo{app, other} {
		if _, err := l.CreateRepository(t.Context(), nil, repo, registry.RepositorySettings{}, nil); err != nil {
			t.Fatal(err)
		}
	}
	policy := strings.Replace(policyFor(guest.ARN, "*"), `"Version"`, `"Id": "x", "Version"`, 1)
	if err := l.SetRepositoryPolicy(t.Context(), nil, app, policy, false); err != nil {
		t.Fatal(err)
	}
	calls := map[string]func(c *iam.Caller, repo registry.Repo) error{
		"Repository": func(c *iam.Caller, repo registry.Repo) error { return second(r.Repository(t.Context(), c, repo)) },
		"Manifest": func(c *iam.Caller, repo registry.Repo) error {
			return second(r.Manifest(t.Context(), c, repo, tagged("v1")))
		},
		"RepositoryPolicy": func(c *iam.Caller, repo registry.Repo) error { return second(r.RepositoryPolicy(t.Context(), c, repo)) },
		"StartUpload":      func(c *iam.Caller, repo registry.Repo) error { return second(r.StartUpload(t.Context(), c, repo)) },
		"DeleteRepository": func(c *iam.Caller, repo registry.Repo) error {
			if c.Name == "own" || c.ARN == guest.ARN {
				return nil // it may
			}
			return second(r.DeleteRepository(t.Context(), c, repo, true))
		},
	}
	none := registry.Repo{Account: account, Name: "team/none"}
	for name, call := range calls {
		if err := call(guest, app); err != nil && !errors.Is(err, registry.ErrOf(registry.ManifestUnknown)) {
			t.Errorf("%s by one who was let in: %v", name, err)
		}
		var texts []string
		for _, repo := range []registry.Repo{app, other, none} {
			err := call(stranger, repo)
			denied, ok := errors.AsType[*iam.DeniedError](err)
			if !ok {
				t.Errorf("%s of %s by a stranger: %v", name, repo.Name, err)
				continue
			}
			texts = append(texts, strings.ReplaceAll(denied.Error(), repo.Name, "it"))
		}
		if len(texts) == 3 && (texts[0] != texts[2] || texts[1] != texts[2]) {
			t.Errorf("%s by a stranger tells what there is:\n%s", name, strings.Join(texts, "\n"))
		}
	}
	if err := calls["Repository"](user(account, "own"), none); !errors.Is(err, registry.ErrOf(registry.RepositoryUnknown)) {
		t.Errorf("by one of the account: %v", err)
	}
	if err := calls["Repository"](guest, none); err == nil || errors.Is(err, registry.ErrOf(registry.RepositoryUnknown)) {
		t.Errorf("what isn't there, by one who was let into another: %v", err)
	}
}

// TestTagConditions: who may create and tag can be made to depend on the tags.
func TestTagConditions(t *testing.T) {
	const conditions = `{"Version": "2012-10-17", "Statement": [
		{"Effect": "Allow", "Action": ["ecr:CreateRepository", "ecr:TagResource"], "Resource": "*", "Condition": {
			"StringEquals": {"aws:RequestTag/Team": ["red", "blue"]}, "ForAllValues:StringEquals": {"aws:TagKeys": ["Team", "Note"]}}},
		{"Effect": "Allow", "Action": "ecr:UntagResource", "Resource": "*", "Condition": {"ForAllValues:StringEquals": {"aws:TagKeys": "Note"}, "Null": {"aws:TagKeys": "false"}}},
		{"Effect": "Allow", "Action": "ecr:DescribeRepositories", "Resource": "*", "Condition": {"StringEquals": {"aws:ResourceTag/Team": "red"}}}]}`
	someone := user(account, "someone")
	l, r := guarded(t, engine{someone.ARN: conditions})
	create := func(name string, tags map[string]string) error {
		return second(r.CreateRepository(t.Context(), someone, registry.Repo{Account: account, Name: name}, registry.RepositorySettings{}, tags))
	}
	change := func(set map[string]string, remove ...string) error {
		return r.TagRepository(t.Context(), someone, registry.Repo{Account: account, Name: "a/red"}, set, remove)
	}
	describe := func(name string) error {
		return second(r.Repository(t.Context(), someone, registry.Repo{Account: account, Name: name}))
	}
	for _, tc := range []struct {
		name    string
		err     error
		allowed bool
	}{
		{"create without tags", create("a/none", nil), false},
		{"create with another team", create("a/green", map[string]string{"Team": "green"}), false},
		{"create with another tag beside it", create("a/more", map[string]string{"Team": "red", "Cost": "1"}), false},
		{"create", create("a/red", map[string]string{"Team": "red", "Note": "x"}), true},
		{"create another", create("a/blue", map[string]string{"Team": "blue"}), true},
		{"describe", describe("a/red"), true},
		{"describe another", describe("a/blue"), false},
		{"tag without a team", change(map[string]string{"Note": "y"}), false},
		{"tag", change(map[string]string{"Note": "y", "Team": "red"}), true},
		{"untag the team", change(nil, "Team"), false},
		{"untag both", change(nil, "Note", "Team"), false},
		{"untag", change(nil, "Note"), true},
		{"tag and untag what must stay", change(map[string]string{"Team": "blue"}, "Team"), false},
		{"move to another team", change(map[string]string{"Team": "blue"}), true},
		{"describe after that", describe("a/red"), false},
	} {
		_, denied := errors.AsType[*iam.DeniedError](tc.err)
		if denied == tc.allowed || !denied && tc.err != nil {
			t.Errorf("%s: %v", tc.name, tc.err)
		}
	}
	if all, _, err := l.Repositories(t.Context(), nil, account, registry.Page{}); err != nil || len(all) != 2 {
		t.Errorf("%d repositories, %v", len(all), err)
	}
}
