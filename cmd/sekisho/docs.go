package main

import (
	"github.com/spf13/cobra"

	"github.com/sekisho/sekisho/internal/registry/ociserver"
)

func newDocs(c *cli) *cobra.Command {
	return group("docs", "Print reference tables of this version", newDocsActions(c))
}

// shownRoute is a row of the table of actions as JSON and YAML show it.
type shownRoute struct {
	Method    string `json:"method"`
	Path      string `json:"path"`
	Operation string `json:"operation"`
	Action    string `json:"action,omitempty"`
	Also      string `json:"also,omitempty"`
}

func newDocsActions(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "actions",
		Short: "Print which action a policy must allow for each request of docker and its like",
		Long: `Print the table that the server decides by: which action each request under /v2/
needs. The resource is the repository, arn:aws:ecr:<region>:<account>:repository/<name>.
The operations of the AWS APIs need the action of their own name.`,
		Example: `  sekisho docs actions
  sekisho docs actions -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			out, t := []shownRoute{}, &table{header: []string{"REQUEST", "ACTION", "ALSO"}}
			for _, r := range ociserver.Routes {
				out = append(out, shownRoute{r.Method, r.Path, r.Operation, r.Action, r.Note})
				t.add(r.Method+" "+r.Path, r.Action, r.Note)
			}
			return c.print(cmd, out, t)
		},
	}
}
