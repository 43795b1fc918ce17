package task_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCopyFiles(t *testing.T) {
	for name, tt := range map[string]struct {
		inputs []string
		want   []string
	}{
		"all":             {nil, []string{"a.txt", "bin/tool", "src/b.txt", "src/deep/c.go"}},
		"some":            {[]string{"Contents", "**/*.txt\n# a comment\n!src/**"}, []string{"a.txt"}},
		"braces":          {[]string{"Contents", "**/*.{go,txt}"}, []string{"a.txt", "src/b.txt", "src/deep/c.go"}},
		"again":           {[]string{"Contents", "**\n!src/**\nsrc/deep/*"}, []string{"a.txt", "bin/tool", "src/deep/c.go"}},
		"flat":            {[]string{"flattenFolders", "true"}, []string{"a.txt", "b.txt", "c.go", "tool"}},
		"from a folder":   {[]string{"SourceFolder", "src"}, []string{"b.txt", "deep/c.go"}},
		"nothing is like": {[]string{"Contents", "*.none"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStep(t)
			for _, f := range []string{"a.txt", "src/b.txt", "src/deep/c.go", "bin/tool"} {
				s.file(f, f)
			}
			if err := os.Chmod(filepath.Join(s.dirs.Sources, "bin/tool"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := s.run("CopyFiles@2", append(tt.inputs, "TargetFolder", s.dirs.Staging)...); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, s.tree(s.dirs.Staging)); diff != "" {
				t.Errorf("%s\n%s", diff, s.log())
			}
			if info, err := os.Stat(filepath.Join(s.dirs.Staging, "bin/tool")); err == nil && info.Mode().Perm()&0o100 == 0 {
				t.Error("a program is none any more")
			}
		})
	}
}

func TestCopyKeeps(t *testing.T) {
	s := newStep(t)
	s.file("a", "new")
	target := filepath.Join(s.dirs.Staging, "a")
	if err := os.WriteFile(target, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ over, want string }{{"false", "old"}, {"true", "new"}} {
		if err := s.run("CopyFiles@2", "TargetFolder", s.dirs.Staging, "OverWrite", tt.over); err != nil {
			t.Fatal(err)
		}
		if got, _ := os.ReadFile(target); string(got) != tt.want {
			t.Errorf("OverWrite %s: %q, want %q", tt.over, got, tt.want)
		}
	}
}

// TestOutside: nothing outside the job's own folders is deleted.
func TestOutside(t *testing.T) {
	s := newStep(t)
	s.file("a", "a")
	other := t.TempDir()
	if err := os.WriteFile(filepath.Join(other, "precious"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, run := range [][]string{
		{"CopyFiles@2", "TargetFolder", other, "CleanTargetFolder", "true"},
		{"CopyFiles@2", "TargetFolder", "../../..", "CleanTargetFolder", "true"},
		{"DeleteFiles@1", "SourceFolder", other, "Contents", "**"},
		{"DeleteFiles@1", "SourceFolder", "/", "Contents", "etc"},
		{"ExtractFiles@1", "destinationFolder", other, "archiveFilePatterns", "a"},
	} {
		if err := s.run(run[0], run[1:]...); err == nil || !strings.Contains(err.Error(), "not deleted") {
			t.Errorf("%v: error %v, want a refusal", run, err)
		}
	}
	if got := s.tree(other); !slices.Equal(got, []string{"precious"}) {
		t.Errorf("left: %v", got)
	}
}

func TestDeleteFiles(t *testing.T) {
	s := newStep(t)
	for _, f := range []string{"a.o", "b.c", "obj/c.o", "obj/keep.txt", ".hidden.o"} {
		s.file(f, f)
	}
	if err := s.run("DeleteFiles@1", "Contents", "**/*.o"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{".hidden.o", "b.c", "obj/keep.txt"}, s.tree(s.dirs.Sources)); diff != "" {
		t.Error(diff)
	}
	if err := s.run("DeleteFiles@1", "Contents", "obj"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{".hidden.o", "b.c"}, s.tree(s.dirs.Sources)); diff != "" {
		t.Error(diff)
	}
}

func TestArchives(t *testing.T) {
	for _, tt := range []struct{ name, kind, compression string }{{"x.zip", "zip", ""}, {"x.tar.gz", "tar", "gz"}, {"x.tar", "tar", "none"}} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStep(t)
			s.file("src/a.txt", "alpha")
			s.file("src/deep/run.sh", "#!/bin/sh\n")
			if err := os.Chmod(filepath.Join(s.dirs.Sources, "src/deep/run.sh"), 0o755); err != nil {
				t.Fatal(err)
			}
			archive := filepath.Join(s.dirs.Staging, tt.name)
			if err := s.run("ArchiveFiles@2", "rootFolderOrFile", "src", "archiveType", tt.kind, "tarCompression", tt.compression, "archiveFile", archive); err != nil {
				t.Fatal(err)
			}
			out := filepath.Join(s.dirs.Pipeline, "out")
			if err := s.run("ExtractFiles@1", "archiveFilePatterns", s.dirs.Staging+"/*", "destinationFolder", out); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{"src/a.txt", "src/deep/run.sh"}, s.tree(out)); diff != "" {
				t.Error(diff)
			}
			if info, err := os.Stat(filepath.Join(out, "src/deep/run.sh")); err != nil || info.Mode().Perm()&0o100 == 0 {
				t.Errorf("mode %v, %v", info.Mode(), err)
			}
			if err := s.run("ExtractFiles@1", "archiveFilePatterns", archive, "destinationFolder", out, "cleanDestinationFolder", "false"); err == nil || !strings.Contains(err.Error(), "already") {
				t.Errorf("error %v, want that a file is there already", err)
			}
			if err := s.run("ArchiveFiles@2", "rootFolderOrFile", "src", "archiveFile", archive, "replaceExistingArchive", "false"); err == nil {
				t.Error("an archive was replaced")
			}
		})
	}
}

