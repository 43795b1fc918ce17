package e2e

import (
	"crypto/ecdsa"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestScripts(t *testing.T) {
	if testing.Short() {
		t.Skip("real clients take longer than a short run has")
	}
	runScripts(t, "testdata")
}

// runScripts runs the scripts of a folder.
func runScripts(t *testing.T, dir string) {
	built, err := build(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 dir,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Condition:           condition,
		Setup:               func(env *testscript.Env) error { return setup(env, built) },
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"serve":      cmdServe,
			"stopserver": cmdStop,
			"kill9":      cmdKill9,
			"throttle":   cmdThrottle,
			"engine":     cmdEngine,
			"containers": cmdContainers,
			"layout":     cmdLayout,
			"capture":    cmdCapture,
			"network":    cmdNetwork,
			"keys":       cmdKeys,
			"substitute": cmdSubstitute,
			"refused":    cmdRefused,
			"within":     cmdWithin,
			"user":       cmdUser,
			"allow":      cmdAllow,
			"missing":    cmdMissing,
			"recorded":   cmdRecorded,
			"policies":   cmdPolicies,
			"containerd": cmdContainerd,
			"issuer":     cmdIssuer,
			"idtoken":    cmdIDToken,
			"agent":      cmdAgent,
			"stopagent":  cmdStopAgent,
			"commit":     cmdCommit,
			"outside":    cmdOutside,
		},
	})
}

// binaries are what the scripts run that is built from this tree.
type binaries struct {
	sekisho string
	hello   map[string]string // by architecture: testdata/hello, static
}

func build(dir string) (binaries, error) {
	b := binaries{sekisho: os.Getenv("SEKISHO_E2E_BINARY"), hello: make(map[string]string)}
	if b.sekisho == "" {
		b.sekisho = filepath.Join(dir, "sekisho")
		args := []string{"build", "-o", b.sekisho}
		if raceDetector {
			args = append(args, "-race")
		}
		if err := goTool(nil, append(args, "../cmd/sekisho")...); err != nil {
			return b, err
		}
	}
	for _, arch := range []string{"amd64", "arm64"} {
		b.hello[arch] = filepath.Join(dir, "hello-"+arch)
		if err := goTool([]string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=" + arch},
			"build", "-trimpath", "-ldflags=-s -w", "-o", b.hello[arch], "./testdata/hello/main.go"); err != nil {
			return b, err
		}
	}
	return b, nil
}

