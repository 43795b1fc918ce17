package main

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sekisho/sekisho/internal/app"
)

func newKey(c *cli) *cobra.Command {
	show := &cobra.Command{
		Use:   "show",
		Short: "Print which master keys there are, by their fingerprints",
		Long: `Print which master keys the instance has been given, by their fingerprints, and
what is sealed under which. A fingerprint tells nothing about its key.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.showKeys(cmd) },
	}
	rotate := &cobra.Command{
		Use:   "rotate",
		Short: "Replace the master key and seal all secrets anew",
		Long: `Replace the master key, and seal all secrets in the database anew, so that neither the
old key nor an old copy of the database tells what is kept from now on.

Where the key is in the data folder, a new one is made; the server must be stopped.
Where it is in the configuration (master_key), the nodes serve on: give every node
old,new, with a comma between them, then every node new,old; then this command, with
the same configuration, seals everything under the first; then give every node the new
one alone. Nodes that stop and start together need no old,new.

When it is cut off, nothing is lost: run it again. Once the old key is gone, what was
signed with it has ended: authorization tokens ("docker login" again), temporary
credentials, uploads that are not finished. Access keys and secrets stay as they are.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.rotateKey(cmd) },
	}
	return group("key", "Show and replace the master key", show, rotate)
}

func (c *cli) showKeys(cmd *cobra.Command) error {
	in, err := c.open(cmd.Context())
	if err != nil {
		return err
	}
	defer in.Close()
	s, err := in.KeyState(cmd.Context())
	if err != nil {
		return err
	}
	type shownKey struct {
		Fingerprint string   `json:"fingerprint" yaml:"fingerprint"`
		Use         string   `json:"use" yaml:"use"`
		Where       string   `json:"where" yaml:"where"`
		SealingKeys []uint32 `json:"sealingKeys" yaml:"sealingKeys"`
	}
	where := "master_key"
	if s.File != "" {
		where = s.File
	}
	out, t := []shownKey{}, &table{header: []string{"FINGERPRINT", "USE", "WHERE", "SEALING KEYS"}}
	for i, fingerprint := range s.Masters {
		k := shownKey{Fingerprint: fingerprint, Use: "seals", Where: where, SealingKeys: []uint32{}}
		if i > 0 {
			k.Use = "opens"
		}
		for _, key := range s.Keys {
			if key.Master == fingerprint {
				k.SealingKeys = append(k.SealingKeys, key.ID)
			}
		}
		out = append(out, k)
		t.add(k.Fingerprint, k.Use, k.Where, strings.Trim(fmt.Sprint(k.SealingKeys), "[]"))
	}
	return c.print(cmd, out, t)
}

func (c *cli) rotateKey(cmd *cobra.Command) error {
	loaded, err := c.config()
	if err != nil {
		return err
	}
	mode := app.Exclusive // so that no server goes on with the old key
	if !loaded.Config.MasterKey.IsZero() {
		mode = app.Shared
	}
	in, err := app.Open(cmd.Context(), &loaded.Config, slog.New(slog.DiscardHandler), mode)
	if err != nil {
		return err
	}
	defer in.Close()
	report, err := in.RotateMasterKey(cmd.Context())
	if errors.Is(err, app.ErrOneMasterKey) {
		return &exitError{exitUsage, err}
	}
	if err != nil {
		return err
	}
	out := struct {
		Fingerprint string `json:"fingerprint" yaml:"fingerprint"`
		Secrets     int64  `json:"secrets" yaml:"secrets"`
	}{report.Master, report.Rows}
	return c.print(cmd, out, &table{rows: [][]string{{fmt.Sprintf("%d secrets are sealed under the master key with fingerprint %s", report.Rows, report.Master)}}})
}
