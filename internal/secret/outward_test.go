package secret_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sekisho/sekisho/internal/meta/metatest"
	"github.com/sekisho/sekisho/internal/secret"
)

func TestOutward(t *testing.T) {
	top := t.TempDir()
	root1, outside := filepath.Join(top, "in"), filepath.Join(top, "out")
	write := func(name string, data []byte) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	link := func(to, name string) {
		t.Helper()
		if err := os.Symlink(to, filepath.Join(root1, name)); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(root1, "password"), []byte("hunter2\n"))
	write(filepath.Join(root1, "deep/er/password"), []byte("deep"))
	write(filepath.Join(root1, "binary"), []byte{0xff, 0, '\n'})
	write(filepath.Join(root1, "empty"), nil)
	write(filepath.Join(root1, "max"), append(bytes.Repeat([]byte("x"), secret.MaxValue), '\r', '\n'))
	write(filepath.Join(root1, "large"), bytes.Repeat([]byte("x"), secret.MaxValue+1))
	write(filepath.Join(outside, "passwd"), []byte("OUTSIDE"))
	write(top+"/in-sibling/x", []byte("OUTSIDE"))
	link("..data/v1", "current") // as Kubernetes mounts secrets
	write(filepath.Join(root1, "..data/v1"), []byte("rotated"))
	link(filepath.Join(outside, "passwd"), "absolute")
	link("../out/passwd", "up")
	link("../out", "folder")
	link("loop", "loop")
	if err := syscall.Mkfifo(filepath.Join(root1, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"DB_PASSWORD": "from env", "OTHER": "OUTSIDE", "EMPTY": ""}
	w := newWorld(t, metatest.Open(t, metatest.SQLite(t)), secret.Outward{
		Files:     []secret.Allowed{{Account: account, Name: root1}},
		Env:       []secret.Allowed{{Account: account, Name: "DB_PASSWORD"}, {Account: account, Name: "EMPTY"}, {Account: account, Name: "UNSET"}},
		LookupEnv: func(name string) (string, bool) { v, ok := env[name]; return v, ok },
	})
	ref := func(to string) string { return `{"sekisho:ref": "` + to + `"}` }
	in := func(name string) string { return "file:" + root1 + "/" + name }

	for i, c := range []struct {
		to, want string // want with "error:" is part of what reading says; with "refused:" of what writing says
	}{
		{in("password"), "hunter2"},
		{in("deep/er/password"), "deep"},
		{in("binary"), "\xff\x00\n"},
		{in("max"), strings.Repeat("x", secret.MaxValue)},
		{in("current"), "rotated"},
		{"env:DB_PASSWORD", "from env"},
		{in("missing"), "error:there is no such file"},
		{in("password/x"), "error:not a directory"},
		{in("empty"), "error:it is empty"},
		{in("large"), "error:more than 65536 bytes"},
		{in("deep"), "error:not a regular file"},
		{in("pipe"), "error:not a regular file"},
		{in("absolute"), "error:can't be read there"},
		{in("up"), "error:can't be read there"},
		{in("folder/passwd"), "error:can't be read there"},
		{in("loop"), "error:can't be read there"},
		{"env:EMPTY", "error:not set, or empty"},
		{"env:UNSET", "error:not set, or empty"},
		{"file:" + outside + "/passwd", "refused:secrets.file_roots"},
		{"file:" + top + "/in-sibling/x", "refused:secrets.file_roots"},
		{"file:" + root1, "refused:secrets.file_roots"},
		{"file:" + root1 + "/../out/passwd", "refused:clean absolute path"},
		{"file:" + root1 + "//password", "refused:clean absolute path"},
		{"file:password", "refused:clean absolute path"},
		{"file:/", "refused:clean absolute path"},
		{"file:" + root1 + "/a\\u0000b", "refused:clean absolute path"},
		{"env:OTHER", "refused:secrets.env"},
		{"env:A=B", "refused:name of a variable"},
		{"https://example.com/x", "refused:file: with"},
		{"", "refused:file: with"},
	} {
		name := "s" + strings.Repeat("x", i)
		_, _, err := w.Create(t.Context(), root, secret.Draft{Name: name, Value: secret.Text(ref(c.to))})
		if want, ok := strings.CutPrefix(c.want, "refused:"); ok {
			if m := is(t, c.to, err, secret.InvalidParameter); !strings.Contains(m, want) {
				t.Errorf("%s: %s", c.to, m)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.to, err)
			continue
		}
		got := w.value(name, "", "")
		if want, ok := strings.CutPrefix(c.want, "error:"); ok {
			if !strings.HasPrefix(got, "error: The value is kept at "+c.to) || !strings.Contains(got, want) || strings.Contains(got, "OUTSIDE") {
				t.Errorf("%s: %s", c.to, got)
			}
			continue
		}
		if got != c.want {
			t.Errorf("%s: %.100q", c.to, got)
		}
	}

	// Other accounts, and a configuration that allows it no more.
	_, _, err := w.Create(t.Context(), alien, secret.Draft{Name: "a", Value: secret.Text(ref(in("password")))})
	is(t, "another account", err, secret.InvalidParameter)
	_, err = w.open(secret.Outward{}).Get(t.Context(), root, "s", "", "")
	if m := is(t, "no longer allowed", err, secret.InvalidRequest); strings.Contains(m, "hunter2") {
		t.Error(m)
	}
	// What is at the other end is read each time.
	write(filepath.Join(root1, "password"), []byte("changed"))
	if got := w.value("s", "", ""); got != "changed" {
		t.Error(got)
	}
	// Bytes that look so are bytes, and what was put in as a value stays one.
	if _, _, err := w.Create(t.Context(), root, secret.Draft{Name: "bytes", Value: secret.Binary([]byte(ref("file:/etc/passwd")))}); err != nil {
		t.Error(err)
	}
	if got := w.value("bytes", "", ""); got != ref("file:/etc/passwd") {
		t.Error(got)
	}
	for _, value := range []string{`{"sekisho:ref": 1}`, `{"sekisho:ref": "env:DB_PASSWORD", "x": 1}`, `{"sekisho:ref": null}`, ` {"sekisho\u003aref": "nowhere"}`} {
		_, _, err := w.Create(t.Context(), root, secret.Draft{Name: "slip", Value: secret.Text(value)})
		is(t, value, err, secret.InvalidParameter)
	}
}

// FuzzParseOutward checks that whatever is taken for a reference is one that can't lead elsewhere by its form.
func FuzzParseOutward(f *testing.F) {
	for _, seed := range []string{
		`{"sekisho:ref": "file:/run/secrets/x"}`, `{"sekisho:ref":"env:NAME"}`, `{"sekisho:ref":"file:/a/../b"}`, `{"user":"x"}`, `{`, ``, "\ufeff{}",
		`{"sekisho:ref":"file:/a","sekisho:ref":"env:B"}`, `{"sekisho\u003aref":"file:\/a"}`, `[{"sekisho:ref":"env:B"}]`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		to, err := secret.ParseOutward(text)
		if err != nil || to == "" {
			return
		}
		scheme, name, _ := strings.Cut(to, ":")
		switch scheme {
		case "file":
			if !filepath.IsAbs(name) || filepath.Clean(name) != name || strings.ContainsRune(name, 0) || name == "/" {
				t.Errorf("%q refers to %q", text, to)
			}
		case "env":
			if name == "" || strings.ContainsAny(name, "= \x00/") {
				t.Errorf("%q refers to %q", text, to)
			}
		default:
			t.Errorf("%q refers to %q", text, to)
		}
		if again, err := secret.ParseOutward(`{"sekisho:ref": ` + quote(t, to) + `}`); err != nil || again != to {
			t.Errorf("%q: %q, %v", to, again, err)
		}
	})
}
