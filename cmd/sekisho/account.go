package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sekisho/sekisho/internal/app"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/directory"
	"github.com/sekisho/sekisho/internal/registry"
)

func newAccount(c *cli) *cobra.Command {
	return group("account", "Make accounts, and their root access keys",
		newAccountCreate(c), newAccountList(c), newAccountShow(c), newAccountKey(c))
}

// shownKey is an access key with its secret, which is shown once.
type shownKey struct {
	Account         string `json:"account"`
	AccessKeyID     string `json:"accessKeyId"`
	SecretAccessKey string `json:"secretAccessKey"`
}

func (c *cli) printKey(cmd *cobra.Command, k *iam.AccessKey) error {
	shown := shownKey{k.Account, k.ID, k.Secret.Reveal()}
	t := &table{}
	t.add("account", shown.Account)
	t.add("access key id", shown.AccessKeyID)
	t.add("secret access key", shown.SecretAccessKey)
	if c.output == asTable {
		defer fmt.Fprintln(cmd.ErrOrStderr(), "note: the secret is not shown again")
	}
	return c.print(cmd, shown, t)
}

func newAccountCreate(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "create [ACCOUNT]",
		Short: "Make an account and its root access key",
		Long: `Make an account of 12 digits, made up if none are given, and its root access key.

The secret of the key is printed this once.`,
		Example: "  sekisho account create -o json",
		Args:    usageOf(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			number := directory.NewAccountNumber()
			if len(args) == 1 {
				number = args[0]
			}
			in, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			defer in.Close()
			var k *iam.AccessKey
			err = in.Administer(cmd.Context(), in.Account, func(registry.Registry, *iam.Caller) (err error) {
				_, k, err = in.Directory.CreateAccount(cmd.Context(), iam.SystemCaller(number, "account"), number)
				return err
			})
			if err != nil {
				return inputError(err)
			}
			return c.printKey(cmd, k)
		},
	}
}

// inputError makes misuse of what the directory found to be wrong input.
func inputError(err error) error {
	if e, ok := errors.AsType[*directory.Error](err); ok && (e.Kind == directory.ValidationError || e.Kind == directory.InvalidInput) {
		return usage("%w", err)
	}
	return err
}

// shownAccount is an account as JSON and YAML show it.
type shownAccount struct {
	Account string     `json:"account"`
	Alias   string     `json:"alias,omitempty"`
	Default bool       `json:"default"`
	Created time.Time  `json:"created"`
	Keys    []shownUse `json:"rootKeys,omitempty"`

	Identities map[string]int `json:"identities,omitempty"`
}

// shownUse is an access key without its secret.
type shownUse struct {
	AccessKeyID string    `json:"accessKeyId"`
	Status      string    `json:"status"`
	Created     time.Time `json:"created"`
	LastUsed    time.Time `json:"lastUsed,omitzero"`
	Service     string    `json:"service,omitempty"`
}

func newAccountList(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the accounts",
		Args:  usageOf(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			in, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			defer in.Close()
			accounts, err := in.IAM.Accounts(cmd.Context())
			if err != nil {
				return err
			}
			out, t := []shownAccount{}, &table{header: []string{"ACCOUNT", "ALIAS", "CREATED", "DEFAULT"}}
			for _, a := range accounts {
				s := shownAccount{Account: a.ID, Default: a.ID == in.Account, Created: a.Created}
				err := in.Administer(cmd.Context(), a.ID, func(_ registry.Registry, root *iam.Caller) (err error) {
					s.Alias, err = in.Directory.Alias(cmd.Context(), root)
					return err
				})
				if err != nil {
					return err
				}
				out = append(out, s)
				mark := ""
				if s.Default {
					mark = "yes"
				}
				t.add(s.Account, s.Alias, timeCell(s.Created), mark)
			}
			return c.print(cmd, out, t)
		},
	}
}

func newAccountShow(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "show [ACCOUNT]",
		Short: "Show an account: what is in it, and its root access keys",
		Args:  usageOf(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			in, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			defer in.Close()
			number := in.Account
			if len(args) == 1 {
				number = args[0]
			}
			a, err := in.IAM.Account(cmd.Context(), number)
			if err != nil {
				return err
			}
			s := shownAccount{Account: a.ID, Default: a.ID == in.Account, Created: a.Created, Identities: map[string]int{}}
			t := &table{}
			t.add("account", s.Account)
			err = in.Administer(cmd.Context(), number, func(_ registry.Registry, root *iam.Caller) (err error) {
				if s.Alias, err = in.Directory.Alias(cmd.Context(), root); err != nil {
					return err
				}
				t.add("alias", s.Alias)
				t.add("created", timeCell(s.Created))
				summary, err := in.Directory.Summary(cmd.Context(), root)
				if err != nil {
					return err
				}
				for _, what := range []struct{ counted, shown string }{{"Users", "users"}, {"Groups", "groups"}, {"Roles", "roles"}, {"Policies", "policies"}} {
					s.Identities[what.shown] = summary[what.counted]
					t.add(what.shown, strconv.Itoa(summary[what.counted]))
				}
				s.Keys, err = rootKeys(cmd.Context(), in.Directory, root)
				return err
			})
			if err != nil {
				return err
			}
			for _, k := range s.Keys {
				t.add("root key", strings.Join([]string{k.AccessKeyID, k.Status, "created " + timeCell(k.Created)}, ", "))
			}
			return c.print(cmd, s, t)
		},
	}
}

