package registry

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/sekisho/sekisho/internal/meta"
)

// Defaults of [CollectOptions].
const (
	DefaultDeleteDelay = time.Hour
	DefaultOrphanDelay = 24 * time.Hour
	DefaultRest        = 8
)

// CollectOptions are the settings of a [Collector]; zero values mean the defaults above.
type CollectOptions struct {
	// UntaggedAge is how long a manifest stays that no tag and no index names and whose subject, if it has one, is gone; at
	// least the grace time of the registry. 0: for ever. Accounts may set something else, see Settings.
	UntaggedAge time.Duration
	// DeleteDelay is how long the bytes of a blob stay after its row is gone: for who is about to open or reading them.
	DeleteDelay time.Duration
	// OrphanDelay is how long bytes stay that nothing names, after they were first seen so; at least two times maxCommit.
	OrphanDelay time.Duration
	// Rest is how long collection pauses, in multiples of the time it just worked. Negative: not at all.
	Rest float64
}

// Collector takes away what nothing needs, while the registry serves: content of deleted repositories, manifests that
// nothing names (by setting), blobs that no manifest needs, their bytes, bytes that nothing names, abandoned uploads.
// It works in transactions of a few milliseconds and may be interrupted at any point; the next run goes on from what is
// there. Any number may run, on any node.
//
// # Why it takes nothing that is needed
//
// A client that pushes an image asks first which blobs are there, skips those, and names them in a manifest some time
// later. In between nothing in the database refers to them. So the registry makes a promise: what a client was told is
// there (by StatBlob, CompleteUpload or MountBlob; of a manifest by PutManifest or Manifest) stays for at least half the
// grace time. It stands on a time in the row, repository_blobs.touched_at, that is never older than the promise by more
// than the other half: an answer is given without writing only while the time is younger than that, or while a manifest
// needs the blob, and whoever removes that manifest sets the time in the same transaction. Manifests that nothing names
// have untagged_at and pulled_at for the same purpose. Collection takes a row only when its time is older than the grace
// time and nothing refers to it. That both still hold when it is deleted follows, step by step:
//
// A blob of a repository (a row of repository_blobs). On SQLite transactions come one after another, and the one that
// deletes checks the conditions itself. On PostgreSQL, at READ COMMITTED, the deleting statement has a snapshot, and what
// is committed after the snapshot and before it has locked the row is of two kinds:
//   - the row itself changed (StatBlob, CompleteUpload or MountBlob touched it). Then PostgreSQL evaluates the condition
//     again on the new row, finds touched_at young, and leaves it.
//   - a manifest that needs the blob was added. The row did not change by that: its foreign key only locks it for a moment
//     (FOR KEY SHARE). NOT EXISTS is not evaluated again, or with the old snapshot. But at the end of the
//     statement the foreign key of manifest_blobs is checked with a fresh snapshot, under the row's lock, and the
//     transaction fails. It runs again and sees the manifest.
//
// Once the row is locked, a touch, a mount, an upload and a manifest of the same blob wait for the end of the transaction;
// then the touch finds no row and the client is told that the blob isn't there, the link is inserted anew, the manifest's
// foreign key fails and PutManifest looks again. Rows that others have locked are skipped: somebody is using them. Only
// collection on another node or a push that was never told that the blob is there can get that far.
//
// A blob's row, and its inline bytes, go when no repository has it; a blob's row is only ever inserted together with a link.
// Here too what changed after the snapshot is a link from a push of the same content, its foreign key fails the
// deletion, and the other way round the push finds the row gone, at its INSERT … ON CONFLICT, at its link, or by the foreign
// key, and starts again (errAgain in Local).
//
// The bytes of an object: its key goes into garbage in the transaction that deletes the blob's row. A key is never used
// again, so a later push of the same content has another key, and deleting the bytes under this one can't hurt it. They
// are deleted in three steps: one transaction checks that no row of blobs names the key, that nobody holds the bytes,
// and sets delete_at to 0, condemned, for good; then the store deletes; then the row goes. After a crash in between it is
// all done again. Fsck may name an object again that is in garbage, if it takes the row out of garbage in the same
// transaction and it isn't condemned: the row decides who comes first.
//
// Objects that neither blobs nor garbage names are left by a crash between the store's commit and the
// transaction, or are in between right now. They go into garbage with a long delay, and the check above leaves what
// was named by then. An upload that takes longer than maxCommit for that step refuses itself, on the wall clock, so not
// even a process that slept through the delay names bytes that are gone.
//
// A manifest that nothing names is locked first (on PostgreSQL), then looked at by another statement, whose snapshot is
// younger than the lock. Tags and indexes need a lock of the row to name it, so what that statement sees stays true
// until the end. A referrer whose subject is being pushed at the same moment may go: nobody was promised it.
//
// A deleted repository can't be found by anybody. Transactions that found it before lock its row on PostgreSQL, and the
// deletion waited for them; on SQLite the later ones look again. What still comes in, a link for an upload, is
// taken by the next run.
//
// What the process remembers (see cache) is dropped after the commit, as for every other writer. In the moment before that,
// StatBlob may find a collected blob in memory; but not one that it could confirm without writing, and its write finds no row.
//
// The clocks of all nodes must agree to within half the grace time.
type Collector struct {
	l   *Local
	o   CollectOptions
	log *slog.Logger
	// pause is called after each transaction and each page that was read, with how long to rest. Tests put a scheduler there.
	pause func(ctx context.Context, d time.Duration) error

	running sync.Mutex // held by Run
	batch   int        // rows of the next transaction; guarded by running
}

