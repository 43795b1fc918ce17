package main

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sekisho/sekisho/internal/api"
	"github.com/sekisho/sekisho/internal/project"
)

func newProject(c *cli) *cobra.Command {
	cmd := group("project", "Make projects, and say what images their jobs may use",
		newProjectCreate(c), newProjectList(c), newProjectShow(c), newProjectUpdate(c), newProjectDelete(c), newProjectImages(c, true), newProjectImages(c, false), newProjectTrust(c), newProjectIssuer(c), newProjectRestoreRole(c))
	cmd.Long = "A project has git repositories, pipelines and all that they use.\n\n" + whichServer
	return cmd
}

var projectColumns = []column[project.Project]{
	{"NAME", func(p project.Project) string { return p.Name }},
	{"DESCRIPTION", func(p project.Project) string { return p.Description }},
	{"ROLE", func(p project.Project) string { return p.RoleARN() }},
	{"RUNS", func(p project.Project) string { return retentionCell(p.Settings.RetentionDays, p.Settings.KeepRuns) }},
	{"CREATED", func(p project.Project) string { return timeCell(p.Created) }},
}

func newProjectCreate(c *cli) *cobra.Command {
	var n project.NewProject
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Make a project", Args: usageOf(cobra.ExactArgs(1)),
		Example: "  sekisho project create shop",
		RunE: func(cmd *cobra.Command, args []string) error {
			n.Name = args[0]
			var p project.Project
			if err := c.call(cmd, "CreateProject", n, &p); err != nil {
				return err
			}
			return printOne(c, cmd, p, projectColumns)
		},
	}
	cmd.Flags().StringVar(&n.Description, "description", "", "what it is, for people")
	return cmd
}

func newProjectList(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List projects", Args: usageOf(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var q api.ItemQuery
			return printAll(c, cmd, "ListProjects", &q, func(after string) { q.After = after }, projectColumns)
		},
	}
}

func newProjectShow(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "show NAME", Short: "Show a project", Args: usageOf(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			var p project.Project
			if err := c.call(cmd, "DescribeProject", api.ProjectRef{Project: args[0]}, &p); err != nil {
				return err
			}
			return printOne(c, cmd, p, projectColumns)
		},
	}
}

func newProjectDelete(c *cli) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use: "delete NAME", Short: "Delete a project", Args: usageOf(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.call(cmd, "DeleteProject", api.Deletion{Project: args[0], All: all}, nil); err != nil {
				return err
			}
			c.done(cmd, "deleted the project %s", args[0])
			return nil
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "delete also its repositories, its pipelines and all that is in it")
	return cmd
}

