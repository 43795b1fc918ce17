package job_test

import (
	"context"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sekisho/sekisho/internal/job"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
)

func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func benchEach(b *testing.B, bench func(b *testing.B, db *meta.DB)) {
	b.Run("sqlite", func(b *testing.B) { bench(b, metatest.Open(b, metatest.SQLite(b))) })
	b.Run("postgresql", func(b *testing.B) { bench(b, metatest.Open(b, metatest.PostgreSQL(b))) })
}

// BenchmarkJobs is the whole life of jobs that do nothing, from being enqueued one by one to being recorded as done.
func BenchmarkJobs(b *testing.B) {
	benchEach(b, func(b *testing.B, db *meta.DB) {
		q := job.New(db, job.Options{})
		var all sync.WaitGroup
		all.Add(b.N)
		q.Handle("k", job.KindOptions{Concurrency: 8}, func(context.Context, *job.Job) error {
			all.Done()
			return nil
		})
		if err := q.Start(b.Context()); err != nil {
			b.Fatal(err)
		}
		defer q.Stop(context.Background())
		before := cpu(b)
		b.ResetTimer()
		for range b.N {
			err := db.Update(b.Context(), func(tx *meta.Tx) error {
				_, _, err := q.Enqueue(b.Context(), tx, job.Spec{Kind: "k"})
				return err
			})
			if err != nil {
				b.Fatal(err)
			}
		}
		all.Wait()
		b.StopTimer()
		b.ReportMetric(float64((cpu(b)-before).Microseconds())/float64(b.N), "cpu-µs/op")
	})
}

// BenchmarkPoll is what a node with ten kinds does each second when there is no work.
func BenchmarkPoll(b *testing.B) {
	benchEach(b, func(b *testing.B, db *meta.DB) {
		q := job.New(db, job.Options{PollInterval: time.Millisecond})
		for i := range 10 {
			q.Handle(string(rune('a'+i)), job.KindOptions{}, func(context.Context, *job.Job) error { return nil })
		}
		if err := q.Start(b.Context()); err != nil {
			b.Fatal(err)
		}
		defer q.Stop(context.Background())
		before := cpu(b)
		b.ResetTimer()
		<-time.After(time.Duration(b.N) * time.Millisecond)
		b.StopTimer()
		b.ReportMetric(float64((cpu(b)-before).Microseconds())/float64(b.N), "cpu-µs/op")
	})
}
