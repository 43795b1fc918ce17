package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sekisho/sekisho/internal/api"
	"github.com/sekisho/sekisho/internal/pool"
	"github.com/sekisho/sekisho/internal/project"
)

func newPool(c *cli) *cobra.Command {
	cmd := group("pool", "Make pools of agents, and let agents into them",
		newPoolCreate(c), newPoolList(c), newPoolShow(c), newPoolUpdate(c), newPoolDelete(c), newPoolAgents(c), newPoolDemand(c), newPoolCode(c), newPoolTrust(c))
	cmd.Long = "Pools of agents. Agents are set up on their hosts with sekisho agent config.\n\n" + whichServer
	return cmd
}

var poolColumns = []column[pool.Pool]{
	{"NAME", func(p pool.Pool) string { return p.Name }},
	{"OPEN TO ALL", func(p pool.Pool) string { return yesNo(p.Open) }},
	{"PIPELINES", func(p pool.Pool) string {
		if len(p.PipelineNames) > 0 {
			return strings.Join(p.PipelineNames, ", ") // there are spaces in names
		}
		return strings.Join(p.Pipelines, ", ")
	}},
	{"DESCRIPTION", func(p pool.Pool) string { return p.Description }},
	{"CREATED", func(p pool.Pool) string { return timeCell(p.Created) }},
}

func newPoolCreate(c *cli) *cobra.Command {
	d := pool.Draft{}
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Make a pool", Args: usageOf(cobra.ExactArgs(1)),
		Example: "  sekisho pool create build-hosts --open",
		RunE: func(cmd *cobra.Command, args []string) error {
			d.Name = args[0]
			var p pool.Pool
			if err := c.call(cmd, "CreatePool", d, &p); err != nil {
				return err
			}
			return printOne(c, cmd, p, poolColumns)
		},
	}
	f := cmd.Flags()
	f.StringVar(&d.Description, "description", "", "what it is, for people")
	f.BoolVar(&d.Open, "open", false, "let every pipeline of the account use it; else each is permitted with sekisho pipeline permit")
	f.DurationVar(&d.Cleanup, "cleanup", 0, "remove agents that were offline for so long; 0: never")
	return cmd
}

func newPoolList(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List pools", Args: usageOf(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			columns := slices.Delete(slices.Clone(poolColumns), 2, 3) // which pipelines may use it: a list doesn't tell
			return printAll(c, cmd, "ListPools", api.Nothing{}, nil, columns)
		},
	}
}

func newPoolShow(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "show NAME", Short: "Show a pool", Args: usageOf(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			var p pool.Pool
			if err := c.call(cmd, "DescribePool", api.PoolRef{Pool: args[0]}, &p); err != nil {
				return err
			}
			return printOne(c, cmd, p, poolColumns)
		},
	}
}

func newPoolUpdate(c *cli) *cobra.Command {
	var name, description string
	var open bool
	var cleanup time.Duration
	cmd := &cobra.Command{
		Use: "update NAME", Short: "Change a pool", Args: usageOf(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			in := struct {
				Pool string
				Edit pool.Edit
			}{Pool: args[0]}
			f := cmd.Flags()
			if f.Changed("name") {
				in.Edit.Name = &name
			}
			if f.Changed("description") {
				in.Edit.Description = &description
			}
			if f.Changed("open") {
				in.Edit.Open = &open
			}
			if f.Changed("cleanup") {
				in.Edit.Cleanup = &cleanup
			}
			var p pool.Pool
			if err := c.call(cmd, "UpdatePool", in, &p); err != nil {
				return err
			}
			return printOne(c, cmd, p, poolColumns)
		},
	}
	f := cmd.Flags()
	f.StringVar(&name, "name", "", "its new name")
	f.StringVar(&description, "description", "", "what it is, for people")
	f.BoolVar(&open, "open", false, "let every pipeline of the account use it")
	f.DurationVar(&cleanup, "cleanup", 0, "remove agents that were offline for so long; 0: never")
	return cmd
}

func newPoolDelete(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "delete NAME", Short: "Delete a pool", Args: usageOf(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.call(cmd, "DeletePool", api.PoolRef{Pool: args[0]}, nil); err != nil {
				return err
			}
			c.done(cmd, "deleted the pool %s", args[0])
			return nil
		},
	}
}

