package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sekisho/sekisho/internal/api"
	"github.com/sekisho/sekisho/internal/project"
)

func newVariable(c *cli) *cobra.Command {
	in := &inProject{}
	cmd := group("variable", "Set variables of pipelines, and variable groups",
		newVariableSet(c, in), newVariableList(c, in), newVariableDelete(c, in), newVariableGroup(c, in))
	cmd.Long = "Variables of a pipeline, or of a group that several pipelines use.\n\n" + whichServer
	in.flag(c, cmd)
	return cmd
}

// ofWhat are the flags that say whose variable is meant.
type ofWhat struct{ pipeline, group string }

func (o *ofWhat) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.pipeline, "pipeline", "", "the pipeline whose variable it is")
	cmd.Flags().StringVar(&o.group, "group", "", "the variable group that it is in")
}

// choose returns the name, and which of two operations is meant.
func (o *ofWhat) choose(pipelineOperation, groupOperation string) (name, operation string, err error) {
	switch {
	case o.pipeline != "" && o.group == "":
		return o.pipeline, pipelineOperation, nil
	case o.group != "" && o.pipeline == "":
		return o.group, groupOperation, nil
	}
	return "", "", usage("whose variable? Give --pipeline or --group, one of them")
}

func newVariableSet(c *cli, in *inProject) *cobra.Command {
	var of ofWhat
	var v project.Variable
	var source secretSource
	cmd := &cobra.Command{
		Use: "set NAME[=VALUE]", Short: "Set a variable", Args: usageOf(cobra.ExactArgs(1)),
		Long: `Set a variable of a pipeline or of a variable group.

The value of a --secret one is never on the command line: it comes from --from-env, --from-file
or standard input.`,
		Example: "  sekisho variable set -p shop --pipeline web DOCKER_REPOSITORY_NAME=shop/web\n  sekisho variable set -p shop --group prod TOKEN --secret < token.txt",
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := in.name()
			if err != nil {
				return err
			}
			name, operation, err := of.choose("SetPipelineVariable", "SetGroupVariable")
			if err != nil {
				return err
			}
			var given bool
			v.Name, v.Value, given = strings.Cut(args[0], "=")
			switch {
			case v.Secret && given:
				return usage("the value of a secret variable does not belong on the command line: leave =VALUE out, and use --from-env, --from-file or standard input")
			case !given:
				if v.Value, err = source.read(c, cmd, "the value of "+v.Name); err != nil {
					return err
				}
			}
			if err := c.call(cmd, operation, api.VariableSet{Project: p, Name: name, Variable: v}, nil); err != nil {
				return err
			}
			c.done(cmd, "set the variable %s of %s", v.Name, name)
			return nil
		},
	}
	of.flags(cmd)
	cmd.Flags().BoolVar(&v.Secret, "secret", false, "mask it in logs, and show it to nobody")
	cmd.Flags().BoolVar(&v.Settable, "settable", false, "whoever starts a run may give it another value")
	source.flags(cmd, "the value")
	return cmd
}

var variableColumns = []column[project.Variable]{
	{"NAME", func(v project.Variable) string { return v.Name }},
	{"VALUE", func(v project.Variable) string {
		if v.Secret {
			return "***"
		}
		return v.Value
	}},
	{"SECRET", func(v project.Variable) string { return yesNo(v.Secret) }},
	{"SETTABLE", func(v project.Variable) string { return yesNo(v.Settable) }},
}

func newVariableList(c *cli, in *inProject) *cobra.Command {
	var of ofWhat
	cmd := &cobra.Command{
		Use: "list", Short: "List variables", Args: usageOf(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := in.name()
			if err != nil {
				return err
			}
			name, operation, err := of.choose("ListPipelineVariables", "DescribeVariableGroup")
			if err != nil {
				return err
			}
			if operation == "ListPipelineVariables" {
				return printAll(c, cmd, operation, api.ItemRef{Project: p, Name: name}, nil, variableColumns)
			}
			var g project.VariableGroup
			if err := c.call(cmd, operation, api.ItemRef{Project: p, Name: name}, &g); err != nil {
				return err
			}
			return c.print(cmd, g.Variables, tableOf(g.Variables, variableColumns))
		},
	}
	of.flags(cmd)
	return cmd
}

func newVariableDelete(c *cli, in *inProject) *cobra.Command {
	var of ofWhat
	cmd := &cobra.Command{
		Use: "delete NAME", Short: "Delete a variable", Args: usageOf(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := in.name()
			if err != nil {
				return err
			}
			name, operation, err := of.choose("DeletePipelineVariable", "DeleteGroupVariable")
			if err != nil {
				return err
			}
			return c.call(cmd, operation, api.VariableRef{Project: p, Name: name, Variable: args[0]}, nil)
		},
	}
	of.flags(cmd)
	return cmd
}

var groupColumns = []column[project.VariableGroup]{
	{"NAME", func(g project.VariableGroup) string { return g.Name }},
	{"DESCRIPTION", func(g project.VariableGroup) string { return g.Description }},
	{"SECRET", func(g project.VariableGroup) string { return g.Secret }},
	{"VARIABLES", func(g project.VariableGroup) string {
		if g.Variables == nil {
			return ""
		}
		return fmt.Sprint(len(g.Variables))
	}},
}

func newVariableGroup(c *cli, in *inProject) *cobra.Command {
	n := project.NewGroup{}
	create := &cobra.Command{
		Use: "create NAME", Short: "Make a variable group", Args: usageOf(cobra.ExactArgs(1)),
		Example: "  sekisho variable group create -p shop prod",
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := in.name()
			if err != nil {
				return err
			}
			n.Name = args[0]
			var g project.VariableGroup
			if err := c.call(cmd, "CreateVariableGroup", api.Made[project.NewGroup]{Project: p, New: n}, &g); err != nil {
				return err
			}
			return printOne(c, cmd, g, groupColumns)
		},
	}
	create.Flags().StringVar(&n.Description, "description", "", "what it is, for people")
	create.Flags().StringVar(&n.Secret, "secret", "", "a secret of Secrets Manager, a JSON object, whose members are secret variables of the group")
	list := &cobra.Command{
		Use: "list", Short: "List variable groups", Args: usageOf(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := in.name()
			if err != nil {
				return err
			}
			q := api.ItemQuery{Project: p}
			return printAll(c, cmd, "ListVariableGroups", &q, func(after string) { q.After = after }, groupColumns)
		},
	}
	remove := &cobra.Command{
		Use: "delete NAME", Short: "Delete a variable group", Args: usageOf(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := in.name()
			if err != nil {
				return err
			}
			return c.call(cmd, "DeleteVariableGroup", api.ItemRef{Project: p, Name: args[0]}, nil)
		},
	}
	return group("group", "Make variable groups", create, list, remove)
}