// newProjectImages is grant, or revoke.
func newProjectImages(c *cli, grant bool) *cobra.Command {
	var push bool
	use, short, operation := "grant NAME REPOSITORY", "Let the jobs of a project pull or push images", "GrantImages"
	if !grant {
		use, short, operation = "revoke NAME REPOSITORY", "Take that away again", "RevokeImages"
	}
	cmd := &cobra.Command{
		Use: use, Short: short, Args: usageOf(cobra.ExactArgs(2)),
		Long:    short + ".\n\nJobs act as the role of their project. This writes an inline policy of that role with the\nactions on that one repository that pulling, or pushing, needs.",
		Example: "  sekisho project grant shop shop/web --push",
		RunE: func(cmd *cobra.Command, args []string) error {
			access := project.Pull
			if push {
				access = project.Push
			}
			if err := c.call(cmd, operation, api.ImageAccess{Project: args[0], Repository: args[1], Access: access}, nil); err != nil {
				return err
			}
			if grant {
				c.done(cmd, "jobs of %s may %s %s", args[0], access, args[1])
			} else {
				c.done(cmd, "jobs of %s may not %s %s any more by this", args[0], access, args[1])
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&push, "push", false, "push, and not only pull")
	return cmd
}

func newProjectTrust(c *cli) *cobra.Command {
	in := api.TrustRequest{}
	cmd := &cobra.Command{
		Use: "trust-policy NAME", Short: "Print the trust policy of a role that jobs may assume with their identity tokens", Args: usageOf(cobra.ExactArgs(1)),
		Long: `Print the trust policy of a role that jobs of a project may assume with their identity tokens,
with no key given to them. It names the project and the pipeline by their ids, so that it stays
true when they are renamed. sekisho project issuer makes the issuer known first.`,
		Example: "  sekisho project trust-policy shop --pipeline web --branch refs/heads/main > trust.json\n" +
			"  aws iam create-role --role-name deployer --assume-role-policy-document file://trust.json",
		RunE: func(cmd *cobra.Command, args []string) error {
			in.Project = args[0]
			var out api.TrustDocument
			if err := c.call(cmd, "DescribeTrustPolicy", in, &out); err != nil {
				return err
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), out.Document)
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&in.Pipeline, "pipeline", "", "only this pipeline")
	f.StringVar(&in.Ref, "branch", "", "only runs of this ref, with * for any part")
	f.StringVar(&in.Environment, "environment", "", "only jobs that deploy to this environment")
	return cmd
}

func newProjectIssuer(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "issuer", Short: "Have roles of the account be able to trust jobs: make the server's issuer known as an OIDC provider", Args: usageOf(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var out api.IssuerProvider
			if err := c.call(cmd, "TrustIssuer", api.Nothing{}, &out); err != nil {
				return err
			}
			return printOne(c, cmd, out, []column[api.IssuerProvider]{
				{"PROVIDER", func(p api.IssuerProvider) string { return p.ARN }},
				{"URL", func(p api.IssuerProvider) string { return p.URL }},
			})
		},
	}
}

func newProjectRestoreRole(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "restore-role NAME", Short: "Make the role of a project's jobs again, after it was deleted or changed", Args: usageOf(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			var p project.Project
			if err := c.call(cmd, "RestoreRole", api.ProjectRef{Project: args[0]}, &p); err != nil {
				return err
			}
			return printOne(c, cmd, p, projectColumns)
		},
	}
}

func newPipelineCreate(c *cli, in *inProject) *cobra.Command {
	n := project.NewPipeline{}
	var permit []string
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Make a pipeline of a YAML file in a repository", Args: usageOf(cobra.ExactArgs(1)),
		Example: "  sekisho pipeline create -p shop web --repository shop/web",
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := in.name()
			if err != nil {
				return err
			}
			n.Name = args[0]
			if n.Repository == "" {
				return usage("--repository names the repository that the YAML file is in, as <project>/<repository>")
			}
			if !strings.Contains(n.Repository, "/") {
				n.Repository = p + "/" + n.Repository
			}
			if strings.Contains(n.Repository, "://") {
				n.RepositoryKind = project.RepositoryExternal
			}
			var made project.Pipeline
			if err := c.call(cmd, "CreatePipeline", api.Made[project.NewPipeline]{Project: p, New: n}, &made); err != nil {
				return err
			}
			for _, word := range permit {
				kind, name, _ := strings.Cut(word, ":")
				if err := c.authorize(cmd, p, project.Kind(kind), name, made.Name, true); err != nil {
					return err
				}
			}
			return printOne(c, cmd, made, pipelineColumns)
		},
	}
	f := cmd.Flags()
	f.StringVar(&n.Repository, "repository", "", "the repository with the YAML file: <project>/<repository>, or a URL")
	f.StringVar(&n.Path, "path", "azure-pipelines.yml", "the YAML file in it")
	f.StringVar(&n.DefaultBranch, "branch", "main", "the branch that runs by hand and by the clock are of")
	f.StringVar(&n.Folder, "folder", "", "folder that people see it in")
	f.StringVar(&n.Connection, "connection", "", "service connection to an outside repository")
	f.IntVar(&n.Settings.Concurrency, "concurrency", 0, "how many runs at the same time; 0: any number")
	f.StringArrayVar(&permit, "permit", nil, "let it use something: connection:NAME, variables:NAME, environment:NAME or pool:NAME; may be repeated")
	return cmd
}

var pipelineColumns = []column[project.Pipeline]{
	{"NAME", func(p project.Pipeline) string { return p.Name }},
	{"STATE", func(p project.Pipeline) string { return string(p.State) }},
	{"FILE", func(p project.Pipeline) string { return p.Path }},
	{"BRANCH", func(p project.Pipeline) string { return strings.TrimPrefix(p.DefaultBranch, "refs/heads/") }},
	{"REPOSITORY", func(p project.Pipeline) string { return cmp.Or(p.RepositoryName, p.Repository) }},
	{"ID", func(p project.Pipeline) string { return p.ID }},
}

