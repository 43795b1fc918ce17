package registry_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/policy"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
	"github.com/sekisho/sekisho/internal/oci"
	"github.com/sekisho/sekisho/internal/registry"
)

// node is a registry as it is served: guarded, and with a generation.
type node struct {
	local   *registry.Local
	control *registry.Control
	served  registry.Registry
	judge   *registry.Judge
}

// nodes are two on PostgreSQL, one on SQLite.
func nodes(t *testing.T, dsn string, a iam.Authorizer) []*node {
	t.Helper()
	store := memory(t)
	n := 1
	if strings.HasPrefix(dsn, "postgres") {
		n = 2
	}
	var all []*node
	for range n {
		db := metatest.Open(t, dsn)
		g := iam.NewGeneration(db)
		var c testClock
		l := local(t, db, store, registry.Options{UploadKey: uploadKey, Generation: g, Now: c.now})
		j := judge(a, new(notes).note)
		j.Guard = l.Guard
		all = append(all, &node{local: l, control: registry.NewControl(l, j), judge: j, served: registry.CreateOnPush(registry.Authorize(l, j), l)})
	}
	return all
}

// byResource lets the policies of the resource decide beside an identity policy that allows all, as far as the caller is
// of the resource's account.
type byResource struct{}

func (byResource) Authorize(_ context.Context, c *iam.Caller, r *iam.Request) iam.Decision {
	all, err := policy.Parse([]byte(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`), policy.Identity)
	if err != nil {
		panic(err)
	}
	d := policy.Decide(&policy.Request{
		Principal: policy.Principal{Type: policy.User, ARN: c.ARN, Account: c.Account},
		Action:    r.Action, Resource: r.Resource.ARN, ResourceAccount: r.Resource.Account, Context: policy.MapContext{},
	}, &policy.Policies{Identity: []policy.Named{{Name: "all", Policy: all}}, Resource: r.Resource.Policies})
	return iam.Decision{Allowed: d.Outcome == policy.Allowed, Reason: "because the policies say so"}
}

func isDenied(err error) bool {
	_, ok := errors.AsType[*iam.DeniedError](err)
	return ok
}

// TestRegistryPolicyDecides: a registry policy has a say in decisions, on every node and at once, as far as its scope goes.
func TestRegistryPolicyDecides(t *testing.T) {
	metatest.EachDSN(t, func(t *testing.T, dsn string) {
		all := nodes(t, dsn, byResource{})
		first, last := all[0], all[len(all)-1]
		ctx, own, stranger := t.Context(), user(account, "own"), user("444455556666", "stranger")
		create := func(n *node, c *iam.Caller, name string) error {
			return second(n.served.CreateRepository(ctx, c, registry.Repo{Account: account, Name: name}, registry.RepositorySettings{}, nil))
		}
		describe := func(n *node, c *iam.Caller) error { return second(n.served.Repository(ctx, c, app)) }
		put := func(statements string) {
			t.Helper()
			if err := first.control.PutRegistryPolicy(ctx, own, account, `{"Version":"2012-10-17","Statement":[`+statements+`]}`); err != nil {
				t.Fatal(err)
			}
		}
		scope := func(v string) {
			t.Helper()
			if err := first.control.PutAccountSetting(ctx, own, account, registry.RegistryPolicyScope, v); err != nil {
				t.Fatal(err)
			}
		}
		check := func(what string, err error, allowed bool) {
			t.Helper()
			if (err == nil) != allowed || err != nil && !isDenied(err) {
				t.Errorf("%s: %v, want allowed %v", what, err, allowed)
			}
		}
		check("create", create(first, own, app.Name), true)
		for _, n := range all {
			check("a stranger, without a policy", describe(n, stranger), false)
			check("own, without a policy", describe(n, own), true)
		}
		const onAll = `"Resource":"arn:aws:ecr:eu-west-1:` + account + `:repository/*"`
		put(`{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::444455556666:root"},"Action":["ecr:DescribeRepositories","ecr:CreateRepository"],` + onAll + `}`)
		for i, n := range all {
			check("a stranger who is allowed", describe(n, stranger), true)
			check("a stranger who may create", create(n, stranger, fmt.Sprint("team/stranger", i)), true)
		}
		scope("V1")
		for i, n := range all {
			check("a stranger who is allowed out of scope", describe(n, stranger), false)
			check("a stranger who may create in scope", create(n, stranger, fmt.Sprint("team/scope", i)), true)
		}
		put(`{"Effect":"Deny","Principal":"*","Action":"ecr:*",` + onAll + `}`)
		for i, n := range all {
			check("own, refused out of scope", describe(n, own), true)
			check("own, refused in scope", create(n, own, fmt.Sprint("team/never", i)), false)
		}
		scope("V2")
		for _, n := range all {
			check("own, refused", describe(n, own), false)
		}
		if text, err := last.control.DeleteRegistryPolicy(ctx, own, account); err != nil || !strings.Contains(text, "Deny") {
			t.Errorf("DeleteRegistryPolicy: %q, %v", text, err)
		}
		for _, n := range all {
			check("own, without a policy again", describe(n, own), true)
		}
	})
}

// TestRegistryPolicyLocksOut: such a policy is kept, and the record says what it does.
func TestRegistryPolicyLocksOut(t *testing.T) {
	var details []string
	db := metatest.Open(t, metatest.SQLite(t))
	l := local(t, db, memory(t), registry.Options{UploadKey: uploadKey, OnChange: func(_ context.Context, _ *meta.Tx, ch registry.Change) error {
		details = append(details, ch.Action+": "+ch.Detail)
		return nil
	}})
	k := registry.NewControl(l, judge(byResource{}, new(notes).note))
	for _, text := range []string{
		`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"ecr:*","Resource":"*"}]}`, allowAll,
	} {
		if err := k.PutRegistryPolicy(t.Context(), user(account, "own"), account, text); err != nil {
			t.Fatal(err)
		}
		if got, err := k.RegistryPolicy(t.Context(), user(account, "own"), account); err != nil || got != text {
			t.Errorf("got %q, %v", got, err)
		}
	}
	if diff := cmp.Diff([]string{"ecr:PutRegistryPolicy: locks its author out: because the policies say so", "ecr:PutRegistryPolicy: "}, details); diff != "" {
		t.Error(diff)
	}
}

// TestControlRefuses: what ECR refuses, and the words of those refusals that clients match on.
func TestControlRefuses(t *testing.T) {
	ctx, c := t.Context(), root(account)
	k := registry.NewControl(newMemory(t), judge(iam.RootOnly{}, new(notes).note))
	rule := func(prefix string, u registry.Upstream) error {
		return second(k.CreatePullThroughRule(ctx, c, account, prefix, u))
	}
	template := func(prefix string, content registry.TemplateContent) error {
		if content.AppliedFor == nil {
			content.AppliedFor = []registry.Occasion{registry.OnPush}
		}
		return second(k.CreateTemplate(ctx, c, account, prefix, content))
	}
	many := registry.ReplicationRule{}
	for i := range 26 {
		many.Destinations = append(many.Destinations, registry.Destination{Region: "us-east-1", Account: fmt.Sprintf("%012d", i)})
	}
	self := registry.Destination{Region: "eu-west-1", Account: account}
	for _, prefix := range []string{"there", "hub"} {
		if err := errors.Join(rule(prefix, registry.Upstream{URL: "quay.io"}), template(prefix, registry.TemplateContent{})); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := k.ExcludePulls(ctx, c, account, userARN); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		err  error
		kind registry.Kind // 0: allowed
		text string
	}{
		{"policy: not there", second(k.RegistryPolicy(ctx, c, account)), registry.RegistryPolicyUnknown, "Registry policy does not exist in the registry with id '" + account + "'"},
		{"policy: not there to delete", second(k.DeleteRegistryPolicy(ctx, c, account)), registry.RegistryPolicyUnknown, ""},
		{"policy: empty", k.PutRegistryPolicy(ctx, c, account, ""), registry.SettingInvalid, "Invalid parameter at 'PolicyText' failed to satisfy constraint: 'Invalid registry policy provided"},
		{"policy: not JSON", k.PutRegistryPolicy(ctx, c, account, "{"), registry.SettingInvalid, "Invalid registry policy provided"},
		{"policy: too long", k.PutRegistryPolicy(ctx, c, account, allowAll+strings.Repeat(" ", 10_240)), registry.SettingInvalid, "at most 10240"},
		{"policy: without a principal", k.PutRegistryPolicy(ctx, c, account, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ecr:*","Resource":"*"}]}`), registry.SettingInvalid, ""},

		{"setting: unknown", second(k.AccountSetting(ctx, c, account, "NOPE")), registry.SettingInvalid, "'name'"},
		{"setting: unknown to put", k.PutAccountSetting(ctx, c, account, "policy", "{}"), registry.SettingInvalid, "'name'"},
		{"setting: value", k.PutAccountSetting(ctx, c, account, registry.BlobMounting, "enabled"), registry.SettingInvalid, "must be one of [DISABLED, ENABLED]"},

		{"exclusion: twice", second(k.ExcludePulls(ctx, c, account, userARN)), registry.ExclusionExists, userARN},
		{"exclusion: unknown", k.IncludePulls(ctx, c, account, userARN+"x"), registry.ExclusionUnknown, userARN + "x"},

		{"rule: twice", rule("there", registry.Upstream{URL: "quay.io"}), registry.PullThroughRuleExists, "'there'"},
		{"rule: unknown", second(k.UpdatePullThroughRule(ctx, c, account, "nope", registry.Access{CredentialARN: secretARN})), registry.PullThroughRuleUnknown, "'nope'"},
		{"rule: unknown to delete", second(k.DeletePullThroughRule(ctx, c, account, "nope")), registry.PullThroughRuleUnknown, ""},
		{"rule: unknown among others", third(k.PullThroughRules(ctx, c, account, []string{"there", "nope"}, registry.Page{})), registry.PullThroughRuleUnknown, ""},
		{"rule: needs a credential", rule("a", registry.Upstream{URL: "registry-1.docker.io"}), registry.UpstreamUnsupported, "The specified upstream registry requires authentication. Specify a valid Secrets Manager ARN"},
		{"rule: needs none by URL", rule("hub2", registry.Upstream{URL: "https://registry-1.docker.io"}), 0, ""},
		{"rule: has its credential", rule("hub3", registry.Upstream{URL: "registry-1.docker.io", Access: registry.Access{CredentialARN: secretARN}}), 0, ""},
		{"rule: another's credential", rule("a", registry.Upstream{URL: "ghcr.io", Access: registry.Access{CredentialARN: strings.Replace(secretARN, account, "444455556666", 1)}}), registry.SettingInvalid, "'credentialArn'"},
		{"rule: another kind", rule("a", registry.Upstream{URL: "quay.io", Kind: "k8s"}), registry.SettingInvalid, "'upstreamRegistry'"},
		{"rule: the kind", rule("k8s", registry.Upstream{URL: "registry.k8s.io", Kind: "k8s"}), 0, ""},
		{"rule: a kind that it is not", rule("a", registry.Upstream{URL: "example.com", Kind: "quay"}), registry.UpstreamUnsupported, "The upstream registry URL example.com is invalid. Specify a valid upstream registry URL and try again"},
		{"rule: no host", rule("a", registry.Upstream{URL: "registry"}), registry.UpstreamUnsupported, ""},
		{"rule: no URL", rule("a", registry.Upstream{URL: "ftp://example.com"}), registry.UpstreamUnsupported, ""},
		{"rule: a secret in the URL", rule("a", registry.Upstream{URL: "https://me:secret@example.com"}), registry.UpstreamUnsupported, ""},
		{"rule: a host", rule("host", registry.Upstream{URL: "registry.example.com:8443"}), 0, ""},
		{"rule: a URL", rule("url", registry.Upstream{URL: "http://127.0.0.1:5000/v2/"}), 0, ""},
		{"rule: another's role", rule("a", registry.Upstream{URL: "quay.io", Access: registry.Access{RoleARN: "arn:aws:iam::444455556666:role/r"}}), registry.SettingInvalid, "'customRoleArn'"},
		{"rule: no role", rule("a", registry.Upstream{URL: "quay.io", Access: registry.Access{RoleARN: userARN}}), registry.SettingInvalid, "'customRoleArn'"},
		{"rule: all into all", rule(registry.PrefixRoot, registry.Upstream{URL: "quay.io", Prefix: "team"}), registry.SettingInvalid, "must be ROOT"},

		{"template: twice", template("there", registry.TemplateContent{}), registry.TemplateExists, "'there'"},
		{"template: twice, with a slash", template("there/", registry.TemplateContent{}), registry.TemplateExists, "'there'"},
		{"template: unknown", second(k.UpdateTemplate(ctx, c, account, "nope", registry.TemplateChange{})), registry.TemplateUnknown, "'nope'"},
		{"template: unknown to delete", second(k.DeleteTemplate(ctx, c, account, "nope")), registry.TemplateUnknown, ""},
		{"template: unknown among others", third(k.Templates(ctx, c, account, []string{"nope"}, registry.Page{})), registry.TemplateUnknown, ""},
		{"template: for nothing", template("a", registry.TemplateContent{AppliedFor: []registry.Occasion{}}), registry.SettingInvalid, "'appliedFor'"},
		{"template: for nothing any more", second(k.UpdateTemplate(ctx, c, account, "there", registry.TemplateChange{AppliedFor: []registry.Occasion{}})), registry.SettingInvalid, ""},
		{"template: for the same twice", template("a", registry.TemplateContent{AppliedFor: []registry.Occasion{registry.OnPush, registry.OnPush}}), registry.SettingInvalid, "twice"},
		{"template: exclusions of nothing", template("a", registry.TemplateContent{Settings: registry.RepositorySettings{MutabilityExclusions: []string{"a"}}}), registry.SettingInvalid, ""},
		{"template: repository policy", template("a", registry.TemplateContent{RepositoryPolicy: "{}"}), registry.PolicyInvalid, ""},
		{"template: lifecycle policy", template("a", registry.TemplateContent{LifecyclePolicy: "{}"}), registry.LifecyclePolicyInvalid, ""},
		{"template: tags", template("a", registry.TemplateContent{Tags: map[string]string{"": ""}}), registry.SettingInvalid, ""},
		{"template: another's role", template("a", registry.TemplateContent{RoleARN: "arn:aws:iam::444455556666:role/r"}), registry.SettingInvalid, "'customRoleArn'"},

		{"replication: to itself", k.PutReplication(ctx, c, account, &registry.Replication{Rules: []registry.ReplicationRule{{Destinations: []registry.Destination{self}}}}), registry.SettingInvalid, "Replication destination cannot be the same as the source registry"},
		{"replication: to nowhere", k.PutReplication(ctx, c, account, &registry.Replication{Rules: []registry.ReplicationRule{{}}}), registry.SettingInvalid, "at least one destination"},
		{"replication: twice", k.PutReplication(ctx, c, account, &registry.Replication{Rules: []registry.ReplicationRule{{Destinations: []registry.Destination{many.Destinations[0], many.Destinations[0]}}}}), registry.SettingInvalid, "twice"},
		{"replication: everywhere", k.PutReplication(ctx, c, account, &registry.Replication{Rules: []registry.ReplicationRule{many}}), registry.SettingInvalid, "at most 25"},
		{"replication: almost everywhere", k.PutReplication(ctx, c, account, &registry.Replication{Rules: []registry.ReplicationRule{
			{Destinations: many.Destinations[:25]}, {Destinations: many.Destinations[:25], Prefixes: []string{"prod"}},
		}}), 0, ""},

		{"scanning: basic and continuous", k.PutScanning(ctx, c, account, &registry.Scanning{Type: "BASIC", Rules: []registry.ScanRule{{Frequency: "CONTINUOUS_SCAN"}}}), registry.SettingInvalid, ""},
		{"scanning: enhanced and manual", k.PutScanning(ctx, c, account, &registry.Scanning{Type: "ENHANCED", Rules: []registry.ScanRule{{Frequency: "MANUAL"}}}), registry.SettingInvalid, ""},
		{"scanning: twice", k.PutScanning(ctx, c, account, &registry.Scanning{Type: "BASIC", Rules: []registry.ScanRule{{Frequency: "SCAN_ON_PUSH"}, {Frequency: "SCAN_ON_PUSH"}}}), registry.SettingInvalid, ""},

		{"signing: not there", second(k.Signing(ctx, c, account)), registry.SigningUnknown, "Signing configuration does not exist in the registry with id '" + account + "'"},
		{"signing: not there to delete", second(k.DeleteSigning(ctx, c, account)), registry.SigningUnknown, ""},
	} {
		switch {
		case tc.kind == 0 && tc.err != nil:
			t.Errorf("%s: %v", tc.name, tc.err)
		case tc.kind != 0 && (!errors.Is(tc.err, registry.ErrOf(tc.kind)) || !strings.Contains(tc.err.Error(), tc.text)):
			t.Errorf("%s: %v", tc.name, tc.err)
		}
	}
}

// TestLimits: lists of a registry have an end.
func TestControlLimits(t *testing.T) {
	ctx, c := t.Context(), root(account)
	k := registry.NewControl(newMemory(t), judge(iam.RootOnly{}, new(notes).note))
	for name, tc := range map[string]struct {
		limit int
		add   func(i int) error
	}{
		"exclusions": {100, func(i int) error { return second(k.ExcludePulls(ctx, c, account, fmt.Sprint(userARN, i))) }},
		"rules": {50, func(i int) error {
			return second(k.CreatePullThroughRule(ctx, c, account, fmt.Sprint("p", i), registry.Upstream{URL: "quay.io"}))
		}},
		"templates": {50, func(i int) error {
			return second(k.CreateTemplate(ctx, c, account, fmt.Sprint("p", i), registry.TemplateContent{AppliedFor: []registry.Occasion{registry.OnPush}}))
		}},
	} {
		for i := range tc.limit {
			if err := tc.add(i); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if err := tc.add(tc.limit); !errors.Is(err, registry.ErrOf(registry.TooManyEntries)) {
			t.Errorf("%s: one too many: %v", name, err)
		}
	}
	var listed []string
	for after, more := "", true; more; after = listed[len(listed)-1] {
		var some []*registry.PullThroughRule
		var err error
		if some, more, err = k.PullThroughRules(ctx, c, account, nil, registry.Page{After: after, Limit: 7}); err != nil {
			t.Fatal(err)
		}
		for _, r := range some {
			listed = append(listed, r.Prefix)
		}
	}
	if len(listed) != 50 {
		t.Errorf("listed %d rules: %v", len(listed), listed)
	}
}

// TestTemplateUpdate: what is not named stays, and what belongs together goes together.
func TestTemplateUpdate(t *testing.T) {
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) {
		ctx, c := t.Context(), root(account)
		var clock testClock
		l := local(t, db, memory(t), registry.Options{UploadKey: uploadKey, Now: clock.now})
		k := registry.NewControl(l, judge(iam.RootOnly{}, new(notes).note))
		first := registry.TemplateContent{
			Description: "d", AppliedFor: []registry.Occasion{registry.OnPush, registry.OnReplication},
			Settings: registry.RepositorySettings{Mutability: registry.ImmutableWithExclusion, MutabilityExclusions: []string{"latest"}, EncryptionType: "KMS", KMSKey: "k"},
			Tags:     map[string]string{"a": "b"}, RoleARN: roleARN,
		}
		made, err := k.CreateTemplate(ctx, c, account, "prod", first)
		if err != nil {
			t.Fatal(err)
		}
		clock.advance(time.Minute)
		for _, tc := range []struct {
			name   string
			change registry.TemplateChange
			apply  func(*registry.TemplateContent)
		}{
			{"nothing", registry.TemplateChange{}, func(*registry.TemplateContent) {}},
			{"description", registry.TemplateChange{Description: new("")}, func(c *registry.TemplateContent) { c.Description = "" }},
			{"mutability", registry.TemplateChange{Mutability: new(registry.Immutable)}, func(c *registry.TemplateContent) {
				c.Settings.Mutability, c.Settings.MutabilityExclusions = registry.Immutable, nil
			}},
			{"encryption", registry.TemplateChange{EncryptionType: new("AES256")}, func(c *registry.TemplateContent) {
				c.Settings.EncryptionType, c.Settings.KMSKey = "AES256", ""
			}},
			{"tags", registry.TemplateChange{Tags: map[string]string{}}, func(c *registry.TemplateContent) { c.Tags = nil }},
			{"role", registry.TemplateChange{RoleARN: new("")}, func(c *registry.TemplateContent) { c.RoleARN = "" }},
			{"applied for", registry.TemplateChange{AppliedFor: []registry.Occasion{registry.OnPullThrough}}, func(c *registry.TemplateContent) {
				c.AppliedFor = []registry.Occasion{registry.OnPullThrough}
			}},
		} {
			tc.apply(&first)
			if _, err := k.UpdateTemplate(ctx, c, account, "prod/", tc.change); err != nil {
				t.Errorf("%s: %v", tc.name, err)
			}
			got, _, err := k.Templates(ctx, c, account, []string{"prod"}, registry.Page{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(first, got[0].TemplateContent); diff != "" {
				t.Errorf("%s: %s", tc.name, diff)
			}
			if !got[0].CreatedAt.Equal(made.CreatedAt) || got[0].UpdatedAt.Sub(made.UpdatedAt) < time.Minute {
				t.Errorf("%s: created %v, updated %v", tc.name, got[0].CreatedAt, got[0].UpdatedAt)
			}
		}
	})
}

// TestTemplateChoice: the longest prefix that is for the occasion.
func TestTemplateChoice(t *testing.T) {
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) {
		l := local(t, db, memory(t), registry.Options{UploadKey: uploadKey})
		k := registry.NewControl(l, judge(iam.RootOnly{}, new(notes).note))
		for prefix, for_ := range map[string][]registry.Occasion{
			"ROOT":       {registry.OnPush, registry.OnPullThrough},
			"prod":       {registry.OnPush, registry.OnReplication},
			"prod/team":  {registry.OnPush},
			"prod/team/": nil, // the same
			"production": {registry.OnPush},
		} {
			if for_ == nil {
				continue
			}
			if _, err := k.CreateTemplate(t.Context(), root(account), account, prefix, registry.TemplateContent{AppliedFor: for_}); err != nil {
				t.Fatal(err)
			}
		}
		for _, tc := range []struct {
			account, name string
			on            registry.Occasion
			want          string
		}{
			{account, "prod/team/app", registry.OnPush, "prod/team"},
			{account, "prod/team", registry.OnPush, "prod"},
			{account, "prod/teams/app", registry.OnPush, "prod"},
			{account, "prod/team/app", registry.OnReplication, "prod"},
			{account, "prod/team/app", registry.OnPullThrough, "ROOT"},
			{account, "prod", registry.OnPush, "ROOT"},
			{account, "production/a", registry.OnPush, "production"},
			{account, "dev/a/b/c/d/e", registry.OnPush, "ROOT"},
			{account, "dev/a", registry.OnReplication, ""},
			{"444455556666", "prod/a", registry.OnPush, ""},
		} {
			got, err := l.Template(t.Context(), registry.Repo{Account: tc.account, Name: tc.name}, tc.on)
			if err != nil {
				t.Fatal(err)
			}
			if prefix := ""; got != nil && got.Prefix != tc.want || got == nil && prefix != tc.want {
				t.Errorf("%s for %s: %+v, want %q", tc.name, tc.on, got, tc.want)
			}
		}
	})
}

// TestCreateOnPushByTemplate: the repository has all that the template says, and who pushes needs no permission for more
// than to create it.
func TestCreateOnPushByTemplate(t *testing.T) {
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) {
		ctx, c := t.Context(), root(account)
		l := local(t, db, memory(t), registry.Options{UploadKey: uploadKey})
		content := registry.TemplateContent{
			AppliedFor:       []registry.Occasion{registry.OnPush},
			Settings:         registry.RepositorySettings{Mutability: registry.Immutable, EncryptionType: "AES256"},
			Tags:             map[string]string{"team": "a"},
			RepositoryPolicy: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"ecr:BatchGetImage"}]}`,
			LifecyclePolicy:  `{"rules":[{"rulePriority":1,"selection":{"tagStatus":"untagged","countType":"sinceImagePushed","countUnit":"days","countNumber":14},"action":{"type":"expire"}}]}`,
		}
		if _, err := registry.NewControl(l, judge(iam.RootOnly{}, new(notes).note)).CreateTemplate(ctx, c, account, "team", content); err != nil {
			t.Fatal(err)
		}
		start := func(deny, name string) error {
			r := registry.CreateOnPush(registry.Authorize(l, judge(denying(deny), new(notes).note)), l)
			return second(r.StartUpload(ctx, c, registry.Repo{Account: account, Name: name}))
		}
		if err := start("ecr:CreateRepository", app.Name); !isDenied(err) {
			t.Errorf("without permission to create: %v", err)
		}
		if err := start("", "elsewhere/app"); !errors.Is(err, registry.ErrOf(registry.RepositoryUnknown)) {
			t.Errorf("where there is no template: %v", err)
		}
		if err := start("ecr:TagResource", app.Name); err != nil {
			t.Fatal(err)
		}
		r, err := l.Repository(ctx, nil, app)
		if err != nil {
			t.Fatal(err)
		}
		repositoryPolicy, err := l.RepositoryPolicy(ctx, nil, app)
		if err != nil {
			t.Fatal(err)
		}
		lifecycle, err := l.LifecyclePolicy(ctx, nil, app)
		if err != nil {
			t.Fatal(err)
		}
		got := registry.TemplateContent{
			AppliedFor: content.AppliedFor, Settings: r.Settings, Tags: r.Tags, RepositoryPolicy: repositoryPolicy, LifecyclePolicy: lifecycle.Document,
		}
		if diff := cmp.Diff(content, got); diff != "" {
			t.Error(diff)
		}
	})
}

// TestBlobMountingDisabled: mounts are refused in a way upon which clients upload.
func TestBlobMountingDisabled(t *testing.T) {
	metatest.EachDSN(t, func(t *testing.T, dsn string) {
		n := nodes(t, dsn, iam.RootOnly{})[0]
		ctx, c := t.Context(), root(account)
		for _, repo := range []registry.Repo{app, other} {
			if _, err := n.served.CreateRepository(ctx, c, repo, registry.RepositorySettings{}, nil); err != nil {
				t.Fatal(err)
			}
		}
		d := pushBlob(t, n.served, app, []byte("bytes"))
		if err := n.control.PutAccountSetting(ctx, c, account, registry.BlobMounting, "DISABLED"); err != nil {
			t.Fatal(err)
		}
		if _, err := n.served.MountBlob(ctx, c, other, app, d); !errors.Is(err, registry.ErrOf(registry.BlobUnknown)) {
			t.Errorf("mount while it is disabled: %v", err)
		}
		if err := n.control.PutAccountSetting(ctx, c, account, registry.BlobMounting, "ENABLED"); err != nil {
			t.Fatal(err)
		}
		if _, err := n.served.MountBlob(ctx, c, other, app, d); err != nil {
			t.Errorf("mount while it is enabled: %v", err)
		}
	})
}

// TestPullTimeExclusions: whose pulls are excluded leaves no trace, by whatever session.
func TestPullTimeExclusions(t *testing.T) {
	session := func(name string) *iam.Caller {
		return (&iam.Principal{Account: account, Type: iam.AssumedRole, Role: roleARN, Name: name,
			ARN: "arn:aws:sts::" + account + ":assumed-role/ecr-creation/" + name}).Caller()
	}
	for _, tc := range []struct {
		name     string
		excluded string
		who      *iam.Caller
		noted    bool
	}{
		{"nobody excluded", "", user(account, "scanner"), true},
		{"the user", userARN, user(account, "scanner"), false},
		{"another user", userARN, user(account, "other"), true},
		{"a session of the role", roleARN, session("a"), false},
		{"a session of another role", roleARN + "2", session("a"), true},
		{"root", userARN, root(account), true},
		{"nobody", userARN, nil, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			metatest.EachDB(t, func(t *testing.T, db *meta.DB) {
				ctx := t.Context()
				g := iam.NewGeneration(db)
				l := local(t, db, memory(t), registry.Options{UploadKey: uploadKey, Generation: g})
				if tc.excluded != "" {
					if _, err := registry.NewControl(l, judge(iam.RootOnly{}, new(notes).note)).ExcludePulls(ctx, root(account), account, tc.excluded); err != nil {
						t.Fatal(err)
					}
				}
				s := newScene()
				if _, err := l.CreateRepository(ctx, nil, app, registry.RepositorySettings{}, nil); err != nil {
					t.Fatal(err)
				}
				pushBlob(t, l, app, []byte(s.blob))
				if _, err := l.PutManifest(ctx, nil, app, put(s, "v1")); err != nil {
					t.Fatal(err)
				}
				if _, err := l.Manifest(ctx, tc.who, app, tagged("v1")); err != nil {
					t.Fatal(err)
				}
				ended, end := context.WithCancel(ctx)
				end()
				l.Run(ended)
				image, err := l.Image(ctx, nil, app, oci.Reference{Tag: "v1"})
				if err != nil {
					t.Fatal(err)
				}
				if noted := !image.PulledAt.IsZero(); noted != tc.noted {
					t.Errorf("the pull was noted: %v", noted)
				}
			})
		})
	}
}

func TestScanningOf(t *testing.T) {
	s := &registry.Scanning{Type: registry.ScanEnhanced, Rules: []registry.ScanRule{
		{Frequency: registry.ScanOnPushed, Filters: []string{"*"}},
		{Frequency: registry.ScanContinuously, Filters: []string{"prod*", "release"}},
	}}
	basic := &registry.Scanning{Type: registry.ScanBasic}
	for _, tc := range []struct {
		s          *registry.Scanning
		repository string
		onPush     bool
		want       string
		filters    []string
	}{
		{s, "dev/app", false, registry.ScanOnPushed, []string{"*"}},
		{s, "prod/app", false, registry.ScanContinuously, []string{"prod*"}},
		{s, "prod/release", false, registry.ScanContinuously, []string{"prod*", "release"}},
		{s, "team/prereleases", false, registry.ScanContinuously, []string{"release"}},
		{&registry.Scanning{Type: registry.ScanEnhanced}, "a/b", true, registry.ScanManual, nil},
		{basic, "a/b", true, registry.ScanOnPushed, nil},
		{basic, "a/b", false, registry.ScanManual, nil},
	} {
		got, filters := tc.s.Of(tc.repository, tc.onPush)
		if diff := cmp.Diff(tc.filters, filters); got != tc.want || diff != "" {
			t.Errorf("%s: %s %v", tc.repository, got, filters)
		}
	}
}
