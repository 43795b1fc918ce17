package template

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/sekisho/sekisho/internal/pipeline/yaml"
)

// bombs are pipelines that are small, and would be endless.
var bombs = map[string]struct {
	files memory
	want  string
}{
	"nested loops": {memory{"main.yml": "parameters:\n- name: l\n  type: object\n  default: [" + strings.Repeat("a,", 99) + "a]\nsteps:\n" +
		"- ${{ each a in parameters.l }}:\n  - ${{ each b in parameters.l }}:\n    - ${{ each c in parameters.l }}:\n      - ${{ each d in parameters.l }}:\n        - script: x\n"},
		"more than 500000 nodes"},
	"nested loops without result": {memory{"main.yml": "parameters:\n- name: l\n  type: object\n  default: [" + strings.Repeat("a,", 99) + "a]\nsteps:\n" +
		"- ${{ each a in parameters.l }}:\n  - ${{ each b in parameters.l }}:\n    - ${{ each c in parameters.l }}:\n      - ${{ each d in parameters.l }}:\n        - ${{ if false }}:\n          - script: x\n"},
		"take too long"},
	"structures that double": {memory{"main.yml": "parameters:\n- name: o\n  type: object\n  default: {a: b}\nsteps:\n- template: t.yml\n  parameters:\n    o: ${{ parameters.o }}\n",
		"t.yml": "parameters:\n- name: o\n  type: object\nsteps:\n- template: t.yml\n  parameters:\n    o:\n" + strings.Repeat("    - ${{ parameters.o }}\n    - ${{ parameters }}\n", 4)},
		"more than"},
	"texts that double": {memory{"main.yml": "variables:\n  a0: xxxxxxxxxx\n" + doubling(60) + "steps: []\n"}, "more than 41943040 bytes"},
	"templates that double": {memory{"main.yml": "steps:\n- template: t.yml\n", "t.yml": "steps:\n- template: t.yml\n- template: t.yml\n"},
		"t.yml → t.yml is a cycle"},
	"templates that fan out": {fans(16), "more than 500000 nodes"},
	"many files":             {manyFiles(101), "more than 100 files"},
	"files that are big":     {bigFiles(), "more than the 10485760 bytes"},
	"long expressions": {memory{"main.yml": "parameters:\n- name: l\n  type: object\n  default: [" + strings.Repeat("aaaaaaaaaa,", 1000) + "a]\n- name: s\n  default: " + strings.Repeat("s", 100_000) + "\nsteps:\n" +
		"- ${{ each a in parameters.l }}:\n  - ${{ each b in parameters.l }}:\n    - script: ${{ length(replace(parameters.s, 's', 'ttttt')) }}\n"},
		"take too long"},
	"lists from expressions": {memory{"main.yml": "parameters:\n- name: s\n  default: " + strings.Repeat("s,", 300_000) + "\nsteps:\n" +
		"- ${{ each a in split(parameters.s, ',') }}:\n  - ${{ each b in split(parameters.s, ',') }}:\n    - script: x\n"}, "maximum allowed memory"},
	"scopes with many variables": {memory{"main.yml": "variables:\n  ${{ each n in split('" + strings.Repeat("a,", 9000) + "', ',') }}:\n    v: 1\n" +
		"jobs:\n- ${{ each n in split('" + strings.Repeat("a,", 9000) + "', ',') }}:\n  - job: x\n    variables: {a: b}\n"}, "already defined"},
}

func doubling(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "  a%d: ${{ variables.a%d }}${{ variables.a%d }}\n", i+1, i, i)
	}
	return b.String()
}

func fans(n int) memory {
	m := memory{"main.yml": "steps:\n- template: t0.yml\n"}
	for i := range n {
		m[fmt.Sprintf("t%d.yml", i)] = "steps:\n" + strings.Repeat(fmt.Sprintf("- template: t%d.yml\n", i+1), 10)
	}
	m[fmt.Sprintf("t%d.yml", n)] = "steps:\n- script: x\n"
	return m
}

func manyFiles(n int) memory {
	m := memory{}
	var b strings.Builder
	b.WriteString("steps:\n")
	for i := range n {
		fmt.Fprintf(&b, "- template: t%d.yml\n", i)
		m[fmt.Sprintf("t%d.yml", i)] = "steps: []\n"
	}
	m["main.yml"] = b.String()
	return m
}

func bigFiles() memory {
	m := manyFiles(3)
	for i := range 3 {
		m[fmt.Sprintf("t%d.yml", i)] = "steps:\n- script: " + strings.Repeat("x", 4<<20) + "\n"
	}
	return m
}

func TestBombs(t *testing.T) {
	for name, bomb := range bombs {
		t.Run(name, func(t *testing.T) {
			_, err := Expand(t.Context(), Options{Source: bomb.files, File: "main.yml"})
			if err == nil || !strings.Contains(err.Error(), bomb.want) {
				t.Errorf("got %.500v, want %q", err, bomb.want)
			}
			var one *yaml.Error
			if !errors.As(err, &one) {
				t.Errorf("%T has no position", err)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	files := memory{
		"main.yml": "steps:\n- template: a.yml\n",
		"a.yml":    "steps:\n- template: b.yml\n",
		"b.yml":    "steps:\n- script: x\n- script: y\n",
	}
	for _, c := range []struct {
		limits Limits
		want   string
	}{
		{Limits{}, ""},
		{Limits{Files: 3, Depth: 2}, ""},
		{Limits{Files: 2}, "a.yml:2:13: The pipeline has more than 2 files"},
		{Limits{Depth: 1}, "a.yml:2:13: Templates are nested more than 1 levels deep: … → main.yml → a.yml → b.yml"},
		{Limits{Bytes: 50}, "a.yml:2:13: The files of the pipeline have more than the 50 bytes that all of them together may have"},
		{Limits{Nodes: 14}, "b.yml:3:11: The pipeline has more than 14 nodes when it is expanded; this is where the limit was passed. Are loops (each) nested too deeply?"},
	} {
		_, err := Expand(t.Context(), Options{Source: files, File: "/main.yml", Limits: c.limits})
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%+v:\ngot  %s\nwant %s", c.limits, got, c.want)
		}
	}
}

func TestTheContextEndsAnExpansion(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Expand(ctx, Options{Source: bombs["nested loops"].files, File: "main.yml"})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// broken is a Source that fails.
type broken struct{}

func (broken) File(context.Context, Repository, string) ([]byte, error) {
	return nil, errors.New("the disk is full")
}

func TestASourceThatFails(t *testing.T) {
	_, err := Expand(t.Context(), Options{Source: broken{}, File: "main.yml"})
	if want := "main.yml: File /main.yml of repository self can't be read: the disk is full"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	_, err = Expand(t.Context(), Options{Source: memory{}, File: "main.yml"})
	if want := "main.yml: File /main.yml not found in the repository of the pipeline"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
