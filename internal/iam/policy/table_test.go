package policy

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// The tables in testdata are txtar archives: what a file is attached to is its
// name, and the file "cases" has a line for each request:
//
//	allow|implicit|explicit[:statement]  principal  action  resource  [key=value | key[]=value,value]…
//
// The names are "identity user/x", "boundary role/x", "session assumed-role/x/y",
// "resource team/app", "trust role/x", "endpoint vpce-x", "scp LEVEL" and "rcp LEVEL"; * is
// everything of that kind. Principals and repositories are of the account own,
// unless they have another in front (444455556666:user/bob).
const own = "111122223333"

// tableCase is a line of a table with the policies that apply to it.
type tableCase struct {
	file      string
	line      string
	want      Outcome
	statement string
	request   Request
	policies  Policies
}

type attached struct {
	kind, to string
	policy   Named
}

func readTables(t testing.TB) []tableCase {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no tables: %v", err)
	}
	var all []tableCase
	for _, file := range files {
		all = append(all, readTable(t, file)...)
	}
	return all
}

func readTable(t testing.TB, file string) []tableCase {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var policies []attached
	var cases []tableCase
	for _, f := range txtar.Parse(data).Files {
		if f.Name != "cases" {
			kind, to, _ := strings.Cut(f.Name, " ")
			k, ok := map[string]Kind{"identity": Identity, "boundary": Identity, "session": Identity, "resource": Resource, "trust": Trust,
				"endpoint": Endpoint, "scp": ServiceControl, "rcp": ResourceControl}[kind]
			if !ok {
				t.Fatalf("%s: unknown kind %q", file, kind)
			}
			p, err := Parse(f.Data, k)
			if err != nil {
				t.Fatalf("%s: %s: %v", file, f.Name, err)
			}
			policies = append(policies, attached{kind, to, Named{f.Name, p}})
			continue
		}
		for line := range strings.Lines(string(f.Data)) {
			if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
				continue
			}
			c, err := readCase(line, policies)
			if err != nil {
				t.Fatalf("%s: %s: %v", file, line, err)
			}
			c.file = filepath.Base(file)
			cases = append(cases, c)
		}
	}
	return cases
}

func readCase(line string, policies []attached) (tableCase, error) {
	fields := strings.Fields(line)
	if len(fields) < 4 {
		return tableCase{}, fmt.Errorf("want outcome, principal, action, resource")
	}
	outcome, statement, _ := strings.Cut(fields[0], ":")
	c := tableCase{line: line, statement: statement}
	outcomes := map[string]Outcome{"allow": Allowed, "implicit": ImplicitDeny, "explicit": ExplicitDeny}
	if !slices.Contains(slices.Collect(maps.Keys(outcomes)), outcome) {
		return c, fmt.Errorf("unknown outcome %q", outcome)
	}
	c.want = outcomes[outcome]
	who, err := tablePrincipal(fields[1])
	if err != nil {
		return c, err
	}
	resource, account := tableResource(fields[3])
	context := MapContext{}
	for _, f := range fields[4:] {
		k, v, ok := strings.Cut(f, "=")
		if !ok {
			return c, fmt.Errorf("%q is no key=value", f)
		}
		k = strings.ToLower(k)
		if k, many := strings.CutSuffix(k, "[]"); many {
			context[k] = strings.FieldsFunc(v, func(c rune) bool { return c == ',' })
		} else {
			context[k] = []string{v}
		}
	}
	c.request = Request{Principal: who, Action: fields[2], Resource: resource, ResourceAccount: account, Context: context}
	attach(&c, fields[1], fields[3], context, policies)
	return c, nil
}

func tablePrincipal(s string) (Principal, error) {
	if s == "anonymous" {
		return Principal{}, nil
	}
	if strings.HasPrefix(s, "arn:") || strings.Contains(s, ".com") {
		return ParsePrincipal(s)
	}
	account, name, _ := strings.Cut(s, ":")
	if !isAccount(account) {
		account, name = own, s
	}
	service := "iam"
	if strings.HasPrefix(name, "assumed-role/") || strings.HasPrefix(name, "federated-user/") {
		service = "sts"
	}
	p, err := ParsePrincipal("arn:aws:" + service + "::" + account + ":" + name)
	p.RolePathUnknown = false // roles in the tables have no paths
	return p, err
}

func tableResource(s string) (arn, account string) {
	if s == "*" {
		return s, own
	}
	if strings.HasPrefix(s, "arn:") {
		if account = strings.Split(s, ":")[4]; account == "" {
			account = own
		}
		return s, account
	}
	account, name, _ := strings.Cut(s, ":")
	if !isAccount(account) {
		account, name = own, s
	}
	if strings.HasPrefix(name, "role/") {
		return "arn:aws:iam::" + account + ":" + name, account
	}
	return "arn:aws:ecr:eu-west-1:" + account + ":repository/" + name, account
}

// attach puts the policies that apply into the case.
func attach(c *tableCase, who, resource string, context MapContext, policies []attached) {
	identity := who
	if role, ok := strings.CutPrefix(who, "assumed-role/"); ok {
		role, _, _ = strings.Cut(role, "/")
		identity = "role/" + role
	}
	p := &c.policies
	for _, a := range policies {
		to := func(name string) bool { return a.to == "*" || a.to == name }
		level := []Level{{Name: a.to, Policies: []Named{a.policy}}}
		switch {
		case a.kind == "identity" && to(identity):
			p.Identity = append(p.Identity, a.policy)
		case a.kind == "boundary" && to(identity):
			p.Boundaries = append(p.Boundaries, a.policy)
		case a.kind == "session" && to(who):
			p.Session = append(p.Session, a.policy)
		case (a.kind == "resource" || a.kind == "trust") && to(resource):
			p.Resource = append(p.Resource, a.policy)
		case a.kind == "endpoint" && slices.Contains(context["aws:sourcevpce"], a.to):
			p.Endpoint = append(p.Endpoint, a.policy)
		case a.kind == "scp":
			p.ServiceControl = append(p.ServiceControl, level...)
		case a.kind == "rcp":
			p.ResourceControl = append(p.ResourceControl, level...)
		}
	}
}

func TestTables(t *testing.T) {
	cases := readTables(t)
	if len(cases) < 250 {
		t.Errorf("%d cases: a table is not read", len(cases))
	}
	for _, c := range cases {
		t.Run(c.file+"/"+c.line, func(t *testing.T) {
			d := Decide(&c.request, &c.policies)
			trace := Explain(&c.request, &c.policies)
			if d != trace.Decision {
				t.Errorf("Decide says %+v, Explain %+v", d, trace.Decision)
			}
			if d.Outcome != c.want || c.statement != "" && d.Statement != c.statement {
				t.Errorf("got %v, want %v %s", d, c.want, c.statement)
				for _, r := range trace.Reasons {
					t.Log(r.Text)
				}
			}
		})
	}
}
