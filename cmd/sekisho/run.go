package main

import (
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/api"
	runs "github.com/sekisho/sekisho/internal/run"
)

func newRun(c *cli) *cobra.Command {
	cmd := group("run", "Start, watch, repeat and cancel runs of pipelines",
		newRunStart(c), newRunList(c), newRunView(c), newRunWatch(c), newRunLogs(c), newRunRerun(c), newRunCancel(c),
		newRunApprovals(c), newRunAnswer(c, true), newRunAnswer(c, false), newRunArtifacts(c), newRunTests(c), newRunExpanded(c), newRunStage(c, true), newRunStage(c, false), newRunTag(c), newRunKeep(c), newRunDelete(c))
	cmd.Long = "Runs of pipelines. A run is named by its number, which is unique in the instance (Build.BuildId).\n\n" + whichServer
	return cmd
}

// runNumber reads the number of a run.
func runNumber(arg string) (int64, error) {
	n, err := strconv.ParseInt(strings.TrimPrefix(arg, "#"), 10, 64)
	if err != nil || n <= 0 {
		return 0, usage("%q is no number of a run; sekisho run list shows them", arg)
	}
	return n, nil
}

var runColumns = []column[runs.Run]{
	{"RUN", func(r runs.Run) string { return strconv.FormatInt(r.ID, 10) }},
	{"NUMBER", func(r runs.Run) string { return r.Number }},
	{"PIPELINE", func(r runs.Run) string { return r.Project + "/" + r.Pipeline }},
	{"STATE", func(r runs.Run) string { return stateWord(r.State, r.Result) }},
	{"REF", func(r runs.Run) string { return strings.TrimPrefix(r.Ref, "refs/heads/") }},
	{"COMMIT", func(r runs.Run) string { return r.Commit[:min(len(r.Commit), 10)] }},
	{"REASON", func(r runs.Run) string { return r.Reason }},
	{"FOR", func(r runs.Run) string { return r.RequestedFor }},
	{"CREATED", func(r runs.Run) string { return timeCell(r.Created) }},
	{"TOOK", func(r runs.Run) string { return took(r.Started, r.Finished) }},
	{"WAITS", func(r runs.Run) string { return r.Waits }},
}

// stateWord is a state, or the result of what has ended.
func stateWord(s work.State, r work.Result) string {
	switch {
	case s == work.Completed:
		return string(r)
	case s == work.InProgress:
		return "running"
	}
	return string(s)
}

func took(from, to time.Time) string {
	if from.IsZero() {
		return ""
	}
	if to.IsZero() {
		return "since " + timeCell(from)
	}
	return to.Sub(from).Round(100 * time.Millisecond).String()
}

func newRunStart(c *cli) *cobra.Command {
	in := &inProject{}
	req := runs.StartRequest{}
	var parameters, variables []string
	var watch bool
	cmd := &cobra.Command{
		Use: "start PIPELINE", Short: "Start a run", Args: usageOf(cobra.ExactArgs(1)),
		Example: "  sekisho run start -p shop web --branch main --parameter environment=staging --watch",
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if req.Project, err = in.name(); err != nil {
				return err
			}
			req.Pipeline = args[0]
			if req.Parameters, err = pairs("parameter", parameters); err != nil {
				return err
			}
			for _, word := range variables {
				name, value, ok := strings.Cut(word, "=")
				if !ok {
					return usage("--variable %q is not name=value", word)
				}
				req.Variables = append(req.Variables, runs.StartVariable{Name: name, Value: value})
			}
			var r runs.Run
			if err := c.call(cmd, "StartRun", req, &r); err != nil {
				return err
			}
			if !watch {
				return printOne(c, cmd, r, runColumns)
			}
			c.done(cmd, "run %d, %s", r.ID, r.Number)
			return c.watch(cmd, r.ID)
		},
	}
	in.flag(c, cmd)
	f := cmd.Flags()
	f.StringVar(&req.Ref, "branch", "", "branch, or any ref (default: the pipeline's)")
	f.StringVar(&req.Commit, "commit", "", "commit (default: where the branch is)")
	f.StringArrayVar(&parameters, "parameter", nil, "name=value, the value in YAML; may be repeated")
	f.StringArrayVar(&variables, "variable", nil, "name=value, of a variable that may be set at the start; may be repeated")
	f.StringArrayVar(&req.SkipStages, "skip-stage", nil, "leave out a stage; may be repeated")
	f.BoolVar(&watch, "watch", false, "watch it, and end as it ends")
	return cmd
}

