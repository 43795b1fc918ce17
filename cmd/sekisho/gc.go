package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/sekisho/sekisho/internal/app"
	"github.com/sekisho/sekisho/internal/job"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/registry"
)

func newGC(c *cli) *cobra.Command {
	dryRun := false
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "Delete what nothing needs",
		Long: `Delete what nothing needs: layers that no image has, unfinished uploads, untagged
images where a setting says so. The server does that by itself every gc.interval.

Where a server runs, it does this too, as a job that this command waits for; an
interrupt ends the waiting and not the job. Else it is done here.

With --dry-run nothing is deleted: what would go now is printed, and why.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dryRun {
				return c.planCollection(cmd)
			}
			return c.collect(cmd)
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "print what would be deleted, and why")
	return cmd
}

// shownCandidate is something that would go, as JSON and YAML show it.
type shownCandidate struct {
	Kind       registry.CandidateKind `json:"kind"`
	Account    string                 `json:"account,omitempty"`
	Repository string                 `json:"repository,omitempty"`
	Digest     string                 `json:"digest,omitempty"`
	Location   string                 `json:"location,omitempty"`
	Size       int64                  `json:"size"`
	Reason     string                 `json:"reason"`
}

func (c *cli) planCollection(cmd *cobra.Command) error {
	in, err := c.open(cmd.Context())
	if err != nil {
		return err
	}
	defer in.Close()
	out, t := []shownCandidate{}, &table{header: []string{"WHAT", "REPOSITORY", "DIGEST OR KEY", "SIZE", "WHY"}}
	for k, err := range in.Collector.DryRun(cmd.Context()) {
		if err != nil {
			return err
		}
		s := shownCandidate{k.Kind, k.Repo.Account, k.Repo.Name, string(k.Digest), k.Location, k.Size, k.Reason}
		out = append(out, s)
		name := s.Digest
		if name == "" {
			name = s.Location
		}
		t.add(string(s.Kind), s.Repository, name, humanSize(s.Size), s.Reason)
	}
	return c.print(cmd, out, t)
}

// collect collects here if nobody serves the data folder, and else has the server do it.
func (c *cli) collect(cmd *cobra.Command) error {
	loaded, err := c.config()
	if err != nil {
		return err
	}
	in, err := app.Open(cmd.Context(), &loaded.Config, slog.New(slog.DiscardHandler), app.Exclusive)
	if errors.Is(err, app.ErrInUse) {
		return c.haveCollected(cmd)
	}
	if err != nil {
		return err
	}
	defer in.Close()
	report, err := in.Collector.Run(cmd.Context())
	if report != nil {
		err = errors.Join(err, c.printCollected(cmd, report))
	}
	return errors.Join(err, in.Git.Collect(cmd.Context()))
}

func (c *cli) printCollected(cmd *cobra.Command, r *registry.CollectReport) error {
	type taken struct {
		Kind  string `json:"kind"`
		Count int64  `json:"count"`
		Bytes int64  `json:"bytes"`
	}
	out, t := []taken{}, &table{header: []string{"WHAT", "COUNT", "BYTES"}}
	for _, row := range []struct {
		kind  string
		tally registry.Tally
	}{
		{"repositories", r.Repositories}, {"manifests", r.Manifests}, {"links", r.Links}, {"blobs", r.Blobs},
		{"objects", r.Objects}, {"orphans", r.Orphans}, {"uploads", r.Uploads},
	} {
		out = append(out, taken{row.kind, row.tally.Count, row.tally.Bytes})
		t.add(row.kind, strconv.FormatInt(row.tally.Count, 10), humanSize(row.tally.Bytes))
	}
	if r.Held > 0 {
		fmt.Fprintf(cmd.ErrOrStderr(), "note: %d holds are in force (a backup is running): no bytes were deleted\n", r.Held)
	}
	return c.print(cmd, out, t)
}

// haveCollected enqueues a collection for the server and waits for its end.
func (c *cli) haveCollected(cmd *cobra.Command) error {
	ctx := cmd.Context()
	in, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer in.Close()
	var id int64
	err = in.DB.Update(ctx, func(tx *meta.Tx) (err error) {
		id, _, err = in.Jobs.Enqueue(ctx, tx, job.Spec{Kind: app.CollectJob, MaxAttempts: 1})
		return err
	})
	if err != nil {
		return err
	}
	progress := progressOn(cmd.ErrOrStderr())
	progress(fmt.Sprintf("the server collects: job %d", id))
	j, err := waitForJob(ctx, in.Jobs, id)
	progress("")
	if err != nil {
		return err
	}
	took := j.FinishedAt.Sub(j.StartedAt)
	out := struct {
		Job     int64   `json:"job"`
		Seconds float64 `json:"seconds"`
	}{id, took.Seconds()}
	return c.print(cmd, out, &table{rows: [][]string{{fmt.Sprintf("job %d: done in %v; the server's log says what was taken", id, took.Round(time.Millisecond))}}})
}

// jobPoll is how often a job is looked at.
const jobPoll = 200 * time.Millisecond

// waitForJob returns the job once it is done; that it isn't, but finished, is an error.
func waitForJob(ctx context.Context, queue *job.Queue, id int64) (*job.Job, error) {
	tick := time.NewTicker(jobPoll)
	defer tick.Stop()
	for {
		j, err := queue.Get(ctx, id)
		if err != nil {
			return nil, err
		}
		switch j.State {
		case job.Done:
			return j, nil
		case job.Dead:
			return nil, fmt.Errorf("job %d failed: %s", id, j.Error)
		case job.Cancelled:
			return nil, &exitError{exitUsage, fmt.Errorf("job %d was cancelled", id)}
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-tick.C:
		}
	}
}
