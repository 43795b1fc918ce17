// Package docs tests what the documentation says of the code. Its examples are run by the tests in e2e.
package docs

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/iam/lint"
	"github.com/sekisho/sekisho/internal/registry/ociserver"
)

//go:generate go test -run "TestActions|TestLanguage" -update

var update = flag.Bool("update", false, "rewrite what is made from the code")

// TestActions holds the table of actions to the one that the server uses.
func TestActions(t *testing.T) {
	var b strings.Builder
	b.WriteString(`<!-- Made from ociserver.Routes and lint.Actions: go generate ./docs -->
# What a request needs

Every request is authorised by what it does, with ECR's names for actions. A refusal is a 403 whose message names
principal, action and resource; a HEAD has no body, so the same sentence is in the header ` + "`Sekisho-Error`" + `.

| request | action | also |
|---|---|---|
`)
	for _, r := range ociserver.Routes {
		action := "none"
		if r.Action != "" {
			action = "`" + r.Action + "`"
		}
		fmt.Fprintf(&b, "| `%s %s` | %s | %s |\n", r.Method, r.Path, action, r.Note)
	}
	b.WriteString(`
The resource is the repository, ` + "`arn:aws:ecr:<region>:<account>:repository/<name>`" + `; of the catalog, all of the
account's. ` + "`<repository>`" + ` may begin with the 12 digits of an account; without them, the account is the one of the host
name, or the default one.

The operations of the AWS API need the action of their name: ` + "`CreateRepository` needs `ecr:CreateRepository`" + `.

## Git, pipelines and agents

These are the server's own, and policies name them in the same way. ` + "`sekisho docs actions SERVICE`" + ` prints these tables. Where
an action has several resources, it is asked about one of them, by what is done. Beside the condition keys here there are those of
all services, and ` + "`pipelines:Job`" + `: whatever a job asks for with its own token has it, and nothing else.

A ` + "`git push`" + ` needs ` + "`git:Pull`" + ` too, since the server first tells what it has; ` + "`git:ForcePush`" + ` beside ` + "`git:Push`" + ` is needed to
delete a ref, to move a tag, and to move a branch to where it does not follow from what it was. Taking a stage of a run up or
leaving it out needs ` + "`pipelines:StartRun`" + ` on the run. An approval needs ` + "`pipelines:ApproveRun`" + ` on the run and on the environment,
and being one of its approvers. What a run reads from its variables, groups, connections and pool needs no action: the pipeline
is authorised for them (` + "`pipelines:AuthorizePipeline`" + `, of a pool ` + "`agents:UpdatePool`" + `).
`)
	for _, service := range lint.OwnServices() {
		fmt.Fprintf(&b, "\n### %s\n\n| action | resource | condition keys |\n|---|---|---|\n", service)
		for _, a := range lint.Actions(service) {
			fmt.Fprintf(&b, "| `%s` | `%s` | %s |\n", a.Name, strings.Join(a.Resources, "`<br>`"), strings.Join(a.Keys, ", "))
		}
	}
	const file = "actions.md"
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(b.String(), string(got)); diff != "" {
		t.Errorf("%s: run go generate here. -want +got:\n%s", file, diff)
	}
}

// TestLanguage holds what the page on Azure Pipelines lists to the code.
func TestLanguage(t *testing.T) {
	const (
		file  = "azure-pipelines.md"
		begin = "<!-- made: go generate ./docs -->\n"
		end   = "<!-- end -->\n"
	)
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(page), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no %s and %s", file, begin, end)
	}
	want := before + begin + languageLists(t) + end + after
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, string(page)); diff != "" {
		t.Errorf("%s: run go generate here. -want +got:\n%s", file, diff)
	}
}

// TestTroubleshooting holds the messages in its first part to those in the code. Between dots may stand anything.
func TestTroubleshooting(t *testing.T) {
	page, err := os.ReadFile("troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	var code strings.Builder
	for _, root := range []string{"../internal", "../cmd"} {
		err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			code.Write(text)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	ours, _, _ := strings.Cut(string(page), "\n## What clients say")
	n := 0
	for line := range strings.Lines(ours) {
		message, ok := strings.CutPrefix(strings.TrimSpace(line), "### `")
		if !ok {
			continue
		}
		n++
		for part := range strings.SplitSeq(strings.TrimSuffix(message, "`"), "…") {
			if !strings.Contains(code.String(), part) {
				t.Errorf("no code says %q", part)
			}
		}
	}
	if n == 0 {
		t.Error("no messages")
	}
}

var link = regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)

// TestLinks looks for what the pages point at, and for pages that nothing points at.
func TestLinks(t *testing.T) {
	pointed := map[string]bool{filepath.Clean("README.md"): true}
	pages, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	decisions, err := filepath.Glob("adr/*.md")
	if err != nil {
		t.Fatal(err)
	}
	pages = append(pages, decisions...)
	for _, page := range append(pages, "../README.md", "../ARCHITECTURE.md", "../CHANGELOG.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			to := filepath.Join(filepath.Dir(page), m[1])
			pointed[to] = true
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		}
	}
	for _, page := range pages {
		if !pointed[page] {
			t.Errorf("no page points at %s", page)
		}
	}
}
