package nodetask

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/agent/task"
	"github.com/sekisho/sekisho/internal/agent/work"
)

func put(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestFind(t *testing.T) {
	root := t.TempDir()
	put(t, filepath.Join(root, "Hello_1/1.2.3/task.json"), "\ufeff"+`{"id":"11","name":"Hello","version":{"Major":1,"Minor":2,"Patch":3},"execution":{"Node20_1":{"target":"a.js"}}}`)
	put(t, filepath.Join(root, "Hello_1/1.10.0/task.json"), `{"id":"11","name":"Hello","version":{"Major":"1","Minor":"10","Patch":"0"},"inputs":[{"name":"a","defaultValue":true,"required":"true"}]}`)
	put(t, filepath.Join(root, "two/task.json"), `{"id":"11","name":"Hello","version":{"Major":2,"Minor":0,"Patch":0}}`)
	put(t, filepath.Join(root, "broken/task.json"), `{`)
	for ref, want := range map[string]string{"Hello@1": "Hello_1/1.10.0", "hello@2": "two", "11@1": "Hello_1/1.10.0"} {
		got, err := Find([]string{t.TempDir(), root}, ref)
		if err != nil {
			t.Fatal(err)
		}
		if got.Folder != filepath.Join(root, want) {
			t.Errorf("%s is in %s, want %s", ref, got.Folder, want)
		}
	}
	for _, ref := range []string{"Hello@3", "Bye@1", "Hello", "@1", "Hello@x"} {
		if got, err := Find([]string{root}, ref); err == nil {
			t.Errorf("%s is %v", ref, got)
		}
	}
	if _, err := Find([]string{root}, "Hello@3"); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "broken") {
		t.Errorf("%v", err)
	}
}

func TestPick(t *testing.T) {
	for _, test := range []struct {
		kinds   string
		node    int
		want    string // the target, or the error
		refused bool
	}{
		{"Node10 Node20_1", 20, "Node20_1", false},
		{"Node10 Node24", 22, "Node10", false},
		{"Node", 24, "Node", false},
		{"Node24", 20, "needs Node24", true},
		{"Node18 node26_1 NodeX", 28, "node26_1", false},
		{"NodeX", 20, "made for NodeX", true},
		{"PowerShell3", 20, "made for PowerShell3", true},
		{"Node16 PowerShell3", 20, "Node16", false},
		{"", 20, "nothing to execute", true},
	} {
		all := map[string]execution{}
		for k := range strings.FieldsSeq(test.kinds) {
			all[k] = execution{Target: k}
		}
		e, err := pick(all, test.node)
		got := e.Target
		if err != nil {
			got = err.Error()
		}
		if (err != nil) != test.refused || !strings.Contains(got, test.want) {
			t.Errorf("%s on %d: %q", test.kinds, test.node, got)
		}
	}
}

func TestVisible(t *testing.T) {
	values := map[string]string{"a": "x", "b": "true", "c": ""}
	for rule, want := range map[string]bool{
		"": true, "a = x": true, "A == 'X'": true, "a = y": false, "a != y && b = true": true, "a = y || b = true": true, "c = ": true,
		"a startsWith x": true, "a contains y": false, "a notContains y": true, "nonsense": false,
	} {
		if got := visible(rule, values); got != want {
			t.Errorf("%q is %v", rule, got)
		}
	}
}

// vars is variables of a test.
type vars struct{ all []work.Variable }

func (v vars) Get(name string) (string, bool) {
	for _, w := range v.all {
		if w.Name == name {
			return w.Value, true
		}
	}
	return "", false
}
func (v vars) Set(work.Variable, bool) error  { return nil }
func (v vars) Expand(text string) string      { return strings.ReplaceAll(text, "$(x)", "X") }
func (v vars) All() []work.Variable           { return v.all }
func (v vars) TaskVariables() []work.Variable { return []work.Variable{{Name: "t.v", Value: "1"}} }

