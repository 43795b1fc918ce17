package audit

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/sekisho/sekisho/internal/meta"
)

// Options are those of [New]; zero means the default.
type Options struct {
	Logger    *slog.Logger     // required
	Now       func() time.Time // default time.Now
	Window    time.Duration    // between writes; default 1 s
	Retention time.Duration    // of entries; default forever
}

const (
	// maxPending bounds the entries a window can have, of each sort.
	maxPending = 10_000
	// wakePending ends a window early.
	wakePending = 2000
	// refusalsEach is how many refusals of a window have an entry of their own.
	refusalsEach = 100
	// batch is how many entries a transaction writes: on SQLite others wait for it.
	batch = 250

	pruneEvery = time.Hour
	// stopTimeout bounds the last write.
	stopTimeout = 5 * time.Second
	maxText     = 1 << 10
)

// MaxTrace is how many bytes a trace may have: with 100 refusals a window, that is what they may hold in memory.
const MaxTrace = 64 << 10

// Recorder notes decisions and writes them in the background.
type Recorder struct {
	db  *meta.DB
	o   Options
	now func() time.Time

	mu      sync.Mutex
	pending window // guarded by mu
	lost    int64  // not yet in a window that is being written; guarded by mu
	total   int64  // lost ever; guarded by mu
	closed  bool   // guarded by mu

	full chan struct{} // capacity 1: write before the window ends

	// Run's own.
	writing window
	written int  // entries of writing that are
	failing bool // the last write failed, and that was logged
}

// window is what was noted between two writes.
type window struct {
	entries  []Entry
	traces   map[int]string   // of entries, by index; some refusalsEach
	counted  map[identity]int // index into entries, of those that stand for several
	refusals int
}

// identity is what events that are counted together have in common.
type identity struct {
	principal, accessKey, action, resource, endpoint string
	source                                           netip.Addr
	allowed                                          bool
	reason                                           string
}

func (w *window) reset() {
	clear(w.entries)
	w.entries = w.entries[:0]
	w.refusals = 0
	if w.traces == nil {
		w.traces = map[int]string{}
	}
	clear(w.traces)
	if len(w.counted) > 1000 || w.counted == nil { // a map never shrinks
		w.counted = map[identity]int{}
	} else {
		clear(w.counted)
	}
}

// New returns a recorder that keeps up to a bound in memory until Run writes it.
func New(db *meta.DB, o Options) *Recorder {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Window <= 0 {
		o.Window = time.Second
	}
	r := &Recorder{db: db, o: o, now: o.Now, full: make(chan struct{}, 1)}
	r.pending.reset()
	r.writing.reset()
	return r
}

// Record notes the decision on a request. It does not block on I/O.
func (r *Recorder) Record(e Event) {
	if e.Time.IsZero() {
		e.Time = r.now()
	}
	own, trace := false, ""
	if !e.Allowed && e.Explain != nil {
		// Explaining takes as long as the policies are; others must not wait for it.
		if own = r.reserve(); own {
			if trace = e.Explain(); len(trace) > MaxTrace {
				trace = ""
			}
		}
	}
	r.mu.Lock()
	kept := !r.closed && r.pending.add(&e, own, trace)
	if !kept {
		r.lost++
		r.total++
	}
	wake := len(r.pending.entries) == wakePending
	r.mu.Unlock()
	if wake {
		select {
		case r.full <- struct{}{}:
		default:
		}
	}
}

// reserve reports whether one more refusal can have an entry of its own, and counts it.
func (r *Recorder) reserve() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.closed && r.pending.reserve()
}

func (w *window) reserve() bool {
	if w.refusals >= refusalsEach {
		return false
	}
	w.refusals++
	return true
}

// add reports whether there was room for e. For a refusal that has an entry of its own reserved, maybe in the window before
// this one, own is set.
func (w *window) add(e *Event, own bool, trace string) bool {
	if own || !e.Allowed && e.Explain == nil && w.reserve() {
		if !w.append(e) {
			return false
		}
		if trace != "" {
			w.traces[len(w.entries)-1] = strings.ReplaceAll(strings.ToValidUTF8(trace, "\uFFFD"), "\x00", "")
		}
		return true
	}
	id := identity{e.Principal, e.AccessKeyID, e.Action, e.Resource, e.Endpoint, e.Source, e.Allowed, e.Reason}
	if i, ok := w.counted[id]; ok {
		same := &w.entries[i]
		same.Count++
		same.RequestID = ""
		if e.Time.After(same.Time) {
			same.Time = e.Time
		}
		return true
	}
	if !w.append(e) {
		return false
	}
	w.counted[id] = len(w.entries) - 1
	return true
}

