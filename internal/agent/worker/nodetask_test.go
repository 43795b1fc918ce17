//go:build unix

package worker

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/agent/work"
)

// needs skips a test loudly where a program is not there.
func needs(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			if os.Getenv("SEKISHO_REQUIRE_TOOLS") != "" {
				t.Fatalf("%s is not installed", p)
			}
			t.Skipf("SKIPPED: %s is not installed", p)
		}
	}
}

// TestPublishedTask runs a published task, with something to do before and after the job.
func TestPublishedTask(t *testing.T) {
	needs(t, "node")
	dir := filepath.Join(t.TempDir(), "Hello_1", "1.0.0")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"task.json": `{"id":"1","name":"Hello","friendlyName":"Hello","version":{"Major":1,"Minor":0,"Patch":0},
			"inputs":[{"name":"who","defaultValue":"you"}],"restrictions":{"commands":{"mode":"any"},"settableVariables":{"allowed":["answer"]}},
			"prejobexecution":{"Node20_1":{"target":"pre.js"}},"execution":{"Node10":{"target":"main.js"}},"postjobexecution":{"Node10":{"target":"post.js"}}}`,
		"pre.js": `console.log("##vso[task.settaskvariable variable=kept]before")`,
		"main.js": `console.log("Hello " + process.env.INPUT_WHO + " " + process.env.VSTS_TASKVARIABLE_KEPT + " " + process.env.SECRET_PW.length);
			console.log("##vso[task.setvariable variable=answer]42"); console.log("##vso[task.setvariable variable=other]1"); console.log("##vso[task.complete result=SucceededWithIssues;]");`,
		"post.js": `console.log("after"); process.exit(1)`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b := newBench(t, work.Step{Task: "Hello@1", DisplayName: "hi", Inputs: map[string]string{"Who": "$(name)"}}, bash("echo '$(answer) $(other)'"))
	b.opts.Tasks = []string{filepath.Dir(filepath.Dir(dir))}
	b.job.Variables = []work.Variable{{Name: "name", Value: "world"}, {Name: "pw", Value: "1234567", Secret: true}}
	b.must(work.Failed)
	got := map[string]work.Result{}
	for _, r := range b.server.Records() {
		got[r.Step] = r.Result
	}
	want := map[string]work.Result{
		"": work.Failed, "initialize": work.Succeeded, "s1.pre": work.Succeeded, "s1": work.SucceededWithIssues, "s2": work.Succeeded,
		"s1.post": work.Failed, "finalize": work.Succeeded,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff("42 $(other)", b.text("s2")); diff != "" {
		t.Error(diff)
	}
	found := false
	for _, l := range b.lines {
		found = found || l == "Hello world before 7"
	}
	if !found {
		t.Errorf("%q", b.lines)
	}
}

// TestNativeTools has a native task that puts a folder before the PATH.
func TestNativeTools(t *testing.T) {
	needs(t, "node")
	b := newBench(t, work.Step{Task: "UseNode@1", Inputs: map[string]string{"version": ">=10"}}, bash("node --version | cut -c1"))
	b.must(work.Succeeded)
	if diff := cmp.Diff("v", b.text("s2")); diff != "" {
		t.Error(diff)
	}
}

// TestPrivateAuthority tells steps and tasks where the authorities are that the agent was configured with.
func TestPrivateAuthority(t *testing.T) {
	b := newBench(t, bash("echo '$(Agent.CAInfo)'"))
	b.opts.CAFile = "/agent/ca.crt"
	b.must(work.Succeeded)
	if diff := cmp.Diff("/agent/ca.crt", b.text("s1")); diff != "" {
		t.Error(diff)
	}
}
