package e2e

import (
	"errors"
	"flag"
	"fmt"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// agentProcess is a running `sekisho agent run`.
type agentProcess struct {
	cmd    *exec.Cmd
	exited chan error // has the result of Wait, once
}

// cmdAgent makes an agent and runs it until it is stopped, or the script ends: agent [-in NETWORK] [-url URL] [-ca FILE] [-auth TYPE] [-tasks DIR] NAME POOL.
// Its folder is NAME, with the token for its configuration in NAME.token; what it prints is in NAME.log. Of the script's environment
// it has what a login would give it, and where containers are.
func cmdAgent(ts *testscript.TestScript, neg bool, args []string) {
	flags := flag.NewFlagSet("agent", flag.ContinueOnError)
	in := flags.String("in", "", "")
	url := flags.String("url", ts.Getenv("SEKISHO_URL"), "")
	ca := flags.String("ca", "", "")
	auth := flags.String("auth", "code", "")
	tasks := flags.String("tasks", "", "")
	if err := flags.Parse(args); err != nil || neg || flags.NArg() != 2 {
		ts.Fatalf("usage: agent [-in NETWORK] [-url URL] [-ca FILE] [-auth TYPE] [-tasks DIR] NAME POOL")
	}
	w, name, pool := worldOf(ts), flags.Arg(0), flags.Arg(1)
	if w.agents[name] != nil {
		ts.Fatalf("the agent %s runs", name)
	}
	folder := ts.MkAbs(name)
	command := func(args ...string) *exec.Cmd {
		args = append([]string{w.sekisho}, args...)
		if *in != "" {
			// As `ip netns exec`, but for what it does to /sys, where containers look for their control groups.
			args = append([]string{"nsenter", "--net=/run/netns/" + ts.Getenv("IN_"+strings.ToUpper(*in))}, args...)
		}
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir = folder
		for _, key := range []string{"PATH", "HOME", "TMPDIR", "XDG_RUNTIME_DIR", "CONTAINERS_CONF", "CONTAINERS_STORAGE_CONF", "DOCKER_HOST", "DOCKER_BUILDKIT"} {
			if value := ts.Getenv(key); value != "" {
				cmd.Env = append(cmd.Env, key+"="+value)
			}
		}
		cmd.Env = append(cmd.Env, "GORACE=halt_on_error=1")
		return cmd
	}
	if _, err := os.Stat(filepath.Join(folder, ".agent")); errors.Is(err, os.ErrNotExist) { // else it was here before
		ts.Check(os.MkdirAll(folder, 0o700))
		token := []string{"pool", "code", pool}
		if *auth == "pat" {
			token = []string{"token", "create", name, "--days", "1", "--scope", "agents"}
		}
		ts.Check(ts.Exec("sekisho", token...))
		ts.Check(os.WriteFile(ts.MkAbs(name+".token"), []byte(ts.ReadFile("stdout")), 0o600))
		answers := []string{"agent", "config", "--unattended", "--accept-license", "--allow-http", "--url", *url, "--auth", *auth,
			"--token-file", ts.MkAbs(name + ".token"), "--pool", pool, "--agent", name, "--ca-file", *ca}
		if ca := ts.Getenv("CA"); ca != "" {
			answers = append(answers, "--ca-file", ca)
		}
		if *tasks != "" {
			answers = append(answers, "--tasks", ts.MkAbs(*tasks))
		}
		config := command(answers...)
		if out, err := config.CombinedOutput(); err != nil {
			ts.Fatalf("configuring the agent %s: %v\n%s", name, err, out)
		}
	}
	log, err := os.OpenFile(ts.MkAbs(name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	ts.Check(err)
	defer log.Close()
	a := &agentProcess{command("agent", "run"), make(chan error, 1)}
	a.cmd.Stdout, a.cmd.Stderr = log, log
	ts.Check(a.cmd.Start())
	go func() { a.exited <- a.cmd.Wait() }() // owned by stop, which receives
	w.agents[name] = a
	ts.Defer(func() {
		if w.agents[name] != a {
			return
		}
		if err := a.stop(syscall.SIGTERM, syscall.SIGTERM); err != nil {
			ts.Logf("the agent %s: %v\n%s", name, err, ts.ReadFile(name+".log"))
		}
	})
}

// stop sends signals, a second for the job that still runs, and waits.
func (a *agentProcess) stop(signals ...os.Signal) error {
	for _, s := range signals {
		if err := a.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
	}
	limit := time.NewTimer(stopLimit)
	defer limit.Stop()
	select {
	case err := <-a.exited:
		return err
	case <-limit.C:
		a.cmd.Process.Kill()
		<-a.exited
		return fmt.Errorf("it had not ended %v after %v", stopLimit, signals)
	}
}

// cmdStopAgent stops an agent: stopagent NAME as one that is told to, and its job ends before; stopagent -9 NAME as a machine that
// dies. The command agent starts it again.
func cmdStopAgent(ts *testscript.TestScript, neg bool, args []string) {
	hard := len(args) == 2 && args[0] == "-9"
	if neg || len(args) == 0 || len(args) != 1 && !hard {
		ts.Fatalf("usage: stopagent [-9] NAME")
	}
	name := args[len(args)-1]
	a := worldOf(ts).agents[name]
	if a == nil {
		ts.Fatalf("no agent %s runs", name)
	}
	delete(worldOf(ts).agents, name)
	if hard {
		_ = a.stop(syscall.SIGKILL)
		return
	}
	if err := a.stop(syscall.SIGTERM); err != nil {
		ts.Fatalf("the agent %s ended with %v:\n%s", name, err, ts.ReadFile(name+".log"))
	}
}

// cmdCommit commits all that is in a folder and pushes it to a branch with the stock git, after it has made the folder a clone of the
// repository, if it is none: commit DIR PROJECT/REPOSITORY [BRANCH]. It sets COMMIT.
func cmdCommit(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: commit DIR PROJECT/REPOSITORY [BRANCH]")
	}
	dir, branch := ts.MkAbs(args[0]), "main"
	if len(args) == 3 {
		branch = args[2]
	}
	git := func(args ...string) {
		ts.Check(ts.Exec("git", append([]string{"-C", dir, "-c", "user.name=Dev", "-c", "user.email=dev@example.com"}, args...)...))
	}
	if _, err := os.Stat(filepath.Join(dir, ".git")); errors.Is(err, os.ErrNotExist) {
		scheme, host, _ := strings.Cut(ts.Getenv("SEKISHO_URL"), "://")
		git("init", "--quiet", "--initial-branch", "main")
		git("remote", "add", "origin", scheme+"://"+ts.Getenv("ACCESS_KEY")+":"+ts.Getenv("SECRET")+"@"+host+"/git/"+args[1])
	}
	git("add", "--all")
	git("commit", "--quiet", "--allow-empty", "--message", "a change")
	git("push", "--quiet", "origin", "HEAD:refs/heads/"+branch)
	git("rev-parse", "HEAD")
	ts.Setenv("COMMIT", strings.TrimSpace(ts.ReadFile("stdout")))
}

// cmdOutside serves the bare git repositories of a folder as another server would, with git's own program for that: outside DIR sets
// OUTSIDE_URL.
func cmdOutside(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: outside DIR")
	}
	path, err := exec.Command("git", "--exec-path").Output()
	ts.Check(err)
	s := httptest.NewServer(&cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(path)), "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + ts.MkAbs(args[0]), "GIT_HTTP_EXPORT_ALL=1"},
	})
	ts.Defer(s.Close)
	ts.Setenv("OUTSIDE_URL", s.URL)
}
