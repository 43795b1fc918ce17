package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/sekisho/sekisho/internal/audit"
	"github.com/sekisho/sekisho/internal/iam/policy"
)

func newPolicyGenerate(c *cli) *cobra.Command {
	var f audit.Filter
	var since string
	var refused bool
	cmd := &cobra.Command{
		Use:   "generate",
		Short: "Print the least policy that covers what a principal did",
		Long: `Print the least identity policy that allows what the audit record says a principal
did, and nothing else. What a session of a role did is under the session's ARN.

What it was refused is left out unless --refused is given. What it may need but has
not done since then is not in the policy: choose a time that has all of its work.`,
		Example: `  sekisho policy generate --principal arn:aws:iam::111122223333:user/ci --since 720h
  sekisho policy generate --principal arn:aws:iam::111122223333:user/ci --since 1h --refused`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.Principal == "" {
				return usage("--principal is missing: the ARN of a user, or of a session of a role")
			}
			var err error
			if f.Since, err = parseMoment(since, time.Now()); err != nil {
				return usage("--since: %w", err)
			}
			return c.generatePolicy(cmd, f, refused)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.Principal, "principal", "", "whose doings, an ARN")
	flags.StringVar(&since, "since", "", "not before: 720h ago, or a time such as 2026-11-20T08:00:00Z; all of the record if not given")
	flags.BoolVar(&refused, "refused", false, "cover what was refused as well")
	return cmd
}

func (c *cli) generatePolicy(cmd *cobra.Command, f audit.Filter, refused bool) error {
	in, err := c.open(cmd.Context())
	if err != nil {
		return err
	}
	defer in.Close()
	seen := map[policy.Access]bool{}
	var accesses []policy.Access
	for p := (audit.Page{}); ; {
		entries, err := audit.Find(cmd.Context(), in.DB, f, p)
		if err != nil {
			return err
		}
		for _, e := range entries {
			a := policy.Access{Action: e.Action, Resource: e.Resource}
			if e.Kind == audit.Access && (e.Allowed || refused) && !seen[a] {
				seen[a] = true
				accesses = append(accesses, a)
			}
		}
		if len(entries) < audit.MaxPage {
			break
		}
		p.After = entries[len(entries)-1].Cursor()
	}
	doc := policy.Least(accesses)
	if doc == "" {
		return errors.New("the audit record has nothing that " + f.Principal + " did in that time; see sekisho audit --principal")
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), doc)
	return err
}