// NewCollector returns a collector of l's content.
func NewCollector(l *Local, o CollectOptions) (*Collector, error) {
	setDefault(&o.DeleteDelay, DefaultDeleteDelay)
	setDefault(&o.OrphanDelay, DefaultOrphanDelay)
	setDefault(&o.Rest, DefaultRest)
	switch {
	case l.o.Grace < 0:
		return nil, errors.New("collection: the registry has no grace time, so clients may be told that blobs are there which are collected")
	case l.presign != nil && o.DeleteDelay < l.o.RedirectExpiry:
		return nil, fmt.Errorf("collection: bytes must stay after deletion for as long as addresses of them are good: the delay is %v, they are good for %v", o.DeleteDelay, l.o.RedirectExpiry)
	case o.OrphanDelay < 2*maxCommit:
		return nil, fmt.Errorf("collection: bytes that nothing names must stay for at least %v, the delay is %v", 2*maxCommit, o.OrphanDelay)
	}
	return newCollector(l, o), nil
}

func newCollector(l *Local, o CollectOptions) *Collector {
	return &Collector{l: l, o: o, log: l.log, pause: sleep, batch: firstBatch}
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Tally counts what one step took.
type Tally struct {
	Count int64
	Bytes int64
}

func (t *Tally) add(bytes int64) {
	t.Count++
	t.Bytes += bytes
}

// CollectReport says what a run took.
type CollectReport struct {
	Repositories Tally // deleted ones, with all they had; Bytes: 0
	Manifests    Tally // that nothing named, or of deleted repositories
	Links        Tally // blobs taken from repositories; Bytes: 0, others may have them
	Blobs        Tally // contents that no repository had; what is not inline is freed later
	Objects      Tally // bytes deleted from the store
	Orphans      Tally // objects that nothing names, found now, to be deleted later
	Uploads      Tally // abandoned
	Held         int   // holds in force: while there is one no bytes are deleted from the store
}

// LogValue implements [slog.LogValuer].
func (r *CollectReport) LogValue() slog.Value {
	return slog.GroupValue(
		slog.Int64("repositories", r.Repositories.Count),
		slog.Int64("manifests", r.Manifests.Count),
		slog.Int64("links", r.Links.Count),
		slog.Int64("blobs", r.Blobs.Count),
		slog.Int64("objects", r.Objects.Count),
		slog.Int64("object_bytes", r.Objects.Bytes),
		slog.Int64("orphans", r.Orphans.Count),
		slog.Int64("uploads", r.Uploads.Count),
		slog.Int("held", r.Held))
}

// step is a part of a run that stands by itself.
type step struct {
	name string
	run  func(ctx context.Context, r *CollectReport) error
}

// Run collects once: all there is to take now. A step that fails does not keep the others from running; the report says
// what was taken in any case. It ends early with ctx, and waits for another Run of this collector.
func (c *Collector) Run(ctx context.Context) (*CollectReport, error) {
	return c.run(ctx, []step{
		{"purge deleted repositories", c.repositories},
		{"collect untagged manifests", c.manifests},
		{"collect blobs of repositories", c.links},
		{"collect blobs", c.blobs},
		{"delete bytes", c.garbage},
		{"find bytes that nothing names", c.orphans},
		{"abort abandoned uploads", c.uploads},
		{"forget ended uploads", c.endedUploads},
	})
}

func (c *Collector) run(ctx context.Context, steps []step) (*CollectReport, error) {
	c.running.Lock()
	defer c.running.Unlock()
	r := &CollectReport{}
	var errs []error
	for _, s := range steps {
		if err := s.run(ctx, r); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s.name, err))
		}
		if err := ctx.Err(); err != nil {
			break
		}
	}
	return r, errors.Join(errs...)
}

