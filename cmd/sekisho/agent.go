package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/sekisho/sekisho/internal/agent"
	"github.com/sekisho/sekisho/internal/agent/scale"
	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/agent/worker"
)

// agentFolder is the value of --folder of the agent's commands.
type agentFolder struct{ dir string }

func (f *agentFolder) flag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.dir, "folder", "", "the agent's folder, with its settings and its key (default: the current one)")
}

func (f *agentFolder) folder() (agent.Folder, error) {
	dir, err := filepath.Abs(f.dir)
	if err != nil {
		return "", fmt.Errorf("the agent's folder: %w", err)
	}
	return agent.Folder(dir), nil
}

func newAgent(c *cli) *cobra.Command {
	cmd := group("agent", "Run jobs of pipelines on this machine",
		newAgentConfig(c), newAgentRun(c), newAgentService(), newAgentDoctor(c), newAgentRemove(), newAgentWorker(), newAgentScale(c), newAgentOnce(c))
	cmd.AddCommand(newAgentCommands(c)...)
	return cmd
}

type agentConfig struct {
	*cli
	agentFolder
	o         agent.ConfigureOptions
	tokenFile string
	minFree   string
}

func newAgentConfig(c *cli) *cobra.Command {
	a := &agentConfig{cli: c}
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Make this machine an agent of a pool",
		Long: `Make this machine an agent of a pool. It asks seven questions: whether the license
is accepted, the server's URL, the authentication type, the token, the pool, the
agent's name, and the work folder. Each answer is checked before the next question.

Each question has a flag, and a variable: SEKISHO_AGENT_INPUT_URL for --url, and so
on. With --unattended, nobody is asked, and what is not given has its default.

Authentication types:
  pat      a personal access token, or an access key as <id>:<secret>, of somebody
           who may do agents:RegisterAgent on the pool
  code     a code that the pool makes, good once and for 15 minutes
  oidc     an identity token of an issuer that a rule of the pool names
  aws-sts  the AWS credentials that this machine has, of a role or user that a rule
           of the pool names; there is nothing to type

The token is only for this: the agent makes a key of its own, and what it needs
later renews by itself. Give the token in a file, or in SEKISHO_AGENT_INPUT_TOKEN;
arguments can be read by everybody on the machine.`,
		Example: `  sekisho agent config
  sekisho agent config --unattended --accept-license --url https://sekisho.example.com \
      --auth code --token-file code.txt --pool builders`,
		Args: usageOf(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.run(cmd) },
	}
	a.flag(cmd)
	f := cmd.Flags()
	f.BoolVar(&a.o.Unattended, "unattended", false, "ask nobody")
	f.BoolVar(&a.o.License, "accept-license", false, "accept the license")
	f.StringVar(&a.o.URL, "url", "", "the server's URL, such as https://sekisho.example.com")
	f.StringVar(&a.o.Auth, "auth", "", "authentication type: "+strings.Join(agent.AuthTypes, ", "))
	f.StringVar(&a.o.Token, "token", "", "the token; others on this machine can read it there, so better give it with --token-file")
	f.StringVar(&a.tokenFile, "token-file", "", "the file that holds the token; - is standard input")
	f.StringVar(&a.o.Pool, "pool", "", "the pool")
	f.StringVar(&a.o.Name, "agent", "", "the agent's name (default: this machine's)")
	f.StringVar(&a.o.Work, "work", "", "the work folder (default: "+agent.DefaultWork+")")
	f.BoolVar(&a.o.Replace, "replace", false, "replace an agent of the same name")
	f.BoolVar(&a.o.OneJob, "one-job", false, "do one job, and be removed")
	f.StringVar(&a.o.Account, "account", "", "the pool's account, of 12 digits, where neither token nor code says it")
	f.StringVar(&a.o.Proxy, "proxy", "", "proxy to call through (default: HTTPS_PROXY)")
	f.StringVar(&a.o.CAFile, "ca-file", "", "PEM file of the authority that the server's certificate is from")
	f.BoolVar(&a.o.AllowHTTP, "allow-http", false, "call a server without TLS that is not on this machine")
	f.StringArrayVar(&a.o.Tasks, "tasks", nil, "`DIR` with published tasks, which are used even where the agent has one of its own; may be repeated")
	f.StringVar(&a.minFree, "min-free", "", "how much of the disk must be free for a job, such as 5GiB (default: 1GiB)")
	return cmd
}

