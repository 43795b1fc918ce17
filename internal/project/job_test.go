package project_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/directory"
	"github.com/sekisho/sekisho/internal/iam/session"
	"github.com/sekisho/sekisho/internal/project"
)

const (
	imageRepo = "arn:aws:ecr:" + region + ":" + account + ":repository/team/app"
	gitARN    = "arn:aws:git:" + region + ":" + account + ":"
)

func TestJobToken(t *testing.T) { each(t, testJobToken) }

func testJobToken(t *testing.T, w *world) {
	ctx := t.Context()
	p, l := w.project()
	j := jobOf(p, l)
	if _, err := w.JobToken(ctx, j, []string{"web/app", "web/lib"}); !isUnauthorized(err) {
		t.Fatalf("a repository that the pipeline is not authorised for: %v", err)
	}
	if err := w.Authorize(ctx, w.root, "web", project.Use{Kind: project.KindRepository, Name: "web/lib"}, "build image"); err != nil {
		t.Fatal(err)
	}
	token := must[string](t)(w.JobToken(ctx, j, []string{"web/app", "web/lib"}))
	if len(token) != 66 || !strings.HasPrefix(token, "skj_") {
		t.Errorf("token of %d characters", len(token))
	}
	for _, header := range []string{"Bearer " + token, basic("anybody", token), basic("", token), basic("AWS", token)} {
		who, err := w.keys.Authenticate(ctx, header, client)
		if err != nil {
			t.Fatal(err)
		}
		if job, ok := iam.JobOf(who); !ok || job != j.ID {
			t.Errorf("job %q", job)
		}
		if want := "arn:aws:sts::" + account + ":assumed-role/web/build-image-12"; who.ARN != want || !strings.HasPrefix(who.AccessKeyID, "SKJT") {
			t.Errorf("%s, with %s", who.ARN, who.AccessKeyID)
		}
		c := who.Caller()
		for _, row := range []struct {
			action, arn string
			want        bool
		}{
			{"git:Pull", gitARN + "web/app", true},
			{"git:Pull", gitARN + "web/lib", true},
			{"git:Pull", gitARN + "other/tools", false},
			{"git:Pull", gitARN + "web/app2", false},
			{"git:Push", gitARN + "web/app", false},
			{"ecr:GetAuthorizationToken", "*", false},
			{"pipelines:StartRun", l.ARN(region), false},
		} {
			if got := w.allowed(c, row.action, row.arn); got != row.want {
				t.Errorf("%s on %s: %v", row.action, row.arn, got)
			}
		}
	}
	// Another job's token stays good, and this one ends at once, twice if need be.
	second := j
	second.ID = "12.Build.Docker#2"
	kept := must[string](t)(w.JobToken(ctx, second, []string{"web/app"}))
	for range 2 {
		if err := w.Ended(ctx, j.ID); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.keys.Authenticate(ctx, "Bearer "+token, client); !errors.Is(err, iam.ErrInvalidCredentials) {
		t.Errorf("after the end: %v", err)
	}
	must[*iam.Principal](t)(w.keys.Authenticate(ctx, "Bearer "+kept, client))
}

func isUnauthorized(err error) bool {
	_, ok := errors.AsType[*project.NotAuthorizedError](err)
	return ok
}

func TestCredentials(t *testing.T) { each(t, testCredentials) }

func testCredentials(t *testing.T, w *world) {
	ctx := t.Context()
	p, l := w.project()
	j := jobOf(p, l)
	j.Until = w.now().Add(time.Hour)
	made := must[*work.Credentials](t)(w.Credentials(ctx, j))
	_, who, err := w.keys.SigningKey(ctx, made.AccessKeyID, made.SessionToken, client)
	if err != nil {
		t.Fatal(err)
	}
	if made.Expires != j.Until {
		t.Errorf("until %s, not %s", made.Expires, j.Until)
	}
	if _, ok := iam.JobOf(who); ok {
		t.Error("credentials pass for the token of a job")
	}
	want := map[string]string{"project": "web", "pipeline": "build image", "ref": "refs/heads/main", "stage": "Build", "job": "Docker", "repository": "web/app", "reason": "manual"}
	if d := cmp.Diff(want, who.Session.Tags); d != "" {
		t.Error(d)
	}
	c := who.Caller()
	for action, want := range map[string]bool{"ecr:GetAuthorizationToken": true, "ecr:PutImage": false, "git:Pull": false, "iam:CreateUser": false} {
		arn := map[bool]string{true: "*", false: imageRepo}[action == "ecr:GetAuthorizationToken"]
		if action == "git:Pull" {
			arn = gitARN + "web/app"
		}
		if got := w.allowed(c, action, arn); got != want {
			t.Errorf("%s: %v", action, got)
		}
	}
	// What an administrator grants is there for the next request.
	if err := w.Grant(ctx, w.root, "web", "team/app", project.Push); err != nil {
		t.Fatal(err)
	}
	for action, want := range map[string]bool{"ecr:PutImage": true, "ecr:BatchGetImage": true, "ecr:GetDownloadUrlForLayer": false, "ecr:DeleteRepository": false} {
		if got := w.allowed(c, action, imageRepo); got != want {
			t.Errorf("%s after the grant: %v", action, got)
		}
	}
	if w.allowed(c, "ecr:PutImage", imageRepo+"2") {
		t.Error("the grant is for another repository too")
	}
	if err := w.Revoke(ctx, w.root, "web", "team/app", project.Push); err != nil {
		t.Fatal(err)
	}
	if w.allowed(c, "ecr:PutImage", imageRepo) {
		t.Error("what was revoked is still allowed")
	}
	is(t, "revoke again", w.Revoke(ctx, w.root, "web", "team/app", project.Push), project.ErrNotFound)
	if err := w.Grant(ctx, w.root, "web", "team/app", project.Push); err != nil {
		t.Fatal(err)
	}
	if err := w.Revoke(ctx, w.root, "web", "team/app", project.Pull); err == nil || !strings.Contains(err.Error(), "but it was to push it") {
		t.Errorf("the other access: %v", err)
	}
	if err := w.Revoke(ctx, w.root, "web", "team/app", project.Push); err != nil {
		t.Fatal(err)
	}
	// The end of the job is the end of its credentials.
	if err := w.Ended(ctx, j.ID); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.keys.SigningKey(ctx, made.AccessKeyID, made.SessionToken, client); !errors.Is(err, iam.ErrSessionToken) {
		t.Errorf("after the end: %v", err)
	}
	if recorded := w.changes[len(w.changes)-1]; recorded.Action != "sts:AssumeRole" || recorded.Resource != p.RoleARN() || !strings.Contains(recorded.Detail, made.AccessKeyID) {
		t.Errorf("record: %+v", recorded)
	}
	j.Until = w.now().Add(100 * time.Hour)
	if made = must[*work.Credentials](t)(w.Credentials(ctx, j)); made.Expires != w.now().Add(12*time.Hour) {
		t.Errorf("credentials until %s", made.Expires)
	}
	j.Until = w.now()
	if _, err := w.Credentials(ctx, j); err == nil {
		t.Error("credentials of a job that is over")
	}
}

// TestOnlyJobsAct shows that nobody gets the role of a project but by a job, and that its trust policy counts.
func TestOnlyJobsAct(t *testing.T) { each(t, testOnlyJobsAct) }

func testOnlyJobsAct(t *testing.T, w *world) {
	ctx := t.Context()
	p, l := w.project()
	admin := w.user("admin", allow("*", "*"))
	for _, c := range []*iam.Caller{w.root, admin, w.stranger} {
		_, err := w.sessions.AssumeRole(ctx, c, session.RoleAsk{Ask: session.Ask{Role: p.RoleARN(), Name: "me-too"}})
		denied(t, "assume the role of a project as "+c.ARN, err)
	}
	trust := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"pipelines.sekisho"},"Action":"sts:AssumeRole",` +
		`"Condition":{"StringEquals":{"aws:RequestTag/ref":"refs/heads/main"}}}]}`
	if err := w.directory.UpdateTrust(ctx, w.root, "web", trust); err != nil {
		t.Fatal(err)
	}
	j := jobOf(p, l)
	must[*work.Credentials](t)(w.Credentials(ctx, j))
	j.Identity.Ref = "refs/heads/feature"
	_, err := w.Credentials(ctx, j)
	denied(t, "another branch", err)

	// A role that somebody made under the same name is not the project's.
	if err := w.directory.DeleteInlinePolicy(ctx, w.root, directory.RoleNamed("web"), "pipelines"); err != nil {
		t.Fatal(err)
	}
	if err := w.directory.DeleteRole(ctx, w.root, "web"); err != nil {
		t.Fatal(err)
	}
	_, err = w.Credentials(ctx, j)
	is(t, "no role", err, project.ErrConflict)
	if _, err := w.directory.CreateRole(ctx, w.root, directory.NewRole{Name: "web", Path: "/pipelines/", Trust: trust}); err != nil {
		t.Fatal(err)
	}
	j.Identity.Ref = "refs/heads/main"
	_, err = w.Credentials(ctx, j)
	is(t, "another role", err, project.ErrConflict)
	_, err = w.RestoreRole(ctx, w.root, "web")
	is(t, "restore over another role", err, project.ErrExists)
	if err := w.directory.DeleteRole(ctx, w.root, "web"); err != nil {
		t.Fatal(err)
	}
	must[*project.Project](t)(w.RestoreRole(ctx, w.root, "web"))
	must[*work.Credentials](t)(w.Credentials(ctx, j))
}

func TestUntrustedJobGetsNothing(t *testing.T) {
	w := newSQLite(t)
	ctx := t.Context()
	p, l := w.project()
	connect(t, w, "AWS_ECR")
	group(t, w)
	for _, u := range []project.Use{{Kind: project.KindConnection, Name: "AWS_ECR"}, {Kind: project.KindGroup, Name: "prod"}, {Kind: project.KindRepository, Name: "web/lib"}} {
		if err := w.Authorize(ctx, w.root, "web", u, ""); err != nil {
			t.Fatal(err)
		}
	}
	j := jobOf(p, l)
	j.Untrusted = true
	if c, err := w.Credentials(ctx, j); c != nil || err != nil {
		t.Errorf("credentials: %v, %v", c, err)
	}
	_, err := w.IdentityToken(ctx, j, "sts.amazonaws.com")
	is(t, "identity token", err, project.ErrUntrusted)
	_, err = w.Endpoints(ctx, j, "AWS_ECR")
	is(t, "connection", err, project.ErrUntrusted)
	_, err = w.JobToken(ctx, j, []string{"web/lib"})
	is(t, "another repository", err, project.ErrUntrusted)
	must[string](t)(w.JobToken(ctx, j, []string{"web/app"}))
	g := must[*project.VariableGroup](t)(w.Group(ctx, j, "prod", true))
	for _, v := range g.Variables {
		if v.Secret && v.Value != "" {
			t.Errorf("secret variable %s has a value", v.Name)
		}
	}
}

func TestIdentityToken(t *testing.T) { each(t, testIdentityToken) }

// testIdentityToken takes the token of a job to this instance's own STS, which asks nobody over a network for the keys.
func testIdentityToken(t *testing.T, w *world) {
	ctx := t.Context()
	p, l := w.project()
	j := jobOf(p, l)
	token := must[string](t)(w.IdentityToken(ctx, j, "sts.amazonaws.com"))
	subject := "project:" + p.ID + ":pipeline:" + l.ID + ":ref:refs/heads/main"
	if got := project.Subject(&j.Identity); got != subject {
		t.Errorf("subject %s", got)
	}
	ask := session.Ask{Role: "arn:aws:iam::" + account + ":role/deploy", Name: "from-job"}
	_, err := w.TrustIssuer(ctx, w.user("dev", allow("pipelines:*", "*")))
	denied(t, "a provider, by who may not make one", err)
	for range 2 {
		if provider, err := w.TrustIssuer(ctx, w.root); err != nil || provider.URL != "sekisho.example/oidc" {
			t.Fatalf("%+v, %v", provider, err)
		}
	}
	trust := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Federated":"arn:aws:iam::` + account + `:oidc-provider/sekisho.example/oidc"},` +
		`"Action":"sts:AssumeRoleWithWebIdentity","Condition":{"StringEquals":{"sekisho.example/oidc:sub":"` + subject + `","sekisho.example/oidc:pool":"linux"}}}]}`
	if _, err := w.directory.CreateRole(ctx, w.root, directory.NewRole{Name: "deploy", Trust: trust}); err != nil {
		t.Fatal(err)
	}
	nobody := &iam.Caller{SourceIP: client, RequestID: "r"}
	assumed, err := w.sessions.AssumeRoleWithWebIdentity(ctx, nobody, ask, token)
	if err != nil {
		t.Fatal(err)
	}
	if assumed.Subject != subject {
		t.Errorf("subject %s", assumed.Subject)
	}
	for what, change := range map[string]func(*project.Job){
		"another branch":         func(j *project.Job) { j.Identity.Ref = "refs/heads/x" },
		"an environment":         func(j *project.Job) { j.Identity.Environment = "prod" },
		"another pool":           func(j *project.Job) { j.Identity.Pool = "mac" },
		"a pipeline of the name": func(j *project.Job) { j.Identity.PipelineID = p.ID },
	} {
		other := j
		change(&other)
		token := must[string](t)(w.IdentityToken(ctx, other, "sts.amazonaws.com"))
		if _, err := w.sessions.AssumeRoleWithWebIdentity(ctx, nobody, ask, token); err == nil {
			t.Errorf("%s: the role is assumed", what)
		}
	}
	_, err = w.TrustPolicy(ctx, w.root, "web", project.Trusted{Environment: "prod"})
	is(t, "an environment that anybody may make", err, project.ErrNotFound)
	must[*project.Environment](t)(w.CreateEnvironment(ctx, w.root, "web", project.NewEnvironment{Name: "prod"}))
	for want, trusted := range map[bool]project.Trusted{true: {Pipeline: "build image", Ref: "refs/heads/*"}, false: {Environment: "prod"}} {
		if err := w.directory.UpdateTrust(ctx, w.root, "deploy", must[string](t)(w.TrustPolicy(ctx, w.root, "web", trusted))); err != nil {
			t.Fatal(err)
		}
		if _, err := w.sessions.AssumeRoleWithWebIdentity(ctx, nobody, ask, token); (err == nil) != want {
			t.Errorf("%+v: %v", trusted, err)
		}
	}
	for what, trusted := range map[string]project.Trusted{"both": {Ref: "refs/heads/main", Environment: "prod"}, "no ref": {Ref: "a b"}, "no environment": {Environment: "*"}} {
		_, err := w.TrustPolicy(ctx, w.root, "web", trusted)
		is(t, what, err, project.ErrInvalid)
	}
	if err := w.directory.UpdateTrust(ctx, w.root, "deploy", trust); err != nil {
		t.Fatal(err)
	}
	elsewhere := must[string](t)(w.IdentityToken(ctx, j, "vault"))
	if _, err := w.sessions.AssumeRoleWithWebIdentity(ctx, nobody, ask, elsewhere); err == nil {
		t.Error("a token for another audience is accepted")
	}
	w.advance(20 * time.Minute)
	if _, err := w.sessions.AssumeRoleWithWebIdentity(ctx, nobody, ask, token); err == nil {
		t.Error("an old token is accepted")
	}
}

