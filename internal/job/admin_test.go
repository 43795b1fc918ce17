package job_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/job"
	"github.com/sekisho/sekisho/internal/meta"
)

func TestSchedule(t *testing.T) {
	each(t, func(t *testing.T, db *meta.DB) {
		begin := time.Now()
		ran := make(chan time.Duration, 100)
		node := func(every time.Duration) *job.Queue {
			q := newQueue(t, db, job.Options{PollInterval: 10 * time.Minute})
			q.Handle("k", job.KindOptions{Every: every, MaxAttempts: 1}, func(_ context.Context, j *job.Job) error {
				ran <- time.Since(begin).Round(time.Minute)
				if string(j.Payload) != "null" {
					t.Errorf("payload %s", j.Payload)
				}
				if time.Since(begin) > 2*time.Hour {
					return errors.New("dead jobs don't end a schedule")
				}
				return nil
			})
			return q
		}
		expect := func(want ...time.Duration) {
			t.Helper()
			var got []time.Duration
			for range want {
				got = append(got, <-ran)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("runs (-want +got):\n%s", diff)
			}
		}
		a, b := node(time.Hour), node(time.Hour)
		for _, q := range []*job.Queue{a, b} {
			if err := q.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		expect(1*time.Hour, 2*time.Hour, 3*time.Hour, 4*time.Hour)

		time.Sleep(20 * time.Minute)
		if _, created := enqueue(t, db, a, job.Spec{Kind: "k", Unique: job.ScheduleKey}); created {
			t.Error("a scheduled job was not there already")
		}
		expect(4*time.Hour+20*time.Minute, 5*time.Hour+20*time.Minute)

		// A cancelled one comes back.
		time.Sleep(time.Minute)
		jobs, err := a.List(t.Context(), job.Filter{State: job.Queued}, job.Page{})
		if err != nil || len(jobs) != 1 {
			t.Fatalf("%d scheduled jobs, want one (%v)", len(jobs), err)
		}
		if err := a.Cancel(t.Context(), jobs[0].ID); err != nil {
			t.Fatal(err)
		}
		expect(6*time.Hour + 20*time.Minute)

		// A shorter interval holds from the next start on; a time that has passed is made up for once.
		for _, q := range []*job.Queue{a, b} {
			if err := q.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(30 * time.Minute)
		start(t, node(10*time.Minute))
		expect(6*time.Hour+50*time.Minute, 7*time.Hour)
	})
}

func TestList(t *testing.T) {
	each(t, func(t *testing.T, db *meta.DB) {
		ctx := t.Context()
		q := newQueue(t, db, job.Options{})
		var ids []int64
		for i := range 5 {
			id, _ := enqueue(t, db, q, job.Spec{Kind: []string{"a", "b"}[i%2]})
			ids = append(ids, id)
		}
		slices.Reverse(ids)
		exec(t, db, `UPDATE job SET state = 'dead' WHERE id = $1`, ids[0])
		exec(t, db, `UPDATE job SET state = 'done' WHERE id = $1`, ids[1])
		for _, tt := range []struct {
			name string
			f    job.Filter
			p    job.Page
			want []int64
		}{
			{"all", job.Filter{}, job.Page{}, ids},
			{"kind", job.Filter{Kind: "b"}, job.Page{}, []int64{ids[1], ids[3]}},
			{"state", job.Filter{State: job.Queued}, job.Page{}, ids[2:]},
			{"both", job.Filter{Kind: "a", State: job.Dead}, job.Page{}, ids[:1]},
			{"none", job.Filter{Kind: "c"}, job.Page{}, nil},
			{"first page", job.Filter{}, job.Page{Limit: 2}, ids[:2]},
			{"next page", job.Filter{}, job.Page{Limit: 2, Before: ids[1]}, ids[2:4]},
		} {
			jobs, err := q.List(ctx, tt.f, tt.p)
			if err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
			var got []int64
			for _, j := range jobs {
				got = append(got, j.ID)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.name, diff)
			}
		}
		counts, err := q.Counts(ctx)
		if err != nil {
			t.Fatal(err)
		}
		want := []job.Count{{Kind: "a", State: job.Dead, N: 1}, {Kind: "a", State: job.Queued, N: 2}, {Kind: "b", State: job.Queued, N: 1}}
		if diff := cmp.Diff(want, counts); diff != "" {
			t.Errorf("counts (-want +got):\n%s", diff)
		}
		if _, err := q.Get(ctx, 999); !errors.Is(err, job.ErrNotFound) {
			t.Errorf("no such job: %v", err)
		}
	})
}

func TestRetryOfUnique(t *testing.T) {
	each(t, func(t *testing.T, db *meta.DB) {
		q := newQueue(t, db, job.Options{})
		first, _ := enqueue(t, db, q, job.Spec{Kind: "k", Unique: "u"})
		if err := q.Cancel(t.Context(), first); err != nil {
			t.Fatal(err)
		}
		enqueue(t, db, q, job.Spec{Kind: "k", Unique: "u"})
		if err := q.Retry(t.Context(), first); !errors.Is(err, job.ErrState) {
			t.Errorf("retry although another is live: %v", err)
		}
	})
}

func TestKeep(t *testing.T) {
	each(t, func(t *testing.T, db *meta.DB) {
		q := newQueue(t, db, job.Options{})
		var ids []int64
		for _, state := range []job.State{job.Done, job.Cancelled, job.Dead, job.Queued} {
			id, _ := enqueue(t, db, q, job.Spec{Kind: "k"})
			exec(t, db, `UPDATE job SET state = $1, finished_at = $2 WHERE id = $3`, string(state), time.Now().UnixMicro(), id)
			ids = append(ids, id)
		}
		start(t, q)
		left := func() (left []int64) {
			t.Helper()
			jobs, err := q.List(t.Context(), job.Filter{}, job.Page{})
			if err != nil {
				t.Fatal(err)
			}
			for _, j := range jobs {
				left = append(left, j.ID)
			}
			slices.Sort(left)
			return left
		}
		for _, tt := range []struct {
			after time.Duration
			want  []int64
		}{
			{23 * time.Hour, ids},
			{2 * time.Hour, ids[2:]},
			{28 * 24 * time.Hour, ids[2:]},
			{2 * 24 * time.Hour, ids[3:]},
		} {
			skip(t, db, ids, tt.after)
			time.Sleep(10 * time.Minute)
			if diff := cmp.Diff(tt.want, left()); diff != "" {
				t.Errorf("%v later (-want +got):\n%s", tt.after, diff)
			}
		}
	})
}

// skip makes jobs older, which is quicker than to let a month of polls go by.
func skip(t *testing.T, db *meta.DB, ids []int64, d time.Duration) {
	t.Helper()
	for _, id := range ids {
		exec(t, db, `UPDATE job SET finished_at = finished_at - $1 WHERE id = $2`, d.Microseconds(), id)
	}
}
