package run_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
	"github.com/sekisho/sekisho/internal/project"
	"github.com/sekisho/sekisho/internal/run"
)

// tables are all of this package.
func (w *world) tables() []string {
	w.t.Helper()
	q := `SELECT name FROM sqlite_master WHERE type = 'table' AND (name LIKE 'run%' OR name IN ('job', 'audit', 'pool_agents'))`
	if w.db.Dialect() == meta.PostgreSQL {
		q = `SELECT tablename FROM pg_tables WHERE schemaname = current_schema() AND (tablename LIKE 'run%' OR tablename IN ('job', 'audit', 'pool_agents'))`
	}
	rows, err := w.db.Query(w.t.Context(), q)
	if err != nil {
		w.t.Fatal(err)
	}
	defer rows.Close()
	var list []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			w.t.Fatal(err)
		}
		list = append(list, name)
	}
	if err := rows.Err(); err != nil || len(list) < 20 {
		w.t.Fatalf("%d tables, %v", len(list), err)
	}
	return list
}

// absent fails the test if a text stands in any row.
func (w *world) absent(secrets ...string) {
	w.t.Helper()
	for _, table := range w.tables() {
		rows, err := w.db.Query(w.t.Context(), `SELECT * FROM `+table)
		if err != nil {
			w.t.Fatal(err)
		}
		columns, err := rows.Columns()
		if err != nil {
			w.t.Fatal(err)
		}
		for rows.Next() {
			values := make([]any, len(columns))
			into := make([]any, len(columns))
			for i := range values {
				into[i] = &values[i]
			}
			if err := rows.Scan(into...); err != nil {
				w.t.Fatal(err)
			}
			for i, v := range values {
				for _, secret := range secrets {
					if text := fmt.Sprintf("%s", v); strings.Contains(text, secret) {
						w.t.Errorf("column %s of %s has a secret", columns[i], table)
					}
				}
			}
		}
		if err := rows.Close(); err != nil {
			w.t.Fatal(err)
		}
	}
}

func TestSecrets(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.agent("one")
		w.commit(map[string]string{"azure-pipelines.yml": `
jobs:
- job: A
  steps:
  - script: x
    name: say
- job: B
  dependsOn: A
  variables:
    word: $[ dependencies.A.outputs['say.word'] ]
  steps:
  - script: x
`})
		r, err := w.Start(t.Context(), w.root, run.StartRequest{Project: "web", Pipeline: "build",
			Variables: []run.StartVariable{{Name: "given", Value: "given-secret", Secret: true}, {Name: "plain", Value: "plain-value"}}})
		if err != nil {
			t.Fatal(err)
		}
		value := func(j *work.Job, name string) (string, bool) {
			for _, v := range j.Variables {
				if v.Name == name {
					return v.Value, v.Secret
				}
			}
			return "absent", false
		}
		j, c := w.take(a)
		if v, secret := value(j, "given"); v != "given-secret" || !secret {
			t.Errorf("given is %q, secret %t", v, secret)
		}
		if v, secret := value(j, "plain"); v != "plain-value" || secret {
			t.Errorf("plain is %q, secret %t", v, secret)
		}
		err = w.Update(t.Context(), c, []work.Record{{Step: "002", Sequence: 1, Name: "say", State: work.Completed, Result: work.Succeeded,
			Outputs: []work.Variable{{Name: "word", Value: "output-secret", Secret: true}}}})
		if err != nil {
			t.Fatal(err)
		}
		w.complete(c, work.Succeeded)
		j, c = w.take(a)
		if v, secret := value(j, "word"); v != "output-secret" || !secret {
			t.Errorf("word is %q, secret %t", v, secret)
		}
		w.complete(c, work.Succeeded)
		w.wait(r.ID)
		w.idle()
		w.absent("given-secret", "output-secret", j.Token, j.Credentials.SecretAccessKey)
	})
}

