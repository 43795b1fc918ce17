package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
)

// t0 is when tests happen.
var t0 = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// clock gives the time that a test sets.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func newRecorder(db *meta.DB) (*Recorder, *clock, *bytes.Buffer) {
	c, logged := &clock{t: t0}, &bytes.Buffer{}
	return New(db, Options{Logger: slog.New(slog.NewTextHandler(logged, nil)), Now: c.now}), c, logged
}

func find(t *testing.T, db *meta.DB, f Filter, p Page) []Entry {
	t.Helper()
	found, err := Find(t.Context(), db, f, p)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// cmpEntries leaves out ids, which are the database's business.
var cmpEntries = cmp.Options{cmpopts.EquateComparable(netip.Addr{}), cmpopts.IgnoreFields(Entry{}, "ID"), cmpopts.EquateEmpty()}

const (
	alice = "arn:aws:iam::123456789012:user/alice"
	app   = "arn:aws:ecr:us-east-1:123456789012:repository/app"
)

var home = netip.MustParseAddr("192.0.2.1")

func read() Event {
	return Event{Principal: alice, AccessKeyID: "AKIA1", Action: "ecr:BatchGetImage", Resource: app, Source: home, Allowed: true}
}

func refusal() Event {
	return Event{Principal: "anonymous", Action: "ecr:PutImage", Resource: app, Source: home,
		Reason: "because no identity-based policy allows the ecr:PutImage action"}
}

func TestRecord(t *testing.T) {
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) {
		r, c, _ := newRecorder(db)
		for i := range 3 {
			e := read()
			e.RequestID = fmt.Sprint("read", i)
			r.Record(e)
			c.add(time.Millisecond)
		}
		elsewhere := read()
		elsewhere.Source, elsewhere.Endpoint, elsewhere.RequestID = netip.Addr{}, "vpce-1", "alone"
		r.Record(elsewhere)
		for i := range 2 {
			c.add(time.Millisecond)
			e := refusal()
			e.RequestID = fmt.Sprint("refused", i)
			r.Record(e)
		}
		if found := find(t, db, Filter{}, Page{}); len(found) > 0 {
			t.Fatalf("written before the window ended: %v", found)
		}
		r.flush(t.Context())

		at := func(e Event, ms int, id string) Event {
			e.Time, e.RequestID = t0.Add(time.Duration(ms)*time.Millisecond), id
			return e
		}
		want := []Entry{
			{Kind: Access, Count: 1, First: t0.Add(5 * time.Millisecond), Event: at(refusal(), 5, "refused1")},
			{Kind: Access, Count: 1, First: t0.Add(4 * time.Millisecond), Event: at(refusal(), 4, "refused0")},
			{Kind: Access, Count: 1, First: t0.Add(3 * time.Millisecond), Event: at(elsewhere, 3, "alone")},
			{Kind: Access, Count: 3, First: t0, Event: at(read(), 2, "")},
		}
		if diff := cmp.Diff(want, find(t, db, Filter{}, Page{}), cmpEntries); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}

		// The next window counts anew.
		c.add(time.Second)
		r.Record(read())
		r.flush(t.Context())
		r.flush(t.Context())
		if found := find(t, db, Filter{}, Page{}); len(found) != 5 || found[0].Count != 1 {
			t.Errorf("%v", found)
		}
	})
}

func TestAppendTx(t *testing.T) {
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) {
		put := Event{Principal: alice, Action: "ecr:PutImage", Resource: app, Detail: "sha256:00 v1", RequestID: "put", Source: netip.MustParseAddr("2001:db8::1")}
		if err := db.Update(t.Context(), func(tx *meta.Tx) error { return AppendTx(t.Context(), tx, t0, put) }); err != nil {
			t.Fatal(err)
		}
		failed := errors.New("the change failed")
		if err := db.Update(t.Context(), func(tx *meta.Tx) error {
			if err := AppendTx(t.Context(), tx, t0, put); err != nil {
				return err
			}
			return failed
		}); !errors.Is(err, failed) {
			t.Fatal(err)
		}
		put.Time, put.Allowed = t0, true
		want := []Entry{{Kind: Change, Count: 1, First: t0, Event: put}}
		if diff := cmp.Diff(want, find(t, db, Filter{}, Page{}), cmpEntries); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}

