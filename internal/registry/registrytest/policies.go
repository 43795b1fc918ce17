package registrytest

import (
	"strings"

	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/registry"
)

var policyTests = []test{
	{"repository policy", repositoryPolicy},
	{"malformed", malformedPolicies},
	{"lifecycle policy", lifecyclePolicy},
	{"unknown repository", policiesOfNone},
	{"of a deleted repository", policiesGone},
	{"mutability", putMutability},
	{"scanning", putScanning},
}

// allowAll is a policy in a form that no program would write it in: it is given back as it is.
const allowAll = "{\n \"Statement\" : {\"Sid\":\"é\", \"Effect\":\"Allow\",\t\"Principal\":\"*\", \"Action\":\"ecr:*\"},\n \"Version\":\"2008-10-17\" }\n"

const expireAll = "{ \"rules\": [{\"rulePriority\": 1, \"description\": \"é\",\n \"selection\": {\"tagStatus\": \"any\", \"countType\": \"imageCountMoreThan\", \"countNumber\": 9}, \"action\": {\"type\": \"expire\"}}] }\n"

func repositoryPolicy(c *client) {
	ctx, as := c.Context(), c.as
	unknown := "Repository policy does not exist for the repository with name 'team/app' in the registry with id '" + c.repo.Account + "'"
	for range 2 {
		c.wantText("RepositoryPolicy", fail(c.reg().RepositoryPolicy(ctx, as, c.repo)), registry.PolicyUnknown, unknown)
		c.wantText("DeleteRepositoryPolicy", fail(c.reg().DeleteRepositoryPolicy(ctx, as, c.repo)), registry.PolicyUnknown, unknown)
		for _, p := range []string{allowAll, strings.ReplaceAll(allowAll, "2008-10-17", "2012-10-17"), allowAll} {
			if err := c.reg().SetRepositoryPolicy(ctx, as, c.repo, p, false); err != nil {
				c.Fatal(err)
			}
			for range 2 {
				if got, err := c.reg().RepositoryPolicy(ctx, as, c.repo); err != nil || got != p {
					c.Errorf("RepositoryPolicy = %q, %v, want %q", got, err, p)
				}
			}
		}
		if got, err := c.reg().DeleteRepositoryPolicy(ctx, as, c.repo); err != nil || got != allowAll {
			c.Errorf("DeleteRepositoryPolicy = %q, %v", got, err)
		}
	}
}

func malformedPolicies(c *client) {
	for _, tc := range []struct{ policy, says string }{
		{"", ""},
		{"x", "line 1, column 1"},
		{"{}", "Statement"},
		{strings.Replace(allowAll, "Effect", "effect", 1), "line 2"},
		{strings.Replace(allowAll, `"Action"`, `"Resource":"*", "Action"`, 1), "line 2, column 74: Statement[0].Resource: "},
		{strings.Replace(allowAll, `"Action"`, `"NotResource":"*", "Action"`, 1), "Statement[0].NotResource"},
		{strings.Replace(allowAll, `ecr:*`, `s3:GetObject`, 1), `"s3:GetObject" is no action of ecr`},
		{strings.Replace(allowAll, `"Principal":"*",`, ``, 1), "Principal"},
		{allowAll + strings.Repeat(" ", 10_240), "10240"},
	} {
		err := c.reg().SetRepositoryPolicy(c.Context(), c.as, c.repo, tc.policy, true)
		c.wantKind(tc.policy, err, registry.PolicyInvalid)
		if err != nil && (!strings.Contains(err.Error(), tc.says) || !strings.HasPrefix(err.Error(), "Invalid repository policy provided: ")) {
			c.Errorf("%.80q: %v, want it to say %q", tc.policy, err, tc.says)
		}
	}
	c.wantKind("RepositoryPolicy", fail(c.reg().RepositoryPolicy(c.Context(), c.as, c.repo)), registry.PolicyUnknown)
}