// TestHostileArchives: names and links that lead out of the destination are refused, and nothing is written there.
func TestHostileArchives(t *testing.T) {
	zipped := func(name string) []byte {
		var b bytes.Buffer
		w := zip.NewWriter(&b)
		f, _ := w.Create(name)
		_, _ = f.Write([]byte("evil"))
		_ = w.Close()
		return b.Bytes()
	}
	tarred := func(headers ...tar.Header) []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, h := range headers {
			if h.Typeflag == tar.TypeReg {
				h.Size = 4
			}
			_ = w.WriteHeader(&h)
			if h.Typeflag == tar.TypeReg {
				_, _ = w.Write([]byte("evil"))
			}
		}
		_ = w.Close()
		return b.Bytes()
	}
	for name, data := range map[string][]byte{
		"up.zip":       zipped("../evil"),
		"absolute.zip": zipped("/tmp/evil"),
		"up.tar":       tarred(tar.Header{Name: "a/../../evil", Typeflag: tar.TypeReg, Mode: 0o644}),
		"link.tar":     tarred(tar.Header{Name: "l", Linkname: "../..", Typeflag: tar.TypeSymlink}, tar.Header{Name: "l/evil", Typeflag: tar.TypeReg, Mode: 0o644}),
		"root.tar":     tarred(tar.Header{Name: "l", Linkname: "/", Typeflag: tar.TypeSymlink}),
		"hard.tar":     tarred(tar.Header{Name: "l", Linkname: "/etc/passwd", Typeflag: tar.TypeLink}),
		"device.tar":   tarred(tar.Header{Name: "d", Typeflag: tar.TypeChar}),
		"nested.tar":   tarred(tar.Header{Name: "a", Linkname: "b", Typeflag: tar.TypeSymlink}, tar.Header{Name: "b", Linkname: "../s", Typeflag: tar.TypeSymlink}, tar.Header{Name: "a/evil", Typeflag: tar.TypeReg, Mode: 0o644}),
		"cut.zip":      zipped("a")[:30],
	} {
		t.Run(name, func(t *testing.T) {
			s := newStep(t)
			s.file(name, string(data))
			if err := s.run("ExtractFiles@1", "archiveFilePatterns", name, "destinationFolder", filepath.Join(s.dirs.Pipeline, "out")); err == nil {
				t.Error("it was extracted")
			}
			for _, f := range s.tree(s.dirs.Work) {
				if strings.HasSuffix(f, "evil") {
					t.Errorf("there is %s", f)
				}
			}
		})
	}
}

