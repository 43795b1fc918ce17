package iam_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/awsapi/iam"
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

// TestBoto3 calls every operation that is served, and holds the answers against the service's model.
func TestBoto3(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	name := python(t, "boto3")
	s := newServer(t)
	cmd := exec.CommandContext(t.Context(), name, append([]string{"-B", "testdata/client.py"}, s.served()...)...)
	cmd.Env = append(os.Environ(), "AWS_ENDPOINT_URL="+s.URL, "AWS_REGION="+region, "AWS_DEFAULT_REGION="+region, "AWS_ACCESS_KEY_ID="+s.key.ID,
		"AWS_SECRET_ACCESS_KEY="+s.key.Secret.Reveal(), "AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !bytes.HasSuffix(out, []byte("ok\n")) {
		t.Errorf("%s", out)
	}
}

// constraint is one of the model's.
type constraint struct {
	Required, Sensitive bool
	Min, Max            int64
	Pattern             string
}

// model is botocore's copy of the service's model: of each operation the constraints of its input.
func model(t *testing.T) map[string]map[string]constraint {
	t.Helper()
	const script = `
import json
import botocore.session
model = botocore.session.get_session().get_service_model('iam')
def walk(shape, path, required, out):
    c = {}
    if required: c['required'] = True
    for k in ('min', 'max', 'pattern', 'sensitive'):
        if shape.metadata.get(k): c[k] = shape.metadata[k]
    if c and not shape.metadata.get('enum') or required: out[path] = c
    if shape.type_name == 'structure':
        for n, m in shape.members.items():
            walk(m, path + '.' + n if path else n, n in shape.required_members, out)
    elif shape.type_name == 'list':
        walk(shape.member, path + '[]', False, out)
result = {}
for op in model.operation_names:
    out = {}
    if model.operation_model(op).input_shape: walk(model.operation_model(op).input_shape, '', False, out)
    result[op] = out
print(json.dumps(result))
`
	out, err := exec.CommandContext(t.Context(), python(t, "botocore"), "-c", script).Output()
	if err != nil {
		t.Fatal(err)
	}
	var operations map[string]map[string]constraint
	if err := json.Unmarshal(out, &operations); err != nil {
		t.Fatal(err)
	}
	return operations
}

// TestOperations holds that everything that the model has is served or refused by name, and nothing else.
func TestOperations(t *testing.T) {
	got := []string{}
	for name := range (&iam.API{}).Service().Operations() {
		got = append(got, name)
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(model(t))), got); diff != "" {
		t.Errorf("(-model +ours):\n%s", diff)
	}
}

// TestConstraintsAreTheModels compares the constraints with the model that botocore ships.
func TestConstraintsAreTheModels(t *testing.T) {
	operations := model(t)
	for name, members := range iam.Constraints() {
		got := map[string]constraint{}
		for _, m := range members {
			got[m.Path] = constraint{Required: m.Required, Sensitive: m.Sensitive, Min: m.Min, Max: m.Max, Pattern: m.PatternText()}
		}
		want := operations[name]
		if c, ok := want["Marker"]; ok { // ours can be longer
			c.Max = 1024
			want["Marker"] = c
		}
		if c, ok := want["AccountAlias"]; ok { // Go has no patterns that look ahead
			c.Pattern = "^[a-z0-9]([a-z0-9]|-){1,61}[a-z0-9]$"
			want["AccountAlias"] = c
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-model +ours):\n%s", name, diff)
		}
	}
}