func newPipelineList(c *cli, in *inProject) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List pipelines", Args: usageOf(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := in.name()
			if err != nil {
				return err
			}
			q := api.ItemQuery{Project: p}
			return printAll(c, cmd, "ListPipelines", &q, func(after string) { q.After = after }, pipelineColumns)
		},
	}
}

func newPipelineShow(c *cli, in *inProject) *cobra.Command {
	return &cobra.Command{
		Use: "show NAME", Short: "Show a pipeline", Args: usageOf(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := in.name()
			if err != nil {
				return err
			}
			var found project.Pipeline
			if err := c.call(cmd, "DescribePipeline", api.ItemRef{Project: p, Name: args[0]}, &found); err != nil {
				return err
			}
			return printOne(c, cmd, found, pipelineColumns)
		},
	}
}

// retentionCell says how long runs are kept, "" for as elsewhere.
func retentionCell(days, keep int) string {
	var words []string
	if days > 0 {
		words = append(words, fmt.Sprintf("%d days", days))
	}
	if keep > 0 {
		words = append(words, fmt.Sprintf("the last %d", keep))
	}
	return strings.Join(words, ", ")
}

func newProjectUpdate(c *cli) *cobra.Command {
	var description string
	var days, keep int
	cmd := &cobra.Command{
		Use: "update NAME", Short: "Change a project", Args: usageOf(cobra.ExactArgs(1)),
		Example: "  sekisho project update shop --retention-days 90",
		RunE: func(cmd *cobra.Command, args []string) error {
			edit := api.Edited[project.ProjectEdit]{Project: args[0]}
			set := cmd.Flags().Changed
			if set("description") {
				edit.Edit.Description = &description
			}
			if set("retention-days") || set("keep-runs") {
				var now project.Project
				if err := c.call(cmd, "DescribeProject", api.ProjectRef{Project: args[0]}, &now); err != nil {
					return err
				}
				if set("retention-days") {
					now.Settings.RetentionDays = days
				}
				if set("keep-runs") {
					now.Settings.KeepRuns = keep
				}
				edit.Edit.Settings = &now.Settings
			}
			var changed project.Project
			if err := c.call(cmd, "UpdateProject", edit, &changed); err != nil {
				return err
			}
			return printOne(c, cmd, changed, projectColumns)
		},
	}
	f := cmd.Flags()
	f.StringVar(&description, "description", "", "what it is, for people")
	f.IntVar(&days, "retention-days", 0, "how long runs are kept; 0: as long as the server's setting")
	f.IntVar(&keep, "keep-runs", 0, "how many of a pipeline's last runs are kept whatever their age; 0: three")
	return cmd
}

