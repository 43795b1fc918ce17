package app_test

import (
	"strings"
	"testing"

	"github.com/sekisho/sekisho/internal/app"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/directory"
	"github.com/sekisho/sekisho/internal/registry"
	"github.com/sekisho/sekisho/internal/secret"
)

// A resource policy names only who is there: whoever came later under that name would have what was meant for another. And who
// goes takes its name along.
func TestPrincipalsOfResourcePolicies(t *testing.T) {
	in := openInstance(t, t.TempDir(), app.Serve)
	ctx := t.Context()
	root := (&iam.Principal{Account: in.Account, ARN: iam.RootARN(in.Account), Type: iam.Root, ID: in.Account}).Caller()
	repo := registry.Repo{Account: in.Account, Name: "team/app"}
	served, control := in.Served(), registry.NewControl(in.Local, in.Judge)
	if _, err := served.CreateRepository(ctx, root, repo, registry.RepositorySettings{}, nil); err != nil {
		t.Fatal(err)
	}
	if _, _, err := in.Secrets.Create(ctx, root, secret.Draft{Name: "app/key", Value: secret.Text("x")}); err != nil {
		t.Fatal(err)
	}
	grant := func(action string) string {
		return `{"Version":"2012-10-17","Statement":[{"Sid":"s","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::` + in.Account + `:user/alice"},"Action":"` + action + `","Resource":"*"}]}`
	}
	set := map[string]func() error{
		"repository": func() error {
			return served.SetRepositoryPolicy(ctx, root, repo, strings.Replace(grant("ecr:BatchGetImage"), `,"Resource":"*"`, "", 1), false)
		},
		"registry": func() error { return control.PutRegistryPolicy(ctx, root, in.Account, grant("ecr:CreateRepository")) },
		"template": func() error {
			_, err := control.CreateTemplate(ctx, root, in.Account, "team", registry.TemplateContent{
				AppliedFor: []registry.Occasion{"CREATE_ON_PUSH"}, RepositoryPolicy: strings.Replace(grant("ecr:BatchGetImage"), `,"Resource":"*"`, "", 1),
			})
			return err
		},
		"secret": func() error {
			_, err := in.Secrets.PutPolicy(ctx, root, "app/key", grant("secretsmanager:GetSecretValue"), false)
			return err
		},
	}
	for name, put := range set {
		if err := put(); err == nil || !strings.Contains(err.Error(), ":user/alice") {
			t.Errorf("%s: a policy for somebody who is not there: %v", name, err)
		}
	}
	if _, err := in.Directory.CreateUser(ctx, root, directory.NewUser{Name: "alice"}); err != nil {
		t.Fatal(err)
	}
	for name, put := range set {
		if err := put(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := in.Directory.DeleteUser(ctx, root, "alice"); err != nil {
		t.Fatal(err)
	}
	// A template keeps the name. What is made by it does not come to trust who has that name later.
	template := &registry.Template{TemplateContent: registry.TemplateContent{RepositoryPolicy: strings.Replace(grant("ecr:BatchGetImage"), `,"Resource":"*"`, "", 1)}}
	made := registry.Repo{Account: in.Account, Name: "team/made"}
	if _, err := served.CreateByTemplate(ctx, root, made, template); err == nil || !strings.Contains(err.Error(), ":user/alice") {
		t.Errorf("a repository by a template that names who is gone: %v", err)
	}
	document, err := served.RepositoryPolicy(ctx, root, repo)
	if err != nil || strings.Contains(document, "user/alice") || !strings.Contains(document, `"AIDA`) {
		t.Errorf("after the user is gone: %s, %v", document, err)
	}
}
