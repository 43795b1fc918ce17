package run_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/issuer"
	"github.com/sekisho/sekisho/internal/pool"
	"github.com/sekisho/sekisho/internal/project"
	"github.com/sekisho/sekisho/internal/run"
)

// asJob is a caller with the token of a job.
func (w *world) asJob(id string) *iam.Caller {
	return (&iam.Principal{
		Account: account, Type: iam.AssumedRole, ARN: "arn:aws:sts::" + account + ":assumed-role/web/build-1", AccessKeyID: "SKJTAAAAAAAAAAAAAAAA",
		Session: &iam.Session{Keys: map[string][]string{"pipelines:job": {id}}},
	}).Caller()
}

// claims are what a token says.
func claims(t *testing.T, token string) (c struct {
	Sub, Aud, Job string
	RunID         int64 `json:"run_id"`
}) {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is no token", token)
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err == nil {
		err = json.Unmarshal(text, &c)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// recorded counts what the record has of identity tokens.
func (w *world) recorded() (given, refused int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, ch := range w.changes {
		if ch.Action == run.IdentityAction {
			given++
		}
	}
	for _, ch := range w.refused {
		if ch.Action == run.IdentityAction {
			refused++
		}
	}
	return given, refused
}

// A job gets tokens of its own identity, while it runs, and so many; each is in the record, and so is each refusal.
func TestIdentityToken(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.agent("one")
		w.start("jobs:\n- job: A\n  steps:\n  - script: x\n- job: B\n  dependsOn: A\n  steps:\n  - script: x\n")
		j, c := w.take(a)
		id := j.ID + "#1"
		ask := func(id, audience string) error {
			t.Helper()
			token, err := w.IdentityToken(t.Context(), w.asJob(id), audience)
			if (token == "") != (err != nil) {
				t.Errorf("%q, %v", token, err)
			}
			return err
		}
		token, err := w.IdentityToken(t.Context(), w.asJob(id), "elsewhere")
		if err != nil {
			t.Fatal(err)
		}
		if got := claims(t, token); got.Aud != "elsewhere" || got.RunID != j.Identity.Run || got.Job != "A" || got.Sub != project.Subject(&j.Identity) {
			t.Errorf("%+v", got)
		}
		if given, refused := w.recorded(); given != 1 || refused != 0 {
			t.Errorf("the record has %d and %d", given, refused)
		}
		if _, err := w.IdentityToken(t.Context(), w.root, "x"); !errors.Is(err, run.ErrNoJob) {
			t.Errorf("root: %v", err)
		}
		for _, other := range []string{j.ID + "#2", j.ID + "x#1", "", "#1"} {
			if err := ask(other, "x"); err == nil {
				t.Errorf("the token of job %q was good", other)
			}
		}
		if err := ask(id, strings.Repeat("a", 5000)); !isA[*issuer.AudienceError](err) {
			t.Errorf("a long audience: %v", err)
		}
		n := 0
		for ; n < 200 && err == nil; n++ {
			err = ask(id, "x")
		}
		if !errors.Is(err, iam.ErrThrottled) {
			t.Errorf("after %d: %v", n, err)
		}
		w.complete(c, work.Succeeded)
		if err := ask(id, "x"); !errors.Is(err, work.ErrClaimLost) {
			t.Errorf("after the end: %v", err)
		}
		next, c := w.take(a)
		if err := ask(next.ID+"#1", "x"); err != nil { // what others took is theirs
			t.Error(err)
		}
		w.complete(c, work.Succeeded)
		if given, refused := w.recorded(); given < 50 || refused < 5 {
			t.Errorf("the record has %d and %d", given, refused)
		}

		w.repos.commit("refs/pull/7/merge", map[string]string{"azure-pipelines.yml": "steps:\n- script: x\n"})
		if _, err := w.Start(t.Context(), w.root, run.StartRequest{Project: "web", Pipeline: "build", Ref: "refs/pull/7/merge"}); err != nil {
			t.Fatal(err)
		}
		if err := w.pools.SetCapabilities(t.Context(), w.root, "Default", "one", map[string]string{pool.Outside: "true"}); err != nil {
			t.Fatal(err)
		}
		if a, err = w.pools.Agent(t.Context(), a.ID); err != nil {
			t.Fatal(err)
		}
		outside, c := w.take(a)
		if err := ask(outside.ID+"#1", "x"); !errors.Is(err, project.ErrUntrusted) {
			t.Errorf("a pull request from outside: %v", err)
		}
		w.complete(c, work.Succeeded)
	})
}

func isA[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}