// fill takes answers from the environment that no flag gives.
func (a *agentConfig) fill(cmd *cobra.Command) error {
	for flag, to := range map[string]*string{
		"url": &a.o.URL, "auth": &a.o.Auth, "token": &a.o.Token, "token-file": &a.tokenFile, "pool": &a.o.Pool, "agent": &a.o.Name, "work": &a.o.Work,
		"account": &a.o.Account, "proxy": &a.o.Proxy, "ca-file": &a.o.CAFile, "min-free": &a.minFree,
	} {
		if !cmd.Flags().Changed(flag) {
			*to = a.input(flag)
		}
	}
	if !cmd.Flags().Changed("tasks") {
		a.o.Tasks = filepath.SplitList(a.input("tasks"))
	}
	for flag, to := range map[string]*bool{
		"unattended": &a.o.Unattended, "accept-license": &a.o.License, "replace": &a.o.Replace, "one-job": &a.o.OneJob, "allow-http": &a.o.AllowHTTP,
	} {
		if cmd.Flags().Changed(flag) {
			continue
		}
		switch strings.ToLower(a.input(flag)) {
		case "y", "yes", "true", "1":
			*to = true
		case "", "n", "no", "false", "0":
		default:
			return usage("%s must be Y or N", inputName(flag))
		}
	}
	if a.minFree != "" {
		n, err := humanize.ParseBytes(a.minFree)
		if err != nil || n == 0 || n > 1<<60 {
			return usage("--min-free %q is not an amount of memory such as 5GiB", a.minFree)
		}
		a.o.MinFree = int64(n)
	}
	return nil
}

func inputName(flag string) string {
	return agent.InputPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

func (a *agentConfig) input(flag string) string { return a.getenv(inputName(flag)) }

func (a *agentConfig) run(cmd *cobra.Command) error {
	if err := a.fill(cmd); err != nil {
		return err
	}
	in := bufio.NewReader(cmd.InOrStdin())
	switch {
	case cmd.Flags().Changed("token"):
		fmt.Fprintln(cmd.ErrOrStderr(), "warning: arguments can be read by everybody on this machine; better give the token with --token-file")
	case a.tokenFile == "-":
		text, err := io.ReadAll(io.LimitReader(in, 64<<10))
		if err != nil {
			return fmt.Errorf("read token: %w", err)
		}
		a.o.Token = strings.TrimSpace(string(text))
	case a.tokenFile != "":
		text, err := os.ReadFile(a.tokenFile)
		if err != nil {
			return fmt.Errorf("read token: %w", err)
		}
		a.o.Token = strings.TrimSpace(string(text))
	}
	folder, err := a.folder()
	if err != nil {
		return err
	}
	a.o.Version, a.o.Out, a.o.Environ = version(), cmd.OutOrStdout(), a.env
	a.o.Ask = func(question string, secret bool) (string, error) {
		fmt.Fprint(cmd.OutOrStdout(), question)
		if f, ok := cmd.InOrStdin().(*os.File); ok && secret && term.IsTerminal(int(f.Fd())) {
			text, err := term.ReadPassword(int(f.Fd()))
			fmt.Fprintln(cmd.OutOrStdout())
			return string(text), err
		}
		return in.ReadString('\n')
	}
	return folder.Configure(cmd.Context(), a.o)
}

func newAgentRun(c *cli) *cobra.Command {
	var f agentFolder
	var once bool
	var drain time.Duration
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Take jobs and run them",
		Long: `Take jobs and run them, until interrupted. The first signal lets a job that runs end,
for as long as --drain says, and takes no more; the second one gives it back to the
queue; the third one ends at once, and leaves it to the next start to tell of the job.
Exit code 4 means that the server doesn't know the agent any more.`,
		Args: usageOf(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			folder, err := f.folder()
			if err != nil {
				return err
			}
			self, err := os.Executable()
			if err != nil {
				return fmt.Errorf("find this program: %w", err)
			}
			scale.Protect() // what the agent's environment holds is not for the steps of jobs
			signals := make(chan os.Signal, 4)
			signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
			defer signal.Stop(signals)
			words := make(chan struct{}, 4)
			done := make(chan struct{})
			defer close(done)
			go func() {
				for {
					select {
					case <-signals:
						select {
						case words <- struct{}{}:
						default:
						}
					case <-done:
						return
					}
				}
			}()
			err = folder.Run(context.WithoutCancel(cmd.Context()), agent.RunOptions{
				Worker: []string{self, "agent", "worker"}, Version: version(), Once: once, Console: cmd.OutOrStdout(), Drain: drain, Signals: words,
				Environ: c.env, Alone: true,
			})
			if errors.Is(err, agent.ErrGone) {
				return &exitError{exitRefused, err}
			}
			return err
		},
	}
	f.flag(cmd)
	cmd.Flags().BoolVar(&once, "once", false, "end after one job")
	cmd.Flags().DurationVar(&drain, "drain", time.Hour, "how long a job may go on after the first signal; 0: as long as it likes")
	return cmd
}

