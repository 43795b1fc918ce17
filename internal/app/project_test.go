package app_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	agentwork "github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/git"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/directory"
	"github.com/sekisho/sekisho/internal/iam/session"
	"github.com/sekisho/sekisho/internal/project"
)

// TestTokensOfPeople is a personal access token at the registry: as a password beside any name and as a Bearer, within its
// scopes, until it is revoked; and the record names it.
func TestTokensOfPeople(t *testing.T) {
	w := serveWhole(t, filepath.Join(t.TempDir(), "data"))
	ctx := t.Context()
	root := (&iam.Principal{Account: w.in.Account, ARN: iam.RootARN(w.in.Account), Type: iam.Root, ID: w.in.Account}).Caller()
	images, err := w.in.Tokens.Create(ctx, root, iam.NewPersonalToken{Name: "images", Scopes: []iam.Scope{iam.ScopeRegistry}})
	if err != nil {
		t.Fatal(err)
	}
	sources, err := w.in.Tokens.Create(ctx, root, iam.NewPersonalToken{Name: "sources", Scopes: []iam.Scope{iam.ScopeGit}})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(authorization string) int {
		resp, _ := w.raw("GET /v2/team/app/tags/list", "Authorization: "+authorization+"\r\n", "")
		return resp.StatusCode
	}
	named := func(token *iam.PersonalToken) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte("anybody:"+token.Token.Reveal()))
	}
	for header, want := range map[string]int{
		named(images): 404, "Bearer " + images.Token.Reveal(): 404, named(sources): 403, "Bearer " + sources.Token.Reveal(): 403,
		"Bearer " + images.Token.Reveal()[:60]: 401,
	} {
		if got := ask(header); got != want {
			t.Errorf("%.12s…: %d, want %d", header, got, want)
		}
	}
	if err := w.in.Tokens.Revoke(ctx, root, images.ID); err != nil {
		t.Fatal(err)
	}
	if got := ask(named(images)); got != 401 {
		t.Errorf("revoked: %d", got)
	}
	until(t, func() error {
		var used int64
		if err := w.in.DB.QueryRow(ctx, `SELECT count(*) FROM audit WHERE access_key = $1`, sources.ID).Scan(&used); err != nil {
			return err
		}
		if used == 0 {
			return errors.New("the record does not name the token")
		}
		return nil
	})
	if text := w.log.String(); strings.Contains(text, images.Token.Reveal()[20:60]) {
		t.Error("the log has a token")
	}
}

