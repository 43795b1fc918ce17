package template

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/sekisho/sekisho/internal/pipeline/yaml"
)

// FuzzExpand expands a root file with a template, which is known by several names. Whatever they hold, expansion ends
// soon, with a tree that can be written and read, or with errors that have positions.
func FuzzExpand(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.txtar")
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		root := ""
		for _, file := range txtar.Parse(data).Files {
			switch {
			case strings.HasSuffix(file.Name, "/main.yml"):
				root = string(file.Data)
				f.Add(root, "")
			case strings.Contains(file.Name, ".yml"):
				f.Add(root, string(file.Data))
			}
		}
	}
	f.Fuzz(func(t *testing.T, main, other string) {
		src := memory{"main.yml": main, "t.yml": other, "a.yml": other, "t.yml@shared": other}
		limits := Limits{Files: 10, Depth: 5, Bytes: 1 << 16, Nodes: 5000, Work: 4 << 20}
		r, err := Expand(t.Context(), Options{Source: src, File: "main.yml", Normal: normal, Limits: limits})
		if err != nil {
			var one *yaml.Error
			if !errors.As(err, &one) || one.Message == "" {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		text := yaml.Marshal(r.Root)
		if _, err := yaml.Parse("again", text, yaml.Limits{Bytes: 1 << 24, Depth: 1000}); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
	})
}
