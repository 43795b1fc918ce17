package file

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/sekisho/sekisho/internal/blob"
	"github.com/sekisho/sekisho/internal/durable"
)

// Append implements [blob.Store].
func (s *Store) Append(ctx context.Context, id string, at int64, r io.Reader) (int64, error) {
	if err := blob.CheckID(id); err != nil {
		return 0, fmt.Errorf("append: %w", err)
	}
	u, err := s.uploads.claim(id)
	if err != nil {
		return 0, fmt.Errorf("append to upload %s: %w", id, err)
	}
	defer s.uploads.release(u)
	if err := s.append(ctx, u, at, r); err != nil {
		return u.size, fmt.Errorf("append to upload %s at %d: %w", id, at, err)
	}
	return u.size, nil
}

func (s *Store) append(ctx context.Context, u *upload, at int64, r io.Reader) error {
	err := s.load(u)
	create := errors.Is(err, blob.ErrNotFound) && at == 0
	if err != nil && !create {
		return err
	}
	if at != u.size {
		return &blob.OffsetError{Size: u.size}
	}
	flag := os.O_RDWR
	if create {
		flag |= os.O_CREATE | os.O_EXCL
	}
	f, err := s.fs.OpenFile(s.uploadPath(u.id), flag, 0o600)
	if err != nil {
		return full(err)
	}
	defer f.Close() // after Sync, it has nothing left to fail with
	if create {
		u.sum = sha256.New()
		s.uploads.grown(u, 0)
	}
	err = s.receive(ctx, u, f, r)
	if create && u.size == 0 && errors.Is(err, blob.ErrFull) {
		u.gone = true // where there is no room even for the first byte, nothing is left behind
		return errors.Join(err, s.remove(s.uploadPath(u.id)))
	}
	return err
}

// receive appends what r yields to the upload's file, and makes it durable whatever the error: a client that resumes
// is told a size that power loss will not take back.
func (s *Store) receive(ctx context.Context, u *upload, f durable.File, r io.Reader) error {
	w := &writer{f: f, off: u.size, begun: u.size}
	u.gone = true // if r panics, what the file says when it is asked for again
	readErr, writeErr := s.transfer(ctx, r, w, u.sum)
	u.gone = false
	if writeErr != nil {
		u.sum = nil // it may have seen bytes that were not written
	}
	if w.off > u.size {
		if err := f.Sync(); err != nil {
			return errors.Join(full(err), readErr, writeErr, s.cut(u, f))
		}
		s.uploads.grown(u, w.off)
	}
	if !u.named {
		if err := s.dirs.Sync(s.uploadsDir()); err != nil {
			return errors.Join(full(err), readErr, writeErr)
		}
		u.named = true
	}
	return errors.Join(readErr, full(writeErr))
}

// UploadSize implements [blob.Store].
func (s *Store) UploadSize(_ context.Context, id string) (int64, error) {
	if err := blob.CheckID(id); err != nil {
		return 0, fmt.Errorf("upload size: %w", err)
	}
	if size, ok := s.uploads.size(id); ok {
		return size, nil
	}
	u, err := s.uploads.claim(id)
	if err != nil {
		return 0, fmt.Errorf("size of upload %s: %w", id, err)
	}
	defer s.uploads.release(u)
	if err := s.load(u); err != nil {
		return 0, fmt.Errorf("size of upload %s: %w", id, err)
	}
	return u.size, nil
}

// Abort implements [blob.Store].
func (s *Store) Abort(_ context.Context, id string) error {
	if err := blob.CheckID(id); err != nil {
		return fmt.Errorf("abort: %w", err)
	}
	u, err := s.uploads.claim(id)
	if err != nil {
		return fmt.Errorf("abort upload %s: %w", id, err)
	}
	defer s.uploads.release(u)
	if err := s.remove(s.uploadPath(id)); err != nil {
		return fmt.Errorf("abort upload %s: %w", id, err)
	}
	u.gone = true
	return nil
}
