package soak

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

const poolName = "soak"

// agent is an `agent run` in a process of its own, with workers and steps in further ones.
type agent struct {
	t       testing.TB
	program string
	name    string
	folder  string
	env     []string

	cmd    *exec.Cmd
	exited chan error
	kills  int
}

// stepTools are the programs that jobs use. Agents see no others, so that finding out what a machine can do takes no time.
var stepTools = []string{"awk", "bash", "cat", "flock", "sha256sum", "sh"}

// newAgents configures agents of the pool.
func newAgents(s *server, dir string, n int) []*agent {
	s.t.Helper()
	bin := filepath.Join(dir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		s.t.Fatal(err)
	}
	for _, tool := range stepTools {
		path, err := exec.LookPath(tool)
		if err == nil {
			err = os.Symlink(path, filepath.Join(bin, tool))
		}
		if err != nil {
			if os.Getenv("SEKISHO_REQUIRE_TOOLS") != "" {
				s.t.Fatal(err)
			}
			s.t.Skipf("SKIPPED, NO SOAK OF RUNS: the jobs need %s: %v", tool, err)
		}
	}
	token := filepath.Join(dir, "token")
	if err := os.WriteFile(token, []byte(s.api.Credentials.AccessKeyID+":"+s.api.Credentials.SecretAccessKey), 0o600); err != nil {
		s.t.Fatal(err)
	}
	agents := make([]*agent, n)
	for i := range agents {
		name := fmt.Sprintf("agent%02d", i+1)
		agents[i] = &agent{t: s.t, program: s.program, name: name, folder: filepath.Join(dir, "agents", name)}
		agents[i].env = []string{"PATH=" + bin, "HOME=" + agents[i].folder, "TMPDIR=" + os.TempDir(), "GORACE=halt_on_error=1"}
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, 4)
	for _, a := range agents {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			a.configure(s.url(), token)
		})
	}
	if wg.Wait(); s.t.Failed() {
		s.t.FailNow()
	}
	s.t.Cleanup(func() {
		for _, a := range agents {
			a.kill(true)
		}
		if s.t.Failed() {
			for _, a := range agents {
				s.t.Logf("%s said of itself:\n%s", a.name, a.said())
			}
		}
	})
	return agents
}

func (a *agent) log() string { return a.folder + ".log" }

// said returns the last of what the agent said, without what jobs did.
func (a *agent) said() string {
	text, _ := os.ReadFile(a.log())
	var own []string
	for line := range strings.Lines(string(text)) {
		if !strings.Contains(line, " | ") {
			own = append(own, line)
		}
	}
	return strings.Join(own[max(0, len(own)-8):], "")
}

func (a *agent) configure(url, token string) {
	if err := os.MkdirAll(a.folder, 0o700); err != nil {
		a.t.Error(err)
		return
	}
	cmd := exec.Command(a.program, "agent", "config", "--unattended", "--accept-license", "--url", url, "--auth", "pat", "--token-file", token,
		"--pool", poolName, "--agent", a.name, "--min-free", "1MiB")
	cmd.Dir, cmd.Env = a.folder, a.env
	if out, err := cmd.CombinedOutput(); err != nil {
		a.t.Errorf("configure %s: %v\n%s", a.name, err, out)
	}
}

func (a *agent) start() {
	a.t.Helper()
	log, err := os.OpenFile(a.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		a.t.Fatal(err)
	}
	defer log.Close()
	a.cmd = exec.Command(a.program, "agent", "run")
	a.cmd.Dir, a.cmd.Env, a.cmd.Stdout, a.cmd.Stderr = a.folder, a.env, log, log
	if err := a.cmd.Start(); err != nil {
		a.t.Fatal(err)
	}
	a.exited = make(chan error, 1)
	go func(cmd *exec.Cmd, exited chan<- error) { exited <- cmd.Wait() }(a.cmd, a.exited)
}

// kill ends the agent the hard way: alone, as when it crashes, or with all that it started, as when the machine does.
func (a *agent) kill(all bool) {
	if a.cmd == nil {
		return
	}
	select {
	case err := <-a.exited:
		a.t.Errorf("%s ended by itself: %v", a.name, err)
	default:
		pid := a.cmd.Process.Pid
		if all {
			_ = syscall.Kill(pid, syscall.SIGSTOP) // else it would start others meanwhile
			killBelow(pid)
		}
		_ = a.cmd.Process.Kill()
		<-a.exited
	}
	a.cmd = nil
}

// killBelow kills what descends from a process, until there is nothing.
func killBelow(root int) {
	for range 100 {
		parents := map[int]int{}
		entries, _ := os.ReadDir("/proc")
		for _, e := range entries {
			pid, err := strconv.Atoi(e.Name())
			if err != nil {
				continue
			}
			text, err := os.ReadFile("/proc/" + e.Name() + "/stat")
			if err != nil {
				continue
			}
			// "pid (name) state parent …"; the name may hold anything. A zombie is dead.
			if f := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:])); len(f) > 1 && f[0] != "Z" {
				parents[pid], _ = strconv.Atoi(f[1])
			}
		}
		found := false
		for pid := range parents {
			for up := parents[pid]; up > 1; up = parents[up] {
				if up == root {
					found = true
					_ = syscall.Kill(pid, syscall.SIGKILL)
					break
				}
			}
		}
		if !found {
			return
		}
	}
}

// stop has the agent end by itself.
func (a *agent) stop() error {
	if a.cmd == nil {
		return nil
	}
	_ = a.cmd.Process.Signal(syscall.SIGTERM)
	err := <-a.exited
	a.cmd = nil
	return err
}
