package builder_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/sekisho/sekisho/internal/agent/builder"
)

// machine runs programs in an environment of the test's own.
type machine struct {
	env []string
	log *record
}

func (m *machine) Getenv(name string) string {
	for _, kv := range slices.Backward(m.env) {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			return v
		}
	}
	return ""
}

func (m *machine) Look(name string) (string, error) { return exec.LookPath(name) }

func (m *machine) Run(ctx context.Context, c builder.Command) error {
	cmd := exec.CommandContext(ctx, c.Path, c.Args...)
	cmd.Env, cmd.Dir, cmd.Stdin = append(m.env[:len(m.env):len(m.env)], c.Env...), c.Dir, c.Stdin
	cmd.Stdout, cmd.Stderr = c.Stdout, c.Stderr
	if cmd.Stdout == nil {
		cmd.Stdout = m.log
	}
	if cmd.Stderr == nil {
		cmd.Stderr = m.log
	}
	if c.Stdout != nil && c.Stdout == c.Stderr {
		cmd.Stderr = cmd.Stdout // one pipe, so that there is one writer
	}
	m.log.Line("+ " + c.Path + " " + strings.Join(c.Args, " "))
	return cmd.Run()
}

// record is a log that is kept.
type record struct {
	mu   sync.Mutex
	text bytes.Buffer
	open int
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(p)
}

func (r *record) Line(text string)    { fmt.Fprintln(r, text) }
func (r *record) Warning(text string) { r.Line("warning: " + text) }
func (r *record) Error(text string)   { r.Line("error: " + text) }
func (r *record) Group(title string) func() {
	r.Line("> " + title)
	r.open++
	return func() { r.open--; r.Line("<") }
}
func (r *record) Progress(percent int, operation string) {
	r.Line(fmt.Sprintf("%d%% %s", percent, operation))
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

// require skips a test whose program is missing, or fails it where all must be there.
func require(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
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
}

// newMachine has folders of its own, and storage and limits that containers can have inside of one.
func newMachine(t *testing.T, insecure string) *machine {
	t.Helper()
	home := t.TempDir()
	run, err := os.MkdirTemp("", "run") // short: it holds sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(run) })
	for name, text := range map[string]string{
		"registries.conf": fmt.Sprintf("unqualified-search-registries = []\n[[registry]]\nlocation = %q\ninsecure = true\n", insecure),
		"storage.conf":    fmt.Sprintf("[storage]\ndriver = \"vfs\"\ngraphroot = %q\nrunroot = %q\n", filepath.Join(home, "storage"), filepath.Join(run, "storage")),
		"containers.conf": fmt.Sprintf("[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n[engine]\nruntime = \"runc\"\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\nlock_type = \"file\"\ntmp_dir = %q\n", filepath.Join(run, "libpod")),
	} {
		if err := os.WriteFile(filepath.Join(home, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return &machine{log: &record{}, env: []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + run, "XDG_RUNTIME_DIR=" + run,
		"CONTAINERS_CONF=" + filepath.Join(home, "containers.conf"), "CONTAINERS_STORAGE_CONF=" + filepath.Join(home, "storage.conf"),
		"CONTAINERS_REGISTRIES_CONF=" + filepath.Join(home, "registries.conf"),
	}}
}

// serve starts a program that listens on a socket, until the test ends.
func (m *machine) serve(t *testing.T, socket, program string, args ...string) {
	t.Helper()
	var out bytes.Buffer
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	cmd := exec.Command(program, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = m.env, &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		<-ended
	})
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if c, err := net.Dial("unix", socket); err == nil {
			c.Close()
			return
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("%s ended: %v\n%s", program, err, out.String())
		case <-ctx.Done():
			t.Fatalf("%s does not listen at %s", program, socket)
		case <-tick.C:
		}
	}
}

// scene is a folder with an image to build, and a registry.
type scene struct {
	*machine
	folder, host string
	options      builder.Options
}

func newScene(t *testing.T) *scene {
	t.Helper()
	plain := httptest.NewServer(registry.New(registry.Logger(log.New(bytes.NewBuffer(nil), "", 0))))
	t.Cleanup(plain.Close)
	host := strings.TrimPrefix(plain.URL, "http://")
	s := &scene{machine: newMachine(t, host), folder: t.TempDir(), host: host}
	s.options = builder.Options{Runner: s.machine, Log: s.log, Auth: t.TempDir(), Store: filepath.Join(t.TempDir(), "images"), Plain: func(h string) bool { return h == host }}
	s.write(t, "Dockerfile", "FROM scratch\nARG greeting=none\nLABEL greeting=$greeting\nCOPY hello /hello\n")
	s.write(t, "hello", "hello\n")
	return s
}

func (s *scene) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.folder, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (s *scene) build(tags ...string) builder.Build {
	return builder.Build{Context: s.folder, Dockerfile: filepath.Join(s.folder, "Dockerfile"), Tags: tags,
		Labels: [][2]string{{"from", "a test, with spaces"}}, Arguments: []string{"--build-arg", "greeting=hi"}}
}

// kinds prepares each tool that a builder may be.
var kinds = map[builder.Kind]func(t *testing.T, s *scene){
	builder.Buildah: func(t *testing.T, _ *scene) { require(t, "buildah", "runc") },
	builder.Podman:  func(t *testing.T, _ *scene) { require(t, "podman", "runc") },
	builder.Docker: func(t *testing.T, s *scene) {
		require(t, "docker", "podman", "runc")
		socket := filepath.Join(s.Getenv("XDG_RUNTIME_DIR"), "engine")
		s.serve(t, socket, "podman", "system", "service", "--time=0", "unix://"+socket)
		s.env = append(s.env, "DOCKER_HOST=unix://"+socket)
	},
	builder.BuildKit: func(t *testing.T, s *scene) {
		require(t, "buildctl", "buildkitd", "runc")
		run := s.Getenv("XDG_RUNTIME_DIR")
		socket := filepath.Join(run, "buildkitd")
		s.serve(t, socket, "buildkitd", "--addr", "unix://"+socket, "--root", filepath.Join(s.Getenv("HOME"), "buildkit"),
			"--oci-worker-snapshotter=native", "--oci-worker-binary=runc", "--containerd-worker=false", "--oci-worker-net=host")
		s.env = append(s.env, "BUILDKIT_HOST=unix://"+socket)
	},
}

func TestBuilders(t *testing.T) {
	for _, kind := range builder.Kinds {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			kinds[kind](t, s)
			s.options.Use = kind
			b, err := builder.Find(t.Context(), s.options)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%s; %s", b.Describe(), b.Isolation())
			testImage(t, s, b)
			testFailure(t, s, b)
			if t.Failed() {
				t.Log(s.log.String())
			}
		})
	}
}