func goTool(env []string, args ...string) error {
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// toolPath is the PATH that scripts and the look-up of their tools share.
var toolPath = sync.OnceValue(func() string {
	dir := os.Getenv("SEKISHO_TEST_TOOLS")
	if dir == "" {
		dir = filepath.Join("..", ".cache", "tools")
	}
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	return dir + string(os.PathListSeparator) + os.Getenv("PATH")
})

// condition knows [tool:NAME]: the client is there and can work here.
func condition(cond string) (bool, error) {
	name, ok := strings.CutPrefix(cond, "tool:")
	if !ok {
		return false, fmt.Errorf("unknown condition %q", cond)
	}
	err := usable(name)
	if err != nil && os.Getenv("SEKISHO_REQUIRE_TOOLS") != "" {
		if !slices.Contains(uninstallable, name) {
			return false, fmt.Errorf("SEKISHO_REQUIRE_TOOLS is set and %s can't be used: %w", name, err)
		}
		fmt.Fprintf(os.Stderr, "SKIPPED: scripts with %s, although SEKISHO_REQUIRE_TOOLS is set: %v\n", name, err)
	}
	return err == nil, nil
}

// uninstallable is what .ci/install can't bring: a program that is in no package, and what a machine allows. Scripts that need it
// are skipped aloud also where nothing may be missing.
var uninstallable = []string{"terraform", "netns"}

func usable(name string) error {
	switch name {
	case "netns":
		return netnsUsable()
	case "podman", "buildah", "ctr":
		if runtime.GOOS != "linux" || os.Geteuid() != 0 {
			return errors.New("it needs root on Linux to have storage of its own")
		}
	case "task-lib":
		if _, err := os.Stat(filepath.Join(taskLib(), "azure-pipelines-task-lib", "task.js")); err != nil {
			return fmt.Errorf("%w; see .ci/install", err)
		}
		return nil
	case "terraform":
		if terraformPlugins() == "" {
			return errors.New("there is no copy of its AWS provider; see .ci/install")
		}
	}
	for dir := range strings.SplitSeq(toolPath(), string(os.PathListSeparator)) {
		if info, err := os.Stat(filepath.Join(dir, name)); err == nil && !info.IsDir() && info.Mode()&0o111 != 0 {
			return nil
		}
	}
	return errors.New("it is not installed; see .ci/install")
}

// world is what a script's commands share.
type world struct {
	binaries
	server *server
	proxy  *proxy
	issuer *ecdsa.PrivateKey // of identity tokens
	agents map[string]*agentProcess
}

type worldKey struct{}

func worldOf(ts *testscript.TestScript) *world { return ts.Value(worldKey{}).(*world) }

func setup(env *testscript.Env, built binaries) error {
	w := &world{binaries: built, agents: make(map[string]*agentProcess)}
	env.Values[worldKey{}] = w
	tb := env.T().(testing.TB)
	env.Defer(func() {
		w.proxy.close()
		if err := w.server.died(); err != nil {
			tb.Error(err)
		}
		w.server.kill()
		if tb.Failed() {
			log, _ := os.ReadFile(filepath.Join(env.WorkDir, serverLog))
			tb.Logf("the server's log:\n%s", log)
		}
	})
	// For sockets, whose paths may have 107 bytes, and podman's run root, which may have 50.
	run, err := os.MkdirTemp("/tmp", "e2e")
	if err != nil {
		return err
	}
	env.Defer(func() { os.RemoveAll(run) })
	home := filepath.Join(env.WorkDir, ".home")
	for _, dir := range []string{home, filepath.Join(home, "tmp")} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
	}
	bin := filepath.Join(home, "bin")
	if err := os.Mkdir(bin, 0o700); err != nil {
		return err
	}
	if err := os.Symlink(built.sekisho, filepath.Join(bin, "sekisho")); err != nil {
		return err
	}
	for key, value := range map[string]string{
		"PATH":                      bin + string(os.PathListSeparator) + toolPath(),
		"HOME":                      home,
		"TMPDIR":                    filepath.Join(home, "tmp"),
		"XDG_RUNTIME_DIR":           run,
		"DATA":                      filepath.Join(env.WorkDir, "data"),
		"DOCKER_CONFIG":             filepath.Join(home, "docker"),
		"DOCKER_BUILDKIT":           "0", // the engine here has none
		"DOCKER_CLI_HINTS":          "false",
		"CONTAINERS_CONF":           filepath.Join(home, "containers.conf"),
		"CONTAINERS_STORAGE_CONF":   filepath.Join(home, "storage.conf"),
		"AWS_PAGER":                 "",
		"AWS_EC2_METADATA_DISABLED": "true",
		"COSIGN_PASSWORD":           "",
		"CHECKPOINT_DISABLE":        "1", // terraform asks nobody for a newer one
		"TF_IN_AUTOMATION":          "1",
		"TF_INPUT":                  "0",
		"TF_CLI_ARGS":               "-no-color",
		"TF_CLI_CONFIG_FILE":        filepath.Join(home, "terraformrc"),
		"NO_COLOR":                  "1",
		"TASK_LIB":                  taskLib(),
	} {
		env.Setenv(key, value)
	}
	mirror := fmt.Sprintf("provider_installation {\n  filesystem_mirror {\n    path = %q\n  }\n}\n", terraformPlugins())
	if err := os.WriteFile(filepath.Join(home, "terraformrc"), []byte(mirror), 0o600); err != nil {
		return err
	}
	// The aws command may be a pyenv shim, which finds its versions through the real home.
	if root, err := pyenvRoot(); err == nil {
		env.Setenv("PYENV_ROOT", root)
	}
	return nil
}

