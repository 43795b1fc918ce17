package registry

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/meta"
)

// FsckOptions are the settings of [Local.Fsck].
type FsckOptions struct {
	// Repair makes metadata match the bytes: a blob whose bytes are missing or wrong gets those of another object in the store
	// with its digest, what a manifest needs is written down again as its bytes say, lost rows of objects that a
	// manifest names come back, references to nothing go. Bytes are never deleted or changed.
	Repair bool
	// Forget goes further for blobs whose bytes are nowhere to be found: the registry answers that they aren't there, so that
	// clients push them again. If the bytes are only away for now, on a disk that isn't mounted, it makes things worse.
	Forget bool
	// Workers is how many blobs are read at a time. Default 2.
	Workers int
	// Report is told every problem, one at a time. An error ends the check.
	Report func(Problem) error
	// Progress, if set, is told how far the check is, about once a second.
	Progress func(FsckProgress)
}

// FsckProgress says what was checked so far.
type FsckProgress struct {
	Phase     string // what is being checked, in words
	Blobs     int64
	Bytes     int64 // of blobs, read and hashed
	Manifests int64
	Objects   int64 // seen in the store
	Problems  int64
	Repaired  int64
}

// ProblemKind says what is wrong.
type ProblemKind string

// The kinds of problems.
const (
	// ProblemDatabase: the database says of itself that it is damaged.
	ProblemDatabase ProblemKind = "database"
	// ProblemBlobMissing: a blob's bytes are not there.
	ProblemBlobMissing ProblemKind = "blob-missing"
	// ProblemBlobUnreadable: a blob's bytes can't be read to their end.
	ProblemBlobUnreadable ProblemKind = "blob-unreadable"
	// ProblemBlobCorrupt: a blob's bytes have another digest.
	ProblemBlobCorrupt ProblemKind = "blob-corrupt"
	// ProblemBlobSize: a blob's row says another size than its bytes have, which are right.
	ProblemBlobSize ProblemKind = "blob-size"
	// ProblemManifestCorrupt: a manifest's bytes have another digest, or are no manifest.
	ProblemManifestCorrupt ProblemKind = "manifest-corrupt"
	// ProblemManifestFields: what a manifest's row says of its bytes isn't so.
	ProblemManifestFields ProblemKind = "manifest-fields"
	// ProblemReference: a blob or manifest that a manifest names isn't recorded as needed, or not there.
	ProblemReference ProblemKind = "reference"
	// ProblemExtra: a blob or manifest is recorded as needed that the manifest doesn't name.
	ProblemExtra ProblemKind = "reference-extra"
	// ProblemDangling: a row refers to one that isn't there.
	ProblemDangling ProblemKind = "dangling"
	// ProblemHeld: what another part of the server keeps in the store, such as a log or an artifact of a run, is missing or wrong.
	ProblemHeld ProblemKind = "held-object"
	// ProblemOrphan: an object in the store that nothing names; harmless.
	ProblemOrphan ProblemKind = "orphan"
)

// Problem is one thing that is wrong, or at least odd.
type Problem struct {
	Kind     ProblemKind
	Repo     Repo          // of a manifest
	Digest   digest.Digest // of a blob or manifest
	Location string        // where its bytes are, or should be: a key of the store; empty for those in the database
	Detail   string        // what is wrong
	Advice   string        // what to do
	Harmless bool          // nothing is wrong for any client
	Repaired bool          // not any more
}

// FsckReport is the outcome of a check.
type FsckReport struct {
	FsckProgress
	Harmful    int64 // problems that are not harmless and were not repaired
	Incomplete bool  // there was more to look for in the store than is remembered at once; check again after the repair
}

// maxWanted bounds the digests that are looked for in the store at once.
const maxWanted = 100_000

// Fsck reads all bytes and all references and compares them. It may run while the registry serves: what changes under it is
// looked at again before it is called a problem, but what is pushed meanwhile may not be looked at at all. It needs little
// memory however much there is.
func (l *Local) Fsck(ctx context.Context, o FsckOptions) (*FsckReport, error) {
	if o.Workers <= 0 {
		o.Workers = 2
	}
	if o.Report == nil {
		o.Report = func(Problem) error { return nil }
	}
	f := &fsck{l: l, o: o, wanted: map[digest.Digest]*wantedBlob{}}
	err := f.run(ctx)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.report.FsckProgress = f.progress()
	return &f.report, wrap("check content", err)
}

