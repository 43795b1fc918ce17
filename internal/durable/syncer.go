package durable

import "sync"

// DirSyncer syncs folders for many callers at once: those that wait for the same folder share one SyncDir, which began
// after each of them asked, so it covers what each of them did before.
type DirSyncer struct {
	fs FS

	mu   sync.Mutex
	dirs map[string]*syncQueue // of the folders that are being synced
}

type syncQueue struct {
	running *syncCall
	next    *syncCall // begins when running ends; nil until somebody asks
}

type syncCall struct {
	done chan struct{} // closed when err is set
	err  error
}

// NewDirSyncer returns a DirSyncer over fsys.
func NewDirSyncer(fsys FS) *DirSyncer {
	return &DirSyncer{fs: fsys, dirs: map[string]*syncQueue{}}
}

// Sync does what [FS].SyncDir does.
func (s *DirSyncer) Sync(dir string) error {
	s.mu.Lock()
	q := s.dirs[dir]
	if q == nil {
		q = &syncQueue{running: newSyncCall()}
		s.dirs[dir] = q
		s.mu.Unlock()
		return s.run(dir, q, q.running)
	}
	if call := q.next; call != nil {
		s.mu.Unlock()
		<-call.done
		return call.err
	}
	before, call := q.running, newSyncCall()
	q.next = call
	s.mu.Unlock()
	<-before.done // by now call is the running one, and ours to run
	return s.run(dir, q, call)
}

func newSyncCall() *syncCall { return &syncCall{done: make(chan struct{})} }

func (s *DirSyncer) run(dir string, q *syncQueue, call *syncCall) error {
	call.err = s.fs.SyncDir(dir)
	s.mu.Lock()
	q.running, q.next = q.next, nil
	if q.running == nil {
		delete(s.dirs, dir)
	}
	s.mu.Unlock()
	close(call.done)
	return call.err
}