func TestEnvironment(t *testing.T) {
	c := &task.Context{
		Job: &work.Job{
			Server: "https://server", Token: "token",
			Endpoints: []work.Endpoint{{ID: "e-1", Name: "AWS_ECR", Type: "AWS", URL: "https://aws", Scheme: "UsernamePassword",
				Auth: map[string]string{"username": "u", "assumeRoleArn": "r"}, Data: map[string]string{"a b": "c"}}},
		},
		Step: &work.Step{ID: "001", DisplayName: "push"}, Dirs: task.Dirs{Sources: "/w/1/s"}, Env: []string{"PATH=/bin"},
		Inputs: task.Inputs{"awscredentials": "aws_ecr", "old": "v", "file": "a/b", "extra": "e"},
		Vars:   vars{[]work.Variable{{Name: "A.b c", Value: "p"}, {Name: "S.x", Value: "secret", Secret: true}}},
	}
	task := &Task{def: definition{Inputs: []input{
		{Name: "awsCredentials", Type: "connectedService:AWS", Required: true}, {Name: "newName", Aliases: []string{"old"}},
		{Name: "withDefault", Default: "d $(x)"}, {Name: "file", Type: "filePath"}, {Name: "none", Type: "filePath", Required: true},
		{Name: "hidden", Required: true, Visible: "newName = other"},
	}}}
	inputs, endpoints, err := task.inputs(c)
	if err != nil {
		t.Fatal(err)
	}
	env, err := environment(c, inputs, endpoints)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, e := range env {
		k, v, _ := strings.Cut(e, "=")
		got[k] = v
	}
	want := map[string]string{
		"PATH": "/bin", "INPUT_AWSCREDENTIALS": "e-1", "INPUT_NEWNAME": "v", "INPUT_WITHDEFAULT": "d X", "INPUT_FILE": "/w/1/s/a/b", "INPUT_NONE": "/w/1/s",
		"INPUT_HIDDEN": "", "INPUT_EXTRA": "e", "SECRET_S_X": "secret", "VSTS_PUBLIC_VARIABLES": `["A.b c"]`, "VSTS_SECRET_VARIABLES": `["S.x"]`,
		"VSTS_TASKVARIABLE_T_V": "1", "ENDPOINT_URL_e-1": "https://aws", "ENDPOINT_AUTH_SCHEME_e-1": "UsernamePassword",
		"ENDPOINT_AUTH_e-1": `{"parameters":{"assumeRoleArn":"r","username":"u"},"scheme":"UsernamePassword"}`, "ENDPOINT_AUTH_PARAMETER_e-1_USERNAME": "u",
		"ENDPOINT_AUTH_PARAMETER_e-1_ASSUMEROLEARN": "r", "ENDPOINT_DATA_e-1": `{"a b":"c"}`, "ENDPOINT_DATA_e-1_A_B": "c",
		"ENDPOINT_URL_SYSTEMVSSCONNECTION": "https://server", "ENDPOINT_AUTH_SYSTEMVSSCONNECTION": `{"parameters":{"AccessToken":"token"},"scheme":"OAuth"}`,
		"ENDPOINT_AUTH_SCHEME_SYSTEMVSSCONNECTION": "OAuth", "ENDPOINT_AUTH_PARAMETER_SYSTEMVSSCONNECTION_ACCESSTOKEN": "token",
		"AGENT_VERSION": compatible, "TASK_DISPLAYNAME": "push", "SYSTEM_TASKINSTANCEID": "001", "SYSTEM_TASKDISPLAYNAME": "push", "SYSTEM_TASKINSTANCENAME": "",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	delete(c.Inputs, "awscredentials")
	if _, _, err := task.inputs(c); err == nil || err.Error() != "input required: awsCredentials" {
		t.Errorf("a missing input: %v", err)
	}
	c.Inputs["awscredentials"] = "unknown"
	if _, _, err := task.inputs(c); err == nil {
		t.Error("a service connection that is not there")
	}
}

// TestThisServer has a service connection for this server, which has a private authority.
func TestThisServer(t *testing.T) {
	c := &task.Context{
		Job: &work.Job{Server: "https://server"}, Step: &work.Step{}, Env: []string{"PATH=/bin"},
		Vars: vars{[]work.Variable{{Name: "Agent.CAInfo", Value: "/agent/ca.crt"}}},
	}
	environ := func(e *work.Endpoint) map[string]string {
		all, err := environment(c, nil, []*work.Endpoint{e})
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, e := range all {
			k, v, _ := strings.Cut(e, "=")
			got[k] = v
		}
		return got
	}
	got := environ(&work.Endpoint{ID: "e", Type: "AWS"})
	if got["ENDPOINT_URL_e"] != "https://server" || got["AWS_ENDPOINT_URL"] != "https://server" || got["NODE_EXTRA_CA_CERTS"] != "/agent/ca.crt" {
		t.Errorf("a connection for this server: %v", got)
	}
	got = environ(&work.Endpoint{ID: "e", Type: "AWS", URL: "https://aws.amazon.com/"})
	if _, ok := got["AWS_ENDPOINT_URL"]; ok || got["ENDPOINT_URL_e"] != "https://aws.amazon.com/" {
		t.Errorf("a connection for AWS itself: %v", got)
	}
	c.Env = append(c.Env, "AWS_ENDPOINT_URL=https://other", "NODE_EXTRA_CA_CERTS=/other.crt")
	got = environ(&work.Endpoint{ID: "e", Type: "AWS"})
	if got["AWS_ENDPOINT_URL"] != "https://other" || got["NODE_EXTRA_CA_CERTS"] != "/other.crt" {
		t.Errorf("what the step says wins: %v", got)
	}
}
