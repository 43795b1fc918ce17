package main

import "github.com/spf13/cobra"

func newPolicy(c *cli) *cobra.Command {
	return group("policy", "Understand and test policies", newPolicyCheck(c), newPolicyGenerate(c), newPolicySimulate(c), newPolicyUnlock(c))
}