func connect(t testing.TB, w *world, name string) *project.Connection {
	t.Helper()
	return must[*project.Connection](t)(w.CreateConnection(t.Context(), w.root, "web", project.NewConnection{
		Name: name, Type: "aws", Parameters: map[string]string{"username": "AKIAEXAMPLE", "password": marker("secret key"), "externalId": "e"},
		Data: map[string]string{"region": region},
	}))
}

func group(t testing.TB, w *world) *project.VariableGroup {
	t.Helper()
	ctx := t.Context()
	_, _, err := w.secrets.Create(ctx, w.root, secretDraft("db", `{"DB_PASSWORD":"`+marker("linked")+`","port":5432}`))
	if err != nil {
		t.Fatal(err)
	}
	g := must[*project.VariableGroup](t)(w.CreateGroup(ctx, w.root, "web", project.NewGroup{Name: "prod", Secret: "db"}))
	for _, v := range []project.Variable{{Name: "host", Value: "db.example"}, {Name: "token", Value: marker("group variable"), Secret: true}} {
		if err := w.SetGroupVariable(ctx, w.root, "web", "prod", v); err != nil {
			t.Fatal(err)
		}
	}
	return g
}

func TestEndpoints(t *testing.T) { each(t, testEndpoints) }

func testEndpoints(t *testing.T, w *world) {
	ctx := t.Context()
	p, l := w.project()
	j := jobOf(p, l)
	aws := connect(t, w, "AWS_ECR")
	for _, n := range []project.NewConnection{
		{Name: "oidc", Type: "AWS", Scheme: "workloadidentityfederation", Parameters: map[string]string{"assumerolearn": "arn:aws:iam::" + account + ":role/deploy"}},
		{Name: "hub", Type: "dockerregistry", URL: "https://index.docker.io/v1/", Parameters: map[string]string{"username": "me", "password": marker("hub")}},
		{Name: "self", Type: "sekisho"},
		{Name: "api", Type: "generic", Scheme: "Token", URL: "https://api.example", Parameters: map[string]string{"apitoken": marker("api")}, Data: map[string]string{"tier": "gold"}},
	} {
		must[*project.Connection](t)(w.CreateConnection(ctx, w.root, "web", n))
	}
	_, err := w.Endpoints(ctx, j, "AWS_ECR")
	e, ok := errors.AsType[*project.NotAuthorizedError](err)
	if !ok || !strings.Contains(e.Error(), `sekisho pipeline permit -p web "build image" connection "AWS_ECR"`) {
		t.Fatalf("not authorised: %v", err)
	}
	if missing, err := w.Unauthorized(ctx, l.ID, []project.Use{{Kind: project.KindConnection, Name: "hub"}, {Kind: project.KindRepository, ID: w.repos["web/app"]}}); err != nil || len(missing) != 1 {
		t.Errorf("%v, %v", missing, err)
	}
	for _, name := range []string{"AWS_ECR", "oidc", "hub", "self", "api"} {
		if err := w.Authorize(ctx, w.root, "web", project.Use{Kind: project.KindConnection, Name: name}, l.Name); err != nil {
			t.Fatal(err)
		}
	}
	before := len(w.changes)
	got := must[[]work.Endpoint](t)(w.Endpoints(ctx, j, "aws_ecr", aws.ID, "oidc", "hub", "self", "api"))
	if len(got) != 5 {
		t.Fatalf("%d endpoints", len(got))
	}
	self := &got[3]
	if !strings.HasPrefix(self.Auth["username"], "ASIA") || self.Auth["password"] == "" || self.Auth["sessionToken"] == "" || self.Data["region"] != region {
		t.Errorf("our own: %v", self.Data)
	}
	self.Auth = nil
	for i := range got {
		got[i].ID = ""
	}
	want := []work.Endpoint{
		{Name: "AWS_ECR", Type: "AWS", Scheme: "UsernamePassword", Auth: map[string]string{"username": "AKIAEXAMPLE", "password": marker("secret key"), "externalId": "e"}, Data: map[string]string{"region": region}},
		{Name: "oidc", Type: "AWS", Scheme: "WorkloadIdentityFederation", Auth: map[string]string{"useOIDC": "true", "assumeRoleArn": "arn:aws:iam::" + account + ":role/deploy"}, Data: map[string]string{}},
		{Name: "hub", Type: "dockerregistry", URL: "https://index.docker.io/v1/", Scheme: "UsernamePassword", Auth: map[string]string{"username": "me", "password": marker("hub"), "registry": "https://index.docker.io/v1/"}, Data: map[string]string{"registrytype": "Others"}},
		{Name: "self", Type: "sekisho", Scheme: "UsernamePassword", Data: map[string]string{"region": region}},
		{Name: "api", Type: "generic", URL: "https://api.example", Scheme: "Token", Auth: map[string]string{"apitoken": marker("api")}, Data: map[string]string{"tier": "gold"}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	used := 0
	for _, ch := range w.changes[before:] {
		if ch.Action == "pipelines:UseConnection" {
			used++
			if ch.Caller.ARN != "arn:aws:sts::"+account+":assumed-role/web/build-image-12" || !strings.Contains(ch.Detail, "run 12 of web/build image") {
				t.Errorf("record %+v", ch)
			}
		}
	}
	if used != 5 {
		t.Errorf("%d uses are recorded", used)
	}
	if err := w.Deauthorize(ctx, w.root, "web", project.Use{Kind: project.KindConnection, Name: "hub"}, l.Name); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Endpoints(ctx, j, "hub"); !isUnauthorized(err) {
		t.Errorf("after that was taken back: %v", err)
	}
}

// TestSecretsStayInside looks for secrets in everything that comes out for people.
func TestSecretsStayInside(t *testing.T) { each(t, testSecretsStayInside) }

func testSecretsStayInside(t *testing.T, w *world) {
	ctx := t.Context()
	p, l := w.project()
	j := jobOf(p, l)
	connect(t, w, "AWS_ECR")
	group(t, w)
	if err := w.SetPipelineVariable(ctx, w.root, "web", l.Name, project.Variable{Name: "API_KEY", Value: marker("pipeline variable"), Secret: true}); err != nil {
		t.Fatal(err)
	}
	var out []any
	add := func(v any, err error) {
		out = append(out, v)
		if err != nil {
			out = append(out, err.Error())
		}
	}
	add2 := func(v any, _ string, err error) { add(v, err) }
	add(w.DescribeConnection(ctx, w.root, "web", "AWS_ECR"))
	add2(w.ListConnections(ctx, w.root, "web", project.Page{}))
	add(w.DescribeGroup(ctx, w.root, "web", "prod"))
	add2(w.ListGroups(ctx, w.root, "web", project.Page{}))
	add(w.PipelineVariables(ctx, w.root, "web", l.Name))
	add(w.Variables(ctx, l.ID, false))
	add(w.CreateConnection(ctx, w.root, "web", project.NewConnection{Name: "AWS_ECR", Type: "AWS", Parameters: map[string]string{"username": "u", "password": marker("again")}}))
	add(w.CreateConnection(ctx, w.root, "web", project.NewConnection{Name: "bad", Type: "AWS", Parameters: map[string]string{"username": "u", "password": marker("two") + "\n" + marker("lines")}}))
	add(w.UpdateConnection(ctx, w.root, "web", "AWS_ECR", project.ConnectionEdit{Parameters: map[string]string{"password": marker("new"), "nonsense": marker("nonsense")}}))
	add(nil, w.SetGroupVariable(ctx, w.root, "web", "prod", project.Variable{Name: "pem", Value: marker("two") + "\n" + marker("lines"), Secret: true}))
	u := "https://u:" + marker("url") + "@example.com/"
	add(w.UpdateConnection(ctx, w.root, "web", "AWS_ECR", project.ConnectionEdit{URL: &u}))
	if err := w.Authorize(ctx, w.root, "web", project.Use{Kind: project.KindConnection, Name: "AWS_ECR"}, ""); err != nil {
		t.Fatal(err)
	}
	if err := w.Authorize(ctx, w.root, "web", project.Use{Kind: project.KindGroup, Name: "prod"}, ""); err != nil {
		t.Fatal(err)
	}
	add(w.Group(ctx, j, "prod", false))
	handed := must[[]work.Endpoint](t)(w.Endpoints(ctx, j, "AWS_ECR"))
	if handed[0].Auth["password"] != marker("secret key") {
		t.Error("a job does not get the secret")
	}
	g := must[*project.VariableGroup](t)(w.Group(ctx, j, "prod", true))
	if d := cmp.Diff([]project.Variable{{Name: "host", Value: "db.example"}, {Name: "token", Value: marker("group variable"), Secret: true},
		{Name: "DB_PASSWORD", Value: marker("linked"), Secret: true}, {Name: "port", Value: "5432", Secret: true}}, g.Variables); d != "" {
		t.Error(d)
	}
	opened := must[[]project.Variable](t)(w.Variables(ctx, l.ID, true))
	if len(opened) != 1 || opened[0].Value != marker("pipeline variable") {
		t.Error("a job does not get the variable")
	}
	add(w.changes, nil)
	add(w.notes, nil)
	add(w.log.String(), nil)
	text, err := json.Marshal(out)
	if err != nil {
		t.Fatal(err)
	}
	if i := strings.Index(string(text), "MARKER"); i >= 0 {
		t.Errorf("a secret is told: …%.200s", text[max(0, i-100):])
	}
	// Nor is one in the database as it was given.
	for _, table := range []string{"project_variables", "service_connections", "variable_groups", "pipelines", "projects", "project_secrets"} {
		rows, err := w.db.Query(ctx, `SELECT * FROM `+table)
		if err != nil {
			t.Fatal(err)
		}
		columns, _ := rows.Columns()
		for rows.Next() {
			values := make([]any, len(columns))
			into := make([]any, len(columns))
			for i := range values {
				into[i] = &values[i]
			}
			if err := rows.Scan(into...); err != nil {
				t.Fatal(err)
			}
			for i, v := range values {
				b, _ := v.([]byte)
				s, _ := v.(string)
				if strings.Contains(s+string(b), "MARKER") {
					t.Errorf("%s.%s has a secret", table, columns[i])
				}
			}
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

func marker(what string) string { return "MARKER-" + strings.ReplaceAll(what, " ", "-") }
