package registrytest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/registry"
)

var repositoryTests = []test{
	{"created", createRepository},
	{"malformed", malformedRepositories},
	{"unknown", unknownRepository},
	{"pages", repositoryPages},
	{"resource tags", resourceTags},
	{"deleted", deleteRepository},
	{"deleted and created again", recreateRepository},
	{"settings", accountSettings},
}

func createRepository(c *client) {
	settings := registry.RepositorySettings{
		Mutability: registry.ImmutableWithExclusion, MutabilityExclusions: []string{"dev*"}, ScanOnPush: true, EncryptionType: "KMS", KMSKey: "arn:aws:kms:x",
	}
	repo := registry.Repo{Account: c.repo.Account, Name: "a/b_c.d-e/f"}
	created, err := c.reg().CreateRepository(c.Context(), c.as, repo, settings, map[string]string{"owner": "me", "empty": ""})
	if err != nil {
		c.Fatal(err)
	}
	want := &registry.Repository{Repo: repo, CreatedAt: created.CreatedAt, Settings: settings, Tags: map[string]string{"owner": "me", "empty": ""}}
	if diff := cmp.Diff(want, created); diff != "" || created.CreatedAt.IsZero() {
		c.Errorf("CreateRepository: %s", diff)
	}
	for range 2 {
		got, err := c.reg().Repository(c.Context(), c.as, repo)
		if err != nil {
			c.Fatalf("Repository = %v, %v", got, err)
		}

		if diff := cmp.Diff(want, got); diff != "" {
			c.Errorf("Repository: %s", diff)
		}
	}
	_, err = c.reg().CreateRepository(c.Context(), c.as, repo, registry.RepositorySettings{}, nil)
	c.wantText("CreateRepository again", err, registry.RepositoryExists, fmt.Sprintf(
		"The repository with name 'a/b_c.d-e/f' already exists in the registry with id '%s'", c.repo.Account))
	got, err := c.reg().Repository(c.Context(), c.as, repo)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		c.Errorf("Repository after creating it again: %v %s", err, diff)
	}
}

func malformedRepositories(c *client) {
	many := map[string]string{}
	for i := range 51 {
		many[fmt.Sprint(i)] = ""
	}
	for _, tc := range []struct {
		name     string
		settings registry.RepositorySettings
		tags     map[string]string
		want     registry.Kind
	}{
		{name: "a", want: registry.NameInvalid},
		{name: "", want: registry.NameInvalid},
		{name: "A/b", want: registry.NameInvalid},
		{name: "a/../b", want: registry.NameInvalid},
		{name: "123456789012/a", want: registry.NameInvalid},
		{name: strings.Repeat("a", 257), want: registry.NameInvalid},
		{name: "ok/m", settings: registry.RepositorySettings{Mutability: "NO"}, want: registry.SettingInvalid},
		{name: "ok/f", settings: registry.RepositorySettings{MutabilityExclusions: []string{"a"}}, want: registry.SettingInvalid},
		{name: "ok/g", settings: registry.RepositorySettings{Mutability: registry.ImmutableWithExclusion}, want: registry.SettingInvalid},
		{name: "ok/h", settings: registry.RepositorySettings{Mutability: registry.ImmutableWithExclusion, MutabilityExclusions: []string{"***"}}, want: registry.SettingInvalid},
		{name: "ok/t", tags: many, want: registry.TooManyTags},
		{name: "ok/k", tags: map[string]string{"": "x"}, want: registry.SettingInvalid},
		{name: "ok/l", tags: map[string]string{strings.Repeat("k", 129): "x"}, want: registry.SettingInvalid},
		{name: "ok/v", tags: map[string]string{"k": strings.Repeat("v", 257)}, want: registry.SettingInvalid},
	} {
		repo := registry.Repo{Account: c.repo.Account, Name: tc.name}
		_, err := c.reg().CreateRepository(c.Context(), c.as, repo, tc.settings, tc.tags)
		c.wantKind(fmt.Sprintf("%q %v", tc.name, tc.settings), err, tc.want)
		_, err = c.reg().Repository(c.Context(), c.as, repo)
		c.wantKind(fmt.Sprintf("Repository %q", tc.name), err, registry.RepositoryUnknown)
	}
}

