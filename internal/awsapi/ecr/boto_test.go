package ecr_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/awsapi/ecr"
)

// python returns the name of a python that has the module.
func python(t *testing.T, module string) string {
	t.Helper()
	name, err := exec.LookPath("python3")
	if err == nil {
		err = exec.CommandContext(t.Context(), name, "-c", "import "+module).Run()
	}
	if err == nil {
		return name
	}
	if os.Getenv("SEKISHO_REQUIRE_TOOLS") == "1" {
		t.Fatalf("python3 with %s is required: %v", module, err)
	}
	t.Skipf("SKIPPED: no python3 with %s: %v", module, err)
	return ""
}

// env is the environment in which AWS's clients use the server.
func (s *server) env() []string {
	return []string{
		"AWS_ENDPOINT_URL=" + s.URL, "AWS_REGION=" + region, "AWS_DEFAULT_REGION=" + region, "AWS_ACCESS_KEY_ID=" + s.key.ID,
		"AWS_SECRET_ACCESS_KEY=" + s.key.Secret.Reveal(), "AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null",
	}
}

// TestBoto3 does with boto3 what people's scripts do, paginators included. Every answer is held against botocore's model.
func TestBoto3(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	for _, script := range []string{"client.py", "repositories.py"} {
		t.Run(script, func(t *testing.T) { runBoto3(t, script) })
	}
}

// runBoto3 runs a script of testdata against a server of its own.
func runBoto3(t *testing.T, script string) {
	name := python(t, "boto3")
	s := newServer(t)
	cmd := exec.CommandContext(t.Context(), name, "testdata/"+script)
	cmd.Env = append(os.Environ(), "AWS_ENDPOINT_URL="+s.URL, "AWS_REGION="+region, "AWS_DEFAULT_REGION="+region, "AWS_ACCESS_KEY_ID="+s.key.ID,
		"AWS_SECRET_ACCESS_KEY="+s.key.Secret.Reveal(), "AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null",
		"PYTHONDONTWRITEBYTECODE=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !bytes.HasSuffix(out, []byte("ok\n")) {
		t.Errorf("%s", out)
	}
}

// TestConstraintsAreTheModels compares the constraints with the model that botocore ships.
func TestConstraintsAreTheModels(t *testing.T) {
	name := python(t, "botocore")
	const script = `
import json, sys
import botocore.session
model = botocore.session.get_session().get_service_model('ecr')
def walk(shape, path, required, out):
    c = {}
    if required: c['required'] = True
    for k in ('min', 'max', 'pattern'):
        if shape.metadata.get(k): c[k] = shape.metadata[k]
    if c and not shape.metadata.get('enum') or required: out[path] = c
    if shape.type_name == 'structure':
        for n, m in shape.members.items():
            walk(m, path + '.' + n if path else n, n in shape.required_members, out)
    elif shape.type_name == 'list':
        walk(shape.member, path + '[]', False, out)
result = {}
for op in sys.argv[1:]:
    out = {}
    walk(model.operation_model(op).input_shape, '', False, out)
    result[op] = out
print(json.dumps(result))
`
	args := []string{"-c", script}
	for op := range ecr.Constraints() {
		args = append(args, op)
	}
	out, err := exec.CommandContext(t.Context(), name, args...).Output()
	if err != nil {
		t.Fatal(err)
	}
	type constraint struct {
		Required bool
		Min, Max int64
		Pattern  string
	}
	var want map[string]map[string]constraint
	if err := json.Unmarshal(out, &want); err != nil {
		t.Fatal(err)
	}
	for op, members := range ecr.Constraints() {
		got := map[string]constraint{}
		for _, m := range members {
			c := constraint{Required: m.Required, Min: m.Min, Max: m.Max}
			if m.Pattern != nil {
				c.Pattern = strings.TrimSuffix(strings.TrimPrefix(m.Pattern.String(), "^(?:"), ")$")
			}
			got[m.Path] = c
		}
		for path, c := range want[op] {
			if path == "uploadId" { // ours have another form
				c.Pattern = ""
				want[op][path] = c
			}
		}
		if diff := cmp.Diff(want[op], got); diff != "" {
			t.Errorf("%s (-model +ours):\n%s", op, diff)
		}
	}
}
