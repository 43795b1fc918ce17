package scale

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sekisho/sekisho/internal/agent"
)

// hosts is a plug-in that starts agents on "hosts", which are folders here. On the whole it is what docs/ show.
const hosts = `#!/bin/sh
# Starts one-job agents in the background, each in a folder below $HOSTS.
set -eu
case "$1" in
start)
    umask 077
    mkdir -p "$HOSTS/$SEKISHO_AGENT"
    cd "$HOSTS/$SEKISHO_AGENT"
    cat >launch.json
    # What is started must not keep the plug-in's output open.
    exec 3<launch.json
    rm launch.json
    "$AGENT" --folder "$PWD/agent" <&3 3<&- >log 2>&1 &
    exec 3<&-
    echo $! >pid
    echo "{\"id\": \"$!\"}"
    ;;
list)
    for pid in "$HOSTS"/*/pid; do
        [ -e "$pid" ] || continue
        kill -0 "$(cat "$pid")" 2>/dev/null || continue
        echo "{\"agent\": \"$(basename "$(dirname "$pid")")\", \"id\": \"$(cat "$pid")\"}"
    done
    ;;
stop)
    [ -e "$HOSTS/$SEKISHO_AGENT/pid" ] || exit 0
    kill -9 "$(cat "$HOSTS/$SEKISHO_AGENT/pid")" 2>/dev/null || true
    rm -rf "${HOSTS:?}/$SEKISHO_AGENT"
    ;;
*)
    exit 64
    ;;
esac
`

// plugin makes a plug-in of a script.
func plugin(t *testing.T, script string, env ...string) *Plugin {
	t.Helper()
	path := filepath.Join(t.TempDir(), "plug-in")
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	p, err := NewPlugin(PluginOptions{
		Path: path, Scaler: testName, Pool: testPool, Env: append([]string{"PATH=" + os.Getenv("PATH"), "AWS_SECRET_ACCESS_KEY=secret"}, env...),
		Within: time.Minute, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPlugin(t *testing.T) {
	w := newWorld(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	p := plugin(t, hosts, "HOSTS="+dir, "AGENT="+self, roleEnv+"=agent", "HOME="+t.TempDir())
	r := w.scale(func(o *Options) {
		o.Template, o.Kind, o.Limits.IdleAfter = p, KindExec, 0
		o.Launch.CA = "" // as it is
	})
	w.queue.add("a")
	r.said.until(t, "busy=1")
	w.queue.letGo("a")
	w.queue.until(t, "the job ends", func() bool { return w.queue.results["a"] == "succeeded" })
	r.words <- struct{}{}
	if err := r.wait(t); err != nil {
		t.Error(err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left)+len(w.agents()) > 0 {
		t.Errorf("%v and the agents %v are left, %v\n%s", left, w.agents(), err, r.said)
	}
}

func TestPluginContract(t *testing.T) {
	l := &agent.Launch{Version: 1, Server: "https://a", Pool: testPool, Agent: "x", Code: "sac_x"}
	start := func(script string) (string, error) {
		t.Helper()
		return plugin(t, "#!/bin/sh\n"+script).Start(t.Context(), l)
	}
	if id, err := start(`read -r doc; case "$doc" in *'"code":"sac_x"'*) ;; *) exit 1;; esac
[ "$1$SEKISHO_SCALE_ACTION$SEKISHO_SCALE_VERSION$SEKISHO_SCALER$SEKISHO_POOL$SEKISHO_AGENT" = startstart1test-hostbuildersx ] || exit 2
[ -z "${AWS_SECRET_ACCESS_KEY-}" ] || exit 3
echo '{"id": "i-1"}'`); err != nil || id != "i-1" {
		t.Errorf("start: %q, %v", id, err)
	}
	for script, want := range map[string]string{
		"echo no capacity >&2; exit 75":           "no room for another agent now: no capacity",
		"echo one >&2; echo 'no key' >&2; exit 3": "exit status 3: no key",
		"echo started":    `does not say {"id": "…"}`,
		"exit 64":         "exit status 64",
		"cat >&2; exit 1": `"code":"***"`,
		"cat":             `\"code\":\"***\"`,
	} {
		_, err := start(script)
		if err == nil || !strings.Contains(err.Error(), want) || errors.Is(err, ErrLater) != strings.HasSuffix(script, "75") {
			t.Errorf("%s: %v, want %s", script, err, want)
		}
	}
	list := func(script string) ([]Found, error) {
		t.Helper()
		return plugin(t, "#!/bin/sh\n"+script).List(t.Context())
	}
	if _, err := list("exit 64"); !errors.Is(err, ErrUnlisted) {
		t.Errorf("a plug-in that does not list: %v", err)
	}
	if f, err := list(`echo '{"agent": "a", "id": "1"}'; echo '{"agent": "b", "id": "2"}'`); err != nil || len(f) != 2 || f[1] != (Found{Name: "b", ID: "2"}) {
		t.Errorf("list: %v, %v", f, err)
	}
	if _, err := list("echo a"); err == nil {
		t.Error("a list that is none is taken")
	}
	if f, err := list("yes '{\"agent\": \"a\", \"id\": \"1\"}' | head -c 6000000"); err == nil {
		t.Errorf("a list of 6 MB is taken: %d", len(f))
	}
	path := filepath.Join(t.TempDir(), "plug-in")
	if _, err := NewPlugin(PluginOptions{Path: path}); err == nil {
		t.Error("a plug-in that is not there is taken")
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for mode, want := range map[os.FileMode]string{0o600: "no program", 0o777: "everybody"} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := NewPlugin(PluginOptions{Path: path}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("mode %v: %v", mode, err)
		}
	}
}