func TestConnection(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		_, err := w.projects.CreateConnection(t.Context(), w.root, "web", project.NewConnection{Name: "AWS_ECR", Type: "AWS", Scheme: "UsernamePassword",
			Parameters: map[string]string{"username": "AKIAIOSFODNN7EXAMPLE", "password": "connection-secret"}})
		if err != nil {
			t.Fatal(err)
		}
		a := w.agent("one")
		yaml := "steps:\n- task: ECRPushImage@1\n  inputs: {awsCredentials: AWS_ECR, regionName: eu-west-1, sourceImageName: x, repositoryName: x}\n"
		ended := w.start(yaml)
		other := w.start("steps:\n- script: x\n")
		j, c := w.take(a)
		if j.Identity.Run != other.ID {
			t.Errorf("the job of run %d was given out", j.Identity.Run)
		}
		w.complete(c, work.Succeeded)
		w.wait(ended.ID)
		leg := w.tree(ended.ID).Stages[0].Jobs[0].Legs[0]
		if leg.Result != work.Failed || !strings.Contains(leg.Message, "sekisho pipeline permit") || !leg.Started.IsZero() {
			t.Errorf("%+v", leg)
		}
		if err := w.projects.Authorize(t.Context(), w.root, "web", project.Use{Kind: project.KindConnection, Name: "AWS_ECR"}, "build"); err != nil {
			t.Fatal(err)
		}
		w.start(yaml)
		j, c = w.take(a)
		if len(j.Endpoints) != 1 || j.Endpoints[0].Auth["password"] != "connection-secret" {
			t.Errorf("%d endpoints", len(j.Endpoints))
		}
		w.complete(c, work.Succeeded)

		// A published task may call its inputs what it likes; one that the agent knows names connections only where it does.
		for yaml, want := range map[string]int{
			"steps:\n- task: Deploy@1\n  inputs: {target: aws_ecr, other: AWS_ECR, where: nowhere}\n":           1,
			"steps:\n- task: Deploy@1\n  inputs: {targets: 'elsewhere, $(name)'}\nvariables: {name: AWS_ECR}\n": 1,
			"steps:\n- task: Docker@2\n  inputs: {repository: AWS_ECR}\n- script: AWS_ECR\n":                    0,
		} {
			w.start(yaml)
			j, c = w.take(a)
			if len(j.Endpoints) != want {
				t.Errorf("%d endpoints, want %d, with %s", len(j.Endpoints), want, yaml)
			}
			w.complete(c, work.Succeeded)
		}
		if _, err := w.projects.CreateConnection(t.Context(), w.root, "web", project.NewConnection{Name: "closed", Type: "AWS", Scheme: "UsernamePassword",
			Parameters: map[string]string{"username": "AKIAIOSFODNN7EXAMPLE", "password": "connection-secret"}}); err != nil {
			t.Fatal(err)
		}
		w.start("steps:\n- task: Deploy@1\n  inputs: {target: closed}\n")
		if j, c = w.take(a); len(j.Endpoints) != 0 {
			t.Error("a connection that the pipeline may not use")
		}
		w.complete(c, work.Succeeded)
		w.idle()
		w.absent("connection-secret")
	})
}

// TestNodes runs a pipeline on one node whose agent is at another.
func TestNodes(t *testing.T) {
	w := newWorld(t, metatest.Open(t, metatest.PostgreSQL(t)))
	there := run.New(w.db, w.blobs, w.ring, w.judge, run.Options{
		Region: region, Now: w.now, Projects: w.projects, Pools: w.pools, Repositories: w.repos, Jobs: w.jobs, Tick: 20 * time.Millisecond,
	})
	if err := there.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	here := w.Service
	a := w.agent("one")
	type taken struct {
		j   *work.Job
		err error
	}
	got := make(chan taken)
	go func() {
		j, err := there.Acquire(t.Context(), a)
		got <- taken{j, err}
	}()
	r := w.start("steps:\n- script: x\n")
	x := <-got
	if x.err != nil {
		t.Fatal(x.err)
	}
	c := run.Claim{Job: x.j.ID, Attempt: x.j.Attempt, Agent: a.ID}
	if err := there.Acknowledge(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	followed := make(chan string)
	go func() {
		var b strings.Builder
		for part, err := range here.FollowLog(t.Context(), w.root, r.ID, run.LogRef{Job: c.Job, Log: "1"}, 0) {
			if err != nil {
				t.Error(err)
				break
			}
			b.Write(part.Data)
		}
		followed <- b.String()
	}()
	if _, err := there.AppendLog(t.Context(), c, "1", 0, []byte("hello\n")); err != nil {
		t.Fatal(err)
	}
	if err := there.Complete(t.Context(), c, work.Succeeded, ""); err != nil {
		t.Fatal(err)
	}
	if text := <-followed; text != "hello\n" {
		t.Errorf("%q", text)
	}
	if done := w.wait(r.ID); done.Result != work.Succeeded {
		t.Error(show(w.tree(r.ID)))
	}
}
