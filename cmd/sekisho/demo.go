package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sekisho/sekisho/internal/app"
	"github.com/sekisho/sekisho/internal/config"
	"github.com/sekisho/sekisho/internal/observe/logs"
)

func newDemo(c *cli) *cobra.Command {
	var listen string
	var exit bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Start a registry, push and pull an image, run a pipeline, and show how to go on",
		Long: `Start a registry in a fresh folder, push an image for two platforms that holds
this very program, pull it back by tag and by digest, and compare every byte.
Push again as a CI user: refused from outside with the reason, accepted through a
private endpoint. Commit to a git repository of the registry's, and see an agent that
reaches that endpoint only build and push an image, where there are git and, for root,
buildah or podman. Then serve until interrupted, and remove the folder.

Nothing of the configuration is used, and nothing is left behind.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var given []string
			cmd.InheritedFlags().VisitAll(func(f *pflag.Flag) {
				if f.Changed {
					given = append(given, "--"+f.Name)
				}
			})
			if len(given) > 0 {
				return usage("demo takes no settings, leave out %s", strings.Join(given, ", "))
			}
			return demo(c, cmd, listen, exit)
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:0", "address to serve on, host:port")
	cmd.Flags().BoolVar(&exit, "exit", false, "end after the steps rather than serve on")
	return cmd
}

func demo(c *cli, cmd *cobra.Command, listen string, exit bool) (err error) {
	d := &demonstration{tell: newTeller(cmd.OutOrStdout(), c.getenv)}
	dir, err := os.MkdirTemp("", "sekisho-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	loaded, err := config.Load(config.Options{Env: []string{"SEKISHO_DATA=" + dir, "SEKISHO_LISTEN=" + listen}})
	if err != nil {
		return &exitError{exitUsage, err}
	}
	loaded.Config.Endpoints = []config.Endpoint{{ID: demoEndpoint, Listen: []string{"127.0.0.1:0"}}}
	log := logs.New(cmd.ErrOrStderr(), logs.Options{Level: demoLogLevel, Format: "text"})
	defer log.Close()

	serving, stop := context.WithCancel(context.WithoutCancel(cmd.Context()))
	ended := make(chan error, 1)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	err = d.tell.step("Start a registry in a fresh folder", func() (string, error) {
		if d.in, err = app.Open(serving, &loaded.Config, log.Logger, app.Serve); err != nil {
			return "", err
		}
		addrs := make(chan []string, 1)
		wg.Go(func() {
			ended <- errors.Join(d.in.Run(serving, version(), func(a []string) { addrs <- a }), d.in.Close())
		})
		select {
		case a := <-addrs:
			d.host, d.endpoint = a[0], a[len(a)-1]
			return fmt.Sprintf("http://%s, account %s, in %s", d.host, d.in.Account, dir), nil
		case err := <-ended:
			return "", err
		}
	})
	if err == nil {
		err = d.steps(cmd.Context())
	}
	var commits *commitment
	if err == nil {
		var beside string // the server's folder is its alone
		if beside, err = os.MkdirTemp("", "sekisho-demo-"); err == nil {
			defer func() { err = errors.Join(err, os.RemoveAll(beside)) }()
			commits, err = d.commits(cmd.Context(), beside)
		}
	}
	if err != nil || exit {
		err = errors.Join(err, commits.stop())
		stop()
		return err
	}
	d.tell.next(d.suggestions(programName(), dir))
	select {
	case err := <-ended:
		return errors.Join(err, commits.stop())
	case <-cmd.Context().Done():
	}
	d.tell.say("\nStopping; %s is removed.", dir)
	err = commits.stop()
	stop()
	return errors.Join(err, <-ended)
}

// programName is how the user can start this program again.
func programName() string {
	if path, err := os.Executable(); err == nil && strings.Contains(path, "go-build") {
		return "go run ./cmd/sekisho"
	}
	return os.Args[0]
}
