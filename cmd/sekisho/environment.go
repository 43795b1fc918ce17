package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sekisho/sekisho/internal/api"
	"github.com/sekisho/sekisho/internal/project"
)

func newEnvironment(c *cli) *cobra.Command {
	in := &inProject{}
	cmd := group("environment", "Say what must be so before something is deployed",
		newEnvironmentSet(c, in, true), newEnvironmentSet(c, in, false), newEnvironmentList(c, in), newEnvironmentShow(c, in), newEnvironmentDelete(c, in))
	cmd.Long = "Environments that deployment jobs deploy to, with their checks.\n\n" + whichServer
	in.flag(c, cmd)
	return cmd
}

var environmentColumns = []column[project.Environment]{
	{"NAME", func(e project.Environment) string { return e.Name }},
	{"APPROVERS", func(e project.Environment) string {
		if a := e.Checks.Approval; a != nil {
			return fmt.Sprintf("%d of %s", a.Needed(), strings.Join(a.Approvers, " "))
		}
		return ""
	}},
	{"BRANCHES", func(e project.Environment) string { return strings.Join(e.Checks.Branches, " ") }},
	{"HOURS", func(e project.Environment) string {
		if h := e.Checks.Hours; h != nil {
			return fmt.Sprintf("%v %s-%s %s", h.Days, h.From, h.To, h.Zone)
		}
		return ""
	}},
	{"ONE RUN", func(e project.Environment) string { return yesNo(e.Checks.Lock) }},
	{"DESCRIPTION", func(e project.Environment) string { return e.Description }},
}

// newEnvironmentSet is create, or update.
func newEnvironmentSet(c *cli, in *inProject, create bool) *cobra.Command {
	var description, instructions, hours string
	var checks project.Checks
	var approval project.Approval
	var anybody bool
	use, short := "create NAME", "Make an environment"
	if !create {
		use, short = "update NAME", "Change the checks of an environment: those given replace all that there are"
	}
	cmd := &cobra.Command{
		Use: use, Short: short, Args: usageOf(cobra.ExactArgs(1)),
		Example: "  sekisho environment " + strings.Fields(use)[0] + " -p shop production --approver arn:aws:iam::111122223333:user/alice --branch refs/heads/main --lock",
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := in.name()
			if err != nil {
				return err
			}
			if len(approval.Approvers) > 0 {
				approval.Instructions = instructions
				checks.Approval = &approval
			} else if instructions != "" || anybody {
				return usage("--instructions and --allow-requester are about approvals: name who approves with --approver")
			}
			approval.AllowRequester = anybody
			if hours != "" {
				if checks.Hours, err = parseHours(hours); err != nil {
					return err
				}
			}
			var e project.Environment
			if create {
				err = c.call(cmd, "CreateEnvironment", api.Made[project.NewEnvironment]{Project: p, New: project.NewEnvironment{Name: args[0], Description: description, Checks: checks}}, &e)
			} else {
				edit := api.Edited[project.EnvironmentEdit]{Project: p, Name: args[0], Edit: project.EnvironmentEdit{Checks: &checks}}
				if cmd.Flags().Changed("description") {
					edit.Edit.Description = &description
				}
				err = c.call(cmd, "UpdateEnvironment", edit, &e)
			}
			if err != nil {
				return err
			}
			return printOne(c, cmd, e, environmentColumns)
		},
	}
	f := cmd.Flags()
	f.StringVar(&description, "description", "", "what it is, for people")
	f.StringArrayVar(&approval.Approvers, "approver", nil, "ARN of a user, group or role who approves; may be repeated")
	f.IntVar(&approval.MinCount, "approvals", 0, "how many of them must; 0: all")
	f.DurationVar(&approval.Timeout, "approval-timeout", 30*24*time.Hour, "after which the answer is no")
	f.StringVar(&instructions, "instructions", "", "for approvers")
	f.BoolVar(&anybody, "allow-requester", false, "whoever started the run may approve it")
	f.StringArrayVar(&checks.Branches, "branch", nil, "ref whose runs may deploy, with * and **; may be repeated; default: any")
	f.StringVar(&hours, "hours", "", `when jobs may deploy: "Mon-Fri 09:00-17:30 Europe/Berlin"; without a zone, UTC; default: always`)
	f.BoolVar(&checks.Lock, "lock", false, "one run at a time")
	return cmd
}

// parseHours reads "Mon-Fri 09:00-17:30 Europe/Berlin"; days are separated by commas, and ranges of them.
func parseHours(text string) (*project.Hours, error) {
	words := strings.Fields(text)
	if len(words) < 2 || len(words) > 3 {
		return nil, usage(`--hours %q: write days, times and perhaps a zone, as in "Mon-Fri 09:00-17:30 Europe/Berlin"`, text)
	}
	h := &project.Hours{}
	for part := range strings.SplitSeq(words[0], ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		from, ok := weekday(first)
		to, also := weekday(last)
		if !ok || !also {
			return nil, usage("--hours: %q is no day of the week, such as Mon, or days, such as Mon-Fri", part)
		}
		for d := from; ; d = (d + 1) % 7 {
			h.Days = append(h.Days, d)
			if d == to {
				break
			}
		}
	}
	var ok bool
	if h.From, h.To, ok = strings.Cut(words[1], "-"); !ok {
		return nil, usage("--hours: %q is not from when to when, such as 09:00-17:30", words[1])
	}
	if len(words) == 3 {
		h.Zone = words[2]
	}
	return h, nil
}

// weekday reads Mon, or Monday.
func weekday(text string) (time.Weekday, bool) {
	for d := time.Sunday; d <= time.Saturday; d++ {
		if strings.EqualFold(text, d.String()) || strings.EqualFold(text, d.String()[:3]) {
			return d, true
		}
	}
	return 0, false
}

func newEnvironmentList(c *cli, in *inProject) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List environments", Args: usageOf(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := in.name()
			if err != nil {
				return err
			}
			q := api.ItemQuery{Project: p}
			return printAll(c, cmd, "ListEnvironments", &q, func(after string) { q.After = after }, environmentColumns)
		},
	}
}

func newEnvironmentShow(c *cli, in *inProject) *cobra.Command {
	return &cobra.Command{
		Use: "show NAME", Short: "Show an environment", Args: usageOf(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := in.name()
			if err != nil {
				return err
			}
			var e project.Environment
			if err := c.call(cmd, "DescribeEnvironment", api.ItemRef{Project: p, Name: args[0]}, &e); err != nil {
				return err
			}
			return printOne(c, cmd, e, environmentColumns)
		},
	}
}

func newEnvironmentDelete(c *cli, in *inProject) *cobra.Command {
	return &cobra.Command{
		Use: "delete NAME", Short: "Delete an environment", Args: usageOf(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := in.name()
			if err != nil {
				return err
			}
			return c.call(cmd, "DeleteEnvironment", api.ItemRef{Project: p, Name: args[0]}, nil)
		},
	}
}