func newRunList(c *cli) *cobra.Command {
	in := &inProject{}
	var q runs.Query
	var state, result string
	cmd := &cobra.Command{
		Use: "list", Short: "List runs, the newest first", Args: usageOf(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			q.Project, q.State, q.Result = in.project, work.State(state), work.Result(result)
			var page api.List[runs.Run]
			if err := c.call(cmd, "ListRuns", q, &page); err != nil {
				return err
			}
			return c.print(cmd, page.Items, tableOf(page.Items, runColumns))
		},
	}
	in.flag(c, cmd)
	f := cmd.Flags()
	f.StringVar(&q.Pipeline, "pipeline", "", "of one pipeline")
	f.StringVar(&q.Ref, "branch", "", "of one branch")
	f.StringVar(&state, "state", "", "pending, inProgress or completed")
	f.StringVar(&result, "result", "", "succeeded, succeededWithIssues, failed, canceled or abandoned")
	f.StringVar(&q.Tag, "tag", "", "with a tag")
	f.IntVar(&q.Limit, "limit", 50, "how many, at most 500")
	return cmd
}

func newRunView(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "view RUN", Aliases: []string{"show"}, Short: "Show a run with its stages, jobs and steps", Args: usageOf(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := c.tree(cmd, args[0])
			if err != nil {
				return err
			}
			if c.output != asTable {
				return c.print(cmd, t, nil)
			}
			return printOne(c, cmd, *t.Run, runColumns, treeRows(t)...)
		},
	}
}

func (c *cli) tree(cmd *cobra.Command, arg string) (*runs.Tree, error) {
	id, err := runNumber(arg)
	if err != nil {
		return nil, err
	}
	t := &runs.Tree{Run: &runs.Run{}}
	return t, c.call(cmd, "DescribeRun", api.RunRef{Run: id}, t)
}

// treeRows lays a run out, indented.
func treeRows(t *runs.Tree) [][]string {
	var rows [][]string
	add := func(depth int, name, state, note, took string) {
		rows = append(rows, []string{strings.Repeat("  ", depth) + name, strings.TrimSpace(state + "  " + took + "  " + note)})
	}
	for _, p := range t.Problems {
		kind := "warning"
		if p.Error {
			kind = "error"
		}
		rows = append(rows, []string{kind, p.String()})
	}
	for _, s := range t.Stages {
		if !s.Last {
			continue
		}
		add(0, "stage "+s.Name, stateWord(s.State, s.Result), s.Waits+s.Message, took(s.Started, s.Finished))
		for _, p := range s.Jobs {
			if len(p.Legs) == 0 {
				add(1, "job "+p.Name, stateWord(p.State, p.Result), p.Message, took(p.Started, p.Finished))
			}
			for _, j := range p.Legs {
				add(1, strings.TrimSpace("job "+p.Name+" "+j.Leg), stateWord(j.State, j.Result), j.Waits+j.Message, took(j.Started, j.Finished))
				if len(j.Attempts) == 0 {
					continue
				}
				for _, a := range j.Attempts[:len(j.Attempts)-1] {
					add(2, "attempt on "+a.Agent, a.State, a.Cause, took(a.Begun, a.Ended))
				}
				last := j.Attempts[len(j.Attempts)-1]
				if last.Agent != "" {
					add(2, "on "+last.Agent, "", last.Cause, "")
				}
				for _, step := range last.Steps {
					if step.Step == "" {
						continue
					}
					add(2, step.DisplayName, stateWord(step.State, step.Result), step.Message, took(step.Started, step.Finished))
					for _, i := range step.Issues {
						add(3, i.Type, "", i.Message, "")
					}
				}
			}
		}
	}
	for _, a := range t.Approvals {
		if a.State == "pending" {
			rows = append(rows, []string{"approval " + a.ID, fmt.Sprintf("%s waits for %d of %s  %s", a.Name, a.Needed, strings.Join(a.Approvers, " "), a.Instructions)})
		}
	}
	return rows
}

func newRunRerun(c *cli) *cobra.Command {
	in := api.Repetition{}
	var watch bool
	cmd := &cobra.Command{
		Use: "rerun RUN", Short: "Run a run again: all of it, what failed, or from a stage", Args: usageOf(cobra.ExactArgs(1)),
		Long: "Run a run again, of the same commit and with the same parameters. What failed can be repeated\nwhile the rest still runs. Earlier attempts stay to be read.",
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if in.Run, err = runNumber(args[0]); err != nil {
				return err
			}
			var r runs.Run
			if err := c.call(cmd, "RerunRun", in, &r); err != nil {
				return err
			}
			if !watch {
				return printOne(c, cmd, r, runColumns)
			}
			return c.watch(cmd, r.ID)
		},
	}
	cmd.Flags().BoolVar(&in.Failed, "failed", false, "only what failed, and what depends on it")
	cmd.Flags().StringVar(&in.Stage, "stage", "", "from this stage on")
	cmd.Flags().BoolVar(&watch, "watch", false, "watch it, and end as it ends")
	return cmd
}

