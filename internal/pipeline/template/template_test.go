package template

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/sekisho/sekisho/internal/pipeline/yaml"
)

var update = flag.Bool("update", false, "write what the cases should say")

// memory is a Source of files in memory: "path", or "path@alias".
type memory map[string]string

func (m memory) File(_ context.Context, repo Repository, path string) ([]byte, error) {
	if repo.Alias != Self {
		path += "@" + strings.ToLower(repo.Alias)
	}
	data, ok := m[path]
	if !ok {
		return nil, ErrNoFile
	}
	return []byte(data), nil
}

// normal is a normal form for tests: a script becomes a task.
func normal(typ string, n *yaml.Node) (*yaml.Node, error) {
	if typ != "step" || len(n.Pairs) == 0 {
		return n, nil
	}
	first := n.Pairs[0]
	if first.Key.Value == "refused" {
		return nil, &yaml.Error{Pos: first.Key.Pos, Message: "Unexpected value 'refused'"}
	}
	if first.Key.Value != "script" {
		return n, nil
	}
	out := &yaml.Node{Kind: yaml.Mapping, Pos: n.Pos, Pairs: []yaml.Pair{{Key: word("task", n.Pos), Value: word("CmdLine@2", n.Pos)}}}
	out.Pairs = append(out.Pairs, n.Pairs[1:]...)
	out.Pairs = append(out.Pairs, yaml.Pair{Key: word("inputs", n.Pos), Value: &yaml.Node{Kind: yaml.Mapping, Pos: n.Pos, Pairs: []yaml.Pair{first}}})
	return out, nil
}

// variableLines reads "name=value" lines.
func variableLines(s string) []Variable {
	var vars []Variable
	for line := range strings.Lines(s) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			vars = append(vars, Variable{Name: name, Value: value, From: "predefined"})
		}
	}
	return vars
}

// TestCases runs the cases of testdata. A file has cases, each in a folder: main.yml, the other files, given.yml with
// values for parameters, variables with lines name=value, and either want, the expanded pipeline, or error.
func TestCases(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	for _, name := range files {
		archive, err := txtar.ParseFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var cases []string
		sources := map[string]memory{}
		for _, f := range archive.Files {
			folder, file, _ := strings.Cut(f.Name, "/")
			if sources[folder] == nil {
				sources[folder] = memory{}
				cases = append(cases, folder)
			}
			sources[folder][file] = string(f.Data)
		}
		wants := map[string]string{}
		for _, c := range cases {
			t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar")+"/"+c, func(t *testing.T) {
				src := sources[c]
				o := Options{Source: src, File: "main.yml", Normal: normal, Variables: variableLines(src["variables"])}
				if given, ok := src["given.yml"]; ok {
					if o.Parameters, err = yaml.Parse("given.yml", []byte(given), yaml.Limits{}); err != nil {
						t.Fatal(err)
					}
				}
				got, kind := "", "want"
				r, err := Expand(t.Context(), o)
				if err != nil {
					got, kind = err.Error()+"\n", "error"
				} else {
					got = string(yaml.Marshal(r.Root))
					if _, err := yaml.Parse("want", []byte(got), yaml.Limits{}); err != nil {
						t.Errorf("what was expanded can't be read: %v", err)
					}
				}
				wants[c+"/"+kind] = got
				if *update {
					return
				}
				if diff := cmp.Diff(src[kind], got); diff != "" {
					t.Errorf("%s (-want +got):\n%s", kind, diff)
				}
			})
		}
		if *update {
			archive.Files = slices.DeleteFunc(archive.Files, func(f txtar.File) bool {
				return strings.HasSuffix(f.Name, "/want") || strings.HasSuffix(f.Name, "/error")
			})
			var files []txtar.File
			for _, c := range cases {
				for _, f := range archive.Files {
					if strings.HasPrefix(f.Name, c+"/") {
						files = append(files, f)
					}
				}
				for _, kind := range []string{"want", "error"} {
					if got, ok := wants[c+"/"+kind]; ok {
						files = append(files, txtar.File{Name: c + "/" + kind, Data: []byte(got)})
					}
				}
			}
			archive.Files = files
			if err := os.WriteFile(name, txtar.Format(archive), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}