func lifecyclePolicy(c *client) {
	ctx, as := c.Context(), c.as
	unknown := "Lifecycle policy does not exist for the repository with name 'team/app' in the registry with id '" + c.repo.Account + "'"
	for range 2 {
		c.wantText("LifecyclePolicy", fail(c.reg().LifecyclePolicy(ctx, as, c.repo)), registry.LifecyclePolicyUnknown, unknown)
		c.wantText("DeleteLifecyclePolicy", fail(c.reg().DeleteLifecyclePolicy(ctx, as, c.repo)), registry.LifecyclePolicyUnknown, unknown)
		for _, p := range []string{expireAll, strings.Replace(expireAll, "9", "10", 1), expireAll} {
			if err := c.reg().PutLifecyclePolicy(ctx, as, c.repo, p); err != nil {
				c.Fatal(err)
			}
			if got, err := c.reg().LifecyclePolicy(ctx, as, c.repo); err != nil || got.Document != p || !got.EvaluatedAt.IsZero() {
				c.Errorf("LifecyclePolicy = %+v, %v, want %q", got, err, p)
			}
		}
		c.wantKind("malformed", c.reg().PutLifecyclePolicy(ctx, as, c.repo, strings.Replace(expireAll, "expire", "keep", 1)), registry.LifecyclePolicyInvalid)
		if got, err := c.reg().DeleteLifecyclePolicy(ctx, as, c.repo); err != nil || got.Document != expireAll {
			c.Errorf("DeleteLifecyclePolicy = %+v, %v", got, err)
		}
	}
}

func policiesOfNone(c *client) {
	ctx, as, reg, repo := c.Context(), c.as, c.reg(), registry.Repo{Account: c.repo.Account, Name: "team/none"}
	for name, err := range map[string]error{
		"RepositoryPolicy":       fail(reg.RepositoryPolicy(ctx, as, repo)),
		"SetRepositoryPolicy":    reg.SetRepositoryPolicy(ctx, as, repo, allowAll, false),
		"DeleteRepositoryPolicy": fail(reg.DeleteRepositoryPolicy(ctx, as, repo)),
		"LifecyclePolicy":        fail(reg.LifecyclePolicy(ctx, as, repo)),
		"PutLifecyclePolicy":     reg.PutLifecyclePolicy(ctx, as, repo, expireAll),
		"DeleteLifecyclePolicy":  fail(reg.DeleteLifecyclePolicy(ctx, as, repo)),
		"PutTagMutability":       fail(reg.PutTagMutability(ctx, as, repo, registry.Immutable, nil)),
		"PutScanOnPush":          fail(reg.PutScanOnPush(ctx, as, repo, true)),
		"RepositoryScanning":     fail(reg.RepositoryScanning(ctx, as, repo)),
		"InquireRepository":      fail(reg.InquireRepository(ctx, as, registry.LifecyclePreviewResult, repo)),
		"InquireImage":           fail(reg.InquireImage(ctx, as, registry.ScanFindings, repo, tag("v1"))),
	} {
		c.wantKind(name, err, registry.RepositoryUnknown)
	}
}

func policiesGone(c *client) {
	ctx, as := c.Context(), c.as
	if err := c.reg().SetRepositoryPolicy(ctx, as, c.repo, allowAll, false); err != nil {
		c.Fatal(err)
	}
	if err := c.reg().PutLifecyclePolicy(ctx, as, c.repo, expireAll); err != nil {
		c.Fatal(err)
	}
	if _, err := c.reg().DeleteRepository(ctx, as, c.repo, false); err != nil {
		c.Fatal(err)
	}
	c.repository(c.repo.Name)
	c.wantKind("RepositoryPolicy", fail(c.reg().RepositoryPolicy(ctx, as, c.repo)), registry.PolicyUnknown)
	c.wantKind("LifecyclePolicy", fail(c.reg().LifecyclePolicy(ctx, as, c.repo)), registry.LifecyclePolicyUnknown)
}

