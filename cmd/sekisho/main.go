// Command sekisho is a container registry with a checkpoint: one binary that serves, and the tools to operate it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sekisho/sekisho/internal/app"
	"github.com/sekisho/sekisho/internal/config"
	"github.com/sekisho/sekisho/internal/iam"
)

// Exit codes.
const (
	exitFailed  = 1
	exitUsage   = 2 // or cancelled
	exitRefused = 4 // not authenticated or not allowed
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is main with what it reads and writes given to it.
func run(ctx context.Context, args, env []string, stdin io.Reader, stdout, stderr io.Writer) int {
	c := &cli{env: env, output: asTable}
	root := newRoot(c)
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		fmt.Fprintln(stderr, "sekisho: cancelled")
		return exitUsage
	}
	fmt.Fprintln(stderr, "sekisho:", err)
	return exitCode(c, err)
}

func exitCode(c *cli, err error) int {
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.code
	}
	if _, ok := errors.AsType[*iam.DeniedError](err); ok {
		return exitRefused
	}
	if !c.started { // unknown commands, wrong numbers of arguments
		return exitUsage
	}
	return exitFailed
}

// exitError is an error with an exit code of its own.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func usage(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

// usageOf is check with an answer that shows what the command takes.
func usageOf(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if check(cmd, args) != nil {
			return usage("usage: %s; see %s --help", cmd.UseLine(), cmd.CommandPath())
		}
		return nil
	}
}

// cli is what the commands share.
type cli struct {
	env     []string
	file    string        // --config
	flags   *config.Flags // settings given as flags
	output  outputFormat
	started bool // a command runs: from here on an error is no misuse
}

// getenv returns the value of a variable, "" if there is none.
func (c *cli) getenv(name string) string {
	for i := len(c.env) - 1; i >= 0; i-- { // the last one counts
		if value, ok := strings.CutPrefix(c.env[i], name+"="); ok {
			return value
		}
	}
	return ""
}

// config loads the configuration from flags, environment and file.
func (c *cli) config() (*config.Loaded, error) {
	loaded, err := config.Load(config.Options{File: c.file, Env: c.env, Flags: c.flags, Check: app.Check})
	if refused, ok := errors.AsType[*config.Error](err); ok {
		err = &refusedConfig{refused}
	}
	if err != nil {
		err = &exitError{exitUsage, err}
	}
	return loaded, err
}

// refusedConfig is a *config.Error laid out for people.
type refusedConfig struct{ err *config.Error }

func (e *refusedConfig) Error() string {
	text := "the configuration is refused:"
	for _, p := range e.err.Problems {
		text += "\n  " + p.String()
	}
	return text
}

func (e *refusedConfig) Unwrap() error { return e.err }

// open opens the instance beside the server that may be serving it, for a command that says little.
func (c *cli) open(ctx context.Context) (*app.Instance, error) {
	loaded, err := c.config()
	if err != nil {
		return nil, err
	}
	return app.Open(ctx, &loaded.Config, slog.New(slog.DiscardHandler), app.Shared)
}

func newRoot(c *cli) *cobra.Command {
	root := &cobra.Command{
		Use:           "sekisho",
		Short:         "A private container registry that speaks Amazon ECR's language, with git, pipelines and agents",
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRun: func(*cobra.Command, []string) {
			c.started = true
		},
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage("%w; see %s --help", err, cmd.CommandPath())
	})
	flags := root.PersistentFlags()
	flags.StringVar(&c.file, "config", "", "configuration file (YAML)")
	flags.VarP(&c.output, "output", "o", "form of what is printed: table, json or yaml")
	c.flags = config.AddFlags(flags)
	for i, g := range []struct {
		title    string
		commands []*cobra.Command
	}{
		{"Serve:", []*cobra.Command{newDemo(c), newServe(c), newConfig(c), newCA(c)}},
		{"Use:", []*cobra.Command{newEnv(c), newLogin(c), newToken(c), newPolicy(c), newSettings(c)}},
		{"Build:", []*cobra.Command{newProject(c), newGit(c), newPipeline(c), newRun(c), newVariable(c), newConnection(c), newEnvironment(c), newPool(c), newAgent(c)}},
		{"Operate:", []*cobra.Command{newAccount(c), newGC(c), newFsck(c), newJobs(c), newAudit(c), newWhy(c), newDocs(c), newKey(c), newBackup(c), newRestore(c), newMigrate(c)}},
	} {
		id := strconv.Itoa(i)
		root.AddGroup(&cobra.Group{ID: id, Title: g.title})
		for _, cmd := range g.commands {
			cmd.GroupID = id
			root.AddCommand(cmd)
			if g.title == "Build:" || cmd.Name() == "token" {
				hideSettings(cmd)
			}
		}
	}
	root.AddCommand(newVersion(c), newMan())
	return root
}

// hideSettings leaves out of the help of commands that call a server, or need none, how a server is set up: all but where an
// instance on this machine is.
func hideSettings(cmd *cobra.Command) {
	help := cmd.HelpFunc()
	cmd.SetHelpFunc(func(sub *cobra.Command, args []string) {
		sub.InheritedFlags().VisitAll(func(f *pflag.Flag) {
			f.Hidden = f.Hidden || strings.HasPrefix(f.Usage, "setting ") && f.Name != "data" || f.Name == "set"
		})
		help(sub, args)
	})
}

// group is a command that only has others below it.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage("unknown command %q; see %s --help", args[0], cmd.CommandPath())
			}
			return cmd.Help()
		},
	}
	cmd.AddCommand(commands...)
	return cmd
}