// testImage builds, tags, pushes, pulls and removes an image.
func testImage(t *testing.T, s *scene, b builder.Builder) {
	id, err := b.Build(t.Context(), s.build("app:1", "app:2"))
	if err != nil || !strings.HasPrefix(id, "sha256:") {
		t.Fatalf("id %q, %v\n%s", id, err, s.log)
	}
	target := s.host + "/team/app:v1"
	if err := b.Tag(t.Context(), "app:2", target); err != nil {
		t.Fatalf("%v\n%s", err, s.log)
	}
	digest, err := b.Push(t.Context(), target, nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, s.log)
	}
	ref, err := name.ParseReference(target, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	image, err := remote.Image(ref)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := image.Digest(); err != nil || digest != "" && got.String() != digest {
		t.Errorf("digest %q was told, the registry has %s, %v", digest, got, err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if l := config.Config.Labels; l["from"] != "a test, with spaces" || l["greeting"] != "hi" {
		t.Errorf("labels %v", l)
	}
	for _, r := range []string{"app:1", target} {
		if err := b.Remove(t.Context(), r); err != nil {
			t.Errorf("remove %s: %v", r, err)
		}
	}
	if err := b.Pull(t.Context(), target); err != nil {
		t.Fatalf("%v\n%s", err, s.log)
	}
	if err := b.Tag(t.Context(), target, "again:1"); err != nil {
		t.Errorf("what was pulled is not there: %v", err)
	}
	if err := b.Tag(t.Context(), "nothing:1", "again:2"); err == nil {
		t.Error("an image that is not there was tagged")
	}
}

// testFailure builds what can't be built: the error names the step, and the log is closed.
func testFailure(t *testing.T, s *scene, b builder.Builder) {
	s.write(t, "Dockerfile", "FROM scratch\nCOPY hello /hello\nCOPY missing /missing\n")
	_, err := b.Build(t.Context(), builder.Build{Context: s.folder, Dockerfile: filepath.Join(s.folder, "Dockerfile"), Tags: []string{"bad:1"}})
	if err == nil || !strings.Contains(err.Error(), "COPY missing") {
		t.Errorf("error %v, want one that names the step", err)
	}
	if s.log.open != 0 {
		t.Errorf("%d groups of the log are open", s.log.open)
	}
}

// TestPlatforms builds one image for two platforms.
func TestPlatforms(t *testing.T) {
	for _, kind := range []builder.Kind{builder.Buildah, builder.Podman, builder.BuildKit} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			kinds[kind](t, s)
			s.options.Use = kind
			b, err := builder.Find(t.Context(), s.options)
			if err != nil {
				t.Fatal(err)
			}
			target := s.host + "/app:multi"
			build := s.build(target)
			build.Arguments = append(build.Arguments, "--platform", "linux/amd64,linux/arm64")
			if _, err := b.Build(t.Context(), build); err != nil {
				t.Fatalf("%v\n%s", err, s.log)
			}
			if _, err := b.Push(t.Context(), target, nil); err != nil {
				t.Fatalf("%v\n%s", err, s.log)
			}
			ref, err := name.ParseReference(target, name.Insecure)
			if err != nil {
				t.Fatal(err)
			}
			index, err := remote.Index(ref)
			if err != nil {
				t.Fatal(err)
			}
			m, err := index.IndexManifest()
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, d := range m.Manifests {
				got = append(got, d.Platform.String())
			}
			slices.Sort(got)
			if want := []string{"linux/amd64", "linux/arm64"}; !slices.Equal(got, want) {
				t.Errorf("platforms %v, want %v", got, want)
			}
		})
	}
}