// append leaves the second half of the room to what is allowed, so that a flood of
// refusals does not hide what else happens.
func (w *window) append(e *Event) bool {
	room := maxPending
	if !e.Allowed {
		room /= 2
	}
	if len(w.entries) >= room {
		return false
	}
	entry := Entry{Kind: Access, First: e.Time, Count: 1, Event: *e}
	entry.Explain = nil
	w.entries = append(w.entries, entry)
	return true
}

// LostTotal returns how many events there was no room for since the start.
func (r *Recorder) LostTotal() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.total
}

// Run writes and prunes until ctx ends, and then writes what is left. What is recorded
// afterwards is lost, and counted as such.
func (r *Recorder) Run(ctx context.Context) {
	window := time.NewTicker(r.o.Window)
	defer window.Stop()
	prune := time.NewTicker(pruneEvery)
	defer prune.Stop()
	r.prune(ctx)
	for ctx.Err() == nil {
		select {
		case <-window.C:
			r.flush(ctx)
		case <-r.full:
			r.flush(ctx)
		case <-prune.C:
			r.prune(ctx)
		case <-ctx.Done():
		}
	}
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	r.flush(last) // what an earlier failure left, if there was one
	r.flush(last)
	r.mu.Lock()
	left := r.unwritten() + len(r.pending.entries)
	r.mu.Unlock()
	if left > 0 {
		r.o.Logger.Error("audit entries were not written before the stop", "entries", left)
	}
}

// flush writes the window that was noted, or again what could not be written before;
// meanwhile the next one fills, up to its bound. A batch whose outcome is unknown,
// because the connection to PostgreSQL broke in its commit, is written twice rather
// than not at all.
func (r *Recorder) flush(ctx context.Context) {
	if r.unwritten() == 0 {
		r.take()
	}
	for r.unwritten() > 0 {
		part := r.writing.entries[r.written:min(r.written+batch, len(r.writing.entries))]
		err := r.db.Update(ctx, func(tx *meta.Tx) error {
			for i := range part {
				if err := appendTx(ctx, tx, &part[i], r.writing.traces[r.written+i]); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			if !r.failing && ctx.Err() == nil {
				r.failing = true
				r.o.Logger.Error("audit entries cannot be written, trying again", "err", err)
			}
			return
		}
		r.written += len(part)
		if r.failing {
			r.failing = false
			r.o.Logger.Info("audit entries are written again")
		}
	}
}

// unwritten returns how many entries of the window being written are not.
func (r *Recorder) unwritten() int { return len(r.writing.entries) - r.written }

// take makes the pending window the one to write.
func (r *Recorder) take() {
	r.writing.reset()
	r.written = 0
	r.mu.Lock()
	r.pending, r.writing = r.writing, r.pending
	lost := r.lost
	r.lost = 0
	r.mu.Unlock()
	if lost > 0 {
		now := r.now()
		r.o.Logger.Error("audit events were lost, there were too many at once", "events", lost)
		r.writing.entries = append(r.writing.entries, Entry{Kind: Lost, First: now, Count: lost,
			Event: Event{Time: now, Reason: "there were more events than could be kept"}})
	}
}

const prune = `DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE last_at < $1 ORDER BY last_at LIMIT $2)`

// prune deletes entries that are past the retention time, a little in each
// transaction.
func (r *Recorder) prune(ctx context.Context) {
	if r.o.Retention <= 0 {
		return
	}
	before := r.now().Add(-r.o.Retention).UnixMicro()
	for more := true; more; {
		err := r.db.Update(ctx, func(tx *meta.Tx) error {
			res, err := tx.Exec(ctx, prune, before, batch)
			if err != nil {
				return err
			}
			n, err := res.RowsAffected()
			more = n == batch
			return err
		})
		if err != nil {
			if ctx.Err() == nil {
				r.o.Logger.Warn("old audit entries were not deleted", "err", err)
			}
			return
		}
	}
}

// clip cuts what is longer than an entry's text may be. PostgreSQL takes neither
// half a character nor a NUL.
func clip(s string) string {
	if len(s) > maxText {
		s = s[:maxText]
	}
	if strings.IndexByte(s, 0) >= 0 {
		s = strings.ReplaceAll(s, "\x00", "")
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