// unknownRepository: every call says so in ECR's words.
func unknownRepository(c *client) {
	m, b := c.image("v1"), c.small()
	c.blobs(b)
	ctx, as, reg := c.Context(), c.as, c.reg()
	id := c.start().id
	repo := registry.Repo{Account: c.repo.Account, Name: "team/none"}
	missing := c.in(repo.Name)
	for name, call := range map[string]func() error{
		"Manifest":        func() error { return fail(missing.manifest(tag("v1"))) },
		"Manifest digest": func() error { return fail(missing.manifest(byDigest(m.digest))) },
		"PutManifest":     func() error { return fail(missing.put(m, "v1")) },
		"DeleteManifest":  func() error { return missing.delete(tag("v1")) },
		"Tags": func() error {
			_, _, err := reg.Tags(ctx, as, repo, registry.Page{})
			return err
		},
		"Referrers":  func() error { return fail(reg.Referrers(ctx, as, repo, m.digest, "", registry.Page{})) },
		"StatBlob":   func() error { return fail(reg.StatBlob(ctx, as, repo, b.digest())) },
		"OpenBlob":   func() error { return fail(reg.OpenBlob(ctx, as, repo, b.digest())) },
		"DeleteBlob": func() error { return reg.DeleteBlob(ctx, as, repo, b.digest()) },
		"MountBlob":  func() error { return fail(reg.MountBlob(ctx, as, repo, c.repo, b.digest())) },
		"StartUpload": func() error {
			return fail(reg.StartUpload(ctx, as, repo))
		},
		"Repository":       func() error { return fail(reg.Repository(ctx, as, repo)) },
		"DeleteRepository": func() error { return fail(reg.DeleteRepository(ctx, as, repo, true)) },
		"TagRepository":    func() error { return reg.TagRepository(ctx, as, repo, map[string]string{"a": "b"}, nil) },
		"Image":            func() error { return fail(reg.Image(ctx, as, repo, tag("v1"))) },
		"Images": func() error {
			_, _, err := reg.Images(ctx, as, repo, registry.Page{})
			return err
		},
		"ImageIDs": func() error {
			_, _, err := reg.ImageIDs(ctx, as, repo, registry.Page{})
			return err
		},
	} {
		c.wantText(name, call(), registry.RepositoryUnknown, fmt.Sprintf(
			"The repository with name 'team/none' does not exist in the registry with id '%s'", repo.Account))
	}
	(&upload{missing, id}).refused("an upload of another repository")
}

// refused checks that an upload in a repository that is not there can't be used.
func (u *upload) refused(what string) {
	u.Helper()
	b := u.small()
	for _, err := range []error{
		fail(u.size()), fail(u.append(0, bytes.NewReader(b))), u.end(b.digest()), u.cancel(),
	} {
		if err == nil {
			u.Errorf("%s was accepted", what)
		}
	}
}

func repositoryPages(c *client) {
	names := []string{"team/app", "0/0", "a/b", "a-b", "a.b/c", "a0", "ab", "a_b", "z/y/x", "team/app-2", "team/app2", "team/apps"}
	for _, name := range names[1:] {
		c.repository(name)
	}
	c.s.client(c.T) // another account's
	slices.Sort(names)
	for _, limit := range []int{0, 1, 5, 11, 12, 13} {
		var got []string
		for p := (registry.Page{Limit: limit}); ; {
			page, more, err := c.reg().Repositories(c.Context(), c.as, c.repo.Account, p)
			if err != nil {
				c.Fatal(err)
			}
			for _, r := range page {
				p.After = r.Name
				got = append(got, r.Name)
			}
			if !more {
				break
			}
		}
		if diff := cmp.Diff(names, got); diff != "" {
			c.Errorf("repositories by %d: %s", limit, diff)
		}
	}
	if got, more, err := c.reg().Repositories(c.Context(), c.as, c.repo.Account, registry.Page{After: "zz"}); len(got) > 0 || more || err != nil {
		c.Errorf("repositories after the last = %v, %v, %v", got, more, err)
	}
}

func resourceTags(c *client) {
	change := func(set map[string]string, remove ...string) error {
		return c.reg().TagRepository(c.Context(), c.as, c.repo, set, remove)
	}
	want := func(want map[string]string) {
		c.Helper()
		r, err := c.reg().Repository(c.Context(), c.as, c.repo)
		if err != nil {
			c.Fatal(err)
		}
		if diff := cmp.Diff(want, r.Tags); diff != "" {
			c.Errorf("resource tags: %s", diff)
		}
	}
	want(map[string]string{})
	for _, step := range []struct {
		set    map[string]string
		remove []string
		want   map[string]string
	}{
		{map[string]string{"a": "1", "b": "2"}, nil, map[string]string{"a": "1", "b": "2"}},
		{map[string]string{"b": "é", "c": ""}, nil, map[string]string{"a": "1", "b": "é", "c": ""}},
		{nil, []string{"a", "none"}, map[string]string{"b": "é", "c": ""}},
		{map[string]string{"d": "4"}, []string{"b"}, map[string]string{"c": "", "d": "4"}},
		{nil, nil, map[string]string{"c": "", "d": "4"}},
	} {
		if err := change(step.set, step.remove...); err != nil {
			c.Fatal(err)
		}
		want(step.want)
	}
	many := map[string]string{}
	for i := range 49 {
		many[fmt.Sprint(i)] = "x"
	}
	c.wantKind("more than 50", change(many), registry.TooManyTags)
	want(map[string]string{"c": "", "d": "4"})
}

