package project_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/directory"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/project"
	"github.com/sekisho/sekisho/internal/secret"
)

func secretDraft(name, value string) secret.Draft {
	return secret.Draft{Name: name, Value: secret.Text(value)}
}

func TestProject(t *testing.T) { each(t, testProject) }

func testProject(t *testing.T, w *world) {
	ctx := t.Context()
	p, _ := w.project()
	for _, ref := range []string{"web", "WEB", p.ID, strings.ToUpper(p.ID)} {
		if got, err := w.DescribeProject(ctx, w.root, ref); err != nil || got.ID != p.ID {
			t.Errorf("%s: %v, %v", ref, got, err)
		}
	}
	_, err := w.CreateProject(ctx, w.root, project.NewProject{Name: "Web"})
	is(t, "the same name in another case", err, project.ErrExists)
	for _, name := range []string{"", ".a", "a b", "a/b", strings.Repeat("a", 64), p.ID, "a.", "ä", "*"} {
		_, err := w.CreateProject(ctx, w.root, project.NewProject{Name: name})
		is(t, "name "+name, err, project.ErrInvalid)
	}
	role := must[*directory.Role](t)(w.directory.Role(ctx, w.root, "web"))
	if role.ARN != p.RoleARN() || role.ID != p.RoleID || role.ARN != "arn:aws:iam::"+account+":role/pipelines/web" {
		t.Errorf("role %+v", role)
	}
	// Another account has its own.
	if _, err := w.CreateProject(ctx, w.stranger, project.NewProject{Name: "web"}); err != nil {
		t.Error(err)
	}
	_, err = w.DescribeProject(ctx, w.stranger, p.ID)
	is(t, "another account's, by its id", err, project.ErrNotFound)

	description, settings := "images", project.Settings{RetentionDays: 7}
	got := must[*project.Project](t)(w.UpdateProject(ctx, w.root, "web", project.ProjectEdit{Description: &description, Settings: &settings}))
	if again := must[*project.Project](t)(w.open().DescribeProject(ctx, w.root, "web")); cmp.Diff(got, again) != "" || again.Settings != settings {
		t.Errorf("%+v, %+v", got, again)
	}
	is(t, "with pipelines", w.DeleteProject(ctx, w.root, "web", false), project.ErrConflict)
	if err := w.Grant(ctx, w.root, "web", "team/app", project.Push); err != nil {
		t.Fatal(err)
	}
	if err := w.directory.AttachPolicy(ctx, w.root, directory.RoleNamed("web"), "arn:aws:iam::aws:policy/AmazonEC2ContainerRegistryReadOnly"); err != nil {
		t.Fatal(err)
	}
	w.source = "web"
	is(t, "with repositories", w.DeleteProject(ctx, w.root, "web", false), project.ErrConflict)
	if d := denied(t, "without the permission", w.DeleteProject(ctx, w.user("dev", allow("pipelines:*", "*")), "web", true)); d.Action != "git:DeleteRepository" {
		t.Error(d)
	}
	if err := w.DeleteProject(ctx, w.root, "web", true); err != nil || w.source != "" {
		t.Fatal(w.source, err)
	}
	if _, err := w.directory.Role(ctx, w.root, "web"); err == nil {
		t.Error("the role is left")
	}
	_, err = w.DescribeProject(ctx, w.root, p.ID)
	is(t, "deleted", err, project.ErrNotFound)
	next := must[*project.Project](t)(w.CreateProject(ctx, w.root, project.NewProject{Name: "web"}))
	if next.ID == p.ID || next.RoleID == p.RoleID {
		t.Error("an id is used again")
	}
}