// newAgentWorker is what the agent runs for each job.
func newAgentWorker() *cobra.Command {
	return &cobra.Command{
		Use:    "worker",
		Short:  "Run one job; the agent does that",
		Hidden: true,
		Args:   usageOf(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			scale.Protect() // steps are programs of the same user, and secrets are in here
			// The agent says when to end, not a terminal. Ignored signals would be ignored by all that steps start, too.
			signal.Notify(make(chan os.Signal, 1), os.Interrupt, syscall.SIGTERM)
			return agent.Work(context.WithoutCancel(cmd.Context()), cmd.InOrStdin(), func(ctx context.Context, job *work.Job, server work.Server, at agent.Place, drop <-chan struct{}) (work.Result, string, error) {
				out := bufio.NewWriter(cmd.OutOrStdout())
				message := ""
				result, err := worker.Run(ctx, job, server, worker.Options{
					Work: at.Work, Agent: worker.Agent{ID: at.ID, Name: at.Name, Version: at.Version, Home: at.Home}, CAFile: at.CAFile, Tasks: at.Tasks,
					Console: func(step, line string) {
						_, _ = fmt.Fprintf(out, "%s | %s\n", plain(step), plainLine(line))
						_ = out.Flush()
					},
					Message: func(text string) { message = text },
					Drop:    drop,
				})
				return result, message, err
			})
		},
	}
}

// plainLine takes from a line of a job's what would move the cursor.
func plainLine(line string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7f {
			return -1
		}
		return r
	}, line)
}

func newAgentRemove() *cobra.Command {
	var f agentFolder
	var force bool
	cmd := &cobra.Command{
		Use:   "remove",
		Short: "Delete this machine's agent, here and in its pool",
		Args:  usageOf(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			folder, err := f.folder()
			if err != nil {
				return err
			}
			return folder.Remove(cmd.Context(), version(), force, cmd.OutOrStdout())
		},
	}
	f.flag(cmd)
	cmd.Flags().BoolVar(&force, "force", false, "forget the agent here even if the server can't be told")
	return cmd
}

func newAgentDoctor(c *cli) *cobra.Command {
	var f agentFolder
	var o agent.DoctorOptions
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Examine what an agent needs: the way to the server, its key, disk and tools",
		Long: `Examine what an agent needs, from its folder, or before there is one, with --url.
Each check has its result and, where something is wrong, what to do. Exit code 1 means
that something must be done.`,
		Args: usageOf(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			folder, err := f.folder()
			if err != nil {
				return err
			}
			o.Version = version()
			o.URL = strings.TrimRight(o.URL, "/")
			findings := []agent.Finding{}
			o.Report = func(x agent.Finding) { findings = append(findings, x) }
			well := folder.Doctor(cmd.Context(), o)
			t := &table{header: []string{"CHECK", "RESULT", "DETAIL"}}
			for _, x := range findings {
				t.add(x.Check, string(x.Verdict), x.Detail)
				if x.Fix != "" && x.Verdict != agent.Good {
					t.add("", "", "-> "+x.Fix)
				}
			}
			if err := c.print(cmd, findings, t); err != nil {
				return err
			}
			if !well {
				return errors.New("the agent can't work like this; see what is marked as failed")
			}
			return nil
		},
	}
	f.flag(cmd)
	cmd.Flags().StringVar(&o.URL, "url", "", "the server's URL, where no agent is configured yet")
	cmd.Flags().StringVar(&o.Proxy, "proxy", "", "proxy to call through, likewise")
	cmd.Flags().StringVar(&o.CAFile, "ca-file", "", "PEM file of the server's authority, likewise")
	return cmd
}

func newAgentService() *cobra.Command {
	verbs := map[string]string{
		"install": "Have systemd run the agent, now and after each start", "uninstall": "Stop the service and take it away",
		"start": "Start the service", "stop": "Stop the service, when its job has ended", "status": "Show the service",
	}
	cmd := group("service", "Run the agent as a service of systemd")
	for _, verb := range []string{"install", "uninstall", "start", "stop", "status"} {
		var f agentFolder
		u := agent.Unit{}
		var drain time.Duration
		sub := &cobra.Command{
			Use:   verb,
			Short: verbs[verb],
			Args:  usageOf(cobra.NoArgs),
			RunE: func(cmd *cobra.Command, _ []string) error {
				var err error
				if u.Folder, err = f.folder(); err != nil {
					return err
				}
				if u.Binary, err = os.Executable(); err != nil {
					return fmt.Errorf("find this program: %w", err)
				}
				u.Drain, u.Out = drain.String(), cmd.OutOrStdout()
				return u.Do(cmd.Context(), verb)
			},
		}
		f.flag(sub)
		sub.Flags().BoolVar(&u.PerUser, "user", false, "a service of one's own, rather than of the system")
		if verb == "install" {
			sub.Flags().StringVar(&u.User, "run-as", "", "the user that it runs as (default: the folder's owner)")
			sub.Flags().DurationVar(&drain, "drain", time.Hour, "how long a job may go on when the service stops")
		}
		cmd.AddCommand(sub)
	}
	return cmd
}
