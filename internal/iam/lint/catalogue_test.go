package lint_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/sekisho/sekisho/internal/awsapi"
	"github.com/sekisho/sekisho/internal/awsapi/ecr"
	"github.com/sekisho/sekisho/internal/awsapi/iam"
	"github.com/sekisho/sekisho/internal/awsapi/secretsmanager"
	"github.com/sekisho/sekisho/internal/awsapi/sts"
	"github.com/sekisho/sekisho/internal/iam/lint"
	"github.com/sekisho/sekisho/internal/iam/policy"
)

// TestCatalogueHasOperations: what the server serves or refuses by name is an action.
func TestCatalogueHasOperations(t *testing.T) {
	for name, s := range map[string]*awsapi.Service{
		"ecr": (&ecr.API{}).Service(), "iam": (&iam.API{}).Service(), "sts": (&sts.API{}).Service(), "secretsmanager": (&secretsmanager.API{}).Service(),
	} {
		n := 0
		for op := range s.Operations() {
			n++
			if !slices.Contains(lint.ActionNames(name), op) {
				t.Errorf("%s:%s is an operation and no action", name, op)
			}
		}
		if n == 0 {
			t.Errorf("%s has no operations", name)
		}
	}
}

// TestCatalogueHasModel holds the catalogue to botocore's models, where that is installed.
func TestCatalogueHasModel(t *testing.T) {
	const program = `import botocore.session as b
for s in ["ecr", "iam", "sts", "secretsmanager"]:
    print(s, *b.get_session().get_service_model(s).operation_names)`
	out, err := exec.CommandContext(t.Context(), "python3", "-c", program).Output()
	if err != nil {
		t.Skip("botocore is not installed: see .ci/install")
	}
	without := map[string][]string{ // what policies have and the models have not
		"ecr": {"BatchImportUpstreamImage", "GetImageCopyStatus", "ReplicateImage", // and what only newer models have:
			"DescribeReplicationBackfillResults", "ListReplicationBackfills", "StartReplicationBackfill", "StopReplicationBackfill"},
		"iam": {"DeleteCloudFrontPublicKey", "GetAccountEmailAddress", "GetAccountName", "GetCloudFrontPublicKey", "ListCloudFrontPublicKeys",
			"ListSTSRegionalEndpointsStatus", "PassRole", "SetSTSRegionalEndpointStatus", "UpdateAccountEmailAddress", "UpdateAccountName",
			"UpdateCloudFrontPublicKey", "UploadCloudFrontPublicKey"},
		"sts": {"GetServiceBearerToken", "SetContext", "SetSourceIdentity", "TagGetWebIdentityToken", "TagSession"},
	}
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		known := lint.ActionNames(words[0])
		for _, op := range words[1:] {
			if !slices.Contains(known, op) {
				t.Errorf("%s:%s is in the model and no action", words[0], op)
			}
		}
		for _, name := range known {
			if !slices.Contains(words[1:], name) && !slices.Contains(without[words[0]], name) {
				t.Errorf("%s:%s is an action and not in the model", words[0], name)
			}
		}
	}
}

// TestCatalogueAgrees: the engine knows the same actions as being without a resource.
func TestCatalogueAgrees(t *testing.T) {
	for _, service := range []string{"ecr", "iam", "sts", "secretsmanager"} {
		for _, name := range lint.ActionNames(service) {
			action := service + ":" + name
			r := lint.Check([]byte(document(`{"Effect":"Deny","Action":"`+action+`","Resource":"arn:aws:s3:::x"}`)), lint.Identity)
			i := slices.IndexFunc(r.Findings, func(f lint.Finding) bool { return f.Code == "resource-mismatch" })
			if i < 0 {
				t.Errorf("%s is on a bucket", action)
				continue
			}
			if plain := strings.Contains(r.Findings[i].Message, "has no resource"); !policy.HasResource(action) && !plain {
				t.Errorf("%s has no resource for the engine, and one here", action)
			} else if policy.HasResource(action) && plain && service != "iam" && action != "sts:GetDelegatedAccessToken" && action != "sts:GetWebIdentityToken" && action != "sts:TagGetWebIdentityToken" {
				t.Errorf("%s has a resource for the engine, and none here", action)
			}
		}
	}
}

// TestKeysAreKnown: every condition key that the server names in its code can be in a policy without a finding. So that
// whoever gives requests a new key is told to say so here.
func TestKeysAreKnown(t *testing.T) {
	key := regexp.MustCompile(`^(aws|ecr|iam|sts|secretsmanager):[a-z]+/?$`)
	found := map[string]bool{}
	for _, dir := range []string{"../../registry", "../../secret", "../decide", "../directory", "../session"} {
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					if s, err := strconv.Unquote(lit.Value); err == nil && key.MatchString(s) {
						found[s] = true
					}
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(found) < 20 {
		t.Fatalf("only %d keys are in the code: %v", len(found), found)
	}
	for k := range found {
		if strings.HasSuffix(k, "/") {
			k += "team"
		}
		doc := document(`{"Effect":"Allow","Action":["ecr:*","iam:*","sts:*","secretsmanager:*"],"Resource":"*","Condition":{"Null":{"` + k + `":"false"}}}`)
		for _, f := range lint.Check([]byte(doc), lint.Identity).Findings {
			if f.Code == "unknown-key" || f.Code == "absent-key" {
				t.Errorf("%s: %s", k, f.Message)
			}
		}
	}
}
