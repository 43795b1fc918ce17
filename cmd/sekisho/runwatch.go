package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/api"
	"github.com/sekisho/sekisho/internal/api/client"
	runs "github.com/sekisho/sekisho/internal/run"
)

func newRunWatch(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "watch RUN", Short: "Follow a run with its logs, and end as it ends", Args: usageOf(cobra.ExactArgs(1)),
		Long: `Follow a run: what begins and ends, what it waits for, and the logs of its steps as they grow.

The exit code is 0 if the run succeeded, 1 if it failed, 2 if it was canceled.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := runNumber(args[0])
			if err != nil {
				return err
			}
			return c.watch(cmd, id)
		},
	}
}

func newRunLogs(c *cli) *cobra.Command {
	var job string
	var follow, failed bool
	cmd := &cobra.Command{
		Use: "logs RUN", Short: "Print the logs of a run", Args: usageOf(cobra.ExactArgs(1)),
		Example: "  sekisho run logs 12 --failed\n  sekisho run logs 12 -f",
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := runNumber(args[0])
			if err != nil {
				return err
			}
			// Asked of every run, also of one that has no logs.
			var may api.List[runs.LogInfo]
			if err := c.call(cmd, "ListLogs", api.LogQuery{Run: id}, &may); err != nil {
				return err
			}
			if follow {
				return c.watch(cmd, id)
			}
			w, err := c.newWatch(cmd, id)
			if err != nil {
				return err
			}
			w.only = func(j *runs.Job, step *work.Record) bool {
				if job != "" && !strings.EqualFold(j.ID, job) && !strings.EqualFold(j.DisplayName, job) && !strings.HasSuffix(strings.ToLower(j.ID), "."+strings.ToLower(job)) {
					return false
				}
				return !failed || step.Result == work.Failed || step.Result == work.Canceled
			}
			if _, err = w.drain(cmd.Context()); err != nil {
				return told(err)
			}
			for _, shown := range w.logs {
				if shown.offset > 0 {
					return nil
				}
			}
			c.done(cmd, "run %d has no such logs", id)
			return nil
		},
	}
	cmd.Flags().StringVar(&job, "job", "", "only of this job, by its id or name")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on until the run has ended, and end as it ends")
	cmd.Flags().BoolVar(&failed, "failed", false, "only of steps that failed")
	return cmd
}

// watcher prints what becomes of a run: what is when it begins to look, and what changes from there on. The logs of a job are printed
// in the order of its steps.
type watcher struct {
	client *client.Client
	out    io.Writer
	id     int64
	pause  time.Duration                      // before another try, longer each time
	after  int64                              // the last event that was printed; 0: none of the run was yet
	only   func(*runs.Job, *work.Record) bool // nil: all

	logs  map[runs.LogRef]*shownLog
	order map[attempt][]string // logs of a job's steps
	done  map[attempt]int      // how many of them were printed to their end
	legs  map[phase]bool       // of which jobs there are parts that tell of themselves
	said  map[string]string    // of what, what was said last
}

type attempt struct {
	job    string
	number int
}

type phase struct {
	stage   string
	attempt int
	name    string
}

// shownLog is how much of a log was printed.
type shownLog struct {
	offset int64
	rest   []byte // the beginning of a line
}

func (c *cli) newWatch(cmd *cobra.Command, id int64) (*watcher, error) {
	r, err := c.remote(cmd.Context())
	if err != nil {
		return nil, err
	}
	return watch(r, cmd.OutOrStdout(), id), nil
}

func watch(r *client.Client, out io.Writer, id int64) *watcher {
	return &watcher{client: r, out: out, id: id, pause: 500 * time.Millisecond, logs: map[runs.LogRef]*shownLog{}, order: map[attempt][]string{}, done: map[attempt]int{},
		legs: map[phase]bool{}, said: map[string]string{}}
}

// watch follows a run to its end.
func (c *cli) watch(cmd *cobra.Command, id int64) error {
	w, err := c.newWatch(cmd, id)
	if err != nil {
		return err
	}
	t, err := w.end(cmd.Context())
	if err != nil {
		return told(err)
	}
	line := fmt.Sprintf("== run %d %s", id, stateWord(t.State, t.Result))
	if !t.Started.IsZero() {
		line += " in " + took(t.Started, t.Finished)
	}
	fmt.Fprintln(w.out, line)
	for _, p := range t.Problems {
		fmt.Fprintln(w.out, p)
	}
	switch t.Result {
	case work.Succeeded, work.SucceededWithIssues, work.Skipped:
		return nil
	case work.Canceled:
		return &exitError{exitUsage, fmt.Errorf("run %d was canceled", id)}
	}
	return &exitError{exitFailed, fmt.Errorf("run %d %s; the steps that did: sekisho run logs %d --failed", id, t.Result, id)}
}

// maxFailures is how often in a row a run can't be followed until that is told.
const maxFailures = 10

// end follows a run until it has ended, and returns it. Connections that break are made again.
func (w *watcher) end(ctx context.Context) (*runs.Tree, error) {
	for failures := 0; ; {
		seen := w.after
		t, err := w.follow(ctx)
		switch e, answered := errors.AsType[*api.Error](err); {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err == nil && t.State == work.Completed:
			return t, nil
		case err == nil: // somebody has it run again
			continue
		case answered && e.Status < 500 && e.Status != http.StatusTooManyRequests:
			return nil, err
		}
		if failures++; w.after > seen {
			failures = 1
		}
		if failures > maxFailures {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Duration(failures) * w.pause):
		}
	}
}

func (w *watcher) tree(ctx context.Context) (*runs.Tree, error) {
	t := &runs.Tree{Run: &runs.Run{}}
	return t, w.client.Call(ctx, "DescribeRun", api.RunRef{Run: w.id}, t)
}

// silence is how long a server says nothing that is still there: it says every 15 seconds that it is.
const silence = time.Minute

// follow prints what there is and what comes, until the run has ended: then it returns that.
func (w *watcher) follow(ctx context.Context) (*runs.Tree, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if w.after == 0 {
		t, err := w.tree(ctx)
		if err != nil {
			return nil, err
		}
		if err := w.present(ctx, t); err != nil {
			return nil, err
		}
		w.after = t.Seq
	}
	body, err := w.client.Get(ctx, fmt.Sprintf("runs/%d/events", w.id), url.Values{"after": {strconv.FormatInt(w.after, 10)}})
	if err != nil {
		return nil, err
	}
	defer body.Close()
	quiet := time.AfterFunc(silence, stop)
	defer quiet.Stop()
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, 4<<20)
	ended := false
	for ; lines.Scan(); quiet.Reset(silence) {
		quiet.Stop() // what is printed may take longer
		line := lines.Text()
		if line == "event: end" {
			ended = true
		}
		data, ok := strings.CutPrefix(line, "data: ")
		if !ok || ended {
			continue
		}
		var e api.RunEvent
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			return nil, fmt.Errorf("an event of run %d: %w", w.id, err)
		}
		if err := w.event(ctx, &e); err != nil {
			return nil, err
		}
		w.after = max(w.after, e.Seq)
	}
	switch err := lines.Err(); {
	case err != nil:
		return nil, fmt.Errorf("the events of run %d: %w", w.id, err)
	case !ended:
		return nil, fmt.Errorf("the events of run %d: %w", w.id, io.ErrUnexpectedEOF)
	}
	return w.drain(ctx)
}

// say prints a line about something, unless that is what was said of it last.
func (w *watcher) say(of, line string) {
	if w.said[of] != line {
		w.said[of] = line
		fmt.Fprintln(w.out, "== "+line)
	}
}

// present prints what a run is like.
func (w *watcher) present(ctx context.Context, t *runs.Tree) error {
	line := fmt.Sprintf("run %d, %s of %s/%s", w.id, t.Number, t.Project, t.Pipeline)
	if t.Ref != "" {
		line += ": " + strings.TrimPrefix(t.Ref, "refs/heads/") + " at " + t.Commit[:min(len(t.Commit), 10)]
	}
	w.say("run", line)
	if t.Waits != "" {
		w.say("run", fmt.Sprintf("run %d: %s", w.id, t.Waits))
	}
	for _, s := range t.Stages {
		if !s.Last {
			continue
		}
		w.stage(s.Name, s.Attempt, s.State, s.Result, s.Message)
		if s.Waits != "" {
			w.say(fmt.Sprintf("stage %s %d", s.Name, s.Attempt), "stage "+s.Name+": "+s.Waits)
		}
		for _, p := range s.Jobs {
			if len(p.Legs) == 0 {
				w.job(phase{s.Name, s.Attempt, p.Name}, "", p.DisplayName, p.State, p.Result, "", p.Message)
			}
			for _, j := range p.Legs {
				w.legs[phase{s.Name, s.Attempt, p.Name}] = true
				agent := ""
				if len(j.Attempts) > 0 {
					agent = j.Attempts[len(j.Attempts)-1].Agent
				}
				if j.Waits != "" {
					w.say("job "+j.ID, "job "+cmp.Or(j.DisplayName, j.ID)+" is "+j.Waits)
					continue
				}
				if j.State == work.InProgress || j.State == work.Completed && len(j.Attempts) > 0 && w.said["job "+j.ID] == "" {
					w.job(phase{s.Name, s.Attempt, p.Name}, j.ID, j.DisplayName, work.InProgress, "", agent, "")
				}
				if err := w.steps(ctx, j); err != nil {
					return err
				}
				if j.State == work.Completed {
					w.job(phase{s.Name, s.Attempt, p.Name}, j.ID, j.DisplayName, j.State, j.Result, agent, j.Message)
				}
			}
		}
	}
	for _, a := range t.Approvals {
		if a.State == "pending" {
			w.say("approval "+a.ID, fmt.Sprintf("%s waits for %d of %s; answer with: sekisho run approve %d", a.Name, a.Needed, strings.Join(a.Approvers, " "), w.id))
		}
	}
	return nil
}

func (w *watcher) stage(name string, attempt int, state work.State, result work.Result, message string) {
	if state == work.Pending && message == "" {
		return
	}
	w.say(fmt.Sprintf("stage %s %d", name, attempt), "stage "+name+" "+stateWord(state, result)+because(message))
}

func because(message string) string {
	if message == "" {
		return ""
	}
	return ": " + message
}

// job prints what became of a part of a job, or of a job that has none: id is empty then.
func (w *watcher) job(p phase, id, name string, state work.State, result work.Result, agent, message string) {
	text := "job " + cmp.Or(name, p.name) + " " + stateWord(state, result)
	switch {
	case id == "" && (w.legs[p] || state != work.Completed), state == work.Pending:
		return
	case id == "":
		id = p.stage + "." + p.name
	case state == work.InProgress && agent != "":
		text += " on " + agent
	}
	w.say("job "+id, text+because(message))
}

func (w *watcher) event(ctx context.Context, e *api.RunEvent) error {
	switch e.Type {
	case runs.LogEvent:
		return w.grown(ctx, attempt{e.Job, e.Claim}, e.Log)
	case runs.StageEvent:
		w.stage(e.Stage, e.Attempt, e.State, e.Result, e.Message)
		if e.State == work.Pending {
			return w.look(ctx)
		}
	case runs.JobEvent:
		p := phase{e.Stage, e.Attempt, e.Phase}
		if e.Job != "" {
			w.legs[p] = true
		}
		switch {
		case e.State == runs.Queued:
			return w.look(ctx)
		case e.Job != "" && e.State == work.Completed:
			if err := w.grown(ctx, attempt{e.Job, e.Claim}, ""); err != nil {
				return err
			}
		}
		w.job(p, e.Job, e.Name, e.State, e.Result, e.Agent, e.Message)
	case runs.RunEvent:
		if e.Message != "" {
			return w.look(ctx)
		}
	case runs.StepEvent:
		if e.Step != "" && e.State == work.Completed && e.Result != work.Succeeded && e.Result != work.Skipped {
			if err := w.grown(ctx, attempt{e.Job, e.Claim}, ""); err != nil {
				return err
			}
			fmt.Fprintf(w.out, "== step %s %s%s\n", e.Name, e.Result, because(e.Message))
		}
	case runs.ApprovalEvent:
		return w.look(ctx)
	case runs.IssueEvent:
		if e.Issue != nil && e.Step == "" {
			fmt.Fprintf(w.out, "== %s: %s\n", e.Issue.Type, e.Issue.Message)
		}
	}
	return nil
}

// look prints what is new of what waits.
func (w *watcher) look(ctx context.Context) error {
	t, err := w.tree(ctx)
	if err != nil {
		return err
	}
	return w.present(ctx, t)
}

// grown prints what came of the logs of a job, up to one of them, or all. Logs come in the order of the steps: those before one
// that grows have ended.
func (w *watcher) grown(ctx context.Context, a attempt, log string) error {
	if !slices.Contains(w.order[a], log) {
		t, err := w.tree(ctx)
		if err != nil {
			return err
		}
		for _, s := range t.Stages {
			for _, p := range s.Jobs {
				for _, j := range p.Legs {
					if j.ID == a.job {
						w.arrange(j)
					}
				}
			}
		}
	}
	from, to := w.done[a], len(w.order[a])
	if i := slices.Index(w.order[a], log); i >= 0 {
		from, to = min(from, i), i+1
		w.done[a] = max(w.done[a], i)
	}
	for _, l := range w.order[a][from:to] {
		if err := w.print(ctx, runs.LogRef{Job: a.job, Attempt: a.number, Log: l}); err != nil {
			return err
		}
	}
	return nil
}

// arrange notes the order of the logs of a job's last attempt, and returns its steps in it.
func (w *watcher) arrange(j *runs.Job) []work.Record {
	if len(j.Attempts) == 0 {
		return nil
	}
	last := j.Attempts[len(j.Attempts)-1]
	steps := slices.DeleteFunc(slices.Clone(last.Steps), func(step work.Record) bool {
		return step.Step == "" || step.Log == "" || w.only != nil && !w.only(j, &step)
	})
	slices.SortStableFunc(steps, func(a, b work.Record) int { return cmp.Compare(a.Order, b.Order) })
	logs := make([]string, len(steps))
	for i, step := range steps {
		logs[i] = step.Log
	}
	w.order[attempt{j.ID, last.Number}] = logs
	return steps
}

// drain prints what there is of all logs and was not printed yet, and returns the run.
func (w *watcher) drain(ctx context.Context) (*runs.Tree, error) {
	t, err := w.tree(ctx)
	if err != nil {
		return nil, err
	}
	for _, s := range t.Stages {
		for _, p := range s.Jobs {
			for _, j := range p.Legs {
				if err := w.steps(ctx, j); err != nil {
					return nil, err
				}
			}
		}
	}
	return t, nil
}

// steps prints what there is of a job's logs.
func (w *watcher) steps(ctx context.Context, j *runs.Job) error {
	steps := w.arrange(j)
	if j.State != work.InProgress && j.State != work.Completed {
		return nil // the logs are those of an attempt that does not count any more
	}
	for _, step := range steps {
		ref := runs.LogRef{Job: j.ID, Attempt: j.Attempts[len(j.Attempts)-1].Number, Log: step.Log}
		if err := w.print(ctx, ref); err != nil {
			return err
		}
		if shown := w.logs[ref]; step.State == work.Completed && len(shown.rest) > 0 {
			fmt.Fprintf(w.out, "%s\n", shown.rest)
			shown.rest = nil
		}
	}
	return nil
}

// maxHeld is how much of a line is held back until its end comes, in bytes.
const maxHeld = 1 << 20

// print prints the lines of a log that came since.
func (w *watcher) print(ctx context.Context, ref runs.LogRef) error {
	shown := w.logs[ref]
	if shown == nil {
		shown = &shownLog{}
		w.logs[ref] = shown
	}
	body, err := w.client.Get(ctx, fmt.Sprintf("runs/%d/log", w.id), url.Values{
		"job": {ref.Job}, "attempt": {strconv.Itoa(ref.Attempt)}, "log": {ref.Log}, "offset": {strconv.FormatInt(shown.offset, 10)}})
	if e, ok := errors.AsType[*api.Error](err); ok && e.Status == http.StatusNotFound {
		return nil // nothing of it has come yet
	}
	if err != nil {
		return err
	}
	defer body.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := body.Read(buffer)
		shown.offset += int64(n)
		whole := bytes.LastIndexByte(buffer[:n], '\n') + 1
		if whole == 0 && len(shown.rest) > maxHeld {
			whole = n // no line that anybody reads as one
		}
		if whole > 0 {
			if _, err := w.out.Write(append(shown.rest, buffer[:whole]...)); err != nil {
				return err
			}
			shown.rest = shown.rest[:0]
		}
		shown.rest = append(shown.rest, buffer[whole:n]...)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
