package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/sekisho/sekisho/internal/api"
	"github.com/sekisho/sekisho/internal/iam"
)

func newToken(c *cli) *cobra.Command {
	cmd := group("token", "Make personal access tokens, for git and for agents", newTokenCreate(c), newTokenList(c), newTokenRevoke(c))
	cmd.Long = `Personal access tokens: passwords beside any user name for git, and what sekisho agent config
asks for. Each acts as whoever made it, by the policies of the time, until it expires.

Where an access key would do, or a code (sekisho pool code), a token is one more secret to rotate.

` + whichServer
	return cmd
}

var tokenColumns = []column[iam.PersonalToken]{
	{"ID", func(t iam.PersonalToken) string { return t.ID }},
	{"NAME", func(t iam.PersonalToken) string { return t.Name }},
	{"SCOPES", func(t iam.PersonalToken) string {
		var words []string
		for _, s := range t.Scopes {
			words = append(words, string(s))
		}
		return strings.Join(words, " ")
	}},
	{"EXPIRES", func(t iam.PersonalToken) string { return timeCell(t.Expires) }},
	{"USED", func(t iam.PersonalToken) string { return timeCell(t.Used) }},
}

func newTokenCreate(c *cli) *cobra.Command {
	var days int64
	var scopes []string
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Make a token, and print it this once", Args: usageOf(cobra.ExactArgs(1)),
		Example: "  sekisho token create laptop --days 30 --scope git",
		RunE: func(cmd *cobra.Command, args []string) error {
			in := api.NewToken{Name: args[0], Seconds: days * 24 * 60 * 60}
			for _, s := range scopes {
				in.Scopes = append(in.Scopes, iam.Scope(s))
			}
			var made api.MadeToken
			if err := c.call(cmd, "CreateToken", in, &made); err != nil {
				return err
			}
			c.done(cmd, "token %s, good until %s; it is not shown again", made.ID, timeCell(made.Expires))
			return c.print(cmd, made, &table{rows: [][]string{{made.Token}}})
		},
	}
	cmd.Flags().Int64Var(&days, "days", 90, "how long it is good, at most 365")
	cmd.Flags().StringArrayVar(&scopes, "scope", nil, "what it is good for, beside what policies say: git, agents, pipelines, registry; may be repeated; default: all")
	return cmd
}

func newTokenList(c *cli) *cobra.Command {
	in := struct{ User string }{}
	cmd := &cobra.Command{
		Use: "list", Short: "List tokens", Args: usageOf(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return printAll(c, cmd, "ListTokens", in, nil, tokenColumns)
		},
	}
	cmd.Flags().StringVar(&in.User, "user", "", "of another user of the account")
	return cmd
}

func newTokenRevoke(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "revoke ID", Short: "End a token at once", Args: usageOf(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.call(cmd, "RevokeToken", struct{ ID string }{args[0]}, nil); err != nil {
				return err
			}
			c.done(cmd, "revoked %s", args[0])
			return nil
		},
	}
}