func deleteRepository(c *client) {
	m := c.image("v1")
	_, err := c.reg().DeleteRepository(c.Context(), c.as, c.repo, false)
	c.wantText("DeleteRepository of one in use", err, registry.RepositoryNotEmpty, fmt.Sprintf(
		"The repository with name 'team/app' in registry with id '%s' cannot be deleted because it still contains images", c.repo.Account))
	c.wantManifest(tag("v1"), m)
	got, err := c.reg().DeleteRepository(c.Context(), c.as, c.repo, true)
	if err != nil || got.Repo != c.repo {
		c.Fatalf("DeleteRepository = %v, %v", got, err)
	}
	for range 2 {
		c.wantKind("Repository", fail(c.reg().Repository(c.Context(), c.as, c.repo)), registry.RepositoryUnknown)
		c.wantKind("Manifest", fail(c.manifest(tag("v1"))), registry.RepositoryUnknown)
		c.wantKind("DeleteRepository again", fail(c.reg().DeleteRepository(c.Context(), c.as, c.repo, true)), registry.RepositoryUnknown)
	}
	// Blobs alone don't keep a repository.
	other := c.repository("team/other")
	other.blobs(c.small())
	if _, err := c.reg().DeleteRepository(c.Context(), c.as, other.repo, false); err != nil {
		c.Error(err)
	}
	if left, _, err := c.reg().Repositories(c.Context(), c.as, c.repo.Account, registry.Page{}); len(left) > 0 || err != nil {
		c.Errorf("repositories = %v, %v, want none", left, err)
	}
}

// recreateRepository: a new repository with an old name has nothing of the old one.
func recreateRepository(c *client) {
	config, layer := c.small(), c.large()
	m := newImage(config, layer)
	for round := range 3 {
		c.blobs(config, layer, empty)
		artifact := newArtifact(m.descriptor(), "a/x", "")
		c.push(artifact)
		c.push(m, "v1")
		c.wantManifest(tag("v1"), m)
		c.wantReferrers(m.digest, artifact)
		if err := c.reg().TagRepository(c.Context(), c.as, c.repo, map[string]string{"round": fmt.Sprint(round)}, nil); err != nil {
			c.Fatal(err)
		}
		if _, err := c.reg().DeleteRepository(c.Context(), c.as, c.repo, true); err != nil {
			c.Fatal(err)
		}
		c.repository(c.repo.Name)
		c.wantNoManifest(tag("v1"))
		c.wantNoManifest(byDigest(m.digest))
		c.wantNoBlob(config.digest())
		c.wantNoBlob(layer.digest())
		c.wantReferrers(m.digest)
		if tags, images := c.tags(), c.images(); len(tags) > 0 || len(images) > 0 {
			c.Errorf("a new repository has the tags %v and %d images", tags, len(images))
		}
		if r, err := c.reg().Repository(c.Context(), c.as, c.repo); err != nil || len(r.Tags) > 0 {
			c.Errorf("Repository = %v, %v", r, err)
		}
		if all, err := c.reg().Holders(c.Context(), c.as, c.repo.Account, layer.digest()); err != nil || len(all) > 0 {
			c.Errorf("Holders = %v, %v, want none", all, err)
		}
		c.wantKind("push without blobs", fail(c.put(m, "v1")), registry.BlobsMissing)
	}
}

func accountSettings(c *client) {
	want := func(of *client, want registry.Settings) {
		c.Helper()
		if got, err := c.reg().Settings(c.Context(), of.as, of.repo.Account); err != nil || got != want {
			c.Errorf("Settings = %+v, %v, want %+v", got, err, want)
		}
	}
	stranger := c.s.client(c.T)
	for _, s := range []registry.Settings{{}, {CreateOnPush: true}, {SparseManifests: true}, {CreateOnPush: true, SparseManifests: true}, {}} {
		c.settings(s)
		want(c, s)
		want(stranger, registry.Settings{})
	}
}
