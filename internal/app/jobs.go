package app

import (
	"context"
	"os"
	"time"

	"github.com/sekisho/sekisho/internal/job"
	"github.com/sekisho/sekisho/internal/registry"
)

// The kinds of jobs.
const (
	CollectJob       = "collect"        // runs a collection
	RemoveSecretsJob = "remove-secrets" // removes secrets whose recovery window is over
)

const removeSecretsEvery = time.Hour

// openJobs makes the queue and the collector, its first user.
func (in *Instance) openJobs() (err error) {
	node, err := os.Hostname()
	if err != nil {
		node = "" // the queue makes one up
	}
	in.Jobs = job.New(in.DB, job.Options{Logger: in.Log, Now: in.now, NodeID: node})
	in.Collector, err = registry.NewCollector(in.Local, registry.CollectOptions{
		UntaggedAge: in.Config.GC.Untagged,
		DeleteDelay: in.Config.GC.DeleteDelay,
	})
	return err
}

// startJobs says what does which job and starts the queue.
func (in *Instance) startJobs(ctx context.Context) error {
	in.Jobs.Handle(CollectJob, job.KindOptions{Every: in.Config.GC.Interval}, func(ctx context.Context, _ *job.Job) error {
		report, err := in.Collector.Run(ctx)
		if err != nil {
			return err
		}
		in.Log.Info("collection is done", "took", report)
		return in.Git.Sweep(ctx)
	})
	in.Jobs.Handle(RemoveSecretsJob, job.KindOptions{Every: removeSecretsEvery}, func(ctx context.Context, _ *job.Job) error {
		n, err := in.Secrets.RemoveDue(ctx)
		if n > 0 {
			in.Log.Info("secrets were removed whose recovery window is over", "count", n)
		}
		return err
	})
	in.Runs.Handle(in.Jobs)
	return in.Jobs.Start(ctx)
}

// stopJobs waits for the jobs that run, as long as the grace of a stop; the rest is interrupted and runs again later.
func (in *Instance) stopJobs(ctx context.Context) {
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), min(in.Config.ShutdownGrace, 10*time.Second))
	defer cancel()
	if err := in.Jobs.Stop(grace); err != nil {
		in.Log.Warn("jobs were interrupted", "err", err)
	}
}
