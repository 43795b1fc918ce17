package main

import (
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sekisho/sekisho/internal/api"
	"github.com/sekisho/sekisho/internal/project"
)

func newConnection(c *cli) *cobra.Command {
	in := &inProject{}
	cmd := group("connection", "Make service connections: how jobs get at something elsewhere",
		newConnectionCreate(c, in), newConnectionUpdate(c, in), newConnectionList(c, in), newConnectionShow(c, in), newConnectionDelete(c, in), newConnectionTypes(c))
	cmd.Long = "Service connections of a project. Their secrets are stored sealed and never shown again.\n\n" + whichServer
	in.flag(c, cmd)
	return cmd
}

var connectionColumns = []column[project.Connection]{
	{"NAME", func(x project.Connection) string { return x.Name }},
	{"TYPE", func(x project.Connection) string { return x.Type }},
	{"SCHEME", func(x project.Connection) string { return x.Scheme }},
	{"URL", func(x project.Connection) string { return x.URL }},
	{"PARAMETERS", func(x project.Connection) string { return spelt(x.Parameters) }},
	{"DATA", func(x project.Connection) string { return spelt(x.Data) }},
	{"SECRETS", func(x project.Connection) string { return strings.Join(x.Secrets, " ") }},
	{"DESCRIPTION", func(x project.Connection) string { return x.Description }},
}

func spelt(m map[string]string) string {
	var words []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		words = append(words, k+"="+m[k])
	}
	return strings.Join(words, " ")
}

// connectionFlags are what makes a connection, or changes it.
type connectionFlags struct {
	description, url, scheme string
	set, data                []string
	secret                   string
	source                   secretSource
}

func (f *connectionFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.description, "description", "", "what it is, for people")
	flags.StringVar(&f.url, "url", "", "where it leads")
	flags.StringVar(&f.scheme, "scheme", "", "how jobs prove who they are; see sekisho connection types")
	flags.StringArrayVar(&f.set, "set", nil, "parameter that is no secret, name=value; may be repeated")
	flags.StringArrayVar(&f.data, "extra", nil, "more about it, name=value; may be repeated")
	flags.StringVar(&f.secret, "secret", "", "name of the secret parameter; its value comes from --from-env, --from-file or standard input")
	f.source.flags(cmd, "the secret")
}

// parameters returns all parameters, the secret among them.
func (f *connectionFlags) parameters(c *cli, cmd *cobra.Command) (parameters, data map[string]string, err error) {
	if parameters, err = pairs("set", f.set); err != nil {
		return nil, nil, err
	}
	if data, err = pairs("extra", f.data); err != nil {
		return nil, nil, err
	}
	if f.secret != "" {
		if parameters[f.secret], err = f.source.read(c, cmd, "the secret "+f.secret); err != nil {
			return nil, nil, err
		}
	} else if f.source != (secretSource{}) {
		return nil, nil, usage("--from-env and --from-file need --secret with the parameter's name, such as password")
	}
	return parameters, data, nil
}

func newConnectionCreate(c *cli, in *inProject) *cobra.Command {
	var f connectionFlags
	var kind string
	var all bool
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Make a service connection", Args: usageOf(cobra.ExactArgs(1)),
		Long: `Make a service connection. sekisho connection types lists what each type takes. A connection of
type AWS without a URL is for this server; for AWS itself give --url https://amazonaws.com.`,
		Example: "  sekisho connection create -p shop AWS_ECR --type AWS --set username=AKIA... --secret password --from-env SECRET",
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := in.name()
			if err != nil {
				return err
			}
			parameters, data, err := f.parameters(c, cmd)
			if err != nil {
				return err
			}
			n := project.NewConnection{Name: args[0], Type: kind, Description: f.description, URL: f.url, Scheme: f.scheme, Parameters: parameters, Data: data, AllPipelines: all}
			var made project.Connection
			if err := c.call(cmd, "CreateConnection", api.Made[project.NewConnection]{Project: p, New: n}, &made); err != nil {
				return err
			}
			return printOne(c, cmd, made, connectionColumns)
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&kind, "type", project.TypeAWS, "its type; see sekisho connection types")
	cmd.Flags().BoolVar(&all, "all-pipelines", false, "let every pipeline of the project use it; else each is permitted with sekisho pipeline permit")
	return cmd
}

func newConnectionUpdate(c *cli, in *inProject) *cobra.Command {
	var f connectionFlags
	cmd := &cobra.Command{
		Use: "update NAME", Short: "Change a service connection, or its secret", Args: usageOf(cobra.ExactArgs(1)),
		Example: "  sekisho connection update -p shop AWS_ECR --set username=AKIA... --secret password < new-secret",
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := in.name()
			if err != nil {
				return err
			}
			edit := api.Edited[project.ConnectionEdit]{Project: p, Name: args[0]}
			if edit.Edit.Parameters, edit.Edit.Data, err = f.parameters(c, cmd); err != nil {
				return err
			}
			for flag, to := range map[string]struct {
				field **string
				value *string
			}{"description": {&edit.Edit.Description, &f.description}, "url": {&edit.Edit.URL, &f.url}, "scheme": {&edit.Edit.Scheme, &f.scheme}} {
				if cmd.Flags().Changed(flag) {
					*to.field = to.value
				}
			}
			var changed project.Connection
			if err := c.call(cmd, "UpdateConnection", edit, &changed); err != nil {
				return err
			}
			return printOne(c, cmd, changed, connectionColumns)
		},
	}
	f.add(cmd)
	return cmd
}

func newConnectionList(c *cli, in *inProject) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List service connections", Args: usageOf(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := in.name()
			if err != nil {
				return err
			}
			q := api.ItemQuery{Project: p}
			return printAll(c, cmd, "ListConnections", &q, func(after string) { q.After = after }, connectionColumns)
		},
	}
}

func newConnectionShow(c *cli, in *inProject) *cobra.Command {
	return &cobra.Command{
		Use: "show NAME", Short: "Show a service connection, without its secrets", Args: usageOf(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := in.name()
			if err != nil {
				return err
			}
			var x project.Connection
			if err := c.call(cmd, "DescribeConnection", api.ItemRef{Project: p, Name: args[0]}, &x); err != nil {
				return err
			}
			return printOne(c, cmd, x, connectionColumns)
		},
	}
}

func newConnectionDelete(c *cli, in *inProject) *cobra.Command {
	return &cobra.Command{
		Use: "delete NAME", Short: "Delete a service connection", Args: usageOf(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := in.name()
			if err != nil {
				return err
			}
			if err := c.call(cmd, "DeleteConnection", api.ItemRef{Project: p, Name: args[0]}, nil); err != nil {
				return err
			}
			c.done(cmd, "deleted the connection %s", args[0])
			return nil
		},
	}
}

func newConnectionTypes(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "types", Short: "List the types of service connections and what each takes", Args: usageOf(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			all := project.ConnectionTypes()
			t := &table{header: []string{"TYPE", "SCHEME", "PARAMETER", "SECRET", "REQUIRED", "IS"}}
			for _, ct := range all {
				for _, s := range ct.Schemes {
					if len(s.Parameters) == 0 {
						t.add(ct.Name, s.Name, "", "", "", s.Label)
					}
					for _, p := range s.Parameters {
						t.add(ct.Name, s.Name, p.Name, yesNo(p.Secret), yesNo(p.Required), p.Label)
					}
				}
				for _, d := range ct.Data {
					t.add(ct.Name, "(data)", d.Name, yesNo(d.Secret), yesNo(d.Required), d.Label)
				}
			}
			return c.print(cmd, all, t)
		},
	}
}
