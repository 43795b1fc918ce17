package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/blob"
)

// Commit implements [blob.Store].
func (s *Store) Commit(ctx context.Context, id string, want digest.Digest) (blob.Object, error) {
	if err := s.claim(id); err != nil {
		return blob.Object{}, fmt.Errorf("commit upload %q: %w", id, err)
	}
	defer s.release(id)
	o, err := s.commit(ctx, id, want)
	if err != nil {
		return blob.Object{}, fmt.Errorf("commit upload %s: %w", id, err)
	}
	return o, nil
}

func (s *Store) commit(ctx context.Context, id string, want digest.Digest) (blob.Object, error) {
	h, err := blob.NewHash(want)
	if err != nil {
		return blob.Object{}, err
	}
	st, err := s.load(ctx, id)
	if err != nil {
		return blob.Object{}, err
	}
	o := blob.Object{Key: st.Key, Size: st.size(), ModTime: st.modTime}
	unread := want.Algorithm() != digest.SHA256 && st.Multipart != "" // only the object tells whether the digest is right
	if !unread {
		if err := s.verify(st, h, want); err != nil {
			return blob.Object{}, s.refuse(ctx, err, func() error { return s.drop(ctx, id, st) })
		}
	}
	if st.Multipart != "" {
		err = s.complete(ctx, st)
	} else {
		o.Key = newKey(id)
		err = s.putObject(ctx, o.Key, st.tail)
	}
	if err != nil {
		return blob.Object{}, err
	}
	if unread {
		if err := s.reread(ctx, o.Key, h, want); err != nil {
			// The object stays, for collection: another node may have committed the same upload, with the right digest, and
			// told its key.
			return blob.Object{}, s.refuse(ctx, err, func() error { return s.remove(ctx, s.stateName(id)) })
		}
	}
	// Only now, and if this succeeds, the key is told: a Commit that is repeated because this fails returns the same key,
	// or, of a small upload, another one, and then nobody knows of this object.
	if err := s.remove(ctx, s.stateName(id)); err != nil {
		return blob.Object{}, err
	}
	return o, nil
}

// verify checks the digest of an upload by what its state tells: the SHA-256 of everything, and of an upload without
// parts the bytes.
func (s *Store) verify(st *state, h hash.Hash, want digest.Digest) error {
	if want.Algorithm() == digest.SHA256 {
		var err error
		if h, err = st.hash(); err != nil {
			return err
		}
	} else {
		h.Write(st.tail)
	}
	return blob.CheckDigest(h, want)
}

// reread checks the digest of an object by its bytes.
func (s *Store) reread(ctx context.Context, key string, h hash.Hash, want digest.Digest) error {
	c, err := s.open(ctx, key)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := io.Copy(h, c); err != nil {
		return err
	}
	return blob.CheckDigest(h, want)
}

// refuse drops an upload if err is about its digest, and returns err.
func (s *Store) refuse(ctx context.Context, err error, drop func() error) error {
	var mismatch *blob.DigestError
	if !errors.As(err, &mismatch) {
		return err
	}
	return errors.Join(err, drop())
}

// complete makes an object of an upload's parts and tail. It may have done so before, for a Commit that then failed.
func (s *Store) complete(ctx context.Context, st *state) error {
	size := st.size()
	if len(st.tail) > 0 {
		etag, err := s.uploadPart(ctx, st.Key, st.Multipart, len(st.Parts)+1, st.tail)
		if errors.Is(err, blob.ErrNotFound) {
			return s.completed(ctx, st.Key, size, err)
		}
		if err != nil {
			return err
		}
		st.Parts = append(st.Parts, part{ETag: etag, Size: int64(len(st.tail))})
	}
	_, err := s.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket:          &s.bucket,
		Key:             aws.String(s.objectName(st.Key)),
		UploadId:        &st.Multipart,
		MultipartUpload: st.completed(),
	})
	if err = known(err); errors.Is(err, blob.ErrNotFound) {
		return s.completed(ctx, st.Key, size, err)
	}
	return err
}

// completed returns nil when the multipart upload that is gone, as gone says, has become the object. Nobody else can
// have made it, as its key is ours alone.
func (s *Store) completed(ctx context.Context, key string, size int64, gone error) error {
	out, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.bucket, Key: aws.String(s.objectName(key))})
	if err = known(err); errors.Is(err, blob.ErrNotFound) {
		return gone
	}
	if err != nil {
		return err
	}
	if got := aws.ToInt64(out.ContentLength); got != size {
		return fmt.Errorf("object %s has %d bytes, not %d", key, got, size)
	}
	return nil
}

func (s *Store) putObject(ctx context.Context, key string, data []byte) error {
	_, err := s.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket:      &s.bucket,
		Key:         aws.String(s.objectName(key)),
		Body:        bytes.NewReader(data),
		ContentType: aws.String(contentType),
	})
	return known(err)
}