func TestNone(t *testing.T) {
	r := &absent{}
	_, err := builder.Find(t.Context(), builder.Options{Runner: r, Log: &record{}})
	if e, ok := errors.AsType[*builder.NotFoundError](err); !ok || len(e.Reasons) != len(builder.Kinds) {
		t.Errorf("error %v, want why each builder can't be used", err)
	}
	for use, says := range map[builder.Kind]string{"kaniko": "none of buildkit", builder.Podman: "podman: podman is not on the PATH"} {
		if _, err := builder.Find(t.Context(), builder.Options{Runner: r, Log: &record{}, Use: use}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: error %v, want one with %q", use, err, says)
		}
	}
}

// absent is a machine without programs.
type absent struct{}

func (absent) Getenv(string) string                       { return "" }
func (absent) Look(string) (string, error)                { return "", exec.ErrNotFound }
func (absent) Run(context.Context, builder.Command) error { return errors.New("nothing runs here") }

func TestHost(t *testing.T) {
	for ref, want := range map[string]string{
		"app": "docker.io", "library/app:1": "docker.io", "localhost/app": "localhost", "127.0.0.1:5000/app:1": "127.0.0.1:5000",
		"registry.example.com/a/b@sha256:0": "registry.example.com", "registry.example.com/": "docker.io",
	} {
		if got := builder.Host(ref); got != want {
			t.Errorf("Host(%q) = %q, want %q", ref, got, want)
		}
	}
	for address, want := range map[string]string{
		"https://registry.example.com/v1/": "registry.example.com", "registry.example.com:5000": "registry.example.com:5000", "registry.example.com/x": "registry.example.com", "http://127.0.0.1:5000": "127.0.0.1:5000",
	} {
		if got := builder.HostOf(address); got != want {
			t.Errorf("HostOf(%q) = %q, want %q", address, got, want)
		}
	}
}
