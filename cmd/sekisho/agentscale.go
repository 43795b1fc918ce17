package main

import (
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/sekisho/sekisho/internal/agent"
	"github.com/sekisho/sekisho/internal/agent/scale"
)

type agentScale struct {
	*cli
	o         scale.Options
	template  string
	runs      []string
	command   []string
	runAs     string
	folder    string
	url       string
	agentURL  string
	auth      string
	tokenFile string
	caFile    string
	within    time.Duration
	stdin     string // the token that came from there
}

func newAgentScale(c *cli) *cobra.Command {
	a := &agentScale{cli: c}
	cmd := &cobra.Command{
		Use:   "scale --pool POOL --max N --template TEMPLATE [-- COMMAND...]",
		Short: "Start and end one-job agents, as a pool needs them",
		Long: `Start and end agents of one job each, as a pool needs them: as many as have a job and as
jobs wait, at least --min and at most --max. It waits at the server for that to change.
An agent that has a job is never ended.

Templates:
  process         processes of this machine, each in a folder of its own that is removed
                  afterwards. Jobs can read what their user can: name another with --run-as
  docker:IMAGE    containers, also podman:IMAGE. The image has sekisho in it, and starts
                  it as "sekisho agent once", or as the command after -- says. Options of
                  docker run, one word each: --run-option=--memory=4g
  exec:/PLUG-IN   whatever a program of yours makes, such as virtual machines

Each agent gets a code of its own, good once, for its name, and for 15 minutes, on its
standard input.

Who scales is, with --auth pat, a personal access token or an access key (<id>:<secret>) in
the --token-file, which is read again when it is needed, or in SEKISHO_TOKEN. With --auth
aws-sts it is whoever the AWS credentials of this machine are of, such as a role: there is
no token then. It needs agents:DescribePool and agents:CreateEnrollmentCode on the pool.

The first signal to stop ends the agents that have no job, and waits for the others; the
second leaves those to themselves. When it is started again, it finds what it had started.
Status goes to standard output, a line whenever it changes.`,
		Example: `  sekisho agent scale --url https://sekisho.example.com --pool builders --max 8 \
      --token-file token --template podman:registry.example.com/agent:1 --run-option=--memory=4g
  sekisho agent scale --url https://sekisho.example.com --pool builders --max 8 \
      --auth aws-sts --template exec:/usr/local/lib/start-vm --dry-run`,
		Args: func(cmd *cobra.Command, args []string) error {
			if at := cmd.ArgsLenAtDash(); at > 0 || at < 0 && len(args) > 0 {
				return usage("the command of containers comes after --, and nothing else is an argument")
			}
			a.command = args
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return a.run(cmd) },
	}
	f := cmd.Flags()
	f.StringVar(&a.o.Launch.Pool, "pool", "", "the pool")
	f.IntVar(&a.o.Limits.Min, "min", 0, "how many agents there are at least")
	f.IntVar(&a.o.Limits.Max, "max", 0, "how many agents there are at most")
	f.IntVar(&a.o.Limits.Warm, "warm", 0, "how many agents are ready beyond what is needed, so that a job needn't wait for a start")
	f.DurationVar(&a.o.Limits.IdleAfter, "idle-after", time.Minute, "end an agent that isn't needed when it was idle for so long")
	f.DurationVar(&a.o.StartWithin, "start-within", 3*time.Minute, "how long an agent may take to join; at most "+scale.MaxStartWithin.String())
	f.StringVar(&a.template, "template", "", "how agents are made: process, docker:IMAGE, podman:IMAGE, exec:/PLUG-IN")
	f.StringArrayVar(&a.runs, "run-option", nil, "an option of docker run or podman run; as often as needed")
	f.StringVar(&a.runAs, "run-as", "", "the user that agents run as, of the template process; only for root")
	f.DurationVar(&a.within, "plug-in-timeout", 5*time.Minute, "how long a call of the plug-in may take")
	f.StringVar(&a.url, "url", "", "the server's URL (default: SEKISHO_SERVER)")
	f.StringVar(&a.agentURL, "agent-url", "", "the server's URL for the agents, where it is another one for them")
	f.StringVar(&a.auth, "auth", "", "who scales: pat or aws-sts (default: pat where there is a token, or else aws-sts)")
	f.StringVar(&a.tokenFile, "token-file", "", "the file that holds the token; - is standard input")
	f.StringVar(&a.o.Launch.Proxy, "proxy", "", "proxy to call through, for the agents too (default: HTTPS_PROXY)")
	f.StringVar(&a.caFile, "ca-file", "", "PEM file of the authority that the server's certificate is from, for the agents too")
	f.BoolVar(&a.o.Launch.AllowHTTP, "allow-http", false, "call a server without TLS that is not on this machine")
	f.StringVar(&a.o.Name, "name", "", "what the agents' names begin with; no other scaler of the pool may have it (default: from this machine, the pool and the folder)")
	f.StringVar(&a.folder, "folder", "", "where the scaler keeps what it started (default: STATE_DIRECTORY, or sekisho/scale/<pool> in ~/.local/state)")
	f.BoolVar(&a.o.Once, "once", false, "look once, start and end what is to be, and return; agents go on")
	f.BoolVar(&a.o.DryRun, "dry-run", false, "say what would be done, and do nothing")
	return cmd
}