// TestJobsOfProjects is what a job gets, against the server as a whole: its credentials at the registry, its identity at this
// server's own STS, and nothing of it after its end.
func TestJobsOfProjects(t *testing.T) {
	w := serveWhole(t, filepath.Join(t.TempDir(), "data"), "SEKISHO_PUBLIC_URL=https://sekisho.example")
	ctx := t.Context()
	root := (&iam.Principal{Account: w.in.Account, ARN: iam.RootARN(w.in.Account), Type: iam.Root, ID: w.in.Account}).Caller()
	p, err := w.in.Projects.CreateProject(ctx, root, project.NewProject{Name: "web"})
	if err != nil {
		t.Fatal(err)
	}
	for _, repo := range []string{"app", "lib"} {
		if _, err := w.in.Git.Create(ctx, root, git.Draft{Name: git.Name{Account: w.in.Account, Project: "web", Repo: repo}}); err != nil {
			t.Fatal(err)
		}
	}
	l, err := w.in.Projects.CreatePipeline(ctx, root, "web", project.NewPipeline{Name: "build", Repository: "web/app"})
	if err != nil {
		t.Fatal(err)
	}
	j := project.Job{ID: "1.a.b#1", Until: time.Now().Add(time.Hour), Identity: agentwork.Identity{
		Account: p.Account, Project: p.Name, ProjectID: p.ID, Pipeline: l.Name, PipelineID: l.ID, Run: 1, Ref: "refs/heads/main",
	}}
	bearer, err := w.in.Projects.JobToken(ctx, j, []string{"web/app"})
	if err != nil {
		t.Fatal(err)
	}
	source := func(repo, service string) int {
		resp, _ := w.raw("GET /git/web/"+repo+"/info/refs?service=git-"+service, "Authorization: Basic "+base64.StdEncoding.EncodeToString([]byte("job:"+bearer))+"\r\n", "")
		return resp.StatusCode
	}
	for ask, want := range map[[2]string]int{{"app", "upload-pack"}: 200, {"lib", "upload-pack"}: 403, {"lib", "receive-pack"}: 403} {
		if got := source(ask[0], ask[1]); got != want {
			t.Errorf("%v: %d, want %d", ask, got, want)
		}
	}
	credentials, err := w.in.Projects.Credentials(ctx, j)
	if err != nil {
		t.Fatal(err)
	}
	_, who, err := w.in.IAM.SigningKey(ctx, credentials.AccessKeyID, credentials.SessionToken, root.SourceIP)
	if err != nil {
		t.Fatal(err)
	}
	password, _, err := w.in.IAM.IssueToken(ctx, who.Caller())
	if err != nil {
		t.Fatal(err)
	}
	status := func(path string) int {
		resp, _ := w.raw("GET "+path, "Authorization: Basic "+base64.StdEncoding.EncodeToString([]byte("AWS:"+password))+"\r\n", "")
		return resp.StatusCode
	}
	if got := status("/v2/team/app/manifests/v1"); got != 403 {
		t.Errorf("before the grant: %d", got)
	}
	if err := w.in.Projects.Grant(ctx, root, "web", "team/app", project.Pull); err != nil {
		t.Fatal(err)
	}
	if got := status("/v2/team/app/manifests/v1"); got != 404 {
		t.Errorf("after the grant: %d", got)
	}
	token, err := w.in.Projects.IdentityToken(ctx, j, "sts.amazonaws.com")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.in.Directory.CreateProvider(ctx, root, directory.NewProvider{URL: "https://sekisho.example/oidc", ClientIDs: []string{"sts.amazonaws.com"}}); err != nil {
		t.Fatal(err)
	}
	trust := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Federated":"arn:aws:iam::` + w.in.Account + `:oidc-provider/sekisho.example/oidc"},` +
		`"Action":"sts:AssumeRoleWithWebIdentity","Condition":{"StringLike":{"sekisho.example/oidc:sub":"project:` + p.ID + `:*"}}}]}`
	if _, err := w.in.Directory.CreateRole(ctx, root, directory.NewRole{Name: "deploy", Trust: trust}); err != nil {
		t.Fatal(err)
	}
	ask := session.Ask{Role: "arn:aws:iam::" + w.in.Account + ":role/deploy", Name: "job"}
	if _, err := w.in.Sessions.AssumeRoleWithWebIdentity(ctx, &iam.Caller{RequestID: "r"}, ask, token); err != nil {
		t.Errorf("the job's identity at this server: %v", err)
	}
	resp, body := w.raw("GET /oidc/.well-known/openid-configuration", "", "")
	var d struct {
		Issuer string `json:"issuer"`
	}
	if err := json.Unmarshal([]byte(body), &d); err != nil || d.Issuer != "https://sekisho.example/oidc" || resp.StatusCode != 200 {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	if err := w.in.Projects.Ended(ctx, j.ID); err != nil {
		t.Fatal(err)
	}
	if got := status("/v2/team/app/manifests/v1"); got != 401 {
		t.Errorf("after the end of the job: %d", got)
	}
	if got := source("app", "upload-pack"); got != 401 {
		t.Errorf("source after the end of the job: %d", got)
	}
	if err := w.in.Projects.DeleteProject(ctx, root, "web", false); !errors.Is(err, project.ErrConflict) {
		t.Errorf("a project with repositories: %v", err)
	}
	if err := w.in.Projects.DeleteProject(ctx, root, "web", true); err != nil {
		t.Error(err)
	}
	if _, err := w.in.Git.Find(ctx, git.Name{Account: w.in.Account, Project: "web", Repo: "app"}); !errors.Is(err, git.ErrOf(git.NotFound)) {
		t.Errorf("its repository: %v", err)
	}
}