// TestRoleOfAnother is a project whose role's name is taken: by somebody's own role, or by what a deletion that was cut off
// left.
func TestRoleOfAnother(t *testing.T) {
	w := newSQLite(t)
	ctx := t.Context()
	trust := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + account + `"},"Action":"sts:AssumeRole"}]}`
	for name, path := range map[string]string{"mine": "/", "theirs": "/pipelines/"} {
		if _, err := w.directory.CreateRole(ctx, w.root, directory.NewRole{Name: name, Path: path, Trust: trust}); err != nil {
			t.Fatal(err)
		}
		_, err := w.CreateProject(ctx, w.root, project.NewProject{Name: name})
		is(t, name, err, project.ErrExists)
		_, err = w.DescribeProject(ctx, w.root, name)
		is(t, name+", described", err, project.ErrNotFound)
	}
	if _, err := w.directory.CreateRole(ctx, w.root, directory.NewRole{Name: "left", Path: "/pipelines/", Trust: trust,
		Tags: []directory.Tag{{Key: "sekisho:project", Value: "3d3bd2b0-7a83-4d8f-8a5a-000000000000"}}}); err != nil {
		t.Fatal(err)
	}
	must[*project.Project](t)(w.CreateProject(ctx, w.root, project.NewProject{Name: "left"}))
	if role := must[*directory.Role](t)(w.directory.Role(ctx, w.root, "left")); role.Trust == trust {
		t.Error("the trust of a role that was left is kept")
	}
}

func TestPipeline(t *testing.T) { each(t, testPipeline) }

func testPipeline(t *testing.T, w *world) {
	ctx := t.Context()
	_, l := w.project()
	if l.Path != "azure-pipelines.yml" || l.DefaultBranch != "refs/heads/main" || l.State != project.Enabled || l.Repository != w.repos["web/app"] {
		t.Errorf("%+v", l)
	}
	if l.ARN(region) != "arn:aws:pipelines:eu-west-1:"+account+":project/web/pipeline/build image" {
		t.Error(l.ARN(region))
	}
	for what, n := range map[string]project.NewPipeline{
		"name":         {Name: "a/b", Repository: "web/app"},
		"repository":   {Name: "a", Repository: "web/none"},
		"none":         {Name: "a"},
		"up":           {Name: "a", Repository: "web/app", Path: "../x.yml"},
		"not clean":    {Name: "a", Repository: "web/app", Path: "a//x.yml"},
		"branch":       {Name: "a", Repository: "web/app", DefaultBranch: "a..b"},
		"state":        {Name: "a", Repository: "web/app", State: "off"},
		"folder":       {Name: "a", Repository: "web/app", Folder: "/a"},
		"concurrency":  {Name: "a", Repository: "web/app", Settings: project.PipelineSettings{Concurrency: -1}},
		"kind":         {Name: "a", Repository: "web/app", RepositoryKind: "svn"},
		"user in URL":  {Name: "a", Repository: "https://u:p@example.com/r", RepositoryKind: project.RepositoryExternal},
		"file":         {Name: "a", Repository: "file:///etc", RepositoryKind: project.RepositoryExternal},
		"a connection": {Name: "a", Repository: "https://example.com/r", RepositoryKind: project.RepositoryExternal, Connection: "none"},
	} {
		_, err := w.CreatePipeline(ctx, w.root, "web", n)
		is(t, what, err, project.ErrInvalid)
	}
	_, err := w.CreatePipeline(ctx, w.root, "web", project.NewPipeline{Name: "Build Image", Repository: "web/app"})
	is(t, "the same name", err, project.ErrExists)
	second := must[*project.Pipeline](t)(w.CreatePipeline(ctx, w.root, "web", project.NewPipeline{Name: "second", Repository: w.repos["web/app"], DefaultBranch: "trunk", Folder: "team/images"}))
	if second.DefaultBranch != "refs/heads/trunk" {
		t.Error(second.DefaultBranch)
	}
	name := "SECOND build image"
	if _, err := w.UpdatePipeline(ctx, w.root, "web", "second", project.PipelineEdit{Name: &l.Name}); !errors.Is(err, project.ErrExists) {
		t.Errorf("rename over another: %v", err)
	}
	connect(t, w, "ext")
	external := must[*project.Pipeline](t)(w.CreatePipeline(ctx, w.root, "web", project.NewPipeline{Name: "ext", Repository: "https://example.com/r", RepositoryKind: project.RepositoryExternal, Connection: "ext"}))
	is(t, "a connection in use", w.DeleteConnection(ctx, w.root, "web", "ext"), project.ErrConflict)
	if err := w.DeletePipeline(ctx, w.root, "web", external.ID); err != nil {
		t.Fatal(err)
	}
	if err := w.DeleteConnection(ctx, w.root, "web", "ext"); err != nil {
		t.Fatal(err)
	}
	state := project.Disabled
	got := must[*project.Pipeline](t)(w.UpdatePipeline(ctx, w.root, "web", "second", project.PipelineEdit{Name: &name, State: &state}))
	if got.ID != second.ID || got.Name != name || got.Project != "web" {
		t.Errorf("%+v", got)
	}
	if again := must[*project.Pipeline](t)(w.Pipeline(ctx, second.ID)); cmp.Diff(got, again) != "" {
		t.Error(cmp.Diff(got, again))
	}
	of := must[[]project.Pipeline](t)(w.PipelinesOf(ctx, w.repos["web/app"]))
	if len(of) != 1 || of[0].ID != l.ID || of[0].Account != account {
		t.Errorf("%+v", of)
	}
	list, next, err := w.ListPipelines(ctx, w.root, "web", project.Page{Limit: 1})
	if err != nil || len(list) != 1 || list[0].Name != "build image" || next == "" {
		t.Fatalf("%+v, %q, %v", list, next, err)
	}
	list, next, err = w.ListPipelines(ctx, w.root, "web", project.Page{After: next, Limit: 1})
	if err != nil || len(list) != 1 || list[0].ID != second.ID || next != "" {
		t.Errorf("%+v, %q, %v", list, next, err)
	}
	if err := w.DeletePipeline(ctx, w.root, "web", second.ID); err != nil {
		t.Fatal(err)
	}
	is(t, "again", w.DeletePipeline(ctx, w.root, "web", second.ID), project.ErrNotFound)
}

