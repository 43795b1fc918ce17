package file

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/blob"
)

// Commit implements [blob.Store].
func (s *Store) Commit(ctx context.Context, id string, want digest.Digest) (blob.Object, error) {
	if err := blob.CheckID(id); err != nil {
		return blob.Object{}, fmt.Errorf("commit: %w", err)
	}
	u, err := s.uploads.claim(id)
	if err != nil {
		return blob.Object{}, fmt.Errorf("commit upload %s: %w", id, err)
	}
	defer s.uploads.release(u)
	o, err := s.commit(ctx, u, want)
	if err != nil {
		return blob.Object{}, fmt.Errorf("commit upload %s: %w", id, err)
	}
	return o, nil
}

func (s *Store) commit(ctx context.Context, u *upload, want digest.Digest) (blob.Object, error) {
	h, err := blob.NewHash(want)
	if err != nil {
		return blob.Object{}, err
	}
	if err := s.load(u); err != nil {
		return blob.Object{}, err
	}
	path := s.uploadPath(u.id)
	info, err := s.fs.Stat(path)
	if err != nil {
		return blob.Object{}, err
	}
	if want.Algorithm() == digest.SHA256 && u.sum != nil && info.Size() == u.size {
		h = u.sum
	} else if err := s.rehash(ctx, path, h); err != nil {
		return blob.Object{}, err
	}
	u.gone = true // or, should the next step fail, what its file says when it is asked for again
	if err := blob.CheckDigest(h, want); err != nil {
		return blob.Object{}, errors.Join(err, s.remove(path))
	}
	key := newKey(want)
	if err := s.publish(path, s.objectsDir(filepath.FromSlash(key))); err != nil {
		return blob.Object{}, err
	}
	return blob.Object{Key: key, Size: info.Size(), ModTime: info.ModTime()}, nil
}

// rehash reads a whole file into h.
func (s *Store) rehash(ctx context.Context, path string, h hash.Hash) error {
	f, err := s.fs.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	b := s.blocks.Get().(*block)
	defer s.blocks.Put(b)
	for {
		n, err := fill(ctx, f, b.buf[:])
		h.Write(b.buf[:n])
		if err != nil {
			return notEOF(err)
		}
	}
}

// publish renames a durable file to an object's path, durably. After an error it is where it was, as far as that can be
// had: if not, it is an object that nobody knows of.
func (s *Store) publish(from, to string) error {
	shard := filepath.Dir(to)
	if _, ok := s.shards.Load(shard); !ok {
		if err := s.makeDir(shard); err != nil {
			return err
		}
		s.shards.Store(shard, struct{}{})
	}
	if err := s.fs.Rename(from, to); err != nil {
		return full(err)
	}
	if err := s.dirs.Sync(shard); err != nil {
		return errors.Join(full(err), s.fs.Rename(to, from))
	}
	return nil
}
