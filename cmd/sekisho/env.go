package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

func newEnv(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:     "env",
		Short:   "Print the environment for AWS clients",
		Long:    "Print the endpoint and the root access key as shell commands, ready for eval.",
		Example: `  eval "$(sekisho env)"` + "\n  aws ecr describe-repositories",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			in, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			defer in.Close()
			key, err := in.ReadRootKey(cmd.Context())
			if err != nil {
				return err
			}
			url, err := in.URL()
			if err != nil {
				return err
			}
			host := url[strings.Index(url, "//")+2:]
			vars := [][2]string{
				{"AWS_ENDPOINT_URL", url},
				{"AWS_ACCESS_KEY_ID", key.AccessKeyID},
				{"AWS_SECRET_ACCESS_KEY", key.SecretAccessKey},
				{"AWS_REGION", in.Config.Region},
				{"AWS_DEFAULT_REGION", in.Config.Region},
				{"SEKISHO_REGISTRY", host},
				{"SEKISHO_ACCOUNT_ID", key.Account},
			}
			if file := in.CAFile(); file != "" {
				vars = append(vars, [2]string{"AWS_CA_BUNDLE", file})
			}
			for _, kv := range vars {
				fmt.Fprintf(cmd.OutOrStdout(), "export %s=%s\n", kv[0], shellQuote(kv[1]))
			}
			return nil
		},
	}
}

// shellQuote makes one shell word of s.
func shellQuote(s string) string {
	if strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:/._+-=") == "" && s != "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
