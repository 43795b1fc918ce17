package credfile

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const auth = "QUtJQTpzZWNyZXQ=" // AKIA:secret

var credential = Credential{Username: "AKIA", Password: "secret"}

func TestPut(t *testing.T) {
	for _, tt := range []struct {
		name string
		file string // "-": none
		want string
	}{
		{"no file", "-", `{"auths":{"r:5000":{"auth":"` + auth + `"}}}`},
		{"empty file", "\n", `{"auths":{"r:5000":{"auth":"` + auth + `"}}}`},
		{"null", `{"auths":null}`, `{"auths":{"r:5000":{"auth":"` + auth + `"}}}`},
		{
			"unknown keys, numbers and their order stay",
			`{"zeta":1.50,"detachKeys":"<a>","auths":{"other":{"auth":"x","extra":[1e3]}},"alpha":{"b":2,"a":1}}`,
			`{"zeta":1.50,"detachKeys":"<a>","auths":{"other":{"auth":"x","extra":[1e3]},"r:5000":{"auth":"` + auth + `"}},"alpha":{"b":2,"a":1}}`,
		},
		{
			"an entry is replaced, what else it has stays",
			`{"auths":{"r:5000":{"auth":"old","email":"me@x","identitytoken":"t"},"s":{}}}`,
			`{"auths":{"r:5000":{"auth":"` + auth + `","email":"me@x"},"s":{}}}`,
		},
		{"a helper for another registry", `{"credHelpers":{"s":"none"}}`, `{"credHelpers":{"s":"none"},"auths":{"r:5000":{"auth":"` + auth + `"}}}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := File{Path: filepath.Join(t.TempDir(), "new", "config.json"), Store: true}
			if tt.file != "-" {
				put(t, f.Path, tt.file)
			}
			where, err := f.Put(t.Context(), "r:5000", credential)
			if err != nil {
				t.Fatal(err)
			}
			if where != f.Path {
				t.Errorf("it went to %q", where)
			}
			got := compact(t, get(t, f.Path))
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			info, err := os.Stat(f.Path)
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode().Perm() != 0o600 {
				t.Errorf("mode %v", info.Mode())
			}
			left, _ := filepath.Glob(filepath.Join(filepath.Dir(f.Path), ".*"))
			if len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestPutRefuses(t *testing.T) {
	for _, tt := range []struct{ name, file, want string }{
		{"not JSON", `{"auths":`, "it is not JSON: at byte 9: unexpected EOF; it is left as it is"},
		{"not an object", `[]`, "it is not a JSON object"},
		{"two documents", `{} {}`, "there is something after the JSON object"},
		{"auths is a list", `{"auths":[]}`, "auths: it is not a JSON object"},
		{"the entry is text", `{"auths":{"r:5000":"x"}}`, "r:5000: it is not a JSON object"},
		{"the store is a number", `{"credsStore":7}`, "credsStore: it is not a string"},
		{"the helper is a path", `{"credHelpers":{"r:5000":"../x"}}`, `the helper's name "../x" is a path`},
		{"the helper is missing", `{"credsStore":"not-there"}`, "docker-credential-not-there is named by the client's configuration but not installed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := File{Path: filepath.Join(t.TempDir(), "config.json"), Store: true}
			put(t, f.Path, tt.file)
			_, err := f.Put(t.Context(), "r:5000", credential)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
			if got := get(t, f.Path); got != tt.file {
				t.Errorf("the file was changed to %s", got)
			}
		})
	}
	f := File{Path: filepath.Join(t.TempDir(), "config.json")}
	if _, err := f.Put(t.Context(), "r", Credential{Username: "a:b"}); err == nil || !strings.Contains(err.Error(), "colon") {
		t.Errorf("a colon in the user name: %v", err)
	}
}

func TestPutFollowsLinks(t *testing.T) {
	dir := t.TempDir()
	real := filepath.Join(dir, "dotfiles.json")
	put(t, real, `{"a":1}`)
	f := File{Path: filepath.Join(dir, "config.json")}
	if err := os.Symlink(real, f.Path); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Put(t.Context(), "r", credential); err != nil {
		t.Fatal(err)
	}
	if got := compact(t, get(t, real)); got != `{"a":1,"auths":{"r":{"auth":"`+auth+`"}}}` {
		t.Error(got)
	}
	if info, err := os.Lstat(f.Path); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is gone: %v, %v", info.Mode(), err)
	}
}

