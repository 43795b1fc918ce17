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
		"iam": {"CreatePersonalAccessToken", "ListPersonalAccessTokens", "RevokePersonalAccessToken", // this server's own
			"DeleteCloudFrontPublicKey", "GetAccountEmailAddress", "GetAccountName", "GetCloudFrontPublicKey", "ListCloudFrontPublicKeys",
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
	for _, service := range []string{"ecr", "iam", "sts", "secretsmanager", "agents", "git", "pipelines"} {
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
	key := regexp.MustCompile(`^(aws|ecr|iam|sts|secretsmanager|git|pipelines|agents):[a-z]+/?$`)
	found := map[string]bool{}
	for _, dir := range []string{"../../registry", "../../secret", "../../git", "../../pool", "../../project", "../../run", "../../agentapi", ".."} {
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if e != nil && e.IsDir() && (e.Name() == "lint" || e.Name() == "policy") {
				return fs.SkipDir // they name keys that nothing here sets
			}
			if err != nil || e.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					if s, err := strconv.Unquote(lit.Value); err == nil && key.MatchString(s) && s != "iam:passrole" {
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
		doc := document(`{"Effect":"Allow","Action":["ecr:*","iam:*","sts:*","secretsmanager:*","git:*","pipelines:*","agents:*"],"Resource":"*","Condition":{"Null":{"` + k + `":"false"}}}`)
		for _, f := range lint.Check([]byte(doc), lint.Identity).Findings {
			if f.Code == "unknown-key" || f.Code == "absent-key" {
				t.Errorf("%s: %s", k, f.Message)
			}
		}
	}
}

// TestCatalogueHasChecks: the actions of the server's own services are those that its code asks for, in both directions.
func TestCatalogueHasChecks(t *testing.T) {
	asked := map[string]string{} // action: where
	for dir, service := range map[string]string{"../../git": "git", "../../pool": "agents", "../../project": "pipelines", "../../run": "pipelines", "../../agentapi": "agents", "..": "iam"} {
		for action, where := range actionsIn(t, dir, service) {
			asked[action] = where
		}
	}
	for _, service := range []string{"agents", "git", "pipelines"} {
		for _, name := range lint.ActionNames(service) {
			if asked[service+":"+name] == "" {
				t.Errorf("no code asks for %s:%s", service, name)
			}
		}
	}
	for action, where := range asked {
		service, name, _ := strings.Cut(action, ":")
		if !slices.Contains(lint.ActionNames(service), name) {
			t.Errorf("%s: %s is asked for and no action", where, action)
		}
	}
}

// recorders have an action that is recorded and not asked for.
var recorders = []string{"changed", "update", "edit", "remove", "setVariable", "deleteVariable", "used", "refused", "runOf", "verify", "claimed", "jobOf", "onStage", "onChange"}

// actionsIn returns the actions that a package asks the judge for: what is given to iam.On, and to a function of its own whose
// parameter is called action.
func actionsIn(t *testing.T, dir, service string) map[string]string {
	t.Helper()
	set := token.NewFileSet()
	var files []*ast.File
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("%s: no files: %v", dir, err)
	}
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(set, path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	at := map[string]int{"On": 1} // function: which parameter
	constants := map[string]ast.Expr{}
	var kinds []string
	for _, file := range files {
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				i := 0
				for _, field := range n.Type.Params.List {
					for _, name := range field.Names {
						if name.Name == "action" && !slices.Contains(recorders, n.Name.Name) {
							at[n.Name.Name] = i
						}
						i++
					}
				}
			case *ast.ValueSpec:
				for i, name := range n.Names {
					if name.Name == "action" && i < len(n.Values) {
						constants[name.Name] = n.Values[i]
					}
				}
			case *ast.CompositeLit: // what a kind of thing is called in actions: item{table, noun, "Pipeline", …}
				if kind, ok := n.Type.(*ast.Ident); ok && kind.Name == "item" && len(n.Elts) > 2 {
					kinds = append(kinds, literal(n.Elts[2]))
				}
			}
			return true
		})
	}
	found := map[string]string{}
	add := func(n ast.Node, action string) {
		if !strings.Contains(action, ":") {
			action = service + ":" + action
		}
		found[action] = set.Position(n.Pos()).String()
	}
	for _, file := range files {
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			name := ""
			switch f := call.Fun.(type) {
			case *ast.Ident:
				name = f.Name
			case *ast.SelectorExpr:
				name = f.Sel.Name
			}
			i, ok := at[name]
			if !ok || i >= len(call.Args) {
				return true
			}
			arg := call.Args[i]
			if id, ok := arg.(*ast.Ident); ok && constants[id.Name] != nil {
				add(call, literal(constants[id.Name]))
				return true
			}
			switch s := literal(arg); {
			case s != "":
				add(call, s)
			case strings.HasPrefix(prefix(arg), "List"): // "List"+it.action+"s"
				for _, kind := range kinds {
					add(call, prefix(arg)+kind+"s")
				}
			}
			return true
		})
	}
	return found
}

// literal returns the value of a string literal, "" of anything else.
func literal(e ast.Expr) string {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return ""
	}
	s, err := strconv.Unquote(lit.Value)
	if err != nil {
		return ""
	}
	return s
}

// prefix returns the literal that a sum of strings begins with.
func prefix(e ast.Expr) string {
	for {
		b, ok := e.(*ast.BinaryExpr)
		if !ok {
			return literal(e)
		}
		e = b.X
	}
}

// TestActionsAreShown: people read what each resource of the server's own services is called.
func TestActionsAreShown(t *testing.T) {
	for _, service := range lint.OwnServices() {
		all := lint.Actions(service)
		if len(all) != len(lint.ActionNames(service)) {
			t.Errorf("%s: %d actions are shown", service, len(all))
		}
		for _, a := range all {
			for _, r := range a.Resources {
				if strings.Contains(r, ":*:") || strings.Contains(r, "/*") {
					t.Errorf("%s: %s has no words for people", a.Name, r)
				}
			}
		}
	}
	if lint.Actions("ecr") != nil {
		t.Error("ecr is shown as if it were the server's own")
	}
}
