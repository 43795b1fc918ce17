package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/sekisho/sekisho/internal/iam/lint"
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
		Use:   "actions [SERVICE]",
		Short: "Print which action a policy must allow for what",
		Long: `Without SERVICE, print the table that the registry decides by: which action each request
under /v2/ needs. The resource is the repository, arn:aws:ecr:<region>:<account>:repository/<name>.
The operations of the AWS APIs need the action of their own name.

SERVICE is git, pipelines or agents: print its actions, with what they are asked about and the
condition keys that there are beside the global ones.`,
		Example: `  sekisho docs actions
  sekisho docs actions git
  sekisho docs actions pipelines -o json`,
		Args:      cobra.MaximumNArgs(1),
		ValidArgs: lint.OwnServices(),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 && args[0] != "ecr" {
				return c.printActions(cmd, args[0])
			}
			out, t := []shownRoute{}, &table{header: []string{"REQUEST", "ACTION", "ALSO"}}
			for _, r := range ociserver.Routes {
				out = append(out, shownRoute{r.Method, r.Path, r.Operation, r.Action, r.Note})
				t.add(r.Method+" "+r.Path, r.Action, r.Note)
			}
			return c.print(cmd, out, t)
		},
	}
}

func (c *cli) printActions(cmd *cobra.Command, service string) error {
	actions := lint.Actions(service)
	if actions == nil {
		return usage("%q is none of %s; without a service, the table is of the registry's requests", service, strings.Join(lint.OwnServices(), ", "))
	}
	t := &table{header: []string{"ACTION", "RESOURCE", "CONDITION KEYS"}}
	for _, a := range actions {
		for i, r := range a.Resources {
			if i == 0 {
				t.add(a.Name, r, strings.Join(a.Keys, " "))
			} else {
				t.add("", r, "")
			}
		}
	}
	return c.print(cmd, actions, t)
}
