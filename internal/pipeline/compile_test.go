package pipeline

import (
	"context"
	"errors"
	"flag"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/sekisho/sekisho/internal/pipeline/yaml"
)

var update = flag.Bool("update", false, "rewrite the expected parts of testdata")

// archive is a Source of a txtar: alias/path is a file of another repository.
type archive map[string]string

func (a archive) File(_ context.Context, r Repository, name string) ([]byte, error) {
	if r.Alias != "self" {
		name = path.Join("@"+r.Alias, name)
	}
	text, ok := a[name]
	if !ok {
		return nil, ErrNoFile
	}
	return []byte(text), nil
}

// failure is what expand would print.
func failure(err error) string {
	if all, ok := errors.AsType[yaml.Errors](err); ok {
		return all.Error() + "\n"
	}
	return err.Error() + "\n"
}

// TestGolden replays testdata. In an archive, parts named like "pipeline.yml" are the cases; "pipeline.yml: expanded",
// ": errors" and ": refused" are what is expected of each. Other parts are templates; "@alias/path" is in another
// repository.
func TestGolden(t *testing.T) {
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatal("no testdata", err)
	}
	for _, file := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			ar := txtar.Parse(text)
			source, want := archive{}, map[string]string{}
			for _, f := range ar.Files {
				if name, kind, ok := strings.Cut(f.Name, ": "); ok {
					want[name+": "+kind] = string(f.Data)
				} else {
					source[f.Name] = string(f.Data)
				}
			}
			out := &txtar.Archive{Comment: ar.Comment}
			for _, f := range ar.Files {
				if strings.Contains(f.Name, ": ") {
					continue
				}
				out.Files = append(out.Files, f)
				if strings.Contains(f.Name, "/") {
					continue
				}
				got := map[string]string{}
				plan, err := Compile(t.Context(), source, f.Name, Options{})
				if err != nil {
					got["errors"] = failure(err)
				} else {
					got["expanded"] = string(yaml.Marshal(plan.Expanded))
					if refused := plan.Unsupported(); refused != nil {
						got["refused"] = yaml.Errors(refused).Error() + "\n"
					}
				}
				for _, kind := range []string{"expanded", "errors", "refused"} {
					part := f.Name + ": " + kind
					if diff := cmp.Diff(want[part], got[kind]); diff != "" && !*update {
						t.Errorf("%s (-want +got):\n%s", part, diff)
					}
					if got[kind] != "" {
						out.Files = append(out.Files, txtar.File{Name: part, Data: []byte(got[kind])})
					}
				}
				if err == nil {
					again(t, f.Name, plan)
				}
			}
			if *update {
				if err := os.WriteFile(file, txtar.Format(out), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// again expands the normal form, which must stay as it is.
func again(t *testing.T, name string, plan *Plan) {
	t.Helper()
	text := string(yaml.Marshal(plan.Expanded))
	second, err := Compile(t.Context(), archive{name: text}, name, Options{})
	if err != nil {
		t.Errorf("%s: the normal form is refused: %v", name, err)
		return
	}
	if diff := cmp.Diff(text, string(yaml.Marshal(second.Expanded))); diff != "" {
		t.Errorf("%s: the normal form has another (-once +twice):\n%s", name, diff)
	}
}