// rootKeys returns the access keys of a root caller.
func rootKeys(ctx context.Context, d *directory.Service, root *iam.Caller) ([]shownUse, error) {
	keys, _, err := d.AccessKeys(ctx, root, "", directory.Page{})
	if err != nil {
		return nil, err
	}
	shown := []shownUse{}
	for _, k := range keys {
		use, err := d.AccessKeyLastUsed(ctx, root, k.ID)
		if err != nil {
			return nil, err
		}
		s := shownUse{AccessKeyID: k.ID, Status: k.Status, Created: k.Created, LastUsed: use.At}
		if !use.At.IsZero() {
			s.Service = use.Service
		}
		shown = append(shown, s)
	}
	return shown, nil
}

func newAccountKey(c *cli) *cobra.Command {
	account := ""
	// administer runs fn as the root of the account that the flag names.
	administer := func(cmd *cobra.Command, fn func(in *app.Instance, root *iam.Caller) error) error {
		in, err := c.open(cmd.Context())
		if err != nil {
			return err
		}
		defer in.Close()
		if account == "" {
			account = in.Account
		}
		return inputError(in.Administer(cmd.Context(), account, func(_ registry.Registry, root *iam.Caller) error { return fn(in, root) }))
	}
	create := &cobra.Command{
		Use:   "create",
		Short: "Make a root access key; an account can have two",
		Args:  usageOf(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return administer(cmd, func(in *app.Instance, root *iam.Caller) error {
				k, err := in.Directory.CreateAccessKey(cmd.Context(), root, "")
				if err != nil {
					return err
				}
				return c.printKey(cmd, k)
			})
		},
	}
	list := &cobra.Command{
		Use:   "list",
		Short: "List root access keys, and when they were last used",
		Args:  usageOf(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return administer(cmd, func(in *app.Instance, root *iam.Caller) error {
				keys, err := rootKeys(cmd.Context(), in.Directory, root)
				if err != nil {
					return err
				}
				t := &table{header: []string{"ACCESS KEY ID", "STATUS", "CREATED", "LAST USED", "FOR"}}
				for _, k := range keys {
					t.add(k.AccessKeyID, k.Status, timeCell(k.Created), timeCell(k.LastUsed), k.Service)
				}
				return c.print(cmd, keys, t)
			})
		},
	}
	status := func(use, short string, status iam.KeyStatus) *cobra.Command {
		return &cobra.Command{
			Use:   use + " ACCESS_KEY_ID",
			Short: short,
			Args:  usageOf(cobra.ExactArgs(1)),
			RunE: func(cmd *cobra.Command, args []string) error {
				return administer(cmd, func(in *app.Instance, root *iam.Caller) error {
					if err := in.Directory.SetAccessKeyStatus(cmd.Context(), root, "", args[0], status); err != nil || status == iam.KeyActive {
						return err
					}
					return in.ReplaceRootKey(args[0], nil)
				})
			},
		}
	}
	remove := &cobra.Command{
		Use:   "delete ACCESS_KEY_ID",
		Short: "Delete a root access key, and with it what was issued to it",
		Args:  usageOf(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return administer(cmd, func(in *app.Instance, root *iam.Caller) error {
				if err := in.Directory.DeleteAccessKey(cmd.Context(), root, "", args[0]); err != nil {
					return err
				}
				return in.ReplaceRootKey(args[0], nil)
			})
		},
	}
	rotate := &cobra.Command{
		Use:   "rotate ACCESS_KEY_ID",
		Short: "Make a root access key in place of another, which is disabled",
		Long: `Make a root access key in place of another, which is disabled: from then on it is
refused. Whoever still needs it can have it back with "sekisho account key enable"
until it is deleted.`,
		Args: usageOf(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return administer(cmd, func(in *app.Instance, root *iam.Caller) error { return c.rotateAccessKey(cmd, in, root, args[0]) })
		},
	}
	keys := group("key", "Root access keys of an account", create, list,
		status("disable", "Have a root access key refused, and what was issued to it", iam.KeyInactive),
		status("enable", "Have a disabled root access key work again", iam.KeyActive), remove, rotate)
	keys.PersistentFlags().StringVar(&account, "account", "", "12 digits; without it the default account")
	return keys
}

func (c *cli) rotateAccessKey(cmd *cobra.Command, in *app.Instance, root *iam.Caller, old string) error {
	ctx := cmd.Context()
	keys, err := rootKeys(ctx, in.Directory, root)
	if err != nil {
		return err
	}
	there := false
	for _, k := range keys {
		there = there || k.AccessKeyID == old
	}
	if !there {
		return usage("%s is no root access key of account %s; see sekisho account key list", old, root.Account)
	}
	k, err := in.Directory.CreateAccessKey(ctx, root, "")
	if e, ok := errors.AsType[*directory.Error](err); ok && e.Kind == directory.LimitExceeded {
		return fmt.Errorf("%w; delete the key that is not in use first", err)
	}
	if err != nil {
		return err
	}
	if err := c.printKey(cmd, k); err != nil {
		return err
	}
	if err := in.Directory.SetAccessKeyStatus(ctx, root, "", old, iam.KeyInactive); err != nil {
		return fmt.Errorf("the new key works, the old one too: %w", err)
	}
	return in.ReplaceRootKey(old, k)
}
