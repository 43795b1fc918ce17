package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/sekisho/sekisho/internal/job"
)

func newJobs(c *cli) *cobra.Command {
	var f job.Filter
	var limit int
	list := &cobra.Command{
		Use:     "list",
		Short:   "Print jobs, newest first",
		Example: "  sekisho jobs list --state dead",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return c.listJobs(cmd, f, limit) },
	}
	list.Flags().StringVar(&f.Kind, "kind", "", "only jobs of this kind")
	list.Flags().StringVar((*string)(&f.State), "state", "", "only jobs that are queued, running, done, cancelled or dead")
	list.Flags().IntVar(&limit, "limit", 100, "at most so many")
	change := func(use, short, long, done string, do func(*job.Queue, context.Context, int64) error) *cobra.Command {
		return &cobra.Command{
			Use: use, Short: short, Long: long,
			Args: usageOf(cobra.MinimumNArgs(1)),
			RunE: func(cmd *cobra.Command, args []string) error { return c.changeJobs(cmd, args, done, do) },
		}
	}
	return group("jobs", "Show and change background work", list,
		change("cancel ID...", "Cancel jobs that wait or run",
			"Cancel jobs. One that waits never runs; one that runs is told to end, which the server does within a second or so.",
			"cancelled", (*job.Queue).Cancel),
		change("retry ID...", "Run jobs again that are dead or cancelled", "", "queued", (*job.Queue).Retry),
	)
}

// shownJob is a job as JSON and YAML show it.
type shownJob struct {
	ID          int64           `json:"id"`
	Kind        string          `json:"kind"`
	State       job.State       `json:"state"`
	Unique      string          `json:"unique,omitempty"`
	Payload     json.RawMessage `json:"payload,omitempty"`
	RunAt       time.Time       `json:"runAt,omitzero"`
	Attempt     int64           `json:"attempt"`
	Failures    int64           `json:"failures"`
	MaxAttempts int64           `json:"maxAttempts"`
	Node        string          `json:"node,omitempty"`
	Error       string          `json:"error,omitempty"`
	CreatedAt   time.Time       `json:"createdAt,omitzero"`
	StartedAt   time.Time       `json:"startedAt,omitzero"`
	FinishedAt  time.Time       `json:"finishedAt,omitzero"`
}

// listPage is how many jobs are read at once.
const listPage = 500

func (c *cli) listJobs(cmd *cobra.Command, f job.Filter, limit int) error {
	switch f.State {
	case "", job.Queued, job.Running, job.Done, job.Cancelled, job.Dead:
	default:
		return usage("--state %q is none of queued, running, done, cancelled, dead", f.State)
	}
	if limit < 1 {
		return usage("--limit must be at least 1")
	}
	in, err := c.open(cmd.Context())
	if err != nil {
		return err
	}
	defer in.Close()
	out, t := []shownJob{}, &table{header: []string{"ID", "KIND", "STATE", "FAILURES", "DUE", "STARTED", "FINISHED", "ERROR"}}
	for p := (job.Page{}); len(out) < limit; {
		p.Limit = min(listPage, limit-len(out))
		jobs, err := in.Jobs.List(cmd.Context(), f, p)
		if err != nil {
			return err
		}
		for _, j := range jobs {
			out = append(out, shownJob{j.ID, j.Kind, j.State, j.Unique, j.Payload, j.RunAt, j.Attempt, j.Failures, j.MaxAttempts,
				j.Node, j.Error, j.CreatedAt, j.StartedAt, j.FinishedAt})
			t.add(strconv.FormatInt(j.ID, 10), j.Kind, string(j.State), fmt.Sprintf("%d/%d", j.Failures, j.MaxAttempts),
				timeCell(j.RunAt), timeCell(j.StartedAt), timeCell(j.FinishedAt), j.Error)
		}
		if len(jobs) < p.Limit {
			break
		}
		p.Before = jobs[len(jobs)-1].ID
	}
	return c.print(cmd, out, t)
}

// changeJobs does one thing to each of the jobs; one that fails does not keep it from the others.
func (c *cli) changeJobs(cmd *cobra.Command, args []string, done string, do func(*job.Queue, context.Context, int64) error) error {
	ids := make([]int64, len(args))
	for i, arg := range args {
		id, err := strconv.ParseInt(arg, 10, 64)
		if err != nil || id < 1 {
			return usage("%q is not the id of a job", arg)
		}
		ids[i] = id
	}
	in, err := c.open(cmd.Context())
	if err != nil {
		return err
	}
	defer in.Close()
	type changed struct {
		ID     int64  `json:"id"`
		Result string `json:"result"`
	}
	out, t := []changed{}, &table{}
	var errs []error
	for _, id := range ids {
		if err := do(in.Jobs, cmd.Context(), id); err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, changed{id, done})
		t.add(fmt.Sprintf("job %d: %s", id, done))
	}
	return errors.Join(append(errs, c.print(cmd, out, t))...)
}
