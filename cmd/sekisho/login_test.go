package main

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// stored returns the user name and password that a client's file has for a registry.
func stored(t *testing.T, file, registry string) (username, password string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Auths map[string]struct{ Auth []byte }
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	username, password, _ = strings.Cut(string(doc.Auths[registry].Auth), ":")
	return username, password
}

func TestLogin(t *testing.T) {
	in := start(t)
	id, secret := in.rootKey(t)
	docker := filepath.Join(t.TempDir(), "docker")
	podman := filepath.Join(t.TempDir(), "auth.json")
	with := func(env []string, more ...string) []string { return slices.Concat(env, more) }
	env := with(in.env, "DOCKER_CONFIG="+docker, "REGISTRY_AUTH_FILE="+podman)
	_, p, _ := strings.Cut(in.addr, ":")
	aws := with(env, "AWS_ACCESS_KEY_ID="+id, "AWS_SECRET_ACCESS_KEY="+secret, "SEKISHO_DATA=/nonexistent")
	for _, tt := range []struct {
		name     string
		env      []string
		stdin    string
		args     []string
		registry string // "": nothing is stored
		code     int
		stderr   string
	}{
		{"local", env, "", nil, in.addr, 0, ""},
		{"local, by another name", env, "", []string{"localhost:" + p}, "localhost:" + p, 0, ""},
		{"local, with its scheme", env, "", []string{"http://" + in.addr + "/"}, in.addr, 0, ""},
		{"local, a key given", env, secret + "\n", []string{"--username", id, "--password-stdin"}, in.addr, 0, ""},
		{"environment", aws, "", []string{in.addr}, in.addr, 0, ""},
		{"podman", env, "", []string{"--client", "podman"}, in.addr, 0, "give podman --tls-verify=false"},

		{"wrong password", env, "wrong", []string{"-u", id, "--password-stdin", in.addr}, "", 4, "refused to sign in " + id + ": the credentials are not valid"},
		{"wrong environment", with(aws, "AWS_SECRET_ACCESS_KEY=wrong"), "", []string{in.addr}, "", 4, "(the credential is from AWS_ACCESS_KEY_ID)"},
		{"a session's key", with(aws, "AWS_SESSION_TOKEN=x"), "", []string{in.addr}, "", 2, "aws ecr get-login-password"},
		{"no credential for another host", env, "", []string{"registry.example.com"}, "", 2, "there is no credential for registry.example.com: give --username"},
		{"no data folder", with(env, "SEKISHO_DATA=/nonexistent"), "", []string{"registry.example.com"}, "", 2, "there is no credential for registry.example.com: give --username"},
		{"no data folder, no host", with(env, "SEKISHO_DATA=/nonexistent"), "", nil, "", 1, "name it with --data"},
		{"a path", env, "", []string{"registry.example.com/team"}, "", 2, "is not host or host:port"},
		{"another scheme", env, "", []string{"ftp://x"}, "", 2, "http or https"},
		{"half a user", env, "", []string{"-u", "x", in.addr}, "", 2, "go together"},
		{"no password", env, "\n", []string{"-u", "x", "--password-stdin", in.addr}, "", 2, "there is no password"},
		{"another client", env, "", []string{"--client", "rkt"}, "", 2, "neither docker nor podman"},
		{"https where http is", env, "x", []string{"-u", "x", "--password-stdin", "https://" + in.addr}, "", 1, "speaks plain HTTP; if that is meant"},
		{"nobody there", env, "x", []string{"-u", "x", "--password-stdin", "127.0.0.1:1"}, "", 1, "127.0.0.1:1 can't be reached"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := sekisho(t, tt.env, tt.stdin, append([]string{"login"}, tt.args...)...)
			r.want(t, tt.code, tt.stderr)
			if strings.Contains(r.stdout+r.stderr, secret) {
				t.Errorf("the secret is in\n%s%s", r.stdout, r.stderr)
			}
			file := filepath.Join(docker, "config.json")
			if len(tt.args) > 1 && tt.args[1] == "podman" {
				file = podman
			}
			if tt.registry == "" {
				if _, err := os.Stat(file); err == nil {
					t.Error("something was stored")
				}
				return
			}
			if gotID, gotSecret := stored(t, file, tt.registry); gotID != id || gotSecret != secret {
				t.Errorf("stored %q", gotID)
			}
			if !strings.Contains(r.stdout, "Signed in to "+tt.registry+" as "+id) {
				t.Error(r.stdout)
			}
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestVerifyElsewhere signs in to servers that are not ours.
func TestVerifyElsewhere(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("followed a redirect, with %q", r.Header.Get("Authorization"))
	}))
	defer elsewhere.Close()
	for _, tt := range []struct {
		name string
		h    http.HandlerFunc
		tls  bool
		code int
		want string
	}{
		{"tokens", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Www-Authenticate", `Bearer realm="https://auth.example.com/token"`)
			w.WriteHeader(http.StatusUnauthorized)
		}, false, 1, "wants Bearer authentication"},
		{"no registry", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }, false, 1, "does not answer as a registry does: GET /v2/ is 404"},
		{"a redirect", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, http.StatusFound) }, false, 1, "302"},
		{"refused", func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") == "" {
				w.Header().Set("Www-Authenticate", `Basic realm="x"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			w.WriteHeader(http.StatusForbidden)
			w.Write([]byte(`{"errors":[{"code":"DENIED","message":"not \u001b[31mfrom here"}]}`))
		}, false, 4, "not ?[31mfrom here"},
		{"overloaded", func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "" {
				w.WriteHeader(http.StatusTooManyRequests)
			}
		}, false, 1, "429 Too Many Requests"},
		{"unknown authority", func(http.ResponseWriter, *http.Request) {}, true, 1, "SSL_CERT_FILE"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			srv := httptest.NewUnstartedServer(tt.h)
			srv.Config.ErrorLog = log.New(io.Discard, "", 0)
			if tt.tls {
				srv.StartTLS()
			} else {
				srv.Start()
			}
			defer srv.Close()
			_, host, _ := strings.Cut(srv.URL, "://")
			dir := t.TempDir()
			r := sekisho(t, []string{"DOCKER_CONFIG=" + dir}, "s3cret", "login", "-u", "me", "--password-stdin", host)
			r.want(t, tt.code, tt.want)
			if strings.Contains(r.stderr, "s3cret") || strings.Contains(r.stderr, base64.StdEncoding.EncodeToString([]byte("me:s3cret"))) {
				t.Errorf("the password is in %s", r.stderr)
			}
			if left, _ := os.ReadDir(dir); len(left) > 0 {
				t.Errorf("stored %v", left)
			}
		})
	}
}
