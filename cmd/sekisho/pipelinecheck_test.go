package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// pipelineTree is a repository with a pipeline, another one, and a file outside of both.
func pipelineTree(t *testing.T) (root, other string) {
	t.Helper()
	dir := t.TempDir()
	root, other = filepath.Join(dir, "root"), filepath.Join(dir, "other")
	for name, text := range map[string]string{
		"root/azure-pipelines.yml": "trigger: none\nvariables:\n- name: tag\n  value: v1\n- group: shared\nstages:\n- template: t/stage.yml\n  parameters:\n    image: app\n",
		"root/t/stage.yml": "parameters:\n- name: image\nstages:\n- stage: Build\n  variables:\n    tag: ${{ parameters.image }}-1\n  jobs:\n  - job: Build\n    steps:\n    - script: echo $(tag)\n" +
			"    - script: echo '##vso[task.setvariable variable=tag]v9'\n  - job: Matrix\n    strategy:\n      matrix:\n        a: {tag: x}\n        b: {other: y}\n    steps: []\n",
		"root/wrong.yml":       "jobs:\n- job: A\n  stepz: []\n  pol: x\n",
		"root/rolling.yml":     "jobs:\n- deployment: A\n  environment: e\n  strategy:\n    rolling:\n      deploy:\n        steps:\n        - script: echo\n",
		"root/other.yml":       "resources:\n  repositories:\n  - repository: tools\n    type: git\n    name: p/tools\nsteps:\n- template: steps.yml@tools\n",
		"root/param.yml":       "parameters:\n- name: n\n  type: number\nsteps:\n- script: echo ${{ parameters.n }} ${{ variables.given }}\n",
		"root/escape.yml":      "steps:\n- template: ../outside.yml\n",
		"root/linked.yml":      "steps:\n- template: link.yml\n",
		"root/folder.yml":      "steps:\n- template: t\n",
		"root/cursor.yml":      "\"\\e[2J\": x\nsteps: []\n",
		"root/sub/deep.yml":    "steps:\n- template: /azure-steps.yml\n",
		"root/azure-steps.yml": "steps:\n- script: deep\n",
		"other/steps.yml":      "steps:\n- script: tools\n",
		"outside.yml":          "steps:\n- script: outside\n",
		"values.yml":           "n: 3\n",
		"wrong-values.yml":     "- n\n",
		"given.json":           `{"given": "yes"}`,
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../outside.yml", filepath.Join(root, "link.yml")); err != nil {
		t.Fatal(err)
	}
	return root, other
}

func TestPipelineExpand(t *testing.T) {
	root, other := pipelineTree(t)
	dir := filepath.Dir(root)
	for _, tt := range []struct {
		name           string
		args           []string
		code           int
		stdout, stderr string
	}{
		{"template", []string{"azure-pipelines.yml", "--root", root}, 0, "value: app-1", ""},
		{"without a root", []string{filepath.Join(root, "azure-pipelines.yml")}, 0, "trigger:\n  enabled: false\n", ""},
		{"an absolute file below the root", []string{filepath.Join(root, "sub", "deep.yml"), "--root", root}, 0, "script: deep", ""},
		{"an absolute file elsewhere", []string{filepath.Join(dir, "outside.yml"), "--root", root}, exitFailed, "", "is outside of"},
		{"upwards", []string{"../outside.yml", "--root", root}, exitFailed, "", "is outside of"},
		{"not there", []string{"none.yml", "--root", root}, exitFailed, "", "none.yml"},
		{"no root", []string{"none.yml", "--root", filepath.Join(root, "none")}, exitFailed, "", "no such file"},
		{"errors", []string{"wrong.yml", "--root", root}, exitFailed, "", "wrong.yml:3:3: Unexpected value 'stepz'; did you mean 'steps'?\nwrong.yml:4:3: Unexpected value 'pol'; did you mean 'pool'?\n"},
		{"refused here, expanded all the same", []string{"rolling.yml", "--root", root}, 0, "rolling:", ""},
		{"another repository, not said where", []string{"other.yml", "--root", root}, exitFailed, "", "--repo tools=DIR"},
		{"another repository", []string{"other.yml", "--root", root, "--repo", "tools=" + other}, 0, "script: tools", ""},
		{"not a repository", []string{"other.yml", "--root", root, "--repo", "tools"}, exitUsage, "", `--repo: "tools" is not alias=DIR`},
		{"no parameter", []string{"param.yml", "--root", root}, exitFailed, "", "'n'"},
		{"parameters", []string{"param.yml", "--root", root, "--parameters", filepath.Join(dir, "values.yml"), "--variables", filepath.Join(dir, "given.json")}, 0, "script: echo 3 yes", ""},
		{"wrong parameters", []string{"param.yml", "--root", root, "--parameters", filepath.Join(dir, "wrong-values.yml")}, exitFailed, "", "Expected a mapping"},
		{"out of the root", []string{"escape.yml", "--root", root}, exitFailed, "", "escape.yml:2:13:"},
		{"out of the root by a link", []string{"linked.yml", "--root", root}, exitFailed, "", "linked.yml:2:13:"},
		{"a folder", []string{"folder.yml", "--root", root}, exitFailed, "", "folder.yml:2:13:"},
		{"nothing", nil, exitUsage, "", "usage: sekisho pipeline expand FILE"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := sekisho(t, nil, "", append([]string{"pipeline", "expand"}, tt.args...)...)
			r.want(t, tt.code, tt.stderr)
			if !strings.Contains(r.stdout, tt.stdout) || tt.code != 0 && r.stdout != "" {
				t.Errorf("%q is not in\n%s", tt.stdout, r.stdout)
			}
			if strings.Contains(r.stdout+r.stderr, "script: outside") {
				t.Error("a file outside of the root was read")
			}
		})
	}
	if r := sekisho(t, nil, "", "pipeline", "expand", "cursor.yml", "--root", root); strings.Contains(r.stderr, "\x1b") {
		t.Errorf("a message moves the cursor: %q", r.stderr)
	}
}

