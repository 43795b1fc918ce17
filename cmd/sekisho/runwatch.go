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
			return w.drain(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&job, "job", "", "only of this job, by its id or name")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on until the run has ended, and end as it ends")
	cmd.Flags().BoolVar(&failed, "failed", false, "only of steps that failed")
	return cmd
}

// watcher prints what becomes of a run.
type watcher struct {
	client *client.Client
	out    io.Writer
	id     int64
	after  int64
	only   func(*runs.Job, *work.Record) bool // nil: all

	logs  map[runs.LogRef]*shownLog
	waits map[string]string // by the job's id, what was said last
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
	return &watcher{client: r, out: cmd.OutOrStdout(), id: id, logs: map[runs.LogRef]*shownLog{}, waits: map[string]string{}}, nil
}

// watch follows a run to its end. Connections that break are made again.
func (c *cli) watch(cmd *cobra.Command, id int64) error {
	w, err := c.newWatch(cmd, id)
	if err != nil {
		return err
	}
	for failures := 0; ; {
		seen := w.after
		err := w.follow(cmd.Context())
		if err == nil {
			break
		}
		if cmd.Context().Err() != nil {
			return cmd.Context().Err()
		}
		if e, ok := errors.AsType[*api.Error](err); ok && e.Status < 500 {
			return told(err)
		}
		if failures++; w.after > seen {
			failures = 1
		}
		if failures > 10 {
			return err
		}
		select {
		case <-cmd.Context().Done():
			return cmd.Context().Err()
		case <-time.After(time.Duration(failures) * 500 * time.Millisecond):
		}
	}
	t, err := w.tree(cmd.Context())
	if err != nil {
		return told(err)
	}
	fmt.Fprintf(w.out, "== run %d %s in %s\n", id, stateWord(t.State, t.Result), took(t.Started, t.Finished))
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

func (w *watcher) tree(ctx context.Context) (*runs.Tree, error) {
	t := &runs.Tree{Run: &runs.Run{}}
	return t, w.client.Call(ctx, "DescribeRun", api.RunRef{Run: w.id}, t)
}

// follow prints what there is and what comes, until the run has ended: then it returns nil.
func (w *watcher) follow(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	body, err := w.client.Get(ctx, fmt.Sprintf("runs/%d/events", w.id), url.Values{"after": {strconv.FormatInt(w.after, 10)}})
	if err != nil {
		return err
	}
	defer body.Close()
	if err := w.drain(ctx); err != nil {
		return err
	}
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, 4<<20)
	ended := false
	for lines.Scan() {
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
			return fmt.Errorf("an event of run %d: %w", w.id, err)
		}
		if err := w.event(ctx, &e); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	if !ended {
		return io.ErrUnexpectedEOF
	}
	return w.drain(ctx)
}

func (w *watcher) event(ctx context.Context, e *api.RunEvent) error {
	w.after = max(w.after, e.Seq)
	switch e.Type {
	case runs.LogEvent:
		return w.print(ctx, runs.LogRef{Job: e.Job, Attempt: e.Claim, Log: e.Log})
	case runs.StageEvent, runs.JobEvent, runs.RunEvent:
		name := map[string]string{runs.StageEvent: "stage " + e.Stage, runs.JobEvent: "job " + cmp.Or(e.Name, e.Job), runs.RunEvent: "run " + strconv.FormatInt(w.id, 10)}[e.Type]
		if e.Type == runs.JobEvent && e.State == runs.Queued {
			return w.wait(ctx, e.Job, name)
		}
		text := "== " + name + " " + stateWord(e.State, e.Result)
		if e.Agent != "" {
			text += " on " + e.Agent
		}
		if e.Message != "" {
			text += ": " + e.Message
		}
		if e.State != "" {
			fmt.Fprintln(w.out, text)
		}
	case runs.StepEvent:
		if e.State == work.Completed && e.Result != work.Succeeded {
			fmt.Fprintf(w.out, "== step %s %s %s\n", e.Name, e.Result, e.Message)
		}
	case runs.ApprovalEvent:
		fmt.Fprintf(w.out, "== approval %s %s %s\n", e.Approval, e.Name, e.Message)
	case runs.IssueEvent:
		if e.Issue != nil && e.Step == "" {
			fmt.Fprintf(w.out, "== %s: %s\n", e.Issue.Type, e.Issue.Message)
		}
	}
	return nil
}

// wait says what a job waits for.
func (w *watcher) wait(ctx context.Context, job, name string) error {
	t, err := w.tree(ctx)
	if err != nil {
		return err
	}
	for _, s := range t.Stages {
		for _, p := range s.Jobs {
			for _, j := range p.Legs {
				if j.ID == job && j.Waits != "" && w.waits[job] != j.Waits {
					w.waits[job] = j.Waits
					fmt.Fprintf(w.out, "== %s is %s\n", name, j.Waits)
				}
			}
		}
	}
	return nil
}

// drain prints what there is of all logs and was not printed yet.
func (w *watcher) drain(ctx context.Context) error {
	t, err := w.tree(ctx)
	if err != nil {
		return told(err)
	}
	for _, s := range t.Stages {
		for _, p := range s.Jobs {
			for _, j := range p.Legs {
				if len(j.Attempts) == 0 {
					continue
				}
				last := j.Attempts[len(j.Attempts)-1]
				steps := slices.Clone(last.Steps)
				slices.SortStableFunc(steps, func(a, b work.Record) int { return cmp.Compare(a.Order, b.Order) })
				for _, step := range steps {
					if step.Step == "" || step.Log == "" || w.only != nil && !w.only(j, &step) {
						continue
					}
					ref := runs.LogRef{Job: j.ID, Attempt: last.Number, Log: step.Log}
					if err := w.print(ctx, ref); err != nil {
						return told(err)
					}
					if shown := w.logs[ref]; step.State == work.Completed && len(shown.rest) > 0 {
						fmt.Fprintf(w.out, "%s\n", shown.rest)
						shown.rest = nil
					}
				}
			}
		}
	}
	return nil
}

// print prints the lines of a log that came since.
func (w *watcher) print(ctx context.Context, ref runs.LogRef) error {
	shown := w.logs[ref]
	if shown == nil {
		shown = &shownLog{}
		w.logs[ref] = shown
	}
	body, err := w.client.Get(ctx, fmt.Sprintf("runs/%d/log", w.id), url.Values{
		"job": {ref.Job}, "attempt": {strconv.Itoa(ref.Attempt)}, "log": {ref.Log}, "offset": {strconv.FormatInt(shown.offset, 10)}})
	if err != nil {
		return err
	}
	defer body.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := body.Read(buffer)
		shown.offset += int64(n)
		shown.rest = append(shown.rest, buffer[:n]...)
		if i := bytes.LastIndexByte(shown.rest, '\n'); i >= 0 {
			if _, err := w.out.Write(shown.rest[:i+1]); err != nil {
				return err
			}
			shown.rest = append(shown.rest[:0], shown.rest[i+1:]...)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
