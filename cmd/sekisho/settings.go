package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/registry"
)

// accountSetting is a field of registry.Settings that has a name on the command line.
type accountSetting struct {
	name string
	help string
	get  func(*registry.Settings) any
	set  func(*registry.Settings, string) error
}

var accountSettings = []accountSetting{
	{
		"create-on-push", "whether a push makes the repository that it goes to, if it is missing",
		func(s *registry.Settings) any { return s.CreateOnPush },
		func(s *registry.Settings, v string) (err error) { s.CreateOnPush, err = parseBool(v); return err },
	},
	{
		"sparse-manifests", "whether a manifest is accepted that names layers or images the repository doesn't have",
		func(s *registry.Settings) any { return s.SparseManifests },
		func(s *registry.Settings, v string) (err error) { s.SparseManifests, err = parseBool(v); return err },
	},
	{
		"untagged-days", "after how many days untagged images are deleted; 0: as gc.untagged says, negative: never",
		func(s *registry.Settings) any { return s.UntaggedDays },
		func(s *registry.Settings, v string) (err error) { s.UntaggedDays, err = parseDays(v); return err },
	},
}

func parseBool(s string) (bool, error) {
	switch s {
	case "true", "false":
		return s == "true", nil
	}
	return false, fmt.Errorf("%q is neither true nor false", s)
}

func parseDays(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n > 100_000 {
		return 0, fmt.Errorf("%q is not a number of days", s)
	}
	return n, nil
}

func newSettings(c *cli) *cobra.Command {
	var account string
	list := &strings.Builder{}
	for _, s := range accountSettings {
		fmt.Fprintf(list, "\n  %-17s %s", s.name, s.help)
	}
	get := &cobra.Command{
		Use:   "get",
		Short: "Print the settings of an account's registry",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.settings(cmd, account, nil)
		},
	}
	set := &cobra.Command{
		Use:     "set NAME=VALUE...",
		Short:   "Change settings of an account's registry",
		Long:    "Change settings of an account's registry. They hold at once, without a restart.\n" + list.String(),
		Example: "  sekisho settings set create-on-push=true",
		Args:    usageOf(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.settings(cmd, account, args)
		},
	}
	cmd := group("settings", "Show and change what an account's registry does", get, set)
	cmd.PersistentFlags().StringVar(&account, "account", "", "12 digits (default: the default account)")
	return cmd
}

// settings changes what changes say, if anything, and prints what holds then.
func (c *cli) settings(cmd *cobra.Command, account string, changes []string) error {
	apply, err := parseSettings(changes)
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	in, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer in.Close()
	if account == "" {
		account = in.Account
	}
	var s registry.Settings
	err = in.Administer(ctx, account, func(r registry.Registry, caller *iam.Caller) (err error) {
		if s, err = r.Settings(ctx, caller, account); err != nil || len(apply) == 0 {
			return err
		}
		for _, set := range apply {
			if err := set(&s); err != nil {
				return err
			}
		}
		return r.PutSettings(ctx, caller, account, s)
	})
	if err != nil {
		return err
	}
	out, t := map[string]any{"account": account}, &table{header: []string{"SETTING", "VALUE"}}
	for _, setting := range accountSettings {
		v := setting.get(&s)
		out[setting.name] = v
		t.add(setting.name, fmt.Sprint(v))
	}
	return c.print(cmd, out, t)
}

// parseSettings reads NAME=VALUE arguments.
func parseSettings(args []string) ([]func(*registry.Settings) error, error) {
	var apply []func(*registry.Settings) error
	for _, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		if !ok {
			return nil, usage("%q is not of the form NAME=VALUE", arg)
		}
		i := slices.IndexFunc(accountSettings, func(s accountSetting) bool { return s.name == name })
		if i < 0 {
			return nil, usage("there is no setting %s; see sekisho settings set --help", strconv.Quote(name))
		}
		set := accountSettings[i].set
		if err := set(new(registry.Settings), value); err != nil {
			return nil, usage("%s: %w", name, err)
		}
		apply = append(apply, func(s *registry.Settings) error { return set(s, value) })
	}
	return apply, nil
}