// TestHelper uses a program that keeps what it is given, as real helpers do.
func TestHelper(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	program := "#!/bin/sh\n[ \"$1\" = store ] && [ $# = 1 ] || exit 9\ncat > " + filepath.Join(dir, "kept") + "\n"
	for name, text := range map[string]string{"keep": program, "locked": "#!/bin/sh\necho the store is locked, said $(cat)\nexit 1\n"} {
		if err := os.WriteFile(filepath.Join(dir, helperPrefix+name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name, file, want string
		store            bool
		where            string
	}{
		{"for all", `{"credsStore":"keep"}`, `{"credsStore":"keep","auths":{"r":{}}}`, true, "docker-credential-keep"},
		{"for one", `{"auths":{"r":{"auth":"old"}},"credHelpers":{"r":"keep"},"credsStore":"locked"}`,
			`{"auths":{"r":{}},"credHelpers":{"r":"keep"},"credsStore":"locked"}`, true, "docker-credential-keep"},
		{"a client that knows no store", `{"credsStore":"keep"}`, `{"credsStore":"keep","auths":{"r":{"auth":"` + auth + `"}}}`, false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := File{Path: filepath.Join(t.TempDir(), "config.json"), Store: tt.store}
			put(t, f.Path, tt.file)
			where, err := f.Put(t.Context(), "r", credential)
			if err != nil {
				t.Fatal(err)
			}
			if tt.where == "" {
				tt.where = f.Path
			} else if kept := get(t, filepath.Join(dir, "kept")); kept != `{"ServerURL":"r","Username":"AKIA","Secret":"secret"}` {
				t.Errorf("kept %s", kept)
			}
			if got := compact(t, get(t, f.Path)); got != tt.want || where != tt.where {
				t.Errorf("%s in %s", got, where)
			}
		})
	}
	f := File{Path: filepath.Join(t.TempDir(), "config.json"), Store: true}
	put(t, f.Path, `{"credsStore":"locked"}`)
	_, err := f.Put(t.Context(), "r", credential)
	if err == nil || !strings.Contains(err.Error(), "the store is locked") || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v", err)
	}
}

func TestPlaces(t *testing.T) {
	env := func(pairs ...string) func(string) string {
		return func(name string) string {
			for i := 0; i < len(pairs); i += 2 {
				if pairs[i] == name {
					return pairs[i+1]
				}
			}
			return ""
		}
	}
	containers := func(get func(string) string, goos string) (File, error) { return Containers(get, goos, 1000) }
	for _, tt := range []struct {
		name string
		find func(func(string) string) (File, error)
		env  func(string) string
		want string // "": an error
	}{
		{"docker's folder", Docker, env("DOCKER_CONFIG", "/d", "HOME", "/h"), "/d/config.json"},
		{"docker's home", Docker, env("HOME", "/h"), "/h/.docker/config.json"},
		{"docker without a home", Docker, env(), ""},
		{"podman's file", func(g func(string) string) (File, error) { return containers(g, "linux") }, env("REGISTRY_AUTH_FILE", "/a.json", "XDG_RUNTIME_DIR", "/r"), "/a.json"},
		{"docker's, for podman", func(g func(string) string) (File, error) { return containers(g, "linux") }, env("DOCKER_CONFIG", "/d", "XDG_RUNTIME_DIR", "/r"), "/d/config.json"},
		{"podman's runtime folder", func(g func(string) string) (File, error) { return containers(g, "linux") }, env("XDG_RUNTIME_DIR", "/r"), "/r/containers/auth.json"},
		{"podman without one", func(g func(string) string) (File, error) { return containers(g, "linux") }, env(), "/run/containers/1000/auth.json"},
		{"podman elsewhere", func(g func(string) string) (File, error) { return containers(g, "darwin") }, env("HOME", "/h", "XDG_RUNTIME_DIR", "/r"), "/h/.config/containers/auth.json"},
		{"podman elsewhere without a home", func(g func(string) string) (File, error) { return containers(g, "darwin") }, env(), ""},
	} {
		f, err := tt.find(tt.env)
		if f.Path != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%s: %q, %v", tt.name, f.Path, err)
		}
	}
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// compact takes the layout away.
func compact(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, []byte(text)); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return b.String()
}
