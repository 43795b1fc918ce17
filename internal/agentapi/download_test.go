package agentapi

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/sekisho/sekisho/internal/httpx"
)

func sum(text string) [sha256.Size]byte { return sha256.Sum256([]byte(text)) }

// downloads serves a program that says its arguments.
func downloads(t *testing.T) (*Downloads, *httptest.Server) {
	t.Helper()
	self := filepath.Join(t.TempDir(), "self")
	if err := os.WriteFile(self, []byte("#!/bin/sh\necho this is sekisho\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	d := &Downloads{Self: self, Folder: t.TempDir()}
	srv := httptest.NewServer(httpx.New(d.Serve, httpx.Options{Logger: slog.New(slog.DiscardHandler)}))
	t.Cleanup(srv.Close)
	return d, srv
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func TestDownloads(t *testing.T) {
	d, srv := downloads(t)
	if err := os.WriteFile(filepath.Join(d.Folder, "sekisho_darwin_arm64"), []byte("mac"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"notes.txt", "sekisho_plan9_mips"} {
		if err := os.WriteFile(filepath.Join(d.Folder, name), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	mac := sha256.Sum256([]byte("mac"))
	status, text := get(t, srv.URL+"/agents/checksums.txt")
	if status != 200 || !strings.Contains(text, hex.EncodeToString(mac[:])+"  sekisho_darwin_arm64\n") || strings.Count(text, "\n") != 2 {
		t.Errorf("checksums: %d\n%s", status, text)
	}
	if status, text := get(t, srv.URL+"/agents/sekisho_darwin_arm64"); status != 200 || text != "mac" {
		t.Errorf("the program: %d %q", status, text)
	}
	if err := os.WriteFile(filepath.Join(d.Folder, "sekisho_darwin_arm64"), []byte("another"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, text := get(t, srv.URL+"/agents/checksums.txt"); strings.Contains(text, hex.EncodeToString(mac[:])) {
		t.Error("the checksum is that of the file before")
	}
	if _, text := get(t, srv.URL+"/agents/"); !strings.Contains(text, "curl -fsSL "+srv.URL+"/agents/install.sh | sh") {
		t.Errorf("the index is\n%s", text)
	}
	for _, path := range []string{"sekisho_linux_386", "notes.txt", "sekisho_plan9_mips", "../self", "..%2fself", "sekisho_linux_arm64", "sekisho_linux_arm64.gz"} {
		if runtime.GOARCH == "arm64" && strings.Contains(path, "linux_arm64") {
			continue
		}
		if status, _ := get(t, srv.URL+"/agents/"+path); status == 200 {
			t.Errorf("%s is served", path)
		}
	}
	// What the client calls the host goes into a shell's hands.
	for _, host := range []string{"a';touch x;'", "a$(id)", "a b", "a\"b"} {
		r := httptest.NewRequest("GET", "/agents/install.sh", nil)
		r.Host = host
		w := httptest.NewRecorder()
		httpx.New(d.Serve, httpx.Options{Logger: slog.New(slog.DiscardHandler)}).ServeHTTP(w, r)
		if w.Code == 200 {
			t.Errorf("a script for the host %q", host)
		}
	}
}

func TestInstall(t *testing.T) {
	for _, shell := range []string{"sh", "dash", "bash", "busybox"} {
		t.Run(shell, func(t *testing.T) {
			path, err := exec.LookPath(shell)
			if err != nil {
				t.Skipf("NOT TESTED: there is no %s", shell)
			}
			args := []string{}
			if shell == "busybox" {
				args = append(args, "sh")
			}
			d, srv := downloads(t)
			install := func(env ...string) (string, error) {
				t.Helper()
				_, script := get(t, srv.URL+"/agents/install.sh")
				cmd := exec.Command(path, args...)
				cmd.Stdin = strings.NewReader(script)
				cmd.Env = append(os.Environ(), env...)
				out, err := cmd.CombinedOutput()
				return string(out), err
			}
			dir := filepath.Join(t.TempDir(), "a folder")
			out, err := install("SEKISHO_DIR=" + dir)
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if !strings.Contains(out, "agent config --url "+srv.URL) {
				t.Errorf("it doesn't say how to go on:\n%s", out)
			}
			if got, err := exec.Command(filepath.Join(dir, "sekisho")).Output(); err != nil || string(got) != "this is sekisho\n" {
				t.Errorf("what it installed says %q, %v", got, err)
			}
			if left, _ := filepath.Glob(filepath.Join(dir, ".sekisho*")); len(left) > 0 {
				t.Errorf("it left %v", left)
			}
			if out, err := install("SEKISHO_DIR="+dir, "SEKISHO_SHA256="+strings.Repeat("0", 64)); err == nil || !strings.Contains(out, "not 0000") {
				t.Errorf("with another checksum: %v\n%s", err, out)
			}
			// Something else arrives than what was said.
			d.mu.Lock()
			for path, s := range d.sums {
				s.sum = strings.Repeat("1", 64)
				d.sums[path] = s
			}
			d.mu.Unlock()
			other := filepath.Join(t.TempDir(), "b")
			if out, err := install("SEKISHO_DIR=" + other); err == nil || !strings.Contains(out, "nothing was installed") {
				t.Errorf("with a changed program: %v\n%s", err, out)
			}
			if _, err := os.Stat(filepath.Join(other, "sekisho")); err == nil {
				t.Error("a changed program was installed")
			}
		})
	}
}

func TestShellcheck(t *testing.T) {
	path, err := exec.LookPath("shellcheck")
	if err != nil {
		if os.Getenv("SEKISHO_REQUIRE_TOOLS") != "" {
			t.Fatal("there is no shellcheck")
		}
		t.Skip("NOT TESTED: there is no shellcheck")
	}
	var b bytes.Buffer
	if err := script.Execute(&b, struct{ Server string }{"https://sekisho.example.com"}); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "-s", "sh", "-")
	cmd.Stdin = &b
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
