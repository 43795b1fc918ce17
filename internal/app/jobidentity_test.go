package app_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	agentwork "github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/git"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/pool"
	"github.com/sekisho/sekisho/internal/project"
	"github.com/sekisho/sekisho/internal/run"
)

// TestJobIdentity is what a script does with System.OidcRequestUri and System.AccessToken, against the server as a whole.
func TestJobIdentity(t *testing.T) {
	w := serveEntrances(t)
	ctx, in := t.Context(), w.in
	root := (&iam.Principal{Account: in.Account, ARN: iam.RootARN(in.Account), Type: iam.Root, ID: in.Account}).Caller()
	if _, err := in.Projects.CreateProject(ctx, root, project.NewProject{Name: "web"}); err != nil {
		t.Fatal(err)
	}
	name := git.Name{Account: in.Account, Project: "web", Repo: "app"}
	if _, err := in.Git.Create(ctx, root, git.Draft{Name: name}); err != nil {
		t.Fatal(err)
	}
	_, err := in.Git.CommitFiles(ctx, root, name, git.NewCommit{Branch: "main", Message: "begin", Files: []git.FileChange{{Path: "azure-pipelines.yml", Data: []byte("steps:\n- script: x\n")}}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := in.Projects.CreatePipeline(ctx, root, "web", project.NewPipeline{Name: "build", Repository: "web/app"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := in.Pools.CreatePool(ctx, root, pool.Draft{Name: "Default", Open: true}); err != nil {
		t.Fatal(err)
	}
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	a, err := in.Pools.Register(ctx, root, pool.Join{Pool: "Default", Name: "one", PublicKey: der, Facts: pool.Facts{Version: "1.0.0", OS: "Linux", Arch: "X64", Host: "one"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := in.Runs.Start(ctx, root, run.StartRequest{Project: "web", Pipeline: "build"}); err != nil {
		t.Fatal(err)
	}
	wait, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	j, err := in.Runs.Acquire(wait, a)
	if err != nil {
		t.Fatal(err)
	}
	claim := run.Claim{Job: j.ID, Attempt: j.Attempt, Agent: a.ID}
	if err := in.Runs.Acknowledge(ctx, claim); err != nil {
		t.Fatal(err)
	}

	ask := func(addr, method, query, authorization, body string) (int, string) {
		t.Helper()
		r := w.request(method, agentwork.IdentityPath+query)
		r.Header.Del("Authorization")
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
		}
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
		resp, text := w.ask(addr, "", r)
		return resp.StatusCode, text
	}
	bearer := "Bearer " + j.Token
	for _, good := range []struct{ addr, query, body, audience string }{
		{w.ordinary, "", "", "sts.amazonaws.com"},
		{w.ordinary, "?api-version=7.1&serviceConnectionId=00000000-0000-0000-0000-000000000000", "{}", "sts.amazonaws.com"},
		{w.ordinary, "?audience=vault", "", "vault"},
		{w.build, "", `{"audience": "api://AzureADTokenExchange"}`, "api://AzureADTokenExchange"},
	} {
		status, text := ask(good.addr, "POST", good.query, bearer, good.body)
		var out map[string]string
		if err := json.Unmarshal([]byte(text), &out); err != nil || status != http.StatusOK || len(out) != 1 {
			t.Fatalf("%+v: %d %s", good, status, text)
		}
		var claims struct{ Sub, Aud string }
		parts := strings.Split(out["oidcToken"], ".")
		payload, err := base64.RawURLEncoding.DecodeString(parts[len(parts)/2])
		if err == nil {
			err = json.Unmarshal(payload, &claims)
		}
		if err != nil || claims.Aud != good.audience || !strings.HasSuffix(claims.Sub, ":pipeline:"+l.ID+":ref:refs/heads/main") {
			t.Errorf("%+v: %+v, %v", good, claims, err)
		}
	}
	for what, bad := range map[string]struct {
		addr, method, query, authorization, body string
		status                                   int
	}{
		"no credential":       {w.ordinary, "POST", "", "", "", 401},
		"not a token":         {w.ordinary, "POST", "", "Bearer x", "", 401},
		"somebody's password": {w.ordinary, "POST", "", w.authorization(), "", 401},
		"a method":            {w.ordinary, "GET", "", bearer, "", 405},
		"a parameter":         {w.ordinary, "POST", "?aud=x", bearer, "", 400},
		"two audiences":       {w.ordinary, "POST", "?audience=x&audience=y", bearer, "", 400},
		"two in two places":   {w.ordinary, "POST", "?audience=x", bearer, `{"audience":"y"}`, 400},
		"an audience":         {w.ordinary, "POST", "?audience=%00", bearer, "", 400},
		"a member":            {w.ordinary, "POST", "", bearer, `{"subject":"y"}`, 400},
		"a large body":        {w.ordinary, "POST", "", bearer, strings.Repeat(" ", 5000), 413},
		"another way in":      {w.console, "POST", "", bearer, "", 403},
	} {
		if status, text := ask(bad.addr, bad.method, bad.query, bad.authorization, bad.body); status != bad.status || strings.Contains(text, "oidcToken") {
			t.Errorf("%s: %d %s", what, status, text)
		}
	}
	made, err := in.Tokens.Create(ctx, root, iam.NewPersonalToken{Name: "all"})
	if err == nil {
		if status, text := ask(w.ordinary, "POST", "", "Bearer "+made.Token.Reveal(), ""); status != 403 || !strings.Contains(text, "System.AccessToken") {
			t.Errorf("a person: %d %s", status, text)
		}
	} else {
		t.Error(err)
	}
	var given int
	if err := in.DB.QueryRow(ctx, `SELECT count(*) FROM audit WHERE action = $1 AND allowed = 1 AND access_key LIKE 'SKJT%'`, run.IdentityAction).Scan(&given); err != nil || given != 4 {
		t.Errorf("the record has %d, %v", given, err)
	}
	if err := in.Runs.Complete(ctx, claim, agentwork.Succeeded, ""); err != nil {
		t.Fatal(err)
	}
	if status, text := ask(w.ordinary, "POST", "", bearer, ""); status != 401 && status != 409 {
		t.Errorf("after the end: %d %s", status, text)
	}
	until(t, func() error {
		if status, _ := ask(w.ordinary, "POST", "", bearer, ""); status != 401 {
			return errors.New("the token of an ended job is known")
		}
		return nil
	})
	if strings.Contains(w.log.String(), j.Token) {
		t.Error("the log has the token")
	}
}
