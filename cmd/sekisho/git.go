package main

import (
	"encoding/base64"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/sekisho/sekisho/internal/api"
	"github.com/sekisho/sekisho/internal/git"
)

func newGit(c *cli) *cobra.Command {
	cmd := group("git", "Make git repositories, with branch rules and mirrors",
		newGitCreate(c), newGitList(c), newGitShow(c), newGitUpdate(c), newGitDelete(c), newGitRule(c), newGitMirror(c), newGitCat(c), newGitCommit(c))
	cmd.Long = `Git repositories of projects. The git client reaches them at <server>/git/<project>/<repository>,
with an access key and its secret, or with any name and a personal access token.

` + whichServer
	return cmd
}

var repositoryColumns = []column[git.Repository]{
	{"REPOSITORY", func(r git.Repository) string { return r.Project + "/" + r.Name }},
	{"BRANCH", func(r git.Repository) string { return r.DefaultBranch }},
	{"SIZE", func(r git.Repository) string { return humanSize(r.Size) }},
	{"MIRROR", func(r git.Repository) string { return yesNo(r.Mirror) }},
	{"PUSHED", func(r git.Repository) string { return timeCell(r.Pushed) }},
	{"DESCRIPTION", func(r git.Repository) string { return r.Description }},
}

// repositoryDetails are the columns of one repository.
var repositoryDetails = append(slices.Clone(repositoryColumns), column[git.Repository]{"OWN LIMITS", func(r git.Repository) string {
	var words []string
	for _, limit := range []struct {
		what  string
		bytes int64
	}{{"push", r.MaxPush}, {"file", r.MaxObject}, {"all", r.MaxSize}} {
		if limit.bytes > 0 {
			words = append(words, limit.what+" "+humanSize(limit.bytes))
		}
	}
	return strings.Join(words, ", ")
}})

func newGitCreate(c *cli) *cobra.Command {
	var n api.NewRepository
	var m git.Mirror
	cmd := &cobra.Command{
		Use: "create PROJECT/REPOSITORY", Short: "Make a repository, or a mirror of one elsewhere", Args: usageOf(cobra.ExactArgs(1)),
		Example: "  sekisho git create shop/web\n  sekisho git create shop/upstream --mirror https://git.example.com/a/b.git --every 10m",
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if n.RepositoryRef, err = slashed(args[0]); err != nil {
				return err
			}
			if m.URL != "" {
				n.Mirror = &m
			}
			var r git.Repository
			if err := c.call(cmd, "CreateRepository", n, &r); err != nil {
				return err
			}
			return printOne(c, cmd, r, repositoryColumns)
		},
	}
	f := cmd.Flags()
	f.StringVar(&n.Description, "description", "", "what it is, for people")
	f.StringVar(&n.DefaultBranch, "branch", "main", "its default branch")
	mirrorFlags(cmd, &m)
	return cmd
}

func mirrorFlags(cmd *cobra.Command, m *git.Mirror) {
	f := cmd.Flags()
	f.StringVar(&m.URL, "mirror", "", "URL to fill it from, http or https")
	f.StringVar(&m.Credential, "credential", "", "secret with username and password for that: its name in Secrets Manager")
	f.DurationVar(&m.Every, "every", 5*time.Minute, "how often to fetch the mirror; 0: by demand only")
	f.BoolVar(&m.Pulls, "pulls", false, "mirror refs/pull/* too")
}

func newGitList(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "list [PROJECT]", Short: "List repositories", Args: usageOf(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			var q api.RepositoryQuery
			if len(args) == 1 {
				q.Project = args[0]
			}
			return printAll(c, cmd, "ListRepositories", &q, func(after string) {
				q.After.Project, q.After.Repository, _ = strings.Cut(after, "/")
			}, repositoryColumns)
		},
	}
}

func newGitShow(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "show PROJECT/REPOSITORY", Short: "Show a repository", Args: usageOf(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, err := slashed(args[0])
			if err != nil {
				return err
			}
			var r git.Repository
			if err := c.call(cmd, "DescribeRepository", ref, &r); err != nil {
				return err
			}
			return printOne(c, cmd, r, repositoryDetails)
		},
	}
}