// TestPipelineOfAnothersSource is a pipeline over a repository that its author may not read.
func TestPipelineOfAnothersSource(t *testing.T) {
	w := newSQLite(t)
	w.project()
	c := w.user("dev", allow("pipelines:*", "*"), allow("git:Pull", gitARN+"web/*"))
	_, err := w.CreatePipeline(t.Context(), c, "web", project.NewPipeline{Name: "spy", Repository: "other/tools"})
	if d := denied(t, "create", err); d.Action != "git:Pull" {
		t.Errorf("%v", d)
	}
	must[*project.Pipeline](t)(w.CreatePipeline(t.Context(), c, "web", project.NewPipeline{Name: "own", Repository: "web/lib"}))
	tools := "other/tools"
	_, err = w.UpdatePipeline(t.Context(), c, "web", "own", project.PipelineEdit{Repository: &tools})
	denied(t, "update", err)
}

func TestCounter(t *testing.T) { each(t, testCounter) }

func testCounter(t *testing.T, w *world) {
	ctx := t.Context()
	_, l := w.project()
	next := func(name string, seed int64, fail error) (n int64) {
		t.Helper()
		err := w.db.Update(ctx, func(tx *meta.Tx) (err error) {
			if n, err = w.Counter(ctx, tx, l.ID, name, seed); err == nil {
				err = fail
			}
			return err
		})
		if !errors.Is(err, fail) {
			t.Fatal(err)
		}
		return n
	}
	back := errors.New("rolled back")
	got := []int64{next("a", 100, nil), next("a", 5, nil), next("a", 5, back), next("a", 5, nil), next("", 0, nil), next("", 0, nil)}
	if want := []int64{100, 101, 102, 102, 0, 1}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	const many = 20
	var wg sync.WaitGroup
	seen := make([]int64, many)
	for i := range many {
		wg.Go(func() {
			if err := w.db.Update(ctx, func(tx *meta.Tx) (err error) {
				seen[i], err = w.Counter(ctx, tx, l.ID, "b", 1)
				return err
			}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	slices.Sort(seen)
	for i, n := range seen {
		if n != int64(i+1) {
			t.Fatalf("%v", seen)
		}
	}
}

func TestVariables(t *testing.T) { each(t, testVariables) }

func testVariables(t *testing.T, w *world) {
	ctx := t.Context()
	_, l := w.project()
	set := func(v project.Variable) error { return w.SetPipelineVariable(ctx, w.root, "web", l.Name, v) }
	for what, v := range map[string]project.Variable{
		"no name": {Value: "x"}, "a name": {Name: "a$b"}, "reserved": {Name: "secret.x"}, "reserved too": {Name: "INPUT_x"}, "zero": {Name: "a", Value: "\x00"},
		"lines": {Name: "a", Value: "x\ny", Secret: true}, "empty secret": {Name: "a", Secret: true}, "long": {Name: "a", Value: strings.Repeat("x", 65<<10)},
	} {
		is(t, what, set(v), project.ErrInvalid)
	}
	for _, v := range []project.Variable{
		{Name: "DOCKER_REPOSITORY_NAME", Value: "team/app", Settable: true}, {Name: "key", Value: "s1", Secret: true}, {Name: "text", Value: "two\nlines"}, {Name: "pathological", Value: "secrets of the trade"},
		{Name: "KEY", Value: "s2", Secret: true}, {Name: "once", Value: "secret", Secret: true}, {Name: "once", Value: "open"},
	} {
		if err := set(v); err != nil {
			t.Fatal(err)
		}
	}
	want := []project.Variable{
		{Name: "DOCKER_REPOSITORY_NAME", Value: "team/app", Settable: true}, {Name: "KEY", Value: "s2", Secret: true}, {Name: "once", Value: "open"},
		{Name: "pathological", Value: "secrets of the trade"}, {Name: "text", Value: "two\nlines"},
	}
	if d := cmp.Diff(want, must[[]project.Variable](t)(w.Variables(ctx, l.ID, true))); d != "" {
		t.Error(d)
	}
	if err := w.DeletePipelineVariable(ctx, w.root, "web", l.Name, "Key"); err != nil {
		t.Fatal(err)
	}
	is(t, "again", w.DeletePipelineVariable(ctx, w.root, "web", l.Name, "key"), project.ErrNotFound)
	var left int
	if err := w.db.QueryRow(ctx, `SELECT count(*) FROM project_secrets`).Scan(&left); err != nil || left != 0 {
		t.Errorf("%d secrets are left, %v", left, err)
	}
}

// TestConnectionElsewhere is the theft of a secret by a change of where it is sent.
func TestConnectionElsewhere(t *testing.T) {
	w := newSQLite(t)
	ctx := t.Context()
	w.project()
	must[*project.Connection](t)(w.CreateConnection(ctx, w.root, "web", project.NewConnection{Name: "hub", Type: "dockerregistry", URL: "https://registry.example",
		Parameters: map[string]string{"username": "me", "password": "p4ssword"}}))
	connect(t, w, "AWS_ECR")
	evil, role := "https://evil.example", map[string]string{"assumeRoleArn": "arn:aws:iam::999999999999:role/x"}
	_, err := w.UpdateConnection(ctx, w.root, "web", "hub", project.ConnectionEdit{URL: &evil})
	is(t, "another URL", err, project.ErrInvalid)
	_, err = w.UpdateConnection(ctx, w.root, "web", "AWS_ECR", project.ConnectionEdit{Parameters: role})
	is(t, "another role", err, project.ErrInvalid)
	_, err = w.UpdateConnection(ctx, w.root, "web", "AWS_ECR", project.ConnectionEdit{URL: &evil})
	is(t, "another API", err, project.ErrInvalid)
	x := must[*project.Connection](t)(w.UpdateConnection(ctx, w.root, "web", "hub", project.ConnectionEdit{URL: &evil, Parameters: map[string]string{"password": "other"}}))
	if x.URL != evil || !slices.Equal(x.Secrets, []string{"password"}) || x.Parameters["username"] != "me" {
		t.Errorf("%+v", x)
	}
	x = must[*project.Connection](t)(w.UpdateConnection(ctx, w.root, "web", "hub", project.ConnectionEdit{Parameters: map[string]string{"username": "you"}}))
	if x.Parameters["username"] != "you" || len(x.Secrets) != 1 {
		t.Errorf("%+v", x)
	}
	_, err = w.UpdateConnection(ctx, w.root, "web", "hub", project.ConnectionEdit{Parameters: map[string]string{"password": ""}})
	is(t, "a password that must be there", err, project.ErrInvalid)
	scheme := "WorkloadIdentityFederation"
	x = must[*project.Connection](t)(w.UpdateConnection(ctx, w.root, "web", "AWS_ECR", project.ConnectionEdit{Scheme: &scheme, Parameters: role}))
	if len(x.Secrets) != 0 || x.Scheme != scheme || x.Parameters["username"] != "" {
		t.Errorf("%+v", x)
	}
}

func TestEnvironment(t *testing.T) { each(t, testEnvironment) }

func testEnvironment(t *testing.T, w *world) {
	ctx := t.Context()
	_, l := w.project()
	second := must[*project.Pipeline](t)(w.CreatePipeline(ctx, w.root, "web", project.NewPipeline{Name: "second", Repository: "web/app"}))
	var wg sync.WaitGroup
	for range 4 { // runs that are the first at the same time
		wg.Go(func() {
			if _, err := w.Environment(ctx, l.ID, "staging"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if _, err := w.Environment(ctx, second.ID, "staging"); !isUnauthorized(err) {
		t.Errorf("another pipeline: %v", err)
	}
	if a, err := w.Authorizations(ctx, w.root, "web", project.Use{Kind: project.KindEnvironment, Name: "staging"}); err != nil || len(a) != 1 || a[0].Name != l.Name {
		t.Errorf("%+v, %v", a, err)
	}
	checks := project.Checks{
		Approval: &project.Approval{Approvers: []string{"arn:aws:iam::" + account + ":group/ops"}, MinCount: 1, Instructions: "look at the tests"},
		Lock:     true, Branches: []string{"main", "refs/heads/release/*"},
		Hours: &project.Hours{Days: []time.Weekday{time.Monday}, From: "09:00", To: "17:00"},
	}
	e := must[*project.Environment](t)(w.UpdateEnvironment(ctx, w.root, "web", "staging", project.EnvironmentEdit{Checks: &checks}))
	again := must[*project.Environment](t)(w.Environment(ctx, l.ID, "STAGING"))
	if d := cmp.Diff(e, again); d != "" || e.Checks.Approval.Timeout != 30*24*time.Hour {
		t.Error(d)
	}
	for what, c := range map[string]project.Checks{
		"approver":  {Approval: &project.Approval{Approvers: []string{"ops"}}},
		"elsewhere": {Approval: &project.Approval{Approvers: []string{"arn:aws:iam::" + other + ":user/x"}}},
		"nobody":    {Approval: &project.Approval{}},
		"too many":  {Approval: &project.Approval{Approvers: []string{"arn:aws:iam::" + account + ":user/x"}, MinCount: 2}},
		"twice":     {Approval: &project.Approval{Approvers: []string{"arn:aws:iam::" + account + ":user/x", "arn:aws:iam::" + account + ":user/x"}}},
		"branch":    {Branches: []string{"refs/heads/["}},
		"hours":     {Hours: &project.Hours{Days: []time.Weekday{1}, From: "17:00", To: "09:00"}},
		"zone":      {Hours: &project.Hours{Days: []time.Weekday{1}, From: "7:00", To: "09:00", Zone: "Nowhere/At"}},
	} {
		_, err := w.UpdateEnvironment(ctx, w.root, "web", "staging", project.EnvironmentEdit{Checks: &c})
		is(t, what, err, project.ErrInvalid)
	}
	ops, dev := w.user("op", allow("pipelines:ApproveRun", "*")), w.user("dev", allow("pipelines:ApproveRun", "*"))
	if _, err := w.directory.CreateGroup(ctx, w.root, "ops", ""); err != nil {
		t.Fatal(err)
	}
	if err := w.directory.AddUserToGroup(ctx, w.root, "ops", "op"); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		c         *iam.Caller
		requested string
		want      string
	}{
		{ops, dev.ARN, checks.Approval.Approvers[0]}, {ops, ops.ARN, ""}, {dev, ops.ARN, ""}, {w.root, dev.ARN, ""},
	} {
		if got, err := w.Approver(ctx, row.c, again, row.requested); err != nil || got != row.want {
			t.Errorf("%s for %s: %q, %v", row.c.ARN, row.requested, got, err)
		}
	}
	_, err := w.Approver(ctx, w.user("passer-by"), again, dev.ARN)
	denied(t, "an approver without the permission", err)
	_, err = w.Approver(ctx, w.stranger, again, dev.ARN)
	denied(t, "a stranger", err)
}

func TestHours(t *testing.T) {
	h := &project.Hours{Days: []time.Weekday{time.Monday, time.Friday}, From: "09:00", To: "17:30"}
	for text, want := range map[string]string{ // when it is time next
		"2026-05-04T09:00:00Z": "2026-05-04T09:00:00Z", // a Monday
		"2026-05-04T08:59:59Z": "2026-05-04T09:00:00Z",
		"2026-05-04T17:30:00Z": "2026-05-08T09:00:00Z",
		"2026-05-05T12:00:00Z": "2026-05-08T09:00:00Z",
		"2026-05-09T12:00:00Z": "2026-05-11T09:00:00Z",
	} {
		now, _ := time.Parse(time.RFC3339, text)
		if got := h.Next(now).Format(time.RFC3339); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
		if h.Open(now) != (text == want) {
			t.Errorf("%s: open is %v", text, h.Open(now))
		}
	}
	if zero := (&project.Hours{}); zero.Open(time.Now()) || !zero.Next(time.Now()).IsZero() {
		t.Error("hours that are none are open")
	}
	c := &project.Checks{Branches: []string{"refs/heads/main", "refs/heads/release/**"}}
	for ref, want := range map[string]bool{"refs/heads/main": true, "refs/heads/main2": false, "refs/heads/release/1/2": true, "refs/tags/main": false, "": false} {
		if c.BranchAllowed(ref) != want {
			t.Errorf("%s: %v", ref, !want)
		}
	}
}

// TestWhoMayWhat is every call against policies that allow it, and against all others.
func TestWhoMayWhat(t *testing.T) {
	w := newSQLite(t)
	ctx := t.Context()
	_, l := w.project()
	connect(t, w, "conn")
	group(t, w)
	must[*project.Environment](t)(w.CreateEnvironment(ctx, w.root, "web", project.NewEnvironment{Name: "env"}))
	base := "arn:aws:pipelines:" + region + ":" + account + ":project/web"
	s := ""
	calls := []struct {
		action, arn string
		call        func(ctx context.Context, c *iam.Caller, project, name string) error
		name        string
	}{
		{"DescribeProject", base, func(ctx context.Context, c *iam.Caller, p, _ string) error {
			_, err := w.DescribeProject(ctx, c, p)
			return err
		}, ""},
		{"UpdateProject", base, func(ctx context.Context, c *iam.Caller, p, _ string) error {
			_, err := w.UpdateProject(ctx, c, p, project.ProjectEdit{Description: &s})
			return err
		}, ""},
		{"UpdateProject", base, func(ctx context.Context, c *iam.Caller, p, _ string) error {
			_, err := w.RestoreRole(ctx, c, p)
			return err
		}, ""},
		{"ListProjects", "*", func(ctx context.Context, c *iam.Caller, _, _ string) error {
			_, _, err := w.ListProjects(ctx, c, project.Page{})
			return err
		}, ""},
		{"ListPipelines", base, func(ctx context.Context, c *iam.Caller, p, _ string) error {
			_, _, err := w.ListPipelines(ctx, c, p, project.Page{})
			return err
		}, ""},
		{"DescribePipeline", base + "/pipeline/build image", func(ctx context.Context, c *iam.Caller, p, n string) error {
			_, err := w.DescribePipeline(ctx, c, p, n)
			return err
		}, l.Name},
		{"DescribePipeline", base + "/pipeline/build image", func(ctx context.Context, c *iam.Caller, p, n string) error {
			_, err := w.PipelineVariables(ctx, c, p, n)
			return err
		}, l.Name},
		{"UpdatePipeline", base + "/pipeline/build image", func(ctx context.Context, c *iam.Caller, p, n string) error {
			_, err := w.UpdatePipeline(ctx, c, p, n, project.PipelineEdit{Folder: &s})
			return err
		}, l.Name},
		{"UpdatePipeline", base + "/pipeline/build image", func(ctx context.Context, c *iam.Caller, p, n string) error {
			return w.SetPipelineVariable(ctx, c, p, n, project.Variable{Name: "v", Value: "x"})
		}, l.Name},
		{"UpdatePipeline", base + "/pipeline/build image", func(ctx context.Context, c *iam.Caller, p, n string) error {
			return w.DeletePipelineVariable(ctx, c, p, n, "v")
		}, l.Name},
		{"ListVariableGroups", base, func(ctx context.Context, c *iam.Caller, p, _ string) error {
			_, _, err := w.ListGroups(ctx, c, p, project.Page{})
			return err
		}, ""},
		{"DescribeVariableGroup", base + "/variables/prod", func(ctx context.Context, c *iam.Caller, p, n string) error {
			_, err := w.DescribeGroup(ctx, c, p, n)
			return err
		}, "prod"},
		{"UpdateVariableGroup", base + "/variables/prod", func(ctx context.Context, c *iam.Caller, p, n string) error {
			_, err := w.UpdateGroup(ctx, c, p, n, project.GroupEdit{Description: &s})
			return err
		}, "prod"},
		{"UpdateVariableGroup", base + "/variables/prod", func(ctx context.Context, c *iam.Caller, p, n string) error {
			return w.SetGroupVariable(ctx, c, p, n, project.Variable{Name: "v", Value: "x"})
		}, "prod"},
		{"UpdateVariableGroup", base + "/variables/prod", func(ctx context.Context, c *iam.Caller, p, n string) error {
			return w.DeleteGroupVariable(ctx, c, p, n, "v")
		}, "prod"},
		{"AuthorizePipeline", base + "/variables/prod", func(ctx context.Context, c *iam.Caller, p, n string) error {
			return w.Authorize(ctx, c, p, project.Use{Kind: project.KindGroup, Name: n}, "")
		}, "prod"},
		{"ListConnections", base, func(ctx context.Context, c *iam.Caller, p, _ string) error {
			_, _, err := w.ListConnections(ctx, c, p, project.Page{})
			return err
		}, ""},
		{"DescribeConnection", base + "/connection/conn", func(ctx context.Context, c *iam.Caller, p, n string) error {
			_, err := w.DescribeConnection(ctx, c, p, n)
			return err
		}, "conn"},
		{"UpdateConnection", base + "/connection/conn", func(ctx context.Context, c *iam.Caller, p, n string) error {
			_, err := w.UpdateConnection(ctx, c, p, n, project.ConnectionEdit{Description: &s})
			return err
		}, "conn"},
		{"AuthorizePipeline", base + "/connection/conn", func(ctx context.Context, c *iam.Caller, p, n string) error {
			return w.Authorize(ctx, c, p, project.Use{Kind: project.KindConnection, Name: n}, l.Name)
		}, "conn"},
		{"AuthorizePipeline", base + "/connection/conn", func(ctx context.Context, c *iam.Caller, p, n string) error {
			_, err := w.Authorizations(ctx, c, p, project.Use{Kind: project.KindConnection, Name: n})
			return err
		}, "conn"},
		{"AuthorizePipeline", gitARN + "web/lib", func(ctx context.Context, c *iam.Caller, p, n string) error {
			return w.Authorize(ctx, c, p, project.Use{Kind: project.KindRepository, Name: n}, l.Name)
		}, "web/lib"},
		{"ListEnvironments", base, func(ctx context.Context, c *iam.Caller, p, _ string) error {
			_, _, err := w.ListEnvironments(ctx, c, p, project.Page{})
			return err
		}, ""},
		{"DescribeEnvironment", base + "/environment/env", func(ctx context.Context, c *iam.Caller, p, n string) error {
			_, err := w.DescribeEnvironment(ctx, c, p, n)
			return err
		}, "env"},
		{"UpdateEnvironment", base + "/environment/env", func(ctx context.Context, c *iam.Caller, p, n string) error {
			_, err := w.UpdateEnvironment(ctx, c, p, n, project.EnvironmentEdit{Description: &s})
			return err
		}, "env"},
		{"CreatePipeline", base + "/pipeline/p2", func(ctx context.Context, c *iam.Caller, p, n string) error {
			_, err := w.CreatePipeline(ctx, c, p, project.NewPipeline{Name: n, Repository: "https://example.com/r", RepositoryKind: project.RepositoryExternal})
			return err
		}, "p2"},
		{"CreateVariableGroup", base + "/variables/g2", func(ctx context.Context, c *iam.Caller, p, n string) error {
			_, err := w.CreateGroup(ctx, c, p, project.NewGroup{Name: n})
			return err
		}, "g2"},
		{"CreateConnection", base + "/connection/c2", func(ctx context.Context, c *iam.Caller, p, n string) error {
			_, err := w.CreateConnection(ctx, c, p, project.NewConnection{Name: n, Type: "sekisho"})
			return err
		}, "c2"},
		{"CreateEnvironment", base + "/environment/e2", func(ctx context.Context, c *iam.Caller, p, n string) error {
			_, err := w.CreateEnvironment(ctx, c, p, project.NewEnvironment{Name: n})
			return err
		}, "e2"},
		{"DeletePipeline", base + "/pipeline/p2", w.DeletePipeline, "p2"},
		{"DeleteVariableGroup", base + "/variables/g2", w.DeleteGroup, "g2"},
		{"DeleteConnection", base + "/connection/c2", w.DeleteConnection, "c2"},
		{"DeleteEnvironment", base + "/environment/e2", w.DeleteEnvironment, "e2"},
	}
	for i, row := range calls {
		t.Run(fmt.Sprint(i, row.action), func(t *testing.T) {
			without := w.user(fmt.Sprint("without", i), allow("*", "*"), `{"Effect":"Deny","Action":"pipelines:`+row.action+`","Resource":"`+row.arn+`"}`)
			d := denied(t, "all but this", row.call(ctx, without, "web", row.name))
			if d.Action != "pipelines:"+row.action || d.Resource != row.arn {
				t.Errorf("asked for %s on %s", d.Action, d.Resource)
			}
			for what, c := range map[string]*iam.Caller{"a stranger": w.user(fmt.Sprint("stranger", i)), "nobody": nil} {
				there := row.call(ctx, c, "web", row.name)
				denied(t, what, there)
				if row.arn != "*" && row.name == "" {
					elsewhere := row.call(ctx, c, "nowhere", row.name)
					if a, b := there.Error(), strings.ReplaceAll(elsewhere.Error(), "nowhere", "web"); c != nil && a != b {
						t.Errorf("what is there is told from what is not: %q, %q", a, b)
					}
				}
			}
			just := w.user(fmt.Sprint("just", i), allow("pipelines:"+row.action, row.arn))
			if err := row.call(ctx, just, "web", row.name); err != nil {
				t.Errorf("with just the permission: %v", err)
			}
		})
	}
}

// TestLinkNeedsTheSecret is a variable group that would show its author a secret which it may not read.
func TestLinkNeedsTheSecret(t *testing.T) {
	w := newSQLite(t)
	ctx := t.Context()
	w.project()
	group(t, w)
	c := w.user("dev", allow("pipelines:*", "*"))
	_, err := w.CreateGroup(ctx, c, "web", project.NewGroup{Name: "mine", Secret: "db"})
	if d := denied(t, "link", err); d.Action != "secretsmanager:GetSecretValue" {
		t.Error(d)
	}
	must[*project.VariableGroup](t)(w.CreateGroup(ctx, c, "web", project.NewGroup{Name: "mine"}))
	db := "db"
	_, err = w.UpdateGroup(ctx, c, "web", "mine", project.GroupEdit{Secret: &db})
	denied(t, "link later", err)
	for name, value := range map[string]string{"text": "text", "list": "[]", "names": `{"a$b":"x"}`} {
		if _, _, err := w.secrets.Create(ctx, w.root, secretDraft(name, value)); err != nil {
			t.Fatal(err)
		}
		_, err := w.CreateGroup(ctx, w.root, "web", project.NewGroup{Name: name, Secret: name})
		is(t, name, err, project.ErrInvalid)
	}
}