func TestFind(t *testing.T) {
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) {
		r, _, _ := newRecorder(db)
		const n = 60
		for i := range n { // two at each time
			e := refusal()
			e.Time = t0.Add(time.Duration(i/2) * time.Second)
			e.RequestID = fmt.Sprint("r", i)
			e.Principal = fmt.Sprint("p", i%3)
			e.Action = fmt.Sprint("a", i%5)
			e.Resource = fmt.Sprint("x", i%7)
			if e.Allowed = i%4 == 0; e.Allowed {
				e.Reason = ""
			}
			r.Record(e)
		}
		r.flush(t.Context())
		ids := func(f Filter, limit int) string {
			t.Helper()
			var ids []string
			var after Cursor
			for {
				page := find(t, db, f, Page{Limit: limit, After: after})
				for _, e := range page {
					ids = append(ids, e.RequestID)
					after = e.Cursor()
				}
				if len(page) < limit || limit == 0 {
					return strings.Join(ids, " ")
				}
			}
		}
		want := func(keep func(i int) bool) string {
			var ids []string
			for i := n - 1; i >= 0; i-- {
				if keep(i) {
					ids = append(ids, fmt.Sprint("r", i))
				}
			}
			return strings.Join(ids, " ")
		}
		for _, tt := range []struct {
			name string
			f    Filter
			keep func(i int) bool
		}{
			{"all", Filter{}, func(i int) bool { return true }},
			{"request", Filter{RequestID: "r7"}, func(i int) bool { return i == 7 }},
			{"request of another", Filter{RequestID: "r7", Principal: "p2"}, func(i int) bool { return false }},
			{"principal", Filter{Principal: "p1"}, func(i int) bool { return i%3 == 1 }},
			{"principal and action", Filter{Principal: "p1", Action: "a2"}, func(i int) bool { return i%3 == 1 && i%5 == 2 }},
			{"resource", Filter{Resource: "x3"}, func(i int) bool { return i%7 == 3 }},
			{"refused", Filter{Refused: true}, func(i int) bool { return i%4 != 0 }},
			{"since", Filter{Since: t0.Add(10 * time.Second)}, func(i int) bool { return i >= 20 }},
			{"until", Filter{Until: t0.Add(10 * time.Second)}, func(i int) bool { return i < 20 }},
			{"between, of one", Filter{Principal: "p0", Since: t0.Add(5 * time.Second), Until: t0.Add(10 * time.Second)},
				func(i int) bool { return i%3 == 0 && i >= 10 && i < 20 }},
			{"none", Filter{Principal: "nobody"}, func(i int) bool { return false }},
			{"no injection", Filter{Principal: "' OR '1'='1"}, func(i int) bool { return false }},
		} {
			for _, limit := range []int{0, 1, 7} {
				if got, want := ids(tt.f, limit), want(tt.keep); got != want {
					t.Errorf("%s, %d a page:\n got %s\nwant %s", tt.name, limit, got, want)
				}
			}
		}
	})
}

