package task_test

import (
	"bytes"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/sekisho/sekisho/internal/agent/work"
)

const (
	user     = "builder"
	password = "correct-horse-battery"
)

// images is a step on a machine with buildah, and a registry that wants a password.
func images(t *testing.T) (*step, string) {
	t.Helper()
	for _, p := range []string{"buildah", "runc"} {
		if _, err := exec.LookPath(p); err != nil {
			if os.Getenv("SEKISHO_REQUIRE_TOOLS") != "" {
				t.Fatalf("SEKISHO_REQUIRE_TOOLS is set and %s is missing", p)
			}
			t.Skipf("SKIPPED: %s is not installed", p)
		}
	}
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: containers are tested as root")
	}
	under := registry.New(registry.Logger(log.New(&bytes.Buffer{}, "", 0)))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, p, ok := r.BasicAuth(); !ok || u != user || p != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		under.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	s := newStep(t)
	home, run := t.TempDir(), t.TempDir()
	for name, text := range map[string]string{
		"storage.conf":    fmt.Sprintf("[storage]\ndriver = \"vfs\"\ngraphroot = %q\nrunroot = %q\n", home+"/storage", run),
		"containers.conf": "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n[engine]\nruntime = \"runc\"\ncgroup_manager = \"cgroupfs\"\n",
	} {
		if err := os.WriteFile(filepath.Join(home, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.env = append(s.env, "HOME="+home, "CONTAINERS_CONF="+home+"/containers.conf", "CONTAINERS_STORAGE_CONF="+home+"/storage.conf")
	s.variables["sekisho.builder"] = "buildah"
	s.variables["build.sourceversion"] = "0123456789abcdef"
	s.job.Endpoints = []work.Endpoint{{ID: "e1", Name: "registry", Type: "dockerregistry", URL: srv.URL, Scheme: "UsernamePassword",
		Auth: map[string]string{"registry": srv.URL, "username": user, "password": password}}}
	s.file("app/Dockerfile", "FROM scratch\nCOPY hello /hello\n")
	s.file("app/hello", "hello\n")
	return s, strings.TrimPrefix(srv.URL, "http://")
}

func pushed(t *testing.T, ref string) map[string]string {
	t.Helper()
	r, err := name.ParseReference(ref, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	image, err := remote.Image(r, remote.WithAuth(&authn.Basic{Username: user, Password: password}))
	if err != nil {
		t.Fatalf("%s: %v", ref, err)
	}
	c, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	return c.Config.Labels
}

func TestDockerBuildAndPush(t *testing.T) {
	s, host := images(t)
	if err := s.run("Docker@2", "containerRegistry", "registry", "repository", "Team/App", "command", "buildAndPush", "tags", "v1\nv2, v3"); err != nil {
		t.Fatalf("%v\n%s", err, s.log())
	}
	for _, tag := range []string{"v1", "v2", "v3"} {
		if l := pushed(t, host+"/team/app:"+tag); l["com.azure.dev.image.build.sourceversion"] != "0123456789abcdef" {
			t.Errorf("labels %v", l)
		}
	}
	if strings.Contains(s.log(), password) {
		t.Error("the password is in the log")
	}
	if len(s.secrets) == 0 || s.secrets[0] != password {
		t.Errorf("masked: %d values", len(s.secrets))
	}
	if out, err := os.ReadFile(s.outputs["DockerOutput"]); err != nil || !strings.Contains(string(out), "pushed "+host+"/team/app:v2 sha256:") {
		t.Errorf("DockerOutput: %s, %v", out, err)
	}
}

// TestDockerSteps logs in, builds and pushes in steps of their own, as pipelines do.
func TestDockerSteps(t *testing.T) {
	s, host := images(t)
	for _, in := range [][]string{
		{"command", "login", "containerRegistry", "registry"},
		{"command", "build", "repository", "app", "Dockerfile", "app/Dockerfile", "arguments", "--build-arg x='a b'", "addPipelineData", "false"},
		{"command", "push", "repository", "app"},
	} {
		if err := s.run("Docker@2", in...); err != nil {
			t.Fatalf("%v: %v\n%s", in, err, s.log())
		}
	}
	if l := pushed(t, host+"/app:7"); l["com.azure.dev.image.build.sourceversion"] != "" {
		t.Errorf("labels %v", l)
	}
	config := s.variables["docker_config"]
	if info, err := os.Stat(filepath.Join(config, "config.json")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("credentials: %v, %v", info, err)
	}
	if len(s.after) != 1 {
		t.Fatalf("%d steps at the end, want one that logs out", len(s.after))
	}
	if err := s.run("Docker@2", "command", "logout", "containerRegistry", "registry"); err != nil {
		t.Fatal(err)
	}
	if err := s.run("Docker@2", "command", "push", "containerRegistry", "", "repository", host+"/app"); err == nil {
		t.Error("pushed after logout")
	}
}

func TestDockerMistakes(t *testing.T) {
	s, _ := images(t)
	for says, in := range map[string][]string{
		`no service connection "nobody"`:    {"command", "login", "containerRegistry", "nobody"},
		"input required: containerRegistry": {"command", "login"},
		"no file is like":                   {"command", "build", "repository", "x", "Dockerfile", "**/Containerfile"},
		"there is no file":                  {"command", "build", "repository", "x", "Dockerfile", "Dockerfile.none"},
		"there is no folder":                {"command", "build", "repository", "x", "buildContext", "none"},
		"arguments: a quotation mark":       {"command", "build", "repository", "x", "arguments", `--label "a`},
		"needs docker or podman":            {"command", "images"},
		`the builder "kaniko" is none of`:   nil,
		"push " + "none:7":                  {"command", "push", "repository", "none"},
	} {
		s.variables["sekisho.builder"] = "buildah"
		if in == nil {
			s.variables["sekisho.builder"] = "kaniko"
			in = []string{"command", "build", "repository", "x"}
		}
		if err := s.run("Docker@2", in...); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v: error %v, want one with %q", in, err, says)
		}
	}
}

func TestDockerfileFound(t *testing.T) {
	s, _ := images(t)
	s.file("deep/er/Dockerfile", "FROM scratch AS base\nFROM base\nFROM --platform=linux/amd64 example.com/last:1 AS x\nFROM x\n")
	if err := s.run("Docker@2", "command", "build", "repository", "first"); err != nil {
		t.Fatalf("%v\n%s", err, s.log())
	}
	if diff := cmp.Diff(true, strings.Contains(s.log(), "2 files are like")); diff != "" {
		t.Error(s.log())
	}
}