// fsck is a check that runs.
type fsck struct {
	l *Local
	o FsckOptions

	phase                            atomic.Value // string
	blobs, bytes, manifests, objects atomic.Int64
	problems, repaired               atomic.Int64
	last                             atomic.Int64 // when progress was told, Unix microseconds

	mu     sync.Mutex // guards all below, and calls of Report and Progress
	report FsckReport
	wanted map[digest.Digest]*wantedBlob
	sha512 bool // some wanted digest is one
}

// wantedBlob is a blob whose bytes are looked for in the store.
type wantedBlob struct {
	problems  []Problem
	row       int64        // of blobs, whose bytes at location are bad; 0: there is no row
	location  string       // where they were looked for
	manifests []manifestOf // whose reference to it is lost, where there is no row
}

// manifestOf names a manifest's row.
type manifestOf struct{ id, repository int64 }

func (f *fsck) run(ctx context.Context) error {
	for _, phase := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"database", f.checkDatabase},
		{"blobs", f.checkBlobs},
		{"manifests", f.checkManifests},
		{"held objects", f.checkHeld},
		{"objects", f.checkObjects},
		{"references", f.checkDangling},
	} {
		f.phase.Store(phase.name)
		if err := phase.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", phase.name, err)
		}
		f.tell(true)
	}
	return nil
}

func (f *fsck) progress() FsckProgress {
	phase, _ := f.phase.Load().(string)
	return FsckProgress{Phase: phase, Blobs: f.blobs.Load(), Bytes: f.bytes.Load(), Manifests: f.manifests.Load(), Objects: f.objects.Load(),
		Problems: f.problems.Load(), Repaired: f.repaired.Load()}
}

// tell reports the progress if it is time, or now.
func (f *fsck) tell(now bool) {
	if f.o.Progress == nil {
		return
	}
	t, last := time.Now().UnixMicro(), f.last.Load()
	if (now || t-last >= int64(time.Second/time.Microsecond)) && f.last.CompareAndSwap(last, t) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.o.Progress(f.progress())
	}
}

// found reports a problem.
func (f *fsck) found(p Problem) error {
	f.problems.Add(1)
	if p.Repaired {
		f.repaired.Add(1)
		p.Advice = "nothing: it was repaired"
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !p.Harmless && !p.Repaired {
		f.report.Harmful++
	}
	return f.o.Report(p)
}

// want has the store searched for a blob, and reports whether there is room to remember it.
func (f *fsck) want(d digest.Digest, fill func(*wantedBlob)) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	w := f.wanted[d]
	if w == nil {
		if len(f.wanted) == maxWanted {
			f.report.Incomplete = true
			return false
		}
		w = &wantedBlob{}
		f.wanted[d] = w
		f.sha512 = f.sha512 || d.Algorithm() == digest.SHA512
	}
	fill(w)
	return true
}

// change runs a repair, and then drops all that is remembered: repairs are rare, and cross repositories.
func (f *fsck) change(ctx context.Context, fn func(tx *meta.Tx) error) error {
	err := f.l.update(ctx, "repair", fn)
	f.l.forgetAll()
	return err
}

// checkDatabase has SQLite look at its file. PostgreSQL has no such question; its own tools look.
func (f *fsck) checkDatabase(ctx context.Context) error {
	if f.l.db.Dialect() != meta.SQLite {
		return nil
	}
	lines, err := stringsOf(f.l.db.Query(ctx, `PRAGMA quick_check(100)`))
	if err != nil {
		return err
	}
	for _, line := range lines {
		if line == "ok" {
			continue
		}
		err := f.found(Problem{Kind: ProblemDatabase, Detail: line, Advice: "restore the database from a backup; what was pushed since then is in the store, and --repair finds it"})
		if err != nil {
			return err
		}
	}
	return nil
}