var agentColumns = []column[pool.Agent]{
	{"NAME", func(a pool.Agent) string { return a.Name }},
	{"STATE", agentState},
	{"VERSION", func(a pool.Agent) string { return a.Version }},
	{"OS/ARCH", func(a pool.Agent) string { return strings.Trim(a.OS+"/"+a.Arch, "/") }},
	{"JOB", func(a pool.Agent) string { return a.Job }},
	{"SEEN", func(a pool.Agent) string { return timeCell(a.Seen) }},
	{"NOTE", func(a pool.Agent) string { return a.Reason }},
}

// agentState says how an agent is, in a word or two.
func agentState(a pool.Agent) string {
	switch {
	case !a.Online && a.Enabled:
		return "offline"
	case !a.Online:
		return "offline, disabled"
	case !a.Enabled:
		return "online, disabled"
	case a.Job != "":
		return "busy"
	}
	return "online"
}

func newPoolAgents(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "agents NAME", Short: "List the agents of a pool", Args: usageOf(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return printAll(c, cmd, "ListAgents", api.PoolRef{Pool: args[0]}, nil, agentColumns)
		},
	}
}

func newPoolDemand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "demand NAME", Short: "Count the jobs that wait and the agents that there are for them", Args: usageOf(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			var d pool.Demand
			if err := c.call(cmd, "DescribeDemand", api.PoolRef{Pool: args[0]}, &d); err != nil {
				return err
			}
			t := &table{header: []string{"QUEUED", "BUSY", "IDLE", "DESIRED"}}
			t.add(fmt.Sprint(d.Queued), fmt.Sprint(d.Busy), fmt.Sprint(d.Idle), fmt.Sprint(d.Desired))
			return c.print(cmd, d, t)
		},
	}
}

func newPoolCode(c *cli) *cobra.Command {
	in := struct {
		Pool, Agent string
		OneJob      bool
	}{}
	cmd := &cobra.Command{
		Use: "code NAME", Short: "Make a one-time code with which one agent joins", Args: usageOf(cobra.ExactArgs(1)),
		Long: `Make a code with which one agent joins the pool, within 15 minutes. It is good once, and for
nothing else: no token has to be made, kept or rotated.`,
		Example: "  sekisho pool code build-hosts\n  sekisho agent config --auth code --token-file code.txt ...",
		RunE: func(cmd *cobra.Command, args []string) error {
			in.Pool = args[0]
			var code api.EnrollmentCode
			if err := c.call(cmd, "CreateEnrollmentCode", in, &code); err != nil {
				return err
			}
			c.done(cmd, "good until %s, once", timeCell(code.Expires))
			return c.print(cmd, code, &table{rows: [][]string{{code.Code}}})
		},
	}
	cmd.Flags().StringVar(&in.Agent, "agent", "", "the only name that the agent may have")
	cmd.Flags().BoolVar(&in.OneJob, "one-job", false, "the agent does one job and is removed")
	return cmd
}

var trustColumns = []column[pool.Rule]{
	{"ID", func(r pool.Rule) string { return r.ID }},
	{"KIND", func(r pool.Rule) string { return r.Kind }},
	{"ISSUER", func(r pool.Rule) string { return r.Issuer }},
	{"AUDIENCE", func(r pool.Rule) string { return r.Audience }},
	{"SUBJECT", func(r pool.Rule) string { return r.Subject }},
	{"ONE JOB", func(r pool.Rule) string { return yesNo(r.OneJob) }},
}

func newPoolTrust(c *cli) *cobra.Command {
	var rule pool.Rule
	add := &cobra.Command{
		Use: "add NAME", Short: "Let machines join that can prove who they are", Args: usageOf(cobra.ExactArgs(1)),
		Long: `Let machines join the pool that prove who they are, with no secret given to them: with an
identity token (--issuer, --audience, --subject), or with a signed STS request of a user or role
of this instance (--subject with its ARN).`,
		Example: "  sekisho pool trust add build-hosts --issuer https://idp.example.com --audience sekisho --subject 'system:serviceaccount:ci:*'\n" +
			"  sekisho pool trust add build-hosts --subject arn:aws:iam::111122223333:role/build-host",
		RunE: func(cmd *cobra.Command, args []string) error {
			if rule.Kind = pool.BySTS; rule.Issuer != "" {
				rule.Kind = pool.ByOIDC
			}
			var made pool.Rule
			err := c.call(cmd, "AddEnrollmentRule", struct {
				Pool string
				Rule pool.Rule
			}{args[0], rule}, &made)
			if err != nil {
				return err
			}
			return printOne(c, cmd, made, trustColumns)
		},
	}
	f := add.Flags()
	f.StringVar(&rule.Issuer, "issuer", "", "issuer of identity tokens, https://...")
	f.StringVar(&rule.Audience, "audience", "", "whom the tokens are for")
	f.StringVar(&rule.Subject, "subject", "", "pattern, with * and ?, of the token's subject; or of an ARN")
	f.BoolVar(&rule.OneJob, "one-job", false, "its agents do one job and are removed")
	list := &cobra.Command{
		Use: "list NAME", Short: "List which machines may join", Args: usageOf(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return printAll(c, cmd, "ListEnrollmentRules", api.PoolRef{Pool: args[0]}, nil, trustColumns)
		},
	}
	remove := &cobra.Command{
		Use: "remove NAME ID", Short: "Let them join no more", Args: usageOf(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.call(cmd, "RemoveEnrollmentRule", struct{ Pool, ID string }{args[0], args[1]}, nil)
		},
	}
	return group("trust", "Say which machines may join without a code or a token", add, list, remove)
}

