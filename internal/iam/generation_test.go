package iam_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
)

func bump(t testing.TB, db *meta.DB, g *iam.Generation) {
	t.Helper()
	if err := db.Update(t.Context(), func(tx *meta.Tx) error { return g.Bump(t.Context(), tx) }); err != nil {
		t.Error(err)
	}
}

func current(t testing.TB, g *iam.Generation) int64 {
	t.Helper()
	n, err := g.Current(t.Context())
	if err != nil {
		t.Error(err)
	}
	return n
}

// TestGeneration checks that whoever asks after a change has been made is told of it, however many ask and change.
func TestGeneration(t *testing.T) {
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) {
		nodes := []*iam.Generation{iam.NewGeneration(db), iam.NewGeneration(db)}
		if db.Dialect() == meta.SQLite {
			nodes[1] = nodes[0] // there is one
		}
		var made atomic.Int64 // changes that were made for sure
		first := current(t, nodes[0])
		if first == 0 {
			bump(t, db, nodes[0])
			first = current(t, nodes[0])
		}
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				for range 25 {
					bump(t, db, nodes[i%2])
					made.Add(1)
				}
			})
			for range 4 {
				wg.Go(func() {
					for range 50 {
						arrived, least := time.Now(), first+made.Load()
						if n := current(t, nodes[i%2]); n < least {
							t.Errorf("generation %d after %d", n, least)
						}
						if n, err := nodes[i%2].Since(t.Context(), arrived); err != nil || n < least {
							t.Errorf("generation %d after %d, %v", n, least, err)
						}
					}
				})
			}
		}
		wg.Wait()
		for _, g := range nodes {
			if n := current(t, g); n != first+100 {
				t.Errorf("generation %d, want %d", n, first+100)
			}
		}
	})
}

// TestGenerationOfAnotherProcess checks that a server on SQLite notices what the command line changes beside it.
func TestGenerationOfAnotherProcess(t *testing.T) {
	dsn := metatest.SQLite(t)
	db, beside := metatest.Open(t, dsn), metatest.Open(t, dsn)
	server, other := iam.NewGeneration(db), iam.NewGeneration(beside)
	bump(t, db, server)
	before := current(t, server)
	bump(t, beside, other)
	if err := server.Poll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := current(t, server); n != before+1 {
		t.Errorf("generation %d, want %d", n, before+1)
	}
}

// TestGenerationWaitEnds checks that whoever gives up does not take the others with it.
func TestGenerationWaitEnds(t *testing.T) {
	db := metatest.Open(t, metatest.PostgreSQL(t))
	g := iam.NewGeneration(db)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if i%2 == 0 {
				_, _ = g.Current(gone)
			} else {
				current(t, g)
			}
		})
	}
	wg.Wait()
}
