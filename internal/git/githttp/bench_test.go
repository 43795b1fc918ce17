package githttp_test

import (
	"fmt"
	"testing"

	"github.com/sekisho/sekisho/internal/git"
)

// BenchmarkTemplates reads what the compilation of a pipeline with 20 templates does.
func BenchmarkTemplates(b *testing.B) {
	w := newWorld(b, nil)
	r := w.create(app)
	var files []git.FileChange
	for i := range 20 {
		files = append(files, git.FileChange{Path: fmt.Sprintf("templates/t%d.yml", i), Data: []byte("steps:\n- script: true\n")})
	}
	if _, err := w.git.CommitFiles(b.Context(), caller("root"), app, git.NewCommit{Branch: "main", Message: "m", Files: files}); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		commit, err := w.git.Resolve(b.Context(), r.ID, "main")
		if err != nil {
			b.Fatal(err)
		}
		for i := range files {
			if _, err := w.git.ReadFile(b.Context(), r.ID, commit, files[i].Path, 1<<20); err != nil {
				b.Fatal(err)
			}
		}
	}
}