func newPipelineUpdate(c *cli, in *inProject) *cobra.Command {
	var name, path, branch, folder, state string
	var settings project.PipelineSettings
	var triggers bool
	cmd := &cobra.Command{
		Use: "update NAME", Short: "Change a pipeline, or pause it", Args: usageOf(cobra.ExactArgs(1)),
		Example: "  sekisho pipeline update -p shop web --state paused",
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := in.name()
			if err != nil {
				return err
			}
			edit := api.Edited[project.PipelineEdit]{Project: p, Name: args[0]}
			set := func(flag string, to **string, value *string) {
				if cmd.Flags().Changed(flag) {
					*to = value
				}
			}
			set("name", &edit.Edit.Name, &name)
			set("path", &edit.Edit.Path, &path)
			set("branch", &edit.Edit.DefaultBranch, &branch)
			set("folder", &edit.Edit.Folder, &folder)
			if state != "" {
				s := project.State(state)
				edit.Edit.State = &s
			}
			var now *project.Pipeline
			for flag, change := range map[string]func(*project.PipelineSettings){
				"concurrency":    func(s *project.PipelineSettings) { s.Concurrency = settings.Concurrency },
				"retention-days": func(s *project.PipelineSettings) { s.RetentionDays = settings.RetentionDays },
				"keep-runs":      func(s *project.PipelineSettings) { s.KeepRuns = settings.KeepRuns },
				"fork-builds":    func(s *project.PipelineSettings) { s.ForkBuilds = settings.ForkBuilds },
				"triggers":       func(s *project.PipelineSettings) { s.TriggersOff = !triggers },
			} {
				if !cmd.Flags().Changed(flag) {
					continue
				}
				if now == nil {
					now = &project.Pipeline{}
					if err := c.call(cmd, "DescribePipeline", api.ItemRef{Project: p, Name: args[0]}, now); err != nil {
						return err
					}
					edit.Edit.Settings = &now.Settings
				}
				change(&now.Settings)
			}
			var changed project.Pipeline
			if err := c.call(cmd, "UpdatePipeline", edit, &changed); err != nil {
				return err
			}
			return printOne(c, cmd, changed, pipelineColumns)
		},
	}
	f := cmd.Flags()
	f.StringVar(&name, "name", "", "its new name")
	f.StringVar(&path, "path", "", "the YAML file")
	f.StringVar(&branch, "branch", "", "the default branch")
	f.StringVar(&folder, "folder", "", "folder that people see it in")
	f.StringVar(&state, "state", "", "enabled, paused (runs wait) or disabled (there are none)")
	f.IntVar(&settings.Concurrency, "concurrency", 0, "how many runs at the same time; 0: any number")
	f.IntVar(&settings.RetentionDays, "retention-days", 0, "how long runs are kept; 0: as the project says")
	f.IntVar(&settings.KeepRuns, "keep-runs", 0, "how many of the last runs are kept whatever their age; 0: as the project says")
	f.BoolVar(&settings.ForkBuilds, "fork-builds", false, "pull requests from outside start runs, which get no secrets")
	f.BoolVar(&triggers, "triggers", true, "pushes, pull requests and the clock start runs, as the YAML says; false: people alone")
	return cmd
}

func newPipelineDelete(c *cli, in *inProject) *cobra.Command {
	return &cobra.Command{
		Use: "delete NAME", Short: "Delete a pipeline with its runs", Args: usageOf(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := in.name()
			if err != nil {
				return err
			}
			if err := c.call(cmd, "DeletePipeline", api.ItemRef{Project: p, Name: args[0]}, nil); err != nil {
				return err
			}
			c.done(cmd, "deleted the pipeline %s", args[0])
			return nil
		},
	}
}

// newPipelinePermit is permit, or forbid.
func newPipelinePermit(c *cli, in *inProject, permit bool) *cobra.Command {
	use, short := "permit NAME KIND RESOURCE", "Let a pipeline use a connection, variable group, environment, pool, repository or another project's pipeline"
	if !permit {
		use, short = "forbid NAME KIND RESOURCE", "Take that away again"
	}
	return &cobra.Command{
		Use: use, Short: short, Args: usageOf(cobra.ExactArgs(3)),
		Long:    short + ".\n\nKIND is connection, variables, environment, pool, repository (PROJECT/NAME) or pipeline, one\nof another project (PROJECT/NAME) whose artifacts are used. NAME may be - for all pipelines of\nthe project.",
		Example: "  sekisho pipeline permit -p shop web connection AWS_ECR",
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := in.name()
			if err != nil {
				return err
			}
			name := args[0]
			if name == "-" {
				name = ""
			}
			return c.authorize(cmd, p, project.Kind(args[1]), args[2], name, permit)
		},
	}
}

// authorize lets a pipeline use something, or not any more.
func (c *cli) authorize(cmd *cobra.Command, projectName string, kind project.Kind, resource, pipeline string, permit bool) error {
	operation := "AuthorizePipeline"
	if !permit {
		operation = "DeauthorizePipeline"
	}
	if kind == project.KindPool {
		if err := c.permitPool(cmd, projectName, resource, pipeline, permit); err != nil {
			return err
		}
	} else if err := c.call(cmd, operation, api.Permission{Project: projectName, Use: project.Use{Kind: kind, Name: resource}, Pipeline: pipeline}, nil); err != nil {
		return err
	}
	if pipeline == "" {
		pipeline = "every pipeline of " + projectName
	}
	may := "may use"
	if !permit {
		may = "may not use"
	}
	c.done(cmd, "%s %s the %s %s", pipeline, may, kind, resource)
	return nil
}
