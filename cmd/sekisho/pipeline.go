package main

import "github.com/spf13/cobra"

// newPipeline has what can be done with pipelines: first what needs no server.
func newPipeline(c *cli) *cobra.Command {
	return group("pipeline", "Check, expand and run pipelines",
		newPipelineValidate(c), newPipelineExpand(c), newPipelineExplainVar(c), newPipelineRun(c))
}
