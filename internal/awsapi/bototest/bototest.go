// Package bototest holds services against botocore: its models say which operations there are and what their members must be,
// and boto3 is a client that is not ours. It is for tests; a machine without python skips them aloud.
package bototest

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"testing"

	"github.com/sekisho/sekisho/internal/awsapi"
)

// Python returns the name of a python that has the module. Without one the test is skipped, or fails where the tools are required.
func Python(t *testing.T, module string) string {
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

// Env is the environment in which AWS's clients use a server with an access key, and nothing that else is configured on the machine.
func Env(url, region, keyID, secret string) []string {
	return []string{
		"AWS_ENDPOINT_URL=" + url, "AWS_REGION=" + region, "AWS_DEFAULT_REGION=" + region, "AWS_ACCESS_KEY_ID=" + keyID, "AWS_SECRET_ACCESS_KEY=" + secret,
		"AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "PYTHONDONTWRITEBYTECODE=1",
	}
}

// Run runs a program of boto3's in an environment beside the test's own. It must end with "ok" on a line.
func Run(t *testing.T, env []string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), Python(t, "boto3"), args...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.HasSuffix(out, []byte("ok\n")) {
		t.Fatalf("%v\n%s", err, out)
	}
}

// Constraint is what a model demands of a member of an input.
type Constraint struct {
	Required, Sensitive bool
	Min, Max            int64
	Pattern             string
}

// Constraints are ours, by path, as a model has them.
func Constraints(members []awsapi.Member) map[string]Constraint {
	all := map[string]Constraint{}
	for _, m := range members {
		all[m.Path] = Constraint{Required: m.Required, Sensitive: m.Sensitive, Min: m.Min, Max: m.Max, Pattern: m.PatternText()}
	}
	return all
}

// Model returns what botocore's model of a service says: of each operation the constraints of its input, by path.
func Model(t *testing.T, service string) map[string]map[string]Constraint {
	t.Helper()
	const script = `
import json, sys
import botocore.session
model = botocore.session.get_session().get_service_model(sys.argv[1])
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
	out, err := exec.CommandContext(t.Context(), Python(t, "botocore"), "-c", script, service).Output()
	if err != nil {
		t.Fatal(err)
	}
	var operations map[string]map[string]Constraint
	if err := json.Unmarshal(out, &operations); err != nil {
		t.Fatal(err)
	}
	return operations
}
