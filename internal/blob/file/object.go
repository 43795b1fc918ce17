package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"regexp"

	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/blob"
	"github.com/sekisho/sekisho/internal/durable"
)

// keyPattern is what newKey makes. Nothing else becomes a path.
var keyPattern = regexp.MustCompile(`^(?:sha256/[0-9a-f]{2}/[0-9a-f]{64}|sha512/[0-9a-f]{2}/[0-9a-f]{128})\.[2-7a-z]{26}$`)

// newKey returns a key for an object with digest d. Folders of a 256th each keep a listing's memory small; for the rate
// of commits their number makes no difference.
func newKey(d digest.Digest) string {
	hex := d.Encoded()
	return fmt.Sprintf("%s/%s/%s.%s", d.Algorithm(), hex[:2], hex, blob.Fresh())
}

func (s *Store) objectPath(key string) (string, error) {
	if !keyPattern.MatchString(key) {
		return "", fmt.Errorf("key: %w", blob.ErrInvalid)
	}
	return s.objectsDir(filepath.FromSlash(key)), nil
}

// Open implements [blob.Store].
func (s *Store) Open(_ context.Context, key string) (blob.Content, error) {
	c, err := s.open(key)
	if err != nil {
		return nil, fmt.Errorf("open object %q: %w", key, err)
	}
	return c, nil
}

func (s *Store) open(key string) (blob.Content, error) {
	path, err := s.objectPath(key)
	if err != nil {
		return nil, err
	}
	f, err := s.fs.OpenFile(path, os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, blob.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	if f, ok := f.(*os.File); ok {
		return &osContent{f, info.Size()}, nil
	}
	return &content{f, info.Size()}, nil
}

// osContent keeps the methods of *os.File that lead from io.Copy to sendfile: WriteTo and SyscallConn.
type osContent struct {
	*os.File
	size int64
}

func (c *osContent) Size() int64 { return c.size }

type content struct {
	durable.File
	size int64
}

func (c *content) Size() int64 { return c.size }

// Delete implements [blob.Store].
func (s *Store) Delete(_ context.Context, key string) error {
	path, err := s.objectPath(key)
	if err == nil {
		err = s.remove(path)
	}
	if err != nil {
		return fmt.Errorf("delete object %q: %w", key, err)
	}
	return nil
}

// remove removes a file, which may be gone already. It does not sync: that a removed file comes back after power loss
// is allowed, and collecting many must be fast.
func (s *Store) remove(path string) error {
	if err := s.fs.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return full(err)
	}
	return nil
}

// Objects implements [blob.Store].
func (s *Store) Objects(ctx context.Context) iter.Seq2[blob.Object, error] {
	return func(yield func(blob.Object, error) bool) {
		for _, algorithm := range []string{"sha256", "sha512"} {
			for shard, err := range s.entries(ctx, s.objectsDir(algorithm)) {
				if err != nil {
					yield(blob.Object{}, fmt.Errorf("list objects: %w", err))
					return
				}
				dir := algorithm + "/" + shard.Name()
				for f, err := range s.entries(ctx, s.objectsDir(dir)) {
					if err != nil {
						yield(blob.Object{}, fmt.Errorf("list objects: %w", err))
						return
					}
					o := blob.Object{Key: dir + "/" + f.Name(), Size: f.Size(), ModTime: f.ModTime()}
					if keyPattern.MatchString(o.Key) && !yield(o, nil) {
						return
					}
				}
			}
		}
	}
}

// Uploads implements [blob.Store].
func (s *Store) Uploads(ctx context.Context) iter.Seq2[blob.Upload, error] {
	return func(yield func(blob.Upload, error) bool) {
		for f, err := range s.entries(ctx, s.uploadsDir()) {
			if err != nil {
				yield(blob.Upload{}, fmt.Errorf("list uploads: %w", err))
				return
			}
			u := blob.Upload{ID: f.Name(), Size: f.Size(), ModTime: f.ModTime()}
			if blob.CheckID(u.ID) == nil && !yield(u, nil) {
				return
			}
		}
	}
}

// entries lists what is in a folder and stays there long enough to be looked at.
func (s *Store) entries(ctx context.Context, dir string) iter.Seq2[fs.FileInfo, error] {
	return func(yield func(fs.FileInfo, error) bool) {
		list, err := s.fs.ReadDir(dir)
		if err != nil {
			yield(nil, err)
			return
		}
		for _, e := range list {
			info, err := e.Info()
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err == nil {
				err = ctx.Err()
			}
			if !yield(info, err) || err != nil {
				return
			}
		}
	}
}