// A flood of refusals costs a bounded number of entries, hides nothing else, and
// what it cost is told.
func TestRefusalFlood(t *testing.T) {
	db := metatest.Open(t, metatest.SQLite(t))
	r, _, logged := newRecorder(db)
	const same, different = 1000, 20_000
	for i := range same {
		e := refusal()
		e.RequestID = fmt.Sprint("r", i)
		r.Record(e)
	}
	for i := range different {
		e := refusal()
		e.Resource = fmt.Sprint(app, i)
		r.Record(e)
	}
	r.Record(read())
	r.flush(t.Context())

	var single, refused, lost, reads int64
	for after := (Cursor{}); ; {
		page := find(t, db, Filter{}, Page{After: after})
		for _, e := range page {
			after = e.Cursor()
			switch {
			case e.Kind == Lost:
				lost += e.Count
			case e.Allowed:
				reads += e.Count
			default:
				refused += e.Count
				if e.RequestID != "" && e.Resource == app {
					single++
				}
			}
		}
		if len(page) < MaxPage {
			break
		}
	}
	if single != refusalsEach || reads != 1 || refused+lost != same+different || refused < maxPending/2 {
		t.Errorf("%d refusals with an entry of their own, %d refused, %d lost of %d, %d reads", single, refused, lost, same+different, reads)
	}
	if r.LostTotal() != lost || !strings.Contains(logged.String(), fmt.Sprint("events=", lost)) {
		t.Errorf("%d lost, counted %d, logged %s", lost, r.LostTotal(), logged)
	}
}

// While the database cannot be written nothing that was noted goes, and memory stays
// bounded.
func TestWriteFails(t *testing.T) {
	dsn := metatest.SQLite(t)
	db := metatest.Open(t, dsn)
	r, _, logged := newRecorder(db)
	broken, cancel := context.WithCancel(t.Context())
	cancel() // stands for a database that refuses
	for range 3 {
		for i := range 600 {
			e := read()
			e.Resource = fmt.Sprint(i)
			r.Record(e)
		}
		r.flush(broken)
	}
	r.flush(t.Context())
	r.flush(t.Context())
	var count int64
	found := find(t, db, Filter{}, Page{})
	for _, e := range append(found, find(t, db, Filter{}, Page{After: found[len(found)-1].Cursor()})...) {
		count += e.Count
	}
	if count != 1800 || r.LostTotal() != 0 {
		t.Errorf("%d events of 1800, %d lost; %s", count, r.LostTotal(), logged)
	}
}

func TestRun(t *testing.T) {
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) {
		r := New(db, Options{Logger: slog.New(slog.DiscardHandler), Window: time.Millisecond})
		ctx, stop := context.WithCancel(t.Context())
		var run, record sync.WaitGroup
		run.Go(func() { r.Run(ctx) })
		const writers, each = 4, 500
		for i := range writers {
			record.Go(func() {
				for j := range each {
					e := read()
					e.Resource = fmt.Sprint(i, j%50)
					e.Allowed = j%7 > 0
					r.Record(e)
				}
			})
		}
		record.Wait()
		stop()
		run.Wait()
		r.Record(read()) // too late

		var count int64
		for after := (Cursor{}); ; {
			page := find(t, db, Filter{}, Page{After: after})
			for _, e := range page {
				count += e.Count
				after = e.Cursor()
			}
			if len(page) < MaxPage {
				break
			}
		}
		if count != writers*each || r.LostTotal() != 1 {
			t.Errorf("%d events of %d, %d lost", count, writers*each, r.LostTotal())
		}
	})
}

// A full window is written before its time.
func TestFullWindow(t *testing.T) {
	db := metatest.Open(t, metatest.SQLite(t))
	r := New(db, Options{Logger: slog.New(slog.DiscardHandler), Window: time.Hour})
	ctx, stop := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() { r.Run(ctx) })
	defer run.Wait()
	defer stop()
	for i := range wakePending {
		e := read()
		e.Resource = fmt.Sprint(i)
		r.Record(e)
	}
	for deadline := time.Now().Add(10 * time.Second); len(find(t, db, Filter{}, Page{Limit: 1})) == 0; {
		if time.Now().After(deadline) {
			t.Fatal("not written")
		}
	}
}

