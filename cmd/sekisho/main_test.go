package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// result is what a run of the program ended with.
type result struct {
	code           int
	stdout, stderr string
}

// sekisho runs the program. env has NAME=VALUE.
func sekisho(t *testing.T, env []string, stdin string, args ...string) result {
	t.Helper()
	var stdout, stderr output
	code := run(t.Context(), args, env, strings.NewReader(stdin), &stdout, &stderr)
	return result{code, stdout.String(), stderr.String()}
}

// want fails the test unless the run ended with a code and said something on standard error.
func (r result) want(t *testing.T, code int, stderr string) {
	t.Helper()
	if r.code != code || !strings.Contains(r.stderr, stderr) {
		t.Errorf("code %d, want %d with %q\nstdout: %s\nstderr: %s", r.code, code, stderr, r.stdout, r.stderr)
	}
}

// instance is a running `sekisho serve`.
type instance struct {
	data string
	addr string // host:port
	env  []string
	end  func() (code int) // once
	log  output
}

// output keeps what the goroutines of a server write.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

// Write implements [io.Writer].
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// stop ends the server and wants that to work.
func (in *instance) stop(t *testing.T) {
	t.Helper()
	if code := in.end(); code != 0 {
		t.Errorf("serve ended with %d\n%s", code, in.log.String())
	}
}

// start serves a fresh data folder until the test ends.
func start(t *testing.T, args ...string) *instance {
	t.Helper()
	in := &instance{data: filepath.Join(t.TempDir(), "data")}
	in.env = []string{"SEKISHO_DATA=" + in.data, "HOME=" + t.TempDir()}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, append([]string{"serve", "--listen", "127.0.0.1:0"}, args...), in.env, strings.NewReader(""), io.Discard, &in.log)
	}()
	in.end = sync.OnceValue(func() int {
		stop()
		return <-ended
	})
	t.Cleanup(func() { in.stop(t) })
	limit := time.NewTimer(20 * time.Second)
	defer limit.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if text, err := os.ReadFile(filepath.Join(in.data, "address")); err == nil {
			in.addr, _, _ = strings.Cut(string(text), "\n")
			client, url := http.DefaultClient, "http://"+in.addr
			if transport, err := trusting(filepath.Join(in.data, "ca", "ca.crt")); err == nil { // tls.auto
				client, url = &http.Client{Transport: transport}, "https://"+in.addr
				defer client.CloseIdleConnections()
			}
			if resp, err := client.Get(url + "/readyz"); err == nil {
				resp.Body.Close()
				if resp.StatusCode == http.StatusOK {
					return in
				}
			}
		}
		select {
		case code := <-ended:
			ended <- code
			t.Fatalf("serve ended with %d", code)
		case <-limit.C:
			t.Fatal("serve does not answer")
		case <-tick.C:
		}
	}
}

func TestUsage(t *testing.T) {
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{nil, 0, ""},
		{[]string{"--help"}, 0, ""},
		{[]string{"srve"}, 2, `unknown command "srve"`},
		{[]string{"serve", "extra"}, 2, "extra"},
		{[]string{"serve", "--listn", "x"}, 2, "see sekisho serve --help"},
		{[]string{"config"}, 0, ""},
		{[]string{"config", "chek"}, 2, `unknown command "chek"; see sekisho config --help`},
		{[]string{"version", "-o", "xml"}, 2, `"xml" is none of table, json, yaml`},
		{[]string{"settings", "set"}, 2, "usage: sekisho settings set NAME=VALUE..."},
		{[]string{"settings", "set", "x"}, 2, `"x" is not of the form NAME=VALUE`},
		{[]string{"settings", "set", "x=1"}, 2, `there is no setting "x"`},
		{[]string{"settings", "set", "create-on-push=yes"}, 2, `create-on-push: "yes" is neither true nor false`},
		{[]string{"settings", "get", "--data", "/nonexistent"}, 1, "name it with --data"},
		{[]string{"env", "--config", "/nonexistent.yaml"}, 2, "read configuration"},
		{[]string{"completion", "bash"}, 0, ""},
		{[]string{"ca", "issue", "--days", "0"}, 2, "--days 0: from 1 to 397"},
		{[]string{"ca", "show", "--dir", "/nonexistent"}, 1, "there is no authority in /nonexistent; make one with sekisho ca init"},
	} {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			sekisho(t, nil, "", tt.args...).want(t, tt.code, tt.want)
		})
	}
}

