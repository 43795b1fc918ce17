// Package file is a [blob.Store] in a folder:
//
//	uploads/<id>                                      an upload's bytes, as far as they have come
//	blobs/<algorithm>/<2 hex>/<hex>.<fresh>           an object; its key is the path below blobs
//	check                                             written and read by Check
//
// An upload is appended to and synced, then renamed into its object, and the folder synced: an object's file is whole
// from the moment its name exists, and is never written to again. What the store keeps in memory (sizes, running
// hashes) only saves work: after a restart it is taken from the files, whose bytes are then hashed again.
//
// The two folders must be on one file system. The store assumes that no other process writes there; who opens it sees
// to that.
package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/sekisho/sekisho/internal/blob"
	"github.com/sekisho/sekisho/internal/durable"
)

// Store is a folder of objects and uploads.
type Store struct {
	fs      durable.FS
	root    string
	dirs    *durable.DirSyncer
	shards  sync.Map // of folder path to struct{}: those known to be there durably
	uploads uploads

	small     sync.Pool     // of *[smallSize]byte
	blocks    sync.Pool     // of *block
	pipelines chan struct{} // one element for each that runs

	checking sync.Mutex
}

var _ blob.Store = (*Store)(nil)

// Open opens the store in folder root, which is made if need be.
func Open(fsys durable.FS, root string) (*Store, error) {
	s := &Store{
		fs:      fsys,
		root:    root,
		dirs:    durable.NewDirSyncer(fsys),
		uploads: uploads{known: map[string]*upload{}},
		small:   sync.Pool{New: func() any { return new([smallSize]byte) }},
		blocks:  sync.Pool{New: func() any { return new(block) }},
		// Each keeps more than one processor busy; more of them than processors would only hold memory.
		pipelines: make(chan struct{}, runtime.GOMAXPROCS(0)),
	}
	if err := durable.MkdirAll(fsys, root, 0o700); err != nil {
		return nil, fmt.Errorf("open blob store: %w", full(err))
	}
	// These are synced although they may exist: they may come from a process that did not live to sync them.
	for _, dir := range []string{s.uploadsDir(), s.objectsDir(), s.objectsDir("sha256"), s.objectsDir("sha512")} {
		if err := s.makeDir(dir); err != nil {
			return nil, fmt.Errorf("open blob store: %w", err)
		}
	}
	return s, nil
}

func (s *Store) uploadsDir() string { return filepath.Join(s.root, "uploads") }

func (s *Store) uploadPath(id string) string { return filepath.Join(s.uploadsDir(), id) }

func (s *Store) objectsDir(below ...string) string {
	return filepath.Join(append([]string{s.root, "blobs"}, below...)...)
}

// makeDir makes sure that a folder is there durably, whose parent is.
func (s *Store) makeDir(dir string) error {
	if err := s.fs.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return full(err)
	}
	return full(s.dirs.Sync(filepath.Dir(dir)))
}

// Close implements [blob.Store].
func (s *Store) Close() error { return nil }

// Check implements [blob.Store]. It writes, syncs and reads a small file.
func (s *Store) Check(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.checking.Lock()
	defer s.checking.Unlock()
	if err := s.check(); err != nil {
		return fmt.Errorf("check blob store: %w", full(err))
	}
	return nil
}

func (s *Store) check() error {
	f, err := s.fs.OpenFile(filepath.Join(s.root, "check"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	want := blob.Fresh()
	if _, err := f.WriteAt([]byte(want), 0); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	got := make([]byte, len(want))
	if _, err := f.ReadAt(got, 0); err != nil && err != io.EOF {
		return err
	}
	if string(got) != want {
		return errors.New("a file does not hold what was written to it")
	}
	return nil
}

// full makes an error about exhausted space [blob.ErrFull] as well.
func full(err error) error {
	if durable.IsFull(err) {
		return fmt.Errorf("%w: %w", blob.ErrFull, err)
	}
	return err
}