func newGitUpdate(c *cli) *cobra.Command {
	var description, branch, name, push, file, size string
	cmd := &cobra.Command{
		Use: "update PROJECT/REPOSITORY", Short: "Change a repository", Args: usageOf(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, err := slashed(args[0])
			if err != nil {
				return err
			}
			in := struct {
				api.RepositoryRef
				Edit git.Edit
			}{RepositoryRef: ref}
			for flag, to := range map[string]struct {
				field **string
				value *string
			}{"description": {&in.Edit.Description, &description}, "branch": {&in.Edit.DefaultBranch, &branch}, "name": {&in.Edit.Name, &name}} {
				if cmd.Flags().Changed(flag) {
					*to.field = to.value
				}
			}
			for flag, to := range map[string]struct {
				field **int64
				text  string
			}{"max-push": {&in.Edit.MaxPush, push}, "max-file": {&in.Edit.MaxObject, file}, "max-size": {&in.Edit.MaxSize, size}} {
				if !cmd.Flags().Changed(flag) {
					continue
				}
				n, err := humanize.ParseBytes(to.text)
				if err != nil || n > math.MaxInt64 {
					return usage("--%s is a size such as 200MiB, or 0 for the server's own limit, and not %q", flag, to.text)
				}
				limit := int64(n)
				*to.field = &limit
			}
			var r git.Repository
			if err := c.call(cmd, "UpdateRepository", in, &r); err != nil {
				return err
			}
			return printOne(c, cmd, r, repositoryDetails)
		},
	}
	f := cmd.Flags()
	f.StringVar(&description, "description", "", "what it is, for people")
	f.StringVar(&branch, "branch", "", "its default branch")
	f.StringVar(&name, "name", "", "its new name")
	f.StringVar(&push, "max-push", "", "how large one push may be, such as 200MiB; 0: as the server's settings say")
	f.StringVar(&file, "max-file", "", "how large one file may be; 0: as the server's settings say")
	f.StringVar(&size, "max-size", "", "how large all of it may be; 0: as the server's settings say")
	return cmd
}

func newGitDelete(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "delete PROJECT/REPOSITORY", Short: "Delete a repository and all that is in it", Args: usageOf(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, err := slashed(args[0])
			if err != nil {
				return err
			}
			if err := c.call(cmd, "DeleteRepository", ref, nil); err != nil {
				return err
			}
			c.done(cmd, "deleted the repository %s", args[0])
			return nil
		},
	}
}

var ruleColumns = []column[git.Rule]{
	{"PATTERN", func(r git.Rule) string { return r.Pattern }},
	{"NO FORCE", func(r git.Rule) string { return yesNo(r.NoForce) }},
	{"NO DELETE", func(r git.Rule) string { return yesNo(r.NoDelete) }},
	{"PUSHERS", func(r git.Rule) string { return strings.Join(r.Pushers, " ") }},
	{"MAX FILE", func(r git.Rule) string {
		if r.MaxFile == 0 {
			return ""
		}
		return humanSize(r.MaxFile)
	}},
}

func newGitRule(c *cli) *cobra.Command {
	var rule git.Rule
	set := &cobra.Command{
		Use: "set PROJECT/REPOSITORY PATTERN", Short: "Protect branches", Args: usageOf(cobra.ExactArgs(2)),
		Long:    "Protect the branches that a pattern is of: main, release/*, ** or, for other refs, refs/tags/*.",
		Example: "  sekisho git rule set shop/web main --no-force --no-delete",
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, err := slashed(args[0])
			if err != nil {
				return err
			}
			rule.Pattern = args[1]
			err = c.call(cmd, "PutBranchRule", struct {
				api.RepositoryRef
				Rule git.Rule
			}{ref, rule}, nil)
			if err != nil {
				return err
			}
			c.done(cmd, "set the rule for %s of %s", args[1], args[0])
			return nil
		},
	}
	f := set.Flags()
	f.BoolVar(&rule.NoForce, "no-force", false, "refuse updates that are not a fast-forward")
	f.BoolVar(&rule.NoDelete, "no-delete", false, "refuse deletion")
	f.StringArrayVar(&rule.Pushers, "pusher", nil, "ARN of a principal who may push, and then nobody else; may be repeated")
	f.Int64Var(&rule.MaxFile, "max-file", 0, "bytes that a pushed file may have; 0: as elsewhere")
	list := &cobra.Command{
		Use: "list PROJECT/REPOSITORY", Short: "List branch rules", Args: usageOf(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, err := slashed(args[0])
			if err != nil {
				return err
			}
			return printAll(c, cmd, "ListBranchRules", ref, nil, ruleColumns)
		},
	}
	remove := &cobra.Command{
		Use: "delete PROJECT/REPOSITORY PATTERN", Short: "Remove a branch rule", Args: usageOf(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, err := slashed(args[0])
			if err != nil {
				return err
			}
			return c.call(cmd, "DeleteBranchRule", api.RuleRef{RepositoryRef: ref, Pattern: args[1]}, nil)
		},
	}
	return group("rule", "Say what may be done to branches", set, list, remove)
}

var mirrorColumns = []column[git.MirrorState]{
	{"URL", func(m git.MirrorState) string { return m.URL }},
	{"EVERY", func(m git.MirrorState) string { return m.Every.String() }},
	{"FETCHED", func(m git.MirrorState) string { return timeCell(m.Fetched) }},
	{"TRIED", func(m git.MirrorState) string { return timeCell(m.Tried) }},
	{"DUE", func(m git.MirrorState) string { return timeCell(m.Due) }},
	{"ERROR", func(m git.MirrorState) string { return m.Error }},
}

