package git

import (
	"bytes"
	"io"
	"os/exec"
	"strings"
	"testing"
)

func FuzzCommands(f *testing.F) {
	hash := strings.Repeat("1", 40)
	f.Add([]byte("0000"))
	f.Add([]byte("00810000000000000000000000000000000000000000 " + hash + " refs/heads/main\x00 report-status side-band-64k0000PACK"))
	f.Add([]byte("0035shallow " + hash + "\n0067" + hash + " " + Zero + " refs/heads/x0000"))
	f.Add([]byte("zzzz"))
	f.Add([]byte("fff1"))
	f.Fuzz(func(t *testing.T, data []byte) {
		in := bytes.NewReader(data)
		p, err := readCommands(in)
		if err != nil {
			return
		}
		if len(p.commands) > maxCommands || len(p.options) > maxOptions {
			t.Errorf("%d commands, %d options", len(p.commands), len(p.options))
		}
		seen := map[string]bool{}
		for i := range p.commands {
			c := &p.commands[i]
			if !IsHash(c.old) || !IsHash(c.new) || c.ref == "" || seen[c.ref] || c.creates() && c.deletes() {
				t.Errorf("%+v", c)
			}
			seen[c.ref] = true
		}
		rest, err := io.ReadAll(in)
		if err != nil || !bytes.HasSuffix(data, rest) {
			t.Errorf("it read past the commands: %v", err)
		}
	})
}

func FuzzRef(f *testing.F) {
	for _, name := range []string{"refs/heads/main", "refs/heads/a b", "refs/heads/.a", "refs/heads/a.lock", "refs/heads/a..b", "refs/heads/a@{b", "refs/heads/@",
		"refs/heads/a/", "refs//heads", "refs/heads/a\\b", "refs/heads/ü", "refs/heads/a.", "refs/tags/x/y.lock/z", "refs/x"} {
		f.Add(name)
	}
	program, err := exec.LookPath("git")
	f.Fuzz(func(t *testing.T, name string) {
		if CheckRef(name) != nil {
			return
		}
		if strings.ContainsAny(name, "\x00\n ") || !strings.HasPrefix(name, "refs/") {
			t.Errorf("%q was taken", name)
		}
		if err == nil && exec.Command(program, "check-ref-format", name).Run() != nil {
			t.Errorf("git does not take %q", name)
		}
	})
}

func FuzzPath(f *testing.F) {
	for _, name := range []string{"a", "a/b", "../a", "a/../b", ".git", ".GIT/x", ".git ", ".git.", ".git::$INDEX_ALLOCATION/x", "git~1", ".gitignore", ".gitmodules", "/a", "a/", "a\\b", "a\nb"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if checkPath(name) != nil {
			return
		}
		for part := range strings.SplitSeq(name, "/") {
			if part == "" || part == "." || part == ".." || strings.EqualFold(part, ".git") || strings.EqualFold(strings.TrimRight(part, ". "), ".git") {
				t.Errorf("%q was taken", name)
			}
		}
	})
}

func FuzzTree(f *testing.F) {
	f.Add([]byte("100644 a\x0012345678901234567890"))
	f.Add([]byte("40000 dir\x0012345678901234567890120000 l\x0012345678901234567890"))
	f.Fuzz(func(t *testing.T, data []byte) {
		entries, err := parseTree(data)
		if err == nil && len(entries)*23 > len(data) {
			t.Errorf("%d entries of %d bytes", len(entries), len(data))
		}
	})
}

func FuzzMirrorURL(f *testing.F) {
	for _, u := range []string{"https://example.com/a/b.git", "ssh://a@b/c", "git@host:a/b", "ext::x", "file:///x", "https://u:p@h/x", "https:opaque", "http://[::1]:80/x"} {
		f.Add(u)
	}
	f.Fuzz(func(t *testing.T, text string) {
		u, err := checkMirrorURL(text)
		if err == nil && (u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.Hostname() == "" || strings.HasPrefix(u.String(), "-")) {
			t.Errorf("%q was taken as %s", text, u)
		}
	})
}
