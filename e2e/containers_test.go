package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// configureContainers writes the configuration of podman, buildah and skopeo: storage of the script's own
// (vfs works on any file system and leaves no mounts behind), file locks so that no two scripts share state in memory,
// limits a container may be given inside another one, and the registries that speak plain HTTP.
func configureContainers(home, run string, registries ...string) error {
	var insecure strings.Builder
	insecure.WriteString("unqualified-search-registries = []\n")
	for _, r := range registries {
		fmt.Fprintf(&insecure, "[[registry]]\nlocation = %q\ninsecure = true\n", r)
	}
	// skopeo looks for this one in the home only.
	registriesConf := filepath.Join(".config", "containers", "registries.conf")
	if err := os.MkdirAll(filepath.Join(home, filepath.Dir(registriesConf)), 0o700); err != nil {
		return err
	}
	for name, text := range map[string]string{
		registriesConf: insecure.String(),
		"storage.conf": fmt.Sprintf("[storage]\ndriver = \"vfs\"\ngraphroot = %q\nrunroot = %q\n",
			filepath.Join(home, "storage"), filepath.Join(run, "storage")),
		"containers.conf": fmt.Sprintf(`[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
tmp_dir = %q
`, filepath.Join(run, "libpod")),
	} {
		if err := os.WriteFile(filepath.Join(home, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// cmdContainers configures podman, buildah and skopeo where the script starts its server itself: containers.
func cmdContainers(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: containers")
	}
	ts.Check(configureContainers(ts.Getenv("HOME"), ts.Getenv("XDG_RUNTIME_DIR")))
}

// cmdEngine starts what the docker command talks to, podman's service, and sets DOCKER_HOST: engine.
func cmdEngine(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: engine")
	}
	socket := filepath.Join(ts.Getenv("XDG_RUNTIME_DIR"), "engine")
	log, err := os.Create(ts.MkAbs("engine.log"))
	ts.Check(err)
	defer log.Close()
	cmd := exec.Command("podman", "system", "service", "--time=0", "unix://"+socket)
	for _, key := range []string{"PATH", "HOME", "TMPDIR", "XDG_RUNTIME_DIR", "CONTAINERS_CONF", "CONTAINERS_STORAGE_CONF"} {
		cmd.Env = append(cmd.Env, key+"="+ts.Getenv(key))
	}
	cmd.Stdout, cmd.Stderr = log, log
	ts.Check(cmd.Start())
	ts.Defer(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	})
	answers(ts, socket, "engine.log")
	ts.Setenv("DOCKER_HOST", "unix://"+socket)
}

// cmdContainerd starts what the ctr command talks to and sets CONTAINERD_ADDRESS: containerd. It keeps images and pushes them, as
// BuildKit does with the same code, and runs nothing. What one of its namespaces has another does not know.
func cmdContainerd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: containerd")
	}
	run, home := ts.Getenv("XDG_RUNTIME_DIR"), ts.Getenv("HOME")
	socket, conf := filepath.Join(run, "containerd"), filepath.Join(home, "containerd.toml")
	ts.Check(os.WriteFile(conf, fmt.Appendf(nil, `version = 2
root = %q
state = %q
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
[grpc]
address = %q
[ttrpc]
address = %q
[plugins."io.containerd.metadata.v1.bolt"]
content_sharing_policy = "isolated"
`, filepath.Join(home, "containerd"), filepath.Join(run, "containerd-state"), socket, socket+".ttrpc"), 0o600))
	log, err := os.Create(ts.MkAbs("containerd.log"))
	ts.Check(err)
	defer log.Close()
	cmd := exec.Command("containerd", "--config", conf)
	cmd.Env = []string{"PATH=" + ts.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + ts.Getenv("TMPDIR")}
	cmd.Stdout, cmd.Stderr = log, log
	ts.Check(cmd.Start())
	ts.Defer(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	})
	answers(ts, socket, "containerd.log")
	ts.Setenv("CONTAINERD_ADDRESS", socket)
}

// answers waits until something listens on a socket.
func answers(ts *testscript.TestScript, socket, log string) {
	limit := time.NewTimer(startLimit)
	defer limit.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if c, err := net.Dial("unix", socket); err == nil {
			c.Close()
			break
		}
		select {
		case <-limit.C:
			ts.Fatalf("nothing answers at %s:\n%s", socket, ts.ReadFile(log))
		case <-tick.C:
		}
	}
}