func TestRetention(t *testing.T) {
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) {
		r, c, _ := newRecorder(db)
		r.o.Retention = time.Hour
		for i := range 2*batch + 10 {
			e := read()
			e.Resource = fmt.Sprint(i)
			e.Time = t0.Add(-time.Hour - time.Duration(i)*time.Microsecond)
			r.Record(e)
		}
		r.flush(t.Context())
		r.prune(t.Context())
		if left := find(t, db, Filter{}, Page{}); len(left) != 1 || left[0].Resource != "0" {
			t.Errorf("%d left", len(left))
		}
		c.add(time.Microsecond)
		r.prune(t.Context())
		if left := find(t, db, Filter{}, Page{}); len(left) > 0 {
			t.Errorf("%d left", len(left))
		}
	})
}

// What a client makes of a name cannot keep an entry, and the window with it, from
// being written.
func TestHostileText(t *testing.T) {
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) {
		r, _, _ := newRecorder(db)
		e := refusal()
		e.Resource = "a\x00b\xff" + strings.Repeat("€", maxText)
		r.Record(e)
		r.flush(t.Context())
		found := find(t, db, Filter{}, Page{})
		if len(found) != 1 || !strings.HasPrefix(found[0].Resource, "ab\uFFFD€") || len(found[0].Resource) > maxText+10 {
			t.Errorf("%v", found)
		}
	})
}

// A refusal with an entry of its own has its trace; the traces of a flood are not even made.
func TestTraces(t *testing.T) {
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) {
		made := 0
		r := New(db, Options{Logger: slog.New(slog.DiscardHandler)})
		for i := range 150 {
			r.Record(Event{Principal: "p", Action: "a", RequestID: fmt.Sprint("r", i), Explain: func() string {
				made++
				return fmt.Sprintf(`{"n":%d}`, i)
			}})
		}
		r.Record(Event{Principal: "p", Action: "a", Allowed: true, RequestID: "allowed", Explain: func() string { t.Error("asked why it is allowed"); return "" }})
		ctx, stop := context.WithCancel(t.Context())
		stop()
		r.Run(ctx)
		if made != 100 {
			t.Errorf("%d traces were made", made)
		}
		for id, want := range map[string][]string{"r0": {`{"n":0}`}, "r99": {`{"n":99}`}, "r120": {}, "allowed": {}, "unknown": {}} {
			entries, got, err := Traces(t.Context(), db, id)
			if err != nil || !slices.Equal(got, want) || len(entries) != len(want) {
				t.Errorf("Traces(%s) = %v, %v, %v; want %v", id, entries, got, err, want)
			}
		}
		long := New(db, Options{Logger: slog.New(slog.DiscardHandler)})
		long.Record(Event{RequestID: "long", Explain: func() string { return strings.Repeat("x", MaxTrace+1) }})
		long.Run(ctx)
		if entries, got, err := Traces(t.Context(), db, "long"); err != nil || len(entries) != 1 || got[0] != "" {
			t.Errorf("Traces(long) = %v, %v, %v", entries, got, err)
		}
	})
}

// To explain a refusal takes time, which nobody else has to spend.
func TestExplainMeanwhile(t *testing.T) {
	db := metatest.Open(t, metatest.SQLite(t))
	r := New(db, Options{Logger: slog.New(slog.DiscardHandler)})
	explaining, explained := make(chan struct{}), make(chan struct{})
	var refused sync.WaitGroup
	refused.Go(func() {
		e := refusal()
		e.RequestID, e.Explain = "slow", func() string { close(explaining); <-explained; return `{"late":true}` }
		r.Record(e)
	})
	<-explaining
	meanwhile := make(chan struct{})
	go func() {
		defer close(meanwhile)
		r.Record(read())
		r.flush(t.Context()) // the window in which the refusal has its place ends
	}()
	select {
	case <-meanwhile:
	case <-time.After(10 * time.Second):
		t.Error("a decision waits for the explanation of another one")
	}
	close(explained)
	refused.Wait()
	<-meanwhile
	r.flush(t.Context())
	if _, traces, err := Traces(t.Context(), db, "slow"); err != nil || len(traces) != 1 || traces[0] != `{"late":true}` {
		t.Errorf("traces %q, %v", traces, err)
	}
}
