package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/sekisho/sekisho/internal/config"
)

func newConfig(c *cli) *cobra.Command {
	return group("config", "Check and explain the configuration", &cobra.Command{
		Use:   "check",
		Short: "Print every setting with its value and where it is from",
		Long: `Read the configuration as sekisho serve would, with the same flags, environment
and file, and print every setting with the value in force and where it is from.
Secrets are masked. If it is refused, all that is wrong is printed, and the exit
code is 2.`,
		Example: "  sekisho config check --config sekisho.yaml\n  sekisho config check -o json",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return checkConfig(c, cmd) },
	}, &cobra.Command{
		Use:     "example",
		Short:   "Print a configuration file with every setting, its default and what it is for",
		Example: "  sekisho config example > sekisho.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := io.WriteString(cmd.OutOrStdout(), config.Example())
			return err
		},
	})
}

// checkedConfig is what config check prints.
type checkedConfig struct {
	Settings []config.Setting `json:"settings"`
	Warnings []string         `json:"warnings"`
	Problems []configProblem  `json:"problems"`
}

type configProblem struct {
	Origin string `json:"origin"`
	Key    string `json:"key,omitempty"`
	Text   string `json:"text"`
}

func checkConfig(c *cli, cmd *cobra.Command) error {
	loaded, refused := c.config()
	if loaded == nil {
		return refused
	}
	for _, warning := range loaded.Warnings {
		fmt.Fprintln(cmd.ErrOrStderr(), "warning:", warning)
	}
	if refused != nil && c.output == asTable {
		return refused // half of a table says nothing
	}
	out := checkedConfig{Settings: loaded.Settings, Warnings: loaded.Warnings, Problems: []configProblem{}}
	if out.Warnings == nil {
		out.Warnings = []string{}
	}
	if e, ok := errors.AsType[*config.Error](refused); ok {
		for _, p := range e.Problems {
			out.Problems = append(out.Problems, configProblem(p))
		}
	}
	t := &table{header: []string{"SETTING", "FROM", "VALUE"}}
	for _, s := range loaded.Settings {
		t.add(s.Key, s.Origin, s.Value)
	}
	return errors.Join(c.print(cmd, out, t), refused)
}
