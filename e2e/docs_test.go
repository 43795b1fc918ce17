package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// TestDocs runs the examples of README.md and docs with the real clients. A comment says how those below it are run:
//
//	<!-- run: with docker, podman -->  beside a server with a fresh data folder; skipped where a client is missing
//	<!-- run: alone -->                the same without a server; `sekisho serve` goes to the background
//	<!-- run: alone, with git -->      that, skipped where a client is missing
//	<!-- run: by CI -->                by .ci/run, as they stand there
//
// The blocks in sh up to the next such comment are one script; where they say localhost:5000, the server is meant, and at
// port 5001 its second address. `sekisho agent run`, without --once, goes to the background. Beside the script are a Dockerfile,
// the OCI layout "image" and the chart "chart". A block in yaml is a configuration of sekisho and must be accepted. Others, in
// text, ini or json, are only shown.
func TestDocs(t *testing.T) {
	if testing.Short() {
		t.Skip("real clients take longer than a short run has")
	}
	if raceDetector {
		t.Skip("the detector watches the same server in TestScripts; the examples are run without it")
	}
	files, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, file := range append(files, "../README.md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i, e := range readExamples(t, file, string(text)) {
			name := fmt.Sprintf("%s-%d.txtar", strings.TrimSuffix(filepath.Base(file), ".md"), i+1)
			if err := os.WriteFile(filepath.Join(dir, name), []byte(e.script()), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	runScripts(t, dir)
}

// example is what one comment governs.
type example struct {
	alone bool
	files bool // the page's policies
	tools []string
	sh    strings.Builder
	yaml  []string
}

var (
	runComment = regexp.MustCompile(`^<!-- run: (.*) -->$`)
	shown      = []string{"text", "ini", "json"}
)

// readExamples reads the examples of a Markdown file.
func readExamples(t *testing.T, file, text string) []*example {
	t.Helper()
	var examples []*example
	var e *example // nil: by CI
	governed := false
	block, language := "", ""
	for n, line := range strings.Split(text, "\n") {
		at := fmt.Sprintf("%s:%d", file, n+1)
		fence := strings.HasPrefix(line, "```")
		switch m := runComment.FindStringSubmatch(line); {
		case language != "" && fence:
			switch {
			case language == "yaml":
				examples = append(examples, &example{alone: true, yaml: []string{block}})
			case slices.Contains(shown, language):
			case language != "sh":
				t.Errorf("%s: a block in %q; use sh, yaml, or one of %v", at, language, shown)
			case !governed:
				t.Errorf("%s: nothing says how this block is run", at)
			case e == nil:
				checkCI(t, at, block)
			default:
				fmt.Fprintf(&e.sh, "# %s\n%s", at, block)
			}
			block, language = "", ""
		case language != "":
			block += line + "\n"
		case fence:
			language = strings.TrimPrefix(line, "```") + " "
			language = strings.TrimSpace(language)
			if language == "" {
				t.Errorf("%s: a block without a language", at)
				language = "text"
			}
		case m != nil && m[1] == "by CI":
			governed, e = true, nil
		case m != nil:
			with, alone := strings.CutPrefix(m[1], "alone, ")
			governed, e = true, &example{alone: alone || with == "alone", files: filepath.Base(file) == policyPage}
			if tools, ok := strings.CutPrefix(with, "with "); ok {
				e.tools = strings.Split(tools, ", ")
			} else if !e.alone {
				t.Errorf("%s: %q is neither with TOOL, TOOL nor alone nor by CI", at, m[1])
			}
			examples = append(examples, e)
		}
	}
	return examples
}

// checkCI holds each line of a block against what CI runs.
func checkCI(t *testing.T, at, block string) {
	t.Helper()
	ci, err := os.ReadFile("../.ci/run")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(block) {
		command, _, _ := strings.Cut(strings.TrimSpace(line), "  #")
		if !strings.Contains(string(ci), "step "+command) {
			t.Errorf("%s: .ci/run does not run %q", at, command)
		}
	}
}

// docsShell makes what runs until it is stopped go to the background, as in a terminal of its own: `sekisho serve`, which sets
// LOCAL_REGISTRY once it answers, and `sekisho agent run`, without --once, which is waited for until it takes jobs. They are
// stopped at the end, the last one first.
const docsShell = `
background=
stop() { for p in $background; do kill -INT $p; wait $p || true; done; }
trap stop EXIT
sekisho() {
  if [[ $1 == serve ]]; then
    rm -f "$SEKISHO_DATA/address"
    command sekisho "$@" --data "$SEKISHO_DATA" --listen 127.0.0.1:0 2>>server.log &
    background="$! $background"
    until [[ -s $SEKISHO_DATA/address ]]; do kill -0 $! && sleep 0.05; done
    LOCAL_REGISTRY=localhost:$(sed -n 1p "$SEKISHO_DATA/address" | cut -d: -f2)
    LOCAL_ENDPOINT=localhost:$(sed -n '$p' "$SEKISHO_DATA/address" | cut -d: -f2)
  elif [[ "$1 ${2-}" == "agent run" && " $* " != *" --once "* ]]; then
    : >agent.log
    command sekisho "$@" >>agent.log 2>&1 &
    background="$! $background"
    until grep -q 'Listening for Jobs' agent.log; do kill -0 $! && sleep 0.2; done
  else
    command sekisho "$@"
  fi
}
`

// local leads examples to the server that was started, and to the second address of one that has it.
var local = strings.NewReplacer("localhost:5000", "$LOCAL_REGISTRY", "localhost:5001", "$LOCAL_ENDPOINT", "127.0.0.1:5001", "127.0.0.1:0")

// script returns the example as a script of [runScripts].
func (e *example) script() string {
	var b strings.Builder
	for _, tool := range e.tools {
		fmt.Fprintf(&b, "[!tool:%s] skip '%s is not installed or may not run here: see .ci/install'\n", tool, tool)
	}
	if e.alone {
		b.WriteString("containers\n")
	} else {
		b.WriteString("serve\n")
	}
	if e.files {
		b.WriteString("policies\n")
	}
	b.WriteString("layout image\n")
	if slices.Contains(e.tools, "docker") {
		b.WriteString("[!tool:podman] skip 'podman, which serves as the engine, is not installed or may not run here: see .ci/install'\nengine\n")
	}
	fmt.Fprintf(&b, "cp image/build/hello-%s app\nenv SEKISHO_DATA=$DATA\n", runtime.GOARCH)
	for i := range e.yaml {
		fmt.Fprintf(&b, "exec sekisho config check --config config%d.yaml\n", i)
	}
	if e.sh.Len() > 0 {
		b.WriteString("exec bash doc.sh\n")
	}
	for i, text := range e.yaml {
		// The files that it names are here.
		fmt.Fprintf(&b, "-- config%d.yaml --\n%s", i, strings.ReplaceAll(text, "/etc/sekisho/", ""))
	}
	b.WriteString("-- tls.crt --\n-- tls.key --\n-- internal.crt --\n-- internal.key --\n-- clients.crt --\n-- step-ca-root.crt --\n")
	b.WriteString("-- endpoint-policy.json --\n{\"Statement\":[{\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":\"*\",\"Resource\":\"*\"}]}\n")
	b.WriteString("-- s3-secret --\nsecret\n-- database-url --\npostgres://sekisho@db/sekisho\n")
	fmt.Fprintf(&b, "-- master-key --\n%s\n", strings.Repeat("5e", 32))
	b.WriteString("-- doc.sh --\nset -euo pipefail\n")
	// What a reader has not set is not set here either.
	b.WriteString("unset AWS_ENDPOINT_URL AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_REGION AWS_DEFAULT_REGION ACCESS_KEY SECRET REGISTRY\n")
	if e.alone || strings.Contains(e.sh.String(), "sekisho agent run") {
		b.WriteString(docsShell)
	}
	if strings.Contains(e.sh.String(), "git ") {
		b.WriteString("export GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=Reader GIT_AUTHOR_EMAIL=reader@example.com GIT_COMMITTER_NAME=Reader GIT_COMMITTER_EMAIL=reader@example.com\n")
	}
	b.WriteString("set -x\n" + local.Replace(e.sh.String()))
	b.WriteString("-- Dockerfile --\nFROM scratch\nCOPY app /app\nENTRYPOINT [\"/app\"]\n")
	b.WriteString("-- chart/Chart.yaml --\napiVersion: v2\nname: app\nversion: 0.1.0\n")
	b.WriteString("-- chart/templates/map.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: app\n")
	b.WriteString("-- sbom.json --\n{\"bomFormat\":\"CycloneDX\"}\n")
	return b.String()
}
