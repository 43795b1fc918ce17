package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sekisho/sekisho/internal/app"
	"github.com/sekisho/sekisho/internal/observe/logs"
)

func newServe(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Serve the registry",
		Long: `Serve the registry until interrupted.

The first start makes the data folder, the default account and its root access
key. sekisho env prints that key for the AWS clients, sekisho login hands it to
docker.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return serve(c, cmd) },
	}
}

func serve(c *cli, cmd *cobra.Command) error {
	loaded, err := c.config()
	if err != nil {
		return err
	}
	log := logs.New(cmd.ErrOrStderr(), logs.Options{Level: loaded.Config.Log.Level, Format: loaded.Config.Log.Format})
	defer log.Close()
	in, err := app.Open(cmd.Context(), &loaded.Config, log.Logger, app.Serve)
	if err != nil {
		return err
	}
	if in.NewKey != nil {
		announceKey(cmd.ErrOrStderr(), in, cmp.Or(c.file, c.getenv("SEKISHO_CONFIG")))
	}
	err = in.Run(cmd.Context(), version(), func(addrs []string) {
		log.Info("serving", "addresses", addrs, "account", in.Account, "region", loaded.Config.Region)
	})
	if cerr := in.Close(); err == nil {
		err = cerr
	}
	return err
}

// announceKey shows the secret of the new root access key once, to a person; a log gets only the place where it is kept.
// The configuration file, if there is one, is named because sekisho env would not tell the server's address and region without.
func announceKey(w io.Writer, in *app.Instance, configFile string) {
	where := "--data " + shellQuote(in.Config.Data)
	if configFile != "" {
		where = "--config " + shellQuote(configFile)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\nThis is the first start. Account %s was created with the root access key\n\n  id      %s\n", in.Account, in.NewKey.ID)
	if isTerminal(w) {
		fmt.Fprintf(&b, "  secret  %s\n", in.NewKey.Secret.Reveal())
	}
	fmt.Fprintf(&b, "\nIt is kept in %s, readable by you alone.\nFor AWS clients: eval \"$(sekisho env %s)\"\n\n", in.RootKeyFile(), where)
	io.WriteString(w, b.String())
}
