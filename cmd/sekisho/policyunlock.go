package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/registry"
	"github.com/sekisho/sekisho/internal/secret"
)

func newPolicyUnlock(c *cli) *cobra.Command {
	var account, secretID string
	var wholeRegistry bool
	cmd := &cobra.Command{
		Use:   "unlock [REPOSITORY]",
		Short: "Delete a resource policy that locks everybody out, root included",
		Long: `Delete the policy of a repository, of a registry or of a secret, whatever that policy
says, and print it, so that it can be mended and set again. It is for a policy that
locks everybody out, and for whoever operates the server: it needs the data folder.
A server that is running notices within a second. It is in the audit record.`,
		Example: `  sekisho policy unlock team/app >policy.json
  sekisho policy unlock --secret prod/database`,
		Args: usageOf(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			given := len(args)
			for _, is := range []bool{wholeRegistry, secretID != ""} {
				if is {
					given++
				}
			}
			if given != 1 {
				return usage("name one: a repository, --registry or --secret")
			}
			in, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			defer in.Close()
			if account == "" {
				account = in.Account
			}
			var document string
			err = in.Repair(cmd.Context(), account, func(caller *iam.Caller) (err error) {
				ctx := cmd.Context()
				switch {
				case wholeRegistry:
					document, err = registry.NewControl(in.Local, in.Judge).DeleteRegistryPolicy(ctx, caller, account)
				case secretID != "":
					var s *secret.Secret
					if s, document, err = in.Secrets.Policy(ctx, caller, secretID); err == nil && document == "" {
						return fmt.Errorf("the secret %s has no policy", s.Name)
					}
					if err == nil {
						_, err = in.Secrets.DeletePolicy(ctx, caller, secretID)
					}
				default:
					document, err = in.Served().DeleteRepositoryPolicy(ctx, caller, registry.Repo{Account: account, Name: args[0]})
				}
				return err
			})
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), document)
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&account, "account", "", "whose it is, 12 digits; the default account if not given")
	f.BoolVar(&wholeRegistry, "registry", false, "the policy of the account's registry")
	f.StringVar(&secretID, "secret", "", "the policy of this secret, a name or an ARN")
	return cmd
}
