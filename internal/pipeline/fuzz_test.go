package pipeline

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/sekisho/sekisho/internal/pipeline/template"
	"github.com/sekisho/sekisho/internal/pipeline/yaml"
)

// FuzzCompile compiles whatever there is. A plan that comes of it has a normal form that compiles to itself, and whose
// errors all have a place.
func FuzzCompile(f *testing.F) {
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range archives {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, part := range txtar.Parse(text).Files {
			if !strings.Contains(part.Name, ": ") {
				f.Add(string(part.Data), "steps:\n- script: a\n")
			}
		}
	}
	f.Add("extends:\n  template: t.yml\n", "stages:\n- stage: A\n  jobs: []\n")
	limits := template.Limits{Files: 10, Depth: 5, Bytes: 1 << 16, Nodes: 5000, Work: 1 << 20}
	f.Fuzz(func(t *testing.T, root, other string) {
		source := archive{"a.yml": root, "t.yml": other}
		p, err := Compile(t.Context(), source, "a.yml", Options{Limits: limits})
		if err != nil {
			if _, ok := errors.AsType[yaml.Errors](err); ok {
				return
			}
			if e, ok := errors.AsType[*yaml.Error](err); !ok || e.Pos.File == "" {
				t.Fatalf("an error without a place: %#v", err)
			}
			return
		}
		for _, e := range p.Unsupported() {
			if e.Pos.Line == 0 {
				t.Errorf("without a place: %v", e)
			}
		}
		p.Explain("a", nil)
		normal := string(yaml.Marshal(p.Expanded))
		if strings.Contains(normal, "${{") {
			return // a text that holds one is read as one the next time
		}
		again, err := Compile(t.Context(), archive{"a.yml": normal}, "a.yml", Options{Limits: limits})
		if err != nil {
			t.Fatalf("the normal form is refused: %v\n%s", err, normal)
		}
		if second := string(yaml.Marshal(again.Expanded)); second != normal {
			t.Fatalf("the normal form has another:\n%s\n%s", normal, second)
		}
	})
}

// TestHostile has files that would take all time and memory there is.
func TestHostile(t *testing.T) {
	nested := "parameters:\n- name: l\n  type: object\n  default: [" + strings.Repeat("1,", 99) + "1]\nsteps:\n"
	indent := ""
	for i := range 6 {
		nested += fmt.Sprintf("%s- ${{ each x%d in parameters.l }}:\n", indent, i)
		indent += "  "
	}
	nested += indent + "- script: x\n"
	var chain strings.Builder
	chain.WriteString("jobs:\n")
	for i := range 5000 {
		fmt.Fprintf(&chain, "- job: j%d\n", i)
		if i > 0 {
			fmt.Fprintf(&chain, "  dependsOn: j%d\n", i-1)
		}
	}
	var dense strings.Builder
	dense.WriteString("jobs:\n")
	for i := range 400 {
		fmt.Fprintf(&dense, "- job: j%d\n  dependsOn: [", i)
		for j := range i {
			fmt.Fprintf(&dense, "j%d,", j)
		}
		dense.WriteString("]\n")
	}
	var unknown strings.Builder
	unknown.WriteString("steps: []\n")
	for i := range 20000 {
		fmt.Fprintf(&unknown, "%s%d: x\n", strings.Repeat("k", 60), i)
	}
	var wrong strings.Builder
	wrong.WriteString("jobs:\n")
	for i := range 3000 {
		fmt.Fprintf(&wrong, "- job: j%d\n  dependsOn: %s\n", i, strings.Repeat("j", 60))
	}
	for _, tt := range []struct{ name, text, want string }{
		{"large", "steps:\n- script: |\n    " + strings.Repeat("a", 11<<20), "more than"},
		{"each in each", nested, "more than"},
		{"aliases", "a: &a [x,x]\nb: &b [*a,*a]\nsteps: []\n", "anchor"},
		{"deep", "steps: " + strings.Repeat("[", 5000), "deep"},
		{"cycle", "steps:\n- template: a.yml\n", ""},
		{"a long chain", chain.String(), "-"},
		{"all depend on all", dense.String(), "-"},
		{"unknown keys", unknown.String(), "Unexpected value"},
		{"unknown names", wrong.String(), "unknown job"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Compile(t.Context(), archive{"a.yml": tt.text}, "a.yml", Options{})
			switch {
			case tt.want == "-" && err != nil:
				t.Error(err)
			case tt.want != "-" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("%.300v", err)
			}
		})
	}
}
