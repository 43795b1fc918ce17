// Command sekisho is a container registry with a checkpoint: one binary that serves, and the tools to operate it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/sekisho/sekisho/internal/config"
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
	root := newRoot(&cli{env: env})
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, "sekisho:", err)
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.code
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

// cli is what the commands share.
type cli struct {
	env   []string
	file  string        // --config
	flags *config.Flags // settings given as flags
}

// config loads the configuration from flags, environment and file.
func (c *cli) config() (*config.Loaded, error) {
	loaded, err := config.Load(config.Options{File: c.file, Env: c.env, Flags: c.flags})
	if err != nil {
		return loaded, &exitError{exitUsage, err}
	}
	return loaded, nil
}

func newRoot(c *cli) *cobra.Command {
	root := &cobra.Command{
		Use:           "sekisho",
		Short:         "A container registry that lets only checked images through",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage("%w; see %s --help", err, cmd.CommandPath())
	})
	root.PersistentFlags().StringVar(&c.file, "config", "", "configuration file (YAML)")
	c.flags = config.AddFlags(root.PersistentFlags())
	root.AddCommand(newServe(c), newEnv(c), newVersion())
	return root
}