func newGitMirror(c *cli) *cobra.Command {
	var m git.Mirror
	simple := func(use, short, operation, done string) *cobra.Command {
		return &cobra.Command{
			Use: use + " PROJECT/REPOSITORY", Short: short, Args: usageOf(cobra.ExactArgs(1)),
			RunE: func(cmd *cobra.Command, args []string) error {
				ref, err := slashed(args[0])
				if err != nil {
					return err
				}
				if err := c.call(cmd, operation, ref, nil); err != nil {
					return err
				}
				c.done(cmd, done, args[0])
				return nil
			},
		}
	}
	show := &cobra.Command{
		Use: "show PROJECT/REPOSITORY", Short: "Show how a mirror goes", Args: usageOf(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, err := slashed(args[0])
			if err != nil {
				return err
			}
			var state git.MirrorState
			if err := c.call(cmd, "DescribeMirror", ref, &state); err != nil {
				return err
			}
			return printOne(c, cmd, state, mirrorColumns)
		},
	}
	set := &cobra.Command{
		Use: "set PROJECT/REPOSITORY", Short: "Change where a mirror is filled from", Args: usageOf(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, err := slashed(args[0])
			if err != nil {
				return err
			}
			return c.call(cmd, "PutMirror", struct {
				api.RepositoryRef
				Mirror git.Mirror
			}{ref, m}, nil)
		},
	}
	mirrorFlags(set, &m)
	return group("mirror", "See to mirrors of repositories elsewhere", show, set,
		simple("fetch", "Fetch a mirror soon", "FetchMirror", "%s is fetched soon"),
		simple("stop", "Make a mirror a repository of its own", "StopMirror", "%s can be pushed to now"))
}

func newGitCat(c *cli) *cobra.Command {
	var ref string
	cmd := &cobra.Command{
		Use: "cat PROJECT/REPOSITORY PATH", Short: "Print a file", Args: usageOf(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := slashed(args[0])
			if err != nil {
				return err
			}
			var f api.FileText
			if err := c.call(cmd, "ReadFile", api.FileRef{RepositoryRef: r, Ref: ref, Path: args[1]}, &f); err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(f.Data)
			return err
		},
	}
	cmd.Flags().StringVar(&ref, "ref", "", "branch, tag or commit; default: the default branch")
	return cmd
}

// maxCommit bounds the files that are committed from here, in bytes.
const maxCommit = 512 << 10

func newGitCommit(c *cli) *cobra.Command {
	n := api.NewCommit{}
	cmd := &cobra.Command{
		Use: "commit PROJECT/REPOSITORY FILE[=PATH]...", Short: "Commit files to a branch, without a clone", Args: usageOf(cobra.MinimumNArgs(2)),
		Long: `Commit files of this machine to a branch. FILE is at the same path in the repository, or at PATH.

The branch must be where --parent says, if that is given; a branch that is not there yet begins
without history.`,
		Example: "  sekisho git commit shop/web azure-pipelines.yml -m 'the pipeline'",
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if n.RepositoryRef, err = slashed(args[0]); err != nil {
				return err
			}
			for _, word := range args[1:] {
				name, path, ok := strings.Cut(word, "=")
				if !ok {
					path = name
				}
				change, err := readFile(name, path)
				if err != nil {
					return err
				}
				n.Files = append(n.Files, change)
			}
			if !cmd.Flags().Changed("parent") {
				if n.Parent, err = c.branchHead(cmd, n.RepositoryRef, n.Branch); err != nil {
					return err
				}
			}
			var made struct{ Commit string }
			if err := c.call(cmd, "CommitFiles", n, &made); err != nil {
				return err
			}
			return c.print(cmd, made, &table{rows: [][]string{{made.Commit}}})
		},
	}
	f := cmd.Flags()
	f.StringVar(&n.Branch, "branch", "main", "the branch")
	f.StringVarP(&n.Message, "message", "m", "", "the message")
	f.StringVar(&n.Parent, "parent", "", "the commit that the branch must be at; default: where it is")
	return cmd
}

func readFile(name, path string) (git.FileChange, error) {
	f, err := os.Open(name)
	if err != nil {
		return git.FileChange{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return git.FileChange{}, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxCommit+1))
	if err != nil {
		return git.FileChange{}, err
	}
	if len(data) > maxCommit || base64.StdEncoding.EncodedLen(len(data)) > 1<<20 {
		return git.FileChange{}, usage("%s has over %d bytes: push it with git", name, maxCommit)
	}
	return git.FileChange{Path: strings.TrimPrefix(path, "./"), Data: data, Executable: info.Mode()&0o100 != 0}, nil
}

// branchHead returns the commit that a branch is at, "" if there is no such branch.
func (c *cli) branchHead(cmd *cobra.Command, r api.RepositoryRef, branch string) (string, error) {
	full := "refs/heads/" + branch
	folder := full[:strings.LastIndexByte(full, '/')+1]
	refs, err := readAll[git.Ref](c, cmd, "ListRefs", &api.RefQuery{RepositoryRef: r, Prefix: folder}, nil)
	if err != nil {
		return "", err
	}
	for _, ref := range refs {
		if ref.Name == full {
			return ref.Commit, nil
		}
	}
	return "", nil
}
