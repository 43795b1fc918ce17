package sekisho

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// layers is the order of the packages below internal/, the lowest first: a package imports only from layers below its
// own. What stands in one line does not know of each other.
var layers = [][]string{
	{"oci", "durable", "config", "httpx", "observe/logs", "iam/sigv4", "iam/policy", "iam/oidc", "agent/rpc/sekisho/agent/v1", "agent/mask", "agent/work", "agent/builder", "pipeline/yaml", "pipeline/expr", "pipeline/macro"},
	{"observe/metrics", "observe/trace", "meta", "blob", "credfile", "ca", "iam/lint", "agent/rpc/sekisho/agent/v1/agentv1connect", "agent/command", "agent/task", "agent/folder", "pipeline/template"},
	{"blob/file", "blob/s3", "blob/mem", "seal", "audit", "job", "agent/rpc", "agent/nodetask", "pipeline"},
	{"iam", "transfer", "agent/worker", "pipeline/flow"},
	{"iam/directory", "iam/issuer", "registry", "secret", "git", "agent/local", "agent"},
	{"iam/decide", "iam/session", "project", "pool", "agent/scale"},
	{"awsapi", "registry/ociserver", "git/githttp", "run"},
	{"awsapi/ecr", "awsapi/iam", "awsapi/sts", "awsapi/secretsmanager", "agentapi", "api"},
	{"api/client"},
	{"app"},
}

// testOnly are packages that exist for tests: nothing that is shipped imports them.
var testOnly = []string{"awsapi/bototest", "blob/blobtest", "blob/blobtest/s3server", "durable/faultfs", "iam/oidc/oidctest", "meta/metatest", "registry/registrytest"}

// foreign says which packages may import a module that belongs behind a seam of ours.
var foreign = map[string][]string{
	"modernc.org/sqlite":                         {"meta"},
	"github.com/jackc/pgx/v5":                    {"meta"},
	"github.com/pressly/goose/v3":                {"meta"},
	"github.com/aws/aws-sdk-go-v2/service/s3":    {"blob/s3"},
	"github.com/spf13/cobra":                     {"cmd/sekisho"},
	"github.com/google/go-containerregistry":     {"cmd/sekisho", "agent/builder"},
	"github.com/prometheus/client_golang":        {"observe/metrics"},
	"go.opentelemetry.io/otel/sdk":               {"observe/trace"},
	"go.opentelemetry.io/otel/exporters":         {"observe/trace"},
	"github.com/aws/aws-sdk-go-v2/service/ecr":   {"awsapi/ecr", "cmd/sekisho", "agent/task"},
	"github.com/aws/aws-sdk-go-v2/service/iam":   {"awsapi/iam"},
	"github.com/aws/aws-sdk-go-v2/service/sts":   {"awsapi/sts", "agent/task"},
	"github.com/go-jose/go-jose/v4":              {"iam/oidc", "iam/oidc/oidctest", "iam/issuer"},
	"connectrpc.com/connect":                     {"agent", "agent/rpc", "agent/rpc/sekisho/agent/v1/agentv1connect", "agentapi"},
	"go.yaml.in/yaml/v4":                         {"pipeline/yaml"},
	"github.com/Masterminds/semver/v3":           {"agent/task"},
	"github.com/pires/go-proxyproto":             {"httpx"},
	"golang.org/x/crypto/acme":                   {"httpx"},
	"github.com/maypok86/otter/v2":               {"registry"},
	"github.com/rogpeppe/go-internal/testscript": {},
}

const module = "github.com/sekisho/sekisho/"

// TestDependencies holds the arrows between packages: downwards only, and none to what is for tests.
func TestDependencies(t *testing.T) {
	rank := map[string]int{}
	for i, layer := range layers {
		for _, name := range layer {
			rank[name] = i
		}
	}
	seen := map[string]bool{}
	for _, p := range list(t) {
		name := short(p.ImportPath)
		if slices.Contains(testOnly, name) {
			seen[name] = true
			continue
		}
		for _, imported := range p.Imports {
			for prefix, allowed := range foreign {
				if within(imported, prefix) && !slices.Contains(allowed, name) {
					t.Errorf("%s imports %s, which belongs to %v alone", name, imported, allowed)
				}
			}
		}
		if !strings.HasPrefix(p.ImportPath, module+"internal/") {
			continue // commands may use everything, and nothing can use them
		}
		seen[name] = true
		own, ok := rank[name]
		if !ok {
			t.Errorf("%s is in no layer: say here where it belongs, and ARCHITECTURE.md what it is", name)
			continue
		}
		for _, imported := range p.Imports {
			if !strings.HasPrefix(imported, module) {
				continue
			}
			other := short(imported)
			switch below, ok := rank[other]; {
			case slices.Contains(testOnly, other):
				t.Errorf("%s imports %s, which is for tests", name, other)
			case ok && below >= own:
				t.Errorf("%s imports %s, which is not below it", name, other)
			}
		}
	}
	page, err := os.ReadFile("ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(slices.Concat(layers...), testOnly...) {
		if !strings.Contains(string(page), "`"+name+"`") {
			t.Errorf("ARCHITECTURE.md does not say what %s is", name)
		}
		if !seen[name] {
			t.Errorf("there is no package %s: remove it here", name)
		}
	}
}

type goPackage struct {
	ImportPath string
	Imports    []string // of what is shipped, not of tests
}

func list(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "./...")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var all []goPackage
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		switch err := dec.Decode(&p); {
		case errors.Is(err, io.EOF):
			return all
		case err != nil:
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func short(path string) string {
	return strings.TrimPrefix(strings.TrimPrefix(path, module), "internal/")
}

// within reports whether path is the package prefix, or below it.
func within(path, prefix string) bool {
	return path == prefix || strings.HasPrefix(path, prefix+"/")
}
