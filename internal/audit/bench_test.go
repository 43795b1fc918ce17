package audit

import (
	"fmt"
	"log/slog"
	"testing"

	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
)

// BenchmarkRecord is what the record costs a pull, with 300 repositories pulled.
func BenchmarkRecord(b *testing.B) {
	events := make([]Event, 300)
	for i := range events {
		events[i] = read()
		events[i].Resource = fmt.Sprint(app, i)
	}
	r := New(nil, Options{Logger: slog.New(slog.DiscardHandler)})
	b.Run("serial", func(b *testing.B) {
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			r.Record(events[i%len(events)])
			i++
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				r.Record(events[i%len(events)])
			}
		})
	})
}

// BenchmarkAppendTx is what it costs a change, without the commit.
func BenchmarkAppendTx(b *testing.B) {
	db := metatest.Open(b, metatest.SQLite(b))
	b.ReportAllocs()
	n := 0
	for n < b.N {
		err := db.Update(b.Context(), func(tx *meta.Tx) error {
			for range min(1000, b.N-n) {
				e := read()
				e.Action, e.Detail = "ecr:PutImage", "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 v1"
				e.RequestID = fmt.Sprintf("%026x", n*7919)
				if err := AppendTx(b.Context(), tx, t0, e); err != nil {
					return err
				}
				n++
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}