func TestArtifacts(t *testing.T) {
	s := newStep(t)
	s.file("out/a.txt", "alpha")
	s.file("out/lib/b.bin", "beta")
	s.file("out/tmp/x", "x")
	s.file("out/.artifactignore", "# not these\ntmp\n")
	if err := s.run("PublishPipelineArtifact@1", "targetPath", "out", "artifact", "drop"); err != nil {
		t.Fatal(err)
	}
	if err := s.run("PublishBuildArtifacts@1", "PathtoPublish", filepath.Join(s.dirs.Sources, "out/a.txt"), "ArtifactName", "one"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"drop pipeline", "one container"}, s.server.finished); diff != "" {
		t.Error(diff)
	}
	for name, tt := range map[string]struct {
		run  []string
		want []string
	}{
		"one artifact":         {[]string{"DownloadPipelineArtifact@2", "artifact", "drop"}, []string{"a.txt", "lib/b.bin"}},
		"all":                  {[]string{"DownloadPipelineArtifact@2"}, []string{"drop/a.txt", "drop/lib/b.bin", "one/a.txt"}},
		"some files":           {[]string{"DownloadPipelineArtifact@2", "patterns", "**/*.bin"}, []string{"drop/lib/b.bin"}},
		"build artifact":       {[]string{"DownloadBuildArtifacts@1", "artifactName", "one"}, []string{"one/a.txt"}},
		"by the folder's name": {[]string{"DownloadBuildArtifacts@0", "artifactName", "drop", "itemPattern", "drop/lib/**"}, []string{"drop/lib/b.bin"}},
	} {
		t.Run(name, func(t *testing.T) {
			target := t.TempDir()
			if err := s.run(tt.run[0], append(tt.run[1:], "downloadPath", target, "targetPath", target)...); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, s.tree(target)); diff != "" {
				t.Error(diff)
			}
		})
	}
	if err := s.run("DownloadPipelineArtifact@2", "artifact", "none"); err == nil || !strings.Contains(err.Error(), "there are: drop, one") {
		t.Errorf("error %v, want one that says which artifacts there are", err)
	}
	if err := s.run("DownloadPipelineArtifact@2", "source", "specific", "pipeline", "lib", "runVersion", "latestFromBranch", "runBranch", "refs/heads/main", "tags", "a, b", "targetPath", t.TempDir()); err != nil {
		t.Fatal(err)
	}
	if q := s.server.asked; q.Pipeline != "lib" || q.Branch != "refs/heads/main" || !slices.Equal(q.Tags, []string{"a", "b"}) {
		t.Errorf("asked for %+v", q)
	}
}

// TestHostileArtifact: a server that lies about names can't make an agent write elsewhere.
func TestHostileArtifact(t *testing.T) {
	s := newStep(t)
	s.server.files["drop"] = map[string][]byte{"../../evil": []byte("x")}
	if err := s.run("DownloadPipelineArtifact@2", "artifact", "drop", "targetPath", filepath.Join(s.dirs.Pipeline, "d")); err == nil || !strings.Contains(err.Error(), "leads out") {
		t.Errorf("error %v, want a refusal", err)
	}
}