func (a *agentScale) run(cmd *cobra.Command) error {
	scale.Protect()
	if err := a.check(cmd); err != nil {
		return err
	}
	a.o.Log, a.o.Status = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil)), cmd.OutOrStdout()
	owner, err := agent.NewOwner(agent.OwnerOptions{
		Route: agent.Route{URL: a.url, Proxy: a.o.Launch.Proxy, CAFile: a.caFile}, Auth: a.auth, Token: a.token, Version: version(),
	})
	if err != nil {
		return err
	}
	defer owner.Close()
	a.o.Server = owner
	changed := make(chan struct{}, 1)
	a.o.Changed = changed
	if err := a.makeTemplate(func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}); err != nil {
		return err
	}
	words, done := stopWords()
	defer done()
	a.o.Stop = words
	err = scale.Run(context.WithoutCancel(cmd.Context()), a.o)
	if e, ok := errors.AsType[*scale.CallError](err); ok && e.Refused {
		return &exitError{exitRefused, err}
	}
	return err
}

// check completes what was given.
func (a *agentScale) check(cmd *cobra.Command) error {
	switch {
	case a.o.Launch.Pool == "":
		return usage("--pool is needed")
	case !cmd.Flags().Changed("max"):
		return usage("--max is needed: how many agents there may be")
	case a.o.Once && a.o.DryRun:
		return usage("--dry-run looks once, and does nothing: without --once")
	}
	var err error
	if a.url, err = agent.CheckURL(cmp.Or(a.url, a.getenv("SEKISHO_SERVER")), a.o.Launch.AllowHTTP); err != nil {
		return usage("%v", err)
	}
	if a.o.Launch.Server = a.url; a.agentURL != "" {
		if a.o.Launch.Server, err = agent.CheckURL(a.agentURL, a.o.Launch.AllowHTTP); err != nil {
			return usage("%v", err)
		}
	}
	if a.caFile != "" {
		text, err := os.ReadFile(a.caFile)
		if err != nil {
			return fmt.Errorf("read authorities: %w", err)
		}
		if len(text) > 512<<10 {
			return usage("%s has over 512 KiB: name a file with the authority of the server alone", a.caFile)
		}
		a.o.Launch.CA = string(text)
	}
	if a.auth == "" {
		if a.auth = agent.AuthSTS; a.tokenFile != "" || a.getenv("SEKISHO_TOKEN") != "" {
			a.auth = agent.AuthPAT
		}
	}
	if a.auth == agent.AuthPAT {
		if a.tokenFile == "-" {
			text, err := io.ReadAll(io.LimitReader(bufio.NewReader(cmd.InOrStdin()), 64<<10))
			if err != nil {
				return fmt.Errorf("read token: %w", err)
			}
			a.stdin = strings.TrimSpace(string(text))
		}
		if _, err := a.token(); err != nil {
			return err
		}
	}
	if a.folder == "" {
		if a.folder, err = a.stateFolder(); err != nil {
			return err
		}
	}
	if a.folder, err = filepath.Abs(a.folder); err != nil {
		return err
	}
	if a.o.Folder = a.folder; a.o.Name == "" {
		a.o.Name = scalerName(a.o.Launch.Pool, a.folder)
	}
	if err := scale.CheckName(a.o.Name); err != nil {
		return usage("%v", err)
	}
	return nil
}

// token returns the token as it is now.
func (a *agentScale) token() (string, error) {
	token := ""
	switch a.tokenFile {
	case "":
		token = a.getenv("SEKISHO_TOKEN")
	case "-":
		token = a.stdin
	default:
		text, err := os.ReadFile(a.tokenFile)
		if err != nil {
			return "", fmt.Errorf("read token: %w", err)
		}
		token = strings.TrimSpace(string(text))
	}
	if token == "" {
		return "", usage("there is no token: give it with --token-file or in SEKISHO_TOKEN, or take --auth aws-sts")
	}
	return token, nil
}

func (a *agentScale) stateFolder() (string, error) {
	if dir := a.getenv("STATE_DIRECTORY"); dir != "" && !strings.Contains(dir, ":") {
		return dir, nil
	}
	base := a.getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(base) {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", usage("there is no home folder to keep things in: name one with --folder")
		}
		base = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(base, "sekisho", "scale", slug(a.o.Launch.Pool, 63)), nil
}

// slug makes a text a part of a name.
func slug(text string, most int) string {
	s := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(text))
	return strings.Trim(s[:min(len(s), most)], "-")
}

// scalerName is the same for a folder on a machine, and another one for all others.
func scalerName(pool, folder string) string {
	host, err := os.Hostname()
	if err != nil {
		host = "host"
	}
	short, _, _ := strings.Cut(host, ".")
	sum := sha256.Sum256([]byte(host + "\x00" + pool + "\x00" + folder))
	return strings.TrimLeft(slug(short, 30)+"-"+hex.EncodeToString(sum[:4]), "-")
}

