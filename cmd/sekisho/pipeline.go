package main

import "github.com/spf13/cobra"

// newPipeline has what can be done with pipelines: first what needs no server.
func newPipeline(c *cli) *cobra.Command {
	in := &inProject{}
	cmd := group("pipeline", "Check, expand and run pipelines",
		newPipelineValidate(c), newPipelineExpand(c), newPipelineExplainVar(c), newPipelineRun(c))
	for _, remote := range []*cobra.Command{
		newPipelineCreate(c, in), newPipelineList(c, in), newPipelineShow(c, in), newPipelineUpdate(c, in), newPipelineDelete(c, in),
		newPipelinePermit(c, in, true), newPipelinePermit(c, in, false),
	} {
		in.flag(c, remote)
		cmd.AddCommand(remote)
	}
	cmd.Long = `Check, expand and run the YAML of pipelines on this machine (validate, expand, explain-var,
run --local), and keep the pipelines of a server.

` + whichServer
	return cmd
}
