package pool_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/pool"
)

func (w *world) byCode(name string) *pool.Agent {
	w.t.Helper()
	code, err := w.CreateCode(w.t.Context(), root, "p", name, true)
	if err != nil {
		w.t.Fatal(err)
	}
	a, err := w.RegisterByCode(w.t.Context(), root, code.Secret.Reveal(), pool.Join{Name: name, PublicKey: key(w.t)})
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

func TestRetire(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.create("p", pool.Draft{})
		retire := func(name string) *pool.Retired {
			t.Helper()
			r, err := w.Retire(t.Context(), root, "P", name)
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		if r := retire("none"); *r != (pool.Retired{}) {
			t.Errorf("one that never was: %+v", r)
		}

		// One that has not joined never will.
		code, err := w.CreateCode(t.Context(), root, "p", "Late", true)
		if err != nil {
			t.Fatal(err)
		}
		if r := retire("late"); !r.Unused || r.Busy || r.ID != "" {
			t.Errorf("one that has not joined: %+v", r)
		}
		_, err = w.RegisterByCode(t.Context(), root, code.Secret.Reveal(), pool.Join{Name: "Late", PublicKey: key(t)})
		is(t, "joining after that", err, pool.Refused)

		// A job is not taken from anybody.
		a := w.byCode("a")
		begin := func(id string) error {
			return w.db.Update(t.Context(), func(tx *meta.Tx) error { return pool.Begin(t.Context(), tx, id, "job", w.now()) })
		}
		if err := begin(a.ID); err != nil {
			t.Fatal(err)
		}
		if r := retire("A"); !r.Busy || r.ID != "" || r.Unused {
			t.Errorf("one that has a job: %+v", r)
		}
		if err := w.db.Update(t.Context(), func(tx *meta.Tx) error { return pool.End(t.Context(), tx, a.ID, "job", true) }); err != nil {
			t.Fatal(err)
		}
		if r := retire("A"); r.Busy || r.ID != a.ID || r.Unused {
			t.Errorf("one that has none: %+v", r)
		}
		if err := begin(a.ID); !errors.Is(err, pool.ErrGone) {
			t.Errorf("a job for one that is gone: %v", err)
		}

		// It is for one's own; for others' agents it takes more.
		asked := func(name string) bool {
			w.mu.Lock()
			w.noted = nil
			w.mu.Unlock()
			retire(name)
			w.mu.Lock()
			defer w.mu.Unlock()
			return slices.ContainsFunc(w.noted, func(s string) bool { return strings.Contains(s, "agents:DeleteAgent") })
		}
		w.byCode("mine")
		if _, err := w.register("p", "theirs", nil); err != nil {
			t.Fatal(err)
		}
		if asked("mine") || !asked("theirs") {
			t.Error("agents:DeleteAgent must be asked for for others' agents alone")
		}
		w.byCode("other")
		if _, err := w.Retire(t.Context(), nobody, "p", "other"); err == nil {
			t.Error("anybody can retire agents")
		}
		_, err = w.Retire(t.Context(), root, "p", "../x")
		is(t, "a name that is none", err, pool.Invalid)
		if _, err := w.Retire(t.Context(), alien, "p", "other"); err == nil {
			t.Error("another account can retire agents")
		}
	})
}

// TestRetireRace hands out jobs while agents are retired: each agent has either.
func TestRetireRace(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.create("p", pool.Draft{})
		for i := range 20 {
			a := w.byCode(fmt.Sprint("a", i))
			var r *pool.Retired
			var berr, rerr error
			var wg sync.WaitGroup
			wg.Go(func() {
				berr = w.db.Update(t.Context(), func(tx *meta.Tx) error { return pool.Begin(t.Context(), tx, a.ID, "job", w.now()) })
			})
			wg.Go(func() { r, rerr = w.Retire(t.Context(), root, "p", a.Name) })
			wg.Wait()
			if rerr != nil || berr != nil && !errors.Is(berr, pool.ErrGone) {
				t.Fatal(berr, rerr)
			}
			if began := berr == nil; began != r.Busy {
				t.Fatalf("it got a job: %t, and it is busy: %t", began, r.Busy)
			}
		}
	})
}