func TestCancelled(t *testing.T) {
	in := start(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var stderr bytes.Buffer
	code := run(ctx, []string{"settings", "get"}, in.env, strings.NewReader(""), io.Discard, &stderr)
	if code != exitUsage || stderr.String() != "sekisho: cancelled\n" {
		t.Errorf("%d, %s", code, stderr.String())
	}
}

func TestOutput(t *testing.T) {
	var v struct {
		Version, Go, Platform string
	}
	r := sekisho(t, nil, "", "version", "-o", "json")
	r.want(t, 0, "")
	if err := json.Unmarshal([]byte(r.stdout), &v); err != nil || v.Version == "" || v.Platform == "" {
		t.Errorf("%s: %v", r.stdout, err)
	}
	fromJSON := v
	r = sekisho(t, nil, "", "version", "-o", "yaml")
	if err := yaml.Unmarshal([]byte(r.stdout), &v); err != nil || v != fromJSON {
		t.Errorf("%s: %v", r.stdout, err)
	}
	if r := sekisho(t, nil, "", "version"); !strings.HasPrefix(r.stdout, "sekisho "+v.Version) {
		t.Errorf("%s", r.stdout)
	}

	var b bytes.Buffer
	if err := printYAML(&b, map[string]any{"a": "true", "b": []string{"- x", "5000"}, "c": "plain"}); err != nil {
		t.Fatal(err)
	}
	if want := "a: \"true\"\nb:\n  - '- x'\n  - \"5000\"\nc: plain\n"; b.String() != want {
		t.Errorf("got  %q\nwant %q", b.String(), want)
	}
	if got := plain("a\tb\x1b[31m\nü"); got != "a?b?[31m?ü" {
		t.Errorf("%q", got)
	}
}

func TestConfigCheck(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "sekisho.yaml")
	if err := os.WriteFile(file, []byte("region: eu-west-1\ngc:\n  interval: 2h\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := sekisho(t, []string{"SEKISHO_DATABASE_URL=postgres://u:hunter2@db/x", "SEKISHO_MASTER_KEY=" + strings.Repeat("ab", 32), "SEKISHO_LISTN=x"}, "",
		"config", "check", "--config", file, "--set", "gc.interval=3h")
	r.want(t, 0, "warning: SEKISHO_LISTN is no setting")
	for _, want := range []string{"SETTING", "eu-west-1", file + ":1", "3h", "--set gc.interval", "SEKISHO_DATABASE_URL", "default"} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("no %q in\n%s", want, r.stdout)
		}
	}
	if strings.Contains(r.stdout, "hunter2") || strings.Contains(r.stdout, "abab") {
		t.Errorf("a secret in\n%s", r.stdout)
	}

	bad := []string{"config", "check", "--set", "gc.intervall=2h", "--set", "limits.layer=lots"}
	r = sekisho(t, nil, "", bad...)
	r.want(t, 2, "the configuration is refused:\n  --set gc.intervall: unknown setting")
	r.want(t, 2, `limits.layer: "lots" is not a size`)
	if r.stdout != "" {
		t.Errorf("printed %s", r.stdout)
	}
	r = sekisho(t, nil, "", append(bad, "-o", "json")...)
	r.want(t, 2, "the configuration is refused")
	var out checkedConfig
	if err := json.Unmarshal([]byte(r.stdout), &out); err != nil || len(out.Problems) != 2 || len(out.Settings) == 0 {
		t.Errorf("%v: %s", err, r.stdout)
	}
	if r := sekisho(t, nil, "", "config", "example"); r.code != 0 || !strings.Contains(r.stdout, "#listen:") {
		t.Errorf("%+v", r)
	}
}

// TestSettings changes settings while the server runs, and asks the server.
func TestSettings(t *testing.T) {
	in := start(t)
	push := func() int {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+in.addr+"/v2/new/app/blobs/uploads/", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth(in.rootKey(t))
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	if status := push(); status != http.StatusNotFound {
		t.Fatalf("a push without a repository: %d", status)
	}
	r := sekisho(t, in.env, "", "settings", "set", "create-on-push=true", "-o", "json")
	r.want(t, 0, "")
	if !strings.Contains(r.stdout, `"create-on-push": true`) {
		t.Error(r.stdout)
	}
	if status := push(); status != http.StatusAccepted {
		t.Errorf("a push after settings set: %d", status)
	}
	r = sekisho(t, in.env, "", "settings", "get")
	r.want(t, 0, "")
	if !strings.Contains(r.stdout, "sparse-manifests  false\n") || !strings.Contains(r.stdout, "create-on-push    true\n") {
		t.Error(r.stdout)
	}
	sekisho(t, in.env, "", "settings", "get", "--account", "000000000000").want(t, 1, "no such account")
}

// rootKey returns the root access key and its secret, as sekisho env prints it.
func (in *instance) rootKey(t *testing.T) (id, secret string) {
	t.Helper()
	r := sekisho(t, in.env, "", "env")
	r.want(t, 0, "")
	for line := range strings.Lines(r.stdout) {
		name, value, _ := strings.Cut(strings.TrimSpace(strings.TrimPrefix(line, "export ")), "=")
		switch name {
		case "AWS_ACCESS_KEY_ID":
			id = value
		case "AWS_SECRET_ACCESS_KEY":
			secret = strings.Trim(value, "'")
		}
	}
	return id, secret
}

func TestMan(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "man")
	sekisho(t, nil, "", "man", dir).want(t, 0, "")
	for _, page := range []string{"sekisho.1", "sekisho-serve.1", "sekisho-config-check.1"} {
		if _, err := os.Stat(filepath.Join(dir, page)); err != nil {
			t.Error(err)
		}
	}
}