// before returns the time d ago in Unix microseconds.
func (c *Collector) before(d time.Duration) int64 { return c.l.now().Add(-d).UnixMicro() }

const (
	// txTime is how long a transaction should take: the one writer of SQLite does nothing else meanwhile. On PostgreSQL it
	// holds up nobody, and is mostly waiting for the network.
	txTime           = time.Millisecond
	txTimePostgreSQL = 20 * time.Millisecond
	minBatch         = 1
	firstBatch       = 16
	maxBatch         = 1024
	// pageRows is how many rows are read at once to find candidates. As a constant of the statement it tells PostgreSQL
	// how few they are.
	pageRows  = 256
	pageLimit = `256`
)

// update runs a transaction over at most c.batch rows, and rests. A foreign key that fails, again and again, means that others
// are using the rows: they are left to the next run, and done is false.
func (c *Collector) update(ctx context.Context, what string, fn func(*meta.Tx) error) (done bool, err error) {
	var took time.Duration
	err = c.l.update(ctx, what, func(tx *meta.Tx) error {
		begin := time.Now()
		defer func() { took = time.Since(begin) }()
		return fn(tx)
	})
	if meta.IsForeignKey(err) {
		c.log.Debug("collection was overtaken and leaves something for later", "step", what, "err", err)
		return false, c.rest(ctx, took)
	}
	want := txTime
	if c.l.db.Dialect() == meta.PostgreSQL {
		want = txTimePostgreSQL
	}
	switch {
	case took > want:
		c.batch = max(c.batch/2, minBatch)
	case took < want/2:
		c.batch = min(c.batch*2, maxBatch)
	}
	if err != nil {
		return false, err
	}
	return true, c.rest(ctx, took)
}

func (c *Collector) rest(ctx context.Context, worked time.Duration) error {
	return c.pause(ctx, time.Duration(float64(worked)*max(c.o.Rest, 0)))
}

// row is what a page says about a row of the table it is of.
type row[K any] struct {
	key  K
	idle bool // a candidate
}

// scanRows reads a key and whether it is a candidate's, and closes rows.
func scanRows[K any](rows *sql.Rows, err error) ([]row[K], error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []row[K]
	for rows.Next() {
		var r row[K]
		if err := rows.Scan(&r.key, &r.idle); err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, rows.Err()
}

// sweep goes over a table in the order of its key. page returns the rows that come after a key, at most pageRows; take is
// called with runs of rows that begin and end with a candidate, at most c.batch of them.
func sweep[K any](ctx context.Context, c *Collector, first K, page func(after K) ([]row[K], error), take func([]row[K]) error) error {
	for after := first; ; {
		begin := time.Now()
		rows, err := page(after)
		if err != nil {
			return err
		}
		if err := c.rest(ctx, time.Since(begin)); err != nil {
			return err
		}
		for i := 0; i < len(rows); i++ {
			if !rows[i].idle {
				continue
			}
			last := min(i+c.batch, len(rows)) - 1
			for !rows[last].idle {
				last--
			}
			if err := take(rows[i : last+1]); err != nil {
				return err
			}
			i = last
		}
		if len(rows) < pageRows {
			return nil
		}
		after = rows[len(rows)-1].key
	}
}