// putMutability: what is told later holds for the next push, on every node.
func putMutability(c *client) {
	put := func(m registry.Mutability, exclusions ...string) error {
		r, err := c.reg().PutTagMutability(c.Context(), c.as, c.repo, m, exclusions)
		if err == nil && (r.Settings.Mutability != m || !cmp.Equal(r.Settings.MutabilityExclusions, exclusions)) {
			c.Errorf("PutTagMutability %s %v = %+v", m, exclusions, r.Settings)
		}
		return err
	}
	first := c.image("v1", "dev-1")
	for _, tc := range []struct {
		mutability registry.Mutability
		exclusions []string
		moves      map[string]bool
	}{
		{registry.Immutable, nil, map[string]bool{"v1": false, "dev-1": false}},
		{registry.ImmutableWithExclusion, []string{"dev-*", "x"}, map[string]bool{"v1": false, "dev-1": true}},
		{registry.MutableWithExclusion, []string{"dev*1"}, map[string]bool{"v1": true, "dev-1": false}},
		{registry.Mutable, nil, map[string]bool{"v1": true, "dev-1": true}},
	} {
		if err := put(tc.mutability, tc.exclusions...); err != nil {
			c.Fatal(err)
		}
		for name, moves := range tc.moves {
			m := c.image()
			if _, err := c.put(m, name); moves && err != nil {
				c.Errorf("%s: move %s: %v", tc.mutability, name, err)
			} else if !moves {
				c.wantKind(string(tc.mutability)+" "+name, err, registry.TagImmutable)
			}
			c.push(first, name+"-again")
			c.push(first, name+"-again") // the same again is no move
		}
	}
	for name, err := range map[string]error{
		"filters of a mutable one":   put(registry.Mutable, "a*"),
		"filters of an immutable":    put(registry.Immutable, "a*"),
		"no filters":                 put(registry.ImmutableWithExclusion),
		"three wildcards":            put(registry.ImmutableWithExclusion, "a*b*c*"),
		"an empty filter":            put(registry.MutableWithExclusion, ""),
		"more than five filters":     put(registry.MutableWithExclusion, "1", "2", "3", "4", "5", "6"),
		"a filter twice":             put(registry.MutableWithExclusion, "a", "a"),
		"what no tag has in it":      put(registry.MutableWithExclusion, "a/b"),
		"no such mutability":         put("SOMETIMES"),
		"more than a tag's length":   put(registry.MutableWithExclusion, strings.Repeat("a", 129)),
		"a filter that isn't a text": put(registry.MutableWithExclusion, "a\x00"),
	} {
		c.wantKind(name, err, registry.SettingInvalid)
	}
	if r, err := c.reg().Repository(c.Context(), c.as, c.repo); err != nil || r.Settings.Mutability != registry.Mutable || r.Settings.MutabilityExclusions != nil {
		c.Errorf("after refusals: %+v, %v", r, err)
	}
}

func putScanning(c *client) {
	for _, on := range []bool{true, false, true} {
		r, err := c.reg().PutScanOnPush(c.Context(), c.as, c.repo, on)
		if err != nil || r.Settings.ScanOnPush != on {
			c.Errorf("PutScanOnPush %v = %+v, %v", on, r, err)
		}
		want := &registry.RepositoryScanning{Frequency: registry.ScanManual}
		if on {
			want = &registry.RepositoryScanning{OnPush: true, Frequency: registry.ScanOnPushed}
		}
		got, err := c.reg().RepositoryScanning(c.Context(), c.as, c.repo)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			c.Errorf("RepositoryScanning: %v %s", err, diff)
		}
		if r, err := c.reg().Repository(c.Context(), c.as, c.repo); err != nil || r.Settings.ScanOnPush != on {
			c.Errorf("Repository = %+v, %v", r, err)
		}
	}
}
