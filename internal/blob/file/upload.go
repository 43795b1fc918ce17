package file

import (
	"errors"
	"hash"
	"io/fs"
	"os"
	"sync"

	"github.com/sekisho/sekisho/internal/blob"
	"github.com/sekisho/sekisho/internal/durable"
)

// maxKnown bounds how many uploads are remembered. Forgetting one costs reading it again when it is committed.
const maxKnown = 4096

// uploads remembers uploads that are in use, or were lately.
type uploads struct {
	mu    sync.Mutex // guards all below and, in each upload, what says so
	known map[string]*upload
}

// upload is one upload. Whoever set busy may change it; others may only read what mu guards, under mu.
type upload struct {
	id     string
	busy   bool  // guarded by mu
	loaded bool  // guarded by mu: size is right
	size   int64 // guarded by mu: durable bytes; the file has no others unless it is busy

	named bool      // the file's name is durable
	sum   hash.Hash // SHA-256 of exactly size bytes; nil when it is not known
	torn  bool      // the file must be cut to size before it is used
	gone  bool      // to be forgotten
}

// claim makes the caller the only one to change an upload, which need not exist, until release. It returns
// [blob.ErrBusy] while somebody else is.
func (t *uploads) claim(id string) (*upload, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	u := t.known[id]
	if u == nil {
		u = &upload{id: id}
		t.known[id] = u
	}
	if u.busy {
		return nil, blob.ErrBusy
	}
	u.busy = true
	return u, nil
}

func (t *uploads) release(u *upload) {
	t.mu.Lock()
	defer t.mu.Unlock()
	u.busy = false
	if u.gone || !u.loaded {
		delete(t.known, u.id)
	}
	if len(t.known) <= maxKnown {
		return
	}
	for id, u := range t.known {
		if !u.busy && !u.torn {
			delete(t.known, id)
			return
		}
	}
}

// size returns the size of an upload that is known.
func (t *uploads) size(id string) (size int64, known bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	u := t.known[id]
	if u == nil || !u.loaded {
		return 0, false
	}
	return u.size, true
}

// grown notes that an upload that is claimed has that many durable bytes.
func (t *uploads) grown(u *upload, size int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	u.size, u.loaded = size, true
}

// load finds out about an upload from its file when it is not known, as after a restart. The bytes that an earlier
// process left may not be durable yet, so they are made so before their number is told. Errors: [blob.ErrNotFound].
func (s *Store) load(u *upload) error {
	if u.loaded && !u.torn {
		return nil
	}
	f, err := s.fs.OpenFile(s.uploadPath(u.id), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return blob.ErrNotFound
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if u.torn {
		return s.cut(u, f)
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		s.uploads.grown(u, 0)
		return errors.Join(full(err), s.cut(u, f))
	}
	if err := s.dirs.Sync(s.uploadsDir()); err != nil {
		return err
	}
	u.named = true
	s.uploads.grown(u, info.Size())
	return nil
}

// cut cuts an upload's file back to what is known to be durable, after a sync that failed: of the later bytes nobody
// knows what the device has, and the next sync would not say. Until that succeeds, nothing else is done to the file.
func (s *Store) cut(u *upload, f durable.File) error {
	u.sum = nil
	err := f.Truncate(u.size)
	u.torn = err != nil
	return err
}
