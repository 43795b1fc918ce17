package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPipelineRunLocal(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) string {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	t.Setenv("LOCAL_TEST_SECRET", "a-secret-of-mine")
	file := put("p.yml", `
parameters:
- {name: who, default: nobody}
steps:
- bash: echo "hello ${{ parameters.who }} $(v) $(TOKEN)"
`)
	bad := put("bad.yml", "steps:\n- bash: exit 1\n")
	wrong := put("wrong.yml", "steps:\n- bsh: exit 1\n")
	parameters := put("parameters.yml", "who: world\n")
	work := filepath.Join(dir, "work")
	flags := func(file string, more ...string) []string {
		return append([]string{"pipeline", "run", "--local", file, "--root", dir, "--work", work}, more...)
	}
	r := sekisho(t, nil, "", flags(file, "--parameters", parameters, "--variable", "v=1", "--secret", "TOKEN=LOCAL_TEST_SECRET")...)
	r.want(t, 0, "")
	if !strings.Contains(r.stdout, "Job | hello world 1 ***\n") || strings.Contains(r.stdout, "a-secret-of-mine") {
		t.Errorf("stdout:\n%s", r.stdout)
	}
	sekisho(t, nil, "", flags(bad)...).want(t, exitFailed, "the run failed")
	sekisho(t, nil, "", flags(wrong)...).want(t, exitFailed, "wrong.yml:2:")
	sekisho(t, nil, "", flags(file, "--secret", "NO_SUCH_VARIABLE")...).want(t, exitUsage, "NO_SUCH_VARIABLE")
	sekisho(t, nil, "", flags(file, "--stage", "None")...).want(t, exitFailed, "there is no stage None")
	sekisho(t, nil, "", "pipeline", "run", file).want(t, exitUsage, "--local")
	connections := put("connections.yml", "X: {typ: AWS}\n")
	sekisho(t, nil, "", flags(file, "--connection", connections)...).want(t, exitFailed, "connections.yml:1:5")
}
