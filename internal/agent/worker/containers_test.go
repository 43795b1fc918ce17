//go:build unix

package worker

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/agent/work"
)

// podman is podman with storage of the test's own, and an image that has a shell.
type podman struct {
	t   *testing.T
	env []string
}

const shellImage = "localhost/shell:1"

func newPodman(t *testing.T) *podman {
	t.Helper()
	if testing.Short() {
		t.Skip("containers take their time")
	}
	needs(t, "podman", "runc", "ldd", "bash")
	home := t.TempDir()
	run, err := os.MkdirTemp("", "pod") // short: there are sockets in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(run) })
	for name, text := range map[string]string{
		"storage.conf": fmt.Sprintf("[storage]\ndriver = \"vfs\"\ngraphroot = %q\nrunroot = %q\n", filepath.Join(home, "storage"), filepath.Join(run, "storage")),
		"containers.conf": fmt.Sprintf("[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n[engine]\nruntime = \"runc\"\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\nlock_type = \"file\"\ntmp_dir = %q\n",
			filepath.Join(run, "libpod")),
	} {
		if err := os.WriteFile(filepath.Join(home, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := &podman{t: t, env: []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "XDG_RUNTIME_DIR=" + run,
		"CONTAINERS_CONF=" + filepath.Join(home, "containers.conf"), "CONTAINERS_STORAGE_CONF=" + filepath.Join(home, "storage.conf"),
	}}
	t.Cleanup(func() { _, _ = p.try("system", "reset", "--force") })
	image := filepath.Join(home, "image.tar")
	if err := os.WriteFile(image, rootFolder(t), 0o600); err != nil {
		t.Fatal(err)
	}
	p.must("import", "--change", "ENV PATH=/bin", "--change", `CMD ["sleep", "1000"]`, image, shellImage)
	if out, err := p.try("run", "--rm", "--network", "none", shellImage, "sh", "-c", "echo works"); err != nil {
		if os.Getenv("SEKISHO_REQUIRE_TOOLS") != "" {
			t.Fatalf("podman runs no containers here: %v: %s", err, out)
		}
		t.Skipf("SKIPPED: podman runs no containers here: %v: %s", err, out)
	}
	return p
}

func (p *podman) try(args ...string) (string, error) {
	cmd := exec.Command("podman", args...)
	cmd.Env = p.env
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func (p *podman) must(args ...string) string {
	p.t.Helper()
	out, err := p.try(args...)
	if err != nil {
		p.t.Fatalf("podman %v: %v: %s", args, err, out)
	}
	return out
}

// rootFolder is an image's content: a few of this machine's programs, with the libraries they need.
func rootFolder(t *testing.T) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	seen := map[string]bool{}
	add := func(path, as string) {
		if seen[as] {
			return
		}
		seen[as] = true
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.WriteHeader(&tar.Header{Name: strings.TrimPrefix(as, "/"), Mode: 0o755, Size: int64(len(data)), ModTime: time.Unix(0, 0)}); err != nil {
			t.Fatal(err)
		}
		_, _ = w.Write(data)
	}
	for _, program := range []string{"sh", "bash", "sleep", "cat", "ls", "id", "env", "touch"} {
		path, err := exec.LookPath(program)
		if err != nil {
			t.Fatal(err)
		}
		add(path, "/bin/"+program)
		out, _ := exec.Command("ldd", path).Output()
		for f := range strings.FieldsSeq(string(out)) {
			if strings.HasPrefix(f, "/") {
				add(f, f)
			}
		}
	}
	for _, dir := range []string{"tmp/", "etc/", "proc/", "sys/", "dev/"} {
		_ = w.WriteHeader(&tar.Header{Name: dir, Typeflag: tar.TypeDir, Mode: 0o777, ModTime: time.Unix(0, 0)})
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func (p *podman) bench(steps ...work.Step) *bench {
	b := newBench(p.t, steps...)
	b.opts.Engine, b.opts.Env = "podman", append(p.env, "AGENT_OWN_SECRET=not for steps")
	b.job.Containers = []work.Container{{Alias: "box", Image: shellImage, Env: []work.Pair{{Name: "OF_CONTAINER", Value: "yes"}}}}
	return b
}

func (p *podman) clean() {
	p.t.Helper()
	if left := p.must("ps", "--all", "--quiet"); left != "" {
		p.t.Errorf("containers are left: %s", left)
	}
	if left := p.must("network", "ls", "--quiet"); strings.Contains(left, "sekisho") {
		p.t.Errorf("networks are left: %s", left)
	}
}

func TestContainers(t *testing.T) {
	p := newPodman(t)
	secret := bash("echo $OF_CONTAINER ${AGENT_OWN_SECRET:-none} $TOKEN; echo \"##vso[task.setvariable variable=x]from inside\"; echo made > made; ls /bin | cat > /dev/null; [ -e /work ] && echo outside; exit 0")
	secret.Env = []work.Pair{{Name: "TOKEN", Value: "a-secret-of-the-job"}}
	host := bash("cat made; echo $(x) ${OF_CONTAINER:-none}")
	host.Target = &work.Target{Container: "host"}
	bad := bash("echo \"##vso[task.uploadsummary]/etc/passwd\"")
	bad.ContinueOnError = "true"
	fails := bash("exit 7")
	fails.ContinueOnError = "true"
	service := bash("[ -n \"$(agent.services.db.ports.5432)\" ] && echo has a port")
	b := p.bench(secret, host, bad, fails, service)
	b.job.Container = "box"
	b.job.Masks = []string{"a-secret-of-the-job"}
	b.job.Containers = append(b.job.Containers, work.Container{Alias: "db", Image: shellImage, Ports: []string{"5432"}, Options: `--tty --env "A=b c"`})
	b.job.Services = map[string]string{"db": "db"}
	b.must(work.SucceededWithIssues)
	for id, want := range map[string]string{"s1": "yes none ***", "s2": "made\nfrom inside none", "s5": "has a port"} {
		if diff := cmp.Diff(want, b.text(id)); diff != "" {
			t.Errorf("%s: %s", id, diff)
		}
	}
	if r := b.record("s3"); r.Result != work.SucceededWithIssues || !strings.Contains(r.Message, "not on a folder that the container shares") {
		t.Errorf("a file of the container's that is none of the job's: %s %q", r.Result, r.Message)
	}
	if code := b.record("s4").ExitCode; code == nil || *code != 7 {
		t.Errorf("exit code %v", code)
	}
	p.clean()
}

func TestContainerCanceled(t *testing.T) {
	p := newPodman(t)
	s := bash("trap 'echo was asked > asked; exit 1' INT; echo started; while :; do sleep 1000 & wait; done")
	s.TimeoutMinutes = 2
	b := p.bench(s)
	b.job.Container = "box"
	b.wait["started"] = func() { go b.clock().fire(2 * time.Minute) }
	b.must(work.Failed)
	if _, err := os.Stat(filepath.Join(b.opts.Work, "1", "s", "asked")); err != nil {
		t.Error("the process was not asked to end")
	}
	p.clean()
}

func TestNoEngine(t *testing.T) {
	b := newBench(t, bash("echo no"))
	b.job.Container, b.job.Containers = "box", []work.Container{{Alias: "box", Image: "x"}}
	b.opts.Engine = "no-such-engine"
	b.must(work.Failed)
	if m := b.record("initialize").Message; !strings.Contains(m, "can't run any") {
		t.Errorf("message %q", m)
	}
}

func TestServiceEnds(t *testing.T) {
	p := newPodman(t)
	b := p.bench(bash("echo no"))
	b.job.Containers = append(b.job.Containers, work.Container{Alias: "db", Image: shellImage, Options: "--entrypoint /bin/id"})
	b.job.Services = map[string]string{"db": "db"}
	b.must(work.Failed)
	if m := b.record("initialize").Message; !strings.Contains(m, "the service db ended") {
		t.Errorf("message %q", m)
	}
	p.clean()
}

func TestWords(t *testing.T) {
	for line, want := range map[string][]string{
		"": nil, "a b": {"a", "b"}, `--env "A=b c" 'd "e'`: {"--env", "A=b c", `d "e`}, `a\ b "" x"y"z`: {"a b", "", "xyz"},
	} {
		got, err := words(line)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", line, diff)
		}
	}
	if _, err := words(`"open`); err == nil {
		t.Error("a quote that is not closed")
	}
}
