package scale

import (
	"archive/tar"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// podman returns the environment of a podman that can run containers here, or skips the test.
func podman(t *testing.T) []string {
	t.Helper()
	missing := func(why any) {
		t.Helper()
		if os.Getenv("SEKISHO_REQUIRE_TOOLS") != "" {
			t.Fatalf("podman can't be used, and SEKISHO_REQUIRE_TOOLS is set: %v", why)
		}
		t.Skipf("SKIPPED: agents in containers: %v", why)
	}
	for _, tool := range []string{"podman", "runc"} {
		if _, err := exec.LookPath(tool); err != nil {
			missing(err)
		}
	}
	conf := filepath.Join(t.TempDir(), "containers.conf")
	text := "[engine]\nruntime=\"runc\"\n[containers]\ndefault_ulimits=[\"nofile=1024:1024\",\"nproc=1024:1024\"]\n"
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	env := append(os.Environ(), "CONTAINERS_CONF="+conf)
	var image bytes.Buffer
	w := tar.NewWriter(&image)
	for _, dir := range []string{"tmp/", "usr/", "proc/", "sys/", "dev/", "etc/"} {
		if err := w.WriteHeader(&tar.Header{Name: dir, Typeflag: tar.TypeDir, Mode: 0o755}); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"lib", "lib64", "bin"} {
		if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: "usr/" + name}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	load := exec.Command("podman", "import", "-", "localhost/sekisho-scale-test:1")
	load.Env, load.Stdin = env, &image
	if out, err := load.CombinedOutput(); err != nil {
		missing(strings.TrimSpace(string(out)))
	}
	try := exec.Command("podman", "run", "--rm", "--network=host", "--volume=/usr:/usr:ro", "localhost/sekisho-scale-test:1", "/usr/bin/true")
	try.Env = env
	if out, err := try.CombinedOutput(); err != nil {
		missing(strings.TrimSpace(string(out)))
	}
	return env
}

// TestContainers does jobs in containers, also over a restart of the scaler.
func TestContainers(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts containers")
	}
	env := podman(t)
	w := newWorld(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	containers := func(o *Options) {
		changed := make(chan struct{}, 1)
		o.Kind, o.Changed = KindPodman, changed
		c, err := NewContainer(ContainerOptions{
			Engine: KindPodman, Image: "localhost/sekisho-scale-test:1", Command: []string{"/agent", "--folder", "/tmp/agent"}, Scaler: testName, Folder: w.folder, Env: env,
			Run: []string{"--network=host", "--volume=/usr:/usr:ro", "--volume=" + self + ":/agent:ro", "--tmpfs=/tmp", "--env=" + roleEnv + "=agent", "--env=PATH=/nonexistent"},
			Changed: func() {
				select {
				case changed <- struct{}{}:
				default:
				}
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		o.Template = c
		t.Cleanup(func() { // of a test that failed
			found, _ := c.List(t.Context())
			for _, f := range found {
				t.Errorf("the container %s is left", f.Name)
				_ = c.Remove(t.Context(), f.Name, f.ID)
			}
		})
	}
	w.queue.add("a", "b")
	r := w.scale(containers)
	r.said.until(t, "busy=2")
	for _, show := range [][]string{{"inspect"}, {"logs"}} {
		for _, name := range w.agents() {
			cmd := exec.Command("podman", append(show, name)...)
			cmd.Env = env
			out, err := cmd.CombinedOutput()
			if err != nil || strings.Contains(string(out), "sac_") {
				t.Errorf("podman %v has the code, or fails: %v", show, err)
			}
		}
	}
	w.queue.letGo("a")
	r.said.until(t, "busy=1", "ending=0")
	r.kill()
	_ = r.wait(t)
	again := w.scale(func(o *Options) {
		containers(o)
		o.Limits.Min = 2
	})
	again.said.until(t, "busy=1", "idle=1")
	again.words <- struct{}{}
	again.said.until(t, "idle=0", "busy=1", "ending=0", "stopping")
	w.queue.letGo("b")
	if err := again.wait(t); err != nil {
		t.Error(err)
	}
	w.queue.mu.Lock()
	defer w.queue.mu.Unlock()
	for _, job := range []string{"a", "b"} {
		if got := w.queue.results[job]; got != "succeeded" {
			t.Errorf("job %s: %q", job, got)
		}
	}
	if a, f := w.agents(), w.folders(); len(a)+len(f) > 0 {
		t.Errorf("in the end there are the agents %v and the logs %v\n%s\n%s", a, f, r.said, again.said)
	}
}
