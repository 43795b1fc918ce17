package registry_test

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta/metatest"
	"github.com/sekisho/sekisho/internal/registry"
)

const (
	roleARN   = "arn:aws:iam::" + account + ":role/ecr-creation"
	secretARN = "arn:aws:secretsmanager:eu-west-1:" + account + ":secret:ecr-pullthroughcache/hub-AbCdEf"
	userARN   = "arn:aws:iam::" + account + ":user/scanner"

	allowAll = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"ecr:*","Resource":"*"}]}`
)

// controlCall is one call of a method of Control, and the actions that it needs, in order: those of iam on the role, all
// others on the registry.
type controlCall struct {
	method string
	needs  string
	do     func(ctx context.Context, k *registry.Control, c *iam.Caller) error
}

// controlCalls has every method, in an order in which all of them succeed.
var controlCalls = []controlCall{
	{"PutRegistryPolicy", "ecr:PutRegistryPolicy", func(ctx context.Context, k *registry.Control, c *iam.Caller) error {
		return k.PutRegistryPolicy(ctx, c, account, allowAll)
	}},
	{"RegistryPolicy", "ecr:GetRegistryPolicy", func(ctx context.Context, k *registry.Control, c *iam.Caller) error {
		return second(k.RegistryPolicy(ctx, c, account))
	}},
	{"DeleteRegistryPolicy", "ecr:DeleteRegistryPolicy", func(ctx context.Context, k *registry.Control, c *iam.Caller) error {
		return second(k.DeleteRegistryPolicy(ctx, c, account))
	}},
	{"AccountSetting", "ecr:GetAccountSetting", func(ctx context.Context, k *registry.Control, c *iam.Caller) error {
		return second(k.AccountSetting(ctx, c, account, registry.BlobMounting))
	}},
	{"PutAccountSetting", "ecr:PutAccountSetting", func(ctx context.Context, k *registry.Control, c *iam.Caller) error {
		return k.PutAccountSetting(ctx, c, account, registry.BlobMounting, "DISABLED")
	}},
	{"ExcludePulls", "ecr:RegisterPullTimeUpdateExclusion", func(ctx context.Context, k *registry.Control, c *iam.Caller) error {
		return second(k.ExcludePulls(ctx, c, account, userARN))
	}},
	{"PullExclusions", "ecr:ListPullTimeUpdateExclusions", func(ctx context.Context, k *registry.Control, c *iam.Caller) error {
		return third(k.PullExclusions(ctx, c, account, registry.Page{}))
	}},
	{"IncludePulls", "ecr:DeregisterPullTimeUpdateExclusion", func(ctx context.Context, k *registry.Control, c *iam.Caller) error {
		return k.IncludePulls(ctx, c, account, userARN)
	}},
	{"CreateTemplate", "ecr:CreateRepositoryCreationTemplate", func(ctx context.Context, k *registry.Control, c *iam.Caller) error {
		return second(k.CreateTemplate(ctx, c, account, "plain", registry.TemplateContent{AppliedFor: []registry.Occasion{registry.OnPush}}))
	}},
	{"CreateTemplate", "ecr:CreateRepositoryCreationTemplate iam:PassRole", func(ctx context.Context, k *registry.Control, c *iam.Caller) error {
		return second(k.CreateTemplate(ctx, c, account, "role", registry.TemplateContent{AppliedFor: []registry.Occasion{registry.OnPush}, RoleARN: roleARN}))
	}},
	{"UpdateTemplate", "ecr:UpdateRepositoryCreationTemplate", func(ctx context.Context, k *registry.Control, c *iam.Caller) error {
		return second(k.UpdateTemplate(ctx, c, account, "plain", registry.TemplateChange{Description: new("d")}))
	}},
	{"UpdateTemplate", "ecr:UpdateRepositoryCreationTemplate iam:PassRole", func(ctx context.Context, k *registry.Control, c *iam.Caller) error {
		return second(k.UpdateTemplate(ctx, c, account, "plain", registry.TemplateChange{RoleARN: new(roleARN)}))
	}},
	{"Templates", "ecr:DescribeRepositoryCreationTemplates", func(ctx context.Context, k *registry.Control, c *iam.Caller) error {
		return third(k.Templates(ctx, c, account, nil, registry.Page{}))
	}},
	{"DeleteTemplate", "ecr:DeleteRepositoryCreationTemplate", func(ctx context.Context, k *registry.Control, c *iam.Caller) error {
		return second(k.DeleteTemplate(ctx, c, account, "plain"))
	}},
	{"CreatePullThroughRule", "ecr:CreatePullThroughCacheRule", func(ctx context.Context, k *registry.Control, c *iam.Caller) error {
		return second(k.CreatePullThroughRule(ctx, c, account, "quay", registry.Upstream{URL: "quay.io"}))
	}},
	{"CreatePullThroughRule", "ecr:CreatePullThroughCacheRule iam:PassRole", func(ctx context.Context, k *registry.Control, c *iam.Caller) error {
		return second(k.CreatePullThroughRule(ctx, c, account, "other", registry.Upstream{URL: "quay.io", Access: registry.Access{RoleARN: roleARN}}))
	}},
	{"CreatePullThroughRule", "ecr:CreatePullThroughCacheRule secretsmanager:GetSecretValue", func(ctx context.Context, k *registry.Control, c *iam.Caller) error {
		return second(k.CreatePullThroughRule(ctx, c, account, "hub", registry.Upstream{URL: "registry-1.docker.io", Access: registry.Access{CredentialARN: secretARN}}))
	}},
	{"UpdatePullThroughRule", "ecr:UpdatePullThroughCacheRule iam:PassRole", func(ctx context.Context, k *registry.Control, c *iam.Caller) error {
		return second(k.UpdatePullThroughRule(ctx, c, account, "quay", registry.Access{RoleARN: roleARN}))
	}},
	{"PullThroughRules", "ecr:DescribePullThroughCacheRules", func(ctx context.Context, k *registry.Control, c *iam.Caller) error {
		return third(k.PullThroughRules(ctx, c, account, nil, registry.Page{}))
	}},
	{"DeletePullThroughRule", "ecr:DeletePullThroughCacheRule", func(ctx context.Context, k *registry.Control, c *iam.Caller) error {
		return second(k.DeletePullThroughRule(ctx, c, account, "quay"))
	}},
	{"PutReplication", "ecr:PutReplicationConfiguration", func(ctx context.Context, k *registry.Control, c *iam.Caller) error {
		return k.PutReplication(ctx, c, account, &registry.Replication{})
	}},
	{"Replication", "ecr:DescribeRegistry", func(ctx context.Context, k *registry.Control, c *iam.Caller) error {
		return second(k.Replication(ctx, c, account))
	}},
	{"PutScanning", "ecr:PutRegistryScanningConfiguration", func(ctx context.Context, k *registry.Control, c *iam.Caller) error {
		return k.PutScanning(ctx, c, account, &registry.Scanning{Type: registry.ScanBasic})
	}},
	{"Scanning", "ecr:GetRegistryScanningConfiguration", func(ctx context.Context, k *registry.Control, c *iam.Caller) error {
		return second(k.Scanning(ctx, c, account))
	}},
	{"PutSigning", "ecr:PutSigningConfiguration", func(ctx context.Context, k *registry.Control, c *iam.Caller) error {
		return k.PutSigning(ctx, c, account, &registry.Signing{})
	}},
	{"Signing", "ecr:GetSigningConfiguration", func(ctx context.Context, k *registry.Control, c *iam.Caller) error {
		return second(k.Signing(ctx, c, account))
	}},
	{"DeleteSigning", "ecr:DeleteSigningConfiguration", func(ctx context.Context, k *registry.Control, c *iam.Caller) error {
		return second(k.DeleteSigning(ctx, c, account))
	}},
}

func (c *controlCall) wanted(verdicts ...string) notes {
	var out notes
	for i, action := range strings.Fields(c.needs) {
		if i == len(verdicts) {
			break
		}
		on := "arn:aws:ecr:eu-west-1:" + account + ":*"
		if strings.HasPrefix(action, "iam:") {
			on = roleARN
		}
		if strings.HasPrefix(action, "secretsmanager:") {
			on = secretARN
		}
		out = append(out, verdicts[i]+" "+action+" "+on)
	}
	return out
}

// TestControlAuthorized: every method asks for its actions, and notes each decision once.
func TestControlAuthorized(t *testing.T) {
	var noted notes
	k := registry.NewControl(newMemory(t), judge(iam.RootOnly{}, noted.note))
	covered := map[string]bool{}
	for _, c := range controlCalls {
		covered[c.method], noted = true, nil
		if err := c.do(t.Context(), k, root(account)); err != nil {
			t.Errorf("%s: %v", c.method, err)
		}
		if diff := cmp.Diff(c.wanted("allowed", "allowed"), noted); diff != "" {
			t.Errorf("%s noted: %s", c.method, diff)
		}
	}
	for m := range reflect.TypeFor[*registry.Control]().Methods() {
		if !covered[m.Name] {
			t.Errorf("the method %s is not in the table", m.Name)
		}
	}
}

// TestControlDenied: whoever is refused one of the actions reaches nothing: the database is closed.
func TestControlDenied(t *testing.T) {
	db := metatest.Open(t, metatest.SQLite(t))
	l := local(t, db, memory(t), registry.Options{UploadKey: uploadKey})
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range controlCalls {
		needs := strings.Fields(c.needs)
		for i, action := range needs {
			var noted notes
			err := c.do(t.Context(), registry.NewControl(l, judge(denying(action), noted.note)), root(account))
			var denied *iam.DeniedError
			if !errors.As(err, &denied) || denied.Action != action {
				t.Errorf("%s without %s: %v", c.method, action, err)
			}
			want := c.wanted(append([]string{"allowed"}[:i], "denied")...)
			if diff := cmp.Diff(want, noted); diff != "" {
				t.Errorf("%s without %s noted: %s", c.method, action, diff)
			}
		}
		for name, who := range map[string]*iam.Caller{"nobody": nil, "another account's root": root("444455556666")} {
			err := c.do(t.Context(), registry.NewControl(l, judge(iam.RootOnly{}, new(notes).note)), who)
			var denied *iam.DeniedError
			if !errors.As(err, &denied) || denied.Action != needs[0] {
				t.Errorf("%s by %s: %v", c.method, name, err)
			}
		}
	}
}
