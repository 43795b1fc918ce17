package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestMain is the program itself where an agent of a test starts it for a job.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "agent" && os.Args[2] == "worker" {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestDemo(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	r := sekisho(t, nil, "", "demo", "--exit")
	r.want(t, 0, "")
	steps, wants := 14, []string{"user/ci is not authorized to perform: ecr:PutImage", "PushOnlyThroughTheEndpoint (Deny) applies", "tag v2, by the same user"}
	if _, err := exec.LookPath("git"); err == nil {
		steps, wants = 18, append(wants, "  | job ", "  | Build", "run 1 succeeded in ")
	}
	if n := strings.Count(r.stdout, "✓"); n != steps {
		t.Errorf("%d steps are done\n%s", n, r.stdout)
	}
	for _, want := range wants {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("it does not show %q\n%s", want, r.stdout)
		}
	}
	if strings.Contains(r.stdout, "\x1b") {
		t.Error("color, and it is no terminal")
	}
	if strings.Contains(r.stdout, "Try by hand") {
		t.Error("suggestions, and nobody serves")
	}
	if left, _ := os.ReadDir(os.TempDir()); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	sekisho(t, nil, "", "demo", "--exit", "--data", "x").want(t, 2, "demo takes no settings, leave out --data")
	sekisho(t, nil, "", "demo", "--exit", "--listen", "x").want(t, 2, "host:port")
}

// TestDemoServes interrupts the demo once it serves.
func TestDemoServes(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	out, in := io.Pipe()
	var stderr output
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"demo"}, nil, strings.NewReader(""), in, &stderr)
		in.Close()
	}()
	var said bytes.Buffer
	buf := make([]byte, 4096)
	for {
		n, err := out.Read(buf)
		said.Write(buf[:n])
		if strings.Contains(said.String(), " audit --data ") {
			interrupt()
		}
		if err != nil {
			break
		}
	}
	if code := <-ended; code != 0 {
		t.Errorf("code %d\n%s", code, stderr.String())
	}
	for _, want := range []string{"docker push 127.0.0.1:", "login --client podman --data ", "eval \"$(", "Stopping"} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("no %q in\n%s", want, said.String())
		}
	}
	if left, _ := os.ReadDir(os.TempDir()); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