// taskLib returns the folder in which the library is that published Node tasks are written with, and what it needs.
func taskLib() string {
	tools, _, _ := strings.Cut(toolPath(), string(os.PathListSeparator))
	return filepath.Join(tools, "task-lib", "node_modules")
}

// terraformPlugins returns the folder that has a copy of Terraform's AWS provider, or "".
func terraformPlugins() string {
	tools, _, _ := strings.Cut(toolPath(), string(os.PathListSeparator))
	for _, dir := range []string{
		os.Getenv("SEKISHO_TERRAFORM_PLUGINS"), filepath.Join(tools, "terraform-plugins"),
		"/usr/local/share/terraform/plugins", "/usr/share/terraform/plugins", "/opt/tf-plugins",
	} {
		if _, err := os.Stat(filepath.Join(dir, "registry.terraform.io", "hashicorp", "aws")); dir != "" && err == nil {
			return dir
		}
	}
	return ""
}

func pyenvRoot() (string, error) {
	if root := os.Getenv("PYENV_ROOT"); root != "" {
		return root, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", err
	}
	root := filepath.Join(home, ".pyenv")
	_, err = os.Stat(root)
	return root, err
}

// cmdCapture sets a variable to what the last command printed, or to the group of a regular expression that is found in it:
// capture NAME [stdout|stderr REGEXP].
func cmdCapture(ts *testscript.TestScript, neg bool, args []string) {
	switch {
	case !neg && len(args) == 1:
		ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile("stdout")))
	case !neg && len(args) == 3 && (args[1] == "stdout" || args[1] == "stderr"):
		re, err := regexp.Compile(args[2])
		ts.Check(err)
		m := re.FindStringSubmatch(ts.ReadFile(args[1]))
		if len(m) != 2 {
			ts.Fatalf("nothing in %s matches %s with its one group", args[1], re)
		}
		ts.Setenv(args[0], m[1])
	default:
		ts.Fatalf("usage: capture NAME [stdout|stderr REGEXP]")
	}
}

// cmdKeys takes an access key and its secret from what the last command printed, a line with both: keys NAME sets NAME_KEY and
// NAME_SECRET.
func cmdKeys(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: keys NAME")
	}
	pair := strings.Fields(ts.ReadFile("stdout"))
	if len(pair) < 2 {
		ts.Fatalf("the last command printed no access key and secret")
	}
	ts.Setenv(args[0]+"_KEY", pair[0])
	ts.Setenv(args[0]+"_SECRET", pair[1])
	if len(pair) > 2 {
		ts.Setenv(args[0]+"_TOKEN", pair[2])
	}
}

// cmdSubstitute writes a file with the ${VARIABLES} of another filled in: substitute FROM TO.
func cmdSubstitute(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: substitute FROM TO")
	}
	text := regexp.MustCompile(`\$\{[A-Z_]+\}`).ReplaceAllStringFunc(ts.ReadFile(args[0]), func(v string) string {
		return ts.Getenv(v[2 : len(v)-1])
	})
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(text), 0o600))
}

// cmdRefused runs `sekisho why` once the refusal is written, which takes up to a second: refused REQUEST_ID.
func cmdRefused(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: refused REQUEST_ID")
	}
	repeat(ts, startLimit, "sekisho", "why", "--data", ts.Getenv("DATA"), args[0])
}

// cmdWithin runs a command again and again until it succeeds: within DURATION COMMAND [ARGUMENT...].
func cmdWithin(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: within DURATION COMMAND [ARGUMENT...]")
	}
	d, err := time.ParseDuration(args[0])
	ts.Check(err)
	repeat(ts, d, args[1], args[2:]...)
}

func repeat(ts *testscript.TestScript, d time.Duration, command string, args ...string) {
	limit := time.NewTimer(d)
	defer limit.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ts.Exec(command, args...)
		if err == nil {
			return
		}
		select {
		case <-limit.C:
			ts.Fatalf("%s, again and again for %v: %v", command, d, err)
		case <-tick.C:
		}
	}
}
