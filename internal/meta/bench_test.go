package meta_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
)

func benchEach(b *testing.B, bench func(b *testing.B, db *meta.DB)) {
	b.Run("sqlite", func(b *testing.B) { bench(b, metatest.Open(b, metatest.SQLite(b))) })
	b.Run("postgresql", func(b *testing.B) { bench(b, metatest.Open(b, metatest.PostgreSQL(b))) })
}

// cpu returns the processor time that this process has used.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func reportCPU(b *testing.B, before time.Duration) {
	b.ReportMetric(float64((cpu(b)-before).Microseconds())/float64(b.N), "cpu-µs/op")
}

// BenchmarkUpdate is the write path: 32 at a time, three inserts each, of which two are found by a digest.
func BenchmarkUpdate(b *testing.B) {
	for _, workers := range []int{1, 32} {
		b.Run(fmt.Sprint(workers), func(b *testing.B) {
			benchEach(b, func(b *testing.B, db *meta.DB) { benchUpdate(b, db, workers) })
		})
	}
}

func benchUpdate(b *testing.B, db *meta.DB, workers int) {
	ctx := b.Context()
	for _, q := range []string{
		`CREATE TABLE a (digest TEXT PRIMARY KEY, size BIGINT NOT NULL, location TEXT NOT NULL, created BIGINT NOT NULL)`,
		`CREATE TABLE b (repo BIGINT NOT NULL, digest TEXT NOT NULL REFERENCES a (digest), created BIGINT NOT NULL, PRIMARY KEY (repo, digest))`,
		`CREATE TABLE c (repo BIGINT NOT NULL, name TEXT NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (repo, name))`,
	} {
		if err := exec(ctx, db, q); err != nil {
			b.Fatal(err)
		}
	}
	var seq atomic.Int64
	before := cpu(b)
	b.ReportAllocs()
	b.SetParallelism(max(workers/2, 1))
	b.ResetTimer()
	work := func() error {
		n := seq.Add(1)
		digest := fmt.Sprintf("sha256:%064x", uint64(n)*0x9E3779B97F4A7C15)
		return db.Update(ctx, func(tx *meta.Tx) error {
			if _, err := tx.Exec(ctx, `INSERT INTO a (digest, size, location, created) VALUES ($1, $2, $3, $4)`, digest, n, "some/location/1234", n); err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, `INSERT INTO b (repo, digest, created) VALUES ($1, $2, $3)`, int64(1), digest, n); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, `INSERT INTO c (repo, name, digest) VALUES ($1, $2, $3)`, int64(1), digest[10:], digest)
			return err
		})
	}
	if workers == 1 {
		for range b.N {
			if err := work(); err != nil {
				b.Fatal(err)
			}
		}
	} else {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := work(); err != nil {
					b.Error(err)
				}
			}
		})
	}
	b.StopTimer()
	reportCPU(b, before)
}

// BenchmarkQueryRow is the read path: one indexed row.
func BenchmarkQueryRow(b *testing.B) {
	benchEach(b, func(b *testing.B, db *meta.DB) {
		ctx, cancel := context.WithCancel(b.Context()) // as the context of a request is
		defer cancel()
		withTables(b, db)
		for i := range 1000 {
			if err := exec(ctx, db, `INSERT INTO parent (id, name) VALUES ($1, $2)`, i, fmt.Sprintf("sha256:%064d", i)); err != nil {
				b.Fatal(err)
			}
		}
		before := cpu(b)
		b.ReportAllocs()
		b.ResetTimer()
		b.RunParallel(func(pb *testing.PB) {
			name := fmt.Sprintf("sha256:%064d", 500)
			for pb.Next() {
				var id int64
				if err := db.QueryRow(ctx, `SELECT id FROM parent WHERE name = $1`, name).Scan(&id); err != nil {
					b.Error(err)
				}
			}
		})
		b.StopTimer()
		reportCPU(b, before)
	})
}