func TestPipelineExpandJSON(t *testing.T) {
	root, _ := pipelineTree(t)
	r := sekisho(t, nil, "", "pipeline", "expand", "azure-pipelines.yml", "--root", root, "-o", "json")
	r.want(t, 0, "")
	var got struct {
		Trigger struct{ Enabled *bool }
		Stages  []struct{ Jobs []map[string]any }
	}
	if err := json.Unmarshal([]byte(r.stdout), &got); err != nil {
		t.Fatal(err)
	}
	if got.Trigger.Enabled == nil || *got.Trigger.Enabled || len(got.Stages) != 1 || len(got.Stages[0].Jobs) != 2 {
		t.Errorf("%s", r.stdout)
	}
}

func TestPipelineValidate(t *testing.T) {
	root, _ := pipelineTree(t)
	for _, tt := range []struct {
		file           string
		code           int
		stdout, stderr string
	}{
		{"azure-pipelines.yml", 0, "ok", ""},
		{"wrong.yml", exitFailed, "", "wrong.yml:3:3: Unexpected value 'stepz'"},
		{"rolling.yml", exitFailed, "", "rolling.yml:5:5: the deployment strategy 'rolling' is not run here"},
	} {
		r := sekisho(t, nil, "", "pipeline", "validate", tt.file, "--root", root)
		r.want(t, tt.code, tt.stderr)
		if !strings.Contains(r.stdout, tt.stdout) {
			t.Errorf("%s: %q is not in\n%s", tt.file, tt.stdout, r.stdout)
		}
	}
	r := sekisho(t, nil, "", "pipeline", "validate", "wrong.yml", "--root", root, "-o", "json")
	r.want(t, exitFailed, "wrong.yml is refused: 2 errors")
	var got validated
	if err := json.Unmarshal([]byte(r.stdout), &got); err != nil {
		t.Fatal(err)
	}
	if got.Valid || len(got.Findings) != 2 || got.Findings[0].Line != 3 {
		t.Errorf("%+v", got)
	}
}

func TestPipelineExplainVar(t *testing.T) {
	root, _ := pipelineTree(t)
	r := sekisho(t, nil, "", "pipeline", "explain-var", "TAG", "azure-pipelines.yml", "--root", root, "-o", "json")
	r.want(t, 0, "")
	var got explained
	if err := json.Unmarshal([]byte(r.stdout), &got); err != nil {
		t.Fatal(err)
	}
	var places, values []string
	for _, p := range got.Places {
		places = append(places, p.Kind+" "+p.Place+" "+p.Scope+" "+p.Value+p.Group)
	}
	for _, v := range got.Values {
		values = append(values, v.Job+"/"+v.Leg+" "+v.Value+" "+v.From+" "+strings.Join(v.Groups, ","))
	}
	want := []string{
		"file azure-pipelines.yml:4:10 pipeline v1",
		"group azure-pipelines.yml:5:3 pipeline shared",
		"file t/stage.yml:6:10 stage Build app-1",
		"step t/stage.yml:11:7 stage Build, job Build set while the job runs",
		"matrix t/stage.yml:15:13 stage Build, job Matrix, a x",
		"Build/ app-1 t/stage.yml:6:10 ",
		"Matrix/a x t/stage.yml:15:13 ",
		"Matrix/b app-1 t/stage.yml:6:10 ",
	}
	if all := strings.Join(append(places, values...), "\n"); all != strings.Join(want, "\n") {
		t.Errorf("got\n%s", all)
	}
	r = sekisho(t, nil, "", "pipeline", "explain-var", "nothing", "azure-pipelines.yml", "--root", root)
	r.want(t, 0, "no place in the file sets nothing")
	r = sekisho(t, nil, "", "pipeline", "explain-var", "tag", "azure-pipelines.yml", "--root", root)
	r.want(t, 0, "")
	for _, part := range []string{"written ${{ parameters.image }}-1", "by way of azure-pipelines.yml:7:13", "Build/Matrix/a", "the variable group 'shared' may have it"} {
		if !strings.Contains(r.stdout, part) {
			t.Errorf("%q is not in\n%s", part, r.stdout)
		}
	}
}
