package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/sekisho/sekisho/internal/app"
	"github.com/sekisho/sekisho/internal/config"
	"github.com/sekisho/sekisho/internal/transfer"
)

func newBackup(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "backup DIR",
		Short: "Copy the instance into a folder",
		Long: `Copy the instance, which may be served meanwhile, into a folder that is not there
yet: metadata, layers, keys. Every layer is hashed on its way. The folder is an
instance itself: serve it with --data, or restore from it. Keep it safe, it holds
the secrets.`,
		Args: usageOf(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			in, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			defer in.Close()
			show, done := showCopy(cmd)
			report, err := in.Backup(cmd.Context(), args[0], show)
			done()
			return c.printReport(cmd, report, err)
		},
	}
}

func newRestore(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "restore DIR",
		Short: "Copy a backup into an empty instance",
		Long: `Copy a backup into the configured instance, which must be empty: a data folder that
is not there yet, or an empty database and bucket. It may be of another kind than
the instance that was backed up.`,
		Args: usageOf(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			loaded, err := c.config()
			if err != nil {
				return err
			}
			dir, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			backup, err := config.Load(config.Options{Env: []string{"SEKISHO_DATA=" + dir, "SEKISHO_REGION=" + loaded.Config.Region}})
			if err != nil {
				return err
			}
			return c.copyInstance(cmd, &backup.Config, &loaded.Config)
		},
	}
}

func newMigrate(c *cli) *cobra.Command {
	to := ""
	cmd := &cobra.Command{
		Use:   "migrate --to FILE",
		Short: "Move the instance to another database and blob store",
		Long: `Copy the configured instance, which must not be served, into the empty one that
another configuration file names: from SQLite to PostgreSQL, from files to S3, and
back. The old one is left as it is.

The new one has the same master key: where its configuration names one, as it must
for PostgreSQL, that is the one in master.key of the old one's data folder, or what
master_key was there.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if to == "" {
				return usage("name the configuration file of the new instance with --to")
			}
			loaded, err := c.config()
			if err != nil {
				return err
			}
			target, err := config.Load(config.Options{File: to, Check: app.Check})
			if refused, ok := errors.AsType[*config.Error](err); ok {
				err = fmt.Errorf("--to %s: %w", to, &refusedConfig{refused})
			}
			if err != nil {
				return &exitError{exitUsage, err}
			}
			return c.copyInstance(cmd, &loaded.Config, &target.Config)
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "configuration file of the new instance")
	return cmd
}

// copyInstance copies an instance that nobody serves into an empty one.
func (c *cli) copyInstance(cmd *cobra.Command, from, to *config.Config) error {
	in, err := app.Open(cmd.Context(), from, slog.New(slog.DiscardHandler), app.Exclusive)
	if err != nil {
		return err
	}
	defer in.Close()
	show, done := showCopy(cmd)
	report, err := in.CopyTo(cmd.Context(), to, show)
	done()
	return c.printReport(cmd, report, err)
}

func (c *cli) printReport(cmd *cobra.Command, r transfer.Report, err error) error {
	if errors.Is(err, context.Canceled) {
		return &exitError{exitUsage, errors.New("cancelled; what was copied is no instance, delete it")}
	}
	if err != nil {
		return err
	}
	t := &table{header: []string{"ROWS", "LAYERS", "SIZE"}}
	t.add(strconv.FormatInt(r.Rows, 10), strconv.FormatInt(r.Objects, 10), humanSize(r.Bytes))
	return c.print(cmd, r, t)
}

// showCopy returns what shows the progress of a copy, and what takes it away.
func showCopy(cmd *cobra.Command) (show func(transfer.Report), done func()) {
	progress := progressOn(cmd.ErrOrStderr())
	return func(r transfer.Report) {
		progress(fmt.Sprintf("%d rows, %d layers, %s", r.Rows, r.Objects, humanSize(r.Bytes)))
	}, func() { progress("") }
}