// makeTemplate makes the template. changed is to be called when it knows of something new.
func (a *agentScale) makeTemplate(changed func()) error {
	kind, argument, err := scale.ParseTemplate(a.template)
	if err != nil {
		return usage("%v", err)
	}
	containers := kind == scale.KindDocker || kind == scale.KindPodman
	switch {
	case !containers && len(a.runs) > 0:
		return usage("--run-option is for containers, not for the template %s", kind)
	case !containers && len(a.command) > 0:
		return usage("a command is for containers, not for the template %s", kind)
	case kind != scale.KindProcess && a.runAs != "":
		return usage("--run-as is for the template process, not for %s", kind)
	}
	a.o.Kind = kind
	switch kind {
	case scale.KindProcess:
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find this program: %w", err)
		}
		if a.runAs == "" && a.tokenFile != "" && a.tokenFile != "-" {
			a.o.Log.Warn("jobs run as the user of this scaler, and can read what it can, such as its token: name another user with --run-as, or take containers", "file", a.tokenFile)
		}
		a.o.Template, err = scale.NewProcess(scale.ProcessOptions{
			Folder: a.folder, Command: []string{self, "agent", "once"}, Env: a.env, User: a.runAs, Changed: changed,
		})
		return err
	case scale.KindExec:
		a.o.Kind += ":" + argument
		a.o.Template, err = scale.NewPlugin(scale.PluginOptions{
			Path: argument, Scaler: a.o.Name, Pool: a.o.Launch.Pool, Env: a.env, Within: a.within, Log: a.o.Log,
		})
		return err
	}
	a.o.Template, err = scale.NewContainer(scale.ContainerOptions{
		Engine: kind, Image: argument, Run: a.runs, Command: a.command, Scaler: a.o.Name, Folder: a.folder, Env: a.env, Changed: changed,
	})
	return err
}

// stopWords returns a channel that gets a value for each signal to stop, until done is called.
func stopWords() (words <-chan struct{}, done func()) {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	out, end := make(chan struct{}, 4), make(chan struct{})
	go func() {
		for {
			select {
			case <-signals:
				select {
				case out <- struct{}{}:
				default:
				}
			case <-end:
				return
			}
		}
	}()
	return out, func() {
		signal.Stop(signals)
		close(end)
	}
}

// newAgentOnce is what sekisho agent scale starts.
func newAgentOnce(c *cli) *cobra.Command {
	var f agentFolder
	var launch string
	var drain time.Duration
	alive := 0
	cmd := &cobra.Command{
		Use:   "once",
		Short: "Join a pool by a launch document, do one job, and end",
		Long: `Join a pool by a launch document, do one job, and end. sekisho agent scale starts this,
in processes and containers, and plug-ins do on what they make. The document is JSON: version
(1), server, pool, agent, code, expires, and perhaps proxy, ca (PEM) and allowHttp. It has
a secret in it, which is good once and for a few minutes: give it on standard input, or in a
file that only this user can read, which is removed.

Exit code 4 means that the server took the agent back before it had a job.`,
		Args: usageOf(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if alive > 0 {
				scale.KeepAlive(alive)
			}
			in := cmd.InOrStdin()
			if launch != "-" {
				file, err := os.Open(launch)
				if err != nil {
					return fmt.Errorf("read launch document: %w", err)
				}
				defer file.Close()
				in = file
			}
			l, err := agent.ReadLaunch(in)
			if err != nil {
				return err
			}
			if launch != "-" {
				if err := os.Remove(launch); err != nil {
					fmt.Fprintln(cmd.ErrOrStderr(), "warning: the launch document can't be removed:", err)
				}
			}
			if f.dir == "" {
				if f.dir, err = os.MkdirTemp("", "sekisho-agent-"); err != nil {
					return fmt.Errorf("make the agent's folder: %w", err)
				}
				defer func() { err = errors.Join(err, agent.RemoveFolder(f.dir)) }()
			}
			folder, err := f.folder()
			if err != nil {
				return err
			}
			self, err := os.Executable()
			if err != nil {
				return fmt.Errorf("find this program: %w", err)
			}
			words, done := stopWords()
			defer done()
			err = folder.Launch(context.WithoutCancel(cmd.Context()), l, agent.RunOptions{
				Worker: []string{self, "agent", "worker"}, Version: version(), Once: true, Console: cmd.OutOrStdout(), Drain: drain, Signals: words,
				Environ: c.env, Alone: true,
			})
			if errors.Is(err, agent.ErrGone) {
				return &exitError{exitRefused, errors.New("the agent is not in the pool any more: it was not needed, or somebody deleted it")}
			}
			return err
		},
	}
	cmd.Flags().StringVar(&f.dir, "folder", "", "the agent's folder (default: a new one that is removed afterwards)")
	cmd.Flags().StringVar(&launch, "launch", "-", "the file with the launch document; - is standard input")
	cmd.Flags().DurationVar(&drain, "drain", time.Hour, "how long a job may go on after the first signal; 0: as long as it likes")
	cmd.Flags().IntVar(&alive, "alive", 0, "")
	_ = cmd.Flags().MarkHidden("alive")
	return cmd
}
