// Package mem is a [blob.Store] in memory, for tests and for trying out. Nothing of it survives the process.
package mem

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/blob"
)

// Store keeps everything in maps.
type Store struct {
	now func() time.Time

	mu      sync.Mutex // guards all below
	objects map[string]object
	uploads map[string]*upload
}

type object struct {
	blob.Object
	data []byte // never written to
}

type upload struct {
	data    []byte
	modTime time.Time
	busy    bool // an Append or Commit is running
}

var _ blob.Store = (*Store)(nil)

// New returns an empty store. now is its clock.
func New(now func() time.Time) *Store {
	return &Store{now: now, objects: map[string]object{}, uploads: map[string]*upload{}}
}

// Append implements [blob.Store].
func (s *Store) Append(ctx context.Context, id string, at int64, r io.Reader) (int64, error) {
	if err := blob.CheckID(id); err != nil {
		return 0, fmt.Errorf("append: %w", err)
	}
	u, err := s.claim(id, at == 0)
	if err != nil {
		return 0, fmt.Errorf("append to upload %s: %w", id, err)
	}
	size := int64(len(u.data))
	if size != at {
		s.release(u)
		return size, fmt.Errorf("append to upload %s at %d: %w", id, at, &blob.OffsetError{Size: size})
	}
	var got bytes.Buffer
	_, err = got.ReadFrom(&contextReader{ctx, r})
	s.mu.Lock()
	u.data = append(u.data, got.Bytes()...)
	u.modTime = s.now()
	u.busy = false
	size = int64(len(u.data))
	s.mu.Unlock()
	if err != nil {
		return size, fmt.Errorf("append to upload %s: %w", id, err)
	}
	return size, nil
}

// claim makes the caller the only one to change an upload, until release. With create, an unknown one is made.
func (s *Store) claim(id string, create bool) (*upload, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.uploads[id]
	switch {
	case u == nil && !create:
		return nil, blob.ErrNotFound
	case u == nil:
		u = &upload{modTime: s.now()}
		s.uploads[id] = u
	case u.busy:
		return nil, blob.ErrBusy
	}
	u.busy = true
	return u, nil
}

func (s *Store) release(u *upload) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u.busy = false
}

// UploadSize implements [blob.Store].
func (s *Store) UploadSize(_ context.Context, id string) (int64, error) {
	if err := blob.CheckID(id); err != nil {
		return 0, fmt.Errorf("upload size: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.uploads[id]
	if u == nil {
		return 0, fmt.Errorf("size of upload %s: %w", id, blob.ErrNotFound)
	}
	return int64(len(u.data)), nil
}

// Commit implements [blob.Store].
func (s *Store) Commit(_ context.Context, id string, want digest.Digest) (blob.Object, error) {
	if err := blob.CheckID(id); err != nil {
		return blob.Object{}, fmt.Errorf("commit: %w", err)
	}
	h, err := blob.NewHash(want)
	if err != nil {
		return blob.Object{}, fmt.Errorf("commit upload %s: %w", id, err)
	}
	u, err := s.claim(id, false)
	if err != nil {
		return blob.Object{}, fmt.Errorf("commit upload %s: %w", id, err)
	}
	h.Write(u.data)
	mismatch := blob.CheckDigest(h, want)

	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.uploads, id)
	if mismatch != nil {
		return blob.Object{}, fmt.Errorf("commit upload %s: %w", id, mismatch)
	}
	o := object{blob.Object{Key: blob.Fresh(), Size: int64(len(u.data)), ModTime: s.now()}, u.data}
	s.objects[o.Key] = o
	return o.Object, nil
}

// Abort implements [blob.Store].
func (s *Store) Abort(_ context.Context, id string) error {
	if err := blob.CheckID(id); err != nil {
		return fmt.Errorf("abort: %w", err)
	}
	u, err := s.claim(id, false)
	if errors.Is(err, blob.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("abort upload %s: %w", id, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.uploads[id] == u {
		delete(s.uploads, id)
	}
	return nil
}

// Open implements [blob.Store].
func (s *Store) Open(_ context.Context, key string) (blob.Content, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.objects[key]
	if !ok {
		return nil, fmt.Errorf("open object %q: %w", key, blob.ErrNotFound)
	}
	return &content{bytes.NewReader(o.data)}, nil
}

// Delete implements [blob.Store].
func (s *Store) Delete(_ context.Context, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.objects, key)
	return nil
}

// Objects implements [blob.Store].
func (s *Store) Objects(ctx context.Context) iter.Seq2[blob.Object, error] {
	return func(yield func(blob.Object, error) bool) {
		s.mu.Lock()
		all := make([]blob.Object, 0, len(s.objects))
		for _, o := range s.objects {
			all = append(all, o.Object)
		}
		s.mu.Unlock()
		yieldAll(ctx, all, yield)
	}
}

// Uploads implements [blob.Store].
func (s *Store) Uploads(ctx context.Context) iter.Seq2[blob.Upload, error] {
	return func(yield func(blob.Upload, error) bool) {
		s.mu.Lock()
		all := make([]blob.Upload, 0, len(s.uploads))
		for id, u := range s.uploads {
			all = append(all, blob.Upload{ID: id, Size: int64(len(u.data)), ModTime: u.modTime})
		}
		s.mu.Unlock()
		yieldAll(ctx, all, yield)
	}
}

func yieldAll[T any](ctx context.Context, all []T, yield func(T, error) bool) {
	for _, x := range all {
		if err := ctx.Err(); err != nil {
			var zero T
			yield(zero, err)
			return
		}
		if !yield(x, nil) {
			return
		}
	}
}

// Check implements [blob.Store].
func (s *Store) Check(context.Context) error { return nil }

// Close implements [blob.Store].
func (s *Store) Close() error { return nil }

type content struct{ *bytes.Reader }

func (content) Close() error { return nil }

type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r *contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