func newRunCancel(c *cli) *cobra.Command {
	in := api.Cancellation{}
	cmd := &cobra.Command{
		Use: "cancel RUN", Short: "Cancel a run, or a stage or job of it", Args: usageOf(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if in.Run, err = runNumber(args[0]); err != nil {
				return err
			}
			if err := c.call(cmd, "CancelRun", in, nil); err != nil {
				return err
			}
			c.done(cmd, "run %d is being canceled", in.Run)
			return nil
		},
	}
	cmd.Flags().StringVar(&in.Stage, "stage", "", "only this stage")
	cmd.Flags().StringVar(&in.Job, "job", "", "only this job, by its id")
	cmd.Flags().StringVar(&in.Reason, "reason", "", "why, for people")
	return cmd
}

var approvalColumns = []column[runs.Approval]{
	{"APPROVAL", func(a runs.Approval) string { return a.ID }},
	{"FOR", func(a runs.Approval) string { return a.Name }},
	{"STAGE", func(a runs.Approval) string { return a.Stage }},
	{"STATE", func(a runs.Approval) string { return a.State }},
	{"NEEDED", func(a runs.Approval) string { return fmt.Sprint(a.Needed) }},
	{"APPROVERS", func(a runs.Approval) string { return strings.Join(a.Approvers, " ") }},
	{"EXPIRES", func(a runs.Approval) string { return timeCell(a.Expires) }},
	{"INSTRUCTIONS", func(a runs.Approval) string { return a.Instructions }},
}

func newRunApprovals(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "approvals RUN", Short: "List what a run waits for people to say", Args: usageOf(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := runNumber(args[0])
			if err != nil {
				return err
			}
			return printAll(c, cmd, "ListApprovals", api.RunRef{Run: id}, nil, approvalColumns)
		},
	}
}

// newRunAnswer is approve, or reject.
func newRunAnswer(c *cli, approve bool) *cobra.Command {
	in := api.ApprovalAnswer{Approve: approve}
	use, short := "approve RUN [APPROVAL]", "Say yes to what a run waits for"
	if !approve {
		use, short = "reject RUN [APPROVAL]", "Say no to what a run waits for"
	}
	cmd := &cobra.Command{
		Use: use, Short: short, Args: usageOf(cobra.RangeArgs(1, 2)),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if in.Run, err = runNumber(args[0]); err != nil {
				return err
			}
			if len(args) == 2 {
				in.Approval = args[1]
			} else {
				all, err := readAll[runs.Approval](c, cmd, "ListApprovals", api.RunRef{Run: in.Run}, nil)
				if err != nil {
					return err
				}
				var pending []string
				for _, a := range all {
					if a.State == "pending" {
						pending = append(pending, a.ID)
					}
				}
				if len(pending) != 1 {
					return usage("run %d waits for %d approvals: name one of them, see sekisho run approvals %d", in.Run, len(pending), in.Run)
				}
				in.Approval = pending[0]
			}
			return c.call(cmd, "AnswerApproval", in, nil)
		},
	}
	cmd.Flags().StringVarP(&in.Comment, "comment", "m", "", "why, for people")
	return cmd
}

var artifactColumns = []column[work.Artifact]{
	{"ARTIFACT", func(a work.Artifact) string { return a.Name }},
	{"FILES", func(a work.Artifact) string { return fmt.Sprint(a.Files) }},
	{"SIZE", func(a work.Artifact) string { return humanSize(a.Size) }},
}