// permitPool lets a pipeline use a pool; "" all pipelines of the account.
func (c *cli) permitPool(cmd *cobra.Command, projectName, name, pipeline string, permit bool) error {
	if pipeline == "" {
		return c.call(cmd, "UpdatePool", struct {
			Pool string
			Edit pool.Edit
		}{name, pool.Edit{Open: &permit}}, nil)
	}
	var p project.Pipeline
	if err := c.call(cmd, "DescribePipeline", api.ItemRef{Project: projectName, Name: pipeline}, &p); err != nil {
		return err
	}
	operation := "PermitPool"
	if !permit {
		operation = "ForbidPool"
	}
	return c.call(cmd, operation, struct{ Pool, Pipeline string }{name, p.ID}, nil)
}

// newAgentCommands are those on agents that the server knows, for beside those on the host.
func newAgentCommands(c *cli) []*cobra.Command {
	on := func(use, short string, call func(cmd *cobra.Command, ref api.AgentRef) error) *cobra.Command {
		return &cobra.Command{
			Use: use + " POOL NAME", Short: short, Args: usageOf(cobra.ExactArgs(2)),
			RunE: func(cmd *cobra.Command, args []string) error {
				return call(cmd, api.AgentRef{Pool: args[0], Agent: args[1]})
			},
		}
	}
	enable := func(enabled bool) func(*cobra.Command, api.AgentRef) error {
		return func(cmd *cobra.Command, ref api.AgentRef) error {
			return c.call(cmd, "EnableAgent", struct {
				api.AgentRef
				Enabled bool
			}{ref, enabled}, nil)
		}
	}
	show := on("show", "Show an agent with its capabilities", func(cmd *cobra.Command, ref api.AgentRef) error {
		var a pool.Agent
		if err := c.call(cmd, "DescribeAgent", ref, &a); err != nil {
			return err
		}
		t := &table{}
		for _, col := range agentColumns {
			t.add(strings.ToLower(col.title), col.cell(a))
		}
		for _, name := range slices.Sorted(maps.Keys(a.Custom)) {
			t.add("capability "+name, a.Custom[name])
		}
		for _, name := range slices.Sorted(maps.Keys(a.System)) {
			t.add("found "+name, a.System[name])
		}
		return c.print(cmd, a, t)
	})
	var force bool
	remove := on("delete", "Remove an agent from its pool", func(cmd *cobra.Command, ref api.AgentRef) error {
		return c.call(cmd, "DeleteAgent", struct {
			api.AgentRef
			Force bool
		}{ref, force}, nil)
	})
	remove.Flags().BoolVar(&force, "force", false, "also while it has a job")
	capabilities := &cobra.Command{
		Use: "capabilities POOL NAME [NAME=VALUE]...", Short: "Set the capabilities that people give an agent", Args: usageOf(cobra.MinimumNArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			m := map[string]string{}
			for _, word := range args[2:] {
				name, value, _ := strings.Cut(word, "=")
				m[name] = value
			}
			return c.call(cmd, "SetCapabilities", struct {
				api.AgentRef
				Capabilities map[string]string
			}{api.AgentRef{Pool: args[0], Agent: args[1]}, m}, nil)
		},
	}
	return []*cobra.Command{
		{
			Use: "list POOL", Short: "List the agents of a pool", Args: usageOf(cobra.ExactArgs(1)),
			RunE: func(cmd *cobra.Command, args []string) error {
				return printAll(c, cmd, "ListAgents", api.PoolRef{Pool: args[0]}, nil, agentColumns)
			},
		},
		show, on("enable", "Let an agent have jobs again", enable(true)), on("disable", "Give an agent no more jobs", enable(false)), remove, capabilities,
	}
}