func newRunArtifacts(c *cli) *cobra.Command {
	var to string
	cmd := &cobra.Command{
		Use: "artifacts RUN [ARTIFACT]...", Short: "List the artifacts of a run, or download them", Args: usageOf(cobra.MinimumNArgs(1)),
		Example: "  sekisho run artifacts 12 --download out",
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := runNumber(args[0])
			if err != nil {
				return err
			}
			all, err := readAll[work.Artifact](c, cmd, "ListArtifacts", api.RunRef{Run: id}, nil)
			if err != nil {
				return err
			}
			if to == "" {
				return c.print(cmd, all, tableOf(all, artifactColumns))
			}
			names := args[1:]
			if len(names) == 0 {
				for _, a := range all {
					names = append(names, a.Name)
				}
			}
			for _, name := range names {
				if err := c.downloadArtifact(cmd, id, name, to); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&to, "download", "", "download them into this folder, each into one of its own")
	return cmd
}

func (c *cli) downloadArtifact(cmd *cobra.Command, id int64, name, to string) error {
	files, err := readAll[work.File](c, cmd, "ListFiles", api.ArtifactRef{Run: id, Artifact: name}, nil)
	if err != nil {
		return err
	}
	r, err := c.remote(cmd.Context())
	if err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(to) // names came from a job
	if err != nil {
		return err
	}
	defer root.Close()
	for _, f := range files {
		body, err := r.Get(cmd.Context(), fmt.Sprintf("runs/%d/file", id), url.Values{"artifact": {name}, "name": {f.Name}})
		if err != nil {
			return told(err)
		}
		err = saveIn(root, filepath.Join(name, filepath.FromSlash(f.Name)), body)
		if err := body.Close(); err != nil {
			return err
		}
		if err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	c.done(cmd, "%s: %d files in %s", name, len(files), filepath.Join(to, name))
	return nil
}

func saveIn(root *os.Root, name string, from io.Reader) error {
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := root.Create(name)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

func newRunTests(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "tests RUN", Short: "Show how the tests of a run ended", Args: usageOf(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := runNumber(args[0])
			if err != nil {
				return err
			}
			all, err := readAll[runs.TestRun](c, cmd, "ListTests", api.RunRef{Run: id}, nil)
			if err != nil {
				return err
			}
			return c.print(cmd, all, testTable(all))
		},
	}
}

func newRunExpanded(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "expanded RUN", Short: "Print the YAML of a run as it was run, templates and all", Args: usageOf(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := runNumber(args[0])
			if err != nil {
				return err
			}
			return c.copyStream(cmd, fmt.Sprintf("runs/%d/expanded", id), nil)
		},
	}
}

// copyStream prints a stream of the server's.
func (c *cli) copyStream(cmd *cobra.Command, path string, query url.Values) error {
	r, err := c.remote(cmd.Context())
	if err != nil {
		return err
	}
	body, err := r.Get(cmd.Context(), path, query)
	if err != nil {
		return told(err)
	}
	defer body.Close()
	_, err = io.Copy(cmd.OutOrStdout(), body)
	return err
}

func newRunKeep(c *cli) *cobra.Command {
	var off bool
	cmd := &cobra.Command{
		Use: "keep RUN", Short: "Keep a run whatever its age", Args: usageOf(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := runNumber(args[0])
			if err != nil {
				return err
			}
			return c.call(cmd, "KeepRun", struct {
				Run  int64
				Keep bool
			}{id, !off}, nil)
		},
	}
	cmd.Flags().BoolVar(&off, "off", false, "do not keep it any longer")
	return cmd
}

// newRunStage is start-stage, or skip-stage.
func newRunStage(c *cli, start bool) *cobra.Command {
	use, short, operation, done := "start-stage RUN STAGE", "Start a stage that waits for it (trigger: manual)", "RunStage", "starts"
	if !start {
		use, short, operation, done = "skip-stage RUN STAGE", "Leave out a stage that has not begun", "SkipStage", "is left out"
	}
	return &cobra.Command{
		Use: use, Short: short, Args: usageOf(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := runNumber(args[0])
			if err != nil {
				return err
			}
			if err := c.call(cmd, operation, api.StageRef{Run: id, Stage: args[1]}, nil); err != nil {
				return err
			}
			c.done(cmd, "stage %s of run %d %s", args[1], id, done)
			return nil
		},
	}
}

func newRunTag(c *cli) *cobra.Command {
	var remove bool
	cmd := &cobra.Command{
		Use: "tag RUN TAG", Short: "Tag a run, for sekisho run list --tag", Args: usageOf(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := runNumber(args[0])
			if err != nil {
				return err
			}
			operation := "TagRun"
			if remove {
				operation = "UntagRun"
			}
			return c.call(cmd, operation, api.RunTag{Run: id, Tag: args[1]}, nil)
		},
	}
	cmd.Flags().BoolVar(&remove, "remove", false, "take the tag away")
	return cmd
}

func newRunDelete(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "delete RUN", Short: "Delete a run with its logs and artifacts", Args: usageOf(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := runNumber(args[0])
			if err != nil {
				return err
			}
			return c.call(cmd, "DeleteRun", api.RunRef{Run: id}, nil)
		},
	}
}

// testTable lays test runs out, with the tests that failed.
func testTable(all []runs.TestRun) *table {
	t := &table{header: []string{"TESTS", "PASSED", "FAILED", "SKIPPED", "TOOK"}}
	for _, r := range all {
		t.add(r.Name, fmt.Sprint(r.Passed), fmt.Sprint(r.Failed), fmt.Sprint(r.Skipped), r.Duration.Round(time.Millisecond).String())
		for _, f := range r.Failures {
			t.add("  "+strings.Trim(f.Suite+"."+f.Name, "."), "", f.Message)
		}
	}
	return t
}
